/**
 * Traces of which the truth is known: a seeded story of exits, printed as each front end and kernel prints it. The format
 * strings are those of arch/x86/kvm/trace.h and include/trace/events/kvm.h.
 */

import { encodeEptViolation } from "../ept.ts";
import { encodeNestedPageFault } from "../nested-page-fault.ts";
import { encodeSvmIo } from "../svm-io.ts";
import { encodeVmxIo } from "../vmx-io.ts";
import type { FrontEnd } from "./line.ts";
import type { Isa } from "./reasons.ts";

export interface Style {
  readonly isa: Isa;
  readonly frontEnd: FrontEnd;
  /** What kvm_exit looks like: Linux 4.x to 5.9, 5.10 and later, with the requests of later ones, and the plug-in. */
  readonly format: "info" | "info1" | "requests" | "plugin";
}

/** One exit of the story. */
export interface Told {
  readonly vcpu: number;
  readonly what: "port" | "string" | "mmio" | "notify" | "other" | "ram";
  readonly address: number;
  readonly direction: "read" | "write";
  readonly bytes: 1 | 2 | 4;
  readonly units: number;
  readonly user: boolean;
  /** From the exit to the entry. */
  readonly ns: number;
}

/** Numbers between 0 and 1, the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Places of a usual machine: who answers, and how long it takes. */
const PLACES: readonly (Omit<Told, "vcpu" | "ns"> & { readonly us: number })[] = [
  { what: "port", address: 0x3f8, direction: "write", bytes: 1, units: 1, user: true, us: 9 },
  { what: "port", address: 0x3fd, direction: "read", bytes: 1, units: 1, user: true, us: 8 },
  { what: "port", address: 0xcf8, direction: "write", bytes: 4, units: 1, user: true, us: 7 },
  { what: "port", address: 0x61, direction: "read", bytes: 1, units: 1, user: false, us: 2 },
  { what: "port", address: 0x20, direction: "write", bytes: 1, units: 1, user: false, us: 1 },
  { what: "string", address: 0x1f0, direction: "read", bytes: 2, units: 256, user: true, us: 30 },
  { what: "string", address: 0x402, direction: "write", bytes: 1, units: 12, user: true, us: 20 },
  { what: "string", address: 0x402, direction: "write", bytes: 1, units: 0, user: false, us: 3 },
  { what: "mmio", address: 0xfed000f0, direction: "read", bytes: 4, units: 1, user: true, us: 12 },
  { what: "mmio", address: 0xfec00010, direction: "read", bytes: 4, units: 1, user: false, us: 4 },
  { what: "mmio", address: 0xfee000b0, direction: "write", bytes: 4, units: 1, user: false, us: 3 },
  { what: "notify", address: 0xfe001000, direction: "write", bytes: 2, units: 1, user: false, us: 1 },
  { what: "other", address: 0, direction: "read", bytes: 1, units: 0, user: false, us: 1 },
  { what: "ram", address: 0x7ff000, direction: "write", bytes: 1, units: 0, user: false, us: 5 },
];

export function tell(seed: number, exits: number, vcpus: number): Told[] {
  const random = seeded(seed);
  return Array.from({ length: exits }, () => {
    const { us, ...place } = PLACES[Math.floor(random() * PLACES.length)]!;
    // Most take about as long as they should, a few a hundred times that.
    const factor = random() < 0.02 ? 100 : 0.8 + random() * 0.4;
    return { ...place, vcpu: Math.floor(random() * vcpus), ns: Math.round(us * factor) * 1000 };
  });
}

const hex16 = (value: number): string => `0x${value.toString(16).padStart(16, "0")}`;

const NO_RIGHTS = { readable: false, writable: false, executable: false, userExecutable: false } as const;

