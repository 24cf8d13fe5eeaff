/** For tests: local APICs and an I/O APIC on one bench, with processors that only take notes. */
import { defineDevice } from "../../src/device/define.ts";
import { deviceUnderTest } from "../../src/device/testing.ts";
import { ioApic } from "../../src/devices/io-apic.ts";
import { localApics } from "../../src/devices/local-apics.ts";

export const LOCAL = 0xfee0_0000;
export const IO = 0xfec0_0000;

export interface BenchCpu {
  intr: boolean;
  /** NMI, INIT and start-up signals, oldest first. */
  readonly signals: string[];
}

/** The options object holds what is outside the device, so that a reincarnated bench goes on with it. */
function outside(count: number) {
  const cpus: BenchCpu[] = Array.from({ length: count }, () => ({ intr: false, signals: [] }));
  /** Vectors that the 8259A gives at its INTA cycles. */
  const pic: number[] = [];
  return { cpus, pic };
}

const apicSystem = defineDevice("apic-system", (host, options: ReturnType<typeof outside>) => {
  const apics = localApics.create(host, {
    cpus: options.cpus.map((cpu) => ({
      pins: {
        intr: (asserted) => {
          cpu.intr = asserted;
        },
        nmi: () => cpu.signals.push("nmi"),
        init: () => cpu.signals.push("init"),
        startup: (page) => cpu.signals.push(`startup ${page}`),
      },
    })),
    pic: { acknowledge: () => options.pic.shift() ?? -1 },
    physicalAddressBits: 40,
  });
  return { apics, io: ioApic.create(host, { base: IO, bus: apics.bus, activeLow: 0xff_0000 }) };
});

export type ApicBench = ReturnType<typeof apicBench>;

export function apicBench(count = 1, world = outside(count), bench = deviceUnderTest(apicSystem, world)) {
  const { apics, io } = bench.api;
  const first = apics.cpus[0];
  const local = (offset: number) => bench.mmioRead(LOCAL + offset);
  const setLocal = (offset: number, value: number) => bench.mmioWrite(LOCAL + offset, value);
  return {
    bench,
    apics,
    io,
    cpus: world.cpus,
    cpu: world.cpus[0],
    pic: world.pic,
    clock: bench.clock,
    first,
    local,
    setLocal,
    /** Registers of another processor's APIC. */
    localOf: (index: number, offset: number) => {
      apics.select(index);
      const value = local(offset);
      apics.select(0);
      return value;
    },
    setLocalOf: (index: number, offset: number, value: number) => {
      apics.select(index);
      setLocal(offset, value);
      apics.select(0);
    },
    /** Vectors in one of the 256-bit registers: 100h ISR, 180h TMR, 200h IRR. */
    vectors: (offset: number, index = 0) => {
      apics.select(index);
      const words = Array.from({ length: 8 }, (_, i) => local(offset + 16 * i));
      apics.select(0);
      return words.flatMap((word, i) =>
        Array.from({ length: 32 }, (_, bit) => 32 * i + bit).filter((_, bit) => ((word >>> bit) & 1) !== 0),
      );
    },
    /** What the CPU takes now: the vector, or `undefined` while INTR is low. */
    take: (index = 0) => (world.cpus[index].intr ? apics.cpus[index].acknowledge() : undefined),
    redirect: (pin: number, low: number, high = 0) => {
      bench.mmioWrite(IO, 0x11 + 2 * pin);
      bench.mmioWrite(IO + 0x10, high);
      bench.mmioWrite(IO, 0x10 + 2 * pin);
      bench.mmioWrite(IO + 0x10, low);
    },
    entry: (pin: number) => {
      bench.mmioWrite(IO, 0x10 + 2 * pin);
      return bench.mmioRead(IO + 0x10);
    },
    /** The same in a new bench, loaded from a snapshot. */
    reincarnate: () => {
      const copy = outside(count);
      copy.pic.push(...world.pic);
      const other = deviceUnderTest(apicSystem, copy);
      other.clock.skip(bench.clock.now());
      other.load(JSON.parse(JSON.stringify(bench.save())));
      return apicBench(count, copy, other);
    },
  };
}
