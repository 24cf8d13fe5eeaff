/**
 * The words of the I/O path: what a handler is, which contexts can run it, and what a CPU engine calls.
 * Numbers in, number out: a value of up to 32 bits is a non-negative JavaScript number; negative results are a `Status`.
 */

import type { Expr, FunctionBuilder } from "../emit/index.ts";
import type { CoalescedRing } from "./coalesced-ring.ts";

/** Bytes of one access. Ports never see 8. */
export type Width = 1 | 2 | 4 | 8;

/** Contexts, innermost first (VirtualBox's RC, R0, R3). */
export type Context = "raw" | "ring0" | "ring3";
export const CONTEXTS: readonly Context[] = ["raw", "ring0", "ring3"];

/** A handler cannot answer in this context and did nothing: ask the next one outward. */
export const DEFER = -1;
/** Nobody home behind this offset: a read gives all ones, a write is dropped; counted as unclaimed inside the range. */
export const UNUSED = -2;
/** Ring-0 writes only: the instruction retires now, ring 3 performs the write before the next one (pending commit). */
export const COMMIT_LATER = -3;
/** From the dispatcher to an engine: the access waits for ring 3. Abandon the instruction, restart it when told. */
export const WAIT = -4;
/** From a range whose device collects writes: it has collected this one, or those that wait come first. */
export const COALESCED = -5;
export const FLUSH_FIRST = -6;

/**
 * Ring-0 handlers: synchronous, on the CPU's thread, allocation-free. `offset` counts from the start of the range,
 * `width` is 1, 2 or 4. A read returns `value >>> 0`, or `DEFER`/`UNUSED`; a write returns nothing, or a status.
 */
export type Ring0Read = (offset: number, width: number) => number;
// biome-ignore lint/suspicious/noConfusingVoidType: most writes have no status to give
export type Ring0Write = (offset: number, value: number, width: number) => number | void;

/** Ring-3 handlers may wait for anything. A rejected promise stops the machine with a typed error. */
export type Ring3Read = (offset: number, width: number) => number | Promise<number>;
export type Ring3Write = (offset: number, value: number, width: number) => void | Promise<void>;

/**
 * A raw handler compiled to WebAssembly: as ring 0, with `DEFER` for "declined" (reads return an f64 at the WebAssembly
 * level, in which all 32-bit values are distinct from a status and which JavaScript takes without a BigInt).
 */
export type RawRead = (offset: number, width: number) => number;
export type RawWrite = (offset: number, value: number, width: number) => number;

/** Widths that a raw handler is built for. */
export const RAW_WIDTHS = [1, 2, 4] as const;
export type RawWidth = (typeof RAW_WIDTHS)[number];

/** Where a raw handler is being built: a function of its own, or the middle of compiled guest code. */
export interface RawSite {
  readonly b: FunctionBuilder;
  readonly width: RawWidth;
  /** i32, from the start of the range. */
  readonly offset: Expr;
  /** i32, of a write; bits beyond the width are zero. */
  readonly value?: Expr;
  /** Leaves the handler for the next context outward; emitted where it is called. */
  decline(): void;
  /** ns of virtual time (i64), when the site knows better than the clock block. */
  now?(): Expr;
  /** Emits a request for an interrupt, which cuts the budget. A site without it is code that would not notice. */
  interrupt?(emit: () => void): void;
}

/** Builds a raw handler into a site: the value of a read (i32, bits beyond the width zero), `undefined` of a write. */
export type RawBuild = (site: RawSite) => Expr | undefined;

/** What a compiler gives for an access that it builds in place. */
export type InlineSite = Pick<RawSite, "b" | "value" | "decline" | "now" | "interrupt">;

/**
 * How compiled code answers one access in place, without a call:
 *
 * ```ts
 * const access = raw.inlinePort(0x3fd, 1, false);
 * if (access !== undefined) {
 *   b.if(b.ne(b.load("i32", 4, b.i32(0), access.guard), access.expected), () => ordinaryPath());
 *   const value = access.build({ b, decline: () => ordinaryPath() });
 *   b.store(8, b.i32(0), b.add(b.load("i64", 8, b.i32(0), access.counter), 1), access.counter);
 * }
 * ```
 *
 * The budget in the clock block must be up to date, unless the site has a `now` of its own. For ports, the CPU's own
 * checks (privilege, I/O breakpoints) come first. The access is in no journal: an instruction that makes more than one
 * memory access does not use this.
 */
export interface InlineAccess {
  /** Host address of an i32 that differs from `expected` once what was built must not run any more. */
  readonly guard: number;
  readonly expected: number;
  /** Host address of an i64 that counts the accesses answered in place. */
  readonly counter: number;
  /** Emits the handler. See `RawBuild` for the result. `decline` is emitted where the access is one for the ordinary path. */
  build(site: InlineSite): Expr | undefined;
}

/** WebAssembly functions by which emitted code reaches raw handlers it does not know. `width` is 1, 2 or 4. */
export interface RawFunctions {
  /** The value (i64), or -1: not answered, nothing has happened. The address of an MMIO access lies below 4 GiB. */
  readonly portRead: (port: number, width: number) => bigint;
  readonly mmioRead: (address: number, width: number) => bigint;
  /** 0, or -1: not answered, nothing has happened. Bits of `value` (i32) beyond the width are ignored. */
  readonly portWrite: (port: number, width: number, value: number) => number;
  readonly mmioWrite: (address: number, width: number, value: number) => number;
}

