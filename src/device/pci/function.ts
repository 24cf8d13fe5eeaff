import { PorticoError } from "../../errors.ts";
import type { InterruptLine, PciBar, PciFunction, PciFunctionOptions } from "../types.ts";
import { BaseAddressRegister, type ClaimRange } from "./bar.ts";
import { COMMAND, CONFIG, ConfigSpace, MULTI_FUNCTION, STATUS } from "./config-space.ts";
import { MSI_CAPABILITY_ID, MSI_CAPABILITY_LENGTH, MsiCapability } from "./msi.ts";
import { MSI_X_CAPABILITY_ID, MSI_X_CAPABILITY_LENGTH, MsiX, type SavedMsiX } from "./msi-x.ts";

/** What a function needs of its host and bus. */
export interface PciFunctionEnvironment {
  /** 256 bytes that the configuration space lives in. */
  readonly configuration: Uint8Array;
  /** The wires that the interrupt pin leads to. */
  readonly lines: readonly InterruptLine[];
  claim(bar: PciBar): ClaimRange;
  msi(address: number, data: number): void;
  /** Decoding has changed: the bus settles who answers where. */
  remap(): void;
}

export interface SavedPciFunction {
  readonly config: Uint8Array;
  readonly requested: boolean;
  readonly msiX?: SavedMsiX;
}

/** A function with a type 0 header. */
export class PciFunctionModel implements PciFunction {
  readonly slot: number;
  readonly function: number;
  readonly bars: readonly BaseAddressRegister[];
  readonly interrupt: InterruptLine;
  private readonly config: ConfigSpace;
  private readonly barByIndex: (BaseAddressRegister | undefined)[];
  private readonly msi: MsiCapability | undefined;
  private readonly msiX: MsiX | undefined;
  private readonly environment: PciFunctionEnvironment;
  private readonly onConfigWrite: PciFunctionOptions["onConfigWrite"];
  private requested = false;

  constructor(slot: number, options: PciFunctionOptions, environment: PciFunctionEnvironment) {
    this.slot = slot;
    this.function = options.function ?? 0;
    this.environment = environment;
    this.config = new ConfigSpace(environment.configuration);
    this.onConfigWrite = options.onConfigWrite?.bind(options);
    const bars = [...(options.bars ?? [])];
    if (options.msiX) {
      this.msiX = new MsiX(options.msiX.vectors, (address, data) => this.send(address, data));
      bars[msiXBar(options)] = this.msiX.bar;
    }
    this.barByIndex = Array.from(
      bars,
      (bar, index) => bar && new BaseAddressRegister(this.config, index, bar, environment.claim(bar)),
    );
    this.bars = this.barByIndex.filter((bar) => bar !== undefined);
    this.defineHeader(options);
    for (const { offset, bytes, writable } of options.registers ?? []) {
      bytes.forEach((byte, i) => {
        this.config.define(offset + i, byte, 1, writable?.[i] ?? 0);
      });
    }
    this.msi = this.defineCapabilities(options);
    this.interrupt = {
      set: (high) => {
        this.requested = high;
        this.driveLines();
      },
      pulse: () => {
        this.interrupt.set(false);
        this.interrupt.set(true);
      },
    };
  }

  private defineHeader(options: PciFunctionOptions): void {
    const { config } = this;
    config.define(CONFIG.vendorId, options.vendorId, 2);
    config.define(CONFIG.deviceId, options.deviceId, 2);
    const decodes = (kind: string) => this.bars.some((bar) => bar.kind === kind);
    config.define(
      CONFIG.command,
      0,
      2,
      (decodes("io") ? COMMAND.io : 0) |
        (decodes("memory") ? COMMAND.memory : 0) |
        COMMAND.busMaster |
        COMMAND.parityResponse |
        COMMAND.serr |
        (options.interruptPin ? COMMAND.interruptDisable : 0),
    );
    config.defineWriteOneToClear(CONFIG.status, STATUS.writeOneToClear, 2);
    config.define(CONFIG.revision, options.revision ?? 0, 1);
    config.define(CONFIG.classCode, options.classCode, 3);
    config.define(CONFIG.cacheLineSize, 0, 1, 0xff);
    config.define(CONFIG.latencyTimer, 0, 1, 0xf8);
    config.define(CONFIG.subsystemVendorId, options.subsystemVendorId ?? 0, 2);
    config.define(CONFIG.subsystemId, options.subsystemId ?? 0, 2);
    config.define(CONFIG.interruptLine, 0, 1, options.interruptPin ? 0xff : 0);
    config.define(CONFIG.interruptPin, options.interruptPin ?? 0, 1);
  }

