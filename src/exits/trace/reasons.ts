/** Names of the exit reasons that this looks into: the kernel's own, and those of the plug-in of trace-cmd and perf. */

export type Isa = "vmx" | "svm";

export interface IoReason {
  readonly isa: Isa;
  readonly what: "io" | "ept-violation" | "ept-misconfiguration" | "nested-page-fault";
}

const IO_REASONS = new Map<string, IoReason>([
  ["IO_INSTRUCTION", { isa: "vmx", what: "io" }],
  ["EPT_VIOLATION", { isa: "vmx", what: "ept-violation" }],
  ["EPT_MISCONFIG", { isa: "vmx", what: "ept-misconfiguration" }],
  ["io", { isa: "svm", what: "io" }],
  ["EXIT_IOIO", { isa: "svm", what: "io" }],
  ["npf", { isa: "svm", what: "nested-page-fault" }],
  ["EXIT_NPF", { isa: "svm", what: "nested-page-fault" }],
]);

/** Undefined for an exit that is not about memory or ports, and for one whose VM entry failed. */
export function ioReason(name: string): IoReason | undefined {
  return IO_REASONS.get(name);
}

/** The guest sleeps: the time until it goes on is not a cost. */
const IDLE = new Set(["HLT", "hlt", "idle-halt", "EXIT_HLT", "MWAIT_INSTRUCTION", "mwait", "EXIT_MWAIT"]);

export function isIdle(name: string): boolean {
  return IDLE.has(name);
}
