import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { CPU } from "../../src/cpu/state.ts";
import { defineDevice, ring3 } from "../../src/device/define.ts";
import { type ExitFailure, HYPERCALL, IO_PATHS, PV_ERROR, PV_FEATURE } from "../../src/exits/index.ts";
import { createMachine, type Machine, type MachineOptions } from "../../src/machine/machine.ts";
import { Random } from "../differential/prng.ts";
import { bootPorch, KERNEL, kernel, x86 } from "./guests.ts";
import { differences, MODES, type Outcome, randomState, run, type State, subject } from "./io-conformance.ts";

const RAM_MIB = 8;
const MMIO = { base: RAM_MIB * 2 ** 20, length: 0x2000 };
const PORTS = { base: 0x700, length: 8 };
const { data: DATA } = KERNEL;
const VMCALL = [0x0f, 0x01, 0xc1];
const VMMCALL = [0x0f, 0x01, 0xd9];

/** MOV ebx, ecx, edx, esi; MOV eax, number; VMCALL; then EAX and EDX go to the next two dwords of results. */
function calls(list: readonly (readonly number[])[], instruction = VMCALL): number[] {
  return list.flatMap(([number = 0, b = 0, c = 0, d = 0, s = 0], index) => [
    ...[x86.mov(3, b), x86.mov(1, c), x86.mov(2, d), x86.mov(6, s), x86.mov(0, number)].flat(),
    ...instruction,
    ...x86.storeEax(DATA + index * 8),
    ...[0x89, 0x15, ...x86.dword(DATA + index * 8 + 4)],
  ]);
}

interface Bench {
  readonly machine: Machine;
  readonly log: string[];
}

/** Ports and MMIO, whose reads give `offset + 0x10 * width`. */
function bench(options: MachineOptions & { waits?: boolean } = {}): Bench {
  const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions", ...options });
  const log: string[] = [];
  const handlers = (space: string) => {
    const read = (offset: number, width: number) => {
      log.push(`${space} read ${offset} ${width}`);
      return offset + 0x10 * width;
    };
    const write = (offset: number, value: number, width: number) => {
      log.push(`${space} write ${offset} ${width} ${value}`);
    };
    if (!options.waits) return { read, write };
    const later = () => Promise.resolve();
    return {
      read: ring3((offset: number, width: number) => later().then(() => read(offset, width))),
      write: ring3((offset: number, value: number, width: number) => later().then(() => write(offset, value, width))),
    };
  };
  const device = defineDevice("d", (host) => {
    host.ports(PORTS, handlers("port"));
    host.mmio(MMIO, handlers("mmio"), { readMode: "passthrough", writeMode: "passthrough" });
  });
  machine.add(device, undefined);
  return { machine, log };
}

async function runs({ machine }: Bench, code: readonly number[]): Promise<void> {
  machine.boot({ image: kernel([...code, ...x86.exit(0), ...x86.halt]) });
  expect(await machine.run()).toEqual({ reason: "debug-exit", status: 1 });
}

const result = ({ machine }: Bench, index: number) => machine.memory.read32(DATA + index * 8) | 0;
const second = ({ machine }: Bench, index: number) => machine.memory.read32(DATA + index * 8 + 4) | 0;

