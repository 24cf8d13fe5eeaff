import type { Expr } from "../../emit/index.ts";
import { CPU, PX } from "../state.ts";
import type { Family } from "./define.ts";
import type { SystemOperation } from "./system-operations.ts";
import type { X86 } from "./x86.ts";
import { checkAvailable, checkPending, checkWait, endIgnored, summary, X87 } from "./x87-stack.ts";
import { FPU_CONTROL, FPU_STATUS as SW } from "./x87-status.ts";

/** The whole status word, TOP in its place. */
function statusWord(x: X86): Expr {
  return x.or(x.field("i32", CPU.fpuStatus), x.shl(x.field("i32", CPU.fpuTop), 11));
}

/** Layout of an environment in memory: 16 or 32, by the operand-size attribute. */
function layoutWidth(x: X86): Expr {
  const attribute = x.and(x.prefixes(), 3 << PX.attributeShift);
  return x.select(attribute, x.i64(32), x.i64(16));
}

/**
 * Control instructions: those that do not change the instruction and data pointers, and those that only arrange the
 * register stack. The ones whose name has an N do not look at pending exceptions.
 */
export const x87Control: Family = (define) => {
  define("fwait", { opcode: 0x9b, size: "b" }, (x) => checkWait(x));

  define("fninit", { opcode: 0xdb, digit: 4, rm: 3, size: "b" }, (x) => {
    checkAvailable(x);
    x.setField("i32", CPU.fpuControl, FPU_CONTROL.initial);
    x.setField("i32", CPU.fpuEmpty, 0xff);
    for (const field of [CPU.fpuStatus, CPU.fpuTop, CPU.fpuOpcode, CPU.fpuCs, CPU.fpuDs, CPU.fpuIgnored]) {
      x.setField("i32", field, 0);
    }
    for (const field of [CPU.fpuIp, CPU.fpuDp]) x.setField("i64", field, 0);
  });
  define("fnclex", { opcode: 0xdb, digit: 4, rm: 2, size: "b" }, (x) => {
    checkAvailable(x);
    x.setField("i32", CPU.fpuStatus, x.and(x.field("i32", CPU.fpuStatus), SW.conditions));
    x.setField("i32", CPU.fpuIgnored, 0);
  });
  // FENI, FDISI and FSETPM of the 8087 and 287 do nothing since the 387 (SDM vol 3, 22.18.9).
  for (const rm of [0, 1, 4]) define("fneni", { opcode: 0xdb, digit: 4, rm, size: "b" }, (x) => checkAvailable(x));

  define("fldcw", { opcode: 0xd9, digit: 5, operand: "memory", size: "b" }, (x) => {
    checkAvailable(x);
    checkPending(x);
    const word = x.wrap(x.readRm(16));
    const control = x.let(x.or(x.and(word, FPU_CONTROL.writable), FPU_CONTROL.fixed));
    x.setField("i32", CPU.fpuControl, control);
    // A flag that is set already may now be unmasked.
    const status = x.let(x.and(x.field("i32", CPU.fpuStatus), ~SW.summaryAndBusy));
    const next = x.let(x.or(status, summary(x, status, control)));
    x.setField("i32", CPU.fpuStatus, next);
    endIgnored(x, next);
  });
  define("fnstcw", { opcode: 0xd9, digit: 7, operand: "memory", size: "b" }, (x) => {
    checkAvailable(x);
    x.writeRm(x.u64(x.field("i32", CPU.fpuControl)), 16);
  });
  define("fnstsw m16", { opcode: 0xdd, digit: 7, operand: "memory", size: "b" }, (x) => {
    checkAvailable(x);
    x.writeRm(x.u64(statusWord(x)), 16);
  });
  define("fnstsw ax", { opcode: 0xdf, digit: 4, rm: 0, size: "b" }, (x) => {
    checkAvailable(x);
    x.writeAcc(x.u64(statusWord(x)), 16);
  });

  for (const [operation, opcode, digit, waits] of [
    ["fldenv", 0xd9, 4, true],
    ["fstenv", 0xd9, 6, false],
    ["frstor", 0xdd, 4, true],
    ["fsave", 0xdd, 6, false],
  ] as const satisfies readonly (readonly [SystemOperation, number, number, boolean])[]) {
    define(operation, { opcode, digit, operand: "memory", size: "b" }, (x) => {
      checkAvailable(x);
      if (waits) checkPending(x);
      const { offset, segment } = x.rmAddress();
      x.system(operation, offset, x.u64(segment), layoutWidth(x));
    });
  }

  define("fnop", { opcode: 0xd9, digit: 2, rm: 0, size: "b" }, (x) => new X87(x).conclude(0, 0));
  for (const [rm, name, by] of [
    [6, "fdecstp", -1],
    [7, "fincstp", 1],
  ] as const) {
    define(name, { opcode: 0xd9, digit: 6, rm, size: "b" }, (x) => {
      const fpu = new X87(x);
      fpu.setTop(by);
      fpu.conclude(0);
    });
  }
  // FFREEP (DF C0) is undocumented.
  for (const [opcode, name, pops] of [
    [0xdd, "ffree", 0],
    [0xdf, "ffreep", 1],
  ] as const) {
    define(name, { opcode, digit: 0, operand: "register", size: "b" }, (x) => {
      const fpu = new X87(x);
      fpu.free(fpu.operand());
      fpu.pop(pops);
      fpu.conclude(0);
    });
  }
};
