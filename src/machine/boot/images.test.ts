import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PorticoError } from "../../errors.ts";
import { detectImage } from "./detect.ts";
import { ImageError } from "./image-error.ts";
import { loadLinux } from "./linux.ts";
import { loadMultiboot } from "./multiboot.ts";
import { loadRom } from "./rom.ts";
import { elf32, linuxImage, multibootHeader, ram, sameBytes } from "./testing.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ImageError);
    expect(error).toBeInstanceOf(PorticoError);
    return (error as ImageError).code;
  }
  return "none";
};

/** Bytes that differ everywhere, with a far jump at the reset vector. */
function romImage(length: number): Uint8Array {
  const image = Uint8Array.from({ length }, (_, index) => (index ^ (index >> 8)) & 0xff);
  image.set([0xea, 0x5b, 0xe0, 0x00, 0xf0], length - 16);
  return image;
}

const multiboot = elf32(MIB, [{ virtual: MIB, physical: MIB, bytes: multibootHeader(3), memoryLength: 4096 }]);

describe("ROM images", () => {
  it.each([
    64 * KIB,
    128 * KIB,
    256 * KIB,
    16 * MIB,
  ])("%i bytes end at 4 GiB and are shadowed below 1 MiB", (length) => {
    const memory = ram(2 * MIB);
    const image = romImage(length);
    const { romAddress, rom, start } = loadRom(memory, image);
    expect(romAddress + rom.length).toBe(2 ** 32);
    expect(sameBytes(rom, image)).toBe(true);
    const shadowed = Math.min(length, 128 * KIB);
    expect(sameBytes(memory.read(MIB - shadowed, shadowed), image.subarray(length - shadowed))).toBe(true);
    expect(memory.bytes[MIB - shadowed - 1]).toBe(0);
    // Both ways to the reset vector: the CPU's, and a jump to F000:FFF0.
    expect(start.segments.cs.base + start.rip).toBe(2 ** 32 - 16);
    expect(rom[start.segments.cs.base + start.rip - romAddress]).toBe(0xea);
    expect(memory.bytes[0xf_fff0]).toBe(0xea);
  });

  it("the CPU is as after a reset (SDM volume 3, table 10-1)", () => {
    const { start } = loadRom(ram(2 * MIB), romImage(64 * KIB));
    expect(start).toMatchObject({ mode: "real16", rip: 0xfff0, rflags: 2, cr0: 0x6000_0010, cr3: 0, cr4: 0, efer: 0 });
    expect(start.segments.cs).toEqual({ selector: 0xf000, base: 0xffff_0000, limit: 0xffff, attributes: 0x9b });
    expect(start.segments.ss).toEqual({ selector: 0, base: 0, limit: 0xffff, attributes: 0x93 });
    expect([start.gdtr, start.idtr]).toEqual([
      { base: 0, limit: 0xffff },
      { base: 0, limit: 0xffff },
    ]);
  });

  it.each([
    ["no bytes", new Uint8Array(), "IMAGE_NOT_BOOTABLE"],
    ["65537 bytes", romImage(64 * KIB + 1), "IMAGE_NOT_BOOTABLE"],
    ["more than 16 MiB", romImage(16 * MIB + 64 * KIB), "IMAGE_NOT_BOOTABLE"],
    ["nothing at the reset vector", romImage(64 * KIB).fill(0xff, -16), "IMAGE_NOT_BOOTABLE"],
  ])("%s", (_, image, code) => {
    expect(codeOf(() => loadRom(ram(2 * MIB), image))).toBe(code);
  });

  it("less than 1 MiB of RAM has no room for the shadow", () => {
    expect(codeOf(() => loadRom(ram(MIB - 1), romImage(64 * KIB)))).toBe("MEMORY_TOO_SMALL");
  });
});

