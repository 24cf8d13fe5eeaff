/** Local vector table of a local APIC: what its own sources deliver, and the LINT pins. Intel SDM volume 3, 11.5.1. */
import type { CpuPins } from "../io/types.ts";
import { DELIVERY } from "./apic-message-bus.ts";
import { LINT0, LINT1, LVT, LVT_COUNT, LVT_WRITABLE } from "./local-apic-registers.ts";

/** What the entries act on. */
export interface LocalInterruptSink {
  /** A fixed interrupt; false when it is not accepted. */
  accept(vector: number, level: boolean): boolean;
  init(): void;
}

export class LocalVectorTable {
  readonly entries = new Uint32Array(LVT_COUNT);
  private readonly sink: LocalInterruptSink;
  private readonly pins: CpuPins;

  constructor(sink: LocalInterruptSink, pins: CpuPins) {
    this.sink = sink;
    this.pins = pins;
  }

  reset(): void {
    this.entries.fill(LVT.masked);
  }

  /** While software has the APIC disabled, entries are masked whatever is written: section 11.4.7.2. */
  write(entry: number, value: number, softwareEnabled: boolean): void {
    const kept = this.entries[entry] & LVT.remoteIrr;
    this.entries[entry] = (value & LVT_WRITABLE[entry]) | kept | (softwareEnabled ? 0 : LVT.masked);
  }

  vector(entry: number): number {
    return this.entries[entry] & LVT.vector;
  }

  isMasked(entry: number): boolean {
    return (this.entries[entry] & LVT.masked) !== 0;
  }

  /** A local source has an event. */
  signal(entry: number): void {
    if (this.isMasked(entry)) return;
    // ExtINT is a level, seen by `passesExtInt`; there is no SMM for SMI to enter.
    const delivery = this.delivery(entry);
    if (delivery === DELIVERY.fixed) this.sink.accept(this.vector(entry), false);
    else if (delivery === DELIVERY.nmi) this.pins.nmi();
    else if (delivery === DELIVERY.init) this.sink.init();
  }

  /** Pin LINT0 or LINT1 has changed. */
  pinChanged(pin: 0 | 1, high: boolean): void {
    const entry = pin === 0 ? LINT0 : LINT1;
    if (pin === 0 && this.lint0IsLevel) this.updateLint0(high);
    else if (this.isAsserted(entry, high)) this.signal(entry);
  }

  /** LINT0, at this level, lets a request of the 8259A through. */
  passesExtInt(high: boolean): boolean {
    return !this.isMasked(LINT0) && this.delivery(LINT0) === DELIVERY.extInt && this.isAsserted(LINT0, high);
  }

  /** Requests again while the level of LINT0 stays and its last interrupt has ended. */
  updateLint0(high: boolean): void {
    const { entries } = this;
    if (!this.lint0IsLevel) {
      entries[LINT0] &= ~LVT.remoteIrr;
    } else if (this.isAsserted(LINT0, high) && (entries[LINT0] & (LVT.masked | LVT.remoteIrr)) === 0) {
      if (this.sink.accept(this.vector(LINT0), true)) entries[LINT0] |= LVT.remoteIrr;
    }
  }

  /** The end of a level-triggered interrupt; `lint0`: the pin's level. */
  endOfInterrupt(vector: number, lint0: boolean): void {
    if ((this.entries[LINT0] & LVT.remoteIrr) === 0 || this.vector(LINT0) !== vector) return;
    this.entries[LINT0] &= ~LVT.remoteIrr;
    this.updateLint0(lint0);
  }

  private isAsserted(entry: number, high: boolean): boolean {
    return high !== ((this.entries[entry] & LVT.activeLow) !== 0);
  }

  private delivery(entry: number): number {
    return (this.entries[entry] >> LVT.deliveryShift) & 7;
  }

  /** LINT0 as a level-triggered fixed interrupt; LINT1 is always edge-triggered. */
  private get lint0IsLevel(): boolean {
    return (this.entries[LINT0] & LVT.level) !== 0 && this.delivery(LINT0) === DELIVERY.fixed;
  }
}
