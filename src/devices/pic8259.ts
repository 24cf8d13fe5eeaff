/**
 * A pair of 8259A interrupt controllers as PC chipsets wire them: the slave's INT output drives input 2 of the master,
 * and the edge/level control registers (ELCR) replace the 8259A's LTIM bit.
 *
 * Sources: Intel 8259A data sheet (231468-003); Intel ICH9 data sheet (316972), interrupt controller registers.
 */
import { defineDevice } from "../device/define.ts";
import type { EmitChange, LineChange } from "../device/interrupt-lines.ts";
import { type RawBuilder, raw } from "../device/raw.ts";
import type { Handlers, Registers } from "../device/types.ts";
import type { Expr, Operand } from "../emit/index.ts";
import type { InterruptAcknowledge } from "../io/types.ts";
import { bytePorts } from "./byte-ports.ts";

export interface Pic8259Options {
  /** The master's INT output: to the CPU's INTR, through LINT0 of the local APIC. Called at every change. */
  readonly onOutput: (high: boolean) => void;
  /** How emitted code does `onOutput(true)`. */
  readonly emitOutput?: (x: RawBuilder) => LineChange;
}

export interface Pic8259 extends InterruptAcknowledge {
  /** Level of input `irq` (0..15). Input 2 is the cascade: what the board says about it is ignored. */
  setInput(irq: number, high: boolean): void;
  /** How emitted code does the same; `undefined` for the slave's inputs and the cascade. */
  emitInput(irq: number): EmitChange | undefined;
  /**
   * The CPU's INTA cycles: the vector of the highest request, which goes in service. When the request has gone away, the
   * vector of IRQ 7 (or 15), with nothing in service: the "default IR7" of the data sheet.
   */
  acknowledge(): number;
  /** Level of the master's INT output. */
  readonly intr: boolean;
}

/** ICW1 and the bits that tell the command words at A0 = 0 apart (8259A, figures 7 and 8). */
const ICW1 = { icw4Needed: 0x01, single: 0x02, select: 0x10 } as const;
const OCW3_SELECT = 0x08;
/** ICW4 (8259A, figure 7). Buffered mode (08h, 04h) is about bus drivers; the 8086 bit is always meant on a PC. */
const ICW4 = { autoEoi: 0x02, specialFullyNested: 0x10 } as const;
/** OCW3 (8259A, figure 8). */
const OCW3 = { readSelect: 0x03, readIrr: 0x02, readIsr: 0x03, poll: 0x04, specialMask: 0x20, enableSpecialMask: 0x40 };

/** What OCW2 bits 7..5 (R, SL, EOI) ask for (8259A, figure 8). 2 is no operation. */
const OCW2 = {
  clearRotateOnAutoEoi: 0,
  nonSpecificEoi: 1,
  specificEoi: 3,
  setRotateOnAutoEoi: 4,
  rotateOnNonSpecificEoi: 5,
  setPriority: 6,
  rotateOnSpecificEoi: 7,
} as const;

/** The two OCW2 bytes that drivers send all the time. The level of a specific EOI is in the low three bits. */
const RAW_OCW2 = { nonSpecificEoi: 0x20, specificEoi: 0x60 } as const;

/** The master's input that the slave drives. */
const CASCADE = 2;
/** Inputs that may be level-triggered: not 0, 1, 2 (master) and 8, 13 (slave): ICH9, ELCR1 and ELCR2. */
const ELCR_WRITABLE = [0xf8, 0xde];

/** One 8259A. All zero is the state after reset. */
const CHIP = {
  /** Requests: latched edges of inputs that are still high, levels of level-triggered ones. */
  irr: "u8",
  isr: "u8",
  imr: "u8",
  inputs: "u8",
  elcr: "u8",
  /** ICW2: bits 7..3 of the vectors. */
  vectorBase: "u8",
  /** The level with the highest priority; the one below it, modulo 8, has the lowest. */
  first: "u8",
  /** The initialization word that the next write at A0 = 1 is (2, 3, 4), or 0. */
  expected: "u8",
  icw1: "u8",
  autoEoi: "u8",
  rotateOnAutoEoi: "u8",
  specialMask: "u8",
  specialFullyNested: "u8",
  /** A read at A0 = 0 gives the ISR instead of the IRR. */
  readIsr: "u8",
  /** The next read is a poll. */
  poll: "u8",
  /** Has been through an initialization sequence; INT stays low before ("must be brought to a starting point"). */
  ready: "u8",
  output: "u8",
} as const;

