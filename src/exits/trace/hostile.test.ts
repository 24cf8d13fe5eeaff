/** Text that no kernel printed: an analysis ends, holds little, and its numbers fit together. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeEptViolation, encodeEptViolation } from "../ept.ts";
import { decodeNestedPageFault, encodeNestedPageFault } from "../nested-page-fault.ts";
import { decodeSvmIo, encodeSvmIo } from "../svm-io.ts";
import { decodeVmxIo, encodeVmxIo } from "../vmx-io.ts";
import { TraceAnalysis } from "./analysis.ts";
import { readTrace, TraceError } from "./read-trace.ts";
import type { TraceReport } from "./report.ts";
import { print, tell } from "./testing.ts";

function analyse(...pieces: Uint8Array[]): TraceReport {
  const analysis = new TraceAnalysis();
  for (const piece of pieces) analysis.push(piece);
  return analysis.end();
}

function consistent(report: TraceReport): void {
  const { exits, places, vcpus, reasons, source, histogram, elsewhere } = report;
  const sum = <T>(list: readonly T[], pick: (one: T) => number): number =>
    list.reduce((all, one) => all + pick(one), 0);
  expect(sum(places, (place) => place.exits) + elsewhere).toBe(exits.io);
  expect(sum(vcpus, (vcpu) => vcpu.exits)).toBe(exits.total);
  expect(sum(vcpus, (vcpu) => vcpu.io)).toBe(exits.io);
  expect(sum(reasons, (reason) => reason.exits)).toBe(exits.total);
  if (exits.user !== undefined) expect(exits.kernel! + exits.user + exits.ended).toBe(exits.io);
  expect(source.events + source.malformed).toBeLessThanOrEqual(source.lines);
  // One `expect` for all: there may be many thousands.
  const wrong = places.filter(({ exits, vcpus, time }) => {
    if (sum(vcpus, (vcpu) => vcpu.exits) !== exits) return true;
    if (time === undefined) return false;
    const { count, minNs, medianNs, p99Ns, maxNs, totalNs } = time;
    return !(minNs >= 0 && medianNs <= p99Ns && p99Ns <= maxNs + 1 && totalNs <= maxNs * count);
  });
  expect(wrong).toEqual([]);
  expect(sum([...histogram.kernel, ...histogram.user], (octave) => octave.count)).toBeLessThanOrEqual(exits.io);
  expect(JSON.parse(JSON.stringify(report))).toBeTypeOf("object");
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

const SAMPLES = [
  encode(print({ isa: "vmx", frontEnd: "trace-cmd", format: "info" }, tell(1, 40, 2))),
  encode(print({ isa: "svm", frontEnd: "ftrace", format: "requests" }, tell(2, 40, 2))),
  encode(print({ isa: "svm", frontEnd: "perf", format: "plugin" }, tell(3, 40, 2))),
  readFileSync(join(import.meta.dirname, "..", "..", "..", "test", "traces", "debian-6.1-svm.perf.txt")),
];

describe("traces", () => {
  it("damaged byte by byte, cut and repeated", () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...SAMPLES),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 60 }),
        fc.nat(),
        fc.nat(),
        (sample, damage, from, to) => {
          const bytes = Uint8Array.from(sample);
          for (const [at, byte] of damage) bytes[at % bytes.length] = byte;
          const [first, last] = [from % bytes.length, to % bytes.length].sort((a, b) => a - b);
          consistent(analyse(bytes.subarray(first, last), bytes.subarray(0, last)));
        },
      ),
      { seed: 1, numRuns: 100 },
    );
  });

  it("whole lines in any order, some missing", () => {
    fc.assert(
      fc.property(fc.constantFrom(...SAMPLES), fc.array(fc.nat(), { maxLength: 200 }), (sample, order) => {
        const lines = new TextDecoder().decode(sample).split("\n");
        consistent(analyse(encode(order.map((index) => lines[index % lines.length]).join("\n"))));
      }),
      { seed: 2, numRuns: 100 },
    );
  });

  it("numbers from the fuzzer in the kernel's format", () => {
    const line = fc
      .record({
        thread: fc.constantFrom("1", "2", "0", "9999999999", "99999999999"),
        time: fc.tuple(fc.nat(), fc.nat(999_999)),
        text: fc.oneof(
          fc
            .tuple(
              fc.constantFrom(
                "io",
                "npf",
                "IO_INSTRUCTION",
                "EPT_VIOLATION",
                "EPT_MISCONFIG",
                "hlt",
                "0x4d",
                "__proto__",
              ),
              fc.bigInt(0n, (1n << 64n) - 1n),
              fc.bigInt(0n, (1n << 64n) - 1n),
              fc.boolean(),
            )
            .map(([reason, rip, info, small]) => {
              const info1 = (small ? info & 0xffff_ffffn : info).toString(16);
              return `kvm_exit: vcpu 0 reason ${reason} rip 0x${rip.toString(16)} info1 0x${info1} info2 0x${info.toString(16)} `;
            }),
          fc.constantFrom(
            "kvm_entry: vcpu 0",
            "kvm_entry: vcpu 99999999999",
            "kvm_userspace_exit: reason KVM_EXIT_IO (2)",
            "kvm_userspace_exit: reason error (22)",
          ),
          fc
            .tuple(fc.nat(0x1_ffff), fc.nat(9), fc.nat())
            .map(
              ([port, size, many]) => `kvm_pio: pio_read at 0x${port.toString(16)} size ${size} count ${many} val 0x0 `,
            ),
          fc
            .tuple(fc.constantFrom("read", "write", "unsatisfied-read"), fc.nat(64), fc.bigInt(0n, (1n << 64n) - 1n))
            .map(([access, size, at]) => `kvm_mmio: mmio ${access} len ${size} gpa 0x${at.toString(16)} val 0x0`),
          fc.constantFrom(
            "kvm_fast_mmio: fast mmio at gpa 0xfe000000",
            "kvm_fast_mmio: fast mmio at gpa 0xfe00000000000000",
          ),
        ),
      })
      .map(
        ({ thread, time: [seconds, micros], text }) =>
          `x-${thread} [000] ${seconds}.${String(micros).padStart(6, "0")}: ${text}`,
      );
    fc.assert(
      fc.property(fc.array(line, { maxLength: 100 }), (lines) => consistent(analyse(encode(lines.join("\n"))))),
      { seed: 3, numRuns: 200 },
    );
  });

  it("lines that invite a pattern to go astray take no longer than others", () => {
    const parts = [
      "1: ",
      "kvm_",
      " ".repeat(50),
      "1.000000: kvm_exit: ",
      "-1 [0] ",
      "reason ",
      "rip 0x",
      "kvm:kvm_",
      "LOST ",
    ];
    const started = performance.now();
    for (const part of parts) {
      const line = `${part.repeat(Math.floor(4000 / part.length))}kvm_exit: vcpu 0 reason x\n`;
      consistent(analyse(encode(line.repeat(200))));
    }
    expect(performance.now() - started).toBeLessThan(5000);
  });

  it("a line without an end, many places, many threads, many reasons: what is held has a bound", () => {
    const analysis = new TraceAnalysis();
    const junk = encode("x".repeat(1 << 16));
    for (let piece = 0; piece < 200; piece++) analysis.push(junk);
    let text = "\n";
    for (let index = 0; index < 30_000; index++) {
      text += `x-${index % 5000} [000] 1.000000: kvm_exit: vcpu 0 reason r${index} rip 0x1 info 0 0\n`;
      text += `x-${index % 5000} [000] 1.000001: kvm_mmio: mmio read len 4 gpa 0x${(index * 4096).toString(16)} val 0x0\n`;
    }
    // Without an exit, at a page more.
    text += "x-1 [000] 2.000000: kvm_entry: vcpu 0\n";
    text += "x-1 [000] 2.000001: kvm_mmio: mmio read len 4 gpa 0xfff00000 val 0x0\n";
    text += `x-1 [000] 3.000000: kvm_entry: ${"x".repeat(5000)}\n`;
    analysis.push(encode(text));
    const report = analysis.end();
    consistent(report);
    expect(report.places.length).toBe(20_000);
    expect(report.elsewhere).toBeGreaterThan(0);
    expect(report.vcpus.length).toBe(4096);
    expect(report.reasons.length).toBeLessThanOrEqual(513);
    expect(report.source.malformed).toBeGreaterThan(0);
    expect(report.exits.outside).toBe(1);
  });
});

describe("what is no trace", () => {
  async function* pieces(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
    yield* parts;
  }
  it.each([
    ["a recording of perf", encode("PERFILE2\0\0"), "TRACE_BINARY", /perf script -i x/],
    ["one of trace-cmd", encode("\x17\x08\x44tracing6\0"), "TRACE_BINARY", /trace-cmd report x/],
    ["compressed", Uint8Array.of(0x1f, 0x8b, 8), "TRACE_BINARY", /gzip -d/],
    ["compressed by xz", Uint8Array.of(0xfd, ...encode("7zXZ\0")), "TRACE_BINARY", /xz -d/],
    ["compressed by zstd", Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 4), "TRACE_BINARY", /zstd -d/],
    ["nothing", new Uint8Array(), "TRACE_EMPTY", /no event of KVM in 0 lines/],
    ["other text", encode("hello\nkvm_exit\n"), "TRACE_EMPTY", /no event of KVM in 2 lines/],
    [
      "other events of KVM",
      encode("x-1 [000] 1.000000: kvm_msr: msr_read 10 = 0x0\n"),
      "TRACE_EMPTY",
      /no exit and no access/,
    ],
    ["only entries", encode("x-1 [000] 1.000000: kvm_entry: vcpu 0\n"), "TRACE_EMPTY", /only kvm_entry/],
  ])("%s", async (_, bytes, code, message) => {
    const failure = await readTrace(pieces(bytes), "x").catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(TraceError);
    expect(failure).toMatchObject({ code, message: expect.stringMatching(message) });
    expect((failure as Error).message).not.toContain("\n");
  });

  it("any bytes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 5000 }), { maxLength: 5 }), async (parts) => {
        await expect(readTrace(pieces(...parts), "x")).rejects.toBeInstanceOf(TraceError);
      }),
      { seed: 4, numRuns: 100 },
    );
  });
});

it("exit information: whatever decodes also encodes to what it was", () => {
  const codecs = [
    { decode: decodeVmxIo, encode: encodeVmxIo },
    { decode: decodeSvmIo, encode: encodeSvmIo },
    { decode: decodeEptViolation, encode: encodeEptViolation },
    { decode: decodeNestedPageFault, encode: encodeNestedPageFault },
  ] as const;
  const any = fc.oneof(
    fc.nat(),
    fc.integer(),
    fc.maxSafeNat(),
    fc.double(),
    fc.array(fc.nat(40), { maxLength: 8 }).map((bits) => [...new Set(bits)].reduce((sum, bit) => sum + 2 ** bit, 0)),
  );
  fc.assert(
    fc.property(any, (value) => {
      for (const { decode, encode } of codecs) {
        const found = decode(value);
        if (found.ok) expect((encode as (value: unknown) => number)(found.value)).toBe(value + 0); // no -0
      }
    }),
    { seed: 5, numRuns: 5000 },
  );
});
