/** AMD-V I/O exits (VMEXIT_IOIO, 7Bh): EXITINFO1, APM vol 2, figure 15-2; EXITINFO2 is the next RIP. */

import { type Decoded, decoded, invalid, isU32 } from "./decoded.ts";
import { type AddressBits, type IoExit, SEGMENTS, type StringOperand } from "./io-exit.ts";

export const SVM_EXIT_IOIO = 0x7b;

const FIELD = { in: 1 << 0, string: 1 << 2, rep: 1 << 3 } as const;
const RESERVED = 0xe002;
/** One bit a size, so that the field is the number of bytes. */
const SIZE_SHIFT = 4;
/** One bit a size: 16, 32, 64. */
const ADDRESS_SHIFT = 7;
const SEGMENT_SHIFT = 10;
const PORT_SHIFT = 16;

const SIZES: readonly (1 | 2 | 4 | undefined)[] = [undefined, 1, 2, undefined, 4];
const ADDRESS_BITS: Readonly<Record<number, AddressBits | undefined>> = { 0: undefined, 1: 16, 2: 32, 4: 64 };

export interface SvmIoExit extends IoExit {
  /** Undefined where it is not reported: QEMU's emulation of AMD-V leaves the field zero. */
  readonly addressBits: AddressBits | undefined;
  /** 0..5 as in `SEGMENTS`, or whatever a processor without decode assists left there; it counts for OUTS only. */
  readonly segment: number;
}

/** @param info1 all 64 bits; above bit 31 they must be zero, so a number rounded beyond 2^53 is refused as well */
export function decodeSvmIo(info1: number): Decoded<SvmIoExit> {
  if (!isU32(info1) || info1 & RESERVED) return invalid("reserved");
  const bytes = SIZES[(info1 >>> SIZE_SHIFT) & 7];
  if (bytes === undefined) return invalid("size");
  const address = (info1 >>> ADDRESS_SHIFT) & 7;
  if (!(address in ADDRESS_BITS)) return invalid("address-size");
  return decoded({
    port: info1 >>> PORT_SHIFT,
    bytes,
    direction: info1 & FIELD.in ? "in" : "out",
    string: (info1 & FIELD.string) !== 0,
    rep: (info1 & FIELD.rep) !== 0,
    addressBits: ADDRESS_BITS[address],
    segment: (info1 >>> SEGMENT_SHIFT) & 7,
  });
}

export function encodeSvmIo(exit: SvmIoExit): number {
  const flags =
    (exit.direction === "in" ? FIELD.in : 0) | (exit.string ? FIELD.string : 0) | (exit.rep ? FIELD.rep : 0);
  const address = exit.addressBits === undefined ? 0 : exit.addressBits >> 4;
  return (
    ((exit.port << PORT_SHIFT) |
      (exit.segment << SEGMENT_SHIFT) |
      (address << ADDRESS_SHIFT) |
      (exit.bytes << SIZE_SHIFT) |
      flags) >>>
    0
  );
}

/**
 * The memory operand of an INS or OUTS. There is no linear address: whoever goes on adds segment base and RSI or RDI.
 *
 * @param decodeAssists CPUID 8000_000Ah EDX[7]; without them the segment field means nothing
 * @param length of the instruction. An OUTS of one byte (two with REP) has no room for an override
 */
export function svmStringOperand(exit: SvmIoExit, decodeAssists: boolean, length: number): Decoded<StringOperand> {
  const { addressBits } = exit;
  if (addressBits === undefined) return decoded({ kind: "decode" });
  if (exit.direction === "in") return decoded({ kind: "known", addressBits, segment: "es" });
  if (decodeAssists) {
    const segment = SEGMENTS[exit.segment];
    return segment === undefined ? invalid("segment") : decoded({ kind: "known", addressBits, segment });
  }
  const bare = exit.rep ? 2 : 1;
  return decoded(length === bare ? { kind: "known", addressBits, segment: "ds" } : { kind: "decode" });
}
