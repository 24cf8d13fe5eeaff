import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { cmosMemorySize, rtc } from "./rtc-mc146818.ts";
import { withoutRaw } from "./testing.ts";

const SECOND = 1_000_000_000;
const [SEC, SEC_ALARM, MIN, MIN_ALARM, HOUR, HOUR_ALARM, WEEKDAY, DAY, MONTH, YEAR] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const [A, B, C, D, CENTURY] = [0x0a, 0x0b, 0x0c, 0x0d, 0x32];
/** Register B (data sheet, table "register B"). */
const [SET, PIE, AIE, UIE, DM, H24] = [0x80, 0x40, 0x20, 0x10, 0x04, 0x02];
/** Register C. */
const [IRQF, PF, AF, UF] = [0x80, 0x40, 0x20, 0x10];

const utc = (text: string) => BigInt(Date.parse(`${text}Z`)) * 1_000_000n;

function clockAt(text = "2024-02-28T23:59:58.000", cmos?: Record<number, number>) {
  const device = deviceUnderTest(rtc, cmos ? { cmos } : {}, { epochNs: utc(text) });
  const read = (index: number) => {
    device.write(0x70, index);
    return device.read(0x71);
  };
  const write = (index: number, value: number) => {
    device.write(0x70, index);
    device.write(0x71, value);
  };
  return {
    device,
    read,
    write,
    advance: device.clock.advance,
    time: () => [CENTURY, YEAR, MONTH, DAY, HOUR, MIN, SEC].map(read),
    irq: () => device.lines.level(8),
    rises: () => device.lines.events.filter((event) => event.high).map((event) => event.at),
  };
}

describe("time and calendar", () => {
  it("starts with the machine's epoch, in BCD and 24 hours", () => {
    const { time, read } = clockAt("2024-02-28T23:59:58.999");
    expect(time()).toEqual([0x20, 0x24, 0x02, 0x28, 0x23, 0x59, 0x58]);
    expect(read(WEEKDAY)).toBe(4); // a Wednesday, Sunday = 1
    expect([read(B), read(D)]).toEqual([H24, 0x80]);
  });

  it.each([
    ["2024-02-28T23:59:58.000", 2, [0x20, 0x24, 0x02, 0x29, 0x00, 0x00, 0x00], 5],
    ["2023-02-28T23:59:58.000", 2, [0x20, 0x23, 0x03, 0x01, 0x00, 0x00, 0x00], 4],
    ["1999-12-31T23:59:59.000", 1, [0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00], 7],
    ["2000-01-01T00:00:00.000", 60 * 86_400, [0x20, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00], 4],
    ["2025-06-09T08:07:06.500", 59, [0x20, 0x25, 0x06, 0x09, 0x08, 0x08, 0x05], 2],
  ])("%s + %i s", (start, seconds, expected, weekday) => {
    const { time, read, device } = clockAt(start);
    device.clock.skip(seconds * SECOND);
    expect(time()).toEqual(expected);
    expect(read(WEEKDAY)).toBe(weekday);
  });

  it("agrees with the calendar of JavaScript for any date", () => {
    const epoch = fc.integer({ min: 0, max: 9_000_000_000 });
    fc.assert(
      fc.property(epoch, fc.integer({ min: 0, max: 9_000_000 }), (start, later) => {
        const device = deviceUnderTest(rtc, {}, { epochNs: BigInt(start) * 1_000_000_000n });
        device.write(0x70, B);
        device.write(0x71, DM | H24);
        device.clock.skip(later * SECOND);
        const date = new Date((start + later) * 1000);
        const read = (index: number) => {
          device.write(0x70, index);
          return device.read(0x71);
        };
        expect([CENTURY, YEAR, MONTH, DAY, WEEKDAY, HOUR, MIN, SEC].map(read)).toEqual([
          Math.floor(date.getUTCFullYear() / 100),
          date.getUTCFullYear() % 100,
          date.getUTCMonth() + 1,
          date.getUTCDate(),
          date.getUTCDay() + 1,
          date.getUTCHours(),
          date.getUTCMinutes(),
          date.getUTCSeconds(),
        ]);
      }),
      { numRuns: 100 },
    );
  });

  /** MC146818, table 3: hours in 12-hour mode are 1..12 with bit 7 for PM. */
  it.each([
    ["00:30:00", 0x12, 12],
    ["01:30:00", 0x01, 1],
    ["11:30:00", 0x11, 11],
    ["12:30:00", 0x92, 0x8c],
    ["13:30:00", 0x81, 0x81],
    ["23:30:00", 0x91, 0x8b],
  ])("shows %s in 12-hour modes", (text, bcd, binary) => {
    const { read, write } = clockAt(`2024-01-01T${text}`);
    write(B, 0);
    expect(read(HOUR)).toBe(bcd);
    write(B, DM);
    expect(read(HOUR)).toBe(binary);
    write(B, DM | H24);
    expect(read(HOUR)).toBe(Number(text.slice(0, 2)));
  });

  it("carries from 11 PM to 12 AM of the next day", () => {
    const { read, write, advance } = clockAt("2024-01-01T23:59:59");
    write(B, 0);
    advance(SECOND);
    expect([read(HOUR), read(DAY)]).toEqual([0x12, 0x02]);
  });
});

