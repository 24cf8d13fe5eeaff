/**
 * Random guests whose port instructions are run on every path, interpreted and compiled: a state, a few instructions, a
 * handler for what they raise. What the guest and the devices see in the end must be the same.
 */
import { ATTR, CPU, CS, DS, ES, FLAG, FS, GS, SS, TR } from "../../src/cpu/state.ts";
import { defineDevice, ring3 } from "../../src/device/define.ts";
import { raw } from "../../src/device/raw.ts";
import type { IoPath } from "../../src/exits/index.ts";
import { COMMIT_LATER, DEFER, UNUSED } from "../../src/io/types.ts";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { CLOCK, CLOCK_RATE_SHIFT, PAGE_FLAG } from "../../src/memory/layout.ts";
import type { Random } from "../differential/prng.ts";

export const MODES = ["real", "v86", "protected16", "protected32", "long"] as const;
export type Mode = (typeof MODES)[number];

/** Data, of which pages may be missing or read-only, lies below. */
const CODE = 0x1_0000;
const TABLES = 0x2_0000;
/** Linear pages that lead to a device. */
const DEVICE = { linear: 0x3_0000, pages: 3, physical: 0xf000_0000 } as const;
const GDT = 0x3_4000;
const IDT = 0x3_5000;
const TSS = 0x3_6000;
const HANDLERS = 0x3_9000;
const STACK = 0x3_c000;
const PAGES = 0x40;
const BUDGET = 400;

/** Selectors. */
const KERNEL_CODE = 0x08;
const KERNEL_DATA = 0x10;
const USER_CODE = 0x18;
const USER_DATA = 0x20;
const TASK = 0x28;

/** Ports that instructions can name, and what is behind them. */
const AREA = { base: 0x140, raw: 0xe0, low: 0x50 } as const;

export interface Subject {
  readonly name: string;
  readonly machine: Machine;
  readonly log: string[];
}

/** Devices of all kinds. Each access changes what the next one gives, so that none is lost or repeated unseen. */
export const zoo = (log: string[]) =>
  defineDevice("zoo", (host) => {
    const r = host.registers({ value: "u32", raw: "u32" });
    const mask = (value: number, width: number) => (width === 4 ? value : value % 2 ** (8 * width));
    const read = (space: string) => (offset: number, width: number) => {
      r.value = (Math.imul(r.value, 0x9e37_79b1) + offset * 8 + width) >>> 0;
      log.push(`${host.clock.now()}: ${space} read ${offset} ${width}`);
      return mask(r.value, width);
    };
    const write = (space: string) => (offset: number, value: number, width: number) => {
      r.value = (Math.imul(r.value ^ value, 0x9e37_79b1) + offset * 8 + width) >>> 0;
      log.push(`${host.clock.now()}: ${space} write ${offset} ${width} ${value}`);
    };
    const later = async () => {
      await Promise.resolve();
    };
    const waiting = (space: string) => ({
      read: ring3(async (offset: number, width: number) => {
        await later();
        return read(space)(offset, width);
      }),
      write: ring3(async (offset: number, value: number, width: number) => {
        await later();
        write(space)(offset, value, width);
      }),
    });
    for (const base of [AREA.base, AREA.low]) {
      host.ports({ base, length: 4 }, { read: read(`r0@${base}`), write: write(`r0@${base}`) });
      host.ports({ base: base + 4, length: 4 }, waiting(`r3@${base}`));
    }
    // Defers some accesses, promises some writes for later, is nobody for others.
    const { read: read3, write: write3 } = waiting("mixed");
    host.ports(
      { base: AREA.base + 8, length: 4 },
      {
        read: {
          ring0: (offset, width) => [read("mixed")(offset, width), DEFER, UNUSED][offset % 3]!,
          ring3: read3.run,
        },
        write: {
          ring0: (offset, value, width) => {
            if (offset === 0) write("mixed")(offset, value, width);
            return [0, DEFER, COMMIT_LATER, UNUSED][offset]!;
          },
          ring3: write3.run,
        },
      },
    );
    // Strings: as many units as it likes.
    host.ports(
      { base: AREA.base + 12, length: 4 },
      {
        read: read("string"),
        write: write("string"),
        readString: (offset, buffer, width) => {
          const units = Math.min(buffer.length / width, r.value & 7);
          for (let at = 0; at < units * width; at++) buffer[at] = read("bulk")(offset, 1);
          return units;
        },
        writeString: (offset, buffer, width) => {
          const units = Math.min(buffer.length / width, r.value & 7);
          for (let at = 0; at < units * width; at++) write("bulk")(offset, buffer[at]!, 1);
          return units;
        },
      },
    );
    // Asks for attention, in the middle of whatever accesses it.
    host.ports(
      { base: AREA.base + 16, length: 2 },
      {
        read: (offset, width) => {
          if ((r.value & 7) === 0) host.board.nmi();
          return read("nmi")(offset, width);
        },
        write: (offset, value, width) => {
          if ((r.value & 7) === 0) host.board.nmi();
          write("nmi")(offset, value, width);
        },
      },
    );
    host.ports(
      { base: AREA.raw, length: 4 },
      {
        read: raw((x) => {
          x.set(r, "raw", x.add(x.mul(x.get(r, "raw"), 0x9e37_79b1), x.add(x.shl(x.offset, 3), x.width)));
          return x.get(r, "raw");
        }),
        write: raw((x) =>
          x.set(
            r,
            "raw",
            x.add(x.mul(x.xor(x.get(r, "raw"), x.value), 0x9e37_79b1), x.add(x.shl(x.offset, 3), x.width)),
          ),
        ),
      },
    );
    const options = { readMode: "passthrough", writeMode: "passthrough" } as const;
    host.mmio({ base: DEVICE.physical, length: 0x1000 }, { read: read("mmio"), write: write("mmio") }, options);
    host.mmio({ base: DEVICE.physical + 0x1000, length: 0x1000 }, waiting("mmio3"), options);
  });

