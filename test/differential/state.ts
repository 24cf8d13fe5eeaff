/** Test cases and outcomes, and the records in which test/native/runner.c reads and writes them (layout.h). */

export type Mode = 32 | 64;

export const WINDOW_BASE = 0x1000_0000;
export const WINDOW_SIZE = 0x1_0000;
/** The window's last page is read-only. */
export const WINDOW_WRITABLE = 0xf000;
export const CODE_BASE = 0x2800_0000;
export const CODE_SIZE = 0x1000;
export const FS_BASE_64 = WINDOW_BASE;
export const GS_BASE_64 = WINDOW_BASE + 0x8000;

/** Selectors that Linux gives a 64-bit process; DS, ES, FS and GS are null. */
export const SELECTORS_64 = { cs: 0x33, ss: 0x2b } as const;

/** The local descriptor table of 32-bit cases; a selector is `index * 8 + 7`. */
export const Ldt = {
  code: 0,
  flat: 1,
  window: 2,
  half: 3,
  readOnly: 4,
  expandDown: 5,
  stack16: 6,
  absent: 7,
  execute: 8,
  absentCode: 9,
  code16: 10,
  null: 0xff,
} as const;

export interface LdtSegment {
  readonly base: number;
  /** Byte limit; offsets above it are the valid ones if `expandDown`. */
  readonly limit: number;
  readonly code?: boolean;
  readonly readOnly?: boolean;
  readonly expandDown?: boolean;
  /** D/B = 0. */
  readonly narrow?: boolean;
  readonly absent?: boolean;
}

export const LDT_SEGMENTS: readonly LdtSegment[] = [
  { base: 0, limit: 0x3fff_ffff, code: true },
  { base: 0, limit: 0x3fff_ffff },
  { base: WINDOW_BASE, limit: 0xffff },
  { base: WINDOW_BASE + 0x4000, limit: 0x7fff },
  { base: WINDOW_BASE, limit: 0xffff, readOnly: true },
  { base: WINDOW_BASE, limit: 0x7fff, expandDown: true, narrow: true },
  { base: WINDOW_BASE, limit: 0xffff, narrow: true },
  { base: WINDOW_BASE, limit: 0xffff, absent: true },
  { base: 0, limit: 0x3fff_ffff, code: true, readOnly: true },
  { base: 0, limit: 0x3fff_ffff, code: true, absent: true },
  { base: CODE_BASE, limit: 0xfff, code: true, narrow: true },
];

export const ldtSelector = (index: number): number => (index === Ldt.null ? 0 : index * 8 + 7);

export interface SegmentPlan {
  ds: number;
  es: number;
  fs: number;
  gs: number;
  ss: number;
  /** `Ldt.code` if left out, or `Ldt.code16`. */
  cs?: number;
}

