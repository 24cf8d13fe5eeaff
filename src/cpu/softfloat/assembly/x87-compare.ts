/** FCOM, FUCOM, FTST and FXAM: condition codes at their places in the status word. SDM vol. 1, 8.1.3.3; vol. 2. */
import { C0, C1, C2, C3, FINITE, IE, INFINITE, SNAN, UNSUPPORTED, ZERO } from "./constants";
import { aClass, bClass, uClass, uDenormal, uSign, unpackF80 } from "./operand";
import { EQUAL, LESS, order, UNORDERED } from "./sse-compare";
import { denormalOperands, unpackTwo } from "./x87-nan";

function compare(a: usize, b: usize, control: u32, signalling: bool): u32 {
  unpackTwo(a, b);
  const relation = order();
  if (relation == UNORDERED) {
    return C3 | C2 | C0 | (signalling || aClass >= SNAN || bClass >= SNAN ? IE : 0);
  }
  return denormalOperands(control) | (relation == EQUAL ? C3 : relation == LESS ? C0 : 0);
}

export function f80_compare(a: usize, b: usize, control: u32): u32 {
  return compare(a, b, control, true);
}

export function f80_compare_unordered(a: usize, b: usize, control: u32): u32 {
  return compare(a, b, control, false);
}

/** C1 is the sign. Empty registers (C3 and C0) are the caller's to know. */
export function f80_examine(a: usize): u32 {
  unpackF80(a);
  const sign = uSign ? C1 : 0;
  if (uClass == UNSUPPORTED) return sign;
  if (uClass == ZERO) return sign | C3;
  if (uClass == INFINITE) return sign | C2 | C0;
  if (uClass == FINITE) return sign | C2 | (uDenormal ? C3 : 0);
  return sign | C0;
}
