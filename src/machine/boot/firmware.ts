/**
 * What firmware has set up by the time it starts an operating system. The machine applies it when an image is entered
 * without firmware (`StartState.mode` is not "real16"); everything else is as after a reset.
 */
import { RAM_LIMIT } from "../platform.ts";

/** SDM volume 3, section 12.11. */
const MTRR = {
  physBase0: 0x200,
  physMask0: 0x201,
  fix64k: 0x250,
  fix16kConventional: 0x258,
  fix16kVideo: 0x259,
  fix4kFirst: 0x268,
  fix4kLast: 0x26f,
  defaultType: 0x2ff,
} as const;
const UNCACHEABLE = 0n;
const WRITE_BACK = 6n;
const DEFAULT_TYPE_ENABLED = (1n << 11n) | (1n << 10n);
const MASK_VALID = 1n << 11n;
/** Eight ranges in one fixed MTRR. */
const ALL_WRITE_BACK = 0x0101_0101_0101_0101n * WRITE_BACK;

export interface MsrValue {
  readonly index: number;
  readonly value: bigint;
}

/**
 * Memory types: write-back but for the video area and for MMIO at the top of 4 GiB. Linux leaves PAT alone, too, when
 * it finds the MTRRs disabled. `physicalAddressBits` is what CPUID 80000008h tells.
 */
export function firmwareMsrs(physicalAddressBits: number): MsrValue[] {
  const msrs: MsrValue[] = [
    { index: MTRR.fix64k, value: ALL_WRITE_BACK },
    { index: MTRR.fix16kConventional, value: ALL_WRITE_BACK },
    { index: MTRR.fix16kVideo, value: UNCACHEABLE },
  ];
  for (let index: number = MTRR.fix4kFirst; index <= MTRR.fix4kLast; index++) {
    msrs.push({ index, value: ALL_WRITE_BACK });
  }
  const mmio = BigInt(RAM_LIMIT);
  const mmioLength = (1n << 32n) - mmio;
  return [
    ...msrs,
    { index: MTRR.physBase0, value: mmio | UNCACHEABLE },
    { index: MTRR.physMask0, value: ((1n << BigInt(physicalAddressBits)) - mmioLength) | MASK_VALID },
    { index: MTRR.defaultType, value: DEFAULT_TYPE_ENABLED | WRITE_BACK },
  ];
}

/**
 * Local APIC of the bootstrap processor: enabled, and in virtual wire mode, in which the 8259A pair reaches the CPU
 * through LINT0 (ExtINT) and NMI through LINT1. MultiProcessor Specification 1.4, section 3.6.2.2.
 */
export const FIRMWARE_LOCAL_APIC = {
  spuriousVector: { offset: 0xf0, value: 0x1ff },
  lint0: { offset: 0x350, value: 0x700 },
  lint1: { offset: 0x360, value: 0x400 },
} as const;
