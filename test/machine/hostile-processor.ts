/**
 * Processors in states that no sane guest gets into: random instructions in random modes, over random page tables,
 * descriptor tables, gates and MSRs.
 */

import { ATTR, CPU, FLAG } from "../../src/cpu/state.ts";
import { CR0, CR0_PG, CR4, EFER } from "../../src/cpu/system/context.ts";
import type { Machine } from "../../src/machine/machine.ts";
import type { Random } from "./random.ts";

const PAGE = 0x1000;
/** Where things lie in guest memory. */
export const PLACE = {
  idt: 0x1000,
  gdt: 0x2000,
  ldt: 0x2800,
  /** Several TSSes, 200h bytes apart. */
  tss: 0x3000,
  tables: 0x1_0000,
  tablesEnd: 0x2_0000,
  code: 0x2_0000,
  codeEnd: 0x3_0000,
  data: 0x10_0000,
  dataEnd: 0x11_0000,
} as const;
const GDT_ENTRIES = 0x800 / 8;

const MODES = ["real", "protected16", "protected32", "v86", "paged32", "pae", "long", "compatibility"] as const;
type Mode = (typeof MODES)[number];

/** Fills the guest's memory and sets its processor, anew. */
export function scramble(machine: Machine, random: Random): Mode {
  const mode = random.pick(MODES);
  const { memory, vcpu } = machine;
  const long = mode === "long" || mode === "compatibility";
  memory.write(PLACE.data, bytes(random, PLACE.dataEnd - PLACE.data));
  memory.write(PLACE.code, code(random, PLACE.codeEnd - PLACE.code));
  memory.write(0, bytes(random, PAGE));
  for (let at = 0; at < 0x400; at += 4) {
    // Real-mode vectors.
    memory.write32(at, ((PLACE.code >> 4) << 16) | random.below(0x1_0000));
  }
  descriptors(machine, random, PLACE.gdt, GDT_ENTRIES, long);
  descriptors(machine, random, PLACE.ldt, GDT_ENTRIES, long);
  for (let at = PLACE.idt; at < PLACE.idt + PAGE; at += long ? 16 : 8) gate(machine, random, at, long);
  for (let at = PLACE.tss; at < PLACE.tss + PAGE; at += 4) memory.write32(at, address(random) >>> 0);
  for (let at = PLACE.tss; at < PLACE.tss + PAGE; at += 0x200) {
    for (let field = 4; field < 0x68; field += 4) {
      const stack = PLACE.data + random.below(PLACE.dataEnd - PLACE.data);
      memory.write32(at + field, long && field % 8 === 0 ? 0 : stack);
    }
    if (!long) for (const field of [8, 16, 24]) memory.write32(at + field, 0x10);
    memory.write32(at + 0x64, 0x68 << 16);
  }
  const root = pageTables(machine, random, mode);
  processor(machine, random, mode, root);
  vcpu.stateChanged();
  return mode;
}

function bytes(random: Random, length: number): Uint8Array {
  const words = new Uint32Array(length / 4);
  for (let i = 0; i < words.length; i++) words[i] = random.chance(3) ? address(random) : random.u32();
  return new Uint8Array(words.buffer);
}

/** An address where something is, most of the time. */
function address(random: Random): number {
  switch (random.below(12)) {
    case 0:
      return random.u32();
    case 1:
      return random.pick([0xfee0_0000, 0xfec0_0000, 0xfed0_0000, 0xa_0000, 0xf_0000]) + random.below(PAGE);
    case 2:
      return random.pick([0, 0xffff, 0x1_0000, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x3f_ffff]) - random.below(16);
    case 3:
    case 4:
    case 5:
      return PLACE.code + random.below(PLACE.codeEnd - PLACE.code);
    case 6:
      return random.below(PLACE.tablesEnd);
    default:
      return PLACE.data + random.below(PLACE.dataEnd - PLACE.data);
  }
}

// --- code --------------------------------------------------------------------------------------------------------------

