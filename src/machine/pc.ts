import type { DeviceSet } from "../device/device-set.ts";
import type { InterruptLines } from "../device/interrupt-lines.ts";
import { assignPciResources } from "../device/pci/assign.ts";
import type { PciBus } from "../device/pci/bus.ts";
import type { BlockStorage } from "../device/storage.ts";
import { type AcpiPm, acpiPm } from "../devices/acpi-pm.ts";
import { type CoprocessorError, coprocessorError } from "../devices/coprocessor-error.ts";
import { debugConsole } from "../devices/debug-console.ts";
import { debugExit } from "../devices/debug-exit.ts";
import { fwCfg } from "../devices/fw-cfg.ts";
import { hpet } from "../devices/hpet.ts";
import { type I8042, i8042 } from "../devices/i8042.ts";
import { piixIde } from "../devices/ide/piix-ide.ts";
import { ioApic } from "../devices/io-apic.ts";
import type { LocalApicCpu } from "../devices/local-apic.ts";
import { type LocalApics, localApics } from "../devices/local-apics.ts";
import { type PciHost, pciHost, type ShadowSegment } from "../devices/pci-host.ts";
import { pic8259 } from "../devices/pic8259.ts";
import { pit8254 } from "../devices/pit8254.ts";
import { postCode } from "../devices/post-code.ts";
import { cmosMemorySize, rtc } from "../devices/rtc-mc146818.ts";
import { systemControlA } from "../devices/system-control-a.ts";
import { type Uart, uart16550 } from "../devices/uart16550.ts";
import { PHYSICAL_ADDRESS_BITS } from "./firmware.ts";
import { firmwareFiles } from "./firmware-files.ts";
import { wireInterrupts } from "./interrupt-wiring.ts";
import { IO_APIC, IRQ, MMIO, PCI_INTERRUPTS, PCI_MEMORY_END, PM, PORTS } from "./platform.ts";

export interface PcOptions {
  readonly ramBytes: number;
  readonly cpus: readonly LocalApicCpu[];
  /** COM1's wire out. */
  readonly transmit: (byte: number) => void;
  /** Ports E9h and 402h. */
  readonly debugOutput: (byte: number) => void;
  /** What lies in the BIOS area. */
  readonly shadow: (segments: readonly ShadowSegment[]) => void;
  /** IGNNE# of the processor. */
  readonly ignoreFloatError: () => void;
  /** fw_cfg files by name. */
  readonly files?: Readonly<Record<string, Uint8Array>>;
  /** IDE disks; without any there is no controller. */
  readonly disks: readonly BlockStorage[];
}

/** The devices of the PC that the machine itself talks to. */
export interface Pc {
  readonly uart: Uart;
  readonly keyboard: I8042;
  readonly power: AcpiPm;
  readonly apics: LocalApics;
  readonly coprocessorError: CoprocessorError;
  readonly hostBridge: PciHost;
  /** What firmware would do before it starts an operating system. */
  assignResources(): void;
}

/** Lines to the 8259A pair and the I/O APIC: the ISA interrupts and four for PCI. */
export const GSI_COUNT = IO_APIC.pins;

/** The IDE controller's place, where PCs with its chipset have it. */
const IDE = {
  slot: 1,
  channels: [
    { command: PORTS.ide1, control: PORTS.ide1Control, gsi: IRQ.ide1 },
    { command: PORTS.ide2, control: PORTS.ide2Control, gsi: IRQ.ide2 },
  ],
} as const;

/** Creates every device of the PC and wires them to each other. */
export function buildPc(devices: DeviceSet, lines: InterruptLines, pci: PciBus, options: PcOptions): Pc {
  // The 8259A comes first: at reset it must be there when the others move their lines.
  let apics: LocalApics | undefined;
  const pic = devices.add(pic8259, {
    onOutput: (high) => apics?.setLint(0, high),
    emitOutput: (x) => apics!.emitVirtualWire(x),
  });
  apics = devices.add(localApics, { cpus: options.cpus, pic, physicalAddressBits: PHYSICAL_ADDRESS_BITS });
  const ioapic = devices.add(ioApic, { base: MMIO.ioApic, bus: apics.bus, activeLow: IO_APIC.activeLow });
  wireInterrupts(lines, pic, ioapic);

  const pit = devices.add(pit8254, undefined);
  const clock = devices.add(rtc, { cmos: cmosMemorySize(options.ramBytes) });
  devices.add(hpet, {
    base: MMIO.hpet,
    onLegacyRouting: (active) => {
      pit.connectInterrupt(!active);
      clock.connectInterrupt(!active);
    },
  });
  const uart = devices.add(uart16550, { base: PORTS.com1.base, gsi: IRQ.com1, transmit: options.transmit }, "com1");
  const keyboard = devices.add(i8042, {
    dataPort: PORTS.keyboardData.base,
    commandPort: PORTS.keyboardCommand.base,
    keyboardGsi: IRQ.keyboard,
    mouseGsi: IRQ.mouse,
  });
  const power = devices.add(acpiPm, {
    event: PM.base + PM.event,
    control: PM.base + PM.control,
    timer: PM.base + PM.timer,
    gpe0: { base: PM.base + PM.gpe0, length: PM.gpe0Length },
    sciGsi: PM.sciIrq,
    s5SleepType: PM.s5SleepType,
  });
  const hostBridge = devices.add(pciHost, { shadow: options.shadow });
  devices.add(systemControlA, { port: PORTS.systemControlA.base });
  devices.add(postCode, { port: PORTS.postCode.base });
  devices.add(debugConsole, { port: PORTS.debugConsole.base, output: options.debugOutput });
  devices.add(debugConsole, { port: PORTS.firmwareConsole.base, output: options.debugOutput }, "firmware-console");
  const coprocessor = devices.add(coprocessorError, {
    port: PORTS.coprocessorError.base,
    gsi: IRQ.coprocessor,
    ignore: options.ignoreFloatError,
  });
  devices.add(debugExit, { port: PORTS.debugExit.base });
  const { ramBytes } = options;
  const cpuCount = options.cpus.length;
  devices.add(fwCfg, {
    ramBytes,
    cpuCount,
    files: options.files ?? {},
    machineFiles: () => firmwareFiles(ramBytes, cpuCount),
  });
  const ide = options.disks.length === 0 ? undefined : devices.add(piixIde, { ...IDE, disks: options.disks });
  return {
    uart,
    keyboard,
    power,
    apics,
    coprocessorError: coprocessor,
    hostBridge,
    assignResources: () => {
      ide?.enableChannels();
      assignPciResources(pci, {
        io: { base: 0xc000, end: 0x1_0000 },
        memory: { base: Math.max(options.ramBytes, 0x8000_0000), end: PCI_MEMORY_END },
        interruptLine: (slot, pin) => PCI_INTERRUPTS.picIrqs[PCI_INTERRUPTS.line(slot, pin - 1)]!,
      });
    },
  };
}
