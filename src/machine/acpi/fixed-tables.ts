/** RSDP, RSDT, XSDT, FADT, FACS, MADT and HPET: the tables without byte code. */
import { HPET_MINIMUM_TICK, IO_APIC, IRQ, MMIO, PM, RESET, RTC_CENTURY } from "../platform.ts";
import type { AcpiDescription } from "./description.ts";
import { checksum, concat, genericAddress, littleEndian, OEM_ID, pack, table } from "./table.ts";

/** ACPI 6.5, table 5.3. The first checksum covers the 20 bytes of ACPI 1.0, the extended one everything. */
const RSDP = {
  signature: 8,
  checksum: 1,
  oemId: 6,
  revision: 1,
  rsdtAddress: 4,
  length: 4,
  xsdtAddress: 8,
  extendedChecksum: 1,
  reserved: 3,
} as const;
export const RSDP_LENGTH = 36;
const RSDP_V1_LENGTH = 20;
const RSDP_CHECKSUM = 8;
const RSDP_EXTENDED_CHECKSUM = 32;
export const RSDP_POINTERS = [
  { offset: 16, size: 4 },
  { offset: 24, size: 8 },
] as const;
export const RSDP_CHECKSUMS = [
  { offset: RSDP_CHECKSUM, length: RSDP_V1_LENGTH },
  { offset: RSDP_EXTENDED_CHECKSUM },
] as const;

export function rsdp(rsdtAddress: number, xsdtAddress: number): Uint8Array {
  const bytes = pack(RSDP, {
    signature: "RSD PTR ",
    oemId: OEM_ID,
    revision: 2,
    rsdtAddress,
    length: RSDP_LENGTH,
    xsdtAddress,
  });
  bytes[RSDP_CHECKSUM] = checksum(bytes.subarray(0, RSDP_V1_LENGTH));
  bytes[RSDP_EXTENDED_CHECKSUM] = checksum(bytes);
  return bytes;
}

/** For an OS that reads only the first 20 bytes of the RSDP. ACPI 6.5, section 5.2.7. */
export function rsdt(addresses: readonly number[]): Uint8Array {
  return table("RSDT", 1, concat(addresses.map((address) => littleEndian(address, 4))));
}

/** ACPI 6.5, section 5.2.8. */
export function xsdt(addresses: readonly number[]): Uint8Array {
  return table("XSDT", 1, concat(addresses.map((address) => littleEndian(address, 8))));
}

/** ACPI 6.5, table 5.9, without the header. */
const FADT = {
  FIRMWARE_CTRL: 4,
  DSDT: 4,
  Reserved44: 1,
  Preferred_PM_Profile: 1,
  SCI_INT: 2,
  SMI_CMD: 4,
  ACPI_ENABLE: 1,
  ACPI_DISABLE: 1,
  S4BIOS_REQ: 1,
  PSTATE_CNT: 1,
  PM1a_EVT_BLK: 4,
  PM1b_EVT_BLK: 4,
  PM1a_CNT_BLK: 4,
  PM1b_CNT_BLK: 4,
  PM2_CNT_BLK: 4,
  PM_TMR_BLK: 4,
  GPE0_BLK: 4,
  GPE1_BLK: 4,
  PM1_EVT_LEN: 1,
  PM1_CNT_LEN: 1,
  PM2_CNT_LEN: 1,
  PM_TMR_LEN: 1,
  GPE0_BLK_LEN: 1,
  GPE1_BLK_LEN: 1,
  GPE1_BASE: 1,
  CST_CNT: 1,
  P_LVL2_LAT: 2,
  P_LVL3_LAT: 2,
  FLUSH_SIZE: 2,
  FLUSH_STRIDE: 2,
  DUTY_OFFSET: 1,
  DUTY_WIDTH: 1,
  DAY_ALRM: 1,
  MON_ALRM: 1,
  CENTURY: 1,
  IAPC_BOOT_ARCH: 2,
  Reserved111: 1,
  Flags: 4,
  RESET_REG: 12,
  RESET_VALUE: 1,
  ARM_BOOT_ARCH: 2,
  FADT_Minor_Version: 1,
  X_FIRMWARE_CTRL: 8,
  X_DSDT: 8,
  X_PM1a_EVT_BLK: 12,
  X_PM1b_EVT_BLK: 12,
  X_PM1a_CNT_BLK: 12,
  X_PM1b_CNT_BLK: 12,
  X_PM2_CNT_BLK: 12,
  X_PM_TMR_BLK: 12,
  X_GPE0_BLK: 12,
  X_GPE1_BLK: 12,
  SLEEP_CONTROL_REG: 12,
  SLEEP_STATUS_REG: 12,
  Hypervisor_Vendor_Identity: 8,
} as const;

