/**
 * The tables as firmware takes them from fw_cfg: the RSDP, all other tables in one file, and a script that says where to
 * put them, which pointers to complete, and which checksums to make good. QEMU, hw/acpi/bios-linker-loader.c.
 */
import type { AcpiDescription } from "./description.ts";
import { acpiRoot, type PlacedTable, tablesFrom } from "./place.ts";
import { concat, pack } from "./table.ts";

const FILE = { rsdp: "etc/acpi/rsdp", tables: "etc/acpi/tables", script: "etc/table-loader" } as const;

/** Commands have 128 bytes, names 56. */
const COMMAND = { allocate: 1, addPointer: 2, addChecksum: 3 } as const;
const ALLOCATE = { command: 4, file: 56, alignment: 4, zone: 1, rest: 63 } as const;
const ADD_POINTER = { command: 4, file: 56, target: 56, offset: 4, size: 1, rest: 7 } as const;
const ADD_CHECKSUM = { command: 4, file: 56, offset: 4, start: 4, length: 4, rest: 56 } as const;
/** Anywhere below 4 GiB, or F0000-FFFFF, where an operating system looks for the RSDP. */
const ZONE = { high: 1, biosArea: 2 } as const;
const RSDP_ALIGNMENT = 16;
/** The FACS comes first. */
const TABLES_ALIGNMENT = 64;

type FileName = (typeof FILE)[keyof typeof FILE];

const allocate = (file: FileName, alignment: number, zone: number) =>
  pack(ALLOCATE, { command: COMMAND.allocate, file, alignment, zone });

/** Pointers hold offsets in the file of tables, to which firmware adds where that has come to lie; then the checksums. */
function complete(file: FileName, { address, bytes, pointers, checksums }: PlacedTable): Uint8Array[] {
  return [
    ...pointers.map(({ offset, size }) =>
      pack(ADD_POINTER, { command: COMMAND.addPointer, file, target: FILE.tables, offset: address + offset, size }),
    ),
    ...checksums.map(({ offset, length = bytes.length }) =>
      pack(ADD_CHECKSUM, { command: COMMAND.addChecksum, file, offset: address + offset, start: address, length }),
    ),
  ];
}

/** The three files, by name. */
export function acpiFiles(machine: AcpiDescription): Record<string, Uint8Array> {
  const laid = tablesFrom(machine, 0);
  const root = acpiRoot(laid, 0);
  const tables = new Uint8Array(laid.end);
  for (const { address, bytes } of laid.tables) tables.set(bytes, address);
  const script = [
    allocate(FILE.rsdp, RSDP_ALIGNMENT, ZONE.biosArea),
    allocate(FILE.tables, TABLES_ALIGNMENT, ZONE.high),
    ...laid.tables.filter(({ pointers }) => pointers.length > 0).flatMap((table) => complete(FILE.tables, table)),
    ...complete(FILE.rsdp, root),
  ];
  return { [FILE.rsdp]: root.bytes, [FILE.tables]: tables, [FILE.script]: concat(script) };
}
