/** Where the tables lie in guest memory: in the BIOS area, the RSDP first. */
import { assert } from "../../errors.ts";
import type { BootMemory } from "../boot/boot-memory.ts";
import { LOW_MEMORY } from "../platform.ts";
import type { AcpiDescription } from "./description.ts";
import { dsdt } from "./dsdt.ts";
import { FACS_LENGTH, facs, fadt, hpet, madt, RSDP_LENGTH, rsdp, rsdt, xsdt } from "./fixed-tables.ts";

export interface PlacedTable {
  readonly signature: string;
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** The RSDP must lie on a 16-byte boundary, the FACS on a 64-byte one. ACPI 6.5, sections 5.2.5.1 and 5.2.10. */
const RSDP_ALIGNMENT = 16;
const FACS_ALIGNMENT = 64;
const TABLE_ALIGNMENT = 16;

/** All tables of a machine and their addresses; the first is the RSDP. Nothing is written. */
export function acpiTables(machine: AcpiDescription): PlacedTable[] {
  // APIC ID FFh addresses every processor.
  assert(machine.cpuCount >= 1 && machine.cpuCount <= 0xff, `${machine.cpuCount} processors do not fit 8-bit APIC IDs`);
  let next: number = LOW_MEMORY.bios;
  const reserve = (length: number, alignment: number): number => {
    const address = Math.ceil(next / alignment) * alignment;
    next = address + length;
    return address;
  };
  const place = (signature: string, bytes: Uint8Array, alignment = TABLE_ALIGNMENT): PlacedTable => ({
    signature,
    address: reserve(bytes.length, alignment),
    bytes,
  });

  const rsdpAddress = reserve(RSDP_LENGTH, RSDP_ALIGNMENT);
  const facsTable: PlacedTable = { signature: "FACS", address: reserve(FACS_LENGTH, FACS_ALIGNMENT), bytes: facs() };
  const dsdtTable = place("DSDT", dsdt(machine));
  const listed = [
    place("FACP", fadt(machine, facsTable.address, dsdtTable.address)),
    place("APIC", madt(machine)),
    ...(machine.hpet ? [place("HPET", hpet(machine.hpet.blockId))] : []),
  ];
  const addresses = listed.map((listedTable) => listedTable.address);
  const rsdtTable = place("RSDT", rsdt(addresses));
  const xsdtTable = place("XSDT", xsdt(addresses));
  assert(next <= LOW_MEMORY.biosEnd, "the ACPI tables do not fit the BIOS area");
  const rsdpTable: PlacedTable = {
    signature: "RSD PTR ",
    address: rsdpAddress,
    bytes: rsdp(rsdtTable.address, xsdtTable.address),
  };
  return [rsdpTable, facsTable, dsdtTable, ...listed, rsdtTable, xsdtTable];
}

/** Writes the tables to guest memory and returns the address of the RSDP. */
export function placeAcpiTables(memory: BootMemory, tables: readonly PlacedTable[]): number {
  for (const { address, bytes } of tables) memory.write(address, bytes);
  return tables[0]!.address;
}
