/** Expectations from ATA/ATAPI-6 (T13/1410D); "clause 8" holds the commands by name, "clause 9" the protocols. */
import { describe, expect, it } from "vitest";
import {
  DATA,
  FAILED,
  ideBench,
  LBA,
  numberedDisk,
  oneDisk,
  PRIMARY,
  READY,
  REG,
  SECONDARY,
  SECTORS,
  type Taskfile,
} from "../../../test/devices/ide-bench.ts";
import { memoryStorage, readOnlyStorage, StorageError } from "../../device/storage.ts";

const GSI = PRIMARY.gsi;
const ABORTED = 0x04;
const ID_NOT_FOUND = 0x10;

const wordsOf = (bytes: Uint8Array, sector: number, count = 1) =>
  new Uint16Array(bytes.buffer, sector * 512, count * 256);
const textOf = (words: Uint16Array) =>
  String.fromCharCode(...[...words].flatMap((word) => [word >> 8, word & 0xff])).trimEnd();

describe("IDENTIFY DEVICE (clause 8)", () => {
  it("is one block of PIO data-in with an interrupt", () => {
    const { ide, disk } = oneDisk();
    expect(disk.issue(0xec)).toBe(DATA);
    expect(ide.lines.level(GSI)).toBe(true);
    expect(disk.status()).toBe(DATA);
    expect(ide.lines.level(GSI)).toBe(false);
    disk.readWords(255);
    expect(disk.status()).toBe(DATA);
    disk.readWords(1);
    expect([disk.status(), ide.lines.edges(GSI)]).toEqual([READY, 1]);
  });

  it.each([
    ["an ATA device that is not removable", 0, 0x0040],
    ["data complete", 2, 0xc837],
    ["heads", 3, 16],
    ["sectors of a track", 6, 63],
    ["16 sectors a block of READ MULTIPLE", 47, 0x8010],
    ["LBA, DMA, IORDY, standard standby timer", 49, 0x2f00],
    ["words 54-58, 64-70 and 88 are valid", 53, 7],
    ["READ MULTIPLE is off", 59, 0],
    ["multiword DMA 0-2, none chosen", 63, 0x0007],
    ["PIO 3 and 4", 64, 3],
    ["ATA/ATAPI-4, -5 and -6", 80, 0x70],
    ["NOP, host protected area, look-ahead, write cache, power management", 82, 0x4468],
    ["FLUSH CACHE (EXT), 48 bits", 83, 0x7400],
    ["no more than those", 84, 0x4000],
    ["all of them on", 85, 0x4468],
    ["Ultra DMA 0-5", 88, 0x003f],
    ["no security feature set", 128, 0],
  ])("says: %s", (_, index, expected) => {
    expect(oneDisk().disk.identify()[index]).toBe(expected);
  });

  it("has names, sizes and a checksum", () => {
    const words = oneDisk().disk.identify();
    expect(textOf(words.subarray(27, 47))).toBe("Portico hard disk");
    expect(textOf(words.subarray(10, 20))).toBe("PORTICO0");
    expect([...words.subarray(54, 57), words[57] + words[58] * 65536]).toEqual([4, 16, 63, 4032]);
    expect([words[1], words[60] + words[61] * 65536, words[100], words[101], words[102]]).toEqual([
      4, 4096, 4096, 0, 0,
    ]);
    const bytes = new Uint8Array(words.buffer);
    expect(bytes[510]).toBe(0xa5);
    expect(bytes.reduce((sum, byte) => sum + byte, 0) % 256).toBe(0);
  });

  it.each([
    ["a large disk reports 28 bits where no more fit", 2 ** 33 + 5, [16383, 16, 63, 0x0fff_ffff, 2 ** 33 + 5]],
    ["a disk of one sector has one cylinder of it", 1, [1, 1, 1, 1, 1]],
    ["a disk of 100 sectors", 100, [1, 1, 63, 100, 100]],
  ])("%s", (_, sectorCount, expected) => {
    const storage = { ...readOnlyStorage(memoryStorage(new Uint8Array(512))), sectorCount };
    const words = ideBench([storage]).channel(PRIMARY).identify();
    const wide = words[100] + words[101] * 2 ** 16 + words[102] * 2 ** 32 + words[103] * 2 ** 48;
    expect([words[1], words[3], words[6], words[60] + words[61] * 65536, wide]).toEqual(expected);
  });
});

