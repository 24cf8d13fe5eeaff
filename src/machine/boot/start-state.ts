/**
 * The state in which a vCPU enters a loaded image, as plain data: the machine copies it into an engine's vCPU.
 * A register that is not named is 0.
 */
import type { BootMemory } from "./boot-memory.ts";

export type GeneralRegister = "rax" | "rbx" | "rcx" | "rdx" | "rsi" | "rdi" | "rbp" | "rsp";

export interface SegmentState {
  readonly selector: number;
  readonly base: number;
  /** In bytes, granularity applied. */
  readonly limit: number;
  /** Descriptor bits 40-47 and 52-55, and bit 16 for "unusable", as VT-x lays them out. SDM volume 3, table 25-2. */
  readonly attributes: number;
}

export type SegmentName = "es" | "cs" | "ss" | "ds" | "fs" | "gs" | "ldtr" | "tr";

export interface TableRegister {
  readonly base: number;
  readonly limit: number;
}

export interface StartState {
  readonly mode: "real16" | "protected32" | "long64";
  /** Offset in the code segment. */
  readonly rip: number;
  readonly rflags: number;
  readonly registers: Readonly<Partial<Record<GeneralRegister, number>>>;
  readonly segments: Readonly<Record<SegmentName, SegmentState>>;
  readonly gdtr: TableRegister;
  readonly idtr: TableRegister;
  readonly cr0: number;
  readonly cr3: number;
  readonly cr4: number;
  readonly efer: number;
}

/** EFLAGS bit 1 is always set; interrupts are off. */
const RFLAGS = 0x2;
const CR0 = { pe: 1 << 0, et: 1 << 4, nw: 2 ** 29, cd: 2 ** 30, pg: 2 ** 31 } as const;
const CR4_PAE = 1 << 5;
const EFER = { lme: 1 << 8, lma: 1 << 10 } as const;

/** Present, S = 1, already accessed; type 3 is read/write data, Bh execute/read code. */
const DATA = 0x93;
const CODE = 0x9b;
const TSS_BUSY = 0x8b;
const LDT = 0x82;
const FLAG = { l: 1 << 13, db: 1 << 14, g: 1 << 15, unusable: 1 << 16 } as const;

/** Selectors that the Linux boot protocol asks for (__BOOT_CS and __BOOT_DS); Multiboot leaves them open. */
const CODE_SELECTOR = 0x10;
const DATA_SELECTOR = 0x18;
const FLAT_LIMIT = 0xffff_ffff;

/** After a reset: SDM volume 3, table 10-1. EDX, which identifies the CPU, is the engine's. */
export function resetState(): StartState {
  const data: SegmentState = { selector: 0, base: 0, limit: 0xffff, attributes: DATA };
  return {
    mode: "real16",
    rip: 0xfff0,
    rflags: RFLAGS,
    registers: {},
    segments: {
      cs: { selector: 0xf000, base: 0xffff_0000, limit: 0xffff, attributes: CODE },
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      ldtr: { ...data, attributes: LDT },
      tr: { ...data, attributes: TSS_BUSY },
    },
    gdtr: { base: 0, limit: 0xffff },
    idtr: { base: 0, limit: 0xffff },
    cr0: CR0.et + CR0.nw + CR0.cd,
    cr3: 0,
    cr4: 0,
    efer: 0,
  };
}

/** Where `flatState` builds its tables; `length` bytes are taken. */
export interface DescriptorPlace {
  readonly gdt: number;
  /** 4 KiB-aligned; used in long mode only. */
  readonly pageTables: number;
}

export const GDT_LENGTH = 4 * 8;
const PAGE = 0x1000;
/** PML4, page-directory-pointer table and four page directories. */
export const PAGE_TABLES_LENGTH = 6 * PAGE;

/**
 * Flat segments, interrupts off, no interrupt table. Writes a GDT; in long mode also page tables that map the first
 * 4 GiB to themselves in 2 MiB pages.
 */
export function flatState(
  memory: BootMemory,
  mode: "protected32" | "long64",
  rip: number,
  registers: StartState["registers"],
  place: DescriptorPlace,
): StartState {
  const long = mode === "long64";
  const code = flat(CODE_SELECTOR, CODE | FLAG.g | (long ? FLAG.l : FLAG.db));
  const data = flat(DATA_SELECTOR, DATA | FLAG.g | FLAG.db);
  const gdt = new DataView(new ArrayBuffer(GDT_LENGTH));
  for (const segment of [code, data]) gdt.setBigUint64(segment.selector, flatDescriptor(segment), true);
  memory.write(place.gdt, new Uint8Array(gdt.buffer));
  if (long) memory.write(place.pageTables, identityMap(place.pageTables));
  return {
    mode,
    rip,
    rflags: RFLAGS,
    registers,
    segments: {
      cs: code,
      ds: data,
      es: data,
      fs: data,
      gs: data,
      ss: data,
      ldtr: { selector: 0, base: 0, limit: 0, attributes: FLAG.unusable },
      tr: { selector: 0, base: 0, limit: 0xffff, attributes: TSS_BUSY },
    },
    gdtr: { base: place.gdt, limit: GDT_LENGTH - 1 },
    idtr: { base: 0, limit: 0 },
    cr0: CR0.pe + CR0.et + (long ? CR0.pg : 0),
    cr3: long ? place.pageTables : 0,
    cr4: long ? CR4_PAE : 0,
    efer: long ? EFER.lme | EFER.lma : 0,
  };
}

const flat = (selector: number, attributes: number): SegmentState => ({
  selector,
  base: 0,
  limit: FLAT_LIMIT,
  attributes,
});

/** The descriptor of a segment with base 0 and limit 4 GiB. SDM volume 3, figure 3-8. */
function flatDescriptor(segment: SegmentState): bigint {
  const limit = 0xf_ffffn;
  return (limit & 0xffffn) | ((limit >> 16n) << 48n) | (BigInt(segment.attributes) << 40n);
}

const PTE = { present: 1, writable: 2, large: 0x80 } as const;
const LARGE_PAGE = 0x20_0000;
const ENTRIES = 512;
const DIRECTORIES = 4;

/** SDM volume 3, section 4.5. */
function identityMap(base: number): Uint8Array {
  const bytes = new Uint8Array(PAGE_TABLES_LENGTH);
  const view = new DataView(bytes.buffer);
  const set = (page: number, index: number, value: number): void =>
    view.setBigUint64(page * PAGE + index * 8, BigInt(value), true);
  const table = (page: number): number => base + page * PAGE + PTE.present + PTE.writable;
  set(0, 0, table(1));
  for (let directory = 0; directory < DIRECTORIES; directory++) set(1, directory, table(2 + directory));
  for (let index = 0; index < DIRECTORIES * ENTRIES; index++) {
    set(2, index, index * LARGE_PAGE + PTE.present + PTE.writable + PTE.large);
  }
  return bytes;
}
