import { PAGE_SHIFT, PAGE_SIZE, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_SIZE } from "../../memory/layout.ts";
import { NO_TAG, TLB_ENTRY, TLB_FLAG, TLB_HEADER } from "./tlb-layout.ts";

const WORDS = TLB_ENTRY_SIZE / 4;
const FLAGS = TLB_ENTRY.physical / 4;
const FILLED = TLB_HEADER.filled / 4;
const FILLED_GLOBAL = TLB_HEADER.filledGlobal / 4;
const LOG = TLB_HEADER.log / 4;
const LOG_GLOBAL = TLB_HEADER.logGlobal / 4;

/**
 * One direct-mapped TLB in the machine's memory. Page walks in generated code fill it too (`walk-code.ts`).
 * The largest page that one INVLPG drops is 4 MiB.
 */
export class Tlb {
  /** Host offset of the entries. */
  readonly base: number;
  /** Flushes of everything, for statistics. */
  fullFlushes = 0;
  private readonly words: Int32Array;
  /** Told when translations are dropped that others may have taken from here. */
  private readonly onDrop: () => void;
  /** See TLB_HEADER.large. */
  private readonly large: Uint8Array;

  constructor(memory: WebAssembly.Memory, base: number, onDrop: () => void = () => {}) {
    this.base = base;
    this.onDrop = onDrop;
    this.words = new Int32Array(memory.buffer, base, TLB_SIZE / 4);
    this.large = new Uint8Array(memory.buffer, base + TLB_HEADER.large, TLB_HEADER.largeBytes);
    this.reset();
  }

  /** Drops everything, global or not, without looking at the logs. */
  reset(): void {
    this.onDrop();
    for (let entry = 0; entry < TLB_ENTRIES; entry++) this.clear(entry, 0);
    this.words[FILLED] = 0;
    this.words[FILLED_GLOBAL] = 0;
    this.large.fill(0);
  }

  /** Empties an entry; `logged` says in which logs it stands. */
  private clear(entry: number, logged: number): void {
    const at = entry * WORDS;
    const { words } = this;
    words[at + TLB_ENTRY.readTag / 4] = NO_TAG;
    words[at + TLB_ENTRY.writeTag / 4] = NO_TAG;
    words[at + TLB_ENTRY.execTag / 4] = NO_TAG;
    words[at + FLAGS] = logged;
  }

  /** Empties an entry where it stands: the logs keep it. */
  private drop(entry: number): void {
    this.clear(entry, this.words[entry * WORDS + FLAGS]! & (TLB_FLAG.logged | TLB_FLAG.loggedGlobal));
  }