describe("READ SECTORS (clause 9, PIO data-in)", () => {
  it("interrupts before each sector and not after the last", () => {
    const { ide, bytes, disk } = oneDisk();
    disk.issue(0x20, { sector: 7, count: 3 });
    for (let i = 0; i < 3; i++) {
      expect([disk.alternate(), ide.lines.level(GSI)]).toEqual([DATA, true]);
      disk.status();
      expect(disk.readWords(256)).toEqual(wordsOf(bytes, 7 + i));
    }
    expect([disk.alternate(), ide.lines.level(GSI), ide.lines.edges(GSI)]).toEqual([READY, false, 3]);
  });

  it.each<[string, number, Taskfile]>([
    ["28 bits", 0x20, { sector: 3055 }],
    ["48 bits", 0x24, { sector: 3055, extended: true }],
    // Cylinder 3, head 0, sector 32: 3 * 16 * 63 + 31.
    ["cylinder, head and sector", 0x20, { sector: 3 * 256 + 32, device: 0xa0 }],
  ])("finds its sectors by %s", (_, code, taskfile) => {
    const { bytes, disk } = oneDisk();
    expect(disk.issue(code, { ...taskfile, count: 2 })).toBe(DATA);
    expect(disk.readWords(512)).toEqual(wordsOf(bytes, 3055, 2));
  });

  it("takes a count of 0 for 256 sectors, and for 65,536 with 48 bits", () => {
    const { disk } = oneDisk();
    disk.issue(0x20, { sector: 0, count: 0 });
    for (let i = 0; i < 256; i++) {
      expect(disk.status()).toBe(DATA);
      disk.readWords(256);
    }
    expect(disk.status()).toBe(READY);
    expect([disk.issue(0x24, { extended: true, count: 0 }), disk.reg(REG.error)]).toEqual([FAILED, ID_NOT_FOUND]);
  });

  it("reads dwords as two words, and bytes as the lower half of one", () => {
    const { ide, bytes, disk } = oneDisk();
    disk.issue(0x20, { sector: 9, count: 1 });
    const words = wordsOf(bytes, 9);
    expect(ide.read(0x1f0, 4)).toBe(words[0] + words[1] * 65536);
    expect(ide.read(0x1f0, 1)).toBe(words[2] & 0xff);
    expect(ide.read(0x1f0, 2)).toBe(words[3]);
  });

  it("reports ID not found with the first sector that is not there", () => {
    const { ide, disk } = oneDisk();
    expect(disk.issue(0x20, { sector: SECTORS - 2, count: 3 })).toBe(FAILED);
    expect([disk.reg(REG.error), disk.sector(), ide.lines.level(GSI)]).toEqual([ID_NOT_FOUND, SECTORS, true]);
    expect(disk.issue(0x24, { sector: 0x1234_5678_9abc, count: 1, extended: true })).toBe(FAILED);
    expect([disk.reg(REG.low), disk.reg(REG.mid), disk.reg(REG.high)]).toEqual([0xbc, 0x9a, 0x78]);
    disk.control(0x80); // HOB shows the upper halves
    expect([disk.reg(REG.low), disk.reg(REG.mid), disk.reg(REG.high)]).toEqual([0x56, 0x34, 0x12]);
    disk.write(REG.count, 0); // and writing to the command block hides them
    expect(disk.reg(REG.low)).toBe(0xbc);
  });

  it.each([
    ["sector 0", 0x00_0000],
    ["a sector behind the track", 64],
    ["a cylinder that is not there", 0x0400 + 1],
  ])("reports ID not found for %s", (_, registers) => {
    const { disk } = oneDisk();
    expect(disk.issue(0x20, { sector: registers, count: 1, device: 0xa0 })).toBe(FAILED);
    expect(disk.reg(REG.error)).toBe(ID_NOT_FOUND);
  });
});

