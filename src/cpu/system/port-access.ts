import { type RawFunctions, WAIT } from "../../io/types.ts";
import type { DEVICE_IMPORTS } from "../interp/imports.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { CPU, STOP } from "../state.ts";
import { ABANDON } from "../vcpu-state.ts";
import type { SystemContext } from "./context.ts";
import { checkPort } from "./permission.ts";

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
  { pages }: Mmu,
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
    deviceRead: (physical: number, bytes: number) => pages.deviceRead(physical >>> 0, bytes),
    deviceWrite: (physical: number, bytes: number) => pages.deviceWrite(physical >>> 0, bytes),
  };
}
