/** What answering exits took. Counts, so that two paths can be compared without a clock. */

/** How an I/O instruction of the guest reaches its device. */
export const IO_PATHS = ["direct", "decoded", "emulated", "trap"] as const;
export type IoPath = (typeof IO_PATHS)[number];

/** Ways in which the monitor is entered; `direct` does not enter it. */
export const EXIT_KINDS = ["decoded", "emulated", "trap", "hypercall"] as const;
export type ExitKind = (typeof EXIT_KINDS)[number];

export interface ExitWork {
  /** Times that the guest was left, those of a repeated string and of a restart included. */
  exits: number;
  /** Bytes of code that the monitor read. */
  bytesFetched: number;
  /** Entries of page tables read for them and for the permission check. */
  walkLoads: number;
  /** Bytes that went through the decoder. */
  decodeSteps: number;
  /** Ways out of the guest and back into it: two an exit, and two more for each wait for ring 3. */
  contextSwitches: number;
  /** Instructions that ended with #GP(0): the guest's own, or because the exit could not be completed. */
  reflected: number;
  /** Exits that could not be completed. */
  failures: number;
}

export interface ExitStatistics extends Readonly<ExitWork> {
  readonly kind: ExitKind;
}

export function newWork(): ExitWork {
  return {
    exits: 0,
    bytesFetched: 0,
    walkLoads: 0,
    decodeSteps: 0,
    contextSwitches: 0,
    reflected: 0,
    failures: 0,
  };
}
