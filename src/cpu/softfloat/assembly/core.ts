/**
 * The arithmetic itself, for every format: takes the operands of `operand.ts` (no NaN among them) and leaves an unrounded
 * result: `rHi:rLo / 2^127 * 2^rExponent` with the top bit set and the lowest bit sticky. Each function returns IE, ZE or 0.
 */
import { DOWN, FINITE, IE, INFINITE, QNAN, TOP, ZE, ZERO } from "./constants";
import { aClass, aExponent, aSign, aSignificand, bClass, bExponent, bSign, bSignificand } from "./operand";
import { divide, hi, lo, mulHigh, normalise, remainder, shiftRightJam } from "./wide";

/** ZERO, FINITE, INFINITE, or QNAN for the default NaN of an invalid operation. */
export let rClass: i32 = 0;
export let rSign: u32 = 0;
export let rExponent: i32 = 0;
export let rHi: u64 = 0;
export let rLo: u64 = 0;

export const ADD: i32 = 0;
export const SUBTRACT: i32 = 1;
export const MULTIPLY: i32 = 2;
export const DIVIDE: i32 = 3;

export function setResult(kind: i32, sign: u32): void {
  rClass = kind;
  rSign = sign;
}

export function setFinite(sign: u32, exponent: i32, high: u64, low: u64): void {
  rClass = FINITE;
  rSign = sign;
  rExponent = exponent;
  rHi = high;
  rLo = low;
}

function invalid(): u32 {
  rClass = QNAN;
  return IE;
}

export function operate(operation: i32, rounding: u32): u32 {
  if (operation == MULTIPLY) return multiply();
  if (operation == DIVIDE) return quotient();
  return add(bSign ^ <u32>(operation == SUBTRACT), rounding);
}

function add(signB: u32, rounding: u32): u32 {
  if (aClass == INFINITE) {
    if (bClass == INFINITE && aSign != signB) return invalid();
    setResult(INFINITE, aSign);
  } else if (bClass == INFINITE) {
    setResult(INFINITE, signB);
  } else if (bClass == ZERO) {
    if (aClass == ZERO) setResult(ZERO, aSign == signB ? aSign : u32(rounding == DOWN));
    else setFinite(aSign, aExponent, aSignificand, 0);
  } else if (aClass == ZERO) {
    setFinite(signB, bExponent, bSignificand, 0);
  } else if (aExponent > bExponent || (aExponent == bExponent && aSignificand >= bSignificand)) {
    addOrdered(aSign, aExponent, aSignificand, signB, bExponent, bSignificand, rounding);
  } else {
    addOrdered(signB, bExponent, bSignificand, aSign, aExponent, aSignificand, rounding);
  }
  return 0;
}

/** |x| >= |y| > 0. */
function addOrdered(xSign: u32, xExponent: i32, x: u64, ySign: u32, yExponent: i32, y: u64, rounding: u32): void {
  shiftRightJam(y, 0, xExponent - yExponent);
  if (xSign == ySign) {
    const sum = x + hi;
    if (sum < x) setFinite(xSign, xExponent + 1, TOP | (sum >> 1), (sum << 63) | (lo >> 1) | (lo & 1));
    else setFinite(xSign, xExponent, sum, lo);
    return;
  }
  const low = 0 - lo;
  const high = x - hi - u64(lo != 0);
  if (high == 0 && low == 0) {
    setResult(ZERO, u32(rounding == DOWN));
    return;
  }
  const shift = normalise(high, low);
  setFinite(xSign, xExponent - shift, hi, lo);
}

function multiply(): u32 {
  const sign = aSign ^ bSign;
  if (aClass == INFINITE || bClass == INFINITE) {
    if (aClass == ZERO || bClass == ZERO) return invalid();
    setResult(INFINITE, sign);
  } else if (aClass == ZERO || bClass == ZERO) {
    setResult(ZERO, sign);
  } else {
    const high = mulHigh(aSignificand, bSignificand);
    const low = aSignificand * bSignificand;
    if (high & TOP) setFinite(sign, aExponent + bExponent + 1, high, low);
    else setFinite(sign, aExponent + bExponent, (high << 1) | (low >> 63), low << 1);
  }
  return 0;
}

/** n / d * 2^exponent, for significands n and d. */
export function divideOperands(n: u64, d: u64, exponent: i32, sign: u32): void {
  const less = n < d;
  // n/2 over d lies in [1/2, 1) when n >= d, n over d when n < d: 64 quotient bits with the top one set.
  const q = less ? divide(n, 0, d) : divide(n >> 1, n << 63, d);
  const other = d - remainder;
  const low = remainder < other ? u64(remainder != 0) : TOP | u64(remainder != other);
  setFinite(sign, exponent - i32(less), q, low);
}

function quotient(): u32 {
  const sign = aSign ^ bSign;
  if (aClass == INFINITE) {
    if (bClass == INFINITE) return invalid();
    setResult(INFINITE, sign);
  } else if (bClass == INFINITE) {
    setResult(ZERO, sign);
  } else if (bClass == ZERO) {
    if (aClass == ZERO) return invalid();
    setResult(INFINITE, sign);
    return ZE;
  } else if (aClass == ZERO) {
    setResult(ZERO, sign);
  } else {
    divideOperands(aSignificand, bSignificand, aExponent - bExponent, sign);
  }
  return 0;
}

/** Square root of operand a. */
export function squareRoot(): u32 {
  if (aClass == ZERO) {
    setResult(ZERO, aSign);
    return 0;
  }
  if (aSign) return invalid();
  if (aClass == INFINITE) {
    setResult(INFINITE, 0);
    return 0;
  }
  const odd = aExponent & 1;
  const nHi = odd ? aSignificand : aSignificand >> 1;
  const nLo = odd ? 0 : aSignificand << 63;
  // Estimate from above with 52 good bits, then one Newton step: the mean of x and n/x is never below the root.
  // The factor keeps the conversion below 2^64; the addend makes up for it and for all roundings.
  const estimate = <u64>(Math.sqrt(<f64>nHi) * 4294967296.0 * 0.999999999999999);
  let x = estimate + 0x10000;
  if (x < estimate) x = ~(<u64>0);
  const other = nHi >= x ? ~(<u64>0) : divide(nHi, nLo, x);
  let root = (x >> 1) + (other >> 1) + (x & other & 1);
  if (!(root & TOP)) root = TOP;
  let high = mulHigh(root, root);
  let low = root * root;
  while (high > nHi || (high == nHi && low > nLo)) {
    root--;
    high = mulHigh(root, root);
    low = root * root;
  }
  const restLo = nLo - low;
  const restHi = nHi - high - u64(nLo < low);
  // (root + 1/2)^2 = root^2 + root + 1/4: above the half way exactly when the rest exceeds the root.
  const up = restHi != 0 || restLo > root;
  setFinite(0, aExponent >> 1, root, up ? TOP | 1 : u64(restLo != 0));
  return 0;
}
