import type { MachineCase, Mode, Outcome } from "./state.ts";

/**
 * A processor under test. Memory is the window (its last page read-only) and one read-only, executable code page filled
 * with INT3 around the case's code, both for user mode, at the addresses of state.ts; nothing else is mapped.
 */
export interface Subject {
  readonly name: string;
  readonly mode: Mode;
  /** Gives the window's contents before each case. Called before the first case of a batch. */
  prepare(background: Uint8Array): void;
  /** Runs until the first exception, or returns `vector` = VECTOR_TIMEOUT. */
  run(one: MachineCase): Outcome;
}
