import { PorticoError } from "../../errors.ts";
import type { PciConfiguration } from "../types.ts";
import type { BaseAddressRegister } from "./bar.ts";
import { CONFIG } from "./config-space.ts";
import type { PciFunctionModel } from "./function.ts";

const SLOTS = 32;
const FUNCTIONS = 8;
const NOBODY = 0xffff_ffff;

/** The wires (GSIs) that interrupt pin 1-4 (INTA-INTD) of a slot leads to. */
export type PciInterruptWiring = (slot: number, pin: number) => readonly number[];

/** Bus 0: which functions there are, and who answers where. */
export class PciBus implements PciConfiguration {
  static readonly WORDS = (SLOTS * FUNCTIONS * CONFIG.size) / 4;
  readonly wiring: PciInterruptWiring;
  /** Configuration space by device and function number, 64 dwords each; all ones where there is no function. */
  readonly words: Uint32Array;
  /** By device and function number. */
  private readonly functions: (PciFunctionModel | undefined)[] = new Array(SLOTS * FUNCTIONS).fill(undefined);

  /** `words`: `PciBus.WORDS` of them, for `words`. */
  constructor(wiring: PciInterruptWiring, words: Uint32Array) {
    this.wiring = wiring;
    this.words = words.fill(NOBODY);
  }

  /** The bytes that the configuration space of a function lives in. */
  configuration(slot: number, functionNumber: number): Uint8Array {
    const { buffer, byteOffset } = this.words;
    return new Uint8Array(buffer, byteOffset + (slot * FUNCTIONS + functionNumber) * CONFIG.size, CONFIG.size);
  }

  /** The slot that was asked for, or the first free one from 1. Throws `PorticoError` `PCI_SLOT_TAKEN`. */
  chooseSlot(slot: number | undefined, functionNumber: number): number {
    if (slot === undefined) {
      for (let free = 1; free < SLOTS; free++) if (!this.isUsed(free)) return free;
      throw new PorticoError("PCI_SLOT_TAKEN", `all ${SLOTS - 1} PCI slots are taken`);
    }
    const inRange = Number.isInteger(slot) && slot >= 0 && slot < SLOTS;
    if (!inRange || !Number.isInteger(functionNumber) || functionNumber < 0 || functionNumber >= FUNCTIONS) {
      throw new PorticoError(
        "PCI_SLOT_INVALID",
        `there is no PCI slot ${slot} function ${functionNumber}: slots go from 0 to 31, functions from 0 to 7`,
      );
    }
    if (this.functions[slot * FUNCTIONS + functionNumber]) {
      throw new PorticoError("PCI_SLOT_TAKEN", `PCI slot ${slot} function ${functionNumber} is already taken`);
    }
    return slot;
  }

  add(added: PciFunctionModel): void {
    this.functions[added.slot * FUNCTIONS + added.function] = added;
    const siblings = this.inSlot(added.slot);
    if (siblings.length > 1) for (const sibling of siblings) sibling.setMultiFunction();
  }

  remove(removed: PciFunctionModel): void {
    this.functions[removed.slot * FUNCTIONS + removed.function] = undefined;
    this.remap();
  }

  /** All functions, by slot and function number. */
  get all(): PciFunctionModel[] {
    return this.functions.filter((f) => f !== undefined);
  }

  /** A configuration read: all ones from functions that are not there. `width` 1, 2 or 4 within one dword. */
  read(bus: number, deviceFunction: number, offset: number, width: number): number {
    const target = bus === 0 ? this.functions[deviceFunction] : undefined;
    return target === undefined ? 2 ** (8 * width) - 1 : target.readConfig(offset, width);
  }

  write(bus: number, deviceFunction: number, offset: number, value: number, width: number): void {
    const target = bus === 0 ? this.functions[deviceFunction] : undefined;
    if (target !== undefined && offset + width <= CONFIG.size) target.writeConfig(offset, value, width);
  }

  /**
   * Settles who answers where after software has changed what functions decode. Where two BARs overlap, the one with
   * the lower slot, function and index answers; the other does not answer at all until the overlap is gone. So the
   * outcome depends on the registers alone, not on how they came about. Ranges outside the bus answer before any BAR.
   */
  remap(): void {
    const bars: BaseAddressRegister[] = this.all.flatMap((f) => f.bars);
    const wanted = bars.map((bar) => bar.wanted);
    bars.forEach((bar, index) => {
      const { mapped } = bar;
      if (mapped === undefined) return;
      const displaced = bars.some((other, earlier) => {
        const base = wanted[earlier];
        return earlier < index && base !== undefined && other.overlaps(base, bar, mapped);
      });
      if (displaced || wanted[index] !== mapped) bar.unmap();
    });
    bars.forEach((bar, index) => {
      const base = wanted[index];
      if (base === undefined || bar.mapped !== undefined) return;
      const taken = bars.some((other) => other.mapped !== undefined && other.overlaps(other.mapped, bar, base));
      if (!taken) bar.map(base);
    });
  }

  private inSlot(slot: number): PciFunctionModel[] {
    return this.functions.slice(slot * FUNCTIONS, (slot + 1) * FUNCTIONS).filter((f) => f !== undefined);
  }

  private isUsed(slot: number): boolean {
    return this.inSlot(slot).length > 0;
  }
}