export function subject(ioPath: IoPath, compile: "never" | "always"): Subject {
  const machine = createMachine({ memoryMiB: 1, clock: "instructions", compile, ioPath, epochNs: 0n });
  const log: string[] = [];
  machine.add(zoo(log), undefined);
  machine.memory.pageFlags.fill(PAGE_FLAG.dirty, 0, PAGES);
  return { name: `${ioPath}, ${compile === "never" ? "interpreted" : "compiled"}`, machine, log };
}

export interface State {
  readonly description: string;
  readonly cpu: Uint8Array;
  readonly ram: Uint8Array;
}

export interface Outcome {
  readonly end: string;
  readonly executed: number;
  readonly cpu: Uint8Array;
  readonly ram: Uint8Array;
  readonly log: string;
  readonly registers: string;
}

const ramOf = ({ memory }: Machine) => memory.bytes.subarray(memory.layout.ram, memory.layout.ram + PAGES * 0x1000);

/** A random state with code, made on any machine. */
export function randomState({ machine }: Subject, random: Random, mode: Mode): State {
  const { vcpu, memory } = machine;
  const { state } = vcpu;
  vcpu.reset();
  const ram = ramOf(machine);
  for (let at = 0; at < CODE; at += 4) memory.data.setUint32(memory.layout.ram + at, random.u32(), true);
  ram.fill(0, CODE);
  const paged = mode !== "real" && random.chance(0.8);
  const long = mode === "long";
  const user = mode === "v86" || (mode !== "real" && random.chance(0.5));
  const usesPaging = paged || long;
  state.setU64(CPU.cr0, mode === "real" ? 0x32n : usesPaging ? 0x8001_0033n : 0x33n);
  state.setU64(CPU.cr3, BigInt(TABLES));
  state.setU64(CPU.cr4, (long ? 0x620n : 0x600n) | (random.chance(0.8) ? 8n : 0n));
  state.setU64(CPU.efer, long ? 0xd01n : 0n);
  tables(machine, random, long, user);
  descriptors(machine, random, mode);
  segments(machine, random, mode, user);
  const flags = [
    random.u32() & 0x8d5,
    random.chance(0.25) ? FLAG.df : 0,
    random.chance(0.15) ? FLAG.tf : 0,
    random.chance(0.08) ? FLAG.rf : 0,
    mode === "v86" ? FLAG.vm : 0,
    random.below(4) << 12,
    user && random.chance(0.1) ? FLAG.ac : 0,
  ];
  state.eflags = flags.reduce((all, one) => all | one, 2);
  if (random.chance(0.1)) state.setU32(CPU.interruptShadow, random.between(1, 2));
  breakpoints(machine, random);
  const ports = [0, 4, 8, 12, 16].map((offset) => AREA.base + offset + random.below(4));
  const port = random.pick([...ports, AREA.raw + random.below(4), AREA.low + random.below(8), 0x3333, 0xffff]);
  const registers: bigint[] = Array.from({ length: 16 }, () => (long ? random.u64() : BigInt(random.u32())));
  const upper = long ? random.pick([0n, 0n, 0n, random.u64() << 32n]) : 0n;
  registers[1] =
    BigInt(random.chance(0.8) ? random.below(12) : random.below(0x3000)) | (random.chance(0.1) ? upper : 0n);
  registers[2] = BigInt(port) | (random.u64() << 16n);
  if (!long) registers[2] = BigInt.asUintN(32, registers[2]!);
  for (const index of [6, 7]) {
    const page = random.below(random.chance(0.15) ? 0x33 : 0x10) * 0x1000;
    const place = random.chance(0.5) ? random.between(0xff0, 0x1000) : random.below(0x1000);
    registers[index] = BigInt(random.chance(0.04) ? random.u32() : page + place) | (random.chance(0.05) ? upper : 0n);
  }
  registers[4] = BigInt(mode === "real" || mode === "v86" ? 0xc000 : STACK);
  for (const [index, value] of registers.entries()) state.setGpr(index, BigInt.asUintN(long ? 64 : 32, value));
  const { bytes, description } = randomCode(random, long);
  const offset = random.chance(0.3) ? 0x1000 - random.between(1, Math.min(bytes.length, 6)) : random.below(0xf00);
  ram.set(bytes, CODE + offset);
  state.setNumber(CPU.rip, mode === "real" || mode === "v86" || mode === "protected16" ? offset : CODE + offset);
  vcpu.stateChanged();
  return {
    description: `${mode}${user ? " user" : ""}: ${description}`,
    cpu: state.bytes.slice(state.base, state.base + CPU.size),
    ram: ram.slice(),
  };
}

