import { PAGE_SIZE } from "../memory/layout.ts";
import { UnclaimedCounts } from "./counters.ts";
import { PageIndex } from "./page-index.ts";
import type { RawDispatch } from "./raw-dispatch.ts";
import { RegionStore } from "./region-store.ts";
import type { MmioReadMode, MmioWriteMode, Range, RangeHandlers, Region } from "./types.ts";

/** Guest-physical addresses have at most 52 bits (SDM volume 3, 4.1.4). */
const ADDRESS_LIMIT = 2 ** 52;
/** Pages with unclaimed accesses that are told apart; a guest that probes wildly must not fill the host's memory. */
const UNCLAIMED_PAGES = 4096;

/** Numbers of the access modes. */
export const READ_MODE = { passthrough: 0, dword: 1, "dword-qword": 2 } as const satisfies Record<MmioReadMode, number>;
export const WRITE_MODE = {
  passthrough: 0,
  "dword-zeroed": 1,
  "dword-qword-zeroed": 2,
  "dword-read-missing": 3,
  "dword-qword-read-missing": 4,
  "only-dword": 5,
  "only-dword-qword": 6,
} as const satisfies Record<MmioWriteMode, number>;

export interface MmioModes {
  /** Default "dword": the device sees aligned dwords only. */
  readonly readMode?: MmioReadMode;
  /** Default "dword-read-missing". */
  readonly writeMode?: MmioWriteMode;
}

export interface MmioSpaceOptions {
  /** RAM and ROM win over MMIO, so a range in front of them is refused. */
  readonly memory?: { overlaps(base: number, length: number): boolean };
  /** The way of emitted code to the raw handlers. */
  readonly raw?: RawDispatch;
}

/**
 * The MMIO space of a machine. What an access looks like to the device is up to the range's modes:
 *
 * - `passthrough`: accesses of 1, 2 and 4 bytes as they come, aligned or not; others as aligned parts of at most 4 bytes.
 * - `dword`, `dword-qword` (reads): aligned dwords; others are cut out of the dwords that cover them.
 * - `...-zeroed`, `...-read-missing` (writes): aligned dwords; others are merged into zeros, or into the dword just read.
 * - `only-dword`, `only-dword-qword`: an aligned dword (or aligned qword), anything else is dropped and counted as unclaimed.
 *
 * A handler never sees more than a dword: a qword arrives as two, low half first, with nothing in between. The part of
 * an access that lies in another range is an access of that range; what lies in no range reads as ones and is dropped.
 * With a dword mode, bases and lengths are multiples of 4.
 */
export class MmioSpace {
  readonly store: RegionStore;
  readonly raw: RawDispatch | undefined;
  private readonly index: PageIndex;

  constructor(options: MmioSpaceOptions = {}) {
    const { memory, raw } = options;
    this.raw = raw;
    const taken = (base: number, length: number) => (memory?.overlaps(base, length) ? "guest memory" : undefined);
    const paint = (start: number, end: number, number: number) => {
      this.index.paint(start, end, number);
      this.paintSlots(start, end, number);
    };
    const unclaimed = new UnclaimedCounts(PAGE_SIZE, UNCLAIMED_PAGES);
    this.store = new RegionStore("mmio", ADDRESS_LIMIT, paint, unclaimed, raw, taken);
    this.index = new PageIndex(this.store);
  }

  /**
   * Claims guest-physical addresses. Throws `INVALID_MMIO_RANGE` when the range is empty, wraps, ends beyond 2^52 or is
   * not made of whole dwords although a mode needs them, `NO_HANDLERS` when nothing is supplied, and
   * `MmioRangeConflictError` when somebody claims any of it already, or RAM or ROM lies there.
   */
  register(owner: string, range: Range, handlers: RangeHandlers, modes: MmioModes = {}): Region {
    const { readMode = "dword", writeMode = "dword-read-missing" } = modes;
    return this.store.register(owner, range, handlers, READ_MODE[readMode], WRITE_MODE[writeMode]);
  }

  /** As `PortSpace.unregister`, with `MMIO_RANGE_NOT_FOUND` and `NOT_MMIO_RANGE_OWNER`. */
  unregister(owner: string, range: Range): void {
    this.store.unregister(owner, range);
  }

  /** Number of the region that answers an address, 0 for nobody. Constant time. */
  find(address: number): number {
    return this.index.find(address);
  }

  /** Emitted code knows pages with one region; the first and the last page may have others. */
  private paintSlots(start: number, end: number, number: number): void {
    const { raw, store } = this;
    if (raw === undefined) return;
    const first = Math.floor(start / PAGE_SIZE);
    const last = Math.floor((end - 1) / PAGE_SIZE);
    raw.slots.paintPages(first, last, store.slot[number]!);
    for (const page of [first, last]) {
      const only = this.index.onlyRegionOf(page);
      raw.slots.paintPages(page, page, only === undefined ? 0 : store.slot[only]!);
    }
  }

  ownerOf(address: number): string | undefined {
    return this.store.regions[this.find(address)]?.owner;
  }
}