describe("READ MULTIPLE and SET MULTIPLE MODE (clause 8)", () => {
  it("are aborted until a block size is set", () => {
    const { disk } = oneDisk();
    expect([disk.issue(0xc4, { count: 4 }), disk.reg(REG.error)]).toEqual([FAILED, ABORTED]);
    expect([disk.issue(0x39, { count: 4, extended: true }), disk.reg(REG.error)]).toEqual([FAILED, ABORTED]);
  });

  it("an interrupt for each block, the last one partial", () => {
    const { ide, bytes, disk } = oneDisk();
    expect(disk.issue(0xc6, { count: 4 })).toBe(READY);
    expect(disk.identify()[59]).toBe(0x0104);
    ide.lines.clear();
    disk.issue(0xc4, { sector: 100, count: 10 });
    for (const [block, sectors] of [4, 4, 2].entries()) {
      expect(disk.status()).toBe(DATA);
      expect(disk.readWords(sectors * 256)).toEqual(wordsOf(bytes, 100 + block * 4, sectors));
    }
    expect([disk.status(), ide.lines.edges(GSI)]).toEqual([READY, 3]);
  });

  it.each([3, 32, 255])("a block of %d sectors is refused and turns the commands off", (count) => {
    const { disk } = oneDisk();
    disk.issue(0xc6, { count: 16 });
    expect([disk.issue(0xc6, { count }), disk.reg(REG.error)]).toEqual([FAILED, ABORTED]);
    expect(disk.issue(0xc4, { count: 1 })).toBe(FAILED);
  });
});

describe("WRITE SECTORS and WRITE MULTIPLE (clause 9, PIO data-out)", () => {
  it.each([
    ["WRITE SECTORS", 0x30, false, 3],
    ["WRITE SECTORS EXT", 0x34, true, 3],
    ["WRITE MULTIPLE", 0xc5, false, 2],
    ["WRITE MULTIPLE EXT", 0x39, true, 2],
  ])("%s: no interrupt before the first block, one after each", (_, code, extended, blocks) => {
    const { ide, bytes, disk } = oneDisk();
    disk.issue(0xc6, { count: 2 });
    disk.status();
    ide.lines.clear();
    expect(disk.issue(code, { sector: 50, count: 3, extended })).toBe(DATA);
    expect(ide.lines.level(GSI)).toBe(false);
    const data = Uint16Array.from({ length: 768 }, (_, i) => i * 77);
    for (let at = 0; at < 768; at += 256) {
      disk.writeWords(data.subarray(at, at + 256));
      disk.status();
    }
    expect(ide.lines.edges(GSI)).toBe(blocks);
    expect(wordsOf(bytes, 50, 3)).toEqual(data);
    expect(wordsOf(bytes, 53)).toEqual(wordsOf(numberedDisk(SECTORS), 53));
    expect(disk.status()).toBe(READY);
  });

  it("nothing is written before the block is whole", () => {
    const { ide, bytes, disk } = oneDisk();
    disk.issue(0x30, { sector: 1, count: 1 });
    disk.writeWords(new Uint16Array(255));
    expect(Buffer.compare(bytes, numberedDisk(SECTORS))).toBe(0);
    ide.write(0x1f0, 0xffff, 2);
    expect(wordsOf(bytes, 1)[255]).toBe(0xffff);
  });

  it("a read-only disk aborts them", () => {
    const disk = ideBench([readOnlyStorage(memoryStorage(numberedDisk(16)))]).channel(PRIMARY);
    for (const code of [0x30, 0xca]) expect([disk.issue(code, { count: 1 }), disk.reg(REG.error)]).toEqual([FAILED, ABORTED]); // biome-ignore format: a row
  });
});

describe("a host that cannot read or write", () => {
  const failing = {
    ...memoryStorage(numberedDisk(64)),
    read(sector: number, into: Uint8Array) {
      if (sector >= 10) throw new StorageError("cannot read");
      into.fill(1);
    },
    write() {
      throw new StorageError("cannot write");
    },
    flush() {
      throw new StorageError("cannot flush");
    },
  };

  it("is an uncorrectable error of a read, at its sector", () => {
    const disk = ideBench([failing]).channel(PRIMARY);
    disk.issue(0x20, { sector: 9, count: 2 });
    disk.readWords(256);
    expect([disk.alternate(), disk.reg(REG.error), disk.sector()]).toEqual([FAILED, 0x40, 10]);
  });

  it("is a device fault of a write or flush", () => {
    const disk = ideBench([failing]).channel(PRIMARY);
    disk.issue(0x30, { sector: 3, count: 1 });
    disk.writeWords(new Uint16Array(256));
    expect([disk.alternate(), disk.sector()]).toEqual([FAILED | 0x20, 3]);
    expect(disk.issue(0xe7)).toBe(FAILED | 0x20);
  });
});

