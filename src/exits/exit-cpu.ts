/** A CPU as a monitor sees it: what an exit handler may ask of it, and do to it. An engine implements it. */

import type { IoClient } from "../io/types.ts";
import type { AddressBits, IoDirection } from "./io-exit.ts";
import type { PortPermissionCpu } from "./io-permission.ts";
import type { SkipCpu, SkippedCpu } from "./skip-instruction.ts";

/** General registers by number. */
export const REGISTER = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsi: 6, rdi: 7 } as const;
/** Segment registers by number, as in `SEGMENTS`. */
export const SEGMENT = { es: 0, ds: 3 } as const;

/** An IN, OUT, INS or OUTS as its bytes say. */
export interface IoInstruction {
  readonly direction: IoDirection;
  readonly bytes: 1 | 2 | 4;
  /** The immediate; undefined: the port is in DX. */
  readonly port: number | undefined;
  /** INS or OUTS. */
  readonly string: boolean;
  readonly rep: boolean;
  readonly addressBits: AddressBits;
  /** Of the memory operand. */
  readonly segment: number;
  readonly length: number;
}

/**
 * What cannot go on leaves through an exception of the engine's own (`fault`, `wait`, a page fault in `fetch` or in an
 * access to memory), which handlers let pass: they keep nothing between two exits.
 */
export interface ExitCpu extends PortPermissionCpu {
  /** Where accesses go. */
  readonly io: IoClient;

  /** The low half of a general register, unsigned, and the high half, signed. */
  low(register: number): number;
  high(register: number): number;
  setLow(register: number, value: number): void;
  setHigh(register: number, value: number): void;

  /** Of the instruction that exited, until it is skipped. Canonical, so exact; addresses of the upper half are negative. */
  rip: number;
  readonly code64: boolean;
  /** Of the code segment. */
  readonly addressBits: AddressBits;
  /** EFLAGS.DF. */
  readonly down: boolean;
  setIopl(iopl: number): void;
  /** TF, RF, an interrupt shadow or a breakpoint: retiring an instruction is more than adding its length. */
  readonly eventful: boolean;
  skipState(): SkipCpu;
  skipTo(state: SkippedCpu): void;
  /** B0 to B3 of I/O breakpoints that one unit of a string has touched; the trap follows the unit. */
  debugHits(bits: number): void;

  /**
   * Fills `into` from `from` on with the code at `rip` + `from`, as far as the page reaches, through the guest's page
   * tables and the CPU's translation caches. Gives the number of bytes that are then there; faults when none came.
   */
  fetch(rip: number, into: Uint8Array, from: number): number;
  /**
   * Undefined: some other instruction. One of more than `available` bytes: at least so many are needed, and nothing else
   * is known yet. Good until the next call.
   */
  decode(bytes: Uint8Array, available: number): IoInstruction | undefined;
  /** Entries of page tables read since the CPU was made. */
  readonly walkLoads: number;

  /** Linear address of an operand in a segment, after the checks of limit and rights; faults. */
  linear(segment: number, offset: number, bytes: number, write: boolean): number;
  /** Bytes from an offset on for which these checks hold as well, or fewer. */
  segmentRoom(segment: number, offset: number): number;
  readMemory(linear: number, bytes: number): number;
  writeMemory(linear: number, bytes: number, value: number): void;
  /** Faults now if writing would. */
  proveWritable(linear: number, bytes: number): void;
  /** `bytes` bytes within one page as they lie in the host's memory; undefined where they are not ordinary memory. */
  hostMemory(linear: number, bytes: number, write: boolean): Uint8Array | undefined;
  /** Whether all of a range of linear addresses can be read or written; never faults. */
  canAccess(linear: number, bytes: number, write: boolean): boolean;
  /** Several units of a string may be moved at once: nobody looks at each of them. */
  readonly mayBatch: boolean;
  /** Units that may be moved now, the one at hand included: it is counted already. */
  readonly unitsAllowed: number;
  /** The others count like instructions. */
  countUnits(units: number): void;

  /** Injects #GP(0) at the instruction. */
  protectionFault(): never;
  /** The instruction waits for ring 3: it exits again, from its start, when the answer is there. */
  wait(): never;
}
