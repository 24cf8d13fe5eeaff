import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  createIoClient,
  DEFER,
  MmioSpace,
  PortRangeConflictError,
  PortSpace,
  type RangeHandlers,
  type Region,
  UNUSED,
} from "./index.ts";

/** A port space, and a vCPU whose every access is an instruction of its own. */
function bench() {
  const ports = new PortSpace();
  let retired = 0;
  const io = createIoClient(ports, new MmioSpace(), { instructionTag: () => retired++ });
  return { ports, io };
}
/** Answers each byte of an access with its offset, plus `tag`. */
const offsets = (tag = 0): RangeHandlers => ({
  ring0: {
    read: (offset, width) =>
      Array.from({ length: width }, (_, i) => ((offset + i + tag) & 0xff) * 2 ** (8 * i)).reduce((a, b) => a + b),
    write: () => {},
  },
});
const codeOf = (action: () => unknown) => {
  try {
    action();
  } catch (error) {
    return (error as { code?: string }).code;
  }
  return undefined;
};

describe("registration", () => {
  it.each([
    ["empty", 0x80, 0],
    ["negative length", 0x80, -1],
    ["wrapping", 0xffff, 2],
    ["beyond FFFF", 0x1_0000, 1],
    ["below 0", -1, 2],
    ["fraction", 0.5, 1],
    ["not a number", Number.NaN, 1],
    ["endless", 0, Number.POSITIVE_INFINITY],
  ])("of an impossible range (%s) is refused", (_, base, length) => {
    expect(codeOf(() => bench().ports.register("d", { base, length }, offsets()))).toBe("INVALID_PORT_RANGE");
  });

  it("may end at FFFF and span the whole space", () => {
    const { ports, io } = bench();
    ports.register("all", { base: 0, length: 0x1_0000 }, offsets());
    expect(io.portRead(0xffff, 1)).toBe(0xff);
    expect(io.portRead(0x1234, 2)).toBe(0x3534);
  });

  it.each<[string, RangeHandlers]>([
    ["nothing", {}],
    ["empty contexts", { raw: {}, ring0: {}, ring3: {} }],
    ["strings only", { ring0: { readString: () => 0 } }],
  ])("with %s is refused", (_, handlers) => {
    expect(codeOf(() => bench().ports.register("d", { base: 1, length: 1 }, handlers))).toBe("NO_HANDLERS");
  });

  it("over somebody else's ports is refused, naming both and the range", () => {
    const { ports } = bench();
    ports.register("com1", { base: 0x3f8, length: 8 }, offsets());
    const attempt = () => ports.register("modem", { base: 0x3f8, length: 8 }, offsets());
    expect(attempt).toThrow("ports 0x3f8-0x3ff are already claimed by 'com1'; give 'modem' another base");
    expect(attempt).toThrow(PortRangeConflictError);
    expect(codeOf(attempt)).toBe("PORT_RANGE_CONFLICT");
    expect(() => ports.register("post", { base: 0x3ff, length: 1 }, offsets())).toThrow(
      "ports 0x3f8-0x3ff are already claimed by 'com1'; give 'post' (0x3ff) another base",
    );
    expect(codeOf(() => ports.register("com1", { base: 0x3fc, length: 8 }, offsets()))).toBe("PORT_RANGE_CONFLICT");
    expect(ports.ownerOf(0x400)).toBeUndefined();
  });

  it("that was refused leaves nothing behind", () => {
    const { ports, io } = bench();
    ports.register("b", { base: 0x104, length: 1 }, offsets());
    expect(codeOf(() => ports.register("a", { base: 0x100, length: 8 }, offsets()))).toBe("PORT_RANGE_CONFLICT");
    expect(io.portRead(0x100, 1)).toBe(0xff);
    ports.register("a", { base: 0x100, length: 4 }, offsets());
  });
});

