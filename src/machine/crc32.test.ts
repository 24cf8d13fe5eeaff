import { crc32 as zlib } from "node:zlib";
import { describe, expect, it } from "vitest";
import { crc32 } from "./crc32.ts";

describe("CRC-32", () => {
  it("gives the check value of the catalogue of CRC algorithms", () => {
    expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf4_3926);
  });

  it.skipIf(zlib === undefined)("agrees with zlib at every length", () => {
    const data = Uint8Array.from({ length: 100 }, (_, i) => (i * 197 + 13) & 0xff);
    for (let length = 0; length <= data.length; length++) {
      expect(crc32(data.subarray(0, length))).toBe(zlib(data.subarray(0, length)));
    }
  });
});
