import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { uart16550 } from "./uart16550.ts";

const BASE = 0x3f8;
const GSI = 4;
const [DATA, IER, IIR, LCR, MCR, LSR, MSR, SCRATCH] = [0, 1, 2, 3, 4, 5, 6, 7].map((offset) => BASE + offset);
const FCR = IIR;

function uartUnderTest() {
  const sent: number[] = [];
  const uart = deviceUnderTest(uart16550, { base: BASE, gsi: GSI, transmit: (byte: number) => sent.push(byte) });
  return Object.assign(uart, { sent, level: () => uart.lines.level(GSI) });
}

/** 115200 baud, 8n1, FIFOs with trigger level 8, DTR, RTS and OUT2: what Linux leaves behind. */
function openUart({ fcr = 0x81, ier = 0 } = {}) {
  const uart = uartUnderTest();
  uart.write(LCR, 0x83);
  uart.write(DATA, 1);
  uart.write(IER, 0);
  uart.write(LCR, 0x03);
  uart.write(FCR, fcr);
  uart.write(MCR, 0x0b);
  uart.write(IER, ier);
  return uart;
}

const CHARACTER_NS = (10 * 1e9) / 115_200;

describe("after master reset (PC16550D, table I)", () => {
  it.each([
    ["IER", IER, 0x00],
    ["IIR", IIR, 0x01],
    ["LCR", LCR, 0x00],
    ["MCR", MCR, 0x00],
    ["LSR", LSR, 0x60],
    ["MSR: CTS, DSR and DCD of the other end, no deltas", MSR, 0xb0],
  ])("%s", (_, port, expected) => {
    const uart = uartUnderTest();
    expect(uart.read(port)).toBe(expected);
    for (const [p, v] of [[IER, 0xff], [FCR, 0xff], [LCR, 0x1b], [MCR, 0xff]] as const) uart.write(p, v); // biome-ignore format: a table
    uart.reset();
    expect(uart.read(port)).toBe(expected);
    expect(uart.level()).toBe(false);
  });

  it("keeps scratch and divisor", () => {
    const uart = uartUnderTest();
    uart.write(SCRATCH, 0x5a);
    uart.write(LCR, 0x80);
    uart.write(DATA, 0x34);
    uart.write(IER, 0x12);
    uart.reset();
    expect(uart.read(SCRATCH)).toBe(0x5a);
    uart.write(LCR, 0x80);
    expect([uart.read(DATA), uart.read(IER)]).toEqual([0x34, 0x12]);
  });
});

describe("registers (table II)", () => {
  it.each([
    ["IER has four bits", IER, 0xff, 0x0f],
    ["LCR has eight", LCR, 0x7f, 0x7f],
    ["MCR has five", MCR, 0xff, 0x1f],
    ["scratch has eight", SCRATCH, 0xa5, 0xa5],
    ["LSR is read-only", LSR, 0x00, 0x60],
  ])("%s", (_, port, written, read) => {
    const uart = uartUnderTest();
    uart.write(port, written);
    expect(uart.read(port)).toBe(read);
  });

  it("sees a word access as two byte accesses", () => {
    const uart = uartUnderTest();
    uart.write(LCR, 0x83);
    uart.write(DATA, 0x0180, 2);
    expect([uart.read(DATA), uart.read(IER), uart.read(DATA, 2)]).toEqual([0x80, 0x01, 0x0180]);
  });

  it.each([
    [0x00, 0x01],
    [0x01, 0xc1],
    [0xc7, 0xc1],
    [0xc6, 0x01],
  ])("FCR %i gives IIR %i (8.6: bits 7:6 say that the FIFOs are on)", (fcr, iir) => {
    const uart = uartUnderTest();
    uart.write(FCR, fcr);
    expect(uart.read(IIR)).toBe(iir);
  });
});

