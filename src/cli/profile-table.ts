/** What `--profile` prints: where the guest's accesses went and which context answered them. */

import type { ExitStatistics } from "../exits/index.ts";
import type { IoStatistics, RangeStatistics, UnclaimedStatistics } from "../io/index.ts";
import { count, share, table } from "./table.ts";

const accesses = (entry: { reads: number; writes: number }): number => entry.reads + entry.writes;
const sum = (entries: readonly { reads: number; writes: number }[]): number =>
  entries.reduce((total, entry) => total + accesses(entry), 0);

/** The whole report, with a newline at its end. */
export function formatProfile(profile: IoStatistics & { readonly exits?: readonly ExitStatistics[] }): string {
  const total = sum(profile.ranges) + sum(profile.unclaimed);
  const lines = [summary(profile, total)];

  const touched = profile.ranges.filter((range) => accesses(range) + range.deferrals > 0);
  if (touched.length > 0) lines.push("", rangeTable(touched, total));
  const ranges = new Set(profile.ranges.map(key));
  const idle = ranges.size - new Set(touched.map(key)).size;
  if (idle > 0) lines.push("", `${idle} ${idle === 1 ? "range was" : "ranges were"} never accessed.`);

  const unclaimed = profile.unclaimed.filter((entry) => accesses(entry) > 0);
  if (unclaimed.length > 0)
    lines.push("", "Unclaimed: reads gave all ones, writes were dropped.", unclaimedTable(unclaimed, total));
  if (profile.exits !== undefined && profile.exits.length > 0)
    lines.push("", "Exits, and what they took:", exitTable(profile.exits));
  return `${lines.join("\n")}\n`;
}

function exitTable(exits: readonly ExitStatistics[]): string {
  const rows = exits.map((row) => [
    row.kind,
    ...[row.exits, row.bytesFetched, row.walkLoads, row.decodeSteps, row.contextSwitches, row.reflected].map((n) =>
      count.format(n),
    ),
  ]);
  return table(["path", "exits", "bytes fetched", "page-walk loads", "decode steps", "switches", "#GP"], 1, rows);
}

function summary(profile: IoStatistics, total: number): string {
  const parts: string[] = [];
  const contexts = [...new Set(profile.ranges.map((range) => range.context))];
  for (const context of contexts) {
    const answered = sum(profile.ranges.filter((range) => range.context === context));
    if (answered > 0) parts.push(`${share(answered, total)} in ${context}`);
  }
  const unclaimed = sum(profile.unclaimed);
  if (unclaimed > 0) parts.push(`${share(unclaimed, total)} unclaimed`);
  const what = `${count.format(total)} ${total === 1 ? "access" : "accesses"} to ports and MMIO`;
  return parts.length > 0 ? `${what}: ${parts.join(", ")}` : what;
}

/** Busiest range first; a range's contexts stay together, in the order given. */
function rangeTable(ranges: readonly RangeStatistics[], total: number): string {
  const groups = new Map<string, RangeStatistics[]>();
  for (const range of ranges) {
    const group = groups.get(key(range));
    if (group) group.push(range);
    else groups.set(key(range), [range]);
  }
  const sorted = [...groups.values()].sort((a, b) => sum(b) - sum(a) || a[0]!.base - b[0]!.base);
  const rows = sorted.flatMap((group) =>
    group.map((range, index) => [
      index === 0 ? address(range) : "",
      index === 0 ? range.owner : "",
      range.context,
      count.format(range.reads),
      count.format(range.writes),
      count.format(range.deferrals),
      share(accesses(range), total),
    ]),
  );
  return table(["range", "owner", "context", "reads", "writes", "deferrals", "share"], 3, rows);
}

function unclaimedTable(entries: readonly UnclaimedStatistics[], total: number): string {
  const sorted = [...entries].sort((a, b) => accesses(b) - accesses(a) || a.base - b.base);
  const rows = sorted.map((entry) => [
    entry.base < 0 ? `${entry.space} elsewhere` : address(entry),
    entry.owner ?? "-",
    count.format(entry.reads),
    count.format(entry.writes),
    share(accesses(entry), total),
  ]);
  return table(["range", "owner", "reads", "writes", "share"], 2, rows);
}

const key = (range: RangeStatistics): string => `${range.space} ${range.base} ${range.length} ${range.owner}`;

/** `port 0x03f8-0x03ff`, `mmio 0xfee00000-0xfee00fff`; one address alone if there is only one. */
function address({ space, base, length }: { space: "port" | "mmio"; base: number; length: number }): string {
  const digits = space === "port" ? 4 : 8;
  const hex = (value: number): string => `0x${value.toString(16).padStart(digits, "0")}`;
  return length === 1 ? `${space} ${hex(base)}` : `${space} ${hex(base)}-${hex(base + length - 1)}`;
}
