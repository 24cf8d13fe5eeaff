/**
 * Layout of the machine's one WebAssembly memory ("host offsets"): tables, clock, device registers, vCPU blocks,
 * page flags, TLBs, then guest RAM and ROM. Everything but the fixed low part is placed by `planLayout`.
 */

/** Static data of the soft-float module. */
export const SOFTFLOAT_DATA = 0x1000;
/** Constant tables of the interpreter (parity, byte-register offsets, ...). */
export const TABLES_BASE = 0x4000;
/** The machine's clock, readable by emitted code; see `CLOCK`. */
export const CLOCK_BASE = 0x8000;
/** Fixed slots that devices get from `host.registers`. */
export const DEVICE_REGISTERS_BASE = 0x1_0000;
export const DEVICE_REGISTERS_SIZE = 0x2_0000;
/** vCPU blocks (architectural state and scratch space of one vCPU each). */
export const VCPU_BASE = 0x3_0000;
export const VCPU_SIZE = 0x4000;
export const VCPU_MAX = 4;
/** How often code was reached, by its host address: 8 bytes each (address, i32 countdown). */
export const HOT_BASE = VCPU_BASE + VCPU_SIZE * VCPU_MAX;
export const HOT_ENTRIES = 8192;
/** Compiled code by its linear address, see `cpu/jit/dispatcher.ts`. */
export const JUMP_CACHE_BASE = HOT_BASE + HOT_ENTRIES * 8;
export const JUMP_CACHE_ENTRIES = 4096;
export const JUMP_CACHE_ENTRY_SIZE = 32;
/** First byte that `planLayout` hands out. */
export const DYNAMIC_BASE = JUMP_CACHE_BASE + JUMP_CACHE_ENTRIES * JUMP_CACHE_ENTRY_SIZE;

/**
 * Fields of the clock block. Virtual time in ns is
 * `baseNs + (((sliceBudget - budget) * rate) >> 20)`: exact at every device access, because the CPU counts `budget` down
 * at each retired instruction or REP unit and keeps it in memory whenever it calls out.
 */
export const CLOCK = {
  /** i64, ns at the start of the slice. */
  baseNs: CLOCK_BASE + 0,
  /** i32, instructions granted at the start of the slice. */
  sliceBudget: CLOCK_BASE + 8,
  /** i32, instructions left; the CPU stops when it would become negative. */
  budget: CLOCK_BASE + 12,
  /** i32, ns an instruction in 12.20 fixed point; 1 << 20 on the instruction clock. */
  rate: CLOCK_BASE + 16,
  /** i32, non-zero asks the CPU to leave its run loop after the instruction that is executing. */
  exitRequest: CLOCK_BASE + 20,
} as const;
export const CLOCK_RATE_SHIFT = 20;

export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;

/** Entries of one TLB (the software CPU has one for user and one for supervisor accesses). */
export const TLB_ENTRIES = 8192;
export const TLB_ENTRY_SIZE = 32;
/** One TLB: its entries, 256 bytes of header, and two logs of the entries filled (see `cpu/mmu/tlb-layout.ts`). */
export const TLB_SIZE = TLB_ENTRIES * (TLB_ENTRY_SIZE + 2 * 4) + 256;

/** Largest guest RAM: it lies from 0 and must end below the PCI hole. */
export const RAM_MAX = 0xe000_0000;

/** Flags of a RAM page, one byte a page at `pageFlags`. */
export const PAGE_FLAG = {
  /** Written since the flag was last cleared. */
  dirty: 1,
  /** Holds code that was compiled: stores must be seen. */
  code: 2,
  /** An access handler watches writes (or everything): no ordinary TLB entry. */
  watchedWrite: 4,
  watchedAll: 8,
  /** Not plain RAM at its own place: a hole, ROM, or write-protected. Set by `GuestMemory` alone. */
  special: 16,
} as const;

export interface Layout {
  /** One byte for each RAM page; see `PAGE_FLAG`. */
  readonly pageFlags: number;
  /** Two TLBs (supervisor first, then user) for each vCPU. */
  readonly tlb: number;
  readonly tlbStride: number;
  readonly ram: number;
  readonly ramBytes: number;
  /** Room for ROM images and device memory after RAM. */
  readonly extra: number;
  readonly extraBytes: number;
  /** Size of the whole memory, a multiple of 64 KiB. */
  readonly totalBytes: number;
}

const align = (value: number, to: number) => Math.ceil(value / to) * to;

/** Places everything for a machine with `ramBytes` of RAM (a multiple of 4 KiB, at most `RAM_MAX`). */
export function planLayout(ramBytes: number, extraBytes: number, vcpus = 1): Layout {
  const pageFlags = align(DYNAMIC_BASE, PAGE_SIZE);
  const tlb = align(pageFlags + ramBytes / PAGE_SIZE, PAGE_SIZE);
  const tlbStride = 2 * TLB_SIZE;
  const ram = align(tlb + tlbStride * vcpus, 0x1_0000);
  const extra = align(ram + ramBytes, 0x1_0000);
  const totalBytes = align(extra + extraBytes, 0x1_0000);
  return { pageFlags, tlb, tlbStride, ram, ramBytes, extra, extraBytes, totalBytes };
}