const PREFIXES = [0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x40, 0x41, 0x44, 0x48, 0x4c];
/** Opcodes that change the processor's state most: each as bytes, what follows is random. */
const SYSTEM = [
  [0x0f, 0x20], // MOV from CR
  [0x0f, 0x22], // MOV to CR
  [0x0f, 0x21],
  [0x0f, 0x23],
  [0x0f, 0x00], // SLDT, STR, LLDT, LTR, VERR, VERW
  [0x0f, 0x01], // SGDT, SIDT, LGDT, LIDT, SMSW, LMSW, INVLPG, SWAPGS, RDTSCP
  [0x0f, 0x02],
  [0x0f, 0x03],
  [0x0f, 0x05],
  [0x0f, 0x06],
  [0x0f, 0x07],
  [0x0f, 0x08],
  [0x0f, 0x09],
  [0x0f, 0x30], // WRMSR
  [0x0f, 0x32],
  [0x0f, 0x31],
  [0x0f, 0x34],
  [0x0f, 0x35],
  [0x0f, 0xa2],
  [0x0f, 0xae],
  [0x0f, 0xb2],
  [0x0f, 0xb4],
  [0x0f, 0xa1],
  [0x0f, 0xa9],
  [0x0f, 0xc7],
  [0x8e], // MOV to a segment register
  [0x8c],
  [0x9a], // far CALL and JMP
  [0xea],
  [0xff],
  [0xca],
  [0xcb],
  [0xcc],
  [0xcd],
  [0xce],
  [0xcf],
  [0x9c],
  [0x9d],
  [0x62],
  [0x63],
  [0xc4],
  [0xc5],
  [0xc8],
  [0xc9],
  [0xe4],
  [0xe6],
  [0xec],
  [0xee],
  [0xed],
  [0xef],
  [0x6c],
  [0x6d],
  [0x6e],
  [0x6f],
  [0xf4],
  [0xfa],
  [0xfb],
  [0xf1],
  [0x07],
  [0x17],
  [0x1f],
] as const;
const MSRS = [
  0x10, 0x1b, 0x3b, 0x8b, 0xfe, 0x174, 0x175, 0x176, 0x1a0, 0x200, 0x201, 0x250, 0x277, 0x2ff, 0x6e0, 0xc000_0080,
  0xc000_0080, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0xc000_0103,
];

function code(random: Random, length: number): Uint8Array {
  const out = new Uint8Array(length);
  let at = 0;
  const put = (...values: number[]) => {
    for (const value of values) if (at < length) out[at++] = value;
  };
  const put32 = (value: number) => put(value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24);
  while (at < length) {
    const kind = random.below(16);
    if (kind < 2) {
      for (let i = random.below(12); i >= 0; i--) put(random.u32() & 0xff);
    } else if (kind === 2) {
      put(0xb9); // MOV ECX, an MSR
      put32(random.pick(MSRS));
      put(0x0f, random.chance(2) ? 0x30 : 0x32);
    } else if (kind === 3) {
      put(0xb8 + random.below(8)); // MOV r32, an address
      put32(address(random));
    } else if (kind === 4) {
      put(0xb8); // MOV EAX, bits that control registers have; MOV CR, EAX
      put32(random.pick([CR0.pe, CR0.pe | CR0_PG, 0x10, CR4.pae, CR4.pae | CR4.pge, CR4.pse]) | random.below(0x800));
      put(0x0f, 0x22, 0xc0 | (random.pick([0, 3, 4]) << 3));
    } else {
      while (random.chance(4)) put(random.pick(PREFIXES));
      if (kind < 8) put(...random.pick(SYSTEM));
      else if (kind < 11) put(0x0f, random.u32() & 0xff);
      else put(random.u32() & 0xff);
      put(random.u32() & 0xff);
      // Displacement or immediate: small, so that jumps and operands stay near.
      if (random.chance(2)) put(random.below(0x40));
      else put32(random.chance(2) ? address(random) : random.below(0x100));
    }
  }
  return out;
}

// --- tables ------------------------------------------------------------------------------------------------------------

/** Descriptors that work, so that not every exception ends the game: flat code and data of rings 0 and 3, TSS, LDT. */
const SANE: readonly (readonly [number, number] | undefined)[] = [
  undefined,
  [0xffff, 0x00cf_9b00],
  [0xffff, 0x00cf_9300],
  [0xffff, 0x00cf_fb00],
  [0xffff, 0x00cf_f300],
  [(PLACE.tss << 16) | 0x1ff, 0x0000_8b00],
  undefined, // the other half of a 64-bit TSS
  [(PLACE.ldt << 16) | 0x7ff, 0x0000_8200],
  undefined,
];