describe("commands without data (clause 8)", () => {
  it.each([
    ["READ VERIFY SECTORS", 0x40, { sector: 10, count: 5 }],
    ["READ VERIFY SECTORS EXT", 0x42, { sector: 10, count: 5, extended: true }],
    ["SEEK", 0x70, { sector: 4095 }],
    ["RECALIBRATE", 0x10, {}],
    ["FLUSH CACHE", 0xe7, {}],
    ["FLUSH CACHE EXT", 0xea, {}],
    ["IDLE", 0xe3, {}],
    ["STANDBY IMMEDIATE", 0x94, {}],
  ])("%s ends with an interrupt", (_, code, taskfile) => {
    const { ide, disk } = oneDisk();
    expect([disk.issue(code, taskfile), ide.lines.level(GSI), disk.reg(REG.error)]).toEqual([READY, true, 0]);
  });

  it.each([
    ["NOP", 0x00],
    ["DEVICE RESET, of packet devices", 0x08],
    ["READ LONG, obsolete", 0x22],
    ["PACKET", 0xa0],
    ["IDENTIFY PACKET DEVICE", 0xa1],
    ["SMART", 0xb0],
    ["SECURITY UNLOCK", 0xf2],
    ["a vendor's", 0xff],
  ])("%s is aborted", (_, code) => {
    const { ide, disk } = oneDisk();
    expect([disk.issue(code), disk.reg(REG.error), ide.lines.level(GSI)]).toEqual([FAILED, ABORTED, true]);
    expect([disk.issue(0xe7), disk.reg(REG.error)]).toEqual([READY, 0]);
  });

  it("READ VERIFY SECTORS checks the range", () => {
    const { disk } = oneDisk();
    expect([disk.issue(0x40, { sector: 4095, count: 2 }), disk.reg(REG.error)]).toEqual([FAILED, ID_NOT_FOUND]);
  });

  it("48-bit commands have no cylinders", () => {
    const { disk } = oneDisk();
    expect([disk.issue(0x24, { extended: true, count: 1, device: 0xa0 }), disk.reg(REG.error)]).toEqual([FAILED, ABORTED]); // biome-ignore format: a row
  });
});

describe("SET FEATURES (clause 8)", () => {
  it.each([
    ["PIO 4", 0x0c, true, [0x0007, 0x003f]],
    ["PIO 5", 0x0d, false, [0x0007, 0x003f]],
    ["multiword DMA 2", 0x22, true, [0x0407, 0x003f]],
    ["multiword DMA 3", 0x23, false, [0x0007, 0x003f]],
    ["Ultra DMA 5", 0x45, true, [0x0007, 0x203f]],
    ["Ultra DMA 6", 0x46, false, [0x0007, 0x003f]],
    ["singleword DMA", 0x10, false, [0x0007, 0x003f]],
  ])("transfer mode %s", (_, count, supported, modes) => {
    const { disk } = oneDisk();
    expect(disk.issue(0xef, { features: 3, count })).toBe(supported ? READY : FAILED);
    const words = disk.identify();
    expect([words[63], words[88]]).toEqual(modes);
  });

  it("switches write cache and look-ahead", () => {
    const { disk } = oneDisk();
    for (const [features, word85] of [
      [0x82, 0x4448],
      [0x55, 0x4408],
      [0x02, 0x4428],
      [0xaa, 0x4468],
    ]) {
      // biome-ignore format: a table
      expect(disk.issue(0xef, { features })).toBe(READY);
      expect(disk.identify()[85]).toBe(word85);
    }
    expect(disk.issue(0xef, { features: 0x05 })).toBe(FAILED);
  });

  it("66h keeps the settings over a software reset, CCh does not", () => {
    const { disk } = oneDisk();
    const afterReset = (features: number) => {
      disk.issue(0xef, { features });
      disk.issue(0xc6, { count: 8 });
      disk.issue(0xef, { features: 0x82 });
      disk.control(4);
      disk.control(0);
      const words = disk.identify();
      return [words[59], words[85]];
    };
    expect(afterReset(0x66)).toEqual([0x0108, 0x4448]);
    expect(afterReset(0xcc)).toEqual([0, 0x4468]);
  });
});

