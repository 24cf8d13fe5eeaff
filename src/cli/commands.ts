/** What can be said to `portico`: commands and their options, as data for the parser and for the help. */

import { DEFAULT_MEMORY_MIB, MAX_MEMORY_MIB } from "./options.ts";

export interface Option {
  readonly describe: string;
  /** What stands for its value in the help; an option without is a switch. */
  readonly value?: string;
  /** The value may be left out, and is given behind `=` alone: `--profile IMAGE` leaves the image alone. */
  readonly optional?: true;
}

export interface Command {
  /** The name of the word that may stand without a dash. */
  readonly positional?: string;
  readonly summary: string;
  readonly usage: string;
  readonly description: string;
  readonly options: Readonly<Record<string, Option>>;
  /** Command lines and what they do. */
  readonly examples?: Readonly<Record<string, string>>;
  readonly epilogue?: string;
}

export const COMMON_OPTIONS: Readonly<Record<string, Option>> = {
  help: { describe: "Show this, also as -h" },
  version: { describe: "Show the version" },
};

export const COMMANDS: ReadonlyMap<string, Command> = new Map(
  Object.entries({
    run: {
      positional: "image",
      summary: "boot a guest",
      usage: "portico run [options] [IMAGE]",
      description:
        "Boots IMAGE: a Linux bzImage, a Multiboot 1 kernel or a ROM image, recognised by its content. Without one, boots Portico's own guest, an I/O monitor on the serial console.",
      options: {
        kernel: { value: "FILE", describe: "The same as IMAGE" },
        initrd: { value: "FILE", describe: "Initial RAM disk, or a Multiboot module" },
        append: { value: "TEXT", describe: "Kernel command line" },
        memory: {
          value: "MIB",
          describe: `RAM in MiB, at most ${MAX_MEMORY_MIB} [default: ${DEFAULT_MEMORY_MIB}]`,
        },
        disk: {
          value: "FILE",
          describe:
            "IDE disk, up to 4 times. FILE: writes are forgotten at the end; FILE,rw: they go to the file; FILE,ro: they fail",
        },
        serial: { value: "WHERE", describe: "Where COM1 leads: stdio, none or file:NAME [default: stdio]" },
        profile: {
          value: "NAME.json",
          optional: true,
          describe: "Show at the end which ports and MMIO ranges were accessed; with =NAME.json, write it there",
        },
        clock: {
          value: "CLOCK",
          describe: "What guest time follows: host or instructions (two runs are then identical) [default: host]",
        },
        "io-path": {
          value: "PATH",
          describe:
            "How port instructions reach devices: direct, or as exits that are decoded, emulated or a trap [default: direct]",
        },
        compile: {
          value: "MODE",
          describe:
            "What guest code is compiled: what is reached often (auto), all (always) or none (never) [default: auto]",
        },
        watch: {
          value: "PLACE",
          describe:
            "Show each access to guest memory: phys:ADDRESS+BYTES:w, or virt: with an address or a kernel's symbol; :rw for reads too. Repeatable",
        },
        "watch-count": { describe: "Count them, with a table at the end, instead" },
        symbols: {
          value: "FILE",
          describe: "Names for --watch: text of /proc/kallsyms, or a vmlinux [default: Linux' own, from its memory]",
        },
        timeout: { value: "SECONDS", describe: "Stop after so many seconds, with status 124" },
      },
      examples: {
        "portico run": "the I/O monitor; type help",
        "portico run --kernel vmlinuz --initrd initrd.gz --append console=ttyS0": "Linux on the terminal",
        "portico run --watch virt:jiffies_64 vmlinuz": "who changes a variable of the kernel",
        "portico run --profile=io.json --timeout 60 kernel.elf": "a kernel under test, with its I/O counted",
      },
      epilogue:
        "On a terminal, Ctrl-A X quits and Ctrl-A H shows help; all other keys go to the guest.\n\n" +
        "The status is the guest's: 0 after power-off, 2v + 1 after it wrote v to port 0xf4; 124 after --timeout, 2 if the machine could not be started.",
    },
    explain: {
      positional: "trace",
      summary: "where a KVM guest's I/O went, from a trace of its host",
      usage: "portico explain [options] TRACE",
      description:
        "Reads what trace-cmd report, perf script or /sys/kernel/tracing/trace print of KVM's events, decodes every I/O exit, and shows by port, MMIO page, direction and size what they cost and who answered them.",
      options: {
        json: { describe: "Everything, for programs" },
        top: { value: "LINES", describe: "Lines of a table at most [default: 20]" },
        "per-vcpu": { describe: "A line for each vCPU of a place" },
      },
      examples: {
        "trace-cmd report | portico explain -": "a recording of trace-cmd",
        "perf script | portico explain --json - > io.json": "one of perf, for another program",
      },
      epilogue:
        "Record with: trace-cmd record -e kvm:kvm_exit -e kvm:kvm_entry -e kvm:kvm_pio -e kvm:kvm_mmio -e kvm:kvm_fast_mmio -e kvm:kvm_userspace_exit",
    },
    bench: {
      summary: "what an access costs, by path and context",
      usage: "portico bench [options]",
      description:
        "Measures port and MMIO accesses on every path (decoded, emulated, trapped, by hypercall and handle) and in every context, and shows what each took.",
      options: {
        json: { describe: "The figures, for programs" },
        time: { value: "MS", describe: "Milliseconds of a measurement at least [default: 250]" },
        only: { value: "PATH", describe: "One path alone, such as decoded" },
      },
    },
  } satisfies Record<string, Command>),
);
