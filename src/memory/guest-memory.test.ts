import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { FOUR_GIB, GuestMemory, type MemoryError, PAGE_ENTRY } from "./index.ts";
import { PAGE_FLAG, RAM_MAX } from "./layout.ts";

const MIB = 0x10_0000;
const memory = (ramBytes = 4 * MIB) => new GuestMemory({ ramBytes, extraBytes: MIB });
/** `toEqual` looks at every element by itself: too slow for megabytes. */
const same = (a: Uint8Array, b: Uint8Array) => a.length === b.length && a.every((byte, index) => byte === b[index]);
const codeOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return (error as MemoryError).code;
  }
  return undefined;
};

describe("the PC's map below 1 MiB", () => {
  it.each([
    [0x0, "ram"],
    [0x9_ffff, "ram"],
    [0xa_0000, "none"],
    [0xb_ffff, "none"],
    [0xc_0000, "ram"],
    [0xf_ffff, "ram"],
    [0x10_0000, "ram"],
    [0x3f_ffff, "ram"],
    [0x40_0000, "none"],
    [0xffff_ffff, "none"],
    [FOUR_GIB, "none"],
    [2 ** 52 - 1, "none"],
    [-1, "none"],
  ] as const)("%i is %s", (gpa, kind) => {
    expect(memory().kind(gpa)).toBe(kind);
  });

  it("gives host offsets inside the RAM area, and -1 elsewhere", () => {
    const m = memory();
    expect(m.hostOffset(0)).toBe(m.layout.ram);
    expect(m.hostOffset(0x12_3456)).toBe(m.layout.ram + 0x12_3456);
    expect(m.hostOffset(0xa_0000)).toBe(-1);
    expect(m.pageEntry(0x1fff)).toBe(m.layout.ram + 0x1000 + PAGE_ENTRY.memory + PAGE_ENTRY.writable);
    expect(m.pageEntry(0xa_0000)).toBe(0);
  });

  it("knows what overlaps memory", () => {
    const m = memory();
    expect(m.overlaps(0xa_0000, 0x2_0000)).toBe(false);
    expect(m.overlaps(0xb_ffff, 2)).toBe(true);
    expect(m.overlaps(0x3f_ffff, 1)).toBe(true);
    expect(m.overlaps(0x40_0000, 0x1000_0000)).toBe(false);
    expect(m.overlaps(FOUR_GIB, FOUR_GIB)).toBe(false);
    expect(m.isMemory(0x9_f000, 0x1000)).toBe(true);
    expect(m.isMemory(0x3f_f000, 0x1001)).toBe(false);
    expect(m.isMemory(FOUR_GIB - 2, 4)).toBe(false);
  });
});

describe("a size the machine cannot have", () => {
  it.each([0, -4096, 4097, 1.5, RAM_MAX + 4096, Number.NaN])("%d bytes of RAM is refused", (ramBytes) => {
    expect(codeOf(() => new GuestMemory({ ramBytes }))).toBe("RAM_SIZE");
  });
});

