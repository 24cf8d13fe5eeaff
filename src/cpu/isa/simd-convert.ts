import type { Expr } from "../../emit/index.ts";
import { CONVERT, SIMD } from "../../emit/simd.ts";
import { CPU } from "../state.ts";
import type { Family, FormSpec, MandatoryPrefix } from "./define.ts";
import {
  areOrdered,
  asBits,
  asFloat,
  below,
  chooseFloat,
  DOUBLE,
  everyLane,
  FORMATS,
  fromLanes,
  isSafeResult,
  laneOf,
  ordinaryLanes,
  type Precision,
  SINGLE,
  safeResultLanes,
  withExceptions,
} from "./float-lanes.ts";
import { isTruncationQuiet } from "./mxcsr.ts";
import { type Define, enterMmx, fromLow, join, narrow, requireMmx, requireSse, unary, widen, zero } from "./simd.ts";
import type { X86 } from "./x86.ts";

/** Conversions of SSE and SSE2. */
export const simdConvert: Family = (define) => {
  for (const [p, packed, scalar] of FORMATS) {
    fromGeneral(define, p, scalar);
    toGeneral(define, p, scalar);
    fromMmx(define, p, packed);
    toMmx(define, p, packed);
  }
  betweenPrecisions(define);
  packedIntegers(define);
};

const spec = (opcode: number, prefix: MandatoryPrefix, rest: Partial<FormSpec> = {}): FormSpec => ({
  map: 1,
  opcode,
  prefix,
  modrm: true,
  size: "b",
  ...rest,
});

/** Whole numbers below this have exact bounds in either format; WebAssembly's saturation never shows. */
const limitOf = (width: 32 | 64): number => (width === 64 ? 2 ** 63 : 2 ** 31);

/** CVTSI2SS, CVTSI2SD. */
function fromGeneral(define: Define, p: Precision, scalar: MandatoryPrefix): void {
  define("cvtsi2s", spec(0x2a, scalar, { size: "y" }), (x) => {
    requireSse(x);
    const wide = x.width === 64;
    const source = x.readRm(wide ? 64 : 32);
    const value = wide ? source : x.let(x.wrap(source));
    const single = wide ? CONVERT.f32ConvertI64S : CONVERT.f32ConvertI32S;
    const double = wide ? CONVERT.f64ConvertI64S : CONVERT.f64ConvertI32S;
    const convert = () => asBits(x, p, x.convert(p.float, p === SINGLE ? single : double, value));
    // 32 bits always fit a double.
    if (p === DOUBLE && !wide) {
      x.writeXmmRegPart(8, convert());
      return;
    }
    const slow = () => withExceptions(x, false, (call) => call(`${p.suffix}_from_i${wide ? 64 : 32}`, value));
    x.writeXmmRegPart(p.bytes, x.choose(p.bits, x.isQuiet(), convert, slow, true));
  });
}

/** CVTSS2SI, CVTSD2SI and their truncating forms. */
function toGeneral(define: Define, p: Precision, scalar: MandatoryPrefix): void {
  for (const [opcode, truncate] of [
    [0x2c, true],
    [0x2d, false],
  ] as const) {
    define("cvts2si", spec(opcode, scalar, { size: "y" }), (x) => {
      requireSse(x);
      const width = x.width === 64 ? 64 : 32;
      const source = x.readXmmRmLow(p.bytes);
      const value = asFloat(x, p, source);
      const whole = truncate ? value : x.let(x.nearest(value));
      const single = width === 64 ? CONVERT.i64TruncSatF32S : CONVERT.i32TruncSatF32S;
      const double = width === 64 ? CONVERT.i64TruncSatF64S : CONVERT.i32TruncSatF64S;
      const bits = width === 64 ? "i64" : "i32";
      const fits = x.lt(x.fabs(whole), x.of(p.float, limitOf(width)));
      const quiet = truncate ? isTruncationQuiet(x, x.field("i32", CPU.mxcsr)) : x.isQuiet();
      const name = `${p.suffix}_to_i${width}${truncate ? "_truncate" : ""}`;
      const result = x.chooseIfAll(
        bits,
        [quiet, fits],
        () => x.convert(bits, p === SINGLE ? single : double, whole),
        () => withExceptions(x, false, (call) => call(name, source)),
      );
      x.writeReg(width === 64 ? result : x.u64(result), width);
    });
  }
}

/** CVTPI2PS, CVTPI2PD: two integers of an MMX register or of memory. */
function fromMmx(define: Define, p: Precision, packed: MandatoryPrefix): void {
  define("cvtpi2p", spec(0x2a, packed), (x) => {
    requireSse(x);
    // With a memory operand the x87 state stays as it is.
    if (!x.rmIsMemory) {
      requireMmx(x);
      enterMmx(x);
    }
    const source = widen(x, x.readMmxRm());
    if (p === DOUBLE) {
      x.writeXmmReg(unary(x, SIMD.f64x2ConvertLowI32x4S, source));
      return;
    }
    const value = singlesFromIntegers(x, source, 2);
    x.writeXmmRegPart(8, narrow(x, value));
  });
}

/** CVTPS2PI, CVTPD2PI and their truncating forms. */
function toMmx(define: Define, p: Precision, packed: MandatoryPrefix): void {
  for (const [opcode, truncate] of [
    [0x2c, true],
    [0x2d, false],
  ] as const) {
    define("cvtp2pi", spec(opcode, packed), (x) => {
      requireSse(x);
      requireMmx(x);
      const source = p === SINGLE ? widen(x, x.readXmmRmLow(8)) : x.readXmmRm();
      enterMmx(x);
      const result = narrow(x, toIntegers(x, p, source, 2, truncate));
      x.writeMmxReg(result);
    });
  }
}

