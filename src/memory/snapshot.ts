/** Guest memory as data: the mapping as runs, contents without the pages that are all zero. */
import { PAGE_SIZE } from "./layout.ts";

/** Guest-physical pages that show consecutive pages of RAM or of the ROM area. */
export interface MappedRun {
  readonly gpa: number;
  readonly length: number;
  readonly source: "ram" | "extra";
  readonly offset: number;
  readonly writable: boolean;
}

/** The pages that are not all zero: their numbers, and their contents one after the other. */
export interface PackedPages {
  readonly numbers: Uint32Array;
  readonly contents: Uint8Array;
}

/** What lies where. */
export interface SavedMap {
  readonly a20: boolean;
  readonly map: readonly MappedRun[];
  /** Bytes of the area for ROM and device memory that are in use. */
  readonly extraBytes: number;
}

export interface MemorySnapshot extends SavedMap {
  readonly version: 1;
  readonly ramBytes: number;
  readonly extra: PackedPages;
  readonly ram: PackedPages;
}

/** Whether these are pages of an area of `bytes` bytes. */
export function isPacked(packed: PackedPages, bytes: number): boolean {
  const { numbers, contents } = packed ?? {};
  if (!(numbers instanceof Uint32Array) || !(contents instanceof Uint8Array)) return false;
  return contents.length === numbers.length * PAGE_SIZE && numbers.every((page) => (page + 1) * PAGE_SIZE <= bytes);
}

/** Whether these are runs of whole pages below 4 GiB within areas of the given sizes. */
export function isMap(map: readonly MappedRun[], sizes: Readonly<Record<MappedRun["source"], number>>): boolean {
  const isPages = (value: unknown) =>
    Number.isInteger(value) && (value as number) % PAGE_SIZE === 0 && (value as number) >= 0;
  return (
    Array.isArray(map) &&
    map.every((run: MappedRun | null) => {
      const { gpa, length, source, offset, writable } = run ?? ({} as MappedRun);
      const size = Object.hasOwn(sizes, source) ? sizes[source] : -1;
      if (![gpa, length, offset].every(isPages) || typeof writable !== "boolean") return false;
      return gpa + length <= 2 ** 32 && offset + length <= size;
    })
  );
}

/** `area` starts at a multiple of 8 in its buffer and is made of whole pages. */
export function packPages(area: Uint8Array): PackedPages {
  const words = new Float64Array(area.buffer, area.byteOffset, area.length / 8);
  const bits = new Int32Array(area.buffer, area.byteOffset, area.length / 4);
  const used: number[] = [];
  for (let page = 0; page * PAGE_SIZE < area.length; page++) {
    if (!isZero(words, bits, page)) used.push(page);
  }
  const contents = new Uint8Array(used.length * PAGE_SIZE);
  used.forEach((page, index) => {
    contents.set(area.subarray(page * PAGE_SIZE, (page + 1) * PAGE_SIZE), index * PAGE_SIZE);
  });
  return { numbers: Uint32Array.from(used), contents };
}

/** Untouched pages of `area` stay untouched, so that the host need not commit them. */
export function unpackPages(packed: PackedPages, area: Uint8Array): void {
  const words = new Float64Array(area.buffer, area.byteOffset, area.length / 8);
  const bits = new Int32Array(area.buffer, area.byteOffset, area.length / 4);
  for (let page = 0; page * PAGE_SIZE < area.length; page++) {
    if (!isZero(words, bits, page)) area.fill(0, page * PAGE_SIZE, (page + 1) * PAGE_SIZE);
  }
  packed.numbers.forEach((page, index) => {
    area.set(packed.contents.subarray(index * PAGE_SIZE, (index + 1) * PAGE_SIZE), page * PAGE_SIZE);
  });
}

/** Doubles look at eight bytes at once, but -0 equals 0: a page of zeros by value is looked at again by bits. */
function isZero(words: Float64Array, bits: Int32Array, page: number): boolean {
  const perPage = PAGE_SIZE / 8;
  for (let word = page * perPage; word < (page + 1) * perPage; word++) if (words[word] !== 0) return false;
  for (let word = page * perPage * 2; word < (page + 1) * perPage * 2; word++) if (bits[word] !== 0) return false;
  return true;
}