describe("setting the time", () => {
  it("holds the bytes while SET is set and goes on from them afterwards, in step with the divider", () => {
    const { read, write, time, advance } = clockAt("2024-05-05T05:05:05.250");
    write(B, SET | H24);
    advance(10 * SECOND);
    expect(time()).toEqual([0x20, 0x24, 0x05, 0x05, 0x05, 0x05, 0x05]);
    for (const [index, value] of [
      [CENTURY, 0x19],
      [YEAR, 0x99],
      [MONTH, 0x12],
      [DAY, 0x31],
      [WEEKDAY, 0x06],
      [HOUR, 0x23],
      [MIN, 0x59],
      [SEC, 0x59],
    ]) {
      write(index, value);
    }
    write(B, H24);
    advance(0.75 * SECOND - 1);
    expect(time()).toEqual([0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59]);
    advance(1);
    expect(time()).toEqual([0x20, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00]);
    expect(read(WEEKDAY)).toBe(7);
  });

  it("starts half a second before the first update after a divider reset (register A)", () => {
    const { read, write, advance } = clockAt("2024-05-05T05:05:05.900");
    write(A, 0x76);
    advance(7 * SECOND);
    expect([read(SEC), read(A)]).toEqual([0x05, 0x76]);
    write(SEC, 0x30);
    write(A, 0x26);
    advance(SECOND / 2 - 1);
    expect(read(SEC)).toBe(0x30);
    advance(1);
    expect(read(SEC)).toBe(0x31);
  });

  it("keeps what is written without SET until the next update, valid or not", () => {
    const { read, write, advance } = clockAt("2024-05-05T05:05:05");
    write(SEC, 0x77);
    expect(read(SEC)).toBe(0x77);
    write(SEC, 0x10);
    advance(SECOND);
    expect(read(SEC)).toBe(0x11);
  });

  it("takes bytes written under SET in the format that register B has when it ends", () => {
    const { read, write, advance } = clockAt("2024-05-05T05:05:05");
    write(B, SET | DM | H24);
    write(SEC, 45);
    write(MIN, 59);
    write(HOUR, 17);
    write(B, DM | H24);
    advance(15 * SECOND);
    expect([read(HOUR), read(MIN), read(SEC)]).toEqual([18, 0, 0]);
  });
});

describe("update in progress (table 6: 244 us before, 1984 us during)", () => {
  it.each([
    [0, 0],
    [SECOND - 2_228_001, 0],
    [SECOND - 2_228_000, 0x80],
    [SECOND - 1, 0x80],
    [SECOND, 0],
  ])("%i ns into a second", (ns, uip) => {
    const { read, advance } = clockAt("2024-05-05T05:05:05");
    advance(ns);
    expect(read(A)).toBe(0x26 | uip);
  });

  it("never shows while SET or the divider holds updates back, and cannot be written", () => {
    const { read, write, advance } = clockAt("2024-05-05T05:05:05");
    advance(SECOND - 1000);
    write(A, 0xff);
    expect(read(A)).toBe(0x7f);
    write(A, 0x26);
    advance(SECOND / 2 - 1000);
    expect(read(A)).toBe(0xa6);
    write(B, SET | H24);
    expect(read(A)).toBe(0x26);
  });
});

