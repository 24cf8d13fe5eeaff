/** Boots Linux with the module `guests/linux/portico_pv` and its device, and tells what both of them saw. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tally } from "../../docs/examples/tally.ts";
import { writeCpio } from "../../scripts/guests/cpio.ts";
import { createMachine, type IoPath, type IoStatistics } from "../../src/index.ts";
import { GUESTS } from "./guest-process.ts";

/** The module's defaults. */
const PLACE = { port: 0x320, address: 0xe100_0000 } as const;

export interface PvOptions {
  /** The module, built. */
  readonly file: string;
  readonly ioPath?: IoPath;
  readonly hypercalls?: boolean;
  /** Reads, and writes, by each way. */
  readonly accesses?: number;
}

export interface PvRow {
  readonly way: string;
  /** "call" or "instruction". */
  readonly by: string;
  readonly reads: number;
  readonly writes: number;
  readonly checksum: string;
  readonly readNs: number;
  readonly writeNs: number;
}

export interface PvOutcome {
  /** What the guest has said on its console. */
  readonly said: string;
  /** /proc/portico_pv. */
  readonly text: string;
  readonly features: number;
  readonly rows: PvRow[];
  /** What the device has counted. */
  readonly counts: { readonly reads: number; readonly writes: number };
  readonly ranges: IoStatistics["ranges"];
}

export async function runPvModule({ file, accesses = 1000, ...options }: PvOptions): Promise<PvOutcome> {
  const initrd = Buffer.concat([
    readFileSync(join(GUESTS, "initramfs-amd64.cpio.gz")),
    writeCpio([{ kind: "file", path: "bin/portico_pv.ko", content: readFileSync(file) }]),
  ]);
  const machine = createMachine({ memoryMiB: 128, ...options });
  try {
    const device = machine.add(tally, PLACE);
    let said = "";
    machine.serial.onOutput((bytes) => {
      said += new TextDecoder("latin1").decode(bytes).replaceAll("\r", "");
    });
    const run = `insmod /bin/portico_pv.ko accesses=${accesses}; cat /proc/portico_pv; rmmod portico_pv`;
    const commandLine = `console=ttyS0 quiet portico.run="${run} && dmesg -l err,crit,alert,emerg"`;
    machine.boot({ image: readFileSync(join(GUESTS, "vmlinuz-cloud-amd64")), initrd, commandLine });
    await machine.run();
    const text = /Portico guest runs: .*\n((?:.*\n)*)Portico guest done/.exec(said)?.[1] ?? "";
    const lines = text.trimEnd().split("\n");
    const rows = lines.slice(2).map((line): PvRow => {
      const [way, by, reads, writes, checksum, readNs, writeNs] = line.trim().split(/ +/) as [string, ...string[]];
      const numbers = {
        reads: Number(reads),
        writes: Number(writes),
        readNs: Number(readNs),
        writeNs: Number(writeNs),
      };
      return { way, by: by!, checksum: checksum!, ...numbers };
    });
    const ranges = machine.profile().ranges.filter(({ owner }) => owner === "tally");
    const features = Number(/features (0x\w+)/.exec(text)?.[1]);
    return { said, text, features, rows, counts: device.counts, ranges };
  } finally {
    machine.dispose();
  }
}
