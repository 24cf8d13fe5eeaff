/** FYL2X and FYL2XP1. SDM vol. 2. */
import { F80_MIN_EXPONENT, FINITE, INFINITE, PE, TOP, UE, ZE, ZERO } from "./constants";
import { rExponent, setFinite, setResult } from "./core";
import { aClass, aExponent, aSign, aSignificand, bClass, bExponent, bSign, bSignificand } from "./operand";
import { packF80 } from "./pack";
import { oddSeries, squareFraction, timesOnePlusSum } from "./series";
import { INVERSE_LN2_HI, INVERSE_LN2_LO } from "./transcendental-constants";
import { divideFraction, hi, lo, mulFraction, normalise, shiftRightJam } from "./wide";
import { denormalOperands, invalidResult, propagateTwo, stops, unpackTwo } from "./x87-nan";

/** Square root of 2, as a fraction of 2^63. */
const ROOT_2: u64 = 0xb504_f333_f9de_6484;

/** A logarithm: mantissa (zero for log 1), exponent, sign. */
let logHi: u64 = 0;
let logLo: u64 = 0;
let logExponent: i32 = 0;
let logSign: u32 = 0;

/** 2 atanh(z) / ln 2 for z = n/d * 2^exponent, both with their top bits set; |z| < 0.1716. Leaves the mantissa in `log*`. */
function logOfRatio(nHi: u64, nLo: u64, dHi: u64, dLo: u64, exponent: i32): void {
  let zExponent = exponent - 1;
  if (nHi > dHi || (nHi == dHi && nLo >= dLo)) {
    nLo = (nHi << 63) | (nLo >> 1);
    nHi >>= 1;
    zExponent++;
  }
  divideFraction(nHi, nLo, dHi, dLo);
  const zHi = hi;
  const zLo = lo;
  squareFraction(zHi, zLo, zExponent);
  const last = zExponent < -60 ? 3 : zExponent < -20 ? 7 : zExponent < -8 ? 15 : 47;
  oddSeries(hi, lo, last, false);
  timesOnePlusSum(zHi, zLo);
  mulFraction(hi, lo, INVERSE_LN2_HI, INVERSE_LN2_LO);
  // The halves in 1 + sum and in 1 / (2 ln 2), and the 2 before atanh: a factor of 8.
  logExponent = zExponent + 3 - normalise(hi, lo);
  logHi = hi;
  logLo = lo;
}

/** log2 of mantissa (mHi:mLo) / 2^127 * 2^exponent. */
function logOf(mHi: u64, mLo: u64, exponent: i32): void {
  let whole = exponent;
  let numeratorHi: u64;
  let numeratorLo: u64;
  let low = mHi + TOP;
  let sign: u32 = 0;
  if (mHi < ROOT_2) {
    numeratorHi = mHi - TOP;
    numeratorLo = mLo;
  } else {
    // m/2 - 1 and m/2 + 1, in units half as large.
    whole++;
    sign = 1;
    numeratorLo = 0 - mLo;
    numeratorHi = 0 - mHi - u64(mLo != 0);
    low = mHi;
  }
  const wholeSign = u32(whole < 0);
  const magnitude = <u64>(whole < 0 ? -whole : whole);
  if ((numeratorHi | numeratorLo) == 0) {
    logHi = magnitude == 0 ? 0 : magnitude << clz(magnitude);
    logLo = 0;
    logExponent = 63 - <i32>clz(magnitude);
    logSign = wholeSign;
    return;
  }
  const shift = normalise(numeratorHi, numeratorLo);
  logOfRatio(hi, lo, TOP | (low >> 1), (low << 63) | (mLo >> 1), -1 - shift);
  logSign = sign;
  if (whole == 0) return;
  const wholeExponent = 63 - <i32>clz(magnitude);
  const wholeHi = magnitude << clz(magnitude);
  shiftRightJam(logHi, logLo, wholeExponent - logExponent);
  if (sign == wholeSign) {
    logHi = wholeHi + hi;
    logLo = lo;
    logExponent = wholeExponent;
    if (logHi < wholeHi) {
      logLo = (logHi << 63) | (logLo >> 1);
      logHi = TOP | (logHi >> 1);
      logExponent++;
    }
  } else {
    const count = normalise(wholeHi - hi - u64(lo != 0), 0 - lo);
    logHi = hi;
    logLo = lo;
    logExponent = wholeExponent - count;
  }
  logSign = wholeSign;
}

/**
 * Result b * log; `exact`: the logarithm is an integer. Processors raise PE (and UE for a denormal) even then; they come
 * to negative integers from a mantissa just short of the next power of two, which shows in directed rounding.
 */
