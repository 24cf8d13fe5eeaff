/** Which registers of which devices a guest has read and written, also those behind an index register. */

import type { Machine } from "../../src/machine/machine.ts";
import { MMIO } from "../../src/machine/platform.ts";
import { claimedRanges, type Window } from "./hostile-guest.ts";

const READ = 1;
const WRITTEN = 2;

/** Index and data registers: `places` are all registers behind them. */
const BEHIND = {
  "rtc and CMOS": 0x80,
  "I/O APIC": 0x40,
  /** 64 dwords of the host bridge, then of the card in slot 2. */
  "PCI configuration": 2 * 64,
  /** What `item` selects; below 30h. */
  "fw_cfg items": 0x30,
} as const;
type Behind = keyof typeof BEHIND;

export interface Coverage {
  /** Registers that no access has reached, as text; empty when every one was read and written. */
  missing(): string[];
  readonly accesses: number;
}

export function watchCoverage(machine: Machine): Coverage {
  const ports = new Uint8Array(0x1_0000 + 4);
  const claimed = claimedRanges(machine);
  const windows = claimed.mmio.map((window) => ({ ...window, seen: new Uint8Array(window.length / 4) }));
  const behind = Object.fromEntries(
    Object.entries(BEHIND).map(([name, places]) => [name, new Uint8Array(places)]),
  ) as Record<Behind, Uint8Array>;
  const index = { rtc: 0, ioApic: 0, pci: 0, fwCfg: 0 };
  let accesses = 0;

  const mark = (name: Behind, place: number, how: number) => {
    if (place < behind[name].length) behind[name][place] |= how;
  };

  machine.io.onAccess = (space, direction, address, width, value) => {
    accesses++;
    const how = direction === "read" ? READ : WRITTEN;
    if (space === "mmio") {
      for (const window of windows) {
        const offset = address - window.base;
        if (offset >= 0 && offset < window.length) window.seen[offset >> 2] |= how;
      }
      if (address === MMIO.ioApic && how === WRITTEN) index.ioApic = value & 0xff;
      if (address === MMIO.ioApic + 0x10) mark("I/O APIC", index.ioApic, how);
      return;
    }
    for (let i = 0; i < width; i++) ports[address + i] |= how;
    if (address === 0x70 && how === WRITTEN) index.rtc = value & 0x7f;
    if (address === 0x71) mark("rtc and CMOS", index.rtc, how);
    if (address === 0xcf8 && width === 4 && how === WRITTEN) index.pci = value;
    if (address >= 0xcfc && address <= 0xcff) {
      const [selector, dword] = [(index.pci & 0xffff_ff00) >>> 0, (index.pci >> 2) & 0x3f];
      if (selector === 0x8000_0000) mark("PCI configuration", dword, how);
      if (selector === 0x8000_1000) mark("PCI configuration", 64 + dword, how);
    }
    if (address === 0x510 && width === 2 && how === WRITTEN) index.fwCfg = value & 0x3fff;
    if (address === 0x511 || (address === 0x510 && width === 2)) mark("fw_cfg items", index.fwCfg, how);
  };

  return {
    get accesses() {
      return accesses;
    },
    missing() {
      const missing: string[] = [];
      const look = (name: string, seen: number) => {
        if (seen !== (READ | WRITTEN)) missing.push(`${name}: ${["neither", "only read", "only written"][seen]}`);
      };
      for (const range of claimed.port) forEachByte(range, (port) => look(`port ${port.toString(16)}`, ports[port]!));
      for (const { base, seen } of windows) {
        seen.forEach((how, dword) => {
          look(`MMIO ${(base + dword * 4).toString(16)}`, how);
        });
      }
      for (const name of Object.keys(BEHIND) as Behind[]) {
        behind[name].forEach((how, place) => {
          // The selector of fw_cfg is the only way in: an item counts when it was selected and read.
          look(`${name} ${place.toString(16)}`, name === "fw_cfg items" && how !== 0 ? how | WRITTEN : how);
        });
      }
      return missing;
    },
  };
}

function forEachByte({ base, length }: Window, visit: (address: number) => void): void {
  for (let address = base; address < base + length; address++) visit(address);
}
