/**
 * Layout of the machine's one WebAssembly memory ("host offsets"): tables, clock, device registers, vCPU blocks, I/O
 * tables, page flags, TLBs, then guest RAM and ROM. Everything but the fixed low part is placed by `planLayout`.
 */

/** Static data of the soft-float module. */
export const SOFTFLOAT_DATA = 0x1000;
/** The machine's clock, readable by emitted code; see `CLOCK`. */
export const CLOCK_BASE = 0x8000;
/** Fixed slots that devices get from `host.registers`. */
export const DEVICE_REGISTERS_BASE = 0x1_0000;
export const DEVICE_REGISTERS_SIZE = 0x4_0000;
/** vCPU blocks (architectural state and scratch space of one vCPU each). */
export const VCPU_BASE = DEVICE_REGISTERS_BASE + DEVICE_REGISTERS_SIZE;
export const VCPU_SIZE = 0x4000;
export const VCPU_MAX = 4;
/** How often code was reached, by its host address: 8 bytes each (address, i32 countdown). */
export const HOT_BASE = VCPU_BASE + VCPU_SIZE * VCPU_MAX;
export const HOT_ENTRIES = 65_536;
/** Compiled code by its linear address, see `cpu/jit/dispatcher.ts`. */
export const JUMP_CACHE_BASE = HOT_BASE + HOT_ENTRIES * 8;
export const JUMP_CACHE_ENTRIES = 4096;
export const JUMP_CACHE_ENTRY_SIZE = 32;
/** Where indirect jumps of compiled code went, see `cpu/jit/jump-sites.ts`. */
export const JUMP_SITES_BASE = JUMP_CACHE_BASE + JUMP_CACHE_ENTRIES * JUMP_CACHE_ENTRY_SIZE;
export const JUMP_SITES = 512;
export const JUMP_SITE_SIZE = 256;
/** What places of compiled code reached last, and a log of them, see `cpu/mmu/access-sites.ts`. */
export const ACCESS_SITES_BASE = JUMP_SITES_BASE + JUMP_SITES * JUMP_SITE_SIZE;
export const ACCESS_SITES = 0x1_0000;
export const ACCESS_SITE_SIZE = 16;
export const ACCESS_SITE_LOG = ACCESS_SITES_BASE + ACCESS_SITES * ACCESS_SITE_SIZE;
/** What emitted code sees of the port and MMIO spaces; see `IO`. */
export const IO_BASE = ACCESS_SITE_LOG + ACCESS_SITES * 4;
/** Ranges with raw handlers that emitted code can reach; further ones are answered through TypeScript. */
export const IO_SLOTS = 0x4000;

/**
 * Tables from a port or a page to the *slot* of the range that answers it: 0 when only TypeScript knows. The host
 * commits what has been written.
 */
export const IO = {
  /** i32: not 0 while every port access, or every MMIO access, must go through TypeScript. */
  portsClosed: IO_BASE + 0,
  mmioClosed: IO_BASE + 4,
  /** `IO_SLOT`s. Slot 1 stands for ports that nobody claims. */
  slots: IO_BASE + 0x1000,
  /** u16 for each port, and three zeros behind them. */
  ports: IO_BASE + 0x11_0000,
  /** Two u64 for each port: reads and writes that nobody answered. */
  unclaimed: IO_BASE + 0x14_0000,
  /** u16 for each page of the first 4 GiB of guest-physical addresses. */
  pages: IO_BASE + 0x24_0000,
  end: IO_BASE + 0x44_0000,
} as const;
export const IO_SLOT_UNCLAIMED = 1;

/** One range with raw handlers. */
export const IO_SLOT = {
  size: 64,
  /** i32: changes whenever code that was built for the range must not be used any more. */
  generation: 0,
  /** First port or guest-physical address, how many, and where offsets count from. */
  start: 4,
  length: 8,
  origin: 12,
  /** Numbers in the function table for widths 1, 2 and 4. */
  read: 16,
  write: 28,
  /** Bits that an address must not have: ranges that see whole dwords only. */
  readMisaligned: 40,
  writeMisaligned: 44,
  /** i64: accesses that emitted code has made. */
  reads: 48,
  writes: 56,
} as const;

/** First byte that `planLayout` hands out. */
export const DYNAMIC_BASE = IO.end;

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
  /** i32, instructions of the slice that were taken from `budget` so that the CPU looks at what is pending. */
  reserve: CLOCK_BASE + 20,
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
