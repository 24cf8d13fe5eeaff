/** Expectations from the PIIX3 data sheet (Intel 290550), "PCI Configuration Registers" and "Bus Master IDE Registers". */
import fc from "fast-check";
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
} from "../../../test/devices/ide-bench.ts";
import { copyOnWriteStorage, memoryStorage } from "../../device/storage.ts";

const TO_MEMORY = 0x09;
const FROM_MEMORY = 0x01;
/** Bus master status. */
const ACTIVE = 1;
const ERROR = 2;
const INTERRUPT = 4;
const TABLE = 0x100;

describe("configuration space", () => {
  it.each([
    ["vendor and device", 0x00, 4, 0x7010_8086],
    ["command: I/O and bus master, as started", 0x04, 2, 0x0005],
    ["status: fast back-to-back, medium DEVSEL#", 0x06, 2, 0x0280],
    ["class: IDE, both channels in compatibility mode, bus master", 0x09, 3, 0x01_0180],
    ["no BARs for the channels", 0x10, 4, 0],
    ["bus master BAR", 0x20, 4, 0xc001],
    ["no interrupt pin", 0x3d, 1, 0],
    ["IDETIM: both channels decode, as firmware leaves them", 0x40, 4, 0x8000_8000],
    ["SIDETIM", 0x44, 1, 0],
  ])("%s", (_, offset, width, expected) => {
    const { ide } = oneDisk();
    const value =
      width === 3 ? ide.config.read(offset, 1) + 256 * ide.config.read(offset + 1, 2) : ide.config.read(offset, width);
    expect(value).toBe(expected);
  });

  it("keeps the bits that are there", () => {
    const { ide } = oneDisk();
    for (const [offset, mask] of [
      [0x04, 0x05],
      [0x40, 0xf3ff],
      [0x42, 0xf3ff],
      [0x44, 0x00ff],
    ]) {
      // biome-ignore format: a table
      ide.config.write(offset, 0xffff, 2);
      expect(ide.config.read(offset, 2)).toBe(mask);
    }
    ide.config.write(0x20, 0xffff_ffff, 4);
    expect(ide.config.read(0x20, 4)).toBe(0xffff_fff1);
  });

  it.each([
    ["the channel's decode enable bit", 0x40, 0x0000],
    ["I/O space enable", 0x04, 0x0004],
  ])("without %s nobody answers", (_, offset, value) => {
    const { ide, disk } = oneDisk();
    ide.config.write(offset, value, 2);
    disk.write(REG.count, 0x55);
    expect([disk.status(), disk.alternate(), ide.read(0x1f0, 2), disk.reg(REG.count)]).toEqual([
      0xff, 0xff, 0xffff, 0xff,
    ]);
    ide.start();
    expect([disk.status(), disk.reg(REG.count)]).toEqual([READY, 1]);
  });

  it("decodes nothing after a reset, until firmware has been there", () => {
    const { ide, disk } = oneDisk();
    ide.reset();
    expect([disk.status(), ide.config.read(0x40, 4)]).toEqual([0xff, 0]);
    ide.start();
    expect(disk.status()).toBe(READY);
  });

  it.each([0, 5])("%d disks are refused", (count) => {
    const disks = Array.from({ length: count }, () => memoryStorage(new Uint8Array(512)));
    expect(() => ideBench(disks)).toThrow(expect.objectContaining({ code: "DISK_COUNT" }));
  });
});

describe("bus master registers", () => {
  it("keep what they have bits for", () => {
    const { ide, disk } = oneDisk();
    ide.write(PRIMARY.busMaster, 0xf8);
    ide.write(PRIMARY.busMaster + 2, 0xff);
    ide.write(PRIMARY.busMaster + 4, 0xffff_ffff, 4);
    expect([ide.read(0xc000, 4), ide.read(0xc004, 4)]).toEqual([0x0060_0008, 0xffff_fffc]);
    expect(ide.read(SECONDARY.busMaster, 4)).toBe(0);
    expect(disk.masterStatus(0)).toBe(0);
  });

  it("the interrupt bit follows rising edges, of PIO too; clearing it leaves the line alone", () => {
    const { ide, disk } = oneDisk();
    disk.issue(0xe7);
    expect([disk.masterStatus(), ide.lines.level(14)]).toEqual([INTERRUPT, true]);
    expect([disk.masterStatus(INTERRUPT), ide.lines.level(14)]).toEqual([0, true]);
    disk.issue(0xe7);
    expect(disk.masterStatus()).toBe(INTERRUPT);
  });
});

