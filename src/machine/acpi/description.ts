/** What the tables say about a machine. Everything that is not here is the PC of `platform.ts`. */
import { HPET_BLOCK_ID, IO_APIC, IRQ, PM, PORTS } from "../platform.ts";

export interface UartDescription {
  /** First of eight ports. */
  readonly base: number;
  readonly irq: number;
}

export interface AcpiDescription {
  /** RAM from address 0, in bytes; PCI memory windows begin here. */
  readonly ramBytes: number;
  /** Local APICs 0 to cpuCount - 1. */
  readonly cpuCount: number;
  /** First port of the fixed hardware block. */
  readonly pmBase: number;
  readonly sciIrq: number;
  /** The machine has a GPE0 block behind the PM block. */
  readonly gpe0: boolean;
  readonly ioApicId: number;
  readonly uarts: readonly UartDescription[];
  /** The machine has an HPET with these capabilities (low dword of its first register). */
  readonly hpet: { readonly blockId: number } | undefined;
  /** The machine has a fw_cfg interface. */
  readonly fwCfg: boolean;
}

/** The machine as `platform.ts` has it. */
export function describePlatform(ramBytes: number, cpuCount: number): AcpiDescription {
  return {
    ramBytes,
    cpuCount,
    pmBase: PM.base,
    sciIrq: PM.sciIrq,
    gpe0: true,
    ioApicId: IO_APIC.id,
    uarts: [{ base: PORTS.com1.base, irq: IRQ.com1 }],
    hpet: { blockId: HPET_BLOCK_ID },
    fwCfg: true,
  };
}
