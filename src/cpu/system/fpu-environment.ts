import { RESULT } from "../interp/imports.ts";
import { FPU_CONTROL, FPU_STATUS } from "../isa/x87-status.ts";
import { CPU, FS, PX } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import type { SystemContext } from "./context.ts";

/**
 * FNSTENV, FLDENV, FNSAVE and FRSTOR. The environment has four layouts, by operand size and by real (or V86) against
 * protected mode; SDM vol 1, figures 8-9 to 8-12. FNSAVE adds ST(0) to ST(7), ten bytes each.
 *
 * Operands: offset, segment, layout width (16 or 32). #NM and #MF have been dealt with.
 */
const ENVIRONMENT_BYTES = { 16: 14, 32: 28 } as const;
const REGISTER_BYTES = 10;
type LayoutWidth = 16 | 32;

/** Tags of the full tag word, SDM vol 1, figure 8-7. */
const TAG = { valid: 0, zero: 1, special: 2, empty: 3 } as const;
const INTEGER_BIT = 1n << 63n;

// --- parts that FXSAVE shares -----------------------------------------------------------------------------------------

/** The status word with TOP in its place. */
export function statusWord(cpu: VcpuState): number {
  return cpu.u32(CPU.fpuStatus) | (cpu.u32(CPU.fpuTop) << 11);
}

/** Loads control and status words; ES and B follow from flags and masks, whatever the image says. */
export function loadControlAndStatus(cpu: VcpuState, controlWord: number, status: number): void {
  const control = (controlWord & FPU_CONTROL.writable) | FPU_CONTROL.fixed;
  const kept = status & (FPU_STATUS.conditions | FPU_STATUS.stackFault | FPU_STATUS.exceptions);
  const unmasked = kept & ~control & FPU_STATUS.exceptions;
  cpu.setU32(CPU.fpuControl, control);
  cpu.setU32(CPU.fpuStatus, unmasked ? kept | FPU_STATUS.summaryAndBusy : kept);
  // IGNNE# lasts as long as FERR#.
  if (!unmasked) cpu.setU32(CPU.fpuIgnored, 0);
  cpu.setU32(CPU.fpuTop, (status >> 11) & 7);
}

/** What FNINIT does; SDM vol 2. */
export function initialize(cpu: VcpuState): void {
  loadControlAndStatus(cpu, FPU_CONTROL.initial, 0);
  cpu.setU32(CPU.fpuEmpty, 0xff);
  for (const field of [CPU.fpuOpcode, CPU.fpuCs, CPU.fpuDs]) cpu.setU32(field, 0);
  for (const field of [CPU.fpuIp, CPU.fpuDp]) cpu.setU64(field, 0n);
}

function tagOf(cpu: VcpuState, physical: number): number {
  if ((cpu.u32(CPU.fpuEmpty) >> physical) & 1) return TAG.empty;
  const significand = cpu.u64(CPU.fpu + physical * 16);
  const exponent = cpu.u32(CPU.fpu + physical * 16 + 8) & 0x7fff;
  if (exponent === 0) return significand === 0n ? TAG.zero : TAG.special;
  return exponent === 0x7fff || (significand & INTEGER_BIT) === 0n ? TAG.special : TAG.valid;
}

function tagWord(cpu: VcpuState): number {
  let word = 0;
  for (let physical = 0; physical < 8; physical++) word |= tagOf(cpu, physical) << (physical * 2);
  return word;
}

// --- images -------------------------------------------------------------------------------------------------------------

/** Real and V86 mode: pointers are 20- or 32-bit linear addresses. */
function usesLinearPointers(cpu: VcpuState): boolean {
  return !cpu.isProtected;
}