it("INITIALIZE DEVICE PARAMETERS gives another translation (clause 8)", () => {
  const { bytes, disk } = oneDisk();
  expect(disk.issue(0x91, { count: 32, device: 0xa7 })).toBe(READY); // 8 heads of 32 sectors
  const words = disk.identify();
  expect([...words.subarray(54, 57)]).toEqual([16, 8, 32]);
  expect([words[1], words[3], words[6]]).toEqual([4, 16, 63]);
  disk.issue(0x20, { sector: 2 * 256 + 5, count: 1, device: 0xa3 }); // cylinder 2, head 3, sector 5
  expect(disk.readWords(256)).toEqual(wordsOf(bytes, (2 * 8 + 3) * 32 + 4));
  expect(disk.issue(0x91, { count: 0, device: 0xa7 })).toBe(FAILED);
});

describe("power management (clause 8)", () => {
  const mode = (disk: ReturnType<typeof oneDisk>["disk"]) => {
    disk.issue(0xe5);
    return disk.reg(REG.count);
  };

  it("CHECK POWER MODE tells active, idle and standby", () => {
    const { disk } = oneDisk();
    expect(mode(disk)).toBe(0xff);
    disk.issue(0xe1);
    expect(mode(disk)).toBe(0x80);
    disk.issue(0xe0);
    expect(mode(disk)).toBe(0x00);
    disk.issue(0x40, { count: 1 });
    expect(mode(disk)).toBe(0xff);
  });

  it.each([
    ["5 s steps", 2, 10e9],
    ["half hours", 242, 3600e9],
    ["21 minutes", 252, 1260e9],
    ["21 minutes 15 seconds", 255, 1275e9],
  ])("the standby timer counts %s", (_, count, ns) => {
    const { ide, disk } = oneDisk();
    disk.issue(0xe3, { count });
    ide.clock.advance(ns - 1);
    expect(mode(disk)).toBe(0x80);
    ide.clock.advance(ns);
    expect(mode(disk)).toBe(0x00);
  });

  it("SLEEP hears nothing but a reset", () => {
    const { disk } = oneDisk();
    disk.issue(0xe6);
    disk.status();
    expect(disk.issue(0x20, { count: 1 })).toBe(READY);
    disk.control(4);
    disk.control(0);
    expect(disk.issue(0x20, { count: 1 })).toBe(DATA);
  });
});

describe("host protected area (clause 8, SET MAX ADDRESS)", () => {
  it("READ NATIVE MAX ADDRESS tells the last sector", () => {
    const { disk } = oneDisk();
    expect([disk.issue(0xf8), disk.sector()]).toEqual([READY, SECTORS - 1]);
    expect([disk.issue(0x27, { extended: true }), disk.reg(REG.low), disk.reg(REG.mid)]).toEqual([READY, 0xff, 0x0f]);
  });

  it("SET MAX ADDRESS works right behind it, until a hardware reset unless made permanent", () => {
    const { ide, disk } = oneDisk();
    expect([disk.issue(0xf9, { sector: 99 }), disk.reg(REG.error)]).toEqual([FAILED, ABORTED]);
    disk.issue(0xf8);
    expect(disk.issue(0xf9, { sector: 99 })).toBe(READY);
    expect(disk.identify()[60]).toBe(100);
    expect(disk.issue(0x20, { sector: 100, count: 1 })).toBe(FAILED);
    ide.reset();
    ide.start();
    expect(disk.identify()[60]).toBe(SECTORS);
    disk.issue(0x27, { extended: true });
    expect(disk.issue(0x37, { sector: 199, count: 1, extended: true })).toBe(READY);
    ide.reset();
    ide.start();
    expect(disk.identify()[60]).toBe(200);
    disk.issue(0xf8);
    expect([disk.issue(0xf9, { sector: 99, count: 1 }), disk.reg(REG.error)]).toEqual([FAILED, ID_NOT_FOUND]);
  });
});