/** FIRMWARE_CTRL, DSDT and X_DSDT. */
export const FADT_POINTERS = [
  { offset: 36, size: 4 },
  { offset: 40, size: 4 },
  { offset: 140, size: 8 },
] as const;

/** ACPI 6.5, table 5.10. */
const FADT_FLAG = {
  WBINVD: 1 << 0,
  PROC_C1: 1 << 2,
  SLP_BUTTON: 1 << 5,
  FIX_RTC: 1 << 6,
  RESET_REG_SUP: 1 << 10,
} as const;

/** ACPI 6.5, table 5.11. */
const BOOT_ARCH = { LEGACY_DEVICES: 1 << 0, I8042: 1 << 1, VGA_NOT_PRESENT: 1 << 2 } as const;

/** A desktop: an OS then expects a power button and no battery. ACPI 6.5, section 5.2.9.1. */
const PROFILE_DESKTOP = 1;

/** Latencies above 100 and 1000 µs say that C2 and C3 do not exist. ACPI 6.5, table 5.9. */
const NO_C2 = 101;
const NO_C3 = 1001;

/**
 * The machine is always in ACPI mode: SMI_CMD is 0 and SCI_EN is fixed (ACPI 6.5, section 4.8.2.5). TMR_VAL_EXT is
 * clear: 24 bits of timer. PWR_BUTTON is clear, SLP_BUTTON set: a fixed power button, no sleep button. FIX_RTC: the
 * RTC wakes nothing up, for there is nothing but S5.
 */
export function fadt(machine: AcpiDescription, facsAddress: number, dsdtAddress: number): Uint8Array {
  const { pmBase } = machine;
  const gpe0 = machine.gpe0 ? { address: pmBase + PM.gpe0, length: PM.gpe0Length } : undefined;
  return table(
    "FACP",
    6,
    pack(FADT, {
      // X_FIRMWARE_CTRL stays 0: until ACPI 6.2 only one of the two may be set, and the FACS is below 4 GiB.
      FIRMWARE_CTRL: facsAddress,
      DSDT: dsdtAddress,
      X_DSDT: dsdtAddress,
      Preferred_PM_Profile: PROFILE_DESKTOP,
      SCI_INT: machine.sciIrq,
      PM1a_EVT_BLK: pmBase + PM.event,
      PM1_EVT_LEN: PM.eventLength,
      X_PM1a_EVT_BLK: genericAddress("io", pmBase + PM.event, 8 * PM.eventLength, 2),
      PM1a_CNT_BLK: pmBase + PM.control,
      PM1_CNT_LEN: PM.controlLength,
      X_PM1a_CNT_BLK: genericAddress("io", pmBase + PM.control, 8 * PM.controlLength, 2),
      PM_TMR_BLK: pmBase + PM.timer,
      PM_TMR_LEN: PM.timerLength,
      X_PM_TMR_BLK: genericAddress("io", pmBase + PM.timer, 8 * PM.timerLength, 4),
      ...(gpe0 && {
        GPE0_BLK: gpe0.address,
        GPE0_BLK_LEN: gpe0.length,
        X_GPE0_BLK: genericAddress("io", gpe0.address, 8 * gpe0.length, 1),
      }),
      P_LVL2_LAT: NO_C2,
      P_LVL3_LAT: NO_C3,
      CENTURY: RTC_CENTURY,
      IAPC_BOOT_ARCH: BOOT_ARCH.LEGACY_DEVICES | BOOT_ARCH.I8042 | BOOT_ARCH.VGA_NOT_PRESENT,
      Flags: FADT_FLAG.WBINVD | FADT_FLAG.PROC_C1 | FADT_FLAG.SLP_BUTTON | FADT_FLAG.FIX_RTC | FADT_FLAG.RESET_REG_SUP,
      RESET_REG: genericAddress("io", RESET.port, 8, 1),
      RESET_VALUE: RESET.value,
      FADT_Minor_Version: 5,
      Hypervisor_Vendor_Identity: "Portico",
    }),
  );
}

