import type { PciBus } from "./bus.ts";
import { COMMAND, CONFIG } from "./config-space.ts";

/** Addresses that BARs may have. Ends are exclusive. */
export interface PciWindows {
  readonly io: { readonly base: number; readonly end: number };
  readonly memory: { readonly base: number; readonly end: number };
  /** What software finds in the interrupt line register: the 8259A input behind pin 1-4 of a slot. */
  interruptLine(slot: number, pin: number): number;
}

/**
 * What firmware does before it starts an operating system: gives each BAR an address in its window (large ones first,
 * so that natural alignment leaves no gaps), writes interrupt lines, and turns decoding on. A BAR that does not fit
 * stays unassigned, and its function does not decode that kind of address. PCI Firmware 3.0, section 3.5.
 */
export function assignPciResources(bus: PciBus, windows: PciWindows): void {
  const next = { io: windows.io.base, memory: windows.memory.base };
  const unassigned = new Set<object>();
  const bars = bus.all.flatMap((f) => f.bars);
  for (const bar of bars.toSorted((a, b) => b.size - a.size)) {
    const base = Math.ceil(next[bar.kind] / bar.size) * bar.size;
    if (base + bar.size > windows[bar.kind].end) {
      unassigned.add(bar);
      continue;
    }
    bar.address = base;
    next[bar.kind] = base + bar.size;
  }
  for (const f of bus.all) {
    const pin = f.readConfig(CONFIG.interruptPin, 1);
    if (pin !== 0) f.writeConfig(CONFIG.interruptLine, windows.interruptLine(f.slot, pin), 1);
    const decodes = (kind: string) =>
      f.bars.some((bar) => bar.kind === kind) && !f.bars.some((bar) => bar.kind === kind && unassigned.has(bar));
    const command =
      f.readConfig(CONFIG.command, 2) | (decodes("io") ? COMMAND.io : 0) | (decodes("memory") ? COMMAND.memory : 0);
    f.writeConfig(CONFIG.command, command, 2);
  }
}
