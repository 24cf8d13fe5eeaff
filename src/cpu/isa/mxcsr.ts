/** MXCSR, SDM vol 1, figure 10-3 and 10.2.3. */
export const MXCSR = {
  /** IE DE ZE OE UE PE, sticky; their masks lie 7 bits higher. */
  flags: 0x3f,
  maskShift: 7,
  denormalsAreZeros: 0x40,
  precisionFlag: 0x20,
  precisionMask: 0x1000,
  rounding: 0x6000,
  flushToZero: 0x8000,
} as const;

/** MXCSR_MASK: bits that LDMXCSR and FXRSTOR may set, DAZ included. Others are #GP(0). */
export const MXCSR_WRITABLE = 0xffff;
