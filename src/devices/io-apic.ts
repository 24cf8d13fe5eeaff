/** I/O APIC. Intel 82093AA data sheet (290566-001), with the EOI register of version 20h (ICH9 data sheet 316972, EOIR). */
import { defineDevice } from "../device/define.ts";
import type { EmitChange, LineChange } from "../device/interrupt-lines.ts";
import { type RawBuilder, raw } from "../device/raw.ts";
import type { DeviceHost } from "../device/types.ts";
import type { Expr } from "../emit/index.ts";
import type { Ring0Read, Ring0Write } from "../io/types.ts";
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
  /** How emitted code does the same. */
  emitInput(pin: number): EmitChange;
}

function create(host: DeviceHost, options: IoApicOptions): IoApic {
  const { bus } = options;
  const r = host.registers({ select: "u8", id: "u32", inputs: "u32" });
  /** Redirection table: of each pin the low and the high dword. */
  const table = host.words(2 * PINS);

  const isLevel = (pin: number) => {
    const delivery = (table[2 * pin] >> ENTRY.deliveryShift) & 7;
    // The other modes are edge-triggered whatever the bit says: 82093AA, section 3.2.4, "Delivery Mode".
    return (
      (table[2 * pin] & ENTRY.level) !== 0 && (delivery === DELIVERY.fixed || delivery === DELIVERY.lowestPriority)
    );
  };
  const activeLow = options.activeLow ?? 0;
  const isHigh = (pin: number) => ((r.inputs ^ activeLow) & (1 << pin)) !== 0;
  const isAsserted = (pin: number) => isHigh(pin) !== ((table[2 * pin] & ENTRY.activeLow) !== 0);

  function send(pin: number, level: boolean): boolean {
    const entry = table[2 * pin];
    const logical = (entry & ENTRY.logical) !== 0;
    return bus.deliver(
      table[2 * pin + 1] >>> 24,
      logical,
      (entry >> ENTRY.deliveryShift) & 7,
      entry & ENTRY.vector,
      level,
    );
  }

  /** Sends a level-triggered interrupt that is due: asserted, unmasked, and the last one has ended. */
  function serviceLevel(pin: number): void {
    if (!isLevel(pin)) {
      table[2 * pin] &= ~(ENTRY.remoteIrr | ENTRY.pending);
      return;
    }
    table[2 * pin] &= ~ENTRY.pending;
    if (!isAsserted(pin) || (table[2 * pin] & (ENTRY.masked | ENTRY.remoteIrr)) !== 0) return;
    // Set first: the message may come back as an EOI before `send` returns.
    table[2 * pin] |= ENTRY.remoteIrr;
    if (!send(pin, true)) table[2 * pin] = (table[2 * pin] & ~ENTRY.remoteIrr) | ENTRY.pending;
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
    if (isAsserted(pin) && !was && (table[2 * pin] & ENTRY.masked) === 0) send(pin, false);
  }

  /** At a masked pin, or the end of an edge: no message is sent. */
  function emitInput(x: RawBuilder, pin: number, requested: Expr): LineChange {
    const bit = 1 << pin;
    const entry = x.let(x.getWord(table, x.constant(2 * pin)));
    const masked = x.eq(x.and(entry, ENTRY.masked | ENTRY.pending), ENTRY.masked);
    const edge = x.not(x.and(entry, ENTRY.level | ENTRY.activeLow | ENTRY.pending));
    const ends = (activeLow & bit) === 0 ? x.and(x.not(requested), edge) : 0;
    return {
      refused: x.let(x.not(x.or(masked, ends))),
      apply: () => x.set(r, "inputs", x.or(x.and(x.get(r, "inputs"), ~bit), x.shl(requested, pin))),
    };
  }

  function endOfInterrupt(vector: number): void {
    for (let pin = 0; pin < PINS; pin++) {
      const entry = table[2 * pin];
      if ((entry & ENTRY.vector) !== vector || (entry & ENTRY.remoteIrr) === 0) continue;
      table[2 * pin] = entry & ~ENTRY.remoteIrr;
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
    return table[index - INDEX.redirection] ?? 0;
  }

  function writeIndirect(value: number): void {
    const index = r.select;
    if (index === INDEX.id) r.id = value & ID_MASK;
    const pin = (index - INDEX.redirection) >> 1;
    if (pin < 0 || pin >= PINS) return;
    if ((index & 1) !== 0) {
      table[2 * pin + 1] = value & DESTINATION;
      return;
    }
    table[2 * pin] = (table[2 * pin] & ~ENTRY.writable) | (value & ENTRY.writable);
    serviceLevel(pin);
  }

  const read: Ring0Read = (offset) => {
    if (offset === OFFSET.select) return r.select;
    return offset === OFFSET.window ? readIndirect() : 0;
  };
  const write: Ring0Write = (offset, value) => {
    if (offset === OFFSET.select) r.select = value;
    else if (offset === OFFSET.window) writeIndirect(value);
    else if (offset === OFFSET.eoi) endOfInterrupt(value & 0xff);
  };
  host.mmio(
    { base: options.base, length: LENGTH },
    {
      read: { raw: raw((x) => rawRead(x)), ring0: read },
      write: { raw: raw((x) => rawWrite(x)), ring0: write },
    },
    { readMode: "dword", writeMode: "dword-zeroed" },
  );

  /** No read changes anything. */
  function rawRead(x: RawBuilder): Expr {
    const select = x.get(r, "select");
    const entry = x.sub(select, INDEX.redirection);
    const hasId = x.or(x.eq(select, INDEX.id), x.eq(select, INDEX.arbitration));
    const fixed = x.select(hasId, x.get(r, "id"), x.select(x.eq(select, INDEX.version), VERSION, 0));
    const indirect = x.select(x.ltU(entry, 2 * PINS), x.getWord(table, entry), fixed);
    return x.select(x.eq(x.offset, OFFSET.select), select, x.select(x.eq(x.offset, OFFSET.window), indirect, 0));
  }

  /** Selection and destinations: what cannot send a message. */
  function rawWrite(x: RawBuilder): void {
    x.if(
      x.eq(x.offset, OFFSET.select),
      () => x.set(r, "select", x.value),
      () => {
        const entry = x.let(x.sub(x.get(r, "select"), INDEX.redirection));
        const isDestination = x.and(x.ltU(entry, 2 * PINS), entry);
        x.if(x.not(x.and(x.eq(x.offset, OFFSET.window), isDestination)), () => x.decline());
        x.setWord(table, entry, x.and(x.value, DESTINATION));
      },
    );
  }

  bus.connectIoApic({
    endOfInterrupt,
    retry: () => {
      for (let pin = 0; pin < PINS; pin++) if ((table[2 * pin] & ENTRY.pending) !== 0) serviceLevel(pin);
    },
  });

  function reset(): void {
    for (let pin = 0; pin < PINS; pin++) table[2 * pin] = ENTRY.masked;
  }
  reset();
  host.onReset(reset);

  return { setInput, emitInput: (pin) => (x, requested) => emitInput(x, pin, requested) };
}

export const ioApic = defineDevice("io-apic", create, 2);
