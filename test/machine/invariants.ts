/** What must hold of a machine whatever its guest does: nothing outside its own memory is touched or reachable. */

import { CPU } from "../../src/cpu/state.ts";
import type { Machine } from "../../src/machine/machine.ts";
import {
  ACCESS_SITE_SIZE,
  ACCESS_SITES,
  ACCESS_SITES_BASE,
  DEVICE_REGISTERS_BASE,
  DEVICE_REGISTERS_SIZE,
  DYNAMIC_BASE,
  HOT_BASE,
  PAGE_FLAG,
  PAGE_SIZE,
  TLB_ENTRIES,
  TLB_ENTRY_SIZE,
  TLB_SIZE,
  VCPU_BASE,
  VCPU_SIZE,
} from "../../src/memory/layout.ts";
import { PAGE_ENTRY, PAGE_ENTRY_FLAGS } from "../../src/memory/page-map.ts";

/** Fills every part of the machine's memory that belongs to nobody; the function says which part has changed. */
export function guardMemory(machine: Machine): () => string | undefined {
  const { bytes, layout } = machine.memory;
  const free: [string, number, number][] = [
    ["first page", 0, 0x1000],
    ["after the vCPU's state", VCPU_BASE + CPU.end, VCPU_BASE + VCPU_SIZE],
    ["other vCPUs", VCPU_BASE + VCPU_SIZE, HOT_BASE],
    ["before the page flags", DYNAMIC_BASE, layout.pageFlags],
    ["after the page flags", layout.pageFlags + layout.ramBytes / PAGE_SIZE, layout.tlb],
    ["after the TLBs", layout.tlb + 2 * TLB_SIZE, layout.ram],
    ["after RAM", layout.ram + layout.ramBytes, layout.extra],
    ["ROM area", layout.extra, layout.extra + 0x10_0000],
    ["end", layout.totalBytes - 0x1_0000, layout.totalBytes],
    ["end of the device registers", DEVICE_REGISTERS_BASE + 0x1_8000, DEVICE_REGISTERS_BASE + DEVICE_REGISTERS_SIZE],
  ];
  const pattern = (address: number) => (address * 37 + 11) & 0xff;
  for (const [, from, to] of free) for (let at = from; at < to; at++) bytes[at] = pattern(at);
  return () => {
    for (const [name, from, to] of free) {
      for (let at = from; at < to; at++) {
        if (bytes[at] !== pattern(at)) return `${name}: byte ${at.toString(16)} of the machine's memory has changed`;
      }
    }
    return undefined;
  };
}

/** Every TLB entry leads to the page of RAM or ROM that it stands for, and writes only where writing is allowed. */
export function checkTlbs(machine: Machine): string | undefined {
  const { memory } = machine;
  const { layout, data } = memory;
  for (let tlb = 0; tlb < 2; tlb++) {
    const base = layout.tlb + tlb * TLB_SIZE;
    for (let entry = 0; entry < TLB_ENTRIES; entry++) {
      const at = base + entry * TLB_ENTRY_SIZE;
      // Tags at 0 (read), 8 (write) and 16 (execute); addend and physical address follow.
      const tags = [0, 8, 16].map((offset) => data.getBigInt64(at + offset, true));
      const live = tags.filter((tag) => (tag & 0xfffn) === 0n);
      if (live.length === 0) continue;
      const page = Number(BigInt.asUintN(32, live[0]!));
      const host = (data.getUint32(at + 24, true) + page) >>> 0;
      const physical = (data.getUint32(at + 28, true) & -PAGE_SIZE) >>> 0;
      const mapped = memory.pageEntry(physical);
      const where = `TLB ${tlb} entry ${entry} (linear ${live[0]!.toString(16)}, physical ${physical.toString(16)})`;
      if (live.some((tag) => tag !== live[0])) return `${where}: tags differ`;
      if (mapped === 0) return `${where}: no memory there`;
      if (mapped - (mapped & PAGE_ENTRY_FLAGS) !== host) return `${where}: leads to host ${host.toString(16)}`;
      if ((tags[1]! & 0xfffn) === 0n && !(mapped & PAGE_ENTRY.writable)) return `${where}: writes to ROM`;
    }
  }
  return checkAccessSites(machine);
}

/** What compiled code remembers of pages leads to RAM or ROM that nobody watches all of. */
function checkAccessSites({ memory }: Machine): string | undefined {
  const { layout, data } = memory;
  for (let number = 0; number < ACCESS_SITES; number++) {
    const at = ACCESS_SITES_BASE + number * ACCESS_SITE_SIZE;
    const limit = data.getInt32(at + 8, true);
    if (limit === 0) continue;
    const host = (data.getUint32(at, true) + data.getUint32(at + 12, true)) >>> 0;
    const where = `access site ${number} (linear ${data.getBigUint64(at, true).toString(16)})`;
    if (number === 0) return `${where}: nobody's`;
    if (limit < PAGE_SIZE + 1 - 16 || limit > PAGE_SIZE) return `${where}: limit ${limit}`;
    const offset = host - layout.ram;
    const inRam = offset >= 0 && offset < layout.ramBytes;
    const isMemory = inRam || (host >= layout.extra && host < layout.totalBytes - 0x1_0000);
    if (host % PAGE_SIZE !== 0 || !isMemory) return `${where}: leads to host ${host.toString(16)}`;
    const watched = inRam && (memory.pageFlags[offset / PAGE_SIZE]! & PAGE_FLAG.watchedAll) !== 0;
    if (watched) return `${where}: leads to a watched page`;
  }
  return undefined;
}