export interface Bytes {
  /** Offset in the window. */
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** What a processor is given: the state, the code at `codeOffset` in its page, changes to the window's background. */
export interface MachineCase {
  readonly mode: Mode;
  /** rax rcx rdx rbx rsp rbp rsi rdi r8-r15; in 32-bit mode eight, zero-extended. */
  readonly gpr: BigUint64Array;
  readonly rflags: number;
  /** FXSAVE image (64-bit format is the same but for pointers, which are not compared). */
  readonly fx: Uint8Array;
  readonly segments: SegmentPlan;
  readonly codeOffset: number;
  readonly code: Uint8Array;
  readonly patches: readonly Bytes[];
}

/** The state at the first exception: INT3 after the last instruction, or one that an instruction raised. */
export interface Outcome {
  vector: number;
  error: number;
  /** Only of a page fault. */
  cr2: bigint;
  rip: bigint;
  rflags: number;
  gpr: BigUint64Array;
  /** Selectors DS, ES, FS, GS, SS, CS; 32-bit mode only, else zeros. */
  segments: Uint16Array;
  fx: Uint8Array;
  /** Differences of the window from its background, ascending. */
  changes: Bytes[];
}

/** The case did not end in time; it proves nothing. */
export const VECTOR_TIMEOUT = 0xff;

const MAGIC_REQUEST = 0x46494450;
const PROTOCOL_VERSION = 2;
const MAGIC_REPLY = 0x4f494450;
const CASE_HEADER = 704;
const OUTCOME_HEADER = 704;
const SEGMENT_REGISTERS = 6;

const align16 = (length: number): number => (length + 15) & ~15;

/** The standard input of one run of the native runner. */
export function encodeBatch(background: Uint8Array, cases: readonly MachineCase[]): Uint8Array {
  const patchLength = (one: MachineCase): number => one.patches.reduce((sum, patch) => sum + 4 + patch.bytes.length, 0);
  const lengths = cases.map((one) => align16(CASE_HEADER + one.code.length + patchLength(one)));
  const total = lengths.reduce((sum, length) => sum + length, 16 + background.length);
  const out = new Uint8Array(total);
  const view = new DataView(out.buffer);
  view.setUint32(0, MAGIC_REQUEST, true);
  view.setUint32(4, PROTOCOL_VERSION, true);
  view.setUint32(8, background.length, true);
  out.set(background, 16);
  let at = 16 + background.length;
  cases.forEach((one, index) => {
    view.setUint32(at, lengths[index]!, true);
    view.setUint16(at + 4, one.code.length, true);
    view.setUint16(at + 6, patchLength(one), true);
    view.setUint16(at + 8, one.codeOffset, true);
    const { ds, es, fs, gs, ss, cs = Ldt.code } = one.segments;
    out.set([ds, es, fs, gs, ss, cs], at + 10);
    for (let i = 0; i < 16; i++) view.setBigUint64(at + 16 + 8 * i, one.gpr[i] ?? 0n, true);
    view.setUint32(at + 144, one.rflags, true);
    out.set(one.fx, at + 192);
    out.set(one.code, at + CASE_HEADER);
    let patchAt = at + CASE_HEADER + one.code.length;
    for (const patch of one.patches) {
      view.setUint16(patchAt, patch.offset, true);
      view.setUint16(patchAt + 2, patch.bytes.length, true);
      out.set(patch.bytes, patchAt + 4);
      patchAt += 4 + patch.bytes.length;
    }
    at += lengths[index]!;
  });
  return out;
}

/** The standard output of the native runner. The outcomes share its buffer. */
export function decodeOutcomes(reply: Uint8Array, mode: Mode): Outcome[] {
  const view = new DataView(reply.buffer, reply.byteOffset, reply.length);
  if (view.getUint32(0, true) !== MAGIC_REPLY || view.getUint32(8, true) !== mode) {
    throw new Error("not a reply of the native runner for this mode");
  }
  const outcomes: Outcome[] = [];
  for (let at = 16; at < reply.length; at += view.getUint32(at, true)) {
    const gpr = new BigUint64Array(16);
    for (let i = 0; i < 16; i++) gpr[i] = view.getBigUint64(at + 40 + 8 * i, true);
    const segments = new Uint16Array(SEGMENT_REGISTERS);
    for (let i = 0; i < SEGMENT_REGISTERS; i++) segments[i] = view.getUint16(at + 176 + 2 * i, true);
    const changes: Bytes[] = [];
    let change = at + OUTCOME_HEADER;
    for (let run = view.getUint32(at + 12, true); run > 0; run--) {
      const length = view.getUint16(change + 2, true);
      const bytes = reply.subarray(change + 4, change + 4 + length);
      changes.push({ offset: view.getUint16(change, true), bytes });
      change += 4 + length;
    }
    outcomes.push({
      vector: view.getUint32(at + 4, true),
      error: view.getUint32(at + 8, true),
      cr2: view.getBigUint64(at + 16, true),
      rip: view.getBigUint64(at + 24, true),
      rflags: view.getUint32(at + 32, true),
      gpr,
      segments,
      fx: reply.subarray(at + 192, at + 192 + 512),
      changes,
    });
  }
  return outcomes;
}