function reasonOf({ isa, format }: Style, told: Told): string {
  const memory = told.what === "mmio" || told.what === "notify" || told.what === "ram";
  if (isa === "vmx") {
    if (memory) return told.what === "ram" ? "EPT_VIOLATION" : "EPT_MISCONFIG";
    return told.what === "other" ? "CPUID" : "IO_INSTRUCTION";
  }
  const [name, plugin] = memory
    ? ["npf", "EXIT_NPF"]
    : told.what === "other"
      ? ["cpuid", "EXIT_CPUID"]
      : ["io", "EXIT_IOIO"];
  return format === "plugin" ? plugin! : name!;
}

/** info1 and info2. */
function infoOf({ isa }: Style, told: Told, rip: number): [number, number] {
  const { address, bytes, direction, what } = told;
  const io = {
    port: address,
    bytes,
    direction: direction === "read" ? ("in" as const) : ("out" as const),
    string: what === "string",
    rep: what === "string",
  };
  if (what === "port" || what === "string") {
    if (isa === "vmx") return [encodeVmxIo({ ...io, immediate: what === "port" && address < 0x100 }), 0];
    return [encodeSvmIo({ ...io, addressBits: 64, segment: what === "string" ? 3 : 0 }), rip + 2];
  }
  if (what === "other") return [0, 0];
  const ram = what === "ram";
  if (isa === "vmx") {
    if (!ram) return [0, 0];
    const violation = {
      ...NO_RIGHTS,
      read: false,
      write: true,
      fetch: false,
      linearValid: true,
      finalTranslation: true,
      userLinear: false,
      writableLinear: false,
      noExecuteLinear: false,
      nmiUnblocked: false,
      shadowStack: false,
      supervisorShadowStack: false,
      guestPagingVerification: false,
      asynchronous: false,
    };
    return [encodeEptViolation(violation), 0];
  }
  const fault = {
    present: !ram,
    write: direction === "write",
    user: true,
    reserved: !ram,
    fetch: false,
    shadowStack: false,
    rmp: false,
    finalAddress: true,
    tableWalk: false,
    encrypted: false,
    rmpSize: false,
    vmpl: false,
    supervisorShadowStack: false,
  };
  return [encodeNestedPageFault(fault), address];
}

function exitText(style: Style, told: Told, rip: number): string {
  const [info1, info2] = infoOf(style, told, rip);
  const reason = `reason ${reasonOf(style, told)} rip 0x${rip.toString(16)}`;
  const vcpu = `vcpu ${told.vcpu} `;
  switch (style.format) {
    case "info":
      return `${vcpu}${reason} info ${info1.toString(16)} ${info2.toString(16)}`;
    case "plugin":
      return `${reason} info ${info1.toString(16)} ${info2.toString(16)}`;
    default: {
      const requests = style.format === "requests" ? ` requests ${hex16(0)}` : "";
      return `${vcpu}${reason} info1 ${hex16(info1)} info2 ${hex16(info2)} intr_info 0x00000000 error_code 0x00000000${requests}`;
    }
  }
}

function entryText({ format }: Style, vcpu: number, rip: number): string {
  const at = `0x${rip.toString(16)}`;
  if (format === "info") return `vcpu ${vcpu}`;
  if (format === "plugin") return ` vcpu ${vcpu} rip ${at}`;
  return format === "requests"
    ? `vcpu ${vcpu}, rip ${at} intr_info 0x00000000 error_code 0x00000000`
    : `vcpu ${vcpu}, rip ${at}`;
}