class Chip {
  readonly registers: Registers<typeof CHIP>;
  private readonly master: boolean;
  private readonly onOutput: (high: boolean) => void;

  constructor(registers: Registers<typeof CHIP>, master: boolean, onOutput: (high: boolean) => void) {
    this.registers = registers;
    this.master = master;
    this.onOutput = onOutput;
  }

  /**
   * An edge-triggered request lives until it is acknowledged or its input falls ("the IR inputs must remain high until
   * after the falling edge of the first INTA"); a level-triggered one is the level.
   */
  setInput(level: number, high: boolean): void {
    const r = this.registers;
    const bit = 1 << level;
    if (high) {
      if (r.elcr & bit || !(r.inputs & bit)) r.irr |= bit;
      r.inputs |= bit;
    } else {
      r.inputs &= ~bit;
      r.irr &= ~bit;
    }
    this.update();
  }

  /**
   * `setInput` in emitted code, unless a request is withdrawn, or priorities are not the usual ones where they matter.
   * `emitOutput`: as INT rises.
   */
  emitInput(x: RawBuilder, level: number, high: Expr, emitOutput: (x: RawBuilder) => LineChange): LineChange {
    const r = this.registers;
    const bit = 1 << level;
    const inputs = x.let(x.get(r, "inputs"));
    const irr = x.let(x.get(r, "irr"));
    const withdrawn = x.gtU(x.and(irr, bit), x.shl(high, level));
    // Where INT is high it stays so, whoever else requests.
    const silent = x.or(x.or(x.and(x.get(r, "imr"), bit), x.get(r, "output")), x.not(x.get(r, "ready")));
    const usual = x.not(x.or(x.get(r, "first"), x.get(r, "specialMask")));
    const outranked = x.and(x.get(r, "isr"), 2 * bit - 1);
    const matters = x.let(x.and(high, x.not(silent)));
    const rises = x.let(x.and(matters, x.not(outranked)));
    const output = emitOutput(x);
    const refused = x.or(withdrawn, x.or(x.and(matters, x.not(usual)), x.and(rises, output.refused)));
    return {
      refused: x.let(refused),
      apply: () => {
        const edge = x.not(x.and(inputs, bit));
        const requests = x.and(high, x.or(edge, x.ne(x.and(x.get(r, "elcr"), bit), 0)));
        x.set(r, "irr", x.or(irr, x.shl(requests, level)));
        x.set(r, "inputs", x.or(x.and(inputs, ~bit), x.shl(high, level)));
        x.if(rises, () => {
          x.set(r, "output", 1);
          output.apply();
        });
      },
    };
  }

  /** First INTA: the level that goes in service, or -1 when nobody requests. */
  takeRequest(): number {
    const r = this.registers;
    const level = this.pendingLevel();
    if (level >= 0) {
      const bit = 1 << level;
      if (!(r.elcr & bit)) r.irr &= ~bit;
      if (!r.autoEoi) r.isr |= bit;
      else if (r.rotateOnAutoEoi) r.first = (level + 1) & 7;
    }
    // INT goes low during INTA, so that a further request is a new edge for the master.
    this.drive(0);
    this.update();
    return level;
  }

  read(offset: number): number {
    const r = this.registers;
    if (r.poll) {
      r.poll = 0;
      const level = this.takeRequest();
      return level < 0 ? 0 : 0x80 | level;
    }
    if (offset === 1) return r.imr;
    return r.readIsr ? r.isr : r.irr;
  }

