import { PAGE_SHIFT, PAGE_SIZE, TLB_ENTRIES, TLB_ENTRY_SIZE } from "../../memory/layout.ts";
import { NO_TAG, TLB_ENTRY } from "./tlb-layout.ts";

const WORDS = TLB_ENTRY_SIZE / 4;
const GLOBAL = 1;
const LARGE = 2;

/**
 * One direct-mapped TLB in the machine's memory, with a log of the entries filled, so that a flush costs what was filled.
 * The largest page that one INVLPG drops is 4 MiB.
 */
export class Tlb {
  /** Host offset of the entries. */
  readonly base: number;
  /** Flushes of everything, for statistics. */
  fullFlushes = 0;
  private readonly words: Int32Array;
  private readonly log: Int32Array;
  private filled = 0;
  private largePages = false;

  constructor(memory: WebAssembly.Memory, base: number) {
    this.base = base;
    this.words = new Int32Array(memory.buffer, base, TLB_ENTRIES * WORDS);
    this.log = new Int32Array(memory.buffer, base + TLB_ENTRIES * TLB_ENTRY_SIZE, TLB_ENTRIES);
    this.reset();
  }

  /** Drops everything, global or not, without looking at the log. */
  reset(): void {
    for (let entry = 0; entry < TLB_ENTRIES; entry++) this.clear(entry);
    this.filled = 0;
    this.largePages = false;
  }

  private clear(entry: number): void {
    const at = entry * WORDS;
    this.words[at + TLB_ENTRY.readTag / 4] = NO_TAG;
    this.words[at + TLB_ENTRY.writeTag / 4] = NO_TAG;
    this.words[at + TLB_ENTRY.execTag / 4] = NO_TAG;
    this.words[at + TLB_ENTRY.physical / 4] = 0;
  }

  private isEmpty(entry: number): boolean {
    const at = entry * WORDS;
    const { words } = this;
    return (
      words[at + TLB_ENTRY.readTag / 4] === NO_TAG &&
      words[at + TLB_ENTRY.writeTag / 4] === NO_TAG &&
      words[at + TLB_ENTRY.execTag / 4] === NO_TAG
    );
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
  ): void {
    const entry = (linearLow >>> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    if (!readable && !writable && !executable) {
      // An entry that matches nothing would look empty and be logged again at every access.
      this.drop(entry);
      return;
    }
    if (this.isEmpty(entry)) this.log[this.filled++] = entry;
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
    words[at + TLB_ENTRY.physical / 4] = (physical & -PAGE_SIZE) | (global ? GLOBAL : 0) | (large ? LARGE : 0);
    if (large) this.largePages = true;
  }

  /**
   * Host address of `bytes` that lie in one page with the right that `tag` stands for, or 0: what generated code does,
   * for accesses from TypeScript.
   */
  hit(linear: number, bytes: number, tag: number): number {
    const low = linear | 0;
    const at = ((low >>> PAGE_SHIFT) & (TLB_ENTRIES - 1)) * WORDS;
    const { words } = this;
    if (words[at + tag / 4] !== (low & -PAGE_SIZE)) return 0;
    if (words[at + tag / 4 + 1] !== Math.floor(linear / 0x1_0000_0000)) return 0;
    if ((low & (PAGE_SIZE - 1)) + bytes > PAGE_SIZE) return 0;
    return (words[at + TLB_ENTRY.addend / 4]! + low) >>> 0;
  }

  /** Drops all translations, or all but the global ones. */
  flush(keepGlobal: boolean): void {
    this.fullFlushes++;
    let kept = 0;
    for (let i = 0; i < this.filled; i++) {
      const entry = this.log[i]!;
      if (keepGlobal && (this.words[entry * WORDS + TLB_ENTRY.physical / 4]! & GLOBAL) !== 0) this.log[kept++] = entry;
      else this.clear(entry);
    }
    this.filled = kept;
    if (kept === 0) this.largePages = false;
  }

  /** Drops the translation of one linear address (INVLPG): also a large page around it, and global ones. */
  invalidate(linearLow: number): void {
    const entry = (linearLow >>> PAGE_SHIFT) & (TLB_ENTRIES - 1);
    if (!this.largePages) {
      this.drop(entry);
      return;
    }
    // Any entry of the same 4 MiB may come from the same large page.
    const first = entry & ~0x3ff;
    for (let i = first; i < first + 0x400; i++) {
      if (i === entry || (this.words[i * WORDS + TLB_ENTRY.physical / 4]! & LARGE) !== 0) this.drop(i);
    }
  }

  /** Empties an entry but leaves it in the log: the next fill there must not log it twice. */
  private drop(entry: number): void {
    if (this.isEmpty(entry)) return;
    const position = this.log.subarray(0, this.filled).indexOf(entry);
    if (position >= 0) this.log[position] = this.log[--this.filled]!;
    this.clear(entry);
  }

  /** Drops every translation to a guest-physical page (its access handlers or its kind changed). */
  invalidatePhysical(physical: number): void {
    for (let i = this.filled - 1; i >= 0; i--) {
      const entry = this.log[i]!;
      if (((this.words[entry * WORDS + TLB_ENTRY.physical / 4]! ^ physical) & -PAGE_SIZE) === 0) {
        this.log[i] = this.log[--this.filled]!;
        this.clear(entry);
      }
    }
  }
}
