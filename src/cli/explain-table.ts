/** What `portico explain` prints: where exits went, what they cost, and what moving their handlers would save. */

import type {
  AccessCounts,
  AccessKind,
  Octave,
  PlaceReport,
  Saving,
  Summary,
  TraceReport,
  VcpuReport,
} from "../exits/trace/index.ts";
import { count, share, table } from "./table.ts";

export interface ReportOptions {
  /** Lines of a table at most. */
  readonly top: number;
  /** A line for each vCPU of a place. */
  readonly perVcpu: boolean;
}

const UNKNOWN = "-";
const ISA = { vmx: "VT-x", svm: "AMD-V", both: "VT-x and AMD-V" } as const;
const FRONT_END = { ftrace: "/sys/kernel/tracing", "trace-cmd": "trace-cmd report", perf: "perf script" } as const;
/** Columns of the longest bar. */
const BAR = 40;

/** The whole report, with a newline at its end. */
export function formatReport(report: TraceReport, options: ReportOptions): string {
  const parts = [
    summary(report),
    placeTable(report, options),
    report.vcpus.length > 1 ? vcpuTable(report.vcpus, options.top) : "",
    reasonTable(report, options.top),
    histogram(report),
    savingsTable(report, options.top),
    notes(report).join("\n"),
  ];
  return `${parts.filter((part) => part !== "").join("\n\n")}\n`;
}

function summary({ source, exits, vcpus }: TraceReport): string {
  const span = source.spanNs === undefined ? "" : ` in ${duration(source.spanNs)}`;
  const isa = source.isa === undefined ? "" : `, ${ISA[source.isa]}`;
  const lines = [
    `${plural(source.events, "event")}${span}, as ${FRONT_END[source.frontEnd ?? "ftrace"]} prints them${isa}`,
  ];
  const what = [`${count.format(exits.io)} of them port and MMIO accesses`];
  if (exits.io > 0) {
    if (exits.user !== undefined && exits.kernel !== undefined) {
      what.push(
        `${share(exits.kernel, exits.io)} answered in the kernel and ${share(exits.user, exits.io)} in user mode`,
      );
    }
    what.push(`${share(exits.string, exits.io)} string`, `${share(exits.emulated, exits.io)} emulated`);
  }
  if (exits.total > 0)
    lines.push(`${plural(exits.total, "exit")} on ${plural(vcpus.length, "vCPU")}, ${what.join("; ")}`);
  if (exits.outside > 0) {
    lines.push(`${plural(exits.outside, "access", "accesses")} without an exit, made by KVM's interpreter`);
  }
  return lines.join("\n");
}

function placeTable({ places, exits, vcpus }: TraceReport, { top, perVcpu }: ReportOptions): string {
  if (places.length === 0) return "";
  const split = perVcpu && vcpus.length > 1;
  if (exits.io === 0) return outsideTable(places, top);
  const outside = exits.outside > 0;
  const units = places.some((place) => place.units !== place.exits);
  const head = [
    "place",
    "access",
    ...(split ? ["vCPU"] : []),
    "exits",
    "per s",
    "kernel",
    "user",
    "string",
    "emulated",
    ...(units ? ["units"] : []),
    ...(outside ? ["no exit"] : []),
    "min",
    "median",
    "p99",
    "total",
  ];
  const cells = (counts: AccessCounts): string[] => [
    count.format(counts.exits),
    counts.perSecond === undefined ? UNKNOWN : count.format(Math.round(counts.perSecond)),
    known(counts.kernel),
    known(counts.user),
    count.format(counts.string),
    count.format(counts.emulated),
    ...(units ? [count.format(counts.units)] : []),
    ...(outside ? [count.format(counts.outside)] : []),
    ...times(counts.time),
  ];
  const rows = places.slice(0, top).flatMap((place): string[][] => {
    const label = [placeName(place), accessName(place)];
    if (!split) return [[...label, ...cells(place)]];
    return place.vcpus.map((one, index) => [...(index === 0 ? label : ["", ""]), vcpuName(one, vcpus), ...cells(one)]);
  });
  return [table(head, split ? 3 : 2, rows), ...more(places.slice(top))].join("\n");
}

