import { CLOCK } from "../memory/layout.ts";
import type { CodeFetch } from "./code-fetch.ts";
import { type CPU_IMPORTS, RESULT } from "./interp/imports.ts";
import { type AccessLog, LOGGED } from "./mmu/access-log.ts";
import { CPU, STOP } from "./state.ts";
import type { SystemContext } from "./system/context.ts";
import type { Interruption } from "./system/delivery.ts";
import { OPERATION_TABLE } from "./system/operations.ts";
import { portRead, portWrite } from "./system/port-access.ts";
import { ABANDON } from "./vcpu-state.ts";

const TWO_32 = 0x1_0000_0000;

/** The slow paths of generated code: what it calls where it does not know better, by the names that it imports. */
export class SlowPaths {
  private readonly context: SystemContext;
  private readonly fetch: CodeFetch;
  private readonly log: AccessLog;
  /** Told of a fault that is to be delivered before the next instruction. */
  private readonly deliverNext: (fault: Interruption) => void;
  private readonly scratchAt: number;
  private readonly scratch: Uint8Array;

  constructor(context: SystemContext, fetch: CodeFetch, log: AccessLog, deliverNext: (fault: Interruption) => void) {
    this.context = context;
    this.fetch = fetch;
    this.log = log;
    this.deliverNext = deliverNext;
    this.scratchAt = context.cpu.base + CPU.scratch;
    this.scratch = context.memory.bytes.subarray(this.scratchAt, this.scratchAt + 64);
  }

  /** What the interpreter's module and compiled code import as `CPU_IMPORTS`. */
  imports(): Record<keyof typeof CPU_IMPORTS, CallableFunction> {
    const { context, fetch, log, scratchAt, scratch } = this;
    const { mmu, cpu } = context;
    const linear = (low: number, high: number) => (cpu.is64 ? high : 0) * TWO_32 + (low >>> 0);
    return {
      slowRead: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        return log.replaying && log.answers(LOGGED.read | bytes, at, scratch.subarray(0, bytes))
          ? scratchAt
          : mmu.slowRead(at, bytes);
      },
      slowWrite: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        return log.replaying && log.answers(LOGGED.write | bytes, at, scratch.subarray(0, bytes))
          ? 1
          : mmu.slowWrite(at, bytes);
      },
      slowModify: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        return log.replaying && log.answers(LOGGED.modify | bytes, at, scratch.subarray(0, bytes))
          ? mmu.beginModify(at, bytes)
          : mmu.slowModify(at, bytes);
      },
      slowProve: (_: number, low: number, high: number, bytes: number) => mmu.slowProve(linear(low, high), bytes),
      commitModify: () => mmu.commitModify(),
      slowFetch: () => fetch.fetch(),
      checkLength: () => fetch.checkLength(),
      system: (_: number, operation: number, px: number) => {
        try {
          return OPERATION_TABLE[operation]!(context, px);
        } catch (thrown) {
          if (thrown !== ABANDON) throw thrown;
          return context.taskSwitched ? this.faultOfNewTask() : RESULT.abandoned;
        }
      },
      portIn: (_: number, port: number, bytes: number) => {
        try {
          return portRead(context, port & 0xffff, bytes);
        } catch (thrown) {
          if (thrown !== ABANDON) throw thrown;
          return 0;
        }
      },
      portOut: (_: number, port: number, bytes: number, value: number) => {
        try {
          portWrite(context, port & 0xffff, value, bytes);
          return 1;
        } catch (thrown) {
          if (thrown !== ABANDON) throw thrown;
          return 0;
        }
      },
    };
  }

  /** What compiled code calls instead: an instruction that is given to the interpreter does nothing twice. */
  logged() {
    const { context, log, scratchAt, scratch } = this;
    const { mmu, cpu } = context;
    const linear = (low: number, high: number) => (cpu.is64 ? high : 0) * TWO_32 + (low >>> 0);
    // The access may cut the budget.
    const begin = (budget = cpu.data.getInt32(CLOCK.budget, true)) => log.begin(cpu.u32(CPU.startPc), budget);
    return {
      logAccess: (kind: number, low: number, high: number, budget: number) => {
        begin(budget);
        log.record(kind, linear(low, high), scratch, kind & 0xff);
      },
      slowRead: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        begin();
        const result = mmu.slowRead(at, bytes);
        if (result === scratchAt) log.record(LOGGED.read | bytes, at, scratch, bytes);
        return result;
      },
      slowWrite: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        begin();
        const result = mmu.slowWrite(at, bytes);
        if (result !== 0) log.record(LOGGED.write | bytes, at, scratch, bytes);
        return result;
      },
      slowModify: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        begin();
        const result = mmu.slowModify(at, bytes);
        if (result === scratchAt) log.record(LOGGED.modify | bytes, at, scratch, bytes);
        return result;
      },
      slowProve: (_: number, low: number, high: number, bytes: number) => {
        begin();
        return mmu.slowProve(linear(low, high), bytes);
      },
    };
  }

  /** The instruction that switched tasks has retired; its successor is the exception. SDM vol 3, 7.3. */
  private faultOfNewTask(): number {
    const { context } = this;
    const { cpu } = context;
    context.taskSwitched = false;
    const errorCode = cpu.u32(CPU.errorCode) | 0;
    this.deliverNext({ vector: cpu.u32(CPU.vector), errorCode, source: "fault" });
    cpu.setU32(CPU.stop, STOP.none);
    context.updateMode();
    return RESULT.leave;
  }
}
