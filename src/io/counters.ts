/** Counters of one address space. Doubles, because 32 bits are full after a minute of polling. */

/** Numbers of the contexts, innermost first, and of "nobody answered". */
export const RAW = 0;
export const RING0 = 1;
export const RING3 = 2;
export const NOBODY = 3;

/** What one region counts: three for each context, then what its handlers left unclaimed. */
export const COUNTER = { reads: 0, writes: 1, deferrals: 2, perContext: 3, perRegion: 12 } as const;

export interface UnclaimedRow {
  readonly base: number;
  readonly reads: number;
  readonly writes: number;
}

/** Counts of accesses that nobody answered, by port or by page; a bounded number of places is told apart. */
export class UnclaimedCounts {
  /** Accesses beyond the first `limit` places. */
  readonly elsewhere = { reads: 0, writes: 0 };
  private readonly granule: number;
  private readonly limit: number;
  private readonly slots = new Map<number, number>();
  private counts = new Float64Array(2 * 64);
  private lastPlace = -1;
  private lastSlot = 0;

  /** `granule` bytes are one place. */
  constructor(granule: number, limit: number) {
    this.granule = granule;
    this.limit = limit;
  }

  read(address: number, times: number): void {
    const slot = this.slot(address);
    if (slot < 0) this.elsewhere.reads += times;
    else this.counts[slot] += times;
  }

  write(address: number, times: number): void {
    const slot = this.slot(address);
    if (slot < 0) this.elsewhere.writes += times;
    else this.counts[slot + 1] += times;
  }

  /** By place; `more` are counts that were kept elsewhere. */
  rows(more: Iterable<UnclaimedRow> = []): (UnclaimedRow & { length: number })[] {
    const rows = new Map(
      [...this.slots].map(([place, slot]) => {
        const base = place * this.granule;
        const row = { base, length: this.granule, reads: this.counts[slot]!, writes: this.counts[slot + 1]! };
        return [base, row];
      }),
    );
    for (const { base, reads, writes } of more) {
      const row = rows.get(base) ?? { base, length: this.granule, reads: 0, writes: 0 };
      rows.set(base, { ...row, reads: row.reads + reads, writes: row.writes + writes });
    }
    return [...rows.values()].sort((a, b) => a.base - b.base);
  }

  /** Index of the pair of counts for an address, or -1 when there are too many places already. */
  private slot(address: number): number {
    const place = Math.floor(address / this.granule);
    if (place === this.lastPlace) return this.lastSlot;
    let slot = this.slots.get(place);
    if (slot === undefined) {
      if (this.slots.size === this.limit) return -1;
      slot = this.slots.size * 2;
      if (slot === this.counts.length) {
        const more = new Float64Array(this.counts.length * 2);
        more.set(this.counts);
        this.counts = more;
      }
      this.slots.set(place, slot);
    }
    this.lastPlace = place;
    this.lastSlot = slot;
    return slot;
  }
}
