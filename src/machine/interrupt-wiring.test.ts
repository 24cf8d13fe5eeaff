import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineDevice } from "../device/define.ts";
import type { InterruptLines } from "../device/interrupt-lines.ts";
import { deviceUnderTest } from "../device/testing.ts";
import { ioApic } from "../devices/io-apic.ts";
import { REGISTER } from "../devices/local-apic-registers.ts";
import { type LocalApics, localApics } from "../devices/local-apics.ts";
import { pic8259 } from "../devices/pic8259.ts";
import { withoutRaw } from "../devices/testing.ts";
import { uart16550 } from "../devices/uart16550.ts";
import type { FunctionBuilder } from "../emit/index.ts";
import { wireInterrupts } from "./interrupt-wiring.ts";
import { IO_APIC, IRQ, MMIO, PORTS } from "./platform.ts";

const { base: COM1 } = PORTS.com1;
const [DATA, IER, IIR, LCR, MCR, LSR, MSR] = [0, 1, 2, 3, 4, 5, 6].map((offset) => COM1 + offset);
const FCR = IIR;
const THR_EMPTY = 0x02;
const [MASTER, MASTER_MASK] = [0x20, 0x21];
const EOI = 0x20;
const EXT_INT = 0x700;
const LINT0 = MMIO.localApic + REGISTER.lvtLint0;

/** A UART, the interrupt controllers and a processor's INTR, which emitted code raises without a call of TypeScript. */
function board({ raw = true } = {}) {
  let lines!: InterruptLines;
  const sent: number[] = [];
  const seen = { raised: 0 };
  const device = defineDevice("board", (host) => {
    const intr = host.words(1);
    let apics: LocalApics | undefined;
    const pic = pic8259.create(host, {
      onOutput: (high) => apics?.setLint(0, high),
      emitOutput: (x) => apics!.emitVirtualWire(x),
    });
    const pins = {
      intr: (asserted: boolean) => {
        if (asserted) seen.raised++;
        intr[0] = asserted ? 1 : 0;
      },
      nmi: () => {},
      init: () => {},
      startup: () => {},
      emitInterrupt: (b: FunctionBuilder) => b.store(4, b.i32(0), b.i32(1), intr.byteOffset),
    };
    apics = localApics.create(host, { cpus: [{ pins }], pic, physicalAddressBits: 40 });
    wireInterrupts(
      lines,
      pic,
      ioApic.create(host, { base: MMIO.ioApic, bus: apics.bus, activeLow: IO_APIC.activeLow }),
    );
    const uart = uart16550.create(host, { base: COM1, gsi: IRQ.com1, transmit: (byte) => sent.push(byte) });
    return { intr: () => intr[0], uart, acknowledge: () => apics.cpus[0].acknowledge() };
  });
  const bench = deviceUnderTest(raw ? device : withoutRaw(device), undefined, {
    wire: (given) => {
      lines = given;
    },
  });
  return { bench, sent, seen, ...bench.api };
}

type Board = ReturnType<typeof board>;

/** As a PC BIOS leaves the 8259A, with IRQ 4 open; LINT0 leads to it. */
function prepare({ bench }: Board): void {
  for (const value of [0x11, 0x20, 0x04, 0x01, 0xef]) bench.write(value === 0x11 ? MASTER : MASTER_MASK, value);
  bench.mmioWrite(MMIO.localApic + REGISTER.spurious, 0x1ff);
  bench.mmioWrite(LINT0, EXT_INT);
  bench.write(MCR, 0x08);
}

describe("an interrupt of the UART", () => {
  it("reaches INTR without TypeScript, and is taken back and ended there", () => {
    const pc = board();
    prepare(pc);
    // The first access connects the emitted handlers.
    pc.bench.write(IER, 0);
    for (let turn = 0; turn < 3; turn++) {
      pc.bench.write(IER, THR_EMPTY);
      expect(pc.intr()).toBe(1);
      expect(pc.acknowledge()).toBe(0x24);
      expect(pc.intr()).toBe(0);
      expect(pc.bench.read(IIR)).toBe(THR_EMPTY);
      expect(pc.bench.read(IIR)).toBe(0x01);
      pc.bench.write(MASTER, EOI);
      pc.bench.write(IER, 0);
    }
    expect(pc.seen.raised).toBe(0);
  });
});

type Step = (pc: Board) => unknown;

const writes = (port: number, ...values: number[]): fc.Arbitrary<Step> =>
  fc.oneof(fc.constantFrom(...values), fc.nat(0xff)).map((value) => (pc: Board) => pc.bench.write(port, value));
const reads = (port: number): fc.Arbitrary<Step> => fc.constant((pc: Board) => pc.bench.read(port));

const redirect =
  (low: number): Step =>
  ({ bench }) => {
    bench.mmioWrite(MMIO.ioApic, 0x10 + 2 * IRQ.com1);
    bench.mmioWrite(MMIO.ioApic + 0x10, low);
  };

const STEP: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: writes(IER, 0, THR_EMPTY, 5, 7) },
  { weight: 4, arbitrary: reads(IIR) },
  { weight: 2, arbitrary: writes(MASTER_MASK, 0xef, 0xff, 0) },
  { weight: 4, arbitrary: writes(MASTER, EOI, 0x64, 0x68, 0x48, 0xc3, 0x0c, 0x11) },
  { weight: 4, arbitrary: fc.constant(({ acknowledge }: Board) => acknowledge()) },
  ...[DATA, LCR, FCR].map((port) => writes(port, 3, 0x07)),
  writes(MCR, 0x08, 0x0b, 0x18),
  writes(0x4d0, 0x10, 0),
  ...[DATA, LSR, MSR, MASTER].map(reads),
  fc.constant(prepare),
  fc.nat(20).map(
    (count) =>
      ({ uart }: Board) =>
        uart.receive(new Uint8Array(count)),
  ),
  fc.constantFrom(EXT_INT, 0x1_0700, 0x2700, 0x40, 0x8040).map(
    (entry) =>
      ({ bench }: Board) =>
        bench.mmioWrite(LINT0, entry),
  ),
  fc.constantFrom(0x1_0000, 0x31, 0x8031, 0x2031, 0xa031, 0x1_8031).map(redirect),
  fc.constantFrom(0xff, 0x1ff).map(
    (value) =>
      ({ bench }: Board) =>
        bench.mmioWrite(MMIO.localApic + 0xf0, value),
  ),
  fc.constant(({ bench }: Board) => bench.mmioWrite(MMIO.localApic + REGISTER.endOfInterrupt, 0)),
);

describe("the lines of the board", () => {
  it("do the same in emitted code and in TypeScript", () => {
    fc.assert(
      fc.property(fc.array(STEP, { minLength: 20, maxLength: 120, size: "max" }), (steps) => {
        const [emitted, plain] = [board(), board({ raw: false })];
        for (const pc of [emitted, plain]) prepare(pc);
        for (const step of steps) {
          expect(step(emitted)).toEqual(step(plain));
          expect(emitted.intr()).toBe(plain.intr());
        }
        // An end of interrupt that emitted code has seen is in the registers once one of them is read.
        for (const { bench } of [emitted, plain]) bench.mmioRead(LINT0);
        expect(emitted.bench.save()).toEqual(plain.bench.save());
        expect(emitted.sent).toEqual(plain.sent);
      }),
      { numRuns: 150 },
    );
  });
});