function descriptors(machine: Machine, random: Random, base: number, entries: number, long: boolean): void {
  for (let entry = 0; entry < entries; entry++) {
    const at = base + entry * 8;
    const sane = base === PLACE.gdt ? SANE[entry] : undefined;
    if (sane !== undefined) {
      // L instead of D in code segments of long mode.
      machine.memory.write32(at, sane[0]);
      machine.memory.write32(at + 4, long && sane[1] & 0x0800 && sane[1] & 0x1000 ? sane[1] ^ 0x0060_0000 : sane[1]);
      continue;
    }
    if (random.chance(12)) {
      gate(machine, random, at, long, true);
      continue;
    }
    const system = random.chance(6);
    const type = system ? random.pick([2, 1, 3, 9, 11, 5, random.below(16)]) : random.below(16);
    const segmentBase =
      system && type !== 2 ? PLACE.tss + random.below(7) * 0x200 : random.chance(2) ? 0 : address(random);
    const limit = random.chance(3) ? random.below(0x10_0000) : random.pick([0xf_ffff, 0xffff, 0x67, 0x200]);
    const access = type | (system ? 0 : 0x10) | (random.below(4) << 5) | (random.chance(12) ? 0 : 0x80);
    const flags = long && !system && type & 8 && random.chance(2) ? 0xa : random.below(16);
    machine.memory.write32(at, ((segmentBase & 0xffff) << 16) | (limit & 0xffff));
    machine.memory.write32(
      at + 4,
      (((segmentBase >>> 16) & 0xff) |
        (access << 8) |
        ((limit >> 16) << 16) |
        (flags << 20) |
        (segmentBase & 0xff00_0000)) >>>
        0,
    );
  }
}

function selector(random: Random): number {
  return (random.below(GDT_ENTRIES) << 3) | (random.chance(4) ? 4 : 0) | (random.chance(2) ? 0 : random.below(4));
}

function gate(machine: Machine, random: Random, at: number, long: boolean, call = false): void {
  const offset = PLACE.code + random.below(PLACE.codeEnd - PLACE.code);
  const type = call ? random.pick([4, 5, 12, 12]) : random.pick([14, 14, 15, 15, 6, 7, 5, random.below(16)]);
  const access = type | (random.below(4) << 5) | (random.chance(16) ? 0 : 0x80);
  const target = random.chance(8) ? selector(random) : 8;
  machine.memory.write32(at, ((target << 16) | (offset & 0xffff)) >>> 0);
  machine.memory.write32(
    at + 4,
    ((offset & 0xffff_0000) | (access << 8) | (random.chance(4) ? random.below(8) : 0)) >>> 0,
  );
  if (long && !call) {
    machine.memory.write32(at + 8, random.chance(20) ? random.u32() : 0);
    machine.memory.write32(at + 12, 0);
  }
}

/** Tables of four levels at most, each entry leading on or to a page. Returns what goes to CR3. */
function pageTables(machine: Machine, random: Random, mode: Mode): number {
  const { memory } = machine;
  const wide = mode === "pae" || mode === "long" || mode === "compatibility";
  const pages = (PLACE.tablesEnd - PLACE.tables) / PAGE;
  for (let at = PLACE.tables; at < PLACE.tablesEnd; at += wide ? 8 : 4) {
    const table = (at - PLACE.tables) / PAGE;
    const leaf = table >= pages / 2;
    // The first entries, which low addresses use, lead to the next level and map pages one to one.
    const index = (at & (PAGE - 1)) / (wide ? 8 : 4);
    let target = leaf
      ? random.chance(24)
        ? address(random)
        : index * PAGE
      : PLACE.tables + random.below(pages) * PAGE;
    if (!leaf && random.chance(2)) target = PLACE.tables + (pages / 2 + random.below(pages / 2)) * PAGE;
    let low = (target & -PAGE) | (random.below(0x1000) & 0xf98) | 0x20;
    if (!random.chance(64)) low |= 1;
    if (!random.chance(24)) low |= 2;
    if (!random.chance(8)) low |= 4;
    if (!random.chance(64)) low &= ~0x80;
    memory.write32(at, low >>> 0);
    if (wide) memory.write32(at + 4, random.chance(100) ? random.u32() : random.chance(60) ? random.below(16) : 0);
  }
  return PLACE.tables + random.below(pages / 2) * PAGE;
}

// --- the processor -----------------------------------------------------------------------------------------------------

