/** FPREM and FPREM1. SDM vol. 2: FPREM, FPREM1. */
import { C0, C1, C2, C3, INFINITE, UE, ZERO } from "./constants";
import { setFinite, setResult } from "./core";
import { aClass, aExponent, aSign, aSignificand, bClass, bExponent, bSignificand } from "./operand";
import { packF80 } from "./pack";
import { divide, remainder } from "./wide";
import { denormalOperands, invalidResult, propagateTwo, stops, unpackTwo } from "./x87-nan";

/** Low three quotient bits to C0 (bit 2), C3 (bit 1), C1 (bit 0). */
function quotientBits(quotient: u64): u32 {
  const q = <u32>quotient;
  return (q & 4 ? C0 : 0) | (q & 2 ? C3 : 0) | (q & 1 ? C1 : 0);
}

let quotient: u64 = 0;

/** a * 2^count mod b; the low 64 bits of the quotient in `quotient`. */
function reduce(a: u64, count: i32, b: u64): u64 {
  quotient = u64(a >= b);
  let rest = a >= b ? a - b : a;
  if (count > 0) {
    // b has its top bit set and rest < b, so rest * 2^64 / b has a 64-bit quotient for every count up to 63.
    const digits = divide(rest >> (64 - count), rest << count, b);
    rest = remainder;
    quotient = (quotient << count) + digits;
  }
  return rest;
}

function partial(dst: usize, a: usize, b: usize, control: u32, nearest: bool): u32 {
  unpackTwo(a, b);
  if (aClass > INFINITE || bClass > INFINITE) return propagateTwo(dst, control);
  if (aClass == INFINITE || bClass == ZERO) return invalidResult(dst, control);
  const status = denormalOperands(control);
  if (stops(status, control)) return status;
  if (aClass == ZERO) {
    setResult(ZERO, aSign);
    return status | packF80(dst, control, 64);
  }
  const difference = bClass == INFINITE ? -2 : aExponent - bExponent;
  if (difference < -1 || (difference < 0 && !nearest)) {
    setFinite(aSign, aExponent, aSignificand, 0);
    // An infinite divisor hands a denormal back as it is, even with underflow unmasked.
    return status | packF80(dst, bClass == INFINITE ? control | UE : control, 64);
  }
  let codes: u32 = 0;
  let sign = aSign;
  let rest: u64;
  let exponent = bExponent;
  if (difference >= 64) {
    // Part of the way: the exponent falls by 32 to 63, as the processor chooses to.
    const count = (difference & 31) | 32;
    rest = reduce(aSignificand, count, bSignificand);
    exponent += difference - count;
    codes = C2;
  } else if (difference < 0) {
    // b/2 <= |a| < b: the nearest quotient is 1 unless a is exactly half of b or less.
    if (aSignificand <= bSignificand) {
      setFinite(aSign, aExponent, aSignificand, 0);
      return status | packF80(dst, control, 64);
    }
    quotient = 1;
    rest = bSignificand - (aSignificand - bSignificand);
    exponent = aExponent;
    sign ^= 1;
    codes = C1;
  } else {
    rest = reduce(aSignificand, difference, bSignificand);
    if (nearest && rest != 0) {
      const other = bSignificand - rest;
      if (rest > other || (rest == other && (quotient & 1) != 0)) {
        rest = other;
        quotient++;
        sign ^= 1;
      }
    }
    codes = quotientBits(quotient);
  }
  if (rest == 0) {
    setResult(ZERO, aSign);
  } else {
    const shift = <i32>clz(rest);
    setFinite(sign, exponent - shift, rest << shift, 0);
  }
  return status | codes | packF80(dst, control, 64);
}

export function f80_rem(dst: usize, a: usize, b: usize, control: u32): u32 {
  return partial(dst, a, b, control, false);
}

export function f80_rem_nearest(dst: usize, a: usize, b: usize, control: u32): u32 {
  return partial(dst, a, b, control, true);
}
