/**
 * `npx tsx bench/unrelated.ts`: what a guest pays for what it has nothing to do with. Each test runs by turns on the
 * machine as it is, with 10,000 more port ranges and as many of MMIO, with 1,000 watched pages elsewhere, and once more
 * as it is, which shows how far to trust the others. It is one machine all the time: two processes differ by more.
 */
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import yargs from "yargs";
import { table } from "../src/cli/table.ts";
import type { Unrelated } from "./engines/engine.ts";
import { portico } from "./engines/portico.ts";
import { GuestSession } from "./guest-session.ts";
import { calibrate } from "./measure.ts";
import { type Clock, describeMachine } from "./results.ts";
import { median } from "./statistics.ts";

const TIMEOUT_MS = 120_000;
const MEMORY_MIB = 64;
const BURDENS: Readonly<Record<string, Unrelated>> = {
  "10,000 ranges more": { ranges: 10_000 },
  "1,000 watches elsewhere": { watches: 1000 },
  nothing: {},
};

const options = await yargs(process.argv.slice(2))
  .scriptName("npx tsx bench/unrelated.ts")
  .usage("$0 [options]\n\nMeasures the build: npm run build")
  .option("only", { type: "string", describe: "names of tests, with commas" })
  .option("bits", { type: "string", default: "32,64", describe: "variants of the guest" })
  .option("repetitions", { type: "number", default: 7 })
  .option("clock", { choices: ["wall", "cpu"] as const, default: "wall" as Clock })
  .strict()
  .parse();

const kinds = Object.keys(BURDENS);
const rows: string[][] = [];
const ratios = new Map(kinds.map((kind) => [kind, [] as number[]]));
const before = loadavg()[0]!;
for (const bits of options.bits.split(",")) {
  const image = fileURLToPath(new URL(`guest/bench${bits}.bin`, import.meta.url));
  const session = await GuestSession.start(portico, { image, memoryMiB: MEMORY_MIB });
  for (const { name } of await session.list()) {
    if (options.only !== undefined && !options.only.split(",").includes(name)) continue;
    const iterations = await calibrate(session, { name, unit: "", operations: 1 });
    const run = async (unrelated: Unrelated) => {
      session.burden(unrelated);
      const interval = await session.run(name, iterations, TIMEOUT_MS);
      return options.clock === "wall" ? interval!.wallMs : interval!.cpuMs;
    };
    const row = [`${name}/${bits}`];
    for (const kind of kinds) {
      const pairs: number[] = [];
      for (let i = 0; i < options.repetitions; i++) {
        // By turns: whoever runs first in a pair gains nothing from it.
        const [first, second] = i % 2 === 0 ? [{}, BURDENS[kind]!] : [BURDENS[kind]!, {}];
        const [a, b] = [await run(first), await run(second)];
        pairs.push(i % 2 === 0 ? b / a : a / b);
      }
      ratios.get(kind)!.push(median(pairs));
      row.push(median(pairs).toFixed(3));
    }
    rows.push(row);
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${row.join(" ")}`);
  }
  await session.close();
}
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
console.log(`${describeMachine()}; load ${before.toFixed(1)} to ${loadavg()[0]!.toFixed(1)}`);
console.log(table(["test", ...kinds], 1, rows));
for (const [kind, all] of ratios) {
  console.log(`${kind}: median of all tests ${median(all).toFixed(3)}, worst ${Math.max(...all).toFixed(3)}`);
}