describe("an access", () => {
  it.each([
    [1, 0xff],
    [2, 0xffff],
    [4, 0xffff_ffff],
  ])("of %d bytes reads all ones from nobody, and its write is dropped", (width, ones) => {
    const { io } = bench();
    expect(io.portRead(0x1234, width)).toBe(ones);
    expect(io.portWrite(0x1234, 0, width)).toBe(0);
  });

  it("gives handlers the offset, the width, and the value cut to it", () => {
    const { ports, io } = bench();
    const seen: number[][] = [];
    ports.register(
      "d",
      { base: 0x300, length: 8 },
      { ring0: { write: (...access) => void seen.push(access), read: (offset) => offset + 0xab00 } },
    );
    io.portWrite(0x303, 0x1234_5678, 1);
    io.portWrite(0x302, -1, 2);
    io.portWrite(0x304, -2, 4);
    expect(seen).toEqual([
      [3, 0x78, 1],
      [2, 0xffff, 2],
      [4, 0xffff_fffe, 4],
    ]);
    expect(io.portRead(0x305, 1)).toBe(5);
    expect(io.portRead(0x305, 2)).toBe(0xab05);
  });

  it("reads all 32 bits without a sign", () => {
    const { ports, io } = bench();
    ports.register("d", { base: 0, length: 4 }, { ring0: { read: () => 0xffff_fffe } });
    expect(io.portRead(0, 4)).toBe(0xffff_fffe);
  });

  it("that leaves its range goes byte by byte, each to who claims it", () => {
    const { ports, io } = bench();
    const log: string[] = [];
    const logged = (name: string): RangeHandlers => ({
      ring0: {
        read: (offset, width) => {
          log.push(`${name} read ${offset}/${width}`);
          return offset;
        },
        write: (offset, value, width) => void log.push(`${name} write ${offset}/${width} ${value.toString(16)}`),
      },
    });
    ports.register("a", { base: 0x10, length: 2 }, logged("a"));
    ports.register("b", { base: 0x13, length: 1 }, logged("b"));
    expect(io.portRead(0x10, 4)).toBe(0x00ff_0100);
    io.portWrite(0x11, 0x4433_2211, 4);
    expect(log).toEqual(["a read 0/1", "a read 1/1", "b read 0/1", "a write 1/1 11", "b write 0/1 33"]);
  });

  it("beyond FFFF wraps to port 0", () => {
    const { ports, io } = bench();
    ports.register("first", { base: 0, length: 1 }, { ring0: { read: () => 0x11 } });
    ports.register("last", { base: 0xffff, length: 1 }, { ring0: { read: () => 0x22 } });
    expect(io.portRead(0xffff, 2)).toBe(0x1122);
    expect(io.portRead(0xfffe, 4)).toBe(0xff11_22ff);
    expect(io.portRead(0x1_0000, 1)).toBe(0x11);
  });

  it("of a missing direction is nobody's", () => {
    const { ports, io } = bench();
    ports.register("r", { base: 0, length: 1 }, { ring0: { read: () => 1 } });
    ports.register("w", { base: 1, length: 1 }, { ring3: { write: () => {} } });
    expect(io.portWrite(0, 5, 1)).toBe(0);
    expect(io.portRead(1, 1)).toBe(0xff);
  });
});