describe("transmitter", () => {
  it("sends at once and stays empty", () => {
    const uart = openUart();
    for (const byte of [0x48, 0x69]) uart.write(DATA, byte);
    expect(uart.sent).toEqual([0x48, 0x69]);
    expect(uart.read(LSR)).toBe(0x60);
  });

  it("raises THRE on enabling, until IIR is read (table IV)", () => {
    const uart = openUart();
    uart.write(IER, 0x02);
    expect(uart.level()).toBe(true);
    expect(uart.read(IIR)).toBe(0xc2);
    expect(uart.level()).toBe(false);
    expect(uart.read(IIR)).toBe(0xc1);
  });

  it("raises it anew for each byte, as an edge", () => {
    const uart = openUart({ ier: 0x02 });
    uart.read(IIR);
    uart.lines.clear();
    uart.write(DATA, 0x41);
    uart.write(DATA, 0x42);
    expect(uart.lines.edges(GSI)).toBe(2);
    expect(uart.read(IIR)).toBe(0xc2);
  });

  it("raises it on every enabling: the test that sets Linux's UART_BUG_THRE and UART_BUG_TXEN", () => {
    const uart = openUart();
    for (let round = 0; round < 2; round++) {
      uart.write(IER, 0x02);
      expect(uart.read(IIR) & 0x0f).toBe(0x02);
      uart.write(IER, 0x00);
      expect(uart.read(IIR) & 0x0f).toBe(0x01);
    }
    uart.write(IER, 0x02);
    uart.read(IIR);
    uart.write(IER, 0x02);
    expect(uart.read(IIR) & 0x0f, "writing the same again is no enabling").toBe(0x01);
  });

  it("keeps the interrupt from the PC without OUT2 and in loopback (8.8)", () => {
    const uart = openUart({ ier: 0x02 });
    expect(uart.level()).toBe(true);
    uart.write(MCR, 0x03);
    expect(uart.level()).toBe(false);
    uart.write(MCR, 0x1b);
    expect(uart.level()).toBe(false);
    expect(uart.read(IIR)).toBe(0xc2);
  });
});

describe("receiver", () => {
  it("shows a character in LSR and gives it once (16450 mode)", () => {
    const uart = openUart({ fcr: 0, ier: 0x01 });
    uart.api.receive([0x41]);
    expect([uart.read(LSR), uart.read(IIR), uart.level()]).toEqual([0x61, 0x04, true]);
    expect(uart.read(DATA)).toBe(0x41);
    expect([uart.read(LSR), uart.read(IIR), uart.level()]).toEqual([0x60, 0x01, false]);
  });

  it.each([
    [0x01, 1],
    [0x41, 4],
    [0x81, 8],
    [0xc1, 14],
  ])("FCR %i interrupts at %i characters and stops below (8.5, 8.11)", (fcr, trigger) => {
    const uart = openUart({ fcr, ier: 0x01 });
    for (let i = 1; i < trigger; i++) {
      uart.api.receive([i]);
      expect(uart.read(IIR)).toBe(0xc1);
    }
    uart.api.receive([trigger]);
    expect(uart.read(IIR)).toBe(0xc4);
    expect(uart.level()).toBe(true);
    uart.read(DATA);
    expect(uart.read(IIR)).toBe(0xc1);
    expect(uart.level()).toBe(false);
  });

  it("times out after four character times (8.11), and a read ends it", () => {
    const uart = openUart({ ier: 0x01 });
    uart.api.receive([1, 2]);
    uart.clock.advance(Math.floor(4 * CHARACTER_NS));
    expect(uart.read(IIR)).toBe(0xc1);
    uart.clock.advance(8);
    expect([uart.read(IIR), uart.level()]).toEqual([0xcc, true]);
    expect(uart.read(DATA)).toBe(1);
    expect([uart.read(IIR), uart.level()]).toEqual([0xc1, false]);
    uart.clock.advance(5 * CHARACTER_NS);
    expect(uart.read(IIR)).toBe(0xcc);
    uart.read(DATA);
    uart.clock.advance(100 * CHARACTER_NS);
    expect(uart.read(IIR)).toBe(0xc1);
  });

  it("counts parity and stop bits in the character time (8.1)", () => {
    const uart = openUart({ ier: 0x01 });
    uart.write(LCR, 0x0f); // 8 data bits, parity, two stop bits: 12 bits in all
    uart.api.receive([1]);
    uart.clock.advance(4 * CHARACTER_NS * 1.19);
    expect(uart.read(IIR)).toBe(0xc1);
    uart.clock.advance(4 * CHARACTER_NS * 0.02);
    expect(uart.read(IIR)).toBe(0xcc);
  });

  it("never overruns from the host: input waits and comes in order", () => {
    const uart = openUart();
    const text = Array.from({ length: 1000 }, (_, i) => i & 0xff);
    uart.api.receive(text);
    expect(uart.api.backlog).toBe(1000);
    const got: number[] = [];
    while ((uart.read(LSR) & 0x01) !== 0) got.push(uart.read(DATA));
    expect(got).toEqual(text);
    expect(uart.api.backlog).toBe(0);
  });

  it("reports a break with its character (8.4): LSR 1 + BI + FE, then cleared by reading", () => {
    const uart = openUart({ ier: 0x04 });
    uart.api.receive([0x41]);
    uart.api.receiveBreak();
    expect(uart.read(LSR), "not at the top yet, but somewhere in the FIFO").toBe(0xe1);
    expect(uart.level()).toBe(false);
    uart.read(DATA);
    expect([uart.read(IIR), uart.level()]).toEqual([0xc6, true]);
    expect(uart.read(LSR)).toBe(0xf9);
    expect([uart.read(LSR), uart.read(IIR), uart.level()]).toEqual([0x61, 0xc1, false]);
    expect(uart.read(DATA)).toBe(0);
  });

  it.each([
    ["FCR bit 1", 0x83],
    ["leaving FIFO mode", 0x00],
  ])("%s clears it (8.5)", (_, fcr) => {
    const uart = openUart({ ier: 0x01 });
    uart.api.receive([1, 2, 3]);
    uart.write(FCR, fcr);
    expect(uart.read(LSR)).toBe(0x60);
    uart.clock.advance(1e9);
    expect(uart.level()).toBe(false);
  });
});

