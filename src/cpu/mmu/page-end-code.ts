import { PAGE_SIZE } from "../../memory/layout.ts";
import type { Tlb } from "./tlb.ts";
import { TLB_ENTRY } from "./tlb-layout.ts";

const ENTRIES = 512;
const LONGEST = 15;

/**
 * Instructions that begin in the last bytes of a page, where one may go on in the next: copied when the TLB has what they
 * need. Their lengths are remembered, together with the bytes that they belong to.
 */
export class PageEndCode {
  private readonly bytes: Uint8Array;
  private readonly addresses = new Float64Array(ENTRIES).fill(Number.NaN);
  private readonly modes = new Int32Array(ENTRIES);
  private readonly lengths = new Uint8Array(ENTRIES);
  private readonly known = new Uint8Array(ENTRIES * 16);

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /**
   * Copies the instruction at `linear` to host offset `into`; true when it is there, all of it. `mode`: what its length
   * depends on beside its bytes.
   */
  copy(tlb: Tlb, linear: number, mode: number, into: number): boolean {
    const slot = (linear ^ (linear / PAGE_SIZE)) & (ENTRIES - 1);
    if (this.addresses[slot] !== linear || this.modes[slot] !== mode) return false;
    const length = this.lengths[slot]!;
    const { bytes, known } = this;
    const inPage = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
    const first = Math.min(length, inPage);
    const host = tlb.hit(linear, first, TLB_ENTRY.execTag);
    if (host === 0) return false;
    let rest = 0;
    if (first < length) {
      rest = tlb.hit(linear + inPage, length - first, TLB_ENTRY.execTag);
      if (rest === 0) return false;
    }
    const at = slot * 16;
    for (let i = 0; i < length; i++) {
      const byte = bytes[i < first ? host + i : rest + i - first]!;
      if (byte !== known[at + i]) return false;
      bytes[into + i] = byte;
    }
    return true;
  }

  /** The instruction at `linear`, now at host offset `from`, has `length` bytes. */
  remember(linear: number, mode: number, from: number, length: number): void {
    if (length > LONGEST) return;
    const slot = (linear ^ (linear / PAGE_SIZE)) & (ENTRIES - 1);
    this.addresses[slot] = linear;
    this.modes[slot] = mode;
    this.lengths[slot] = length;
    this.known.set(this.bytes.subarray(from, from + length), slot * 16);
  }
}
