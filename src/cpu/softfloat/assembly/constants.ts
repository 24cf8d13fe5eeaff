/** Exception flags as MXCSR bits 0-5 and the x87 status word hold them. Intel SDM vol. 1, 8.1.3 and 10.2.3. */
export const IE: u32 = 0x01;
export const DE: u32 = 0x02;
export const ZE: u32 = 0x04;
export const OE: u32 = 0x08;
export const UE: u32 = 0x10;
export const PE: u32 = 0x20;
/** Exceptions found before anything is computed: unmasked, they leave every destination alone. SDM vol. 1, 4.9.2. */
export const PRE_COMPUTATION: u32 = IE | DE | ZE;

/** x87 condition codes, at their place in the status word. */
export const C0: u32 = 0x0100;
export const C1: u32 = 0x0200;
export const C2: u32 = 0x0400;
export const C3: u32 = 0x4000;

/** Rounding control, the same encoding in MXCSR 14:13 and the x87 control word 11:10. */
export const NEAREST: u32 = 0;
export const DOWN: u32 = 1;
export const UP: u32 = 2;
export const TRUNCATE: u32 = 3;

/** MXCSR bits above the flags. */
export const MXCSR_DAZ: u32 = 0x0040;
export const MXCSR_FTZ: u32 = 0x8000;

/** Our own bit in the `control` argument of x87 operations: the memory operand was a denormal before it was widened. */
export const CONTROL_DENORMAL_OPERAND: u32 = 0x10000;

/** Operand classes. Everything from QNAN up is not a number. */
export const ZERO: i32 = 0;
export const FINITE: i32 = 1;
export const INFINITE: i32 = 2;
export const QNAN: i32 = 3;
export const SNAN: i32 = 4;
/** Unnormal, pseudo-infinity, pseudo-NaN: x87 encodings that are invalid since the 387. SDM vol. 1, 8.2.2. */
export const UNSUPPORTED: i32 = 5;

export const TOP: u64 = 0x8000_0000_0000_0000;
export const F32_DEFAULT_NAN: u64 = 0xffc0_0000;
export const F64_DEFAULT_NAN: u64 = 0xfff8_0000_0000_0000;
export const F80_DEFAULT_NAN: u64 = 0xc000_0000_0000_0000;

export const F80_BIAS: i32 = 16383;
export const F80_MIN_EXPONENT: i32 = -16382;
