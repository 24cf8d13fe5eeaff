import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { TraceAnalysis } from "./analysis.ts";
import type { PlaceReport, TraceReport } from "./report.ts";
import { print, SAMPLES, type Style, type Told, tell } from "./testing.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

function analyse(text: string): TraceReport {
  const analysis = new TraceAnalysis();
  analysis.push(bytes(text));
  return analysis.end();
}

const PAGE = 4096;

/** The name of the place that an exit of the story is told of. */
function placeOf(told: Told, isa: Style["isa"]): string | undefined {
  const { what, address, direction, bytes } = told;
  if (what === "other" || what === "ram") return undefined;
  if (what === "port" || what === "string") return `port ${address} ${direction} ${bytes}`;
  // kvm_fast_mmio knows no size.
  return `mmio ${address - (address % PAGE)} ${direction} ${what === "notify" && isa === "vmx" ? 0 : bytes}`;
}

function group(story: readonly Told[], isa: Style["isa"]): Map<string, Told[]> {
  const groups = new Map<string, Told[]>();
  for (const told of story) {
    const place = placeOf(told, isa);
    if (place !== undefined) groups.set(place, [...(groups.get(place) ?? []), told]);
  }
  return groups;
}

const count = (list: readonly Told[], test: (told: Told) => boolean): number => list.filter(test).length;
const total = (list: readonly Told[], pick: (told: Told) => number): number =>
  list.reduce((sum, told) => sum + pick(told), 0);

function expectPlace(report: PlaceReport | undefined, truth: readonly Told[], isa: Style["isa"]): void {
  const times = truth.map((told) => told.ns).sort((a, b) => a - b);
  expect(report).toMatchObject({
    exits: truth.length,
    user: count(truth, (told) => told.user),
    kernel: count(truth, (told) => !told.user && told.units > 0),
    ended: count(truth, (told) => told.units === 0),
    string: count(truth, (told) => told.what === "string"),
    emulated: count(truth, ({ what }) => what === "string" || what === "mmio" || (what === "notify" && isa === "svm")),
    units: total(truth, (told) => told.units),
    outside: 0,
  });
  const time = report?.time;
  expect(time).toMatchObject({
    count: truth.length,
    minNs: times[0],
    maxNs: times.at(-1),
    totalNs: total(truth, (told) => told.ns),
  });
  for (const [found, part] of [
    [time!.medianNs, 0.5],
    [time!.p99Ns, 0.99],
  ] as const) {
    const truly = times[Math.ceil(part * times.length) - 1]!;
    expect(Math.abs(found - truly) / truly).toBeLessThan(0.01);
  }
}

const STYLES: readonly Style[] = [
  { isa: "vmx", frontEnd: "trace-cmd", format: "info" },
  { isa: "vmx", frontEnd: "ftrace", format: "info1" },
  { isa: "vmx", frontEnd: "perf", format: "requests" },
  { isa: "vmx", frontEnd: "trace-cmd", format: "plugin" },
  { isa: "svm", frontEnd: "perf", format: "info" },
  { isa: "svm", frontEnd: "trace-cmd", format: "info1" },
  { isa: "svm", frontEnd: "ftrace", format: "requests" },
  { isa: "svm", frontEnd: "perf", format: "plugin" },
];

