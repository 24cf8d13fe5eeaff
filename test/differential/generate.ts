/** Random user-mode programs of 1 to 12 instructions. */

import { adapt } from "./amd.ts";
import { anyRegister, type Draft, type DraftUnit, type Encoding, generalRegister } from "./draft.ts";
import { assemble, chooseOperandSize, emitImmediates } from "./encode.ts";
import { floatForms } from "./float-forms.ts";
import type { Form, Group } from "./form.ts";
import { fxImage, initialFlags, initialRegisters, initialSegments } from "./initial.ts";
import { integerForms } from "./integer-forms.ts";
import { type MemoryOperand, memoryOperand } from "./operands.ts";
import type { Random } from "./prng.ts";
import { type LinkedProgram, link, type Program, type Unit } from "./program.ts";
import { indirectRegister, setUp } from "./set-up.ts";
import { CODE_SIZE, type Mode } from "./state.ts";
import type { Vendor } from "./vendor.ts";

const LENGTHS = [1, 2, 3, 4, 4, 5, 6, 6, 7, 8, 10, 12] as const;
const LONGEST_INSTRUCTION = 15;
/** Operands that `draft.ignored` describes, or that must be readable to do anything, are never arbitrary. */
const EXACT_KINDS = ["fnstenv", "fnsave", "fxsave", "fxrstor", "frstor", "indirect"];

/** What the tests draw from: a group, a family of integer instructions, one form by its name, or all. */
export function formsOf(selection: Group | string, mode: Mode): Form[] {
  const chosen = [...integerForms, ...floatForms].filter(
    (form) =>
      (selection === "all" || form.group === selection || form.family === selection || form.name === selection) &&
      (form.mode === 0 || form.mode === mode),
  );
  if (chosen.length === 0) throw new Error(`no instruction of ${selection} in ${mode}-bit mode`);
  return chosen;
}

export class Generator {
  private readonly byFamily = new Map<string, Form[]>();
  private readonly mixins: Form[];
  private readonly random: Random;
  private readonly mode: Mode;
  private readonly host: Vendor;

  /** `host`: the programs are such that this one does as the emulated CPU. */
  constructor(random: Random, mode: Mode, selection: Group | string, host: Vendor = "Intel") {
    this.random = random;
    this.mode = mode;
    this.host = host;
    for (const form of formsOf(selection, mode)) {
      const family = this.byFamily.get(form.family);
      if (family) family.push(form);
      else this.byFamily.set(form.family, [form]);
    }
    this.mixins =
      selection === "integer" || selection === "all" ? [] : [...formsOf("alu", mode), ...formsOf("move", mode)];
  }

  next(): LinkedProgram {
    for (;;) {
      const linked = link(this.program());
      if (linked && linked.codeOffset >= 0 && linked.codeOffset + linked.code.length <= CODE_SIZE) return linked;
    }
  }

  private program(): Program {
    const { random, mode, host } = this;
    const gpr = initialRegisters(random, mode);
    const narrow = mode === 32 && random.chance(0.2);
    const draft: Draft = {
      random,
      mode,
      host,
      narrow,
      segments: initialSegments(random, mode, narrow),
      known: Array.from(gpr),
      patches: [],
      patchFixups: [],
      ignored: [],
    };
    const units = this.units(draft);
    return {
      mode,
      narrow,
      gpr,
      rflags: initialFlags(random),
      fx: fxImage(random),
      segments: draft.segments,
      units,
      patches: draft.patches,
      patchFixups: draft.patchFixups,
      placement: this.placement(draft, units),
      ignored: draft.ignored,
    };
  }

  private units(draft: Draft): Unit[] {
    const { random } = this;
    const length = random.pick(LENGTHS);
    const units: Unit[] = [];
    let undefinedFlags = 0;
    for (let attempt = 0; units.length < length && attempt < 100; attempt++) {
      const form = this.pickForm();
      // The linker checks again with branches taken into account; this keeps most candidates alive.
      if (form.read & undefinedFlags) continue;
      if (form.last && units.length !== length - 1 && random.chance(0.9)) continue;
      const any = unitOf(draft, form, units.length, length);
      const unit = draft.host === "AMD" ? adapt(any, draft) : any;
      if (!unit) continue;
      units.push(unit);
      undefinedFlags = (undefinedFlags & ~unit.written) | unit.undefinedFlags;
      for (const register of [...form.clobbers, ...unit.changed]) draft.known[register] = undefined;
      if (form.last) break;
    }
    return units;
  }

