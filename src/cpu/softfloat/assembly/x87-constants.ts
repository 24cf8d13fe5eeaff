/** FLD1, FLDL2T, FLDL2E, FLDPI, FLDLG2, FLDLN2, FLDZ: 66-bit values rounded as control says. SDM vol. 1, 8.3.8. */
import { DOWN, F80_DEFAULT_NAN, TRUNCATE, UP } from "./constants";
import { storeF80 } from "./pack";

/** `nearest` was rounded up from the exact value, or down: directed modes move it by one unit. */
function constant(dst: usize, field: u32, nearest: u64, roundedUp: bool, control: u32): void {
  const rounding = (control >> 10) & 3;
  let significand = nearest;
  if (roundedUp && (rounding == DOWN || rounding == TRUNCATE)) significand--;
  if (!roundedUp && rounding == UP) significand++;
  storeF80(dst, 0, field, significand);
}

export function f80_one(dst: usize): void {
  storeF80(dst, 0, 0x3fff, 0x8000_0000_0000_0000);
}

export function f80_zero(dst: usize): void {
  storeF80(dst, 0, 0, 0);
}

export function f80_log2_10(dst: usize, control: u32): void {
  constant(dst, 0x4000, 0xd49a_784b_cd1b_8afe, false, control);
}

export function f80_log2_e(dst: usize, control: u32): void {
  constant(dst, 0x3fff, 0xb8aa_3b29_5c17_f0bc, true, control);
}

export function f80_pi(dst: usize, control: u32): void {
  constant(dst, 0x4000, 0xc90f_daa2_2168_c235, true, control);
}

export function f80_log10_2(dst: usize, control: u32): void {
  constant(dst, 0x3ffd, 0x9a20_9a84_fbcf_f799, true, control);
}

export function f80_ln_2(dst: usize, control: u32): void {
  constant(dst, 0x3ffe, 0xb172_17f7_d1cf_79ac, true, control);
}

export function f80_indefinite(dst: usize): void {
  storeF80(dst, 1, 0x7fff, F80_DEFAULT_NAN);
}
