import { describe, expect, it } from "vitest";
import { CLOCK } from "../memory/layout.ts";
import { type ClockMode, MachineClock } from "./clock.ts";

const MS = 1_000_000;

/** A clock, a host time that the test sets, and an engine that retires instructions. */
function clockUnderTest(mode: ClockMode) {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const data = new DataView(memory.buffer);
  const host = { ns: 5_000 * MS };
  const clock = new MachineClock(memory, mode, () => host.ns);
  const granted = () => data.getInt32(CLOCK.budget, true);
  const retire = (instructions: number) => data.setInt32(CLOCK.budget, granted() - instructions, true);
  /** One slice in which all that was granted retires, `nsEach` of host time for each instruction. */
  const slice = (nsEach: number, deadline = Number.POSITIVE_INFINITY) => {
    clock.beginSlice(deadline);
    const instructions = granted();
    retire(instructions);
    host.ns += instructions * nsEach;
    clock.endSlice();
    return instructions;
  };
  return { clock, host, granted, retire, slice };
}

describe("the instruction clock", () => {
  it("counts a nanosecond for each instruction, and never looks at the host", () => {
    const { clock, host, retire } = clockUnderTest("instructions");
    clock.beginSlice(500);
    retire(200);
    host.ns += 1000 * MS;
    expect([clock.now(), clock.retired, clock.instructionsUntil(500)]).toEqual([200, 200, 300]);
    retire(300);
    clock.endSlice();
    clock.readHost();
    expect([clock.now(), clock.retired]).toEqual([500, 500]);
  });

  it("jumps over HLT without counting instructions, and never back", () => {
    const { clock, retire } = clockUnderTest("instructions");
    clock.beginSlice(100);
    retire(100);
    clock.endSlice();
    clock.advanceTo(10_000);
    clock.advanceTo(50);
    expect([clock.now(), clock.retired]).toEqual([10_000, 100]);
  });

  it("grants at most a millisecond, and exactly what a deadline leaves", () => {
    const { clock, granted } = clockUnderTest("instructions");
    clock.beginSlice(Number.POSITIVE_INFINITY);
    expect(granted()).toBe(MS);
    clock.endSlice();
    clock.beginSlice(1234);
    expect(granted()).toBe(1234);
  });
});

describe("the host clock", () => {
  it("measures the speed, and stays with the host's time", () => {
    const { clock, host, slice } = clockUnderTest("host");
    for (let i = 0; i < 200; i++) slice(2.5);
    // A slice is a millisecond of virtual time: by now that is 400,000 instructions.
    expect(slice(2.5)).toBeCloseTo(400_000, -4);
    expect(Math.abs(clock.now() - (host.ns - 5_000 * MS))).toBeLessThan(MS / 100);
  });

  it("never goes back when the host was slower to get there", () => {
    const { clock, host, slice } = clockUnderTest("host");
    let before = 0;
    for (let i = 0; i < 100; i++) {
      slice(i % 7);
      expect(clock.now()).toBeGreaterThanOrEqual(before);
      before = clock.now();
    }
    host.ns += 50 * MS;
    clock.readHost();
    expect(clock.now()).toBe(Math.floor(host.ns - 5_000 * MS));
  });

  it("does not count host time in which the machine did not run", () => {
    const { clock, host, slice } = clockUnderTest("host");
    for (let i = 0; i < 50; i++) slice(3);
    const before = clock.now();
    host.ns += 3600_000 * MS;
    clock.resume();
    expect(clock.now()).toBe(before);
    slice(3);
    expect(clock.now() - before).toBeLessThan(3 * MS);
  });

  it("lets a guest whose instructions become slow hold the host up once", () => {
    const { host, slice } = clockUnderTest("host");
    for (let i = 0; i < 100; i++) slice(2);
    slice(2000); // a second, if need be
    const began = host.ns;
    for (let i = 0; i < 10; i++) slice(2000);
    expect((host.ns - began) / 10).toBeLessThan(2.5 * MS);
    // And when they are fast again, slices soon are as long as before.
    for (let i = 0; i < 40; i++) slice(2);
    expect(slice(2)).toBeGreaterThan(10_000);
  });

  it("stays within 50 ppm in ten minutes, however uneven the guest's speed", () => {
    const { clock, host, slice } = clockUnderTest("host");
    let random = 1;
    let phase = 0;
    let nsEach = 2;
    let furthest = 0;
    while (host.ns < 605_000 * MS) {
      random = (Math.imul(random, 1_103_515_245) + 12_345) >>> 0;
      // Stretches of a few slices each, from a bulk copy to code that traps all the time.
      if (phase-- === 0) [phase, nsEach] = [random % 7, 0.2 * 2 ** ((random >>> 8) % 8)];
      slice(nsEach * (0.8 + (random % 1000) / 2500));
      furthest = Math.max(furthest, Math.abs(clock.now() - (host.ns - 5_000 * MS)));
    }
    expect(furthest).toBeLessThan(600_000 * MS * 50e-6);
    // In fact it never is more than a few slices off.
    expect(furthest).toBeLessThan(5 * MS);
  });

  it("takes a stall of the host for a second; the machine did not run in the rest", () => {
    const { clock, host, retire, slice } = clockUnderTest("host");
    for (let i = 0; i < 50; i++) slice(3);
    clock.beginSlice(Number.POSITIVE_INFINITY);
    retire(1000);
    const before = clock.now();
    host.ns += 30_000 * MS;
    clock.endSlice();
    expect(clock.now() - before).toBe(1000 * MS);
    // From there on, time is the host's again.
    const [virtual, began] = [clock.now(), host.ns];
    for (let i = 0; i < 50; i++) slice(3);
    expect(Math.abs(clock.now() - virtual - (host.ns - began))).toBeLessThan(2 * MS);
  });

  it("lets a guest sleep as long as it likes, but a second longer at most", () => {
    const { clock, host } = clockUnderTest("host");
    host.ns += 100_000 * MS;
    clock.readHost(99_500 * MS);
    expect(clock.now()).toBe(100_000 * MS);
    host.ns += 100_000 * MS;
    clock.readHost(Number.POSITIVE_INFINITY);
    expect(clock.now()).toBe(200_000 * MS);
    host.ns += 100_000 * MS;
    clock.readHost(210_000 * MS);
    expect(clock.now()).toBe(211_000 * MS);
    expect(clock.hostDelay(212_000 * MS)).toBeCloseTo(1000);
  });

  it("says how long to sleep until a deadline", () => {
    const { clock, host } = clockUnderTest("host");
    host.ns += 2 * MS;
    clock.readHost();
    expect(clock.hostDelay(clock.now() + 7 * MS)).toBeCloseTo(7);
    host.ns += 10 * MS;
    expect(clock.hostDelay(9 * MS)).toBeCloseTo(-3);
  });
});
