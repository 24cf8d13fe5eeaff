/**
 * From a guest-physical address to the region that answers it, in constant time however many regions there are. One
 * entry a page: nobody, one region, or (several in one page) a table with an entry for each byte. Below 4 GiB a flat
 * table, of which the host commits what was written; above, a sparse one by gigabyte.
 */
import { PAGE_SIZE } from "../memory/layout.ts";
import type { RegionStore } from "./region-store.ts";

const FOUR_GIB = 0x1_0000_0000;
const GIB = 0x4000_0000;
const PAGES_PER_GIB = GIB / PAGE_SIZE;

export class PageIndex {
  private readonly store: RegionStore;
  /** Entries: a region's number, or the negative index of a byte table. */
  private readonly low = new Int32Array(FOUR_GIB / PAGE_SIZE);
  /** By gigabyte from 4 GiB: entries of its pages, or the one region that covers all of it. */
  private readonly high = new Map<number, Int32Array | number>();
  private readonly byteTables: Int32Array[] = [new Int32Array(0)];
  private readonly freeTables: number[] = [];

  constructor(store: RegionStore) {
    this.store = store;
  }

  find(address: number): number {
    const entry = address < FOUR_GIB ? this.low[address >>> 12]! : this.highEntry(address);
    if (entry < 0) return this.byteTables[-entry]![address & 0xfff]!;
    const { store } = this;
    return address >= store.start[entry]! && address < store.end[entry]! ? entry : 0;
  }

  /** The region that has part of a page when no other has, 0 when none has any, `undefined` when several have. */
  onlyRegionOf(page: number): number | undefined {
    const entry = this.entry(page);
    return entry < 0 ? undefined : entry;
  }

  /** Region `number` (or 0: nobody) is now all there is in `[start, end)`; the store's order already says so. */
  paint(start: number, end: number, number: number): void {
    const first = Math.floor(start / PAGE_SIZE);
    const last = Math.floor((end - 1) / PAGE_SIZE);
    const headIsWhole = start % PAGE_SIZE === 0 && (last > first || end % PAGE_SIZE === 0);
    const tailIsWhole = end % PAGE_SIZE === 0 && (last > first || start % PAGE_SIZE === 0);
    const from = headIsWhole ? first : first + 1;
    const to = tailIsWhole ? last : last - 1;
    if (from <= to) this.fill(from, to, number);
    if (!headIsWhole) this.rebuild(first);
    if (!tailIsWhole && last !== first) this.rebuild(last);
  }

  private highEntry(address: number): number {
    const entries = this.high.get(Math.floor(address / GIB));
    if (entries === undefined) return 0;
    return typeof entries === "number" ? entries : entries[Math.floor(address / PAGE_SIZE) % PAGES_PER_GIB]!;
  }

  /** Looks again at who is in a page that a region only partly covers. */
  private rebuild(page: number): void {
    const { store } = this;
    const base = page * PAGE_SIZE;
    const first = store.firstEndingAfter(base);
    let last = first;
    while (last < store.order.length && store.start[store.order[last]!]! < base + PAGE_SIZE) last++;
    if (last - first < 2) {
      this.fill(page, page, last === first ? 0 : store.order[first]!);
      return;
    }
    const old = this.entry(page);
    const index = old < 0 ? -old : (this.freeTables.pop() ?? this.byteTables.push(new Int32Array(PAGE_SIZE)) - 1);
    const bytes = this.byteTables[index]!.fill(0);
    for (let at = first; at < last; at++) {
      const number = store.order[at]!;
      bytes.fill(number, Math.max(store.start[number]! - base, 0), Math.min(store.end[number]! - base, PAGE_SIZE));
    }
    if (old >= 0) this.fill(page, page, -index);
  }

  private entry(page: number): number {
    return page < this.low.length ? this.low[page]! : this.highEntry(page * PAGE_SIZE);
  }

  /** Sets the entries of pages `first` to `last`, giving back byte tables that stood there. */
  private fill(first: number, last: number, entry: number): void {
    if (first < this.low.length) {
      const end = Math.min(last + 1, this.low.length);
      this.setEntries(this.low, first, end, entry);
    }
    let page = Math.max(first, this.low.length);
    while (page <= last) {
      const gib = Math.floor(page / PAGES_PER_GIB);
      const end = Math.min(last + 1, (gib + 1) * PAGES_PER_GIB);
      this.fillHigh(gib, page - gib * PAGES_PER_GIB, end - gib * PAGES_PER_GIB, entry);
      page = end;
    }
  }

  private fillHigh(gib: number, from: number, to: number, entry: number): void {
    let entries = this.high.get(gib);
    if (from === 0 && to === PAGES_PER_GIB) {
      if (typeof entries === "object") this.setEntries(entries, from, to, 0);
      if (entry === 0) this.high.delete(gib);
      else this.high.set(gib, entry);
      return;
    }
    if (typeof entries !== "object") {
      // A gigabyte that one region covers is only ever painted whole, so there is nothing to carry over.
      entries = new Int32Array(PAGES_PER_GIB);
      this.high.set(gib, entries);
    }
    this.setEntries(entries, from, to, entry);
  }

  private setEntries(entries: Int32Array, from: number, to: number, entry: number): void {
    if (this.freeTables.length < this.byteTables.length - 1) {
      for (let page = from; page < to; page++) if (entries[page]! < 0) this.freeTables.push(-entries[page]!);
    }
    entries.fill(entry, from, to);
  }
}
