/** What `portico bench` prints: one table, and a chart of the same figures. */

import { table } from "./table.ts";

export interface BenchResult {
  readonly path: string;
  readonly context: string;
  readonly what: string;
  /** That the figures are means of. */
  readonly accesses: number;
  readonly nanoseconds: number;
  readonly bytesFetched: number;
  readonly walkLoads: number;
  readonly decodeSteps: number;
  readonly contextSwitches: number;
}

const BAR = 48;

/** What all others are compared with. */
const isReference = ({ path, context, what }: BenchResult): boolean =>
  path === "decoded" && context === "ring0" && what.startsWith("IN");

export function formatBench(results: readonly BenchResult[]): string {
  const reference = results.find(isReference)?.nanoseconds;
  const rows = results.map((row) => [
    row.path,
    row.context,
    row.what,
    row.nanoseconds.toFixed(1),
    reference === undefined ? "-" : (row.nanoseconds / reference).toFixed(2),
    ...[row.bytesFetched, row.walkLoads, row.decodeSteps, row.contextSwitches].map(work),
  ]);
  const head = ["path", "context", "one iteration", "ns", "to decoded", "fetched", "walk", "decode", "switches"];
  return `${table(head, 3, rows)}\n\n${chart(results)}`;
}

/** Means of counts: whole ones without decimals. */
function work(value: number): string {
  if (value === 0) return "0";
  return Math.abs(value - Math.round(value)) < 0.005 ? String(Math.round(value)) : value.toFixed(2);
}

/** Bars on a logarithmic scale from 1 ns: a path that waits for ring 3 would leave nothing to see of the others. */
function chart(results: readonly BenchResult[]): string {
  const names = results.map(({ path, context, what }) => `${path} ${context}, ${what}`);
  const width = Math.max(...names.map((name) => name.length));
  const scale = (ns: number): number => Math.log10(Math.max(ns, 1));
  const longest = Math.max(1, ...results.map(({ nanoseconds }) => scale(nanoseconds)));
  const lines = results.map(({ nanoseconds }, index) => {
    const length = Math.max(1, Math.round((scale(nanoseconds) / longest) * BAR));
    return `${names[index]!.padEnd(width)}  ${"█".repeat(length)} ${nanoseconds.toFixed(1)}`;
  });
  return `ns an access, logarithmic:\n\n${lines.join("\n")}`;
}