  write(offset: number, value: number): void {
    const r = this.registers;
    if (offset === 1) {
      if (r.expected) this.continueInitialization(value);
      else r.imr = value;
    } else if (value & ICW1.select) {
      this.startInitialization(value);
    } else if (value & OCW3_SELECT) {
      this.writeOcw3(value);
    } else {
      this.writeOcw2(value >> 5, value & 7);
    }
    this.update();
  }

  setElcr(value: number): void {
    const r = this.registers;
    r.elcr = value;
    r.irr = (r.irr & ~value) | (r.inputs & value);
    this.update();
  }

  handlers(): Handlers {
    const { read, write } = bytePorts(
      2,
      (offset) => this.read(offset),
      (offset, value) => this.write(offset, value),
    );
    return {
      read: { raw: raw((x) => this.rawRead(x)), ring0: read },
      write: { raw: raw((x) => this.rawWrite(x)), ring0: write },
    };
  }

  private rawRead(x: RawBuilder) {
    const r = this.registers;
    if (x.width !== 1) x.decline();
    x.if(x.get(r, "poll"), () => x.decline());
    return x.select(x.offset, x.get(r, "imr"), x.select(x.get(r, "readIsr"), x.get(r, "isr"), x.get(r, "irr")));
  }

  /**
   * Masks and EOIs while no unmasked request waits (under the old mask or the new
   * one): INT is low then and stays low. Everything else declines.
   */
  private rawWrite(x: RawBuilder): void {
    const r = this.registers;
    if (x.width !== 1) x.decline();
    const value = x.value;
    const unmasked = (mask: Operand) => x.and(x.get(r, "irr"), x.xor(mask, 0xff));
    x.if(x.or(unmasked(x.get(r, "imr")), x.get(r, "expected")), () => x.decline());
    x.if(
      x.offset,
      () => {
        x.if(unmasked(value), () => x.decline());
        x.set(r, "imr", value);
      },
      () => {
        const isr = x.let(x.get(r, "isr"));
        x.if(
          x.eq(value, RAW_OCW2.nonSpecificEoi),
          () => {
            x.if(x.or(x.get(r, "specialMask"), x.get(r, "first")), () => x.decline());
            x.set(r, "isr", x.and(isr, x.sub(isr, 1)));
          },
          () => {
            x.if(x.ne(x.and(value, 0xf8), RAW_OCW2.specificEoi), () => x.decline());
            x.set(r, "isr", x.and(isr, x.xor(x.shl(1, x.and(value, 7)), 0xff)));
          },
        );
      },
    );
  }

  /** What ICW1 does by itself: 8259A, "Initialization Command Words 1 and 2", items a to f. */
  private startInitialization(icw1: number): void {
    const r = this.registers;
    r.icw1 = icw1;
    r.expected = 2;
    r.ready = 0;
    r.irr = r.inputs & r.elcr;
    r.isr = 0;
    r.imr = 0;
    r.first = 0;
    r.specialMask = 0;
    r.readIsr = 0;
    r.poll = 0;
    r.autoEoi = 0;
    r.rotateOnAutoEoi = 0;
    r.specialFullyNested = 0;
  }

  private continueInitialization(value: number): void {
    const r = this.registers;
    const last = r.icw1 & ICW1.icw4Needed ? 4 : r.icw1 & ICW1.single ? 2 : 3;
    const word = r.expected;
    if (word === 2) r.vectorBase = value & 0xf8;
    // ICW3 names the cascade input; chipsets wire it to input 2 whatever is written.
    if (word === 4) {
      r.autoEoi = value & ICW4.autoEoi;
      r.specialFullyNested = value & ICW4.specialFullyNested;
    }
    if (word === last) {
      r.expected = 0;
      r.ready = 1;
    } else {
      r.expected = word === 2 && r.icw1 & ICW1.single ? 4 : word + 1;
    }
  }

