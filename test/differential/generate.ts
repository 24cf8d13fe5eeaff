/** Random user-mode programs of 1 to 12 instructions. */
import { floatForms } from "./float-forms.ts";
import { type Form, type Group, type ImmediateKind, shiftFlags } from "./form.ts";
import { controlWord, fxImage, initialFlags, initialRegisters, initialSegments, mxcsr, statusWord } from "./initial.ts";
import { integerForms } from "./integer-forms.ts";
import { type MemoryOperand, memoryOperand, type OperandContext, offsetOperand } from "./operands.ts";
import type { Random } from "./prng.ts";
import { type Fixup, type LinkedProgram, link, type PatchFixup, type Program, type Unit } from "./program.ts";
import {
  type Bytes,
  CODE_SIZE,
  Ldt,
  ldtSelector,
  type Mode,
  SELECTORS_64,
  type SegmentPlan,
  WINDOW_WRITABLE,
} from "./state.ts";
import { integer } from "./values.ts";

const RCX = 1;
const RSP = 4;
const MAXIMUM_UNITS = 12;

/** What the tests draw from: the families of integer instructions, and the other groups whole. */
export function formsOf(selection: Group | string, mode: Mode): Form[] {
  const chosen = [...integerForms, ...floatForms].filter(
    (form) =>
      (selection === "all" || form.group === selection || form.family === selection || form.name === selection) &&
      (form.mode === 0 || form.mode === mode),
  );
  if (chosen.length === 0) throw new Error(`no instruction of ${selection} in ${mode}-bit mode`);
  return chosen;
}

interface Encoding {
  prefixes: number[];
  rex: number;
  needsRex: boolean;
  tail: number[];
}

/** Bytes that come before an instruction to set it up. */
interface Setup {
  bytes: number[];
  fixups: Fixup[];
  written: number;
  undefinedFlags: number;
}

export class Generator {
  private readonly byFamily = new Map<string, Form[]>();
  private readonly mixins: Form[];
  private known: (bigint | undefined)[] = [];
  private segments: SegmentPlan = { ds: 0, es: 0, fs: 0, gs: 0, ss: 0 };
  private gpr: BigUint64Array = new BigUint64Array(16);
  private patches: Bytes[] = [];
  private patchFixups: PatchFixup[] = [];
  private ignored: [number, number][] = [];
  private readonly random: Random;
  private readonly mode: Mode;

  constructor(random: Random, mode: Mode, selection: Group | string) {
    this.random = random;
    this.mode = mode;
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
    const { random, mode } = this;
    this.gpr = initialRegisters(random, mode);
    this.segments = initialSegments(random, mode);
    this.known = Array.from({ length: 16 }, (_, register) => this.gpr[register]);
    this.patches = [];
    this.patchFixups = [];
    this.ignored = [];
    const length = random.pick([1, 2, 3, 4, 4, 5, 6, 6, 7, 8, 10, MAXIMUM_UNITS]);
    const units: Unit[] = [];
    let undefinedFlags = 0;
    for (let attempt = 0; units.length < length && attempt < 100; attempt++) {
      const form = this.pickForm();
      // The linker checks again with branches taken into account; this keeps most candidates alive.
      if (form.read & undefinedFlags) continue;
      if (form.last && units.length !== length - 1 && random.chance(0.9)) continue;
      const unit = this.unit(form, units.length, length);
      units.push(unit);
      undefinedFlags = (undefinedFlags & ~unit.written) | unit.undefinedFlags;
      this.forget(form, unit);
      if (form.last) break;
    }
    return {
      mode,
      gpr: this.gpr,
      rflags: initialFlags(random),
      fx: fxImage(random),
      segments: this.segments,
      units,
      patches: this.patches,
      patchFixups: this.patchFixups,
      placement:
        this.keepsOffTheEdge(units) || random.chance(0.9)
          ? random.below(64)
          : random.chance(0.7)
            ? -1
            : -1 - random.between(1, 6),
      ignored: this.ignored,
    };
  }

