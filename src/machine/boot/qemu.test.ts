/**
 * What the loaders and the ACPI tables produce, run by another machine: QEMU gets the guest memory as a file, and a
 * ROM of a few instructions puts its CPU in the start state. A stock kernel then judges the memory map, boot_params,
 * page tables and ACPI tables; a small Multiboot kernel of our own says what it finds.
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { describePlatform } from "../acpi/description.ts";
import { acpiTables, placeAcpiTables } from "../acpi/place.ts";
import { firmwareMsrs } from "./firmware.ts";
import { loadLinux } from "./linux.ts";
import { loadMultiboot } from "./multiboot.ts";
import type { StartState } from "./start-state.ts";
import { ram } from "./testing.ts";

const MIB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), "portico-boot-"));
afterAll(() => rmSync(folder, { recursive: true }));
const inFolder = (name: string): string => join(folder, name);

/** Of `-cpu max` under TCG. */
const QEMU_PHYSICAL_ADDRESS_BITS = 40;

/**
 * Real-mode code at the reset vector: makes E0000-EFFFF of QEMU's i440FX RAM (PAM5 and PAM6) and copies the tables
 * there from 40000, programs the PIIX4's PM base to 600h, sets what firmware sets, then loads the start state.
 */
function startRom(start: StartState): string {
  const msrs = firmwareMsrs(QEMU_PHYSICAL_ADDRESS_BITS);
  const long = start.mode === "long64";
  const low = (value: number): string => `0x${(value % 2 ** 32).toString(16)}`;
  return `
    bits 16
    org 0
    section .text
    entry:
      cli
      ${[
        [0x8000_005c, 0x3333_0000],
        [0x8000_0b40, 0x0000_0601],
        [0x8000_0b80, 0x0000_0001],
        [0x8000_0b04, 0x0000_0001],
      ]
        .map(
          ([address, value]) => `
      mov dx, 0xcf8
      mov eax, ${address}
      out dx, eax
      mov dx, 0xcfc
      mov eax, ${value}
      out dx, eax`,
        )
        .join("\n")}
      cld
      mov ax, 0x4000
      mov ds, ax
      mov ax, 0xe000
      mov es, ax
      xor si, si
      xor di, di
      mov cx, 0x4000
      rep movsd
      ${msrs
        .map(
          ({ index, value }) => `
      mov ecx, ${index}
      mov eax, ${value & 0xffff_ffffn}
      mov edx, ${value >> 32n}
      wrmsr`,
        )
        .join("\n")}
      o32 lgdt [cs:gdtr]
      mov eax, ${low(start.cr4)}
      mov cr4, eax
      mov eax, ${low(start.cr3)}
      mov cr3, eax
      ${long ? `mov ecx, 0xc0000080\n xor edx, edx\n mov eax, ${low(start.efer & 0x100)}\n wrmsr` : ""}
      mov eax, ${low(start.cr0)}
      mov cr0, eax
      mov ax, ${start.segments.ds.selector}
      mov ds, ax
      mov es, ax
      mov fs, ax
      mov gs, ax
      mov ss, ax
      ${Object.entries({ rbx: 0, rcx: 0, rdx: 0, rsi: 0, rdi: 0, rbp: 0, rsp: 0, rax: 0, ...start.registers })
        .map(([name, value]) => `mov e${name.slice(1)}, ${low(value)}`)
        .join("\n")}
      jmp dword ${start.segments.cs.selector}:${low(start.rip)}
    gdtr:
      dw ${start.gdtr.limit}
      dd ${start.gdtr.base}
    times 0xfff0 - ($ - $$) db 0
      jmp 0xf000:entry
    times 0x10000 - ($ - $$) db 0
  `;
}

