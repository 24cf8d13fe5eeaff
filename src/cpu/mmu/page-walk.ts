/** Why a linear address is looked up. */
export const ACCESS = { write: 1, user: 2, fetch: 4 } as const;

/** Page-fault error code, SDM vol 3, 4.7. */
export const PF = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

/** Page-table entry bits, SDM vol 3, 4.3-4.5. */
export const PTE = {
  present: 1,
  write: 2,
  user: 4,
  accessed: 0x20,
  dirty: 0x40,
  large: 0x80,
  global: 0x100,
  /** In the high half: bit 63. */
  noExecuteHigh: 0x8000_0000,
} as const;

/** What decides about a walk besides the address. */
export interface PagingMode {
  readonly paging: boolean;
  readonly pae: boolean;
  readonly long: boolean;
  readonly pse: boolean;
  readonly noExecute: boolean;
  readonly writeProtect: boolean;
  readonly smep: boolean;
  readonly global: boolean;
  /** CR3 without its flag bits. */
  readonly root: number;
  /** The four PDPTEs that PAE paging caches at CR3 load: [low, high] pairs. */
  readonly pdpte: Uint32Array;
}

/** The result of the last walk; one object, filled in place. */
export interface Walk {
  /** Guest-physical address, or -1: `errorCode` says why. */
  physical: number;
  errorCode: number;
  /** Rights of the translation for supervisor and user accesses. */
  writable: boolean;
  user: boolean;
  executable: boolean;
  global: boolean;
  dirty: boolean;
  /** Bytes that one entry maps. */
  pageBytes: number;
}

const PHYSICAL_BITS_HIGH = 36 - 32;
/** Bits 51 to 36 of an entry are reserved (MAXPHYADDR is 36, CPUID leaf 80000008h). */
const RESERVED_HIGH = 0x000f_ffff & ~((1 << PHYSICAL_BITS_HIGH) - 1);
/** PAE paging: bits 62 to 36 (SDM vol 3, tables 4-9 to 4-11); 4-level paging ignores 62 to 52. */
const RESERVED_HIGH_PAE = 0x7fff_ffff & ~((1 << PHYSICAL_BITS_HIGH) - 1);
const FRAME_LOW = 0xffff_f000;

/** Reserved bits in the high half of 8-byte entries, at every level. */
export function reservedHigh(mode: PagingMode): number {
  return (mode.long ? RESERVED_HIGH : RESERVED_HIGH_PAE) | (mode.noExecute ? 0 : PTE.noExecuteHigh);
}

/** Memory that holds page tables; addresses come from `physical`. */
export interface TableMemory {
  physical(address: number): number;
  read32(physical: number): number;
  write32(physical: number, value: number): void;
}

/**
 * Walks the guest's page tables and keeps accessed and dirty bits (SDM vol 3, chapter 4). Entries are read as two 32-bit
 * halves: numbers are exact and nothing is allocated.
 */
export class PageWalker {
  readonly result: Walk = {
    physical: -1,
    errorCode: 0,
    writable: false,
    user: false,
    executable: false,
    global: false,
    dirty: false,
    pageBytes: 4096,
  };
  /** Entries read. */
  loads = 0;
  private readonly memory: TableMemory;
  private entryAddress = 0;
  private low = 0;
  private high = 0;

  constructor(memory: TableMemory) {
    this.memory = memory;
  }

  /** `linear` is canonical. Returns `result`. With `probe` nothing is written to the tables. */
  walk(mode: PagingMode, linear: number, access: number, probe = false): Walk {
    const { result } = this;
    result.pageBytes = 4096;
    result.global = false;
    result.user = true;
    result.writable = true;
    result.executable = true;
    result.dirty = true;
    if (!mode.paging) {
      result.physical = linear >>> 0;
      return result;
    }
    if (mode.long) return this.walkLong(mode, linear, access, probe);
    if (mode.pae) return this.walkPae(mode, linear >>> 0, access, probe);
    return this.walk32(mode, linear >>> 0, access, probe);
  }

  private read(address: number, wide: boolean): void {
    this.loads++;
    const at = this.memory.physical(address);
    this.entryAddress = at;
    this.low = this.memory.read32(at) >>> 0;
    this.high = wide ? this.memory.read32(at + 4) >>> 0 : 0;
  }

  private fail(access: number, present: boolean, reserved = false, mode?: PagingMode): Walk {
    const { result } = this;
    let code = present ? PF.present : 0;
    if (access & ACCESS.write) code |= PF.write;
    if (access & ACCESS.user) code |= PF.user;
    if (reserved) code |= PF.reserved;
    // The I/D bit is reported only when execute-disable or SMEP is on.
    if (access & ACCESS.fetch && mode && (mode.noExecute || mode.smep)) code |= PF.fetch;
    result.errorCode = code;
    result.physical = -1;
    return result;
  }

  /** Folds the rights of the entry just read; false when it is not usable (`result` then tells). */
  private enter(mode: PagingMode, access: number, wide: boolean, reservedLow: number): boolean {
    const { result, low, high } = this;
    if ((low & PTE.present) === 0) {
      this.fail(access, false, false, mode);
      return false;
    }
    if (wide) {
      if ((high & reservedHigh(mode)) !== 0 || (low & reservedLow) !== 0) {
        this.fail(access, true, true, mode);
        return false;
      }
      if (high & PTE.noExecuteHigh) result.executable = false;
    } else if ((low & reservedLow) !== 0) {
      this.fail(access, true, true, mode);
      return false;
    }
    if ((low & PTE.write) === 0) result.writable = false;
    if ((low & PTE.user) === 0) result.user = false;
    return true;
  }

