import { describe, expect, it } from "vitest";
import { ModuleBuilder } from "../emit/index.ts";
import {
  createIoClient,
  DEFER,
  type InlineAccess,
  MmioSpace,
  PortSpace,
  RawDispatch,
  statistics,
} from "../io/index.ts";
import { DYNAMIC_BASE } from "../memory/layout.ts";
import { rangeHandlers } from "./handlers.ts";
import { raw } from "./raw.ts";
import { RawCompiler } from "./raw-compiler.ts";
import { RegisterFile } from "./registers.ts";
import type { Counter, Handlers } from "./types.ts";

function board() {
  const memory = new WebAssembly.Memory({ initial: DYNAMIC_BASE / 0x1_0000 });
  const file = new RegisterFile(memory);
  const dispatch = new RawDispatch(memory);
  const ports = new PortSpace(dispatch);
  const mmio = new MmioSpace({ raw: dispatch });
  const compiler = new RawCompiler(memory, file, dispatch);
  let retired = 0;
  const io = createIoClient(ports, mmio, { instructionTag: () => retired++ });
  const handlers = (given: Handlers) => rangeHandlers(given, compiler.module("demo").compile(given));
  const r = file.allocate("demo", { value: "u32" });
  const register: Handlers = {
    read: raw((x) => x.add(x.get(r, "value"), x.offset)),
    write: raw((x) => x.set(r, "value", x.value)),
  };
  const { portRead, portWrite, mmioRead, mmioWrite } = dispatch.functions;
  return { memory, ports, mmio, io, handlers, register, r, raw: io.raw!, portRead, portWrite, mmioRead, mmioWrite };
}

type Board = ReturnType<typeof board>;

/** A function that answers one access in place, or gives -7. */
function compile({ memory }: Board, access: InlineAccess, write: boolean): (value: number) => number {
  const module = new ModuleBuilder();
  module.importMemory("io", "memory");
  const f = module.function("region", { params: ["i32"], results: ["i32"] });
  const zero = f.i32(0);
  f.block((ordinary) => {
    const decline = () => f.br(ordinary);
    f.if(f.ne(f.load("i32", 4, zero, access.guard), access.expected), decline, undefined, false);
    const value = access.build({ b: f, decline, ...(write && { value: f.param(0) }) });
    f.store(8, zero, f.add(f.load("i64", 8, zero, access.counter), 1), access.counter);
    f.return(value ?? zero);
  });
  f.return(f.i32(-7));
  module.export("region", f);
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(module.build()), { io: { memory } });
  return exports.region as (value: number) => number;
}

const counts = ({ ports, mmio }: Board) => {
  const { ranges, unclaimed } = statistics(ports, mmio);
  return {
    ranges: ranges.map(({ context, reads, writes }) => [context, reads, writes]),
    unclaimed: unclaimed.map(({ base, reads, writes }) => [base, reads, writes]),
  };
};