function tables({ memory }: Machine, random: Random, long: boolean, user: boolean): void {
  const { data, layout } = memory;
  const all = 0x67; // present, writable, user, accessed, dirty
  const entry = (table: number, index: number, value: number): void => {
    const at = layout.ram + table + index * (long ? 8 : 4);
    data.setUint32(at, value, true);
    if (long) data.setUint32(at + 4, 0, true);
  };
  const levels = long ? [TABLES, TABLES + 0x1000, TABLES + 0x2000] : [TABLES];
  const last = TABLES + (long ? 0x3000 : 0x1000);
  for (const [level, table] of levels.entries()) entry(table, 0, (levels[level + 1] ?? last) | all);
  for (let page = 0; page < PAGES; page++) {
    const linear = page * 0x1000;
    let flags = all;
    if (linear < CODE && random.chance(0.2)) flags = random.pick([0, all & ~2, user ? all & ~4 : all]);
    if (linear === CODE + 0x1000 && random.chance(0.15)) flags = random.pick([0, user ? all & ~4 : 0]);
    const device = linear >= DEVICE.linear && linear < DEVICE.linear + DEVICE.pages * 0x1000;
    entry(last, page, (device ? DEVICE.physical + (linear - DEVICE.linear) : linear) | flags);
  }
}

