import type { Expr } from "../../emit/index.ts";
import { CONVERT } from "../../emit/simd.ts";
import type { Family } from "./define.ts";
import { asBits, asFloat, eachLane, laneOf, SINGLE } from "./float-lanes.ts";
import { requireSse } from "./simd.ts";
import type { X86 } from "./x86.ts";

/**
 * RCP and RSQRT: approximations with a relative error of at most 1.5 * 2^-12 (SDM vol 2), no exceptions, MXCSR ignored.
 *
 * The SDM leaves the values open. Those of Intel processors are the exact function in the middle of the operand's
 * segment, rounded to 12 significant bits: 2048 segments of the significand for RCP, 1024 in each of two binades for
 * RSQRT. That formula gives every value that they give, so no table is needed.
 */
export const reciprocals: Family = (define) => {
  for (const [name, opcode, lane] of [
    ["rsqrt", 0x52, reciprocalRoot],
    ["rcp", 0x53, reciprocal],
  ] as const) {
    const spec = { map: 1, opcode, modrm: true, size: "b" } as const;
    define(`${name}ps`, { ...spec, prefix: "none" }, (x) => {
      requireSse(x);
      const source = x.readXmmRm();
      x.writeXmmReg(eachLane(x, SINGLE, (index) => lane(x, x.let(laneOf(x, SINGLE, source, index)))));
    });
    define(`${name}ss`, { ...spec, prefix: "f3" }, (x) => {
      requireSse(x);
      x.writeXmmRegPart(4, lane(x, x.readXmmRmLow(4)));
    });
  }
};

const SIGN = 0x8000_0000 | 0;
const EXPONENT = 0x7f80_0000;
const ONE = 0x3f80_0000;
const QUIET = 0x40_0000;
const DEFAULT_NAN = 0xffc0_0000 | 0;

/** `value * 2^13` rounded to an integer, then scaled back: 12 significant bits for results in [0.5, 1]. Bits (i32). */
const rounded = (x: X86, value: Expr): Expr => {
  const steps = x.floor(x.add(x.mul(value, x.f64(8192)), x.f64(0.5)));
  return asBits(x, SINGLE, x.convert("f32", CONVERT.f32DemoteF64, x.mul(steps, x.f64(1 / 8192))));
};

/** The middle of a segment: the operand's upper bits, then a one. As a double. */
const middle = (x: X86, bits: Expr): Expr => x.convert("f64", CONVERT.f64PromoteF32, asFloat(x, SINGLE, bits));

function reciprocal(x: X86, bits: Expr): Expr {
  const magnitude = x.let(x.and(bits, ~SIGN));
  const sign = x.and(bits, SIGN);
  const exponent = x.let(x.shrU(magnitude, 23));
  const significand = x.or(x.or(x.and(bits, 0x7f_f000), 0x800), ONE);
  // The value lies in [0.5, 1), its exponent field is 126; results below the normal numbers are zero.
  const scaled = x.add(rounded(x, x.div(x.f64(1), middle(x, significand))), x.shl(x.sub(127, exponent), 23));
  const normal = x.select(x.gtS(exponent, 252), x.i32(0), scaled);
  const finite = x.select(exponent, normal, x.i32(EXPONENT));
  const infinity = x.select(x.eq(magnitude, EXPONENT), x.i32(0), finite);
  return x.let(x.select(x.gtU(magnitude, EXPONENT), x.or(bits, QUIET), x.or(infinity, sign)));
}

function reciprocalRoot(x: X86, bits: Expr): Expr {
  const magnitude = x.let(x.and(bits, ~SIGN));
  const sign = x.let(x.and(bits, SIGN));
  const exponent = x.let(x.shrU(magnitude, 23));
  // Even powers of two come out: what is left lies in [1, 4), its root in (0.5, 1].
  const odd = x.xor(x.and(exponent, 1), 1);
  const significand = x.add(x.or(x.or(x.and(bits, 0x7f_e000), 0x1000), ONE), x.shl(odd, 23));
  const root = rounded(x, x.div(x.f64(1), x.sqrt(middle(x, significand))));
  const normal = x.add(root, x.shl(x.shrS(x.sub(x.add(odd, 127), exponent), 1), 23));
  const finite = x.select(exponent, x.select(sign, x.i32(DEFAULT_NAN), normal), x.or(sign, EXPONENT));
  const infinity = x.select(x.eq(magnitude, EXPONENT), x.select(sign, x.i32(DEFAULT_NAN), x.i32(0)), finite);
  return x.let(x.select(x.gtU(magnitude, EXPONENT), x.or(bits, QUIET), infinity));
}
