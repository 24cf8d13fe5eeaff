import { describe, expect, it } from "vitest";
import { type BenchResult, formatBench } from "./bench-table.ts";

const row = (path: string, context: string, nanoseconds: number, more: Partial<BenchResult> = {}): BenchResult => ({
  path,
  context,
  what: "IN EAX, DX",
  accesses: 1000,
  nanoseconds,
  bytesFetched: 0,
  walkLoads: 0,
  decodeSteps: 0,
  contextSwitches: 2,
  ...more,
});

describe("bench table", () => {
  it("compares with the decoded path in ring 0, shows the work, and draws a bar for each", () => {
    const text = formatBench([
      row("decoded", "ring0", 100),
      row("emulated", "ring0", 450.04, { bytesFetched: 15, decodeSteps: 1.25 }),
      row("trap", "ring3", 10_000, { walkLoads: 0.001 }),
    ]);
    const lines = text.split("\n");
    expect(lines.slice(0, 4)).toEqual([
      "path      context  one iteration       ns  to decoded  fetched  walk  decode  switches",
      "decoded   ring0    IN EAX, DX       100.0        1.00        0     0       0         2",
      "emulated  ring0    IN EAX, DX       450.0        4.50       15     0    1.25         2",
      "trap      ring3    IN EAX, DX     10000.0      100.00        0     0       0         2",
    ]);
    const bars = lines.filter((line) => line.includes("█")).map((line) => line.split("█").length - 1);
    expect(bars).toEqual([24, 32, 48]);
  });

  it("has no ratios without the path to compare with", () => {
    expect(formatBench([row("trap", "ring0", 5)])).toMatch(/5\.0 +- /);
  });
});