describe("an access built in place", () => {
  it("reads and writes the device's registers, and is counted with the others", () => {
    const pc = board();
    pc.ports.register("demo", { base: 0x300, length: 8 }, pc.handlers(pc.register));
    const read = compile(pc, pc.raw.inlinePort(0x304, 2, false)!, false);
    const write = compile(pc, pc.raw.inlinePort(0x300, 4, true)!, true);
    expect(write(0x1234_fffd)).toBe(0);
    expect(read(0)).toBe(1);
    expect(pc.io.portRead(0x304, 4)).toBe(0x1235_0001);
    expect(counts(pc).ranges).toEqual([["raw", 2, 1]]);
  });

  it("declines to the ordinary path, with the site's own time", () => {
    const pc = board();
    const counter: Counter = { hz: 2_000_000_000, read: () => 0, timeOf: () => 0 };
    const handlers: Handlers = {
      read: {
        raw: raw((x) => {
          x.if(x.eq(x.get(pc.r, "value"), 3), () => x.decline());
          return x.low(x.counter(counter));
        }),
        ring0: () => 0,
      },
    };
    pc.ports.register("demo", { base: 0x300, length: 1 }, pc.handlers(handlers));
    const access = pc.raw.inlinePort(0x300, 1, false)!;
    const withTime = {
      ...access,
      build: (site: Parameters<typeof access.build>[0]) => access.build({ ...site, now: () => site.b.i64(10) }),
    };
    const read = compile(pc, withTime, false);
    expect(read(0)).toBe(20);
    pc.r.value = 3;
    expect(read(0)).toBe(-7);
    expect(counts(pc).ranges[0]).toEqual(["raw", 1, 0]);
  });

  it("ends with its registration", () => {
    const pc = board();
    const region = pc.ports.register("demo", { base: 0x300, length: 8 }, pc.handlers(pc.register));
    const read = () => compile(pc, pc.raw.inlinePort(0x300, 1, false)!, false);
    const first = read();
    region.move(0x400);
    expect(first(0)).toBe(-7);
    region.move(0x300);
    expect(first(0)).toBe(-7);
    const second = read();
    expect(second(0)).toBe(0);
    pc.ports.unregister("demo", { base: 0x300, length: 1 });
    expect(second(0)).toBe(-7);
    const nobody = read();
    expect(nobody(0)).toBe(0xff);
    region.dispose();
    const third = pc.ports.register("other", { base: 0x300, length: 8 }, pc.handlers(pc.register));
    expect(second(0)).toBe(-7);
    expect(nobody(0)).toBe(-7);
    third.dispose();
    expect(counts(pc)).toEqual({ ranges: [["raw", 1, 0]], unclaimed: [[0x300, 1, 0]] });
  });

  it("ends while somebody observes every access", () => {
    const pc = board();
    pc.ports.register("demo", { base: 0x300, length: 8 }, pc.handlers(pc.register));
    const read = compile(pc, pc.raw.inlinePort(0x300, 1, false)!, false);
    expect(pc.io.portRead(0x300, 1)).toBe(0);
    pc.io.onAccess = () => {};
    expect(read(0)).toBe(-7);
    expect(pc.raw.inlinePort(0x300, 1, false)).toBeUndefined();
    expect(pc.raw.inlinePort(0x500, 1, false)).toBeUndefined();
    expect(pc.portRead(0x300, 1)).toBe(-1n);
    pc.io.onAccess = undefined;
    expect(pc.raw.inlinePort(0x300, 1, false)).toBeDefined();
    expect(pc.portRead(0x300, 1)).toBe(0n);
  });

  it("is not offered across ranges, or where no raw handler is", () => {
    const pc = board();
    pc.ports.register("demo", { base: 0x300, length: 2 }, pc.handlers(pc.register));
    pc.ports.register("other", { base: 0x310, length: 2 }, { ring0: { read: () => 1 } });
    pc.ports.register("mixed", { base: 0x320, length: 2 }, { raw: { read: () => 1 }, ring0: { write: () => {} } });
    for (const [port, width] of [
      [0x301, 2],
      [0x2ff, 2],
      [0x310, 1],
      [0x320, 1],
      [0xffff, 2],
    ] as const) {
      expect(pc.raw.inlinePort(port, width, false)).toBeUndefined();
    }
  });

  it("reaches MMIO as the range's mode allows", () => {
    const pc = board();
    pc.mmio.register("plain", { base: 0xf000_0010, length: 0x20 }, pc.handlers(pc.register), {
      readMode: "passthrough",
      writeMode: "passthrough",
    });
    pc.mmio.register("dwords", { base: 0xf000_1000, length: 0x1000 }, pc.handlers(pc.register));
    pc.r.value = 0x100;
    expect(compile(pc, pc.raw.inlineMmio(0xf000_0013, 2, false)!, false)(0)).toBe(0x103);
    expect(compile(pc, pc.raw.inlineMmio(0xf000_1004, 4, false)!, false)(0)).toBe(0x104);
    expect(pc.raw.inlineMmio(0xf000_1004, 2, false)).toBeUndefined();
    expect(pc.raw.inlineMmio(0xf000_1005, 4, false)).toBeUndefined();
    expect(pc.raw.inlineMmio(0xf000_002e, 4, false)).toBeUndefined();
    expect(pc.raw.inlineMmio(0xf000_0000, 4, false)).toBeUndefined();
  });
});