/** Environment fields in memory order, with ones in reserved halves as processors write them. */
function environment(cpu: VcpuState, width: LayoutWidth): number[] {
  const words = [cpu.u32(CPU.fpuControl), statusWord(cpu), tagWord(cpu)];
  const [cs, ds, opcode] = [cpu.u32(CPU.fpuCs), cpu.u32(CPU.fpuDs), cpu.u32(CPU.fpuOpcode)];
  const [ip, dp] = [cpu.u32(CPU.fpuIp), cpu.u32(CPU.fpuDp)];
  const linear = usesLinearPointers(cpu);
  const [linearIp, linearDp] = [(ip + cs * 16) >>> 0, (dp + ds * 16) >>> 0];
  const top4 = (pointer: number) => (pointer >>> 4) & 0xf000;
  if (width === 16) {
    if (linear) return [...words, linearIp, top4(linearIp) | opcode, linearDp, top4(linearDp)];
    return [...words, ip, cs, dp, ds];
  }
  const wide = words.map((word) => word | 0xffff_0000);
  const top16 = (pointer: number) => (pointer & 0xffff_0000) >>> 4;
  if (linear) {
    const low = (pointer: number) => pointer | 0xffff_0000;
    return [...wide, low(linearIp), top16(linearIp) | opcode, low(linearDp), top16(linearDp)];
  }
  return [...wide, ip, cs | (opcode << 16), dp, ds | 0xffff_0000];
}

