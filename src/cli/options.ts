/** The options of the commands, checked: from what the command line says to what a command needs. */

import { PorticoError } from "../errors.ts";
import { IO_PATHS, type IoPath } from "../exits/exit-work.ts";
import type { DiskMode } from "../node/disk-file.ts";
import { parseWatch, type WatchOption } from "./watch-option.ts";

/** An option that cannot be; the message names it, its value and what would be right. */
export class UsageError extends PorticoError {
  declare readonly code: "USAGE";

  constructor(message: string) {
    super("USAGE", message);
  }
}

export type SerialTarget = { kind: "stdio" } | { kind: "none" } | { kind: "file"; path: string };

/** A file as a disk: `mode` says what becomes of the guest's writes. */
export interface DiskOption {
  readonly path: string;
  readonly mode: DiskMode;
}

export interface RunOptions {
  /** Undefined: the guest that comes with the package. */
  readonly image: string | undefined;
  readonly initrd: string | undefined;
  readonly append: string;
  readonly memoryMiB: number;
  readonly serial: SerialTarget;
  readonly disks: readonly DiskOption[];
  /** `path` undefined: a table on standard error. */
  readonly profile: { readonly path: string | undefined } | undefined;
  readonly clock: (typeof CLOCKS)[number];
  readonly ioPath: IoPath;
  readonly compile: (typeof COMPILE_MODES)[number];
  readonly timeoutSeconds: number | undefined;
  readonly watches: readonly WatchOption[];
  /** A table at the end instead of a line an access. */
  readonly watchCount: boolean;
  /** A file that names the kernel's addresses. */
  readonly symbols: string | undefined;
}

export interface ExplainOptions {
  /** `-`: standard input. */
  readonly trace: string;
  readonly json: boolean;
  /** Lines of a table at most. */
  readonly top: number;
  readonly perVcpu: boolean;
}

/** As the command line gives them: a switch is true, an option given twice an array. */
export type RawOptions = Readonly<Record<string, unknown>>;

/** Guest RAM lies below 0xE000_0000. */
export const MAX_MEMORY_MIB = 3584;
export const DEFAULT_MEMORY_MIB = 256;
const CLOCKS = ["host", "instructions"] as const;
const COMPILE_MODES = ["auto", "always", "never"] as const;
/** `setTimeout` takes 31 bits of milliseconds. */
const MAX_TIMEOUT_SECONDS = 2_147_483;

/** Throws `UsageError`. */
export function checkOptions(raw: RawOptions): RunOptions {
  const kernel = single(raw, "kernel");
  const image = single(raw, "image");
  if (kernel !== undefined && image !== undefined) {
    throw new UsageError(`give either --kernel '${kernel}' or the image '${image}', not both`);
  }
  const profile = single(raw, "profile");
  return {
    image: kernel ?? image,
    initrd: single(raw, "initrd"),
    append: single(raw, "append") ?? "",
    memoryMiB: memory(single(raw, "memory")),
    serial: serial(single(raw, "serial") ?? "stdio"),
    disks: disks(raw.disk),
    profile: profile === undefined ? undefined : { path: profile === "" ? undefined : profile },
    clock: choice(raw, "clock", CLOCKS),
    ioPath: choice(raw, "io-path", IO_PATHS),
    compile: choice(raw, "compile", COMPILE_MODES),
    timeoutSeconds: timeout(single(raw, "timeout")),
    ...watches(raw),
  };
}

const DEFAULT_TOP = 20;

/** Throws `UsageError`. */
export function checkExplainOptions(raw: RawOptions): ExplainOptions {
  const trace = single(raw, "trace");
  if (trace === undefined) throw new UsageError("which trace? `portico explain trace.txt`, or - for standard input");
  const top = single(raw, "top");
  if (top !== undefined && !/^[1-9]\d{0,5}$/.test(top)) {
    throw new UsageError(`--top '${top}' is not a number of lines, such as --top ${DEFAULT_TOP}`);
  }
  return {
    trace,
    json: single(raw, "json") === "true",
    top: top === undefined ? DEFAULT_TOP : Number(top),
    perVcpu: single(raw, "per-vcpu") === "true",
  };
}

export interface BenchOptions {
  readonly json: boolean;
  /** A measurement takes at least so long. */
  readonly milliseconds: number;
  /** One path alone. */
  readonly only: string | undefined;
}

const DEFAULT_BENCH_MS = 250;
const BENCH_PATHS = [...IO_PATHS, "hypercall", "handle", "mmio", "coalesced", "doorbell"];

