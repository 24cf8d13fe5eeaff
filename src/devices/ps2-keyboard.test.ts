/** Expectations from the IBM PS/2 Hardware Interface Technical Reference, "101- and 102-Key Keyboards". */
import { describe, expect, it } from "vitest";
import { i8042Bench } from "../../test/devices/i8042-bench.ts";

/** No translation: what the keyboard itself sends. */
const keyboardBench = () => i8042Bench(0x05);

describe("commands", () => {
  it.each([
    ["echo", [0xee], [0xee]],
    ["identify", [0xf2], [0xfa, 0xab, 0x83]],
    ["reset", [0xff], [0xfa, 0xaa]],
    ["LEDs", [0xed, 0x07], [0xfa, 0xfa]],
    ["typematic", [0xf3, 0x00], [0xfa, 0xfa]],
    ["which scan code set", [0xf0, 0x00], [0xfa, 0xfa, 0x02]],
    ["scan code set 3, and which", [0xf0, 0x03, 0xf0, 0x00], [0xfa, 0xfa, 0xfa, 0xfa, 0x03]],
    ["no such set", [0xf0, 0x04], [0xfa, 0xfe]],
    ["enable", [0xf4], [0xfa]],
    ["disable", [0xf5], [0xfa]],
    ["defaults", [0xf6], [0xfa]],
    ["key types of set 3", [0xf7, 0xf8, 0xf9, 0xfa], [0xfa, 0xfa, 0xfa, 0xfa]],
    ["single keys of set 3, as many as come", [0xfc, 0x1c, 0x1b, 0xee], [0xfa, 0xfa, 0xfa, 0xee]],
    ["resend", [0xf2, 0xfe], [0xfa, 0xab, 0x83, 0x83]],
    ["unknown commands", [0xef, 0xf1], [0xfe, 0xfe]],
    ["a command instead of a parameter", [0xed, 0xee], [0xfa, 0xee]],
    ["a parameter without a command", [0x07], [0xfe]],
  ])("%s", (_, bytes, expected) => {
    expect(keyboardBench().keyboard(...bytes)).toEqual(expected);
  });

  it("LEDs reach the host", () => {
    const ps2 = keyboardBench();
    ps2.keyboard(0xed, 0x05);
    expect(ps2.api.leds).toBe(5);
    ps2.keyboard(0xff);
    expect(ps2.api.leds).toBe(0);
  });

  it("disabled it forgets keys, enabled again it starts afresh", () => {
    const ps2 = keyboardBench();
    ps2.keyboard(0xf5);
    ps2.press("KeyA");
    expect(ps2.fromKeyboard()).toEqual([]);
    ps2.keyboard(0xf4);
    ps2.press("KeyB");
    expect(ps2.fromKeyboard()).toEqual([0x32]);
  });

  it("sends no scan codes between a command and its parameter", () => {
    const ps2 = keyboardBench();
    ps2.keyboard(0xed);
    ps2.press("KeyA");
    expect(ps2.fromKeyboard()).toEqual([]);
    expect(ps2.keyboard(0x02)).toEqual([0xfa, 0x1c]);
  });
});

/** Key, then make and release in sets 1, 2 and 3 (there with all keys make, break and typematic). */
const CODES: [string, string, string, string][] = [
  ["KeyA", "1e / 9e", "1c / f0 1c", "1c / f0 1c"],
  ["Digit1", "02 / 82", "16 / f0 16", "16 / f0 16"],
  ["Enter", "1c / 9c", "5a / f0 5a", "5a / f0 5a"],
  ["Escape", "01 / 81", "76 / f0 76", "08 / f0 08"],
  ["F1", "3b / bb", "05 / f0 05", "07 / f0 07"],
  ["F7", "41 / c1", "83 / f0 83", "37 / f0 37"],
  ["F12", "58 / d8", "07 / f0 07", "5e / f0 5e"],
  ["ShiftRight", "36 / b6", "59 / f0 59", "59 / f0 59"],
  ["ControlRight", "e0 1d / e0 9d", "e0 14 / e0 f0 14", "58 / f0 58"],
  ["AltRight", "e0 38 / e0 b8", "e0 11 / e0 f0 11", "39 / f0 39"],
  ["Delete", "e0 53 / e0 d3", "e0 71 / e0 f0 71", "64 / f0 64"],
  ["ArrowRight", "e0 4d / e0 cd", "e0 74 / e0 f0 74", "6a / f0 6a"],
  ["NumpadDivide", "e0 35 / e0 b5", "e0 4a / e0 f0 4a", "77 / f0 77"],
  ["NumpadEnter", "e0 1c / e0 9c", "e0 5a / e0 f0 5a", "79 / f0 79"],
  ["MetaLeft", "e0 5b / e0 db", "e0 1f / e0 f0 1f", "8b / f0 8b"],
  ["IntlBackslash", "56 / d6", "61 / f0 61", "13 / f0 13"],
  ["PrintScreen", "e0 2a e0 37 / e0 b7 e0 aa", "e0 12 e0 7c / e0 f0 7c e0 f0 12", "57 / f0 57"],
  ["Pause", "e1 1d 45 e1 9d c5 / ", "e1 14 77 e1 f0 14 f0 77 / ", "62 / f0 62"],
];
const hex = (bytes: readonly number[]) => bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");