  /** Whether the operands of an opcode that is invalid in this mode are fetched before #UD is up to the processor. */
  private keepsOffTheEdge(units: readonly Unit[]): boolean {
    return units.some((unit) => unit.form.kind === "invalid");
  }

  private pickForm(): Form {
    const { random } = this;
    if (this.mixins.length > 0 && random.chance(0.12)) return random.pick(this.mixins);
    const families = [...this.byFamily.keys()];
    // What faults by its nature ends a sequence: seldom.
    const family = random.pick(families);
    if (family === "other" && families.length > 1 && random.chance(0.8)) return this.pickForm();
    return random.pick(this.byFamily.get(family)!);
  }

  private context(): OperandContext {
    const { random, mode, segments, known } = this;
    return { random, mode, segments, known };
  }

  private register(destination: boolean): number {
    const { random, mode } = this;
    for (;;) {
      const register = random.below(mode === 64 ? 16 : 8);
      if (register === RSP && random.chance(0.9)) continue;
      if (destination && register >= 5 && register <= 7 && random.chance(0.5)) continue;
      return register;
    }
  }

  /** Registers that the unit may have changed are no longer known. */
  private forget(form: Form, unit: Unit): void {
    for (const register of form.clobbers) this.known[register] = undefined;
    for (const register of (unit as Unit & { changed: number[] }).changed) this.known[register] = undefined;
  }

  private unit(form: Form, index: number, length: number): Unit & { changed: number[] } {
    const { random, mode } = this;
    const changed: number[] = [];
    const setup: Setup = { bytes: [], fixups: [], written: 0, undefinedFlags: 0 };
    const encoding: Encoding = { prefixes: [], rex: 0, needsRex: false, tail: [] };
    const fixups: Fixup[] = [];

    const bits = this.operandBits(form, encoding);
    const bytes = form.memoryBytes || bits / 8;
    const boundary = (): number => random.between(index + 1, length);

    let memory: MemoryOperand | undefined;
    let register = 0;
    let opcodeRegister = 0;
    let relative: { at: number; address: number } | undefined;
    if (form.modrm !== "none") {
      const vector = form.group !== "integer";
      const inRegister = form.modrm === "reg" || (form.modrm === "any" && random.chance(0.55));
      register =
        form.extension >= 0
          ? form.extension
          : vector && !form.changesReg
            ? random.below(mode === 64 ? 16 : 8)
            : this.register(form.changesReg);
      if (form.kind === "indirect" && inRegister) return this.indirectRegister(form, boundary());
      if (inRegister) {
        const rm = vector && !form.changesRm ? random.below(mode === 64 ? 16 : 8) : this.register(form.changesRm);
        // MMX and x87 registers are eight, and REX.B is ignored for them.
        if (form.changesRm) changed.push(form.size === "b" ? rm & 3 : rm, rm);
        encoding.rex |= rm >= 8 ? 1 : 0;
        if (form.size === "b" && rm >= 4 && random.chance(0.5)) encoding.needsRex = mode === 64;
        encoding.tail.push(0xc0 | ((register & 7) << 3) | (rm & 7));
      } else {
        const bias = form.kind === "bitoffset" ? this.bitBias(register, bits) : 0;
        const exact = ["fnstenv", "fnsave", "fxsave", "indirect"].includes(form.kind) || form.kind.startsWith("fr");
        memory = memoryOperand(this.context(), bytes, form.aligned, { exact, bias });
        encoding.prefixes.push(...memory.prefixes);
        encoding.rex |= memory.rex;
        const [head, ...rest] = memory.bytes;
        encoding.tail.push(head! | ((register & 7) << 3), ...rest);
        if (memory.relativeAt >= 0) relative = { at: memory.relativeAt, address: this.relativeAddress(memory) };
      }
      if (form.extension < 0) {
        if (form.changesReg) changed.push(form.size === "b" ? register & 3 : register, register);
        encoding.rex |= register >= 8 ? 4 : 0;
      }
    }
    if (form.plus) {
      opcodeRegister = this.register(true);
      if (form.changesReg || form.changesRm) changed.push(form.size === "b" ? opcodeRegister & 3 : opcodeRegister);
      changed.push(opcodeRegister);
      encoding.rex |= opcodeRegister >= 8 ? 1 : 0;
    }

    let { written, undefinedFlags } = form;
    let immediate = -1;
    for (const kind of form.immediates) {
      const value = this.immediate(form, kind, bits, encoding);
      if (kind === "cb" || kind === "cz") {
        const width = kind === "cb" ? 1 : encoding.prefixes.includes(0x66) && mode === 32 ? 2 : 4;
        if (random.chance(0.97)) fixups.push({ at: encoding.tail.length, width, kind: "branch", target: boundary() });
        encoding.tail.push(...value.slice(0, width));
        continue;
      }
      immediate = value[0]!;
      encoding.tail.push(...value);
    }
    if (form.name.endsWith(",1")) immediate = 1;

    switch (form.kind) {
      case "shift":
      case "rotate":
      case "double": {
        let count = immediate >= 0 ? immediate : undefined;
        if (form.name.endsWith(",cl") && form.kind === "double" && bits === 16) {
          count = random.below(17);
          setup.bytes.push(0xb1, count);
          changed.push(RCX);
        } else if (form.name.endsWith(",cl") && this.known[RCX] !== undefined) count = Number(this.known[RCX]! & 0xffn);
        ({ written, undefinedFlags } = shiftFlags(form.kind, bits, count));
        break;
      }
      case "divide":
        this.prepareDivision(form, bits, setup);
        break;
      case "strflags":
        if (encoding.prefixes.includes(0xf2) || encoding.prefixes.includes(0xf3)) written = 0;
        break;
      case "farjump":
        fixups.push({ at: encoding.tail.length, width: 4, kind: "absolute", target: boundary() });
        encoding.tail.push(0, 0, 0, 0, ldtSelector(Ldt.code), 0);
        break;
      default:
        this.prepare(form, encoding, setup, memory, boundary());
    }

    return this.assemble(form, encoding, setup, fixups, relative, opcodeRegister, {
      written,
      undefinedFlags: undefinedFlags,
      changed,
    });
  }

