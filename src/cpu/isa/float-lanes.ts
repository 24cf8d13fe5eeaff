import type { Expr, FunctionRef, FunctionType, ModuleBuilder, ValueType } from "../../emit/index.ts";
import { CONVERT, SIMD } from "../../emit/simd.ts";
import { CPU, VECTOR } from "../state.ts";
import type { MandatoryPrefix } from "./define.ts";
import { isQuiet, MXCSR } from "./mxcsr.ts";
import { binary, bytesConstant, lanesConstant, shift, unary, zero } from "./simd.ts";
import type { X86 } from "./x86.ts";

/** CR4.OSXMMEXCPT (SDM vol 3, 2.5). */
const CR4_OSXMMEXCPT = 0x400;

/** Single or double precision: what WebAssembly calls its operations, and the numbers that bound the fast path. */
export interface Precision {
  readonly suffix: "f32" | "f64";
  readonly bytes: 4 | 8;
  readonly lanes: 4 | 2;
  readonly bits: "i32" | "i64";
  readonly float: ValueType & ("f32" | "f64");
  readonly toFloat: number;
  readonly toBits: number;
  readonly extract: number;
  readonly splat: number;
  readonly allTrue: number;
  readonly bitmask: number;
  readonly abs: number;
  readonly eq: number;
  readonly lt: number;
  readonly le: number;
  readonly ge: number;
  readonly sqrt: number;
  readonly pmin: number;
  readonly pmax: number;
  /** Smallest normal number. */
  readonly least: number;
  readonly leastBits: bigint;
  /** In the word that sign and exponent are in. */
  readonly exponentMask: number;
  readonly greatest: number;
}

export const SINGLE: Precision = {
  suffix: "f32",
  bytes: 4,
  lanes: 4,
  bits: "i32",
  float: "f32",
  toFloat: CONVERT.f32ReinterpretI32,
  toBits: CONVERT.i32ReinterpretF32,
  extract: SIMD.i32x4Extract,
  splat: SIMD.i32x4Splat,
  allTrue: SIMD.i32x4AllTrue,
  bitmask: SIMD.i32x4Bitmask,
  abs: SIMD.f32x4Abs,
  eq: SIMD.f32x4Eq,
  lt: SIMD.f32x4Lt,
  le: SIMD.f32x4Le,
  ge: SIMD.f32x4Ge,
  sqrt: SIMD.f32x4Sqrt,
  pmin: SIMD.f32x4Pmin,
  pmax: SIMD.f32x4Pmax,
  least: 2 ** -126,
  leastBits: 1n << 23n,
  exponentMask: 0x7f80_0000,
  greatest: (2 - 2 ** -23) * 2 ** 127,
};

export const DOUBLE: Precision = {
  suffix: "f64",
  bytes: 8,
  lanes: 2,
  bits: "i64",
  float: "f64",
  toFloat: CONVERT.f64ReinterpretI64,
  toBits: CONVERT.i64ReinterpretF64,
  extract: SIMD.i64x2Extract,
  splat: SIMD.i64x2Splat,
  allTrue: SIMD.i64x2AllTrue,
  bitmask: SIMD.i64x2Bitmask,
  abs: SIMD.f64x2Abs,
  eq: SIMD.f64x2Eq,
  lt: SIMD.f64x2Lt,
  le: SIMD.f64x2Le,
  ge: SIMD.f64x2Ge,
  sqrt: SIMD.f64x2Sqrt,
  pmin: SIMD.f64x2Pmin,
  pmax: SIMD.f64x2Pmax,
  least: 2 ** -1022,
  leastBits: 1n << 52n,
  exponentMask: 0x7ff0_0000,
  greatest: Number.MAX_VALUE,
};

/** Precision and mandatory prefix of the packed and the scalar form of an opcode. */
export const FORMATS: readonly (readonly [precision: Precision, packed: MandatoryPrefix, scalar: MandatoryPrefix])[] = [
  [SINGLE, "none", "f3"],
  [DOUBLE, "66", "f2"],
];

// --- scalars ----------------------------------------------------------------------------------------------------

export const asFloat = (x: X86, p: Precision, bits: Expr): Expr => x.let(x.convert(p.float, p.toFloat, bits));
export const asBits = (x: X86, p: Precision, value: Expr): Expr => x.convert(p.bits, p.toBits, value);

/** The word that sign and exponent are in (i32). */
const head = (x: X86, p: Precision, bits: Expr): Expr => (p === SINGLE ? bits : x.wrap(x.shrU(bits, 32)));
const withoutSign = (x: X86, bits: Expr): Expr => x.shl(bits, 1);

/** i32: neither denormal, which would raise DE, nor zero. */
export const isNormalOrMore = (x: X86, p: Precision, bits: Expr): Expr =>
  x.ne(x.and(head(x, p, bits), p.exponentMask), 0);

/** i32: zero, or `isNormalOrMore`. */
export const isNotDenormal = (x: X86, p: Precision, bits: Expr): Expr =>
  x.geU(x.sub(withoutSign(x, bits), 1), x.of(p.bits, p.leastBits * 2n - 1n));