function runInQemu(memory: { bytes: Uint8Array }, start: StartState, ...options: string[]): string {
  // In two files: at E0000-FFFFF QEMU would overwrite its ROM.
  const low = memory.bytes.slice(0, 0xa_0000);
  low.set(memory.bytes.subarray(0xe_0000, 0xf_0000), 0x4_0000);
  writeFileSync(inFolder("low.bin"), low);
  writeFileSync(inFolder("high.bin"), memory.bytes.subarray(MIB));
  writeFileSync(inFolder("rom.asm"), startRom(start));
  execFileSync("nasm", ["-f", "bin", "-o", inFolder("rom.bin"), inFolder("rom.asm")]);
  const result = spawnSync(
    "qemu-system-x86_64",
    [
      ...["-accel", "tcg", "-M", "pc", "-cpu", "max", "-m", `${memory.bytes.length / MIB}`, "-nodefaults"],
      ...["-display", "none", "-no-reboot", "-bios", inFolder("rom.bin")],
      ...["-device", `loader,file=${inFolder("low.bin")},addr=0,force-raw=on`],
      ...["-device", `loader,file=${inFolder("high.bin")},addr=${MIB},force-raw=on`, ...options],
    ],
    { encoding: "latin1", timeout: 110_000 },
  );
  if (result.error) throw new Error(`${result.error.message}\n${result.stdout}`);
  return result.stdout + result.stderr;
}

/** An init that says hello and restarts the machine, which the FADT's reset register does. */
const INIT = `
  static long call(long n, long a, long b, long c, long d) {
    long r;
  #ifdef __x86_64__
    register long r10 __asm__("r10") = d;
    __asm__ volatile("syscall" : "=a"(r) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10) : "rcx", "r11", "memory");
  #else
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d) : "memory");
  #endif
    return r;
  }
  #ifdef __x86_64__
  enum { WRITE = 1, REBOOT = 169 };
  #else
  enum { WRITE = 4, REBOOT = 88 };
  #endif
  void _start(void) {
    call(WRITE, 1, (long)"init is running\\n", 16, 0);
    call(REBOOT, 0xfee1dead, 672274793, 0x01234567, 0);
    for (;;);
  }
`;