describe("portico_pv.h", () => {
  it("has the numbers of the interface", () => {
    const header = readFileSync(join(import.meta.dirname, "../../guests/include/portico_pv.h"), "utf8");
    const defined = (name: string) =>
      Number(new RegExp(`^#define ${name} \\(?(-?\\w+?)u?\\)?$`, "m").exec(header)?.[1]);
    const { io, ...others } = HYPERCALL;
    const names = Object.entries({ IO: io, ...others }).map(([name, number]) => [
      `PV_CALL_${name.replaceAll(/[A-Z]/g, (letter, at) => (at > 0 ? `_${letter}` : letter)).toUpperCase()}`,
      number,
    ]);
    names[0]![0] = "PV_CALL_IO";
    for (const [name, number] of names) expect([name, defined(String(name))]).toEqual([name, number]);
    const errors = { EPERM: -1, ENOENT: -2, EIO: -5, ENXIO: -6, E2BIG: -7, EFAULT: -14, EINVAL: -22, ENOSPC: -28 };
    for (const [name, number] of Object.entries({ ...errors, ESTALE: -116, ENOSYS: -1000 })) {
      expect([name, defined(`PV_${name}`)]).toEqual([name, number]);
      expect(Object.values<number>(PV_ERROR)).toContain(number);
    }
    for (const [name, bit] of Object.entries(PV_FEATURE)) expect(defined(`PV_FEATURE_${name.toUpperCase()}`)).toBe(bit);
  });

  const hasCompiler = spawnSync("gcc", ["--version"]).status === 0;

  it.skipIf(!hasCompiler).each(["-m32", "-m64"])("compiles without warnings, freestanding: %s", (mode) => {
    const source = `
      #include "portico_pv.h"
      uint64_t all(void) {
        struct pv pv = pv_probe();
        struct pv_range range = pv_map(&pv, PV_MMIO, 0xfee00000, 0x1000);
        pv_write64(&pv, &range, 8, pv_read64(&pv, &range, 0) + pv_in8(&pv, 0x60));
        pv_write(&range, 0, 4, pv_read(&range, 0, 4));
        pv_out16(&pv, 0x80, 1);
        return (uint64_t)pv_notify(&pv, 1);
      }`;
    const flags = ["-std=c99", "-ffreestanding", "-Wall", "-Wextra", "-Wno-array-bounds", "-Werror", "-O2"];
    const folder = join(import.meta.dirname, "../../guests/include");
    const compiler = ["-x", "c", "-", "-I", folder, "-c", "-o", "/dev/null", mode, ...flags];
    const made = spawnSync("gcc", compiler, { input: source, encoding: "utf8" });
    expect([made.stderr, made.status]).toEqual(["", 0]);
  });

  it("works in porch, which is built with it", () => {
    const guest = bootPorch();
    const ask = (line: string) => {
      const before = guest.said().length;
      guest.type(`${line}\r`);
      guest.machine.runUntil(guest.machine.clock.retired + 3_000_000);
      return guest.said().slice(before);
    };
    ask("");
    expect(ask("pv 0xfee00030")).toMatch(/hypercalls: ports handles doorbells\n0xfee00030 = 0x\w+ by handle 1\n/);
    expect(ask("pv 0x200000")).toMatch(/is not emulated/);
    expect(ask("time pvinb 0x3fd 1000")).toMatch(/\n1000 iterations\n/);
    expect(ask("time pvpeekl 0xfee00030 1000")).toMatch(/\n1000 iterations\n/);
    expect(guest.machine.profile().exits[0]).toMatchObject({ kind: "hypercall", failures: 0 });
    guest.machine.dispose();
  });
});

describe("discovery", () => {
  const cpuid = (leaf: number) => [
    ...x86.mov(0, leaf),
    ...[0x0f, 0xa2],
    ...x86.storeEax(DATA),
    ...[0x89, 0x1d, ...x86.dword(DATA + 4)],
  ];

  it("is a leaf behind a signature of its own, if announced", async () => {
    const announced = bench();
    await runs(announced, cpuid(0x4000_0000));
    expect([result(announced, 0), second(announced, 0)]).toEqual([0x4000_0001, 0x7472_6f50]); // "Port"
    await runs(announced, cpuid(0x4000_0001));
    expect([result(announced, 0), second(announced, 0)]).toEqual([15, 1]);
    const silent = bench({ hypercalls: false });
    await runs(silent, cpuid(0x4000_0000));
    expect(result(silent, 0)).toBe(0x4000_0000);
    await runs(silent, cpuid(0x4000_0001));
    expect(result(silent, 0)).toBe(0);
  });

  it("without it there is no such instruction", async () => {
    const { machine } = bench({ hypercalls: false });
    const vectors: number[] = [];
    machine.vcpu.onException = (vector) => {
      machine.stop();
      return vectors.push(vector) > 0;
    };
    machine.boot({ image: kernel([...VMCALL, ...x86.halt]) });
    await machine.run();
    expect(vectors).toEqual([6]);
  });

  it.each([
    ["VMCALL", VMCALL],
    ["VMMCALL", VMMCALL],
  ])("%s: unknown calls give -1000", async (_, instruction) => {
    const b = bench();
    await runs(b, calls([[0], [1], [HYPERCALL.io + 3], [0xffff_ffff], [HYPERCALL.notify + 1]], instruction));
    for (let i = 0; i < 5; i++) expect(result(b, i)).toBe(PV_ERROR.unknown);
  });
});

/** Memory but for code, tables and stack; registers but for RAX and RIP. */
function comparable({ cpu, ram, log, registers, end }: Outcome) {
  const view = new DataView(cpu.buffer, cpu.byteOffset);
  const gprs = [1, 2, 6, 7].map((number) => view.getBigUint64(CPU.gpr + number * 8, true).toString(16));
  return {
    end,
    log: log.replaceAll(/^\d+: /gm, ""),
    registers,
    gprs,
    cr2: view.getBigUint64(CPU.cr2, true),
    memory: Buffer.from(ram.subarray(0, 0x1_0000)).toString("base64"),
  };
}

const CODE_AT = 0x1_0200;