function timesB(dst: usize, control: u32, exact: bool): u32 {
  const short = exact && logSign != 0;
  if (short) {
    const shift = normalise(logHi - 1, ~(<u64>0));
    logHi = hi;
    logLo = lo;
    logExponent -= shift;
  }
  mulFraction(logHi, logLo, bSignificand, 0);
  const shift = normalise(hi, lo);
  setFinite(logSign ^ bSign, logExponent + bExponent + 1 - shift, hi, exact && !short ? lo : lo | 1);
  const status = packF80(dst, control, 64);
  if (status & PE) return status;
  return status | PE | (rExponent < F80_MIN_EXPONENT ? UE : 0);
}

/** a = x, b = y: y log2 x. */
export function f80_log2(dst: usize, a: usize, b: usize, control: u32): u32 {
  unpackTwo(a, b);
  if (aClass > INFINITE || bClass > INFINITE) return propagateTwo(dst, control);
  if (aClass == ZERO) {
    if (bClass == ZERO) return invalidResult(dst, control);
    setResult(INFINITE, bSign ^ 1);
    const status = bClass == INFINITE ? 0 : ZE;
    return stops(status, control) ? status : status | packF80(dst, control, 64);
  }
  if (aSign) return invalidResult(dst, control);
  const one = aClass == FINITE && aExponent == 0 && aSignificand == TOP;
  if ((aClass == INFINITE && bClass == ZERO) || (one && bClass == INFINITE)) return invalidResult(dst, control);
  const status = denormalOperands(control);
  if (stops(status, control)) return status;
  const below = u32(aClass == FINITE && aExponent < 0);
  if (one || bClass == ZERO) {
    setResult(ZERO, bSign ^ below);
  } else if (aClass == INFINITE || bClass == INFINITE) {
    setResult(INFINITE, bSign ^ below);
  } else {
    logOf(aSignificand, 0, aExponent);
    return status | timesB(dst, control, aSignificand == TOP);
  }
  return status | packF80(dst, control, 64);
}

/** a = x, b = y: y log2(1 + x). */
export function f80_log2_plus_1(dst: usize, a: usize, b: usize, control: u32): u32 {
  unpackTwo(a, b);
  if (aClass > INFINITE || bClass > INFINITE) return propagateTwo(dst, control);
  if (aClass == INFINITE && (aSign != 0 || bClass == ZERO)) return invalidResult(dst, control);
  if (aClass == ZERO && bClass == INFINITE) return invalidResult(dst, control);
  const status = denormalOperands(control);
  if (stops(status, control)) return status;
  if (aClass == ZERO || bClass == ZERO) {
    setResult(ZERO, aSign ^ bSign);
    return status | packF80(dst, control, 64);
  }
  if (aClass == INFINITE || bClass == INFINITE) {
    setResult(INFINITE, aSign ^ bSign);
    return status | packF80(dst, control, 64);
  }
  if (aSign != 0 && aExponent >= 0) {
    // x <= -1 is outside of the documented range; processors leave x.
    setFinite(1, aExponent, aSignificand, 0);
    return status | PE | packF80(dst, control, 64);
  }
  if (aExponent < -2) {
    // z = x / (2 + x), the denominator in units of 2^-126.
    shiftRightJam(aSignificand, 0, 1 - aExponent);
    let exponent = aExponent - 1;
    let dHi = TOP + hi;
    let dLo = lo;
    if (aSign) {
      dLo = 0 - lo;
      dHi = TOP - hi - u64(lo != 0);
      exponent += normalise(dHi, dLo);
      dHi = hi;
      dLo = lo;
    }
    logOfRatio(aSignificand, 0, dHi, dLo, exponent);
    logSign = aSign;
    return status | timesB(dst, control, false);
  }
  // 1 + x, exact up to an exponent of 64.
  let exponent = 0;
  if (aSign) {
    shiftRightJam(aSignificand, 0, -aExponent);
    exponent = -normalise(TOP - hi - u64(lo != 0), 0 - lo);
  } else if (aExponent < 0) {
    shiftRightJam(aSignificand, 0, -aExponent);
    setSum(TOP + hi, lo, false);
  } else {
    shiftRightJam(TOP, 0, aExponent);
    const high = aSignificand + hi;
    const carried = high < aSignificand;
    setSum(high, lo, carried);
    exponent = aExponent + i32(carried);
  }
  const mHi = aSign ? hi : onePlusHi;
  const mLo = aSign ? lo : onePlusLo;
  logOf(mHi, mLo, exponent);
  return status | timesB(dst, control, mHi == TOP && mLo == 0);
}

let onePlusHi: u64 = 0;
let onePlusLo: u64 = 0;

function setSum(high: u64, low: u64, carried: bool): void {
  onePlusHi = carried ? TOP | (high >> 1) : high;
  onePlusLo = carried ? (high << 63) | (low >> 1) | (low & 1) : low;
}
