/** What `portico explain` finds out; plain data, and the JSON that it prints. Times are in nanoseconds. */

import type { ExitFault } from "../decoded.ts";
import type { Octave, Summary } from "./distribution.ts";
import type { FrontEnd } from "./line.ts";
import type { Isa } from "./reasons.ts";

export interface TraceReport {
  readonly source: {
    /** Who printed the text; undefined: no line was understood. */
    readonly frontEnd: FrontEnd | undefined;
    readonly isa: Isa | "both" | undefined;
    readonly lines: number;
    /** Events of KVM's, whether they tell about I/O or not. */
    readonly events: number;
    /** Lines of an event that are cut off or damaged, or longer than any line of a trace. */
    readonly malformed: number;
    /** Places where the recorder lost events, and how many it says it lost. */
    readonly gaps: number;
    readonly lost: number;
    /** From the first event to the last. Undefined when the trace's clock does not count seconds. */
    readonly spanNs: number | undefined;
    /** Which of the events that tell about I/O there were. */
    readonly eventNames: readonly string[];
  };
  readonly exits: {
    readonly total: number;
    /** Of all: port and MMIO accesses. */
    readonly io: number;
    readonly string: number;
    readonly emulated: number;
    /** Undefined for both: without kvm_userspace_exit nobody can tell. */
    readonly kernel: number | undefined;
    readonly user: number | undefined;
    /** Strings that transferred nothing, and so were answered by nobody. */
    readonly ended: number;
    /** No entry followed in the trace: counted, but without a time. */
    readonly untimed: number;
    /** Exit information that no processor writes, by what is wrong with it. */
    readonly invalid: Partial<Record<ExitFault, number>>;
    /** EPT misconfigurations whose address no kvm_mmio tells. */
    readonly unplaced: number;
    /** Accesses that no exit caused: KVM was interpreting the guest. */
    readonly outside: number;
  };
  readonly vcpus: readonly VcpuReport[];
  /** Most time first. */
  readonly places: readonly PlaceReport[];
  /** More places than are held apart were accessed; these exits are in none of them. */
  readonly elsewhere: number;
  /** All reasons, most time first. */
  readonly reasons: readonly { readonly reason: string; readonly exits: number; readonly totalNs: number }[];
  /** Time to re-entry of I/O exits by octave of nanoseconds: from 2^exponent. */
  readonly histogram: { readonly kernel: readonly Octave[]; readonly user: readonly Octave[] };
  readonly savings: SavingsReport;
}

export interface VcpuReport {
  readonly vcpu: number | undefined;
  readonly thread: number | undefined;
  readonly exits: number;
  readonly io: number;
  readonly user: number | undefined;
  /** From exits to re-entries, sleep not counted. */
  readonly outsideNs: number;
}

export interface AccessCounts {
  /** I/O exits. */
  readonly exits: number;
  readonly perSecond: number | undefined;
  /** Of these: answered in the kernel, and by the user-mode program. */
  readonly kernel: number | undefined;
  readonly user: number | undefined;
  /** Strings that transferred nothing: the exit after a REP's last unit. */
  readonly ended: number;
  readonly string: number;
  /** The instruction had to be read or run by software: strings, MMIO other than a notify. */
  readonly emulated: number;
  /** Units transferred: more than exits where a REP moved several, fewer where one ended without any. */
  readonly units: number;
  /** Accesses of the same place without an exit. */
  readonly outside: number;
  /** Until the next entry. */
  readonly time: Summary | undefined;
}

export interface PlaceReport extends AccessCounts {
  readonly space: "port" | "mmio";
  /** The port, or the first address of the page. */
  readonly address: number;
  readonly direction: "read" | "write";
  /** 0: the trace does not tell. */
  readonly bytes: number;
  readonly vcpus: readonly (AccessCounts & {
    readonly vcpu: number | undefined;
    readonly thread: number | undefined;
  })[];
}

export interface SavingsReport {
  /**
   * What an answer in the kernel costs in this trace, by kind of access: the median of those that were answered there.
   * Where a kind has none, the nearest dearer measure stands in; `from` says which.
   */
  readonly reference: readonly {
    readonly kind: AccessKind;
    readonly medianNs: number;
    readonly from: AccessKind | "other exits";
  }[];
  readonly candidates: readonly Saving[];
}

export type AccessKind = "port" | "string" | "mmio";

export interface Saving {
  readonly space: "port" | "mmio";
  readonly address: number;
  readonly direction: "read" | "write";
  readonly bytes: number;
  readonly exits: number;
  readonly totalNs: number;
  /** If the kernel answered what the user-mode program answers now; undefined: nothing to move, or nothing to compare. */
  readonly inKernelNs: number | undefined;
  /** If no exit were needed. The switches themselves are not in a trace, so this is the least. */
  readonly withoutExitNs: number;
}
