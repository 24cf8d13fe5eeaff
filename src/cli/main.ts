#!/usr/bin/env node
/** The `portico` command. Statuses: the guest's own, 2 for a mistake of the user, 70 for one of Portico's. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import yargs, { type Argv } from "yargs";
import { PorticoError } from "../errors.ts";
import {
  checkBenchOptions,
  checkExplainOptions,
  checkOptions,
  DEFAULT_MEMORY_MIB,
  MAX_MEMORY_MIB,
  type RawOptions,
  UsageError,
} from "./options.ts";
import { run } from "./run.ts";

// Cold paths of compiled guest code are marked as such; V8 heeds that only when asked, before it compiles anything.
setFlagsFromString("--experimental-wasm-branch-hinting");

const STATUS_USAGE = 2;
/** EX_SOFTWARE of sysexits.h. */
const STATUS_BUG = 70;

const PACKAGE = join(import.meta.dirname, "..", "..");

interface Command {
  readonly words: string;
  readonly describe: string;
  readonly build: (builder: Argv) => Argv;
}

const COMMANDS: ReadonlyMap<string, Command> = new Map(
  Object.entries({
    run: {
      words: "[image]",
      describe: "boot a guest",
      build: (builder) =>
        builder
          .usage(
            "portico run [options] [IMAGE]\n\nBoots IMAGE: a Linux bzImage, a Multiboot 1 kernel or a ROM image, recognised by its\n" +
              "content. Without one, boots Portico's own guest, an I/O monitor on the serial console.",
          )
          .option("kernel", { describe: "the same as IMAGE", type: "string", nargs: 1 })
          .option("initrd", { describe: "Initial RAM disk, or a Multiboot module", type: "string", nargs: 1 })
          .option("append", { describe: "Kernel command line", type: "string", nargs: 1 })
          .option("memory", {
            describe: `RAM in MiB, at most ${MAX_MEMORY_MIB} [default: ${DEFAULT_MEMORY_MIB}]`,
            type: "string",
            nargs: 1,
          })
          .option("disk", {
            describe:
              "IDE disk, up to 4 times. FILE: writes are forgotten at the end; FILE,rw: they go to the file; FILE,ro: they fail",
            type: "string",
            nargs: 1,
          })
          .option("serial", {
            describe: "Where COM1 leads: stdio, none or file:NAME [default: stdio]",
            type: "string",
            nargs: 1,
          })
          .option("profile", {
            describe: "Show at the end which ports and MMIO ranges were accessed; with =NAME.json, write it there",
            type: "string",
          })
          .option("clock", {
            describe: "What guest time follows: host or instructions (two runs are then identical) [default: host]",
            type: "string",
            nargs: 1,
          })
          .option("io-path", {
            describe:
              "How port instructions reach devices: direct, or as exits that are decoded, emulated or a trap [default: direct]",
            type: "string",
            nargs: 1,
          })
          .option("compile", {
            describe:
              "What guest code is compiled: what is reached often (auto), all (always) or none (never) [default: auto]",
            type: "string",
            nargs: 1,
          })
          .option("watch", {
            describe:
              "Show each access to guest memory: phys:ADDRESS+BYTES:w, or virt: with an address or a kernel's symbol; :rw for reads too. Repeatable",
            type: "string",
            nargs: 1,
          })
          .option("watch-count", { describe: "Count them, with a table at the end, instead", type: "boolean" })
          .option("symbols", {
            describe: "Names for --watch: text of /proc/kallsyms, or a vmlinux [default: Linux' own, from its memory]",
            type: "string",
            nargs: 1,
          })
          .option("timeout", {
            describe: "Stop after so many seconds, with status 124",
            type: "string",
            nargs: 1,
          })
          .example("portico run", "the I/O monitor; type help")
          .example("portico run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0", "Linux on the terminal")
          .example("portico run --watch virt:jiffies_64 vmlinuz", "who changes a variable of the kernel")
          .example("portico run --profile=io.json --timeout 60 kernel.elf", "a kernel under test, with its I/O counted")
          .epilogue(
            "On a terminal, Ctrl-A X quits and Ctrl-A H shows help; all other keys go to the guest.\n\n" +
              "The status is the guest's: 0 after power-off, 2v + 1 after it wrote v to port 0xf4;\n" +
              "124 after --timeout, 2 if the machine could not be started.",
          ),
    },
    explain: {
      words: "[trace]",
      describe: "where a KVM guest's I/O went, from a trace of its host",
      build: (builder) =>
        builder
          .usage(
            "portico explain [options] TRACE\n\nReads what trace-cmd report, perf script or /sys/kernel/tracing/trace print of KVM's events,\n" +
              "decodes every I/O exit, and shows by port, MMIO page, direction and size what they cost and who\nanswered them.",
          )
          .option("json", { describe: "Everything, for programs", type: "boolean" })
          .option("top", { describe: "Lines of a table at most [default: 20]", type: "string", nargs: 1 })
          .option("per-vcpu", { describe: "A line for each vCPU of a place", type: "boolean" })
          .example("trace-cmd report | portico explain -", "a recording of trace-cmd")
          .example("perf script | portico explain --json - > io.json", "one of perf, for another program")
          .epilogue(
            "Record with: trace-cmd record -e kvm:kvm_exit -e kvm:kvm_entry -e kvm:kvm_pio -e kvm:kvm_mmio\n" +
              "  -e kvm:kvm_fast_mmio -e kvm:kvm_userspace_exit",
          ),
    },
    bench: {
      words: "",
      describe: "what an access costs, by path and context",
      build: (builder) =>
        builder
          .usage(
            "portico bench [options]\n\nMeasures port and MMIO accesses on every path (decoded, emulated, trapped, by hypercall and handle)\n" +
              "and in every context, and shows what each took.",
          )
          .option("json", { describe: "The figures, for programs", type: "boolean" })
          .option("time", {
            describe: "Milliseconds of a measurement at least [default: 250]",
            type: "string",
            nargs: 1,
          })
          .option("only", { describe: "One path alone, such as decoded", type: "string", nargs: 1 }),
    },
  }),
);

