import { TLB_ENTRIES, TLB_ENTRY_SIZE } from "../../memory/layout.ts";
import { CPU } from "../state.ts";

/**
 * One TLB entry, 32 bytes. A tag is the linear page address (64 bits, low 12 bits clear) when accesses of its kind may go
 * straight to `linear + addend`; anything unusual (MMIO, watched, not yet dirty) has `NO_TAG` there and takes the slow path.
 */
export const TLB_ENTRY = {
  readTag: 0,
  writeTag: 8,
  execTag: 16,
  /** i32: host address = low half of the linear address + addend, modulo 2^32. */
  addend: 24,
  /** i32: bits 31:12: guest-physical page, low part. Below: see TLB_FLAG. */
  physical: 28,
} as const;

/** Set in a tag that equals no page address. */
export const NO_TAG = 1;

export const TLB_FLAG = {
  /** A global translation: CR3 loads leave it. */
  global: 1,
  /** Part of a large page: INVLPG of another address in it drops this entry too. */
  large: 2,
  /** The entry stands in the log, whether it holds a translation now or not. */
  logged: 4,
  /** The same for the log of global translations. */
  loggedGlobal: 8,
  /** An access handler watches the page: INVLPG is told to `VirtualHandlers`. */
  watched: 16,
} as const;

/**
 * What follows the entries, as offsets from the TLB's base. The logs tell a flush where to look: it costs what was filled.
 * An entry stands at most once in each of them.
 */
const HEADER = TLB_ENTRIES * TLB_ENTRY_SIZE;
export const TLB_HEADER = {
  /** i32: entries in the two logs. */
  filled: HEADER,
  filledGlobal: HEADER + 4,
  /** 1024 bits, by bits 31:22 of linear addresses: a large page was entered there since the last flush of everything. */
  large: HEADER + 128,
  largeBytes: 128,
  /** i32 each: numbers of entries. */
  log: HEADER + 256,
  logGlobal: HEADER + 256 + TLB_ENTRIES * 4,
} as const;

/** In the vCPU block: translations to pages that are no memory, 16 of the supervisor and 16 of the user. */
export const MMIO_TLB = { base: CPU.mmioTlb, entries: 16, entrySize: 32, size: 2 * 16 * 32 } as const;

export const MMIO_TLB_ENTRY = {
  /** i64 each: linear page address of accesses that have been translated. */
  readTag: 0,
  writeTag: 8,
  /** i32: guest-physical page below 4 GiB. */
  physical: 16,
  /** i32: not 0 for a global translation. */
  global: 20,
} as const;

/** Where the entry for a linear address (its low 32 bits) lies, from the first on. */
export function mmioTlbEntry(linear: number, user: boolean): number {
  return (((linear >>> 12) & (MMIO_TLB.entries - 1)) + (user ? MMIO_TLB.entries : 0)) * MMIO_TLB.entrySize;
}

/**
 * In the vCPU block: instructions that were answered through an `MMIO_TLB` entry, by their host addresses, for a compiler
 * that wants to know what they reach. Hints: another instruction of the same number takes the place.
 */
export const MMIO_SITES = { base: CPU.mmioSites, entries: 64, entrySize: 16 } as const;

export const MMIO_SITE = {
  /** i32: host address of the instruction. */
  pc: 0,
  /** i32: guest-physical address below 4 GiB, and the linear one, i64. */
  physical: 4,
  linear: 8,
} as const;

/** Instructions are seldom closer together than some bytes, and hot ones lie in a few hundred. */
export const MMIO_SITE_SHIFT = 6;

/** Linear (signed) and guest-physical address of an access outside memory. */
export interface DeviceSite {
  readonly linear: bigint;
  readonly physical: number;
}

/** Where the entry of an instruction lies, from the first on. */
export function mmioSite(pc: number): number {
  return ((pc ^ (pc >>> MMIO_SITE_SHIFT)) & (MMIO_SITES.entries - 1)) * MMIO_SITES.entrySize;
}
