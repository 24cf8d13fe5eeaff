import { type RawFunctions, WAIT } from "../../io/types.ts";
import { type DEVICE_IMPORTS, RESULT } from "../interp/imports.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { ATTR, CPU, DS, ES, FLAG, PX, RCX, RDI, RDX, RSI, STOP, TR } from "../state.ts";
import { ABANDON } from "../vcpu-state.ts";
import type { SystemContext } from "./context.ts";

const PAGE = 4096;

/** IOPL and the I/O permission bitmap of the TSS, SDM vol 1, 19.5. Throws #GP(0). */
export function checkPort(context: SystemContext, port: number, bytes: number): void {
  const { cpu, mmu } = context;
  if (!(cpu.mode & 1) || (!cpu.isV86 && cpu.cpl <= cpu.iopl)) return;
  const attributes = cpu.attributes(TR);
  // Only a 32-bit (or 64-bit) TSS has a bitmap.
  if (attributes & ATTR.unusable || (attributes & 9) !== 9) cpu.gp(0);
  const limit = cpu.segmentLimit(TR);
  if (limit < 0x67) cpu.gp(0);
  const base = cpu.segmentBase(TR);
  const at = mmu.read16(base + 0x66, true) + (port >> 3);
  // Two bytes are always read, so both must lie within the limit.
  if (at + 1 > limit) cpu.gp(0);
  const mask = ((1 << bytes) - 1) << (port & 7);
  if (mmu.read16(base + at, true) & mask) cpu.gp(0);
}

function waitFor({ cpu }: SystemContext): never {
  cpu.setU32(CPU.stop, STOP.wait);
  throw ABANDON;
}

/** IN after decoding: the value, or ABANDON. */
export function portRead(context: SystemContext, port: number, bytes: number): number {
  checkPort(context, port, bytes);
  const value = context.io.portRead(port, bytes);
  if (value === WAIT) waitFor(context);
  context.breakpoints.io(port, bytes);
  return value;
}

export function portWrite(context: SystemContext, port: number, value: number, bytes: number): void {
  checkPort(context, port, bytes);
  const mask = bytes === 4 ? 0xffff_ffff : (1 << (bytes * 8)) - 1;
  if (context.io.portWrite(port, (value & mask) >>> 0, bytes) === WAIT) waitFor(context);
  context.breakpoints.io(port, bytes);
}

/** The innermost context of a machine that has none. */
const NOT_ANSWERED: RawFunctions = {
  portRead: () => -1n,
  portWrite: () => -1,
  mmioRead: () => -1n,
  mmioWrite: () => -1,
};

/** See `DEVICE_IMPORTS`. */
export function deviceImports(
  mmu: Mmu,
  { cpu, io }: SystemContext,
): Record<keyof typeof DEVICE_IMPORTS, CallableFunction> {
  const raw = io.raw?.functions ?? NOT_ANSWERED;
  return {
    rawPortRead: raw.portRead,
    rawPortWrite: raw.portWrite,
    rawMmioRead: raw.mmioRead,
    rawMmioWrite: raw.mmioWrite,
    openPortIn(port: number, bytes: number) {
      const value = io.portRead(port, bytes);
      if (value < 0) cpu.setU32(CPU.stop, STOP.wait);
      return value;
    },
    openPortOut(port: number, bytes: number, value: number) {
      if (io.portWrite(port, value, bytes) < 0) cpu.setU32(CPU.stop, STOP.wait);
      return 1;
    },
    deviceRead: (physical: number, bytes: number) => mmu.deviceRead(physical >>> 0, bytes),
    deviceWrite: (physical: number, bytes: number) => mmu.deviceWrite(physical >>> 0, bytes),
  };
}

/** Index registers at the address size of the instruction. */
function indexMask({ cpu }: SystemContext, px: number): bigint {
  const small = (px & PX.addressSmall) !== 0;
  if (cpu.is64) return small ? 0xffff_ffffn : 0xffff_ffff_ffff_ffffn;
  return small ? 0xffffn : 0xffff_ffffn;
}

function writeIndex({ cpu }: SystemContext, register: number, value: bigint, mask: bigint): void {
  if (mask === 0xffffn) cpu.setGprWidth(register, value, 16);
  else cpu.setGpr(register, value & mask);
}

/** What INS and OUTS share: one unit of the string, then the count. */
interface StringIo {
  readonly index: number;
  readonly segment: number;
  readonly write: boolean;
}

/**
 * INS and OUTS. One call moves as many units as lie in the page when a string callback takes them, else one unit, and
 * leaves RIP at the instruction until the count is 0: interrupts are seen between calls. INS proves its destination
 * before the port is read.
 */
function stringIo(context: SystemContext, px: number, { index, segment, write }: StringIo): number {
  const { cpu, mmu, io } = context;
  const bytes = cpu.argNumber(0);
  const repeated = (px & (PX.rep | PX.repne)) !== 0;
  const mask = indexMask(context, px);
  const count = cpu.gpr(RCX) & mask;
  const port = cpu.gpr32(RDX) & 0xffff;
  checkPort(context, port, bytes);
  if (repeated && count === 0n) return RESULT.refetch;

  const offset = cpu.gpr(index) & mask;
  const down = (cpu.u32(CPU.eflags) & FLAG.df) !== 0;
  const linear = mmu.segmented(segment, Number(BigInt.asIntN(64, offset)), bytes, write);
  const room = PAGE - (((linear % PAGE) + PAGE) % PAGE);
  let units = 0;
  if (repeated && !down && room >= bytes && !context.breakpoints.any) {
    const most = Math.min(
      Number(count < 4096n ? count : 4096n),
      Math.floor(room / bytes),
      roomInSegment(context, segment, offset, bytes),
    );
    const host = most > 1 ? mmu.hostPage(linear, write) : 0;
    if (host !== 0) {
      const buffer = context.memory.bytes.subarray(host, host + most * bytes);
      const moved = write ? io.portReadString(port, buffer, bytes) : io.portWriteString(port, buffer, bytes);
      if (moved === WAIT) waitFor(context);
      units = moved;
    }
  }
  if (units === 0) {
    units = 1;
    if (write) {
      mmu.prove(linear, bytes);
      const value = io.portRead(port, bytes);
      if (value === WAIT) waitFor(context);
      mmu.write(linear, bytes, BigInt(value));
    } else {
      const value = Number(mmu.read(linear, bytes));
      if (io.portWrite(port, value, bytes) === WAIT) waitFor(context);
    }
    context.breakpoints.io(port, bytes);
  }

  const step = BigInt((down ? -bytes : bytes) * units);
  writeIndex(context, index, offset + step, mask);
  if (repeated) {
    const left = count - BigInt(units);
    writeIndex(context, RCX, left, mask);
    if (units > 1) context.retireUnits(units - 1);
    // More to do: the instruction starts again, and interrupts are seen in between.
    if (left !== 0n) context.rip = context.startRip;
  }
  return RESULT.refetch;
}

function roomInSegment({ cpu }: SystemContext, segment: number, offset: bigint, bytes: number): number {
  if (cpu.is64) return 4096;
  const limit = cpu.segmentLimit(segment);
  const room = Math.floor((limit - Number(offset) + 1) / bytes);
  return Math.max(1, room);
}

export function inString(context: SystemContext, px: number): number {
  return stringIo(context, px, { index: RDI, segment: ES, write: true });
}

export function outString(context: SystemContext, px: number): number {
  const override = (px & PX.segment) >> PX.segmentShift;
  const segment = override === 0 ? DS : override - 1;
  return stringIo(context, px, { index: RSI, segment, write: false });
}
