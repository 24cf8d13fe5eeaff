/**
 * What KVM's own trace events say: the format strings of Linux 4.8 to 6.18 (arch/x86/kvm/trace.h,
 * include/trace/events/kvm.h), and those of the plug-in with which trace-cmd and perf print kvm_exit in their own words.
 */

import type { IoDirection } from "../io-exit.ts";

export interface ExitEvent {
  readonly kind: "exit";
  /** Undefined from the plug-in: kvm_entry tells. */
  readonly vcpu: number | undefined;
  readonly reason: string;
  readonly rip: bigint;
  /** VMX: exit qualification; SVM: EXITINFO1. Rounded beyond 2^53. */
  readonly info1: number;
  /** VMX: IDT-vectoring information; SVM: EXITINFO2. */
  readonly info2: bigint;
}

/** A port access that KVM carried out, or is about to hand to its user (writes), or was given by it (reads). */
export interface PioEvent {
  readonly kind: "pio";
  readonly direction: IoDirection;
  readonly port: number;
  readonly bytes: number;
  /** Units: above 1 for string instructions. */
  readonly count: number;
}

export interface MmioEvent {
  readonly kind: "mmio";
  /** `unsatisfied`: a read that nobody in the kernel answers. */
  readonly access: "read" | "write" | "unsatisfied";
  readonly bytes: number;
  readonly address: number;
}

export type KvmEvent =
  | ExitEvent
  | PioEvent
  | MmioEvent
  | { readonly kind: "entry"; readonly vcpu: number }
  /** A write to an address that only signals: answered by address, without a look at the instruction. */
  | { readonly kind: "fast-mmio"; readonly address: number }
  /** KVM_RUN returns. `access`: because of a port or MMIO access. */
  | { readonly kind: "user"; readonly access: boolean };

const EXIT =
  /^(?:vcpu (\d{1,6}),? )?reason ([!-~][ -~]{0,63}?) rip (?:0x)?([0-9a-f]{1,16}) info1? (?:0x)?([0-9a-f]{1,16})(?: info2)? (?:0x)?([0-9a-f]{1,16})(?:\s|$)/;
const ENTRY = /^\s?vcpu (\d{1,6})(?:[\s,[]|$)/;
const PIO = /^pio_(read|write) at 0x([0-9a-f]{1,4}) size (\d{1,2}) count (\d{1,9})(?:\s|$)/;
const MMIO = /^mmio (read|write|unsatisfied-read) len (\d{1,4}) gpa 0x([0-9a-f]{1,13})(?:\s|$)/;
const FAST_MMIO = /^fast mmio at gpa 0x([0-9a-f]{1,13})(?:\s|$)/;
const USER = /^reason (\S{1,40}) \(-?\d{1,10}\)/;

const hex = (text: string): number => Number.parseInt(text, 16);
const optional = (text: string | undefined): number | undefined => (text === undefined ? undefined : Number(text));

type Parser = (payload: string) => KvmEvent | undefined;

const PARSERS = new Map<string, Parser>([
  [
    "kvm_exit",
    (payload) => {
      const match = EXIT.exec(payload);
      if (match === null) return undefined;
      const [, vcpu, reason, rip, info1, info2] = match;
      return {
        kind: "exit",
        vcpu: optional(vcpu),
        reason: reason!,
        rip: BigInt(`0x${rip}`),
        info1: hex(info1!),
        info2: BigInt(`0x${info2}`),
      };
    },
  ],
  [
    "kvm_entry",
    (payload) => {
      const match = ENTRY.exec(payload);
      return match === null ? undefined : { kind: "entry", vcpu: Number(match[1]) };
    },
  ],
  [
    "kvm_pio",
    (payload) => {
      const match = PIO.exec(payload);
      if (match === null) return undefined;
      const bytes = Number(match[3]);
      if (bytes !== 1 && bytes !== 2 && bytes !== 4) return undefined;
      return {
        kind: "pio",
        direction: match[1] === "read" ? "in" : "out",
        port: hex(match[2]!),
        bytes,
        count: Number(match[4]),
      };
    },
  ],
  [
    "kvm_mmio",
    (payload) => {
      const match = MMIO.exec(payload);
      if (match === null) return undefined;
      const access = match[1] === "unsatisfied-read" ? "unsatisfied" : match[1] === "read" ? "read" : "write";
      return { kind: "mmio", access, bytes: Number(match[2]), address: hex(match[3]!) };
    },
  ],
  [
    "kvm_fast_mmio",
    (payload) => {
      const match = FAST_MMIO.exec(payload);
      return match === null ? undefined : { kind: "fast-mmio", address: hex(match[1]!) };
    },
  ],
  [
    "kvm_userspace_exit",
    (payload) => {
      const match = USER.exec(payload);
      if (match === null) return undefined;
      return { kind: "user", access: match[1] === "KVM_EXIT_IO" || match[1] === "KVM_EXIT_MMIO" };
    },
  ],
]);

/** The event; `ignored` for one of KVM's that says nothing about I/O; undefined when its text is not whole. */
export function parseEvent(name: string, payload: string): KvmEvent | "ignored" | undefined {
  const parse = PARSERS.get(name);
  return parse === undefined ? "ignored" : parse(payload);
}
