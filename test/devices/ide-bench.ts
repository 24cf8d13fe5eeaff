/** The IDE controller on a test bench, as firmware leaves it, with what a driver's first lines would be. */
import { assignPciResources } from "../../src/device/pci/assign.ts";
import { type BlockStorage, memoryStorage } from "../../src/device/storage.ts";
import { deviceUnderTest, type TestOptions } from "../../src/device/testing.ts";
import { type PiixIde, piixIde } from "../../src/devices/ide/piix-ide.ts";

export const PRIMARY = { command: 0x1f0, control: 0x3f6, gsi: 14, busMaster: 0xc000 } as const;
export const SECONDARY = { command: 0x170, control: 0x376, gsi: 15, busMaster: 0xc008 } as const;
export type ChannelPorts = typeof PRIMARY | typeof SECONDARY;

/** Offsets in the command block. */
export const REG = { data: 0, error: 1, count: 2, low: 3, mid: 4, high: 5, device: 6, status: 7 } as const;
export const LBA = 0xe0;

/** What the status register says. ATA/ATAPI-6, 7.15. */
export const READY = 0x50;
export const DATA = 0x58;
export const FAILED = 0x51;

const CONFIG = { slot: 1, command: 0x04 } as const;
const IO_AND_MASTER = 0x05;

/** Of the disk that a bench has unless told otherwise. */
export const SECTORS = 4096;

/** A disk whose every word says which sector it is in and where. */
export function numberedDisk(sectors: number): Uint8Array {
  const words = new Uint16Array(sectors * 256);
  for (let i = 0; i < words.length; i++) words[i] = (i >> 8) * 251 + (i & 0xff);
  return new Uint8Array(words.buffer);
}

export interface Taskfile {
  count?: number;
  features?: number;
  /** LBA of 28 bits, or of 48 with `extended`. */
  sector?: number;
  extended?: boolean;
  /** The device register; the LBA's bits 27:24 are added. */
  device?: number;
}

export function ideBench(
  disks: readonly BlockStorage[] = [memoryStorage(numberedDisk(SECTORS))],
  test: TestOptions = {},
) {
  const channels = [
    { command: { base: 0x1f0, length: 8 }, control: { base: 0x3f6, length: 1 }, gsi: 14 },
    { command: { base: 0x170, length: 8 }, control: { base: 0x376, length: 1 }, gsi: 15 },
  ] as const;
  const bench = deviceUnderTest(piixIde, { slot: CONFIG.slot, channels, disks }, test);
  const windows = { io: { base: 0xc000, end: 0x1_0000 }, memory: { base: 0, end: 0 }, interruptLine: () => 0 };

  const ide = Object.assign(bench, {
    config: {
      read: (offset: number, width: number) => bench.pci.read(0, CONFIG.slot * 8, offset, width),
      write: (offset: number, value: number, width: number) =>
        bench.pci.write(0, CONFIG.slot * 8, offset, value, width),
    },
    start() {
      (bench.api as PiixIde).enableChannels();
      assignPciResources(bench.pci, windows);
      ide.config.write(CONFIG.command, IO_AND_MASTER, 2);
    },
    channel: (ports: ChannelPorts) => channelDriver(ide, ports),
  });
  ide.start();
  return ide;
}

/** The primary master alone, with memory for its transfers. */
export function oneDisk() {
  const bytes = numberedDisk(SECTORS);
  const ide = ideBench([memoryStorage(bytes)], { memoryBytes: 0x4_0000 });
  return { ide, bytes, disk: ide.channel(PRIMARY) };
}

type Ports = Pick<ReturnType<typeof deviceUnderTest>, "read" | "write" | "memory">;

function channelDriver(bench: Ports, { command, control, busMaster }: ChannelPorts) {
  const driver = {
    reg: (register: number) => bench.read(command + register),
    write: (register: number, value: number) => bench.write(command + register, value),
    status: () => bench.read(command + REG.status),
    alternate: () => bench.read(control),
    control: (value: number) => bench.write(control, value),
    /** Writes the registers and the command; the status that follows, read without acknowledging. */
    issue(
      code: number,
      { count = 0, features = 0, sector = 0, extended = false, device = LBA }: Taskfile = {},
    ): number {
      const byte = (n: number) => Math.floor(sector / 256 ** n) % 256;
      driver.write(REG.device, extended ? device : device | (byte(3) & 0x0f));
      if (extended) {
        driver.write(REG.count, count >> 8);
        driver.write(REG.low, byte(3));
        driver.write(REG.mid, byte(4));
        driver.write(REG.high, byte(5));
      }
      driver.write(REG.error, features);
      driver.write(REG.count, count & 0xff);
      driver.write(REG.low, byte(0));
      driver.write(REG.mid, byte(1));
      driver.write(REG.high, byte(2));
      driver.write(REG.status, code);
      return driver.alternate();
    },
    readWords: (count: number) => Uint16Array.from({ length: count }, () => bench.read(command, 2)),
    writeWords: (words: Iterable<number>) => {
      for (const word of words) bench.write(command, word, 2);
    },
    identify(device = LBA): Uint16Array {
      driver.issue(0xec, { device });
      driver.status();
      return driver.readWords(256);
    },
    /** LBA (28 bits) that the registers show. */
    sector: () =>
      driver.reg(REG.low) +
      256 * driver.reg(REG.mid) +
      65536 * driver.reg(REG.high) +
      2 ** 24 * (driver.reg(REG.device) & 15),
    /** Writes a table of regions to memory at `table`: [address, bytes] each. */
    regions(table: number, regions: readonly (readonly [number, number])[]): void {
      const view = new DataView(bench.memory.buffer);
      regions.forEach(([address, bytes], index) => {
        view.setUint32(table + 8 * index, address, true);
        const last = index === regions.length - 1 ? 0x8000_0000 : 0;
        view.setUint32(table + 8 * index + 4, last + (bytes & 0xffff), true);
      });
      bench.write(busMaster + 4, table, 4);
    },
    /** 9: to memory, 1: from memory, 0: stop. */
    masterCommand: (value: number) => bench.write(busMaster, value),
    masterStatus: (clear?: number) => {
      if (clear !== undefined) bench.write(busMaster + 2, clear);
      return bench.read(busMaster + 2);
    },
  };
  return driver;
}
