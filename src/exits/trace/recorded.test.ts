/** Real traces, of which test/traces/README.md tells: the guest's program says what must be found. */

import { createReadStream } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readTrace } from "./read-trace.ts";
import type { TraceReport } from "./report.ts";

const FOLDER = join(import.meta.dirname, "..", "..", "..", "test", "traces");
const read = (name: string): Promise<TraceReport> => readTrace(createReadStream(join(FOLDER, name)), name);

/** One round of guest.asm: place, exits, answered in the kernel, in user mode, units, emulated. */
const ROUND = [
  ["port", 0x80, "write", 1, 1, 0, 1, 1, 0],
  ["port", 0x61, "read", 1, 1, 1, 0, 1, 0],
  ["port", 0x3fd, "read", 1, 1, 0, 1, 1, 0],
  // OUT, 16 units of REP OUTSB each in an exit of its own, its end, and one OUTSB with an override.
  ["port", 0x3f8, "write", 1, 19, 0, 18, 18, 18],
  ["port", 0xcf8, "write", 4, 1, 0, 1, 1, 0],
  ["port", 0x40, "read", 2, 1, 1, 0, 1, 0],
  ["mmio", 0xd0000000, "read", 4, 1, 0, 1, 1, 1],
  ["mmio", 0xd0000000, "write", 4, 1, 0, 1, 1, 1],
  ["mmio", 0xd0000000, "read", 2, 1, 0, 1, 1, 1],
  ["mmio", 0xd0000000, "read", 1, 1, 0, 1, 1, 1],
  ["mmio", 0xfee00000, "read", 4, 1, 1, 0, 1, 1],
  ["mmio", 0xfee00000, "write", 4, 1, 1, 0, 1, 1],
  ["mmio", 0xfec00000, "write", 4, 1, 1, 0, 1, 1],
  ["mmio", 0xfec00000, "read", 4, 1, 1, 0, 1, 1],
  ["port", 0x500, "write", 2, 1, 1, 0, 1, 0],
  ["mmio", 0xd0001000, "write", 4, 1, 1, 0, 1, 1],
  // REP INSW: eight units in one exit, and its end.
  ["port", 0x1f0, "read", 2, 2, 0, 1, 8, 2],
] as const;

describe.each([
  ["debian-6.1-svm.ftrace.txt", "ftrace", 2],
  ["debian-6.1-svm.trace-cmd.txt", "trace-cmd", 1],
  ["debian-6.1-svm.perf.txt", "perf", 1],
] as const)("%s", (name, frontEnd, rounds) => {
  it("holds what the guest did, round by round", async () => {
    const { source, exits, places } = await read(name);
    expect(source).toMatchObject({ frontEnd, isa: "svm", malformed: 0, gaps: 0 });
    expect(exits).toMatchObject({ invalid: {}, outside: 0, ended: 2 * rounds, string: 20 * rounds });
    expect(places.length).toBe(ROUND.length);
    for (const [space, address, direction, bytes, all, kernel, user, units, emulated] of ROUND) {
      const place = places.find(
        (one) => one.space === space && one.address === address && one.direction === direction && one.bytes === bytes,
      );
      expect(place, `${space} ${address.toString(16)}`).toMatchObject({
        exits: all * rounds,
        kernel: kernel * rounds,
        user: user * rounds,
        units: units * rounds,
        emulated: emulated * rounds,
      });
      expect(place!.time!.count).toBe(all * rounds);
    }
  });
});

it("lost events: what is left is read", async () => {
  const { source, exits } = await read("debian-6.1-svm.lost.txt");
  expect(source).toMatchObject({ gaps: 1, lost: 3169, malformed: 0 });
  expect(exits.io).toBeGreaterThan(10);
});

it("a KVM that interprets: accesses without exits", async () => {
  const { source, exits, places } = await read("interpreter.perf.txt");
  expect(source).toMatchObject({ frontEnd: "perf", isa: undefined, malformed: 0 });
  expect(exits).toMatchObject({ total: 0 });
  expect(exits.outside).toBeGreaterThan(20);
  expect(places[0]!.outside).toBeGreaterThan(0);
});
