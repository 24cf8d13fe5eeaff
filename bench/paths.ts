/**
 * `npx tsx bench/paths.ts`: what it saves whole workloads that an exit says what the instruction was (decoded), beside
 * reading and emulating each (emulated), and beside no exit at all (direct). The workloads are those that Xen's
 * "accelerated intercept" was measured with in 2010: a port loop, a program that lives on the PM timer, and 1 GB read
 * from an IDE disk by PIO.
 */
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import yargs from "yargs";
import { count, table } from "../src/cli/table.ts";
import { createMachine, IO_PATHS, type IoPath } from "../src/index.ts";
import { openDisk } from "../src/node/disk-file.ts";
import { type DiskRead, diskReader, portLoop, SECTORS_A_COMMAND, STATUS, timerReader } from "./paths-guests.ts";
import { type Clock, describeMachine } from "./results.ts";
import { median } from "./statistics.ts";

const MIB = 2 ** 20;
const COMMANDS_A_MIB = MIB / 512 / SECTORS_A_COMMAND;
/** What all others are a percentage of: the way before there was another. */
const REFERENCE: IoPath = "emulated";

const options = await yargs(process.argv.slice(2))
  .scriptName("npx tsx bench/paths.ts")
  .usage("$0 [options]")
  .option("reads", { type: "number", default: 5_000_000, describe: "of the port loop" })
  .option("timer-reads", { type: "number", default: 500_000, describe: "of the PM timer" })
  .option("timer-rounds", { type: "number", default: 4000, describe: "of computing between two of them" })
  .option("mib", { type: "number", default: 1024, describe: "read from the disk by REP INSW" })
  .option("word-mib", { type: "number", default: 64, describe: "read from the disk word by word" })
  .option("only", { type: "string", describe: "workloads whose names contain this" })
  .option("paths", { type: "string", default: "direct,decoded,emulated", describe: `of ${IO_PATHS.join(", ")}` })
  .option("repetitions", { type: "number", default: 3 })
  .option("clock", { choices: ["wall", "cpu"] as const, default: "wall" as Clock, describe: "of the table" })
  .option("json", { type: "boolean", default: false })
  .strict()
  .parse();

interface Workload {
  readonly name: string;
  /** All of it (1), or a part. */
  guest(of: number): Guest;
}

interface Guest {
  readonly image: Uint8Array;
  readonly disk?: string;
  /** That it must report, when it is known. */
  readonly checksum?: number;
}

interface Run {
  readonly wallS: number;
  readonly cpuS: number;
  readonly checksum: number;
  readonly exits: number;
  readonly retired: number;
}

const folder = mkdtempSync(join(tmpdir(), "portico-paths-"));
const part = (whole: number, of: number): number => Math.max(1, Math.round(whole * of));

/** A sparse file: nothing but the number of each MiB, from 1, at its beginning. */
function makeDisk(mib: number): string {
  const path = join(folder, `${mib}.img`);
  const file = openSync(path, "w");
  ftruncateSync(file, mib * MIB);
  for (let i = 0; i < mib; i++) writeSync(file, Uint32Array.of(i + 1), 0, 4, i * MIB);
  closeSync(file);
  return path;
}

function diskWorkload(name: string, mib: number, read: DiskRead): Workload {
  const disk = makeDisk(mib);
  const guest = (of: number): Guest => {
    const some = part(mib, of);
    return { image: diskReader(some * COMMANDS_A_MIB, read), disk, checksum: ((some * (some + 1)) / 2) >>> 0 };
  };
  return { name: `${name}, ${mib} MiB`, guest };
}

function workloads(): Workload[] {
  const { reads, timerReads, timerRounds, mib, wordMib } = options;
  const all: Workload[] = [
    { name: `port loop, ${count.format(reads)} reads`, guest: (of) => ({ image: portLoop(part(reads, of)) }) },
    {
      name: `PM timer, ${count.format(timerReads)} reads`,
      guest: (of) => ({ image: timerReader(part(timerReads, of), timerRounds) }),
    },
    diskWorkload("IDE, READ SECTORS, REP INSW", mib, { command: "sectors", data: "string" }),
    diskWorkload("IDE, READ MULTIPLE, REP INSW", mib, { command: "multiple", data: "string" }),
    diskWorkload("IDE, READ MULTIPLE, IN AX", wordMib, { command: "multiple", data: "words" }),
  ];
  return all.filter(({ name }) => options.only === undefined || name.includes(options.only));
}