  /** Chooses 66 and REX.W; returns the operand's width. */
  private operandBits(form: Form, encoding: Encoding): number {
    const { random, mode } = this;
    const long = mode === 64;
    switch (form.size) {
      case "b":
        return 8;
      case "W":
        encoding.rex |= 8;
        return 64;
      case "y":
        if (long && random.chance(0.4)) encoding.rex |= 8;
        return encoding.rex & 8 ? 64 : 32;
      case "q": {
        const branch = form.kind === "indirect";
        if (!branch && random.chance(0.12)) {
          encoding.prefixes.push(0x66);
          return 16;
        }
        if (long && random.chance(0.1)) encoding.rex |= 8;
        return long ? 64 : 32;
      }
      case "v": {
        if (random.chance(0.2)) encoding.prefixes.push(0x66);
        if (long && random.chance(encoding.prefixes.length > 0 ? 0.1 : 0.4)) encoding.rex |= 8;
        return encoding.rex & 8 ? 64 : encoding.prefixes.length > 0 ? 16 : 32;
      }
      case "none":
        if (long && form.modrm !== "none" && form.kind !== "fxrstor" && random.chance(0.04)) encoding.rex |= 8;
        if (form.immediates.includes("cz") && random.chance(0.02)) encoding.prefixes.push(0x66);
        return 32;
    }
  }

