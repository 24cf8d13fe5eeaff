import { type Expr, type FunctionBuilder, simdOpcode } from "../../emit/index.ts";
import { CONVERT, SIMD } from "../../emit/simd.ts";
import { LateValue } from "./lazy-values.ts";

export type LaneBytes = 4 | 8;

/** A lane of an XMM register, as bits or as a number. */
const LANES = {
  4: {
    bits: "i32",
    float: "f32",
    toFloat: CONVERT.f32ReinterpretI32,
    toBits: CONVERT.i32ReinterpretF32,
    extract: SIMD.i32x4Extract,
    replace: SIMD.i32x4Replace,
    replaceFloat: SIMD.f32x4Replace,
  },
  8: {
    bits: "i64",
    float: "f64",
    toFloat: CONVERT.f64ReinterpretI64,
    toBits: CONVERT.i64ReinterpretF64,
    extract: SIMD.i64x2Extract,
    replace: SIMD.i64x2Replace,
    replaceFloat: SIMD.f64x2Replace,
  },
} as const;

/** What `withLane` has made, if no more than that has happened to it. */
function lanePut(whole: Expr, bytes: LaneBytes, lane: number): Expr | undefined {
  if (!(whole instanceof LateValue) || whole.value.immediate !== lane) return undefined;
  const { op } = whole.value;
  const { replace, replaceFloat } = LANES[bytes];
  return op === simdOpcode(replace) || op === simdOpcode(replaceFloat) ? whole.value : undefined;
}

/** What lies under a lane that was put there, by `withLane`, last. */
export const underLane = (whole: Expr, bytes: LaneBytes, lane: number): Expr | undefined =>
  lanePut(whole, bytes, lane)?.a;

/** Bits of the lowest lane. */
export function lowestLane(f: FunctionBuilder, whole: Expr, bytes: LaneBytes): Expr {
  const { bits, extract, toBits } = LANES[bytes];
  const put = lanePut(whole, bytes, 0)?.b;
  if (put === undefined) return f.simd(bits, extract, [whole], 0);
  return put.type === bits ? put : f.convert(bits, toBits, put);
}

/** Bits as a number, if they were one or stand in a lane: then they need not go through a general register. */
export function asLane(f: FunctionBuilder, value: Expr, bytes: LaneBytes): Expr {
  const { float, toFloat } = LANES[bytes];
  const number = f.convert(float, toFloat, value);
  return number.op === toFloat ? value : number;
}

/** `value`: as from `asLane`. */
export function withLane(f: FunctionBuilder, whole: Expr, value: Expr, bytes: LaneBytes, lane: number): Expr {
  const { bits, replace, replaceFloat } = LANES[bytes];
  return f.simd("v128", value.type === bits ? replace : replaceFloat, [whole, value], lane);
}
