/** Expectations from the IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller". */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { COMMAND, DATA, i8042Bench, KEYBOARD_GSI, MOUSE_GSI } from "../../test/devices/i8042-bench.ts";

describe("controller commands", () => {
  it.each([
    ["self-test", [0xaa], 0x55],
    ["keyboard interface test", [0xab], 0x00],
    ["mouse interface test", [0xa9], 0x00],
    ["password not installed", [0xa4], 0xf1],
    ["read configuration", [0x20], 0x45],
    ["read input port: not locked", [0xc0], 0xb0],
    ["test inputs: clock and data high", [0xe0], 0x03],
    ["write keyboard output buffer", [0xd2, 0x5a], 0x5a],
    ["write mouse output buffer", [0xd3, 0x5a], 0x5a],
  ])("%s", (_, bytes, expected) => {
    expect(i8042Bench().ask(...bytes)).toBe(expected);
  });

  it("keeps the configuration byte but for bit 7", () => {
    const ps2 = i8042Bench();
    ps2.command(0x60, 0xff);
    expect(ps2.ask(0x20)).toBe(0x7f);
  });

  it("has RAM behind 21h-3Fh and 61h-7Fh", () => {
    const ps2 = i8042Bench();
    for (let i = 1; i < 32; i++) ps2.command(0x60 + i, 0x80 + i);
    for (let i = 1; i < 32; i++) expect(ps2.ask(0x20 + i)).toBe(0x80 + i);
    expect(ps2.ask(0x20)).toBe(0x45);
  });

  it.each([
    [0xa7, 0x65],
    [0xa8, 0x45],
    [0xad, 0x55],
    [0xae, 0x45],
  ])("%i enables or disables an interface: configuration %i", (command, configuration) => {
    const ps2 = i8042Bench();
    ps2.command(command);
    expect(ps2.ask(0x20)).toBe(configuration);
  });

  it("shows in the status what was written last, and the system flag", () => {
    const ps2 = i8042Bench(0);
    expect(ps2.read(COMMAND)).toBe(0x10);
    ps2.write(COMMAND, 0x60);
    expect(ps2.read(COMMAND)).toBe(0x18);
    ps2.write(DATA, 0x04);
    expect(ps2.read(COMMAND)).toBe(0x14);
  });

  it("passing the self-test sets the system flag", () => {
    const ps2 = i8042Bench(0);
    expect(ps2.ask(0xaa)).toBe(0x55);
    expect(ps2.read(COMMAND) & 0x04).toBe(0x04);
  });

  it("a wide status read sees nobody beyond the first byte", () => {
    expect(i8042Bench().read(COMMAND, 2)).toBe(0xff14);
  });
});