/** Of a trace without any I/O exit: only what was accessed. */
function outsideTable(places: readonly PlaceReport[], top: number): string {
  const rows = places
    .slice(0, top)
    .map((place) => [placeName(place), accessName(place), count.format(place.outside), count.format(place.units)]);
  return [table(["place", "access", "accesses", "units"], 2, rows), ...more(places.slice(top))].join("\n");
}

function more(rest: readonly PlaceReport[]): string[] {
  if (rest.length === 0) return [];
  const all = sum(rest, (place) => place.exits + place.outside);
  return [`${plural(rest.length, "more place")} with ${plural(all, "access", "accesses")}; --top shows them`];
}

function times(time: Summary | undefined): string[] {
  if (time === undefined) return [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN];
  return [time.minNs, time.medianNs, time.p99Ns, time.totalNs].map(duration);
}

function vcpuTable(vcpus: readonly VcpuReport[], top: number): string {
  const rows = vcpus
    .slice(0, top)
    .map((one) => [
      vcpuName(one, vcpus),
      count.format(one.exits),
      count.format(one.io),
      known(one.user),
      duration(one.outsideNs),
    ]);
  return table(["vCPU", "exits", "I/O", "user", "outside the guest, awake"], 1, rows);
}

/** Several machines in one trace have vCPUs of the same number: then the thread tells them apart. */
function vcpuName(one: { vcpu: number | undefined; thread: number | undefined }, all: readonly VcpuReport[]): string {
  const number = one.vcpu === undefined ? "?" : String(one.vcpu);
  const alone = one.vcpu !== undefined && all.filter((other) => other.vcpu === one.vcpu).length === 1;
  return alone || one.thread === undefined ? number : `${number} (thread ${one.thread})`;
}

function reasonTable({ reasons }: TraceReport, top: number): string {
  if (reasons.length === 0) return "";
  const rows = reasons
    .slice(0, top)
    .map((reason) => [reason.reason, count.format(reason.exits), duration(reason.totalNs)]);
  return table(["exit reason", "exits", "total"], 1, rows);
}

function histogram({ histogram: { kernel, user }, exits }: TraceReport): string {
  const octaves = [...kernel, ...user].map((octave) => octave.exponent);
  if (octaves.length === 0) return "";
  const of = (list: readonly Octave[], exponent: number): number =>
    list.find((octave) => octave.exponent === exponent)?.count ?? 0;
  const first = Math.min(...octaves);
  const rows = Array.from({ length: Math.max(...octaves) - first + 1 }, (_, index) => {
    const exponent = first + index;
    return { exponent, kernel: of(kernel, exponent), user: of(user, exponent) };
  });
  const most = Math.max(...rows.map((row) => row.kernel + row.user));
  const lines = rows.map((row) => {
    const kernelLength = Math.round((row.kernel / most) * BAR);
    const length = Math.round(((row.kernel + row.user) / most) * BAR);
    const bar = "=".repeat(kernelLength) + "#".repeat(Math.max(0, length - kernelLength));
    const label = `${duration(2 ** row.exponent).padStart(7)} -${duration(2 ** (row.exponent + 1)).padStart(8)}`;
    return `${label}  ${bar.padEnd(BAR)} ${count.format(row.kernel + row.user).padStart(9)}`;
  });
  const key = exits.user === undefined ? "" : " (= answered in the kernel, # in user mode)";
  return [`Time to re-entry of I/O exits${key}`, ...lines].join("\n");
}

const KIND: Readonly<Record<AccessKind | "other exits", string>> = {
  port: "a port",
  string: "a string",
  mmio: "MMIO",
  "other exits": "other exits",
};

