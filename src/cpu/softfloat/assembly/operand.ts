/**
 * Operands taken apart. A finite value is `significand / 2^63 * 2^exponent` with the top bit of the significand set,
 * whatever format it came from. `u*` is the value unpacked last; `takeA` and `takeB` keep it as an operand of the core.
 */
import {
  FINITE,
  F80_BIAS,
  F80_MIN_EXPONENT,
  INFINITE,
  MXCSR_DAZ,
  QNAN,
  SNAN,
  TOP,
  UNSUPPORTED,
  ZERO,
} from "./constants";

export let uClass: i32 = 0;
export let uSign: u32 = 0;
export let uExponent: i32 = 0;
export let uSignificand: u64 = 0;
export let uDenormal: u32 = 0;

export let aClass: i32 = 0;
export let aSign: u32 = 0;
export let aExponent: i32 = 0;
export let aSignificand: u64 = 0;
export let aDenormal: u32 = 0;

export let bClass: i32 = 0;
export let bSign: u32 = 0;
export let bExponent: i32 = 0;
export let bSignificand: u64 = 0;
export let bDenormal: u32 = 0;

export function takeA(): void {
  aClass = uClass;
  aSign = uSign;
  aExponent = uExponent;
  aSignificand = uSignificand;
  aDenormal = uDenormal;
}

export function takeB(): void {
  bClass = uClass;
  bSign = uSign;
  bExponent = uExponent;
  bSignificand = uSignificand;
  bDenormal = uDenormal;
}

/** `fraction`: the fraction field moved up to bits 62 and below; `minimum`: the exponent of the smallest normal number. */
function unpackBinary(field: i32, top: i32, bias: i32, fraction: u64, daz: u32): void {
  uDenormal = 0;
  uSignificand = fraction | TOP;
  if (field == top) {
    uClass = fraction == 0 ? INFINITE : fraction & (TOP >> 1) ? QNAN : SNAN;
  } else if (field != 0) {
    uClass = FINITE;
    uExponent = field - bias;
  } else if (fraction == 0 || daz) {
    uClass = ZERO;
  } else {
    const shift = <i32>clz(fraction);
    uClass = FINITE;
    uDenormal = 1;
    uSignificand = fraction << shift;
    uExponent = 1 - bias - shift;
  }
}

export function unpackF64(bits: u64, mxcsr: u32): void {
  uSign = <u32>(bits >> 63);
  unpackBinary(<i32>(bits >> 52) & 0x7ff, 0x7ff, 1023, (bits << 11) & ~TOP, mxcsr & MXCSR_DAZ);
}

/** `bits`: a single in the low half. */
export function unpackF32(bits: u64, mxcsr: u32): void {
  uSign = <u32>(bits >> 31) & 1;
  unpackBinary(<i32>(bits >> 23) & 0xff, 0xff, 127, (bits << 40) & ~TOP, mxcsr & MXCSR_DAZ);
}

/** An 80-bit slot: significand with its explicit integer bit at +0, sign and exponent at +8. SDM vol. 1, 4.2.2, 8.2.2. */
export function unpackF80(slot: usize): void {
  const significand = load<u64>(slot);
  const head = <i32>load<u16>(slot, 8);
  const field = head & 0x7fff;
  uSign = <u32>head >> 15;
  uDenormal = 0;
  uSignificand = significand;
  if (field == 0) {
    if (significand == 0) {
      uClass = ZERO;
    } else {
      // Denormals, and pseudo-denormals with the integer bit set, count from the smallest normal exponent.
      const shift = <i32>clz(significand);
      uClass = FINITE;
      uDenormal = 1;
      uSignificand = significand << shift;
      uExponent = F80_MIN_EXPONENT - shift;
    }
  } else if ((significand & TOP) == 0) {
    uClass = UNSUPPORTED;
  } else if (field == 0x7fff) {
    uClass = significand == TOP ? INFINITE : significand & (TOP >> 1) ? QNAN : SNAN;
  } else {
    uClass = FINITE;
    uExponent = field - F80_BIAS;
  }
}
