/**
 * ACPI machine language writer: each function returns the encoding of one term. ACPI 6.5, section 20.2.
 * A term that contains others takes them as encoded bytes: `device("PCI0", [nameObject("_UID", integer(0))])`.
 */
import { assert } from "../../errors.ts";
import { concat, littleEndian } from "./table.ts";

export type Aml = Uint8Array;

/** Encoding values, ACPI 6.5, section 20.3. */
const OP = {
  zero: 0x00,
  one: 0x01,
  name: 0x08,
  byte: 0x0a,
  word: 0x0b,
  dword: 0x0c,
  string: 0x0d,
  qword: 0x0e,
  scope: 0x10,
  buffer: 0x11,
  package: 0x12,
  method: 0x14,
  dualNamePrefix: 0x2e,
  multiNamePrefix: 0x2f,
  extended: 0x5b,
  arg0: 0x68,
  store: 0x70,
  if: 0xa0,
  return: 0xa4,
  ones: 0xff,
} as const;
const EXTENDED_OP = { device: 0x82 } as const;

const op = (...bytes: number[]): Aml => Uint8Array.from(bytes);

/** NameString, section 20.2.2: segments of at most four characters, `\` for the root, `^` for the parent. */
export function nameString(path: string): Aml {
  const [, prefix, rest] = /^(\\|\^*)(.*)$/s.exec(path)!;
  const segments = rest === "" ? [] : rest!.split(".");
  for (const segment of segments) {
    assert(/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment), `"${segment}" is not an ACPI name`);
  }
  const text = new TextEncoder().encode(prefix! + segments.map((segment) => segment.padEnd(4, "_")).join(""));
  if (segments.length === 1) return text;
  const count =
    segments.length === 0
      ? op()
      : segments.length === 2
        ? op(OP.dualNamePrefix)
        : op(OP.multiNamePrefix, segments.length);
  const split = prefix!.length;
  const tail = segments.length === 0 ? op(OP.zero) : text.subarray(split);
  return concat([text.subarray(0, split), count, tail]);
}

/** The shortest encoding of an unsigned integer of up to 64 bits, section 20.2.3. */
export function integer(value: number | bigint): Aml {
  const unsigned = BigInt(value);
  if (unsigned === 0n) return op(OP.zero);
  if (unsigned === 1n) return op(OP.one);
  if (unsigned === 0xffff_ffff_ffff_ffffn) return op(OP.ones);
  if (unsigned <= 0xffn) return concat([op(OP.byte), littleEndian(unsigned, 1)]);
  if (unsigned <= 0xffffn) return concat([op(OP.word), littleEndian(unsigned, 2)]);
  if (unsigned <= 0xffff_ffffn) return concat([op(OP.dword), littleEndian(unsigned, 4)]);
  return concat([op(OP.qword), littleEndian(unsigned, 8)]);
}

export function string(text: string): Aml {
  assert(/^[ -~]*$/.test(text), "an AML string here is printable ASCII");
  return concat([op(OP.string), new TextEncoder().encode(text), op(0)]);
}

/**
 * Compressed plug-and-play identifier: three letters of five bits and four hexadecimal digits, big-endian.
 * ACPI 6.5, section 19.3.4 (EISAID).
 */
export function eisaId(id: string): Aml {
  assert(/^[A-Z]{3}[0-9A-F]{4}$/.test(id), `"${id}" is not a plug-and-play identifier`);
  const letters = [...id.slice(0, 3)].reduce((bits, letter) => (bits << 5) | (letter.charCodeAt(0) - 0x40), 0);
  const number = Number.parseInt(id.slice(3), 16);
  return integer(new DataView(Uint8Array.of(letters >> 8, letters, number >> 8, number).buffer).getUint32(0, true));
}

export function buffer(bytes: Uint8Array): Aml {
  return concat([op(OP.buffer), withLength(concat([integer(bytes.length), bytes]))]);
}

export function packageOf(elements: readonly Aml[]): Aml {
  assert(elements.length <= 0xff, "a package of more than 255 elements needs VarPackageOp");
  return concat([op(OP.package), withLength(concat([op(elements.length), ...elements]))]);
}

export function nameObject(path: string, value: Aml): Aml {
  return concat([op(OP.name), nameString(path), value]);
}

export function scope(path: string, terms: readonly Aml[]): Aml {
  return concat([op(OP.scope), withLength(concat([nameString(path), ...terms]))]);
}

export function device(path: string, terms: readonly Aml[]): Aml {
  return concat([op(OP.extended, EXTENDED_OP.device), withLength(concat([nameString(path), ...terms]))]);
}

/** A method that is not serialized and takes `argumentCount` (0-7) arguments. */
export function method(path: string, argumentCount: number, terms: readonly Aml[]): Aml {
  return concat([op(OP.method), withLength(concat([nameString(path), op(argumentCount), ...terms]))]);
}

/** Argument 0-6 of the method around it. */
export const argument = (index: number): Aml => op(OP.arg0 + index);

export const store = (source: Aml, target: Aml): Aml => concat([op(OP.store), source, target]);

export const returnValue = (value: Aml): Aml => concat([op(OP.return), value]);

export const ifTrue = (condition: Aml, terms: readonly Aml[]): Aml =>
  concat([op(OP.if), withLength(concat([condition, ...terms]))]);

/** PkgLength (section 20.2.4) counts itself: 6 bits in one byte, else 4 bits and up to three more bytes. */
function withLength(content: Uint8Array): Aml {
  const short = content.length + 1;
  if (short < 1 << 6) return concat([op(short), content]);
  for (let more = 1; more <= 3; more++) {
    const length = content.length + 1 + more;
    if (length < 1 << (4 + 8 * more)) {
      return concat([op((more << 6) | (length & 0xf)), littleEndian(length >> 4, more), content]);
    }
  }
  assert(false, `${content.length} bytes do not fit a PkgLength`);
}
