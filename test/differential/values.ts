/** Random values that favour the edges: signs, carries, denormals, infinities, NaNs, pointers into the window. */
import type { Random } from "./prng.ts";
import { WINDOW_BASE } from "./state.ts";

const EDGES_64: readonly bigint[] = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x100n,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x1_0000n,
  0x7fff_ffffn,
  0x8000_0000n,
  0x8000_0001n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0x8000_0000_0000_0001n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_7fff_ffffn,
  0xffff_ffff_ffff_ff80n,
  0xffff_ffff_ffff_fffen,
  0xffff_ffff_ffff_ffffn,
  0x0000_7fff_ffff_fff8n,
  0x0000_8000_0000_0000n,
  0xffff_8000_0000_0000n,
  0x5555_5555_5555_5555n,
  0xaaaa_aaaa_aaaa_aaaan,
];

const FLOATS_32: readonly number[] = [
  0, 0x8000_0000, 0x3f80_0000, 0xbf80_0000, 0x4000_0000, 0x3f00_0000, 0x7f80_0000, 0xff80_0000, 0x7fc0_0000,
  0xffc0_0000, 0x7f80_0001, 0xffbf_ffff, 0x7fff_ffff, 0x0000_0001, 0x8000_0001, 0x007f_ffff, 0x807f_ffff, 0x0080_0000,
  0x8080_0000, 0x0080_0001, 0x7f7f_ffff, 0xff7f_ffff, 0x4b00_0000, 0x4b7f_ffff, 0x4b80_0000, 0x4eff_ffff, 0x4f00_0000,
  0xcf00_0000, 0xcf00_0001, 0x4f80_0000, 0x5f00_0000, 0xdf00_0000, 0x3eff_ffff, 0x3f00_0001, 0x3fc0_0000, 0x4020_0000,
  0x3f7f_ffff, 0x3f80_0001, 0x1f80_0000, 0x5f80_0000, 0x0100_0000, 0x3400_0000, 0x3380_0000,
];

const FLOATS_64: readonly bigint[] = [
  0n,
  0x8000_0000_0000_0000n,
  0x3ff0_0000_0000_0000n,
  0xbff0_0000_0000_0000n,
  0x4000_0000_0000_0000n,
  0x3fe0_0000_0000_0000n,
  0x7ff0_0000_0000_0000n,
  0xfff0_0000_0000_0000n,
  0x7ff8_0000_0000_0000n,
  0xfff8_0000_0000_0000n,
  0x7ff0_0000_0000_0001n,
  0xfff7_ffff_ffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x0000_0000_0000_0001n,
  0x8000_0000_0000_0001n,
  0x000f_ffff_ffff_ffffn,
  0x0010_0000_0000_0000n,
  0x8010_0000_0000_0000n,
  0x0010_0000_0000_0001n,
  0x7fef_ffff_ffff_ffffn,
  0xffef_ffff_ffff_ffffn,
  0x41df_ffff_ffc0_0000n, // 2^31 - 1
  0x41df_ffff_ffe0_0000n, // 2^31 - 0.5
  0x41e0_0000_0000_0000n,
  0xc1e0_0000_0000_0000n,
  0xc1e0_0000_0010_0000n, // -2^31 - 0.5
  0x43df_ffff_ffff_ffffn,
  0x43e0_0000_0000_0000n,
  0xc3e0_0000_0000_0000n,
  0xc3e0_0000_0000_0001n,
  0x3fdf_ffff_ffff_ffffn,
  0x3ff8_0000_0000_0000n,
  0x4004_0000_0000_0000n,
  0x3690_0000_0000_0000n, // half the smallest single denormal
  0x36a0_0000_0000_0000n,
  0x380f_ffff_ffff_ffffn, // just below the smallest normal single
  0x3810_0000_0000_0000n,
  0x47ef_ffff_e000_0000n, // largest single
  0x47ef_ffff_f000_0000n, // rounds to single infinity
  0x3ca0_0000_0000_0000n,
  0x3ff0_0000_0000_0001n,
];

