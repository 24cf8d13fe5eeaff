/** Resource descriptors of `_CRS` and `_PRS`. ACPI 6.5, section 6.4. */
import { type Aml, buffer } from "./aml.ts";
import { concat, littleEndian, pack } from "./table.ts";

/** End tag; a checksum of 0 means "take it as good". Section 6.4.2.9. */
const END_TAG = Uint8Array.of(0x79, 0x00);

export function resourceTemplate(descriptors: readonly Uint8Array[]): Aml {
  return buffer(concat([...descriptors, END_TAG]));
}

/** Fixed ports that decode all 16 address bits. I/O port descriptor, section 6.4.2.5. */
export function ports(base: number, length: number): Uint8Array {
  return pack(
    { tag: 1, decode16: 1, minimum: 2, maximum: 2, alignment: 1, length: 1 },
    { tag: 0x47, decode16: 1, minimum: base, maximum: base, alignment: 1, length },
  );
}

/** An edge-triggered, active-high line: the two-byte IRQ descriptor, section 6.4.2.1. */
export function isaIrq(irq: number): Uint8Array {
  return concat([Uint8Array.of(0x22), littleEndian(1 << irq, 2)]);
}

/** Fixed memory. 32-bit fixed memory range descriptor, section 6.4.3.4. */
export function memory32(base: number, length: number, writable: boolean): Uint8Array {
  return pack(
    { tag: 1, descriptorLength: 2, writable: 1, base: 4, length: 4 },
    { tag: 0x86, descriptorLength: 9, writable: writable ? 1 : 0, base, length },
  );
}

/** Type-specific flags of memory and I/O windows: sections 6.4.3.5.5, tables 6.50 and 6.51. */
const MEMORY_READ_WRITE_UNCACHED = 1;
const IO_ENTIRE_RANGE = 3;

/** What a bridge hands down, first to last: buses, ports, memory. Address space descriptors, section 6.4.3.5. */
export const busWindow = (first: number, last: number): Uint8Array => window(0x88, 2, 2, 0, first, last);

export const portWindow = (first: number, last: number): Uint8Array => window(0x88, 2, 1, IO_ENTIRE_RANGE, first, last);

export const memoryWindow = (first: number, last: number): Uint8Array =>
  window(0x87, 4, 0, MEMORY_READ_WRITE_UNCACHED, first, last);

/** Both ends fixed (_MIF, _MAF), positive decode, producer. */
const WINDOW_FLAGS = 0x0c;

function window(tag: number, width: number, type: number, typeFlags: number, first: number, last: number): Uint8Array {
  return pack(
    {
      tag: 1,
      descriptorLength: 2,
      type: 1,
      flags: 1,
      typeFlags: 1,
      granularity: width,
      minimum: width,
      maximum: width,
      translation: width,
      length: width,
    },
    {
      tag,
      descriptorLength: 3 + 5 * width,
      type,
      flags: WINDOW_FLAGS,
      typeFlags,
      minimum: first,
      maximum: last,
      length: last - first + 1,
    },
  );
}