/** A cpio archive (newc) with this one file as /init. */
function initramfs(flags: string[]): Uint8Array {
  writeFileSync(inFolder("init.c"), INIT);
  execFileSync(
    "gcc",
    [...flags, "-O1", "-ffreestanding", "-fno-stack-protector", "-fno-pic", "-static"].concat([
      "-nostdlib",
      "-o",
      inFolder("init"),
      inFolder("init.c"),
    ]),
  );
  const pad = (length: number): Uint8Array => new Uint8Array(-length & 3);
  const entry = (name: string, mode: number, data: Uint8Array): Uint8Array[] => {
    const fields = [1, mode, 0, 0, 1, 0, data.length, 0, 0, 0, 0, name.length + 1, 0];
    const head = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}${name}\0`);
    return [head, pad(head.length), data, pad(data.length)];
  };
  return gzipSync(
    Buffer.concat([
      ...entry("init", 0o100755, readFileSync(inFolder("init"))),
      ...entry("TRAILER!!!", 0, new Uint8Array()),
    ]),
  );
}

describe.each([
  ["vmlinuz-cloud-amd64", "64-bit", ["-m64"]],
  ["vmlinuz-cloud-amd64", "32-bit", ["-m64"]],
  ["vmlinuz-686", "32-bit", ["-m32"]],
] as const)("%s by the %s protocol", (file, protocol, flags) => {
  const path = new URL(`../../../build/guests/${file}`, import.meta.url);

  // The kernels are not part of the repository: `npm run guests` fetches them.
  it.skipIf(!existsSync(path))(
    "boots from our memory image and finds nothing wrong with our tables",
    () => {
      const memory = ram(160 * MIB);
      const description = { ...describePlatform(memory.size, 1), gpe0: false, fwCfg: false };
      const { start } = loadLinux(memory, {
        kernel: readFileSync(path),
        initrd: initramfs([...flags]),
        commandLine: "console=ttyS0 loglevel=8 panic=-1 words to be seen again",
        rsdpAddress: placeAcpiTables(memory, acpiTables(description)),
        protocol,
      });
      const log = runInQemu(memory, start, "-serial", "stdio");

      expect(log).toContain("init is running");
      expect(log).toContain("words to be seen again");
      expect(log).toMatch(/BIOS-e820: \[mem 0x0000000000100000-0x0000000009ffffff\] usable/);
      expect(log).toMatch(/RSDP 0x00000000000E0000 000024 \(v02 PORTIC\)/);
      expect(log).toMatch(/ACPI: PM-Timer IO Port: 0x608/);
      expect(log).toMatch(/ACPI: INT_SRC_OVR \(bus 0 bus_irq 0 global_irq 2 high edge\)/);
      expect(log).toMatch(/ACPI: INT_SRC_OVR \(bus 0 bus_irq 9 global_irq 9 high level\)/);
      expect(log).toMatch(/PCI: Using ACPI for IRQ routing/);
      expect(log).toMatch(/pci_bus 0000:00: root bus resource \[mem 0x0a000000-0xfebfffff window\]/);
      expect(log).toMatch(/00:\d\d: ttyS0 at I\/O 0x3f8 \(irq = 4/);
      expect(log).toMatch(/rtc_cmos 00:0\d: registered/);
      // Without our MTRRs: "MTRRs disabled"; with a wrong mask: "your BIOS has configured an incorrect mask".
      expect(log).not.toMatch(/MTRRs? (disabled|all blank)|incorrect mask/);
      const complaint = /.*(ACPI.*(error|warning|invalid)|firmware bug|BIOS bug|your BIOS|AE_[A-Z]).*/gi;
      expect(log.match(complaint) ?? []).toEqual([]);
      expect(log).toContain("reboot: machine restart");
    },
    120_000,
  );
});

/** Says on port E9h what the boot loader has left it, and ends QEMU through its exit device. */
const PROBE = `
  typedef unsigned int u32;
  typedef unsigned long long u64;
  /* First a decoy: the magic number without a right checksum. */
  __asm__(".section .header, \\"a\\"\\n.long 0x1BADB002\\n"
          "header: .long 0x1BADB002, " FLAGS ", -0x1BADB002 - " FLAGS "\\n"
          ".long header, header - 4, load_end, bss_end, start\\n"
          ".text\\n.globl start\\nstart: mov $stack + 4096, %esp\\n push %ebx\\n push %eax\\n call probe\\n");
  char stack[4096];
  char bss[70000];

  static void put(char c) { __asm__ volatile("outb %0, $0xe9" : : "a"(c)); }
  static void text(const char *s) { while (*s) put(*s++); }
  static void hex(u32 v) { for (int i = 28; i >= 0; i -= 4) put("0123456789abcdef"[v >> i & 15]); }
  static void line(const char *name, u32 v) { text(name); put(' '); hex(v); put('\\n'); }

  void probe(u32 magic, u32 *info) {
    u32 cr0, eflags, cs, dirty = 0;
    unsigned short ds;
    __asm__ volatile("mov %%cr0, %0\\n pushf\\n pop %1\\n mov %%cs, %2\\n mov %%ds, %3"
                     : "=r"(cr0), "=r"(eflags), "=r"(cs), "=r"(ds));
    for (unsigned i = 0; i < sizeof bss; i++) dirty |= bss[i];
    line("magic", magic);
    line("cr0 PE, PG", cr0 & 0x80000001);
    line("eflags VM, IF", eflags & 0x20200);
    line("bss", dirty);
    u32 limit;
    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(cs));
    line("cs limit", limit);
    __asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"((u32)ds));
    line("ds limit", limit);
    line("flags", info[0]);
    line("lower", info[1]);
    line("upper", info[2]);
    text("command line "), text((char *)info[4]), put('\\n');
    if (info[0] & 0x200) text("loader "), text((char *)info[16]), put('\\n');
    for (u32 i = 0; i < info[5]; i++) {
      u32 *module = (u32 *)info[6] + 4 * i;
      text("module "), text((char *)module[2]), line(" at page offset", module[0] & 0xfff);
      for (char *p = (char *)module[0]; p < (char *)module[1]; p++) put(*p);
      put('\\n');
    }
    for (u32 at = info[12]; at < info[12] + info[11]; at += *(u32 *)at + 4) {
      u64 *entry = (u64 *)(at + 4);
      text("range "), hex(entry[0] >> 32), hex(entry[0]), put(' '), hex(entry[1] >> 32), hex(entry[1]);
      line("", ((u32 *)entry)[4]);
    }
    if (info[0] & 0x20) {
      u32 *names = (u32 *)(info[9] + info[8] * info[10]);
      for (u32 i = 1; i < info[7]; i++) {
        u32 *section = (u32 *)(info[9] + info[8] * i);
        text("section "), line((char *)names[3] + section[0], section[3] != 0);
      }
    }
    __asm__ volatile("outb %0, %1" : : "a"((char)0), "d"((short)0xf4));
    for (;;);
  }