  /**
   * Enters a translation. `linearLow` and `linearHigh` are the halves of the linear address, `host` the host offset of
   * the page, `physical` the guest-physical page address.
   */
  fill(
    linearLow: number,
    linearHigh: number,
    host: number,
    physical: number,
    readable: boolean,
    writable: boolean,
    executable: boolean,
    global: boolean,
    large: boolean,
    watched: boolean,
  ): void {
    const entry = (linearLow >>> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    const { words } = this;
    const at = entry * WORDS;
    const page = linearLow & -PAGE_SIZE;
    words[at] = readable ? page : NO_TAG;
    words[at + 1] = linearHigh;
    words[at + 2] = writable ? page : NO_TAG;
    words[at + 3] = linearHigh;
    words[at + 4] = executable ? page : NO_TAG;
    words[at + 5] = linearHigh;
    words[at + TLB_ENTRY.addend / 4] = host - page;
    let flags = (words[at + FLAGS]! & (TLB_FLAG.logged | TLB_FLAG.loggedGlobal)) | (physical & -PAGE_SIZE);
    if (global) {
      flags |= TLB_FLAG.global;
      if ((flags & TLB_FLAG.loggedGlobal) === 0) words[LOG_GLOBAL + words[FILLED_GLOBAL]!++] = entry;
      flags |= TLB_FLAG.loggedGlobal;
    } else {
      if ((flags & TLB_FLAG.logged) === 0) words[LOG + words[FILLED]!++] = entry;
      flags |= TLB_FLAG.logged;
    }
    if (large) {
      flags |= TLB_FLAG.large;
      this.large[linearLow >>> 25]! |= 1 << ((linearLow >>> 22) & 7);
    }
    if (watched) flags |= TLB_FLAG.watched;
    words[at + FLAGS] = flags;
  }

  /**
   * Host address of `bytes` that lie in one page with the right that `tag` stands for, or 0: what generated code does,
   * for accesses from TypeScript.
   */
  hit(linear: number, bytes: number, tag: number): number {
    return this.hitHalves(linear | 0, Math.floor(linear / 0x1_0000_0000), bytes, tag);
  }

  /** The same by the halves of the linear address, both as signed numbers. */
  hitHalves(low: number, high: number, bytes: number, tag: number): number {
    const at = ((low >>> PAGE_SHIFT) & (TLB_ENTRIES - 1)) * WORDS;
    const { words } = this;
    if (words[at + tag / 4] !== (low & -PAGE_SIZE) || words[at + tag / 4 + 1] !== high) return 0;
    if ((low & (PAGE_SIZE - 1)) + bytes > PAGE_SIZE) return 0;
    return (words[at + TLB_ENTRY.addend / 4]! + low) >>> 0;
  }

  /** Drops all translations, or all but the global ones. */
  flush(keepGlobal: boolean): void {
    this.fullFlushes++;
    this.onDrop();
    const { words } = this;
    for (let i = words[FILLED]! - 1; i >= 0; i--) {
      const entry = words[LOG + i]!;
      const flags = words[entry * WORDS + FLAGS]!;
      if (!keepGlobal || (flags & TLB_FLAG.global) === 0) this.clear(entry, flags & TLB_FLAG.loggedGlobal);
      else words[entry * WORDS + FLAGS] = flags & ~TLB_FLAG.logged;
    }
    words[FILLED] = 0;
    if (keepGlobal) return;
    for (let i = words[FILLED_GLOBAL]! - 1; i >= 0; i--) this.clear(words[LOG_GLOBAL + i]!, 0);
    words[FILLED_GLOBAL] = 0;
    this.large.fill(0);
  }

  /** Drops the translation of one linear address (INVLPG): also a large page around it, and global ones. */
  invalidate(linearLow: number): void {
    this.onDrop();
    const entry = (linearLow >>> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    this.drop(entry);
    if ((this.large[linearLow >>> 25]! & (1 << ((linearLow >>> 22) & 7))) === 0) return;
    // Any entry of the same 4 MiB may come from the same large page.
    const first = entry & ~0x3ff;
    for (let i = first; i < first + 0x400; i++) {
      if ((this.words[i * WORDS + FLAGS]! & TLB_FLAG.large) !== 0) this.drop(i);
    }
  }

  /** Drops the translation of one linear page and no other. */
  dropLinear(linearLow: number, linearHigh: number): void {
    this.onDrop();
    const entry = (linearLow >>> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    const at = entry * WORDS;
    const page = linearLow & -PAGE_SIZE;
    for (const tag of [TLB_ENTRY.readTag, TLB_ENTRY.writeTag, TLB_ENTRY.execTag]) {
      if (this.words[at + tag / 4] !== page || this.words[at + tag / 4 + 1] !== linearHigh) continue;
      this.drop(entry);
      return;
    }
  }

  /** Drops every translation to consecutive guest-physical pages (their access handlers or their kind changed). */
  invalidatePhysical(physical: number, pages = 1): void {
    this.onDrop();
    const { words } = this;
    const first = physical >>> PAGE_SHIFT;
    this.dropPhysical(LOG, words[FILLED]!, first, pages);
    this.dropPhysical(LOG_GLOBAL, words[FILLED_GLOBAL]!, first, pages);
  }

  private dropPhysical(log: number, filled: number, first: number, pages: number): void {
    for (let i = 0; i < filled; i++) {
      const entry = this.words[log + i]!;
      if (((this.words[entry * WORDS + FLAGS]! >>> PAGE_SHIFT) - first) >>> 0 < pages) this.drop(entry);
    }
  }
}
