/**
 * `npx tsx bench/unrelated.ts`: what a guest pays for what it has nothing to do with. Each test runs by turns on a machine
 * as it is, on one with 10,000 more port ranges and as many of MMIO, and on one with 1,000 watched pages elsewhere.
 */
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import yargs from "yargs";
import { table } from "../src/cli/table.ts";
import { porticoWith } from "./engines/portico.ts";
import { GuestSession } from "./guest-session.ts";
import { calibrate } from "./measure.ts";
import { type Clock, describeMachine } from "./results.ts";
import { median } from "./statistics.ts";

const TIMEOUT_MS = 120_000;
const MEMORY_MIB = 64;
const BURDENS = { ranges: { ranges: 10_000 }, watches: { watches: 1000 } } as const;

const options = await yargs(process.argv.slice(2))
  .scriptName("npx tsx bench/unrelated.ts")
  .usage("$0 [options]\n\nMeasures the build: npm run build")
  .option("only", { type: "string", describe: "names of tests, with commas" })
  .option("bits", { type: "string", default: "32,64", describe: "variants of the guest" })
  .option("repetitions", { type: "number", default: 7 })
  .option("clock", { choices: ["wall", "cpu"] as const, default: "wall" as Clock })
  .strict()
  .parse();

const start = (bits: string, unrelated?: (typeof BURDENS)[keyof typeof BURDENS]) =>
  GuestSession.start(porticoWith(unrelated), {
    image: fileURLToPath(new URL(`guest/bench${bits}.bin`, import.meta.url)),
    memoryMiB: MEMORY_MIB,
  });

const rows: string[][] = [];
const ratios: Record<keyof typeof BURDENS, number[]> = { ranges: [], watches: [] };
const before = loadavg()[0]!;
for (const bits of options.bits.split(",")) {
  const plain = await start(bits);
  const burdened = { ranges: await start(bits, BURDENS.ranges), watches: await start(bits, BURDENS.watches) };
  for (const { name } of await plain.list()) {
    if (options.only !== undefined && !options.only.split(",").includes(name)) continue;
    const iterations = await calibrate(plain, { name, unit: "", operations: 1 });
    const run = async (session: GuestSession) => {
      const interval = await session.run(name, iterations, TIMEOUT_MS);
      return options.clock === "wall" ? interval!.wallMs : interval!.cpuMs;
    };
    for (const session of Object.values(burdened)) await run(session); // warms up
    const pairs: Record<keyof typeof BURDENS, number[]> = { ranges: [], watches: [] };
    for (let i = 0; i < options.repetitions; i++) {
      for (const kind of ["ranges", "watches"] as const) {
        // By turns: whoever runs first in a pair gains nothing from it.
        const order = i % 2 === 0 ? [plain, burdened[kind]] : [burdened[kind], plain];
        const [first, second] = [await run(order[0]!), await run(order[1]!)];
        pairs[kind].push(i % 2 === 0 ? second / first : first / second);
      }
    }
    const row = (["ranges", "watches"] as const).map((kind) => {
      const ratio = median(pairs[kind]);
      ratios[kind].push(ratio);
      return ratio.toFixed(3);
    });
    rows.push([`${name}/${bits}`, ...row]);
    if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${name}/${bits} ${row.join(" ")}`);
  }
  for (const session of [plain, ...Object.values(burdened)]) await session.close();
}
if (process.stderr.isTTY) process.stderr.write("\r\x1b[K");
const heads = ["test", "10,000 ranges more", "1,000 watches elsewhere"];
console.log(`${describeMachine()}; load ${before.toFixed(1)} to ${loadavg()[0]!.toFixed(1)}`);
console.log(table(heads, 1, rows));
for (const [index, kind] of (["ranges", "watches"] as const).entries()) {
  const worst = Math.max(...ratios[kind]).toFixed(3);
  console.log(`${heads[index + 1]}: median of all tests ${median(ratios[kind]).toFixed(3)}, worst ${worst}`);
}
