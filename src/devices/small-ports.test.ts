import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { WAIT } from "../io/types.ts";
import { coprocessorError } from "./coprocessor-error.ts";
import { debugConsole } from "./debug-console.ts";
import { debugExit } from "./debug-exit.ts";
import { postCode } from "./post-code.ts";
import { systemControlA } from "./system-control-a.ts";

describe("port 80h", () => {
  it("keeps the last code", () => {
    const device = deviceUnderTest(postCode, {});
    device.write(0x80, 0x12);
    device.write(0x80, 0x34);
    expect(device.read(0x80)).toBe(0x34);
    expect(device.api.code).toBe(0x34);
    expect(device.reincarnate().api.code).toBe(0x34);
  });
});

describe("port 92h (ICH9, 13.7.3)", () => {
  it("switches A20 and reads it back", () => {
    const device = deviceUnderTest(systemControlA, {});
    expect(device.read(0x92)).toBe(0x02);
    device.write(0x92, 0x00);
    expect(device.a20).toBe(false);
    expect(device.read(0x92)).toBe(0x00);
    device.write(0x92, 0x02);
    expect(device.a20).toBe(true);
  });

  it("resets when bit 0 rises, not while it stays", () => {
    const device = deviceUnderTest(systemControlA, {});
    device.write(0x92, 0x03);
    device.write(0x92, 0x03);
    expect(device.board.filter((event) => event.kind === "reset").length).toBe(1);
    expect(device.read(0x92)).toBe(0x03);
    device.write(0x92, 0x02);
    device.write(0x92, 0x03);
    expect(device.board.filter((event) => event.kind === "reset").length).toBe(2);
  });

  it("has no other bits", () => {
    const device = deviceUnderTest(systemControlA, {});
    device.write(0x92, 0xfe);
    expect(device.read(0x92)).toBe(0x02);
  });
});

describe("debug console at E9h", () => {
  it("gives each byte away and reads as E9h", () => {
    const seen: number[] = [];
    const device = deviceUnderTest(debugConsole, { output: (byte) => seen.push(byte) });
    for (const character of "hi\n") device.write(0xe9, character.charCodeAt(0));
    expect(seen).toEqual([0x68, 0x69, 0x0a]);
    expect(device.read(0xe9)).toBe(0xe9);
  });

  it.each([["text"], [WAIT]])("takes the byte, whatever its listener returns (%j)", (returned) => {
    const seen: number[] = [];
    const output = (byte: number): unknown => {
      seen.push(byte);
      return returned;
    };
    deviceUnderTest(debugConsole, { output }).write(0xe9, 0x21);
    expect(seen).toEqual([0x21]);
  });
});

describe("debug exit at F4h", () => {
  it.each([
    [0, 1, 1],
    [0x10, 1, 0x21],
    [0xff, 1, 0x1ff],
    [0x1234, 2, 0x2469],
    [0x1_0000, 4, 0x2_0001],
  ])("ends with (%i << 1) | 1 for %i bytes", (value, width, status) => {
    const device = deviceUnderTest(debugExit, {});
    device.write(0xf4, value, width);
    expect(device.board).toEqual([{ kind: "exit", status }]);
  });

  it("reads as nothing", () => {
    expect(deviceUnderTest(debugExit, {}).read(0xf4)).toBe(0xff);
  });
});

describe("port F0h (ICH9, 13.7.2)", () => {
  it("takes IRQ 13 back and has the error ignored, but only while there is one", () => {
    let ignored = 0;
    const device = deviceUnderTest(coprocessorError, { ignore: () => ignored++ });
    device.write(0xf0, 0);
    expect([ignored, device.lines.level(13)]).toEqual([0, false]);
    device.api.assert();
    device.api.assert();
    expect(device.lines.edges(13)).toBe(1);
    const again = device.reincarnate();
    again.write(0xf0, 0xff);
    again.write(0xf0, 0xff);
    expect([ignored, again.lines.level(13)]).toEqual([1, false]);
    device.reset();
    expect([device.lines.level(13), device.read(0xf0)]).toEqual([false, 0xff]);
  });
});
