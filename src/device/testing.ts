/**
 * A device on a test bench: no machine, a clock that moves only when told, and everything that leaves the device
 * written down. For unit tests of device models, ours and those of host programs.
 */
import { createIoClient, MmioSpace, PortSpace, WAIT } from "../io/index.ts";
import { CLOCK, DYNAMIC_BASE } from "../memory/layout.ts";
import { virtualTime } from "./clock.ts";
import { type DeviceEnvironment, DeviceSet, type SavedDevice } from "./device-set.ts";
import { InterruptLines } from "./interrupt-lines.ts";
import { PciBus } from "./pci/bus.ts";
import { RegisterFile } from "./registers.ts";
import { TimerQueue } from "./timer-queue.ts";
import type { DeviceClass, Dma } from "./types.ts";

export interface TestOptions {
  readonly name?: string;
  readonly epochNs?: bigint;
  /** GSIs of the board, default 24. */
  readonly lines?: number;
  /** Given the board's lines before the device is made; they are its own then, and `lines.events` stays empty. */
  readonly wire?: (lines: InterruptLines) => void;
  /** Bytes of guest memory from address 0 that DMA reaches, default 64 KiB. */
  readonly memoryBytes?: number;
  /** A20 at the start, default on. */
  readonly a20?: boolean;
}

/** A change of an interrupt line's level. */
export interface LineEvent {
  readonly gsi: number;
  readonly high: boolean;
  /** ns of virtual time. */
  readonly at: number;
}

export type BoardEvent =
  | { readonly kind: "powerOff" | "reset" | "nmi" }
  | { readonly kind: "exit"; readonly status: number }
  | { readonly kind: "a20"; readonly enabled: boolean };

export interface DeviceUnderTest<Api> {
  readonly api: Api;
  /** Port accesses; all ones where nobody answers. A handler that makes the guest wait throws: use `readLater`. */
  read(port: number, width?: number): number;
  write(port: number, value: number, width?: number): void;
  /** Any handler, waiting ones too. */
  readLater(port: number, width?: number): Promise<number>;
  writeLater(port: number, value: number, width?: number): Promise<void>;
  /** Guest-physical accesses of 1, 2, 4 bytes (8 with `mmioRead64`), split as the range's modes say. */
  mmioRead(address: number, width?: number): number;
  mmioWrite(address: number, value: number, width?: number): void;
  mmioRead64(address: number): bigint;
  mmioWrite64(address: number, value: bigint): void;
  readonly clock: {
    now(): number;
    /** Moves virtual time on, firing timers in order, each at its own deadline. */
    advance(ns: number): void;
    /** Moves virtual time on without firing anything: timers that are due fire at the next `advance`, late. */
    skip(ns: number): void;
    /** `Infinity` when nothing is armed. */
    readonly nextDeadline: number;
  };
  readonly lines: {
    /** Every change of level so far, oldest first. */
    readonly events: LineEvent[];
    level(gsi: number): boolean;
    /** Rising edges of one line so far. */
    edges(gsi: number): number;
    clear(): void;
    /** Another device's hand on the same wire. */
    drive(gsi: number, high: boolean): void;
  };
  readonly board: BoardEvent[];
  readonly a20: boolean;
  readonly msis: { readonly address: number; readonly data: number }[];
  /** Guest memory from address 0. */
  readonly memory: Uint8Array;
  /** Bus 0; pin INTA-INTD (1-4) of a slot leads to GSI 16 + (slot + pin - 1) mod 4. */
  readonly pci: PciBus;
  /** Puts another device on the same bench (it is reset along, but not saved or loaded). */
  add<O, A>(deviceClass: DeviceClass<O, A>, options: O, name?: string): A;
  reset(): void;
  save(): SavedDevice;
  load(saved: SavedDevice): void;
  /** Saves, pushes the record through JSON-like copying, and returns a new bench with the same device loaded from it. */
  reincarnate(): DeviceUnderTest<Api>;
  dispose(): void;
}

