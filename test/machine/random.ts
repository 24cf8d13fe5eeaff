/** xorshift128+ folded to 32 bits: seeds give the same numbers everywhere. Vigna, arXiv:1404.0390. */
export class Random {
  private a: number;
  private b: number;

  constructor(seed: number) {
    this.a = (seed ^ 0x9e37_79b9) | 1;
    this.b = Math.imul(seed, 0x85eb_ca6b) ^ 0xc2b2_ae35;
    for (let i = 0; i < 8; i++) this.u32();
  }

  u32(): number {
    let t = this.a;
    const s = this.b;
    this.a = s;
    t ^= t << 13;
    t ^= t >>> 17;
    t ^= s ^ (s >>> 5);
    this.b = t;
    return (t + s) >>> 0;
  }

  /** 0 to n - 1. */
  below(n: number): number {
    return Math.floor((this.u32() / 2 ** 32) * n);
  }

  /** True once in `n` times. */
  chance(n: number): boolean {
    return this.below(n) === 0;
  }

  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }
}
