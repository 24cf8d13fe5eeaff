/** What some instructions need before them or in memory, so that they do more than fault. */
import { type Draft, type DraftUnit, type Encoding, generalRegister, little, OPERAND_SIZE, RCX } from "./draft.ts";
import { type Form, shiftFlags } from "./form.ts";
import { controlWord, fxImage, mxcsr, statusWord } from "./initial.ts";
import type { MemoryOperand } from "./operands.ts";
import { LDT_SEGMENTS, Ldt, ldtSelector, SELECTORS_64, WINDOW_WRITABLE } from "./state.ts";

/** Prepares by the form's kind. `immediate`: its first byte, or -1; `target`: a unit to branch to. */
export function setUp(
  draft: Draft,
  encoding: Encoding,
  memory: MemoryOperand | undefined,
  immediate: number,
  target: number,
): void {
  const { random } = draft;
  const { form, prefixes } = encoding;
  switch (form.kind) {
    case "shift":
    case "rotate":
    case "double":
      setUpShift(draft, encoding, form.kind, form.name.endsWith(",1") ? 1 : immediate);
      break;
    case "divide":
      setUpDivision(draft, encoding);
      break;
    case "strflags":
      if (prefixes.includes(0xf2) || prefixes.includes(0xf3)) encoding.written = 0;
      break;
    case "compare":
      setUpComparison(draft, encoding, memory);
      break;
    case "popf":
      setUpFlags(draft, encoding);
      break;
    case "ret":
      if (random.chance(0.85)) pushTarget(draft, encoding, target);
      break;
    case "farret":
    case "iret":
    case "farjump":
      setUpFarTransfer(draft, encoding, target);
      break;
    case "indirect": {
      const width = encoding.bits / 8;
      if (memory && memory.target >= 0 && memory.target + width <= WINDOW_WRITABLE) {
        draft.patchFixups.push({ offset: memory.target, width, target });
      }
      break;
    }
    case "selector":
    case "farpointer":
    case "popsegment":
      setUpSelector(draft, encoding, memory);
      break;
    default:
      setUpFloat(draft, encoding, memory);
  }
}

/** A near branch through a register. */
export function indirectRegister(draft: Draft, form: Form, target: number): DraftUnit {
  const register = generalRegister(draft, true);
  const rex = register >= 8 ? [0x41] : [];
  const width = draft.narrow ? 2 : 4;
  const bytes = [...rex, 0xb8 + (register & 7), ...little(0, width)];
  const start = bytes.length;
  bytes.push(...rex, 0xff, 0xc0 | (form.extension << 3) | (register & 7));
  const fixups = [{ at: rex.length + 1, width, kind: "absolute", target } as const];
  return { form, bytes, fixups, start, written: 0, undefinedFlags: 0, read: 0, changed: [register] };
}

/** 66 where the default operand size is not this. */
const sizePrefix = (draft: Draft, bits: 16 | 32): number[] => ((bits === 16) !== draft.narrow ? [OPERAND_SIZE] : []);

function pushTarget(draft: Draft, { setup }: Encoding, target: number): void {
  const width = draft.narrow ? 2 : 4;
  setup.fixups.push({ at: setup.bytes.length + 1, width, kind: "absolute", target });
  setup.bytes.push(0x68, ...little(0, width));
}

function patch(draft: Draft, memory: MemoryOperand | undefined, bytes: ArrayLike<number>): void {
  if (!memory || memory.target < 0 || memory.target + bytes.length > WINDOW_WRITABLE) return;
  draft.patches.push({ offset: memory.target, bytes: Uint8Array.from(bytes) });
}

function setUpShift(draft: Draft, encoding: Encoding, kind: "shift" | "rotate" | "double", immediate: number): void {
  const { known, random } = draft;
  let count = immediate >= 0 ? immediate : undefined;
  const byCl = encoding.form.name.endsWith(",cl");
  if (byCl && kind === "double" && encoding.bits === 16) {
    count = random.below(17);
    encoding.setup.bytes.push(0xb1, count);
    encoding.changed.push(RCX);
  } else if (byCl && known[RCX] !== undefined) count = Number(known[RCX]! & 0xffn);
  const { written, undefinedFlags } = shiftFlags(kind, encoding.bits, count);
  encoding.written = written;
  encoding.undefinedFlags = undefinedFlags;
}

/** Most random divisions overflow; give the dividend's high half a value that often does not. */
function setUpDivision(draft: Draft, { form, bits, setup }: Encoding): void {
  const { random } = draft;
  if (random.chance(0.25)) return;
  const signed = form.name.startsWith("idiv");
  if (bits === 8) {
    if (signed && random.chance(0.6)) setup.bytes.push(...sizePrefix(draft, 16), 0x98);
    else setup.bytes.push(0xb4, random.below(4));
    return;
  }
  const high = random.below(256) | (random.chance(0.8) ? 0 : random.below(256) << 8);
  if (signed && random.chance(0.7)) {
    setup.bytes.push(...(bits === 64 ? [0x48] : sizePrefix(draft, bits === 16 ? 16 : 32)), 0x99);
  } else setup.bytes.push(...sizePrefix(draft, 32), 0xba, ...little(high, 4));
}

