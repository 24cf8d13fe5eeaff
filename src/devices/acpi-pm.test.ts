import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { acpiPm, PM_TIMER_HZ } from "./acpi-pm.ts";

const STATUS = 0x600;
const ENABLE = 0x602;
const CONTROL = 0x604;
const TIMER = 0x608;
const GPE_STATUS = 0x620;
const GPE_ENABLE = 0x622;
const SCI = 9;
const options = { event: 0x600, control: 0x604, timer: 0x608, gpe0: { base: 0x620, length: 4 }, sciGsi: SCI, s5SleepType: 5 }; // biome-ignore format: one block

const pmUnderTest = () => deviceUnderTest(acpiPm, options);

/** Time of tick `n`, rounded up: computed independently with BigInt. */
const nsOfTick = (n: number) => Number((BigInt(n) * 1_000_000_000n + BigInt(PM_TIMER_HZ) - 1n) / BigInt(PM_TIMER_HZ));

describe("PM timer (ACPI 6.5, 4.8.3.3)", () => {
  it.each([0, 1, 279, 280, 1e9, 3_600e9, 86_400e9 * 30 + 7])("after %d ns", (ns) => {
    const pm = pmUnderTest();
    pm.clock.skip(ns);
    expect(pm.read(TIMER, 4)).toBe(Number(((BigInt(ns) * 3_579_545n) / 1_000_000_000n) & 0xff_ffffn));
  });

  it("is 24 bits wide, byte by byte too, and cannot be written", () => {
    const pm = pmUnderTest();
    pm.clock.skip(nsOfTick(0x1_23_45_67));
    pm.write(TIMER, 0, 4);
    expect(pm.read(TIMER, 4)).toBe(0x23_45_67);
    expect([0, 1, 2, 3].map((i) => pm.read(TIMER + i))).toEqual([0x67, 0x45, 0x23, 0]);
    expect(pm.read(TIMER + 1, 2)).toBe(0x2345);
  });
});

describe("TMR_STS (4.8.2.1): set whenever bit 23 changes", () => {
  it("goes on at 2^23 and again at 2^24 ticks", () => {
    const pm = pmUnderTest();
    pm.clock.advance(nsOfTick(2 ** 23) - 1);
    expect(pm.read(STATUS, 2)).toBe(0);
    pm.clock.advance(1);
    expect(pm.read(STATUS, 2)).toBe(1);
    pm.write(STATUS, 1, 2);
    expect(pm.read(STATUS, 2)).toBe(0);
    pm.clock.advance(nsOfTick(2 ** 24) - nsOfTick(2 ** 23));
    expect(pm.read(STATUS, 2)).toBe(1);
  });

  it("interrupts when enabled, and only then is a deadline armed", () => {
    const pm = pmUnderTest();
    expect(pm.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    pm.write(ENABLE, 1, 2);
    expect(pm.clock.nextDeadline).toBe(nsOfTick(2 ** 23));
    pm.clock.advance(3e9);
    expect(pm.lines.events).toEqual([{ gsi: SCI, high: true, at: nsOfTick(2 ** 23) }]);
    pm.write(STATUS, 1, 2);
    expect(pm.lines.level(SCI)).toBe(false);
    expect(pm.clock.nextDeadline).toBe(nsOfTick(2 ** 24));
  });
});

describe("events", () => {
  it("the power button raises the SCI, a level, until its status is cleared (table 4.11)", () => {
    const pm = pmUnderTest();
    pm.api.powerButton();
    expect([pm.read(STATUS, 2), pm.lines.level(SCI)]).toEqual([0x100, false]);
    pm.write(ENABLE, 0x100, 2);
    expect(pm.lines.level(SCI)).toBe(true);
    pm.write(STATUS, 0xfeff, 2);
    expect(pm.lines.level(SCI), "only ones clear").toBe(true);
    pm.write(STATUS + 1, 0x01);
    expect([pm.read(STATUS, 4), pm.lines.level(SCI)]).toEqual([0x0100_0000, false]);
  });

  it("general-purpose events have status and enable halves (4.8.4.1)", () => {
    const pm = pmUnderTest();
    pm.write(GPE_ENABLE, 0x8001, 2);
    pm.api.generalPurposeEvent(15);
    pm.api.generalPurposeEvent(3);
    expect([pm.read(GPE_STATUS, 2), pm.read(GPE_ENABLE, 2), pm.lines.level(SCI)]).toEqual([0x8008, 0x8001, true]);
    pm.write(GPE_STATUS, 0x8000, 2);
    expect([pm.read(GPE_STATUS, 2), pm.lines.level(SCI)]).toEqual([0x0008, false]);
  });
});

describe("PM1 control (table 4.13)", () => {
  it("reads SCI_EN as one and SLP_EN as zero", () => {
    const pm = pmUnderTest();
    expect(pm.read(CONTROL, 2)).toBe(0x0001);
    pm.write(CONTROL, 0x2806, 2); // SLP_TYP 2, SLP_EN, GBL_RLS, BM_RLD
    expect(pm.read(CONTROL, 2)).toBe(0x0803);
    expect(pm.board).toEqual([]);
  });

  it.each([
    ["word", (pm: ReturnType<typeof pmUnderTest>) => pm.write(CONTROL, 0x3400, 2)],
    ["high byte", (pm: ReturnType<typeof pmUnderTest>) => pm.write(CONTROL + 1, 0x34)],
  ])("SLP_TYP 5 with SLP_EN powers off (%s)", (_, act) => {
    const pm = pmUnderTest();
    pm.write(CONTROL, 0x1400, 2);
    expect(pm.board).toEqual([]);
    act(pm);
    expect(pm.board).toEqual([{ kind: "powerOff" }]);
  });
});

it("starts over at reset", () => {
  const pm = pmUnderTest();
  pm.write(ENABLE, 0x0121, 2);
  pm.write(GPE_ENABLE, 0xffff, 2);
  pm.api.generalPurposeEvent(0);
  pm.clock.advance(3e9);
  pm.reset();
  expect([pm.read(STATUS, 4), pm.read(CONTROL, 2), pm.read(GPE_STATUS, 4), pm.lines.level(SCI)]).toEqual([0, 1, 0, false]); // biome-ignore format: a row
});

it("survives whatever a guest does, and goes on identically after save and load", () => {
  const step = fc.record({
    port: fc.constantFrom(0x600, 0x601, 0x602, 0x603, 0x604, 0x605, 0x608, 0x60b, 0x620, 0x621, 0x622, 0x623),
    width: fc.constantFrom(1, 2, 4),
    value: fc.option(fc.nat(0xffff_ffff)),
    advance: fc.nat(4e9),
  });
  const run = (
    pm: ReturnType<typeof pmUnderTest>,
    steps: { port: number; width: number; value: number | null; advance: number }[],
  ) =>
    steps.map(({ port, width, value, advance }) => {
      pm.clock.advance(advance);
      if (value === null) return pm.read(port, width);
      pm.write(port, value, width);
      return pm.lines.level(SCI);
    });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), fc.array(step, { maxLength: 30 }), (before, after) => {
      const pm = pmUnderTest();
      run(pm, before);
      const pending = pm.read(STATUS, 2) & pm.read(ENABLE, 2) & 0x0721;
      const gpe = pm.read(GPE_STATUS, 2) & pm.read(GPE_ENABLE, 2);
      expect(pm.lines.level(SCI)).toBe((pending | gpe) !== 0);
      const copy = pm.reincarnate();
      expect(run(copy, after)).toEqual(run(pm, after));
    }),
  );
});
