/**
 * The DSDT: what the OS cannot find out by probing. Processors, the PCI root with its windows and interrupt wiring,
 * the devices of the ISA kind, and how to power off. ACPI 6.5, chapters 6, 7 and 9.
 */
import { IRQ, MMIO, PCI_INTERRUPTS, PCI_MEMORY_END, PM, PORTS } from "../platform.ts";
import {
  type Aml,
  argument,
  device,
  eisaId,
  ifTrue,
  integer,
  method,
  nameObject,
  nameString,
  packageOf,
  returnValue,
  scope,
  store,
  string,
} from "./aml.ts";
import type { AcpiDescription } from "./description.ts";
import { busWindow, isaIrq, memory32, memoryWindow, ports, portWindow, resourceTemplate } from "./resources.ts";
import { concat, table } from "./table.ts";

/** Revision 2: integers have 64 bits. ACPI 6.5, section 5.2.11.1. */
const DSDT_REVISION = 2;

export function dsdt(machine: AcpiDescription): Uint8Array {
  return table(
    "DSDT",
    DSDT_REVISION,
    concat([
      // The OS calls _PIC with 1 when it uses the I/O APIC, before it reads _PRT. Section 5.8.1.
      nameObject("PICM", integer(0)),
      method("_PIC", 1, [store(argument(0), nameString("PICM"))]),
      nameObject("_S5", packageOf([integer(PM.s5SleepType), integer(0), integer(0), integer(0)])),
      scope("_SB", [...processors(machine), pciRoot(machine), ...systemDevices(machine)]),
    ]),
  );
}

/** Processor devices; _UID ties them to the MADT's entries. Section 8.4. */
function processors(machine: AcpiDescription): Aml[] {
  return Array.from({ length: machine.cpuCount }, (_, id) =>
    device(`C${id.toString(16).toUpperCase().padStart(3, "0")}`, [
      nameObject("_HID", string("ACPI0007")),
      nameObject("_UID", integer(id)),
    ]),
  );
}

const last = (range: { base: number; length: number }): number => range.base + range.length - 1;

/** Ports that the chipset decodes and never hands down to PCI are cut out of the window. */
function pciRoot(machine: AcpiDescription): Aml {
  const { pciConfig } = PORTS;
  return device("PCI0", [
    nameObject("_HID", eisaId("PNP0A03")),
    nameObject("_UID", integer(0)),
    nameObject("_BBN", integer(0)),
    crs([
      busWindow(0, 0xff),
      ports(pciConfig.base, pciConfig.length),
      portWindow(0, pciConfig.base - 1),
      portWindow(last(pciConfig) + 1, 0xffff),
      memoryWindow(machine.ramBytes, PCI_MEMORY_END - 1),
    ]),
    nameObject(
      "PICR",
      interruptRouting((line) => PCI_INTERRUPTS.picIrqs[line]!),
    ),
    nameObject(
      "APIR",
      interruptRouting((line) => PCI_INTERRUPTS.gsiBase + line),
    ),
    method("_PRT", 0, [ifTrue(nameString("PICM"), [returnValue(nameString("APIR"))]), returnValue(nameString("PICR"))]),
  ]);
}

const PCI_SLOTS = 32;
const PCI_PINS = 4;

/** One package for each pin of each slot: address, pin, source 0 (wired), global interrupt. Section 6.2.13. */
function interruptRouting(interruptOf: (line: number) => number): Aml {
  const entries: Aml[] = [];
  for (let slot = 0; slot < PCI_SLOTS; slot++) {
    for (let pin = 0; pin < PCI_PINS; pin++) {
      const address = slot * 0x1_0000 + 0xffff;
      const interrupt = interruptOf(PCI_INTERRUPTS.line(slot, pin));
      entries.push(packageOf([integer(address), integer(pin), integer(0), integer(interrupt)]));
    }
  }
  return packageOf(entries);
}

const crs = (descriptors: readonly Uint8Array[]): Aml => nameObject("_CRS", resourceTemplate(descriptors));

const hid = (id: string): Aml => nameObject("_HID", eisaId(id));

const range = ({ base, length }: { base: number; length: number }): Uint8Array => ports(base, length);

function systemDevices(machine: AcpiDescription): Aml[] {
  return [
    device("PIC", [
      hid("PNP0000"),
      crs([range(PORTS.pic1), range(PORTS.pic2), range(PORTS.edgeLevelControl), isaIrq(2)]),
    ]),
    device("PIT", [hid("PNP0100"), crs([range(PORTS.pit), isaIrq(IRQ.timer)])]),
    device("SPKR", [hid("PNP0800"), crs([range(PORTS.systemControlB)])]),
    device("RTC", [hid("PNP0B00"), crs([range(PORTS.rtc), isaIrq(IRQ.rtc)])]),
    device("KBD", [
      hid("PNP0303"),
      crs([range(PORTS.keyboardData), range(PORTS.keyboardCommand), isaIrq(IRQ.keyboard)]),
    ]),
    device("MOU", [hid("PNP0F13"), crs([isaIrq(IRQ.mouse)])]),
    ...machine.uarts.map((uart, index) =>
      device(`COM${index + 1}`, [
        hid("PNP0501"),
        nameObject("_UID", integer(index + 1)),
        crs([ports(uart.base, PORTS.com1.length), isaIrq(uart.irq)]),
      ]),
    ),
    ...(machine.hpet ? [device("HPET", [hid("PNP0103"), crs([memory32(MMIO.hpet, MMIO.hpetLength, false)])])] : []),
    ...(machine.fwCfg ? [device("FWCF", [nameObject("_HID", string("QEMU0002")), crs([range(PORTS.fwCfg)])])] : []),
    device("MBRD", [hid("PNP0C02"), crs(motherboard(machine))]),
  ];
}

/** What no other device claims, so that the OS places nothing there. */
function motherboard(machine: AcpiDescription): Uint8Array[] {
  return [
    range(PORTS.postCode),
    range(PORTS.systemControlA),
    range(PORTS.debugConsole),
    range(PORTS.debugExit),
    ports(machine.pmBase, PM.length),
    memory32(MMIO.ioApic, MMIO.ioApicLength, true),
    memory32(MMIO.localApic, MMIO.localApicLength, true),
  ];
}
