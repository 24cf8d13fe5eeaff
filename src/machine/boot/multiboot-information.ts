/** The structure that EBX points to. Multiboot Specification 0.6.96, section 3.3. */
import { LOW_MEMORY, MIB } from "../platform.ts";
import type { MemoryMapEntry } from "./memory-map.ts";

const LOADER_NAME = "Portico";
const KIB = 1024;

/** Offsets. Fields that are not here stay zero, their flag bits clear: boot device, drives, APM, VBE, framebuffer. */
const INFO = {
  flags: 0,
  mem_lower: 4,
  mem_upper: 8,
  cmdline: 16,
  mods_count: 20,
  mods_addr: 24,
  syms: 28,
  mmap_length: 44,
  mmap_addr: 48,
  boot_loader_name: 64,
  length: 120,
} as const;
const FLAG = {
  memory: 1 << 0,
  cmdline: 1 << 2,
  modules: 1 << 3,
  elf: 1 << 5,
  mmap: 1 << 6,
  loaderName: 1 << 9,
} as const;
const MODULE_LENGTH = 16;
/** The size field of a memory map entry does not count itself. */
const MMAP_LENGTH = 24;

export interface PlacedModule {
  readonly address: number;
  readonly length: number;
  readonly commandLine: string;
}

/** The kernel's ELF section headers in memory. */
export interface PlacedSections {
  readonly address: number;
  readonly count: number;
  readonly entrySize: number;
  readonly stringTableIndex: number;
}

export interface MultibootInformation {
  readonly commandLine: string;
  readonly ramBytes: number;
  readonly map: readonly MemoryMapEntry[];
  readonly modules: readonly PlacedModule[];
  readonly sections: PlacedSections | undefined;
}

/** The structure and, behind it, all that it points to, for a place at `address`. The length does not depend on it. */
export function encodeInformation(information: MultibootInformation, address: number): Uint8Array {
  const { commandLine, ramBytes, map, modules, sections } = information;
  const text = new TextEncoder();
  const strings = [commandLine, LOADER_NAME, ...modules.map((module) => module.commandLine)].map((string) =>
    text.encode(`${string}\0`),
  );
  const modulesAt = INFO.length;
  const mapAt = modulesAt + modules.length * MODULE_LENGTH;
  const stringsAt = mapAt + map.length * MMAP_LENGTH;
  const stringAddress = (index: number): number =>
    address + stringsAt + strings.slice(0, index).reduce((sum, string) => sum + string.length, 0);

  const bytes = new Uint8Array(stringsAt + strings.reduce((sum, string) => sum + string.length, 0));
  const view = new DataView(bytes.buffer);
  const u32 = (offset: number, ...values: number[]): void =>
    values.forEach((value, index) => {
      view.setUint32(offset + 4 * index, value, true);
    });

  u32(INFO.mem_lower, LOW_MEMORY.ebda / KIB);
  u32(INFO.mem_upper, Math.floor((ramBytes - MIB) / KIB));
  u32(INFO.cmdline, stringAddress(0));
  u32(INFO.mods_count, modules.length, modules.length === 0 ? 0 : address + modulesAt);
  u32(INFO.mmap_length, map.length * MMAP_LENGTH, address + mapAt);
  u32(INFO.boot_loader_name, stringAddress(1));
  if (sections) {
    u32(INFO.syms, sections.count, sections.entrySize, sections.address, sections.stringTableIndex);
  }
  u32(INFO.flags, FLAG.memory | FLAG.cmdline | FLAG.modules | FLAG.mmap | FLAG.loaderName | (sections ? FLAG.elf : 0));
  modules.forEach((module, index) => {
    u32(modulesAt + index * MODULE_LENGTH, module.address, module.address + module.length, stringAddress(2 + index));
  });
  map.forEach(({ base, length, type }, index) => {
    const at = mapAt + index * MMAP_LENGTH;
    u32(at, MMAP_LENGTH - 4);
    view.setBigUint64(at + 4, BigInt(base), true);
    view.setBigUint64(at + 12, BigInt(length), true);
    u32(at + 20, type);
  });
  strings.forEach((string, index) => {
    bytes.set(string, stringAddress(index) - address);
  });
  return bytes;
}
