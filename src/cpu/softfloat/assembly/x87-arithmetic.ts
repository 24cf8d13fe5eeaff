/** FADD, FSUB, FMUL, FDIV, FSQRT under precision and rounding control. SDM vol. 1, 8.1.5. */
import { C1, CONTROL_DENORMAL_OPERAND, INFINITE, PE, QNAN, TOP } from "./constants";
import {
  ADD,
  DIVIDE,
  divideOperands,
  MULTIPLY,
  operate,
  rClass,
  rExponent,
  rHi,
  rLo,
  rSign,
  SUBTRACT,
  squareRoot,
} from "./core";
import { aClass, bClass } from "./operand";
import { packF80, storeF80 } from "./pack";
import { mulHigh } from "./wide";
import {
  denormalOperand,
  denormalOperands,
  invalidResult,
  propagateOne,
  propagateTwo,
  stops,
  unpackOne,
  unpackTwo,
} from "./x87-nan";

/** Precision control, control word bits 9:8; the reserved value 1 acts as 64 bits. SDM vol. 1, table 8-2. */
export function precisionOf(control: u32): i32 {
  const field = (control >> 8) & 3;
  return field == 0 ? 24 : field == 2 ? 53 : 64;
}

function finish(slot: usize, control: u32, status: u32): u32 {
  if (stops(status, control)) return status;
  return status | packF80(slot, control, precisionOf(control));
}

function binary(operation: i32, slot: usize, a: usize, b: usize, control: u32): u32 {
  unpackTwo(a, b);
  if (aClass > INFINITE || bClass > INFINITE) return propagateTwo(slot, control);
  let status = operate(operation, (control >> 10) & 3);
  if (rClass == QNAN) return invalidResult(slot, control);
  if (status == 0) status = denormalOperands(control);
  return finish(slot, control, status);
}

/**
 * The short way: two normal operands, a result well inside the range of normal numbers, rounding to nearest. Nothing but
 * PE can happen then, masked or not. Anything else goes the long way through `binary`.
 */
// @ts-ignore: decorator
@inline
function bothNormal(control: u32, aField: u32, bField: u32, aValue: u64, bValue: u64): bool {
  return (
    (control & (CONTROL_DENORMAL_OPERAND | 0xc00)) == 0 &&
    aField - 1 < 0x7ffe &&
    bField - 1 < 0x7ffe &&
    <i64>(aValue & bValue) < 0
  );
}

/** Rounds (high:low), normalised, and stores it; false if the exponent field is too near to either end. */
function roundNearest(slot: usize, control: u32, sign: u32, field: u32, high: u64, low: u64): bool {
  if (field - 2 >= 0x7ffb) return false;
  const precision = precisionOf(control);
  let rest = low;
  let unit: u64 = 1;
  if (precision != 64) {
    rest = (high << precision) | u64(low != 0);
    unit = TOP >> (precision - 1);
    high &= ~(unit - 1);
  }
  status = 0;
  if (rest != 0) {
    status = PE;
    if (rest > TOP || (rest == TOP && (high & unit) != 0)) {
      status = PE | C1;
      high += unit;
      if (high == 0) {
        high = TOP;
        field++;
      }
    }
  }
  storeF80(slot, sign, field, high);
  return true;
}

/** Exceptions and C1 of the last `roundNearest`. */
let status: u32 = 0;

function fastSum(slot: usize, a: usize, b: usize, control: u32, flip: u32): bool {
  let x = load<u64>(a);
  let y = load<u64>(b);
  const aHead = <u32>load<u16>(a, 8);
  const bHead = <u32>load<u16>(b, 8) ^ flip;
  let xField = aHead & 0x7fff;
  let yField = bHead & 0x7fff;
  if (!bothNormal(control, xField, yField, x, y)) return false;
  let sign = aHead >> 15;
  if (xField < yField || (xField == yField && x < y)) {
    const value = x;
    x = y;
    y = value;
    const field = xField;
    xField = yField;
    yField = field;
    sign = bHead >> 15;
  }
  const shift = xField - yField;
  if (shift > 63) return false;
  const low = shift == 0 ? 0 : y << (64 - shift);
  y >>= shift;
  if (((aHead ^ bHead) & 0x8000) == 0) {
    const sum = x + y;
    if (sum >= x) return roundNearest(slot, control, sign, xField, sum, low);
    return roundNearest(slot, control, sign, xField + 1, TOP | (sum >> 1), (sum << 63) | (low >> 1) | (low & 1));
  }
  const high = x - y - u64(low != 0);
  if (high == 0) return false;
  const less = 0 - low;
  const count = <u32>clz(high);
  if (count == 0) return roundNearest(slot, control, sign, xField, high, less);
  return roundNearest(slot, control, sign, xField - count, (high << count) | (less >> (64 - count)), less << count);
}

export function f80_add(dst: usize, a: usize, b: usize, control: u32): u32 {
  return fastSum(dst, a, b, control, 0) ? status : binary(ADD, dst, a, b, control);
}

export function f80_sub(dst: usize, a: usize, b: usize, control: u32): u32 {
  return fastSum(dst, a, b, control, 0x8000) ? status : binary(SUBTRACT, dst, a, b, control);
}

export function f80_mul(dst: usize, a: usize, b: usize, control: u32): u32 {
  const x = load<u64>(a);
  const y = load<u64>(b);
  const aHead = <u32>load<u16>(a, 8);
  const bHead = <u32>load<u16>(b, 8);
  if (bothNormal(control, aHead & 0x7fff, bHead & 0x7fff, x, y)) {
    const sign = (aHead ^ bHead) >> 15;
    const field = (aHead & 0x7fff) + (bHead & 0x7fff) - 16383;
    const high = mulHigh(x, y);
    const low = x * y;
    // A negative field is a huge unsigned one, and refused like any that is too large.
    if (<i64>high < 0) {
      if (roundNearest(dst, control, sign, field + 1, high, low)) return status;
    } else if (roundNearest(dst, control, sign, field, (high << 1) | (low >> 63), low << 1)) {
      return status;
    }
  }
  return binary(MULTIPLY, dst, a, b, control);
}

export function f80_div(dst: usize, a: usize, b: usize, control: u32): u32 {
  const x = load<u64>(a);
  const y = load<u64>(b);
  const aHead = <u32>load<u16>(a, 8);
  const bHead = <u32>load<u16>(b, 8);
  if (bothNormal(control, aHead & 0x7fff, bHead & 0x7fff, x, y)) {
    divideOperands(x, y, <i32>(aHead & 0x7fff) - <i32>(bHead & 0x7fff) + 16383, (aHead ^ bHead) >> 15);
    if (roundNearest(dst, control, rSign, <u32>rExponent, rHi, rLo)) return status;
  }
  return binary(DIVIDE, dst, a, b, control);
}

export function f80_sqrt(dst: usize, a: usize, control: u32): u32 {
  unpackOne(a);
  if (aClass > INFINITE) return propagateOne(dst, control);
  squareRoot();
  if (rClass == QNAN) return invalidResult(dst, control);
  return finish(dst, control, denormalOperand(control));
}
