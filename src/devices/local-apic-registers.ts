/** Register layout of the local APIC. Intel SDM volume 3, chapter 11 (December 2022 numbering). */

/** Byte offsets of the registers in the page. Table 11-1. */
export const REGISTER = {
  id: 0x20,
  version: 0x30,
  taskPriority: 0x80,
  arbitrationPriority: 0x90,
  processorPriority: 0xa0,
  endOfInterrupt: 0xb0,
  remoteRead: 0xc0,
  logicalDestination: 0xd0,
  destinationFormat: 0xe0,
  spurious: 0xf0,
  inService: 0x100,
  triggerMode: 0x180,
  request: 0x200,
  errorStatus: 0x280,
  icrLow: 0x300,
  icrHigh: 0x310,
  lvtTimer: 0x320,
  lvtThermal: 0x330,
  lvtPerformance: 0x340,
  lvtLint0: 0x350,
  lvtLint1: 0x360,
  lvtError: 0x370,
  initialCount: 0x380,
  currentCount: 0x390,
  divide: 0x3e0,
} as const;

/** Integrated APIC, six LVT entries (maximum index 5), no suppression of EOI broadcasts. Figure 11-7. */
export const VERSION = 0x0005_0014;

/** IA32_APIC_BASE: figure 11-5. Bit 10 (x2APIC) is reserved here. */
export const BASE = { bootstrap: 1 << 8, enabled: 1 << 11, flags: 0xfff } as const;
export const DEFAULT_BASE = 0xfee0_0000;

/** Spurious-interrupt vector register, figure 11-23; bit 12 belongs to what the version does not have. */
export const SPURIOUS = { vector: 0xff, softwareEnable: 1 << 8, writable: 0x3ff, reset: 0xff } as const;

/** Local vector table entries, figure 11-8. */
export const LVT = {
  vector: 0xff,
  deliveryShift: 8,
  /** LINT pins: asserted while low. */
  activeLow: 1 << 13,
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
  timerModeShift: 17,
} as const;
export const [TIMER, , , LINT0, LINT1, ERROR] = [0, 1, 2, 3, 4, 5];
export const LVT_COUNT = 6;
/** Bits that software can write: timer, thermal, performance, LINT0, LINT1, error. */
export const LVT_WRITABLE = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];

/** Interrupt command register, figure 11-12. */
export const ICR = {
  deliveryShift: 8,
  logical: 1 << 11,
  assert: 1 << 14,
  level: 1 << 15,
  shorthandShift: 18,
  writable: 0x000c_cfff,
} as const;
export const SHORTHAND = { none: 0, self: 1, all: 2, others: 3 } as const;

/** Error status register, figure 11-9. */
export const ERROR_STATUS = {
  sendIllegalVector: 1 << 5,
  receiveIllegalVector: 1 << 6,
  illegalRegister: 1 << 7,
} as const;
/** Vectors 0 to 15 are illegal in fixed and lowest-priority messages: section 11.5.2. */
export const FIRST_LEGAL_VECTOR = 16;

export const FLAT_MODEL = 0xf;
