import type { Expr } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import type { Family, MandatoryPrefix } from "./define.ts";
import {
  areOrdered,
  areOrdinary,
  asBits,
  asFloat,
  both,
  chooseFloat,
  DOUBLE,
  eachLane,
  everyLane,
  FORMATS,
  isNormalOrMore,
  isNotDenormal,
  isPositive,
  isSafeResult,
  laneOf,
  ordinaryLanes,
  type Precision,
  positive,
  SINGLE,
  safeResultLanes,
  withExceptions,
} from "./float-lanes.ts";
import { binary, type Define, requireSse, shuffleLanes, unary } from "./simd.ts";
import type { X86 } from "./x86.ts";

/** An arithmetic operation on two operands. */
interface Arithmetic {
  readonly name: "add" | "sub" | "mul" | "div";
  readonly opcode: number;
  readonly vector: { readonly f32: number; readonly f64: number };
  /** Zero operands and results need no care: sums of zeros are what WebAssembly says, and raise nothing. */
  readonly zeros: boolean;
}

const ARITHMETIC = [
  { name: "add", opcode: 0x58, vector: { f32: SIMD.f32x4Add, f64: SIMD.f64x2Add }, zeros: true },
  { name: "mul", opcode: 0x59, vector: { f32: SIMD.f32x4Mul, f64: SIMD.f64x2Mul }, zeros: false },
  { name: "sub", opcode: 0x5c, vector: { f32: SIMD.f32x4Sub, f64: SIMD.f64x2Sub }, zeros: true },
  { name: "div", opcode: 0x5e, vector: { f32: SIMD.f32x4Div, f64: SIMD.f64x2Div }, zeros: false },
] as const satisfies readonly Arithmetic[];
const [ADD, , SUB] = ARITHMETIC;

/** Arithmetic of SSE, SSE2 and SSE3. */
export const simdFloat: Family = (define) => {
  for (const [p, packed, scalar] of FORMATS) {
    for (const operation of ARITHMETIC) {
      const spec = { map: 1, opcode: operation.opcode, modrm: true, size: "b" } as const;
      define(`${operation.name}p`, { ...spec, prefix: packed }, (x) => {
        requireSse(x);
        const source = x.readXmmRm();
        x.writeXmmReg(packedArithmetic(x, p, x.readXmmReg(), source, operation));
      });
      define(`${operation.name}s`, { ...spec, prefix: scalar }, (x) => {
        requireSse(x);
        const source = x.readXmmRmLow(p.bytes);
        x.writeXmmRegPart(p.bytes, scalarArithmetic(x, p, x.readXmmRegLow(p.bytes), source, operation));
      });
    }
    squareRoots(define, p, packed, scalar);
    extremes(define, p, packed, scalar);
  }
  horizontal(define);
};

function scalarArithmetic(x: X86, p: Precision, a: Expr, b: Expr, { name, zeros }: Arithmetic): Expr {
  const result = x.let(x[name](asFloat(x, p, a), asFloat(x, p, b)));
  const accepts = zeros ? isNotDenormal : isNormalOrMore;
  // Infinities and NaN show in the result.
  const conditions = [x.isQuiet(), accepts(x, p, a), accepts(x, p, b), isSafeResult(x, p, asBits(x, p, result), zeros)];
  const slow = () => withExceptions(x, false, (call) => call(`${p.suffix}_${name}`, a, b));
  return asBits(
    x,
    p,
    chooseFloat(x, p, conditions, () => result, slow),
  );
}

/** `even`: what the even lanes do instead (ADDSUB). */
function packedArithmetic(
  x: X86,
  p: Precision,
  a: Expr,
  b: Expr,
  operation: Arithmetic,
  even: Arithmetic = operation,
): Expr {
  const { zeros } = operation;
  let value = binary(x, operation.vector[p.suffix], a, b);
  if (even !== operation) {
    const lanes = Array.from({ length: p.lanes }, (_, lane) => (lane & 1 ? lane + p.lanes : lane));
    value = shuffleLanes(x, p.bytes, binary(x, even.vector[p.suffix], a, b), value, lanes);
  }
  const result = x.let(value);
  return x.chooseIfAll(
    "v128",
    [x.isQuiet(), areOrdinary(x, p, a, b, result, zeros)],
    () => result,
    () =>
      withExceptions(x, true, (call) =>
        eachLane(x, p, (lane) =>
          call(`${p.suffix}_${(lane & 1 ? operation : even).name}`, laneOf(x, p, a, lane), laneOf(x, p, b, lane)),
        ),
      ),
  );
}

