/** Random floating-point operands, biased towards the edges. Every generator writes 16 bytes at `at`. */

export class Random {
  private state: number;

  constructor(seed: number) {
    this.state = seed >>> 0;
  }

  /** 32 random bits (mulberry32). */
  bits(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  below(limit: number): number {
    return Math.floor((this.bits() / 2 ** 32) * limit);
  }

  wide(): bigint {
    return (BigInt(this.bits()) << 32n) | BigInt(this.bits());
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}

export type Generator = (random: Random, view: DataView, at: number) => void;

/** A fraction of `bits` bits: random, sparse at either end, all zeros, all ones or near them. */
function fraction(random: Random, bits: number): bigint {
  const all = (1n << BigInt(bits)) - 1n;
  switch (random.below(8)) {
    case 0:
      return 0n;
    case 1:
      return all;
    case 2:
      return (random.wide() & 3n) << BigInt(bits - 2);
    case 3:
      return random.wide() & 7n;
    case 4:
      return all - (random.wide() & 7n);
    case 5: {
      const one = 1n << BigInt(random.below(bits));
      return (one - (random.wide() & 1n)) & all;
    }
    default:
      return random.wide() & all;
  }
}

function exponent(random: Random, bits: number): number {
  const top = (1 << bits) - 1;
  const bias = top >> 1;
  switch (random.below(10)) {
    case 0:
      return 0;
    case 1:
      return top;
    case 2:
      return 1 + random.below(3);
    case 3:
      return top - 1 - random.below(3);
    case 4:
    case 5:
      return bias - 3 + random.below(7);
    case 6:
      return bias - 4 + random.below(74);
    case 7:
      return bias - 70 + random.below(74);
    case 8:
      return (bias >> 1) + random.below(bias);
    default:
      return random.below(top + 1);
  }
}

export function f64(random: Random, view: DataView, at: number): void {
  const bits = (BigInt(exponent(random, 11)) << 52n) | fraction(random, 52) | (BigInt(random.below(2)) << 63n);
  view.setBigUint64(at, bits, true);
  view.setBigUint64(at + 8, 0n, true);
}

export function f32(random: Random, view: DataView, at: number): void {
  const bits = (BigInt(exponent(random, 8)) << 23n) | fraction(random, 23) | (BigInt(random.below(2)) << 31n);
  view.setBigUint64(at, bits, true);
  view.setBigUint64(at + 8, 0n, true);
}

/** Two lanes of doubles. */
export function f64x2(random: Random, view: DataView, at: number): void {
  const high = new DataView(new ArrayBuffer(16));
  f64(random, view, at);
  f64(random, high, 0);
  view.setBigUint64(at + 8, high.getBigUint64(0, true), true);
}

/** Four lanes of singles. */
export function f32x4(random: Random, view: DataView, at: number): void {
  const lane = new DataView(new ArrayBuffer(16));
  for (let i = 0; i < 16; i += 4) {
    f32(random, lane, 0);
    view.setUint32(at + i, lane.getUint32(0, true), true);
  }
}

function setF80(view: DataView, at: number, head: number, significand: bigint): void {
  view.setBigUint64(at, significand, true);
  view.setUint16(at + 8, head, true);
  view.setUint16(at + 10, 0, true);
  view.setUint32(at + 12, 0, true);
}

/** Any 80-bit encoding: mostly valid, some pseudo-denormals, unnormals, pseudo-infinities and pseudo-NaNs. */
export function f80(random: Random, view: DataView, at: number): void {
  const field = exponent(random, 15);
  const sign = random.below(2) << 15;
  let integerBit = field !== 0;
  if (random.below(32) === 0) integerBit = !integerBit;
  let significand = fraction(random, 63);
  // Values that a double or single can hold make exact results and ties likely.
  if (random.below(4) === 0) significand &= ~0n << BigInt(random.pick([10, 11, 12, 38, 39, 40, 41]));
  setF80(view, at, field | sign, significand | (integerBit ? 1n << 63n : 0n));
}

/** A normal 80-bit number with an unbiased exponent from `low` to `high`. */
export function f80Between(low: number, high: number): Generator {
  return (random, view, at) => {
    const field = 16383 + low + random.below(high - low + 1);
    setF80(view, at, field | (random.below(2) << 15), fraction(random, 63) | (1n << 63n));
  };
}

/** The same, positive. */
export function positiveF80Between(low: number, high: number): Generator {
  const generate = f80Between(low, high);
  return (random, view, at) => {
    generate(random, view, at);
    view.setUint16(at + 8, view.getUint16(at + 8, true) & 0x7fff, true);
  };
}

/** A value near the one at `at - 16`: exponent a few apart, so that sums cancel and quotients are near powers of two. */
export function f80Near(random: Random, view: DataView, at: number): void {
  f80(random, view, at);
  if (random.below(3) === 0) return;
  const other = view.getUint16(at - 8, true);
  const field = Math.min(0x7ffe, Math.max(1, (other & 0x7fff) - 3 + random.below(7)));
  let significand = view.getBigUint64(at, true) | (1n << 63n);
  if (random.below(4) === 0) significand = view.getBigUint64(at - 16, true) | (1n << 63n);
  view.setBigUint64(at, significand, true);
  view.setUint16(at + 8, (other & 0x8000) ^ (random.below(2) << 15) ^ field, true);
}

/** Whole and half numbers of every size around the integer limits. */
export function f80Integral(random: Random, view: DataView, at: number): void {
  if (random.below(4) === 0) {
    f80(random, view, at);
    return;
  }
  const magnitude = random.below(66);
  let significand = fraction(random, 63) | (1n << 63n);
  if (random.below(2) === 0) significand &= ~0n << BigInt(Math.max(0, 62 - magnitude));
  setF80(view, at, (16382 + magnitude) | (random.below(2) << 15), BigInt.asUintN(64, significand));
}

export function i64(random: Random, view: DataView, at: number): void {
  const bits = random.below(65);
  const value = BigInt.asUintN(bits, random.below(4) === 0 ? ~0n : random.wide());
  view.setBigUint64(at, random.below(2) ? BigInt.asUintN(64, -value) : value, true);
  view.setBigUint64(at + 8, 0n, true);
}

/** 18 decimal digits and a sign. */
export function bcd(random: Random, view: DataView, at: number): void {
  const digits = random.below(19);
  for (let i = 0; i < 16; i++) view.setUint8(at + i, 0);
  for (let i = 0; i < digits; i++) {
    const byte = at + (i >> 1);
    view.setUint8(byte, view.getUint8(byte) | (random.below(10) << (4 * (i & 1))));
  }
  view.setUint8(at + 9, random.below(2) << 7);
}

export function none(_random: Random, view: DataView, at: number): void {
  view.setBigUint64(at, 0n, true);
  view.setBigUint64(at + 8, 0n, true);
}

/** MXCSR: every rounding mode, often DAZ and FTZ, mostly masked, with and without sticky flags. */
export function mxcsr(random: Random): number {
  let value = random.below(4) << 13;
  if (random.below(3) === 0) value |= 0x8000;
  if (random.below(3) === 0) value |= 0x0040;
  value |= random.below(3) ? 0x1f80 : random.below(64) << 7;
  if (random.below(2)) value |= random.below(3) ? 0x20 : random.below(64);
  return value;
}

/** Control word: every rounding and precision control, mostly masked. */
export function controlWord(random: Random): number {
  const masks = random.below(3) ? 0x3f : random.below(64);
  return masks | 0x40 | (random.pick([0, 2, 3, 3]) << 8) | (random.below(4) << 10);
}
