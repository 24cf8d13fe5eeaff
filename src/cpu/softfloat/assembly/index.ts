/** The exports of the soft-float module; `../exports.ts` describes each. */
export {
  f32_add,
  f32_div,
  f32_mul,
  f32_sqrt,
  f32_sub,
  f64_add,
  f64_div,
  f64_mul,
  f64_sqrt,
  f64_sub,
} from "./sse-arithmetic";
export {
  f32_cmp,
  f32_compare,
  f32_compare_unordered,
  f32_max,
  f32_min,
  f64_cmp,
  f64_compare,
  f64_compare_unordered,
  f64_max,
  f64_min,
} from "./sse-compare";
export {
  f32_from_i32,
  f32_from_i64,
  f32_to_f64,
  f32_to_i32,
  f32_to_i32_truncate,
  f32_to_i64,
  f32_to_i64_truncate,
  f64_from_i32,
  f64_from_i64,
  f64_to_f32,
  f64_to_i32,
  f64_to_i32_truncate,
  f64_to_i64,
  f64_to_i64_truncate,
} from "./sse-convert";
export { f80_atan } from "./x87-arctangent";
export { f80_add, f80_div, f80_mul, f80_sqrt, f80_sub } from "./x87-arithmetic";
export { f80_from_bcd, f80_to_bcd } from "./x87-bcd";
export { f80_compare, f80_compare_unordered, f80_examine } from "./x87-compare";
export {
  f80_indefinite,
  f80_ln_2,
  f80_log10_2,
  f80_log2_10,
  f80_log2_e,
  f80_one,
  f80_pi,
  f80_zero,
} from "./x87-constants";
export {
  f80_from_f32,
  f80_from_f64,
  f80_from_i64,
  f80_operand_f32,
  f80_operand_f64,
  f80_to_f32,
  f80_to_f64,
  f80_to_i16,
  f80_to_i16_truncate,
  f80_to_i32,
  f80_to_i32_truncate,
  f80_to_i64,
  f80_to_i64_truncate,
} from "./x87-convert";
export { f80_exp2_minus_1 } from "./x87-exponential";
export { f80_log2, f80_log2_plus_1 } from "./x87-logarithm";
export { f80_rem, f80_rem_nearest } from "./x87-remainder";
export { f80_extract, f80_round, f80_scale } from "./x87-scale";
export { f80_cos, f80_sin, f80_sincos, f80_tan } from "./x87-trigonometry";
