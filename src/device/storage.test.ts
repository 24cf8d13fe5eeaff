import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type BlockStorage, copyOnWriteStorage, memoryStorage, readOnlyStorage, sectorsOf } from "./storage.ts";

const disk = (sectors: number) => Uint8Array.from({ length: sectors * 512 }, (_, i) => (i >> 9) + i);
const contents = (storage: BlockStorage) => {
  const bytes = new Uint8Array(storage.sectorCount * 512);
  storage.read(0, bytes);
  return bytes;
};
const same = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

describe("a size", () => {
  it("counts sectors", () => expect(sectorsOf(1536, "x")).toBe(3));
  it.each([
    [0, /^the disk 'a' is empty/],
    [511, /^the disk 'a' has 511 bytes: a disk is a multiple of 512 bytes$/],
  ])("%d bytes are none", (bytes, message) => {
    expect(() => sectorsOf(bytes, "the disk 'a'")).toThrow(expect.objectContaining({ code: "DISK_SIZE" }));
    expect(() => sectorsOf(bytes, "the disk 'a'")).toThrow(message);
  });
});

it("a disk in memory is the bytes themselves, and all of them are in a snapshot", () => {
  const bytes = disk(4);
  const storage = memoryStorage(bytes);
  const saved = storage.save();
  storage.write(2, new Uint8Array(512).fill(9));
  expect(bytes[1024]).toBe(9);
  storage.load(saved);
  expect(same(bytes, disk(4))).toBe(true);
  expect(() => memoryStorage(disk(5)).load(saved)).toThrow(expect.objectContaining({ code: "SNAPSHOT_MISMATCH" }));
});

it("a read-only disk is not in a snapshot", () => {
  const storage = readOnlyStorage(memoryStorage(disk(4)));
  expect([storage.writable, storage.save()]).toEqual([false, null]);
  storage.load(null);
  expect(() => storage.load(new Uint8Array())).toThrow(expect.objectContaining({ code: "SNAPSHOT_MISMATCH" }));
});

describe("copy on write", () => {
  // Not a multiple of the blocks in which changes are kept.
  const SECTORS = 61;
  const access = fc
    .record({ sector: fc.nat(SECTORS - 1), count: fc.integer({ min: 1, max: 20 }), fill: fc.option(fc.nat(255)) })
    .map(({ sector, count, fill }) => ({ sector, fill, length: Math.min(count, SECTORS - sector) * 512 }));

  it("reads as memory would, never changes its backing, and survives a snapshot", () => {
    fc.assert(
      fc.property(fc.array(access, { maxLength: 25 }), (accesses) => {
        const backing = disk(SECTORS);
        const storage = copyOnWriteStorage(memoryStorage(backing));
        const model = memoryStorage(disk(SECTORS));
        for (const { sector, fill, length } of accesses) {
          const [a, b] = [new Uint8Array(length), new Uint8Array(length)];
          if (fill === null) {
            storage.read(sector, a);
            model.read(sector, b);
            expect(same(a, b)).toBe(true);
          } else {
            storage.write(sector, a.fill(fill));
            model.write(sector, a);
          }
        }
        expect(same(backing, disk(SECTORS))).toBe(true);
        const copy = copyOnWriteStorage(memoryStorage(disk(SECTORS)));
        copy.write(3, new Uint8Array(5120));
        copy.load(structuredClone(storage.save()));
        expect(same(contents(copy), contents(model))).toBe(true);
        expect(copy.save()).toEqual(storage.save());
      }),
      { seed: 4, numRuns: 60 },
    );
  });

  it("saves the same record whatever the order of the writes", () => {
    const [a, b] = [0, 1].map(() => copyOnWriteStorage(memoryStorage(disk(SECTORS))));
    const sector = new Uint8Array(512);
    for (const at of [40, 3, 60]) a.write(at, sector);
    for (const at of [60, 40, 3]) b.write(at, sector);
    expect(a.save()).toEqual(b.save());
  });

  it.each([
    ["nothing", null],
    ["another size", { sectorCount: 8, blocks: [], contents: new Uint8Array() }],
    ["a block that is not there", { sectorCount: SECTORS, blocks: [8], contents: new Uint8Array(4096) }],
    ["half a block", { sectorCount: SECTORS, blocks: [1], contents: new Uint8Array(2048) }],
  ])("refuses %s", (_, saved) => {
    const storage = copyOnWriteStorage(memoryStorage(disk(SECTORS)));
    expect(() => storage.load(saved)).toThrow(expect.objectContaining({ code: "SNAPSHOT_MISMATCH" }));
  });
});