/** Sign and exponent, and significand, of 80-bit values. */
const EXTENDED: readonly (readonly [number, bigint])[] = [
  [0, 0n],
  [0x8000, 0n],
  [0x3fff, 0x8000_0000_0000_0000n],
  [0xbfff, 0x8000_0000_0000_0000n],
  [0x4000, 0x8000_0000_0000_0000n],
  [0x3ffe, 0x8000_0000_0000_0000n],
  [0x7fff, 0x8000_0000_0000_0000n],
  [0xffff, 0x8000_0000_0000_0000n],
  [0x7fff, 0xc000_0000_0000_0000n],
  [0xffff, 0xc000_0000_0000_0000n],
  [0x7fff, 0x8000_0000_0000_0001n],
  [0xffff, 0xbfff_ffff_ffff_ffffn],
  [0x7fff, 0xffff_ffff_ffff_ffffn],
  [0x7fff, 0x4000_0000_0000_0000n], // pseudo-NaN
  [0x7fff, 0n], // pseudo-infinity
  [0x4000, 0x4000_0000_0000_0000n], // unnormal
  [0x3fff, 0n], // unnormal zero
  [0, 0x8000_0000_0000_0000n], // pseudo-denormal
  [0x8000, 0xffff_ffff_ffff_ffffn],
  [0, 1n],
  [0x8000, 1n],
  [0, 0x7fff_ffff_ffff_ffffn],
  [1, 0x8000_0000_0000_0000n],
  [0x8001, 0x8000_0000_0000_0001n],
  [0x7ffe, 0xffff_ffff_ffff_ffffn],
  [0xfffe, 0xffff_ffff_ffff_ffffn],
  [0x401e, 0xffff_fffe_0000_0000n], // 2^31 - 1 and thereabouts
  [0x401d, 0xffff_ffff_0000_0000n],
  [0xc01e, 0x8000_0000_0000_0000n],
  [0x403d, 0xffff_ffff_ffff_ffffn],
  [0x403e, 0x8000_0000_0000_0000n],
  [0xc03e, 0x8000_0000_0000_0000n],
  [0x403e, 0x8000_0000_0000_0001n],
  [0x403a, 0xde0b_6b3a_763f_ffffn], // 10^18 - 1 and thereabouts: FBSTP
  [0x403a, 0xde0b_6b3a_7640_0000n],
  [0x3fff, 0xc000_0000_0000_0000n],
  [0x3fff, 0x8000_0000_0000_0001n],
  [0x3ffe, 0xffff_ffff_ffff_ffffn],
  [0x3c01, 0x8000_0000_0000_0000n], // smallest normal double
  [0x3c00, 0xffff_ffff_ffff_f800n],
  [0x3bcd, 0x8000_0000_0000_0000n], // smallest denormal double
  [0x3bcc, 0x8000_0000_0000_0001n],
  [0x43fe, 0xffff_ffff_ffff_f800n], // largest double
  [0x43fe, 0xffff_ffff_ffff_fc00n],
  [0x3f81, 0x8000_0000_0000_0000n], // smallest normal single
  [0x3f80, 0xffff_ffff_ffff_ffffn],
  [0x407e, 0xffff_ff00_0000_0000n], // largest single
  [0x407e, 0xffff_ff80_0000_0000n],
  [0x4000, 0xc90f_daa2_2168_c235n], // pi
  [0x3fff, 0xc90f_daa2_2168_c235n],
];

/** A pointer into the middle of the window, often aligned. */
export function pointer(random: Random): bigint {
  const offset = 0x200 + random.below(0xd800);
  const aligned = random.chance(0.7) ? offset & ~15 : random.chance(0.5) ? offset & ~3 : offset;
  return BigInt(WINDOW_BASE + aligned);
}