describe("scan codes", () => {
  it.each(CODES)("%s", (code, ...sets) => {
    sets.forEach((expected, i) => {
      const ps2 = keyboardBench();
      ps2.keyboard(0xfa, 0xf0, i + 1);
      ps2.press(code);
      const make = hex(ps2.fromKeyboard());
      ps2.release(code);
      expect(`set ${i + 1}: ${make} / ${hex(ps2.fromKeyboard())}`).toBe(`set ${i + 1}: ${expected}`);
    });
  });

  it.each([
    ["Shift", "ShiftLeft", "e0 7c"],
    ["Control", "ControlRight", "e0 7c"],
    ["Alt", "AltLeft", "84"],
  ])("PrintScreen with %s", (_, modifier, make) => {
    const ps2 = keyboardBench();
    ps2.press(modifier);
    ps2.fromKeyboard();
    ps2.press("PrintScreen");
    expect(hex(ps2.fromKeyboard())).toBe(make);
    ps2.release(modifier);
    ps2.fromKeyboard();
    ps2.release("PrintScreen");
    expect(hex(ps2.fromKeyboard()), "undoes what was made").toBe(make.replace(/(..)$/, "f0 $1"));
  });

  it("Pause with Control is Break, released at once", () => {
    const ps2 = keyboardBench();
    ps2.press("ControlLeft");
    ps2.fromKeyboard();
    ps2.press("Pause");
    expect(hex(ps2.fromKeyboard())).toBe("e0 7e e0 f0 7e");
  });

  it("ignores repeats of the host and keys that it has not", () => {
    const ps2 = keyboardBench();
    ps2.press("KeyA", "KeyA", "LaunchMail");
    ps2.release("KeyB");
    expect(ps2.fromKeyboard()).toEqual([0x1c]);
  });

  it.each([
    ["letters only repeat", "KeyA", []],
    ["shift tells its release", "ShiftLeft", [0xf0, 0x12]],
    ["function keys do neither", "F1", []],
  ])("set 3 by default: %s", (_, code, release) => {
    const ps2 = keyboardBench();
    ps2.keyboard(0xf0, 0x03);
    ps2.press(code);
    expect(ps2.fromKeyboard()).toHaveLength(1);
    ps2.release(code);
    expect(ps2.fromKeyboard()).toEqual(release);
  });
});

describe("typematic", () => {
  it.each([
    ["after reset: 500 ms, 10.9 a second", undefined, 500, 1000 / 10.9],
    ["fastest: 250 ms, 30 a second", 0x00, 250, 1000 / 30],
    ["slowest: 1 s, 2 a second", 0x7f, 1000, 500],
    ["500 ms, 15 a second", 0x28, 500, 1000 / 15],
  ])("%s", (_, rate, delay, period) => {
    const ps2 = keyboardBench();
    if (rate !== undefined) ps2.keyboard(0xf3, rate);
    ps2.press("KeyA");
    expect(ps2.fromKeyboard(20)).toEqual([0x1c]);
    expect(ps2.fromKeyboard(delay - 25)).toEqual([]);
    expect(ps2.fromKeyboard(10)).toEqual([0x1c]);
    expect(ps2.fromKeyboard(period - 10)).toEqual([]);
    expect(ps2.fromKeyboard(10)).toEqual([0x1c]);
    ps2.release("KeyA");
    expect(ps2.fromKeyboard(2 * period)).toEqual([0xf0, 0x1c]);
  });

  it("repeats the key pressed last, until that one is released", () => {
    const ps2 = keyboardBench();
    ps2.press("KeyA", "KeyB");
    ps2.fromKeyboard(20);
    expect(ps2.fromKeyboard(500)).toEqual([0x32]);
    ps2.release("KeyA");
    expect(ps2.fromKeyboard(20)).toEqual([0xf0, 0x1c]);
    expect(ps2.fromKeyboard(90)).toEqual([0x32]);
    ps2.release("KeyB");
    ps2.fromKeyboard(20);
    expect(ps2.fromKeyboard(1000)).toEqual([]);
  });

  it("does not pile up when nobody reads", () => {
    const ps2 = keyboardBench();
    ps2.press("KeyA");
    ps2.clock.advance(3600e9);
    expect(ps2.fromKeyboard().length).toBeLessThanOrEqual(3);
  });
});

describe("buffer", () => {
  it("loses no keys that the host types ahead", () => {
    const ps2 = keyboardBench();
    const typed = Array.from({ length: 100 }, (_, i) => (i % 2 === 0 ? "KeyA" : "KeyB"));
    for (const code of typed) {
      ps2.press(code);
      ps2.release(code);
    }
    expect(ps2.fromKeyboard(1000)).toEqual(
      typed.flatMap((code) => (code === "KeyA" ? [0x1c, 0xf0, 0x1c] : [0x32, 0xf0, 0x32])),
    );
  });

  it("reports an overrun, 00h in set 2, when even the waiting keys are too many", () => {
    const ps2 = keyboardBench();
    for (let i = 0; i < 2000; i++) {
      ps2.press("KeyA");
      ps2.release("KeyA");
    }
    expect(ps2.fromKeyboard(4000).filter((byte) => byte === 0)).toHaveLength(1);
  });
});