describe("DMA (SFF-8038i, section 2)", () => {
  it.each([
    ["READ DMA", 0xc8, false],
    ["READ DMA EXT", 0x25, true],
  ])("%s scatters sectors over regions of any even size", (_, code, extended) => {
    const { ide, bytes, disk } = oneDisk();
    disk.regions(TABLE, [[0x1000, 1000], [0x3002, 22], [0x8000, 514]]); // biome-ignore format: a table
    expect(disk.issue(code, { sector: 20, count: 3, extended })).toBe(DATA);
    expect([disk.masterStatus(), ide.lines.level(14)]).toEqual([0, false]);
    disk.masterCommand(TO_MEMORY);
    expect([disk.masterStatus(), ide.lines.level(14), disk.status()]).toEqual([INTERRUPT, true, READY]);
    const got = Buffer.concat([[0x1000, 1000], [0x3002, 22], [0x8000, 514]].map(([at, n]) => ide.memory.subarray(at, at + n))); // biome-ignore format: a table
    expect(Buffer.compare(got, bytes.subarray(20 * 512, 23 * 512))).toBe(0);
    expect([ide.memory[0x1000 + 1000], ide.memory[0x8000 + 514]]).toEqual([0, 0]);
  });

  it.each([
    ["WRITE DMA", 0xca, false],
    ["WRITE DMA EXT", 0x35, true],
  ])("%s gathers them", (_, code, extended) => {
    const { ide, bytes, disk } = oneDisk();
    for (let i = 0; i < 0x2_0000; i++) ide.memory[0x1_0000 + i] = i * 7 + (i >> 8);
    // A byte count of 0 is 64 KiB.
    disk.regions(TABLE, [[0x1_0000, 0], [0x2_0000, 0]]); // biome-ignore format: a table
    disk.masterCommand(FROM_MEMORY);
    expect(disk.masterStatus()).toBe(ACTIVE);
    disk.issue(code, { sector: 300, count: 256, extended }); // the engine was there first
    expect([disk.masterStatus(), disk.status()]).toEqual([INTERRUPT, READY]);
    expect(Buffer.compare(bytes.subarray(300 * 512, 556 * 512), ide.memory.subarray(0x1_0000, 0x3_0000))).toBe(0);
    expect(Buffer.compare(bytes.subarray(556 * 512), numberedDisk(SECTORS).subarray(556 * 512))).toBe(0);
  });

  it("regions larger than the transfer leave the function active", () => {
    const { disk } = oneDisk();
    disk.regions(TABLE, [[0x1000, 4096]]);
    disk.issue(0xc8, { count: 1 });
    disk.masterCommand(TO_MEMORY);
    expect(disk.masterStatus()).toBe(ACTIVE | INTERRUPT);
    disk.masterCommand(0);
    expect(disk.masterStatus(INTERRUPT)).toBe(0);
  });

  it("regions smaller than the transfer leave the drive waiting without an interrupt, and another table goes on", () => {
    const { ide, bytes, disk } = oneDisk();
    disk.regions(TABLE, [[0x1000, 600]]);
    disk.issue(0xc8, { count: 2 });
    disk.masterCommand(TO_MEMORY);
    expect([disk.masterStatus(), disk.alternate(), ide.lines.level(14)]).toEqual([0, DATA, false]);
    disk.masterCommand(0);
    disk.regions(TABLE, [[0x2000, 424]]);
    disk.masterCommand(TO_MEMORY);
    expect(disk.masterStatus()).toBe(INTERRUPT);
    expect(Buffer.compare(ide.memory.subarray(0x2000, 0x2000 + 424), bytes.subarray(600, 1024))).toBe(0);
  });

  it.each([
    ["a region outside memory", 0x7f00_0000, TABLE],
    ["a region that leaves memory", 0x3_fff0, TABLE],
    ["a region that wraps", 0xffff_fff0, TABLE],
    ["a table outside memory", 0x1000, 0x4_0000],
  ])("%s is a master abort", (_, address, table) => {
    const { ide, disk } = oneDisk();
    if (table < ide.memory.length)
      disk.regions(table, [[0x1000, 512], [address, 512]]); // biome-ignore format: a table
    else ide.write(PRIMARY.busMaster + 4, table, 4);
    disk.issue(0xc8, { count: 2 });
    disk.masterCommand(TO_MEMORY);
    expect([disk.masterStatus(), disk.alternate(), ide.lines.level(14)]).toEqual([ERROR, DATA, false]);
    expect(ide.config.read(0x06, 2)).toBe(0x2280);
    ide.config.write(0x06, 0x2000, 2);
    expect([ide.config.read(0x06, 2), disk.masterStatus(ERROR)]).toEqual([0x0280, 0]);
  });

  it("waits for bus master enable and for the right direction", () => {
    const { ide, disk } = oneDisk();
    disk.regions(TABLE, [[0x1000, 512]]);
    ide.config.write(0x04, 0x01, 2);
    disk.issue(0xc8, { count: 1 });
    disk.masterCommand(FROM_MEMORY);
    ide.config.write(0x04, 0x05, 2);
    expect([disk.masterStatus(), disk.alternate()]).toEqual([ACTIVE, DATA]);
    disk.masterCommand(TO_MEMORY); // not while it is active
    expect(ide.read(PRIMARY.busMaster)).toBe(FROM_MEMORY);
    disk.masterCommand(0);
    ide.config.write(0x04, 0x01, 2);
    disk.masterCommand(TO_MEMORY);
    expect(disk.masterStatus()).toBe(ACTIVE);
    ide.config.write(0x04, 0x05, 2);
    expect(disk.masterStatus()).toBe(INTERRUPT);
  });

  it("an error of the drive interrupts, with the function still active", () => {
    const { disk } = oneDisk();
    disk.regions(TABLE, [[0x1000, 512]]);
    disk.masterCommand(TO_MEMORY);
    expect([disk.issue(0xc8, { sector: SECTORS, count: 1 }), disk.masterStatus()]).toEqual([
      FAILED,
      ACTIVE | INTERRUPT,
    ]);
  });
});

