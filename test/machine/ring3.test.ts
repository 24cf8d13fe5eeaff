import { describe, expect, it } from "vitest";
import { defineDevice, ring3 } from "../../src/device/define.ts";
import { raw } from "../../src/device/raw.ts";
import type { Handlers } from "../../src/device/types.ts";
import { COMMIT_LATER } from "../../src/io/types.ts";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { KERNEL, kernel, kernelWithHandler, x86 } from "./guests.ts";
import { Random } from "./random.ts";

const MIB = 2 ** 20;
const RAM_MIB = 8;
const PORTS = { base: 0x700, length: 0x10 };
/** Right above RAM, so that an access can lie in both. */
const MMIO = { base: RAM_MIB * MIB, length: 0x2000 };

/** What reached the device: "read" or "write", space, offset, width, value. */
type Access = readonly [string, string, number, number, number];

interface Bench {
  readonly machine: Machine;
  readonly log: Access[];
  /** The device's bytes behind its MMIO. */
  readonly memory: Uint8Array;
}

const tick = (ms = 0) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/**
 * A device of bytes behind MMIO, and ports whose reads count up. Its handlers are ring 3 with a delay of their own, or
 * ring 0: what a guest sees must be the same.
 */
function bench(context: "ring0" | "ring3", delay: () => Promise<void> | undefined = () => tick()): Bench {
  const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions" });
  const log: Access[] = [];
  const memory = new Uint8Array(MMIO.length);
  let count = 0x1000;
  const load = (offset: number, width: number) => {
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = value * 256 + memory[offset + i]!;
    return value;
  };
  const store = (offset: number, width: number, value: number) => {
    for (let i = 0; i < width; i++) memory[offset + i] = value >>> (8 * i);
  };
  const mask = (value: number, width: number) => value % 2 ** (8 * width);
  const spaces = {
    port: {
      read: (_offset: number, width: number) => mask(++count, width),
      write: (_offset: number, _value: number, _width: number) => {},
    },
    mmio: { read: load, write: (offset: number, value: number, width: number) => store(offset, width, value) },
  };
  const handlers = (space: "port" | "mmio"): Handlers => {
    const read = (offset: number, width: number) => {
      const value = spaces[space].read(offset, width);
      log.push(["read", space, offset, width, value]);
      return value;
    };
    const write = (offset: number, value: number, width: number) => {
      log.push(["write", space, offset, width, value]);
      spaces[space].write(offset, value, width);
    };
    if (context === "ring0") return { read, write };
    return {
      read: ring3(async (offset, width) => {
        await delay();
        return read(offset, width);
      }),
      write: ring3(async (offset, value, width) => {
        await delay();
        write(offset, value, width);
      }),
    };
  };
  const device = defineDevice("bytes", (host) => {
    host.ports(PORTS, handlers("port"));
    host.mmio(MMIO, handlers("mmio"), { readMode: "passthrough", writeMode: "passthrough" });
    host.state({ save: () => ({ memory: memory.slice(), count }), load: () => {} });
  });
  machine.add(device, undefined);
  return { machine, log, memory };
}

/** Runs code that ends with debug-exit 0. */
async function runs({ machine }: Bench, code: readonly number[]): Promise<void> {
  machine.boot({ image: kernel([...code, ...x86.exit(0), ...x86.halt]) });
  expect(await machine.run()).toEqual({ reason: "debug-exit", status: 1 });
}

const dwordAt = ({ machine }: Bench, address: number) => machine.memory.read32(address);
const { data: DATA } = KERNEL;