describe.each(STYLES)("a told story: $isa, $frontEnd, kvm_exit of kind $format", (style) => {
  const { isa, frontEnd } = style;
  const story = tell(7, 4000, 3);
  const text = print(style, story);
  const report = analyse(text);

  it("what it is", () => {
    expect(report.source).toMatchObject({ frontEnd, isa, malformed: 0, gaps: 0, lost: 0 });
    expect(report.exits).toMatchObject({ total: 4000, untimed: 0, invalid: {}, unplaced: 0, outside: 0 });
    expect(report.source.lines).toBe(text.split("\n").length - 1);
  });

  it("every place: counts, who answered, times", () => {
    const truth = group(story, isa);
    expect(report.places.length).toBe(truth.size);
    for (const [name, list] of truth) {
      const place = report.places.find((one) => `${one.space} ${one.address} ${one.direction} ${one.bytes}` === name);
      expectPlace(place, list, isa);
      for (const vcpu of [0, 1, 2]) {
        const own = list.filter((told) => told.vcpu === vcpu);
        expect(place!.vcpus.find((one) => one.vcpu === vcpu)).toMatchObject({
          exits: own.length,
          time: { totalNs: total(own, (told) => told.ns) },
        });
      }
    }
  });

  it("every vCPU", () => {
    expect(report.vcpus.map(({ vcpu }) => vcpu)).toEqual([0, 1, 2]);
    for (const { vcpu, exits, io, user, outsideNs } of report.vcpus) {
      const own = story.filter((told) => told.vcpu === vcpu);
      expect({ exits, io, user, outsideNs }).toEqual({
        exits: own.length,
        io: count(own, (told) => placeOf(told, isa) !== undefined),
        user: count(own, (told) => told.user),
        outsideNs: total(own, (told) => told.ns),
      });
    }
  });

  it("what moving handlers inward would save", () => {
    const { reference, candidates } = report.savings;
    const inKernel = story.filter((told) => told.what === "port" && !told.user).map((told) => told.ns);
    const median = inKernel.sort((a, b) => a - b)[Math.ceil(inKernel.length / 2) - 1]!;
    const port = reference.find((one) => one.kind === "port")!;
    expect(port.from).toBe("port");
    expect(Math.abs(port.medianNs - median) / median).toBeLessThan(0.01);
    const com1 = story.filter((told) => told.address === 0x3f8);
    const spent = total(com1, (told) => told.ns);
    expect(candidates.find((one) => one.address === 0x3f8)).toMatchObject({
      totalNs: spent,
      withoutExitNs: spent,
      inKernelNs: spent - com1.length * port.medianNs,
    });
    expect(candidates.find((one) => one.address === 0x20)!.inKernelNs).toBeUndefined();
  });

  it("is the same in pieces of any size", () => {
    const analysis = new TraceAnalysis();
    const all = bytes(text);
    for (let at = 0, size = 1; at < all.length; at += size, size = (size * 7 + 3) % 5003) {
      analysis.push(all.subarray(at, at + size));
      if (size === 0) size = 1;
    }
    expect(analysis.end()).toEqual(report);
  });
});

describe.each(SAMPLES)("$file", ({ file, style, story }) => {
  const text = readFileSync(join(import.meta.dirname, "..", "..", "..", "test", "traces", file), "utf8");

  it("is what scripts/trace-samples.ts writes", () => {
    expect(text).toBe(print(style, tell(...story)));
  });

  it("tells its story", () => {
    const report = analyse(text);
    expect(report.source).toMatchObject({ isa: style.isa, frontEnd: style.frontEnd, malformed: 0 });
    for (const [name, list] of group(tell(...story), style.isa)) {
      const place = report.places.find((one) => `${one.space} ${one.address} ${one.direction} ${one.bytes}` === name);
      expectPlace(place, list, style.isa);
    }
  });
});

describe("what is missing", () => {
  const style: Style = { isa: "svm", frontEnd: "perf", format: "info1" };
  const story = tell(8, 500, 2);
  const without = (...events: string[]): TraceReport =>
    analyse(
      print(style, story)
        .split("\n")
        .filter((line) => !events.some((event) => line.includes(`${event}:`)))
        .join("\n"),
    );

  it("kvm_userspace_exit: who answered", () => {
    const { exits, vcpus, savings } = without("kvm_userspace_exit");
    expect(exits).toMatchObject({ kernel: undefined, user: undefined });
    expect(vcpus[0]!.user).toBeUndefined();
    expect(savings.reference).toEqual([]);
  });

  it("kvm_entry: times", () => {
    const { exits, places } = without("kvm_entry");
    expect(exits).toMatchObject({ total: 500, untimed: 500 });
    expect(places.every((place) => place.time === undefined)).toBe(true);
  });

  it("kvm_pio: units; the exit says the rest", () => {
    const { exits, places } = without("kvm_pio");
    expect(exits).toMatchObject({ ended: 0, outside: 0 });
    const com1 = story.filter((told) => told.address === 0x3f8);
    expect(places.find((place) => place.address === 0x3f8)).toMatchObject({ exits: com1.length, bytes: 1, units: 0 });
  });

  it("kvm_mmio: AMD-V tells the address and the direction, not the size", () => {
    const { places } = without("kvm_mmio");
    expect(places.find((place) => place.address === 0xfee00000)).toMatchObject({ direction: "write", bytes: 0 });
  });

  it("kvm_mmio: VT-x tells nothing", () => {
    const text = print({ ...style, isa: "vmx" }, story);
    const { exits } = analyse(text.replaceAll(/.*kvm_(fast_)?mmio:.*\n/g, ""));
    expect(exits.unplaced).toBe(count(story, ({ what }) => what === "mmio" || what === "notify"));
  });

  it("kvm_exit: accesses are counted, without an exit", () => {
    const { exits } = without("kvm_exit");
    expect(exits).toMatchObject({ total: 0, outside: count(story, (told) => told.units > 0) });
  });
});

