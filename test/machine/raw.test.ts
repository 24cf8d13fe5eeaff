import { describe, expect, it } from "vitest";
import { CPU, TR, VECTOR } from "../../src/cpu/state.ts";
import { defineDevice } from "../../src/device/define.ts";
import { type RawBuilder, raw } from "../../src/device/raw.ts";
import type { Handlers, MmioOptions } from "../../src/device/types.ts";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { KERNEL, kernel, x86 } from "./guests.ts";
import { Random } from "./random.ts";

const RAM_MIB = 8;
const DATA = KERNEL.data;
const PORTS = 0x700;
const MMIO = RAM_MIB * 2 ** 20;

/** How a device answers: what a guest sees must be the same. */
type Kind = "raw" | "ring0" | "strings";

/** One register that each access changes by what it is and where: a lost, repeated or reordered one shows. */
const mixer = (kind: Kind) =>
  defineDevice("mixer", (host) => {
    const r = host.registers({ value: "u32" });
    const handlers = (): Handlers => {
      const read = (offset: number, width: number) => {
        r.value = (Math.imul(r.value, 0x9e37_79b1) + offset * 8 + width) >>> 0;
        return width === 4 ? r.value : r.value % 2 ** (8 * width);
      };
      const write = (offset: number, value: number, width: number) => {
        r.value = (Math.imul(r.value ^ value, 0x9e37_79b1) + offset * 8 + width) >>> 0;
      };
      if (kind !== "raw") return { read, write };
      const next = (x: RawBuilder, value: Parameters<RawBuilder["mul"]>[0]) =>
        x.set(r, "value", x.add(x.mul(value, 0x9e37_79b1), x.add(x.shl(x.offset, 3), x.width)));
      return {
        // The second port of every four is for ring 0.
        read: {
          raw: raw((x) => {
            x.if(x.eq(x.and(x.offset, 3), 1), () => x.decline());
            next(x, x.get(r, "value"));
            return x.get(r, "value");
          }),
          ring0: read,
        },
        write: raw((x) => next(x, x.xor(x.get(r, "value"), x.value))),
      };
    };
    const strings: Handlers =
      kind !== "strings"
        ? handlers()
        : {
            ...handlers(),
            // As many units as it likes, sometimes none.
            readString: (offset, buffer, width) => {
              const units = Math.min(buffer.length / width, r.value & 7);
              for (let at = 0; at < units * width; at += width) {
                r.value = (Math.imul(r.value, 0x9e37_79b1) + offset * 8 + width) >>> 0;
                for (let i = 0; i < width; i++) buffer[at + i] = r.value >>> (8 * i);
              }
              return units;
            },
            writeString: (offset, buffer, width) => {
              const units = Math.min(buffer.length / width, r.value & 7);
              for (let at = 0; at < units * width; at += width) {
                let value = 0;
                for (let i = 0; i < width; i++) value |= buffer[at + i]! << (8 * i);
                r.value = (Math.imul(r.value ^ value, 0x9e37_79b1) + offset * 8 + width) >>> 0;
              }
              return units;
            },
          };
    const plain: MmioOptions = { readMode: "passthrough", writeMode: "passthrough" };
    host.ports({ base: PORTS, length: 16 }, strings);
    host.mmio({ base: MMIO, length: 0x1000 }, handlers(), plain);
    host.mmio({ base: MMIO + 0x1000, length: 0x800 }, handlers());
    host.mmio({ base: MMIO + 0x1c00, length: 0x400 }, handlers(), plain);
  });

function randomCode(random: Random): number[] {
  const near = () =>
    MMIO + random.pick([0, 0x10, 0x7fc, 0xffc, 0xffe, 0xfff, 0x1000, 0x17fe, 0x1bff, 0x1ff0]) + random.below(4);
  const port = () => PORTS + random.below(18);
  const width = () => random.pick([1, 2, 4] as const);
  const one: (() => number[])[] = [
    () => x86.in(port(), width()),
    () => x86.out(port(), random.u32(), width()),
    () => x86.load(near()),
    () => x86.storeEax(near()),
    () => [...x86.mov(7, near()), random.pick([0x8a, 0x88]), 0x07],
    () => [...x86.mov(7, near()), 0x66, random.pick([0x8b, 0x89]), 0x07],
    () => [...x86.mov(7, near()), random.pick([0x01, 0x31, 0x87]), 0x07],
    () => [
      ...x86.mov(6, random.pick([DATA, DATA + 0xff0, near()]) + random.below(16)),
      ...x86.mov(7, random.pick([DATA, DATA + 0xff0, near()]) + random.below(16)),
      ...x86.mov(2, port()),
      ...x86.mov(1, random.pick([random.below(5), random.below(5000)])),
      random.pick([0xfc, 0xfd]),
      ...random.pick([[0xf3], [0xf3, 0x67], [0xf3, 0x66], [0xf2], []]),
      random.pick([0x6c, 0x6d, 0x6e, 0x6f]),
      0xfc,
    ],
  ];
  const code: number[] = [...x86.mov(4, KERNEL.stack)];
  for (let i = 0; i < 60; i++) code.push(...random.pick(one)());
  return code;
}

