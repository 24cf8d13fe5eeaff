import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { HPET_BASE, hpet } from "./hpet.ts";
import { withoutRaw } from "./testing.ts";

/** HPET 1.0a, table 1. */
const [CAP, CONF, STATUS, COUNTER] = [0x000, 0x010, 0x020, 0x0f0];
const timerAt = (n: number) => ({
  conf: 0x100 + 0x20 * n,
  comparator: 0x108 + 0x20 * n,
  fsb: 0x110 + 0x20 * n,
});
/** Timer N configuration (table 4). */
const [LEVEL, ENABLE, PERIODIC, SET_VALUE, MODE32, FSB] = [0x02, 0x04, 0x08, 0x40, 0x100, 0x4000];
const route = (gsi: number) => gsi << 9;
/** One tick is 10 ns. */
const TICK = 10;

function block(timers?: number, messages = false) {
  const legacy: boolean[] = [];
  const device = deviceUnderTest(hpet, {
    ...(timers !== undefined && { timers }),
    messages,
    onLegacyRouting: (active) => legacy.push(active),
  });
  return {
    device,
    legacy,
    read: (offset: number) => device.mmioRead(HPET_BASE + offset),
    write: (offset: number, value: number) => device.mmioWrite(HPET_BASE + offset, value),
    read64: (offset: number) => device.mmioRead64(HPET_BASE + offset),
    write64: (offset: number, value: bigint) => device.mmioWrite64(HPET_BASE + offset, value),
    advance: (ticks: number) => device.clock.advance(ticks * TICK),
    skip: (ticks: number) => device.clock.skip(ticks * TICK),
    /** Ticks at which a line rose. */
    rises: (gsi: number) =>
      device.lines.events.filter((event) => event.gsi === gsi && event.high).map((event) => event.at / TICK),
  };
}

describe("capabilities (table 2)", () => {
  it("announces revision 1, 64 bits, legacy replacement and the period", () => {
    const { read64, read } = block();
    const capabilities = read64(CAP);
    expect(capabilities & 0xffn).toBe(1n);
    expect((capabilities >> 8n) & 31n).toBe(2n); // the last timer's number
    expect((capabilities >> 13n) & 1n).toBe(1n);
    expect((capabilities >> 15n) & 1n).toBe(1n);
    expect((capabilities >> 16n) & 0xffffn).toBe(0x8086n);
    // "This field must be less than or equal to 05F5E100h" (100 ns).
    expect(read(CAP + 4)).toBe(10_000_000);
  });

  it("has as many timers as asked for, each periodic, 64 bits wide, with routes 20..23", () => {
    const { read } = block(24);
    expect((read(CAP) >> 8) & 31).toBe(23);
    for (let n = 0; n < 24; n++) {
      expect(read(timerAt(n).conf)).toBe(0x30);
      expect(read(timerAt(n).conf + 4)).toBe(0x00f0_0000);
    }
    for (const timers of [2, 25, 3.5]) {
      expect(() => block(timers)).toThrowError(expect.objectContaining({ code: "HPET_TIMERS_INVALID" }));
    }
  });

  it("reads zero where nothing is, and drops writes of bytes and words", () => {
    const { read, write, device } = block();
    write(0x040, 0xffff_ffff);
    expect(read(0x040)).toBe(0);
    expect(read(0x160)).toBe(0);
    device.mmioWrite(HPET_BASE + CONF, 1, 1);
    device.mmioWrite(HPET_BASE + CONF, 1, 2);
    expect(read(CONF)).toBe(0);
    expect(device.mmioRead(HPET_BASE + CAP + 2, 2)).toBe(0x8086);
  });
});

describe("main counter (2.3.7)", () => {
  it("halts at reset, counts every 10 ns when enabled, and keeps its value when halted", () => {
    const { read64, write, write64, advance } = block();
    advance(100);
    expect(read64(COUNTER)).toBe(0n);
    write64(COUNTER, 0xffff_fffen);
    write(CONF, 1);
    advance(3);
    expect(read64(COUNTER)).toBe(0x1_0000_0001n);
    write(CONF, 0);
    advance(50);
    expect(read64(COUNTER)).toBe(0x1_0000_0001n);
  });

  it("wraps at 64 bits", () => {
    const { read64, write, write64, advance } = block();
    write64(COUNTER, 2n ** 64n - 5n);
    write(CONF, 1);
    advance(7);
    expect(read64(COUNTER)).toBe(2n);
  });
});