/** Half of the comparisons should succeed. */
function setUpComparison(draft: Draft, { form, rex }: Encoding, memory: MemoryOperand | undefined): void {
  const { known, random } = draft;
  if (known[0] === undefined || random.chance(0.5)) return;
  const rdx = known[2] ?? 0n;
  if (!form.name.startsWith("cmpxchg8b") && !form.name.startsWith("cmpxchg16b"))
    patch(draft, memory, little(known[0], 8));
  else if (form.size === "W" || rex & 8) patch(draft, memory, [...little(known[0], 8), ...little(rdx, 8)]);
  else patch(draft, memory, [...little(known[0], 4), ...little(rdx, 4)]);
}

function setUpFlags({ random, narrow }: Draft, { prefixes, setup }: Encoding): void {
  if (random.chance(0.15)) return;
  let flags = random.u32() & 0x20_0ed5;
  if (random.chance(0.06)) flags |= 0x100;
  if (random.chance(0.03)) flags |= 0x4_0000;
  if (random.chance(0.1)) flags |= random.u32() & 0x1f_7000;
  const prefixed = prefixes.includes(OPERAND_SIZE);
  setup.bytes.push(...(prefixed ? [OPERAND_SIZE] : []), 0x68, ...little(flags, prefixed !== narrow ? 2 : 4));
}

function setUpFarTransfer(draft: Draft, encoding: Encoding, target: number): void {
  const { random, mode, narrow, segments } = draft;
  const { form, setup, tail } = encoding;
  const long = mode === 64;
  const width = narrow ? 2 : 4;
  let selector: number = long ? SELECTORS_64.cs : ldtSelector(segments.cs ?? Ldt.code);
  if (!long && random.chance(0.1)) selector = anySelector(draft);
  if (form.kind === "farjump") {
    encoding.fixups.push({ at: tail.length, width, kind: "absolute", target });
    tail.push(...little(0, width), ...little(selector, 2));
    return;
  }
  if (long) encoding.rex |= 8;
  if (form.kind === "iret") setup.bytes.push(...(long ? [0x6a, SELECTORS_64.ss, 0x54] : []), 0x9c);
  setup.bytes.push(0x68, ...little(selector, width));
  pushTarget(draft, encoding, target);
}

/** A selector of the local table: any entry, one beyond it, some privilege level; or a null selector. */
function anySelector({ random }: Draft): number {
  if (random.chance(0.1)) return random.below(4);
  return random.below(LDT_SEGMENTS.length + 1) * 8 + 4 + (random.chance(0.85) ? 3 : random.below(4));
}

/** The operand of MOV to a segment register, LAR and their kin; a far pointer; or what POP finds. */
function setUpSelector(draft: Draft, encoding: Encoding, memory: MemoryOperand | undefined): void {
  const { random } = draft;
  const { form, setup, tail, bits, changed } = encoding;
  const selector = anySelector(draft);
  if (form.kind === "popsegment") setup.bytes.push(0x68, ...little(selector, draft.narrow ? 2 : 4));
  else if (form.kind === "farpointer")
    patch(draft, memory, [...little(random.u32(), bits / 8), ...little(selector, 2)]);
  else if (memory) patch(draft, memory, little(selector, 2));
  else {
    const register = tail[0]! & 7;
    setup.bytes.push(...sizePrefix(draft, 16), 0xb8 + register, ...little(selector, 2));
    changed.push(register);
  }
}

/** Images that FLDCW, LDMXCSR, FLDENV, FRSTOR and FXRSTOR can load; what of saved images is not compared. */
function setUpFloat(draft: Draft, encoding: Encoding, memory: MemoryOperand | undefined): void {
  const { random, ignored, host } = draft;
  const from = memory?.target ?? 0;
  switch (encoding.form.kind) {
    case "fldcw":
      if (random.chance(0.95)) patch(draft, memory, little(random.chance(0.9) ? controlWord(random) : random.u32(), 2));
      break;
    case "ldmxcsr":
      patch(draft, memory, little(random.chance(0.97) ? mxcsr(random) : random.u32(), 4));
      break;
    case "fldenv":
    case "frstor": {
      const step = environmentStep(draft, encoding);
      const control = controlWord(random);
      const words = [control, statusWord(random, control), random.chance(0.5) ? 0 : random.below(0x1_0000), 0, 0, 0, 0];
      patch(
        draft,
        memory,
        words.flatMap((word) => little(word, step)),
      );
      break;
    }
    case "fnstenv":
    case "fnsave": {
      // Instruction and data pointers, selectors and opcode depend on the model (Intel SDM vol. 1, 8.1.8, 8.1.9).
      const step = environmentStep(draft, encoding);
      ignored.push([from + 3 * step, from + 7 * step]);
      break;
    }
    case "fxrstor":
      patch(draft, memory, fxImage(random));
      break;
    case "fxsave":
      // FOP, FIP, FDP; reserved bytes of ST0-ST7; the part left to software.
      ignored.push([from + 5, from + 24], [from + 416, from + 512]);
      for (let i = 0; i < 8; i++) ignored.push([from + 42 + 16 * i, from + 48 + 16 * i]);
      // MXCSR_MASK has a bit for the misaligned exception mask (AMD APM vol 1, 4.2.2).
      if (host === "AMD") ignored.push([from + 30, from + 31]);
      break;
  }
}

/** Bytes of a field of the x87 environment; sometimes the other size, by a prefix. */
function environmentStep({ random, narrow }: Draft, { prefixes, rex }: Encoding): 2 | 4 {
  const prefixed = random.chance(0.15);
  if (prefixed) prefixes.push(OPERAND_SIZE);
  // REX.W overrides the prefix.
  return prefixed !== narrow && (rex & 8) === 0 ? 2 : 4;
}
