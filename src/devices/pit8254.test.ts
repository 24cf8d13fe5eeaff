import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { PIT_HZ, pit8254 } from "./pit8254.ts";
import { withoutRaw } from "./testing.ts";

const CONTROL = 0x43;
const PORT_61 = 0x61;
/** First ns of a tick. */
const at = (tick: number) => Math.ceil((tick * 1e9) / PIT_HZ);

function timer() {
  const device = deviceUnderTest(pit8254, undefined);
  const { clock } = device;
  return {
    device,
    clock,
    toTick: (tick: number) => clock.advance(at(tick) - clock.now()),
    /** Writes a control word and a two-byte count. */
    program(control: number, count: number) {
      device.write(CONTROL, control);
      const port = 0x40 + (control >> 6);
      device.write(port, count & 0xff);
      device.write(port, count >> 8);
    },
    /** The count, by the counter latch command. */
    latched(counter: number) {
      device.write(CONTROL, counter << 6);
      return device.read(0x40 + counter) | (device.read(0x40 + counter) << 8);
    },
    rises: () => device.lines.events.filter((event) => event.gsi === 0 && event.high).map((event) => event.at),
    falls: () => device.lines.events.filter((event) => event.gsi === 0 && !event.high).map((event) => event.at),
  };
}

describe("reading a counter (8254, 'Read Operations')", () => {
  it("gives both bytes of a latched count, whatever the time between them", () => {
    const { device, program, toTick } = timer();
    program(0x34, 0x1234);
    toTick(0x35);
    device.write(CONTROL, 0x00);
    toTick(0x235);
    device.write(CONTROL, 0x00); // ignored: the first latch has not been read
    expect([device.read(0x40), device.read(0x40)]).toEqual([0x00, 0x12]);
    // Unlatched: live, low byte first.
    expect([device.read(0x40), device.read(0x40)]).toEqual([0x00, 0x10]);
  });

  it("gives one byte in the one-byte modes", () => {
    const { device, toTick } = timer();
    device.write(CONTROL, 0x54); // counter 1, LSB only, mode 2: what BIOSes use for refresh
    device.write(0x41, 18);
    toTick(4);
    expect(device.read(0x41)).toBe(15);
    device.write(CONTROL, 0x40);
    toTick(6);
    expect([device.read(0x41), device.read(0x41)]).toEqual([15, 13]);
    device.write(CONTROL, 0x60); // MSB only, mode 0
    device.write(0x41, 0x12);
    toTick(8);
    expect(device.read(0x41)).toBe(0x11);
  });

  it("counts exactly for weeks", () => {
    const { device, clock, latched } = timer();
    device.write(CONTROL, 0x34);
    device.write(0x40, 0x9c);
    device.write(0x40, 0x2e); // 11932, Linux at HZ = 100
    for (const ns of [1, 999_999_999, 1_209_600_000_000_001, 8_640_000_000_000_007]) {
      clock.skip(ns);
      const elapsed = (BigInt(clock.now()) * BigInt(PIT_HZ)) / 1_000_000_000n - 1n;
      expect(latched(0)).toBe(elapsed < 0n ? 0 : 11932 - Number(elapsed % 11932n));
    }
  });

  it("does not answer reads of the control word register", () => {
    expect(timer().device.read(CONTROL)).toBe(0xff);
  });
});

describe("read-back (8254, figures 11 to 13)", () => {
  it("latches counts and status of several counters with one command", () => {
    const { device, program, toTick } = timer();
    program(0x36, 0x0100);
    program(0xb0, 0x0400);
    toTick(1);
    device.write(CONTROL, 0xc2 | 0x08); // counts and status of counters 0 and 2
    toTick(40);
    // Status first, then the count: OUT high, loaded, both bytes, mode 3.
    expect([device.read(0x40), device.read(0x40), device.read(0x40)]).toEqual([0xb6, 0x00, 0x01]);
    // Counter 2 has GATE low: loaded, but OUT low, mode 0.
    expect([device.read(0x42), device.read(0x42), device.read(0x42)]).toEqual([0x30, 0x00, 0x04]);
  });

  it("shows NULL COUNT from the write until the load", () => {
    const { device, program, toTick } = timer();
    const status = () => {
      device.write(CONTROL, 0xe2);
      return device.read(0x40);
    };
    device.write(CONTROL, 0x34);
    expect(status()).toBe(0xf4);
    program(0x34, 100);
    expect(status()).toBe(0xf4);
    toTick(1);
    expect(status()).toBe(0xb4);
    device.write(0x40, 50);
    device.write(0x40, 0);
    toTick(100);
    expect(status() & 0x40).toBe(0x40);
    toTick(101); // the old count of 100 ends
    expect(status() & 0x40).toBe(0);
  });

  it("keeps the mode bits as they were written", () => {
    const { device } = timer();
    device.write(CONTROL, 0x3e);
    device.write(CONTROL, 0xe2);
    expect(device.read(0x40) & 0x3f).toBe(0x3e);
  });
});

