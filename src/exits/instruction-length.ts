/** From an exit to the instruction after it: the length field of VT-x, the next RIP of AMD-V. */

import { type Decoded, decoded, invalid } from "./decoded.ts";

/** SDM vol 2, 2.3.11: a longer one raises #GP before it can exit. */
export const LONGEST_INSTRUCTION = 15;

export function isLength(length: number): boolean {
  return Number.isInteger(length) && length >= 1 && length <= LONGEST_INSTRUCTION;
}

const mask = (rip: bigint, code64: boolean): bigint => BigInt.asUintN(code64 ? 64 : 32, rip);

/**
 * RIP after an instruction of `length` bytes. Outside 64-bit code RIP has 32 bits, in 16-bit code as well.
 *
 * @param code64 CS is a 64-bit code segment (long mode and CS.L)
 */
export function ripAfter(rip: bigint, length: number, code64: boolean): Decoded<bigint> {
  if (!isLength(length)) return invalid("length");
  return decoded(mask(rip + BigInt(length), code64));
}

/** The length of the instruction at `rip`, from the next RIP that AMD-V reports (EXITINFO2 of an I/O exit, or nRIP). */
export function lengthFromNextRip(rip: bigint, next: bigint, code64: boolean): Decoded<number> {
  const length = mask(next - rip, code64);
  return length >= 1n && length <= BigInt(LONGEST_INSTRUCTION) ? decoded(Number(length)) : invalid("length");
}
