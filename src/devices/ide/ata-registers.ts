/** The registers of an ATA device. ATA/ATAPI-6 (T13/1410D), clause 7. */

/** Offsets in the command block; writing the last two goes to Features (1) and Command (7). */
export const REGISTER = {
  data: 0,
  error: 1,
  features: 1,
  count: 2,
  lbaLow: 3,
  lbaMid: 4,
  lbaHigh: 5,
  device: 6,
  status: 7,
  command: 7,
} as const;
export const COMMAND_BLOCK_LENGTH = 8;

/** Status register, 7.15. Bit 4 was "seek complete" up to ATA-3, and drivers still look for it. */
export const STATUS = {
  error: 1 << 0,
  dataRequest: 1 << 3,
  seekComplete: 1 << 4,
  deviceFault: 1 << 5,
  ready: 1 << 6,
  busy: 1 << 7,
} as const;

/** Error register, 7.9. */
export const ERROR = { none: 0, aborted: 1 << 2, idNotFound: 1 << 4, uncorrectable: 1 << 6 } as const;

/** Device register, 7.7. */
export const DEVICE = { head: 0x0f, device1: 1 << 4, lba: 1 << 6 } as const;

/** Device control register, 7.8. */
export const CONTROL = { interruptDisable: 1 << 1, softwareReset: 1 << 2, highOrderByte: 1 << 7 } as const;

/** The code of a device that passed its diagnostics. Clause 8, EXECUTE DEVICE DIAGNOSTIC. */
export const DIAGNOSTIC_PASSED = 0x01;