describe("device accesses", () => {
  it("are little-endian, of every width", () => {
    const m = memory();
    m.write64(0x1000, 0x8877_6655_4433_2211n);
    expect([...m.slice(0x1000, 8)]).toEqual([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
    expect(m.read8(0x1007)).toBe(0x88);
    expect(m.read16(0x1006)).toBe(0x8877);
    expect(m.read32(0x1004)).toBe(0x8877_6655);
    expect(m.read64(0x1000)).toBe(0x8877_6655_4433_2211n);
  });

  it("read ones from holes and drop writes to them, counted", () => {
    const m = memory();
    m.write32(0xa_0000, 0);
    m.write(0x40_0000, Uint8Array.of(1, 2, 3));
    expect(m.read32(0xa_0000)).toBe(0xffff_ffff);
    expect(m.read64(FOUR_GIB - 4)).toBe(0xffff_ffff_ffff_ffffn);
    expect([...m.slice(0x9_fffe, 4)]).toEqual([0, 0, 0xff, 0xff]);
    expect([...m.slice(0x3f_ffff, 3)]).toEqual([0, 0xff, 0xff]);
    expect(m.unassigned.writes).toBe(2);
    expect(m.unassigned.reads).toBeGreaterThan(0);
  });

  it.each([FOUR_GIB, 2 ** 52, 2 ** 64, -5000, -(2 ** 40)])("never leave guest memory at %d", (gpa) => {
    const m = memory();
    m.write(gpa, new Uint8Array(5000).fill(0xaa));
    m.write8(gpa, 1);
    m.write16(gpa, 1);
    m.write32(gpa, 1);
    m.write64(gpa, 1n);
    expect(m.read32(gpa)).toBe(0xffff_ffff);
    expect(m.bytes.some((byte) => (byte & ~PAGE_FLAG.special) !== 0)).toBe(false);
  });

  it("that start below 0 reach RAM from 0 on, and nothing before it", () => {
    const m = memory();
    m.write(-1, Uint8Array.of(0xaa, 0xbb));
    expect(m.read16(-1)).toBe(0xbbff);
    expect(m.bytes.findIndex((byte) => (byte & ~(PAGE_FLAG.dirty | PAGE_FLAG.special)) !== 0)).toBe(m.layout.ram);
  });

  it("agree with a byte at a time, across pages, holes and ROM (model)", () => {
    // Interesting places: both edges of the VGA window, a ROM page, the end of RAM, an ordinary page border.
    const places = [0x1000, 0xa_0000, 0xc_0000, 0xe_0000, 0xe_1000, 2 * MIB, FOUR_GIB - 0x2000];
    const address = fc.tuple(fc.constantFrom(...places), fc.integer({ min: -20, max: 20 })).map(([p, d]) => p + d);
    const operation = fc.oneof(
      fc.record({ kind: fc.constant("write" as const), at: address, data: fc.uint8Array({ maxLength: 40 }) }),
      fc.record({ kind: fc.constant("long" as const), at: address, length: fc.integer({ min: 1, max: 0x2_8000 }) }),
      fc.record({
        kind: fc.constantFrom("write8" as const, "write16" as const, "write32" as const),
        at: address,
        value: fc.nat(0xffff_ffff),
      }),
    );
    fc.assert(
      fc.property(
        fc.array(operation, { maxLength: 12 }),
        fc.array(address, { minLength: 1, maxLength: 8 }),
        (ops, reads) => {
          const m = memory(2 * MIB);
          m.mapRom(0xe_0000, new Uint8Array(0x1000).fill(0x5a));
          const model = new Map<number, number>();
          const isRam = (a: number) => a >= 0 && a < 2 * MIB && !(a >= 0xa_0000 && a < 0xc_0000) && !isRom(a);
          const isRom = (a: number) => a >= 0xe_0000 && a < 0xe_1000;
          const put = (a: number, byte: number) => {
            if (isRam(a)) model.set(a, byte & 0xff);
          };
          const get = (a: number) => (isRam(a) ? (model.get(a) ?? 0) : isRom(a) ? 0x5a : 0xff);
          for (const op of ops) {
            if (op.kind === "write") {
              m.write(op.at, op.data);
              for (const [index, byte] of op.data.entries()) put(op.at + index, byte);
            } else if (op.kind === "long") {
              m.write(op.at, new Uint8Array(op.length).fill(op.length));
              for (let i = 0; i < op.length; i++) put(op.at + i, op.length);
            } else {
              const width = op.kind === "write8" ? 1 : op.kind === "write16" ? 2 : 4;
              m[op.kind](op.at, op.value);
              for (let i = 0; i < width; i++) put(op.at + i, op.value >>> (8 * i));
            }
          }
          for (const at of reads) {
            const bytes = Array.from({ length: 64 }, (_, i) => get(at + i));
            expect([...m.slice(at, 64)]).toEqual(bytes);
            expect(m.read8(at)).toBe(bytes[0]);
            expect(m.read16(at)).toBe(bytes[0]! + bytes[1]! * 2 ** 8);
            expect(m.read32(at)).toBe(bytes[0]! + bytes[1]! * 2 ** 8 + bytes[2]! * 2 ** 16 + bytes[3]! * 2 ** 24);
          }
        },
      ),
      { numRuns: 60, seed: 1 },
    );
  });
});

describe("ROM", () => {
  it("of a BIOS ends at 4 GiB and shows its last 128 KiB below 1 MiB", () => {
    const m = memory();
    const image = new Uint8Array(0x3_0000).map((_, index) => (index >>> 12) + 1);
    m.mapBios(image);
    expect(m.kind(FOUR_GIB - 1)).toBe("rom");
    expect([...m.slice(FOUR_GIB - image.length, image.length)]).toEqual([...image]);
    expect(m.kind(FOUR_GIB - image.length - 1)).toBe("none");
    expect([...m.slice(0xe_0000, 0x2_0000)]).toEqual([...image.subarray(0x1_0000)]);
    expect(m.kind(0xd_ffff)).toBe("ram");
    // One copy in the host: the shadow is the same memory.
    expect(m.hostOffset(0xf_fff0)).toBe(m.hostOffset(0xffff_fff0));
  });

  it("of an odd size is padded with ones below the image, so that the reset vector stays in place", () => {
    const m = memory();
    m.mapBios(new Uint8Array(0x1001).fill(7));
    expect(m.read8(FOUR_GIB - 0x1001)).toBe(7);
    expect(m.read8(FOUR_GIB - 0x1002)).toBe(0xff);
    expect(m.kind(FOUR_GIB - 0x2000)).toBe("rom");
  });

  it("drops writes, counted, and is not writable for the CPU", () => {
    const m = memory();
    m.mapRom(0xd_0000, Uint8Array.of(1, 2, 3));
    m.write32(0xd_0000, 0);
    expect(m.read32(0xd_0000)).toBe(0xff03_0201);
    expect(m.pageEntry(0xd_0000) & PAGE_ENTRY.writable).toBe(0);
    expect(m.unassigned.romWrites).toBe(1);
  });

  it("gives way to the RAM behind it, writable or not, as shadowing does", () => {
    const m = memory();
    m.write8(0xf_0000, 0x11);
    m.mapBios(new Uint8Array(0x2_0000).fill(0x22));
    expect(m.read8(0xf_0000)).toBe(0x22);
    m.mapRam(0xf_0000, 0x1_0000);
    expect(m.read8(0xf_0000)).toBe(0x11);
    m.write8(0xf_0000, 0x33);
    m.mapRam(0xf_0000, 0x1_0000, false);
    m.write8(0xf_0000, 0x44);
    expect(m.read8(0xf_0000)).toBe(0x33);
    expect(m.kind(0xf_0000)).toBe("rom");
  });

  it.each([true, false])("or the hole that was there is back when shadowing ends (ROM: %s)", (rom) => {
    const m = memory();
    if (rom) m.mapBios(new Uint8Array(0x2_0000).fill(0x22));
    m.mapRam(0xe_0000, 0x2_0000);
    expect(m.pageFlags[0xf0]! & PAGE_FLAG.special).toBe(0);
    m.mapBiosWindow(0xf_0000, 0x1_0000);
    expect(m.kind(0xf_0000)).toBe(rom ? "rom" : "none");
    expect([0xef, 0xf0, 0xff].map((page) => m.pageFlags[page]! & PAGE_FLAG.special)).toEqual([
      0,
      PAGE_FLAG.special,
      PAGE_FLAG.special,
    ]);
  });

  it("is refused when empty, too big, or not on whole pages", () => {
    const m = memory();
    expect(codeOf(() => m.mapBios(new Uint8Array(0)))).toBe("ROM_SIZE");
    expect(codeOf(() => m.mapBios(new Uint8Array(2 * MIB)))).toBe("ROM_SIZE");
    expect(codeOf(() => m.mapRom(0xd_0001, new Uint8Array(1)))).toBe("MEMORY_RANGE");
    expect(codeOf(() => m.mapRom(FOUR_GIB, new Uint8Array(1)))).toBe("MEMORY_RANGE");
    expect(codeOf(() => m.mapRam(4 * MIB, 0x1000))).toBe("OUTSIDE_RAM");
  });
});

describe("A20", () => {
  it("clears bit 20 of the CPU's addresses while off, above 4 GiB too, and leaves bus masters alone", () => {
    const m = memory();
    const flush = vi.fn();
    m.listen({ flush, written: () => {} });
    expect(m.physical(0x10_0000)).toBe(0x10_0000);
    m.setA20(false);
    expect(m.a20).toBe(false);
    expect(m.physical(0x10_ffef)).toBe(0x0_ffef);
    expect(m.physical(0x2f_ffff)).toBe(0x2f_ffff);
    expect(m.physical(0xffff_fff0)).toBe(0xffef_fff0);
    expect(m.physical(2 ** 40 + 0x10_0000)).toBe(2 ** 40);
    m.write8(0x10_0000, 9);
    expect(m.read8(0)).toBe(0);
    m.setA20(false);
    expect(flush).toHaveBeenCalledTimes(1);
    m.setA20(true);
    expect(flush).toHaveBeenCalledTimes(2);
  });
});

describe("loaders", () => {
  it("copy and fill RAM", () => {
    const m = memory();
    m.loadImage(0x10_0000, Uint8Array.of(1, 2, 3));
    m.fill(0x10_0001, 0x3000, 0xee);
    expect([...m.slice(0x10_0000, 3)]).toEqual([1, 0xee, 0xee]);
    expect(m.read8(0x10_3000)).toBe(0xee);
    expect(m.read8(0x10_3001)).toBe(0);
  });

  it.each([
    ["past the end", 4 * MIB - 2, 3],
    ["into the VGA window", 0x9_ffff, 2],
    ["across it", 0x9_0000, 0x8_0000],
    ["below 0", -1, 2],
    ["far away", 2 ** 60, 1],
  ])("are refused %s, before anything is written", (_, gpa, length) => {
    const m = memory();
    expect(codeOf(() => m.loadImage(gpa, new Uint8Array(length).fill(1)))).toBe("OUTSIDE_RAM");
    expect(codeOf(() => m.fill(gpa, length, 1))).toBe("OUTSIDE_RAM");
    expect(m.bytes.subarray(m.layout.ram).includes(1)).toBe(false);
  });
});

describe("page flags", () => {
  it("collect the pages that devices and loaders wrote, once", () => {
    const m = memory();
    expect(m.takeDirtyPages()).toEqual([]);
    m.write8(0x5000, 1);
    m.write(0x6fff, Uint8Array.of(1, 2));
    m.write32(0xa_0000, 1);
    m.loadImage(0x20_0000, new Uint8Array(0x2001));
    m.pageFlags[0x300] = PAGE_FLAG.dirty | PAGE_FLAG.code;
    expect(m.takeDirtyPages()).toEqual([5, 6, 7, 0x200, 0x201, 0x202, 0x300]);
    expect(m.pageFlags[0x300]).toBe(PAGE_FLAG.code);
    expect(m.takeDirtyPages()).toEqual([]);
  });

  it("make listeners flush when they are taken, so that the next store sets them again", () => {
    const m = memory();
    const flush = vi.fn();
    const end = m.listen({ flush, written: () => {} });
    m.takeDirtyPages();
    expect(flush).not.toHaveBeenCalled();
    m.write8(0, 1);
    m.takeDirtyPages();
    expect(flush).toHaveBeenCalledTimes(1);
    end();
    m.setA20(false);
    expect(flush).toHaveBeenCalledTimes(1);
  });

  it("report writes to code, page by page", () => {
    const m = memory();
    const reports: [number, number][] = [];
    m.listen({ flush: () => {}, written: (gpa, length) => reports.push([gpa, length]) });
    m.pageFlags[2] = PAGE_FLAG.code;
    m.pageFlags[3] = PAGE_FLAG.code;
    m.write(0x1ff0, new Uint8Array(0x1020));
    m.write32(0x3ffe, 1);
    m.write8(0x1000, 1);
    expect(reports).toEqual([
      [0x2000, 0x1000],
      [0x3000, 0x10],
      [0x3ffe, 2],
    ]);
  });
});

describe("snapshot", () => {
  it("brings back contents, ROM, shadowing and A20 in another machine", () => {
    const m = memory();
    m.mapBios(new Uint8Array(0x1_0000).fill(0x77));
    m.mapRam(0xf_8000, 0x8000, true);
    m.write32(0x1000, 0x1234_5678);
    // -0 as a double: zero by value, not by bits.
    m.write64(0x20_0000, 1n << 63n);
    m.setA20(false);
    const saved = m.save();
    expect(saved.ram.numbers.length).toBe(2);

    const other = memory();
    other.write8(0x9000, 0xff);
    other.loadImage(0x30_0000, Uint8Array.of(1));
    other.load(saved);
    expect(same(other.slice(0, 4 * MIB), m.slice(0, 4 * MIB))).toBe(true);
    expect(other.read8(FOUR_GIB - 1)).toBe(0x77);
    expect(other.kind(0xf_0000)).toBe("rom");
    expect(other.kind(0xf_8000)).toBe("ram");
    expect(other.a20).toBe(false);
    expect(other.takeDirtyPages().length).toBe((4 * MIB) / 4096);
    const again = other.save();
    expect(again.map).toEqual(saved.map);
    expect(again.ram.numbers).toEqual(saved.ram.numbers);
    expect(same(again.ram.contents, saved.ram.contents)).toBe(true);
  });

  it("of other memory is refused", () => {
    expect(codeOf(() => memory().load(memory(8 * MIB).save()))).toBe("SNAPSHOT_MISMATCH");
  });
});

it("two memories in one process never meet", () => {
  const [a, b] = [memory(), memory()];
  a.write8(0x1000, 1);
  expect(b.read8(0x1000)).toBe(0);
});