describe("emitted code that does not know the port", () => {
  it("reaches raw handlers once their module is there", () => {
    const pc = board();
    pc.ports.register("demo", { base: 0x300, length: 8 }, pc.handlers(pc.register));
    expect(pc.portRead(0x300, 1)).toBe(-1n);
    expect(pc.io.portRead(0x300, 1)).toBe(0);
    expect(pc.portWrite(0x300, 1, 0x1ff)).toBe(0);
    expect(pc.portRead(0x301, 4)).toBe(0x100n);
    expect(pc.portRead(0x301, 1)).toBe(0n);
    expect(pc.portRead(0x305, 4)).toBe(-1n);
    expect(pc.portWrite(0x4_0300, 4, -1)).toBe(0);
    expect(pc.portRead(0x300, 4)).toBe(0xffff_ffffn);
    expect(counts(pc).ranges).toEqual([["raw", 4, 2]]);
  });

  it("leaves the rest to TypeScript", () => {
    const pc = board();
    pc.ports.register("outer", { base: 0x300, length: 2 }, { ring0: { read: () => 1 } });
    const declining: Handlers = {
      read: {
        raw: raw((x) => {
          x.decline();
          return 0;
        }),
        ring0: () => 7,
      },
    };
    pc.ports.register("demo", { base: 0x310, length: 2 }, pc.handlers(declining));
    expect(pc.io.portRead(0x310, 1)).toBe(7);
    for (const port of [0x300, 0x310]) {
      expect(pc.portRead(port, 1)).toBe(-1n);
      expect(pc.portWrite(port, 1, 0)).toBe(-1);
    }
    expect(counts(pc).ranges).toEqual([
      ["ring0", 0, 0],
      ["raw", 0, 0],
      ["ring0", 1, 0],
    ]);
  });

  it("answers for nobody, and counts by port", () => {
    const pc = board();
    pc.ports.register("demo", { base: 0x300, length: 2 }, { ring0: { read: () => 1 } });
    expect(pc.portRead(0x500, 1)).toBe(0xffn);
    expect(pc.portRead(0x500, 2)).toBe(0xffffn);
    expect(pc.portRead(0x500, 4)).toBe(0xffff_ffffn);
    expect(pc.portWrite(0x501, 4, 0)).toBe(0);
    pc.io.portRead(0x500, 1);
    expect(pc.portRead(0x2ff, 2)).toBe(-1n);
    expect(pc.portRead(0xfffe, 2)).toBe(0xffffn);
    expect(pc.portRead(0xfffe, 4)).toBe(-1n);
    expect(counts(pc).unclaimed).toEqual([
      [0x500, 4, 0],
      [0x501, 0, 1],
      [0xfffe, 1, 0],
    ]);
  });

  it("sees exactly the region of a page, and none of several", () => {
    const pc = board();
    const modes = { readMode: "passthrough", writeMode: "passthrough" } as const;
    pc.mmio.register("part", { base: 0xf000_0010, length: 0x20 }, pc.handlers(pc.register), modes);
    const whole = pc.mmio.register("whole", { base: 0xf000_1000, length: 0x2000 }, pc.handlers(pc.register));
    pc.io.mmioRead(0xf000_0010, 4, new Uint8Array(4));
    pc.io.mmioRead(0xf000_1000, 4, new Uint8Array(4));
    pc.r.value = 0;
    const at = (address: number, width = 4) => Number(pc.mmioRead(address | 0, width));
    expect([0xf000_000c, 0xf000_000e, 0xf000_002e, 0xf000_0030].map((address) => at(address))).toEqual([
      -1, -1, -1, -1,
    ]);
    expect([at(0xf000_0010), at(0xf000_002c), at(0xf000_002e, 2), at(0xf000_002f, 1)]).toEqual([0, 0x1c, 0x1e, 0x1f]);
    expect([at(0xf000_1000), at(0xf000_2ffc), at(0xf000_1001), at(0xf000_1000, 2)]).toEqual([0, 0x1ffc, -1, -1]);
    expect(pc.mmioWrite(0xf000_1000 | 0, 4, 5)).toBe(0);
    expect(pc.mmioWrite(0xf000_1002 | 0, 4, 5)).toBe(-1);
    expect(at(0xf000_1000)).toBe(5);
    const other = pc.mmio.register("other", { base: 0xf000_0800, length: 4 }, pc.handlers(pc.register), modes);
    expect(at(0xf000_0010)).toBe(-1);
    other.dispose();
    expect(at(0xf000_0010)).toBe(5);
    whole.move(0x1_f000_1000);
    expect(at(0xf000_1000)).toBe(-1);
    whole.move(0xf100_0000);
    expect(at(0xf100_0000)).toBe(5);
  });
});

describe("a journal", () => {
  it("keeps MMIO with TypeScript once accesses may wait, and ports while an operation starts again", async () => {
    const pc = board();
    let answer: (value: number) => void = () => {};
    pc.ports.register("demo", { base: 0x300, length: 4 }, pc.handlers(pc.register));
    pc.mmio.register("demo", { base: 0xf000_0000, length: 0x1000 }, pc.handlers(pc.register));
    pc.io.portRead(0x300, 1);
    pc.io.mmioRead(0xf000_0000, 4, new Uint8Array(4));
    expect(pc.mmioRead(0xf000_0000 | 0, 4)).toBe(0n);
    const read = () => new Promise<number>((resolve) => (answer = resolve));
    pc.ports.register("slow", { base: 0x310, length: 4 }, { ring3: { read } });
    expect(pc.mmioRead(0xf000_0000 | 0, 4)).toBe(-1n);
    expect(pc.portRead(0x300, 1)).toBe(0n);
    const tag = { value: 0 };
    const io = createIoClient(pc.ports, pc.mmio, { instructionTag: () => tag.value });
    expect(io.portRead(0x310, 1)).toBeLessThan(DEFER);
    expect(pc.portRead(0x300, 1)).toBe(-1n);
    answer(0x42);
    await io.waiting;
    expect(pc.portRead(0x300, 1)).toBe(-1n);
    expect(io.portRead(0x310, 1)).toBe(0x42);
    tag.value++;
    expect(io.portRead(0x300, 1)).toBe(0);
    expect(pc.portRead(0x300, 1)).toBe(0n);
  });
});