describe("output buffer", () => {
  it("keeps its byte after it was read", () => {
    const ps2 = i8042Bench();
    expect([ps2.ask(0xd2, 0x77), ps2.read(DATA), ps2.read(COMMAND) & 1]).toEqual([0x77, 0x77, 0]);
  });

  it("a controller's answer waits for a byte that was there first", () => {
    const ps2 = i8042Bench();
    ps2.command(0xd2, 0x11);
    ps2.command(0x20);
    expect([ps2.read(DATA), ps2.read(DATA), ps2.read(COMMAND) & 1]).toEqual([0x11, 0x45, 0]);
  });

  it("raises the line of its source while full and enabled", () => {
    const ps2 = i8042Bench(0x47);
    const levels = () => [ps2.lines.level(KEYBOARD_GSI), ps2.lines.level(MOUSE_GSI)];
    ps2.command(0xd2, 0);
    expect(levels()).toEqual([true, false]);
    ps2.read(DATA);
    expect(levels()).toEqual([false, false]);
    ps2.command(0xd3, 0);
    expect(levels()).toEqual([false, true]);
    ps2.command(0x60, 0x44);
    expect(levels()).toEqual([false, false]);
  });

  it("every byte of a device is an edge of its own, and takes its time on the cable", () => {
    const ps2 = i8042Bench();
    ps2.press("ArrowUp");
    expect(ps2.read(COMMAND) & 1).toBe(0);
    ps2.clock.advance(660_000);
    expect([ps2.lines.edges(KEYBOARD_GSI), ps2.read(DATA)]).toEqual([1, 0xe0]);
    ps2.clock.advance(659_999);
    expect(ps2.lines.edges(KEYBOARD_GSI)).toBe(1);
    ps2.clock.advance(1);
    expect([ps2.lines.edges(KEYBOARD_GSI), ps2.read(DATA)]).toEqual([2, 0x48]);
  });

  it("a disabled interface holds its device's bytes until it is enabled", () => {
    const ps2 = i8042Bench();
    ps2.command(0xad);
    ps2.press("KeyA");
    expect(ps2.fromKeyboard()).toEqual([]);
    ps2.command(0xae);
    expect(ps2.fromKeyboard()).toEqual([0x1e]);
  });

  it("keyboard and mouse take turns", () => {
    const ps2 = i8042Bench(0x47);
    ps2.mouse(0xf4);
    ps2.press("ArrowUp", "ArrowDown");
    ps2.api.mouse(1, 0, 0, 0);
    // The mouse was served last: it has acknowledged.
    expect(ps2.collect().map((item) => item.mouse)).toEqual([false, true, false, true, false, true, false]);
  });
});

describe("translation (bit 6 of the configuration)", () => {
  it.each([
    ["KeyA", 0x45, [0x1e], [0x9e]],
    ["KeyA", 0x05, [0x1c], [0xf0, 0x1c]],
    ["F7", 0x45, [0x41], [0xc1]],
    ["ArrowLeft", 0x45, [0xe0, 0x4b], [0xe0, 0xcb]],
    ["ArrowLeft", 0x05, [0xe0, 0x6b], [0xe0, 0xf0, 0x6b]],
  ])("%s with configuration %i", (code, configuration, make, release) => {
    const ps2 = i8042Bench(configuration);
    ps2.press(code);
    expect(ps2.fromKeyboard()).toEqual(make);
    ps2.release(code);
    expect(ps2.fromKeyboard()).toEqual(release);
  });

  it("changes the second byte of the keyboard's identity", () => {
    expect(i8042Bench(0x45).keyboard(0xf2)).toEqual([0xfa, 0xab, 0x41]);
    expect(i8042Bench(0x05).keyboard(0xf2)).toEqual([0xfa, 0xab, 0x83]);
  });

  it("leaves what the controller itself and the mouse say alone", () => {
    const ps2 = i8042Bench(0x47);
    expect([ps2.ask(0xd2, 0x1c), ps2.ask(0xd3, 0x1c)]).toEqual([0x1c, 0x1c]);
  });
});

describe("output port", () => {
  it("bit 1 is A20", () => {
    const ps2 = i8042Bench();
    ps2.command(0xd1, 0xdd);
    expect(ps2.bench.a20).toBe(false);
    expect(ps2.ask(0xd0)! & 0x03).toBe(0x01);
    ps2.command(0xd1, 0xdf);
    expect(ps2.bench.a20).toBe(true);
    expect(ps2.ask(0xd0)! & 0x03).toBe(0x03);
    ps2.command(0xdd);
    expect(ps2.bench.a20).toBe(false);
    ps2.command(0xdf);
    expect(ps2.bench.a20).toBe(true);
  });

  it("bit 0 is the reset line: FEh pulses it, FFh nothing", () => {
    const ps2 = i8042Bench();
    ps2.command(0xff);
    ps2.command(0xfd);
    expect(ps2.board).toEqual([]);
    ps2.command(0xfe);
    ps2.command(0xd1, 0xde);
    expect(ps2.board.filter(({ kind }) => kind === "reset")).toHaveLength(2);
  });
});

