/** FADD, FSUB, FMUL, FDIV, FSQRT under precision and rounding control. SDM vol. 1, 8.1.5. */
import { INFINITE, QNAN } from "./constants";
import { ADD, DIVIDE, MULTIPLY, operate, rClass, SUBTRACT, squareRoot } from "./core";
import { aClass, bClass } from "./operand";
import { packF80 } from "./pack";
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

export function f80_add(dst: usize, a: usize, b: usize, control: u32): u32 {
  return binary(ADD, dst, a, b, control);
}

export function f80_sub(dst: usize, a: usize, b: usize, control: u32): u32 {
  return binary(SUBTRACT, dst, a, b, control);
}

export function f80_mul(dst: usize, a: usize, b: usize, control: u32): u32 {
  return binary(MULTIPLY, dst, a, b, control);
}

export function f80_div(dst: usize, a: usize, b: usize, control: u32): u32 {
  return binary(DIVIDE, dst, a, b, control);
}

export function f80_sqrt(dst: usize, a: usize, control: u32): u32 {
  unpackOne(a);
  if (aClass > INFINITE) return propagateOne(dst, control);
  squareRoot();
  if (rClass == QNAN) return invalidResult(dst, control);
  return finish(dst, control, denormalOperand(control));
}
