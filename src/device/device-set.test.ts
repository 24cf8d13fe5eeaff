import { describe, expect, it } from "vitest";
import { defineDevice, ring3 } from "./define.ts";
import { deviceUnderTest } from "./testing.ts";

/** A scratch port, an alarm and a line: one of everything that the machine keeps for a device. */
const demo = defineDevice("demo", (host, options: { port: number; gsi: number }) => {
  const r = host.registers({ scratch: "u8", divisor: "u16", reload: "u32", since: "u64" });
  const kept = host.registers({ seconds: "u8" }, { keepOnReset: true });
  const line = host.interrupt(options.gsi);
  const alarm = host.timer(() => line.set(true));
  let log = "";
  host.ports(
    { base: options.port, length: 4 },
    {
      read: (offset) => (offset === 0 ? r.scratch : -2),
      write: (offset, value) => {
        if (offset === 0) r.scratch = value;
        if (offset === 1) alarm.set(host.clock.now() + value);
        if (offset === 2) line.set(false);
        log += `${offset}=${value} `;
      },
    },
  );
  host.ports({ base: 0x700, length: 2 }, { read: ring3(async (_offset, width) => width + 0x40) });
  host.onReset(() => {
    log += `reset with ${kept.seconds} `;
  });
  host.state({
    save: () => ({ log }),
    load: (saved: { log: string }) => {
      log = saved.log;
    },
  });
  return { r, kept, line, log: () => log };
});
const bench = () => deviceUnderTest(demo, { port: 0x300, gsi: 5 });

describe("registers", () => {
  it("wrap to the width of their slot", () => {
    const { r } = bench().api;
    r.scratch = 0x1ff;
    r.divisor = -1;
    r.reload = -2;
    r.since = 2 ** 53 - 1;
    expect({ ...r }).toEqual({ scratch: 0xff, divisor: 0xffff, reload: 0xffff_fffe, since: 2 ** 53 - 1 });
    r.since = 2 ** 40 + 5;
    expect(r.since).toBe(2 ** 40 + 5);
  });

  it("are zeroed by a reset unless kept", () => {
    const device = bench();
    device.api.r.scratch = 7;
    device.api.kept.seconds = 59;
    device.reset();
    expect(device.api.r.scratch).toBe(0);
    expect(device.api.log()).toBe("reset with 59 ");
  });

  it("refuse to overflow the room of all devices", () => {
    const greedy = defineDevice("greedy", (host) => {
      for (let i = 0; i < 40_000; i++) host.registers({ x: "u64" });
    });
    expect(() => deviceUnderTest(greedy, undefined)).toThrowError(
      expect.objectContaining({ code: "DEVICE_REGISTERS_FULL" }),
    );
  });
});

describe("accesses", () => {
  it("reach ring 0 with an offset, and read all ones where nobody is", async () => {
    const device = bench();
    device.write(0x300, 0x5a);
    expect(device.read(0x300)).toBe(0x5a);
    expect(device.read(0x301)).toBe(0xff);
    expect(device.read(0x310, 2)).toBe(0xffff);
    expect(await device.readLater(0x700, 2)).toBe(0x42);
    expect(() => device.read(0x700)).toThrow(/ring 3/);
  });
});

describe("interrupt lines", () => {
  it("are high while any source is", () => {
    const device = bench();
    device.api.line.set(true);
    device.lines.drive(5, true);
    device.api.line.set(false);
    expect(device.lines.level(5)).toBe(true);
    device.lines.drive(5, false);
    expect(device.lines.events).toEqual([
      { gsi: 5, high: true, at: 0 },
      { gsi: 5, high: false, at: 0 },
    ]);
  });

  it("make one edge for each pulse", () => {
    const device = bench();
    device.api.line.pulse();
    device.api.line.pulse();
    expect(device.lines.edges(5)).toBe(2);
    expect(device.lines.level(5)).toBe(true);
  });
});

describe("save and load", () => {
  it("bring back registers, timers, line levels and state without disturbing the lines", () => {
    const device = bench();
    device.write(0x300, 0x77);
    device.write(0x301, 100);
    device.api.line.set(true);
    device.clock.advance(60);
    const copy = device.reincarnate();
    expect(copy.read(0x300)).toBe(0x77);
    expect(copy.lines.level(5)).toBe(true);
    expect(copy.lines.events).toEqual([]);
    expect(copy.api.log()).toBe("0=119 1=100 ");
    copy.write(0x302, 0);
    copy.clock.advance(40);
    expect(copy.lines.events).toEqual([
      { gsi: 5, high: false, at: 60 },
      { gsi: 5, high: true, at: 100 },
    ]);
  });

  it("refuse a record of another format", () => {
    const device = bench();
    const saved = device.save();
    const mismatch = expect.objectContaining({ code: "SNAPSHOT_MISMATCH" });
    expect(() => device.load({ ...saved, version: 2 })).toThrowError(mismatch);
    expect(() => device.load({ ...saved, timers: [] })).toThrowError(mismatch);
    expect(() => device.load({ ...saved, registers: [{ other: 1 }] })).toThrowError(mismatch);
  });
});

describe("the set", () => {
  it("refuses a second device of the same name", () => {
    const device = bench();
    expect(() => device.add(demo, { port: 0x400, gsi: 6 })).toThrowError(
      expect.objectContaining({ code: "DEVICE_NAME_TAKEN" }),
    );
  });

  it("lowers lines and cancels timers at reset, before any device runs again", () => {
    const device = bench();
    device.api.line.set(true);
    device.write(0x301, 100);
    device.reset();
    expect(device.lines.level(5)).toBe(false);
    expect(device.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });

  it("lets go of everything on disposal", () => {
    const device = bench();
    device.write(0x301, 100);
    device.dispose();
    expect(device.read(0x300)).toBe(0xff);
    expect(device.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });
});
