/** What the parts of the generator share while they write one program. */
import type { Form } from "./form.ts";
import type { OperandContext } from "./operands.ts";
import type { Random } from "./prng.ts";
import type { Fixup, PatchFixup, Unit } from "./program.ts";
import type { Bytes, Mode, SegmentPlan } from "./state.ts";
import type { Vendor } from "./vendor.ts";

/** The program so far. */
export interface Draft extends OperandContext {
  readonly random: Random;
  readonly mode: Mode;
  /** What of the program the host can answer for. */
  readonly host: Vendor;
  /** 16-bit code: operands and addresses are 16 bits unless 66h and 67h say 32. */
  readonly narrow: boolean;
  readonly segments: SegmentPlan;
  readonly known: (bigint | undefined)[];
  readonly patches: Bytes[];
  readonly patchFixups: PatchFixup[];
  readonly ignored: [number, number][];
}

/** A unit, and the general registers that it may change. */
export interface DraftUnit extends Unit {
  readonly changed: readonly number[];
}

/** One instruction while its operands are chosen. */
export interface Encoding {
  readonly form: Form;
  /** Width of its operands. */
  bits: number;
  readonly prefixes: number[];
  rex: number;
  needsRex: boolean;
  /** ModRM and everything after it. */
  readonly tail: number[];
  readonly fixups: Fixup[];
  opcodeRegister: number;
  written: number;
  undefinedFlags: number;
  readonly changed: number[];
  /** Instructions that come before it to set it up. */
  readonly setup: { readonly bytes: number[]; readonly fixups: Fixup[] };
}

export const RCX = 1;
export const RSP = 4;
export const OPERAND_SIZE = 0x66;
export const ADDRESS_SIZE = 0x67;

export const little = (value: bigint | number, width: number): number[] =>
  Array.from({ length: width }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));

const REGISTERS = { 32: 8, 64: 16 } as const;

export const anyRegister = ({ random, mode }: Draft): number => random.below(REGISTERS[mode]);

/** A general register; not often RSP, and as a destination not always RBP, RSI, RDI, which point into the window. */
export function generalRegister(draft: Draft, destination: boolean): number {
  for (;;) {
    const register = anyRegister(draft);
    if (register === RSP && draft.random.chance(0.9)) continue;
    if (destination && register >= 5 && register <= 7 && draft.random.chance(0.5)) continue;
    return register;
  }
}
