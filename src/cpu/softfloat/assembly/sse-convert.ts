/** SSE conversions of one lane. SDM vol. 2: CVTSS2SD, CVTSD2SS, CVT(T)SD2SI, CVT(T)PS2DQ, CVTSI2SD, CVTDQ2PS and kin. */
import { DE, FINITE, IE, INFINITE, PE, SNAN, TRUNCATE, ZERO } from "./constants";
import { setFinite, setResult } from "./core";
import { uClass, uDenormal, uExponent, uSign, uSignificand, unpackF32, unpackF64 } from "./operand";
import { integerOverflow, packStatus, roundToInteger } from "./pack";
import { addable32, FAST_BITS, FAST_STATE, finish, ordinary32, ordinary64, raise, unpack } from "./sse-arithmetic";

function keep(): void {
  if (uClass == FINITE) setFinite(uSign, uExponent, uSignificand, 0);
  else setResult(uClass, uSign);
}

export function f32_to_f64(a: u32, mxcsr: u32, flagsPtr: usize): u64 {
  if (addable32(a)) return reinterpret<u64>(<f64>reinterpret<f32>(a));
  unpackF32(a, mxcsr);
  if (uClass > INFINITE) {
    if (uClass == SNAN) raise(flagsPtr, IE);
    return ((<u64>uSign) << 63) | 0x7ff8_0000_0000_0000 | ((<u64>a & 0x7f_ffff) << 29);
  }
  if (uDenormal) raise(flagsPtr, DE);
  keep();
  return finish(53, mxcsr, flagsPtr);
}

export function f64_to_f32(a: u64, mxcsr: u32, flagsPtr: usize): u32 {
  if ((mxcsr & FAST_BITS) == FAST_STATE && ordinary64(a)) {
    const bits = reinterpret<u32>(<f32>reinterpret<f64>(a));
    if (ordinary32(bits)) return bits;
  }
  unpackF64(a, mxcsr);
  if (uClass > INFINITE) {
    if (uClass == SNAN) raise(flagsPtr, IE);
    return (uSign << 31) | 0x7fc0_0000 | (<u32>(a >> 29) & 0x7f_ffff);
  }
  if (uDenormal) {
    raise(flagsPtr, DE);
    if (!((mxcsr >> 7) & DE)) return 0;
  }
  keep();
  return <u32>finish(24, mxcsr, flagsPtr);
}

/** The integer indefinite, 1 followed by zeros, answers whatever does not fit. SDM vol. 1, 4.9.1.1. */
function toInteger(precision: i32, a: u64, wide: bool, rounding: u32, mxcsr: u32, flagsPtr: usize): u64 {
  const indefinite: u64 = wide ? 0x8000_0000_0000_0000 : 0x8000_0000;
  unpack(precision, a, mxcsr);
  if (uClass == ZERO) return 0;
  if (uClass == FINITE) {
    const magnitude = roundToInteger(uSign, uExponent, uSignificand, rounding);
    if (!integerOverflow && magnitude <= indefinite - (uSign ^ 1)) {
      raise(flagsPtr, packStatus & PE);
      return uSign ? 0 - magnitude : magnitude;
    }
  }
  raise(flagsPtr, IE);
  return indefinite;
}

export function f64_to_i32(a: u64, mxcsr: u32, flagsPtr: usize): u32 {
  return <u32>toInteger(53, a, false, (mxcsr >> 13) & 3, mxcsr, flagsPtr);
}

export function f64_to_i32_truncate(a: u64, mxcsr: u32, flagsPtr: usize): u32 {
  if (ordinary64(a)) {
    const value = reinterpret<f64>(a);
    if (abs(value) < 2147483647.0) {
      const whole = <i32>value;
      if (<f64>whole != value) raise(flagsPtr, PE);
      return <u32>whole;
    }
  }
  return <u32>toInteger(53, a, false, TRUNCATE, mxcsr, flagsPtr);
}

export function f64_to_i64(a: u64, mxcsr: u32, flagsPtr: usize): u64 {
  return toInteger(53, a, true, (mxcsr >> 13) & 3, mxcsr, flagsPtr);
}

export function f64_to_i64_truncate(a: u64, mxcsr: u32, flagsPtr: usize): u64 {
  if (ordinary64(a)) {
    const value = reinterpret<f64>(a);
    if (abs(value) < 9.2e18) {
      const whole = <i64>value;
      if (<f64>whole != value) raise(flagsPtr, PE);
      return <u64>whole;
    }
  }
  return toInteger(53, a, true, TRUNCATE, mxcsr, flagsPtr);
}

export function f32_to_i32(a: u32, mxcsr: u32, flagsPtr: usize): u32 {
  return <u32>toInteger(24, a, false, (mxcsr >> 13) & 3, mxcsr, flagsPtr);
}

export function f32_to_i32_truncate(a: u32, mxcsr: u32, flagsPtr: usize): u32 {
  if (ordinary32(a)) {
    const value = reinterpret<f32>(a);
    if (abs(value) < 2147483000.0) {
      const whole = <i32>value;
      if (<f32>whole != value) raise(flagsPtr, PE);
      return <u32>whole;
    }
  }
  return <u32>toInteger(24, a, false, TRUNCATE, mxcsr, flagsPtr);
}

export function f32_to_i64(a: u32, mxcsr: u32, flagsPtr: usize): u64 {
  return toInteger(24, a, true, (mxcsr >> 13) & 3, mxcsr, flagsPtr);
}

export function f32_to_i64_truncate(a: u32, mxcsr: u32, flagsPtr: usize): u64 {
  if (ordinary32(a)) {
    const value = reinterpret<f32>(a);
    if (abs(value) < 9.2e18) {
      const whole = <i64>value;
      if (<f32>whole != value) raise(flagsPtr, PE);
      return <u64>whole;
    }
  }
  return toInteger(24, a, true, TRUNCATE, mxcsr, flagsPtr);
}

function fromInteger(precision: i32, value: i64, mxcsr: u32, flagsPtr: usize): u64 {
  // 24 bits are exact in either format.
  if (<u64>value + 0x100_0000 <= 0x200_0000) {
    return precision == 24 ? reinterpret<u32>(<f32>value) : reinterpret<u64>(<f64>value);
  }
  const magnitude: u64 = value < 0 ? 0 - <u64>value : <u64>value;
  const shift = <i32>clz(magnitude);
  setFinite(u32(value < 0), 63 - shift, magnitude << shift, 0);
  return finish(precision, mxcsr, flagsPtr);
}

export function f64_from_i32(value: i32): u64 {
  return reinterpret<u64>(<f64>value);
}

export function f64_from_i64(value: i64, mxcsr: u32, flagsPtr: usize): u64 {
  return fromInteger(53, value, mxcsr, flagsPtr);
}

export function f32_from_i32(value: i32, mxcsr: u32, flagsPtr: usize): u32 {
  return <u32>fromInteger(24, value, mxcsr, flagsPtr);
}

export function f32_from_i64(value: i64, mxcsr: u32, flagsPtr: usize): u32 {
  return <u32>fromInteger(24, value, mxcsr, flagsPtr);
}