function runGuest(kind: Kind, code: readonly number[], slice: number, compile: "always" | "never" = "never"): Machine {
  const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions", compile });
  machine.add(mixer(kind), undefined, "mixer");
  machine.boot({ image: kernel([...code, ...x86.exit(0), ...x86.halt]) });
  for (let until = slice; machine.runUntil(until); until += slice);
  return machine;
}

const accesses = (machine: Machine) => {
  const { ranges, unclaimed } = machine.profile();
  const rows = [
    ...ranges.filter(({ owner }) => owner === "mixer"),
    ...unclaimed.filter(({ base }) => base < MMIO + 0x2000),
  ];
  const sums = new Map<string, number[]>();
  for (const { space, base, reads, writes } of rows) {
    const [r, w] = sums.get(`${space} ${base}`) ?? [0, 0];
    sums.set(`${space} ${base}`, [r! + reads, w! + writes]);
  }
  return sums;
};

describe("a device's handlers", () => {
  it("give a guest the same in WebAssembly, in TypeScript and by strings, at the same instruction", async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const code = randomCode(new Random(seed));
      const plain = runGuest("ring0", code, 1_000_000);
      const hash = await plain.stateHash();
      for (const [kind, slice, compile] of [
        ["raw", 1_000_000, "never"],
        ["strings", 1_000_000, "never"],
        ["raw", 37, "never"],
        ["strings", 61, "never"],
        ["raw", 1_000_000, "always"],
        ["raw", 41, "always"],
        ["ring0", 43, "always"],
      ] as const) {
        const other = runGuest(kind, code, slice, compile);
        expect([seed, kind, other.ended]).toEqual([seed, kind, plain.ended]);
        expect([seed, kind, other.clock.retired]).toEqual([seed, kind, plain.clock.retired]);
        expect([seed, kind, accesses(other)]).toEqual([seed, kind, accesses(plain)]);
        expect([seed, kind, slice, await other.stateHash()]).toEqual([seed, kind, slice, hash]);
        other.dispose();
      }
      plain.dispose();
    }
  });

  /** Two reads of a raw port at CPL 3; the vector of an exception, and how many reads reached the device. */
  function readAs(iopl: number, breakpoint: boolean): [vector: number | undefined, reads: number] {
    const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions" });
    machine.add(mixer("raw"), undefined, "mixer");
    machine.boot({ image: kernel([...x86.in(PORTS), ...x86.in(PORTS), ...x86.halt]) });
    machine.io.portRead(PORTS, 1);
    const { vcpu, clock } = machine;
    const { state } = vcpu;
    vcpu.onException = () => true;
    vcpu.context.setCpl(3);
    // A TSS without a bitmap.
    state.setSegment(TR, 0, 0, 0x67, 0x8b);
    state.setU32(CPU.eflags, state.u32(CPU.eflags) | (iopl << 12));
    if (breakpoint) {
      state.setU32(CPU.cr4, 8);
      state.setU32(CPU.dr, PORTS);
      state.setU32(CPU.dr + 7 * 8, 0x2_0401);
    }
    vcpu.stateChanged();
    clock.beginSlice(1000);
    const exit = vcpu.run();
    const reads = accesses(machine).get(`port ${PORTS}`)![0]! - 1;
    machine.dispose();
    return [exit.reason === "exception" ? exit.vector : undefined, reads];
  }

  it("are not asked where the CPU forbids the port, nor past a breakpoint", () => {
    expect(readAs(0, false)).toEqual([VECTOR.gp, 0]);
    expect(readAs(3, true)).toEqual([VECTOR.db, 1]);
    // HLT at CPL 3.
    expect(readAs(3, false)).toEqual([VECTOR.gp, 2]);
  });
});