type Bench = ReturnType<typeof ideBench>;
const cowBench = () => ideBench([1, 2, 3].map((n) => copyOnWriteStorage(memoryStorage(numberedDisk(n * 300)))));

/** Another controller with disks of its own, in the same state. */
function copyOf(ide: Bench): Bench {
  const copy = cowBench();
  copy.memory.set(ide.memory);
  copy.clock.skip(ide.clock.now() - copy.clock.now());
  copy.load(structuredClone(ide.save()));
  return copy;
}

describe("save and load", () => {
  it("in the middle of a PIO block", () => {
    const ide = cowBench();
    ide.channel(SECONDARY).issue(0x24, { sector: 500, count: 3, extended: true });
    ide.channel(SECONDARY).readWords(300);
    const [rest, copied] = [ide, copyOf(ide)].map((bench) => bench.channel(SECONDARY).readWords(468));
    expect(copied).toEqual(rest);
    expect(copied[467]).toBe((502 * 251 + 255) & 0xffff);
  });

  it("in the middle of a write: the rest completes the sector", () => {
    const ide = cowBench();
    const words = Uint16Array.from({ length: 256 }, (_, i) => i ^ 0xabcd);
    ide.channel(PRIMARY).issue(0x30, { sector: 11, count: 1 });
    ide.channel(PRIMARY).writeWords(words.subarray(0, 100));
    const copy = copyOf(ide).channel(PRIMARY);
    copy.writeWords(words.subarray(100));
    copy.issue(0x20, { sector: 11, count: 1 });
    expect(copy.readWords(256)).toEqual(words);
  });

  it.each([
    ["another number of drives", "SNAPSHOT_MISMATCH", (drives: unknown[]) => drives.pop()],
    [
      "a transfer beyond the buffer",
      "SNAPSHOT_INVALID",
      (drives: { state: object }[]) => Object.assign(drives[0].state, { end: 2 ** 20 }),
    ],
  ])("refuses %s", (_, code, spoil) => {
    const saved = structuredClone(cowBench().save());
    // The function's configuration space comes first.
    const [primary] = saved.state[1] as { channel: { drives: { state: object }[] } }[];
    spoil(primary.channel.drives);
    expect(() => cowBench().load(saved)).toThrow(expect.objectContaining({ code }));
  });

  it("between two tables of a DMA transfer", () => {
    const ide = cowBench();
    const disk = ide.channel(PRIMARY);
    disk.regions(TABLE, [[0x1000, 600]]);
    disk.issue(0xc8, { sector: 8, count: 2 });
    disk.masterCommand(TO_MEMORY);
    const copy = copyOf(ide);
    copy.channel(PRIMARY).masterCommand(0);
    copy.channel(PRIMARY).regions(TABLE, [[0x1258, 424]]);
    copy.channel(PRIMARY).masterCommand(TO_MEMORY);
    expect(Buffer.compare(copy.memory.subarray(0x1000, 0x1400), numberedDisk(10).subarray(8 * 512))).toBe(0);
    expect(copy.lines.level(14)).toBe(true);
  });
});

