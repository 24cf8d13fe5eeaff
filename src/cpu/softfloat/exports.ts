/**
 * The functions of the soft-float module, for those who import them into generated WebAssembly.
 *
 * The module (`scripts/build-softfloat.ts`) imports `env.memory` and nothing else, has no data segments and keeps nothing
 * between calls: it writes only where an argument points. Import module name and field are the caller's choice; fields
 * are the names of the table. Several instances over one memory never meet.
 *
 * ## Values
 *
 * Singles and doubles travel as raw bits, `i32` and `i64`. An 80-bit value is a 16-byte slot in linear memory: the 64-bit
 * significand with its explicit integer bit at +0, sign and exponent (16 bits) at +8; bytes +10 to +15 are never touched.
 * Slots need no alignment. `dst` may be the same slot as any operand.
 *
 * ## Exceptions
 *
 * Bits 0-5 are IE DE ZE OE UE PE, as in MXCSR and in the x87 status word.
 *
 * SSE functions (`f32_*`, `f64_*`) take the whole MXCSR (`mxcsr`: sticky flags, DAZ, masks, rounding, FTZ) and OR what they
 * raise into the u32 at `flagsPtr`, which the caller clears before the instruction. The caller then
 *   1. for packed instructions, once all lanes are done, drops bits 3-5 if `flags & ~(mxcsr >> 7) & 7` is not zero: an
 *      unmasked exception before computation keeps results from being computed at all;
 *   2. ORs the flags into MXCSR;
 *   3. if `flags & ~(mxcsr >> 7) & 0x3f` is not zero raises #XM (or #UD) and writes no register; the returned value is
 *      then meaningless.
 * PE is left out of `flags` where it is masked and already sticky in `mxcsr`; nobody can tell.
 *
 * x87 functions (`f80_*`) take the control word (`control`) and return, or for stores OR into the u32 at `flagsPtr`,
 * status word bits: exceptions in bits 0-5, C0 (0x100), C1 (0x200), C2 (0x400), C3 (0x4000). An instruction that computes
 * replaces C1 in the status word by the returned one (rounded up, or 0), ORs bits 0-5 into it, and sets ES and B if any
 * is unmasked. The functions follow the masks on their own:
 *   - IE, DE or ZE unmasked (`status & ~control & 7`): `dst` is untouched, and the caller must not pop or push either;
 *   - OE or UE unmasked, result in a register: `dst` holds the result with its exponent wrapped by 24576; pop as usual;
 *   - stores to memory: with `flags & ~control & 0x1b` not zero (IE, OE, UE) the caller must neither store nor pop; the
 *     value returned is then meaningless. An unmasked PE (or DE, which stores never raise) does not prevent anything.
 *   - loads (`f80_from_f32`, `f80_from_f64`): only an unmasked IE prevents the push.
 * Stack faults, tags and empty registers are the caller's; `f80_indefinite` stores the masked answer to them.
 *
 * For arithmetic with a memory operand (FADD m32/m64, FCOM m64 ...), widen it with `f80_operand_f32`/`f80_operand_f64` into
 * a scratch slot and OR what they return into `control`: it carries DE of a denormal that widening made normal. Integer
 * operands (FIADD ...) are widened by `f80_from_i64` after sign extension; they raise nothing.
 */

export type WasmType = "i32" | "i64";
export type Parameter = readonly [name: string, type: WasmType];

export interface SoftFloatFunction {
  readonly params: readonly Parameter[];
  readonly result: WasmType | null;
  readonly what: string;
}

const mxcsr = [
  ["mxcsr", "i32"],
  ["flagsPtr", "i32"],
] as const;
const f64 = [["a", "i64"], ...mxcsr] as const;
const f64x2 = [["a", "i64"], ["b", "i64"], ...mxcsr] as const;
const f64x2Predicate = [["a", "i64"], ["b", "i64"], ["predicate", "i32"], ...mxcsr] as const;
const f32 = [["a", "i32"], ...mxcsr] as const;
const f32x2 = [["a", "i32"], ["b", "i32"], ...mxcsr] as const;
const f32x2Predicate = [["a", "i32"], ["b", "i32"], ["predicate", "i32"], ...mxcsr] as const;

const dst = ["dst", "i32"] as const;
const a = ["a", "i32"] as const;
const b = ["b", "i32"] as const;
const control = ["control", "i32"] as const;
const flagsPtr = ["flagsPtr", "i32"] as const;

