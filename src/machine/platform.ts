/**
 * The PC that Portico models: the addresses, lines and sizes that device models, ACPI tables and boot loaders must
 * agree on. A number that two of them need stands here and nowhere else.
 */

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;

/** Guest-physical addresses below 1 MiB. IBM PC/AT technical reference; boot.rst, "Memory layout". */
export const LOW_MEMORY = {
  /** Vectors of real mode (0-3FF) and the BIOS data area (400-4FF). */
  biosDataArea: 0x400,
  /** First byte that neither real-mode vectors nor the BIOS data area use. */
  free: 0x1000,
  /** Extended BIOS data area, 1 KiB: conventional memory ends here. */
  ebda: 0x9_fc00,
  ebdaLength: KIB,
  /** Where video memory begins on a PC; there is none here, and no RAM either. */
  conventionalEnd: 0xa_0000,
  /** The BIOS area that an OS searches for the RSDP, on 16-byte boundaries. ACPI 6.5, section 5.2.5.1. */
  bios: 0xe_0000,
  biosEnd: 0x10_0000,
} as const;

/** RAM lies from 0 to at most here; PCI memory windows and chipset MMIO follow. */
export const RAM_LIMIT = 0xe000_0000;

/** Chipset MMIO. Intel 82093AA, ICH9 and SDM volume 3, section 11.4.1. */
export const MMIO = {
  ioApic: 0xfec0_0000,
  ioApicLength: 0x1000,
  hpet: 0xfed0_0000,
  hpetLength: 0x400,
  localApic: 0xfee0_0000,
  localApicLength: 0x1000,
} as const;

/** PCI BARs lie from the top of RAM to here. */
export const PCI_MEMORY_END = MMIO.ioApic;

/** I/O ports: first port and number of ports. */
export const PORTS = {
  pic1: { base: 0x20, length: 2 },
  pit: { base: 0x40, length: 4 },
  keyboardData: { base: 0x60, length: 1 },
  systemControlB: { base: 0x61, length: 1 },
  keyboardCommand: { base: 0x64, length: 1 },
  rtc: { base: 0x70, length: 2 },
  postCode: { base: 0x80, length: 1 },
  systemControlA: { base: 0x92, length: 1 },
  pic2: { base: 0xa0, length: 2 },
  debugConsole: { base: 0xe9, length: 1 },
  /** Where SeaBIOS and OVMF look for one. */
  firmwareConsole: { base: 0x402, length: 1 },
  coprocessorError: { base: 0xf0, length: 1 },
  debugExit: { base: 0xf4, length: 1 },
  /** Command and control blocks of the IDE channels, at the addresses of the PC/AT. */
  ide2: { base: 0x170, length: 8 },
  ide1: { base: 0x1f0, length: 8 },
  ide2Control: { base: 0x376, length: 1 },
  ide1Control: { base: 0x3f6, length: 1 },
  com1: { base: 0x3f8, length: 8 },
  /** ELCR: level or edge for each input of the two 8259As. */
  edgeLevelControl: { base: 0x4d0, length: 2 },
  /** Selector, data and, from 514h, the DMA address. */
  fwCfg: { base: 0x510, length: 12 },
  /** PCI configuration mechanism 1; byte CF9 of it is the reset control register. */
  pciConfig: { base: 0xcf8, length: 8 },
} as const;

/** Reset control register: a write of 06h is a hard reset. Intel ICH9 data sheet, section 13.7.5 (RST_CNT). */
export const RESET = { port: 0xcf9, value: 0x06 } as const;

/** ACPI fixed hardware. ACPI 6.5, section 4.8.3. */
export const PM = {
  base: 0x600,
  length: 0x40,
  /** Offsets from the base. */
  event: 0x00,
  eventLength: 4,
  control: 0x04,
  controlLength: 2,
  timer: 0x08,
  timerLength: 4,
  gpe0: 0x20,
  gpe0Length: 4,
  /** SLP_TYP of PM1 control that powers the machine off. Not 0, so that a stray SLP_EN does nothing. */
  s5SleepType: 5,
  sciIrq: 9,
} as const;

/** Inputs of the two 8259As that the ISA devices use. */
export const IRQ = {
  timer: 0,
  keyboard: 1,
  com1: 4,
  rtc: 8,
  sci: PM.sciIrq,
  mouse: 12,
  coprocessor: 13,
  ide1: 14,
  ide2: 15,
} as const;

export const IO_APIC = {
  /** The 82093AA's identification register is 0 after reset; nothing programs it before the guest does. */
  id: 0,
  /** Inputs, hence GSIs 0 to 23. */
  pins: 24,
  /** PCI interrupts are wired-OR of open drains: low while one is requested. PCI 3.0, section 2.2.6. */
  activeLow: 0xff_0000,
  /** IRQ 0 arrives here, since input 0 belongs to the 8259A (ExtINT). */
  timerPin: 2,
} as const;

/**
 * PCI interrupts are wired, not programmable. Pin INTA-INTD (0-3) of a slot leads to line (slot - 1 + pin) mod 4, and
 * line n leads to I/O APIC input 16 + n and to the 8259A input `picIrqs[n]` (level-triggered: set in `elcr`). Slots and
 * 8259A inputs are those of QEMU's PC, which SeaBIOS assumes without asking.
 */
export const PCI_INTERRUPTS = {
  gsiBase: 16,
  picIrqs: [10, 10, 11, 11],
  /** The line that pin 0-3 of a slot (0-31) drives. */
  line: (slot: number, pin: number): number => (slot - 1 + pin) & 3,
} as const;

/** ELCR as firmware leaves it: the SCI and the PCI interrupts are level-triggered. */
export const ELCR = [IRQ.sci, ...PCI_INTERRUPTS.picIrqs].reduce((bits, irq) => bits | (1 << irq), 0);

/** CMOS byte that holds the century in BCD, as the FADT announces it. */
export const RTC_CENTURY = 0x32;

/**
 * Low dword of the HPET's capabilities: vendor 8086h, legacy routing, 64-bit counter, three comparators, revision 1.
 * IA-PC HPET 1.0a, section 2.3.4.
 */
export const HPET_BLOCK_ID = 0x8086_a201;
/** Fewest ticks between periodic interrupts. IA-PC HPET 1.0a, section 3.2.4. */
export const HPET_MINIMUM_TICK = 100;