describe("a guest that writes anything anywhere", () => {
  const COMMANDS = [
    0x00, 0x10, 0x20, 0x24, 0x25, 0x27, 0x29, 0x30, 0x34, 0x35, 0x37, 0x39, 0x40, 0x70, 0x90, 0x91, 0xc4, 0xc5, 0xc6,
    0xc8, 0xca, 0xe0, 0xe3, 0xe5, 0xe6, 0xe7, 0xec, 0xef, 0xf8, 0xf9,
  ];
  const ports = [PRIMARY, SECONDARY].flatMap(({ command, control }) => [
    ...Array.from({ length: 8 }, (_, i) => command + i),
    control,
  ]);
  const access = fc.oneof(
    fc.record({
      kind: fc.constantFrom("port" as const),
      port: fc.oneof(fc.constantFrom(...ports), fc.integer({ min: 0xc000, max: 0xc00f })),
      width: fc.constantFrom(1, 2, 4),
      value: fc.option(fc.oneof(fc.nat(0xff), fc.nat(0xffff_ffff), fc.constantFrom(LBA, LBA | 0x10, 4, 9, TABLE))),
    }),
    fc.record({
      kind: fc.constantFrom("command" as const),
      secondary: fc.boolean(),
      code: fc.constantFrom(...COMMANDS),
      sector: fc.oneof(fc.nat(300), fc.nat(0xfff_ffff)),
      count: fc.oneof(fc.constantFrom(0, 1, 2, 16, 0x22), fc.nat(0xffff)),
      features: fc.constantFrom(2, 3, 0x66, 0x82, 0xcc, 9),
      extended: fc.boolean(),
      device: fc.constantFrom(LBA, LBA | 0x10, 0xa0, 0xb0),
      data: fc.nat(700),
    }),
    fc.record({
      kind: fc.constantFrom("dma" as const),
      secondary: fc.boolean(),
      table: fc.oneof(fc.constantFrom(TABLE, 0xfffc, 0xfff8), fc.nat(0xffff_ffff)),
      address: fc.oneof(fc.nat(0xffff), fc.nat(0xffff_ffff)),
      bytes: fc.nat(0xffff),
      command: fc.constantFrom(0, FROM_MEMORY, TO_MEMORY),
    }),
    fc.record({ kind: fc.constantFrom("config" as const), offset: fc.nat(0x48), value: fc.nat(0xff) }),
  );
  type Access = typeof access extends fc.Arbitrary<infer T> ? T : never;

  function perform(ide: Bench, step: Access): unknown {
    switch (step.kind) {
      case "port":
        if (step.value === null) return ide.read(step.port, step.width);
        return ide.write(step.port, step.value % 2 ** (8 * step.width), step.width);
      case "command": {
        const channel = ide.channel(step.secondary ? SECONDARY : PRIMARY);
        const status = channel.issue(step.code, step);
        channel.writeWords(new Array(step.data).fill(step.sector & 0xffff));
        return [status, channel.readWords(step.data)];
      }
      case "dma": {
        const channel = ide.channel(step.secondary ? SECONDARY : PRIMARY);
        if (step.table + 8 <= ide.memory.length) channel.regions(step.table, [[step.address, step.bytes]]);
        else ide.write((step.secondary ? SECONDARY : PRIMARY).busMaster + 4, step.table, 4);
        channel.masterCommand(step.command);
        return channel.masterStatus();
      }
      case "config":
        ide.config.write(step.offset, step.value, 1);
        return ide.config.read(step.offset, 1);
    }
  }

  it("never makes it throw, and it goes on the same way twice and from a snapshot", () => {
    fc.assert(
      fc.property(
        fc.array(access, { minLength: 5, maxLength: 40 }),
        fc.array(access, { maxLength: 20 }),
        (first, then) => {
          const [ide, twin] = [cowBench(), cowBench()];
          const run = (bench: Bench, steps: Access[]) => steps.map((step) => perform(bench, step));
          expect(run(twin, first)).toEqual(run(ide, first));
          const copy = copyOf(ide);
          const rest = run(ide, then);
          expect(run(copy, then)).toEqual(rest);
          expect(copy.save()).toEqual(ide.save());
          expect(Buffer.compare(copy.memory, ide.memory)).toBe(0);
          expect([copy.lines.level(14), copy.lines.level(15)]).toEqual([ide.lines.level(14), ide.lines.level(15)]);
        },
      ),
      { seed: 7010, numRuns: 40 },
    );
  });
});
