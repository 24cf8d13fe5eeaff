/** AMD-V nested page faults (VMEXIT_NPF, 400h): EXITINFO1, APM vol 2, 15.25.6; EXITINFO2 is the physical address. */

import { type BitFlags, readFlags, writeFlags } from "./bit-flags.ts";
import { type Decoded, decoded, invalid } from "./decoded.ts";

export const SVM_EXIT_NPF = 0x400;

const FAULT = {
  present: 0,
  write: 1,
  /** Always set: nested walks are user accesses. */
  user: 2,
  reserved: 3,
  fetch: 4,
  shadowStack: 6,
  rmp: 31,
  /** The access to the translated address. */
  finalAddress: 32,
  /** The access to a page table of the guest. */
  tableWalk: 33,
  encrypted: 34,
  rmpSize: 35,
  vmpl: 36,
  supervisorShadowStack: 37,
} as const;

export type NestedPageFault = BitFlags<typeof FAULT>;

/** @param info1 all 64 bits */
export function decodeNestedPageFault(info1: number): Decoded<NestedPageFault> {
  const flags = readFlags(FAULT, info1);
  if (flags === undefined) return invalid("reserved");
  if (!flags.user || (flags.finalAddress && flags.tableWalk)) return invalid("contradiction");
  return decoded(flags);
}

export function encodeNestedPageFault(fault: NestedPageFault): number {
  return writeFlags(FAULT, fault);
}

/** How many bytes of the instruction the decode assists of a VMCB hold; none: software fetches them itself. */
export function fetchedInstruction(count: number, bytes: Uint8Array): Decoded<Uint8Array | undefined> {
  if (!Number.isInteger(count) || count < 0 || count > 15 || count > bytes.length) return invalid("length");
  return decoded(count === 0 ? undefined : bytes.subarray(0, count));
}
