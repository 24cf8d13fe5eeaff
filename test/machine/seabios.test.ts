/** Debian's stock SeaBIOS (package `seabios`) as ROM image: firmware that probes the machine for itself. */
import { existsSync, readFileSync } from "node:fs";
import { afterEach, describe, expect, it } from "vitest";
import { createMachine, type Machine } from "../../src/machine/machine.ts";

const FOLDER = "/usr/share/seabios";
const LIMIT = 60_000_000;
const MIB = 2 ** 20;

describe.skipIf(!existsSync(FOLDER)).each(["bios.bin", "bios-256k.bin"])("SeaBIOS, %s", (file) => {
  let machine: Machine;
  let shown: string;
  afterEach(() => machine.dispose());

  /** Runs until the firmware has said `what` on its debug console; returns all that it has said. */
  function boot(memoryMiB: number, what: RegExp): string {
    machine = createMachine({ memoryMiB, clock: "instructions" });
    let said = "";
    machine.onDebugOutput = (byte) => {
      said += String.fromCharCode(byte);
    };
    shown = "";
    machine.serial.onOutput((bytes) => {
      shown += new TextDecoder("latin1").decode(bytes);
    });
    machine.boot({ image: new Uint8Array(readFileSync(`${FOLDER}/${file}`)) });
    for (let n = 100_000; n <= LIMIT && !what.test(said) && machine.runUntil(n); n += 100_000);
    return said;
  }

  it("starts, finds the machine and its tables, and looks for something to boot", () => {
    const said = boot(128, /No bootable device/);
    expect(said).toMatch(/^SeaBIOS \(version .*\)\n/);
    expect(said).toContain("Running on QEMU (i440fx)\nFound QEMU fw_cfg\nQEMU fw_cfg DMA interface supported\n");
    expect(said).toContain("addr 0x0000000000000000 len 0x0000000008000000 [RAM]");
    expect(said).toContain("Found 1 cpu(s) max supported 1 cpu(s)");
    expect(said).toContain("Moving pm_base to 0x600");
    // The small build leaves the parser out.
    expect(/ACPI: parse DSDT at 0x\w+/.test(said)).toBe(file === "bios-256k.bin");
    expect(said).toContain("Found 1 serial ports");
    expect(said).toContain("PS2 keyboard initialized");
    expect(said).toMatch(/No bootable device/);
    expect(said).not.toMatch(/WARNING|Unable|Timeout|error|invalid/i);
    expect(shown).toContain("Booting from Hard Disk...\r\nBoot failed: could not read the boot disk\r\n");
    // Once, without a reset.
    expect(machine.events).toEqual({ resets: 0, tripleFaults: 0 });
    // What it looks for and does not find is not there at all.
    const unclaimed = machine.profile().unclaimed.map(({ space, base }) => `${space} ${base.toString(16)}`);
    expect(unclaimed.filter((range) => range.startsWith("mmio"))).toEqual([]);
  });

  it("links the ACPI tables in memory", () => {
    boot(64, /Scan for VGA/);
    const { memory } = machine;
    const bytes = (address: number, length: number) => {
      const into = new Uint8Array(length);
      memory.read(address, into);
      return into;
    };
    const dword = (address: number) => memory.read32(address);
    const text = (address: number, length: number) => String.fromCharCode(...bytes(address, length));
    const sum = (address: number, length: number) =>
      bytes(address, length).reduce((all, byte) => (all + byte) & 0xff, 0);

    let rsdp = 0xf_0000;
    while (rsdp < MIB && text(rsdp, 8) !== "RSD PTR ") rsdp += 16;
    expect(rsdp).toBeLessThan(MIB);
    expect([sum(rsdp, 20), sum(rsdp, 36)]).toEqual([0, 0]);
    const [rsdt, xsdt] = [dword(rsdp + 16), dword(rsdp + 24)];
    expect([text(rsdt, 4), text(xsdt, 4)]).toEqual(["RSDT", "XSDT"]);
    const listed = Array.from({ length: (dword(rsdt + 4) - 36) / 4 }, (_, i) => dword(rsdt + 36 + 4 * i));
    expect(listed.map((address) => text(address, 4))).toEqual(["FACP", "APIC", "HPET"]);
    expect(listed.map((_, i) => dword(xsdt + 36 + 8 * i))).toEqual(listed);
    const [facs, dsdt] = [dword(listed[0]! + 36), dword(listed[0]! + 40)];
    expect([text(facs, 4), facs % 64, text(dsdt, 4), dword(listed[0]! + 140)]).toEqual(["FACS", 0, "DSDT", dsdt]);
    for (const table of [rsdt, xsdt, dsdt, ...listed])
      expect([text(table, 4), sum(table, dword(table + 4))]).toEqual([text(table, 4), 0]);
  });

  it("resets the machine when there is nothing to boot, and starts again", () => {
    const said = boot(32, /Attempting a hard reboot[\s\S]*Booting from Hard Disk/);
    expect(machine.events).toEqual({ resets: 1, tripleFaults: 0 });
    expect(said.match(/SeaBIOS \(version/g)?.length).toBe(4);
  });

  it("goes on from a snapshot in another machine, with its shadow RAM", async () => {
    boot(32, /PCI bus & bridge init/);
    const other = createMachine({ memoryMiB: 32, clock: "instructions" });
    other.restore(machine.save());
    const end = machine.clock.retired + 3_000_000;
    expect([machine.runUntil(end), other.runUntil(end)]).toEqual([true, true]);
    expect(await other.stateHash()).toBe(await machine.stateHash());
    other.dispose();
  });
});
