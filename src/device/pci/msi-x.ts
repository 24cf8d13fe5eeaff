import { checkArgument, whole } from "../../arguments.ts";
import { assert, PorticoError } from "../../errors.ts";
import type { PciBar } from "../types.ts";
import type { ConfigSpace } from "./config-space.ts";

export const MSI_X_CAPABILITY_ID = 0x11;
/** Id, link, control, place of the table, place of the pending bits. PCI 3.0, figure 6-11. */
export const MSI_X_CAPABILITY_LENGTH = 12;

const VECTORS_MAX = 2048;
/** Message control. PCI 3.0, section 6.8.2.3. */
const CONTROL = { offset: 2, functionMask: 1 << 14, enable: 1 << 15 } as const;
const TABLE_PLACE = 4;
const PENDING_PLACE = 8;

/** A table entry: address (64 bits), data and vector control. PCI 3.0, sections 6.8.2.6 to 6.8.2.9. */
const ENTRY_DWORDS = 4;
const ENTRY = { address: 0, addressHigh: 1, data: 2, control: 3 } as const;
const WRITABLE = [0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 1] as const;
const MASKED = 1;

/** Drivers map table and pending bits by pages: each has pages of its own. PCI 3.0, section 6.8.2, implementation note. */
const PART_MIN = 0x1000;

export interface SavedMsiX {
  readonly table: readonly number[];
  readonly pending: readonly number[];
}

/**
 * MSI-X: a table of messages, each with a mask, and a bit for each that waits for its mask to go; both in a memory BAR
 * that holds nothing else. PCI 3.0, section 6.8.2.
 */
export class MsiX {
  readonly vectors: number;
  /** The BAR for table (first half) and pending bits (second half). */
  readonly bar: PciBar;
  private readonly part: number;
  private readonly table: Uint32Array;
  private readonly pending: Uint32Array;
  private readonly send: (address: number, data: number) => void;
  private control: { config: ConfigSpace; offset: number } | undefined;

  /** `send` writes a message to memory. Throws `PorticoError` `PCI_MSI_INVALID`. */
  constructor(vectors: number, send: (address: number, data: number) => void) {
    if (!Number.isInteger(vectors) || vectors < 1 || vectors > VECTORS_MAX) {
      throw new PorticoError("PCI_MSI_INVALID", `a function has 1 to ${VECTORS_MAX} MSI-X vectors, not ${vectors}`);
    }
    this.vectors = vectors;
    this.send = send;
    this.table = new Uint32Array(vectors * ENTRY_DWORDS);
    // Whole quadwords.
    this.pending = new Uint32Array(2 * Math.ceil(vectors / 64));
    this.part = Math.max(PART_MIN, 2 ** Math.ceil(Math.log2(this.table.byteLength)));
    this.bar = {
      kind: "memory",
      size: 2 * this.part,
      handlers: { read: (offset) => this.read(offset), write: (offset, value) => this.write(offset, value) },
    };
    this.reset();
  }

  /** The capability at `offset`; `bar` is the index of the BAR. Id and link belong to the capability list. */
  define(config: ConfigSpace, offset: number, bar: number): void {
    config.define(offset + CONTROL.offset, this.vectors - 1, 2, CONTROL.enable | CONTROL.functionMask);
    config.define(offset + TABLE_PLACE, bar, 4);
    config.define(offset + PENDING_PLACE, this.part + bar, 4);
    this.control = { config, offset: offset + CONTROL.offset };
  }

  private has(bit: number): boolean {
    assert(this.control !== undefined, "the capability is defined before anybody sees it");
    return (this.control.config.get(this.control.offset, 2) & bit) !== 0;
  }

  get enabled(): boolean {
    return this.has(CONTROL.enable);
  }

  /** Sends the message of `vector`, or notes that it waits. */
  request(vector: number): void {
    checkArgument("the number of an MSI-X message", vector, whole(0, this.vectors - 1));
    this.setPending(vector, true);
    this.service(vector, vector + 1);
  }

  /** After a change of masks: what waits, of the vectors from `first` to before `end`, goes out. */
  service(first = 0, end = this.vectors): void {
    if (!this.enabled || this.has(CONTROL.functionMask)) return;
    for (let vector = first; vector < end; vector++) {
      const entry = vector * ENTRY_DWORDS;
      if (!this.isPending(vector) || this.table[entry + ENTRY.control] & MASKED) continue;
      this.setPending(vector, false);
      const { address, addressHigh, data } = ENTRY;
      this.send(this.table[entry + addressHigh] * 2 ** 32 + this.table[entry + address], this.table[entry + data]);
    }
  }

  private isPending(vector: number): boolean {
    return (this.pending[vector >> 5] & (1 << (vector & 31))) !== 0;
  }

  private setPending(vector: number, pending: boolean): void {
    const bit = 1 << (vector & 31);
    if (pending) this.pending[vector >> 5] |= bit;
    else this.pending[vector >> 5] &= ~bit;
  }

  /** Dwords. What lies behind table and pending bits reads as zeros. */
  private read(offset: number): number {
    const words = offset < this.part ? this.table : this.pending;
    return words[(offset % this.part) >> 2] ?? 0;
  }

  /** Pending bits are read-only. */
  private write(offset: number, value: number): void {
    const index = offset >> 2;
    if (index >= this.table.length) return;
    this.table[index] = value & WRITABLE[index % ENTRY_DWORDS];
    const vector = Math.floor(index / ENTRY_DWORDS);
    this.service(vector, vector + 1);
  }

  /** All vectors masked, nothing pending. */
  reset(): void {
    this.pending.fill(0);
    this.table.fill(0);
    for (let vector = 0; vector < this.vectors; vector++) this.table[vector * ENTRY_DWORDS + ENTRY.control] = MASKED;
  }

  save(): SavedMsiX {
    return { table: [...this.table], pending: [...this.pending] };
  }

  load(saved: SavedMsiX): void {
    this.table.set(saved.table);
    this.pending.set(saved.pending);
  }
}