`;

const LINKER_SCRIPT = `
  ENTRY(start)
  SECTIONS {
    . = 0x100000;
    .text : { *(.header) *(.text*) *(.rodata*) *(.data*) }
    load_end = .;
    .bss : { *(.bss*) *(COMMON) }
    bss_end = .;
    /DISCARD/ : { *(.eh_frame*) *(.note*) *(.comment*) }
  }
`;

function buildProbe(format: "elf" | "flat"): string {
  const flags = format === "elf" ? 3 : 0x1_0003;
  writeFileSync(inFolder("probe.c"), PROBE);
  writeFileSync(inFolder("probe.ld"), LINKER_SCRIPT);
  const compile = [
    "-m32",
    "-O1",
    "-ffreestanding",
    "-fno-pic",
    "-fno-pie",
    "-no-pie",
    "-nostdlib",
    "-static",
    "-Wl,--no-warn-rwx-segments",
  ];
  execFileSync("gcc", [
    ...[...compile, "-fno-stack-protector", "-Wl,--build-id=none", "-Wl,-T", inFolder("probe.ld")],
    ...[`-DFLAGS="${flags}"`, "-o", inFolder("probe.elf"), inFolder("probe.c")],
  ]);
  if (format === "elf") return inFolder("probe.elf");
  execFileSync("objcopy", ["-O", "binary", inFolder("probe.elf"), inFolder("probe.bin")]);
  return inFolder("probe.bin");
}

const PROBE_DEVICES = ["-debugcon", "stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"];

describe.each(["elf", "flat"] as const)("a Multiboot kernel (%s)", (format) => {
  it("finds what the specification promises, and the modules and command line that QEMU's own loader gives", () => {
    const path = buildProbe(format);
    const memory = ram(8 * MIB);
    writeFileSync(inFolder("one.txt"), "first module");
    writeFileSync(inFolder("two.txt"), "second");
    const { start } = loadMultiboot(memory, {
      kernel: readFileSync(path),
      name: path,
      arguments: "some words",
      modules: [
        { name: inFolder("one.txt"), arguments: "a b", data: readFileSync(inFolder("one.txt")) },
        { name: inFolder("two.txt"), data: readFileSync(inFolder("two.txt")) },
      ],
    });
    const said = runInQemu(memory, start, ...PROBE_DEVICES);
    expect(said.split("\n")).toEqual([
      "magic 2badb002",
      "cr0 PE, PG 00000001",
      "eflags VM, IF 00000000",
      "bss 00000000",
      "cs limit ffffffff",
      "ds limit ffffffff",
      format === "elf" ? "flags 0000026d" : "flags 0000024d",
      `lower ${(639).toString(16).padStart(8, "0")}`,
      `upper ${(7 * 1024).toString(16).padStart(8, "0")}`,
      `command line ${path} some words`,
      "loader Portico",
      `module ${inFolder("one.txt")} a b at page offset 00000000`,
      "first module",
      `module ${inFolder("two.txt")} at page offset 00000000`,
      "second",
      "range 0000000000000000 000000000009fc00 00000001",
      "range 000000000009fc00 0000000000000400 00000002",
      "range 00000000000e0000 0000000000020000 00000002",
      "range 0000000000100000 0000000000700000 00000001",
      "range 00000000fec00000 0000000000001000 00000002",
      "range 00000000fed00000 0000000000000400 00000002",
      "range 00000000fee00000 0000000000001000 00000002",
      ...(format === "elf" ? ["section .text 00000001", "section .bss 00000001"] : []),
      ...(format === "elf" ? [".symtab", ".strtab", ".shstrtab"].map((name) => `section ${name} 00000001`) : []),
      "",
    ]);

    const initrd = `${inFolder("one.txt")} a b,${inFolder("two.txt")}`;
    const qemu = spawnSync(
      "qemu-system-x86_64",
      [
        ...["-accel", "tcg", "-M", "pc", "-m", "8", "-nodefaults", "-display", "none", ...PROBE_DEVICES],
        ...["-kernel", path, "-append", "some words", "-initrd", initrd],
      ],
      { encoding: "latin1", timeout: 60_000 },
    );
    const shared = (output: string): string[] =>
      output.split("\n").filter((line) => /^(magic|cr0|eflags|bss|cs|ds|lower|command|module|first|second)/.test(line));
    expect(shared(said)).toEqual(shared(qemu.stdout));
  });
});