describe("an instruction that waits for ring 3", () => {
  it("reads and writes ports once, in order", async () => {
    const b = bench("ring3");
    await runs(b, [...x86.in(0x704, 4), ...x86.storeEax(DATA), ...x86.out(0x702, 0xabcd, 2), ...x86.in(0x70f)]);
    expect(b.log).toEqual([
      ["read", "port", 4, 4, 0x1001],
      ["write", "port", 2, 2, 0xabcd],
      ["read", "port", 15, 1, 2],
    ]);
    expect(dwordAt(b, DATA)).toBe(0x1001);
  });

  it.each([
    "never",
    "always",
  ] as const)("is not answered by a raw handler that now could (compile: %s)", async (compile) => {
    const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions", compile });
    const written: number[] = [];
    const device = defineDevice("d", (host) => {
      const r = host.registers({ ready: "u8", written: "u8" });
      const ready = async () => {
        await tick();
        r.ready = 1;
      };
      host.ports(PORTS, {
        read: {
          raw: raw((x) => {
            x.if(x.eq(x.get(r, "ready"), 0), () => x.decline());
            return x.get(r, "written");
          }),
          ring3: () => ready().then(() => 0x42),
        },
        write: {
          raw: raw((x) => {
            x.if(x.eq(x.get(r, "ready"), 0), () => x.decline());
            x.set(r, "written", x.value);
          }),
          ring3: (_, value) => ready().then(() => void written.push(value)),
        },
      });
      host.ports({ base: 0x720, length: 1 }, { write: () => void (r.ready = 0) });
    });
    machine.add(device, undefined);
    const b = { machine, log: [], memory: new Uint8Array() };
    const read = (index: number) => [...x86.in(PORTS.base), ...x86.storeEax(DATA + 4 * index)];
    await runs(b, [...read(0), ...read(1), ...x86.out(0x720, 0), ...x86.out(PORTS.base, 5), ...read(2)]);
    expect([0, 4, 8].map((at) => dwordAt(b, DATA + at) & 0xff)).toEqual([0x42, 0, 0]);
    expect(written).toEqual([5]);
  });

  it("repeats INS unit by unit, over a page boundary", async () => {
    const b = bench("ring3");
    await runs(b, [...x86.mov(2, 0x700), ...x86.mov(7, DATA + 0xffd), ...x86.mov(1, 4), 0xf3, 0x66, 0x6d]);
    expect(b.log.map(([, , , , value]) => value)).toEqual([0x1001, 0x1002, 0x1003, 0x1004]);
    expect(dwordAt(b, DATA + 0xffd)).toBe(0x1002_1001);
    expect(dwordAt(b, DATA + 0x1001)).toBe(0x1004_1003);
  });

  it("repeats OUTS from MMIO to a port: two waits a unit", async () => {
    const b = bench("ring3");
    b.memory.set([1, 2, 3, 4, 5, 6, 7, 8], 0x10);
    await runs(b, [...x86.mov(2, 0x700), ...x86.mov(6, MMIO.base + 0x10), ...x86.mov(1, 2), 0xf3, 0x6f]);
    expect(b.log).toEqual([
      ["read", "mmio", 0x10, 4, 0x0403_0201],
      ["write", "port", 0, 4, 0x0403_0201],
      ["read", "mmio", 0x14, 4, 0x0807_0605],
      ["write", "port", 0, 4, 0x0807_0605],
    ]);
  });

  it("crosses from RAM into MMIO and from page to page of MMIO", async () => {
    const b = bench("ring3");
    b.memory.set([0xaa, 0xbb], 0);
    b.memory.set([1, 2, 3, 4], 0xffe);
    await runs(b, [
      ...x86.store(MMIO.base - 4, 0x4433_2211),
      ...x86.load(MMIO.base - 2),
      ...x86.storeEax(DATA),
      ...x86.load(MMIO.base + 0xffe),
      ...x86.storeEax(DATA + 4),
      ...x86.store(MMIO.base - 1, 0x8877_6655),
    ]);
    expect([dwordAt(b, DATA), dwordAt(b, DATA + 4)]).toEqual([0xbbaa_4433, 0x0403_0201]);
    expect(b.machine.memory.read8(MMIO.base - 1)).toBe(0x55);
    expect([...b.memory.subarray(0, 4)]).toEqual([0x66, 0x77, 0x88, 0]);
    expect(b.log.slice(0, 3)).toEqual([
      ["read", "mmio", 0, 2, 0xbbaa],
      ["read", "mmio", 0xffe, 2, 0x0201],
      ["read", "mmio", 0x1000, 2, 0x0403],
    ]);
  });

  it("reads once and writes once when it modifies", async () => {
    const b = bench("ring3");
    b.memory.set([5, 0, 0, 0], 8);
    await runs(b, [
      ...x86.mov(7, MMIO.base + 8),
      ...x86.mov(0, 37),
      ...[0xf0, 0x01, 0x07], // LOCK ADD [edi], eax
      ...[0x0f, 0xc1, 0x07], // XADD [edi], eax
      ...x86.storeEax(DATA),
      ...[0x87, 0x07], // XCHG [edi], eax
    ]);
    expect(b.log).toEqual([
      ["read", "mmio", 8, 4, 5],
      ["write", "mmio", 8, 4, 42],
      ["read", "mmio", 8, 4, 42],
      ["write", "mmio", 8, 4, 79],
      ["read", "mmio", 8, 4, 79],
      ["write", "mmio", 8, 4, 42],
    ]);
    expect(dwordAt(b, DATA)).toBe(42);
  });

  it("writes eight registers with one PUSHA and reads them back with POPA", async () => {
    const b = bench("ring3");
    const stack = MMIO.base + 0x100;
    await runs(b, [
      ...x86.mov(4, stack),
      ...x86.mov(3, 0xbbbb),
      0x60,
      ...x86.mov(3, 0),
      0x61,
      0x89,
      0xd8,
      ...x86.storeEax(DATA),
    ]);
    expect(b.log.filter(([how]) => how === "write").length).toBe(8);
    expect(dwordAt(b, DATA)).toBe(0xbbbb);
  });
});