/** ACPI 6.5, table 5.12. No header, no checksum; the OS writes the global lock in it. */
const FACS = {
  signature: 4,
  length: 4,
  hardwareSignature: 4,
  firmwareWakingVector: 4,
  globalLock: 4,
  flags: 4,
  xFirmwareWakingVector: 8,
  version: 1,
  reserved33: 3,
  ospmFlags: 4,
  reserved40: 24,
} as const;
export const FACS_LENGTH = 64;

export function facs(): Uint8Array {
  return pack(FACS, { signature: "FACS", length: FACS_LENGTH, version: 2 });
}

/** Interrupt controller structures. ACPI 6.5, sections 5.2.12.2, .3, .5 and .7. */
const LOCAL_APIC = { type: 1, length: 1, processorUid: 1, apicId: 1, flags: 4 } as const;
const IO_APIC_ENTRY = { type: 1, length: 1, id: 1, reserved: 1, address: 4, gsiBase: 4 } as const;
const SOURCE_OVERRIDE = { type: 1, length: 1, bus: 1, source: 1, gsi: 4, flags: 2 } as const;
const LOCAL_APIC_NMI = { type: 1, length: 1, processorUid: 1, flags: 2, lint: 1 } as const;

/** MPS INTI flags: polarity in bits 0-1, trigger in bits 2-3. ACPI 6.5, table 5.26. */
const INTI = { activeHigh: 1, edge: 1 << 2, level: 3 << 2 } as const;
const PCAT_COMPAT = 1;
const ALL_PROCESSORS = 0xff;

/**
 * The SCI is level-triggered and active high: the chipset inverts it on its way to the I/O APIC, as the PIIX4 and ICH
 * families do and as their firmware announces it.
 */
export function madt(machine: AcpiDescription): Uint8Array {
  const entries = [
    ...Array.from({ length: machine.cpuCount }, (_, id) =>
      pack(LOCAL_APIC, { type: 0, length: 8, processorUid: id, apicId: id, flags: 1 }),
    ),
    pack(IO_APIC_ENTRY, { type: 1, length: 12, id: machine.ioApicId, address: MMIO.ioApic, gsiBase: 0 }),
    override(IRQ.timer, IO_APIC.timerPin, INTI.activeHigh | INTI.edge),
    override(machine.sciIrq, machine.sciIrq, INTI.activeHigh | INTI.level),
    pack(LOCAL_APIC_NMI, { type: 4, length: 6, processorUid: ALL_PROCESSORS, lint: 1 }),
  ];
  const fixed = pack({ localApicAddress: 4, flags: 4 }, { localApicAddress: MMIO.localApic, flags: PCAT_COMPAT });
  return table("APIC", 5, concat([fixed, ...entries]));
}

function override(source: number, gsi: number, flags: number): Uint8Array {
  return pack(SOURCE_OVERRIDE, { type: 2, length: 10, source, gsi, flags });
}

/** IA-PC HPET 1.0a, section 3.2.4. */
const HPET = {
  eventTimerBlockId: 4,
  baseAddress: 12,
  number: 1,
  minimumTick: 2,
  pageProtection: 1,
} as const;

/** Bytes up to the next page hold nothing else: page protection is "4 KiB". */
const HPET_PAGE_4K = 1;

export function hpet(blockId: number): Uint8Array {
  return table(
    "HPET",
    1,
    pack(HPET, {
      eventTimerBlockId: blockId,
      baseAddress: genericAddress("memory", MMIO.hpet, 64, 8),
      minimumTick: HPET_MINIMUM_TICK,
      pageProtection: HPET_PAGE_4K,
    }),
  );
}
