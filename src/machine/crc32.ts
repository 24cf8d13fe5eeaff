/** CRC-32 as in ISO 3309 and ITU-T V.42 (polynomial 04C11DB7h, reflected): detects every burst of up to 32 bits. */
const POLYNOMIAL = 0xedb8_8320;

/** Remainders of one byte, followed by 0 to 3 zero bytes: four bytes a step. */
function makeTables(): Uint32Array {
  const tables = new Uint32Array(4 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let remainder = byte;
    for (let bit = 0; bit < 8; bit++) remainder = remainder & 1 ? (remainder >>> 1) ^ POLYNOMIAL : remainder >>> 1;
    tables[byte] = remainder;
  }
  for (let at = 256; at < tables.length; at++) {
    const before = tables[at - 256]!;
    tables[at] = (before >>> 8) ^ tables[before & 0xff]!;
  }
  return tables;
}

export function crc32(data: Uint8Array): number {
  const tables = makeTables();
  let crc = 0xffff_ffff;
  let at = 0;
  for (; at + 4 <= data.length; at += 4) {
    crc ^= data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
    crc =
      tables[768 + (crc & 0xff)]! ^
      tables[512 + ((crc >>> 8) & 0xff)]! ^
      tables[256 + ((crc >>> 16) & 0xff)]! ^
      tables[crc >>> 24]!;
  }
  for (; at < data.length; at++) crc = (crc >>> 8) ^ tables[(crc ^ data[at]!) & 0xff]!;
  return ~crc >>> 0;
}