  private immediate(form: Form, kind: ImmediateKind, bits: number, encoding: Encoding): number[] {
    const { random } = this;
    const little = (value: bigint, width: number): number[] =>
      Array.from({ length: width }, (_, i) => Number((value >> BigInt(8 * i)) & 0xffn));
    switch (kind) {
      case "ib": {
        if (form.kind === "int") return [random.pick([0, 1, 3, 4, 8, 13, 0x21, 0xff, random.below(0x80)])];
        if (form.kind === "predicate") return [random.below(8)];
        if (form.kind === "enter")
          return [random.chance(0.6) ? 0 : random.chance(0.8) ? random.below(5) : random.below(256)];
        if (form.kind === "double" && bits === 16) return [random.below(17)];
        if (form.kind === "shift" || form.kind === "rotate")
          return [random.pick([0, 1, 1, random.below(64), random.below(256)])];
        return little(integer(random), 1);
      }
      case "iw":
        if (form.kind === "enter" || form.kind === "ret")
          return little(BigInt(random.chance(0.8) ? random.below(64) : random.u32()), 2);
        return little(integer(random), 2);
      case "iz":
        return little(integer(random), bits === 16 ? 2 : 4);
      case "iv":
        return little(integer(random), bits / 8);
      case "io": {
        const operand = offsetOperand(this.context(), bits / 8);
        encoding.prefixes.push(...operand.prefixes);
        return operand.bytes;
      }
      default:
        return little(BigInt(random.u32()), 4);
    }
  }

  /** How far a register bit offset moves the operand of BT and its kin (Intel SDM vol. 1, 3.1.1.9; vol. 2, BT). */
  private bitBias(register: number, bits: number): number {
    const value = this.known[register];
    if (value === undefined) return 0;
    const offset = BigInt.asIntN(bits, value);
    const bytes = (offset >> BigInt(Math.log2(bits))) * BigInt(bits / 8);
    return bytes === BigInt.asIntN(31, bytes) ? Number(bytes) : 0;
  }

  /** The effective address of a RIP-relative operand, from the placeholder displacement. */
  private relativeAddress(memory: MemoryOperand): number {
    const [a, b, c, d] = memory.bytes.slice(memory.relativeAt, memory.relativeAt + 4);
    return a! | (b! << 8) | (c! << 16) | (d! << 24);
  }

  /** Most random divisions overflow; give the dividend's high half a value that often does not. */
  private prepareDivision(form: Form, bits: number, setup: Setup): void {
    const { random } = this;
    if (random.chance(0.25)) return;
    const signed = form.name.startsWith("idiv");
    if (bits === 8) {
      if (signed && random.chance(0.6)) setup.bytes.push(0x66, 0x98);
      else setup.bytes.push(0xb4, random.below(4));
      return;
    }
    const wide = bits === 64 ? [0x48] : bits === 16 ? [0x66] : [];
    if (signed && random.chance(0.7)) setup.bytes.push(...wide, 0x99);
    else setup.bytes.push(0xba, random.below(256), random.chance(0.8) ? 0 : random.below(256), 0, 0);
  }

  private patch(memory: MemoryOperand | undefined, bytes: Uint8Array): boolean {
    if (!memory || memory.target < 0 || memory.target + bytes.length > WINDOW_WRITABLE) return false;
    this.patches.push({ offset: memory.target, bytes });
    return true;
  }

