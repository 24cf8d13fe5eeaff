/** FSIN, FCOS, FSINCOS, FPTAN. SDM vol. 1, 8.3.8: arguments are reduced by a pi of 66 bits. */
import { C2, INFINITE, PE, TOP, ZERO } from "./constants";
import { setFinite, setResult } from "./core";
import { aClass, aExponent, aSign, aSignificand } from "./operand";
import { packF80, storeF80 } from "./pack";
import { factorialSeries, squareFraction, sumHi, sumLo, timesOneMinusSum } from "./series";
import { divideFraction, hi, lo, normalise } from "./wide";
import { denormalOperand, invalidResult, propagateOne, stops, unpackOne } from "./x87-nan";

/** The 66-bit pi, 3.243F6A8885A308D3 in hexadecimal: pi/2 in units of 2^-65. */
const HALF_PI_HI: u64 = 0x3;
const HALF_PI_LO: u64 = 0x243f_6a88_85a3_08d3;
/** pi/4 rounded up to 64 bits, for arguments with exponent -1. */
const QUARTER_PI: u64 = 0xc90f_daa2_2168_c235;
/** Below 2^-68 processors answer sin x = x, cos x = 1, tan x = x in every rounding mode. */
const SMALL: i32 = -68;
/** From here down their tangent is the argument less something, but for powers of two: seen in directed rounding. */
const SMALL_TANGENT: i32 = -34;

/** The argument less a multiple of pi/2, in [-pi/4, pi/4]: mantissa (zero for 0), exponent, sign; and the multiple mod 4. */
let argumentHi: u64 = 0;
let argumentLo: u64 = 0;
let argumentExponent: i32 = 0;
let argumentSign: u32 = 0;
let quadrant: u32 = 0;

function reduceArgument(): void {
  argumentHi = aSignificand;
  argumentLo = 0;
  argumentExponent = aExponent;
  argumentSign = aSign;
  quadrant = 0;
  if (aExponent < -1 || (aExponent == -1 && aSignificand < QUARTER_PI)) return;
  // aSignificand * 2^(exponent + 2) in units of 2^-65, divided bit by bit.
  let high: u64 = 0;
  let low = aSignificand;
  let quotient: u32 = 0;
  for (let bits = aExponent + 2; bits > 0; bits--) {
    high = (high << 1) | (low >> 63);
    low <<= 1;
    quotient <<= 1;
    if (high > HALF_PI_HI || (high == HALF_PI_HI && low >= HALF_PI_LO)) {
      high -= HALF_PI_HI + u64(low < HALF_PI_LO);
      low -= HALF_PI_LO;
      quotient |= 1;
    }
  }
  const otherHigh = HALF_PI_HI - high - u64(HALF_PI_LO < low);
  const otherLow = HALF_PI_LO - low;
  if (high > otherHigh || (high == otherHigh && low > otherLow)) {
    high = otherHigh;
    low = otherLow;
    quotient++;
    argumentSign ^= 1;
  }
  quadrant = (aSign ? 0 - quotient : quotient) & 3;
  if ((high | low) == 0) {
    argumentHi = 0;
    return;
  }
  argumentExponent = 127 - 65 - normalise(high, low);
  argumentHi = hi;
  argumentLo = lo;
}

let sineHi: u64 = 0;
let sineLo: u64 = 0;
let sineExponent: i32 = 0;
let cosineHi: u64 = 0;
let cosineLo: u64 = 0;
let cosineExponent: i32 = 0;

/** Terms up to 1/n! reach 2^-110 for arguments below 1; far fewer do for small ones. */
function lastOdd(): i32 {
  return argumentExponent < -30 ? 5 : argumentExponent < -8 ? 13 : 27;
}

function computeSine(): void {
  squareFraction(argumentHi, argumentLo, argumentExponent);
  factorialSeries(hi, lo, 3, 2, lastOdd(), true);
  timesOneMinusSum(argumentHi, argumentLo);
  sineExponent = argumentExponent - normalise(hi, lo);
  sineHi = hi;
  sineLo = lo;
}

function computeCosine(): void {
  squareFraction(argumentHi, argumentLo, argumentExponent);
  factorialSeries(hi, lo, 2, 2, lastOdd() + 1, true);
  const low = (sumHi | sumLo) == 0 ? 1 : sumLo;
  cosineExponent = -1 - normalise(0 - sumHi - u64(low != 0), 0 - low);
  cosineHi = hi;
  cosineLo = lo;
}

