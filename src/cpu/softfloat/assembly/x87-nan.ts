/** What x87 instructions do with NaNs and unsupported encodings. SDM vol. 1, 4.8.3.5 and table 4-7. */
import {
  CONTROL_DENORMAL_OPERAND,
  DE,
  F80_DEFAULT_NAN,
  IE,
  PRE_COMPUTATION,
  QNAN,
  SNAN,
  UNSUPPORTED,
} from "./constants";
import {
  aClass,
  aDenormal,
  aSign,
  aSignificand,
  bClass,
  bDenormal,
  bSign,
  bSignificand,
  takeA,
  takeB,
  unpackF80,
} from "./operand";
import { storeF80 } from "./pack";

const QUIET: u64 = 0x4000_0000_0000_0000;

export function unpackOne(a: usize): void {
  unpackF80(a);
  takeA();
}

export function unpackTwo(a: usize, b: usize): void {
  unpackF80(b);
  takeB();
  unpackF80(a);
  takeA();
}

/** Whether an exception that must leave the destination alone is unmasked. */
// @ts-ignore: decorator
@inline
export function stops(status: u32, control: u32): bool {
  return (status & ~control & PRE_COMPUTATION) != 0;
}

/** DE for a denormal operand: stored as one, or widened from one in memory. */
export function denormalOperands(control: u32): u32 {
  return (aDenormal | bDenormal) != 0 || (control & CONTROL_DENORMAL_OPERAND) != 0 ? DE : 0;
}

export function denormalOperand(control: u32): u32 {
  return aDenormal != 0 || (control & CONTROL_DENORMAL_OPERAND) != 0 ? DE : 0;
}

/** The masked response to an invalid operation: the default NaN. */
export function invalidResult(slot: usize, control: u32): u32 {
  if (!stops(IE, control)) storeF80(slot, 1, 0x7fff, F80_DEFAULT_NAN);
  return IE;
}

/** Result of a one-operand instruction whose operand is not a number. */
export function propagateOne(slot: usize, control: u32): u32 {
  if (aClass == UNSUPPORTED) return invalidResult(slot, control);
  const status = aClass == SNAN ? IE : 0;
  if (!stops(status, control)) storeF80(slot, aSign, 0x7fff, aSignificand | QUIET);
  return status;
}

/** Result of a two-operand instruction with at least one operand that is not a number: the larger significand wins. */
export function propagateTwo(slot: usize, control: u32): u32 {
  if (aClass == UNSUPPORTED || bClass == UNSUPPORTED) return invalidResult(slot, control);
  const status = aClass == SNAN || bClass == SNAN ? IE : 0;
  if (stops(status, control)) return status;
  let first: bool;
  if (bClass < QNAN) first = true;
  else if (aClass < QNAN) first = false;
  else if (aClass != bClass) first = aClass == QNAN;
  else if (aSignificand != bSignificand) first = aSignificand > bSignificand;
  else first = aSign == 0;
  if (first) storeF80(slot, aSign, 0x7fff, aSignificand | QUIET);
  else storeF80(slot, bSign, 0x7fff, bSignificand | QUIET);
  return status;
}
