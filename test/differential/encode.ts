/** Operand sizes, immediates and prefixes of one instruction, and its bytes. */
import { ADDRESS_SIZE, type Draft, type DraftUnit, type Encoding, little, OPERAND_SIZE } from "./draft.ts";
import type { Form, ImmediateKind } from "./form.ts";
import { offsetOperand } from "./operands.ts";
import type { Fixup } from "./program.ts";
import { integer } from "./values.ts";

/** Chooses 66 and REX.W, and so the width of the operands. */
export function chooseOperandSize(draft: Draft, encoding: Encoding): void {
  const { random, mode, narrow } = draft;
  const { form, prefixes } = encoding;
  const long = mode === 64;
  const small = (prefixed: boolean): number => (prefixed !== narrow ? 16 : 32);
  switch (form.size) {
    case "b":
      encoding.bits = 8;
      return;
    case "W":
      encoding.rex |= 8;
      encoding.bits = 64;
      return;
    case "y":
      if (long && random.chance(0.4)) encoding.rex |= 8;
      encoding.bits = encoding.rex & 8 ? 64 : 32;
      return;
    case "q": {
      const prefixed = form.kind !== "indirect" && random.chance(0.12);
      if (prefixed) prefixes.push(OPERAND_SIZE);
      else if (long && random.chance(0.1)) encoding.rex |= 8;
      encoding.bits = long ? (prefixed ? 16 : 64) : small(prefixed);
      return;
    }
    case "v": {
      const prefixed = random.chance(narrow ? 0.4 : 0.2);
      if (prefixed) prefixes.push(OPERAND_SIZE);
      if (long && random.chance(prefixed ? 0.1 : 0.4)) encoding.rex |= 8;
      encoding.bits = encoding.rex & 8 ? 64 : small(prefixed);
      return;
    }
    case "none": {
      if (long && form.modrm !== "none" && form.kind !== "fxrstor" && random.chance(0.04)) encoding.rex |= 8;
      const prefixed = form.immediates.includes("cz") && random.chance(0.02);
      if (prefixed) prefixes.push(OPERAND_SIZE);
      // Intel's near branches ignore 66 in 64-bit mode.
      encoding.bits = long ? 32 : small(prefixed);
    }
  }
}

/** Appends the immediates; returns the first byte of the last one, or -1. `target`: a unit to branch to. */
export function emitImmediates(draft: Draft, encoding: Encoding, target: number): number {
  const { random } = draft;
  const { form, tail } = encoding;
  let last = -1;
  for (const kind of form.immediates) {
    if (kind === "cb" || kind === "cz") {
      const width = kind === "cb" ? 1 : encoding.bits / 8;
      if (random.chance(0.97)) encoding.fixups.push({ at: tail.length, width, kind: "branch", target });
      tail.push(...little(random.u32(), width));
      continue;
    }
    const bytes = immediate(draft, encoding, kind);
    last = bytes[0]!;
    tail.push(...bytes);
  }
  return last;
}

function immediate(
  draft: Draft,
  { form, bits, prefixes }: Encoding,
  kind: Exclude<ImmediateKind, "cb" | "cz">,
): number[] {
  const { random } = draft;
  switch (kind) {
    case "ib":
      return [immediateByte(draft, form, bits) & 0xff];
    case "iw":
      if (form.kind === "enter" || form.kind === "ret") {
        return little(random.chance(0.8) ? random.below(64) : random.u32(), 2);
      }
      return little(integer(random), 2);
    case "iz":
      return little(integer(random), bits === 16 ? 2 : 4);
    case "iv":
      return little(integer(random), bits / 8);
    case "io": {
      const operand = offsetOperand(draft, bits / 8);
      prefixes.push(...operand.prefixes);
      return operand.bytes;
    }
  }
}

function immediateByte({ random }: Draft, { kind }: Form, bits: number): number {
  switch (kind) {
    case "int":
      return random.pick([0, 1, 3, 4, 8, 13, 0x21, 0xff, random.below(0x80)]);
    case "predicate":
      return random.below(8);
    case "enter":
      return random.chance(0.6) ? 0 : random.chance(0.8) ? random.below(5) : random.below(256);
    case "double":
      // Beyond the width the result is undefined (SDM vol 2, SHLD).
      return bits === 16 ? random.below(17) : random.below(256);
    case "shift":
    case "rotate":
      return random.pick([0, 1, 1, random.below(64), random.below(256)]);
    default:
      return Number(integer(random) & 0xffn);
  }
}

/** Adds what prefixes there may be, and lays the bytes out. */
export function assemble(draft: Draft, encoding: Encoding): DraftUnit {
  const { random, mode } = draft;
  const { form, prefixes, setup } = encoding;
  const repeated = addPrefixes(draft, encoding);
  shuffle(draft, prefixes);
  // The mandatory prefix comes last, so that a redundant one does not hide it.
  if (form.mandatory) prefixes.push(form.mandatory);
  // Whether an invalid opcode is first of all too long is up to the processor.
  if (random.chance(0.004) && form.kind !== "invalid") {
    prefixes.unshift(...new Array<number>(random.between(1, 12)).fill(random.pick([0x3e, 0x2e])));
  }
  const bytes = [...setup.bytes];
  const start = bytes.length;
  bytes.push(...prefixes);
  const rex = encoding.rex !== 0 || encoding.needsRex || random.chance(0.05);
  if (mode === 64 && rex) bytes.push(0x40 | encoding.rex);
  bytes.push(...form.opcode);
  if (form.plus) bytes[bytes.length - 1]! |= encoding.opcodeRegister & 7;
  const tail = bytes.length;
  bytes.push(...encoding.tail);
  const placed = (fixup: Fixup): Fixup => ({ ...fixup, at: fixup.at + tail });
  return {
    form,
    bytes,
    fixups: [...setup.fixups, ...encoding.fixups.map(placed)],
    start,
    // With a count of 0, nothing is written.
    written: repeated ? 0 : encoding.written,
    undefinedFlags: encoding.undefinedFlags,
    read: form.read,
    changed: encoding.changed,
  };
}

/** LOCK, REP and redundant prefixes. True: the instruction is under REP. */
function addPrefixes({ random }: Draft, { form, prefixes }: Encoding): boolean {
  if (random.chance(form.lockable ? 0.1 : 0.003) && form.kind !== "fxsave") prefixes.push(0xf0);
  let repeated = false;
  if (form.repeat !== "" && random.chance(0.55)) {
    prefixes.push(random.chance(0.6) ? 0xf3 : 0xf2);
    repeated = true;
  } else if (takesRedundantRep(form) && random.chance(0.02)) prefixes.push(random.chance(0.5) ? 0xf3 : 0xf2);
  const implicit = form.modrm === "none" && form.group === "integer" && !form.immediates.includes("io");
  if (implicit && random.chance(0.03)) prefixes.push(ADDRESS_SIZE);
  if (implicit && random.chance(0.03)) prefixes.push(random.pick([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]));
  return repeated;
}

function shuffle({ random }: Draft, items: number[]): void {
  for (let i = items.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [items[i], items[j]] = [items[j]!, items[i]!];
  }
}

/** F2 and F3 choose another instruction in most of the two-byte map. */
function takesRedundantRep(form: Form): boolean {
  if (form.group !== "integer" || form.mandatory !== 0 || form.noRep || form.repeat !== "") return false;
  if (form.opcode[0] !== 0x0f) return form.opcode[0] !== 0x90;
  const row = form.opcode[1]! & 0xf0;
  return [0x40, 0x80, 0x90, 0xa0, 0xb0].includes(row);
}
