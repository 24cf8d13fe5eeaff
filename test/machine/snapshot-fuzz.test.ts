import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import {
  copyOnWriteStorage,
  createMachine,
  decodeSnapshot,
  encodeSnapshot,
  type Machine,
  type MachineSnapshot,
  memoryStorage,
  PorticoError,
} from "../../src/index.ts";
import { crc32 } from "../../src/machine/crc32.ts";
import { guestOf, PORCH } from "./guests.ts";

const create = (): Machine =>
  createMachine({
    memoryMiB: 16,
    clock: "instructions",
    disks: [copyOnWriteStorage(memoryStorage(new Uint8Array(64 * 512)))],
  });

/** Porch in the middle of a timed loop, and a guest that has mapped handles. */
function saved(): MachineSnapshot {
  const { machine, type } = guestOf(create());
  machine.boot({ image: PORCH });
  machine.runUntil(1_000_000);
  type("time inb 0x3fd 400000\r");
  machine.runUntil(machine.clock.retired + 20_000);
  const handle = { space: "port", base: 0x3f8, length: 8, stale: false } as const;
  const snapshot = { ...machine.save(), handles: [{ serial: 1, handle }, { serial: 2 }] };
  machine.dispose();
  return snapshot;
}

/** The places of everything in it, as lists of names; byte arrays are one thing. */
function placesIn(value: unknown, place: readonly string[] = []): (readonly string[])[] {
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return [place];
  return [place, ...Object.entries(value).flatMap(([name, member]) => placesIn(member, [...place, name]))];
}

/** A copy with one thing in it replaced. */
function replaced<T>(value: T, [name, ...rest]: readonly string[], by: unknown): T {
  if (name === undefined) return by as T;
  const copy = Array.isArray(value) ? [...value] : { ...value };
  (copy as Record<string, unknown>)[name] = replaced((value as Record<string, unknown>)[name], rest, by);
  return copy as T;
}

/** Where the text of an encoded snapshot starts, and where the header says what it is. */
const HEADER = { crc: 12, covered: 16, text: 24, size: 32 };

describe("a snapshot that somebody has changed", () => {
  const snapshot = saved();
  const file = encodeSnapshot(snapshot);
  const places = placesIn(snapshot).slice(1);
  const { machine, type } = guestOf(create());
  afterAll(() => machine.dispose());

  /** Refused with an error that says so, or loaded: then the guest runs, into whatever it has become. */
  function restoreAndRun(decode: () => MachineSnapshot): void {
    try {
      machine.restore(decode());
    } catch (error) {
      expect(error).toBeInstanceOf(PorticoError);
      expect(error).toMatchObject({ code: expect.stringMatching(/^SNAPSHOT_(INVALID|MISMATCH)$/) });
      return;
    }
    machine.runUntil(machine.clock.retired + 20_000);
    type("x");
    machine.pc.keyboard.key("KeyA", true);
    machine.runUntil(machine.clock.retired + 5_000);
    machine.reset();
    try {
      machine.runUntil(machine.clock.retired + 10_000);
    } catch (error) {
      // The image that a reset loads again may be none any more.
      expect(error).toBeInstanceOf(PorticoError);
    }
    encodeSnapshot(machine.save());
  }

  const something = fc.oneof(
    fc.constantFrom<unknown>(
      null,
      undefined,
      "",
      {},
      [],
      true,
      0,
      -1,
      1.5,
      2 ** 31,
      2 ** 53,
      1e300,
      -1e300,
      Number.NaN,
    ),
    fc.anything({ withBigInt: true, withTypedArray: true, withNullPrototype: true }),
    fc.nat(),
  );

  it("anywhere, by anything", () => {
    const property = fc.property(fc.constantFrom(...places), something, (place, value) =>
      restoreAndRun(() => replaced(snapshot, place, value)),
    );
    fc.assert(property, { numRuns: 300 });
  }, 120_000);

  it.each([
    ["registers", [Number.NaN, "5", undefined]],
    ["timers", [Number.NaN, -1, "soon"]],
    ["lines", [1, null, "high"]],
  ])("in the %s of a device is refused for what it is", (kind, values) => {
    const ofKind = places.filter(
      (place) => place[0] === "devices" && place[2] === kind && place.length === (kind === "registers" ? 5 : 4),
    );
    expect(ofKind.length).toBeGreaterThan(3);
    for (const place of ofKind) {
      for (const value of values) {
        expect(() => machine.restore(replaced(snapshot, place, value)), place.join()).toThrow(
          expect.objectContaining({
            code: "SNAPSHOT_INVALID",
            message: `the snapshot's '${place[1]}' holds what no device saves`,
          }),
        );
      }
    }
  });

  it("in its file's text, the checksum being right", () => {
    const text = new DataView(file.buffer).getUint32(HEADER.text, true);
    const flips = fc.array(fc.tuple(fc.nat(text - 1), fc.integer({ min: 1, max: 15 })), { minLength: 1, maxLength: 2 });
    const property = fc.property(flips, (changes) => {
      const damaged = Uint8Array.from(file);
      for (const [at, bits] of changes) damaged[HEADER.size + at]! ^= bits;
      const crc = crc32(damaged.subarray(HEADER.covered));
      new DataView(damaged.buffer).setUint32(HEADER.crc, crc, true);
      restoreAndRun(() => decodeSnapshot(damaged));
    });
    fc.assert(property, { numRuns: 300 });
  }, 120_000);

  it("in the processor's block", () => {
    const flips = fc.array(fc.tuple(fc.nat(snapshot.cpu.length - 1), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 8,
    });
    const property = fc.property(flips, (changes) => {
      const cpu = Uint8Array.from(snapshot.cpu);
      for (const [at, bits] of changes) cpu[at]! ^= bits;
      restoreAndRun(() => ({ ...snapshot, cpu }));
    });
    fc.assert(property, { numRuns: 150 });
  }, 120_000);

  it("in a file that is cut off or has bytes changed", () => {
    const change = fc.record({ end: fc.nat(file.length), at: fc.nat(file.length - 1), bits: fc.nat(255) });
    const property = fc.property(change, ({ end, at, bits }) => {
      fc.pre(end < file.length || bits !== 0);
      const damaged = file.slice(0, end);
      if (at < end) damaged[at]! ^= bits;
      expect(() => decodeSnapshot(damaged)).toThrow(
        expect.objectContaining({ code: expect.stringMatching(/^SNAPSHOT_(INVALID|MISMATCH)$/) }),
      );
    });
    fc.assert(property, { numRuns: 150 });
  }, 120_000);
});

describe("an image or a disk that is a Buffer of Node", () => {
  it("is one still in a snapshot that went through a file", () => {
    const options = { memoryMiB: 8, clock: "instructions" } as const;
    const bytes = Buffer.alloc(512, 7);
    const first = createMachine({ ...options, disks: [memoryStorage(bytes)] });
    first.boot({ image: Buffer.from(PORCH) });
    const snapshot = encodeSnapshot(first.save());
    bytes.fill(0);
    const copy = Buffer.alloc(512);
    const second = guestOf(createMachine({ ...options, disks: [memoryStorage(copy)] }));
    second.machine.restore(decodeSnapshot(snapshot));
    expect(copy.every((byte) => byte === 7)).toBe(true);
    second.machine.reset();
    second.machine.runUntil(1_000_000);
    expect(second.said()).toMatch(/portico porch/);
    first.dispose();
    second.machine.dispose();
  });
});
