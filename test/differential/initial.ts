/** Random initial states. */
import type { Random } from "./prng.ts";
import { Ldt, type Mode, type SegmentPlan, WINDOW_BASE } from "./state.ts";
import { extended, integer, pointer, vector } from "./values.ts";

export interface FloatBias {
  /** Probability that all exceptions are masked. */
  readonly masked: number;
}

export function initialRegisters(random: Random, mode: Mode): BigUint64Array {
  const gpr = new BigUint64Array(16);
  const registers = mode === 64 ? 16 : 8;
  for (let register = 0; register < registers; register++) {
    const value = random.chance(0.35) ? pointer(random) : integer(random);
    gpr[register] = mode === 64 ? value : value & 0xffff_ffffn;
  }
  // RCX: a count. RSP, RBP: the stack. RSI, RDI: strings.
  if (random.chance(0.6)) gpr[1] = BigInt(random.below(random.pick([2, 9, 40, 64])));
  const stackTop = WINDOW_BASE + 0x4000 + random.below(0x8000);
  gpr[4] = BigInt(random.chance(0.9) ? stackTop & ~15 : stackTop);
  if (random.chance(0.8)) gpr[5] = BigInt(stackTop + random.below(0x100));
  if (random.chance(0.8)) gpr[6] = pointer(random);
  if (random.chance(0.8)) gpr[7] = random.chance(0.2) ? gpr[6]! + BigInt(random.between(-9, 9)) : pointer(random);
  if (random.chance(0.5)) gpr[3] = pointer(random);
  if (mode === 32) for (let register = 0; register < 8; register++) gpr[register]! &= 0xffff_ffffn;
  return gpr;
}

/** CF, PF, AF, ZF, SF, DF, OF at random; ID, NT and AC now and then; IF and bit 1 set. */
export function initialFlags(random: Random): number {
  let flags = 0x202 | (random.u32() & 0x8d5);
  if (random.chance(0.25)) flags |= 0x400;
  if (random.chance(0.1)) flags |= 0x20_0000;
  if (random.chance(0.03)) flags |= 0x4000;
  if (random.chance(0.02)) flags |= 0x4_0000;
  return flags;
}

export function initialSegments(random: Random, mode: Mode, narrow: boolean): SegmentPlan {
  if (mode === 64) return { ds: Ldt.null, es: Ldt.null, fs: Ldt.null, gs: Ldt.null, ss: Ldt.null };
  if (narrow) {
    // What 16-bit addresses can reach.
    const near = [Ldt.window, Ldt.window, Ldt.window, Ldt.half, Ldt.flat];
    const ss = random.chance(0.8) ? Ldt.stack16 : Ldt.flat;
    const [ds, es, fs, gs] = [near, near, near, near].map((choice) => random.pick(choice)) as [
      number,
      number,
      number,
      number,
    ];
    return { ds, es, fs, gs, ss, cs: Ldt.code16 };
  }
  const odd = [Ldt.window, Ldt.window, Ldt.half, Ldt.readOnly, Ldt.expandDown, Ldt.null];
  return {
    ds: random.chance(0.96) ? Ldt.flat : random.pick(odd),
    es: random.chance(0.95) ? Ldt.flat : random.pick(odd),
    fs: random.chance(0.8) ? random.pick([Ldt.window, Ldt.half]) : random.pick(odd),
    gs: random.chance(0.5) ? random.pick([Ldt.window, Ldt.half]) : random.pick(odd),
    ss: random.chance(0.97) ? Ldt.flat : Ldt.stack16,
  };
}

/** x87 control word: mostly everything masked; any precision and rounding (precision 1 is reserved: rarely). */
export function controlWord(random: Random): number {
  const masks = random.chance(0.8) ? 0x3f : random.below(64);
  const precision = random.chance(0.6) ? 3 : random.pick([0, 2, 3]);
  const rounding = random.chance(0.4) ? 0 : random.below(4);
  return 0x40 | masks | (precision << 8) | (rounding << 10) | (random.chance(0.1) ? 0x1000 : 0);
}

export function mxcsr(random: Random): number {
  const masks = random.chance(0.85) ? 0x1f80 : random.below(64) << 7;
  const flags = random.chance(0.5) ? 0 : random.below(64);
  const rounding = random.chance(0.4) ? 0 : random.below(4) << 13;
  return masks | flags | rounding | (random.chance(0.15) ? 0x8000 : 0) | (random.chance(0.15) ? 0x40 : 0);
}

/** x87 status word that agrees with `control`: ES and B are set if an unmasked exception is flagged. */
export function statusWord(random: Random, control: number): number {
  let flags = random.chance(0.5) ? 0 : random.below(64);
  if (random.chance(0.98)) flags &= control;
  if (flags & 1 && random.chance(0.2)) flags |= 0x40;
  const pending = flags & ~control & 0x3f ? 0x8080 : 0;
  return flags | pending | (random.u32() & 0x4700) | (random.below(8) << 11);
}

/** An FXSAVE image. */
export function fxImage(random: Random): Uint8Array {
  const image = new Uint8Array(512);
  const view = new DataView(image.buffer);
  const control = controlWord(random);
  view.setUint16(0, control, true);
  view.setUint16(2, statusWord(random, control), true);
  view.setUint8(4, random.pick([0xff, 0xff, 0xff, 0, random.below(256), random.below(256)]));
  view.setUint32(24, mxcsr(random), true);
  view.setUint32(28, 0xffff, true);
  for (let i = 0; i < 8; i++) extended(random, view, 32 + 16 * i);
  for (let i = 0; i < 16; i++) vector(random, view, 160 + 16 * i);
  return image;
}
