/** Runs a vCPU through compiled blocks wherever there is one, and through the interpreter elsewhere. */

import { SoftwareVcpu, type VcpuExit } from "../../src/cpu/engine.ts";
import { type BlockCompiler, codeContext } from "../../src/cpu/jit/block-compiler.ts";
import { BLOCK } from "../../src/cpu/jit/compiled-builder.ts";
import { CPU, CS } from "../../src/cpu/state.ts";
import { softfloatWasm } from "../../src/generated/softfloat.ts";
import type { GuestMemory } from "../../src/memory/guest-memory.ts";
import { CLOCK } from "../../src/memory/layout.ts";

/** What a dispatcher needs of the vCPU beyond its public face. */
interface VcpuInternals {
  imports(): Record<string, WebAssembly.ImportValue>;
  mustStep(): boolean;
  handle(stop: number): VcpuExit | undefined;
}

export type CompiledBlock = (cpu: number) => number;

const PAGE = 4096;
const TWO_32 = 0x1_0000_0000;

export class CompiledRunner {
  /** Instructions and entries, for those who want to know what was compiled. */
  compiledInstructions = 0;
  interpretedInstructions = 0;
  readonly vcpu: SoftwareVcpu;
  private readonly internals: VcpuInternals;
  private readonly memory: GuestMemory;
  private readonly compiler: BlockCompiler;
  private readonly imports: WebAssembly.Imports;
  private readonly blocks = new Map<number, { run: CompiledBlock; length: number } | undefined>();
  private readonly buffer = new Uint8Array(15);

  constructor(vcpu: SoftwareVcpu, memory: GuestMemory, compiler: BlockCompiler) {
    this.vcpu = vcpu;
    this.internals = vcpu as unknown as VcpuInternals;
    this.memory = memory;
    this.compiler = compiler;
    const softfloat = new WebAssembly.Module(softfloatWasm());
    const instance = new WebAssembly.Instance(softfloat, { env: { memory: memory.memory } });
    this.imports = {
      env: { memory: memory.memory, ...this.internals.imports() },
      softfloat: instance.exports as unknown as WebAssembly.ModuleImports,
    };
  }

  /** The code has changed. */
  forget(): void {
    this.blocks.clear();
  }

  private get budget(): number {
    return this.vcpu.state.data.getInt32(CLOCK.budget, true);
  }

  run(): VcpuExit {
    const { vcpu, internals } = this;
    for (;;) {
      const before = this.budget;
      if (before <= 0) return { reason: "budget" };
      const block = internals.mustStep() || vcpu.state.u32(CPU.activity) !== 0 ? undefined : this.lookup();
      const result = block ? block.run(vcpu.state.base) : BLOCK.declined;
      if (result === BLOCK.declined) {
        const exit = this.interpretOne();
        this.interpretedInstructions++;
        if (exit.reason !== "budget") return exit;
        continue;
      }
      this.compiledInstructions += before - this.budget;
      if (result === BLOCK.abandoned) {
        const exit = internals.handle(vcpu.state.u32(CPU.stop));
        if (exit !== undefined) return exit;
      }
    }
  }

  private interpretOne(): VcpuExit {
    const { vcpu } = this;
    const { data } = vcpu.state;
    // Cuts the slice to one instruction, so that time goes on as it would.
    const reserve = this.budget - 1;
    const grant = (by: number) => {
      data.setInt32(CLOCK.budget, data.getInt32(CLOCK.budget, true) + by, true);
      data.setInt32(CLOCK.sliceBudget, data.getInt32(CLOCK.sliceBudget, true) + by, true);
    };
    grant(-reserve);
    const exit = SoftwareVcpu.prototype.run.call(vcpu);
    grant(reserve);
    return exit;
  }

  private lookup(): { run: CompiledBlock } | undefined {
    const rip = this.vcpu.state.number(CPU.rip);
    if (!this.blocks.has(rip)) this.blocks.set(rip, this.translate(rip));
    return this.blocks.get(rip);
  }

  /** Undefined: nothing to compile there, or a fault, which the interpreter will find as well. */
  private translate(rip: number): { run: CompiledBlock; length: number } | undefined {
    const { vcpu, memory } = this;
    const { state, mmu } = vcpu;
    if (mmu.fetch(this.buffer, rip) === 0) return undefined;
    const linear = state.is64 ? rip : (rip + state.segmentBase(CS)) % TWO_32;
    const host = mmu.hostPage(linear, false);
    if (host === 0) return undefined;
    const page = PAGE - (host & (PAGE - 1));
    const available = state.is64 ? page : Math.min(page, state.segmentLimit(CS) - rip + 1);
    const block = this.compiler.scan(memory.bytes, host, available, BigInt(rip), codeContext(state));
    if (block === undefined) return undefined;
    const module = new WebAssembly.Module(this.compiler.compile([block]));
    const instance = new WebAssembly.Instance(module, this.imports);
    return { run: instance.exports.b0 as CompiledBlock, length: block.places.length };
  }
}
