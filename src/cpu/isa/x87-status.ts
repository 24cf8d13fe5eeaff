/** Status word, SDM vol 1, figure 8-4. TOP (bits 11-13) is kept apart, in `CPU.fpuTop`. */
export const FPU_STATUS = {
  /** IE DE ZE OE UE PE, at the places of their masks in the control word. */
  exceptions: 0x3f,
  invalid: 0x01,
  denormal: 0x02,
  zeroDivide: 0x04,
  overflow: 0x08,
  underflow: 0x10,
  precision: 0x20,
  stackFault: 0x40,
  /** ES: an exception is unmasked, the next waiting instruction raises #MF. */
  summary: 0x80,
  c0: 0x100,
  c1: 0x200,
  c2: 0x400,
  c3: 0x4000,
  conditions: 0x4700,
  /** B is a copy of ES. */
  busy: 0x8000,
  summaryAndBusy: 0x8080,
} as const;

/** Control word, SDM vol 1, figure 8-6: what FNINIT loads, the bits that exist, and the one that always reads 1. */
export const FPU_CONTROL = { initial: 0x37f, writable: 0x1f3f, fixed: 0x40 } as const;
