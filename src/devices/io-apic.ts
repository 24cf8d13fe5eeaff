/** I/O APIC. Intel 82093AA data sheet (290566-001), with the EOI register of version 20h (ICH9 data sheet 316972, EOIR). */
import { defineDevice } from "../device/define.ts";
import { type ApicMessageBus, DELIVERY } from "./apic-message-bus.ts";

const PINS = 24;

/** Byte offsets in the page. 82093AA, section 3.1; EOI: ICH9. */
const OFFSET = { select: 0x00, window: 0x10, eoi: 0x40 } as const;
const LENGTH = 0x1000;

/** Indirect registers. 82093AA, section 3.2. Two for each pin from `redirection` on. */
const INDEX = { id: 0x00, version: 0x01, arbitration: 0x02, redirection: 0x10 } as const;
const VERSION = ((PINS - 1) << 16) | 0x20;
const ID_MASK = 0x0f00_0000;

/** Redirection table entry, low dword. 82093AA, section 3.2.4. The high one holds the destination in its top byte. */
const ENTRY = {
  vector: 0xff,
  deliveryShift: 8,
  logical: 1 << 11,
  /** The pin is asserted while it is low. */
  activeLow: 1 << 13,
  /** Set while a message waits for a local APIC to accept it. Read-only. */
  pending: 1 << 12,
  /** A level-triggered interrupt was accepted and has not ended. Read-only. */
  remoteIrr: 1 << 14,
  level: 1 << 15,
  masked: 1 << 16,
  writable: 0x1_afff & ~(1 << 12),
} as const;
const DESTINATION = 0xff00_0000;

export interface IoApicOptions {
  /** Guest-physical address of the register page. */
  readonly base: number;
  readonly bus: ApicMessageBus;
  /** Pins whose wires are low while their devices request an interrupt, a bit each. None by default. */
  readonly activeLow?: number;
}

export interface IoApic {
  /**
   * A device at the line of pin 0..23 requests an interrupt, or none does. The wire's level follows from `activeLow`, and
   * whether the pin takes it for an interrupt from the polarity that software has set.
   */
  setInput(pin: number, requested: boolean): void;
}

export const ioApic = defineDevice("io-apic", (host, options: IoApicOptions): IoApic => {
  const { bus } = options;
  const r = host.registers({ select: "u8", id: "u32", inputs: "u32" });
  const low = new Uint32Array(PINS);
  const high = new Uint32Array(PINS);

  const isLevel = (pin: number) => {
    const delivery = (low[pin] >> ENTRY.deliveryShift) & 7;
    // The other modes are edge-triggered whatever the bit says: 82093AA, section 3.2.4, "Delivery Mode".
    return (low[pin] & ENTRY.level) !== 0 && (delivery === DELIVERY.fixed || delivery === DELIVERY.lowestPriority);
  };
  const activeLow = options.activeLow ?? 0;
  const isHigh = (pin: number) => ((r.inputs ^ activeLow) & (1 << pin)) !== 0;
  const isAsserted = (pin: number) => isHigh(pin) !== ((low[pin] & ENTRY.activeLow) !== 0);

  function send(pin: number, level: boolean): boolean {
    const entry = low[pin];
    const logical = (entry & ENTRY.logical) !== 0;
    return bus.deliver(high[pin] >>> 24, logical, (entry >> ENTRY.deliveryShift) & 7, entry & ENTRY.vector, level);
  }

  /** Sends a level-triggered interrupt that is due: asserted, unmasked, and the last one has ended. */
  function serviceLevel(pin: number): void {
    if (!isLevel(pin)) {
      low[pin] &= ~(ENTRY.remoteIrr | ENTRY.pending);
      return;
    }
    low[pin] &= ~ENTRY.pending;
    if (!isAsserted(pin) || (low[pin] & (ENTRY.masked | ENTRY.remoteIrr)) !== 0) return;
    // Set first: the message may come back as an EOI before `send` returns.
    low[pin] |= ENTRY.remoteIrr;
    if (!send(pin, true)) low[pin] = (low[pin] & ~ENTRY.remoteIrr) | ENTRY.pending;
  }

  function setInput(pin: number, requested: boolean): void {
    const bit = 1 << pin;
    const was = isAsserted(pin);
    r.inputs = requested ? r.inputs | bit : r.inputs & ~bit;
    if (isLevel(pin)) {
      serviceLevel(pin);
      return;
    }
    // Edges at a masked pin are lost: 82093AA, section 3.2.4, "Interrupt Mask".
    if (isAsserted(pin) && !was && (low[pin] & ENTRY.masked) === 0) send(pin, false);
  }

  function endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < PINS; pin++) {
      const entry = low[pin];
      if ((entry & ENTRY.vector) !== vector || (entry & ENTRY.remoteIrr) === 0) continue;
      low[pin] = entry & ~ENTRY.remoteIrr;
      serviceLevel(pin);
    }
  }

  function readIndirect(): number {
    const index = r.select;
    switch (index) {
      case INDEX.id:
      case INDEX.arbitration:
        return r.id;
      case INDEX.version:
        return VERSION;
    }
    const pin = (index - INDEX.redirection) >> 1;
    if (pin < 0 || pin >= PINS) return 0;
    return (index & 1) === 0 ? low[pin] : high[pin];
  }

  function writeIndirect(value: number): void {
    const index = r.select;
    if (index === INDEX.id) r.id = value & ID_MASK;
    const pin = (index - INDEX.redirection) >> 1;
    if (pin < 0 || pin >= PINS) return;
    if ((index & 1) !== 0) {
      high[pin] = value & DESTINATION;
      return;
    }
    low[pin] = (low[pin] & ~ENTRY.writable) | (value & ENTRY.writable);
    serviceLevel(pin);
  }

  host.mmio(
    { base: options.base, length: LENGTH },
    {
      read: (offset) => (offset === OFFSET.select ? r.select : offset === OFFSET.window ? readIndirect() : 0),
      write: (offset, value) => {
        if (offset === OFFSET.select) r.select = value;
        else if (offset === OFFSET.window) writeIndirect(value);
        else if (offset === OFFSET.eoi) endOfInterrupt(value & 0xff);
      },
    },
    { readMode: "dword", writeMode: "dword-zeroed" },
  );

  bus.connectIoApic({
    endOfInterrupt,
    retry: () => {
      for (let pin = 0; pin < PINS; pin++) if ((low[pin] & ENTRY.pending) !== 0) serviceLevel(pin);
    },
  });

  function reset(): void {
    low.fill(ENTRY.masked);
    high.fill(0);
  }
  reset();
  host.onReset(reset);
  host.state({
    save: () => ({ low: [...low], high: [...high] }),
    load: (saved) => {
      low.set(saved.low);
      high.set(saved.high);
    },
  });

  return { setInput };
});