/** The events between exit and entry, in KVM's order: a write before its user sees it, a read after it was answered. */
function between(style: Style, told: Told): [string, string][] {
  const { what, address, bytes, units, direction, user } = told;
  const at = `0x${address.toString(16)}`;
  const toUser = (name: string, number: number): [string, string][] =>
    user ? [["kvm_userspace_exit", `reason KVM_EXIT_${name} (${number})`]] : [];
  if (what === "port" || what === "string") {
    if (units === 0) return [];
    const many = units > 1 ? "(...)" : "";
    const pio: [string, string] = [
      "kvm_pio",
      `pio_${direction} at ${at} size ${bytes} count ${units} val 0x20 ${many}`,
    ];
    return direction === "write" ? [pio, ...toUser("IO", 2)] : [...toUser("IO", 2), pio];
  }
  // Only VT-x answers a notify without looking at the instruction.
  if (what === "notify" && style.isa === "vmx") return [["kvm_fast_mmio", `fast mmio at gpa ${at}`]];
  if (what !== "mmio" && what !== "notify") return [];
  const mmio = (access: string): [string, string] => ["kvm_mmio", `mmio ${access} len ${bytes} gpa ${at} val 0x0`];
  if (direction === "write") return [mmio("write"), ...toUser("MMIO", 6)];
  return user ? [mmio("unsatisfied-read"), ...toUser("MMIO", 6), mmio("read")] : [mmio("read")];
}

const FIRST_THREAD = 4321;

function lineOf(style: Style, vcpu: number, at: number, name: string, text: string): string {
  const thread = FIRST_THREAD + vcpu;
  const cpu = `[${String(vcpu % 8).padStart(3, "0")}]`;
  const comm = `CPU ${vcpu}/KVM`;
  const time = `${Math.floor(at / 1e9)}.${String(Math.floor((at % 1e9) / 1000)).padStart(6, "0")}`;
  switch (style.frontEnd) {
    case "ftrace": {
      const flags = name === "kvm_entry" ? "d..1." : ".....";
      return `${comm.padStart(16)}-${String(thread).padEnd(7)} ${cpu} ${flags} ${time.padStart(12)}: ${name}: ${text}`;
    }
    case "trace-cmd":
      return `${comm.padStart(16)}-${String(thread).padEnd(5)} ${cpu} ${time.padStart(12)}: ${`${name}:`.padEnd(21)} ${text}`;
    case "perf":
      return `${comm.padStart(16)} ${String(thread).padStart(5)} ${cpu} ${time.padStart(12)}: ${`kvm:${name}`.padStart(22)}: ${text}`;
  }
}

const HEADS: Readonly<Record<FrontEnd, string>> = { ftrace: "# tracer: nop\n#\n", "trace-cmd": "cpus=8\n", perf: "" };

/** The story as a trace. Exits of different vCPUs overlap, lines come in order of time. */
export function print(style: Style, story: readonly Told[]): string {
  const lines: { at: number; line: string }[] = [];
  const now = new Map<number, number>();
  for (const [index, told] of story.entries()) {
    const from = (now.get(told.vcpu) ?? 1234_000_000_000) + 5000;
    const rip = 0xffffffff - 0x10000 + index * 8;
    const steps = between(style, told);
    const add = (at: number, name: string, text: string): void => {
      lines.push({ at, line: lineOf(style, told.vcpu, at, name, text) });
    };
    add(from, "kvm_exit", exitText(style, told, rip));
    for (const [step, [name, text]] of steps.entries())
      add(from + (told.ns * (step + 1)) / (steps.length + 2), name, text);
    add(from + told.ns, "kvm_entry", entryText(style, told.vcpu, rip + 2));
    now.set(told.vcpu, from + told.ns);
  }
  lines.sort((a, b) => a.at - b.at);
  return `${HEADS[style.frontEnd]}${lines.map(({ line }) => line).join("\n")}\n`;
}

/** The made-up traces that are checked in, so that one can look at them. */
export const SAMPLES: readonly {
  readonly file: string;
  readonly style: Style;
  readonly story: Parameters<typeof tell>;
}[] = [
  {
    file: "made-up-vmx-4.19.perf.txt",
    style: { isa: "vmx", frontEnd: "perf", format: "info" },
    story: [419, 60, 2],
  },
  {
    file: "made-up-vmx-6.18.trace-cmd.txt",
    style: { isa: "vmx", frontEnd: "trace-cmd", format: "requests" },
    story: [618, 60, 2],
  },
  {
    file: "made-up-svm-6.1.ftrace.txt",
    style: { isa: "svm", frontEnd: "ftrace", format: "info1" },
    story: [61, 60, 2],
  },
];
