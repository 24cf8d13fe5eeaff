/**
 * 128-bit integer arithmetic. WebAssembly functions of one result return the high word (or the quotient); the other word
 * is left in a global that the caller reads at once.
 */
import { TOP } from "./constants";

/** High and low word of the last 128-bit result. */
export let hi: u64 = 0;
export let lo: u64 = 0;
/** Remainder of the last `divide`. */
export let remainder: u64 = 0;

const LOW32: u64 = 0xffff_ffff;

/** High 64 bits of a 64 x 64 bit product. */
// @ts-ignore: decorator
@inline
export function mulHigh(a: u64, b: u64): u64 {
  const a0 = a & LOW32;
  const a1 = a >> 32;
  const b0 = b & LOW32;
  const b1 = b >> 32;
  const cross = a0 * b1;
  const middle = a1 * b0 + ((a0 * b0) >> 32) + (cross & LOW32);
  return a1 * b1 + (middle >> 32) + (cross >> 32);
}

/** High 128 bits of a 128 x 128 bit product, short by at most three units in the last place; in `hi`, `lo`. */
export function mulFraction(aHi: u64, aLo: u64, bHi: u64, bLo: u64): void {
  let low = aHi * bHi;
  let high = mulHigh(aHi, bHi);
  const cross0 = mulHigh(aHi, bLo);
  const cross1 = mulHigh(aLo, bHi);
  low += cross0;
  high += u64(low < cross0);
  low += cross1;
  high += u64(low < cross1);
  hi = high;
  lo = low;
}

/** (nHi:nLo) / d, for nHi < d and d with its top bit set; the remainder in `remainder`. Knuth 4.3.1 D, base 2^32. */
export function divide(nHi: u64, nLo: u64, d: u64): u64 {
  const d1 = d >> 32;
  const d0 = d & LOW32;
  const n1 = nLo >> 32;
  const n0 = nLo & LOW32;
  let q1 = nHi / d1;
  let r = nHi - q1 * d1;
  while (q1 > LOW32 || q1 * d0 > ((r << 32) | n1)) {
    q1--;
    r += d1;
    if (r > LOW32) break;
  }
  const middle = (nHi << 32) + n1 - q1 * d;
  let q0 = middle / d1;
  r = middle - q0 * d1;
  while (q0 > LOW32 || q0 * d0 > ((r << 32) | n0)) {
    q0--;
    r += d1;
    if (r > LOW32) break;
  }
  remainder = (middle << 32) + n0 - q0 * d;
  return (q1 << 32) + q0;
}

/** The fraction n / d * 2^128, for n < d and d with its top bit set, within one unit; in `hi`, `lo`. */
export function divideFraction(nHi: u64, nLo: u64, dHi: u64, dLo: u64): void {
  const first = quotientDigit(nHi, nLo, 0, dHi, dLo);
  const second = quotientDigit(restHi, restLo, 0, dHi, dLo);
  hi = first;
  lo = second;
}

let restHi: u64 = 0;
let restLo: u64 = 0;

/** One base-2^64 digit of (n2:n1:n0) / (dHi:dLo); the rest in `restHi`, `restLo`. */
function quotientDigit(n2: u64, n1: u64, n0: u64, dHi: u64, dLo: u64): u64 {
  let q: u64;
  let top: u64;
  let overflowed = false;
  if (n2 >= dHi) {
    // n < d, so n2 == dHi; the estimate is all ones and its remainder n1 + dHi.
    q = ~(<u64>0);
    top = n1 + dHi;
    overflowed = top < n1;
  } else {
    q = divide(n2, n1, dHi);
    top = remainder;
  }
  let productHi = mulHigh(q, dLo);
  let productLo = q * dLo;
  while (!overflowed && (productHi > top || (productHi == top && productLo > n0))) {
    q--;
    productHi -= u64(productLo < dLo);
    productLo -= dLo;
    top += dHi;
    overflowed = top < dHi;
  }
  restLo = n0 - productLo;
  restHi = top - productHi - u64(n0 < productLo);
  return q;
}

/** (aHi:aLo) >> count for any count >= 0; what is shifted out is kept as a sticky lowest bit. */
export function shiftRightJam(aHi: u64, aLo: u64, count: i32): void {
  if (count == 0) {
    hi = aHi;
    lo = aLo;
  } else if (count < 64) {
    hi = aHi >> count;
    lo = (aHi << (64 - count)) | (aLo >> count) | u64(aLo << (64 - count) != 0);
  } else if (count == 64) {
    hi = 0;
    lo = aHi | u64(aLo != 0);
  } else if (count < 128) {
    hi = 0;
    lo = (aHi >> (count - 64)) | u64(aHi << (128 - count) != 0 || aLo != 0);
  } else {
    hi = 0;
    lo = u64(aHi != 0 || aLo != 0);
  }
}

/** Shifts (aHi:aLo), not zero, left until its top bit is set; returns the count. */
export function normalise(aHi: u64, aLo: u64): i32 {
  if (aHi & TOP) {
    hi = aHi;
    lo = aLo;
    return 0;
  }
  if (aHi == 0) {
    const count = <i32>clz(aLo);
    hi = aLo << count;
    lo = 0;
    return 64 + count;
  }
  const count = <i32>clz(aHi);
  hi = (aHi << count) | (aLo >> (64 - count));
  lo = aLo << count;
  return count;
}
