/** FLD and FST between 80 bits and single, double and integers. SDM vol. 2: FLD, FST, FILD, FIST, FISTTP. */
import { CONTROL_DENORMAL_OPERAND, DE, FINITE, IE, OE, QNAN, SNAN, TRUNCATE, UE, UNSUPPORTED, ZERO } from "./constants";
import { setFinite, setResult } from "./core";
import { uClass, uDenormal, uExponent, uSign, uSignificand, unpackF32, unpackF64, unpackF80 } from "./operand";
import { integerOverflow, packBinary, packStatus, roundToInteger, storeF80 } from "./pack";
import { stops } from "./x87-nan";

/** Widens what was unpacked; a signalling NaN stays one. */
function widen(dst: usize): void {
  if (uClass == ZERO) storeF80(dst, uSign, 0, 0);
  else if (uClass == FINITE) storeF80(dst, uSign, <u32>(uExponent + 16383), uSignificand);
  else storeF80(dst, uSign, 0x7fff, uSignificand);
}

function loadBinary(dst: usize, control: u32): u32 {
  if (uClass == SNAN) {
    if (!stops(IE, control)) storeF80(dst, uSign, 0x7fff, uSignificand | 0x4000_0000_0000_0000);
    return IE;
  }
  widen(dst);
  return uDenormal ? DE : 0; // a denormal is loaded even when DE is unmasked
}

export function f80_from_f32(dst: usize, bits: u32, control: u32): u32 {
  unpackF32(bits, 0);
  return loadBinary(dst, control);
}

export function f80_from_f64(dst: usize, bits: u64, control: u32): u32 {
  unpackF64(bits, 0);
  return loadBinary(dst, control);
}

export function f80_operand_f32(dst: usize, bits: u32): u32 {
  unpackF32(bits, 0);
  widen(dst);
  return uDenormal ? CONTROL_DENORMAL_OPERAND : 0;
}

export function f80_operand_f64(dst: usize, bits: u64): u32 {
  unpackF64(bits, 0);
  widen(dst);
  return uDenormal ? CONTROL_DENORMAL_OPERAND : 0;
}

export function f80_from_i64(dst: usize, value: i64): void {
  if (value == 0) {
    storeF80(dst, 0, 0, 0);
    return;
  }
  const magnitude: u64 = value < 0 ? 0 - <u64>value : <u64>value;
  const shift = <u32>clz(magnitude);
  storeF80(dst, u32(value < 0), 16383 + 63 - shift, magnitude << shift);
}

function storeStatus(flagsPtr: usize, status: u32): void {
  store<u32>(flagsPtr, load<u32>(flagsPtr) | status);
}

function toBinary(precision: i32, a: usize, control: u32, flagsPtr: usize): u64 {
  unpackF80(a);
  if (uClass >= QNAN) {
    if (uClass != QNAN) storeStatus(flagsPtr, IE);
    if (uClass == UNSUPPORTED) return precision == 24 ? 0xffc0_0000 : 0xfff8_0000_0000_0000;
    const fraction = (uSignificand << 1) | 0x8000_0000_0000_0000;
    if (precision == 24) return ((<u64>uSign) << 31) | 0x7f80_0000 | (fraction >> 41);
    return ((<u64>uSign) << 63) | 0x7ff0_0000_0000_0000 | (fraction >> 12);
  }
  if (uClass == FINITE) setFinite(uSign, uExponent, uSignificand, 0);
  else setResult(uClass, uSign);
  const bits = packBinary(precision, (control >> 10) & 3, control, false);
  // Unmasked, overflow and underflow stand alone: nothing was rounded, as nothing is stored.
  const unmasked = packStatus & ~control & (OE | UE);
  storeStatus(flagsPtr, unmasked ? unmasked : packStatus);
  return bits;
}

export function f80_to_f32(a: usize, control: u32, flagsPtr: usize): u32 {
  return <u32>toBinary(24, a, control, flagsPtr);
}

export function f80_to_f64(a: usize, control: u32, flagsPtr: usize): u64 {
  return toBinary(53, a, control, flagsPtr);
}

function toInteger(a: usize, rounding: u32, indefinite: u64, flagsPtr: usize): u64 {
  unpackF80(a);
  if (uClass == ZERO) return 0;
  if (uClass == FINITE) {
    const magnitude = roundToInteger(uSign, uExponent, uSignificand, rounding);
    if (!integerOverflow && magnitude <= indefinite - (uSign ^ 1)) {
      storeStatus(flagsPtr, packStatus);
      return uSign ? 0 - magnitude : magnitude;
    }
  }
  storeStatus(flagsPtr, IE);
  return indefinite;
}

export function f80_to_i16(a: usize, control: u32, flagsPtr: usize): u32 {
  return <u32>toInteger(a, (control >> 10) & 3, 0x8000, flagsPtr) & 0xffff;
}

export function f80_to_i32(a: usize, control: u32, flagsPtr: usize): u32 {
  return <u32>toInteger(a, (control >> 10) & 3, 0x8000_0000, flagsPtr);
}

export function f80_to_i64(a: usize, control: u32, flagsPtr: usize): u64 {
  return toInteger(a, (control >> 10) & 3, 0x8000_0000_0000_0000, flagsPtr);
}

export function f80_to_i16_truncate(a: usize, flagsPtr: usize): u32 {
  return <u32>toInteger(a, TRUNCATE, 0x8000, flagsPtr) & 0xffff;
}

export function f80_to_i32_truncate(a: usize, flagsPtr: usize): u32 {
  return <u32>toInteger(a, TRUNCATE, 0x8000_0000, flagsPtr);
}

export function f80_to_i64_truncate(a: usize, flagsPtr: usize): u64 {
  return toInteger(a, TRUNCATE, 0x8000_0000_0000_0000, flagsPtr);
}