/** A state of its kind with other code, and a value in RBX. */
function withCode(state: State, code: readonly number[], rip: number): State {
  const cpu = state.cpu.slice();
  const ram = state.ram.slice();
  const view = new DataView(cpu.buffer);
  view.setBigUint64(CPU.gpr + 3 * 8, view.getBigUint64(CPU.gpr, true), true);
  view.setBigInt64(CPU.rip, BigInt(rip), true);
  view.setUint32(CPU.interruptShadow, 0, true);
  view.setUint32(CPU.eflags, view.getUint32(CPU.eflags, true) & ~0x1_0100, true);
  ram.set([...code, 0xf4], CODE_AT);
  return { description: state.description, cpu, ram };
}

/** MOV r64, imm64 */
const mov64 = (register: number, value: bigint) => [
  ...[0x48, 0xb8 + register],
  ...x86.dword(Number(value & 0xffff_ffffn)),
  ...x86.dword(Number(value >> 32n)),
];

const call64 = (number: number, b: number, c: number, d: number, s = 0n) => [
  ...[mov64(0, BigInt(number)), mov64(3, BigInt(b)), mov64(1, BigInt(c)), mov64(2, BigInt(d)), mov64(6, s)].flat(),
  ...VMCALL,
];

/** 64-bit code at CPL 0, without breakpoints. */
function kernelState64(): State {
  const one = subject("direct", "never");
  const random = new Random(1);
  let state = randomState(one, random, "long");
  while (/user/.test(state.description)) state = randomState(one, random, "long");
  new DataView(state.cpu.buffer).setUint32(CPU.dr + 56, 0x400, true);
  return state;
}

/** Every form: its number, and the instruction. */
const FORMS = [0, 1, 2].flatMap((size) =>
  [0, 4, 8, 12, 16, 20, 24, 28].map((kind) => {
    const string = (kind & 16) !== 0;
    const out = (kind & 8) !== 0;
    const variant = (kind & 4) !== 0;
    return { number: HYPERCALL.io + kind + size, size, string, out, variant };
  }),
);

describe("the 24 forms", () => {
  it.each(["protected32", "protected16", "real", "long"] as const)("%s: as the instruction", async (mode) => {
    const one = subject("direct", "never");
    const random = new Random(0x20_0000 + MODES.indexOf(mode));
    let faults = 0;
    for (let round = 0; round < 30; round++) {
      for (const form of FORMS) {
        let state = randomState(one, random, mode);
        while (/user/.test(state.description)) state = randomState(one, random, mode);
        const view = new DataView(state.cpu.buffer);
        // Debug registers would tell apart what stands where.
        view.setUint32(CPU.dr + 56, 0x400, true);
        // To its end, and without interrupts.
        view.setUint16(CPU.gpr + 8, view.getUint16(CPU.gpr + 8, true) % 16, true);
        view.setUint32(CPU.gpr + 12, 0, true);
        const dx = view.getUint16(CPU.gpr + 16, true);
        if (dx > 0x14c && dx < 0x152) view.setUint16(CPU.gpr + 16, 0x140, true);
        const wide = mode === "protected32" || mode === "long";
        const base = (mode === "protected16" || mode === "real" ? CODE_AT - 0x1_0000 : CODE_AT) + 0;
        const port = view.getUint16(CPU.gpr + 2 * 8, true) & 0xff;
        const opcode = form.string
          ? (form.out ? 0x6e : 0x6c) + (form.size > 0 ? 1 : 0)
          : (form.variant ? 0xe4 : 0xec) + (form.out ? 2 : 0) + (form.size > 0 ? 1 : 0);
        const operandSize = form.size > 0 && (form.size === 1) === wide ? [0x66] : [];
        const rep = form.string && form.variant ? [0xf3] : [];
        const immediate = !form.string && form.variant ? [port] : [];
        const instruction = withCode(state, [...operandSize, ...rep, opcode, ...immediate], base);
        const call = withCode(state, [...(wide ? [] : [0x66]), ...x86.mov(0, form.number), ...VMCALL], base);
        const expected = await run(one, instruction);
        const actual = await run(one, call);
        expect(comparable(actual), `${state.description} ${form.number.toString(16)}`).toEqual(comparable(expected));
        const rax = ({ cpu }: Outcome) => new DataView(cpu.buffer).getBigUint64(CPU.gpr, true);
        const bits = BigInt(8 << form.size);
        // A fault leaves RAX as it was.
        if (comparable(expected).cr2 !== 0n) faults++;
        else if (!form.out && !form.string) expect(rax(actual)).toBe(BigInt.asUintN(Number(bits), rax(expected)));
      }
    }
    if (mode === "long") expect(faults).toBeGreaterThan(20);
  });

  it("belong to CPL 0: others get -EPERM and nothing happens", async () => {
    const one = subject("direct", "never");
    const random = new Random(3);
    for (let round = 0; round < 40; round++) {
      let state = randomState(one, random, random.pick(["protected32", "long"] as const));
      while (!/user/.test(state.description)) state = randomState(one, random, "long");
      const call = withCode(state, [...x86.mov(0, HYPERCALL.io + random.below(32)), ...VMCALL, 0x90, 0x90], CODE_AT);
      const { log, cpu } = await run(one, call);
      const rax = new DataView(cpu.buffer).getBigInt64(CPU.gpr, true);
      expect(log).toBe("");
      expect(BigInt.asIntN(32, rax)).toBe(BigInt(PV_ERROR.permission));
    }
  });

  it("IODELAY and SET_IOPL_MASK", async () => {
    const b = bench();
    const seen: string[] = [];
    b.machine.io.onAccess = (space, direction, address) => seen.push(`${space} ${direction} ${address}`);
    const pushf = [0x9c, 0x58, ...x86.storeEax(DATA + 0x100)];
    await runs(b, [
      ...calls([[HYPERCALL.ioDelay], [HYPERCALL.setIoplMask, 0x2000], [HYPERCALL.setIoplMask, 0x3001]]),
      ...x86.mov(4, KERNEL.stack),
      ...pushf,
    ]);
    expect([0, 1, 2].map((index) => result(b, index))).toEqual([0, 0, PV_ERROR.invalid]);
    expect(b.machine.memory.read32(DATA + 0x100) & 0x3000).toBe(0x2000);
    expect(seen).toContain("port write 128");
  });
});