describe("the probe of Linux's i8042 driver", () => {
  it("finds a controller with a mouse port that is no multiplexer", () => {
    const ps2 = i8042Bench();
    expect(ps2.read(COMMAND) & 0x10, "keylock not active").toBe(0x10);
    const saved = ps2.ask(0x20)!;
    ps2.command(0x60, (saved | 0x10) & ~0x01);
    expect(ps2.ask(0x20), "the configuration byte sticks").toBe((saved | 0x10) & ~0x01);
    // Looped back through the mouse's side of the output buffer.
    ps2.command(0xd3, 0x5a);
    expect([ps2.read(COMMAND) & 0x21, ps2.read(DATA)]).toEqual([0x21, 0x5a]);
    ps2.command(0xa7);
    expect(ps2.ask(0x20)! & 0x20).toBe(0x20);
    ps2.command(0xa8);
    expect(ps2.ask(0x20)! & 0x20).toBe(0);
    // A multiplexer would answer the last of these with its version.
    expect([0xf0, 0x56, 0xa4].map((byte) => ps2.ask(0xd3, byte))).toEqual([0xf0, 0x56, 0xa4]);
    // IRQ 12 is tested with a looped byte.
    ps2.command(0x60, 0x47);
    ps2.lines.clear();
    ps2.command(0xd3, 0xa5);
    expect(ps2.lines.edges(MOUSE_GSI)).toBe(1);
    expect([ps2.read(COMMAND) & 0x21, ps2.read(DATA)]).toEqual([0x21, 0xa5]);
  });
});

describe("reset", () => {
  it("forgets everything", () => {
    const ps2 = i8042Bench();
    ps2.command(0x60, 0x03);
    ps2.press("KeyA");
    ps2.command(0xd4);
    ps2.reset();
    expect(ps2.ask(0x20)).toBe(0x45);
    expect(ps2.collect()).toEqual([]);
    expect(ps2.keyboard(0xf2), "port 60h talks to the keyboard again").toEqual([0xfa, 0xab, 0x41]);
  });
});

describe("whatever a guest does", () => {
  const step = fc.oneof(
    fc.record({ port: fc.constantFrom(DATA, COMMAND), value: fc.nat(0xff) }),
    fc.record({ port: fc.constantFrom(DATA, COMMAND) }),
    fc.record({ toMouse: fc.oneof(fc.nat(0xff), fc.constantFrom(0xf4, 0xeb, 0xe9, 0xf3, 200, 100, 80)) }),
    fc.record({ advance: fc.nat(3e6) }),
    fc.record({
      code: fc.constantFrom("KeyA", "Pause", "PrintScreen", "ShiftLeft", "F7", "NoKey"),
      down: fc.boolean(),
    }),
    fc.record({
      dx: fc.integer({ min: -1000, max: 1000 }),
      dz: fc.integer({ min: -20, max: 20 }),
      buttons: fc.nat(31),
    }),
    fc.record({ wait: fc.nat(3e9) }),
  );
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
  const run = (ps2: ReturnType<typeof i8042Bench>, steps: readonly Step[]) =>
    steps.map((s) => {
      if ("toMouse" in s) ps2.command(0xd4, s.toMouse);
      else if ("code" in s) ps2.api.key(s.code, s.down);
      else if ("dx" in s) ps2.api.mouse(s.dx, -s.dx, s.dz, s.buttons);
      else if ("advance" in s) ps2.clock.advance(s.advance);
      else if ("wait" in s) ps2.clock.advance(s.wait);
      else if ("value" in s) ps2.write(s.port, s.value);
      else return ps2.read(s.port);
      return [ps2.read(COMMAND), ps2.lines.level(KEYBOARD_GSI), ps2.lines.level(MOUSE_GSI), ps2.api.leds];
    });

  it("never throws, time passes, and save and load change nothing", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.array(step, { maxLength: 40 }), (before, after) => {
        const ps2 = i8042Bench();
        run(ps2, before);
        const copy = i8042Bench(0x45, ps2.bench.reincarnate());
        expect(run(copy, after)).toEqual(run(ps2, after));
        expect(copy.save()).toEqual(ps2.save());
      }),
      { numRuns: 150 },
    );
  });
});
