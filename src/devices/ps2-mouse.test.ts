/** Expectations from the IBM PS/2 Hardware Interface Technical Reference, "Mouse", and Microsoft's wheel protocol. */
import { describe, expect, it } from "vitest";
import { i8042Bench } from "../../test/devices/i8042-bench.ts";

const mouseBench = () => i8042Bench(0x47);

describe("commands", () => {
  it.each([
    ["identify", [0xf2], [0xfa, 0x00]],
    ["reset", [0xff], [0xfa, 0xaa, 0x00]],
    ["status after reset: stream, disabled, 1:1, 4 counts/mm, 100/s", [0xe9], [0xfa, 0x00, 0x02, 0x64]],
    ["status: enabled", [0xf4, 0xe9], [0xfa, 0xfa, 0x20, 0x02, 0x64]],
    ["status: remote, scaling 2:1", [0xf0, 0xe7, 0xe9], [0xfa, 0xfa, 0xfa, 0x50, 0x02, 0x64]],
    ["status: resolution, sample rate", [0xe8, 3, 0xf3, 40, 0xe9], [0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0x00, 0x03, 0x28]],
    ["defaults", [0xe8, 3, 0xf0, 0xe7, 0xf6, 0xe9], [0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0xfa, 0x00, 0x02, 0x64]],
    ["no such resolution", [0xe8, 4], [0xfa, 0xfe]],
    ["no such rate", [0xf3, 33], [0xfa, 0xfe]],
    ["unknown: resend, then error", [0xe5, 0xe5, 0xe5], [0xfe, 0xfc, 0xfe]],
    ["resend", [0xe9, 0xfe], [0xfa, 0x00, 0x02, 0x64, 0xfa, 0x00, 0x02, 0x64]],
    [
      "wrap: an echo of all but its end and reset",
      [0xee, 0xf2, 0x33, 0xec, 0xf2],
      [0xfa, 0xf2, 0x33, 0xfa, 0xfa, 0x00],
    ],
    ["reset ends wrap", [0xee, 0xff], [0xfa, 0xfa, 0xaa, 0x00]],
    ["wheel: 200, 100, 80", [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf2], [...Array(6).fill(0xfa), 0xfa, 0x03]],
    [
      "Explorer: that, then 200, 200, 80",
      [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2],
      [...Array(12).fill(0xfa), 0xfa, 0x04],
    ],
    ["not Explorer without the wheel", [0xf3, 200, 0xf3, 200, 0xf3, 80, 0xf2], [...Array(6).fill(0xfa), 0xfa, 0x00]],
    ["reset forgets the wheel", [0xf3, 200, 0xf3, 100, 0xf3, 80, 0xff], [...Array(6).fill(0xfa), 0xfa, 0xaa, 0x00]],
  ])("%s", (_, bytes, expected) => {
    expect(mouseBench().mouse(...bytes)).toEqual(expected);
  });

  it("status shows the buttons: left 4, middle 2, right 1", () => {
    const ps2 = mouseBench();
    const status = (buttons: number) => {
      ps2.api.mouse(0, 0, 0, buttons);
      return ps2.mouse(0xe9)[1];
    };
    expect([1, 2, 4, 7].map(status)).toEqual([4, 1, 2, 7]);
  });
});

describe("stream mode", () => {
  it.each([
    ["right", 5, 0, 0, [0x08, 5, 0]],
    ["left", -5, 0, 0, [0x18, 0xfb, 0]],
    ["down is negative", 0, 5, 0, [0x28, 0, 0xfb]],
    ["up", 0, -5, 0, [0x08, 0, 5]],
    ["left button", 0, 0, 1, [0x09, 0, 0]],
    ["right button", 0, 0, 2, [0x0a, 0, 0]],
    ["middle button", 0, 0, 4, [0x0c, 0, 0]],
    ["far: the rest follows in the next report", 300, 0, 0, [0x08, 255, 0, 0x08, 45, 0]],
    ["far left", -300, 0, 0, [0x18, 0x01, 0, 0x18, 0xd3, 0]],
  ])("%s", (_, dx, dy, buttons, expected) => {
    const ps2 = mouseBench();
    ps2.mouse(0xf4);
    ps2.api.mouse(dx, dy, 0, buttons);
    expect(ps2.fromMouse(40)).toEqual(expected);
  });

  it.each([
    [1, 1],
    [2, 1],
    [3, 3],
    [4, 6],
    [5, 9],
    [6, 12],
    [-4, -6 & 0xff],
  ])("scaling 2:1 reports %i as %i", (counts, reported) => {
    const ps2 = mouseBench();
    ps2.mouse(0xe7, 0xf4);
    ps2.api.mouse(counts, 0, 0, 0);
    expect(ps2.fromMouse()[1]).toBe(reported);
  });

  it("reports no more often than the sample rate, and loses no counts", () => {
    const ps2 = mouseBench();
    ps2.mouse(0xf3, 20, 0xf4);
    const reports: number[][] = [];
    for (let i = 0; i < 50; i++) {
      ps2.api.mouse(1, 0, 0, 0);
      const bytes = ps2.fromMouse(10);
      if (bytes.length > 0) reports.push(bytes);
    }
    ps2.fromMouse(100).forEach((byte, i) => {
      if (i === 1) reports.push([0, byte, 0]);
    });
    expect(reports.length).toBeGreaterThanOrEqual(10);
    expect(reports.length).toBeLessThanOrEqual(12);
    expect(reports.reduce((sum, [, dx]) => sum + dx, 0)).toBe(50);
  });

  it("says nothing while disabled, and forgets what moved meanwhile", () => {
    const ps2 = mouseBench();
    ps2.api.mouse(5, 5, 0, 0);
    expect(ps2.fromMouse()).toEqual([]);
    ps2.mouse(0xf4);
    expect(ps2.fromMouse()).toEqual([]);
  });
});

describe("remote mode", () => {
  it("reports when asked, whether there is news or not", () => {
    const ps2 = mouseBench();
    ps2.mouse(0xf0, 0xf4);
    ps2.api.mouse(3, 0, 0, 1);
    expect(ps2.fromMouse()).toEqual([]);
    expect(ps2.mouse(0xeb)).toEqual([0xfa, 0x09, 3, 0]);
    expect(ps2.mouse(0xeb)).toEqual([0xfa, 0x09, 0, 0]);
  });
});

describe("wheel", () => {
  const wheel = [0xf3, 200, 0xf3, 100, 0xf3, 80];
  const explorer = [...wheel, 0xf3, 200, 0xf3, 200, 0xf3, 80];
  it.each([
    ["towards the user", wheel, 1, 0, [0x08, 0, 0, 0x01]],
    ["away", wheel, -1, 0, [0x08, 0, 0, 0xff]],
    ["far", wheel, 9, 0, [0x08, 0, 0, 7, 0x08, 0, 0, 2]],
    ["Explorer, away: four bits", explorer, -1, 0, [0x08, 0, 0, 0x0f]],
    ["Explorer, fourth button", explorer, 0, 8, [0x08, 0, 0, 0x10]],
    ["Explorer, fifth button", explorer, 0, 16, [0x08, 0, 0, 0x20]],
    ["a wheel mouse has no fourth button", wheel, 0, 8, []],
    ["a plain mouse has no wheel", [], 1, 0, []],
  ])("%s", (_, knock, dz, buttons, expected) => {
    const ps2 = mouseBench();
    ps2.mouse(...knock, 0xf4);
    ps2.api.mouse(0, 0, dz, buttons);
    expect(ps2.fromMouse(60)).toEqual(expected);
  });
});
