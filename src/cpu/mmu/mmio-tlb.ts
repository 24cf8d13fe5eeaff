import { PAGE_SIZE } from "../../memory/layout.ts";
import type { VcpuState } from "../vcpu-state.ts";
import {
  type DeviceSite,
  MMIO_SITE,
  MMIO_SITES,
  MMIO_TLB,
  MMIO_TLB_ENTRY,
  mmioSite,
  mmioTlbEntry,
  NO_TAG,
} from "./tlb-layout.ts";

const WORDS = MMIO_TLB.entrySize / 4;

/** Translations of one vCPU to pages that are no memory: what lets generated code go straight to a device. */
export class MmioTlb {
  private readonly words: Int32Array;
  private isEmpty = false;

  constructor(memory: WebAssembly.Memory, cpu: number) {
    this.words = new Int32Array(memory.buffer, cpu + MMIO_TLB.base, 2 * MMIO_TLB.entries * WORDS);
    this.flush(false);
  }

  /** An access of this kind has found the page of `physical` (below 4 GiB) behind `linear`. */
  fill(linear: number, physical: number, write: boolean, user: boolean, global: boolean): void {
    const low = linear | 0;
    const high = Math.floor(linear / 0x1_0000_0000);
    const page = low & -PAGE_SIZE;
    const { words } = this;
    const at = mmioTlbEntry(low, user) / 4;
    const tag = at + (write ? MMIO_TLB_ENTRY.writeTag : MMIO_TLB_ENTRY.readTag) / 4;
    const other = at + (write ? MMIO_TLB_ENTRY.readTag : MMIO_TLB_ENTRY.writeTag) / 4;
    const frame = (physical & -PAGE_SIZE) | 0;
    if (words[at + MMIO_TLB_ENTRY.physical / 4] !== frame || words[other] !== page || words[other + 1] !== high) {
      words[other] = NO_TAG;
    }
    words[tag] = page;
    words[tag + 1] = high;
    words[at + MMIO_TLB_ENTRY.physical / 4] = frame;
    words[at + MMIO_TLB_ENTRY.global / 4] = global ? 1 : 0;
    this.isEmpty = false;
  }

  /** Guest-physical address of an access that has been translated before, or -1. It lies in one page. */
  find(linear: number, write: boolean, user: boolean): number {
    const low = linear | 0;
    const { words } = this;
    const at = mmioTlbEntry(low, user) / 4;
    const tag = at + (write ? MMIO_TLB_ENTRY.writeTag : MMIO_TLB_ENTRY.readTag) / 4;
    if (words[tag] !== (low & -PAGE_SIZE) || words[tag + 1] !== Math.floor(linear / 0x1_0000_0000)) return -1;
    return (words[at + MMIO_TLB_ENTRY.physical / 4]! | (low & (PAGE_SIZE - 1))) >>> 0;
  }

  flush(keepGlobal: boolean): void {
    if (this.isEmpty) return;
    const { words } = this;
    for (let at = 0; at < words.length; at += WORDS) {
      if (keepGlobal && words[at + MMIO_TLB_ENTRY.global / 4] !== 0) continue;
      words[at + MMIO_TLB_ENTRY.readTag / 4] = NO_TAG;
      words[at + MMIO_TLB_ENTRY.writeTag / 4] = NO_TAG;
      words[at + MMIO_TLB_ENTRY.global / 4] = 0;
    }
    this.isEmpty = !keepGlobal;
  }
}

/** What the instruction at a host address was last seen to reach. */
export function deviceSite(state: VcpuState, host: number): DeviceSite | undefined {
  const at = MMIO_SITES.base + mmioSite(host);
  if (state.u32(at + MMIO_SITE.pc) !== host) return undefined;
  return {
    physical: state.u32(at + MMIO_SITE.physical),
    linear: BigInt.asIntN(64, state.u64(at + MMIO_SITE.linear)),
  };
}