describe("priorities (table IV)", () => {
  it("line status, received data, THRE, modem status", () => {
    const uart = openUart({ fcr: 0x01 });
    uart.write(IER, 0x0f);
    uart.api.receiveBreak();
    uart.api.setModemInputs({ cts: false });
    const causes: number[] = [];
    const acknowledge = [() => uart.read(LSR), () => uart.read(DATA), () => {}, () => uart.read(MSR)];
    for (const act of acknowledge) {
      causes.push(uart.read(IIR) & 0x0f);
      act();
    }
    expect(causes).toEqual([0x06, 0x04, 0x02, 0x00]);
    expect(uart.read(IIR) & 0x0f).toBe(0x01);
    expect(uart.level()).toBe(false);
  });
});

describe("modem status (8.9)", () => {
  it.each([
    ["CTS off", { cts: false }, 0xa1],
    ["DSR off", { dsr: false }, 0x92],
    ["DCD off", { dcd: false }, 0x38],
    ["ring begins: a level, no delta", { ring: true }, 0xf0],
  ])("%s", (_, inputs, expected) => {
    const uart = openUart({ ier: 0x08 });
    uart.read(MSR);
    uart.api.setModemInputs(inputs);
    expect(uart.level()).toBe((expected & 0x0f) !== 0);
    expect(uart.read(MSR)).toBe(expected);
    expect(uart.read(MSR)).toBe(expected & 0xf0);
    expect(uart.level()).toBe(false);
  });

  it("TERI is the trailing edge of ring", () => {
    const uart = openUart();
    uart.api.setModemInputs({ ring: true });
    uart.read(MSR);
    uart.api.setModemInputs({ ring: false });
    expect(uart.read(MSR)).toBe(0xb4);
  });
});

