import type { AccessHandlers } from "../../memory/access-handlers.ts";
import { CLOCK } from "../../memory/layout.ts";
import { type AccessSource, OUTCOME, type Outcome } from "../../memory/watched-access.ts";
import { CPU } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import { WatchJournal } from "./watch-journal.ts";

/** What access handlers are told of one vCPU: each access once, although instructions may start again. */
export class WatchedAccesses {
  readonly cpuSource: AccessSource;
  readonly walkSource: AccessSource;
  /** What handlers have been told in the instruction or delivery in progress. */
  readonly journal = new WatchJournal();
  /** An event is being delivered: there is no instruction. */
  delivering = false;
  /** Code is being fetched: the instruction has not begun. */
  fetching = false;
  private readonly cpu: VcpuState;
  private readonly handlers: AccessHandlers;

  constructor(cpu: VcpuState, handlers: AccessHandlers, index: number) {
    this.cpu = cpu;
    this.handlers = handlers;
    this.cpuSource = this.source("cpu", index);
    this.walkSource = this.source("walk", index);
  }

  private source(by: AccessSource["by"], vcpu: number): AccessSource {
    const accesses = this;
    return {
      by,
      vcpu,
      get rip() {
        return accesses.rip;
      },
    };
  }

  private get rip(): number {
    const { cpu } = this;
    if (this.delivering || this.fetching) return cpu.number(CPU.rip);
    const rip = Number(BigInt.asIntN(64, cpu.u64(CPU.ripBias) + BigInt(cpu.u32(CPU.startPc))));
    return cpu.is64 ? rip : rip >>> 0;
  }

  /** Tells instructions and deliveries of one slice apart. */
  private get place(): number {
    const { data } = this.cpu;
    const executed = data.getInt32(CLOCK.sliceBudget, true) - data.getInt32(CLOCK.budget, true);
    return this.delivering ? -2 - executed : executed;
  }

  /** The instruction (whose budget has been given back) or delivery waits for ring 3 and will start again. */
  abandon(): void {
    this.journal.abandon(this.place + (this.delivering ? 0 : 1));
  }

  /** Tells the handlers of a part of an access, which lies in one page; `mmio`: the one that is asked before the device. */
  report(kind: "read" | "write", physical: number, linear: number, data: Uint8Array, mmio = false): Outcome {
    const { handlers } = this;
    const only = mmio ? handlers.mmio(physical) : undefined;
    if (mmio && only === undefined) return OUTCOME.happens;
    const answer = this.journal.answer(this.place, kind, physical, data);
    if (answer !== undefined) return answer;
    const { place } = this;
    const outcome = handlers.access(kind, physical, linear, data, this.cpuSource, only);
    this.journal.record(place, kind, physical, data, outcome);
    return outcome;
  }
}
