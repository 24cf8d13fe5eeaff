import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Expr } from "../emit/index.ts";
import { DEFER } from "../io/types.ts";
import { CLOCK } from "../memory/layout.ts";
import { defineDevice } from "./define.ts";
import { type RawBuilder, raw } from "./raw.ts";
import { RawCompiler } from "./raw-compiler.ts";
import { RegisterFile } from "./registers.ts";
import { deviceUnderTest } from "./testing.ts";
import type { Counter, Handlers } from "./types.ts";

const PM_TIMER_HZ = 3_579_545;

/** ACPI PM timer: a free-running 24-bit counter at 3.579545 MHz. ACPI 6.5, section 4.8.3.3. */
const pmTimer = defineDevice("pm-timer", (host, options: { port: number }) => {
  const ticks = host.clock.counter(PM_TIMER_HZ);
  host.ports({ base: options.port, length: 4 }, { read: raw((x) => x.and(x.counter(ticks), 0xff_ffff)) });
});

function workshop() {
  const memory = new WebAssembly.Memory({ initial: 4 });
  const file = new RegisterFile(memory);
  const compiler = new RawCompiler(memory, file);
  const compile = (handlers: Handlers) => compiler.module("demo").compile(handlers)!;
  return { memory, file, compile };
}

describe("the PM timer as a raw handler", () => {
  it("counts as BigInt arithmetic says, at any time", () => {
    const device = deviceUnderTest(pmTimer, { port: 0x608 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 44 }), (step) => {
        device.clock.skip(step);
        const ticks = (BigInt(device.clock.now()) * BigInt(PM_TIMER_HZ)) / 1_000_000_000n;
        expect(device.read(0x608, 4)).toBe(Number(ticks & 0xff_ffffn));
        expect(device.read(0x608, 2)).toBe(Number(ticks & 0xffffn));
        expect(device.read(0x608, 1)).toBe(Number(ticks & 0xffn));
      }),
      { numRuns: 300 },
    );
  });
});

describe("emitted time", () => {
  it("equals the TypeScript clock in the middle of a slice, for any counter", () => {
    const positive = fc.integer({ min: 0, max: 2 ** 31 - 1 });
    const { memory, compile } = workshop();
    const view = new DataView(memory.buffer);
    const handlers = [1, 32_768, 1_193_182, 10_000_000, 1_000_000_000, 2 ** 34].map((hz) => {
      const counter: Counter = { hz, read: () => 0, timeOf: () => 0 };
      return {
        hz,
        low: compile({ read: raw((x) => x.counter(counter)) }),
        high: compile({ read: raw((x) => x.shrU(x.counter(counter), 32)) }),
      };
    });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), positive, positive, positive, (base, slice, budget, rate) => {
        fc.pre(budget <= slice);
        view.setBigUint64(CLOCK.baseNs, BigInt(base), true);
        view.setInt32(CLOCK.sliceBudget, slice, true);
        view.setInt32(CLOCK.budget, budget, true);
        view.setInt32(CLOCK.rate, rate, true);
        const now = BigInt(base) + ((BigInt(slice - budget) * BigInt(rate)) >> 20n);
        for (const { hz, low, high } of handlers) {
          const value = BigInt(high.read!(0, 4)) * 2n ** 32n + BigInt(low.read!(0, 4));
          expect(value).toBe(BigInt.asUintN(64, (now * BigInt(hz)) / 1_000_000_000n));
        }
      }),
      { numRuns: 1000 },
    );
  });
});

describe("registers", () => {
  const shape = { byte: "u8", word: "u16", dword: "u32", wide: "u64" } as const;

  it("are the same ones for raw and TypeScript code", () => {
    const { file, compile } = workshop();
    const r = file.allocate("demo", shape);
    const { read, write } = compile({
      read: raw((x) =>
        x.add(x.add(x.get(r, "byte"), x.get(r, "word")), x.add(x.get(r, "dword"), x.low(x.get(r, "wide")))),
      ),
      write: raw((x) => {
        x.set(r, "byte", x.value);
        x.set(r, "word", x.value);
        x.set(r, "dword", x.value);
        x.set(r, "wide", x.shl(x.u64(x.value), 30));
      }),
    });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (value) => {
        expect(write!(0, value, 4)).toBe(0);
        const wide = Number((BigInt(value) << 30n) & (2n ** 53n - 1n));
        expect({ ...r }).toEqual({ byte: value & 0xff, word: value & 0xffff, dword: value, wide });
        expect(read!(0, 4)).toBe(((value & 0xff) + (value & 0xffff) + value + (wide % 2 ** 32)) % 2 ** 32);
      }),
    );
  });

  it("are refused to another machine", () => {
    const { compile } = workshop();
    const foreign = workshop().file.allocate("demo", shape);
    expect(() => compile({ read: raw((x) => x.get(foreign, "byte")) })).toThrow(/not a register of this machine/);
  });
});