describe("one-shot timers", () => {
  it("match when the counter gets there, once", () => {
    const { write, write64, advance, rises } = block();
    write(timerAt(2).conf, ENABLE | route(21));
    write64(timerAt(2).comparator, 5_000n);
    write(CONF, 1);
    advance(1_000_000);
    expect(rises(21)).toEqual([5_000]);
  });

  it("wait for 2^64 ticks when the comparator is behind, in 32-bit mode for 2^32", () => {
    const { device, write, write64, read, advance, rises } = block();
    write64(COUNTER, 1000n);
    write(CONF, 1);
    write(timerAt(2).conf, ENABLE | route(21));
    write64(timerAt(2).comparator, 999n);
    expect(device.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    write(timerAt(2).conf, ENABLE | MODE32 | route(21));
    advance(2 ** 32 - 1);
    expect(rises(21)).toEqual([2 ** 32 - 1]);
    // And again each time around.
    advance(2 ** 32);
    expect(rises(21)).toEqual([2 ** 32 - 1, 2 ** 33 - 1]);
    expect(read(timerAt(2).comparator + 4)).toBe(0);
  });

  it("match at once when the comparator equals the counter", () => {
    const { write, write64, advance, rises } = block();
    write(CONF, 1);
    write(timerAt(2).conf, ENABLE | route(21));
    advance(500);
    write64(timerAt(2).comparator, 500n);
    advance(1);
    expect(rises(21)).toEqual([500]);
  });

  it.each([
    [499, [500, 500 + 2 ** 32]],
    [500, [500 + 2 ** 32]],
    [501, [500 + 2 ** 32]],
  ])("match unseen while no interrupt is enabled; one enabled at tick %i comes at the next match", (tick, expected) => {
    const { write, advance, rises } = block();
    write(timerAt(2).conf, MODE32 | route(21));
    write(CONF, 1);
    write(timerAt(2).comparator, 500);
    advance(tick);
    write(timerAt(2).conf, ENABLE | MODE32 | route(21));
    advance(2 ** 32 + 10);
    expect(rises(21)).toEqual(expected);
  });

  it("are set as Linux sets them: 32-bit mode, 32-bit writes, counter plus delta", () => {
    const { write, read, advance, rises } = block();
    write(timerAt(0).conf, ENABLE | MODE32);
    write(CONF, 3);
    advance(0xffff_ff00);
    write(timerAt(0).comparator, (read(COUNTER) + 1000) >>> 0);
    advance(2000);
    expect(rises(0)).toEqual([0xffff_ff00 + 1000]);
  });
});

describe("periodic timers (2.3.9.2.2)", () => {
  it("take one write with TN_VAL_SET for both the first match and the period", () => {
    const { write, write64, read64, read, advance, rises } = block();
    write(timerAt(2).conf, ENABLE | PERIODIC | SET_VALUE | route(22));
    write64(timerAt(2).comparator, 10_000n);
    expect(read(timerAt(2).conf) & SET_VALUE).toBe(0);
    write(CONF, 1);
    advance(35_000);
    expect(rises(22)).toEqual([10_000, 20_000, 30_000]);
    expect(read64(timerAt(2).comparator)).toBe(40_000n);
  });

  it("take an accumulator and then a period (Linux, 32-bit writes)", () => {
    const { write, advance, rises } = block();
    write(CONF, 1);
    advance(1_000);
    write(timerAt(2).conf, ENABLE | PERIODIC | SET_VALUE | MODE32 | route(22));
    write(timerAt(2).comparator, 6_000);
    write(timerAt(2).comparator, 100_000);
    advance(299_000);
    expect(rises(22)).toEqual([6_000, 106_000, 206_000]);
  });

  it("need TN_VAL_SET again for the upper half by a write of its own", () => {
    const { write, read64, advance, device } = block();
    const { conf, comparator } = timerAt(2);
    write(conf, PERIODIC | SET_VALUE);
    write(comparator, 5);
    device.clock.skip(10);
    write(comparator + 4, 7);
    expect(read64(comparator)).toBe(0xffff_ffff_0000_0005n);
    write(conf, PERIODIC | SET_VALUE);
    write(comparator + 4, 7);
    expect(read64(comparator)).toBe(0x7_0000_0005n);
    advance(1);
  });

  it("change the period from the next match on", () => {
    const { write, write64, advance, rises } = block();
    write(timerAt(2).conf, ENABLE | PERIODIC | SET_VALUE | route(22));
    write64(timerAt(2).comparator, 10_000n);
    write(CONF, 1);
    advance(15_000);
    write64(timerAt(2).comparator, 4_000n);
    advance(14_000);
    expect(rises(22)).toEqual([10_000, 20_000, 24_000, 28_000]);
  });

  it("keep accumulating when nobody looks, and deliver one edge for those missed", () => {
    const { write, write64, read64, advance, skip, rises } = block();
    write(timerAt(2).conf, ENABLE | PERIODIC | SET_VALUE | route(22));
    write64(timerAt(2).comparator, 10_000n);
    write(CONF, 1);
    skip(1_000_005_000);
    advance(6_000);
    expect(rises(22)).toEqual([1_000_005_000, 1_000_010_000]);
    expect(read64(timerAt(2).comparator)).toBe(1_000_020_000n);
  });

  it.each([0n, 1n, 7n, 1999n])("do not flood the host with a period of %i ticks", (period) => {
    const { device, write, write64, advance, rises } = block();
    write(timerAt(2).conf, ENABLE | PERIODIC | SET_VALUE | route(22));
    write64(timerAt(2).comparator, period);
    write(CONF, 1);
    advance(100_000);
    expect(device.lines.events.length).toBeLessThan(110);
    // A period of 0 is undefined; here the comparator stands still and matched once, as the counter passed 0.
    expect(rises(22).length).toBeGreaterThan(period === 0n ? 0 : 20);
  });
});

describe("interrupt status (2.3.6)", () => {
  it("follows a level-triggered timer: high until 1 is written, enabled or not", () => {
    const { device, write, write64, read, advance, rises } = block();
    const { conf, comparator } = timerAt(1);
    write(conf, LEVEL | route(23));
    write64(comparator, 100n);
    write(CONF, 1);
    advance(200);
    expect([read(STATUS), device.lines.level(23)]).toEqual([2, false]);
    write(conf, LEVEL | ENABLE | route(23));
    expect(device.lines.level(23)).toBe(true);
    write(STATUS, 0xfffd);
    expect(device.lines.level(23)).toBe(true);
    write(STATUS, 2);
    expect([read(STATUS), device.lines.level(23)]).toEqual([0, false]);
    expect(rises(23)).toEqual([200]);
  });

  it("interrupts again at each period once cleared", () => {
    const { device, write, write64, advance, rises } = block();
    write(timerAt(1).conf, LEVEL | ENABLE | PERIODIC | SET_VALUE | route(23));
    write64(timerAt(1).comparator, 10_000n);
    write(CONF, 1);
    advance(25_000);
    expect(device.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    write(STATUS, 2);
    advance(10_000);
    expect(rises(23)).toEqual([10_000, 30_000]);
  });

  it("stays when the block is disabled, but interrupts no more (table 3)", () => {
    const { device, write, write64, read, advance } = block();
    write(timerAt(1).conf, LEVEL | ENABLE | route(23));
    write64(timerAt(1).comparator, 100n);
    write(CONF, 1);
    advance(200);
    write(CONF, 0);
    expect([read(STATUS), device.lines.level(23)]).toEqual([2, false]);
  });

  it("stays clear for edges", () => {
    const { write, write64, read, advance, rises } = block();
    write(timerAt(1).conf, ENABLE | route(23));
    write64(timerAt(1).comparator, 100n);
    write(CONF, 1);
    advance(200);
    expect([read(STATUS), rises(23)]).toEqual([0, [100]]);
  });
});

describe("routing", () => {
  it("keeps the old route when an unsupported one is written", () => {
    const { read, write } = block();
    write(timerAt(1).conf, route(20));
    write(timerAt(1).conf, ENABLE | route(5));
    expect(read(timerAt(1).conf) & 0x3fff).toBe(route(20) | ENABLE | 0x30);
  });

  it("lowers the line it leaves", () => {
    const { device, write, write64, advance } = block();
    write(timerAt(1).conf, ENABLE | route(20));
    write64(timerAt(1).comparator, 100n);
    write(CONF, 1);
    advance(200);
    expect(device.lines.level(20)).toBe(true);
    write(timerAt(1).conf, ENABLE | route(22));
    expect(device.lines.level(20)).toBe(false);
  });

  it("takes IRQ 0 and IRQ 8 over in legacy mode, for timers 0 and 1 only, and says so", () => {
    const { legacy, write, write64, advance, rises } = block();
    for (const n of [0, 1, 2]) {
      write(timerAt(n).conf, ENABLE | route(20 + n));
      write64(timerAt(n).comparator, BigInt(1000 * (n + 1)));
    }
    write(CONF, 3);
    expect(legacy).toEqual([true]);
    advance(5000);
    expect([0, 8, 20, 21, 22].map(rises)).toEqual([[1000], [2000], [], [], [3000]]);
    write(CONF, 1);
    expect(legacy).toEqual([true, false]);
  });

  it("has no message registers unless they are announced", () => {
    const { read, read64, write, write64 } = block();
    write(timerAt(0).conf, ENABLE | FSB);
    write64(timerAt(0).fsb, 0xfee0_1000_0000_4041n);
    expect([read(timerAt(0).conf), read64(timerAt(0).fsb)]).toEqual([0x34, 0n]);
  });

  it("sends messages when announced and told to", () => {
    const { device, read, write, write64, advance } = block(3, true);
    expect(read(timerAt(0).conf)).toBe(0x8030);
    write(timerAt(0).conf, ENABLE | FSB);
    write64(timerAt(0).fsb, 0xfee0_1000_0000_4041n);
    write64(timerAt(0).comparator, 500n);
    write(CONF, 1);
    advance(1000);
    expect(device.msis).toEqual([{ address: 0xfee0_1000, data: 0x4041 }]);
    expect(device.lines.events).toEqual([]);
  });
});

describe("the block as a device", () => {
  it("resets to a halted counter, comparators of all ones and no legacy routing", () => {
    const { device, legacy, write, write64, read64, advance } = block();
    write64(timerAt(0).comparator, 5n);
    write(timerAt(0).conf, ENABLE);
    write(CONF, 3);
    advance(100);
    device.reset();
    advance(100);
    expect(legacy.at(-1)).toBe(false);
    expect([read64(COUNTER), read64(timerAt(0).comparator), read64(CONF)]).toEqual([0n, 2n ** 64n - 1n, 0n]);
    expect(device.lines.level(0)).toBe(false);
  });

  it("never throws or hangs, answers raw as ring 0, and survives a snapshot anywhere", () => {
    const offset = fc.oneof(
      fc.constantFrom(CONF, STATUS, COUNTER, COUNTER + 4),
      fc.integer({ min: 0, max: 0xff }).map((dword) => 4 * dword),
      fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 5 })).map(([n, r]) => 0x100 + 32 * n + 4 * r),
    );
    const value = fc.oneof(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.integer({ min: 0, max: 300_000 }),
      fc.constantFrom(0, 1, 3, 0x2c4e, 0x2c4c, 0x2d0c, 0x6c4c),
    );
    const step = fc.record({
      offset,
      value: fc.option(value, { nil: undefined }),
      wide: fc.boolean(),
      wait: fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ min: 0, max: 2_000_000 })),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(), (steps, cut) => {
        let device = deviceUnderTest(hpet, { messages: true });
        const twin = deviceUnderTest(withoutRaw(hpet), { messages: true });
        let events: unknown[] = [];
        steps.forEach(({ offset, value, wide, wait }, index) => {
          if (index === cut % steps.length) {
            events = device.lines.events;
            device = device.reincarnate();
          }
          for (const bench of [device, twin]) {
            bench.clock.advance(wait);
            if (value === undefined) continue;
            if (wide) bench.mmioWrite64(HPET_BASE + (offset & ~7), BigInt(value) << 3n);
            else bench.mmioWrite(HPET_BASE + offset, value);
          }
          expect(device.mmioRead64(HPET_BASE + (offset & ~7))).toBe(twin.mmioRead64(HPET_BASE + (offset & ~7)));
        });
        expect([...events, ...device.lines.events]).toEqual(twin.lines.events);
        expect(twin.msis.slice(twin.msis.length - device.msis.length)).toEqual(device.msis);
      }),
      { numRuns: 60 },
    );
  });
});
