/**
 * Where the expected logs follow Intel processors instead of Bochs: what the processor of this machine does. Skipped on
 * others.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const isIntel = process.arch === "x64" && readFileSync("/proc/cpuinfo", "utf8").includes("GenuineIntel");

function observe(bits: 32 | 64): string[] {
  const folder = mkdtempSync(join(tmpdir(), "portico-silicon-"));
  try {
    const program = join(folder, "silicon");
    const source = join(import.meta.dirname, "silicon.c");
    execFileSync("gcc", [`-m${bits}`, "-O1", "-fcf-protection=none", "-fno-pie", "-no-pie", "-o", program, source]);
    return execFileSync(program, { encoding: "utf8" }).trimEnd().split("\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.skipIf(!isIntel)("the processor of this machine", () => {
  it("64-bit user mode", () => {
    expect(observe(64)).toEqual([
      "CMPS with both operands missing reports ES:EDI",
      "FXSAVE into a missing page reports offset 1ff",
      "a trap inside REPE CMPSB: RF 1, ZF 0",
      "INT3 with RF set pushes RF 0",
      "IRETD in 64-bit mode pops RSP",
      "IRETQ to compatibility mode arrives at 10000101",
      "IRETQ with SS not present: #12 e=4",
    ]);
  });

  it("32-bit user mode", () => {
    expect(observe(32)).toEqual([
      "ARPL without a change to a read-only segment passes",
      "LAR of a flat segment: 00cff300",
    ]);
  });
});