describe("handles", () => {
  const map = (space: number, base: number, length: number) => [HYPERCALL.map, space, base, length];

  it.each([false, true])("reach ports and MMIO that somebody emulates (ring 3: %s)", async (waits) => {
    const b = bench({ waits });
    await runs(
      b,
      calls([
        map(0, PORTS.base, 8),
        map(1, MMIO.base, 0x2000),
        [HYPERCALL.read, 1, 3, 1],
        [HYPERCALL.write, 1, 4, 2, 0xdead_beef],
        [HYPERCALL.read, 2, 0x1ffc, 4],
        [HYPERCALL.write, 2, 1, 4, 0xdead_beef],
        [HYPERCALL.unmap, 1],
        [HYPERCALL.read, 1, 3, 1],
      ]),
    );
    expect([0, 1, 2, 3, 4, 5, 6, 7].map((index) => result(b, index))).toEqual([
      ...[1, 2, 0x13, 0, 0x203c, 0, 0],
      PV_ERROR.invalid,
    ]);
    expect([second(b, 2), second(b, 7)]).toEqual([0, PV_ERROR.invalid]);
    expect(b.log).toEqual(["port read 3 1", "port write 4 2 48879", "mmio read 8188 4", "mmio write 1 4 3735928559"]);
  });

  it.each([false, true])("move blocks (ring 3: %s)", async (waits) => {
    const b = bench({ waits });
    const at = DATA + 0x1ffd;
    await runs(
      b,
      calls([
        map(0, PORTS.base, 8),
        [HYPERCALL.readBlock, 1, 2, 2 + 4 * 256, at],
        [HYPERCALL.writeBlock, 1, 0, 1 + 3 * 256, at],
      ]),
    );
    expect([result(b, 1), result(b, 2)]).toEqual([0, 0]);
    expect(b.machine.memory.read32(at)).toBe(0x0022_0022);
    expect(b.log.slice(4)).toEqual(["port write 0 1 34", "port write 0 1 0", "port write 0 1 34"]);
  });

  /** MOV [DATA + 100h], edi */
  const storeEdi = [0x89, 0x3d, ...x86.dword(DATA + 0x100)];

  it.each([false, true])("reach 8 bytes of MMIO, outside 64-bit code with EDI (ring 3: %s)", async (waits) => {
    const b = bench({ waits });
    await runs(b, [
      ...calls([map(1, MMIO.base, 0x2000), map(0, PORTS.base, 8)]),
      ...x86.mov(7, 0x1234_5678),
      ...calls([
        [HYPERCALL.write, 1, 8, 8, 0x9abc_def0],
        [HYPERCALL.read, 1, 0x1ff9, 8],
        [HYPERCALL.read, 2, 0, 8],
      ]),
      ...storeEdi,
      ...calls([[HYPERCALL.read, 1, 0x10, 8]]),
      ...[0x89, 0x3d, ...x86.dword(DATA + 0x104)],
    ]);
    const { invalid } = PV_ERROR;
    expect([result(b, 0), second(b, 0)]).toEqual([0x50, 0]);
    expect([result(b, 1), second(b, 1), result(b, 2), second(b, 2)]).toEqual([invalid, invalid, invalid, invalid]);
    // Errors leave EDI alone.
    expect([0x100, 0x104].map((at) => b.machine.memory.read32(DATA + at))).toEqual([0x1234_5678, 0x54]);
    expect(b.log).toEqual([
      "mmio write 8 4 2596069104",
      "mmio write 12 4 305419896",
      "mmio read 16 4",
      "mmio read 20 4",
    ]);
  });

  it.each([false, true])("move blocks of 8 bytes (ring 3: %s)", async (waits) => {
    const b = bench({ waits });
    const at = DATA + 0x1ffd;
    await runs(
      b,
      calls([
        map(1, MMIO.base, 0x2000),
        [HYPERCALL.readBlock, 1, 0x20, 8 + 2 * 256, at],
        [HYPERCALL.writeBlock, 1, 0, 8 + 256, at + 8],
        [HYPERCALL.readBlock, 1, 0x1ff9, 8 + 256, at],
      ]),
    );
    expect([result(b, 1), result(b, 2), result(b, 3)]).toEqual([0, 0, PV_ERROR.invalid]);
    expect([0, 4, 8, 12].map((offset) => b.machine.memory.read32(at + offset))).toEqual([0x60, 0x64, 0x60, 0x64]);
    expect(b.log.slice(-2)).toEqual(["mmio write 0 4 96", "mmio write 4 4 100"]);
  });

  it("reach 8 bytes of MMIO as MOV does, in 64-bit code with all of RAX and RSI", async () => {
    const value = 0xfedc_ba98_7654_3210n;
    const state = kernelState64();
    const byCall = [
      ...call64(HYPERCALL.map, 1, 0xf000_0000, 0x1000),
      ...call64(HYPERCALL.write, 1, 8, 8, value),
      ...call64(HYPERCALL.read, 1, 8, 8),
    ];
    // MOV [30008h], rax and MOV rax, [30008h]: the page of the device.
    const at = [0x04, 0x25, ...x86.dword(0x3_0008)];
    const byInstruction = [...mov64(0, value), 0x48, 0x89, ...at, 0x48, 0x8b, ...at];
    const one = subject("direct", "never");
    const outcome = async (code: readonly number[]) => {
      const { end, log, cpu } = await run(one, withCode(state, code, CODE_AT));
      const rax = new DataView(cpu.buffer, cpu.byteOffset).getBigUint64(CPU.gpr, true);
      return { end, rax, log: log.replaceAll(/^\d+: /gm, "") };
    };
    const expected = await outcome(byInstruction);
    expect(expected).toMatchObject({ end: "halt", log: expect.stringContaining("mmio read 12 4") });
    expect(await outcome(byCall)).toEqual(expected);
  });

  it("are refused for what is not emulated, in part or at all", async () => {
    const b = bench();
    await runs(
      b,
      calls([
        map(0, PORTS.base + 1, 8),
        map(0, 0x3333, 1),
        map(1, 0x10_0000, 0x1000),
        map(1, MMIO.base - 4, 8),
        map(0, 0xfff8, 16),
        map(0, PORTS.base, 0),
        map(2, PORTS.base, 1),
      ]),
    );
    const { notEmulated, invalid } = PV_ERROR;
    expect([0, 1, 2, 3, 4, 5, 6].map((index) => result(b, index))).toEqual([
      ...[notEmulated, notEmulated, notEmulated, notEmulated],
      ...[invalid, invalid, invalid],
    ]);
  });

  it("bad arguments get error codes and touch nothing", async () => {
    const b = bench();
    await runs(
      b,
      calls([
        map(0, PORTS.base, 8),
        [HYPERCALL.read, 1, 5, 4],
        [HYPERCALL.read, 1, 0, 3],
        [HYPERCALL.read, 1, 0xffff_ffff, 1],
        [HYPERCALL.write, 0, 0, 1],
        [HYPERCALL.write, 0x8000_0001, 0, 1],
        [HYPERCALL.readBlock, 1, 0, 4, DATA],
        [HYPERCALL.readBlock, 1, 0, 4 + 1025 * 256, DATA],
        [HYPERCALL.readBlock, 1, 0, 4 + 256, 0xffff_fffe],
        [HYPERCALL.writeBlock, 1, 0, 4 + 256, DATA],
        [HYPERCALL.notify, 77],
      ]),
    );
    const { invalid, tooBig, fault, noEntry } = PV_ERROR;
    expect([1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map((index) => result(b, index))).toEqual([
      ...[invalid, invalid, invalid, invalid, invalid, invalid],
      ...[tooBig, fault, 0, noEntry],
    ]);
  });

  it("a device that breaks its contract fails the call, and the host hears of it", async () => {
    const b = bench();
    const broken = defineDevice("broken", (host) => {
      host.ports({ base: 0x900, length: 1 }, { read: () => -77 });
    });
    b.machine.add(broken, undefined);
    const failures: ExitFailure[] = [];
    b.machine.onExitFailure = (failure) => failures.push(failure);
    await runs(b, calls([[HYPERCALL.io, 0, 0, 0x900], map(0, 0x900, 1), [HYPERCALL.read, 1, 0, 1]]));
    expect([result(b, 0), result(b, 2)]).toEqual([PV_ERROR.io, PV_ERROR.io]);
    expect(failures.map(({ kind, message }) => `${kind}: ${message}`)).toEqual([
      "hypercall: call 0x5000 failed",
      "hypercall: call 0x5032 failed",
    ]);
  });

  it.each([
    ["2^62", 2n ** 62n],
    ["2^63", 2n ** 63n],
    ["2^63 - 10h", 2n ** 63n - 16n],
    ["2^47", 2n ** 47n],
    ["-2^47 - 1000h", 2n ** 64n - 2n ** 47n - 0x1000n],
  ])("a block at an address that is not canonical is refused before the device is read: %s", async (_, address) => {
    const one = subject("direct", "never");
    const ports = 0x140;
    const code = [...call64(HYPERCALL.map, 0, ports, 4), ...call64(HYPERCALL.readBlock, 1, 0, 4 + 256, address)];
    const { end, log, cpu } = await run(one, withCode(kernelState64(), code, CODE_AT));
    const rax = new DataView(cpu.buffer, cpu.byteOffset).getBigInt64(CPU.gpr, true);
    expect({ end, log, rax }).toEqual({ end: "halt", log: "", rax: BigInt(PV_ERROR.fault) });
  });

  it("are used up after 256", async () => {
    const b = bench();
    const loop = [...x86.mov(7, 257), ...calls([map(0, PORTS.base, 1)])];
    // DEC edi; JNZ back to the call
    const back = loop.length - 5;
    await runs(b, [...loop, 0x4f, 0x0f, 0x85, ...x86.dword(-(back + 7) >>> 0)]);
    expect(result(b, 0)).toBe(PV_ERROR.noSpace);
  });

  it("become stale, for good, when the range is passed through, moved or gone; a reset forgets them", () => {
    const { machine } = bench();
    const region = machine.ports.register("moves", { base: 0x900, length: 4 }, { ring0: { read: () => 1 } });
    const list = calls([map(1, MMIO.base, 0x1000), map(1, MMIO.base + 0x1000, 4), map(0, 0x900, 4)]);
    const reads = calls([1, 2, 3].map((handle) => [HYPERCALL.read, handle, 0, 4]));
    // The host looks between two rounds of reads.
    machine.boot({ image: kernel([...list, 0xeb, 0, ...reads, 0xe9, ...x86.dword(-(reads.length + 5) >>> 0)]) });
    const round = () => {
      machine.runUntil(machine.clock.retired + 100);
      return [0, 1, 2].map((index) => machine.memory.read32(DATA + index * 8) | 0);
    };
    expect(round()).toEqual([0x40, 0x1040, 1]);
    const shared = machine.passThrough({ base: MMIO.base, length: 0x1000 });
    expect(round()).toEqual([PV_ERROR.stale, 0x1040, 1]);
    shared.unmap();
    region.move(0x910);
    expect(round()).toEqual([PV_ERROR.stale, 0x1040, PV_ERROR.stale]);
    region.move(0x900);
    const saved = machine.save();
    expect(round()).toEqual([PV_ERROR.stale, 0x1040, PV_ERROR.stale]);
    machine.restore(saved);
    expect(round()).toEqual([PV_ERROR.stale, 0x1040, PV_ERROR.stale]);
    machine.reset();
    // New ones in the old places.
    machine.runUntil(machine.clock.retired + 200);
    expect([0, 1, 2].map((index) => machine.memory.read32(DATA + index * 8) | 0)).not.toContain(PV_ERROR.stale);
    machine.dispose();
  });

  it("there is none for memory that the host shares; both sides see each other's writes", async () => {
    const b = bench();
    const base = MMIO.base + 0x1_0000;
    const shared = b.machine.passThrough({ base, length: 0x1000 });
    shared.bytes[8] = 0x5a;
    await runs(b, [
      ...calls([map(1, base, 0x1000), map(1, base + 8, 1)]),
      ...x86.load(base + 8),
      ...x86.storeEax(DATA + 0x40),
      ...x86.store(base, 0x1234_5678),
    ]);
    expect([result(b, 0), result(b, 1)]).toEqual([PV_ERROR.notEmulated, PV_ERROR.notEmulated]);
    expect(b.machine.memory.read32(DATA + 0x40)).toBe(0x5a);
    expect([...shared.bytes.subarray(0, 4)]).toEqual([0x78, 0x56, 0x34, 0x12]);
  });
});

describe("doorbells", () => {
  it("count what is rung by port, by MMIO and by call, and tell after the slice", async () => {
    const b = bench();
    const rung: string[] = [];
    const { machine } = b;
    machine.doorbell((count) => rung.push(`port ${count}`), { space: "port", base: 0x800, length: 2 });
    machine.doorbell((count) => rung.push(`mmio ${count}`), {
      space: "mmio",
      base: MMIO.base + 0x8000,
      length: 0x1000,
    });
    const { id } = machine.doorbell((count) => rung.push(`call ${count}`));
    await runs(b, [
      ...x86.out(0x800, 1),
      ...x86.out(0x801, 2, 1),
      ...x86.store(MMIO.base + 0x8004, 1),
      ...calls([
        [HYPERCALL.notify, id],
        [HYPERCALL.notify, id],
        [HYPERCALL.notify, id],
      ]),
    ]);
    expect(rung).toEqual(["port 2", "mmio 1", "call 3"]);
  });

  it("that match a value are told apart, by instruction, by call and by handle, on every path", async () => {
    for (const ioPath of IO_PATHS) {
      const b = bench({ ioPath });
      const rung: string[] = [];
      const port = { space: "port", base: 0x800, length: 4 } as const;
      const mmio = { space: "mmio", base: MMIO.base + 0x8000, length: 0x1000 } as const;
      for (const match of [1, 2, 0x1_0001]) {
        b.machine.doorbell((count) => rung.push(`port ${match}: ${count}`), { ...port, match });
        b.machine.doorbell((count) => rung.push(`mmio ${match}: ${count}`), { ...mmio, match });
      }
      await runs(b, [
        ...x86.out(0x800, 1),
        ...x86.out(0x801, 2),
        ...x86.out(0x800, 0x1_0001, 2),
        ...x86.out(0x800, 0x1_0001, 4),
        ...x86.out(0x800, 3),
        ...x86.store(MMIO.base + 0x8004, 2),
        ...x86.store(MMIO.base + 0x8004, 3),
        ...calls([
          [HYPERCALL.map, 0, 0x800, 4],
          [HYPERCALL.map, 1, MMIO.base + 0x8000, 0x1000],
          [HYPERCALL.write, 1, 0, 4, 2],
          [HYPERCALL.write, 2, 8, 8, 0x1_0001],
          [HYPERCALL.write, 2, 8, 4, 9],
          [HYPERCALL.io + 8, 1, 0, 0x800],
        ]),
      ]);
      expect(rung.sort()).toEqual(["mmio 2: 1", "mmio 65537: 1", "port 1: 3", "port 2: 2", "port 65537: 1"]);
      b.machine.dispose();
    }
  });
});

describe("coalesced writes", () => {
  interface Collected {
    readonly machine: Machine;
    readonly log: string[];
  }

  function collecting(kind: "ring0" | "ring3", capacity?: number): Collected {
    const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions" });
    const log: string[] = [];
    const device = defineDevice("c", (host) => {
      host.coalesce(capacity);
      const note = (what: string) => void log.push(`${host.clock.now()} ${what}`);
      const write = (offset: number, value: number) => note(`write ${offset} ${value}`);
      const slow = ring3(async (offset: number, value: number) => {
        const now = host.clock.now();
        await Promise.resolve();
        log.push(`${now} write ${offset} ${value}`);
      });
      host.ports({ base: 0x800, length: 4 }, { write: kind === "ring0" ? write : slow, coalesce: true });
      host.ports(
        { base: 0x804, length: 4 },
        {
          read: () => {
            note("read");
            return 7;
          },
          write: (_, value) => note(`stop ${value}`),
        },
      );
    });
    machine.add(device, undefined);
    const other = () => {
      log.push("other");
      return 0;
    };
    machine.ports.register("other", { base: 0x900, length: 1 }, { ring0: { read: other } });
    return { machine, log };
  }

  const code = [
    ...x86.out(0x800, 1),
    ...x86.out(0x801, 2),
    ...x86.in(0x900),
    ...x86.out(0x800, 3, 4),
    ...x86.in(0x804),
    ...x86.out(0x802, 4),
    ...x86.out(0x804, 5),
    ...x86.out(0x803, 6),
  ];

  it.each(["ring0", "ring3"] as const)("keep order and time, and come before any other access (%s)", async (kind) => {
    const b = collecting(kind);
    await runs(b, code);
    const words = b.log.map((line) => line.replace(/^\d+ /, ""));
    expect(words).toEqual([
      ...["other", "write 0 1", "write 1 2", "write 0 3", "read", "write 2 4", "stop 5", "write 3 6"],
    ]);
    const times = b.log.slice(1).map((line) => Number.parseInt(line, 10));
    // One nanosecond an instruction: three for each OUT, and two for the IN that is not the device's.
    expect(times.map((time) => time - times[0]!)).toEqual([0, 3, 8, 10, 13, 16, 19]);
  });

  it("are performed when the ring is full", async () => {
    const b = collecting("ring0", 1);
    await runs(b, [...x86.out(0x800, 1), ...x86.out(0x801, 2), ...x86.in(0x900), ...x86.out(0x802, 3)]);
    expect(b.log.map((line) => line.replace(/^\d+ /, ""))).toEqual(["write 0 1", "other", "write 1 2", "write 2 3"]);
  });

  it("are performed before a snapshot, which waits for ring 3", async () => {
    const b = collecting("ring3");
    b.machine.boot({ image: kernel([...x86.out(0x800, 1), ...x86.out(0x800, 2), 0xeb, 0xfe]) });
    b.machine.runUntil(b.machine.clock.retired + 50);
    expect(() => b.machine.save()).toThrow(/in progress/);
    const running = b.machine.run();
    await b.machine.snapshot();
    expect(b.log.map((line) => line.replace(/^\d+ /, ""))).toEqual(["write 0 1", "write 0 2"]);
    b.machine.stop();
    await running;
  });
});

describe("fuzzing", () => {
  const CALLS = Number(process.env.PORTICO_HYPERCALL_CASES ?? 3000);
  /** The first ones are made by compiled code, too. */
  const COMPILED = 300;
  const KNOWN = new Set<number>(Object.values(PV_ERROR));

  it.each([
    "protected32",
    "long",
    "real",
  ] as const)("%s: whatever is called with whatever, nothing breaks", async (mode) => {
    const one = subject("direct", "never");
    const compiled = subject("decoded", "always");
    for (const { machine } of [one, compiled]) machine.doorbell(() => {});
    const random = new Random(0x30_0000 + MODES.indexOf(mode));
    const numbers = Object.values(HYPERCALL);
    const interesting = [
      0, 1, 2, 3, 4, 8, 0x108, 0x50, 0xe0, 0x140, 0x144, 0x148, 0x150, 0x201, 0x401, 0x8000, 0xffff, 0x1_0000,
    ];
    const ends = new Map<string, number>();
    for (let number = 0; number < CALLS; number++) {
      const state = withCode(randomState(one, random, mode), VMCALL, mode === "real" ? CODE_AT - 0x1_0000 : CODE_AT);
      const view = new DataView(state.cpu.buffer);
      const value = () => {
        if (random.chance(0.6)) return BigInt(random.pick(interesting));
        if (random.chance(0.3))
          return BigInt(random.pick([0xf000_0000, 0xf000_1000, 0xf000_2ffc, 0x3_0000, 0xfee0_0000]));
        return random.chance(0.5) ? BigInt(random.u32()) : BigInt.asUintN(mode === "long" ? 64 : 32, random.u64());
      };
      for (const register of [3, 1, 2, 6, 7]) view.setBigUint64(CPU.gpr + register * 8, value(), true);
      const nr = random.chance(0.9)
        ? random.pick(numbers) + random.below(random.chance(0.5) ? 1 : 32)
        : Number(value());
      view.setBigUint64(CPU.gpr, BigInt(nr), true);
      const outcome = await run(one, state);
      const { end, cpu } = outcome;
      if (number < COMPILED) expect(differences(outcome, await run(compiled, state)), `call ${nr}`).toEqual([]);
      ends.set(end, (ends.get(end) ?? 0) + 1);
      const rip = new DataView(cpu.buffer).getUint32(CPU.rip, true) % 0x1_0000;
      if (rip !== (CODE_AT + 4) % 0x1_0000) continue; // A string has faulted or goes on.
      const rax = new DataView(cpu.buffer).getBigInt64(CPU.gpr, true);
      const signed = mode === "long" ? Number(rax) : Number(BigInt.asIntN(32, rax));
      const isValue = nr >= HYPERCALL.io && nr < HYPERCALL.io + 0x20;
      if (signed < 0 && !isValue && nr !== HYPERCALL.read && !KNOWN.has(signed))
        expect.fail(`call ${nr} gave ${signed}`);
    }
    expect(ends.get("halt")).toBeGreaterThan(CALLS * 0.7);
  });
});
