/** The memory map that boot loaders hand over, in the form of INT 15h, AX=E820h. ACPI 6.5, chapter 15. */
import { LOW_MEMORY, MIB, MMIO, PORTS } from "../platform.ts";
import type { BootMemory } from "./boot-memory.ts";
import { ImageError } from "./image-error.ts";

export const MEMORY_TYPE = { usable: 1, reserved: 2 } as const;

export interface MemoryMapEntry {
  readonly base: number;
  readonly length: number;
  readonly type: number;
}

/** Ascending, without overlap. The ACPI tables lie in the reserved BIOS area. */
export function memoryMap(ramBytes: number): MemoryMapEntry[] {
  const { ebda, conventionalEnd, bios, biosEnd } = LOW_MEMORY;
  if (ramBytes <= biosEnd) {
    throw new ImageError("MEMORY_TOO_SMALL", `${ramBytes} bytes of RAM are too few to boot; give more than 1 MiB`);
  }
  const { usable, reserved } = MEMORY_TYPE;
  return [
    { base: 0, length: ebda, type: usable },
    { base: ebda, length: conventionalEnd - ebda, type: reserved },
    { base: bios, length: biosEnd - bios, type: reserved },
    { base: biosEnd, length: ramBytes - biosEnd, type: usable },
    { base: MMIO.ioApic, length: MMIO.ioApicLength, type: reserved },
    { base: MMIO.hpet, length: MMIO.hpetLength, type: reserved },
    { base: MMIO.localApic, length: MMIO.localApicLength, type: reserved },
  ];
}

/** BIOS data area: ports of COM1-COM4, segment of the EBDA, KiB of conventional memory. IBM PC/AT BIOS. */
const BDA = { comPorts: 0x00, ebdaSegment: 0x0e, memorySize: 0x13, length: 0x100 } as const;

/**
 * What loaders and kernels look up in low memory although no BIOS ran: where conventional memory ends. Linux puts its
 * real-mode code right below.
 */
export function writeBiosDataArea(memory: BootMemory): void {
  const { biosDataArea, ebda, ebdaLength } = LOW_MEMORY;
  const area = new DataView(new ArrayBuffer(BDA.length));
  area.setUint16(BDA.comPorts, PORTS.com1.base, true);
  area.setUint16(BDA.ebdaSegment, ebda >> 4, true);
  area.setUint16(BDA.memorySize, ebda / 1024, true);
  memory.write(biosDataArea, new Uint8Array(area.buffer));
  memory.write(ebda, Uint8Array.of(ebdaLength / 1024));
}

export const inMiB = (bytes: number): string => `${Math.ceil((bytes / MIB) * 10) / 10} MiB`;
