/** A Linux module drives one device by every way of ours, and the device cannot tell them apart. */

import { describe, expect, it } from "vitest";
import { buildPvModule } from "../../scripts/guests/pv-module.ts";
import { runPvModule } from "./portico-pv.ts";

const ACCESSES = 2000;
const WAYS = ["port-plain", "port-call", "port-handle", "mmio-plain", "mmio-handle"];
const CALLS = ["port-call", "port-handle", "mmio-handle"];

const built = buildPvModule();
const file = "file" in built ? built.file : "";

/** What the module must find: seeded with 1, so many reads, so many writes, one more read. */
function checksum(accesses: number): string {
  let value = 1;
  let sum = 0;
  const read = () => {
    value = (Math.imul(value, 1_664_525) + 1_013_904_223) >>> 0;
    sum = (Math.imul(sum, 31) + value) >>> 0;
  };
  for (let i = 0; i < accesses; i++) read();
  for (let i = 0; i < accesses; i++) value = (Math.imul(value, 31) + i) >>> 0;
  read();
  return `0x${sum.toString(16).padStart(8, "0")}`;
}

describe.skipIf("missing" in built)(`portico_pv${"missing" in built ? ` (not built: ${built.missing})` : ""}`, () => {
  it.each([
    ["directly", { ioPath: "direct" }, 15],
    ["by exits that are emulated", { ioPath: "emulated" }, 15],
    ["where there are no calls", { hypercalls: false }, 0],
  ] as const)("%s", async (_, options, features) => {
    const outcome = await runPvModule({ file, accesses: ACCESSES, ...options });
    // No error of the module's, and none in the kernel's log.
    expect(outcome.said).toContain("Portico guest done: 0\n");
    expect(outcome.text.trimEnd().split("\n")).toHaveLength(2 + WAYS.length);
    expect(outcome.features).toBe(features);

    const same = { reads: ACCESSES + 1, writes: ACCESSES, checksum: checksum(ACCESSES) };
    expect(outcome.rows).toEqual(
      WAYS.map((way) => ({
        way,
        by: features !== 0 && CALLS.includes(way) ? "call" : "instruction",
        ...same,
        readNs: expect.any(Number),
        writeNs: expect.any(Number),
      })),
    );

    expect(outcome.counts).toEqual({ reads: 5 * (ACCESSES + 1), writes: 5 * ACCESSES });
    // The handlers were called for these, for the counters before and after each way, for the seed, and to find the device.
    const called = outcome.ranges.map(({ space, reads, writes }) => ({ space, reads, writes }));
    expect(called).toEqual([
      { space: "port", reads: 3 * (ACCESSES + 1) + WAYS.length * 4 + 1, writes: 3 * ACCESSES + WAYS.length },
      { space: "mmio", reads: 2 * (ACCESSES + 1) + 1, writes: 2 * ACCESSES },
    ]);
  });
});