/** A handler written both ways: what emitted code and TypeScript must agree on. */
interface Twin {
  readonly name: string;
  raw(x: RawBuilder, r: Demo): Expr;
  plain(r: Demo, offset: number, width: number): number;
}
type Demo = { a: number; b: number };
const TWINS: Twin[] = [
  {
    name: "indexed byte of a register",
    raw: (x, r) => x.shrU(x.get(r, "b"), x.shl(x.and(x.offset, 3), 3)),
    plain: (r, offset) => r.b >>> ((offset & 3) * 8),
  },
  {
    name: "select by comparison",
    raw: (x, r) => x.select(x.ltU(x.get(r, "a"), x.get(r, "b")), x.sub(x.get(r, "b"), x.get(r, "a")), 0xdead_beef),
    plain: (r) => (r.a < r.b ? r.b - r.a : 0xdead_beef),
  },
  {
    name: "width and offset",
    raw: (x, r) => x.xor(x.mul(x.add(x.offset, x.width), 0x0101_0101), x.get(r, "a")),
    plain: (r, offset, width) => Math.imul(offset + width, 0x0101_0101) ^ r.a,
  },
  {
    name: "branches that store",
    raw: (x, r) => {
      x.if(
        x.geU(x.get(r, "b"), 0x8000_0000),
        () => x.set(r, "a", x.add(x.get(r, "a"), 1)),
        () => x.set(r, "a", 0),
      );
      return x.or(x.get(r, "a"), x.select(x.eq(x.offset, 2), 0x100, 0));
    },
    plain: (r, offset) => {
      r.a = r.b >= 0x8000_0000 ? (r.a + 1) & 0xff : 0;
      return r.a | (offset === 2 ? 0x100 : 0);
    },
  },
];

describe.each(TWINS)("$name", ({ raw: build, plain }) => {
  it("is the same in emitted code and in TypeScript", () => {
    const { file, compile } = workshop();
    const r = file.allocate("demo", { a: "u8", b: "u32" });
    const model = { a: 0, b: 0 };
    const { read } = compile({ read: raw((x) => build(x, r)) });
    const access = fc.record({
      a: fc.integer({ min: 0, max: 255 }),
      b: fc.integer({ min: 0, max: 0xffff_ffff }),
      offset: fc.integer({ min: 0, max: 7 }),
      width: fc.constantFrom(1, 2, 4),
    });
    fc.assert(
      fc.property(access, ({ a, b, offset, width }) => {
        Object.assign(r, { a, b });
        Object.assign(model, { a, b });
        const expected = (plain(model, offset, width) >>> 0) % 2 ** (8 * width);
        expect(read!(offset, width)).toBe(expected);
        expect({ ...r }).toEqual(model);
      }),
    );
  });
});

describe("declining", () => {
  it("goes outward without having done anything", () => {
    const seen: string[] = [];
    const gate = defineDevice("gate", (host) => {
      const r = host.registers({ value: "u8" });
      host.ports(
        { base: 0x10, length: 2 },
        {
          read: {
            raw: raw((x) => {
              x.if(x.eq(x.offset, 1), () => x.decline());
              return x.get(r, "value");
            }),
            ring0: (offset, width) => {
              seen.push(`ring0 ${offset}/${width}`);
              return 0x99;
            },
          },
          write: {
            raw: raw((x) => {
              x.if(
                x.eq(x.offset, 1),
                () => x.decline(),
                () => x.set(r, "value", x.value),
              );
            }),
            ring0: (offset, value) => {
              seen.push(`ring0 ${offset}=${value}`);
            },
          },
        },
      );
    });
    const device = deviceUnderTest(gate, undefined);
    device.write(0x10, 0x42);
    device.write(0x11, 0x43);
    expect(device.read(0x10)).toBe(0x42);
    expect(device.read(0x11)).toBe(0x99);
    expect(seen).toEqual(["ring0 1=67", "ring0 1/1"]);
  });

  it("may not follow a store, on any path", () => {
    const { file, compile } = workshop();
    const r = file.allocate("demo", { a: "u8" });
    const outer = () => {};
    const late = raw((x) => {
      x.set(r, "a", 1);
      x.decline();
    });
    const maybeLate = raw((x) => {
      x.if(x.value, () => x.set(r, "a", 1));
      x.if(x.offset, () => x.decline());
    });
    const otherBranch = raw((x) => {
      x.if(
        x.value,
        () => x.set(r, "a", 1),
        () => x.decline(),
      );
    });
    expect(() => compile({ write: { raw: late, ring0: outer } })).toThrow(/declines after it has stored/);
    expect(() => compile({ write: { raw: maybeLate, ring0: outer } })).toThrow(/declines after it has stored/);
    expect(() => compile({ write: { raw: otherBranch, ring0: outer } })).not.toThrow();
  });

  it("needs somebody behind it", () => {
    const { compile } = workshop();
    expect(() =>
      compile({
        read: raw((x) => {
          x.decline();
          return 0;
        }),
      }),
    ).toThrowError(expect.objectContaining({ code: "RAW_HANDLER_NEEDS_OUTER" }));
  });

  it("leaves all values distinct from the status", () => {
    const { compile } = workshop();
    const { read } = compile({ read: raw(() => -1) });
    expect(read!(0, 4)).toBe(0xffff_ffff);
    expect(read!(0, 1)).toBe(0xff);
    expect(read!(0, 8)).toBe(DEFER);
  });
});