/** Everything but the commands. */
function parserFor(name: string, words: readonly string[]): Argv {
  const { version } = JSON.parse(readFileSync(join(PACKAGE, "package.json"), "utf8")) as { version: string };
  return yargs()
    .scriptName(name)
    .parserConfiguration({ "boolean-negation": false })
    .version(version)
    .help()
    .alias("h", "help")
    .wrap(100)
    .strictOptions()
    .exitProcess(false)
    .showHelpOnFail(false)
    .fail((message, error) => {
      if (error && error.name !== "YError") throw error;
      throw new UsageError(plain(message ?? error.message, words));
    });
}

/** Of a command that comes first, as it nearly always does, the parser is that command's own: yargs starts faster. */
function parse(words: readonly string[]): { command: string | undefined; options: RawOptions } {
  const first = COMMANDS.get(words[0] ?? "");
  const parser = first?.build(parserFor(`portico ${words[0]}`, words)) ?? parserOfAll(words);
  let answered = false;
  const given = first === undefined ? words : words.slice(1);
  const options = parser.parseSync(bareDash(bareProfile(given)), {}, (_error, _argv, output) => {
    if (!output) return;
    console.log(output);
    answered = true;
  });
  if (answered) return { command: undefined, options };
  const command = first === undefined ? String(options._[0]) : words[0]!;
  // yargs does not give those behind `--` their names: `portico run -- --strange-image`
  const names = options._.slice(first === undefined ? 1 : 0).map(String);
  if (names.length === 0) return { command, options };
  const positional = /\w+/.exec(COMMANDS.get(command)!.words)?.[0];
  if (positional === undefined)
    throw new UsageError(`'${names[0]}' is not understood; \`portico ${command}\` takes options alone`);
  const named = options[positional];
  const all = named === undefined ? names : [named, ...names];
  if (all.length > 1)
    throw new UsageError(`one ${positional} at a time, not ${all.map((name) => `'${name}'`).join(" and ")}`);
  return { command, options: { ...options, [positional]: all[0] } };
}

function parserOfAll(words: readonly string[]): Argv {
  const parser = parserFor("portico", words)
    .strict()
    .usage("$0 COMMAND [options]\n\nBoots x86 and x86-64 guests, and shows how their I/O reaches its devices.")
    .demandCommand(1, 1, "which command? `portico run` boots a guest; `portico --help` tells more");
  for (const [name, { words: positional, describe, build }] of COMMANDS) {
    parser.command(`${name} ${positional}`, describe, build);
  }
  return parser;
}

/** `--profile` takes its value only after `=`, so that `--profile IMAGE` leaves the image alone. */
function bareProfile(words: readonly string[]): string[] {
  const end = words.indexOf("--");
  return words.map((word, index) => (word === "--profile" && (end < 0 || index < end) ? "--profile=" : word));
}

/** yargs loses a `-` that stands alone, but for one behind `--`. */
function bareDash(words: readonly string[]): string[] {
  const end = words.indexOf("--");
  const before = end < 0 ? words : words.slice(0, end);
  const others = before.filter((word) => word !== "-");
  const dashes = before.filter((word) => word === "-");
  if (dashes.length === 0) return [...words];
  return [...others, "--", ...dashes, ...(end < 0 ? [] : words.slice(end + 1))];
}

/** What yargs says, in one line and with the dashes that it leaves out. */
function plain(message: string, words: readonly string[]): string {
  const missing = /^Not enough arguments following: (.*)/.exec(message);
  if (missing) return `--${missing[1]} needs a value`;
  const unknown = /^Unknown (?:argument|command)s?: (.*)/.exec(message);
  if (unknown) {
    const names = unknown[1]!.split(", ").map((name) => {
      return words.find((word) => /^--?/.test(word) && word.replace(/^--?/, "").split("=")[0] === name) ?? `'${name}'`;
    });
    const command = COMMANDS.has(words[0]!) ? words[0] : "run";
    return `${names.join(" and ")} is not understood; \`portico ${command} --help\` lists the options`;
  }
  const text = message.replaceAll(/\s*\n\s*/g, " ");
  return text.charAt(0).toLowerCase() + text.slice(1);
}

async function main(words: readonly string[]): Promise<number> {
  try {
    const { command, options } = parse(words);
    if (command === undefined) return 0; // --help or --version
    if (command === "explain") {
      const checked = checkExplainOptions(options);
      const { explain } = await import("./explain.ts"); // a run needs none of it
      return await explain(checked);
    }
    if (command === "bench") {
      const checked = checkBenchOptions(options);
      const { bench } = await import("./bench.ts");
      return await bench(checked);
    }
    return await run(checkOptions(options), PACKAGE);
  } catch (error) {
    if (error instanceof PorticoError) {
      console.error(`portico: ${error.message}`);
      return STATUS_USAGE;
    }
    console.error("portico: this is a bug in Portico, not in the guest:");
    console.error(error);
    return STATUS_BUG;
  }
}

process.exitCode = await main(process.argv.slice(2));