describe("IRQ 0", () => {
  it("rises once a period in mode 2, at the exact nanosecond", () => {
    const { program, clock, rises } = timer();
    program(0x34, 11932);
    clock.advance(at(1 + 4 * 11932));
    // OUT goes high with the control word; then at the end of each period.
    expect(rises()).toEqual([0, ...[1, 2, 3, 4].map((n) => at(1 + n * 11932))]);
  });

  it("is a square wave in mode 3, longer high than low for odd counts", () => {
    const { program, clock, rises, falls } = timer();
    program(0x36, 1001);
    clock.advance(at(1 + 2 * 1001));
    expect(falls()).toEqual([at(1 + 501), at(1 + 1001 + 501)]);
    expect(rises()).toEqual([0, at(1 + 1001), at(1 + 2002)]);
  });

  it("rises at the end of the count in mode 0, once", () => {
    const { program, clock, rises } = timer();
    program(0x30, 500);
    clock.advance(1e9);
    expect(rises()).toEqual([at(501)]);
  });

  it("ends the strobe of mode 4 one tick after the count, once for each count written", () => {
    const { device, program, toTick, clock, rises } = timer();
    program(0x38, 500);
    toTick(600);
    device.write(0x40, 20);
    device.write(0x40, 0);
    clock.advance(1e9);
    expect(rises()).toEqual([0, at(502), at(600 + 1 + 20 + 1)]);
  });

  it("changes its period at the end of a cycle", () => {
    const { device, program, toTick, rises } = timer();
    program(0x34, 1000);
    toTick(300);
    device.write(0x40, 0xf4);
    device.write(0x40, 0x01);
    toTick(2101);
    expect(rises()).toEqual([0, at(1001), at(1501), at(2001)]);
  });

  it("delivers one edge for those that passed while the host slept", () => {
    const { device, program, clock, rises } = timer();
    program(0x34, 1193);
    clock.advance(2_000_000);
    device.lines.clear();
    clock.skip(10_000_000_000);
    clock.advance(1_500_000);
    // One late edge, then the next in step with the period.
    expect(rises()).toHaveLength(3);
    expect((Math.round((rises()[1] * PIT_HZ) / 1e9) - 1) % 1193).toBe(0);
  });

  it.each([2, 3, 5, 23])("does not flood the host with a period of %i ticks", (count) => {
    for (const control of [0x34, 0x36]) {
      const { device, program, clock, rises } = timer();
      program(control, count);
      clock.advance(1_000_000);
      expect(rises().length).toBeGreaterThan(20);
      expect(device.lines.events.length).toBeLessThan(110);
    }
  });

  it("stays still with the illegal count 1", () => {
    for (const control of [0x34, 0x36]) {
      const { program, clock } = timer();
      program(control, 1);
      expect(clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    }
  });

  it("leaves the line to an HPET in legacy mode, and counts on", () => {
    const { device, program, toTick, clock, rises, latched } = timer();
    program(0x34, 1000);
    toTick(10);
    device.api.connectInterrupt(false);
    expect([device.lines.level(0), clock.nextDeadline]).toEqual([false, Number.POSITIVE_INFINITY]);
    toTick(2501);
    expect(latched(0)).toBe(500);
    device.lines.clear();
    device.api.connectInterrupt(true);
    toTick(3001);
    expect(rises()).toEqual([at(2501), at(3001)]);
  });
});

describe("port 61h (ICH9, NMI_SC)", () => {
  it("shows gate, speaker and NMI enables as written, and the error bits never set", () => {
    const { device } = timer();
    device.write(PORT_61, 0xff);
    expect(device.read(PORT_61) & 0xcf).toBe(0x0f);
  });

  it("toggles bit 4 every 15.085 us", () => {
    const { device, clock } = timer();
    const flips: number[] = [];
    for (let last = device.read(PORT_61); flips.length < 1000; clock.skip(100)) {
      const now = device.read(PORT_61);
      if ((now ^ last) & 0x10) flips.push(clock.now());
      last = now;
    }
    expect((flips[999] - flips[0]) / 999).toBeCloseTo(15_085.7, 0);
  });

  it("shows OUT 2 in bit 5: the calibration loop of Linux (mode 0, gate up, 50 ms)", () => {
    const { device, program, toTick } = timer();
    device.write(PORT_61, (device.read(PORT_61) & ~0x02) | 0x01);
    program(0xb0, 59_659);
    toTick(59_659);
    expect(device.read(PORT_61) & 0x20).toBe(0);
    toTick(59_660);
    expect(device.read(PORT_61) & 0x20).toBe(0x20);
  });

  it("makes a 2 kHz tone on OUT 2 while the gate is up", () => {
    const { device, program, toTick } = timer();
    program(0xb6, 596);
    device.write(PORT_61, 3);
    const high = (tick: number) => {
      toTick(tick);
      return (device.read(PORT_61) & 0x20) !== 0;
    };
    expect([high(1), high(298), high(299), high(596), high(597)]).toEqual([true, true, false, false, true]);
    toTick(900);
    device.write(PORT_61, 0);
    expect(device.read(PORT_61) & 0x20).toBe(0x20);
  });
});

describe("the timer as a device", () => {
  const port = fc.constantFrom(0x40, 0x42, 0x42, 0x43, 0x43, 0x61, 0x41);
  const access = fc.record({
    port,
    value: fc.option(fc.integer({ min: 0, max: 0xff }), { nil: undefined }),
    wait: fc.oneof(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 0, max: 100_000_000 })),
    late: fc.boolean(),
  });

  it("answers from raw code what ring 0 answers, and survives a snapshot anywhere", () => {
    fc.assert(
      fc.property(fc.array(access, { maxLength: 60 }), fc.nat(), (accesses, cut) => {
        let device = deviceUnderTest(pit8254, undefined);
        const twin = deviceUnderTest(withoutRaw(pit8254), undefined);
        let events: unknown[] = [];
        accesses.forEach(({ port, value, wait, late }, index) => {
          if (index === cut % accesses.length) {
            events = device.lines.events;
            device = device.reincarnate();
          }
          for (const bench of [device, twin]) {
            if (late) bench.clock.skip(wait);
            else bench.clock.advance(wait);
          }
          if (value === undefined) {
            expect(device.read(port)).toBe(twin.read(port));
          } else {
            device.write(port, value);
            twin.write(port, value);
          }
        });
        expect([...events, ...device.lines.events]).toEqual(twin.lines.events);
        expect(device.clock.nextDeadline).toBe(twin.clock.nextDeadline);
        for (const bench of [device, twin]) bench.write(CONTROL, 0xce);
        const left = [0x40, 0x41, 0x42].flatMap((port) => [port, port, port, port, port, port]);
        expect(left.map((port) => device.read(port))).toEqual(left.map((port) => twin.read(port)));
      }),
      { numRuns: 100 },
    );
  });

  it("forgets everything at reset but keeps its gates", () => {
    const { device, program, clock, rises } = timer();
    program(0x34, 1000);
    device.write(PORT_61, 3);
    clock.advance(1_000_000);
    device.reset();
    expect([device.lines.level(0), clock.nextDeadline]).toEqual([false, Number.POSITIVE_INFINITY]);
    expect(device.read(PORT_61) & 0x2f).toBe(0);
    device.lines.clear();
    program(0x30, 10);
    clock.advance(1_000_000);
    expect(rises()).toHaveLength(1);
  });
});
