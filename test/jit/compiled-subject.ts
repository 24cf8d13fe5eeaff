/** The software CPU as a subject of differential tests, its code compiled. */
import type { BlockCompiler } from "../../src/cpu/jit/block-compiler.ts";
import { SoftwareSubject } from "../differential/software.ts";
import type { MachineCase, Mode, Outcome } from "../differential/state.ts";
import { CompiledRunner } from "./compiled-runner.ts";

export class CompiledSubject extends SoftwareSubject {
  readonly runner: CompiledRunner;

  constructor(mode: Mode, compiler: BlockCompiler) {
    super(mode);
    const vcpu = this["vcpu"];
    this.runner = new CompiledRunner(vcpu, this["memory"], compiler);
    vcpu.run = () => this.runner.run();
  }

  override run(one: MachineCase): Outcome {
    this.runner.forget();
    return super.run(one);
  }
}