describe("lines", () => {
  const line = (text: string): string => `  a-b-77  [001] .....  5.000001: ${text}\n`;
  const exit = line("kvm_exit: vcpu 1 reason IO_INSTRUCTION rip 0x1 info1 0x0000000000600048 info2 0x0");
  const entry = `  a-b-77  [001] .....  5.000009: kvm_entry: vcpu 1\n`;

  it.each([
    ["ftrace with thread groups", exit.replace("-77 ", "-77   (   70) ")],
    ["ftrace with unknown thread groups", exit.replace("-77 ", "-77   (-----) ")],
    ["flags of an interrupt context", exit.replace(".....", "dNh2.")],
    ["no flags", exit.replace(".....", "")],
    ["nanoseconds", exit.replace("5.000001:", "5.000001000:")],
    ["perf with a process", " a b 70/77 [001] 5.000001: kvm:kvm_exit: reason IO_INSTRUCTION rip 0x1 info 600048 0\n"],
    ["perf without a processor", " a b 77 5.000001: kvm:kvm_exit: reason IO_INSTRUCTION rip 0x1 info 600048 0\n"],
    ["perf with a period", " a 77 [001] 5.000001:   1 kvm:kvm_exit: reason IO_INSTRUCTION rip 0x1 info 600048 0\n"],
    ["Windows ends of lines", exit.replace("\n", "\r\n")],
    ["a command that looks like an event", exit.replace("a-b-77", "1: kvm_exit: x-77")],
  ])("%s", (_, text) => {
    const report = analyse(text + entry);
    if (text.includes("1: kvm_exit: x")) {
      expect(report.source.malformed).toBe(1); // not taken for anything else
      return;
    }
    expect(report.places[0]).toMatchObject({ space: "port", address: 0x60, exits: 1, time: { totalNs: 8000 } });
  });

  it("an exit may take no time, as far as the clock can tell", () => {
    const report = analyse(exit + entry.replace("5.000009", "5.000001") + exit.replace("5.000001", "6.000000"));
    expect(report.places[0]).toMatchObject({ exits: 2, time: { count: 1, totalNs: 0, medianNs: 0 } });
  });

  it("a clock that counts no seconds gives counts without times", () => {
    const report = analyse((exit + entry).replaceAll(/5\.00000(\d)/g, "500000$1"));
    expect(report.places[0]).toMatchObject({ exits: 1, time: undefined });
    expect(report.source.spanNs).toBeUndefined();
  });

  it("lost events end what was open, and are counted", () => {
    for (const marker of ["CPU:1 [LOST 12 EVENTS]", "CPU:1 [12 EVENTS DROPPED]", " a 0 PERF_RECORD_LOST lost 12"]) {
      const report = analyse(`${exit}${marker}\n${entry}`);
      expect(report.source).toMatchObject({ gaps: 1, lost: 12 });
      expect(report.exits).toMatchObject({ total: 1, untimed: 1 });
    }
    expect(analyse(`${exit}CPU:0 [EVENTS DROPPED]\n`).source).toMatchObject({ gaps: 1, lost: 0 });
    expect(analyse(`# entries-in-buffer/entries-written: 283/6622   #P:1\n${exit}`).source.lost).toBe(6339);
    expect(analyse(`# entries-in-buffer/entries-written: 283/283   #P:1\n${exit}`).source.gaps).toBe(0);
  });

  it("an exit that fails to enter is no I/O, information that no processor writes is counted", () => {
    expect(analyse(exit.replace("IO_INSTRUCTION", "IO_INSTRUCTION FAILED_VMENTRY") + entry).exits.io).toBe(0);
    const report = analyse(exit.replace("600048", "60004a") + entry);
    expect(report.exits).toMatchObject({ total: 1, io: 0, invalid: { size: 1 } });
  });

  it("two machines have vCPUs of the same number: threads tell them apart", () => {
    const other = (text: string): string => text.replace("-77", "-99");
    const report = analyse(exit + other(exit) + entry + other(entry));
    expect(report.vcpus).toMatchObject([
      { vcpu: 1, thread: 77, exits: 1 },
      { vcpu: 1, thread: 99, exits: 1 },
    ]);
  });

  it("an access that is not the exit's own was made by the interpreter", () => {
    const report = analyse(exit + line("kvm_pio: pio_write at 0x80 size 1 count 1 val 0x0 ") + entry);
    expect(report.exits).toMatchObject({ io: 1, outside: 1 });
  });

  it("an access under another reason is an emulated exit", () => {
    const report = analyse(
      exit.replace("IO_INSTRUCTION", "INVALID_STATE") +
        line("kvm_pio: pio_write at 0x80 size 1 count 1 val 0x0 ") +
        entry,
    );
    expect(report.places[0]).toMatchObject({ address: 0x80, exits: 1, emulated: 1 });
  });
});