/** Stores the sine of the reduced argument advanced by `quarter` quadrants. */
function storeSine(dst: usize, control: u32, quarter: u32): u32 {
  if (quarter & 1) {
    if (argumentHi == 0) {
      storeF80(dst, quarter >> 1, 0x3fff, TOP);
      return PE;
    }
    computeCosine();
    setFinite(quarter >> 1, cosineExponent, cosineHi, cosineLo | 1);
  } else {
    if (argumentHi == 0) {
      setResult(ZERO, quarter >> 1);
      return packF80(dst, control, 64) | PE;
    }
    computeSine();
    setFinite(argumentSign ^ (quarter >> 1), sineExponent, sineHi, sineLo | 1);
  }
  return packF80(dst, control, 64);
}

/**
 * What needs no series: NaNs, infinities, zeros, arguments too large (C2, nothing stored) or too small to matter.
 * Returns true if done, with the status in `early`.
 */
let early: u32 = 0;

function prepare(dst: usize, a: usize, control: u32): bool {
  unpackOne(a);
  if (aClass > INFINITE) early = propagateOne(dst, control);
  else if (aClass == INFINITE) early = invalidResult(dst, control);
  else if (aClass != ZERO && aExponent >= 63) early = C2;
  else {
    early = denormalOperand(control);
    return stops(early, control);
  }
  return true;
}

function isSmall(): bool {
  return aClass == ZERO || aExponent < SMALL;
}

/** sin x = tan x = x. */
function storeSame(dst: usize, control: u32): u32 {
  if (aClass == ZERO) {
    setResult(ZERO, aSign);
    return packF80(dst, control, 64);
  }
  // Inexact, so that a denormal raises UE too.
  setFinite(aSign, aExponent, aSignificand, 0);
  const status = packF80(dst, control, 64) | PE;
  return aExponent < -16382 ? status | 0x10 : status;
}

function storeOne(dst: usize): u32 {
  storeF80(dst, 0, 0x3fff, TOP);
  return aClass == ZERO ? 0 : PE;
}

export function f80_sin(dst: usize, a: usize, control: u32): u32 {
  if (prepare(dst, a, control)) return early;
  const status = early;
  if (isSmall()) return status | storeSame(dst, control);
  reduceArgument();
  return status | storeSine(dst, control, quadrant);
}

export function f80_cos(dst: usize, a: usize, control: u32): u32 {
  if (prepare(dst, a, control)) return early;
  const status = early;
  if (isSmall()) return status | storeOne(dst);
  reduceArgument();
  return status | storeSine(dst, control, (quadrant + 1) & 3);
}

export function f80_sincos(sine: usize, cosine: usize, a: usize, control: u32): u32 {
  if (prepare(sine, a, control)) {
    if ((early & C2) == 0 && !stops(early, control)) copy(cosine, sine);
    return early;
  }
  const status = early;
  if (isSmall()) return status | storeSame(sine, control) | storeOne(cosine);
  reduceArgument();
  const ofSine = storeSine(sine, control, quadrant);
  return status | ofSine | storeSine(cosine, control, (quadrant + 1) & 3);
}

function copy(to: usize, from: usize): void {
  store<u64>(to, load<u64>(from));
  store<u16>(to, load<u16>(from, 8), 8);
}

/** The tangent, and the 1 that is pushed after it (a NaN if the tangent is one). */
export function f80_tan(tangent: usize, one: usize, a: usize, control: u32): u32 {
  if (prepare(tangent, a, control)) {
    if ((early & C2) == 0 && !stops(early, control)) copy(one, tangent);
    return early;
  }
  let status = early;
  if (isSmall()) {
    status |= storeSame(tangent, control);
  } else if (aExponent <= SMALL_TANGENT) {
    if (aSignificand == TOP) {
      status |= storeSame(tangent, control);
    } else {
      setFinite(aSign, aExponent, aSignificand - 1, ~(<u64>0));
      status |= packF80(tangent, control, 64);
    }
  } else {
    reduceArgument();
    computeTangent();
    status |= packF80(tangent, control, 64) | PE;
  }
  storeF80(one, 0, 0x3fff, TOP);
  return status;
}

function computeTangent(): void {
  const odd = quadrant & 1;
  if (argumentHi == 0) {
    setResult(odd ? INFINITE : ZERO, 0);
    return;
  }
  computeSine();
  computeCosine();
  // tan r in even quadrants, -1 / tan r in odd ones.
  let nHi = odd ? cosineHi : sineHi;
  let nLo = odd ? cosineLo : sineLo;
  const dHi = odd ? sineHi : cosineHi;
  const dLo = odd ? sineLo : cosineLo;
  let exponent = odd ? cosineExponent - sineExponent - 1 : sineExponent - cosineExponent - 1;
  if (nHi > dHi || (nHi == dHi && nLo >= dLo)) {
    nLo = (nHi << 63) | (nLo >> 1);
    nHi >>= 1;
    exponent++;
  }
  divideFraction(nHi, nLo, dHi, dLo);
  const shift = normalise(hi, lo);
  setFinite(argumentSign ^ odd, exponent - shift, hi, lo | 1);
}
