import type { Expr, FunctionBuilder } from "../../emit/index.ts";

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

/**
 * i32: rounding is to nearest, PE is masked and already set. Then ordinary operands with an ordinary result leave no
 * trace but the result, and WebAssembly's operation is the same as that of the CPU.
 */
export const isQuiet = (f: FunctionBuilder, mxcsr: Expr): Expr =>
  f.eq(
    f.and(mxcsr, MXCSR.rounding | MXCSR.precisionMask | MXCSR.precisionFlag),
    MXCSR.precisionMask | MXCSR.precisionFlag,
  );

/** As `isQuiet`, for operations that do not use the rounding mode. */
export const isTruncationQuiet = (f: FunctionBuilder, mxcsr: Expr): Expr =>
  f.eq(f.and(mxcsr, MXCSR.precisionMask | MXCSR.precisionFlag), MXCSR.precisionMask | MXCSR.precisionFlag);