describe("loopback (8.8)", () => {
  it.each([
    ["DTR to DSR", 0x11, 0x20],
    ["RTS to CTS", 0x12, 0x10],
    ["OUT1 to RI", 0x14, 0x40],
    ["OUT2 to DCD", 0x18, 0x80],
    ["the pattern of Linux's autoconfig", 0x1a, 0x90],
  ])("%s", (_, mcr, lines) => {
    const uart = uartUnderTest();
    uart.write(MCR, mcr);
    expect(uart.read(MSR) & 0xf0).toBe(lines);
  });

  it("returns what is sent, and nothing reaches the wires", () => {
    const uart = openUart();
    uart.write(MCR, 0x1f);
    uart.write(DATA, 0xae);
    expect(uart.sent).toEqual([]);
    expect([uart.read(LSR), uart.read(DATA)]).toEqual([0x61, 0xae]);
    expect([uart.api.dtr, uart.api.rts]).toEqual([false, false]);
    uart.api.receive([0x31]);
    expect(uart.read(LSR), "the serial input is disconnected").toBe(0x60);
    uart.write(MCR, 0x0b);
    expect([uart.read(DATA), uart.api.dtr, uart.api.rts]).toEqual([0x31, true, true]);
  });

  it("overruns: the FIFO keeps what it has, the receiver buffer does not (8.4)", () => {
    const fifo = openUart();
    fifo.write(MCR, 0x10);
    for (let i = 0; i < 18; i++) fifo.write(DATA, i);
    expect([fifo.read(LSR), fifo.read(LSR)]).toEqual([0x63, 0x61]);
    const got: number[] = [];
    while ((fifo.read(LSR) & 1) !== 0) got.push(fifo.read(DATA));
    expect(got).toEqual(Array.from({ length: 16 }, (_, i) => i));

    const single = openUart({ fcr: 0 });
    single.write(MCR, 0x10);
    for (const byte of [1, 2]) single.write(DATA, byte);
    expect([single.read(LSR), single.read(DATA), single.read(LSR)]).toEqual([0x63, 2, 0x60]);
  });

  it("has the word length of LCR", () => {
    const uart = openUart();
    uart.write(MCR, 0x10);
    uart.write(LCR, 0x00);
    uart.write(DATA, 0xff);
    expect(uart.read(DATA)).toBe(0x1f);
  });
});

it("is identified by Linux's steps as a 16550A and nothing newer", () => {
  const uart = uartUnderTest();
  uart.write(IER, 0);
  expect(uart.read(IER)).toBe(0);
  uart.write(IER, 0x0f);
  expect(uart.read(IER)).toBe(0x0f);
  uart.write(IER, 0);
  // A 16650 or 16950 would answer 0 at offset 2 behind LCR = 80h or BFh.
  uart.write(LCR, 0);
  uart.write(FCR, 0x01);
  expect(uart.read(IIR) >> 6).toBe(3);
  for (const lcr of [0x80, 0xbf]) {
    uart.write(LCR, lcr);
    expect(uart.read(IIR)).not.toBe(0);
  }
  // A 16750 would show bit 5 in 64-byte mode.
  uart.write(LCR, 0x80);
  uart.write(FCR, 0x21);
  expect(uart.read(IIR) & 0x20).toBe(0);
  // An XScale UART would keep IER bit 6.
  uart.write(LCR, 0);
  uart.write(IER, 0x40);
  expect(uart.read(IER)).toBe(0);
});

describe("whatever a guest does", () => {
  const step = fc.oneof(
    fc.record({ port: fc.integer({ min: BASE, max: BASE + 7 }), value: fc.nat(0xff) }),
    fc.record({ port: fc.integer({ min: BASE, max: BASE + 7 }), width: fc.constantFrom(1, 2, 4) }),
    fc.record({ input: fc.array(fc.nat(0xff), { maxLength: 40 }) }),
    fc.record({ advance: fc.nat(1e9) }),
    fc.constant({ lineBreak: true }),
  );
  const run = (
    uart: ReturnType<typeof uartUnderTest>,
    steps: (typeof step extends fc.Arbitrary<infer T> ? T : never)[],
  ) =>
    steps.map((s) => {
      if ("input" in s) return uart.api.receive(s.input);
      if ("advance" in s) return uart.clock.advance(s.advance);
      if ("lineBreak" in s) return uart.api.receiveBreak();
      if ("value" in s) return uart.write(s.port, s.value);
      return uart.read(s.port, s.width);
    });

  it("never throws, answers in range, and interrupts exactly while IIR says so", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const uart = uartUnderTest();
        for (const value of run(uart, steps)) if (value !== undefined) expect(value).toBeLessThanOrEqual(0xffff_ffff);
        const gate = (uart.read(MCR) & 0x18) === 0x08;
        const before = uart.level();
        expect(before).toBe(gate && (uart.read(IIR) & 1) === 0);
      }),
    );
  });

  it("goes on identically after save and load", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(step, { maxLength: 40 }), (before, after) => {
        const uart = uartUnderTest();
        run(uart, before);
        const copy = Object.assign(uart.reincarnate(), { sent: [], level: uart.level });
        expect(run(copy, after)).toEqual(run(uart, after));
        expect(copy.save()).toEqual(uart.save());
      }),
    );
  });
});
