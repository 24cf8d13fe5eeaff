/** What decoding exit information gives. It is a guest's or a machine's data, so a contradiction is a value, no exception. */
export type Decoded<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly fault: ExitFault };

/**
 * Why exit information cannot be what a processor wrote:
 *
 * - `reserved`: a bit that must be zero is set,
 * - `size`: the access is not 1, 2 or 4 bytes,
 * - `address-size`: not exactly one of 16, 32 and 64 bits,
 * - `segment`: no segment register has that number,
 * - `contradiction`: fields that exclude each other,
 * - `length`: an instruction of 0 or of more than 15 bytes.
 */
export type ExitFault = "reserved" | "size" | "address-size" | "segment" | "contradiction" | "length";

export function decoded<T>(value: T): Decoded<T> {
  return { ok: true, value };
}

export function invalid(fault: ExitFault): { readonly ok: false; readonly fault: ExitFault } {
  return { ok: false, fault };
}

/** A 32-bit field; whatever arrives in place of one (a fraction, a negative number, a wider one) is not. */
export function isU32(value: number): boolean {
  return value >>> 0 === value;
}