describe("an exception or interrupt among waits", () => {
  async function runsWith(b: Bench, main: readonly number[], handler: readonly number[]): Promise<void> {
    b.machine.boot({ image: kernelWithHandler([...main, ...x86.exit(9), ...x86.halt], handler) });
    expect(await b.machine.run()).toEqual({ reason: "debug-exit", status: 1 });
    expect(b.machine.events.tripleFaults).toBe(0);
  }

  // DIV [edi] with 0 there: the device was read, then #DE; the handler reads the same register once more.
  const divide = [...x86.mov(7, 0x700), ...x86.mov(7, MMIO.base + 0x20), 0xf7, 0x37];
  const readAgain = [0xc7, 0x05, ...x86.dword(DATA), ...x86.dword(7), ...x86.load(MMIO.base + 0x20), ...x86.exit(0)];

  it("forgets what a faulting instruction had read: its handler's read is another one", async () => {
    const b = bench("ring3");
    await runsWith(b, [...x86.mov(4, KERNEL.stack), ...divide], readAgain);
    const there = ["read", "mmio", 0x20, 4, 0] as const;
    expect(b.log).toEqual([there, there]);
    expect(b.machine.io.divergences).toBe(0);
  });

  it("delivers a fault to a stack in ring-3 MMIO", async () => {
    const b = bench("ring3");
    await runsWith(b, [...x86.mov(4, MMIO.base + 0x400), ...divide], readAgain);
    expect(b.log.map(([how, , offset]) => [how, offset])).toEqual([
      ["read", 0x20],
      ["write", 0x3fc], // EFLAGS, CS, EIP
      ["write", 0x3f8],
      ["write", 0x3f4],
      ["read", 0x20],
    ]);
    expect(b.machine.io.divergences).toBe(0);
  });

  it("delivers an interrupt to such a stack, and returns from it", async () => {
    const b = bench("ring3");
    const selfInterrupt = [
      ...x86.store(0xfee0_00f0, 0x1ff),
      ...x86.store(0xfee0_0300, 0x4_4040), // fixed, vector 40h, to itself
      ...[0xfb, 0x90, 0x90], // STI
    ];
    const handler = [...x86.store(DATA, 0x1234), ...x86.store(0xfee0_00b0, 0), 0xcf];
    await runsWith(b, [...x86.mov(4, MMIO.base + 0x400), ...selfInterrupt, ...x86.exit(0)], handler);
    expect(dwordAt(b, DATA)).toBe(0x1234);
    const frame = b.log.map(([how, , offset]) => `${how} ${offset.toString(16)}`);
    expect(frame).toEqual(["write 3fc", "write 3f8", "write 3f4", "read 3f4", "read 3f8", "read 3fc"]);
    const [flags, cs, eip] = b.log.slice(0, 3).map(([, , , , value]) => value);
    expect([flags! & 0x202, cs]).toEqual([0x202, 0x10]);
    expect(eip).toBeGreaterThan(KERNEL.code);
    expect(b.log.slice(3).map(([, , , , value]) => value)).toEqual([eip, cs, flags]);
  });

  it("delivers a software interrupt to such a stack", async () => {
    const b = bench("ring3");
    await runsWith(b, [...x86.mov(4, MMIO.base + 0x400), 0xcd, 0x40, ...x86.exit(0)], [0xcf]);
    expect(b.log.length).toBe(6);
  });
});

