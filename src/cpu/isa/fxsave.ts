import type { Expr } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import { CPU, PX } from "../state.ts";
import type { Family } from "./define.ts";
import { FXSAVE_AREA as AREA } from "./fxsave-area.ts";
import { MXCSR_WRITABLE } from "./mxcsr.ts";
import { binary, bytesConstant } from "./simd.ts";
import type { X86 } from "./x86.ts";
import { endIgnored } from "./x87-stack.ts";
import { FPU_CONTROL, FPU_STATUS } from "./x87-status.ts";

/** CR0.EM and TS, CR4.OSFXSR (SDM vol 3, 2.5). */
const CR0_UNAVAILABLE = 0xc;
const CR4_OSFXSR = 0x200;

/**
 * FXSAVE and FXRSTOR: kernels run one at each context switch, so an aligned area in one page of ordinary memory is done
 * here. Everything else (faults, pages without an ordinary translation, CR4.OSFXSR = 0) is a slow path.
 */
export const fxsave: Family = (define) => {
  const memory = { map: 1, opcode: 0xae, prefix: "none", operand: "memory", size: "b" } as const;
  define("fxsave", { ...memory, digit: 0 }, (x) => {
    const area = ordinaryArea(x, true);
    x.if(
      area,
      () => save(x, area),
      () => slowly(x, "fxsave"),
      true,
    );
  });
  define("fxrstor", { ...memory, digit: 1 }, (x) => {
    const area = ordinaryArea(x, false);
    const usable = x.choose(
      "i32",
      area,
      () => x.eqz(x.and(x.load("i32", 4, area, AREA.mxcsr), ~MXCSR_WRITABLE)),
      () => x.i32(0),
      true,
    );
    x.if(
      usable,
      () => restore(x, area),
      () => slowly(x, "fxrstor"),
      true,
    );
  });
};

function slowly(x: X86, operation: "fxsave" | "fxrstor"): void {
  const { offset, segment } = x.rmAddress();
  x.system(operation, offset, x.u64(segment), x.u64(x.rexW()));
}

/** Host address of the area, or 0. */
function ordinaryArea(x: X86, write: boolean): Expr {
  const unavailable = x.and(x.field("i32", CPU.cr0), CR0_UNAVAILABLE);
  const unknown = x.xor(x.and(x.field("i32", CPU.cr4), CR4_OSFXSR), CR4_OSFXSR);
  // Host pages are aligned as guest pages are.
  // Small addresses may wrap inside the area.
  const wraps = x.and(x.prefixes(), PX.addressSmall);
  const host = x.plainHost(x.rmAddress(), AREA.size, write);
  return x.let(x.select(x.or(x.or(x.or(unavailable, unknown), wraps), x.and(host, 15)), x.i32(0), host));
}

/** Slot `index` of the stack in the vCPU block. */
const stackSlot = (x: X86, top: Expr, index: number): Expr =>
  x.add(x.fieldAddress(CPU.fpu), x.shl(x.and(x.add(top, index), 7), 4));

const xmmRegisters = (x: X86): number => (x.mode64 ? 16 : 8);
/** Ten bytes of a slot; the other six are reserved. */
const significant = (x: X86, slot: Expr): Expr =>
  binary(
    x,
    SIMD.and,
    slot,
    bytesConstant(x, (index) => (index < 10 ? 0xff : 0)),
  );

function save(x: X86, area: Expr): void {
  const top = x.field("i32", CPU.fpuTop);
  x.store(2, area, x.field("i32", CPU.fpuControl), AREA.control);
  x.store(2, area, x.or(x.field("i32", CPU.fpuStatus), x.shl(top, 11)), AREA.status);
  x.store(2, area, x.and(x.xor(x.field("i32", CPU.fpuEmpty), 0xff), 0xff), AREA.tags);
  x.store(2, area, x.field("i32", CPU.fpuOpcode), AREA.opcode);
  for (const [at, offset, selector] of [
    [AREA.ip, CPU.fpuIp, CPU.fpuCs],
    [AREA.dp, CPU.fpuDp, CPU.fpuDs],
  ] as const) {
    const whole = x.field("i64", offset);
    const far = x.or(x.and(whole, 0xffff_ffff), x.shl(x.u64(x.and(x.field("i32", selector), 0xffff)), 32));
    x.store(8, area, x.select(x.rexW(), whole, far), at);
  }
  x.store(4, area, x.field("i32", CPU.mxcsr), AREA.mxcsr);
  x.store(4, area, x.i32(MXCSR_WRITABLE), AREA.mxcsrMask);
  for (let i = 0; i < 8; i++) {
    x.scope(() => x.storeV128(area, significant(x, x.loadV128(stackSlot(x, top, i))), AREA.registers + i * 16));
  }
  for (let i = 0; i < xmmRegisters(x); i++) {
    x.scope(() => x.storeV128(area, x.readXmm(i), AREA.xmm + i * 16));
  }
}

function restore(x: X86, area: Expr): void {
  const part = (bytes: 1 | 2 | 4, at: number) => x.load("i32", bytes, area, at);
  const control = x.let(x.or(x.and(part(2, AREA.control), FPU_CONTROL.writable), FPU_CONTROL.fixed));
  const saved = part(2, AREA.status);
  const top = x.let(x.and(x.shrU(saved, 11), 7));
  const status = x.let(x.and(saved, FPU_STATUS.exceptions | FPU_STATUS.stackFault | FPU_STATUS.conditions));
  const unmasked = x.and(x.and(status, x.xor(control, -1)), FPU_STATUS.exceptions);
  // ES and B follow from the exceptions and their masks, whatever the image says.
  const next = x.let(x.or(status, x.select(unmasked, x.i32(FPU_STATUS.summaryAndBusy), x.i32(0))));
  x.setField("i32", CPU.fpuStatus, next);
  endIgnored(x, next);
  x.setField("i32", CPU.fpuControl, control);
  x.setField("i32", CPU.fpuTop, top);
  x.setField("i32", CPU.fpuEmpty, x.xor(part(1, AREA.tags), 0xff));
  x.setField("i32", CPU.fpuOpcode, x.and(part(2, AREA.opcode), 0x7ff));
  for (const [at, offset, selector] of [
    [AREA.ip, CPU.fpuIp, CPU.fpuCs],
    [AREA.dp, CPU.fpuDp, CPU.fpuDs],
  ] as const) {
    const whole = x.load("i64", 8, area, at);
    x.setField("i64", offset, x.select(x.rexW(), whole, x.and(whole, 0xffff_ffff)));
    x.setField("i32", selector, x.select(x.rexW(), x.i32(0), part(2, at + 4)));
  }
  x.writeMxcsr(part(4, AREA.mxcsr));
  for (let i = 0; i < 8; i++) {
    x.scope(() => x.storeV128(stackSlot(x, top, i), significant(x, x.loadV128(area, AREA.registers + i * 16))));
  }
  for (let i = 0; i < xmmRegisters(x); i++) {
    x.scope(() => x.writeXmm(i, x.loadV128(area, AREA.xmm + i * 16)));
  }
}
