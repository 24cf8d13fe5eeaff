/**
 * From the unrounded result of `core.ts` to bits, with the exceptions of SDM vol. 1, 4.9.1.4-4.9.1.6 (overflow, underflow
 * detected after rounding, precision) and C1, set when the significand was rounded up.
 */
import {
  C1,
  DOWN,
  F80_BIAS,
  F80_DEFAULT_NAN,
  F80_MIN_EXPONENT,
  FINITE,
  INFINITE,
  NEAREST,
  OE,
  PE,
  QNAN,
  TOP,
  TRUNCATE,
  UE,
  UP,
  ZERO,
} from "./constants";
import { rClass, rExponent, rHi, rLo, rSign } from "./core";
import { hi, lo, shiftRightJam } from "./wide";

/** Exceptions and C1 of the last `packBinary`. */
export let packStatus: u32 = 0;

/** Whether rounding goes away from zero. `rest`: what is below the last place, as a fraction of it times 2^64. */
export function roundsUp(rounding: u32, sign: u32, rest: u64, odd: u64): bool {
  if (rounding == NEAREST) return rest > TOP || (rest == TOP && odd != 0);
  return rest != 0 && ((rounding == DOWN && sign != 0) || (rounding == UP && sign == 0));
}

/** Whether an overflow in this mode gives infinity rather than the largest finite number. SDM vol. 1, table 4-10. */
function overflowsToInfinity(rounding: u32, sign: u32): bool {
  return rounding == NEAREST || (rounding != TRUNCATE && (rounding == UP) == (sign == 0));
}

/** Whether rounding (hi:lo) to `precision` bits, with no bound on the exponent, carries into the next power of two. */
function carries(precision: i32, rounding: u32): bool {
  const kept = precision == 64 ? ~(<u64>0) : ~((TOP >> (precision - 1)) - 1);
  if ((rHi & kept) != kept) return false;
  const rest = precision == 64 ? rLo : (rHi << precision) | u64(rLo != 0);
  return roundsUp(rounding, rSign, rest, 1);
}

/**
 * To single (precision 24) or double (53). `masks` holds the exception masks at the place of the flags. With UE or OE
 * unmasked the returned bits mean nothing. `flush`: FTZ, effective only while underflow is masked.
 */
export function packBinary(precision: i32, rounding: u32, masks: u32, flush: bool): u64 {
  packStatus = 0;
  const fractionBits = precision - 1;
  const bias = precision == 24 ? 127 : 1023;
  const sign = (<u64>rSign) << (precision == 24 ? 31 : 63);
  const infinity = (<u64>(2 * bias + 1)) << fractionBits;
  if (rClass == ZERO) return sign;
  if (rClass == INFINITE) return sign | infinity;
  if (rClass == QNAN) return sign | infinity | ((<u64>1) << (fractionBits - 1));

  let significand = rHi | u64(rLo != 0);
  let exponent = rExponent;
  let tiny = false;
  if (exponent < 1 - bias) {
    tiny = exponent < -bias || !carries(precision, rounding);
    if (tiny) {
      if (!(masks & UE)) {
        packStatus = UE | (significand << precision != 0 ? PE : 0);
        return 0;
      }
      if (flush) {
        packStatus = UE | PE;
        return sign;
      }
      shiftRightJam(significand, 0, 1 - bias - exponent);
      significand = hi | u64(lo != 0);
      exponent = 1 - bias;
    }
  }
  const shift = 64 - precision;
  const rest = significand << precision;
  let kept = significand >> shift;
  if (rest != 0) {
    packStatus |= tiny ? PE | UE : PE;
    if (roundsUp(rounding, rSign, rest, kept & 1)) {
      kept++;
      packStatus |= C1;
    }
  }
  // The integer bit of a normal number adds one to the field; a denormal that rounds up to normal carries into it.
  const biased = exponent + bias - 1;
  const bits = ((<u64>biased) << fractionBits) + kept;
  if (biased >= 2 * bias || bits >= infinity) {
    if (!(masks & OE)) {
      packStatus |= OE;
      return 0;
    }
    const toInfinity = overflowsToInfinity(rounding, rSign);
    packStatus = OE | PE | (toInfinity ? C1 : 0);
    return sign | (toInfinity ? infinity : infinity - 1);
  }
  return sign | bits;
}

export function storeF80(slot: usize, sign: u32, field: u32, significand: u64): void {
  store<u64>(slot, significand);
  store<u16>(slot, <u16>((sign << 15) | field), 8);
}

/** Writes the result to an 80-bit slot; returns exceptions and C1. Unmasked OE and UE wrap the exponent (SDM 8.5.4, 8.5.5). */
export function packF80(slot: usize, control: u32, precision: i32): u32 {
  if (rClass != FINITE) {
    if (rClass == ZERO) storeF80(slot, rSign, 0, 0);
    else if (rClass == INFINITE) storeF80(slot, rSign, 0x7fff, TOP);
    else storeF80(slot, 1, 0x7fff, F80_DEFAULT_NAN);
    return 0;
  }
  const rounding = (control >> 10) & 3;
  let status: u32 = 0;
  let exponent = rExponent;
  let significand = rHi;
  let low = rLo;
  let denormal = false;
  if (exponent < F80_MIN_EXPONENT && (exponent < F80_MIN_EXPONENT - 1 || !carries(precision, rounding))) {
    if (control & UE) {
      denormal = true;
      shiftRightJam(significand, low, F80_MIN_EXPONENT - exponent);
      significand = hi;
      low = lo;
      exponent = F80_MIN_EXPONENT;
    } else {
      status = UE;
      exponent += 24576;
      if (exponent < F80_MIN_EXPONENT) {
        storeF80(slot, rSign, 0, 0);
        return UE | PE;
      }
    }
  }
  const unit = TOP >> (precision - 1);
  const rest = precision == 64 ? low : (significand << precision) | u64(low != 0);
  const odd = significand & unit;
  significand &= ~(unit - 1);
  if (rest != 0) {
    status |= denormal ? PE | UE : PE;
    if (roundsUp(rounding, rSign, rest, odd)) {
      status |= C1;
      significand += unit;
      if (significand == 0) {
        significand = TOP;
        exponent++;
      }
    }
  }
  if (exponent > F80_BIAS) {
    if (control & OE) {
      const toInfinity = overflowsToInfinity(rounding, rSign);
      if (toInfinity) storeF80(slot, rSign, 0x7fff, TOP);
      else storeF80(slot, rSign, 0x7ffe, ~(unit - 1));
      return OE | PE | (toInfinity ? C1 : 0);
    }
    status |= OE;
    exponent -= 24576;
    if (exponent > F80_BIAS) {
      storeF80(slot, rSign, 0x7fff, TOP);
      return OE | PE | C1;
    }
  }
  storeF80(slot, rSign, significand & TOP ? <u32>(exponent + F80_BIAS) : 0, significand);
  return status;
}

/** A finite magnitude as an integer: the value, or `integerOverflow` if it needs more than 64 bits. Sets packStatus to PE, C1. */
export let integerOverflow: bool = false;

export function roundToInteger(sign: u32, exponent: i32, significand: u64, rounding: u32): u64 {
  packStatus = 0;
  integerOverflow = exponent > 63;
  if (exponent > 63) return 0;
  shiftRightJam(significand, 0, 63 - exponent);
  const value = hi;
  if (lo == 0) return value;
  packStatus = PE;
  if (!roundsUp(rounding, sign, lo, value & 1)) return value;
  packStatus = PE | C1;
  return value + 1; // exponent 63 leaves no rest, so this never wraps
}
