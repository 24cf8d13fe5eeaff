/** VT-x exits of the extended page tables: violations (48) and misconfigurations (49). SDM vol 3, 29.3.3. */

import { type BitFlags, readFlags, writeFlags } from "./bit-flags.ts";
import { type Decoded, decoded, invalid } from "./decoded.ts";

export const VMX_EXIT_EPT_VIOLATION = 48;
export const VMX_EXIT_EPT_MISCONFIG = 49;

/** Exit qualification, SDM vol 3, table 28-7. */
const VIOLATION = {
  read: 0,
  write: 1,
  fetch: 2,
  /** What the entries on the way allowed, all of them together; none: the page is not present. */
  readable: 3,
  writable: 4,
  executable: 5,
  /** Mode-based execute control only. */
  userExecutable: 6,
  linearValid: 7,
  /** The access to the translated address; else one to a paging structure of the guest. */
  finalTranslation: 8,
  /** Bits 9 to 11: rights in the guest's own tables, where the processor reports them. */
  userLinear: 9,
  writableLinear: 10,
  noExecuteLinear: 11,
  /** IRET had unblocked NMIs. */
  nmiUnblocked: 12,
  shadowStack: 13,
  supervisorShadowStack: 14,
  guestPagingVerification: 15,
  /** Not caused by the instruction at RIP (trace or PEBS output). */
  asynchronous: 16,
} as const;

export type EptViolation = BitFlags<typeof VIOLATION>;

/** @param qualification all 64 bits; more than 53 of them are refused, as any above bit 16 are */
export function decodeEptViolation(qualification: number): Decoded<EptViolation> {
  const flags = readFlags(VIOLATION, qualification);
  if (flags === undefined) return invalid("reserved");
  if (flags.finalTranslation && !flags.linearValid) return invalid("contradiction");
  if (!flags.read && !flags.write && !flags.fetch) return invalid("contradiction");
  return decoded(flags);
}

export function encodeEptViolation(violation: EptViolation): number {
  return writeFlags(VIOLATION, violation);
}

/** Why a walk that meets an EPT entry ends in a misconfiguration. */
export type EptIllegality = "write-without-read" | "execute-only" | "memory-type" | "reserved-bits";

export interface EptCapabilities {
  /** MAXPHYADDR, up to 52. */
  readonly physicalBits: number;
  /** IA32_VMX_EPT_VPID_CAP bit 0. */
  readonly executeOnly: boolean;
  /** Bits 16 and 17 of the same. */
  readonly pages2M: boolean;
  readonly pages1G: boolean;
  /** Mode-based execute control: bit 10 is a right of its own. */
  readonly modeBasedExecute: boolean;
}

const ENTRY = { read: 1n, write: 2n, execute: 4n, large: 1n << 7n, userExecute: 1n << 10n } as const;
/** Uncacheable, write combining, write through, write protected, write back. */
const MEMORY_TYPES = new Set([0n, 1n, 4n, 5n, 6n]);

/**
 * What is wrong with an entry, SDM vol 3, 29.3.3.1; undefined for a legal one and for one that is not present (which
 * gives a violation, not a misconfiguration).
 *
 * @param level 4 (PML4E) to 1 (PTE)
 */
export function eptIllegality(entry: bigint, level: 1 | 2 | 3 | 4, can: EptCapabilities): EptIllegality | undefined {
  const read = (entry & ENTRY.read) !== 0n;
  const write = (entry & ENTRY.write) !== 0n;
  const execute = (entry & (can.modeBasedExecute ? ENTRY.execute | ENTRY.userExecute : ENTRY.execute)) !== 0n;
  if (!read && !write && !execute) return undefined;
  if (write && !read) return "write-without-read";
  if (!read && !can.executeOnly) return "execute-only";

  const beyond = ((1n << 52n) - 1n) & ~((1n << BigInt(can.physicalBits)) - 1n);
  if (entry & beyond) return "reserved-bits";
  if (level === 1) return MEMORY_TYPES.has((entry >> 3n) & 7n) ? undefined : "memory-type";
  const large = (entry & ENTRY.large) !== 0n;
  const mayBeLarge = (level === 2 && can.pages2M) || (level === 3 && can.pages1G);
  if (!large) return entry & 0x78n ? "reserved-bits" : undefined;
  if (!mayBeLarge) return "reserved-bits";
  // Address bits below the page's size.
  const low = level === 2 ? 0x1f_f000n : 0x3fff_f000n;
  if (entry & low) return "reserved-bits";
  return MEMORY_TYPES.has((entry >> 3n) & 7n) ? undefined : "memory-type";
}

/** Entries that a monitor writes so that a page exits at once as a misconfiguration: KVM's rights, and VirtualBox's. */
export const EPT_MMIO_RIGHTS = { kvm: 0b110n, virtualBox: 0b010n } as const;
