/**
 * `npm run bench`: our guest side by side on Portico and the machines that a user would pick instead.
 *
 * Prints a table with ratios and writes `bench/results.json`. `--record` keeps the ratios (`bench/recorded.json`) and the
 * table (`bench/RESULTS.md`); `--check` compares with what was kept and fails when a ratio has grown.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import yargs from "yargs";
import { bochs } from "./engines/bochs.ts";
import type { Engine } from "./engines/engine.ts";
import { portico } from "./engines/portico.ts";
import { tcg } from "./engines/tcg.ts";
import { v86 } from "./engines/v86.ts";
import type { GuestTest } from "./guest-session.ts";
import { bootTimes, canBootLinux, startTimes } from "./machines.ts";
import { GuestBench, type Outcome, type Variant } from "./measure.ts";
import {
  type Clock,
  describeMachine,
  disagreements,
  type Ratios,
  type Results,
  ratiosOf,
  regressions,
  type TestResult,
} from "./results.ts";
import { forTerminal, machineRows, markdown, testRows } from "./table.ts";

const ENGINES: readonly Engine[] = [portico, v86, tcg, bochs];
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const FILES = { results: file("results.json"), recorded: file("recorded.json"), table: file("RESULTS.md") };

const list = (text: string) => text.split(",").filter((word) => word !== "");
const options = await yargs(process.argv.slice(2))
  .scriptName("npm run bench --")
  .usage("$0 [options]")
  .option("only", { type: "string", coerce: list, describe: "names of tests, or boot and start" })
  .option("engines", { type: "string", coerce: list, describe: "of portico, v86, tcg, bochs" })
  .option("bits", { type: "string", coerce: list, default: "32,64", describe: "variants of the guest" })
  .option("repetitions", { type: "number", default: 3 })
  .option("clock", { choices: ["wall", "cpu"] as const, default: "wall" as Clock, describe: "of the table and ratios" })
  .option("record", { type: "boolean", default: false, describe: "keep the ratios and the table" })
  .option("build", {
    type: "boolean",
    default: true,
    describe: "build Portico first (--no-build: measure dist as it is)",
  })
  .option("check", { type: "boolean", default: false, describe: "compare with the ratios kept" })
  .strict()
  .parse();

const wanted = (name: string) => options.only === undefined || options.only.includes(name);
const progress = (text: string) => process.stderr.isTTY && process.stderr.write(`\r\x1b[K${text}`);

const engines = ENGINES.filter((engine) => options.engines === undefined || options.engines.includes(engine.name));
if (options.build && engines.includes(portico)) {
  const { status } = spawnSync("npm", ["run", "-s", "build"], {
    cwd: file(".."),
    stdio: ["ignore", "ignore", "inherit"],
  });
  if (status !== 0) throw new Error("the build failed");
}
const installed = engines.flatMap((engine) => {
  const version = engine.version();
  if (version === undefined) console.error(`${engine.name} is not installed: left out`);
  return version === undefined ? [] : [{ engine, version }];
});
const loadBefore = loadavg()[0]!;

async function measureVariant(variant: Variant): Promise<TestResult[]> {
  const results = new Map<string, { test: GuestTest; engines: Record<string, Outcome> }>();
  for (const { engine } of installed) {
    if (!engine.can(`multiboot${variant}`)) continue;
    const bench = new GuestBench(engine, variant);
    try {
      for (const test of (await bench.tests()).filter(({ name }) => wanted(name))) {
        progress(`${engine.name} ${test.name}/${variant}`);
        const row = results.get(test.name) ?? { test, engines: {} };
        results.set(test.name, row);
        row.engines[engine.name] = await bench.measure(test, options.repetitions);
      }
    } catch (error) {
      console.error(`${engine.name}: ${(error as Error).message}`);
    } finally {
      await bench.close();
    }
  }
  return [...results.values()].map(({ test, engines }) => ({ name: test.name, variant, unit: test.unit, engines }));
}

const tests: TestResult[] = [];
for (const bits of options.bits) tests.push(...(await measureVariant(Number(bits) as Variant)));

let boot: Results["boot"] = {};
if (wanted("boot")) {
  if (!canBootLinux()) console.error("no Linux guest: `npm run guests` fetches it");
  else {
    const able = installed.map(({ engine }) => engine).filter((engine) => engine.can("linux"));
    boot = await bootTimes(able, options.repetitions, (name) => progress(`${name} boots Linux`));
  }
}
progress("start");
const names = installed.map(({ engine }) => engine.name);
const start = wanted("start") ? await startTimes(names, options.repetitions) : {};
progress("");

const results: Results = {
  date: new Date().toISOString(),
  machine: describeMachine(),
  engines: Object.fromEntries(installed.map(({ engine, version }) => [engine.name, version])),
  load: { before: loadBefore, after: loadavg()[0]! },
  repetitions: options.repetitions,
  tests,
  boot,
  start,
};
writeFileSync(FILES.results, `${JSON.stringify(results, null, 2)}\n`);
if (tests.length > 0) process.stdout.write(forTerminal(testRows(results, options.clock)));
process.stdout.write(forTerminal(machineRows(results)));

for (const { name, variant, engines } of tests) {
  for (const [engine, outcome] of Object.entries(engines)) {
    if ("error" in outcome) console.error(`${engine}, ${name}/${variant}: ${outcome.error}`);
  }
}
for (const [engine, outcome] of Object.entries(boot)) {
  if ("error" in outcome) console.error(`${engine}, Linux: ${outcome.error}`);
}
const complaints = disagreements(results);
const ratios = ratiosOf(results, options.clock);
if (options.record) {
  writeFileSync(FILES.recorded, `${JSON.stringify(ratios, null, 2)}\n`);
  writeFileSync(FILES.table, markdown(results, options.clock));
}
if (options.check) {
  if (existsSync(FILES.recorded)) {
    complaints.push(...regressions(ratios, JSON.parse(readFileSync(FILES.recorded, "utf8")) as Ratios));
  } else complaints.push("nothing recorded to compare with: run with --record first");
}
for (const complaint of complaints) console.error(complaint);
process.exitCode = complaints.length > 0 ? 1 : 0;