/** Throws `UsageError`. */
export function checkBenchOptions(raw: RawOptions): BenchOptions {
  const time = single(raw, "time");
  if (time !== undefined && !/^[1-9]\d{0,5}$/.test(time)) {
    throw new UsageError(`--time '${time}' is not a number of milliseconds, such as --time ${DEFAULT_BENCH_MS}`);
  }
  const only = single(raw, "only");
  if (only !== undefined && !BENCH_PATHS.includes(only)) {
    throw new UsageError(`--only '${only}' is unknown; it is ${BENCH_PATHS.join(", ")}`);
  }
  return {
    json: single(raw, "json") === "true",
    milliseconds: time === undefined ? DEFAULT_BENCH_MS : Number(time),
    only,
  };
}

/** Options that need a value; an empty one is a slip, such as an unset shell variable. */
const NEED_VALUE = new Set([
  "kernel",
  "image",
  "initrd",
  "memory",
  "serial",
  "clock",
  "io-path",
  "compile",
  "timeout",
  "trace",
  "top",
  "symbols",
]);

/** What a command works on, by the name of yargs' positional. */
const POSITIONALS: ReadonlySet<string> = new Set(["image", "trace"]);

function single(raw: RawOptions, name: string): string | undefined {
  const value = raw[name];
  if (value === undefined) return undefined;
  if (Array.isArray(value)) throw new UsageError(`--${name} is given ${value.length} times; give it once`);
  const text = String(value);
  if (text === "" && NEED_VALUE.has(name)) {
    throw new UsageError(POSITIONALS.has(name) ? `the ${name}'s name is empty` : `--${name} needs a value`);
  }
  return text;
}

/** One of `known`, the first of which is the default. */
function choice<T extends string>(raw: RawOptions, name: string, known: readonly T[]): T {
  const given = single(raw, name) ?? known[0];
  const found = known.find((one) => one === given);
  if (found === undefined) {
    throw new UsageError(`--${name} '${given}' is unknown; it is ${known.slice(0, -1).join(", ")} or ${known.at(-1)}`);
  }
  return found;
}

function memory(text: string | undefined): number {
  if (text === undefined) return DEFAULT_MEMORY_MIB;
  const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= 1)) throw new UsageError(`--memory '${text}' is not a number of MiB, such as --memory 512`);
  if (value > MAX_MEMORY_MIB)
    throw new UsageError(`--memory ${value} is too much; a machine has at most ${MAX_MEMORY_MIB} MiB`);
  return value;
}

function serial(text: string): SerialTarget {
  if (text === "stdio" || text === "none") return { kind: text };
  const path = text.startsWith("file:") ? text.slice("file:".length) : "";
  if (path === "") throw new UsageError(`--serial '${text}' is unknown; it is stdio, none or file:NAME`);
  return { kind: "file", path };
}

function watches(raw: RawOptions): Pick<RunOptions, "watches" | "watchCount" | "symbols"> {
  const given = raw.watch === undefined ? [] : [raw.watch].flat().map(String);
  const list = given.map((text) => parseWatch(text, (message) => new UsageError(message)));
  const watchCount = single(raw, "watch-count") === "true";
  const symbols = single(raw, "symbols");
  if (list.length === 0 && (watchCount || symbols !== undefined)) {
    throw new UsageError(
      `${watchCount ? "--watch-count" : "--symbols"} is for --watch; say what to watch, such as --watch phys:0x1000+16`,
    );
  }
  return { watches: list, watchCount, symbols };
}

const MAX_DISKS = 4;

function disks(raw: unknown): DiskOption[] {
  const given = raw === undefined ? [] : [raw].flat().map(String);
  if (given.length > MAX_DISKS) {
    throw new UsageError(`--disk is given ${given.length} times; a machine has at most ${MAX_DISKS} disks`);
  }
  return given.map((text) => {
    // Only a mode is cut off: names may have commas.
    const [, path, mode] = /^(.*),(cow|ro|rw)$/s.exec(text) ?? [text, text, "cow"];
    if (!path) throw new UsageError(`--disk '${text}' names no file, such as --disk disk.img or --disk disk.img,rw`);
    return { path, mode: mode as DiskMode };
  });
}

function timeout(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const value = /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(value > 0))
    throw new UsageError(`--timeout '${text}' is not a number of seconds above 0, such as --timeout 30`);
  if (value > MAX_TIMEOUT_SECONDS)
    throw new UsageError(`--timeout ${text} is too long; at most ${MAX_TIMEOUT_SECONDS} seconds`);
  return value;
}