describe("unregistering part of a range", () => {
  const owned = (ports: PortSpace, from: number, to: number) =>
    Array.from({ length: to - from }, (_, i) => ports.ownerOf(from + i) ?? "-").join("");

  it.each([
    ["all", 0x10, 8, "--------"],
    ["head", 0x10, 3, "---aaaaa"],
    ["tail", 0x15, 3, "aaaaa---"],
    ["middle", 0x12, 3, "aa---aaa"],
    ["one in the middle", 0x14, 1, "aaaa-aaa"],
  ])("removes the %s", (_, base, length, left) => {
    const { ports, io } = bench();
    const region = ports.register("a", { base: 0x10, length: 8 }, offsets());
    ports.unregister("a", { base, length });
    expect(owned(ports, 0x10, 0x18)).toBe(left);
    expect(owned(ports, 0xf, 0x10) + owned(ports, 0x18, 0x19)).toBe("--");
    // What is left keeps its offsets, and can be had back by others where it is gone.
    for (let port = 0x10; port < 0x18; port++) {
      expect(io.portRead(port, 1)).toBe(left[port - 0x10] === "a" ? port - 0x10 : 0xff);
    }
    ports.register("b", { base, length }, offsets(0x80));
    expect(owned(ports, 0x10, 0x18)).toBe(left.replaceAll("-", "b"));
    region.dispose();
    expect(owned(ports, 0x10, 0x18)).toBe(left.replaceAll("-", "b").replaceAll("a", "-"));
  });

  // Two defects of VirtualBox's IOM of 2010 (digest, section A).
  it("splits so that the tail starts right behind the cut, not one port early", () => {
    const { ports } = bench();
    ports.register("a", { base: 0x10, length: 8 }, offsets());
    ports.unregister("a", { base: 0x12, length: 2 });
    expect(ports.ownerOf(0x13)).toBeUndefined();
    expect(ports.ownerOf(0x14)).toBe("a");
    expect(() => ports.register("b", { base: 0x12, length: 2 }, offsets())).not.toThrow();
  });
  it("cuts a head, rather than leaving the range unchanged", () => {
    const { ports } = bench();
    ports.register("a", { base: 0x10, length: 8 }, offsets());
    ports.unregister("a", { base: 0x10, length: 2 });
    expect(ports.ownerOf(0x10)).toBeUndefined();
    expect(ports.ownerOf(0x11)).toBeUndefined();
    expect(ports.ownerOf(0x12)).toBe("a");
  });

  it("reaches over neighbouring ranges of one owner", () => {
    const { ports } = bench();
    ports.register("a", { base: 0x10, length: 4 }, offsets());
    ports.register("a", { base: 0x14, length: 4 }, offsets());
    ports.register("a", { base: 0x18, length: 4 }, offsets());
    ports.unregister("a", { base: 0x12, length: 8 });
    expect(owned(ports, 0x10, 0x1c)).toBe("aa--------aa");
  });

  it("changes nothing when part of it is somebody else's, or nobody's", () => {
    const { ports } = bench();
    ports.register("a", { base: 0x10, length: 4 }, offsets());
    ports.register("b", { base: 0x14, length: 4 }, offsets());
    expect(codeOf(() => ports.unregister("a", { base: 0x12, length: 4 }))).toBe("NOT_PORT_RANGE_OWNER");
    expect(codeOf(() => ports.unregister("b", { base: 0x14, length: 5 }))).toBe("PORT_RANGE_NOT_FOUND");
    expect(codeOf(() => ports.unregister("a", { base: 0xe, length: 4 }))).toBe("PORT_RANGE_NOT_FOUND");
    expect(codeOf(() => ports.unregister("a", { base: 0x10, length: 0 }))).toBe("INVALID_PORT_RANGE");
    expect(owned(ports, 0x10, 0x18)).toBe("aaaabbbb");
  });
});

describe("a region", () => {
  it("moves with its offsets, onto its own old place too, and is refused where somebody else is", () => {
    const { ports, io } = bench();
    const region = ports.register("a", { base: 0x100, length: 8 }, offsets());
    ports.register("b", { base: 0x200, length: 8 }, offsets(0x40));
    region.move(0x104);
    expect(io.portRead(0x103, 1)).toBe(0xff);
    expect(io.portRead(0x104, 1)).toBe(0);
    expect(io.portRead(0x10b, 1)).toBe(7);
    expect(region.base).toBe(0x104);
    expect(codeOf(() => region.move(0x1f9))).toBe("PORT_RANGE_CONFLICT");
    expect(codeOf(() => region.move(0xfffe))).toBe("INVALID_PORT_RANGE");
    expect(io.portRead(0x104, 1)).toBe(0);
    region.move(undefined);
    expect(io.portRead(0x104, 1)).toBe(0xff);
    ports.register("c", { base: 0x104, length: 1 }, offsets(0x20));
    expect(codeOf(() => region.move(0x104))).toBe("PORT_RANGE_CONFLICT");
    region.move(0x300);
    expect(io.portRead(0x305, 1)).toBe(5);
  });

  it("moves only what is left of it", () => {
    const { ports, io } = bench();
    const region = ports.register("a", { base: 0x100, length: 8 }, offsets());
    ports.unregister("a", { base: 0x102, length: 2 });
    ports.register("b", { base: 0x202, length: 2 }, offsets(0x40));
    region.move(0x200);
    expect([0, 1, 2, 3, 4, 7].map((i) => io.portRead(0x200 + i, 1))).toEqual([0, 1, 0x40, 0x41, 4, 7]);
    region.dispose();
    region.dispose();
    expect(io.portRead(0x200, 1)).toBe(0xff);
    expect(io.portRead(0x202, 1)).toBe(0x40);
  });

  it("may be disposed by its own handler", () => {
    const { ports, io } = bench();
    const disposing = (region: () => Region, answer: number): RangeHandlers => ({
      ring0: {
        read: () => {
          region().dispose();
          return answer;
        },
      },
    });
    const once: Region = ports.register(
      "once",
      { base: 1, length: 1 },
      disposing(() => once, 7),
    );
    const never: Region = ports.register(
      "never",
      { base: 2, length: 1 },
      disposing(() => never, DEFER),
    );
    expect(io.portRead(1, 1)).toBe(7);
    expect(io.portRead(1, 1)).toBe(0xff);
    expect(io.portRead(2, 1)).toBe(0xff);
  });
});

