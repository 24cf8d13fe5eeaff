/** 16550A UART. National Semiconductor PC16550D data sheet (June 1995); section and table numbers are its own. */

import { defineDevice } from "../device/define.ts";
import { changeLine } from "../device/interrupt-lines.ts";
import { type RawBuilder, raw } from "../device/raw.ts";
import { savedCount, savedCounts } from "../device/saved.ts";
import type { DeviceHost } from "../device/types.ts";
import type { Expr, Operand } from "../emit/index.ts";
import { bytePorts } from "./byte-ports.ts";

/** Register offsets, table II. Offsets 0 and 1 are the divisor latch while LCR.divisorLatch is set. */
const REGISTER = { data: 0, ier: 1, iir: 2, fcr: 2, lcr: 3, mcr: 4, lsr: 5, msr: 6, scratch: 7 } as const;
const LENGTH = 8;

/** Interrupt enable register, 8.7. The upper half always reads as zero. */
const IER = { received: 1 << 0, thrEmpty: 1 << 1, lineStatus: 1 << 2, modemStatus: 1 << 3, all: 0x0f } as const;

/** Interrupt identification register, 8.6: table IV, in falling priority. */
const IIR = { lineStatus: 0x06, received: 0x04, timeout: 0x0c, thrEmpty: 0x02, modemStatus: 0x00, none: 0x01 } as const;
const IIR_FIFOS_ENABLED = 0xc0;
const IIR_CAUSE = 0x0f;

/** FIFO control register, 8.5. */
const FCR = { enable: 1 << 0, clearReceiver: 1 << 1, clearTransmitter: 1 << 2 } as const;
/** Receiver FIFO trigger levels by FCR bits 7:6. */
const TRIGGER_LEVELS = [1, 4, 8, 14] as const;
const FIFO_SIZE = 16;

/** Line control register, 8.1. */
const LCR = { wordLength: 3, twoStopBits: 1 << 2, parity: 1 << 3, divisorLatch: 1 << 7 } as const;

/** Modem control register, 8.8. */
const MCR = { dtr: 1 << 0, rts: 1 << 1, out1: 1 << 2, out2: 1 << 3, loop: 1 << 4, all: 0x1f } as const;

/** Line status register, 8.4. */
const LSR = {
  dataReady: 1 << 0,
  overrun: 1 << 1,
  parityError: 1 << 2,
  framingError: 1 << 3,
  breakInterrupt: 1 << 4,
  thrEmpty: 1 << 5,
  transmitterEmpty: 1 << 6,
  errorInFifo: 1 << 7,
} as const;
/** Error bits that belong to one received character and show while it is at the top of the FIFO. */
const CHARACTER_ERRORS = LSR.parityError | LSR.framingError | LSR.breakInterrupt;
const LINE_STATUS_CAUSES = CHARACTER_ERRORS | LSR.overrun;

/** Modem status register, 8.9: deltas below, line states above. */
const MSR = {
  ctsChanged: 1,
  dsrChanged: 2,
  ringEnded: 4,
  dcdChanged: 8,
  cts: 16,
  dsr: 32,
  ring: 64,
  dcd: 128,
} as const;
const MSR_DELTAS = 0x0f;
const MSR_LINES = 0xf0;

/** The PC's crystal: 1.8432 MHz; a bit lasts 16 * divisor of its cycles (table III). */
const CRYSTAL_HZ = 1_843_200;
/** The divisor is undefined after power-on; 9600 baud is what PC firmware leaves. */
const POWER_ON_DIVISOR = 12;
/** A receiver time-out comes after four character times without traffic, 8.11. */
const TIMEOUT_CHARACTERS = 4;

/** In the input queue: not a byte but a break condition. */
const BREAK = 0x100;

export interface UartOptions {
  /** First of eight ports; COM1 is 3F8h. */
  readonly base: number;
  /** Interrupt line; COM1 is 4. */
  readonly gsi: number;
  /** The wire out: called once for each transmitted byte, at once (the wire is infinitely fast). */
  readonly transmit: (byte: number) => void;
}

