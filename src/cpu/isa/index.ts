import { arithmetic } from "./arithmetic.ts";
import { control } from "./control.ts";
import { type Form, InstructionSet } from "./define.ts";
import { moves } from "./moves.ts";
import { shifts } from "./shifts.ts";
import { strings } from "./strings.ts";
import { x87Arithmetic } from "./x87-arithmetic.ts";
import { x87Control } from "./x87-control.ts";
import { x87Functions } from "./x87-functions.ts";
import { x87Moves } from "./x87-moves.ts";

/** Every instruction of the CPU, in every encoding. */
export function instructionForms(): readonly Form[] {
  const set = new InstructionSet();
  const x87 = [x87Arithmetic, x87Moves, x87Functions, x87Control];
  for (const family of [arithmetic, shifts, moves, control, strings, ...x87]) family(set.define);
  return set.forms;
}