  private prepare(
    form: Form,
    encoding: Encoding,
    setup: Setup,
    memory: MemoryOperand | undefined,
    target: number,
  ): void {
    const { random, mode } = this;
    const pushTarget = (): void => {
      setup.fixups.push({ at: setup.bytes.length + 1, width: 4, kind: "absolute", target });
      setup.bytes.push(0x68, 0, 0, 0, 0);
    };
    const word = (value: number): Uint8Array => Uint8Array.of(value, value >> 8);
    switch (form.kind) {
      case "compare":
        // Half of the comparisons should succeed.
        if (this.known[0] !== undefined && memory && random.chance(0.5)) {
          const bytes = new Uint8Array(16);
          const view = new DataView(bytes.buffer);
          view.setBigUint64(0, this.known[0]!, true);
          const rdx = this.known[2] ?? 0n;
          const wide = form.name === "cmpxchg16b" || (encoding.rex & 8) !== 0;
          if (form.name === "cmpxchg8b" && !wide) view.setUint32(4, Number(rdx & 0xffff_ffffn), true);
          else view.setBigUint64(8, rdx, true);
          this.patch(memory, bytes.subarray(0, form.name.startsWith("cmpxchg1") || wide ? 16 : 8));
        }
        break;
      case "popf":
        if (random.chance(0.85)) {
          let flags = random.u32() & 0x200ed5;
          if (random.chance(0.06)) flags |= 0x100;
          if (random.chance(0.03)) flags |= 0x4_0000;
          if (random.chance(0.1)) flags |= random.u32() & 0x1f_7000;
          setup.bytes.push(
            ...(encoding.prefixes.includes(0x66)
              ? [0x66, 0x68, flags & 0xff, (flags >> 8) & 0xff]
              : [0x68, flags & 0xff, (flags >> 8) & 0xff, (flags >> 16) & 0xff, 0]),
          );
        }
        break;
      case "ret":
        if (random.chance(0.85)) pushTarget();
        break;
      case "farret":
        if (mode === 64) encoding.rex |= 8;
        setup.bytes.push(0x6a, mode === 64 ? SELECTORS_64.cs : ldtSelector(Ldt.code));
        pushTarget();
        break;
      case "iret":
        if (mode === 64) {
          encoding.rex |= 8;
          setup.bytes.push(0x6a, SELECTORS_64.ss, 0x54, 0x9c, 0x6a, SELECTORS_64.cs);
        } else setup.bytes.push(0x9c, 0x6a, ldtSelector(Ldt.code));
        pushTarget();
        break;
      case "indirect": {
        const width = mode === 64 ? 8 : 4;
        if (memory && memory.target >= 0 && memory.target + width <= WINDOW_WRITABLE) {
          this.patchFixups.push({ offset: memory.target, width, target });
        }
        break;
      }
      case "fldcw":
        if (random.chance(0.95)) this.patch(memory, word(random.chance(0.9) ? controlWord(random) : random.u32()));
        break;
      case "ldmxcsr": {
        const value = random.chance(0.97) ? mxcsr(random) : random.u32();
        this.patch(memory, Uint8Array.of(value, value >> 8, value >> 16, value >> 24));
        break;
      }
      case "fldenv":
      case "frstor": {
        const step = this.shortEnvironment(encoding) ? 2 : 4;
        const image = new Uint8Array(7 * step);
        const view = new DataView(image.buffer);
        const control = controlWord(random);
        view.setUint16(0, control, true);
        view.setUint16(step, statusWord(random, control), true);
        view.setUint16(2 * step, random.chance(0.5) ? 0 : random.u32(), true);
        this.patch(memory, image);
        break;
      }
      case "fnstenv":
      case "fnsave": {
        // Instruction and data pointers, selectors and opcode depend on the model (Intel SDM vol. 1, 8.1.8, 8.1.9).
        const step = this.shortEnvironment(encoding) ? 2 : 4;
        if (memory) this.ignored.push([memory.target + 3 * step, memory.target + 7 * step]);
        break;
      }
      case "fxrstor":
        this.patch(memory, fxImage(random));
        break;
      case "fxsave":
        // FOP, FIP, FDP; reserved bytes of ST0-ST7; the part left to software.
        if (memory) {
          this.ignored.push([memory.target + 5, memory.target + 24], [memory.target + 416, memory.target + 512]);
          for (let i = 0; i < 8; i++) this.ignored.push([memory.target + 42 + 16 * i, memory.target + 48 + 16 * i]);
        }
        break;
    }
  }