  private markAccessed(probe: boolean): void {
    if (!probe && (this.low & PTE.accessed) === 0)
      this.memory.write32(this.entryAddress, (this.low | PTE.accessed) >>> 0);
  }

  private frame(): number {
    return (this.high & ((1 << PHYSICAL_BITS_HIGH) - 1)) * 0x1_0000_0000 + ((this.low & FRAME_LOW) >>> 0);
  }

  /** The entry just read maps a page of `pageBytes` at `frame`: checks rights, sets A and D. */
  private leaf(
    mode: PagingMode,
    linear: number,
    access: number,
    frame: number,
    pageBytes: number,
    probe: boolean,
  ): Walk {
    const { result } = this;
    if (!permits(mode, result, access)) return this.fail(access, true, false, mode);
    const updated = (this.low | PTE.accessed | (access & ACCESS.write ? PTE.dirty : 0)) >>> 0;
    if (!probe && updated !== this.low) this.memory.write32(this.entryAddress, updated);
    result.dirty = (updated & PTE.dirty) !== 0;
    result.global = mode.global && (this.low & PTE.global) !== 0;
    result.pageBytes = pageBytes;
    // `pageBytes` is a power of two up to 1 GiB: the offset fits 32-bit operations.
    result.physical = frame + ((linear & (pageBytes - 1)) >>> 0);
    return result;
  }

  private walk32(mode: PagingMode, linear: number, access: number, probe: boolean): Walk {
    this.read(mode.root + (linear >>> 22) * 4, false);
    const large = mode.pse && (this.low & PTE.large) !== 0;
    // PSE-36: bits 16:13 hold physical address bits 35:32, bits 21:17 are reserved.
    if (!this.enter(mode, access, false, large ? 0x003e_0000 : 0)) return this.result;
    if (large) {
      const frame = ((this.low & 0xffc0_0000) >>> 0) + ((this.low >>> 13) & 0xf) * 0x1_0000_0000;
      return this.leaf(mode, linear, access, frame, 0x40_0000, probe);
    }
    this.markAccessed(probe);
    this.read(((this.low & FRAME_LOW) >>> 0) + ((linear >>> 12) & 0x3ff) * 4, false);
    if (!this.enter(mode, access, false, 0)) return this.result;
    return this.leaf(mode, linear, access, (this.low & FRAME_LOW) >>> 0, 4096, probe);
  }

  private walkPae(mode: PagingMode, linear: number, access: number, probe: boolean): Walk {
    const index = (linear >>> 30) * 2;
    this.low = mode.pdpte[index]!;
    this.high = mode.pdpte[index + 1]!;
    if ((this.low & PTE.present) === 0) return this.fail(access, false, false, mode);
    return this.walkDirectory(mode, linear, linear >>> 21, linear >>> 12, access, probe);
  }

  /** Page directory and page table with 8-byte entries; `low` and `high` hold the entry that points to the directory. */
  private walkDirectory(
    mode: PagingMode,
    linear: number,
    directoryIndex: number,
    tableIndex: number,
    access: number,
    probe: boolean,
  ): Walk {
    this.read(this.frame() + (directoryIndex & 0x1ff) * 8, true);
    const large = (this.low & PTE.large) !== 0;
    if (!this.enter(mode, access, true, large ? 0x001f_e000 : 0)) return this.result;
    if (large) return this.leaf(mode, linear, access, this.frame() - (this.low & 0x001f_f000), 0x20_0000, probe);
    this.markAccessed(probe);
    this.read(this.frame() + (tableIndex & 0x1ff) * 8, true);
    if (!this.enter(mode, access, true, 0)) return this.result;
    return this.leaf(mode, linear, access, this.frame(), 4096, probe);
  }

  private walkLong(mode: PagingMode, linear: number, access: number, probe: boolean): Walk {
    const low = linear >>> 0;
    const high = Math.floor(linear / 0x1_0000_0000) & 0xffff;
    this.read(mode.root + (high >>> 7) * 8, true);
    // PML4E: bit 7 is reserved. PDPTE: bit 7 maps 1 GiB, which CPUID does not announce, so it is reserved too.
    if (!this.enter(mode, access, true, PTE.large)) return this.result;
    this.markAccessed(probe);
    this.read(this.frame() + (((high & 0x7f) << 2) | (low >>> 30)) * 8, true);
    if (!this.enter(mode, access, true, PTE.large)) return this.result;
    this.markAccessed(probe);
    return this.walkDirectory(mode, low, low >>> 21, low >>> 12, access, probe);
  }
}

/** Access rights of a translation, SDM vol 3, 4.6. */
export function permits(mode: PagingMode, walk: Walk, access: number): boolean {
  if (access & ACCESS.user) {
    if (!walk.user) return false;
    if (access & ACCESS.write && !walk.writable) return false;
    return !(access & ACCESS.fetch) || walk.executable;
  }
  if (access & ACCESS.write && !walk.writable && mode.writeProtect) return false;
  if (access & ACCESS.fetch) return walk.executable && !(mode.smep && walk.user);
  return true;
}
