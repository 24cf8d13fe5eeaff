import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createIoClient,
  MmioRangeConflictError,
  type MmioReadMode,
  MmioSpace,
  type MmioSpaceOptions,
  type MmioWriteMode,
  PortSpace,
  type RangeHandlers,
} from "./index.ts";

function bench(options?: MmioSpaceOptions) {
  const mmio = new MmioSpace(options);
  let retired = 0;
  const io = createIoClient(new PortSpace(), mmio, { instructionTag: () => retired++ });
  return {
    mmio,
    io,
    read(address: number, width: number): number[] {
      const buffer = new Uint8Array(16).fill(0xee);
      expect(io.mmioRead(address, width, buffer)).toBe(0);
      expect(buffer.subarray(width).every((byte) => byte === 0xee)).toBe(true);
      return [...buffer.subarray(0, width)];
    },
    write(address: number, ...bytes: number[]): void {
      expect(io.mmioWrite(address, bytes.length, Uint8Array.from([...bytes, ...new Array(16).fill(0xdd)]))).toBe(0);
    },
  };
}
/** Memory as a device, and what it saw: `r offset/width` and `w offset/width value`. */
function backed(bytes: Uint8Array, log: string[] = []): RangeHandlers {
  return {
    ring0: {
      read: (offset, width) => {
        log.push(`r ${offset}/${width}`);
        let value = 0;
        for (let i = width - 1; i >= 0; i--) value = value * 256 + bytes[offset + i]!;
        return value;
      },
      write: (offset, value, width) => {
        log.push(`w ${offset}/${width} ${value.toString(16)}`);
        for (let i = 0; i < width; i++) bytes[offset + i] = value >>> (8 * i);
      },
    },
  };
}
const codeOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return undefined;
};
const BASE = 0xfed0_0000;

describe("access modes, on the region bytes 00 11 22 33 44 55 66 77", () => {
  function modes(readMode: MmioReadMode, writeMode: MmioWriteMode) {
    const { mmio, read, write } = bench();
    const bytes = Uint8Array.of(0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77);
    const log: string[] = [];
    mmio.register("d", { base: BASE, length: 8 }, backed(bytes, log), { readMode, writeMode });
    return {
      bytes,
      log,
      read: (at: number, width: number) => read(BASE + at, width),
      write: (at: number, ...data: number[]) => write(BASE + at, ...data),
    };
  }

  // The digest's vectors (io-virtualization, section A, "MMIO flags").
  it("dword read of 2 bytes at 3: dwords at 0 and 4, result 4433", () => {
    const { log, read } = modes("dword", "passthrough");
    expect(read(3, 2)).toEqual([0x33, 0x44]);
    expect(log).toEqual(["r 0/4", "r 4/4"]);
  });
  it.each<[MmioWriteMode, string[]]>([
    ["dword-zeroed", ["w 0/4 ab0000"]],
    ["dword-qword-zeroed", ["w 0/4 ab0000"]],
    ["dword-read-missing", ["r 0/4", "w 0/4 33ab1100"]],
    ["dword-qword-read-missing", ["r 0/4", "w 0/4 33ab1100"]],
    ["only-dword", []],
    ["only-dword-qword", []],
    ["passthrough", ["w 2/1 ab"]],
  ])("%s write of AB at 2", (mode, expected) => {
    const { log, write } = modes("dword", mode);
    write(2, 0xab);
    expect(log).toEqual(expected);
  });

  it.each<[MmioReadMode, number, number, string[]]>([
    ["passthrough", 3, 1, ["r 3/1"]],
    ["passthrough", 3, 2, ["r 3/2"]],
    ["passthrough", 1, 4, ["r 1/4"]],
    ["passthrough", 0, 8, ["r 0/4", "r 4/4"]],
    ["passthrough", 1, 3, ["r 1/1", "r 2/2"]],
    ["passthrough", 1, 7, ["r 1/1", "r 2/2", "r 4/4"]],
    ["dword", 4, 4, ["r 4/4"]],
    ["dword", 5, 1, ["r 4/4"]],
    ["dword", 0, 8, ["r 0/4", "r 4/4"]],
    ["dword-qword", 0, 8, ["r 0/4", "r 4/4"]],
    ["dword-qword", 2, 4, ["r 0/4", "r 4/4"]],
  ])("%s read at %i of %i bytes", (mode, at, width, expected) => {
    const { log, read, bytes } = modes(mode, "passthrough");
    expect(read(at, width)).toEqual([...bytes.subarray(at, at + width)]);
    expect(log).toEqual(expected);
  });

  it.each<[MmioWriteMode, number, number[], string[]]>([
    ["passthrough", 1, [1, 2, 3, 4], ["w 1/4 4030201"]],
    ["passthrough", 1, [1, 2, 3], ["w 1/1 1", "w 2/2 302"]],
    ["dword-zeroed", 4, [1, 2, 3, 4], ["w 4/4 4030201"]],
    ["dword-zeroed", 3, [1, 2], ["w 0/4 1000000", "w 4/4 2"]],
    ["dword-zeroed", 0, [1, 2, 3, 4, 5, 6, 7, 8], ["w 0/4 4030201", "w 4/4 8070605"]],
    ["dword-read-missing", 3, [1, 2], ["r 0/4", "w 0/4 1221100", "r 4/4", "w 4/4 77665502"]],
    ["dword-read-missing", 2, [1, 2, 3, 4, 5, 6], ["r 0/4", "w 0/4 2011100", "w 4/4 6050403"]],
    ["only-dword", 4, [1, 2, 3, 4], ["w 4/4 4030201"]],
    ["only-dword", 2, [1, 2, 3, 4], []],
    ["only-dword", 0, [1, 2, 3, 4, 5, 6, 7, 8], []],
    ["only-dword-qword", 0, [1, 2, 3, 4, 5, 6, 7, 8], ["w 0/4 4030201", "w 4/4 8070605"]],
    ["only-dword-qword", 4, [1, 2, 3, 4], ["w 4/4 4030201"]],
    ["only-dword-qword", 1, [1], []],
  ])("%s write at %i of %j", (mode, at, data, expected) => {
    const { log, write } = modes("dword", mode);
    write(at, ...data);
    expect(log).toEqual(expected);
  });

  it("are dword and dword-read-missing unless said otherwise", () => {
    const { mmio, write } = bench();
    const log: string[] = [];
    mmio.register("d", { base: BASE, length: 8 }, backed(new Uint8Array(8).fill(0x99), log));
    write(BASE + 1, 0);
    expect(log).toEqual(["r 0/4", "w 0/4 99990099"]);
  });
});