it("agrees with a map of ports, whatever is registered, unregistered, moved and disposed (model)", () => {
  // A small corner of the space, so that ranges meet; its end, so that they hit it.
  const BASE = 0xffc0;
  const SIZE = 64;
  const port = fc.nat(SIZE - 1);
  const length = fc.integer({ min: 0, max: 12 });
  const owner = fc.constantFrom("a", "b");
  const command = fc.oneof(
    { weight: 4, arbitrary: fc.record({ do: fc.constant("register" as const), owner, port, length }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant("unregister" as const), owner, port, length }) },
    { weight: 2, arbitrary: fc.record({ do: fc.constant("move" as const), which: fc.nat(20), port }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("unmap" as const), which: fc.nat(20) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant("dispose" as const), which: fc.nat(20) }) },
  );
  fc.assert(
    fc.property(fc.array(command, { maxLength: 40 }), (commands) => {
      const { ports, io } = bench();
      /** Each registration: offsets that are left, where it is, whether it is mapped. */
      const model: { owner: string; base: number; left: Set<number>; mapped: boolean; length: number }[] = [];
      const regions: ReturnType<PortSpace["register"]>[] = [];
      const at = (p: number) => model.findIndex((r) => r.mapped && r.left.has(p - r.base));
      const fits = (base: number, offsets: Iterable<number>, self: number) =>
        [...offsets].every((o) => [-1, self].includes(at(base + o)));
      for (const c of commands) {
        if (c.do === "register") {
          const base = BASE + c.port;
          const all = Array.from({ length: c.length }, (_, i) => i);
          const number = model.length;
          const expected =
            c.length === 0 || base + c.length > 0x1_0000
              ? "INVALID_PORT_RANGE"
              : fits(base, all, -1)
                ? undefined
                : "PORT_RANGE_CONFLICT";
          const handlers: RangeHandlers = {
            ring0: { read: (offset, width) => (width === 1 ? number * 16 + offset : 0) },
          };
          const code = codeOf(() => regions.push(ports.register(c.owner, { base, length: c.length }, handlers)));
          expect(code).toBe(expected);
          if (!code) model.push({ owner: c.owner, base, left: new Set(all), mapped: true, length: c.length });
        } else if (c.do === "unregister") {
          const range = Array.from({ length: c.length }, (_, i) => BASE + c.port + i);
          let expected: string | undefined;
          if (c.length === 0 || BASE + c.port + c.length > 0x1_0000) expected = "INVALID_PORT_RANGE";
          for (const p of range) {
            if (expected) break;
            if (at(p) < 0) expected = "PORT_RANGE_NOT_FOUND";
            else if (model[at(p)]!.owner !== c.owner) expected = "NOT_PORT_RANGE_OWNER";
          }
          expect(codeOf(() => ports.unregister(c.owner, { base: BASE + c.port, length: c.length }))).toBe(expected);
          if (!expected) for (const p of range) model[at(p)]!.left.delete(p - model[at(p)]!.base);
        } else if (regions.length > 0) {
          const which = c.which % regions.length;
          const target = model[which]!;
          if (c.do === "dispose") {
            regions[which]!.dispose();
            target.left.clear();
          } else if (c.do === "unmap") {
            regions[which]!.move(undefined);
            target.mapped = false;
          } else {
            const base = BASE + c.port;
            const expected =
              base + target.length > 0x1_0000
                ? "INVALID_PORT_RANGE"
                : fits(base, target.left, which)
                  ? undefined
                  : "PORT_RANGE_CONFLICT";
            expect(codeOf(() => regions[which]!.move(base))).toBe(expected);
            if (!expected) Object.assign(target, { base, mapped: true });
          }
        }
      }
      for (let p = BASE - 1; p < 0x1_0000; p++) {
        const number = at(p);
        expect(ports.ownerOf(p)).toBe(model[number]?.owner);
        expect(io.portRead(p, 1)).toBe(number < 0 ? 0xff : (number * 16 + p - model[number]!.base) & 0xff);
      }
    }),
    { numRuns: 300, seed: 2 },
  );
});

