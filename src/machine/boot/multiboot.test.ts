import { describe, expect, it } from "vitest";
import { ImageError } from "./image-error.ts";
import { loadMultiboot, type MultibootBoot } from "./multiboot.ts";
import { elf32, multibootHeader, ram, sameBytes, type TestRam } from "./testing.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

const join = (...parts: Uint8Array[]): Uint8Array => Uint8Array.from(parts.flatMap((part) => [...part]));
const code = Uint8Array.of(0xf4, 0xeb, 0xfd, 0x90);

/** Header and a few bytes of code at 1 MiB, with 4 KiB of memory. */
const kernel = (flags = 0x3): Uint8Array =>
  elf32(MIB + 12, [{ virtual: MIB, physical: MIB, bytes: join(multibootHeader(flags), code), memoryLength: 4096 }]);

/** Flags bit 16: header, load, load end, bss end, entry. */
const flat = (addresses: number[], before = 0, after: Uint8Array = code): Uint8Array =>
  join(new Uint8Array(before), multibootHeader(0x1_0000, ...addresses), after);

const codeOf = (boot: MultibootBoot, size = 8 * MIB): string => {
  try {
    loadMultiboot(ram(size), boot);
  } catch (error) {
    expect(error).toBeInstanceOf(ImageError);
    return (error as ImageError).code;
  }
  return "none";
};

const text = (memory: TestRam, address: number): string =>
  new TextDecoder().decode(memory.bytes.subarray(address, memory.bytes.indexOf(0, address)));

describe("header (Multiboot 0.6.96, 3.1)", () => {
  it.each([
    ["at the first byte", 0, "none"],
    ["that ends with byte 8191", 8192 - 32, "none"],
    ["beyond 8192 bytes", 8192 - 8, "IMAGE_NOT_BOOTABLE"],
    ["not on a 4-byte boundary", 2, "IMAGE_NOT_BOOTABLE"],
  ])("%s: %s", (_, before, expected) => {
    expect(codeOf({ kernel: flat([MIB + before, MIB, 0, 0, MIB + before + 32], before) })).toBe(expected);
  });

  it("a wrong checksum is no header, and the search goes on", () => {
    const wrong = new Uint8Array(Uint32Array.of(0x1bad_b002, 3, 0).buffer);
    expect(codeOf({ kernel: wrong })).toBe("IMAGE_NOT_BOOTABLE");
    expect(codeOf({ kernel: join(wrong, flat([MIB + 12, MIB, 0, 0, MIB + 44])) })).toBe("none");
  });

  it.each([
    ["bit 3, a requirement that nobody defines", 0x8, "IMAGE_NOT_BOOTABLE"],
    ["bit 15", 0x8000, "IMAGE_NOT_BOOTABLE"],
    ["bit 17, which may be ignored", 0x2_0000, "none"],
  ])("%s", (_, flags, expected) => {
    expect(codeOf({ kernel: kernel(flags) })).toBe(expected);
  });

  it.each([
    ["text, which a loader need not provide", 1, "none"],
    ["graphics", 0, "IMAGE_NOT_BOOTABLE"],
  ])("video mode: %s", (_, mode, expected) => {
    const header = multibootHeader(0x1_0004, MIB, MIB, 0, 0, MIB + 48, mode, 80, 25, 0);
    expect(codeOf({ kernel: join(header, code) })).toBe(expected);
    expect(codeOf({ kernel: header.subarray(0, 40) })).toBe("IMAGE_TRUNCATED");
  });
});

describe("flat images (3.1.3)", () => {
  it("are loaded from where the header says, to load_end, with bss zeroed to bss_end", () => {
    const memory = ram(8 * MIB);
    memory.bytes.fill(0xff, MIB, 2 * MIB);
    // Eight bytes of file before the header do not belong to the image's load range; two bytes after it do not either.
    const base = 0x10_0000;
    const image = flat([base + 4, base, base + 40, base + 0x100, base + 36], 8, join(code, code));
    const { start } = loadMultiboot(memory, { kernel: image });
    expect(start.rip).toBe(base + 36);
    expect(memory.read(base, 40)).toEqual(image.subarray(4, 44));
    expect(memory.read(base + 40, 0x100 - 40)).toEqual(new Uint8Array(0x100 - 40));
    expect(memory.bytes[base + 0x100]).toBe(0xff);
  });

  it("load_end 0 means to the end of the file, bss_end 0 no bss", () => {
    const memory = ram(8 * MIB);
    memory.bytes.fill(0xff, MIB, 2 * MIB);
    const image = flat([MIB, MIB, 0, 0, MIB + 32]);
    loadMultiboot(memory, { kernel: image });
    expect(memory.read(MIB, image.length)).toEqual(image);
    expect(memory.bytes[MIB + image.length]).toBe(0xff);
  });

  it.each([
    ["a header below the load address", [MIB, MIB + 4, 0, 0, MIB], "IMAGE_NOT_BOOTABLE"],
    ["more before the header than the file has", [MIB + 64, MIB, 0, 0, MIB], "IMAGE_NOT_BOOTABLE"],
    ["a load end before the load address", [MIB, MIB, MIB - 4, 0, MIB], "IMAGE_NOT_BOOTABLE"],
    ["a load end beyond the file", [MIB, MIB, MIB + 400, 0, MIB], "IMAGE_TRUNCATED"],
    ["bss beyond the RAM", [MIB, MIB, 0, 9 * MIB, MIB], "MEMORY_TOO_SMALL"],
    ["the BIOS area", [0xf_0000, 0xf_0000, 0, 0, 0xf_0000], "IMAGE_NOT_BOOTABLE"],
    ["the BIOS data area", [0x400, 0x400, 0, 0, 0x400], "IMAGE_NOT_BOOTABLE"],
  ])("%s", (_, addresses, expected) => {
    expect(codeOf({ kernel: flat(addresses) })).toBe(expected);
  });
});

