import { type RawFunctions, WAIT } from "../../io/types.ts";
import type { DEVICE_IMPORTS } from "../interp/imports.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { ATTR, CPU, STOP, TR } from "../state.ts";
import { ABANDON } from "../vcpu-state.ts";
import type { SystemContext } from "./context.ts";

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

export function waitFor({ cpu }: SystemContext): never {
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
): Record<Exclude<keyof typeof DEVICE_IMPORTS, `log${string}`>, CallableFunction> {
  const raw = io.raw?.functions ?? NOT_ANSWERED;
  const outward = io.raw?.outward ?? io;
  return {
    rawPortRead: raw.portRead,
    rawPortWrite: raw.portWrite,
    rawMmioRead: raw.mmioRead,
    rawMmioWrite: raw.mmioWrite,
    openPortIn(port: number, bytes: number) {
      const value = outward.portRead(port, bytes);
      if (value < 0) cpu.setU32(CPU.stop, STOP.wait);
      return value;
    },
    openPortOut(port: number, bytes: number, value: number) {
      if (outward.portWrite(port, value >>> 0, bytes) < 0) cpu.setU32(CPU.stop, STOP.wait);
      return 1;
    },
    deviceRead: (physical: number, bytes: number) => mmu.deviceRead(physical >>> 0, bytes),
    deviceWrite: (physical: number, bytes: number) => mmu.deviceWrite(physical >>> 0, bytes),
  };
}