describe("registration", () => {
  it.each([
    ["empty", BASE, 0],
    ["below 0", -4, 8],
    ["beyond 2^52", 2 ** 52 - 4, 8],
    ["no integers", 0.5, 4],
    ["not on dwords", BASE + 2, 4],
    ["not of dwords", BASE, 6],
  ])("of an impossible range (%s) is refused", (_, base, length) => {
    const { mmio } = bench();
    expect(codeOf(() => mmio.register("d", { base, length }, backed(new Uint8Array(8))))).toBe("INVALID_MMIO_RANGE");
  });

  it("on odd addresses takes pass-through modes", () => {
    const { mmio, read } = bench();
    const passthrough = { readMode: "passthrough", writeMode: "passthrough" } as const;
    mmio.register("d", { base: BASE + 1, length: 3 }, backed(Uint8Array.of(1, 2, 3)), passthrough);
    expect(read(BASE, 5)).toEqual([0xff, 1, 2, 3, 0xff]);
  });

  it("without handlers is refused", () => {
    expect(codeOf(() => bench().mmio.register("d", { base: BASE, length: 4 }, {}))).toBe("NO_HANDLERS");
  });

  it("over somebody else, or over memory, is refused", () => {
    const { mmio } = bench({ memory: { overlaps: (base) => base < 0x10_0000 } });
    mmio.register("hpet", { base: 0xfed0_0000, length: 0x400 }, backed(new Uint8Array(8)));
    const attempt = () => mmio.register("tpm", { base: 0xfed0_0000, length: 0x1000 }, backed(new Uint8Array(8)));
    expect(attempt).toThrow(MmioRangeConflictError);
    expect(attempt).toThrow(
      "MMIO 0xfed00000-0xfed003ff is already claimed by 'hpet'; give 'tpm' (0xfed00000-0xfed00fff) another base",
    );
    expect(codeOf(() => mmio.register("d", { base: 0x8000, length: 4 }, backed(new Uint8Array(4))))).toBe(
      "MMIO_RANGE_CONFLICT",
    );
    const region = mmio.register("bar", { base: 0xe000_0000, length: 0x1000 }, backed(new Uint8Array(8)));
    expect(codeOf(() => region.move(0x8000))).toBe("MMIO_RANGE_CONFLICT");
    expect(mmio.ownerOf(0xe000_0fff)).toBe("bar");
  });

  it("is undone in part, on dwords", () => {
    const { mmio, read } = bench();
    const bytes = new Uint8Array(0x3000).map((_, i) => i >>> 4);
    mmio.register("d", { base: BASE, length: 0x3000 }, backed(bytes));
    expect(codeOf(() => mmio.unregister("d", { base: BASE + 2, length: 4 }))).toBe("INVALID_MMIO_RANGE");
    expect(codeOf(() => mmio.unregister("e", { base: BASE, length: 4 }))).toBe("NOT_MMIO_RANGE_OWNER");
    expect(codeOf(() => mmio.unregister("d", { base: BASE + 0x2ffc, length: 8 }))).toBe("MMIO_RANGE_NOT_FOUND");
    mmio.unregister("d", { base: BASE + 0x1008, length: 0x1000 });
    expect(read(BASE + 0x1004, 8)).toEqual([...new Array(4).fill(0x00), ...new Array(4).fill(0xff)]);
    expect(read(BASE + 0x2004, 8)).toEqual([...new Array(4).fill(0xff), ...new Array(4).fill(0x00)]);
    expect(read(BASE + 0x2010, 4)).toEqual(new Array(4).fill(0x01));
  });
});

