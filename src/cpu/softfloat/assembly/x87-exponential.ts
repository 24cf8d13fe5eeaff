/** F2XM1. SDM vol. 2. */
import { INFINITE, PE, ZERO } from "./constants";
import { setFinite, setResult } from "./core";
import { aClass, aExponent, aSign, aSignificand } from "./operand";
import { packF80, storeF80 } from "./pack";
import { factorialSeries, timesOneMinusSum, timesOnePlusSum, toFraction } from "./series";
import { LN2_HI, LN2_LO } from "./transcendental-constants";
import { hi, lo, mulFraction, normalise } from "./wide";
import { denormalOperand, propagateOne, stops, unpackOne } from "./x87-nan";

/** For operands from 2^-69 to 1/4, Intel processors multiply by an ln 2 of 66 bits and keep 67 bits of the product. */
const LN2_66_LO: u64 = LN2_LO & 0xc000_0000_0000_0000;
const PRODUCT_67_LO: u64 = 0xe000_0000_0000_0000;
const LARGE: i32 = -2;
const SMALL: i32 = -69;

export function f80_exp2_minus_1(dst: usize, a: usize, control: u32): u32 {
  unpackOne(a);
  if (aClass > INFINITE) return propagateOne(dst, control);
  const status = denormalOperand(control);
  if (stops(status, control)) return status;
  if (aClass == ZERO) {
    setResult(ZERO, aSign);
    return status | packF80(dst, control, 64);
  }
  if (aClass == INFINITE) {
    if (aSign) storeF80(dst, 1, 0x3fff, 0x8000_0000_0000_0000);
    else storeF80(dst, 0, 0x7fff, 0x8000_0000_0000_0000);
    return status;
  }
  if (aExponent >= 0) {
    // Exact at 1; beyond the documented range processors hand the operand back.
    const one = aExponent == 0 && aSignificand == 0x8000_0000_0000_0000;
    storeF80(dst, aSign, one && aSign ? 0x3ffe : <u32>(aExponent + 16383), aSignificand);
    return status | PE;
  }
  // 2^x - 1 = y (1 + y/2! + y^2/3! + ...) with y = x ln 2.
  mulFraction(aSignificand, 0, LN2_HI, aExponent < LARGE ? LN2_66_LO : LN2_LO);
  const exponent = aExponent - normalise(hi, lo);
  const yHi = hi;
  const yLo = aExponent < SMALL || aExponent >= LARGE ? lo : lo & PRODUCT_67_LO;
  toFraction(yHi, yLo, exponent);
  // With |y| < 2^-k the term y^j / (j + 1)! falls below 2^-110 the sooner the larger k is.
  const last = exponent < -60 ? 3 : exponent < -20 ? 7 : exponent < -8 ? 13 : exponent < -3 ? 20 : 28;
  factorialSeries(hi, lo, 2, 1, last, aSign != 0);
  let scale = exponent;
  if (aSign) {
    timesOneMinusSum(yHi, yLo);
  } else {
    timesOnePlusSum(yHi, yLo);
    scale++;
  }
  const shift = normalise(hi, lo);
  setFinite(aSign, scale - shift, hi, lo | 1);
  return status | packF80(dst, control, 64);
}