describe("a write that ring 3 performs later", () => {
  it("is performed before the next instruction, and the writing instruction has retired", async () => {
    const { machine } = bench("ring3");
    const log: string[] = [];
    let performed = 0;
    const late = defineDevice("late", (host) => {
      host.ports(
        { base: 0x800, length: 4 },
        {
          write: {
            ring0: () => COMMIT_LATER,
            ring3: async (offset, value) => {
              log.push(`ring 3 begins ${offset} ${value}`);
              await tick(2);
              performed++;
              log.push("ring 3 ends");
            },
          },
          read: (offset) => {
            log.push(`read ${offset}`);
            return performed;
          },
        },
      );
    });
    machine.add(late, undefined);
    // REP OUTSB: each unit retires, and its write comes before the next one.
    const strings = [...x86.mov(1, 2), ...x86.mov(6, DATA), ...x86.mov(2, 0x801), 0xf3, 0x6e];
    machine.boot({
      image: kernel([
        ...x86.out(0x800, 7),
        ...x86.in(0x803),
        ...strings,
        ...x86.in(0x802),
        ...x86.storeEax(DATA + 4),
        ...x86.exit(0),
      ]),
    });
    expect(await machine.run()).toMatchObject({ status: 1 });
    const write = (offset: number, value: number) => [`ring 3 begins ${offset} ${value}`, "ring 3 ends"];
    expect(log).toEqual([...write(0, 7), "read 3", ...write(1, 0), ...write(1, 0), "read 2"]);
    expect(machine.memory.read8(DATA + 4)).toBe(3);
  });
});

describe("while a machine waits", () => {
  const WAITS = [...x86.in(0x704, 4), ...x86.storeEax(DATA)];

  /** A bench whose first access waits for `go`. */
  function held(): { b: Bench; go: () => void; waits: () => Promise<void> } {
    let go = () => {};
    let arrived = () => {};
    const waits = new Promise<void>((resolve) => {
      arrived = resolve;
    });
    const gate = new Promise<void>((resolve) => {
      go = resolve;
    });
    const b = bench("ring3", () => {
      arrived();
      return gate;
    });
    b.machine.boot({ image: kernel([...WAITS, ...x86.exit(0), ...x86.halt]) });
    return { b, go: () => go(), waits: () => waits };
  }

  it("dispose ends the run, and what the device answers later concerns nobody", async () => {
    const { b, go, waits } = held();
    const ran = b.machine.run();
    await waits();
    b.machine.dispose();
    expect(await ran).toEqual({ reason: "stopped", status: 0 });
    go();
    await tick(5);
  });

  it("stop ends the run; the next run goes on with the same access", async () => {
    const { b, go, waits } = held();
    const ran = b.machine.run();
    await waits();
    b.machine.stop();
    expect(await ran).toEqual({ reason: "stopped", status: 0 });
    const again = b.machine.run();
    go();
    expect(await again).toEqual({ reason: "debug-exit", status: 1 });
    expect(b.log.length).toBe(1);
    expect(dwordAt(b, DATA)).toBe(0x1001);
  });

  it("runUntil says that nothing can be done, and ready when it can", async () => {
    const { b, go } = held();
    expect(b.machine.runUntil(1000)).toBe(false);
    expect(b.machine.runUntil(1000)).toBe(false);
    setTimeout(go, 2);
    await b.machine.ready();
    b.machine.runUntil(1000);
    expect(b.machine.ended).toEqual({ reason: "debug-exit", status: 1 });
    expect(b.log.length).toBe(1);
  });

  it("save is refused, and snapshot waits for the end of the instruction", async () => {
    const { b, go, waits } = held();
    const ran = b.machine.run();
    await waits();
    expect(() => b.machine.save()).toThrowError(expect.objectContaining({ code: "MACHINE_WAITING" }));
    const snapshot = b.machine.snapshot();
    setTimeout(go, 2);
    const { clock } = await snapshot;
    expect(clock.retired).toBeGreaterThan(0);
    await ran;
  });

  it("a reset gives the access up: the guest starts again, and the old answer is ignored", async () => {
    const { b, go, waits } = held();
    const ran = b.machine.run();
    await waits();
    b.machine.reset();
    await tick(5);
    go();
    expect(await ran).toEqual({ reason: "debug-exit", status: 1 });
    // The device saw the read of the first life and the one of the second.
    expect(b.log.length).toBe(2);
    expect(b.machine.events.resets).toBe(1);
  });

  it.each([
    ["a promise", (): Promise<number> => Promise.reject(new Error("disk on fire"))],
    [
      "an exception",
      (): number => {
        throw new Error("disk on fire");
      },
    ],
  ])("a handler that fails by %s stops the machine with a DeviceError, again and again", async (_, fail) => {
    const machine = createMachine({ memoryMiB: 4 });
    const failing = defineDevice("disk", (host) => {
      host.ports({ base: 0x700, length: 8 }, { read: ring3(fail) });
    });
    machine.add(failing, undefined);
    machine.boot({ image: kernel(WAITS) });
    const error = {
      code: "RING3_HANDLER_FAILED",
      device: "disk",
      message: expect.stringMatching(/'disk'.*disk on fire/),
    };
    await expect(machine.run()).rejects.toMatchObject(error);
    await expect(machine.run()).rejects.toMatchObject(error);
    machine.boot({ image: kernel([...x86.exit(3)]) });
    expect(await machine.run()).toEqual({ reason: "debug-exit", status: 7 });
    machine.dispose();
  });
});