describe("interrupts (registers B and C)", () => {
  it("raises flags without their enables, and clears them by reading C", () => {
    const { read, advance, irq } = clockAt("2024-05-05T00:00:00");
    expect(read(C)).toBe(0);
    advance(SECOND);
    expect(read(C)).toBe(PF | UF);
    expect(irq()).toBe(false);
    expect(read(C)).toBe(0);
  });

  it("interrupts at each update until C is read", () => {
    const { device, read, write, advance, rises, irq } = clockAt("2024-05-05T05:05:05.250");
    write(B, UIE | H24);
    advance(3.75 * SECOND);
    expect(rises()).toEqual([0.75 * SECOND]);
    expect(read(C) & (IRQF | UF)).toBe(IRQF | UF);
    expect(irq()).toBe(false);
    device.lines.clear();
    advance(SECOND);
    expect(rises()).toEqual([4.75 * SECOND]);
  });

  /** Table 5, 32.768 kHz time base: the period by the rate code. */
  it.each([
    [1, 3_906_250],
    [2, 7_812_500],
    [3, 122_070.3125],
    [4, 244_140.625],
    [5, 488_281.25],
    [6, 976_562.5],
    [7, 1_953_125],
    [8, 3_906_250],
    [9, 7_812_500],
    [10, 15_625_000],
    [11, 31_250_000],
    [12, 62_500_000],
    [13, 125_000_000],
    [14, 250_000_000],
    [15, 500_000_000],
  ])("has rate code %i give a period of %d ns", (rate, period) => {
    const { device, read, write, rises } = clockAt("2024-05-05T05:05:05");
    write(A, 0x20 | rate);
    write(B, PIE | H24);
    for (let i = 0; i < 6; i++) {
      device.clock.advance(device.clock.nextDeadline - device.clock.now());
      expect(read(C) & (IRQF | PF)).toBe(IRQF | PF);
    }
    expect(rises()).toEqual([1, 2, 3, 4, 5, 6].map((n) => Math.ceil(n * period)));
  });

  it("has no periodic interrupt with rate code 0", () => {
    const { device, read, write, advance } = clockAt("2024-05-05T05:05:05");
    write(A, 0x20);
    write(B, PIE | H24);
    expect(device.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    advance(SECOND);
    expect(read(C) & PF).toBe(0);
  });

  it("arms nothing while a request waits for a read of C", () => {
    const { device, write, advance, irq } = clockAt();
    write(A, 0x23);
    write(B, PIE | H24);
    advance(SECOND);
    expect([irq(), device.lines.edges(8), device.clock.nextDeadline]).toEqual([true, 1, Number.POSITIVE_INFINITY]);
  });

  it("raises IRQ 8 at once when a flag is already there as its enable is written", () => {
    const { write, advance, irq } = clockAt();
    advance(SECOND);
    write(B, UIE | H24);
    expect(irq()).toBe(true);
    write(B, H24);
    expect(irq()).toBe(false);
  });

  it("clears the update enable when SET is written", () => {
    const { read, write } = clockAt();
    write(B, UIE | AIE | SET | H24);
    expect(read(B)).toBe(AIE | SET | H24);
  });
});

describe("alarm", () => {
  const DONT_CARE = 0xc0;
  /** From 2024-05-05 05:05:05 until the alarm, in seconds. */
  it.each([
    ["at a time", H24, [0x06, 0x07, 0x08], 3600 + 2 * 60 + 3],
    ["at a time that was today", H24, [0x05, 0x05, 0x04], 86_399],
    ["at the time it is", H24, [0x05, 0x05, 0x05], 86_400],
    ["every hour", H24, [DONT_CARE, 0x00, 0x00], 54 * 60 + 55],
    ["every minute", H24, [0xff, 0xff, 0x10], 5],
    ["every minute, later", H24, [0xff, 0xff, 0x04], 59],
    ["every second", H24, [0xff, 0xc5, 0xe0], 1],
    ["every second of one minute", H24, [0xff, 0x06, 0xff], 55],
    ["in the afternoon, 12-hour mode", 0, [0x85, 0x00, 0x00], 12 * 3600 - 5 * 60 - 5],
    ["in binary", H24 | DM, [18, 30, 59], 13 * 3600 + 25 * 60 + 54],
  ])("fires %s", (_, format, [hour, minute, second], expected) => {
    const { read, write, device, rises } = clockAt("2024-05-05T05:05:05");
    write(B, format);
    write(HOUR_ALARM, hour);
    write(MIN_ALARM, minute);
    write(SEC_ALARM, second);
    write(B, AIE | format);
    device.clock.advance(expected * SECOND - 1);
    expect(rises()).toEqual([]);
    device.clock.advance(1);
    expect(rises()).toEqual([expected * SECOND]);
    expect(read(C) & (IRQF | AF)).toBe(IRQF | AF);
  });

  it("sets its flag without an enable, even if nobody looked at the time", () => {
    const { read, write, device } = clockAt("2024-05-05T05:05:05");
    write(HOUR_ALARM, 0x06);
    device.clock.skip(3600 * SECOND - 6 * 60 * SECOND);
    expect(read(C) & AF).toBe(0);
    device.clock.skip(360 * SECOND);
    expect(read(C) & AF).toBe(AF);
  });

  it("never fires for bytes that are no time", () => {
    const { device, write } = clockAt("2024-05-05T05:05:05");
    write(MIN_ALARM, 0x60);
    write(B, AIE | H24);
    expect(device.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("CMOS RAM and port 70h", () => {
  it("keeps 114 bytes, the option's first, with their checksum (10h..2Dh in 2Eh, 2Fh)", () => {
    const { read, write } = clockAt(undefined, { ...cmosMemorySize(256 * 2 ** 20), 16: 0x40, 61: 0x12 });
    expect([read(0x15), read(0x16)]).toEqual([0x80, 0x02]); // 640 KiB
    expect([read(0x17), read(0x18), read(0x30), read(0x31)]).toEqual([0xff, 0xff, 0xff, 0xff]);
    expect([read(0x34), read(0x35)]).toEqual([0x00, 0x0f]); // 240 MiB / 64 KiB
    expect((read(0x2e) << 8) | read(0x2f)).toBe(0x40 + 0x80 + 0x02 + 0xff + 0xff);
    expect(read(0x3d)).toBe(0x12);
    write(0x7f, 0xa5);
    expect(read(0x7f)).toBe(0xa5);
  });

  it("refuses bytes that are not CMOS RAM", () => {
    for (const cmos of [{ 5: 1 }, { 128: 1 }, { 16: 256 }, { 50: 0x20 }]) {
      expect(() => deviceUnderTest(rtc, { cmos })).toThrowError(expect.objectContaining({ code: "CMOS_BYTE_INVALID" }));
    }
  });

  it("masks NMIs by bit 7 of the index, which cannot be read back", () => {
    const { device } = clockAt();
    device.write(0x70, 0x80 | D);
    expect([device.api.nmiMasked, device.read(0x70), device.read(0x71)]).toEqual([true, 0xff, 0x80]);
    device.write(0x70, D);
    expect(device.api.nmiMasked).toBe(false);
  });

  it("ignores writes to C and D", () => {
    const { read, write } = clockAt();
    write(C, 0xff);
    write(D, 0);
    expect([read(C), read(D)]).toEqual([0, 0x80]);
  });
});

describe("the clock as a device", () => {
  it("keeps time and RAM over a reset, but not its interrupt enables", () => {
    const { device, read, write, advance, time, irq } = clockAt("2024-05-05T05:05:05");
    write(B, PIE | AIE | UIE | DM | H24);
    write(0x40, 0x99);
    advance(3 * SECOND);
    expect(irq()).toBe(true);
    device.reset();
    advance(SECOND);
    expect(irq()).toBe(false);
    expect(read(B)).toBe(DM | H24);
    expect(read(0x40)).toBe(0x99);
    expect(time()).toEqual([20, 24, 5, 5, 5, 5, 9]);
  });

  it("leaves the line to an HPET in legacy mode", () => {
    const { device, read, write, advance, irq } = clockAt();
    write(B, UIE | H24);
    device.api.connectInterrupt(false);
    advance(2 * SECOND);
    expect(irq()).toBe(false);
    expect(read(C) & UF).toBe(UF);
    advance(SECOND);
    device.api.connectInterrupt(true);
    expect(irq()).toBe(true);
  });

  it("does the same lazily and after snapshots as when it is looked at all the time", () => {
    const step = fc.record({
      index: fc.oneof(fc.integer({ min: 0, max: 13 }), fc.constantFrom(B, A, CENTURY, 0x7f)),
      value: fc.option(fc.integer({ min: 0, max: 0xff }), { nil: undefined }),
      wait: fc.oneof(
        fc.integer({ min: 0, max: 3_000_000 }),
        fc.integer({ min: 0, max: 40_000 }).map((n) => n * 1e8),
      ),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.nat(), (steps, cut) => {
        const options = { epochNs: utc("2099-12-31T23:58:20.125") };
        let lazy = deviceUnderTest(rtc, {}, options);
        const eager = deviceUnderTest(withoutRaw(rtc), {}, options);
        let events: unknown[] = [];
        steps.forEach(({ index, value, wait }, i) => {
          if (i === cut % steps.length) {
            events = lazy.lines.events;
            lazy = lazy.reincarnate();
          }
          lazy.clock.advance(wait);
          for (let quarter = 0; quarter < 3; quarter++) {
            eager.clock.advance(Math.floor(wait / 4));
            eager.read(0x71);
          }
          eager.clock.advance(lazy.clock.now() - eager.clock.now());
          for (const bench of [lazy, eager]) {
            bench.write(0x70, index);
            if (value !== undefined) bench.write(0x71, value);
          }
          expect(lazy.read(0x71)).toBe(eager.read(0x71));
          // Leaves the index where the idle reads above change nothing.
          eager.write(0x70, YEAR);
        });
        expect([...events, ...lazy.lines.events]).toEqual(eager.lines.events);
      }),
      { numRuns: 60 },
    );
  });
});