  private pickForm(): Form {
    const { random } = this;
    if (this.mixins.length > 0 && random.chance(0.12)) return random.pick(this.mixins);
    const families = [...this.byFamily.keys()];
    const family = random.pick(families);
    // What faults by its nature ends a sequence: seldom.
    if (family === "other" && families.length > 1 && random.chance(0.8)) return this.pickForm();
    return random.pick(this.byFamily.get(family)!);
  }

  /** Mostly near the start of the code page; sometimes up to its end, or with an instruction cut off there. */
  private placement({ random, narrow }: Draft, units: readonly Unit[]): number {
    // How far the operands of invalid and too long instructions are fetched is up to the processor.
    const keepOff = units.some(
      ({ form, bytes, start }) => form.kind === "invalid" || bytes.length - start > LONGEST_INSTRUCTION,
    );
    if (keepOff || random.chance(0.9)) return random.below(64);
    // In 16-bit code a limit ends at the page, too.
    return narrow || random.chance(0.7) ? -1 : -1 - random.between(1, 6);
  }
}

/** One instruction with random operands. */
function unitOf(draft: Draft, form: Form, index: number, length: number): DraftUnit {
  const { random } = draft;
  const target = random.between(index + 1, length);
  const encoding: Encoding = {
    form,
    bits: 32,
    prefixes: [],
    rex: 0,
    needsRex: false,
    tail: [],
    fixups: [],
    opcodeRegister: 0,
    written: form.written,
    undefinedFlags: form.undefinedFlags,
    changed: [],
    setup: { bytes: [], fixups: [] },
  };
  chooseOperandSize(draft, encoding);
  let memory: MemoryOperand | undefined;
  if (form.modrm !== "none") {
    const inRegister = form.modrm === "reg" || (form.modrm === "any" && random.chance(0.55));
    if (form.kind === "indirect" && inRegister) return indirectRegister(draft, form, target);
    memory = emitModrm(draft, encoding, inRegister);
  }
  if (form.plus) {
    encoding.opcodeRegister = generalRegister(draft, true);
    noteChange(encoding, encoding.opcodeRegister);
    encoding.rex |= encoding.opcodeRegister >= 8 ? 1 : 0;
  }
  const immediate = emitImmediates(draft, encoding, target);
  setUp(draft, encoding, memory, immediate, target);
  return assemble(draft, encoding);
}

/** AH-BH change RAX-RBX. */
function noteChange({ form, changed }: Encoding, register: number): void {
  changed.push(register);
  if (form.size === "b") changed.push(register & 3);
}

function emitModrm(draft: Draft, encoding: Encoding, inRegister: boolean): MemoryOperand | undefined {
  const { random, mode } = draft;
  const { form, tail } = encoding;
  const vector = form.group !== "integer";
  let register = form.extension;
  if (register < 0) {
    register = vector && !form.changesReg ? anyRegister(draft) : generalRegister(draft, form.changesReg);
    if (form.changesReg) noteChange(encoding, register);
    encoding.rex |= register >= 8 ? 4 : 0;
  }
  const reg = (register & 7) << 3;
  if (inRegister) {
    const rm = vector && !form.changesRm ? anyRegister(draft) : generalRegister(draft, form.changesRm);
    if (form.changesRm) noteChange(encoding, rm);
    encoding.rex |= rm >= 8 ? 1 : 0;
    if (form.size === "b" && rm >= 4 && random.chance(0.5)) encoding.needsRex = mode === 64;
    tail.push(0xc0 | reg | (rm & 7));
    return undefined;
  }
  const memory = memoryOperand(draft, form.memoryBytes || encoding.bits / 8, form.aligned, {
    exact: EXACT_KINDS.includes(form.kind),
    bias: form.kind === "bitoffset" ? bitBias(draft, register, encoding.bits) : 0,
  });
  encoding.prefixes.push(...memory.prefixes);
  encoding.rex |= memory.rex;
  const [head, ...rest] = memory.bytes;
  tail.push(head! | reg, ...rest);
  if (memory.relativeAt >= 0) {
    const view = new DataView(Uint8Array.from(memory.bytes).buffer);
    const address = view.getInt32(memory.relativeAt, true);
    encoding.fixups.push({ at: memory.relativeAt, width: 4, kind: "relative", target: address });
  }
  return memory;
}

/** How far a register bit offset moves the operand of BT and its kin (Intel SDM vol. 1, 3.1.1.9; vol. 2, BT). */
function bitBias({ known }: Draft, register: number, bits: number): number {
  const value = known[register];
  if (value === undefined) return 0;
  const bytes = (BigInt.asIntN(bits, value) >> BigInt(Math.log2(bits))) * BigInt(bits / 8);
  return bytes === BigInt.asIntN(31, bytes) ? Number(bytes) : 0;
}
