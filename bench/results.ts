/** What one run of the measurements found, as it is written to JSON, and what is kept of it for comparison. */
import { cpus, release } from "node:os";
import type { BootTime } from "./machines.ts";
import type { Outcome, Variant } from "./measure.ts";
import { geometricMean } from "./statistics.ts";

export interface TestResult {
  readonly name: string;
  readonly variant: Variant;
  readonly unit: string;
  readonly engines: Record<string, Outcome>;
}

export interface Results {
  readonly date: string;
  readonly machine: string;
  readonly engines: Record<string, string>;
  /** 1-minute load average when the run began and when it ended, without itself at the beginning. */
  readonly load: { readonly before: number; readonly after: number };
  readonly repetitions: number;
  readonly tests: TestResult[];
  readonly boot: Record<string, BootTime | { readonly error: string }>;
  /** ms from the command to the first byte. */
  readonly start: Record<string, number>;
}

export type Clock = "wall" | "cpu";

/** Portico's time divided by a peer's, by row and peer. */
export type Ratios = Record<string, Record<string, number>>;

export const INTEGER_TESTS = [
  "crc32",
  "sha256",
  "quicksort",
  "bytecode",
  "structs",
  "recursion",
  "division",
  "branches",
  "copy-loop",
  "fill-loop",
];

export const describeMachine = (): string =>
  `${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} threads, ${process.platform} ${release()}`;

export function nsOf(outcome: Outcome | undefined, clock: Clock): number | undefined {
  if (outcome === undefined || !("ns" in outcome)) return undefined;
  return clock === "wall" ? outcome.ns : outcome.cpuNs;
}

export const rowName = ({ name, variant }: TestResult): string => `${name}/${variant}`;

export function ratiosOf(results: Results, clock: Clock): Ratios {
  const ratios: Ratios = {};
  const add = (row: string, own: number | undefined, peers: Record<string, number | undefined>) => {
    for (const [peer, time] of Object.entries(peers)) {
      if (peer === "portico" || own === undefined || time === undefined || time === 0) continue;
      (ratios[row] ??= {})[peer] = Number((own / time).toPrecision(3));
    }
  };
  const mapValues = <T>(all: Record<string, T>, f: (one: T) => number | undefined) =>
    Object.fromEntries(Object.entries(all).map(([key, value]) => [key, f(value)]));
  for (const test of results.tests) {
    const times = mapValues(test.engines, (outcome) => nsOf(outcome, clock));
    add(rowName(test), times.portico, times);
  }
  const cpuSeconds = mapValues(results.boot, (boot) => ("error" in boot ? undefined : boot.powerOffCpuS));
  add("linux-boot-cpu", cpuSeconds.portico, cpuSeconds);
  add("start", results.start.portico, results.start);
  for (const variant of [32, 64] as const) {
    const rows = INTEGER_TESTS.map((name) => ratios[`${name}/${variant}`]).filter((row) => row !== undefined);
    if (rows.length < INTEGER_TESTS.length) continue;
    for (const peer of Object.keys(rows[0]!)) {
      const values = rows.map((row) => row[peer]).filter((value) => value !== undefined);
      if (values.length === rows.length)
        (ratios[`integer-geometric-mean/${variant}`] ??= {})[peer] = Number(geometricMean(values).toPrecision(3));
    }
  }
  return ratios;
}

/** Ratios may grow by this much before `--check` complains: two runs on one machine differ by a fifth at times. */
const TOLERANCE = 1.3;

export function regressions(now: Ratios, recorded: Ratios): string[] {
  const complaints: string[] = [];
  for (const [row, peers] of Object.entries(recorded)) {
    for (const [peer, before] of Object.entries(peers)) {
      const ratio = now[row]?.[peer];
      if (ratio !== undefined && ratio > before * TOLERANCE) {
        complaints.push(`${row}: ${ratio} times ${peer}; recorded ${before}`);
      }
    }
  }
  return complaints;
}

/** Tests whose results differ between engines: then a figure means nothing. */
export function disagreements(results: Results): string[] {
  return results.tests.flatMap((test) => {
    const sums = Object.entries(test.engines).flatMap(([engine, one]) =>
      "checksum" in one ? [`${engine} ${one.checksum}`] : [],
    );
    const distinct = new Set(sums.map((sum) => sum.split(" ")[1]));
    return distinct.size > 1 ? [`${rowName(test)}: results differ: ${sums.join(", ")}`] : [];
  });
}