function loadEnvironment(cpu: VcpuState, width: LayoutWidth, fields: readonly number[]): void {
  const [control, status, tags, ip, second, dp, fourth] = fields as [
    number,
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  loadControlAndStatus(cpu, control, status);
  let empty = 0;
  for (let physical = 0; physical < 8; physical++) {
    if (((tags >> (physical * 2)) & 3) === TAG.empty) empty |= 1 << physical;
  }
  cpu.setU32(CPU.fpuEmpty, empty);
  let pointers: { ip: number; cs: number; opcode: number; dp: number; ds: number };
  if (!usesLinearPointers(cpu)) {
    // The short protected layout has no place for the opcode, which becomes 0.
    const opcode = width === 16 ? 0 : (second >>> 16) & 0x7ff;
    pointers = { ip, cs: second & 0xffff, opcode, dp, ds: fourth & 0xffff };
  } else {
    const high = width === 16 ? (word: number) => (word & 0xf000) << 4 : (word: number) => (word << 4) & 0xffff_0000;
    pointers = {
      ip: ((ip & 0xffff) | high(second)) >>> 0,
      cs: 0,
      opcode: second & 0x7ff,
      dp: ((dp & 0xffff) | high(fourth)) >>> 0,
      ds: 0,
    };
  }
  cpu.setNumber(CPU.fpuIp, pointers.ip);
  cpu.setU32(CPU.fpuCs, pointers.cs);
  cpu.setU32(CPU.fpuOpcode, pointers.opcode);
  cpu.setNumber(CPU.fpuDp, pointers.dp);
  cpu.setU32(CPU.fpuDs, pointers.ds);
}

// --- memory -------------------------------------------------------------------------------------------------------------

const layoutWidth = (cpu: VcpuState): LayoutWidth => (cpu.argNumber(2) === 16 ? 16 : 32);

/**
 * How the offsets of an operand wrap: at `size`, counted from `base`. In 64-bit mode the operand is linear already, and
 * an override's base is part of it.
 */
function wrapping({ cpu }: SystemContext, px: number): { base: number; size: number } {
  const small = (px & PX.addressSmall) !== 0;
  if (!cpu.is64) return { base: 0, size: small ? 2 ** 16 : 2 ** 32 };
  if (!small) return { base: 0, size: Number.POSITIVE_INFINITY };
  const segment = ((px >> PX.segmentShift) & 7) - 1;
  return { base: segment >= FS ? cpu.segmentBase(segment) : 0, size: 2 ** 32 };
}

/** Linear address of a part of a memory operand that has several. Each part wraps at the address size for itself. */
export function partAddress(context: SystemContext, px: number, at: number, bytes: number, write: boolean): number {
  const { cpu, mmu } = context;
  const { base, size } = wrapping(context, px);
  const offset = base + ((cpu.argNumber(0) - base + at) % size);
  return cpu.is64 ? offset : mmu.segmented(cpu.argNumber(1), offset, bytes, write);
}

/** Bytes of a memory operand before its offsets wrap. */
export function bytesToWrap(context: SystemContext, px: number): number {
  const { base, size } = wrapping(context, px);
  return size - ((context.cpu.argNumber(0) - base) % size);
}

/**
 * Proves that all of the image may be accessed. Processors touch the first unit, then the last byte: an image that runs
 * into a page it may not access leaves the address of its last byte in CR2.
 */
function touchEnds(context: SystemContext, px: number, bytes: number, width: LayoutWidth, write: boolean): void {
  const touch = (at: number, unit: number) => {
    const linear = partAddress(context, px, at, unit, write);
    if (write) context.mmu.prove(linear, unit);
    else context.mmu.read(linear, unit);
  };
  touch(0, width / 8);
  touch(bytes - 1, 1);
}

/** Units are what alignment checking looks at: 2 or 4 bytes by operand size (SDM vol 3, table 6-7). */
function write(context: SystemContext, px: number, width: LayoutWidth, image: DataView): void {
  const unit = width / 8;
  touchEnds(context, px, image.byteLength, width, true);
  for (let at = 0; at < image.byteLength; at += unit) {
    const value = unit === 2 ? image.getUint16(at, true) : image.getUint32(at, true);
    context.mmu.write(partAddress(context, px, at, unit, true), unit, BigInt(value));
  }
}

function read(context: SystemContext, px: number, width: LayoutWidth, bytes: number): DataView {
  const unit = width / 8;
  touchEnds(context, px, bytes, width, false);
  const image = new DataView(new ArrayBuffer(bytes));
  for (let at = 0; at < bytes; at += unit) {
    const value = Number(context.mmu.read(partAddress(context, px, at, unit, false), unit));
    if (unit === 2) image.setUint16(at, value, true);
    else image.setUint32(at, value, true);
  }
  return image;
}

function putEnvironment(cpu: VcpuState, width: LayoutWidth, image: DataView): void {
  environment(cpu, width).forEach((field, i) => {
    if (width === 16) image.setUint16(i * 2, field, true);
    else image.setUint32(i * 4, field, true);
  });
}

function takeEnvironment(cpu: VcpuState, width: LayoutWidth, image: DataView): void {
  const fields = Array.from({ length: 7 }, (_, i) =>
    width === 16 ? image.getUint16(i * 2, true) : image.getUint32(i * 4, true),
  );
  loadEnvironment(cpu, width, fields);
}

/** Block offset of ST(i). */
const slotOf = (cpu: VcpuState, i: number): number => CPU.fpu + ((cpu.u32(CPU.fpuTop) + i) & 7) * 16;

// --- operations ---------------------------------------------------------------------------------------------------------

/** FNSTENV: then masks all exceptions. */
export function saveEnvironment(context: SystemContext, px: number): number {
  const { cpu } = context;
  const width = layoutWidth(cpu);
  const bytes = ENVIRONMENT_BYTES[width];
  const image = new DataView(new ArrayBuffer(bytes));
  putEnvironment(cpu, width, image);
  write(context, px, width, image);
  loadControlAndStatus(cpu, cpu.u32(CPU.fpuControl) | FPU_STATUS.exceptions, statusWord(cpu));
  return RESULT.refetch;
}

export function restoreEnvironment(context: SystemContext, px: number): number {
  const { cpu } = context;
  const width = layoutWidth(cpu);
  const bytes = ENVIRONMENT_BYTES[width];
  const image = read(context, px, width, bytes);
  takeEnvironment(cpu, width, image);
  return RESULT.refetch;
}

/** FNSAVE: then initializes, as FNINIT does. */
export function saveState(context: SystemContext, px: number): number {
  const { cpu } = context;
  const width = layoutWidth(cpu);
  const first = ENVIRONMENT_BYTES[width];
  const bytes = first + 8 * REGISTER_BYTES;
  const image = new DataView(new ArrayBuffer(bytes));
  putEnvironment(cpu, width, image);
  for (let i = 0; i < 8; i++) {
    const slot = slotOf(cpu, i);
    image.setBigUint64(first + i * REGISTER_BYTES, cpu.u64(slot), true);
    image.setUint16(first + i * REGISTER_BYTES + 8, cpu.u32(slot + 8) & 0xffff, true);
  }
  write(context, px, width, image);
  initialize(cpu);
  return RESULT.refetch;
}

export function restoreState(context: SystemContext, px: number): number {
  const { cpu } = context;
  const width = layoutWidth(cpu);
  const first = ENVIRONMENT_BYTES[width];
  const bytes = first + 8 * REGISTER_BYTES;
  const image = read(context, px, width, bytes);
  takeEnvironment(cpu, width, image);
  for (let i = 0; i < 8; i++) {
    const slot = slotOf(cpu, i);
    cpu.setU64(slot, image.getBigUint64(first + i * REGISTER_BYTES, true));
    cpu.setU32(slot + 8, image.getUint16(first + i * REGISTER_BYTES + 8, true));
  }
  return RESULT.refetch;
}