describe("nobody's addresses", () => {
  it.each([1, 2, 3, 4, 8, 16])("read as ones, %d bytes", (width) => {
    const { read, write } = bench();
    write(BASE, ...new Array(width).fill(0));
    expect(read(BASE, width)).toEqual(new Array(width).fill(0xff));
    expect(read(2 ** 45 + 4, width)).toEqual(new Array(width).fill(0xff));
  });
});

describe("a 64-bit BAR", () => {
  it("may lie above 4 GiB, be large, and move", () => {
    const { mmio, read } = bench();
    const GIB = 2 ** 30;
    const handlers: RangeHandlers = { ring0: { read: (offset) => Math.floor(offset / 0x1000) >>> 0 } };
    const bar = mmio.register("gpu", { base: 256 * GIB - 0x1000, length: 3 * GIB }, handlers);
    mmio.register("nic", { base: 259 * GIB, length: 0x1000 }, { ring0: { read: () => 0x77 } });
    expect(read(256 * GIB - 0x1000, 4)).toEqual([0, 0, 0, 0]);
    expect(read(256 * GIB, 4)).toEqual([1, 0, 0, 0]);
    expect(read(258 * GIB, 4)).toEqual([1, 0, 8, 0]);
    expect(read(259 * GIB - 0x1004, 8)).toEqual([0xff, 0xff, 0x0b, 0, 0xff, 0xff, 0xff, 0xff]);
    expect(read(259 * GIB, 4)).toEqual([0x77, 0, 0, 0]);
    expect(codeOf(() => bar.move(257 * GIB))).toBe("MMIO_RANGE_CONFLICT");
    bar.move(0xf000_0000);
    expect(read(258 * GIB, 1)).toEqual([0xff]);
    expect(read(0xffff_fffc, 8)).toEqual([0xff, 0xff, 0, 0, 0, 0, 1, 0]);
    bar.dispose();
    expect(read(0xf000_0000, 1)).toEqual([0xff]);
    expect(read(259 * GIB, 1)).toEqual([0x77]);
  });
});

it("keeps the rest of a gigabyte when part of it is given back", () => {
  const { mmio } = bench();
  const base = 2 ** 40;
  mmio.register("bar", { base, length: 2 ** 30 }, { ring0: { read: () => 1 } });
  mmio.unregister("bar", { base: base + 0x1000, length: 0x1800 });
  const owners = [0, 0xfff, 0x1000, 0x27ff, 0x2800, 0x3000, 2 ** 30 - 1].map((at) => mmio.ownerOf(base + at));
  expect(owners).toEqual(["bar", "bar", undefined, undefined, "bar", "bar", "bar"]);
});

