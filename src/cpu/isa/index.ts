import { arithmetic } from "./arithmetic.ts";
import { control } from "./control.ts";
import { type Form, InstructionSet } from "./define.ts";
import { moves } from "./moves.ts";
import { shifts } from "./shifts.ts";
import { strings } from "./strings.ts";

/** Every instruction of the CPU, in every encoding. */
export function instructionForms(): readonly Form[] {
  const set = new InstructionSet();
  for (const family of [arithmetic, shifts, moves, control, strings]) family(set.define);
  return set.forms;
}
