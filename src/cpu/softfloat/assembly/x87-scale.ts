/** FRNDINT, FSCALE, FXTRACT. SDM vol. 2. */
import { FINITE, INFINITE, UE, ZE, ZERO } from "./constants";
import { setFinite, setResult } from "./core";
import { aClass, aExponent, aSign, aSignificand, bClass, bExponent, bSign, bSignificand } from "./operand";
import { packF80, packStatus, roundToInteger, storeF80 } from "./pack";
import {
  denormalOperand,
  denormalOperands,
  invalidResult,
  propagateOne,
  propagateTwo,
  stops,
  unpackOne,
  unpackTwo,
} from "./x87-nan";
import { f80_from_i64 } from "./x87-convert";

export function f80_round(dst: usize, a: usize, control: u32): u32 {
  unpackOne(a);
  if (aClass > INFINITE) return propagateOne(dst, control);
  const status = denormalOperand(control);
  if (stops(status, control)) return status;
  if (aClass != FINITE || aExponent >= 63) {
    store<u64>(dst, load<u64>(a));
    store<u16>(dst, load<u16>(a, 8), 8);
    return status;
  }
  const value = roundToInteger(aSign, aExponent, aSignificand, (control >> 10) & 3);
  if (value == 0) {
    storeF80(dst, aSign, 0, 0);
  } else {
    const shift = <u32>clz(value);
    storeF80(dst, aSign, 16383 + 63 - shift, value << shift);
  }
  return status | packStatus;
}

/** Beyond this every scale factor overflows or underflows, even with the exponent wrapped. */
const HUGE_EXPONENT: i32 = 0x20000;

export function f80_scale(dst: usize, a: usize, b: usize, control: u32): u32 {
  unpackTwo(a, b);
  if (aClass > INFINITE || bClass > INFINITE) return propagateTwo(dst, control);
  if (bClass == INFINITE && aClass == (bSign ? INFINITE : ZERO)) return invalidResult(dst, control);
  const status = denormalOperands(control);
  if (stops(status, control)) return status;
  if (aClass != FINITE) {
    setResult(aClass, aSign);
  } else if (bClass == INFINITE) {
    setResult(bSign ? ZERO : INFINITE, aSign);
  } else {
    let count = 0;
    if (bClass == FINITE && bExponent >= 0) {
      count = bExponent >= 17 ? HUGE_EXPONENT : <i32>(bSignificand >> (63 - bExponent));
      if (bSign) count = -count;
    }
    setFinite(aSign, aExponent + count, aSignificand, 0);
  }
  // Scaling by zero hands a denormal back as it is, even with underflow unmasked.
  return status | packF80(dst, bClass == ZERO ? control | UE : control, 64);
}

/** Exponent to `exponent`, significand to `significand`. */
export function f80_extract(exponent: usize, significand: usize, a: usize, control: u32): u32 {
  unpackOne(a);
  if (aClass > INFINITE) {
    const status = propagateOne(significand, control);
    if (!stops(status, control)) {
      store<u64>(exponent, load<u64>(significand));
      store<u16>(exponent, load<u16>(significand, 8), 8);
    }
    return status;
  }
  if (aClass == ZERO) {
    if (stops(ZE, control)) return ZE;
    storeF80(exponent, 1, 0x7fff, 0x8000_0000_0000_0000);
    storeF80(significand, aSign, 0, 0);
    return ZE;
  }
  const status = denormalOperand(control);
  if (stops(status, control)) return status;
  if (aClass == INFINITE) {
    storeF80(exponent, 0, 0x7fff, 0x8000_0000_0000_0000);
    storeF80(significand, aSign, 0x7fff, 0x8000_0000_0000_0000);
    return status;
  }
  f80_from_i64(exponent, aExponent);
  storeF80(significand, aSign, 16383, aSignificand);
  return status;
}