it("tells neighbours apart in pages that are shared, then not, then shared again", () => {
  const { mmio } = bench();
  const claim = (base: number, length: number) =>
    mmio.register(`d${base}`, { base, length }, { ring0: { read: () => 0 } });
  for (let round = 0; round < 3; round++) {
    const regions = [0x1000, 0x1800, 0x5000, 0x5800, 0x9000, 0x9800].map((base) => claim(base, 0x800));
    for (const base of [0x1000, 0x1800, 0x5000, 0x5800, 0x9000, 0x9800]) {
      expect([mmio.ownerOf(base), mmio.ownerOf(base + 0x7ff)]).toEqual([`d${base}`, `d${base}`]);
    }
    for (const region of regions) region.dispose();
    const large = claim(0, 0xa000);
    expect([0x1000, 0x5800, 0x9fff].map((at) => mmio.ownerOf(at))).toEqual(["d0", "d0", "d0"]);
    large.dispose();
  }
});

/** Places where tables change: a page border, the 4 GiB border, a gigabyte border above it. */
const CORNERS = [0x2000, 0x1_0000_0000, 0x1_4000_0000];

it("agrees with a map of bytes, whoever shares a page (model)", () => {
  const place = fc.tuple(fc.constantFrom(...CORNERS), fc.integer({ min: -40, max: 40 })).map(([c, d]) => c + d);
  const length = fc.oneof(
    fc.integer({ min: 1, max: 30 }),
    fc.constantFrom(0x1000, 0x2000, 0x1fff, 0x4000_0000, 0x8000_0000),
  );
  const command = fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant("register" as const), base: place, length }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("unregister" as const), base: place, length }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("move" as const), which: fc.nat(20), base: place }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("dispose" as const), which: fc.nat(20) }) },
  );
  const modes = { readMode: "passthrough", writeMode: "passthrough" } as const;
  fc.assert(
    fc.property(fc.array(command, { maxLength: 25 }), fc.array(place, { maxLength: 20 }), (commands, extra) => {
      const { mmio } = bench();
      const regions: ReturnType<MmioSpace["register"]>[] = [];
      /** Spans of offsets that are left, as the plainest list that can be right. */
      let spans: { region: number; base: number; from: number; to: number }[] = [];
      const at = (address: number) => spans.find((s) => address >= s.base + s.from && address < s.base + s.to);
      const meets = (from: number, to: number, but = -1) =>
        spans.some((s) => s.region !== but && s.base + s.from < to && from < s.base + s.to);
      for (const c of commands) {
        if (c.do === "register") {
          const code = codeOf(() => {
            const number = regions.length;
            regions.push(mmio.register(`d${number}`, c, { ring0: { read: () => 0 } }, modes));
          });
          expect(code).toBe(meets(c.base, c.base + c.length) ? "MMIO_RANGE_CONFLICT" : undefined);
          if (!code) spans.push({ region: regions.length - 1, base: c.base, from: 0, to: c.length });
        } else if (c.do === "unregister") {
          // Only what one registration holds in full: the other cases are tested by ports.
          const span = at(c.base);
          if (!span || c.base + c.length > span.base + span.to) continue;
          mmio.unregister(`d${span.region}`, c);
          const from = c.base - span.base;
          const parts = [
            { ...span, to: from },
            { ...span, from: from + c.length },
          ];
          spans = [...spans.filter((s) => s !== span), ...parts.filter((s) => s.from < s.to)];
        } else if (regions.length > 0) {
          const which = c.which % regions.length;
          if (c.do === "dispose") {
            regions[which]!.dispose();
            spans = spans.filter((s) => s.region !== which);
          } else {
            const refused = spans.some((s) => s.region === which && meets(c.base + s.from, c.base + s.to, which));
            expect(codeOf(() => regions[which]!.move(c.base))).toBe(refused ? "MMIO_RANGE_CONFLICT" : undefined);
            if (!refused) spans = spans.map((s) => (s.region === which ? { ...s, base: c.base } : s));
          }
        }
      }
      const edges = spans.flatMap((s) => [s.base + s.from, s.base + s.to]).flatMap((e) => [e - 1, e]);
      for (const address of [...edges, ...extra, ...CORNERS]) {
        const span = at(address);
        expect(mmio.ownerOf(address)).toBe(span && `d${span.region}`);
      }
    }),
    { numRuns: 200, seed: 3 },
  );
});