/** The first `lanes` lanes as 32-bit integers from lane 0 on; other lanes of the result are unspecified or zero. */
function toIntegers(x: X86, p: Precision, source: Expr, lanes: number, truncate: boolean): Expr {
  const nearest = p === SINGLE ? SIMD.f32x4Nearest : SIMD.f64x2Nearest;
  const whole = truncate ? source : x.let(unary(x, nearest, source));
  const fits = everyLane(x, p, below(x, p, whole, limitOf(32)));
  const quiet = truncate ? isTruncationQuiet(x, x.field("i32", CPU.mxcsr)) : x.isQuiet();
  const name = `${p.suffix}_to_i32${truncate ? "_truncate" : ""}`;
  return x.chooseIfAll(
    "v128",
    [quiet, fits],
    () => unary(x, p === SINGLE ? SIMD.i32x4TruncSatF32x4S : SIMD.i32x4TruncSatF64x2SZero, whole),
    () =>
      withExceptions(x, true, (call) =>
        fromLanes(
          x,
          SINGLE,
          Array.from({ length: lanes }, (_, lane) => call(name, laneOf(x, p, source, lane))),
        ),
      ),
  );
}

function betweenPrecisions(define: Define): void {
  define("cvtss2sd", spec(0x5a, "f3"), (x) => {
    requireSse(x);
    const source = x.readXmmRmLow(4);
    const value = asFloat(x, SINGLE, source);
    // Exact; infinities stay what they are.
    const result = chooseFloat(
      x,
      DOUBLE,
      areOrdered(x, SINGLE, source),
      () => x.convert("f64", CONVERT.f64PromoteF32, value),
      () => withExceptions(x, false, (call) => call("f32_to_f64", source)),
    );
    x.writeXmmRegPart(8, asBits(x, DOUBLE, result));
  });
  define("cvtsd2ss", spec(0x5a, "f2"), (x) => {
    requireSse(x);
    const source = x.readXmmRmLow(8);
    const value = x.let(x.convert("f32", CONVERT.f32DemoteF64, asFloat(x, DOUBLE, source)));
    const result = chooseFloat(
      x,
      SINGLE,
      [x.isQuiet(), isSafeResult(x, SINGLE, asBits(x, SINGLE, value), false)],
      () => value,
      () => withExceptions(x, false, (call) => call("f64_to_f32", source)),
    );
    x.writeXmmRegPart(4, asBits(x, SINGLE, result));
  });
  define("cvtps2pd", spec(0x5a, "none"), (x) => {
    requireSse(x);
    const source = widen(x, x.readXmmRmLow(8));
    const result = x.choose(
      "v128",
      everyLane(x, SINGLE, ordinaryLanes(x, SINGLE, source, true)),
      () => unary(x, SIMD.f64x2PromoteLowF32x4, source),
      () =>
        withExceptions(x, true, (call) =>
          fromLanes(
            x,
            DOUBLE,
            [0, 1].map((lane) => call("f32_to_f64", laneOf(x, SINGLE, source, lane))),
          ),
        ),
      true,
    );
    x.writeXmmReg(result);
  });
  define("cvtpd2ps", spec(0x5a, "66"), (x) => {
    requireSse(x);
    const source = x.readXmmRm();
    const value = x.let(unary(x, SIMD.f32x4DemoteF64x2, source));
    const low = join(x, value, value);
    const result = x.chooseIfAll(
      "v128",
      [x.isQuiet(), everyLane(x, SINGLE, safeResultLanes(x, SINGLE, low, false))],
      () => value,
      () =>
        withExceptions(x, true, (call) =>
          fromLanes(
            x,
            SINGLE,
            [0, 1].map((lane) => call("f64_to_f32", laneOf(x, DOUBLE, source, lane))),
          ),
        ),
    );
    x.writeXmmReg(result);
  });
}

/** The first `count` lanes of 32-bit integers as single precision. */
function singlesFromIntegers(x: X86, source: Expr, count: 2 | 4): Expr {
  const lanes = [0, 1, 2, 3].slice(0, count);
  const each = (call: (name: string, ...operands: Expr[]) => Expr) =>
    lanes.map((lane) => call("f32_from_i32", laneOf(x, SINGLE, source, lane)));
  return x.choose(
    "v128",
    x.isQuiet(),
    () => unary(x, SIMD.f32x4ConvertI32x4S, source),
    () => withExceptions(x, true, (call) => fromLanes(x, SINGLE, each(call))),
    true,
  );
}

/** CVTDQ2PS, CVTDQ2PD, CVT(T)PS2DQ, CVT(T)PD2DQ. */
function packedIntegers(define: Define): void {
  define("cvtdq2ps", spec(0x5b, "none"), (x) => {
    requireSse(x);
    const source = x.readXmmRm();
    x.writeXmmReg(singlesFromIntegers(x, source, 4));
  });
  define("cvtdq2pd", spec(0xe6, "f3"), (x) => {
    requireSse(x);
    x.writeXmmReg(unary(x, SIMD.f64x2ConvertLowI32x4S, fromLow(x, x.readXmmRmLow(8))));
  });
  for (const [prefix, truncate] of [
    ["66", false],
    ["f3", true],
  ] as const) {
    define("cvtps2dq", spec(0x5b, prefix), (x) => {
      requireSse(x);
      x.writeXmmReg(toIntegers(x, SINGLE, x.readXmmRm(), 4, truncate));
    });
  }
  for (const [prefix, truncate] of [
    ["f2", false],
    ["66", true],
  ] as const) {
    define("cvtpd2dq", spec(0xe6, prefix), (x) => {
      requireSse(x);
      // The upper half of the result is zero.
      x.writeXmmReg(join(x, toIntegers(x, DOUBLE, x.readXmmRm(), 2, truncate), zero(x)));
    });
  }
}
