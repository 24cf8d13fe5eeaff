/** What one vCPU's completed accesses leave behind: counts, time, and reports to whoever listens. */
import { COUNTER, NOBODY, RING0 } from "./counters.ts";
import type { Direction, Space } from "./errors.ts";
import type { RegionStore } from "./region-store.ts";
import { CONTEXTS, type Context } from "./types.ts";

/** Sees each access that reached a device or nobody, once, when it completes. `value` is what was read or written. */
export type AccessListener = (
  space: Space,
  direction: Direction,
  address: number,
  width: number,
  value: number,
  context: Context | "unclaimed",
  owner: string | undefined,
) => void;

export class Accounting {
  listener: AccessListener | undefined;
  /** A clock in ns; while there is one, the time spent in each range and context is added up. */
  clock: (() => number) | undefined;

  /** Somebody wants more than counts. */
  get active(): boolean {
    return this.listener !== undefined || this.clock !== undefined;
  }

  read(store: RegionStore, region: number, context: number, address: number, width: number, value: number): void {
    if (region === 0) store.unclaimed.read(address, 1);
    else store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + COUNTER.reads]++;
    if (this.listener !== undefined) this.report(store, region, "read", address, width, value, context);
  }

  write(store: RegionStore, region: number, context: number, address: number, width: number, value: number): void {
    if (region === 0) store.unclaimed.write(address, 1);
    else store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + COUNTER.writes]++;
    if (this.listener !== undefined) this.report(store, region, "write", address, width, value, context);
  }

  /** An access of a region that nobody listens to. */
  count(store: RegionStore, region: number, context: number, write: boolean): void {
    const which = write ? COUNTER.writes : COUNTER.reads;
    store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + which]++;
  }

  deferral(store: RegionStore, region: number, context: number): void {
    store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + COUNTER.deferrals]++;
  }

  /** Transferred units of a string: by a region's ring 0, or (region 0) by nobody. */
  string(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    buffer: Uint8Array,
    width: number,
    units: number,
  ): void {
    const ring0 = region * COUNTER.perRegion + RING0 * COUNTER.perContext;
    if (direction === "read") {
      if (region === 0) store.unclaimed.read(address, units);
      else store.counters[ring0 + COUNTER.reads] += units;
    } else {
      if (region === 0) store.unclaimed.write(address, units);
      else store.counters[ring0 + COUNTER.writes] += units;
    }
    if (this.listener === undefined) return;
    for (let unit = 0; unit < units; unit++) {
      let value = 0;
      for (let i = width - 1; i >= 0; i--) value = value * 256 + buffer[unit * width + i]!;
      this.report(store, region, direction, address, width, value, region === 0 ? NOBODY : RING0);
    }
  }

  now(): number {
    return this.clock === undefined ? 0 : this.clock();
  }

  /** Adds the time since `began` (from `now`) to a context; nobody's time is not counted. */
  spent(store: RegionStore, region: number, context: number, began: number): void {
    if (this.clock === undefined || context < 0 || context >= NOBODY) return;
    store.times[region * CONTEXTS.length + context] += this.clock() - began;
  }

  private report(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    width: number,
    value: number,
    context: number,
  ): void {
    const name = context === NOBODY ? "unclaimed" : CONTEXTS[context]!;
    this.listener?.(store.space, direction, address, width, value, name, store.regions[region]?.owner);
  }
}