it("splits and merges like memory of bytes, in every mode, over holes and neighbours (model)", () => {
  // Three devices of three modes side by side, a hole, and one more that ends at a page's end.
  const layout = [
    { base: BASE + 0xfd0, length: 12 },
    { base: BASE + 0xfdc, length: 8 },
    { base: BASE + 0xfec, length: 20 },
    { base: BASE + 0x1000, length: 16 },
  ];
  const readMode = fc.constantFrom<MmioReadMode>("passthrough", "dword", "dword-qword");
  const writeMode = fc.constantFrom<MmioWriteMode>(
    "passthrough",
    "dword-zeroed",
    "dword-qword-zeroed",
    "dword-read-missing",
    "dword-qword-read-missing",
    "only-dword",
    "only-dword-qword",
  );
  const access = fc.record({
    at: fc.integer({ min: 0xfc0, max: 0x1018 }),
    data: fc.uint8Array({ minLength: 1, maxLength: 16 }),
    write: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.tuple(...layout.map(() => fc.record({ readMode, writeMode }))),
      fc.array(access, { maxLength: 12 }),
      (modes, accesses) => {
        const { mmio, read, write } = bench();
        const logs = layout.map(() => [] as string[]);
        const model = new Map<number, number>();
        layout.forEach((range, i) => {
          const bytes = new Uint8Array(range.length).map((_, at) => at * 7 + i * 64 + 1);
          bytes.forEach((byte, at) => {
            model.set(range.base + at, byte);
          });
          mmio.register(`d${i}`, range, backed(bytes, logs[i]), modes[i]);
        });
        const deviceAt = (a: number) => layout.findIndex((r) => a >= r.base && a < r.base + r.length);
        for (const { at, data, write: isWrite } of accesses) {
          const address = BASE + at;
          if (!isWrite) {
            const expected = [...data].map((_, i) => model.get(address + i) ?? 0xff);
            expect(read(address, data.length)).toEqual(expected);
            continue;
          }
          write(address, ...data);
          // Each device's part of the access, on its own.
          layout.forEach((_, device) => {
            const part = [...data.keys()].map((i) => address + i).filter((a) => deviceAt(a) === device);
            if (part.length === 0) return;
            const { writeMode } = modes[device]!;
            const aligned = part.length === 4 && part[0]! % 4 === 0;
            const alignedQword = part.length === 8 && part[0]! % 8 === 0;
            if (writeMode === "only-dword" && !aligned) return;
            if (writeMode === "only-dword-qword" && !aligned && !alignedQword) return;
            if (writeMode.endsWith("zeroed")) {
              for (const a of part) for (let i = 0; i < 4; i++) model.set(a - (a % 4) + i, 0);
            }
            for (const a of part) model.set(a, data[a - address]!);
          });
        }
        for (const [address, byte] of model) expect(read(address, 1)).toEqual([byte]);
        // Handlers of dword modes never saw anything but aligned dwords.
        logs.forEach((log, i) => {
          const { readMode, writeMode } = modes[i]!;
          for (const entry of log) {
            const [, direction, offset, width] = /^([rw]) (\d+)\/(\d+)/.exec(entry)!;
            const mode = direction === "r" ? readMode : writeMode;
            if (mode === "passthrough") expect(["1", "2", "4"]).toContain(width);
            else expect([Number(offset) % 4, width]).toEqual([0, "4"]);
          }
        });
      },
    ),
    { numRuns: 400, seed: 4 },
  );
});

it("finds 10,000 ranges in one look-up each", () => {
  const { mmio } = bench();
  for (let i = 0; i < 10_000; i++)
    mmio.register(`d${i}`, { base: BASE + i * 16, length: 12 }, { ring0: { read: () => i } });
  const buffer = new Uint8Array(4);
  let retired = 0;
  const io = createIoClient(new PortSpace(), mmio, { instructionTag: () => retired++ });
  io.mmioRead(BASE + 9_876 * 16 + 8, 4, buffer);
  expect(new DataView(buffer.buffer).getUint32(0, true)).toBe(9_876);
  expect(mmio.ownerOf(BASE + 9_876 * 16 + 12)).toBeUndefined();
});
