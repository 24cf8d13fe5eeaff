/** Random memory operands that land in the window. */
import type { Random } from "./prng.ts";
import {
  FS_BASE_64,
  GS_BASE_64,
  LDT_SEGMENTS,
  Ldt,
  type Mode,
  type SegmentPlan,
  WINDOW_BASE,
  WINDOW_SIZE,
  WINDOW_WRITABLE,
} from "./state.ts";

/** Segment registers in the order of their encoding, and their override prefixes. */
const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65] as const;
const [ES, CS, SS, DS, FS, GS] = [0, 1, 2, 3, 4, 5] as const;

export interface MemoryOperand {
  readonly prefixes: number[];
  /** REX.X and REX.B. */
  readonly rex: number;
  /** ModRM without its reg field, SIB and displacement. */
  readonly bytes: number[];
  /** Where in `bytes` a RIP-relative displacement is, or -1. */
  readonly relativeAt: number;
  /** Offset in the window, or -1 if the operand is arbitrary. */
  readonly target: number;
}

/** What the generator knows when it picks an operand. */
export interface OperandContext {
  readonly random: Random;
  readonly mode: Mode;
  /** 16-bit code: addresses are 16 bits unless 67h says 32. */
  readonly narrow: boolean;
  readonly segments: SegmentPlan;
  /** Values of registers that no instruction so far can have changed. */
  readonly known: readonly (bigint | undefined)[];
}

interface SegmentRange {
  readonly base: number;
  /** Valid offsets, intersected with the window. */
  readonly low: number;
  readonly high: number;
}

function segmentRange(context: OperandContext, segment: number): SegmentRange {
  if (context.mode === 64) {
    const base = segment === FS ? FS_BASE_64 : segment === GS ? GS_BASE_64 : 0;
    return { base, low: WINDOW_BASE - base, high: WINDOW_BASE + WINDOW_SIZE - 1 - base };
  }
  const { ds, es, fs, gs, ss } = context.segments;
  const index = [es, Ldt.code, ss, ds, fs, gs][segment]!;
  if (index === Ldt.null) return { base: 0, low: WINDOW_BASE, high: WINDOW_BASE + WINDOW_SIZE - 1 };
  const { base, limit, expandDown } = LDT_SEGMENTS[index]!;
  const windowLow = WINDOW_BASE - base;
  const windowHigh = windowLow + WINDOW_SIZE - 1;
  return expandDown
    ? { base, low: Math.max(limit + 1, windowLow), high: windowHigh }
    : { base, low: Math.max(0, windowLow), high: Math.min(limit, windowHigh) };
}

/** A linear address of `bytes` bytes: mostly inside a writable page, sometimes across an edge. */
function pickAddress(context: OperandContext, segment: number, bytes: number, align: boolean): number {
  const { random } = context;
  const range = segmentRange(context, segment);
  const kind = random.below(100);
  let offset: number;
  if (kind < 86) {
    const low = range.base + range.low - WINDOW_BASE;
    const high = Math.min(range.base + range.high - WINDOW_BASE, WINDOW_WRITABLE - 1) - bytes;
    offset = random.between(low, Math.max(low, high));
    if (align || random.chance(0.5)) offset = Math.max(low, offset & ~15);
  } else if (kind < 94) offset = random.between(1, 14) * 0x1000 - random.below(bytes + 1);
  else if (kind < 97) offset = WINDOW_WRITABLE + random.below(0x1000 - bytes);
  else if (kind < 99) offset = WINDOW_SIZE - random.below(bytes + 2);
  else offset = -random.below(bytes + 2);
  if (align && random.chance(0.93)) offset &= ~15;
  return WINDOW_BASE + offset;
}

const fitsInt8 = (value: number): boolean => value >= -128 && value <= 127;

function little(value: number, width: number): number[] {
  return Array.from({ length: width }, (_, i) => (i < 4 ? (value >> (8 * i)) & 0xff : value < 0 ? 0xff : 0));
}

