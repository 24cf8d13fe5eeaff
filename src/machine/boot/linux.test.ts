import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { ImageError } from "./image-error.ts";
import { loadLinux } from "./linux.ts";
import { linuxImage, ram, sameBytes, type TestLinux, type TestRam } from "./testing.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

/** Offsets in struct boot_params as the kernel's own header and the C compiler have them. */
const offsets: Record<string, number> = {};
const FIELDS = [
  ...["acpi_rsdp_addr", "e820_entries", "sentinel", "hdr", "e820_table", "hdr.type_of_loader", "hdr.loadflags"],
  ...["hdr.code32_start", "hdr.ramdisk_image", "hdr.ramdisk_size", "hdr.heap_end_ptr", "hdr.cmd_line_ptr"],
  ...["hdr.init_size", "hdr.header", "hdr.version", "hdr.boot_flag", "hdr.pref_address", "hdr.xloadflags"],
];

beforeAll(() => {
  const folder = mkdtempSync(join(tmpdir(), "portico-params-"));
  try {
    const print = FIELDS.map((field) => `printf("${field} %zu\\n", offsetof(struct boot_params, ${field}));`).join(
      "\n",
    );
    const source = `#include <stdio.h>\n#include <stddef.h>\n#include <asm/bootparam.h>\nint main(void) {\n${print}\n}`;
    writeFileSync(join(folder, "p.c"), source);
    execFileSync("gcc", ["-o", join(folder, "p"), join(folder, "p.c")]);
    for (const line of execFileSync(join(folder, "p"), { encoding: "utf8" }).trim().split("\n")) {
      const [field, offset] = line.split(" ");
      offsets[field!] = Number(offset);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

/** boot_params, where RSI points on entry. */
function params(memory: TestRam, address: number) {
  const at = (field: string): number => address + offsets[field]!;
  return {
    u8: (field: string) => memory.view.getUint8(at(field)),
    u16: (field: string) => memory.view.getUint16(at(field), true),
    u32: (field: string) => memory.view.getUint32(at(field), true),
    u64: (field: string) => Number(memory.view.getBigUint64(at(field), true)),
    e820: () =>
      Array.from({ length: memory.view.getUint8(at("e820_entries")) }, (_, index) => {
        const entry = at("e820_table") + 20 * index;
        const base = Number(memory.view.getBigUint64(entry, true));
        const end = base + Number(memory.view.getBigUint64(entry + 8, true));
        return [base, end, memory.view.getUint32(entry + 16, true)];
      }),
    text: (field: string) => {
      const start = memory.view.getUint32(at(field), true);
      return new TextDecoder().decode(memory.bytes.subarray(start, memory.bytes.indexOf(0, start)));
    },
  };
}

const codeOf = (run: () => unknown): string => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(ImageError);
    return (error as ImageError).code;
  }
  return "none";
};

describe("boot_params (boot.rst, zero-page.rst)", () => {
  const memory = ram(64 * MIB);
  const kernel = linuxImage();
  const initrd = Uint8Array.from({ length: 5000 }, (_, index) => index & 0xff);
  const { start, kernelAddress, initrdAddress } = loadLinux(memory, {
    kernel,
    initrd,
    commandLine: "console=ttyS0 ü",
    rsdpAddress: 0xe_0000,
  });
  const boot = params(memory, start.registers.rsi!);

  it("repeats the image's setup header", () => {
    expect(boot.u32("hdr.header")).toBe(0x5372_6448);
    expect(boot.u16("hdr.version")).toBe(0x020f);
    expect(boot.u16("hdr.boot_flag")).toBe(0xaa55);
    expect(boot.u32("hdr.init_size")).toBe(MIB);
    expect(boot.u64("hdr.pref_address")).toBe(16 * MIB);
    expect(boot.u16("hdr.xloadflags")).toBe(0x7f);
  });

  it("says who loads, with a heap, and no screen; the sentinel is zero", () => {
    expect(boot.u8("hdr.type_of_loader")).toBe(0xff);
    expect(boot.u8("hdr.loadflags")).toBe(0x81);
    expect(boot.u16("hdr.heap_end_ptr")).toBe(0xde00);
    expect(boot.u8("sentinel")).toBe(0);
    const screen = memory.read(start.registers.rsi!, 0x40);
    expect(screen).toEqual(new Uint8Array(0x40));
  });

  it("points to kernel, RAM disk, command line and RSDP", () => {
    expect(boot.u32("hdr.code32_start")).toBe(16 * MIB);
    expect(sameBytes(memory.read(16 * MIB, 0x2_0000), kernel.subarray(28 * 512))).toBe(true);
    expect(kernelAddress).toBe(16 * MIB);
    // As high as allowed, on a page boundary: 64 MiB less two pages.
    expect(initrdAddress).toBe(64 * MIB - 0x2000);
    expect(boot.u32("hdr.ramdisk_image")).toBe(initrdAddress);
    expect(boot.u32("hdr.ramdisk_size")).toBe(5000);
    expect(memory.read(initrdAddress!, 5000)).toEqual(initrd);
    expect(boot.text("hdr.cmd_line_ptr")).toBe("console=ttyS0 ü");
    expect(boot.u64("acpi_rsdp_addr")).toBe(0xe_0000);
  });

  it("maps the memory of a PC", () => {
    expect(boot.e820()).toEqual([
      [0, 0x9_fc00, 1],
      [0x9_fc00, 0xa_0000, 2],
      [0xe_0000, 0x10_0000, 2],
      [0x10_0000, 64 * MIB, 1],
      [0xfec0_0000, 0xfec0_1000, 2],
      [0xfed0_0000, 0xfed0_0400, 2],
      [0xfee0_0000, 0xfee0_1000, 2],
    ]);
  });

  it("the BIOS data area tells where conventional memory ends", () => {
    expect(memory.view.getUint16(0x40e, true) * 16).toBe(0x9_fc00);
    expect(memory.view.getUint16(0x413, true)).toBe(639);
  });
});

describe("entry state", () => {
  const descriptor = (memory: TestRam, gdt: number, selector: number) => {
    const [low, high] = [memory.view.getUint32(gdt + selector, true), memory.view.getUint32(gdt + selector + 4, true)];
    return {
      base: ((high & 0xff00_0000) | ((high & 0xff) << 16) | (low >>> 16)) >>> 0,
      limit: (high & 0xf_0000) | (low & 0xffff),
      access: (high >> 8) & 0xff,
      flags: (high >> 20) & 0xf,
    };
  };

  it("64-bit: entry at +200h, __BOOT_CS and __BOOT_DS flat, the first 4 GiB mapped to themselves", () => {
    const memory = ram(64 * MIB);
    const { start, protocol } = loadLinux(memory, { kernel: linuxImage() });
    expect(protocol).toBe("64-bit");
    expect(start.mode).toBe("long64");
    expect(start.rip).toBe(16 * MIB + 0x200);
    expect(start.rflags & 0x200).toBe(0);
    expect([start.segments.cs.selector, start.segments.ds.selector, start.segments.ss.selector]).toEqual([16, 24, 24]);
    // SDM volume 3, 10.8.5: PE and PG, PAE, LME and LMA.
    expect(start.cr0 % 2).toBe(1);
    expect(start.cr0 >= 2 ** 31).toBe(true);
    expect(start.cr4 & 0x20).toBe(0x20);
    expect(start.efer).toBe(0x500);
    // Code: execute/read, L; data: read/write, 4 GiB.
    expect(descriptor(memory, start.gdtr.base, 0x10)).toEqual({ base: 0, limit: 0xf_ffff, access: 0x9b, flags: 0xa });
    expect(descriptor(memory, start.gdtr.base, 0x18)).toEqual({ base: 0, limit: 0xf_ffff, access: 0x93, flags: 0xc });
    expect(start.segments.cs.attributes).toBe(0xa09b);
    expect(start.segments.ds.attributes).toBe(0xc093);

    /** SDM volume 3, table 4-14 and on: present and writable at each level, a 2 MiB page at the third. */
    const walk = (linear: number): number => {
      let table = start.cr3;
      for (const divisor of [2 ** 39, 2 ** 30, 2 ** 21]) {
        const entry = Number(memory.view.getBigUint64(table + 8 * (Math.floor(linear / divisor) % 512), true));
        expect(entry & 3).toBe(3);
        if (divisor === 2 ** 21) {
          expect(entry & 0x80).toBe(0x80);
          return entry - (entry % 2 ** 21) + (linear % 2 ** 21);
        }
        table = entry - (entry % 4096);
      }
      return -1;
    };
    for (const address of [
      0,
      0x1000,
      0x1f_ffff,
      0x20_0000,
      16 * MIB,
      0x3fff_ffff,
      0x4000_0000,
      0xfee0_0000,
      0xffff_ffff,
    ]) {
      expect(walk(address)).toBe(address);
    }
  });

  it("32-bit: entry at the kernel's start, paging off, EBX, EBP and EDI zero", () => {
    const memory = ram(64 * MIB);
    const { start } = loadLinux(memory, { kernel: linuxImage(), protocol: "32-bit" });
    expect(start.mode).toBe("protected32");
    expect(start.rip).toBe(16 * MIB);
    expect(start.cr0 >= 2 ** 31).toBe(false);
    expect(start.efer).toBe(0);
    expect(descriptor(memory, start.gdtr.base, 0x10)).toEqual({ base: 0, limit: 0xf_ffff, access: 0x9b, flags: 0xc });
    expect(Object.keys(start.registers)).toEqual(["rsi"]);
  });

  it("a kernel without the 64-bit entry is booted by the 32-bit protocol", () => {
    expect(loadLinux(ram(64 * MIB), { kernel: linuxImage({ xloadflags: 0 }) }).protocol).toBe("32-bit");
    expect(loadLinux(ram(64 * MIB), { kernel: linuxImage({ version: 0x020b }) }).protocol).toBe("32-bit");
    const kernel = linuxImage({ xloadflags: 0 });
    expect(codeOf(() => loadLinux(ram(64 * MIB), { kernel, protocol: "64-bit" }))).toBe("IMAGE_NOT_BOOTABLE");
  });
});

describe("placement", () => {
  it.each<[string, Partial<TestLinux>, number]>([
    ["at its preferred address", { prefAddress: 32 * MIB }, 32 * MIB],
    ["relocatable, without a preference: from 16 MiB, aligned", { version: 0x0205, alignment: 0x40_0000 }, 16 * MIB],
    ["not relocatable: 1 MiB, from where it moves itself", { relocatable: 0 }, MIB],
    ["protocol 2.04: 1 MiB", { version: 0x0204 }, MIB],
    ["setup_sects 0 means 4", { setupSectors: 4 }, 16 * MIB],
  ])("%s", (_, overrides, expected) => {
    const memory = ram(64 * MIB);
    const kernel = linuxImage(overrides);
    if (overrides.setupSectors === 4) kernel[0x1f1] = 0;
    const loaded = loadLinux(memory, { kernel });
    expect(loaded.kernelAddress).toBe(expected);
    expect(sameBytes(memory.read(expected, 0x2_0000), kernel.subarray(-0x2_0000))).toBe(true);
  });

  it("the RAM disk ends at or below initrd_addr_max, and avoids the kernel", () => {
    const initrd = new Uint8Array(3 * MIB).fill(0xa5);
    const limited = loadLinux(ram(64 * MIB), { kernel: linuxImage({ initrdAddrMax: 0x1ff_ffff }), initrd });
    expect(limited.initrdAddress).toBe(29 * MIB);
    // The kernel's 1 MiB from 16 MiB on is taken: below it there is room.
    const below = loadLinux(ram(64 * MIB), { kernel: linuxImage({ initrdAddrMax: 18 * MIB }), initrd });
    expect(below.initrdAddress).toBe(13 * MIB);
    const older = loadLinux(ram(1024 * MIB), { kernel: linuxImage({ version: 0x0202 }), initrd });
    expect(older.initrdAddress).toBe(0x3800_0000 - 3 * MIB);
  });

  it("an empty RAM disk is none", () => {
    const memory = ram(64 * MIB);
    const { start, initrdAddress } = loadLinux(memory, { kernel: linuxImage(), initrd: new Uint8Array() });
    expect(initrdAddress).toBeUndefined();
    expect(params(memory, start.registers.rsi!).u32("hdr.ramdisk_image")).toBe(0);
  });
});

describe("what cannot be booted", () => {
  const load = (kernel: Uint8Array, more = {}, size = 64 * MIB) =>
    codeOf(() => loadLinux(ram(size), { kernel, ...more }));

  it.each([
    ["no signature", linuxImage().fill(0, 0x202, 0x206), "IMAGE_NOT_BOOTABLE"],
    ["boot_flag", linuxImage().fill(0, 0x1fe, 0x200), "IMAGE_NOT_BOOTABLE"],
    ["protocol 2.01", linuxImage({ version: 0x0201 }), "IMAGE_NOT_BOOTABLE"],
    ["a zImage", linuxImage({ loadflags: 0 }), "IMAGE_NOT_BOOTABLE"],
    ["an alignment of 3", linuxImage({ alignment: 3 }), "IMAGE_NOT_BOOTABLE"],
    ["an unaligned preferred address", linuxImage({ prefAddress: 0x100_1000 }), "IMAGE_NOT_BOOTABLE"],
    ["nothing", new Uint8Array(), "IMAGE_NOT_BOOTABLE"],
    ["a header cut off", linuxImage().subarray(0, 0x250), "IMAGE_TRUNCATED"],
    ["setup sectors cut off", linuxImage().subarray(0, 2048), "IMAGE_TRUNCATED"],
    ["one byte missing", linuxImage().subarray(0, -1), "IMAGE_TRUNCATED"],
    ["a kernel beyond the RAM", linuxImage({ prefAddress: 128 * MIB }), "MEMORY_TOO_SMALL"],
    ["init_size beyond the RAM", linuxImage({ initSize: 48 * MIB + 1 }), "MEMORY_TOO_SMALL"],
    ["a preferred address of 2^63", linuxImage({ prefAddress: 2 ** 63 }), "MEMORY_TOO_SMALL"],
  ])("%s", (_, kernel, code) => {
    expect(load(kernel)).toBe(code);
  });

  it("a payload that ends beyond the file", () => {
    const kernel = linuxImage();
    new DataView(kernel.buffer).setUint32(0x24c, 0x2_0000, true);
    expect(load(kernel)).toBe("IMAGE_TRUNCATED");
  });

  it("a kernel that is loaded to RAM but moves itself beyond it", () => {
    expect(load(linuxImage({ relocatable: 0 }), {}, 16 * MIB)).toBe("MEMORY_TOO_SMALL");
    expect(load(linuxImage({ relocatable: 0 }), {}, 17 * MIB)).toBe("none");
  });

  it("an init_size that just fits", () => {
    expect(load(linuxImage({ initSize: 48 * MIB }))).toBe("none");
  });

  it("a RAM disk that does not fit, a machine without memory, a command line too long or with NUL", () => {
    expect(load(linuxImage(), { initrd: new Uint8Array(47 * MIB + 1) })).toBe("INITRD_TOO_LARGE");
    expect(load(linuxImage(), { initrd: new Uint8Array(47 * MIB) })).toBe("none");
    expect(load(linuxImage(), {}, MIB)).toBe("MEMORY_TOO_SMALL");
    expect(load(linuxImage(), { commandLine: "x".repeat(2048) })).toBe("COMMAND_LINE_INVALID");
    expect(load(linuxImage(), { commandLine: "x".repeat(2047) })).toBe("none");
    expect(load(linuxImage({ version: 0x0205 }), { commandLine: "x".repeat(256) })).toBe("COMMAND_LINE_INVALID");
    expect(load(linuxImage(), { commandLine: "a\0b" })).toBe("COMMAND_LINE_INVALID");
  });

  it("messages name the value and what would be right", () => {
    expect(() => loadLinux(ram(64 * MIB), { kernel: linuxImage(), initrd: new Uint8Array(50 * MIB) })).toThrow(
      /50 MiB.*47 MiB/,
    );
    expect(() => loadLinux(ram(16 * MIB), { kernel: linuxImage() })).toThrow(/0x1000000 to 0x1100000.*16 MiB.*17 MiB/);
  });
});