/** The innermost context, as a CPU sees it. */
export interface RawAccess {
  readonly functions: RawFunctions;
  /** What emitted code asks when `functions` have not answered: past raw handlers, which have declined then. */
  readonly outward: Pick<IoClient, "portRead" | "portWrite" | "mmioRead" | "mmioWrite">;
  /**
   * `undefined` when the access cannot be answered in place: its innermost handler is not raw, it lies in more than one
   * range, or somebody observes every access. Ports that nobody claims are answered, too.
   */
  inlinePort(port: number, width: RawWidth, write: boolean): InlineAccess | undefined;
  /** The same by guest-physical address (below 4 GiB, A20 applied, known not to be RAM or ROM). */
  inlineMmio(address: number, width: RawWidth, write: boolean): InlineAccess | undefined;
}

/**
 * String transfers (INS/OUTS). The callback consumes as many units of `width` bytes as it likes and returns how many;
 * the rest goes one unit at a time through the plain handler. `buffer` views guest memory already proven accessible.
 */
export type StringRead = (offset: number, buffer: Uint8Array, width: number) => number;
export type StringWrite = (offset: number, buffer: Uint8Array, width: number) => number;

/** The handlers of one range. A missing inner handler defers outward; a missing outermost one is "unclaimed". */
export interface RangeHandlers {
  readonly raw?: { readonly read?: RawRead; readonly write?: RawWrite };
  readonly ring0?: {
    readonly read?: Ring0Read;
    readonly write?: Ring0Write;
    readonly readString?: StringRead;
    readonly writeString?: StringWrite;
  };
  readonly ring3?: { readonly read?: Ring3Read; readonly write?: Ring3Write };
  /** Writes of the device that wait here are performed before anything else reaches this range. */
  readonly ring?: CoalescedRing;
  /** Writes of this range itself go to the ring: their instructions retire at once. Needs `ring`; excludes `raw.write`. */
  readonly coalesce?: boolean;
}

export interface Range {
  /** First port (0..0xFFFF) or guest-physical address. */
  readonly base: number;
  /** Ports or bytes, at least 1. */
  readonly length: number;
}

/** MMIO access modes, digest section A "MMIO flags". */
export type MmioReadMode = "passthrough" | "dword" | "dword-qword";
export type MmioWriteMode =
  | "passthrough"
  | "dword-zeroed"
  | "dword-qword-zeroed"
  | "dword-read-missing"
  | "dword-qword-read-missing"
  | "only-dword"
  | "only-dword-qword";

/** A live registration; `dispose` removes what is left of it. */
export interface Region extends Range {
  readonly owner: string;
  /** Maps the range elsewhere (a BAR moves); refused when it overlaps. `undefined` unmaps it but keeps the counters. */
  move(base: number | undefined): void;
  dispose(): void;
}

/**
 * What one vCPU calls for its accesses. Results are values, or `WAIT`: then `waiting` is a promise that settles when the
 * instruction may be restarted. Accesses that an abandoned instruction had completed are answered from the journal.
 */
export interface IoClient {
  /** `width` 1, 2 or 4. A port beyond 0xFFFF wraps as on hardware. */
  portRead(port: number, width: number): number;
  portWrite(port: number, value: number, width: number): number;
  /** Units of `width` bytes transferred by string callbacks (0: use `portRead`/`portWrite`), or `WAIT`. */
  portReadString(port: number, buffer: Uint8Array, width: number): number;
  portWriteString(port: number, buffer: Uint8Array, width: number): number;
  /**
   * `address` and `width` (1..16; may straddle dwords, never pages). Data goes through `buffer` little-endian, so that
   * any width has one path. Returns 0 or `WAIT`.
   */
  mmioRead(address: number, width: number, buffer: Uint8Array): number;
  mmioWrite(address: number, width: number, buffer: Uint8Array): number;
  /** The promise behind the last `WAIT`. */
  readonly waiting: Promise<void> | undefined;
  /** The way to raw handlers that leads past this client; what it answers needs nothing of the above. */
  readonly raw?: RawAccess | undefined;
  /** A fault was delivered (or the operation was otherwise given up): forget its completed accesses. */
  clearJournal(): void;
}

/** Where a CPU gets its external interrupt vector (INTA cycle): 8259A pair or local APIC. */
export interface InterruptAcknowledge {
  /** The vector, 0..255, or -1 when the request has gone away. */
  acknowledge(): number;
}

/** Lines from the board into a vCPU. */
export interface CpuPins {
  /** Level of the INTR request (8259A through LINT0, or local APIC). */
  intr(asserted: boolean): void;
  /** Emits `intr(true)`. Cuts the budget in the clock block. */
  readonly emitInterrupt?: (b: FunctionBuilder) => void;
  nmi(): void;
  init(): void;
  /** Start-up IPI: real mode at `page << 12`. */
  startup(page: number): void;
}

/** MSRs and control registers that belong to a device (local APIC: 1Bh, 6E0h, CR8) rather than to the CPU. */
export interface ApicBus {
  readBaseMsr(): number;
  /** False: the value is refused, the CPU raises #GP(0). */
  writeBaseMsr(value: number): boolean;
  /** IA32_TSC_DEADLINE in TSC ticks before IA32_TSC_ADJUST (ns of virtual time), 0 when disarmed. */
  readTscDeadline(): bigint;
  writeTscDeadline(value: bigint): void;
  /** The task priority register, 0..255; CR8 is its bits 7..4. */
  readTpr(): number;
  writeTpr(value: number): void;
}