describe("detection", () => {
  it("tells the kinds apart", () => {
    expect(detectImage(linuxImage())).toBe("bzimage");
    expect(detectImage(multiboot)).toBe("multiboot");
    expect(detectImage(romImage(128 * KIB))).toBe("rom");
    // A kernel that happens to have a ROM's size is still a kernel.
    expect(detectImage(linuxImage({ kernelLength: 128 * KIB - 28 * 512 }))).toBe("bzimage");
  });

  const multiboot2 = new Uint8Array(Uint32Array.of(0xe852_50d6, 0, 24, -(0xe852_50d6 + 24), 0, 8).buffer);
  it.each([
    ["nothing", new Uint8Array(), "IMAGE_TRUNCATED", /empty/],
    ["Multiboot 2", multiboot2, "IMAGE_NOT_BOOTABLE", /Multiboot 2 header.*Multiboot 1/],
    ["another ELF file", elf32(MIB, []), "IMAGE_NOT_BOOTABLE", /ELF.*bzImage instead of vmlinux/],
    ["gzip", Uint8Array.of(0x1f, 0x8b, 8, 0), "IMAGE_NOT_BOOTABLE", /gzip/],
    ["text", new TextEncoder().encode("#!/bin/sh\n"), "IMAGE_NOT_BOOTABLE", /no bzImage.*no Multiboot.*no ROM/],
    ["zeros of a ROM's size", new Uint8Array(64 * KIB), "IMAGE_NOT_BOOTABLE", /code at its end/],
  ])("%s", (_, image, code, message) => {
    expect(codeOf(() => detectImage(image))).toBe(code);
    expect(() => detectImage(image)).toThrow(message);
  });
});

describe("damaged images", () => {
  const images: [string, Uint8Array][] = [
    ["bzImage", linuxImage({ kernelLength: 0x1000 })],
    ["old bzImage", linuxImage({ kernelLength: 0x1000, version: 0x0203, setupSectors: 4 })],
    ["Multiboot ELF", multiboot],
    ["porch, with its section headers", readFileSync(new URL("../../../guests/porch/porch.elf", import.meta.url))],
    [
      "flat Multiboot",
      Uint8Array.from([
        ...multibootHeader(0x1_0004, MIB, MIB, 0, 0, MIB, 1, 80, 25, 0),
        ...new Uint8Array(64).fill(0x90),
      ]),
    ],
  ];
  const memory = ram(32 * MIB);

  /** Only ImageError may come out, and the memory refuses every write outside itself with another error. */
  function boot(image: Uint8Array): void {
    codeOf(() => detectImage(image));
    codeOf(() => loadLinux(memory, { kernel: image, initrd: Uint8Array.of(1, 2, 3), commandLine: "a b" }));
    codeOf(() => loadMultiboot(memory, { kernel: image, modules: [{ name: "m", data: Uint8Array.of(1) }] }));
    codeOf(() => loadRom(memory, image));
  }

  it.each(images)("%s, cut off anywhere", (_, image) => {
    for (let length = 0; length < image.length; length += length < 0x300 ? 1 : 257) boot(image.subarray(0, length));
    boot(image);
  });

  it.each(images)("%s, with words of its headers changed", (_, image) => {
    // Headers at the beginning and, of ELF files, section headers at the end.
    const offsets = Array.from({ length: image.length - 4 }, (_, offset) => offset).filter(
      (offset) => offset < 0x300 || offset > image.length - 0x100,
    );
    const word = fc.oneof(fc.constantFrom(0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff), fc.nat(0xffff_ffff));
    fc.assert(
      fc.property(
        fc.array(fc.record({ offset: fc.constantFrom(...offsets), value: word, width: fc.constantFrom(1, 2, 4) }), {
          minLength: 1,
          maxLength: 4,
        }),
        (changes) => {
          const damaged = Uint8Array.from(image);
          const view = new DataView(damaged.buffer);
          for (const { offset, value, width } of changes) {
            if (width === 4) view.setUint32(offset, value, true);
            else if (width === 2) view.setUint16(offset, value, true);
            else view.setUint8(offset, value);
          }
          boot(damaged);
        },
      ),
      { numRuns: 1500, seed: 1 },
    );
  });
});
