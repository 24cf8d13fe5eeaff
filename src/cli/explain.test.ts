import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { TraceAnalysis } from "../exits/trace/analysis.ts";
import { duration, formatReport } from "./explain-table.ts";
import { checkExplainOptions } from "./options.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const TRACES = join(ROOT, "test", "traces");

function format(name: string, options = { top: 20, perVcpu: false }): string {
  const analysis = new TraceAnalysis();
  analysis.push(readFileSync(join(TRACES, name)));
  return formatReport(analysis.end(), options);
}

/** A row of a table, by how it begins. */
const row = (text: string, start: RegExp): string[] | undefined =>
  text
    .split("\n")
    .find((line) => start.test(line))
    ?.split(/ {2,}/);

describe("the report", () => {
  const text = format("debian-6.1-svm.ftrace.txt");

  it("begins with what it is about", () => {
    expect(text.split("\n").slice(0, 2)).toEqual([
      expect.stringMatching(/^274 events in [\d.]+ ms, as \/sys\/kernel\/tracing prints them, AMD-V$/),
      expect.stringMatching(
        /^74 exits on 1 vCPU, 72 of them port and MMIO accesses; 22.2% answered in the kernel and 72.2% in/,
      ),
    ]);
  });

  it("has a row for each place, the dearest first", () => {
    expect(row(text, /^place .*median/)).toEqual(
      "place,access,exits,per s,kernel,user,string,emulated,units,min,median,p99,total".split(","),
    );
    expect(row(text, /^port 0x03f8/)?.slice(0, 3)).toEqual(["port 0x03f8", "write 1", "38"]);
    expect(row(text, /^port 0x03f8/)?.slice(4, 9)).toEqual(["0", "36", "36", "36", "36"]);
    expect(row(text, /^mmio 0xfee00000 {2}write/)?.slice(4, 9)).toEqual(["2", "0", "0", "2", "2"]);
    expect(text.indexOf("port 0x03f8")).toBeLessThan(text.indexOf("port 0x0061"));
  });

  it("has reasons, a histogram and what moving inward would save", () => {
    expect(row(text, /^npf/)?.[1]).toBe("18");
    expect(text).toMatch(/^Time to re-entry of I\/O exits \(= answered in the kernel, # in user mode\)$/m);
    expect(text).toMatch(/^16\.4 µs - 32\.8 µs {2}=+#* +\d+$/m);
    expect(text).toMatch(
      /^What moving a handler inward would save, if an answer in the kernel costs [\d.]+ µs for a port/m,
    );
    expect(text).toMatch(/^note: 4 string exits moved nothing/m);
  });

  it("is short when asked, and says what it left out", () => {
    const short = format("debian-6.1-svm.ftrace.txt", { top: 2, perVcpu: false });
    expect(short).toMatch(/^15 more places with \d+ accesses; --top shows them$/m);
  });

  it("splits places by vCPU when asked", () => {
    const split = format("made-up-svm-6.1.ftrace.txt", { top: 20, perVcpu: true });
    expect(row(split, /^place .*median/)?.slice(0, 3)).toEqual(["place", "access", "vCPU"]);
    expect(split).toMatch(/^port 0x0402 {6}write 1 {2}0 .*\n {26}1 /m);
  });

  it("says what is missing", () => {
    const text = format("interpreter.perf.txt");
    expect(text).toMatch(/accesses without an exit, made by KVM's interpreter/);
    expect(row(text, /^place/)).toEqual(["place", "access", "accesses", "units"]);
    expect(text).toMatch(/^note: no kvm_exit in the trace/m);
    expect(format("debian-6.1-svm.lost.txt")).toMatch(/^note: the recorder lost at least 3,169 events in 1 place/m);
  });

  it("holds nothing that a terminal would obey", () => {
    const analysis = new TraceAnalysis();
    const head = "x-1 [000] 1.000000: kvm_";
    const evil = "\u001b[2Jevil";
    analysis.push(
      Buffer.from(
        `${head}exit: vcpu 0 reason ${evil} rip 0x1 info 0 0\n${head}pio: pio_read at 0x80 size 1 count 1 \n`,
      ),
    );
    // biome-ignore lint/suspicious/noControlCharactersInRegex: it is what must not be there
    expect(formatReport(analysis.end(), { top: 20, perVcpu: true })).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  });
});

it("the example of docs/explain.md is what the command prints", () => {
  const page = readFileSync(join(ROOT, "docs", "explain.md"), "utf8");
  const [, name, text] = /\$ portico explain --top 6 test\/traces\/(\S+)\n([^`]*)```/.exec(page)!;
  expect(format(name!, { top: 6, perVcpu: false })).toBe(text);
});

it.each([
  [0, "0 ns"],
  [999, "999 ns"],
  [1000, "1.00 µs"],
  [9995, "10.0 µs"],
  [99_960, "100 µs"],
  [999_600, "1.00 ms"],
  [12_345_678, "12.3 ms"],
  [1e9, "1.00 s"],
  [1.5e12, "1,500 s"],
])("%d ns are %s", (ns, text) => {
  expect(duration(ns)).toBe(text);
});

describe("options", () => {
  it("have defaults", () => {
    expect(checkExplainOptions({ trace: "x" })).toEqual({ trace: "x", json: false, top: 20, perVcpu: false });
    expect(checkExplainOptions({ trace: "-", json: true, top: "5", "per-vcpu": true })).toEqual({
      trace: "-",
      json: true,
      top: 5,
      perVcpu: true,
    });
  });

  it.each([
    [{}, /which trace\?/],
    [{ trace: "" }, /the trace's name is empty/],
    [{ trace: "x", top: "0" }, /--top '0' is not a number of lines/],
    [{ trace: "x", top: "many" }, /--top 'many' is not a number of lines/],
    [{ trace: "x", top: ["1", "2"] }, /--top is given 2 times/],
  ])("%j cannot be", (raw, message) => {
    expect(() => checkExplainOptions(raw)).toThrow(message);
  });
});

describe("the command", () => {
  const run = (words: string[], input = "") =>
    spawnSync(process.execPath, ["--import", "tsx", join(ROOT, "src", "cli", "main.ts"), "explain", ...words], {
      cwd: ROOT,
      input,
      encoding: "utf8",
    });

  it("reads a file, or standard input as JSON", () => {
    const name = join(TRACES, "debian-6.1-svm.perf.txt");
    const { status, stdout, stderr } = run([name]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^\d+ events in/);
    const json = run(["--json", "-"], readFileSync(name, "utf8"));
    expect(json.status).toBe(0);
    expect(JSON.parse(json.stdout)).toMatchObject({ source: { frontEnd: "perf" }, exits: { string: 20, ended: 2 } });
  });

  it.each([
    [
      "a missing file",
      ["/nonexistent/trace"],
      /^portico: cannot read the trace '\/nonexistent\/trace': no such file or folder$/,
    ],
    ["a file that is no trace", ["package.json"], /^portico: 'package.json' holds no event of KVM in \d+ lines; .*$/],
    ["two traces", ["--", "a", "b"], /^portico: one trace at a time, not 'a' and 'b'$/],
    [
      "an unknown option",
      ["--jsno", "a"],
      /^portico: --jsno is not understood; `portico explain --help` lists the options$/,
    ],
  ])("%s: one line on standard error, status 2", (_, words, line) => {
    const { status, stdout, stderr } = run(words);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr.trimEnd()).toMatch(line);
    expect(stderr.trimEnd()).not.toContain("\n");
  });
});