export interface ModemInputs {
  readonly cts?: boolean;
  readonly dsr?: boolean;
  readonly ring?: boolean;
  readonly dcd?: boolean;
}

export interface Uart {
  /** Bytes from the other end. They wait without limit and enter the receiver as the guest makes room. */
  receive(bytes: ArrayLike<number>): void;
  /** The other end holds the line in the space state for longer than a character. */
  receiveBreak(): void;
  /** Modem inputs as the other end drives them; what is left out stays as it is. At power-on CTS, DSR and DCD are on. */
  setModemInputs(inputs: ModemInputs): void;
  /** Bytes given to `receive` that the guest has not yet read. */
  readonly backlog: number;
  /** Modem outputs. */
  readonly dtr: boolean;
  readonly rts: boolean;
}

/**
 * Timing: a byte written to the transmitter leaves before the write ends, so THRE and TEMT always read as ones; the
 * THRE interrupt is an event all the same, raised anew by each byte that leaves and by each enabling.
 */
function create(host: DeviceHost, options: UartOptions): Uart {
  const { base, gsi, transmit } = options;
  const line = host.interrupt(gsi);

  // `iir`, `lsr` and `msr` always hold what a read of the register would give.
  const r = host.registers({
    ier: "u8",
    iir: "u8",
    lcr: "u8",
    mcr: "u8",
    lsr: "u8",
    msr: "u8",
    fifoEnabled: "u8",
    trigger: "u8",
    thrEmptyPending: "u8",
    timeoutPending: "u8",
    /** The receiver's cause, allowed or not: received, time-out, or 0. */
    receiverCause: "u8",
  });
  // Neither of them is touched by the reset pin (table I).
  const kept = host.registers({ divisor: "u16", scratch: "u8", modemInputs: "u8" }, { keepOnReset: true });

  // Receiver FIFO (a ring); without FIFO mode only one place of it is used: the receiver buffer register.
  const fifo = new Uint8Array(FIFO_SIZE);
  const fifoErrors = new Uint8Array(FIFO_SIZE);
  let head = 0;
  let count = 0;
  let lastRead = 0;
  let queue: number[] = [];
  let queueHead = 0;
  const timeout = host.timer(() => {
    r.timeoutPending = 1;
    update();
  });

  function characterNs(): number {
    const wordBits = 5 + (r.lcr & LCR.wordLength);
    const stopBits = (r.lcr & LCR.twoStopBits) === 0 ? 1 : wordBits === 5 ? 1.5 : 2;
    const bits = 1 + wordBits + ((r.lcr & LCR.parity) !== 0 ? 1 : 0) + stopBits;
    return Math.ceil((bits * 16 * Math.max(kept.divisor, 1) * 1e9) / CRYSTAL_HZ);
  }

  /** Recomputes line status, identification and the interrupt line from the state. */
  function update(): void {
    let lsr = LSR.thrEmpty | LSR.transmitterEmpty | (r.lsr & LSR.overrun);
    if (count > 0) lsr |= LSR.dataReady | fifoErrors[head];
    if (r.fifoEnabled !== 0 && errorsInFifo()) lsr |= LSR.errorInFifo;
    r.lsr = lsr;
    if (count >= (r.fifoEnabled !== 0 ? r.trigger : 1)) r.receiverCause = IIR.received;
    else r.receiverCause = r.timeoutPending !== 0 ? IIR.timeout : 0;

    let cause: number = IIR.none;
    if ((r.ier & IER.lineStatus) !== 0 && (lsr & LINE_STATUS_CAUSES) !== 0) cause = IIR.lineStatus;
    else if ((r.ier & IER.received) !== 0 && r.receiverCause !== 0) cause = r.receiverCause;
    else if ((r.ier & IER.thrEmpty) !== 0 && r.thrEmptyPending !== 0) cause = IIR.thrEmpty;
    else if ((r.ier & IER.modemStatus) !== 0 && (r.msr & MSR_DELTAS) !== 0) cause = IIR.modemStatus;
    r.iir = cause | (r.fifoEnabled !== 0 ? IIR_FIFOS_ENABLED : 0);

    // The PC gates the chip's INTR pin with OUT2, which loopback forces inactive (8.8).
    const gate = (r.mcr & (MCR.out2 | MCR.loop)) === MCR.out2;
    line.set(gate && cause !== IIR.none);
  }

  /** Emits what `update` does when these two have changed. Declines where the line's change is one for TypeScript. */
  function emitUpdate(x: RawBuilder, interrupts: Expr, thrEmptyPending: Expr): void {
    const when = (enable: number, condition: Expr, cause: Operand, otherwise: Operand) =>
      x.select(x.and(x.ne(x.and(interrupts, enable), 0), x.ne(condition, 0)), cause, otherwise);
    const receiver = x.let(x.get(r, "receiverCause"));
    const byModem = when(IER.modemStatus, x.and(x.get(r, "msr"), MSR_DELTAS), IIR.modemStatus, IIR.none);
    const byTransmitter = when(IER.thrEmpty, thrEmptyPending, IIR.thrEmpty, byModem);
    const byReceiver = when(IER.received, receiver, receiver, byTransmitter);
    const errors = x.and(x.get(r, "lsr"), LINE_STATUS_CAUSES);
    const cause = x.let(when(IER.lineStatus, errors, IIR.lineStatus, byReceiver));
    const gate = x.eq(x.and(x.get(r, "mcr"), MCR.out2 | MCR.loop), MCR.out2);
    const change = changeLine(x, line, x.and(gate, x.ne(cause, IIR.none)));
    x.if(change.refused, () => x.decline());
    x.set(r, "ier", interrupts);
    x.set(r, "thrEmptyPending", thrEmptyPending);
    x.set(r, "iir", x.or(cause, x.and(x.get(r, "iir"), IIR_FIFOS_ENABLED)));
    change.apply();
  }

  /** See `writeInterruptEnable`. */
  function emitInterruptEnable(x: RawBuilder): void {
    const interrupts = x.let(x.and(x.value, IER.all));
    const allowed = x.ne(x.and(x.and(interrupts, IER.thrEmpty), x.xor(x.get(r, "ier"), IER.thrEmpty)), 0);
    emitUpdate(x, interrupts, x.let(x.or(x.get(r, "thrEmptyPending"), allowed)));
  }

  function errorsInFifo(): boolean {
    for (let i = 0; i < count; i++) if (fifoErrors[(head + i) % FIFO_SIZE] !== 0) return true;
    return false;
  }

  /** The time-out counts from the last traffic while anything waits; it means something only in FIFO mode. */
  function restartTimeout(): void {
    r.timeoutPending = 0;
    if (r.fifoEnabled !== 0 && count > 0) timeout.set(host.clock.now() + TIMEOUT_CHARACTERS * characterNs());
    else timeout.cancel();
  }

  /** A character has arrived in the receiver shift register. */
  function accept(byte: number, errors: number): void {
    const room = r.fifoEnabled !== 0 ? FIFO_SIZE : 1;
    if (count >= room) {
      r.lsr |= LSR.overrun;
      // A full FIFO keeps its contents; the receiver buffer register is overwritten (8.4).
      if (r.fifoEnabled !== 0) return;
      count = 0;
    }
    const place = (head + count) % FIFO_SIZE;
    fifo[place] = byte;
    fifoErrors[place] = errors;
    count++;
    restartTimeout();
  }

  /** Moves waiting input into the receiver. In loopback the serial input is disconnected. */
  function feed(): void {
    if ((r.mcr & MCR.loop) !== 0) return;
    const room = r.fifoEnabled !== 0 ? FIFO_SIZE : 1;
    while (count < room && queueHead < queue.length) {
      const item = queue[queueHead++];
      if (item === BREAK) accept(0, LSR.breakInterrupt | LSR.framingError);
      else accept(item, 0);
    }
    if (queueHead === queue.length) {
      queue = [];
      queueHead = 0;
    }
  }

  function clearReceiver(): void {
    head = 0;
    count = 0;
    restartTimeout();
  }

  function readData(): number {
    if (count > 0) {
      lastRead = fifo[head];
      head = (head + 1) % FIFO_SIZE;
      count--;
      restartTimeout();
      feed();
      update();
    }
    return lastRead;
  }

  function writeData(byte: number): void {
    r.thrEmptyPending = 0;
    update();
    if ((r.mcr & MCR.loop) === 0) transmit(byte);
    else accept(byte & (0xff >> (3 - (r.lcr & LCR.wordLength))), 0);
    // The byte has left: THR is empty again, which is a new event.
    r.thrEmptyPending = 1;
    update();
  }

  function writeInterruptEnable(value: number): void {
    // Enabling the interrupt while THR is empty raises it at once; drivers test for chips that fail to.
    if ((value & ~r.ier & IER.thrEmpty) !== 0) r.thrEmptyPending = 1;
    r.ier = value & IER.all;
    update();
  }

  function readIdentification(): number {
    const value = r.iir;
    // Reading resets the THRE interrupt, but only if it is the one indicated (table IV).
    if ((value & IIR_CAUSE) === IIR.thrEmpty) {
      r.thrEmptyPending = 0;
      update();
    }
    return value;
  }

  function writeFifoControl(value: number): void {
    const enable = value & FCR.enable;
    // Changing the mode clears both FIFOs; the other bits count only while bit 0 is written as one (8.5). The
    // transmitter's is always empty, so clearing it only repeats the event.
    if (enable !== r.fifoEnabled) {
      r.fifoEnabled = enable;
      clearReceiver();
      r.thrEmptyPending = 1;
    }
    if (enable !== 0) {
      r.trigger = TRIGGER_LEVELS[value >> 6];
      if ((value & FCR.clearReceiver) !== 0) clearReceiver();
      if ((value & FCR.clearTransmitter) !== 0) r.thrEmptyPending = 1;
    }
    feed();
    update();
  }

  function readLineStatus(): number {
    const value = r.lsr;
    if ((value & (LINE_STATUS_CAUSES | LSR.errorInFifo)) !== 0) {
      r.lsr &= ~LSR.overrun;
      if (count > 0) fifoErrors[head] = 0;
      update();
    }
    return value;
  }

  /** The modem lines that MSR shows: the pins, or in loopback the four outputs (8.8). */
  function modemLines(): number {
    if ((r.mcr & MCR.loop) === 0) return kept.modemInputs;
    let lines = 0;
    if ((r.mcr & MCR.rts) !== 0) lines |= MSR.cts;
    if ((r.mcr & MCR.dtr) !== 0) lines |= MSR.dsr;
    if ((r.mcr & MCR.out1) !== 0) lines |= MSR.ring;
    if ((r.mcr & MCR.out2) !== 0) lines |= MSR.dcd;
    return lines;
  }

  function updateModemStatus(): void {
    const lines = modemLines();
    const changed = (lines ^ r.msr) & MSR_LINES;
    let deltas = r.msr & MSR_DELTAS;
    if ((changed & MSR.cts) !== 0) deltas |= MSR.ctsChanged;
    if ((changed & MSR.dsr) !== 0) deltas |= MSR.dsrChanged;
    if ((changed & MSR.dcd) !== 0) deltas |= MSR.dcdChanged;
    // Only the trailing edge of the ring indicator counts.
    if ((changed & MSR.ring) !== 0 && (lines & MSR.ring) === 0) deltas |= MSR.ringEnded;
    r.msr = lines | deltas;
  }

  function readModemStatus(): number {
    const value = r.msr;
    if ((value & MSR_DELTAS) !== 0) {
      r.msr = value & MSR_LINES;
      update();
    }
    return value;
  }

  function read(offset: number): number {
    const divisorLatch = (r.lcr & LCR.divisorLatch) !== 0;
    switch (offset) {
      case REGISTER.data:
        return divisorLatch ? kept.divisor & 0xff : readData();
      case REGISTER.ier:
        return divisorLatch ? kept.divisor >> 8 : r.ier;
      case REGISTER.iir:
        return readIdentification();
      case REGISTER.lcr:
        return r.lcr;
      case REGISTER.mcr:
        return r.mcr;
      case REGISTER.lsr:
        return readLineStatus();
      case REGISTER.msr:
        return readModemStatus();
      default:
        return kept.scratch;
    }
  }

  function write(offset: number, value: number): void {
    const divisorLatch = (r.lcr & LCR.divisorLatch) !== 0;
    switch (offset) {
      case REGISTER.data:
        if (divisorLatch) kept.divisor = (kept.divisor & 0xff00) | value;
        else writeData(value);
        break;
      case REGISTER.ier:
        if (divisorLatch) kept.divisor = (kept.divisor & 0xff) | (value << 8);
        else writeInterruptEnable(value);
        break;
      case REGISTER.fcr:
        writeFifoControl(value);
        break;
      case REGISTER.lcr:
        r.lcr = value;
        break;
      case REGISTER.mcr:
        r.mcr = value & MCR.all;
        updateModemStatus();
        feed();
        update();
        break;
      case REGISTER.scratch:
        kept.scratch = value;
        break;
      // LSR and MSR: writing is for factory tests and does nothing here (8.4, 8.9).
    }
  }

  const ports = bytePorts(LENGTH, read, write);
  host.ports(
    { base, length: LENGTH },
    {
      read: {
        ring0: ports.read,
        // As long as the read changes nothing; the receiver's data is behind it.
        raw: raw((x) => {
          if (x.width !== 1) {
            x.decline();
            return 0;
          }
          const at = (offset: number) => x.eq(x.offset, offset);
          const [lsr, iir, msr] = [x.get(r, "lsr"), x.get(r, "iir"), x.get(r, "msr")].map((value) => x.let(value));
          const lcr = x.get(r, "lcr");
          const divisorLatch = x.and(lcr, LCR.divisorLatch);
          let refused = x.and(at(REGISTER.data), x.not(divisorLatch));
          const refuse = (offset: number, condition: Expr) => {
            refused = x.or(refused, x.and(at(offset), condition));
          };
          refuse(REGISTER.lsr, x.ne(x.and(lsr, LINE_STATUS_CAUSES | LSR.errorInFifo), 0));
          refuse(REGISTER.msr, x.ne(x.and(msr, MSR_DELTAS), 0));
          x.if(refused, () => x.decline());
          x.if(at(REGISTER.iir), () =>
            x.if(x.eq(x.and(iir, IIR_CAUSE), IIR.thrEmpty), () => emitUpdate(x, x.let(x.get(r, "ier")), x.constant(0))),
          );
          const divisor = x.shrU(x.get(kept, "divisor"), x.shl(x.offset, 3));
          const registers: [offset: number, value: Expr][] = [
            [REGISTER.data, divisor],
            [REGISTER.ier, x.select(divisorLatch, divisor, x.get(r, "ier"))],
            [REGISTER.iir, iir],
            [REGISTER.lcr, lcr],
            [REGISTER.mcr, x.get(r, "mcr")],
            [REGISTER.lsr, lsr],
            [REGISTER.msr, msr],
          ];
          return registers.reduceRight(
            (rest, [offset, value]) => x.select(at(offset), value, rest),
            x.get(kept, "scratch"),
          );
        }),
      },
      write: {
        ring0: ports.write,
        raw: raw((x) => {
          if (x.width !== 1) return x.decline();
          const others = () => {
            const divisorLatch = x.and(x.get(r, "lcr"), LCR.divisorLatch);
            x.if(x.or(x.ne(x.offset, REGISTER.ier), divisorLatch), () => x.decline());
            emitInterruptEnable(x);
          };
          x.if(
            x.eq(x.offset, REGISTER.scratch),
            () => x.set(kept, "scratch", x.value),
            () => x.if(x.eq(x.offset, REGISTER.lcr), () => x.set(r, "lcr", x.value), others),
          );
        }),
      },
      readString(offset, buffer, width) {
        if (offset !== REGISTER.scratch || width !== 1) return 0;
        buffer.fill(kept.scratch);
        return buffer.length;
      },
      writeString(offset, buffer, width) {
        if (width !== 1) return 0;
        if (offset === REGISTER.scratch) kept.scratch = buffer[buffer.length - 1];
        else if (offset === REGISTER.data && onlyTransmits()) writeBlock(buffer);
        else return 0;
        return buffer.length;
      },
    },
  );

  /** Bytes written to the data register leave, and nothing is raised in between. */
  function onlyTransmits(): boolean {
    return (r.lcr & LCR.divisorLatch) === 0 && (r.mcr & MCR.loop) === 0 && (r.ier & IER.thrEmpty) === 0;
  }

  function writeBlock(bytes: Uint8Array): void {
    for (const byte of bytes) transmit(byte);
    r.thrEmptyPending = 1;
    update();
  }

  /** Table I: the state after master reset. */
  function reset(): void {
    head = 0;
    count = 0;
    lastRead = 0;
    r.trigger = TRIGGER_LEVELS[0];
    r.msr = kept.modemInputs;
    feed();
    update();
  }
  host.onReset(reset);

  host.state({
    save: () => ({
      fifo: [...fifo],
      fifoErrors: [...fifoErrors],
      head,
      count,
      lastRead,
      queue: queue.slice(queueHead),
    }),
    load: (saved) => {
      fifo.set(saved.fifo);
      fifoErrors.set(saved.fifoErrors);
      head = savedCount("the head of a FIFO", saved.head, FIFO_SIZE - 1);
      count = savedCount("the bytes in a FIFO", saved.count, FIFO_SIZE);
      lastRead = savedCount("the byte last read", saved.lastRead, 0xff);
      queue = savedCounts("what a UART is to receive", saved.queue, Math.max(0xff, BREAK));
      queueHead = 0;
    },
  });

  kept.divisor = POWER_ON_DIVISOR;
  kept.modemInputs = MSR.cts | MSR.dsr | MSR.dcd;
  reset();

  return {
    receive: host.input((bytes: ArrayLike<number>) => {
      for (let i = 0; i < bytes.length; i++) queue.push(bytes[i] & 0xff);
      feed();
      update();
    }),
    receiveBreak: host.input(() => {
      queue.push(BREAK);
      feed();
      update();
    }),
    setModemInputs: host.input((inputs: ModemInputs) => {
      let lines = kept.modemInputs;
      const drive = (on: boolean | undefined, bit: number) => {
        if (on !== undefined) lines = on ? lines | bit : lines & ~bit;
      };
      drive(inputs.cts, MSR.cts);
      drive(inputs.dsr, MSR.dsr);
      drive(inputs.ring, MSR.ring);
      drive(inputs.dcd, MSR.dcd);
      kept.modemInputs = lines;
      updateModemStatus();
      update();
    }),
    get backlog() {
      return queue.length - queueHead + ((r.mcr & MCR.loop) === 0 ? count : 0);
    },
    get dtr() {
      return (r.mcr & (MCR.dtr | MCR.loop)) === MCR.dtr;
    },
    get rts() {
      return (r.mcr & (MCR.rts | MCR.loop)) === MCR.rts;
    },
  };
}

export const uart16550 = defineDevice("uart16550", create, 2);
