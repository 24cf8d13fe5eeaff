import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { HPET_BLOCK_ID } from "../platform.ts";
import { type AcpiDescription, describePlatform } from "./description.ts";
import { acpiTables, placeAcpiTables } from "./place.ts";

const MIB = 1024 * 1024;

const folder = mkdtempSync(join(tmpdir(), "portico-acpi-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Runs a program of acpica-tools and returns everything that it says. A missing program fails the test. */
function acpica(program: "iasl" | "acpiexec", ...args: string[]): string {
  return execFileSync(program, args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
}

/** iasl reports what it finds odd on both streams, and its exit status does not tell of warnings. */
function iasl(...args: string[]): string {
  return execFileSync("sh", ["-c", 'iasl "$@" 2>&1', "sh", ...args], { cwd: folder, encoding: "utf8" });
}

const complaints = (output: string): string[] =>
  output
    .split("\n")
    .filter((line) => /warning|error|invalid|unknown|truncat/i.test(line) && !/\b0 Errors, 0 Warn/.test(line));

const machines: [string, AcpiDescription][] = [
  ["the platform", describePlatform(256 * MIB, 1)],
  [
    "many processors, two UARTs, no HPET, GPE0 or fw_cfg",
    {
      ...describePlatform(3584 * MIB, 255),
      gpe0: false,
      hpet: undefined,
      fwCfg: false,
      uarts: [
        { base: 0x3f8, irq: 4 },
        { base: 0x2f8, irq: 3 },
      ],
    },
  ],
];

/** The header's checksum and compiler fields are what a recompiled table may differ in. */
const withoutSeal = (bytes: Uint8Array): Uint8Array => {
  const copy = bytes.slice();
  copy[9] = 0;
  copy.fill(0, 28, 36);
  return copy;
};

describe.each(machines)("%s", (_, machine) => {
  const tables = acpiTables(machine);
  const find = (signature: string): Uint8Array => tables.find((table) => table.signature === signature)!.bytes;

  it.each(
    tables.slice(1).map((table) => [table.signature, table.bytes] as const),
  )("%s: iasl disassembles it without complaint and assembles the same bytes", (signature, bytes) => {
    writeFileSync(join(folder, `${signature}.dat`), bytes);
    expect(complaints(iasl("-d", "-p", signature, `${signature}.dat`))).toEqual([]);
    expect(complaints(iasl("-ve", "-oa", "-p", `${signature}-again`, `${signature}.dsl`))).toEqual([]);
    const again = new Uint8Array(readFileSync(join(folder, `${signature}-again.aml`)));
    expect(signature === "FACS" ? again : withoutSeal(again)).toEqual(
      signature === "FACS" ? bytes : withoutSeal(bytes),
    );
  });

  it("every table but the FACS sums to zero, and so do both parts of the RSDP (ACPI 6.5, 5.2.5.3 and 5.2.6)", () => {
    const sum = (bytes: Uint8Array): number => bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
    for (const table of tables) {
      if (table.signature !== "FACS") expect([table.signature, sum(table.bytes)]).toEqual([table.signature, 0]);
    }
    expect(sum(tables[0]!.bytes.subarray(0, 20))).toBe(0);
  });

  it("tables lie in the BIOS area, aligned, without overlap", () => {
    const ordered = tables.toSorted((a, b) => a.address - b.address);
    expect(ordered[0]!.address).toBeGreaterThanOrEqual(0xe_0000);
    for (let index = 1; index < ordered.length; index++) {
      const before = ordered[index - 1]!;
      expect(ordered[index]!.address).toBeGreaterThanOrEqual(before.address + before.bytes.length);
    }
    const end = ordered.at(-1)!;
    expect(end.address + end.bytes.length).toBeLessThanOrEqual(0x10_0000);
    expect(tables[0]!.address % 16).toBe(0);
    expect(tables.find((table) => table.signature === "FACS")!.address % 64).toBe(0);
  });

  it("the chain from the RSDP reaches every table by 32-bit and by 64-bit addresses", () => {
    const memory = new Uint8Array(MIB);
    const rsdp = placeAcpiTables(
      {
        size: memory.length,
        write: (gpa, bytes) => memory.set(bytes, gpa),
      },
      acpiTables(machine),
    );
    const view = new DataView(memory.buffer);
    const text = (address: number, length: number): string =>
      String.fromCharCode(...memory.subarray(address, address + length));
    const list = (address: number, width: 4 | 8): string[] => {
      const end = address + view.getUint32(address + 4, true);
      const found: string[] = [];
      for (let at = address + 36; at < end; at += width) {
        found.push(text(width === 4 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true)), 4));
      }
      return found;
    };
    expect(text(rsdp, 8)).toBe("RSD PTR ");
    expect(memory[rsdp + 15]).toBe(2);
    const expected = machine.hpet ? ["FACP", "APIC", "HPET"] : ["FACP", "APIC"];
    expect(list(view.getUint32(rsdp + 16, true), 4)).toEqual(expected);
    const xsdt = Number(view.getBigUint64(rsdp + 24, true));
    expect(list(xsdt, 8)).toEqual(expected);
    const fadt = Number(view.getBigUint64(xsdt + 36, true));
    expect(text(view.getUint32(fadt + 36, true), 4)).toBe("FACS");
    expect(text(view.getUint32(fadt + 40, true), 4)).toBe("DSDT");
    expect(view.getBigUint64(fadt + 140, true)).toBe(BigInt(view.getUint32(fadt + 40, true)));
  });

  it("ACPICA routes PCI pins to lines of the 8259A, and to I/O APIC inputs after _PIC(1)", () => {
    writeFileSync(join(folder, "run.aml"), find("DSDT"));
    const route = (commands: string): number[] => {
      const output = acpica("acpiexec", "-b", commands, "run.aml");
      expect(complaints(output)).toEqual([]);
      return [...output.matchAll(/\[Integer\] = ([0-9A-F]+)/g)].map((match) => Number.parseInt(match[1]!, 16));
    };
    const routing = (values: number[]): number[][] =>
      Array.from({ length: values.length / 4 }, (_, index) => values.slice(4 * index, 4 * index + 4));
    const expected = (interrupts: number[]): number[][] =>
      Array.from({ length: 128 }, (_, index) => {
        const [slot, pin] = [index >> 2, index & 3];
        return [(slot << 16) | 0xffff, pin, 0, interrupts[(slot + 3 + pin) % 4]!];
      });
    expect(routing(route("evaluate \\_SB.PCI0._PRT"))).toEqual(expected([10, 10, 11, 11]));
    expect(routing(route("evaluate \\_PIC 1; evaluate \\_SB.PCI0._PRT"))).toEqual(expected([16, 17, 18, 19]));
    expect(route("evaluate \\_S5")).toEqual([5, 0, 0, 0]);
  });

  it("ACPICA finds one processor device for each local APIC", () => {
    writeFileSync(join(folder, "run.aml"), find("DSDT"));
    const output = acpica("acpiexec", "-b", "find _UID", "run.aml");
    expect(output.match(/_SB_?\.C[0-9A-F]{3}\._UID/g)?.length).toBe(machine.cpuCount);
  });
});

/** The decompiled FADT and MADT of the platform, field by field, as the specification numbers them. */
describe("the platform's tables say what the machine does", () => {
  const tables = acpiTables(describePlatform(256 * MIB, 2));
  const fields = (signature: string): string => {
    writeFileSync(join(folder, "say.dat"), tables.find((table) => table.signature === signature)!.bytes);
    iasl("-d", "-p", "say", "say.dat");
    return readFileSync(join(folder, "say.dsl"), "utf8").replaceAll(/^(?:\[.*?\])?[ \t]*(.*?) : /gm, "$1: ");
  };

  it.each([
    "SMI Command Port: 00000000",
    "SCI Interrupt: 0009",
    "PM1A Event Block Address: 00000600",
    "PM1A Control Block Address: 00000604",
    "PM Timer Block Address: 00000608",
    "PM Timer Block Length: 04",
    "RTC Century Index: 32",
    "Legacy Devices Supported (V2): 1",
    "8042 Present on ports 60/64 (V2): 1",
    "VGA Not Present (V4): 1",
    "MSI Not Supported (V4): 0",
    "CMOS RTC Not Present (V5): 0",
    "WBINVD instruction is operational (V1): 1",
    "32-bit PM Timer (V1): 0",
    "Reset Register Supported (V2): 1",
    "Value to cause reset: 06",
    "Hardware Reduced (V5): 0",
    "Address: 0000000000000CF9",
  ])("FADT: %s", (line) => {
    expect(fields("FACP").split("\n")).toContain(line);
  });

  it("MADT: two processors, the I/O APIC, IRQ 0 on input 2 (edge, high), the SCI (level, high), LINT1 as NMI", () => {
    const madt = fields("APIC");
    const entries = madt
      .split("Subtable Type: ")
      .slice(1)
      .map((entry) => entry.split("\n").filter((line) => /^(?:[0-9A-F]{2} \[|[\w /]+: )/i.test(line)));
    expect(entries.map((entry) => entry[0])).toEqual([
      "00 [Processor Local APIC]",
      "00 [Processor Local APIC]",
      "01 [I/O APIC]",
      "02 [Interrupt Source Override]",
      "02 [Interrupt Source Override]",
      "04 [Local APIC NMI]",
    ]);
    expect(entries[2]).toContain("Address: FEC00000");
    expect(entries[3]).toEqual(
      expect.arrayContaining(["Source: 00", "Interrupt: 00000002", "Polarity: 1", "Trigger Mode: 1"]),
    );
    expect(entries[4]).toEqual(
      expect.arrayContaining(["Source: 09", "Interrupt: 00000009", "Polarity: 1", "Trigger Mode: 3"]),
    );
    expect(madt).toContain("Local Apic Address: FEE00000");
  });

  it("HPET: the block identifier equals the device's capabilities", () => {
    expect(fields("HPET")).toContain(`Hardware Block ID: ${HPET_BLOCK_ID.toString(16).toUpperCase()}`);
  });
});