describe("string transfers", () => {
  it("go to the callback, which takes what it likes", () => {
    const { ports, io } = bench();
    const data = Uint8Array.of(1, 2, 3, 4, 5, 6);
    let taken = 0;
    ports.register(
      "disk",
      { base: 0x1f0, length: 8 },
      {
        ring0: {
          read: () => 0,
          readString: (offset, buffer, width) => {
            expect(offset).toBe(0);
            const units = Math.min(2, buffer.length / width);
            buffer.set(data.subarray(taken, taken + units * width));
            taken += units * width;
            return units;
          },
          writeString: (_offset, buffer) => {
            data.set(buffer);
            return buffer.length / 2;
          },
        },
      },
    );
    const buffer = new Uint8Array(6);
    expect(io.portReadString(0x1f0, buffer, 2)).toBe(2);
    expect([...buffer]).toEqual([1, 2, 3, 4, 0, 0]);
    expect(io.portWriteString(0x1f0, Uint8Array.of(9, 8, 7, 6), 2)).toBe(2);
    expect([...data]).toEqual([9, 8, 7, 6, 5, 6]);
    // No callback behind this access: unit by unit, please.
    expect(io.portReadString(0x1f7, buffer, 2)).toBe(0);
  });

  it("of nobody's ports read ones and are dropped, all at once", () => {
    const { ports, io } = bench();
    const buffer = new Uint8Array(10);
    expect(io.portReadString(0x100, buffer, 4)).toBe(2);
    expect([...buffer]).toEqual([...new Uint8Array(8).fill(0xff), 0, 0]);
    expect(io.portWriteString(0x100, buffer, 1)).toBe(10);
    ports.register("a", { base: 0x103, length: 1 }, offsets());
    expect(io.portReadString(0x100, buffer, 4)).toBe(0);
    expect(io.portReadString(0x100, new Uint8Array(1), 2)).toBe(0);
  });

  it("that claim more than there was are the device's bug", () => {
    const { ports, io } = bench();
    ports.register("d", { base: 0, length: 1 }, { ring0: { read: () => 0, readString: () => 5 } });
    expect(codeOf(() => io.portReadString(0, new Uint8Array(4), 1))).toBe("BAD_HANDLER_RESULT");
  });
});

it("costs the same with 10,000 ranges: the table names the region directly", () => {
  const { ports, io } = bench();
  for (let i = 0; i < 10_000; i++) ports.register(`d${i}`, { base: i * 4, length: 3 }, offsets(i));
  expect(io.portRead(4 * 9_999 + 2, 1)).toBe((9_999 + 2) & 0xff);
  expect(ports.ownerOf(3)).toBeUndefined();
  expect(ports.table[4 * 5_000]).not.toBe(ports.table[4 * 5_001]);
});

it("takes UNUSED for nobody home", () => {
  const { ports, io } = bench();
  ports.register(
    "d",
    { base: 0, length: 8 },
    { ring0: { read: () => UNUSED, write: () => UNUSED }, ring3: { read: () => 1 } },
  );
  expect(io.portRead(0, 2)).toBe(0xffff);
  expect(io.portWrite(0, 1, 2)).toBe(0);
});