  /** Sometimes the 14-byte x87 environment, by an operand-size prefix. */
  private shortEnvironment(encoding: Encoding): boolean {
    const short = this.random.chance(0.15);
    if (short) encoding.prefixes.push(0x66);
    // REX.W overrides the prefix.
    return short && (encoding.rex & 8) === 0;
  }

  private indirectRegister(form: Form, target: number): Unit & { changed: number[] } {
    const register = this.register(true);
    const rex = register >= 8 ? [0x41] : [];
    const bytes = [...rex, 0xb8 + (register & 7), 0, 0, 0, 0];
    const start = bytes.length;
    bytes.push(...rex, 0xff, 0xc0 | (form.extension << 3) | (register & 7));
    const fixups: Fixup[] = [{ at: rex.length + 1, width: 4, kind: "absolute", target }];
    return { form, bytes, fixups, start, written: 0, undefinedFlags: 0, read: 0, changed: [register] };
  }

  private assemble(
    form: Form,
    encoding: Encoding,
    setup: Setup,
    fixups: readonly Fixup[],
    relative: { at: number; address: number } | undefined,
    opcodeRegister: number,
    effect: { written: number; undefinedFlags: number; changed: number[] },
  ): Unit & { changed: number[] } {
    const { random, mode } = this;
    const { prefixes } = encoding;
    let { written } = effect;
    if (form.lockable && random.chance(0.1)) prefixes.push(0xf0);
    else if (random.chance(0.003) && form.kind !== "fxsave") prefixes.push(0xf0);
    if (form.repeat !== "" && random.chance(0.55)) {
      prefixes.push(random.chance(0.6) ? 0xf3 : 0xf2);
      written = 0;
    } else if (
      form.group === "integer" &&
      form.mandatory === 0 &&
      !form.noRep &&
      !this.isPrefixed(form) &&
      random.chance(0.02)
    ) {
      prefixes.push(random.chance(0.5) ? 0xf3 : 0xf2);
    }
    const implicit = form.modrm === "none" && form.group === "integer" && !form.immediates.includes("io");
    if (implicit && random.chance(0.03)) prefixes.push(0x67);
    if (implicit && random.chance(0.03)) prefixes.push(random.pick([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]));
    for (let i = prefixes.length - 1; i > 0; i--) {
      const j = random.below(i + 1);
      [prefixes[i], prefixes[j]] = [prefixes[j]!, prefixes[i]!];
    }
    // The mandatory prefix comes last, so that a redundant one does not hide it.
    if (form.mandatory) prefixes.push(form.mandatory);
    if (random.chance(0.004))
      prefixes.unshift(...new Array<number>(random.between(1, 12)).fill(random.pick([0x3e, 0x2e])));
    const bytes = [...setup.bytes];
    const start = bytes.length;
    bytes.push(...prefixes);
    if (mode === 64 && (encoding.rex !== 0 || encoding.needsRex || random.chance(0.05)))
      bytes.push(0x40 | encoding.rex);
    bytes.push(...form.opcode);
    if (form.plus) bytes[bytes.length - 1]! |= opcodeRegister & 7;
    const tail = bytes.length;
    bytes.push(...encoding.tail);
    const placed: Fixup[] = [...setup.fixups, ...fixups.map((fixup) => ({ ...fixup, at: fixup.at + tail }))];
    if (relative) placed.push({ at: tail + relative.at, width: 4, kind: "relative", target: relative.address });
    return {
      form,
      bytes,
      fixups: placed,
      start,
      written,
      undefinedFlags: effect.undefinedFlags,
      read: form.read,
      changed: effect.changed,
    };
  }

  /** F2 and F3 choose another instruction in most of the two-byte map. */
  private isPrefixed(form: Form): boolean {
    if (form.opcode[0] !== 0x0f) return form.opcode[0] === 0x90;
    const second = form.opcode[1]!;
    return !(
      (second & 0xf0) === 0x40 ||
      (second & 0xf0) === 0x80 ||
      (second & 0xf0) === 0x90 ||
      (second & 0xe0) === 0xa0
    );
  }
}