/** In each row: parameters in order, result, and the instructions it serves. */
export const softFloatExports = {
  // SSE arithmetic. a is the destination (first) operand, b the source.
  f64_add: { params: f64x2, result: "i64", what: "ADDSD, ADDPD, ADDSUBPD, HADDPD (a: the lower element)" },
  f64_sub: { params: f64x2, result: "i64", what: "SUBSD, SUBPD, ADDSUBPD, HSUBPD (a: the lower element)" },
  f64_mul: { params: f64x2, result: "i64", what: "MULSD, MULPD" },
  f64_div: { params: f64x2, result: "i64", what: "DIVSD, DIVPD" },
  f64_min: { params: f64x2, result: "i64", what: "MINSD, MINPD" },
  f64_max: { params: f64x2, result: "i64", what: "MAXSD, MAXPD" },
  f64_sqrt: { params: f64, result: "i64", what: "SQRTSD, SQRTPD" },
  f32_add: { params: f32x2, result: "i32", what: "ADDSS, ADDPS, ADDSUBPS, HADDPS" },
  f32_sub: { params: f32x2, result: "i32", what: "SUBSS, SUBPS, ADDSUBPS, HSUBPS" },
  f32_mul: { params: f32x2, result: "i32", what: "MULSS, MULPS" },
  f32_div: { params: f32x2, result: "i32", what: "DIVSS, DIVPS" },
  f32_min: { params: f32x2, result: "i32", what: "MINSS, MINPS" },
  f32_max: { params: f32x2, result: "i32", what: "MAXSS, MAXPS" },
  f32_sqrt: { params: f32, result: "i32", what: "SQRTSS, SQRTPS" },

  // SSE comparison. `_compare` functions return ZF PF CF at their places in EFLAGS (0x40, 0x04, 0x01); OF SF AF become 0.
  f64_compare: { params: f64x2, result: "i32", what: "COMISD" },
  f64_compare_unordered: { params: f64x2, result: "i32", what: "UCOMISD" },
  f64_cmp: { params: f64x2Predicate, result: "i64", what: "CMPSD, CMPPD: predicate 0-7; all ones or zero" },
  f32_compare: { params: f32x2, result: "i32", what: "COMISS" },
  f32_compare_unordered: { params: f32x2, result: "i32", what: "UCOMISS" },
  f32_cmp: { params: f32x2Predicate, result: "i32", what: "CMPSS, CMPPS: predicate 0-7; all ones or zero" },

  // SSE conversion.
  f32_to_f64: { params: f32, result: "i64", what: "CVTSS2SD, CVTPS2PD" },
  f64_to_f32: { params: f64, result: "i32", what: "CVTSD2SS, CVTPD2PS" },
  f64_to_i32: { params: f64, result: "i32", what: "CVTSD2SI r32, CVTPD2DQ, CVTPD2PI" },
  f64_to_i32_truncate: { params: f64, result: "i32", what: "CVTTSD2SI r32, CVTTPD2DQ, CVTTPD2PI" },
  f64_to_i64: { params: f64, result: "i64", what: "CVTSD2SI r64" },
  f64_to_i64_truncate: { params: f64, result: "i64", what: "CVTTSD2SI r64" },
  f32_to_i32: { params: f32, result: "i32", what: "CVTSS2SI r32, CVTPS2DQ, CVTPS2PI" },
  f32_to_i32_truncate: { params: f32, result: "i32", what: "CVTTSS2SI r32, CVTTPS2DQ, CVTTPS2PI" },
  f32_to_i64: { params: f32, result: "i64", what: "CVTSS2SI r64" },
  f32_to_i64_truncate: { params: f32, result: "i64", what: "CVTTSS2SI r64" },
  f64_from_i32: { params: [["value", "i32"]], result: "i64", what: "CVTSI2SD r32, CVTDQ2PD, CVTPI2PD: always exact" },
  f64_from_i64: { params: [["value", "i64"], ...mxcsr], result: "i64", what: "CVTSI2SD r64" },
  f32_from_i32: { params: [["value", "i32"], ...mxcsr], result: "i32", what: "CVTSI2SS r32, CVTDQ2PS, CVTPI2PS" },
  f32_from_i64: { params: [["value", "i64"], ...mxcsr], result: "i32", what: "CVTSI2SS r64" },

  // x87 arithmetic. dst, a, b: slots. FSUBR and FDIVR swap a and b. Returns the status.
  f80_add: { params: [dst, a, b, control], result: "i32", what: "FADD, FIADD: dst = a + b" },
  f80_sub: { params: [dst, a, b, control], result: "i32", what: "FSUB, FSUBR, FISUB: dst = a - b" },
  f80_mul: { params: [dst, a, b, control], result: "i32", what: "FMUL, FIMUL: dst = a * b" },
  f80_div: { params: [dst, a, b, control], result: "i32", what: "FDIV, FDIVR, FIDIV: dst = a / b" },
  f80_sqrt: { params: [dst, a, control], result: "i32", what: "FSQRT" },
  f80_rem: { params: [dst, a, b, control], result: "i32", what: "FPREM: a = ST0, b = ST1; C0-C3 set" },
  f80_rem_nearest: { params: [dst, a, b, control], result: "i32", what: "FPREM1: a = ST0, b = ST1; C0-C3 set" },
  f80_round: { params: [dst, a, control], result: "i32", what: "FRNDINT" },
  f80_scale: { params: [dst, a, b, control], result: "i32", what: "FSCALE: a = ST0, b = ST1" },
  f80_extract: {
    params: [["exponent", "i32"], ["significand", "i32"], a, control],
    result: "i32",
    what: "FXTRACT: exponent replaces ST0, then significand is pushed",
  },

  // x87 comparison. C3 C2 C0 at their places: for FCOMI, `(status >> 8) & 0x45` are ZF PF CF.
  f80_compare: { params: [a, b, control], result: "i32", what: "FCOM, FCOMI, FICOM, FTST (b: a zero): a with b" },
  f80_compare_unordered: { params: [a, b, control], result: "i32", what: "FUCOM, FUCOMI" },
  f80_examine: { params: [a], result: "i32", what: "FXAM of a register that is not empty: C0-C3" },

  // x87 loads.
  f80_from_f32: { params: [dst, ["bits", "i32"], control], result: "i32", what: "FLD m32" },
  f80_from_f64: { params: [dst, ["bits", "i64"], control], result: "i32", what: "FLD m64" },
  f80_from_i64: { params: [dst, ["value", "i64"]], result: null, what: "FILD m16, m32, m64 (sign-extended)" },
  f80_from_bcd: {
    params: [dst, ["low", "i64"], ["high", "i32"]],
    result: null,
    what: "FBLD m80: low = bytes 0-7, high = bytes 8-9",
  },
  f80_operand_f32: {
    params: [dst, ["bits", "i32"]],
    result: "i32",
    what: "memory operand: returns bits for `control`",
  },
  f80_operand_f64: {
    params: [dst, ["bits", "i64"]],
    result: "i32",
    what: "memory operand: returns bits for `control`",
  },

  // x87 stores. The value is returned, the status ORed into the u32 at flagsPtr.
  f80_to_f32: { params: [a, control, flagsPtr], result: "i32", what: "FST m32" },
  f80_to_f64: { params: [a, control, flagsPtr], result: "i64", what: "FST m64" },
  f80_to_i16: { params: [a, control, flagsPtr], result: "i32", what: "FIST m16: in bits 0-15" },
  f80_to_i32: { params: [a, control, flagsPtr], result: "i32", what: "FIST m32" },
  f80_to_i64: { params: [a, control, flagsPtr], result: "i64", what: "FISTP m64" },
  f80_to_i16_truncate: { params: [a, flagsPtr], result: "i32", what: "FISTTP m16: in bits 0-15" },
  f80_to_i32_truncate: { params: [a, flagsPtr], result: "i32", what: "FISTTP m32" },
  f80_to_i64_truncate: { params: [a, flagsPtr], result: "i64", what: "FISTTP m64" },
  f80_to_bcd: {
    params: [dst, a, control],
    result: "i32",
    what: "FBSTP: writes 10 bytes at dst, unless IE is unmasked; returns the status",
  },

  // x87 constants.
  f80_one: { params: [dst], result: null, what: "FLD1" },
  f80_zero: { params: [dst], result: null, what: "FLDZ" },
  f80_indefinite: { params: [dst], result: null, what: "the default NaN, masked answer to a stack fault" },
  f80_pi: { params: [dst, control], result: null, what: "FLDPI" },
  f80_log2_10: { params: [dst, control], result: null, what: "FLDL2T" },
  f80_log2_e: { params: [dst, control], result: null, what: "FLDL2E" },
  f80_log10_2: { params: [dst, control], result: null, what: "FLDLG2" },
  f80_ln_2: { params: [dst, control], result: null, what: "FLDLN2" },

  // x87 transcendental functions. C2 set: the operand is out of range, nothing was stored, nothing is pushed.
  f80_exp2_minus_1: { params: [dst, a, control], result: "i32", what: "F2XM1" },
  f80_log2: { params: [dst, a, b, control], result: "i32", what: "FYL2X: a = ST0 (x), b = ST1 (y); pop, dst to ST0" },
  f80_log2_plus_1: { params: [dst, a, b, control], result: "i32", what: "FYL2XP1: a = ST0 (x), b = ST1 (y); pop" },
  f80_atan: { params: [dst, a, b, control], result: "i32", what: "FPATAN: a = ST0 (x), b = ST1 (y); pop" },
  f80_sin: { params: [dst, a, control], result: "i32", what: "FSIN" },
  f80_cos: { params: [dst, a, control], result: "i32", what: "FCOS" },
  f80_sincos: {
    params: [["sine", "i32"], ["cosine", "i32"], a, control],
    result: "i32",
    what: "FSINCOS: sine replaces ST0, then cosine is pushed",
  },
  f80_tan: {
    params: [["tangent", "i32"], ["one", "i32"], a, control],
    result: "i32",
    what: "FPTAN: tangent replaces ST0, then one (1.0, or the NaN) is pushed",
  },
} as const satisfies Record<string, SoftFloatFunction>;

export type SoftFloatName = keyof typeof softFloatExports;

type Value<T extends WasmType> = T extends "i64" ? bigint : number;
type Arguments<P extends readonly Parameter[]> = { -readonly [K in keyof P]: Value<P[K][1]> };

/** An instance's exports as TypeScript sees them. */
export type SoftFloat = {
  readonly [N in SoftFloatName]: (
    ...args: Arguments<(typeof softFloatExports)[N]["params"]>
  ) => (typeof softFloatExports)[N]["result"] extends WasmType
    ? Value<(typeof softFloatExports)[N]["result"]>
    : undefined;
};