function savingsTable({ savings, source, vcpus }: TraceReport, top: number): string {
  const { reference, candidates } = savings;
  if (candidates.length === 0) return "";
  const costs = reference.map(({ kind, medianNs, from }) => {
    return `${duration(medianNs)} for ${KIND[kind]}${from === kind ? "" : ` (measured on ${KIND[from]})`}`;
  });
  const title =
    costs.length === 0
      ? "What moving a handler inward would save"
      : `What moving a handler inward would save, if an answer in the kernel costs ${costs.join(", ")}`;
  // A share of what the vCPUs had: the trace's length, once for each.
  const available = source.spanNs === undefined ? undefined : source.spanNs * vcpus.length;
  const saved = (ns: number): string =>
    available === undefined ? duration(ns) : `${duration(ns)} ${share(ns, available).padStart(5)}`;
  const rows = candidates
    .slice(0, top)
    .map((one: Saving) => [
      placeName(one),
      accessName(one),
      count.format(one.exits),
      duration(one.totalNs),
      one.inKernelNs === undefined ? UNKNOWN : saved(one.inKernelNs),
      saved(one.withoutExitNs),
    ]);
  return [title, table(["place", "access", "exits", "now", "in the kernel", "without an exit"], 2, rows)].join("\n");
}

/** What limits the report. */
function notes({ source, exits, elsewhere }: TraceReport): string[] {
  const has = (name: string): boolean => source.eventNames.includes(name);
  const list: string[] = [];
  const note = (condition: boolean, text: string): void => {
    if (condition) list.push(`note: ${text}`);
  };
  note(exits.total === 0, "no kvm_exit in the trace: nothing to decode, and no times");
  note(exits.total > 0 && !has("kvm_entry"), "no kvm_entry in the trace: times to re-entry are unknown");
  note(!has("kvm_userspace_exit"), "no kvm_userspace_exit in the trace: who answered is unknown");
  note(
    exits.unplaced > 0,
    `${plural(exits.unplaced, "MMIO exit")} at an unknown address: record kvm_mmio and kvm_fast_mmio`,
  );
  const losses = source.lost > 0 ? `at least ${plural(source.lost, "event")}` : "events";
  note(source.gaps > 0, `the recorder lost ${losses} in ${plural(source.gaps, "place")}: counts are too low`);
  note(source.malformed > 0, `${plural(source.malformed, "line")} cut off or damaged, and not counted`);
  note(exits.ended > 0, `${plural(exits.ended, "string exit")} moved nothing: a REP that had ended; nobody answered`);
  note(has("kvm_entry") && exits.untimed > 0, `${plural(exits.untimed, "exit")} without the entry after it: no time`);
  note(source.spanNs === undefined, "the trace's clock does not count seconds: no times");
  for (const [fault, number] of Object.entries(exits.invalid)) {
    list.push(`note: ${plural(number, "exit")} with information that no processor writes (${fault})`);
  }
  note(elsewhere > 0, `${plural(elsewhere, "exit")} at more places than are told apart`);
  return list;
}

function placeName({ space, address }: { space: "port" | "mmio"; address: number }): string {
  return `${space} 0x${address.toString(16).padStart(space === "port" ? 4 : 8, "0")}`;
}

function accessName({ direction, bytes }: Pick<PlaceReport, "direction" | "bytes">): string {
  return `${direction} ${bytes === 0 ? "?" : bytes}`;
}

/** Three digits and a unit. */
export function duration(ns: number): string {
  const units: readonly [number, string][] = [
    [1e9, "s"],
    [1e6, "ms"],
    [1e3, "µs"],
    [1, "ns"],
  ];
  const [size, unit] = units.find(([size]) => ns >= size * 0.9995) ?? [1, "ns"];
  const value = ns / size;
  const digits = unit === "ns" || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return `${unit === "s" && value >= 1000 ? count.format(Math.round(value)) : value.toFixed(digits)} ${unit}`;
}

const known = (number: number | undefined): string => (number === undefined ? UNKNOWN : count.format(number));
const sum = <T>(list: readonly T[], pick: (one: T) => number): number => list.reduce((all, one) => all + pick(one), 0);

function plural(number: number, one: string, many = `${one}s`): string {
  return `${count.format(number)} ${number === 1 ? one : many}`;
}