/** GDT, IDT (or vectors), a TSS with a random bitmap, and handlers: HLT, or IRET for traps. */
function descriptors({ memory }: Machine, random: Random, mode: Mode): void {
  const { data, layout } = memory;
  const put = (at: number, value: number) => data.setUint32(layout.ram + at, value >>> 0, true);
  const long = mode === "long";
  const descriptor = (selector: number, low: number, high: number) => {
    put(GDT + selector, low);
    put(GDT + selector + 4, high);
  };
  descriptor(KERNEL_CODE, 0xffff, long ? 0x00af_9b00 : 0x00cf_9b00);
  descriptor(KERNEL_DATA, 0xffff, 0x00cf_9300);
  descriptor(USER_CODE, ...userCode(mode));
  descriptor(USER_DATA, 0xffff, 0x00cf_f300);
  for (let vector = 0; vector < 32; vector++) {
    // What is no trap ends the case.
    const back = vector === 1 || vector === 2;
    const handler = HANDLERS + (back && random.chance(0.7) ? 0x10 : 0);
    if (mode === "real") put(IDT + vector * 4, 0x3900_0000 + handler - HANDLERS);
    else {
      const at = IDT + vector * (long ? 16 : 8);
      put(at, (KERNEL_CODE << 16) | (handler & 0xffff));
      put(at + 4, (handler & 0xffff_0000) | 0xee00);
    }
  }
  data.setUint8(layout.ram + HANDLERS, 0xf4);
  data.setUint16(layout.ram + HANDLERS + 0x10, long ? 0xcf48 : 0xcf, true);
  if (long) put(TSS + 4, STACK - 0x1000);
  else {
    put(TSS + 4, STACK - 0x1000);
    put(TSS + 8, KERNEL_DATA);
  }
  const map = random.pick([0x68, 0x68, 0x70, 0xffff]);
  data.setUint16(layout.ram + TSS + 0x66, map, true);
  for (let at = 0x70; at < 0xa0; at++) {
    data.setUint8(layout.ram + TSS + at, random.chance(0.4) ? random.u32() & random.u32() & random.u32() & 0xff : 0);
  }
}

function userCode(mode: Mode): readonly [number, number] {
  if (mode === "protected16") return [0xffff, 0x0000_fb01];
  return [0xffff, mode === "long" ? 0x00af_fb00 : 0x00cf_fb00];
}

function segments({ vcpu }: Machine, random: Random, mode: Mode, user: boolean): void {
  const { state } = vcpu;
  const old = mode === "real" || mode === "v86";
  const dpl = user ? ATTR.dpl : 0;
  const wide = mode === "protected32" ? ATTR.db | ATTR.g : mode === "long" ? ATTR.l | ATTR.g : 0;
  if (old) {
    state.setSegment(CS, 0x1000, CODE, 0xffff, user ? 0xf3 : 0x9b);
    state.setSegment(SS, 0x3000, 0x3_0000, 0xffff, user ? 0xf3 : 0x93);
  } else {
    const sixteen = mode === "protected16";
    state.setSegment(
      CS,
      user ? USER_CODE | 3 : KERNEL_CODE,
      sixteen ? CODE : 0,
      sixteen ? 0xffff : 0xffff_ffff,
      0x9b | dpl | wide,
    );
    state.setSegment(SS, user ? USER_DATA | 3 : KERNEL_DATA, 0, 0xffff_ffff, 0x93 | dpl | ATTR.db | ATTR.g);
  }
  for (const segment of [ES, DS, FS, GS]) {
    const paragraph = random.below(0x80);
    if (old) state.setSegment(segment, paragraph, paragraph * 16, 0xffff, user ? 0xf3 : 0x93);
    else if (mode === "long" || random.chance(0.4)) {
      const base = mode === "long" && segment >= FS ? random.below(0x1000) : 0;
      state.setSegment(segment, USER_DATA | 3, base, 0xffff_ffff, 0xf3 | ATTR.db | ATTR.g);
    } else {
      const type = random.pick([0xf3, 0xf3, 0xf1, 0xf5, 0xf7, ATTR.unusable]);
      state.setSegment(segment, USER_DATA | 3, paragraph * 16, random.below(0x1_0000), type);
    }
  }
  state.setNumber(CPU.gdtrBase, GDT);
  state.setNumber(CPU.gdtrLimit, 0x3f);
  state.setNumber(CPU.idtrBase, IDT);
  state.setNumber(CPU.idtrLimit, mode === "real" ? 0x3ff : 0x1ff);
  const short = mode !== "long" && random.chance(0.05);
  const limit = random.pick([0x2067, 0x2067, 0x67, 0x66, 0x91, 0x98]);
  state.setSegment(TR, TASK, TSS, limit, short ? 0x83 : 0x8b);
  vcpu.context.setCpl(user ? 3 : 0);
}