/** An integer of 64 bits. */
export function integer(random: Random): bigint {
  const kind = random.below(8);
  if (kind < 3) return random.pick(EDGES_64);
  if (kind < 4) return BigInt(random.below(64));
  if (kind < 5) return BigInt.asUintN(64, random.pick(EDGES_64) + BigInt(random.between(-3, 3)));
  if (kind < 6) return BigInt.asUintN(64, BigInt(random.u32() | 0));
  if (kind < 7) return random.u64() >> BigInt(random.below(64));
  return random.u64();
}

export function float32(random: Random): number {
  const kind = random.below(8);
  if (kind < 3) return random.pick(FLOATS_32);
  if (kind < 4) return (random.u32() & 0x807f_ffff) >>> 0; // zero or denormal
  // Close exponents, so that sums cancel and round.
  if (kind < 6) return ((random.u32() & 0x807f_ffff) | ((127 + random.between(-30, 30)) << 23)) >>> 0;
  if (kind < 7) return ((random.u32() & 0x807f_0000) | ((127 + random.between(-4, 36)) << 23)) >>> 0;
  return random.u32();
}

export function float64(random: Random): bigint {
  const kind = random.below(8);
  const bits = random.u64();
  if (kind < 3) return random.pick(FLOATS_64);
  if (kind < 4) return bits & 0x800f_ffff_ffff_ffffn;
  if (kind < 6) return (bits & 0x800f_ffff_ffff_ffffn) | (BigInt(1023 + random.between(-60, 66)) << 52n);
  if (kind < 7) return (bits & 0x800f_ffff_0000_0000n) | (BigInt(1023 + random.between(-4, 66)) << 52n);
  return bits;
}

/** Writes an 80-bit value. */
export function extended(random: Random, view: DataView, at: number): void {
  const kind = random.below(8);
  let exponent: number;
  let significand: bigint;
  if (kind < 3) [exponent, significand] = random.pick(EXTENDED);
  else {
    significand = random.u64() | (random.chance(0.97) ? 1n << 63n : 0n);
    const sign = random.below(2) << 15;
    if (kind < 5) exponent = sign | (0x3fff + random.between(-70, 70));
    else if (kind < 6) exponent = sign | (0x3fff + random.between(-2, 5));
    else if (kind < 7) {
      exponent = sign | (0x3fff + random.between(-5, 66));
      significand &= -1n << BigInt(random.below(63));
    } else exponent = random.u32() & 0xffff;
  }
  view.setBigUint64(at, significand, true);
  view.setUint16(at + 8, exponent, true);
}

/** Writes 16 bytes of integer or floating-point lanes. */
export function vector(random: Random, view: DataView, at: number): void {
  const kind = random.below(8);
  if (kind < 3) for (let i = 0; i < 16; i += 4) view.setUint32(at + i, float32(random), true);
  else if (kind < 6) for (let i = 0; i < 16; i += 8) view.setBigUint64(at + i, float64(random), true);
  else if (kind < 7) for (let i = 0; i < 16; i += 8) view.setBigUint64(at + i, integer(random), true);
  else for (let i = 0; i < 16; i++) view.setUint8(at + i, random.chance(0.5) ? random.u32() : random.pick(BYTES));
}

const BYTES = [0, 1, 0x7f, 0x80, 0x81, 0xff, 0xfe, 0x0f, 0xf0, 0x55] as const;

/** The window before each case of a batch: values of every kind at every alignment. */
export function background(random: Random, size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at + 16 <= size; at += 16) {
    const kind = random.below(8);
    if (kind < 2) {
      view.setBigUint64(at, pointer(random), true);
      view.setBigUint64(at + 8, integer(random), true);
    } else if (kind < 3) {
      extended(random, view, at);
      view.setUint32(at + 12, random.u32(), true);
    } else if (kind < 4) for (let i = 0; i < 16; i++) view.setUint8(at + i, random.pick(BYTES));
    else if (kind < 5) {
      // Long equal runs for repeated string instructions.
      const value = random.pick(BYTES);
      bytes.fill(value, at, at + 16);
    } else vector(random, view, at);
  }
  return bytes;
}