function processor(machine: Machine, random: Random, mode: Mode, root: number): void {
  const { state } = machine.vcpu;
  const isProtected = mode !== "real";
  const paged = mode === "paged32" || mode === "pae" || mode === "long" || mode === "compatibility";
  const long = mode === "long" || mode === "compatibility";
  const cpl = mode === "v86" ? 3 : isProtected ? random.pick([0, 0, 0, 3, 1, 2]) : 0;
  for (let register = 0; register < 16; register++) {
    let value = BigInt(address(random) >>> 0);
    if (random.chance(10)) value = (BigInt(random.u32()) << 32n) | value;
    if (random.chance(20)) value = 0xffff_8000_0000_0000n + value;
    if (random.chance(20)) value = 0x0000_7fff_ffff_fff0n + BigInt(random.below(32));
    state.setGpr(register, value);
  }
  state.setU64(CPU.gpr + 4 * 8, BigInt(PLACE.data + random.below(PLACE.dataEnd - PLACE.data)));
  let cr0 = random.u32() & (CR0.mp | CR0.em | CR0.ts | CR0.ne | CR0.wp | CR0.am);
  if (!random.chance(4)) cr0 &= ~(CR0.em | CR0.ts);
  if (isProtected) cr0 |= CR0.pe;
  state.setNumber(CPU.cr0, (cr0 | 0x10 | (paged ? CR0_PG : 0)) >>> 0);
  let cr4 = random.u32() & (CR4.pse | CR4.pge | CR4.de | CR4.tsd | CR4.osfxsr | CR4.osxmmexcpt);
  if (mode === "pae" || long) cr4 |= CR4.pae;
  if (random.chance(4)) cr4 |= CR4.smep;
  state.setNumber(CPU.cr4, cr4);
  state.setNumber(CPU.cr3, root);
  state.setNumber(CPU.efer, (long ? EFER.lme | EFER.lma : 0) | (random.chance(2) ? EFER.nxe : 0) | EFER.sce);
  state.setNumber(CPU.gdtrBase, PLACE.gdt);
  state.setNumber(CPU.gdtrLimit, GDT_ENTRIES * 8 - 1);
  state.setNumber(CPU.idtrBase, isProtected ? PLACE.idt : 0);
  state.setNumber(CPU.idtrLimit, isProtected ? 0xfff : 0x3ff);

  const data = ATTR.present | ATTR.s | (cpl << ATTR.dplShift) | 3;
  for (let segment = 0; segment < 6; segment++) {
    if (mode === "real" || mode === "v86") {
      const value = segment === 1 ? PLACE.code >> 4 : address(random) >>> 4;
      const attributes = mode === "v86" ? 0xf3 : segment === 1 ? 0x9b : 0x93;
      state.setSegment(segment, value & 0xffff, (value & 0xffff) << 4, 0xffff, attributes);
      continue;
    }
    const wide = mode === "protected16" ? 0 : ATTR.db | ATTR.g;
    const odd = random.chance(6);
    const base = odd ? address(random) >>> 0 : 0;
    const limit = odd ? random.u32() : 0xffff_ffff;
    const code = ATTR.present | ATTR.s | (cpl << ATTR.dplShift) | 0xb | (mode === "long" ? ATTR.l | ATTR.g : wide);
    if (segment === 1) state.setSegment(1, 8 | cpl, 0, 0xffff_ffff, code);
    else state.setSegment(segment, 0x10 | cpl, base, limit, random.chance(10) ? data | ATTR.unusable : data | wide);
  }
  state.setSegment(6, 0x38, PLACE.ldt, 0x7ff, ATTR.present | 2);
  state.setSegment(
    7,
    0x28,
    PLACE.tss,
    random.pick([0x67, 0x1ff, 0x2b]),
    ATTR.present | (long ? 11 : random.pick([3, 11])),
  );
  const inCode = random.below(PLACE.codeEnd - PLACE.code);
  state.setNumber(CPU.rip, mode === "real" || mode === "v86" ? inCode & 0xffff : PLACE.code + inCode);
  let flags = random.u32() & (FLAG.if | FLAG.df | FLAG.iopl | FLAG.ac | FLAG.nt | FLAG.id | 0x8d5);
  if (random.chance(10)) flags |= FLAG.tf;
  if (mode === "v86") flags |= FLAG.vm;
  state.eflags = flags;
  state.setU32(CPU.cpl, cpl);
  for (const msr of [CPU.lstar, CPU.cstar, CPU.sysenterEip, CPU.sysenterEsp, CPU.kernelGsBase]) {
    state.setU64(msr, BigInt(address(random) >>> 0));
  }
  state.setU64(CPU.star, BigInt(selector(random) & 0xfff8) << 32n);
  state.setU64(CPU.sysenterCs, BigInt(selector(random) & 0xfff8));
  if (random.chance(4)) {
    for (const number of [0, 1, 2, 3]) state.setNumber(CPU.dr + number * 8, address(random) >>> 0);
    state.setNumber(CPU.dr + 7 * 8, ((random.u32() & 0xffff_00ff) | 0x400) >>> 0);
  }
}
