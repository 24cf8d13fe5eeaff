import type { Expr } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import { CPU, VECTOR } from "../state.ts";
import type { InstructionSet, OpcodeMap } from "./define.ts";
import type { X86 } from "./x86.ts";
import { checkPending } from "./x87-stack.ts";

/** CR0.EM and TS, CR4.OSFXSR (SDM vol 3, 2.5). */
const CR0 = { em: 4, ts: 8 } as const;
const CR4_OSFXSR = 0x200;

export type Define = InstructionSet["define"];
/** Operands of the same width to a result, all v128. */
export type LaneOperation = (x: X86, a: Expr, b: Expr) => Expr;

/** #UD and #NM of every instruction that touches XMM registers or MXCSR. SDM vol 3, table 13-1. */
export function requireSse(x: X86): void {
  x.checkOnce("sse", () => {
    const cr0 = x.and(x.field("i32", CPU.cr0), CR0.em | CR0.ts);
    const unsupported = x.xor(x.and(x.field("i32", CPU.cr4), CR4_OSFXSR), CR4_OSFXSR);
    const trouble = x.let(x.or(cr0, unsupported));
    const vector = x.select(x.eq(trouble, CR0.ts), x.i32(VECTOR.nm), x.i32(VECTOR.ud));
    x.if(trouble, () => x.fault(vector), undefined, false);
  });
}

/** #UD, #NM and #MF of every instruction that touches MMX registers. SDM vol 3, table 12-1. */
export function requireMmx(x: X86): void {
  x.checkOnce("mmx", () => {
    const trouble = x.let(x.and(x.field("i32", CPU.cr0), CR0.em | CR0.ts));
    const vector = x.select(x.and(trouble, CR0.em), x.i32(VECTOR.ud), x.i32(VECTOR.nm));
    x.if(trouble, () => x.fault(vector), undefined, false);
  });
  checkPending(x);
}

/**
 * What every MMX instruction but EMMS does to the x87 state: TOP is 0, no register is empty. SDM vol 1, 9.5.1. When a load
 * faults, none of it happens; when a conversion faults, all of it has happened; see `resetTop` for stores.
 */
export function enterMmx(x: X86): void {
  resetTop(x);
  x.setField("i32", CPU.fpuEmpty, 0);
}

/** On Intel processors a store that faults leaves TOP 0 already, but the tags unchanged; so do stores here. */
export function resetTop(x: X86): void {
  x.setField("i32", CPU.fpuTop, 0);
}

/** A v128 constant whose bytes are `byte(0)` to `byte(15)`. */
export const bytesConstant = (x: X86, byte: (index: number) => number): Expr =>
  x.v128Const(Uint8Array.from({ length: 16 }, (_, index) => byte(index)));

/** A v128 constant of 16-, 32- or 64-bit lanes. */
export function lanesConstant(x: X86, bits: 16 | 32 | 64, lane: (index: number) => number | bigint): Expr {
  const value = (index: number) => BigInt.asUintN(bits, BigInt(lane(index)));
  return bytesConstant(x, (at) => Number((value(Math.floor((at * 8) / bits)) >> BigInt((at * 8) % bits)) & 0xffn));
}

export const zero = (x: X86): Expr => bytesConstant(x, () => 0);
/** Byte n is n. */
export const byteNumbers = (x: X86): Expr => bytesConstant(x, (index) => index);

export const binary = (x: X86, op: number, a: Expr, b: Expr): Expr => x.simd("v128", op, [a, b]);
export const unary = (x: X86, op: number, a: Expr): Expr => x.simd("v128", op, [a]);
/** Shifts each lane by an i32. */
export const shift = (x: X86, op: number, a: Expr, count: number | Expr): Expr =>
  x.simd("v128", op, [a, typeof count === "number" ? x.i32(count) : count]);

/** Bytes of `a` (0-15) and `b` (16-31) by constant numbers. */
export const shuffle = (x: X86, a: Expr, b: Expr, byte: (index: number) => number): Expr =>
  x.simd(
    "v128",
    SIMD.i8x16Shuffle,
    [a, b],
    Uint8Array.from({ length: 16 }, (_, index) => byte(index)),
  );

/** Lanes of `bytes` bytes of `a` (numbers from 0) and `b` (going on after them). */
export const shuffleLanes = (x: X86, bytes: number, a: Expr, b: Expr, lanes: readonly number[]): Expr =>
  shuffle(x, a, b, (index) => lanes[Math.floor(index / bytes)]! * bytes + (index % bytes));

/** An MMX value in both halves. */
export const widen = (x: X86, value: Expr): Expr => x.let(x.simd("v128", SIMD.i64x2Splat, [value]));
/** The low half. */
export const narrow = (x: X86, value: Expr): Expr => x.simd("i64", SIMD.i64x2Extract, [value], 0);
/** The low half of `low`, then that of `high`. */
export const join = (x: X86, low: Expr, high: Expr): Expr => shuffleLanes(x, 8, low, high, [0, 2]);
/** A value of 32 or 64 bits and zeros above. */
export const fromLow = (x: X86, value: Expr): Expr =>
  x.simd("v128", value.type === "i64" ? SIMD.i64x2Replace : SIMD.i32x4Replace, [zero(x), value], 0);

/** `xmm, xmm/m128` with a 66h prefix. */
export function defineXmm(define: Define, name: string, opcode: number, operation: LaneOperation, map: OpcodeMap = 1) {
  define(name, { map, opcode, prefix: "66", modrm: true, size: "b" }, (x) => {
    requireSse(x);
    const source = x.readXmmRm();
    x.writeXmmReg(operation(x, x.readXmmReg(), source));
  });
}

/** `mm, mm/m64` without a prefix. The operation sees each operand in both halves; the low half is the result. */
export function defineMmx(
  define: Define,
  name: string,
  opcode: number,
  operation: LaneOperation,
  map: OpcodeMap = 1,
  memoryBytes: 4 | 8 = 8,
) {
  define(name, { map, opcode, prefix: "none", modrm: true, size: "b" }, (x) => {
    requireMmx(x);
    const source = widen(x, x.readMmxRm(memoryBytes));
    const result = narrow(x, operation(x, widen(x, x.readMmxReg()), source));
    enterMmx(x);
    x.writeMmxReg(result);
  });
}

/** The same operation on MMX and XMM registers. */
export function definePacked(
  define: Define,
  name: string,
  opcode: number,
  operation: LaneOperation,
  options: { readonly map?: OpcodeMap; readonly mmx?: LaneOperation } = {},
) {
  defineMmx(define, name, opcode, options.mmx ?? operation, options.map);
  defineXmm(define, name, opcode, operation, options.map);
}