  private writeOcw2(command: number, level: number): void {
    const r = this.registers;
    switch (command) {
      case OCW2.clearRotateOnAutoEoi:
        r.rotateOnAutoEoi = 0;
        break;
      case OCW2.setRotateOnAutoEoi:
        r.rotateOnAutoEoi = 1;
        break;
      case OCW2.nonSpecificEoi:
      case OCW2.rotateOnNonSpecificEoi: {
        // In special mask mode a masked level is not cleared: 8259A, "End of Interrupt (EOI)".
        const inService = this.highest(r.specialMask ? r.isr & ~r.imr : r.isr);
        if (inService < 0) break;
        r.isr &= ~(1 << inService);
        if (command === OCW2.rotateOnNonSpecificEoi) r.first = (inService + 1) & 7;
        break;
      }
      case OCW2.specificEoi:
        r.isr &= ~(1 << level);
        break;
      case OCW2.rotateOnSpecificEoi:
        r.isr &= ~(1 << level);
        r.first = (level + 1) & 7;
        break;
      case OCW2.setPriority:
        r.first = (level + 1) & 7;
        break;
    }
  }

  private writeOcw3(value: number): void {
    const r = this.registers;
    if (value & OCW3.enableSpecialMask) r.specialMask = value & OCW3.specialMask;
    const select = value & OCW3.readSelect;
    if (select === OCW3.readIsr) r.readIsr = 1;
    if (select === OCW3.readIrr) r.readIsr = 0;
    r.poll = value & OCW3.poll;
  }

  /** The level of highest priority in a set, or -1. */
  private highest(set: number): number {
    if (set === 0) return -1;
    const { first } = this.registers;
    // Twice in a row, the set holds all levels from `first` on in the order of their priorities.
    const ordered = (set | (set << 8)) >> first;
    return (first + 31 - Math.clz32(ordered & -ordered)) & 7;
  }

  /** The request that may interrupt now: unmasked, and above everything in service. */
  private pendingLevel(): number {
    const r = this.registers;
    const requests = r.irr & ~r.imr;
    if (requests === 0 || !r.ready) return -1;
    const level = this.highest(requests);
    const inService = this.highest(r.specialMask ? r.isr & ~r.imr : r.isr);
    if (inService < 0) return level;
    if (level === inService) {
      // Special fully nested mode: a slave in service does not lock out its own higher requests.
      return this.master && r.specialFullyNested && level === CASCADE ? level : -1;
    }
    return ((level - r.first) & 7) < ((inService - r.first) & 7) ? level : -1;
  }

  private update(): void {
    this.drive(this.pendingLevel() >= 0 ? 1 : 0);
  }

  private drive(output: 0 | 1): void {
    const r = this.registers;
    if (r.output === output) return;
    r.output = output;
    this.onOutput(output === 1);
  }
}

export const pic8259 = defineDevice("pic8259", (host, options: Pic8259Options): Pic8259 => {
  const master = new Chip(host.registers(CHIP), true, options.onOutput);
  const slave = new Chip(host.registers(CHIP), false, (high) => master.setInput(CASCADE, high));
  const chips = [master, slave];

  chips.forEach((chip, index) => {
    host.ports({ base: index === 0 ? 0x20 : 0xa0, length: 2 }, chip.handlers());
  });
  host.ports(
    { base: 0x4d0, length: 2 },
    bytePorts(
      2,
      (offset) => chips[offset].registers.elcr,
      (offset, value) => chips[offset].setElcr(value & ELCR_WRITABLE[offset]),
    ),
  );
  host.onReset(() => options.onOutput(false));

  const { emitOutput } = options;

  return {
    setInput(irq, high) {
      if (irq >= 8) slave.setInput(irq & 7, high);
      else if (irq !== CASCADE) master.setInput(irq, high);
    },
    emitInput(irq) {
      if (irq >= 8 || irq === CASCADE || emitOutput === undefined) return undefined;
      return (x, high) => master.emitInput(x, irq, high, emitOutput);
    },
    acknowledge() {
      const level = master.takeRequest();
      if (level !== CASCADE || master.registers.icw1 & ICW1.single) {
        return master.registers.vectorBase | (level < 0 ? 7 : level);
      }
      const slaveLevel = slave.takeRequest();
      return slave.registers.vectorBase | (slaveLevel < 0 ? 7 : slaveLevel);
    },
    get intr() {
      return master.registers.output === 1;
    },
  };
});
