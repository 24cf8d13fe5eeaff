/** FPATAN. SDM vol. 2, table 3-31. */
import { INFINITE, PE, ZERO } from "./constants";
import { divideOperands, setFinite, setResult } from "./core";
import { aClass, aExponent, aSign, aSignificand, bClass, bExponent, bSign, bSignificand } from "./operand";
import { packF80 } from "./pack";
import { oddSeries, squareFraction, timesOneMinusSum } from "./series";
import { arcTangent, constantHi, constantLo, PI_HI, PI_LO } from "./transcendental-constants";
import { divideFraction, hi, lo, mulHigh, normalise, shiftRightJam } from "./wide";
import { denormalOperands, propagateTwo, stops, unpackTwo } from "./x87-nan";

/** At 2^-40 and below, processors answer atan t = t in every rounding mode. */
const SMALL: i32 = -40;

/** An angle as a fraction of 2^126, and what was lost below it. */
let angleHi: u64 = 0;
let angleLo: u64 = 0;

function setAngle(high: u64, low: u64): void {
  angleHi = high;
  angleLo = low;
}

/** angle = (aHi:aLo) - angle. */
function complement(high: u64, low: u64): void {
  const borrow = u64(low < angleLo);
  setAngle(high - angleHi - borrow, low - angleLo);
}

function storeAngle(dst: usize, control: u32, sign: u32): u32 {
  const shift = normalise(angleHi, angleLo);
  setFinite(sign, 1 - shift, hi, lo | 1);
  return packF80(dst, control, 64);
}

/** z = n / d * 2^exponent, both with their top bits set, |z| <= 1/64; leaves the mantissa of atan z in hi, lo. */
let seriesExponent: i32 = 0;

function arcTangentOfRatio(nHi: u64, nLo: u64, dHi: u64, dLo: u64, exponent: i32): void {
  seriesExponent = exponent - 1;
  if (nHi > dHi || (nHi == dHi && nLo >= dLo)) {
    nLo = (nHi << 63) | (nLo >> 1);
    nHi >>= 1;
    seriesExponent++;
  }
  divideFraction(nHi, nLo, dHi, dLo);
  const zHi = hi;
  const zLo = lo;
  squareFraction(zHi, zLo, seriesExponent);
  oddSeries(hi, lo, seriesExponent < -30 ? 7 : 23, true);
  timesOneMinusSum(zHi, zLo);
  seriesExponent -= normalise(hi, lo);
}

/** a = x, b = y: the angle of the point (x, y). */
export function f80_atan(dst: usize, a: usize, b: usize, control: u32): u32 {
  unpackTwo(a, b);
  if (aClass > INFINITE || bClass > INFINITE) return propagateTwo(dst, control);
  const status = denormalOperands(control);
  if (stops(status, control)) return status;
  if (bClass == ZERO || (aClass == INFINITE && bClass != INFINITE)) {
    if (!aSign) {
      setResult(ZERO, bSign);
      return status | packF80(dst, control, 64);
    }
    setAngle(PI_HI, PI_LO);
    return status | storeAngle(dst, control, bSign);
  }
  if (aClass == ZERO || (bClass == INFINITE && aClass != INFINITE)) {
    setAngle(PI_HI >> 1, (PI_HI << 63) | (PI_LO >> 1));
    return status | storeAngle(dst, control, bSign);
  }
  if (aClass == INFINITE) {
    setAngle(PI_HI >> 2, (PI_HI << 62) | (PI_LO >> 2));
    if (aSign) complement(PI_HI, PI_LO);
    return status | storeAngle(dst, control, bSign);
  }
  return status | finiteAngle(dst, control);
}

function finiteAngle(dst: usize, control: u32): u32 {
  // The smaller over the larger of |x| and |y|; swapped: |y| is the larger.
  const swapped = bExponent > aExponent || (bExponent == aExponent && bSignificand > aSignificand);
  const small = swapped ? aSignificand : bSignificand;
  const large = swapped ? bSignificand : aSignificand;
  const difference = swapped ? aExponent - bExponent : bExponent - aExponent;
  const plain = !swapped && !aSign;
  if (plain && difference - i32(small < large) <= SMALL) {
    const sign = bSign;
    divideOperands(small, large, difference, sign);
    const status = packF80(dst, control, 64);
    return bExponent - aExponent - i32(small < large) < -16382 ? status | PE | 0x10 : status | PE;
  }
  let k = 0;
  if (difference > -7) {
    let ratio = <f64>small / <f64>large;
    for (let i = difference; i < 0; i++) ratio *= 0.5;
    k = <i32>(ratio * 32.0 + 0.5);
  }
  let negative = false;
  let empty = false;
  if (k == 0) {
    arcTangentOfRatio(small, 0, large, 0, difference);
    if (plain) {
      setFinite(bSign, seriesExponent, hi, lo | 1);
      return packF80(dst, control, 64);
    }
  } else {
    // (t - c) / (1 + c t) with c = k/32 and t = small/large: (32 small - k large) / (32 large + k small), eight bits down.
    shiftRightJam(small, 0, 8 - difference);
    const sHi = hi;
    const sLo = lo;
    const lHi = large >> 8;
    const lLo = large << 56;
    const factor = <u64>k;
    const kl = lLo * factor;
    const klHi = lHi * factor + mulHigh(lLo, factor);
    const s32 = sLo << 5;
    const s32Hi = (sHi << 5) | (sLo >> 59);
    let nLo = s32 - kl;
    let nHi = s32Hi - klHi - u64(s32 < kl);
    negative = <i64>nHi < 0;
    if (negative) {
      nHi = 0 - nHi - u64(nLo != 0);
      nLo = 0 - nLo;
    }
    empty = (nHi | nLo) == 0;
    if (!empty) {
      const ks = sLo * factor;
      const dLo = (lLo << 5) + ks;
      const dHi = ((lHi << 5) | (lLo >> 59)) + sHi * factor + mulHigh(sLo, factor) + u64(dLo < ks);
      const dShift = normalise(dHi, dLo);
      const dHigh = hi;
      const dLow = lo;
      const nShift = normalise(nHi, nLo);
      arcTangentOfRatio(hi, lo, dHigh, dLow, dShift - nShift);
    }
  }
  if (empty) setAngle(0, 0);
  else {
    shiftRightJam(hi, lo, 1 - seriesExponent);
    setAngle(hi, lo);
  }
  if (k != 0) {
    arcTangent(k);
    if (negative) {
      complement(constantHi, constantLo);
    } else {
      const low = angleLo + constantLo;
      setAngle(angleHi + constantHi + u64(low < angleLo), low);
    }
  }
  if (swapped) complement(PI_HI >> 1, (PI_HI << 63) | (PI_LO >> 1));
  if (aSign) complement(PI_HI, PI_LO);
  return storeAngle(dst, control, bSign);
}
