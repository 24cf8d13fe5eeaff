/** Where the tables lie in guest memory: in the BIOS area, the RSDP first. */
import { assert } from "../../errors.ts";
import type { BootMemory } from "../boot/boot-memory.ts";
import { LOW_MEMORY } from "../platform.ts";
import type { AcpiDescription } from "./description.ts";
import { dsdt } from "./dsdt.ts";
import {
  FACS_LENGTH,
  FADT_POINTERS,
  facs,
  fadt,
  hpet,
  madt,
  RSDP_CHECKSUMS,
  RSDP_LENGTH,
  RSDP_POINTERS,
  rsdp,
  rsdt,
  xsdt,
} from "./fixed-tables.ts";
import { HEADER_CHECKSUM, HEADER_LENGTH } from "./table.ts";

/** A field that holds the address of another table. */
export interface TablePointer {
  readonly offset: number;
  readonly size: 4 | 8;
}

/** A byte that makes the sum of the first `length` bytes, by default all of them, zero. */
export interface TableChecksum {
  readonly offset: number;
  readonly length?: number;
}

export interface PlacedTable {
  readonly signature: string;
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly pointers: readonly TablePointer[];
  readonly checksums: readonly TableChecksum[];
}

/** All tables but the RSDP. */
export interface LaidTables {
  readonly tables: readonly PlacedTable[];
  readonly rsdtAddress: number;
  readonly xsdtAddress: number;
  readonly end: number;
}

/** The FACS must lie on a 64-byte boundary, the RSDP on a 16-byte one. ACPI 6.5, sections 5.2.10 and 5.2.5.1. */
const FACS_ALIGNMENT = 64;
const TABLE_ALIGNMENT = 16;

/** The tables one after the other from `start`. */
export function tablesFrom(machine: AcpiDescription, start: number): LaidTables {
  // APIC ID FFh addresses every processor.
  assert(machine.cpuCount >= 1 && machine.cpuCount <= 0xff, `${machine.cpuCount} processors do not fit 8-bit APIC IDs`);
  let next = start;
  const reserve = (length: number, alignment: number): number => {
    const address = Math.ceil(next / alignment) * alignment;
    next = address + length;
    return address;
  };
  const place = (signature: string, bytes: Uint8Array, pointers: readonly TablePointer[] = []): PlacedTable => ({
    signature,
    address: reserve(bytes.length, TABLE_ALIGNMENT),
    bytes,
    pointers,
    checksums: [{ offset: HEADER_CHECKSUM }],
  });

  const facsAddress = reserve(FACS_LENGTH, FACS_ALIGNMENT);
  const facsTable = { signature: "FACS", address: facsAddress, bytes: facs(), pointers: [], checksums: [] };
  const dsdtTable = place("DSDT", dsdt(machine));
  const listed = [
    place("FACP", fadt(machine, facsTable.address, dsdtTable.address), FADT_POINTERS),
    place("APIC", madt(machine)),
    ...(machine.hpet ? [place("HPET", hpet(machine.hpet.blockId))] : []),
  ];
  const addresses = listed.map((listedTable) => listedTable.address);
  const entries = (size: 4 | 8) => listed.map((_, index) => ({ offset: HEADER_LENGTH + index * size, size }));
  const rsdtTable = place("RSDT", rsdt(addresses), entries(4));
  const xsdtTable = place("XSDT", xsdt(addresses), entries(8));
  return {
    tables: [facsTable, dsdtTable, ...listed, rsdtTable, xsdtTable],
    rsdtAddress: rsdtTable.address,
    xsdtAddress: xsdtTable.address,
    end: next,
  };
}

/** The RSDP of these tables. */
export function acpiRoot({ rsdtAddress, xsdtAddress }: LaidTables, address: number): PlacedTable {
  return {
    signature: "RSD PTR ",
    address,
    bytes: rsdp(rsdtAddress, xsdtAddress),
    pointers: RSDP_POINTERS,
    checksums: RSDP_CHECKSUMS,
  };
}

/** All tables of a machine and their addresses; the first is the RSDP. Nothing is written. */
export function acpiTables(machine: AcpiDescription): PlacedTable[] {
  const laid = tablesFrom(machine, LOW_MEMORY.bios + RSDP_LENGTH);
  assert(laid.end <= LOW_MEMORY.biosEnd, "the ACPI tables do not fit the BIOS area");
  return [acpiRoot(laid, LOW_MEMORY.bios), ...laid.tables];
}

/** Writes the tables to guest memory and returns the address of the RSDP. */
export function placeAcpiTables(memory: BootMemory, tables: readonly PlacedTable[]): number {
  for (const { address, bytes } of tables) memory.write(address, bytes);
  return tables[0]!.address;
}
