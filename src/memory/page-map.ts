/**
 * Which host page stands behind each guest-physical page below 4 GiB. One look-up an access; a table of 4 MiB of which
 * the host commits only what was written. Nothing above 4 GiB is memory (`RAM_MAX`): those look-ups give 0.
 */
import { hex, MemoryError } from "./errors.ts";
import { type Layout, PAGE_SHIFT, PAGE_SIZE } from "./layout.ts";
import type { MappedRun } from "./snapshot.ts";

/** Low bits of an entry; the rest is the page's host offset. An entry of 0 is not memory: `io/` answers it. */
export const PAGE_ENTRY = { memory: 1, writable: 2 } as const;
/** `entry - (entry & PAGE_ENTRY_FLAGS)` is the host offset of the page. */
export const PAGE_ENTRY_FLAGS = 0xfff;

export const FOUR_GIB = 0x1_0000_0000;

export class PageMap {
  readonly entries = new Uint32Array(FOUR_GIB / PAGE_SIZE);

  entry(gpa: number): number {
    return gpa >= 0 && gpa < FOUR_GIB ? this.entries[gpa >>> PAGE_SHIFT]! : 0;
  }

  /** Maps whole pages from `gpa` to consecutive host pages from `hostOffset`. */
  map(gpa: number, length: number, hostOffset: number, flags: number): void {
    const first = gpa / PAGE_SIZE;
    for (let page = 0; page < length / PAGE_SIZE; page++) {
      this.entries[first + page] = (hostOffset + page * PAGE_SIZE + flags) >>> 0;
    }
  }

  unmap(gpa: number, length: number): void {
    this.entries.fill(0, gpa / PAGE_SIZE, (gpa + length) / PAGE_SIZE);
  }

  /** The mapping as runs, free of host offsets: another version may lay its memory out differently. */
  save(layout: Layout): MappedRun[] {
    const runs: MappedRun[] = [];
    for (let page = 0; page < this.entries.length; page++) {
      const first = this.entries[page]!;
      if (first === 0) continue;
      let pages = 1;
      while (this.entries[page + pages] === first + pages * PAGE_SIZE) pages++;
      const flags = first & PAGE_ENTRY_FLAGS;
      const host = first - flags;
      const inRam = host < layout.extra;
      runs.push({
        gpa: page * PAGE_SIZE,
        length: pages * PAGE_SIZE,
        source: inRam ? "ram" : "extra",
        offset: host - (inRam ? layout.ram : layout.extra),
        writable: (flags & PAGE_ENTRY.writable) !== 0,
      });
      page += pages - 1;
    }
    return runs;
  }

  load(runs: readonly MappedRun[], layout: Layout): void {
    this.entries.fill(0);
    for (const { gpa, length, source, offset, writable } of runs) {
      const flags = PAGE_ENTRY.memory | (writable ? PAGE_ENTRY.writable : 0);
      this.map(gpa, length, layout[source] + offset, flags);
    }
  }
}

/** Throws `MEMORY_RANGE` unless the range is made of whole pages below 4 GiB. */
export function checkPages(base: number, length: number): void {
  const whole = Number.isInteger(base / PAGE_SIZE) && Number.isInteger(length / PAGE_SIZE);
  if (!whole || base < 0 || length <= 0 || base + length > FOUR_GIB) {
    throw new MemoryError(
      "MEMORY_RANGE",
      `${hex(base)} with ${hex(length)} bytes is not a range of whole 4 KiB pages below 4 GiB`,
    );
  }
}