function squareRoots(define: Define, p: Precision, packed: MandatoryPrefix, scalar: MandatoryPrefix): void {
  const spec = { map: 1, opcode: 0x51, modrm: true, size: "b" } as const;
  const name = `${p.suffix}_sqrt`;
  // The root of a normal number is a normal number far from the denormals.
  define("sqrtp", { ...spec, prefix: packed }, (x) => {
    requireSse(x);
    const source = x.readXmmRm();
    const result = x.let(unary(x, p.sqrt, source));
    const operands = both(x, ordinaryLanes(x, p, source, false), positive(x, p, source));
    const ordinary = everyLane(x, p, both(x, operands, safeResultLanes(x, p, result, false)));
    const value = x.chooseIfAll(
      "v128",
      [x.isQuiet(), ordinary],
      () => result,
      () => withExceptions(x, true, (call) => eachLane(x, p, (lane) => call(name, laneOf(x, p, source, lane)))),
    );
    x.writeXmmReg(value);
  });
  define("sqrts", { ...spec, prefix: scalar }, (x) => {
    requireSse(x);
    const source = x.readXmmRmLow(p.bytes);
    const conditions = [x.isQuiet(), isPositive(x, p, source)];
    const slow = () => withExceptions(x, false, (call) => call(name, source));
    const value = asBits(
      x,
      p,
      chooseFloat(x, p, conditions, () => x.sqrt(asFloat(x, p, source)), slow),
    );
    x.writeXmmRegPart(p.bytes, value);
  });
}

/** MIN and MAX give the second operand unless the first is strictly on the wanted side: pmin and pmax, operands swapped. */
function extremes(define: Define, p: Precision, packed: MandatoryPrefix, scalar: MandatoryPrefix): void {
  for (const [name, opcode, op] of [
    ["min", 0x5d, p.pmin],
    ["max", 0x5f, p.pmax],
  ] as const) {
    const spec = { map: 1, opcode, modrm: true, size: "b" } as const;
    define(`${name}p`, { ...spec, prefix: packed }, (x) => {
      requireSse(x);
      const b = x.readXmmRm();
      const a = x.readXmmReg();
      const value = x.choose(
        "v128",
        everyLane(x, p, both(x, ordinaryLanes(x, p, a, true), ordinaryLanes(x, p, b, true))),
        () => binary(x, op, b, a),
        () =>
          withExceptions(x, true, (call) =>
            eachLane(x, p, (lane) => call(`${p.suffix}_${name}`, laneOf(x, p, a, lane), laneOf(x, p, b, lane))),
          ),
        true,
      );
      x.writeXmmReg(value);
    });
    define(`${name}s`, { ...spec, prefix: scalar }, (x) => {
      requireSse(x);
      const b = x.readXmmRmLow(p.bytes);
      const a = x.readXmmRegLow(p.bytes);
      const [left, right] = [asFloat(x, p, a), asFloat(x, p, b)];
      const value = x.chooseIfAll(
        p.bits,
        areOrdered(x, p, a, b),
        () => x.select(name === "min" ? x.lt(left, right) : x.gt(left, right), a, b),
        () => withExceptions(x, false, (call) => call(`${p.suffix}_${name}`, a, b)),
      );
      x.writeXmmRegPart(p.bytes, value);
    });
  }
}

/** ADDSUB, HADD and HSUB of SSE3. */
function horizontal(define: Define): void {
  for (const [p, prefix] of [
    [SINGLE, "f2"],
    [DOUBLE, "66"],
  ] as const) {
    const spec = { map: 1, modrm: true, size: "b", prefix } as const;
    define("addsubp", { ...spec, opcode: 0xd0 }, (x) => {
      requireSse(x);
      const source = x.readXmmRm();
      x.writeXmmReg(packedArithmetic(x, p, x.readXmmReg(), source, ADD, SUB));
    });
    for (const [name, opcode, operation] of [
      ["haddp", 0x7c, ADD],
      ["hsubp", 0x7d, SUB],
    ] as const) {
      define(name, { ...spec, opcode }, (x) => {
        requireSse(x);
        const source = x.readXmmRm();
        const destination = x.readXmmReg();
        const lanes = (odd: number) => Array.from({ length: p.lanes }, (_, lane) => lane * 2 + odd);
        const even = x.let(shuffleLanes(x, p.bytes, destination, source, lanes(0)));
        const odd = x.let(shuffleLanes(x, p.bytes, destination, source, lanes(1)));
        x.writeXmmReg(packedArithmetic(x, p, even, odd, operation));
      });
    }
  }
}