/** i32: normal, positive and finite. */
export const isPositive = (x: X86, p: Precision, bits: Expr): Expr => {
  const least = p.exponentMask & -p.exponentMask;
  return x.ltU(x.sub(head(x, p, bits), least), p.exponentMask - least);
};

/** i32: finite, and so far from the denormals that it cannot have been tiny before rounding; or, if allowed, zero. */
export const isSafeResult = (x: X86, p: Precision, bits: Expr, zeros: boolean): Expr => {
  const least = (p.exponentMask & -p.exponentMask) * 2;
  const safe = x.ltU(x.sub(withoutSign(x, head(x, p, bits)), least * 2), p.exponentMask * 2 - least * 2);
  return zeros ? x.or(safe, x.eqz(withoutSign(x, bits))) : safe;
};

/** i32 each: none is a NaN or denormal. */
export const areOrdered = (x: X86, p: Precision, ...operands: Expr[]): Expr[] =>
  operands.flatMap((bits) => {
    const value = asFloat(x, p, bits);
    return [isNotDenormal(x, p, bits), x.eq(value, value)];
  });

/** `chooseIfAll` with a number on one side and bits on the other. */
export const chooseFloat = (x: X86, p: Precision, conditions: readonly Expr[], usual: () => Expr, slow: () => Expr) =>
  x.chooseIfAll(p.float, conditions, usual, () => x.convert(p.float, p.toFloat, slow()));

// --- vectors ----------------------------------------------------------------------------------------------------

const numbers = (x: X86, p: Precision, value: number): Expr => {
  const view = new DataView(new ArrayBuffer(8));
  if (p.bytes === 4) view.setFloat32(0, value, true);
  else view.setFloat64(0, value, true);
  return bytesConstant(x, (index) => view.getUint8(index % p.bytes));
};

/** Mask of the lanes with a normal number, infinity or, if allowed, zero. A denormal operand would raise DE. */
export const ordinaryLanes = (x: X86, p: Precision, value: Expr, zeros: boolean): Expr => {
  const normal = binary(x, p.ge, unary(x, p.abs, value), numbers(x, p, p.least));
  return zeros ? binary(x, SIMD.or, normal, binary(x, p.eq, value, numbers(x, p, 0))) : normal;
};

export const safeResultLanes = (x: X86, p: Precision, value: Expr, zeros: boolean): Expr => {
  const magnitude = unary(x, p.abs, value);
  const low = binary(x, p.ge, magnitude, numbers(x, p, p.least * 2));
  const safe = binary(x, SIMD.and, low, binary(x, p.le, magnitude, numbers(x, p, p.greatest)));
  return zeros ? binary(x, SIMD.or, safe, binary(x, p.eq, value, numbers(x, p, 0))) : safe;
};

const words = (x: X86, value: number): Expr => x.simd("v128", SIMD.i32x4Splat, [x.i32(value)]);
const MIN_32 = 0x8000_0000;
const MIN_64 = 1n << 63n;

/** Lanes in which a product or quotient is not what `isSafeResult` says, or an operand is denormal. */
function unsafeProducts(x: X86, p: Precision, a: Expr, b: Expr, result: Expr): Expr {
  const exponent = (value: Expr) => binary(x, SIMD.and, value, words(x, p.exponentMask));
  const denormal = binary(x, SIMD.i32x4Eq, binary(x, SIMD.i32x4MinU, exponent(a), exponent(b)), zero(x));
  // Signed comparisons are all there is: the range begins at the smallest number.
  const least = (p.exponentMask & -p.exponentMask) * 4;
  const above = binary(x, SIMD.i32x4Add, shift(x, SIMD.i32x4Shl, result, 1), words(x, MIN_32 - least));
  const unsafe = binary(x, SIMD.i32x4GtS, above, words(x, p.exponentMask * 2 - least - 1 + MIN_32));
  return binary(x, SIMD.or, denormal, unsafe);
}

/** Lanes in which the result is not finite, or anything is denormal: a sum that is not has never been tiny. */
function unsafeSums(x: X86, p: Precision, a: Expr, b: Expr, result: Expr): Expr {
  const all = words(x, p.exponentMask);
  const infinite = binary(x, SIMD.i32x4Eq, binary(x, SIMD.and, result, all), all);
  const denormal = p === SINGLE ? denormalSingles(x, [a, b, result]) : denormalDoubles(x, [a, b, result]);
  return binary(x, SIMD.or, infinite, denormal);
}

/** Zero, less one, is the largest number, so that the denormals are the smallest. */
function denormalSingles(x: X86, values: readonly Expr[]): Expr {
  const lowered = values.map((value) =>
    binary(x, SIMD.i32x4Add, shift(x, SIMD.i32x4Shl, value, 1), words(x, MIN_32 - 1)),
  );
  const least = lowered.reduce((some, one) => binary(x, SIMD.i32x4MinS, some, one));
  return binary(x, SIMD.i32x4GtS, words(x, Number(SINGLE.leastBits) * 2 - 1 + MIN_32), least);
}

