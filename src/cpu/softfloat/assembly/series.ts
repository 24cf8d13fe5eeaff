/**
 * Power series in 128-bit fixed point. Arguments and results are fractions of 2^128 (`hi:lo`); a positive number outside
 * of a series is a normalised 128-bit mantissa with an exponent: mantissa / 2^127 * 2^exponent.
 */
import { TOP } from "./constants";
import { constantHi, constantLo, inverseFactorial, inverseOdd } from "./transcendental-constants";
import { hi, lo, mulFraction, shiftRightJam } from "./wide";

export let sumHi: u64 = 0;
export let sumLo: u64 = 0;

/** sum = constant +- z * sum. */
function step(zHi: u64, zLo: u64, alternating: bool): void {
  mulFraction(zHi, zLo, sumHi, sumLo);
  if (alternating) {
    const low = constantLo - lo;
    sumHi = constantHi - hi - u64(constantLo < lo);
    sumLo = low;
  } else {
    const low = constantLo + lo;
    sumHi = constantHi + hi + u64(low < lo);
    sumLo = low;
  }
}

function finish(zHi: u64, zLo: u64): void {
  mulFraction(zHi, zLo, sumHi, sumLo);
  sumHi = hi;
  sumLo = lo;
}

/** z/first! -+ z^2/(first + stride)! + ... up to the term of 1/last!. */
export function factorialSeries(zHi: u64, zLo: u64, first: i32, stride: i32, last: i32, alternating: bool): void {
  inverseFactorial(last);
  sumHi = constantHi;
  sumLo = constantLo;
  for (let n = last - stride; n >= first; n -= stride) {
    inverseFactorial(n);
    step(zHi, zLo, alternating);
  }
  finish(zHi, zLo);
}

/** z/3 -+ z^2/5 + ... up to the term of 1/last. */
export function oddSeries(zHi: u64, zLo: u64, last: i32, alternating: bool): void {
  inverseOdd(last);
  sumHi = constantHi;
  sumLo = constantLo;
  for (let n = last - 2; n >= 3; n -= 2) {
    inverseOdd(n);
    step(zHi, zLo, alternating);
  }
  finish(zHi, zLo);
}

/** Mantissa and exponent (below 0) to a fraction of 2^128. */
export function toFraction(mHi: u64, mLo: u64, exponent: i32): void {
  shiftRightJam(mHi, mLo, -1 - exponent);
}

/** The square of a number below 1, as a fraction. */
export function squareFraction(mHi: u64, mLo: u64, exponent: i32): void {
  mulFraction(mHi, mLo, mHi, mLo);
  shiftRightJam(hi, lo, -2 * (exponent + 1));
}

/** m * (1 - sum) / 2^128. */
export function timesOneMinusSum(mHi: u64, mLo: u64): void {
  if ((sumHi | sumLo) == 0) sumLo = 1;
  mulFraction(mHi, mLo, 0 - sumHi - u64(sumLo != 0), 0 - sumLo);
}

/** m * (1 + sum) / 2 / 2^128. */
export function timesOnePlusSum(mHi: u64, mLo: u64): void {
  mulFraction(mHi, mLo, TOP | (sumHi >> 1), (sumHi << 63) | (sumLo >> 1));
}
