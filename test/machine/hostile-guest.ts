/** The hostile guest: its image for one machine, and what it reports in its memory. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Machine } from "../../src/machine/machine.ts";

const IMAGE = join(import.meta.dirname, "..", "..", "guests", "hostile", "hostile.bin");

/** Where the image lies, and offsets of its parameters and reports; see hostile.asm. */
const BASE = 0x20_0000;
const PARAMETER = { seed: 0x40, reckless: 0x44, portCount: 0x48, windowCount: 0x4c } as const;
const REPORT = { progress: 0x50, interrupts: 0x54, faults: 0x58 } as const;
const PORTS = { at: 0x80, most: 48 } as const;
const WINDOWS = { at: PORTS.at + PORTS.most * 8, most: 24 } as const;

export interface Window {
  readonly base: number;
  readonly length: number;
}

export interface HostileOptions {
  readonly seed: number;
  /** Also uses the ports that end or reset the machine. */
  readonly reckless: boolean;
  /** MMIO besides what the machine's devices claim: holes, windows of BARs. */
  readonly windows?: readonly Window[];
}

/** The image, told which ports and MMIO ranges the machine's devices claim. */
export function hostileImage(machine: Machine, { seed, reckless, windows = [] }: HostileOptions): Uint8Array {
  const image = new Uint8Array(readFileSync(IMAGE));
  const data = new DataView(image.buffer);
  data.setUint32(PARAMETER.seed, seed, true);
  data.setUint32(PARAMETER.reckless, reckless ? 1 : 0, true);
  const claimed = claimedRanges(machine);
  const table = (place: { at: number; most: number }, count: number, ranges: readonly Window[]) => {
    if (ranges.length > place.most) throw new Error(`${ranges.length} ranges: the hostile guest takes ${place.most}`);
    data.setUint32(count, ranges.length, true);
    ranges.forEach(({ base, length }, index) => {
      data.setUint32(place.at + index * 8, base, true);
      data.setUint32(place.at + index * 8 + 4, length, true);
    });
  };
  table(PORTS, PARAMETER.portCount, claimed.port);
  table(WINDOWS, PARAMETER.windowCount, [...claimed.mmio, ...windows]);
  return image;
}

/** What the devices claim now, each range once. */
export function claimedRanges(machine: Machine): { port: Window[]; mmio: Window[] } {
  const ranges = { port: new Map<number, Window>(), mmio: new Map<number, Window>() };
  for (const { space, base, length } of machine.profile().ranges) ranges[space].set(base, { base, length });
  return { port: [...ranges.port.values()], mmio: [...ranges.mmio.values()] };
}

export function hostileReport(machine: Machine): Record<keyof typeof REPORT, number> {
  return {
    progress: machine.memory.read32(BASE + REPORT.progress),
    interrupts: machine.memory.read32(BASE + REPORT.interrupts),
    faults: machine.memory.read32(BASE + REPORT.faults),
  };
}
