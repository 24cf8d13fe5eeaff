/** SSE arithmetic on one lane. SDM vol. 1, 4.9 and 11.5.2; NaN operands: table 4-7. */
import { DE, F32_DEFAULT_NAN, F64_DEFAULT_NAN, IE, MXCSR_FTZ, PRE_COMPUTATION, QNAN, SNAN } from "./constants";
import { ADD, DIVIDE, MULTIPLY, operate, rClass, SUBTRACT, squareRoot } from "./core";
import { aClass, aDenormal, bClass, bDenormal, takeA, takeB, unpackF32, unpackF64 } from "./operand";
import { packBinary, packStatus } from "./pack";

/**
 * Rounding to nearest, PE masked and already recorded: then an operation on ordinary numbers that gives an ordinary
 * number has no effect but its result, and WebAssembly computes that.
 */
export const FAST_BITS: u32 = 0x7020;
export const FAST_STATE: u32 = 0x1020;

export function raise(flagsPtr: usize, flags: u32): void {
  store<u32>(flagsPtr, load<u32>(flagsPtr) | (flags & 0x3f));
}

export function unpack(precision: i32, bits: u64, mxcsr: u32): void {
  if (precision == 24) unpackF32(bits, mxcsr);
  else unpackF64(bits, mxcsr);
}

export function unpackBoth(precision: i32, a: u64, b: u64, mxcsr: u32): void {
  unpack(precision, b, mxcsr);
  takeB();
  unpack(precision, a, mxcsr);
  takeA();
}

/** Rounds and packs; ORs in the exceptions of the computation. */
export function finish(precision: i32, mxcsr: u32, flagsPtr: usize): u64 {
  const bits = packBinary(precision, (mxcsr >> 13) & 3, mxcsr >> 7, (mxcsr & MXCSR_FTZ) != 0);
  raise(flagsPtr, packStatus);
  return bits;
}

function quiet(precision: i32): u64 {
  return precision == 24 ? 0x0040_0000 : 0x0008_0000_0000_0000;
}

function defaultNaN(precision: i32): u64 {
  return precision == 24 ? F32_DEFAULT_NAN : F64_DEFAULT_NAN;
}

/** Flags of the operation itself; true if the result is to be computed. */
function proceeds(flags: u32, mxcsr: u32, flagsPtr: usize): bool {
  raise(flagsPtr, flags);
  return (flags & PRE_COMPUTATION & ~(mxcsr >> 7)) == 0;
}

function binary(operation: i32, precision: i32, a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  unpackBoth(precision, a, b, mxcsr);
  if (aClass >= QNAN || bClass >= QNAN) {
    if (aClass == SNAN || bClass == SNAN) raise(flagsPtr, IE);
    return (aClass >= QNAN ? a : b) | quiet(precision);
  }
  let flags = operate(operation, (mxcsr >> 13) & 3);
  if (flags == 0 && (aDenormal | bDenormal) != 0) flags = DE;
  if (!proceeds(flags, mxcsr, flagsPtr)) return 0;
  return rClass == QNAN ? defaultNaN(precision) : finish(precision, mxcsr, flagsPtr);
}

function root(precision: i32, a: u64, mxcsr: u32, flagsPtr: usize): u64 {
  unpack(precision, a, mxcsr);
  takeA();
  if (aClass >= QNAN) {
    if (aClass == SNAN) raise(flagsPtr, IE);
    return a | quiet(precision);
  }
  let flags = squareRoot();
  if (flags == 0 && aDenormal != 0) flags = DE;
  if (!proceeds(flags, mxcsr, flagsPtr)) return 0;
  return rClass == QNAN ? defaultNaN(precision) : finish(precision, mxcsr, flagsPtr);
}

/** Normal, and not next to the denormals, where a result may have been tiny before rounding. */
// @ts-ignore: decorator
@inline
export function ordinary64(bits: u64): bool {
  return (<u32>(bits >> 52) & 0x7ff) - 2 < 0x7fd;
}

// @ts-ignore: decorator
@inline
export function ordinary32(bits: u32): bool {
  return ((bits >> 23) & 0xff) - 2 < 0xfd;
}

// @ts-ignore: decorator
@inline
export function addable64(bits: u64): bool {
  return ordinary64(bits) || bits << 1 == 0;
}

// @ts-ignore: decorator
@inline
export function addable32(bits: u32): bool {
  return ordinary32(bits) || bits << 1 == 0;
}

export function f64_add(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && addable64(a) && addable64(b)) {
    const bits = reinterpret<u64>(reinterpret<f64>(a) + reinterpret<f64>(b));
    if (addable64(bits)) return bits;
  }
  return binary(ADD, 53, a, b, mxcsr, flagsPtr);
}

export function f64_sub(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && addable64(a) && addable64(b)) {
    const bits = reinterpret<u64>(reinterpret<f64>(a) - reinterpret<f64>(b));
    if (addable64(bits)) return bits;
  }
  return binary(SUBTRACT, 53, a, b, mxcsr, flagsPtr);
}

export function f64_mul(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && ordinary64(a) && ordinary64(b)) {
    const bits = reinterpret<u64>(reinterpret<f64>(a) * reinterpret<f64>(b));
    if (ordinary64(bits)) return bits;
  }
  return binary(MULTIPLY, 53, a, b, mxcsr, flagsPtr);
}

export function f64_div(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && ordinary64(a) && ordinary64(b)) {
    const bits = reinterpret<u64>(reinterpret<f64>(a) / reinterpret<f64>(b));
    if (ordinary64(bits)) return bits;
  }
  return binary(DIVIDE, 53, a, b, mxcsr, flagsPtr);
}

export function f64_sqrt(a: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && <i64>a > 0 && ordinary64(a)) {
    return reinterpret<u64>(Math.sqrt(reinterpret<f64>(a)));
  }
  return root(53, a, mxcsr, flagsPtr);
}

export function f32_add(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && addable32(a) && addable32(b)) {
    const bits = reinterpret<u32>(reinterpret<f32>(a) + reinterpret<f32>(b));
    if (addable32(bits)) return bits;
  }
  return <u32>binary(ADD, 24, a, b, mxcsr, flagsPtr);
}

export function f32_sub(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && addable32(a) && addable32(b)) {
    const bits = reinterpret<u32>(reinterpret<f32>(a) - reinterpret<f32>(b));
    if (addable32(bits)) return bits;
  }
  return <u32>binary(SUBTRACT, 24, a, b, mxcsr, flagsPtr);
}

export function f32_mul(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && ordinary32(a) && ordinary32(b)) {
    const bits = reinterpret<u32>(reinterpret<f32>(a) * reinterpret<f32>(b));
    if (ordinary32(bits)) return bits;
  }
  return <u32>binary(MULTIPLY, 24, a, b, mxcsr, flagsPtr);
}

export function f32_div(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && ordinary32(a) && ordinary32(b)) {
    const bits = reinterpret<u32>(reinterpret<f32>(a) / reinterpret<f32>(b));
    if (ordinary32(bits)) return bits;
  }
  return <u32>binary(DIVIDE, 24, a, b, mxcsr, flagsPtr);
}

export function f32_sqrt(a: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && <i32>a > 0 && ordinary32(a)) {
    return reinterpret<u32>(Mathf.sqrt(reinterpret<f32>(a)));
  }
  return <u32>root(24, a, mxcsr, flagsPtr);
}
