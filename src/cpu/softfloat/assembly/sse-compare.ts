/** SSE comparisons, minimum and maximum on one lane. SDM vol. 2: CMPPD, COMISD, UCOMISD, MINPD, MAXPD. */
import { DE, FINITE, IE, INFINITE, SNAN, ZERO } from "./constants";
import {
  aClass,
  aDenormal,
  aExponent,
  aSign,
  aSignificand,
  bClass,
  bDenormal,
  bExponent,
  bSign,
  bSignificand,
} from "./operand";
import { addable32, addable64, raise, unpackBoth } from "./sse-arithmetic";

export const LESS: i32 = -1;
export const EQUAL: i32 = 0;
export const GREATER: i32 = 1;
export const UNORDERED: i32 = 2;

function compareMagnitudes(): i32 {
  if (aClass != bClass) return aClass < bClass ? LESS : GREATER; // ZERO < FINITE < INFINITE
  if (aClass != FINITE) return EQUAL;
  if (aExponent != bExponent) return aExponent < bExponent ? LESS : GREATER;
  if (aSignificand != bSignificand) return aSignificand < bSignificand ? LESS : GREATER;
  return EQUAL;
}

/** Orders the operands a and b. */
export function order(): i32 {
  if (aClass > INFINITE || bClass > INFINITE) return UNORDERED;
  if (aClass == ZERO && bClass == ZERO) return EQUAL;
  if (aSign != bSign) return aSign ? LESS : GREATER;
  const magnitudes = compareMagnitudes();
  return aSign ? -magnitudes : magnitudes;
}

/** Compares and raises IE or DE; `signalling`: quiet NaNs are invalid too. */
function compare(precision: i32, a: u64, b: u64, mxcsr: u32, flagsPtr: usize, signalling: bool): i32 {
  unpackBoth(precision, a, b, mxcsr);
  const relation = order();
  if (relation == UNORDERED) {
    if (signalling || aClass == SNAN || bClass == SNAN) raise(flagsPtr, IE);
  } else if (aDenormal | bDenormal) {
    raise(flagsPtr, DE);
  }
  return relation;
}

/** ZF, PF, CF at their places in EFLAGS. */
function eflags(relation: i32): u32 {
  if (relation == UNORDERED) return 0x45;
  if (relation == EQUAL) return 0x40;
  return relation == LESS ? 0x01 : 0;
}

/** Predicates 0-7: EQ, LT, LE, UNORD, then their negations. LT, LE, NLT and NLE signal on quiet NaNs. */
function holds(precision: i32, a: u64, b: u64, predicate: u32, mxcsr: u32, flagsPtr: usize): bool {
  const test = predicate & 3;
  const relation = compare(precision, a, b, mxcsr, flagsPtr, test == 1 || test == 2);
  let result: bool;
  if (test == 0) result = relation == EQUAL;
  else if (test == 1) result = relation == LESS;
  else if (test == 2) result = relation == LESS || relation == EQUAL;
  else result = relation == UNORDERED;
  return result != ((predicate & 4) != 0);
}

/** The second operand whenever the first is not strictly on the wanted side: NaNs, equal values, zeros of either sign. */
function choose(precision: i32, a: u64, b: u64, mxcsr: u32, flagsPtr: usize, wanted: i32): u64 {
  const relation = compare(precision, a, b, mxcsr, flagsPtr, true);
  const first = relation == wanted;
  const bits = first ? a : b;
  // A denormal operand that DAZ reads as zero is also delivered as zero.
  if (first ? aClass == ZERO : bClass == ZERO) return bits & (precision == 24 ? 0x8000_0000 : 0x8000_0000_0000_0000);
  return bits;
}

/** The comparison of ordinary numbers and zeros, which raises nothing. */
function ordered64(a: u64, b: u64): u32 {
  const x = reinterpret<f64>(a);
  const y = reinterpret<f64>(b);
  return x == y ? 0x40 : u32(x < y);
}

function ordered32(a: u32, b: u32): u32 {
  const x = reinterpret<f32>(a);
  const y = reinterpret<f32>(b);
  return x == y ? 0x40 : u32(x < y);
}

export function f64_compare(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u32 {
  if (addable64(a) && addable64(b)) return ordered64(a, b);
  return eflags(compare(53, a, b, mxcsr, flagsPtr, true));
}

export function f64_compare_unordered(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u32 {
  if (addable64(a) && addable64(b)) return ordered64(a, b);
  return eflags(compare(53, a, b, mxcsr, flagsPtr, false));
}

export function f64_cmp(a: u64, b: u64, predicate: u32, mxcsr: u32, flagsPtr: usize): u64 {
  return holds(53, a, b, predicate, mxcsr, flagsPtr) ? ~(<u64>0) : 0;
}

export function f64_min(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if (addable64(a) && addable64(b)) return reinterpret<f64>(a) < reinterpret<f64>(b) ? a : b;
  return choose(53, a, b, mxcsr, flagsPtr, LESS);
}

export function f64_max(a: u64, b: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if (addable64(a) && addable64(b)) return reinterpret<f64>(a) > reinterpret<f64>(b) ? a : b;
  return choose(53, a, b, mxcsr, flagsPtr, GREATER);
}

export function f32_compare(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if (addable32(a) && addable32(b)) return ordered32(a, b);
  return eflags(compare(24, a, b, mxcsr, flagsPtr, true));
}

export function f32_compare_unordered(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if (addable32(a) && addable32(b)) return ordered32(a, b);
  return eflags(compare(24, a, b, mxcsr, flagsPtr, false));
}

export function f32_cmp(a: u32, b: u32, predicate: u32, mxcsr: u32, flagsPtr: usize): u32 {
  return holds(24, a, b, predicate, mxcsr, flagsPtr) ? ~(<u32>0) : 0;
}

export function f32_min(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if (addable32(a) && addable32(b)) return reinterpret<f32>(a) < reinterpret<f32>(b) ? a : b;
  return <u32>choose(24, a, b, mxcsr, flagsPtr, LESS);
}

export function f32_max(a: u32, b: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if (addable32(a) && addable32(b)) return reinterpret<f32>(a) > reinterpret<f32>(b) ? a : b;
  return <u32>choose(24, a, b, mxcsr, flagsPtr, GREATER);
}
