/**
 * Table layouts as data, and the header that system description tables share (ACPI 6.5, section 5.2.6).
 * All fields are little-endian and packed.
 */
import { assert } from "../../errors.ts";

/** Bytes of each field, in order. Field names are those of the specification. */
export type Layout = Readonly<Record<string, number>>;

/** A number or bigint is written little-endian, text is padded with NUL, bytes must fit exactly. */
export type FieldValue = number | bigint | string | Uint8Array;

/** Packs a structure. A field that is not named is zero. */
export function pack<L extends Layout>(layout: L, values: Partial<Record<keyof L, FieldValue>>): Uint8Array {
  const size = Object.values(layout).reduce((sum, width) => sum + width, 0);
  const bytes = new Uint8Array(size);
  let offset = 0;
  for (const [name, width] of Object.entries(layout)) {
    const value = values[name];
    if (value !== undefined) bytes.set(encode(name, value, width), offset);
    offset += width;
  }
  return bytes;
}

function encode(name: string, value: FieldValue, width: number): Uint8Array {
  if (value instanceof Uint8Array) {
    assert(value.length === width, `field ${name} has ${width} bytes, not ${value.length}`);
    return value;
  }
  if (typeof value === "string") {
    const text = new TextEncoder().encode(value);
    assert(text.length <= width, `field ${name} has ${width} characters; "${value}" is longer`);
    return text;
  }
  return littleEndian(value, width);
}

export function littleEndian(value: number | bigint, width: number): Uint8Array {
  const unsigned = BigInt(value);
  assert(unsigned >= 0n && unsigned < 1n << BigInt(8 * width), `${value} does not fit ${width} bytes`);
  return Uint8Array.from({ length: width }, (_, index) => Number((unsigned >> BigInt(8 * index)) & 0xffn));
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    bytes.set(part, offset);
    offset += part.length;
  }
  return bytes;
}

/** The byte that makes the sum of `bytes` zero, modulo 256, when it is added. */
export function checksum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

const OEM = { id: "PORTIC", tableId: "PORTICO", revision: 1, creatorId: "PORT", creatorRevision: 1 } as const;

export const OEM_ID = OEM.id;

/** ACPI 6.5, table 5.4. */
const HEADER = {
  signature: 4,
  length: 4,
  revision: 1,
  checksum: 1,
  oemId: 6,
  oemTableId: 8,
  oemRevision: 4,
  creatorId: 4,
  creatorRevision: 4,
} as const;

export const HEADER_CHECKSUM = 9;
export const HEADER_LENGTH = 36;

/** A system description table: header, then `body`, with its checksum. */
export function table(signature: string, revision: number, body: Uint8Array): Uint8Array {
  const header = pack(HEADER, {
    signature,
    length: HEADER_LENGTH + body.length,
    revision,
    oemId: OEM.id,
    oemTableId: OEM.tableId,
    oemRevision: OEM.revision,
    creatorId: OEM.creatorId,
    creatorRevision: OEM.creatorRevision,
  });
  const bytes = concat([header, body]);
  bytes[HEADER_CHECKSUM] = checksum(bytes);
  return bytes;
}

const ADDRESS_SPACE = { memory: 0, io: 1 } as const;
/** Access sizes of a generic address, by width in bytes. */
const ACCESS_SIZE: Readonly<Record<number, number>> = { 1: 1, 2: 2, 4: 3, 8: 4 };

/** Generic address structure, 12 bytes. ACPI 6.5, table 5.1. */
export function genericAddress(
  space: keyof typeof ADDRESS_SPACE,
  address: number,
  bitWidth: number,
  accessBytes: number,
): Uint8Array {
  return pack(
    { addressSpaceId: 1, registerBitWidth: 1, registerBitOffset: 1, accessSize: 1, address: 8 },
    {
      addressSpaceId: ADDRESS_SPACE[space],
      registerBitWidth: bitWidth,
      accessSize: ACCESS_SIZE[accessBytes]!,
      address,
    },
  );
}
