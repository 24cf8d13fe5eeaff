/** FBLD and FBSTP: 18 packed decimal digits and a sign byte. SDM vol. 1, 4.7. */
import { FINITE, IE, ZERO } from "./constants";
import { uClass, uExponent, uSign, uSignificand, unpackF80 } from "./operand";
import { integerOverflow, packStatus, roundToInteger, storeF80 } from "./pack";
import { stops } from "./x87-nan";

const LIMIT: u64 = 1_000_000_000_000_000_000;

/** `low`: bytes 0-7, `high`: bytes 8 and 9. */
export function f80_from_bcd(dst: usize, low: u64, high: u32): void {
  const sign = (high >> 15) & 1;
  let value: u64 = ((high >> 4) & 15) * 10 + (high & 15);
  for (let shift = 60; shift >= 0; shift -= 4) value = value * 10 + ((low >> shift) & 15);
  if (value == 0) {
    storeF80(dst, sign, 0, 0);
    return;
  }
  const shift = <u32>clz(value);
  storeF80(dst, sign, 16383 + 63 - shift, value << shift);
}

/** Writes 10 bytes at `dst`. */
export function f80_to_bcd(dst: usize, a: usize, control: u32): u32 {
  unpackF80(a);
  let value: u64 = 0;
  let status: u32 = 0;
  let valid = uClass == ZERO;
  if (uClass == FINITE) {
    value = roundToInteger(uSign, uExponent, uSignificand, (control >> 10) & 3);
    valid = !integerOverflow && value < LIMIT;
    status = packStatus;
  }
  if (!valid) {
    if (!stops(IE, control)) {
      store<u64>(dst, 0xc000_0000_0000_0000);
      store<u16>(dst, 0xffff, 8);
    }
    return IE;
  }
  for (let i: usize = 0; i < 9; i++) {
    const pair = <u32>(value % 100);
    value /= 100;
    store<u8>(dst + i, <u8>(((pair / 10) << 4) | (pair % 10)));
  }
  store<u8>(dst, <u8>(uSign << 7), 9);
  return status;
}