function denormalDoubles(x: X86, values: readonly Expr[]): Expr {
  const splat = (value: bigint) => x.simd("v128", SIMD.i64x2Splat, [x.i64(value)]);
  const denormals = values.map((value) => {
    const lowered = binary(x, SIMD.i64x2Add, shift(x, SIMD.i64x2Shl, value, 1), splat(MIN_64 - 1n));
    return binary(x, SIMD.i64x2GtS, splat(DOUBLE.leastBits * 2n - 1n + MIN_64), lowered);
  });
  return denormals.reduce((some, one) => binary(x, SIMD.or, some, one));
}

/** i32: all lanes have operands and a result that need no care. Of doubles, the upper words tell. */
export function areOrdinary(x: X86, p: Precision, a: Expr, b: Expr, result: Expr, zeros: boolean): Expr {
  const unsafe = (zeros ? unsafeSums : unsafeProducts)(x, p, a, b, result);
  return x.eqz(x.simd("i32", p.bitmask, [unsafe]));
}

/** Lanes whose magnitude is below a number. */
export const below = (x: X86, p: Precision, value: Expr, limit: number): Expr =>
  binary(x, p.lt, unary(x, p.abs, value), numbers(x, p, limit));

/** Lanes above zero. */
export const positive = (x: X86, p: Precision, value: Expr): Expr => binary(x, p.lt, numbers(x, p, 0), value);

export const both = (x: X86, ...masks: Expr[]): Expr => masks.reduce((all, mask) => binary(x, SIMD.and, all, mask));
export const everyLane = (x: X86, p: Precision, mask: Expr): Expr => x.simd("i32", p.allTrue, [mask]);
export const laneOf = (x: X86, p: Precision, value: Expr, lane: number): Expr =>
  x.simd(p.bits, p.extract, [value], lane);

/** Puts lanes (bits) together, from lane 0 on; the others are zero. */
export function fromLanes(x: X86, p: Precision, lanes: readonly Expr[]): Expr {
  const replace = p.bytes === 4 ? SIMD.i32x4Replace : SIMD.i64x2Replace;
  const none = lanesConstant(x, 32, () => 0);
  return lanes.reduce((all, value, lane) => x.simd("v128", replace, [all, value], lane), none);
}

/** A vector of what `compute` gives for each lane, one after the other. */
export const eachLane = (x: X86, p: Precision, compute: (lane: number) => Expr): Expr =>
  fromLanes(
    x,
    p,
    Array.from({ length: p.lanes }, (_, lane) => compute(lane)),
  );

// --- MXCSR ------------------------------------------------------------------------------------------------------

/** Where soft-float functions leave the exceptions of one instruction. */
const FLAGS = CPU.scratch2;

/**
 * The soft-float calls of one instruction: `compute` makes them with `call`, then MXCSR collects what they raised. An
 * unmasked exception is #XM (#UD if the system does not know it) and nothing is written. SDM vol 1, 11.5.
 */
export function withExceptions<T>(x: X86, packed: boolean, compute: (call: Call) => T): T {
  const mxcsr = x.field("i32", CPU.mxcsr);
  const flagsAddress = x.let(x.fieldAddress(FLAGS));
  x.setField("i32", FLAGS, 0);
  const result = compute((name, ...operands) => x.helper(name, ...operands, mxcsr, flagsAddress));
  const vector = x.collectExceptions(packed);
  x.if(vector, () => x.fault(vector), undefined, false);
  return result;
}

export const COLLECT: { readonly name: string; readonly type: FunctionType } = {
  name: "collectExceptions",
  type: { params: ["i32", "i32"], results: ["i32", "i32"] },
};

/** (cpu, packed) → vector of the exception that the soft-float calls of an instruction end in, or 0; `isQuiet` from now on. */
export function collectFunction(module: ModuleBuilder): FunctionRef {
  const f = module.function(COLLECT.name, COLLECT.type);
  const [cpu, packed] = [f.param(0), f.param(1)];
  const field = (offset: number) => f.load("i32", 4, cpu, offset);
  const [mxcsr, raised, cr4] = [field(CPU.mxcsr), field(FLAGS), field(CPU.cr4)];
  const unmasked = f.let(f.xor(f.shrU(mxcsr, MXCSR.maskShift), -1));
  // IE, DE and ZE are found before any lane is computed: unmasked, they hide what computing would have raised.
  const before = f.and(f.and(raised, unmasked), 7);
  const flags = f.let(f.and(f.select(f.and(packed, f.ne(before, 0)), f.and(raised, 7), raised), MXCSR.flags));
  const next = f.let(f.or(mxcsr, flags));
  f.store(4, cpu, next, CPU.mxcsr);
  const vector = f.select(f.and(cr4, CR4_OSXMMEXCPT), f.i32(VECTOR.xm), f.i32(VECTOR.ud));
  f.return(f.select(f.and(flags, unmasked), vector, f.i32(0)), isQuiet(f, next));
  return f;
}

/** A soft-float function with its own operands; MXCSR and the place for exceptions are added. */
export type Call = (name: string, ...operands: Expr[]) => Expr;