/** An operand for `bytes` bytes; `bias` is subtracted from its address (bit string instructions add it again). */
export function memoryOperand(
  context: OperandContext,
  bytes: number,
  align: boolean,
  options: { exact?: boolean; bias?: number } = {},
): MemoryOperand {
  const { random, mode } = context;
  if (!options.exact && random.chance(0.03)) return arbitraryOperand(context);
  if (mode === 32 && random.chance(context.narrow ? 0.85 : 0.08)) {
    const operand = shortOperand(context, bytes, align, options.bias ?? 0);
    if (operand) return operand;
  }
  const prefixes: number[] = [];
  let override = -1;
  if (random.chance(0.12)) {
    override = mode === 64 ? random.pick([ES, CS, SS, DS, FS, GS, FS, GS]) : random.pick([ES, SS, DS, FS, GS, FS, GS]);
    prefixes.push(SEGMENT_PREFIXES[override]!);
  }
  const prefixed = mode === 64 ? random.chance(0.07) : context.narrow;
  if (prefixed) prefixes.push(0x67);
  const wide = mode === 64 && !prefixed;

  for (let attempt = 0; ; attempt++) {
    const style = attempt > 4 ? 0 : random.below(8);
    const usable = (register: number): boolean => context.known[register] !== undefined;
    const registers = mode === 64 ? 16 : 8;
    const base = style === 0 || style === 1 ? -1 : random.below(registers);
    let index = style === 1 || style >= 6 ? random.below(registers) : -1;
    if (index === 4) index = -1;
    if (base >= 0 && !usable(base)) continue;
    if (index >= 0 && !usable(index)) continue;
    const scale = index >= 0 ? random.below(4) : 0;
    const segment = override >= 0 ? override : base === 4 || base === 5 ? SS : DS;
    const address = pickAddress(context, segment, bytes, align);
    const { base: segmentBase } = segmentRange(context, segment);
    let offset = BigInt(address - segmentBase - (options.bias ?? 0));
    if (base >= 0) offset -= context.known[base]!;
    if (index >= 0) offset -= context.known[index]! << BigInt(scale);
    if (wide) {
      offset = BigInt.asIntN(64, offset);
      if (offset !== BigInt.asIntN(32, offset)) continue;
    }
    const displacement = Number(BigInt.asIntN(32, offset));
    const target = address - WINDOW_BASE;

    if (base < 0 && index < 0) {
      // ModRM.rm 5: absolute in 32-bit mode, RIP-relative in 64-bit mode, where a SIB gives the absolute form.
      const relative = mode === 64 && random.chance(0.6);
      if (relative) {
        // Linear = segment base + RIP + displacement; the linker needs the effective address.
        const bytesOut = [0x05, ...little(address - segmentBase - (options.bias ?? 0), 4)];
        return { prefixes, rex: 0, bytes: bytesOut, relativeAt: 1, target };
      }
      const head = mode === 64 || random.chance(0.2) ? [0x04, 0x25] : [0x05];
      return { prefixes, rex: 0, bytes: [...head, ...little(displacement, 4)], relativeAt: -1, target };
    }
    const rex = (index >= 8 ? 2 : 0) | (base >= 8 ? 1 : 0);
    if (base < 0) {
      const sib = (scale << 6) | ((index & 7) << 3) | 5;
      return { prefixes, rex, bytes: [0x04, sib, ...little(displacement, 4)], relativeAt: -1, target };
    }
    let mod = 2;
    if (displacement === 0 && (base & 7) !== 5 && random.chance(0.9)) mod = 0;
    else if (fitsInt8(displacement) && random.chance(0.9)) mod = 1;
    const needsSib = index >= 0 || (base & 7) === 4 || random.chance(0.05);
    const head = needsSib
      ? [(mod << 6) | 4, (scale << 6) | ((index < 0 ? 4 : index & 7) << 3) | (base & 7)]
      : [(mod << 6) | (base & 7)];
    const tail = mod === 0 ? [] : little(displacement, mod === 1 ? 1 : 4);
    return { prefixes, rex, bytes: [...head, ...tail], relativeAt: -1, target };
  }
}

