/** VT-x I/O exits (basic exit reason 30): exit qualification, SDM vol 3, table 28-5; INS and OUTS, table 28-9. */

import { type Decoded, decoded, invalid, isU32 } from "./decoded.ts";
import { type AddressBits, type IoExit, SEGMENTS, type Segment, type StringOperand } from "./io-exit.ts";

export const VMX_EXIT_IO = 30;

const FIELD = { size: 7, in: 1 << 3, string: 1 << 4, rep: 1 << 5, immediate: 1 << 6 } as const;
const RESERVED = 0xff80;
const PORT_SHIFT = 16;

/** Bytes by size field; the other codes are not used. */
const SIZES: readonly (1 | 2 | 4 | undefined)[] = [1, 2, undefined, 4];

export interface VmxIoExit extends IoExit {
  /** The port is in the instruction (`in al, 60h`), not in DX. */
  readonly immediate: boolean;
}

/** @param qualification all 64 bits; above bit 31 they must be zero, so a number rounded beyond 2^53 is refused as well */
export function decodeVmxIo(qualification: number): Decoded<VmxIoExit> {
  if (!isU32(qualification) || qualification & RESERVED) return invalid("reserved");
  const bytes = SIZES[qualification & FIELD.size];
  if (bytes === undefined) return invalid("size");
  const port = qualification >>> PORT_SHIFT;
  const string = (qualification & FIELD.string) !== 0;
  const immediate = (qualification & FIELD.immediate) !== 0;
  // INS and OUTS take the port from DX; an immediate has eight bits.
  if (immediate && (string || port > 0xff)) return invalid("contradiction");
  return decoded({
    port,
    bytes,
    direction: qualification & FIELD.in ? "in" : "out",
    string,
    rep: (qualification & FIELD.rep) !== 0,
    immediate,
  });
}

export function encodeVmxIo(exit: VmxIoExit): number {
  const flags =
    (exit.direction === "in" ? FIELD.in : 0) |
    (exit.string ? FIELD.string : 0) |
    (exit.rep ? FIELD.rep : 0) |
    (exit.immediate ? FIELD.immediate : 0);
  return ((exit.port << PORT_SHIFT) | flags | (exit.bytes - 1)) >>> 0;
}

const ADDRESS_SHIFT = 7;
const SEGMENT_SHIFT = 15;
const ADDRESS_BITS: readonly AddressBits[] = [16, 32, 64];

/** VM-exit instruction information of INS and OUTS. Its other bits are undefined, not zero, and are not looked at. */
export interface VmxStringInformation {
  readonly addressBits: AddressBits;
  /** OUTS only; undefined for INS, which always writes to ES. */
  readonly segment: Segment | undefined;
}

export function decodeVmxStringInformation(
  information: number,
  direction: IoExit["direction"],
): Decoded<VmxStringInformation> {
  const addressBits = ADDRESS_BITS[(information >>> ADDRESS_SHIFT) & 7];
  if (addressBits === undefined) return invalid("address-size");
  if (direction === "in") return decoded({ addressBits, segment: undefined });
  const segment = SEGMENTS[(information >>> SEGMENT_SHIFT) & 7];
  return segment === undefined ? invalid("segment") : decoded({ addressBits, segment });
}

export function encodeVmxStringInformation({ addressBits, segment }: VmxStringInformation): number {
  const number = segment === undefined ? 0 : SEGMENTS.indexOf(segment);
  return (ADDRESS_BITS.indexOf(addressBits) << ADDRESS_SHIFT) | (number << SEGMENT_SHIFT);
}

/** IA32_VMX_BASIC: instruction information is valid for INS and OUTS. */
export const VMX_BASIC_INS_OUTS = 1n << 54n;

/**
 * The memory operand of an INS or OUTS.
 *
 * @param basic IA32_VMX_BASIC; without bit 54 only the linear address is given, and the width of the registers to update
 *   has to be decoded
 * @param linear the guest-linear address field
 */
export function vmxStringOperand(
  direction: IoExit["direction"],
  basic: bigint,
  information: number,
  linear: bigint,
): Decoded<StringOperand> {
  if (!(basic & VMX_BASIC_INS_OUTS)) return decoded({ kind: "decode", linear });
  const given = decodeVmxStringInformation(information, direction);
  if (!given.ok) return given;
  const { addressBits, segment } = given.value;
  return decoded({ kind: "known", addressBits, segment: segment ?? "es", linear });
}
