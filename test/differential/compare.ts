/** What must agree between two outcomes of a linked program. */
import { type Latitude, latitude } from "./amd.ts";
import { ARITHMETIC_FLAGS } from "./form.ts";
import type { LinkedProgram } from "./program.ts";
import { type Bytes, type Outcome, VECTOR_TIMEOUT, WINDOW_BASE } from "./state.ts";
import type { Vendor } from "./vendor.ts";

const GPR_NAMES = ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"];
const PAGE_FAULT = 14;
const BREAKPOINT = 3;

const hex = (value: bigint | number): string => `0x${value.toString(16)}`;

/** Flags that are undefined where the processor stopped. */
function undefinedFlags(program: LinkedProgram, outcome: Outcome): number {
  const { addresses, undefinedBefore } = program;
  let rip = Number(outcome.rip);
  if (outcome.vector === BREAKPOINT && rip === addresses.at(-1)! + 1) rip--;
  for (let index = 0; index < addresses.length; index++) {
    if (rip === addresses[index]) return undefinedBefore[index]!;
    // Inside a unit: between its set-up and itself.
    if (index + 1 < addresses.length && rip > addresses[index]! && rip < addresses[index + 1]!) {
      return undefinedBefore[index]! | undefinedBefore[index + 1]! | ARITHMETIC_FLAGS;
    }
  }
  return undefinedBefore.reduce((sum, flags) => sum | flags, 0) | ARITHMETIC_FLAGS;
}

type Check = (name: string, left: bigint | number, right: bigint | number) => void;

/** Differences in words; empty if the outcomes agree. `background`: the window before the case; `host`: who made it. */
export function compare(
  program: LinkedProgram,
  native: Outcome,
  subject: Outcome,
  background: Uint8Array,
  host: Vendor = "Intel",
): string[] {
  if (native.vector === VECTOR_TIMEOUT) return [];
  const open: Latitude = host === "AMD" ? latitude(program, native, subject) : {};
  if (open.everything) return [];
  const differences: string[] = [];
  const check: Check = (name, left, right) => {
    if (left !== right) differences.push(`${name}: host ${hex(left)}, ours ${hex(right)}`);
  };
  if (!open.fault) compareFault(native, subject, check);
  check("rip", native.rip, subject.rip);
  const mask = ~(undefinedFlags(program, native) | (open.flags ?? 0));
  if ((native.rflags ^ subject.rflags) & mask) check("rflags", native.rflags & mask, subject.rflags & mask);
  const registers = program.mode === 64 ? 16 : 8;
  for (let i = 0; i < registers; i++) check(GPR_NAMES[i] ?? `r${i}`, native.gpr[i]!, subject.gpr[i]!);
  ["ds", "es", "fs", "gs", "ss", "cs"].forEach((name, i) => {
    check(name, native.segments[i]!, subject.segments[i]!);
  });
  const ours = open.top ? withTopOf(native.fx, subject.fx) : subject.fx;
  compareFloat(program, native.fx, ours, open.status ?? 0, differences);
  const ignored = open.memory ? [...program.program.ignored, open.memory] : program.program.ignored;
  compareMemory(ignored, native.changes, subject.changes, background, differences);
  return differences;
}

function compareFault(native: Outcome, subject: Outcome, check: Check): void {
  check("vector", native.vector, subject.vector);
  if (native.vector !== subject.vector) return;
  let errorMask = -1;
  if (native.vector === PAGE_FAULT) {
    // Linux sets P in the error code it shows for an address beyond what user mode may have (TASK_SIZE_MAX).
    if (native.cr2 >= 0x7fff_ffff_f000n) errorMask = ~1;
    check("cr2", native.cr2, subject.cr2);
  }
  check("error code", native.error & errorMask, subject.error & errorMask);
}

/** The FXSAVE image `fx` with the TOP of another; physical registers stay what they are. */
function withTopOf(other: Uint8Array, fx: Uint8Array): Uint8Array {
  const topOf = (image: Uint8Array): number => (image[3]! >> 3) & 7;
  const result = fx.slice();
  result[3] = (fx[3]! & ~0x38) | (other[3]! & 0x38);
  for (let i = 0; i < 8; i++) {
    const from = 32 + 16 * ((i + topOf(other) - topOf(fx)) & 7);
    result.set(fx.subarray(from, from + 16), 32 + 16 * i);
  }
  return result;
}

/** `openStatus`: bits of FSW that are not compared. */
function compareFloat(
  program: LinkedProgram,
  left: Uint8Array,
  right: Uint8Array,
  openStatus: number,
  differences: string[],
): void {
  const near = program.program.units.at(-1)?.form.near ?? "";
  const differ = (at: number, length: number): boolean => {
    for (let i = at; i < at + length; i++) if (left[i] !== right[i]) return true;
    return false;
  };
  const show = (bytes: Uint8Array, at: number, length: number): string =>
    `0x${[...bytes.subarray(at, at + length)]
      .reverse()
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("")}`;
  const check = (name: string, at: number, length: number): void => {
    if (differ(at, length))
      differences.push(`${name}: host ${show(left, at, length)}, ours ${show(right, at, length)}`);
  };
  check("fcw", 0, 2);
  if (near === "x87") {
    // An approximation may round otherwise: C1 and PE are not compared.
    const leftStatus = (left[2]! | (left[3]! << 8)) & ~(0x220 | openStatus);
    const rightStatus = (right[2]! | (right[3]! << 8)) & ~(0x220 | openStatus);
    if (leftStatus !== rightStatus) check("fsw", 2, 2);
  } else check("fsw", 2, 2);
  check("ftw", 4, 1);
  check("mxcsr", 24, 4);
  for (let i = 0; i < 8; i++) {
    const at = 32 + 16 * i;
    if (near === "x87" && differ(at, 10) && closeExtended(left, right, at)) continue;
    check(`st(${i})`, at, 10);
  }
  for (let i = 0; i < (program.mode === 64 ? 16 : 8); i++) {
    const at = 160 + 16 * i;
    if (near === "single" && differ(at, 16) && closeSingles(left, right, at)) continue;
    check(`xmm${i}`, at, 16);
  }
}

