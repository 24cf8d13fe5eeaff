/** `portico run`: files in, a machine, a session, the profile out. */

import { basename, join } from "node:path";
import type { BlockStorage } from "../device/index.ts";
import { PorticoError } from "../errors.ts";
import { type BootOptions, createMachine, type Machine, type MachineProfile } from "../machine/machine.ts";
import { type OpenDisk, openDisk } from "../node/disk-file.ts";
import { type OutputFile, openOutput, readWhole } from "../node/files.ts";
import type { RunOptions, SerialTarget } from "./options.ts";
import { runSession, type SessionSerial } from "./session.ts";

/** Portico's own guest, within the package. */
const PORCH = join("guests", "porch", "porch.elf");

/**
 * Boots what the options name and returns the status for the shell. Throws a `PorticoError` for what the user can mend.
 *
 * @param packageFolder where the package is installed
 */
export async function run(options: RunOptions, packageFolder: string): Promise<number> {
  const path = options.image ?? join(packageFolder, PORCH);
  const image = readWhole(path, options.image === undefined ? "guest of the package" : "image");
  const initrd = options.initrd === undefined ? undefined : readWhole(options.initrd, "initial RAM disk");
  const report = profileReport(options.profile);
  const disks: OpenDisk[] = [];
  try {
    for (const { path, mode } of options.disks) disks.push(openDisk(path, mode));
    return await runMachine(create(options, disks), options, { path, image, initrd, report });
  } finally {
    for (const disk of disks) disk.close();
  }
}

interface Prepared {
  readonly path: string;
  readonly image: Uint8Array;
  readonly initrd: Uint8Array | undefined;
  readonly report: ReturnType<typeof profileReport>;
}

/** The machine is disposed at the end. */
async function runMachine(machine: Machine, options: RunOptions, prepared: Prepared): Promise<number> {
  const { path, image, initrd, report } = prepared;
  try {
    machine.onExitFailure = ({ message, cause }) => {
      const reason = cause instanceof Error ? ` (${cause.message})` : "";
      process.stderr.write(`portico: ${message}${reason}\n`);
    };
    boot(machine, path, { image, initrd, commandLine: options.append, name: basename(path) });
    const watching = await watch(machine, options);
    const serial = openSerial(options.serial);
    let status: number;
    try {
      status = await runSession(machine, { serial, timeoutSeconds: options.timeoutSeconds, notices: process.stderr });
    } finally {
      watching?.finish();
      await report?.(machine.profile());
    }
    if (watching?.error !== undefined) throw watching.error;
    return status;
  } finally {
    machine.dispose();
  }
}

/** What `--watch` asks for; a run without loads nothing for it. */
async function watch(machine: Machine, { watches, watchCount, symbols, serial }: RunOptions) {
  if (watches.length === 0) return undefined;
  const { WatchReport } = await import("./watch.ts");
  return new WatchReport(machine, {
    watches,
    countOnly: watchCount,
    symbols: symbols === undefined ? undefined : await symbolFile(symbols),
    output: process.stderr,
    raw: serial.kind === "stdio" && process.stdin.isTTY,
  });
}

async function symbolFile(path: string) {
  const { readSymbols } = await import("../machine/kernel-symbols.ts");
  try {
    return readSymbols(readWhole(path, "symbols"));
  } catch (error) {
    if (!(error instanceof PorticoError) || error.code !== "SYMBOLS") throw error;
    throw new PorticoError(error.code, `'${path}': ${error.message}`, { cause: error });
  }
}

function create({ memoryMiB, clock, ioPath, compile }: RunOptions, disks: readonly BlockStorage[]): Machine {
  try {
    return createMachine({ memoryMiB, clock, ioPath, compile, disks });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // what WebAssembly.Memory throws when the host refuses
    throw new PorticoError("MEMORY_SIZE", `the host does not give ${memoryMiB} MiB of memory; try a smaller --memory`);
  }
}

function boot(machine: Machine, path: string, what: BootOptions): void {
  try {
    machine.boot(what);
  } catch (error) {
    if (error instanceof PorticoError)
      throw new PorticoError(error.code, `'${path}': ${error.message}`, { cause: error });
    throw error;
  }
}

function openSerial(target: SerialTarget): SessionSerial {
  switch (target.kind) {
    case "stdio":
      return { kind: "stdio", streams: { input: process.stdin, output: process.stdout, notices: process.stderr } };
    case "file":
      return { kind: "file", file: openOutput(target.path, "serial output") };
    case "none":
      return { kind: "none" };
  }
}

/** What to do with the profile; a file is opened at once, so that a bad name shows before the guest has run. */
function profileReport(profile: RunOptions["profile"]): ((statistics: MachineProfile) => Promise<void>) | undefined {
  if (profile === undefined) return undefined;
  if (profile.path === undefined) {
    return async (statistics) => {
      const { formatProfile } = await import("./profile-table.ts"); // the table's library would cost every start its loading
      process.stderr.write(`\n${formatProfile(statistics)}`);
    };
  }
  const file: OutputFile = openOutput(profile.path, "profile");
  return async (statistics) => {
    file.write(new TextEncoder().encode(`${JSON.stringify(statistics, null, 2)}\n`));
    file.close();
  };
}