function breakpoints({ vcpu: { state } }: Machine, random: Random): void {
  if (random.chance(0.6)) return;
  let control = 0x400;
  for (let number = 0; number < 4; number++) {
    const kind = random.pick([0b10, 0b10, 0b01, 0b11, 0b00]);
    const length = kind === 0 ? 0 : random.below(4);
    const address =
      kind === 0b10
        ? random.pick([AREA.base, AREA.raw, AREA.low]) + random.below(16)
        : kind === 0
          ? CODE + random.below(0x1000)
          : random.below(CODE);
    state.setNumber(CPU.dr + number * 8, address);
    control |= (random.below(4) << (number * 2)) | (((length << 2) | kind) << (16 + number * 4));
  }
  state.setU32(CPU.dr + 7 * 8, control >>> 0);
}

/** One to three port instructions with all prefixes they may have, and HLT. */
function randomCode(random: Random, long: boolean): { bytes: number[]; description: string } {
  const bytes: number[] = [];
  for (let i = random.between(1, 3); i > 0; i--) {
    const opcode = random.pick([0xe4, 0xe5, 0xe6, 0xe7, 0xec, 0xed, 0xee, 0xef, 0x6c, 0x6d, 0x6e, 0x6f]);
    if (random.chance(0.3)) bytes.push(0x66);
    if (random.chance(0.2)) bytes.push(0x67);
    if (random.chance(0.2)) bytes.push(random.pick([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]));
    if (random.chance((opcode & 0xfc) === 0x6c ? 0.7 : 0.1)) bytes.push(random.pick([0xf3, 0xf3, 0xf2]));
    if (random.chance(0.01)) bytes.push(0xf0);
    if (random.chance(0.01)) for (let n = random.between(8, 14); n > 0; n--) bytes.push(0x2e);
    if (long && random.chance(0.3)) bytes.push(0x40 + random.below(16));
    bytes.push(opcode);
    if ((opcode & 0xfc) === 0xe4) bytes.push(random.pick([AREA.raw, AREA.low, 0x33, 0xf8]) + random.below(8));
  }
  const description = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
  return { bytes: [...bytes, 0xf4, 0xf4, 0xf4], description };
}

/** Runs a state to its HLT, or for as long as it may. */
export async function run({ machine, log }: Subject, { cpu, ram }: State): Promise<Outcome> {
  const { vcpu, memory, io } = machine;
  const { state } = vcpu;
  const { data } = memory;
  vcpu.reset();
  io.clearJournal();
  machine.devices.reset();
  log.length = 0;
  state.bytes.set(cpu, state.base);
  ramOf(machine).set(ram);
  vcpu.stateChanged();
  vcpu.code?.reset();
  data.setBigInt64(CLOCK.baseNs, 0n, true);
  data.setInt32(CLOCK.rate, 1 << CLOCK_RATE_SHIFT, true);
  data.setInt32(CLOCK.sliceBudget, BUDGET, true);
  data.setInt32(CLOCK.budget, BUDGET, true);
  const executed = () => data.getInt32(CLOCK.sliceBudget, true) - data.getInt32(CLOCK.budget, true);
  let end = "";
  while (end === "") {
    const exit = vcpu.run();
    if (exit.reason === "wait") await exit.until;
    else if (exit.reason !== "budget") end = exit.reason;
    else if (executed() >= BUDGET) end = "budget";
    else {
      // Something asked for attention and has had it: the rest of the budget.
      const rest = BUDGET - executed() - data.getInt32(CLOCK.budget, true);
      for (const field of [CLOCK.budget, CLOCK.sliceBudget])
        data.setInt32(field, data.getInt32(field, true) + rest, true);
    }
  }
  return {
    end,
    executed: executed(),
    cpu: state.save(),
    ram: ramOf(machine).slice(),
    log: log.join("\n"),
    registers: JSON.stringify(machine.devices.save().zoo),
  };
}

/** What differs, in words. */
export function differences(expected: Outcome, actual: Outcome): string[] {
  const found: string[] = [];
  for (const field of ["end", "executed", "log", "registers"] as const) {
    if (expected[field] !== actual[field]) found.push(`${field}: ${actual[field]} instead of ${expected[field]}`);
  }
  for (const field of ["cpu", "ram"] as const) {
    if (Buffer.compare(expected[field], actual[field]) === 0) continue;
    for (let at = 0; at < expected[field].length; at++) {
      const [a, b] = [actual[field][at]!, expected[field][at]!];
      if (a !== b) found.push(`${field} ${at}: ${a} instead of ${b}`);
      if (found.length > 20) break;
    }
  }
  return found;
}
