/** The software CPU as a subject of differential tests, its code compiled. */
import type { SoftwareVcpu } from "../../src/cpu/engine.ts";
import type { BlockCompiler } from "../../src/cpu/jit/block-compiler.ts";
import type { GuestMemory } from "../../src/memory/guest-memory.ts";
import { SoftwareSubject } from "../differential/software.ts";
import type { MachineCase, Mode, Outcome } from "../differential/state.ts";
import { CompiledRunner } from "./compiled-runner.ts";

export class CompiledSubject extends SoftwareSubject {
  readonly runner: CompiledRunner;

  constructor(mode: Mode, compiler: BlockCompiler) {
    super(mode);
    const { vcpu, memory } = this as unknown as { vcpu: SoftwareVcpu; memory: GuestMemory };
    this.runner = new CompiledRunner(vcpu, memory, compiler);
    vcpu.run = () => this.runner.run();
  }

  override run(one: MachineCase): Outcome {
    this.runner.forget();
    return super.run(one);
  }
}
