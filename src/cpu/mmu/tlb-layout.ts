/**
 * One TLB entry, 32 bytes. A tag is the linear page address (64 bits, low 12 bits clear) when accesses of its kind may go
 * straight to `linear + addend`; anything unusual (MMIO, watched, not yet dirty) has `NO_TAG` there and takes the slow path.
 */
export const TLB_ENTRY = {
  readTag: 0,
  writeTag: 8,
  execTag: 16,
  /** i32: host address = low half of the linear address + addend, modulo 2^32. */
  addend: 24,
  /** i32: bit 0: a global translation. Bits 31:12: guest-physical page, low part. */
  physical: 28,
} as const;

/** Never equal to a page address. */
export const NO_TAG = 1;