describe("ELF images", () => {
  it("segments go to their physical addresses, the entry follows its segment", () => {
    const memory = ram(8 * MIB);
    memory.bytes.fill(0xff, MIB);
    const header = multibootHeader(0x3);
    const image = elf32(0xc030_0002, [
      { virtual: 0xc010_0000, physical: MIB, bytes: header },
      { virtual: 0xc030_0000, physical: 3 * MIB, bytes: code, memoryLength: 0x2000 },
    ]);
    const { start } = loadMultiboot(memory, { kernel: image });
    expect(start.rip).toBe(3 * MIB + 2);
    expect(memory.read(MIB, header.length)).toEqual(header);
    expect(memory.read(3 * MIB, 4)).toEqual(code);
    expect(memory.read(3 * MIB + 4, 0x1ffc)).toEqual(new Uint8Array(0x1ffc));
    expect(memory.bytes[3 * MIB + 0x2000]).toBe(0xff);
  });

  const patched = (offset: number, value: number): Uint8Array => {
    const image = kernel();
    image[offset] = value;
    return image;
  };

  it.each([
    ["64-bit class", patched(4, 2), "IMAGE_NOT_BOOTABLE"],
    ["big-endian", patched(5, 2), "IMAGE_NOT_BOOTABLE"],
    ["a shared object", patched(16, 3), "IMAGE_NOT_BOOTABLE"],
    ["ARM", patched(18, 40), "IMAGE_NOT_BOOTABLE"],
    ["no segments", patched(44, 0), "IMAGE_NOT_BOOTABLE"],
    ["more program headers than the file has", patched(44, 9), "IMAGE_TRUNCATED"],
    ["a segment cut off", kernel().subarray(0, -1), "IMAGE_TRUNCATED"],
    ["no ELF at all", multibootHeader(0), "IMAGE_NOT_BOOTABLE"],
  ])("%s", (_, image, expected) => {
    expect(codeOf({ kernel: image })).toBe(expected);
  });
});

describe("boot information (3.3) and machine state (3.2)", () => {
  const memory = ram(8 * MIB);
  const first = Uint8Array.from({ length: 5000 }, (_, index) => index & 0xff);
  const { start, informationAddress } = loadMultiboot(memory, {
    kernel: kernel(),
    name: "/boot/kernel",
    arguments: "a=1 b",
    modules: [
      { name: "first", data: first, arguments: "x y" },
      { name: "second", data: new Uint8Array() },
    ],
  });
  const word = (offset: number): number => memory.view.getUint32(informationAddress + offset, true);

  it("EAX is the magic number, EBX the address; protected mode, no paging, no interrupts", () => {
    expect(start.registers).toEqual({ rax: 0x2bad_b002, rbx: informationAddress });
    expect(start.mode).toBe("protected32");
    expect(start.cr0 % 2).toBe(1);
    expect(start.cr0 >= 2 ** 31).toBe(false);
    expect(start.rflags & 0x2_0200).toBe(0);
    expect(start.segments.cs).toMatchObject({ base: 0, limit: 0xffff_ffff });
    expect(start.segments.ss).toMatchObject({ base: 0, limit: 0xffff_ffff });
  });

  it("memory, command line, modules, map and loader name; nothing of what there is not", () => {
    expect(word(0)).toBe((1 << 0) | (1 << 2) | (1 << 3) | (1 << 6) | (1 << 9));
    expect(word(4)).toBe(639);
    expect(word(8)).toBe(7 * KIB);
    expect(text(memory, word(16))).toBe("/boot/kernel a=1 b");
    expect(text(memory, word(64))).toBe("Portico");
  });

  it("modules lie on page boundaries behind the kernel, with their strings", () => {
    expect(word(20)).toBe(2);
    const module = (index: number) =>
      [0, 4, 8, 12].map((field) => memory.view.getUint32(word(24) + 16 * index + field, true));
    const [from, end, string, reserved] = module(0) as [number, number, number, number];
    expect(from % 4096).toBe(0);
    expect(from).toBeGreaterThanOrEqual(MIB + 4096);
    expect(end - from).toBe(5000);
    expect(reserved).toBe(0);
    expect(memory.read(from, 5000)).toEqual(first);
    expect(text(memory, string)).toBe("first x y");
    const [emptyFrom, emptyEnd, name] = module(1) as [number, number, number];
    expect(emptyEnd).toBe(emptyFrom);
    expect(text(memory, name)).toBe("second");
  });

  it("a kernel in low memory and the information do not meet", () => {
    const low = ram(8 * MIB);
    const bytes = join(multibootHeader(0), new Uint8Array(0x9_0000 - 12).fill(0xcc));
    const loaded = loadMultiboot(low, { kernel: elf32(0x1000, [{ virtual: 0x1000, physical: 0x1000, bytes }]) });
    expect(sameBytes(low.read(0x1000, bytes.length), bytes)).toBe(true);
    expect(loaded.informationAddress).toBeGreaterThanOrEqual(0x9_1000);
    expect(loaded.start.gdtr.base).toBeGreaterThanOrEqual(0x9_1000);
  });

  it("what does not fit is refused", () => {
    const modules = [{ name: "big", data: new Uint8Array(7 * MIB) }];
    expect(codeOf({ kernel: kernel(), modules })).toBe("MODULE_TOO_LARGE");
    expect(codeOf({ kernel: kernel() }, MIB)).toBe("MEMORY_TOO_SMALL");
    expect(codeOf({ kernel: kernel(), arguments: "a\0b" })).toBe("COMMAND_LINE_INVALID");
  });
});