export function deviceUnderTest<Options, Api>(
  deviceClass: DeviceClass<Options, Api>,
  options: Options,
  testOptions: TestOptions = {},
): DeviceUnderTest<Api> {
  const wasm = new WebAssembly.Memory({ initial: Math.ceil(DYNAMIC_BASE / 0x1_0000) });
  const now = virtualTime(wasm);
  const clockBase = new Uint32Array(wasm.buffer, CLOCK.baseNs, 2);
  const setNow = (ns: number) => {
    clockBase[0] = ns;
    clockBase[1] = Math.floor(ns / 2 ** 32);
  };

  const registers = new RegisterFile(wasm);
  const lines = new InterruptLines(testOptions.lines ?? 24, registers);
  const lineEvents: LineEvent[] = [];
  const { wire } = testOptions;
  if (wire !== undefined) wire(lines);
  for (let gsi = 0; gsi < lines.count && wire === undefined; gsi++) {
    lines.listen(gsi, (high) => lineEvents.push({ gsi, high, at: now() }));
  }
  const outside = Array.from({ length: lines.count }, (_, gsi) => lines.source(gsi));

  const timers = new TimerQueue();
  const boardEvents: BoardEvent[] = [];
  const msis: { address: number; data: number }[] = [];
  let a20 = testOptions.a20 ?? true;
  const memory = new Uint8Array(testOptions.memoryBytes ?? 0x1_0000);
  const pci = new PciBus((slot, pin) => [16 + ((slot + pin - 1) & 3)], registers.allocateWords("pci", PciBus.WORDS));
  const ports = new PortSpace();
  const mmio = new MmioSpace();
  let accesses = 0;
  const io = createIoClient(ports, mmio, { instructionTag: () => accesses });
  const buffer = new Uint8Array(8);
  const bytes = new DataView(buffer.buffer);

  /** One access as an instruction of its own. */
  function settled(access: () => number): number {
    accesses++;
    const result = access();
    if (result !== WAIT) return result;
    io.clearJournal();
    throw new Error("this access waits for ring 3: use readLater or writeLater");
  }
  /** An access that is restarted as long as it waits. */
  async function later(access: () => number): Promise<number> {
    accesses++;
    for (;;) {
      const result = access();
      if (result !== WAIT) return result;
      await io.waiting;
    }
  }

  const environment: DeviceEnvironment = {
    memory: wasm,
    registers,
    ports,
    mmio,
    lines,
    timers,
    pci,
    now,
    epochNs: testOptions.epochNs ?? 0n,
    dma: benchDma(memory),
    board: {
      powerOff: () => boardEvents.push({ kind: "powerOff" }),
      exit: (status) => boardEvents.push({ kind: "exit", status }),
      reset: () => boardEvents.push({ kind: "reset" }),
      nmi: () => boardEvents.push({ kind: "nmi" }),
      setA20: (enabled) => {
        a20 = enabled;
        boardEvents.push({ kind: "a20", enabled });
      },
      get a20() {
        return a20;
      },
    },
    msi: (address, data) => msis.push({ address, data }),
    input: (_device, receive) => receive,
  };
  const devices = new DeviceSet(environment);
  const name = testOptions.name ?? deviceClass.name;
  const api = devices.add(deviceClass, options, name);

  const bench: DeviceUnderTest<Api> = {
    api,
    read: (port, width = 1) => settled(() => io.portRead(port, width)),
    write: (port, value, width = 1) => {
      settled(() => io.portWrite(port, value, width));
    },
    readLater: (port, width = 1) => later(() => io.portRead(port, width)),
    writeLater: async (port, value, width = 1) => {
      await later(() => io.portWrite(port, value, width));
    },
    mmioRead(address, width = 4) {
      bytes.setUint32(0, 0);
      settled(() => io.mmioRead(address, width, buffer));
      return bytes.getUint32(0, true);
    },
    mmioWrite(address, value, width = 4) {
      bytes.setUint32(0, value, true);
      settled(() => io.mmioWrite(address, width, buffer));
    },
    mmioRead64(address) {
      settled(() => io.mmioRead(address, 8, buffer));
      return bytes.getBigUint64(0, true);
    },
    mmioWrite64(address, value) {
      bytes.setBigUint64(0, value, true);
      settled(() => io.mmioWrite(address, 8, buffer));
    },
    clock: {
      now,
      advance(ns) {
        const end = now() + ns;
        while (timers.nextDeadline <= end) {
          setNow(Math.max(now(), timers.nextDeadline));
          timers.fireDue(now());
        }
        setNow(end);
      },
      skip: (ns) => setNow(now() + ns),
      get nextDeadline() {
        return timers.nextDeadline;
      },
    },
    lines: {
      events: lineEvents,
      level: (gsi) => lines.level(gsi),
      edges: (gsi) => lineEvents.filter((event) => event.gsi === gsi && event.high).length,
      clear: () => {
        lineEvents.length = 0;
      },
      drive: (gsi, high) => outside[gsi].set(high),
    },
    board: boardEvents,
    get a20() {
      return a20;
    },
    msis,
    memory,
    pci,
    add: (other, otherOptions, otherName) => devices.add(other, otherOptions, otherName),
    reset: () => devices.reset(),
    save: () => devices.save()[name],
    load: (saved) => devices.load({ ...devices.save(), [name]: saved }),
    reincarnate() {
      const copy = deviceUnderTest(deviceClass, options, { ...testOptions, a20 });
      copy.clock.skip(now());
      copy.memory.set(memory);
      copy.load(structuredClone(devices.save()[name]));
      return copy;
    },
    dispose: () => devices.dispose(),
  };
  return bench;
}

function benchDma(memory: Uint8Array): Dma {
  const view = new DataView(memory.buffer);
  const inside = (address: number) => address + 4 <= memory.length;
  return {
    read: (address, into) => {
      for (let i = 0; i < into.length; i++) into[i] = memory[address + i] ?? 0xff;
    },
    write: (address, from) => {
      for (let i = 0; i < from.length && address + i < memory.length; i++) memory[address + i] = from[i];
    },
    read32: (address) => (inside(address) ? view.getUint32(address, true) : 0xffff_ffff),
    write32: (address, value) => {
      if (inside(address)) view.setUint32(address, value, true);
    },
    isMemory: (address, length) => address + length <= memory.length,
  };
}
