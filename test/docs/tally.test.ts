import { expect, it } from "vitest";
import { TALLY, tally } from "../../docs/examples/tally.ts";
import { deviceUnderTest } from "../../src/device/testing.ts";

const PORT = 0x320;
const ADDRESS = 0xe100_0000;

it("is the same device at its ports and in MMIO", () => {
  const bench = deviceUnderTest(tally, { port: PORT, address: ADDRESS });
  const ways = [
    {
      read: (register: number) => bench.read(PORT + register, 4),
      write: (register: number, value: number) => bench.write(PORT + register, value, 4),
    },
    {
      read: (register: number) => bench.mmioRead(ADDRESS + register, 4),
      write: (register: number, value: number) => bench.mmioWrite(ADDRESS + register, value, 4),
    },
  ];
  const found = ways.map(({ read, write }) => {
    write(TALLY.seed, 7);
    const first = read(TALLY.data);
    write(TALLY.data, 0xffff_ffff);
    return [first, read(TALLY.data), read(TALLY.seed)];
  });
  expect(found[0]).toEqual(found[1]);
  expect(found[0]![0]).toBe(7 * 1_664_525 + 1_013_904_223);
  expect([ways[1]!.read(TALLY.reads), ways[0]!.read(TALLY.writes)]).toEqual([4, 2]);
  expect(bench.api.counts).toEqual({ reads: 4, writes: 2 });
});