/** Units in the last place by which two transcendental results may differ (Intel SDM vol. 1, 8.3.10: below 1 each). */
const X87_TOLERANCE = 2n;

function closeExtended(left: Uint8Array, right: Uint8Array, at: number): boolean {
  const read = (bytes: Uint8Array): bigint => {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at, 10);
    const significand = view.getBigUint64(0, true);
    const exponent = BigInt(view.getUint16(8, true));
    // Consecutive values of one sign have consecutive numbers.
    return (exponent << 63n) + (significand & ~(1n << 63n));
  };
  const distance = read(left) - read(right);
  return distance <= X87_TOLERANCE && distance >= -X87_TOLERANCE;
}

/** RCPPS and RSQRTPS: relative error below 1.5 * 2^-12 (Intel SDM vol. 2) on either side. */
function closeSingles(left: Uint8Array, right: Uint8Array, at: number): boolean {
  const a = new DataView(left.buffer, left.byteOffset + at, 16);
  const b = new DataView(right.buffer, right.byteOffset + at, 16);
  for (let lane = 0; lane < 16; lane += 4) {
    if (a.getUint32(lane, true) === b.getUint32(lane, true)) continue;
    const x = a.getFloat32(lane, true);
    const y = b.getFloat32(lane, true);
    if (!(Math.abs(x - y) <= 3 * 2 ** -12 * Math.abs(x))) return false;
  }
  return true;
}

function compareMemory(
  ignoredRanges: readonly (readonly [number, number])[],
  left: readonly Bytes[],
  right: readonly Bytes[],
  background: Uint8Array,
  differences: string[],
): void {
  const spread = (changes: readonly Bytes[]): Map<number, number> => {
    const bytes = new Map<number, number>();
    for (const { offset, bytes: changed } of changes) {
      // Between changed bytes, a run may hold some that are as they were.
      for (let i = 0; i < changed.length; i++) {
        if (changed[i] !== background[offset + i]) bytes.set(offset + i, changed[i]!);
      }
    }
    return bytes;
  };
  if (sameChanges(left, right)) return;
  const a = spread(left);
  const b = spread(right);
  const ignored = (offset: number): boolean => ignoredRanges.some(([from, to]) => offset >= from && offset < to);
  const offsets = [...new Set([...a.keys(), ...b.keys()])].sort((x, y) => x - y);
  const wrong = offsets.filter((offset) => a.get(offset) !== b.get(offset) && !ignored(offset));
  for (const offset of wrong.slice(0, 16)) {
    const name = (value: number | undefined): string => (value === undefined ? "unchanged" : hex(value));
    differences.push(`[${hex(WINDOW_BASE + offset)}]: host ${name(a.get(offset))}, ours ${name(b.get(offset))}`);
  }
  if (wrong.length > 16) differences.push(`... and ${wrong.length - 16} more bytes of memory`);
}

function sameChanges(left: readonly Bytes[], right: readonly Bytes[]): boolean {
  if (left.length !== right.length) return false;
  return left.every((change, index) => {
    const other = right[index]!;
    return (
      change.offset === other.offset &&
      change.bytes.length === other.bytes.length &&
      change.bytes.every((byte, i) => byte === other.bytes[i])
    );
  });
}

/** A case as its reader wants it: instructions with their addresses and bytes, then the initial state. */
export function describeCase(program: LinkedProgram): string {
  const { units } = program.program;
  const lines = units.map((unit, index) => {
    const from = program.addresses[index]! - program.addresses[0]!;
    const bytes = [...program.code.subarray(from, from + unit.bytes.length)];
    const text = bytes.map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
    const setup = unit.start > 0 ? ` (after ${unit.start} bytes of set-up)` : "";
    return `  ${hex(program.addresses[index]!)}  ${text.padEnd(36)} ${unit.form.name}${setup}`;
  });
  const registers = [...program.gpr.subarray(0, program.mode === 64 ? 16 : 8)]
    .map((value, i) => `${GPR_NAMES[i] ?? `r${i}`}=${hex(value)}`)
    .join(" ");
  lines.push(`  ${registers} rflags=${hex(program.rflags)}`);
  const view = new DataView(program.fx.buffer, program.fx.byteOffset, 512);
  const bytes = (at: number, length: number): string =>
    [...program.fx.subarray(at, at + length)]
      .reverse()
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join("");
  if (units.some((unit) => unit.form.group !== "integer")) {
    lines.push(
      `  fcw=${hex(view.getUint16(0, true))} fsw=${hex(view.getUint16(2, true))} ftw=${hex(view.getUint8(4))} mxcsr=${hex(view.getUint32(24, true))}`,
      `  ${Array.from({ length: 8 }, (_, i) => `st${i}=${bytes(32 + 16 * i, 10)}`).join(" ")}`,
    );
    for (let i = 0; i < 16; i += 4) {
      lines.push(`  ${Array.from({ length: 4 }, (_, j) => `xmm${i + j}=${bytes(160 + 16 * (i + j), 16)}`).join(" ")}`);
    }
  }
  if (program.mode === 32) lines.push(`  segments ${JSON.stringify(program.segments)}`);
  for (const patch of program.patches) {
    lines.push(
      `  [${hex(WINDOW_BASE + patch.offset)}] = ${[...patch.bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ")}`,
    );
  }
  return lines.join("\n");
}