describe("two drives, one and none on a cable (clauses 4 and 9)", () => {
  const disks = () => [1, 2, 3].map((n) => memoryStorage(numberedDisk(n * 100)));

  it("each has its own capacity and number", () => {
    const ide = ideBench(disks());
    const [first, second] = [LBA, LBA | 0x10].map((device) => ide.channel(PRIMARY).identify(device));
    expect([first[60], first[93], second[60], second[93]]).toEqual([100, 0x603b, 200, 0x6b00]);
    const third = ide.channel(SECONDARY).identify();
    expect([third[60], third[93], textOf(third.subarray(10, 20))]).toEqual([300, 0x604b, "PORTICO2"]);
  });

  it("only the selected one interrupts", () => {
    const ide = ideBench(disks());
    const channel = ide.channel(PRIMARY);
    channel.issue(0xe7, { device: LBA | 0x10 });
    expect(ide.lines.level(GSI)).toBe(true);
    channel.write(REG.device, LBA);
    expect(ide.lines.level(GSI)).toBe(false);
    channel.write(REG.device, LBA | 0x10);
    expect(ide.lines.level(GSI)).toBe(true);
  });

  it("device 0 answers for an absent device 1: registers as written, status 0, no commands", () => {
    const { ide, disk } = oneDisk();
    disk.write(REG.device, LBA | 0x10);
    disk.write(REG.count, 0x55);
    disk.write(REG.low, 0xaa);
    expect([disk.reg(REG.count), disk.reg(REG.low), disk.status(), disk.alternate()]).toEqual([0x55, 0xaa, 0, 0]);
    disk.write(REG.status, 0xec);
    expect([disk.status(), ide.lines.level(GSI)]).toEqual([0, false]);
    disk.write(REG.device, LBA);
    expect(disk.status()).toBe(READY);
  });

  it("an empty cable floats, with BSY pulled low", () => {
    const { ide } = oneDisk();
    const empty = ide.channel(SECONDARY);
    empty.write(REG.count, 0x55);
    empty.write(REG.status, 0xec);
    expect([empty.reg(REG.count), empty.status(), empty.alternate(), ide.read(0x170, 2)]).toEqual([0x7f, 0x7f, 0x7f, 0xff7f]); // biome-ignore format: a row
    expect(ide.lines.level(15)).toBe(false);
  });
});

describe("resets and interrupts (clause 9)", () => {
  const signature = (disk: ReturnType<typeof oneDisk>["disk"]) =>
    [REG.count, REG.low, REG.mid, REG.high, REG.device, REG.error].map((register) => disk.reg(register));

  it("shows the signature after power-on", () => {
    const { disk } = oneDisk();
    expect([...signature(disk), disk.status()]).toEqual([1, 1, 0, 0, 0, 1, READY]);
  });

  it("SRST: busy while it is set, then the signature, device 0 selected and no interrupt", () => {
    const { ide, disk } = oneDisk();
    disk.issue(0x20, { sector: 5, count: 9, device: LBA });
    disk.control(4);
    expect([disk.alternate(), ide.lines.level(GSI)]).toEqual([0x80, false]);
    disk.write(REG.status, 0xec); // not heard
    disk.control(0);
    expect([...signature(disk), disk.status()]).toEqual([1, 1, 0, 0, 0, 1, READY]);
    expect(ide.lines.edges(GSI)).toBe(1);
  });

  it("EXECUTE DEVICE DIAGNOSTIC is for both drives, whichever is selected", () => {
    const { ide, disk } = oneDisk();
    disk.issue(0x90, { device: LBA | 0x10 });
    expect(ide.lines.level(GSI)).toBe(true);
    expect([...signature(disk), disk.status()]).toEqual([1, 1, 0, 0, 0, 1, READY]);
  });

  it("nIEN keeps the line low, and lets it rise when cleared", () => {
    const { ide, disk } = oneDisk();
    disk.control(2);
    disk.issue(0xe7);
    expect(ide.lines.level(GSI)).toBe(false);
    disk.control(0);
    expect(ide.lines.level(GSI)).toBe(true);
  });

  it("a new command takes the last interrupt back: each has its edge", () => {
    const { ide, disk } = oneDisk();
    disk.issue(0xe7);
    disk.issue(0xe7);
    expect([ide.lines.edges(GSI), ide.lines.level(GSI)]).toEqual([2, true]);
  });
});
