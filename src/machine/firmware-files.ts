/** What firmware learns about the machine from fw_cfg files. */
import { describePlatform } from "./acpi/description.ts";
import { acpiFiles } from "./acpi/linker.ts";
import { littleEndian, pack } from "./acpi/table.ts";
import { PORTS } from "./platform.ts";

/** Entry of "etc/e820", as INT 15h AX=E820h gives them. ACPI 6.5, table 15.2. */
const E820 = { address: 8, length: 8, type: 4 } as const;
const E820_RAM = 1;

export function firmwareFiles(ramBytes: number, cpuCount: number): Record<string, Uint8Array> {
  return {
    "etc/e820": pack(E820, { address: 0, length: ramBytes, type: E820_RAM }),
    // There is no display: SeaBIOS then shows its text on COM1 and takes keys from there.
    "etc/sercon-port": littleEndian(PORTS.com1.base, 8),
    ...acpiFiles(describePlatform(ramBytes, cpuCount)),
  };
}
