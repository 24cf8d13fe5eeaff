/** What the counters of both spaces say, as rows: the table at the end of `portico run --profile`. */
import { COUNTER, NOBODY, RAW, type UnclaimedRow } from "./counters.ts";
import type { Space } from "./errors.ts";
import type { MmioSpace } from "./mmio-space.ts";
import type { PortSpace } from "./port-space.ts";
import type { RegionStore } from "./region-store.ts";
import { CONTEXTS, type Context } from "./types.ts";

/** One range in one context. */
export interface RangeStatistics {
  readonly space: Space;
  readonly base: number;
  readonly length: number;
  readonly owner: string;
  readonly context: Context;
  /** Accesses answered here; each unit of a string transfer is one. */
  readonly reads: number;
  readonly writes: number;
  /** Accesses that a handler of this context handed outward. */
  readonly deferrals: number;
  /** Time spent in the handlers (in ring 3: until they settled), when it was measured. */
  readonly ns: number;
}

/** Accesses that nobody answered: at one port or page, or (with an owner) inside a claimed range. */
export interface UnclaimedStatistics {
  readonly space: Space;
  readonly base: number;
  readonly length: number;
  readonly owner: string | undefined;
  readonly reads: number;
  readonly writes: number;
}

export interface IoStatistics {
  /** Ports first, then MMIO, by address; every context in which a range has a handler, and what past ranges counted. */
  readonly ranges: RangeStatistics[];
  readonly unclaimed: UnclaimedStatistics[];
}

/** A snapshot of all counters. */
export function statistics(ports: PortSpace, mmio: MmioSpace): IoStatistics {
  const ranges: RangeStatistics[] = [];
  const unclaimed: UnclaimedStatistics[] = [];
  addRanges(ports.store, ranges, unclaimed);
  addUnclaimed(ports.store, ports.raw?.slots.unclaimedPorts(), unclaimed);
  addRanges(mmio.store, ranges, unclaimed);
  addUnclaimed(mmio.store, [], unclaimed);
  return { ranges, unclaimed };
}

function addRanges(store: RegionStore, ranges: RangeStatistics[], unclaimed: UnclaimedStatistics[]): void {
  const { space, counters, start, end } = store;
  const numbers = Array.from({ length: store.count - 1 }, (_, index) => index + 1);
  numbers.sort((a, b) => start[a]! - start[b]! || a - b);
  for (const number of numbers) {
    const region = store.regions[number]!;
    const place = { space, base: start[number]!, length: end[number]! - start[number]!, owner: region.owner };
    const first = number * COUNTER.perRegion;
    const live = region.pieces.includes(number);
    CONTEXTS.forEach((context, index) => {
      const at = first + index * COUNTER.perContext;
      const emitted = (write: boolean) => (index === RAW ? store.emittedAccesses(number, write) : 0);
      const reads = counters[at + COUNTER.reads]! + emitted(false);
      const writes = counters[at + COUNTER.writes]! + emitted(true);
      const deferrals = counters[at + COUNTER.deferrals]!;
      const hasHandler = live && (store.contexts[number]! & (1 << index)) !== 0;
      if (!hasHandler && reads + writes + deferrals === 0) return;
      ranges.push({ ...place, context, reads, writes, deferrals, ns: store.times[number * 3 + index]! });
    });
    const reads = counters[first + NOBODY * COUNTER.perContext + COUNTER.reads]!;
    const writes = counters[first + NOBODY * COUNTER.perContext + COUNTER.writes]!;
    if (reads + writes > 0) unclaimed.push({ ...place, reads, writes });
  }
}

function addUnclaimed(
  store: RegionStore,
  emitted: readonly UnclaimedRow[] | undefined,
  unclaimed: UnclaimedStatistics[],
): void {
  const { space } = store;
  for (const row of store.unclaimed.rows(emitted)) unclaimed.push({ space, owner: undefined, ...row });
  const { reads, writes } = store.unclaimed.elsewhere;
  // Beyond the places that are told apart: no address to name.
  if (reads + writes > 0) unclaimed.push({ space, owner: undefined, base: -1, length: 0, reads, writes });
}