// --- a model: what ring 3 does, ring 0 does ------------------------------------------------------------------------------

/** Random instructions that touch the device in every way; each leaves registers and memory that later ones depend on. */
function randomCode(random: Random): number[] {
  const near = () => MMIO.base + random.pick([0, 4, 0x10, 0xffc, 0xffe, 0xfff, 0x1000, 0x1ff0]) + random.below(4);
  const edge = () => random.pick([near(), near(), MMIO.base - 1 - random.below(8), DATA + random.below(64)]);
  // After a reset, and after some of the FXRSTORs below, errors are not masked, and CR0.NE is 0: the processor would stop.
  const fninit = [0xdb, 0xe3];
  const one: (() => number[])[] = [
    () => x86.in(0x700 + random.below(12), random.pick([1, 2, 4])),
    () => x86.out(0x700 + random.below(12), random.u32(), random.pick([1, 2, 4])),
    () => x86.load(edge()),
    () => x86.storeEax(edge()),
    () => [...x86.mov(7, edge()), random.pick([0x00, 0x01, 0x09, 0x31, 0x29, 0x87, 0x39, 0x3b]), 0x07],
    () => [...x86.mov(7, edge()), 0xf0, 0x0f, random.pick([0xc1, 0xb1]), 0x0f],
    () => [...x86.mov(7, edge()), 0xff, random.pick([0x07, 0x0f, 0x37])], // INC, DEC, PUSH
    () => [...x86.mov(4, edge()), 0x50, 0x5b, ...x86.mov(4, KERNEL.stack)], // PUSH eax; POP ebx
    () => [...x86.mov(4, near() + 0x40), 0x60, 0x61, ...x86.mov(4, KERNEL.stack)],
    () => [...x86.mov(4, near() + 0x40), 0xe8, 0, 0, 0, 0, 0x5b, ...x86.mov(4, KERNEL.stack)], // CALL; POP ebx
    () => [
      ...x86.mov(6, edge()),
      ...x86.mov(7, edge()),
      ...x86.mov(1, random.below(5)),
      random.pick([0xfc, 0xfd]),
      0xf3,
      random.pick([0xa4, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xa6, 0xa7, 0xae]),
      0xfc,
    ],
    () => [
      ...x86.mov(6, edge()),
      ...x86.mov(7, edge()),
      ...x86.mov(2, 0x700 + random.below(8)),
      ...x86.mov(1, random.below(5)),
      0xf3,
      random.pick([0x6c, 0x6d, 0x6e, 0x6f]),
    ],
    () => [...fninit, ...x86.mov(7, edge()), 0x0f, 0x6f, 0x07, ...x86.mov(7, edge()), 0x0f, 0x7f, 0x07], // MOVQ
    () => [...fninit, ...x86.mov(7, edge()), 0xdf, 0x2f, ...x86.mov(7, edge()), 0xdf, 0x3f], // FILD, FISTP qword
    () => [...x86.mov(7, edge()), 0x0f, 0xc7, 0x0f], // CMPXCHG8B
    () => [...x86.mov(7, (MMIO.base + random.below(0x100)) & -16), 0x0f, 0xae, random.pick([0x07, 0x0f])], // FXSAVE, FXRSTOR
  ];
  const code: number[] = [...x86.mov(4, KERNEL.stack)];
  for (let i = 0; i < 60; i++) code.push(...random.pick(one)());
  return code;
}

describe("ring 3", () => {
  it("gives a guest the same as ring 0, access for access and bit for bit", async () => {
    for (let seed = 1; seed <= 25; seed++) {
      const code = randomCode(new Random(seed));
      const delays = new Random(seed);
      const inner = bench("ring0");
      const outer = bench("ring3", () => (delays.chance(30) ? tick() : undefined));
      for (const b of [inner, outer]) {
        b.machine.boot({ image: kernel([...code, ...x86.exit(0), ...x86.halt]) });
        await b.machine.run();
      }
      expect([seed, outer.machine.ended]).toEqual([seed, inner.machine.ended]);
      expect(outer.log).toEqual(inner.log);
      expect([seed, await outer.machine.stateHash()]).toEqual([seed, await inner.machine.stateHash()]);
      expect(outer.machine.io.divergences).toBe(0);
      inner.machine.dispose();
      outer.machine.dispose();
    }
  });
});
