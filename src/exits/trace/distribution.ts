/**
 * Times in nanoseconds, in little memory however many there are: a logarithmic histogram of 64 steps an octave, so that
 * a quantile is at most 0.8% off. Count, least, greatest and sum are exact.
 */

const STEPS = 64;

export interface Summary {
  /** How many exits had a time at all. */
  readonly count: number;
  readonly minNs: number;
  readonly medianNs: number;
  readonly p99Ns: number;
  readonly maxNs: number;
  readonly totalNs: number;
}

/** A range of the coarse histogram: one octave. */
export interface Octave {
  readonly exponent: number;
  readonly count: number;
}

export class Distribution {
  count = 0;
  totalNs = 0;
  minNs = Number.POSITIVE_INFINITY;
  maxNs = 0;
  private readonly steps = new Map<number, number>();

  add(ns: number): void {
    this.count++;
    this.totalNs += ns;
    this.minNs = Math.min(this.minNs, ns);
    this.maxNs = Math.max(this.maxNs, ns);
    const step = ns < 1 ? 0 : Math.floor(Math.log2(ns) * STEPS);
    this.steps.set(step, (this.steps.get(step) ?? 0) + 1);
  }

  addAll(other: Distribution): void {
    this.count += other.count;
    this.totalNs += other.totalNs;
    this.minNs = Math.min(this.minNs, other.minNs);
    this.maxNs = Math.max(this.maxNs, other.maxNs);
    for (const [step, count] of other.steps) this.steps.set(step, (this.steps.get(step) ?? 0) + count);
  }

  clear(): void {
    this.count = 0;
    this.totalNs = 0;
    this.minNs = Number.POSITIVE_INFINITY;
    this.maxNs = 0;
    this.steps.clear();
  }

  /** The smallest time that at least `part` of all do not exceed. */
  quantile(part: number): number {
    const wanted = Math.max(1, Math.ceil(part * this.count));
    let seen = 0;
    for (const [step, count] of [...this.steps].sort(([a], [b]) => a - b)) {
      seen += count;
      if (seen >= wanted) return Math.min(this.maxNs, Math.max(this.minNs, 2 ** ((step + 0.5) / STEPS)));
    }
    return 0;
  }

  octaves(): Octave[] {
    const octaves = new Map<number, number>();
    for (const [step, count] of this.steps) {
      const exponent = Math.floor(step / STEPS);
      octaves.set(exponent, (octaves.get(exponent) ?? 0) + count);
    }
    return [...octaves].sort(([a], [b]) => a - b).map(([exponent, count]) => ({ exponent, count }));
  }

  /** Undefined when there are no times. */
  summary(): Summary | undefined {
    if (this.count === 0) return undefined;
    return {
      count: this.count,
      minNs: this.minNs,
      medianNs: Math.round(this.quantile(0.5)),
      p99Ns: Math.round(this.quantile(0.99)),
      maxNs: this.maxNs,
      totalNs: this.totalNs,
    };
  }
}