/** 16-bit addressing in 32-bit mode, through a segment whose base is in the window. */
function shortOperand(context: OperandContext, bytes: number, align: boolean, bias: number): MemoryOperand | undefined {
  const { random } = context;
  const segment = random.pick([ES, SS, DS, FS, GS]);
  const { base, low, high } = segmentRange(context, segment);
  if (high > 0xffff) return undefined;
  const rm = random.below(8);
  const mod = random.below(3);
  const registers = [[3, 6], [3, 7], [5, 6], [5, 7], [6], [7], mod === 0 ? [] : [5], [3]][rm]!;
  const implied = rm === 2 || rm === 3 || (rm === 6 && mod !== 0) ? SS : DS;
  const prefixes = context.narrow ? [] : [0x67];
  if (implied !== segment || random.chance(0.2)) prefixes.push(SEGMENT_PREFIXES[segment]!);
  let sum = 0;
  for (const register of registers) {
    const value = context.known[register];
    if (value === undefined) return undefined;
    sum += Number(value & 0xffffn);
  }
  let offset = random.between(low, Math.max(low, high - bytes));
  if (align) offset &= ~15;
  const displacement = ((offset - bias - sum) << 16) >> 16;
  const target = base + offset - WINDOW_BASE;
  if (mod === 0 && rm === 6)
    return { prefixes, rex: 0, bytes: [6, ...little(displacement, 2)], relativeAt: -1, target };
  if (mod === 0 && displacement === 0) return { prefixes, rex: 0, bytes: [rm], relativeAt: -1, target };
  if (fitsInt8(displacement)) {
    return { prefixes, rex: 0, bytes: [0x40 | rm, displacement & 0xff], relativeAt: -1, target };
  }
  return { prefixes, rex: 0, bytes: [0x80 | rm, ...little(displacement, 2)], relativeAt: -1, target };
}

/** Any addressing form, wherever it leads. */
function arbitraryOperand({ random, mode, narrow }: OperandContext): MemoryOperand {
  const prefixes: number[] = [];
  if (random.chance(0.2)) prefixes.push(random.pick(SEGMENT_PREFIXES));
  const prefixed = random.chance(0.2);
  if (prefixed) prefixes.push(0x67);
  const short = mode === 32 && prefixed !== narrow;
  const mod = random.below(3);
  const rm = random.below(8);
  const bytes = [(mod << 6) | rm];
  let displacement = mod === 0 ? 0 : mod === 1 ? 1 : 4;
  if (short) displacement = mod === 0 ? (rm === 6 ? 2 : 0) : mod;
  else {
    if (rm === 4) bytes.push(random.below(256));
    const base = rm === 4 ? bytes[1]! & 7 : rm;
    if (mod === 0 && base === 5) displacement = 4;
  }
  for (let i = 0; i < displacement; i++) bytes.push(random.pick([0, 0, 0xff, random.below(256)]));
  // An address in the code page is readable for everybody; nothing there depends on the processor.
  return { prefixes, rex: mode === 64 ? random.below(4) : 0, bytes, relativeAt: -1, target: -1 };
}

/** The offset operand of MOV A0-A3: its prefixes and bytes. */
export function offsetOperand(context: OperandContext, bytes: number): { prefixes: number[]; bytes: number[] } {
  const { random, mode, narrow } = context;
  const prefixes: number[] = [];
  let segment: number = DS;
  if (random.chance(0.3)) {
    segment = random.pick([ES, SS, DS, FS, GS]);
    prefixes.push(SEGMENT_PREFIXES[segment]!);
  }
  const effective = pickAddress(context, segment, bytes, false) - segmentRange(context, segment).base;
  const prefixed = random.chance(0.15);
  if (prefixed) prefixes.push(0x67);
  const width = mode === 64 ? (prefixed ? 4 : 8) : prefixed !== narrow ? 2 : 4;
  return { prefixes, bytes: little(effective, width) };
}