async function run({ image, disk, checksum }: Guest, ioPath: IoPath): Promise<Run> {
  const storage = disk === undefined ? undefined : openDisk(disk, "ro");
  const machine = createMachine({ memoryMiB: 4, clock: "instructions", ioPath, disks: storage ? [storage] : [] });
  try {
    const said: number[] = [];
    machine.onDebugOutput = (byte) => said.push(byte);
    machine.boot({ image });
    const cpu = process.cpuUsage();
    const start = performance.now();
    const { status } = await machine.run();
    const wallS = (performance.now() - start) / 1000;
    const { user, system } = process.cpuUsage(cpu);
    const sum = said.reduceRight((value, byte) => value * 256 + byte, 0);
    if (status !== STATUS.good) throw new Error(`the guest failed with status ${status}`);
    if (checksum !== undefined && sum !== checksum) throw new Error(`checksum ${sum}, expected ${checksum}`);
    const exits = machine.profile().exits.reduce((total, row) => total + row.exits, 0);
    return { wallS, cpuS: (user + system) / 1e6, checksum: sum, exits, retired: machine.clock.retired };
  } finally {
    machine.dispose();
    storage?.close();
  }
}

/** Medians by path; the paths take turns, so that what disturbs the host disturbs them alike. */
async function measure(workload: Workload, paths: readonly IoPath[]): Promise<Record<string, Run>> {
  const runs = new Map<IoPath, Run[]>(paths.map((path) => [path, []]));
  // The host's compilers warm up.
  for (const path of paths) await run(workload.guest(0.02), path);
  for (let i = 0; i < options.repetitions; i++) {
    for (const path of paths) {
      progress(`${workload.name}: ${path}, ${i + 1}/${options.repetitions}`);
      runs.get(path)!.push(await run(workload.guest(1), path));
    }
  }
  const all = [...runs.values()].flat();
  const { checksum, retired } = all[0]!;
  if (all.some((one) => one.checksum !== checksum || one.retired !== retired)) {
    throw new Error(`${workload.name}: the guest can tell the paths apart`);
  }
  return Object.fromEntries(
    [...runs].map(([path, list]) => {
      const middle = (time: "wallS" | "cpuS") => median(list.map((one) => one[time]));
      return [path, { ...list[0]!, wallS: middle("wallS"), cpuS: middle("cpuS") }];
    }),
  );
}

function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

const paths = options.paths.split(",").map((word) => {
  const path = IO_PATHS.find((name) => name === word);
  if (path === undefined) throw new Error(`no path '${word}': there are ${IO_PATHS.join(", ")}`);
  return path;
});
const loadBefore = loadavg()[0]!;
const results: { readonly workload: string; readonly paths: Record<string, Run> }[] = [];
try {
  for (const workload of workloads()) {
    results.push({ workload: workload.name, paths: await measure(workload, paths) });
  }
} finally {
  rmSync(folder, { recursive: true });
}
progress("");

const seconds = (one: Run): number => (options.clock === "wall" ? one.wallS : one.cpuS);
const rows = results.map(({ workload, paths: by }) => {
  const reference = by[REFERENCE];
  const percent = (path: IoPath) =>
    reference ? `${((seconds(by[path]!) / seconds(reference)) * 100).toFixed(1)}%` : "";
  const exits = Math.max(...paths.map((path) => by[path]!.exits));
  const rate = exits / seconds(reference ?? by[paths.at(-1)!]!);
  return [
    workload,
    count.format(exits),
    count.format(Math.round(rate)),
    ...paths.map((path) => seconds(by[path]!).toFixed(2)),
    ...paths.map(percent),
  ];
});
const host = { node: process.version, machine: describeMachine(), load: { before: loadBefore, after: loadavg()[0]! } };
if (options.json) {
  const { reads, timerReads, timerRounds, mib, wordMib, repetitions } = options;
  const sizes = { reads, timerReads, timerRounds, mib, wordMib, repetitions };
  console.log(JSON.stringify({ date: new Date().toISOString(), host, sizes, results }, null, 2));
} else {
  const head = ["workload", "exits", "per s", ...paths.map((path) => `${path}, s`), ...paths];
  console.log(table(head, 1, rows));
  console.log(
    `\n${options.clock} time, medians of ${options.repetitions}; percentages of ${REFERENCE}; exits per second there`,
  );
  console.log(
    `${host.machine}, Node ${host.node}, load ${host.load.before.toFixed(2)} to ${host.load.after.toFixed(2)}`,
  );
}
