import { arithmetic } from "./arithmetic.ts";
import { control } from "./control.ts";
import { type Form, InstructionSet } from "./define.ts";
import { fxsave } from "./fxsave.ts";
import { moves } from "./moves.ts";
import { reciprocals } from "./reciprocal.ts";
import { shifts } from "./shifts.ts";
import { simdCompare } from "./simd-compare.ts";
import { simdConvert } from "./simd-convert.ts";
import { simdFloat } from "./simd-float.ts";
import { simdInteger } from "./simd-integer.ts";
import { simdMoves } from "./simd-moves.ts";
import { simdShuffles } from "./simd-shuffles.ts";
import { simdState } from "./simd-state.ts";
import { strings } from "./strings.ts";
import { x87Arithmetic } from "./x87-arithmetic.ts";
import { x87Control } from "./x87-control.ts";
import { x87Functions } from "./x87-functions.ts";
import { x87Moves } from "./x87-moves.ts";

/** Every instruction of the CPU, in every encoding. */
export function instructionForms(): readonly Form[] {
  const set = new InstructionSet();
  const x87 = [x87Arithmetic, x87Moves, x87Functions, x87Control];
  const simd = [
    simdMoves,
    simdInteger,
    simdShuffles,
    simdFloat,
    simdCompare,
    simdConvert,
    reciprocals,
    simdState,
    fxsave,
  ];
  for (const family of [arithmetic, shifts, moves, control, strings, ...x87, ...simd]) family(set.define);
  return set.forms;
}
