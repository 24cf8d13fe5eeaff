/**
 * Handles for emulated ranges. A guest cannot see whether a range is emulated or passed through; whoever answers it can.
 * So the monitor hands out a handle when the guest maps the range, for an emulated one only, and a handle whose range has
 * become something else is stale for good.
 */

import type { MmioSpace } from "../io/mmio-space.ts";
import type { PortSpace } from "../io/port-space.ts";
import type { RegionStore } from "../io/region-store.ts";
import { PV_ERROR } from "./hypercall-abi.ts";

export const HANDLE_SPACES = ["port", "mmio"] as const;
export type HandleSpace = (typeof HANDLE_SPACES)[number];

const HANDLES_MAX = 256;
/** A handle is its place in the table, from 1, and how often that place had been used before. */
const SERIAL_SHIFT = 9;
const PLACE_MASK = (1 << SERIAL_SHIFT) - 1;
const SERIAL_MASK = 0x3f_ffff;

export interface Handle {
  readonly space: HandleSpace;
  readonly base: number;
  readonly length: number;
}

interface Entry extends Handle {
  readonly serial: number;
  readonly store: RegionStore;
  /** The pieces of the space that answer the range. */
  pieces: readonly number[];
  /** Generation of the space when they were last looked at. */
  generation: number;
  stale: boolean;
}

/** A table as data, place by place. */
export type SavedHandles = readonly {
  readonly serial: number;
  readonly handle?: Handle & { readonly stale: boolean };
}[];

/** What the table needs of the guest's memory. */
export interface HandleMemory {
  overlaps(base: number, length: number): boolean;
  listen(listener: { flush(): void; written(): void }): () => void;
}

export class HandleTable {
  private readonly entries: (Entry | undefined)[] = [];
  private readonly serials: number[] = [];
  private readonly spaces: Readonly<Record<HandleSpace, RegionStore>>;
  private readonly memory: HandleMemory;

  constructor(ports: PortSpace, mmio: MmioSpace, memory: HandleMemory) {
    this.spaces = { port: ports.store, mmio: mmio.store };
    this.memory = memory;
    // At once: a range may be memory for a moment only.
    memory.listen({ flush: () => this.revalidate(), written: () => {} });
  }

  /** A handle, or an error. */
  map(space: HandleSpace, base: number, length: number): number {
    const limit = space === "port" ? 0x1_0000 : 2 ** 52;
    if (!(length >= 1 && base + length <= limit)) return PV_ERROR.invalid;
    const pieces = this.emulated(space, base, length);
    if (pieces === undefined) return PV_ERROR.notEmulated;
    let place = this.entries.indexOf(undefined);
    if (place < 0) place = this.entries.length;
    if (place === HANDLES_MAX) return PV_ERROR.noSpace;
    const serial = this.serials[place] ?? 0;
    const store = this.spaces[space];
    const { generation } = store;
    this.entries[place] = { space, base, length, serial, store, pieces, generation, stale: false };
    return serial * (1 << SERIAL_SHIFT) + place + 1;
  }

  /** 0, or an error. A stale handle can be given back. */
  unmap(handle: number): number {
    const place = (handle & PLACE_MASK) - 1;
    const entry = this.entries[place];
    if (entry === undefined || handle !== entry.serial * (1 << SERIAL_SHIFT) + place + 1) return PV_ERROR.invalid;
    this.entries[place] = undefined;
    this.serials[place] = (entry.serial + 1) & SERIAL_MASK;
    return 0;
  }

  /** What a handle stands for, or an error. */
  find(handle: number): Handle | number {
    const place = (handle & PLACE_MASK) - 1;
    const entry = this.entries[place];
    if (entry === undefined || handle !== entry.serial * (1 << SERIAL_SHIFT) + place + 1) return PV_ERROR.invalid;
    if (entry.generation !== entry.store.generation) this.check(entry);
    return entry.stale ? PV_ERROR.stale : entry;
  }

  /** The guest has forgotten its handles: a reset. */
  clear(): void {
    this.entries.forEach((entry, place) => {
      if (entry !== undefined) this.unmap(entry.serial * (1 << SERIAL_SHIFT) + place + 1);
    });
  }

  save(): SavedHandles {
    return this.entries.map((entry, place) => {
      if (entry === undefined) return { serial: this.serials[place]! };
      const { space, base, length, serial } = entry;
      const live = this.find(serial * (1 << SERIAL_SHIFT) + place + 1);
      return { serial, handle: { space, base, length, stale: typeof live === "number" } };
    });
  }

  load(saved: SavedHandles): void {
    this.entries.length = 0;
    this.serials.length = 0;
    saved.slice(0, HANDLES_MAX).forEach((row, place) => {
      const serial = Number(row?.serial ?? 0) & SERIAL_MASK;
      this.serials[place] = serial;
      this.entries[place] = undefined;
      if (typeof row?.handle !== "object" || row.handle === null) return;
      const { space, base, length, stale } = row.handle;
      const isRange = Number.isSafeInteger(base) && Number.isSafeInteger(length) && base >= 0 && length > 0;
      if (!HANDLE_SPACES.includes(space) || !isRange) return;
      const pieces = this.emulated(space, base, length);
      const store = this.spaces[space];
      const { generation } = store;
      this.entries[place] = {
        space,
        base,
        length,
        serial,
        store,
        pieces: pieces ?? [],
        generation,
        stale: stale !== false || pieces === undefined,
      };
    });
  }

  private revalidate(): void {
    for (const entry of this.entries) if (entry !== undefined) this.check(entry);
  }

  private check(entry: Entry): void {
    const { space, base, length, pieces } = entry;
    const now = this.emulated(space, base, length);
    entry.generation = entry.store.generation;
    if (now === undefined || now.join() !== pieces.join()) entry.stale = true;
  }

  /** The pieces that answer a range, when they answer all of it and no memory lies in front of them. */
  private emulated(space: HandleSpace, base: number, length: number): number[] | undefined {
    const store = this.spaces[space];
    if (space === "mmio" && this.memory.overlaps(base, length)) return undefined;
    const pieces: number[] = [];
    for (let at = base; at < base + length; ) {
      const piece = store.find(at);
      if (piece === 0) return undefined;
      pieces.push(piece);
      at = store.end[piece]!;
    }
    return pieces;
  }
}