  /** Places MSI, MSI-X and the others one after the other behind the header (or the device's own registers) and links them. */
  private defineCapabilities(options: PciFunctionOptions): MsiCapability | undefined {
    const { config } = this;
    const used = (options.registers ?? []).map(({ offset, bytes }) => offset + bytes.length);
    let next = (Math.max(CONFIG.deviceSpecific, ...used) + 3) & ~3;
    let link: number = CONFIG.capabilities;
    const place = (id: number, length: number): number => {
      const offset = next;
      next = (next + length + 3) & ~3;
      if (next > CONFIG.size) {
        throw new PorticoError("PCI_CONFIG_FULL", "the capabilities do not fit into 256 bytes of configuration space");
      }
      config.define(link, offset, 1);
      config.define(offset, id, 1);
      link = offset + 1;
      config.define(CONFIG.status, config.get(CONFIG.status, 2) | STATUS.capabilities, 2);
      return offset;
    };
    let msi: MsiCapability | undefined;
    if (options.msiMessages !== undefined) {
      if (![1, 2, 4, 8, 16, 32].includes(options.msiMessages)) {
        throw new PorticoError(
          "PCI_MSI_INVALID",
          `a function sends 1, 2, 4, 8, 16 or 32 messages, not ${options.msiMessages}`,
        );
      }
      msi = new MsiCapability(config, place(MSI_CAPABILITY_ID, MSI_CAPABILITY_LENGTH), options.msiMessages);
    }
    if (this.msiX) {
      this.msiX.define(config, place(MSI_X_CAPABILITY_ID, MSI_X_CAPABILITY_LENGTH), msiXBar(options));
    }
    for (const { id, bytes, writable } of options.capabilities ?? []) {
      const offset = place(id, 2 + bytes.length);
      bytes.forEach((byte, i) => {
        config.define(offset + 2 + i, byte, 1, writable?.[i] ?? 0);
      });
    }
    return msi;
  }

  // --- what the device sees ---------------------------------------------------------------------------------------

  message(index = 0): boolean {
    if (this.msiX?.enabled) {
      this.msiX.request(index);
      return true;
    }
    if (!this.msi?.enabled) return false;
    const { address, data } = this.msi.message(index);
    this.send(address, data);
    return true;
  }

  /** A message is a memory write: a function that may not master the bus cannot send one (PCI 3.0, section 6.8.3). */
  private send(address: number, data: number): void {
    if (this.busMaster) this.environment.msi(address, data);
  }

  get busMaster(): boolean {
    return (this.config.get(CONFIG.command, 2) & COMMAND.busMaster) !== 0;
  }

  barBase(index: number): number | undefined {
    return this.barByIndex[index]?.wanted;
  }

  readConfig(offset: number, width: number): number {
    return this.config.get(offset, width);
  }

  setConfig(offset: number, value: number, width: number): void {
    this.config.set(offset, value, width);
    this.environment.remap();
  }

  // --- what the bus does ------------------------------------------------------------------------------------------

  writeConfig(offset: number, value: number, width: number): void {
    this.config.write(offset, value, width);
    const touches = (from: number, to: number) => offset < to && from < offset + width;
    if (touches(CONFIG.command, CONFIG.status) || touches(CONFIG.bar0, CONFIG.barsEnd)) this.environment.remap();
    // The pin-disable bit, or what enables and masks messages, may have changed.
    this.driveLines();
    this.msiX?.service();
    this.onConfigWrite?.(offset, width);
  }

  setMultiFunction(): void {
    this.config.define(CONFIG.headerType, MULTI_FUNCTION, 1);
  }

  reset(): void {
    this.config.reset();
    this.msiX?.reset();
    this.requested = false;
    this.driveLines();
    this.environment.remap();
  }

  save(): SavedPciFunction {
    const { config, requested, msiX } = this;
    return { config: config.bytes.slice(), requested, ...(msiX && { msiX: msiX.save() }) };
  }

  /** The levels of the wires are restored by the host. */
  load(saved: SavedPciFunction): void {
    this.config.bytes.set(saved.config);
    this.requested = saved.requested;
    if (saved.msiX) this.msiX?.load(saved.msiX);
    this.environment.remap();
  }

  dispose(): void {
    for (const bar of this.bars) bar.dispose();
  }

  private driveLines(): void {
    const { config } = this;
    const status = config.get(CONFIG.status, 2) & ~STATUS.interrupt;
    config.set(CONFIG.status, status | (this.requested ? STATUS.interrupt : 0), 2);
    const disabled = (config.get(CONFIG.command, 2) & COMMAND.interruptDisable) !== 0;
    const high = this.requested && !disabled && !this.msi?.enabled && !this.msiX?.enabled;
    for (const line of this.environment.lines) line.set(high);
  }
}

/** Index of the BAR for MSI-X: the one that was asked for, or the first that is free. Throws `PCI_BAR_INVALID`. */
function msiXBar({ bars = [], msiX }: PciFunctionOptions): number {
  const isFree = (index: number) => {
    const before = bars[index - 1];
    return !bars[index] && !(before?.kind === "memory" && before.wide);
  };
  const indexes = msiX?.bar === undefined ? [0, 1, 2, 3, 4, 5] : [msiX.bar];
  const chosen = indexes.find(isFree);
  if (chosen !== undefined) return chosen;
  throw new PorticoError("PCI_BAR_INVALID", "MSI-X needs a BAR of its own, and there is none left or it is in use");
}
