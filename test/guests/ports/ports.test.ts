/** The guest `ports`: port instructions of all forms, in all modes and under all conditions, booted on every path. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { IO_PATHS, type IoPath } from "../../../src/exits/index.ts";
import { GuestProcess } from "../guest-process.ts";
import { asBochs, PORTS, qemuErrs, type Report, type Run, readReport, runOnPortico, withoutRf } from "./report.ts";

const QEMU_MS = 300_000;
/** Far fewer than there are would be a list that has lost its cases. */
const LEAST = { instructions: 6000, calls: 600, testDevice: 4000, accesses: 10_000 } as const;

describe("the guest ports", () => {
  let reference: Run;
  let report: Report;
  beforeAll(async () => {
    reference = await runOnPortico({ ioPath: "direct", compile: "never" });
    report = readReport(reference.text);
  }, 300_000);

  it("runs all its cases, on devices of all contexts", () => {
    expect(report.instructions.size).toBeGreaterThan(LEAST.instructions);
    expect(report.calls.size).toBeGreaterThan(LEAST.calls);
    expect(report.testDevice.size).toBeGreaterThan(LEAST.testDevice);
    expect(reference.log.length).toBeGreaterThan(LEAST.accesses);
    for (const piece of ["r0@320", "r0@80", "r3@320", "r3@80", "mixed", "string", "bulk"]) {
      expect(
        reference.log.some((line) => line.includes(` ${piece} `)),
        piece,
      ).toBe(true);
    }
  });

  it("says by call what it says by instruction", () => {
    for (const [name, result] of report.calls) expect([name, result]).toEqual([name, report.instructions.get(name)]);
    expect(reference.exits.get("hypercall")).toBeGreaterThan(LEAST.calls);
  });

  const others: [IoPath, "auto" | "always" | "never"][] = [
    ...IO_PATHS.map((path): [IoPath, "auto"] => [path, "auto"]),
    ["direct", "always"],
    ["trap", "never"],
  ];
  it.each(others)("says the same on the path %s, compiled: %s", async (ioPath, compile) => {
    const { text, log, exits } = await runOnPortico({ ioPath, compile });
    const [expected, actual] = [reference.text.split("\n"), text.split("\n")];
    const different = actual.findIndex((line, index) => line !== expected[index]);
    expect(actual[different]).toBe(expected[different]);
    expect(actual.length).toBe(expected.length);
    expect(log).toEqual(reference.log);
    if (ioPath !== "direct") expect(exits.get(ioPath)).toBeGreaterThan(LEAST.instructions);
  });

  it("says the same on QEMU, whose errors are known", async () => {
    const guest = GuestProcess.qemu64("-kernel", PORTS);
    try {
      await guest.until(/\nend\n/, QEMU_MS);
      expect(await guest.exit()).toBe(1);
      const { instructions } = readReport(guest.output);
      expect([...instructions.keys()]).toEqual([...report.instructions.keys()]);
      const differences = [...instructions].filter(
        ([name, result]) => !qemuErrs(name) && withoutRf(result) !== withoutRf(report.instructions.get(name)!),
      );
      expect(differences.map(([name, result]) => [name, result, report.instructions.get(name)])).toEqual([]);
    } finally {
      guest.dispose();
    }
  });

  it("says what Bochs says where QEMU errs", () => {
    const recorded = readFileSync(join(import.meta.dirname, "bochs.txt"), "utf8").trimEnd();
    for (const line of recorded.split("\n")) {
      const [, name = "", expected] = /^(\S+ .*?): (.*)$/.exec(line) ?? [];
      expect([name, asBochs(name, report.instructions.get(name) ?? "missing")]).toEqual([name, expected]);
    }
  });

  // Another compiler gives other bytes: the committed image is Debian 12's.
  const compiler = spawnSync("gcc", ["-dumpfullversion"], { encoding: "utf8" }).stdout?.trim();

  it.skipIf(compiler !== "12.2.0")("is what its sources give", () => {
    const made = spawnSync("make", ["-C", dirname(PORTS), "check"], { encoding: "utf8" });
    expect(made.stderr + made.stdout).not.toContain("differ");
    expect(made.status).toBe(0);
  });
});
