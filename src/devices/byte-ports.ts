import type { Ring0Read, Ring0Write } from "../io/types.ts";

/**
 * Handlers of an 8-bit device with `length` ports. The ISA bus turns a wider access into one byte cycle for each port,
 * lowest first, so the device itself only ever sees bytes. Beyond its last port nobody answers.
 */
export function bytePorts(
  length: number,
  read: (offset: number) => number,
  write: (offset: number, value: number) => void,
): { read: Ring0Read; write: Ring0Write } {
  return {
    read(offset, width) {
      let value = read(offset);
      for (let byte = 1; byte < width; byte++) {
        value += (offset + byte < length ? read(offset + byte) : 0xff) * 2 ** (8 * byte);
      }
      return value;
    },
    write(offset, value, width) {
      write(offset, value & 0xff);
      const end = Math.min(width, length - offset);
      for (let byte = 1; byte < end; byte++) write(offset + byte, (value >>> (8 * byte)) & 0xff);
    },
  };
}
