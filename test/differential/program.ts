/** A generated case before its bytes are laid out: units can be dropped (to minimise a failure) and linked again. */

import { little } from "./draft.ts";
import type { Form } from "./form.ts";
import { type Bytes, CODE_BASE, CODE_SIZE, type MachineCase, type Mode, type SegmentPlan } from "./state.ts";

export interface Fixup {
  /** Where in the unit, and how many bytes. */
  readonly at: number;
  readonly width: number;
  /**
   * `branch`: the distance from the end of the instruction to unit `target`. `absolute`: the address of that unit.
   * `relative`: the distance from the end of the instruction to the address `target`.
   */
  readonly kind: "branch" | "absolute" | "relative";
  readonly target: number;
}

/** One instruction, with the few others that set it up. */
export interface Unit {
  readonly form: Form;
  readonly bytes: number[];
  readonly fixups: readonly Fixup[];
  /** Offset of the instruction itself after its set-up. */
  readonly start: number;
  readonly written: number;
  readonly undefinedFlags: number;
  readonly read: number;
}

/** A pointer to a unit in the window, for indirect branches. */
export interface PatchFixup {
  readonly offset: number;
  readonly width: number;
  readonly target: number;
}

export interface Program {
  readonly mode: Mode;
  /** 16-bit code, whose segment begins with the code page. */
  readonly narrow: boolean;
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  readonly fx: Uint8Array;
  readonly segments: SegmentPlan;
  readonly units: readonly Unit[];
  readonly patches: readonly Bytes[];
  readonly patchFixups: readonly PatchFixup[];
  /** Where the code begins in its page, or, if negative, how much of it is cut off at the end of the page. */
  readonly placement: number;
  /** Bytes of the window that are not compared: pointers stored by FXSAVE and FNSAVE. [from, to) */
  readonly ignored: readonly (readonly [number, number])[];
}

export interface LinkedProgram extends MachineCase {
  readonly program: Program;
  /** Offsets in CS of the units, and of the end. */
  readonly addresses: readonly number[];
  /** Undefined flags before each unit, and at the end. */
  readonly undefinedBefore: readonly number[];
}

/** Lays the code out. Undefined if an instruction would read a flag that another left undefined. */
export function link(program: Program): LinkedProgram | undefined {
  const { units } = program;
  const offsets = [0];
  for (const unit of units) offsets.push(offsets.at(-1)! + unit.bytes.length);
  const length = offsets.at(-1)!;
  const cut = program.placement < 0 ? Math.min(-program.placement - 1, length - 1) : 0;
  const codeOffset = program.placement < 0 ? CODE_SIZE - (length - cut) : program.placement;
  const base = codeOffset + (program.narrow ? 0 : CODE_BASE);
  const addresses = offsets.map((offset) => base + offset);

  const code = new Uint8Array(length);
  const jumps: { from: number; to: number }[] = [];
  units.forEach((unit, index) => {
    code.set(unit.bytes, offsets[index]!);
    for (const fixup of unit.fixups) {
      let value = fixup.target;
      if (fixup.kind !== "relative") {
        let target = Math.min(Math.max(fixup.target, index + 1), units.length);
        const distance = (): number => offsets[target]! - offsets[index + 1]!;
        while (fixup.kind === "branch" && fixup.width === 1 && distance() > 127) target--;
        jumps.push({ from: index, to: target });
        value = fixup.kind === "branch" ? distance() : addresses[target]!;
      } else value -= addresses[index + 1]!;
      code.set(little(value, fixup.width), offsets[index]! + fixup.at);
    }
  });

  const patches = [...program.patches];
  for (const fixup of program.patchFixups) {
    const target = Math.min(fixup.target, units.length);
    patches.push({ offset: fixup.offset, bytes: Uint8Array.from(little(addresses[target]!, fixup.width)) });
    // Which unit branches through it is not tracked: any before the target may.
    for (let from = 0; from < target; from++) jumps.push({ from, to: target });
  }

  // Conservative: a flag is undefined if it is on any path.
  const pending = new Array<number>(units.length + 1).fill(0);
  const undefinedBefore: number[] = [];
  let undefinedFlags = 0;
  for (let index = 0; index < units.length; index++) {
    const unit = units[index]!;
    undefinedFlags |= pending[index]!;
    undefinedBefore.push(undefinedFlags);
    if (undefinedFlags & unit.read) return undefined;
    undefinedFlags = (undefinedFlags & ~unit.written) | unit.undefinedFlags;
    for (const jump of jumps) if (jump.from === index) pending[jump.to]! |= undefinedFlags;
  }
  undefinedBefore.push(undefinedFlags | pending[units.length]!);

  const { mode, gpr, rflags, fx, segments } = program;
  return {
    mode,
    gpr,
    rflags,
    fx,
    segments,
    codeOffset,
    code: code.subarray(0, length - cut),
    patches,
    program,
    addresses,
    undefinedBefore,
  };
}

/** The program without unit `index`; branches to it go to the next. */
export function withoutUnit(program: Program, index: number): Program {
  const shift = (target: number): number => (target > index ? target - 1 : target);
  const units = program.units
    .filter((_, other) => other !== index)
    .map((unit) => ({
      ...unit,
      fixups: unit.fixups.map((fixup) =>
        fixup.kind === "relative" ? fixup : { ...fixup, target: shift(fixup.target) },
      ),
    }));
  const patchFixups = program.patchFixups.map((fixup) => ({ ...fixup, target: shift(fixup.target) }));
  return { ...program, units, patchFixups };
}
