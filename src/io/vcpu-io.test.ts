import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Dispatcher } from "./dispatcher.ts";
import {
  COMMIT_LATER,
  createIoClient,
  DEFER,
  DeviceError,
  MmioSpace,
  PortSpace,
  type RangeHandlers,
  statistics,
  UNUSED,
  WAIT,
} from "./index.ts";

/** One vCPU whose instructions retire when the test says so. */
function bench() {
  const ports = new PortSpace();
  const mmio = new MmioSpace();
  const vcpu = { retired: 0, exits: 0 };
  const io = createIoClient(ports, mmio, {
    instructionTag: () => vcpu.retired,
    requestCheck: () => vcpu.exits++,
  });
  const buffer = new Uint8Array(16);
  return {
    ports,
    mmio,
    io,
    vcpu,
    buffer,
    retire: () => vcpu.retired++,
    claim: (base: number, handlers: RangeHandlers, length = 1, owner = "d") =>
      ports.register(owner, { base, length }, handlers),
    rows: () =>
      statistics(ports, mmio).ranges.map((row) => [row.context, row.reads, row.writes, row.deferrals] as const),
    unclaimed: () => statistics(ports, mmio).unclaimed,
  };
}
/** A promise and its two ends. */
function deferred<T = void>() {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

describe("contexts", () => {
  it("are asked from the innermost outward, until one answers", () => {
    const { io, claim, retire, rows } = bench();
    const answers = { raw: 1, ring0: 2, ring3: 3 };
    claim(0, {
      raw: { read: () => answers.raw },
      ring0: { read: () => answers.ring0 },
      ring3: { read: () => answers.ring3 },
    });
    const read = () => {
      retire();
      return io.portRead(0, 1);
    };
    expect(read()).toBe(1);
    answers.raw = DEFER;
    expect(read()).toBe(2);
    answers.ring0 = DEFER;
    expect(read()).toBe(3);
    answers.ring3 = UNUSED;
    expect(read()).toBe(0xff);
    answers.ring0 = UNUSED;
    expect(read()).toBe(0xff);
    expect(rows()).toEqual([
      ["raw", 1, 0, 4],
      ["ring0", 1, 0, 2],
      ["ring3", 1, 0, 0],
    ]);
  });

  it("are asked from the innermost outward for writes", () => {
    const { io, claim, retire, rows } = bench();
    const seen: string[] = [];
    let inner = DEFER;
    claim(
      8,
      {
        raw: { write: (...a) => Number(void seen.push(`raw ${a}`)) || inner },
        ring0: { write: (...a) => Number(void seen.push(`ring0 ${a}`)) || inner },
        ring3: { write: (...a) => void seen.push(`ring3 ${a}`) },
      },
      4,
    );
    retire();
    expect(io.portWrite(10, 0x1234, 2)).toBe(0);
    expect(seen).toEqual(["raw 2,4660,2", "ring0 2,4660,2", "ring3 2,4660,2"]);
    inner = UNUSED;
    retire();
    io.portWrite(8, 1, 1);
    expect(seen.slice(3)).toEqual(["raw 0,1,1"]);
    expect(rows()).toEqual([
      ["raw", 0, 0, 1],
      ["ring0", 0, 0, 1],
      ["ring3", 0, 1, 0],
    ]);
  });

  it("that are missing defer outward; the outermost missing one is nobody", () => {
    const { io, claim, rows, unclaimed } = bench();
    claim(0, { raw: { read: () => DEFER }, ring3: { write: () => {} } }, 1, "half");
    expect(io.portRead(0, 1)).toBe(0xff);
    expect(io.portWrite(0, 0, 1)).toBe(0);
    expect(rows()).toEqual([
      ["raw", 0, 0, 1],
      ["ring3", 0, 1, 0],
    ]);
    expect(unclaimed()).toEqual([{ space: "port", base: 0, length: 1, owner: "half", reads: 1, writes: 0 }]);
  });

  it("derive from a raw handler that stands alone", () => {
    const { io, claim } = bench();
    claim(0, { raw: { read: (offset) => offset + 5, write: () => 0 } }, 8);
    expect(io.portRead(3, 4)).toBe(8);
    expect(io.portWrite(3, 1, 1)).toBe(0);
  });

  it("may not answer with anything but values and statuses", () => {
    const { io, claim } = bench();
    const bad = { answer: -7 as unknown };
    claim(0x60, { ring0: { read: () => bad.answer as number, write: () => bad.answer as number } }, 5, "kbd");
    const message = "'kbd' (ports 0x60-0x64) failed on a read of 1 byte at 0x64: its handler returned -7";
    expect(() => io.portRead(0x64, 1)).toThrow(message);
    expect(() => io.portWrite(0x64, 0, 1)).toThrow(DeviceError);
    bad.answer = Number.NaN;
    expect(() => io.portRead(0x64, 1)).toThrow("NaN");
    bad.answer = undefined;
    expect(() => io.portRead(0x64, 1)).toThrow("undefined");
    bad.answer = COMMIT_LATER;
    expect(() => io.portRead(0x64, 1)).toThrow("-3");
  });
});

describe("a ring-3 handler", () => {
  it("that answers at once needs no waiting", () => {
    const { io, claim } = bench();
    claim(0, { ring3: { read: () => 0x1_41, write: () => {} } });
    expect(io.portRead(0, 1)).toBe(0x41);
    expect(io.portWrite(0, 1, 1)).toBe(0);
    expect(io.waiting).toBeUndefined();
  });

  it("that answers later makes the access wait; the restarted instruction gets the answer, once", async () => {
    const { io, claim, retire, rows } = bench();
    const answer = deferred<number>();
    const read = vi.fn(() => answer.promise);
    claim(0, { ring3: { read } });
    expect(io.portRead(0, 1)).toBe(WAIT);
    expect(io.portRead(0, 1)).toBe(WAIT);
    expect(io.flushCommits()).toBe(WAIT);
    const { waiting } = io;
    answer.resolve(0xfff);
    await waiting;
    expect(io.waiting).toBeUndefined();
    expect(io.portRead(0, 1)).toBe(0xff);
    expect(read).toHaveBeenCalledTimes(1);
    expect(rows()).toEqual([["ring3", 1, 0, 0]]);
    // The next instruction asks the device again.
    retire();
    expect(io.portRead(0, 1)).toBe(WAIT);
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("that waits in the middle does not make the device see the rest twice", async () => {
    const { io, claim, mmio, buffer } = bench();
    const log: string[] = [];
    claim(0, { ring0: { read: () => log.push("port") } });
    mmio.register(
      "d",
      { base: 0x1000, length: 16 },
      {
        ring3: {
          read: async (offset) => log.push(`read ${offset}`),
          write: async (o, v) => void log.push(`write ${o} ${v}`),
        },
      },
    );
    const instruction = () => {
      if (io.portRead(0, 1) === WAIT) return WAIT;
      if (io.mmioRead(0x1000, 16, buffer) === WAIT) return WAIT;
      return io.mmioWrite(0x1006, 4, Uint8Array.of(1, 2, 3, 4));
    };
    let restarts = 0;
    while (instruction() === WAIT) {
      restarts++;
      await io.waiting;
    }
    expect(log).toEqual([
      "port",
      "read 0",
      "read 4",
      "read 8",
      "read 12",
      "read 4",
      "write 4 33619974",
      "read 8",
      "write 8 1027",
    ]);
    // Each dword read gave the length of the log after it.
    expect([...buffer]).toEqual([2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0]);
    expect(restarts).toBe(8);
  });

  it("may answer all ones, or that nobody is home", async () => {
    const { io, claim, unclaimed } = bench();
    let answer = 0xffff_ffff;
    claim(0, { ring3: { read: async () => answer } }, 4);
    expect(io.portRead(0, 4)).toBe(WAIT);
    await io.waiting;
    expect(io.portRead(0, 4)).toBe(0xffff_ffff);
    answer = UNUSED;
    io.clearJournal();
    expect(io.portRead(0, 2)).toBe(WAIT);
    await io.waiting;
    expect(io.portRead(0, 2)).toBe(0xffff);
    expect(unclaimed().map((row) => row.reads)).toEqual([1]);
  });

  const failure = new Error("disk is gone");
  it.each<[string, RangeHandlers, string]>([
    ["rejects a read", { ring3: { read: () => Promise.reject(failure), write: () => {} } }, "read"],
    ["rejects a write", { ring3: { read: () => 1, write: () => Promise.reject(failure) } }, "write"],
    [
      "throws on a read",
      {
        ring3: {
          read: () => {
            throw failure;
          },
        },
      },
      "read",
    ],
    [
      "throws on a write",
      {
        ring3: {
          write: () => {
            throw failure;
          },
        },
      },
      "write",
    ],
  ])("that %s fails with a typed error naming device, range and direction", async (_, handlers, direction) => {
    const { io, ports } = bench();
    ports.register("disk0", { base: 0x1f0, length: 8 }, handlers);
    const access = () => (direction === "read" ? io.portRead(0x1f2, 1) : io.portWrite(0x1f2, 1, 1));
    expect(access()).toBe(WAIT);
    const error = (await io.waiting?.catch((e) => e)) as DeviceError;
    expect(error).toBeInstanceOf(DeviceError);
    expect(error).toMatchObject({
      code: "RING3_HANDLER_FAILED",
      device: "disk0",
      range: { base: 0x1f0, length: 8 },
      direction,
      cause: failure,
      message: `'disk0' (ports 0x1f0-0x1f7) failed on a ${direction} of 1 byte at 0x1f2: disk is gone`,
    });
    // It stays failed until the operation is given up.
    expect(access()).toBe(WAIT);
    await expect(io.waiting).rejects.toBe(error);
    io.clearJournal();
    expect(io.waiting).toBeUndefined();
  });

  it("that resolves to no number fails", async () => {
    const { io, claim } = bench();
    claim(0, { ring3: { read: (async () => "x") as unknown as () => Promise<number> } });
    expect(io.portRead(0, 1)).toBe(WAIT);
    await expect(io.waiting).rejects.toMatchObject({ code: "BAD_HANDLER_RESULT" });
  });

  it("that nobody awaits any more may reject without harm", async () => {
    const { io, claim } = bench();
    claim(0, { ring3: { read: () => Promise.reject(failure) } });
    expect(io.portRead(0, 1)).toBe(WAIT);
    // An unhandled rejection would fail the test run.
    await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

describe("the journal", () => {
  it("is stale once the instruction has retired", async () => {
    const { io, claim, retire } = bench();
    let reads = 0;
    claim(0, { ring0: { read: () => ++reads } });
    claim(1, { ring3: { read: async () => 9 } });
    expect(io.portRead(0, 1)).toBe(1);
    expect(io.portRead(1, 1)).toBe(WAIT);
    await io.waiting;
    expect(io.portRead(0, 1)).toBe(1);
    expect(io.portRead(1, 1)).toBe(9);
    retire();
    expect(io.portRead(0, 1)).toBe(2);
  });

  it("is forgotten when a fault is delivered", async () => {
    const { io, claim } = bench();
    let reads = 0;
    claim(0, { ring0: { read: () => ++reads } });
    claim(1, { ring3: { read: async () => 9 } });
    io.portRead(0, 1);
    expect(io.portRead(1, 1)).toBe(WAIT);
    await io.waiting;
    expect(io.portRead(0, 1)).toBe(1);
    // Page fault on a later operand: the handler returns to the same instruction, which starts afresh.
    io.clearJournal();
    expect(io.portRead(0, 1)).toBe(2);
  });

  it("gives up an access that waits when the vCPU is reset", async () => {
    const { io, claim } = bench();
    const answer = deferred<number>();
    const read = vi.fn(() => answer.promise);
    claim(0, { ring3: { read } });
    expect(io.portRead(0, 1)).toBe(WAIT);
    const { waiting } = io;
    io.clearJournal();
    await waiting;
    expect(io.portRead(0, 1)).toBe(WAIT);
    answer.resolve(5);
    await io.waiting;
    expect(io.portRead(0, 1)).toBe(5);
    expect(read).toHaveBeenCalledTimes(2);
  });

  it("ignores what an access that was given up answers after all", async () => {
    const { io, claim } = bench();
    const answers = [deferred<number>(), deferred<number>()];
    let reads = 0;
    claim(0, { ring3: { read: () => answers[reads++]!.promise } });
    expect(io.portRead(0, 1)).toBe(WAIT);
    io.clearJournal();
    expect(io.portRead(0, 1)).toBe(WAIT);
    answers[0]!.resolve(5);
    await new Promise((resolve) => setTimeout(resolve, 1));
    expect(io.portRead(0, 1)).toBe(WAIT);
    answers[1]!.resolve(6);
    await io.waiting;
    expect(io.portRead(0, 1)).toBe(6);
  });

  it("stays empty while no handler can wait, so that nothing piles up", () => {
    const dispatcher = new Dispatcher({ instructionTag: () => 0 }, [new PortSpace().store]);
    const { store } = new PortSpace();
    for (let i = 0; i < 100; i++) dispatcher.deviceRead(store, 0, i, 1);
    expect(dispatcher.journal.count).toBe(0);
    store.register("d", { base: 0, length: 1 }, { ring3: { read: () => 1 } }, 0, 0);
    const waiting = new Dispatcher({ instructionTag: () => 0 }, [store]);
    waiting.deviceRead(store, 0, 5, 1);
    expect(waiting.journal.count).toBe(1);
  });

  it("answers nothing that the restarted operation does not ask", async () => {
    const { io, claim } = bench();
    let reads = 0;
    claim(0, { ring0: { read: () => ++reads } }, 2);
    claim(4, { ring3: { read: async () => 9 } });
    io.portRead(0, 1);
    expect(io.portRead(4, 1)).toBe(WAIT);
    await io.waiting;
    // A device changed the code or page tables meanwhile: the instruction is another one now.
    expect(io.portRead(1, 1)).toBe(2);
    expect(io.portRead(4, 1)).toBe(WAIT);
    expect(io.divergences).toBe(1);
  });

  it("holds the accesses of an instruction that makes very many", async () => {
    const { io, claim } = bench();
    let reads = 0;
    claim(0, { ring0: { read: () => ++reads & 0xff } });
    claim(1, { ring3: { read: async () => 7 } });
    const all = () => Array.from({ length: 500 }, () => io.portRead(0, 1));
    const first = all();
    expect(io.portRead(1, 1)).toBe(WAIT);
    await io.waiting;
    expect(all()).toEqual(first);
    expect(io.portRead(1, 1)).toBe(7);
    expect(reads).toBe(500);
  });

  it("answers unit by unit while a string instruction restarts", async () => {
    const { io, claim } = bench();
    const readString = vi.fn(() => 0);
    claim(0, { ring0: { read: () => DEFER, readString }, ring3: { read: async () => 0x42 } });
    const buffer = new Uint8Array(4);
    expect(io.portReadString(0, buffer, 1)).toBe(0);
    expect(io.portRead(0, 1)).toBe(WAIT);
    expect(io.portReadString(0, buffer, 1)).toBe(WAIT);
    expect(io.portWriteString(0, buffer, 1)).toBe(WAIT);
    await io.waiting;
    expect(io.portReadString(0, buffer, 1)).toBe(0);
    expect(readString).toHaveBeenCalledTimes(1);
    expect(io.portRead(0, 1)).toBe(0x42);
  });
});

describe("a pending commit", () => {
  it("lets the instruction retire, asks for an exit, and is performed before the next access", () => {
    const { io, claim, vcpu, retire, rows } = bench();
    const log: string[] = [];
    claim(
      0x70,
      {
        ring0: { write: () => COMMIT_LATER, read: () => log.push("read") },
        ring3: { write: (offset, value, width) => void log.push(`write ${offset} ${value} ${width}`) },
      },
      2,
    );
    expect(io.portWrite(0x71, 0x1ff, 1)).toBe(0);
    expect(log).toEqual([]);
    expect([vcpu.exits, io.commitPending]).toEqual([1, true]);
    retire();
    io.portRead(0x70, 1);
    expect(log).toEqual(["write 1 255 1", "read"]);
    expect(io.commitPending).toBe(false);
    expect(rows()).toEqual([
      ["ring0", 1, 0, 1],
      ["ring3", 0, 1, 0],
    ]);
  });

  it("is performed by flushCommits, which waits when ring 3 does", async () => {
    const { io, claim, retire } = bench();
    const done = deferred();
    const write = vi.fn(() => done.promise);
    claim(0, { ring0: { write: () => COMMIT_LATER, read: () => 1 }, ring3: { write } });
    expect(io.flushCommits()).toBe(0);
    io.portWrite(0, 1, 1);
    retire();
    expect(io.flushCommits()).toBe(WAIT);
    expect(io.commitPending).toBe(true);
    expect(io.portRead(0, 1)).toBe(WAIT);
    // Its instruction is over: there is nothing to give up.
    const { waiting } = io;
    io.clearJournal();
    expect(io.waiting).toBe(waiting);
    done.resolve();
    await waiting;
    expect(io.flushCommits()).toBe(0);
    expect(io.portRead(0, 1)).toBe(1);
    expect(write).toHaveBeenCalledTimes(1);
  });

  it("inside an instruction precedes its next access, and happens once", async () => {
    const { io, claim } = bench();
    const log: number[] = [];
    claim(0, { ring0: { write: () => COMMIT_LATER }, ring3: { write: async (o, v) => void log.push(o, v) } }, 2, "a");
    claim(2, { ring0: { write: (o, v) => void log.push(o + 2, v) } }, 2, "b");
    // Two ranges: byte by byte, 0 and 1 committed later, 2 and 3 at once.
    while (io.portWrite(0, 0x44332211, 4) === WAIT) await io.waiting;
    expect(log).toEqual([0, 0x11, 1, 0x22, 2, 0x33, 3, 0x44]);
  });

  it("that fails stops the machine with the device's name", async () => {
    const { io, claim } = bench();
    claim(
      0,
      { ring0: { write: () => COMMIT_LATER }, ring3: { write: () => Promise.reject(new Error("no")) } },
      1,
      "nvram",
    );
    io.portWrite(0, 1, 1);
    expect(io.flushCommits()).toBe(WAIT);
    await expect(io.waiting).rejects.toMatchObject({ code: "RING3_HANDLER_FAILED", device: "nvram" });
  });

  it("without a ring-3 handler is dropped", () => {
    const { io, claim, unclaimed } = bench();
    claim(0, { ring0: { write: () => COMMIT_LATER } });
    io.portWrite(0, 1, 1);
    expect(io.flushCommits()).toBe(0);
    expect(unclaimed().map((row) => row.writes)).toEqual([1]);
  });
});

describe("statistics", () => {
  it("name space, range, owner and context, and say what nobody answered", () => {
    const { io, ports, mmio, buffer } = bench();
    ports.register("com1", { base: 0x3f8, length: 8 }, { ring0: { read: () => 0, write: () => {} } });
    ports.register("pit", { base: 0x40, length: 4 }, { raw: { read: () => 0 }, ring0: { write: () => {} } });
    mmio.register("hpet", { base: 0xfed0_0000, length: 0x400 }, { ring0: { read: () => 0 } });
    for (let i = 0; i < 5; i++) io.portRead(0x3f8 + i, 1);
    io.portRead(0x3f8, 4);
    io.portWrite(0x3fd, 1, 1);
    io.portRead(0x42, 1);
    io.mmioRead(0xfed0_00f0, 8, buffer);
    io.portRead(0x80, 2);
    io.portWrite(0x80, 1, 1);
    io.portWrite(0x61, 1, 1);
    io.mmioRead(0xfee0_0ff0, 16, buffer);
    io.mmioWrite(0xfee0_0123, 1, buffer);
    const base = { deferrals: 0, ns: 0 };
    expect(statistics(ports, mmio)).toEqual({
      ranges: [
        { space: "port", base: 0x40, length: 4, owner: "pit", context: "raw", reads: 1, writes: 0, ...base },
        { space: "port", base: 0x40, length: 4, owner: "pit", context: "ring0", reads: 0, writes: 0, ...base },
        { space: "port", base: 0x3f8, length: 8, owner: "com1", context: "ring0", reads: 6, writes: 1, ...base },
        {
          space: "mmio",
          base: 0xfed0_0000,
          length: 0x400,
          owner: "hpet",
          context: "ring0",
          reads: 2,
          writes: 0,
          ...base,
        },
      ],
      unclaimed: [
        { space: "port", base: 0x61, length: 1, owner: undefined, reads: 0, writes: 1 },
        { space: "port", base: 0x80, length: 1, owner: undefined, reads: 1, writes: 1 },
        { space: "mmio", base: 0xfee0_0000, length: 0x1000, owner: undefined, reads: 1, writes: 1 },
      ],
    });
  });

  it("outlive their range, and follow it when it moves", () => {
    const { io, ports, rows } = bench();
    const region = ports.register("a", { base: 0, length: 4 }, { ring0: { read: () => 0 } });
    io.portRead(0, 1);
    region.move(8);
    io.portRead(8, 1);
    expect(rows()).toEqual([["ring0", 2, 0, 0]]);
    region.dispose();
    ports.register("b", { base: 8, length: 1 }, { ring0: { read: () => 0 } });
    expect(rows()).toEqual([
      ["ring0", 2, 0, 0],
      ["ring0", 0, 0, 0],
    ]);
  });

  it("count dropped MMIO writes inside their range, and string units one by one", () => {
    const { io, ports, mmio, buffer, unclaimed, rows } = bench();
    mmio.register("m", { base: 0x1000, length: 8 }, { ring0: { write: () => {} } }, { writeMode: "only-dword" });
    io.mmioWrite(0x1001, 2, buffer);
    expect(unclaimed()).toEqual([{ space: "mmio", base: 0x1000, length: 8, owner: "m", reads: 0, writes: 1 }]);
    ports.register(
      "s",
      { base: 0, length: 1 },
      { ring0: { read: () => 0, readString: () => 3, writeString: () => 4 } },
    );
    io.portReadString(0, buffer, 1);
    io.portWriteString(0, buffer, 1);
    expect(rows()[0]).toEqual(["ring0", 3, 4, 0]);
    io.portReadString(0x80, buffer, 4);
    io.portWriteString(0x80, buffer, 2);
    expect(unclaimed()[0]).toMatchObject({ base: 0x80, reads: 4, writes: 8 });
  });

  it("do not grow without bound when a guest probes everywhere", () => {
    const { io, buffer, unclaimed } = bench();
    for (let page = 0; page < 5000; page++) io.mmioRead(2 ** 40 + page * 4096, 4, buffer);
    const rows = unclaimed();
    expect(rows.length).toBe(4097);
    expect(rows.at(-1)).toEqual({ space: "mmio", base: -1, length: 0, owner: undefined, reads: 904, writes: 0 });
  });

  it("add up time by context when there is a clock", async () => {
    const { io, ports, mmio } = bench();
    let now = 0;
    io.timing = () => now;
    const spend = (ns: number) => {
      now += ns;
      return DEFER;
    };
    ports.register(
      "d",
      { base: 0, length: 1 },
      {
        raw: { read: () => spend(1) },
        ring0: { read: () => spend(10) },
        ring3: {
          read: async () => {
            await null;
            spend(100);
            return 5;
          },
        },
      },
    );
    expect(io.portRead(0, 1)).toBe(WAIT);
    await io.waiting;
    expect(io.portRead(0, 1)).toBe(5);
    expect(statistics(ports, mmio).ranges.map((row) => row.ns)).toEqual([1, 10, 100]);
    io.timing = undefined;
    io.clearJournal();
    expect(io.portRead(0, 1)).toBe(WAIT);
    await io.waiting;
    expect(statistics(ports, mmio).ranges.map((row) => row.ns)).toEqual([1, 10, 100]);
  });
});

describe("onAccess", () => {
  it("sees each completed access once, with who answered", async () => {
    const { io, ports, mmio, buffer } = bench();
    ports.register("a", { base: 0, length: 2 }, { ring0: { read: () => 7, write: () => {}, writeString: () => 2 } });
    ports.register("b", { base: 4, length: 1 }, { ring3: { read: async () => 8 } });
    mmio.register("c", { base: 0x1000, length: 8 }, { raw: { read: () => 9, write: () => 0 } });
    const seen: unknown[][] = [];
    io.onAccess = (...access) => seen.push(access);
    io.portRead(1, 1);
    expect(io.portRead(4, 1)).toBe(WAIT);
    await io.waiting;
    io.portRead(1, 1);
    io.portRead(4, 1);
    io.portWrite(0, 0x1234, 2);
    io.portWrite(0x80, 5, 1);
    io.portWriteString(0, Uint8Array.of(1, 2, 3, 4), 2);
    io.mmioRead(0x1002, 2, buffer);
    io.onAccess = undefined;
    io.portRead(1, 1);
    expect(seen).toEqual([
      ["port", "read", 1, 1, 7, "ring0", "a"],
      ["port", "read", 4, 1, 8, "ring3", "b"],
      ["port", "write", 0, 2, 0x1234, "ring0", "a"],
      ["port", "write", 0x80, 1, 5, "unclaimed", undefined],
      ["port", "write", 0, 2, 0x0201, "ring0", "a"],
      ["port", "write", 0, 2, 0x0403, "ring0", "a"],
      ["mmio", "read", 0x1000, 4, 9, "raw", "c"],
    ]);
  });
});

it("two vCPUs on the same spaces wait by themselves", async () => {
  const ports = new PortSpace();
  const mmio = new MmioSpace();
  const [a, b] = [0, 1].map(() => createIoClient(ports, mmio, { instructionTag: () => 0 })) as [
    ReturnType<typeof createIoClient>,
    ReturnType<typeof createIoClient>,
  ];
  ports.register("slow", { base: 0, length: 1 }, { ring3: { read: async () => 1 } });
  ports.register("fast", { base: 1, length: 1 }, { ring0: { read: () => 2 } });
  expect(a.portRead(0, 1)).toBe(WAIT);
  expect(b.portRead(1, 1)).toBe(2);
  await a.waiting;
  expect(a.portRead(0, 1)).toBe(1);
});

/**
 * Devices of every kind, and an engine that runs instructions made of accesses: it restarts after each wait, and
 * sometimes delivers a fault instead of retiring. Whatever waits, devices see each access exactly once, in order.
 */
describe("random programs (model)", () => {
  const KINDS = ["ring0", "ring3", "promise", "slow", "deferring", "raw", "commit", "slow commit"] as const;
  type Kind = (typeof KINDS)[number];

  function device(kind: Kind, name: string, log: string[]): RangeHandlers {
    let reads = 0;
    const read = (offset: number, width: number) => {
      log.push(`${name} read ${offset}/${width}`);
      return (++reads * 0x0101_0101) >>> 0;
    };
    const write = (offset: number, value: number, width: number) =>
      void log.push(`${name} write ${offset}/${width} ${value}`);
    const soon = <A extends unknown[], R>(action: (...args: A) => R) => {
      return async (...args: A) => {
        await null;
        return action(...args);
      };
    };
    const later = <A extends unknown[], R>(action: (...args: A) => R) => {
      return (...args: A) => new Promise<R>((resolve) => setImmediate(() => resolve(action(...args))));
    };
    const defer = () => DEFER;
    const commit = () => COMMIT_LATER;
    switch (kind) {
      case "ring0":
        return { ring0: { read, write } };
      case "raw":
        return { raw: { read, write: (...args) => Number(write(...args)) || 0 } };
      case "ring3":
        return { ring3: { read, write } };
      case "promise":
        return { ring3: { read: soon(read), write: soon(write) } };
      case "slow":
        return { ring3: { read: later(read), write: later(write) } };
      case "deferring":
        return {
          raw: { read: defer, write: defer },
          ring0: { read: defer, write: defer },
          ring3: { read: soon(read), write: soon(write) },
        };
      case "commit":
        return { ring0: { read, write: commit }, ring3: { write } };
      case "slow commit":
        return { ring0: { read: defer, write: commit }, ring3: { read: later(read), write: later(write) } };
    }
  }

  const access = fc.record({
    space: fc.constantFrom("port", "mmio"),
    write: fc.boolean(),
    at: fc.nat(70),
    width: fc.constantFrom(1, 2, 4, 8, 16),
    value: fc.nat(0xffff_ffff),
  });
  const instruction = fc.record({ accesses: fc.array(access, { minLength: 1, maxLength: 4 }), faults: fc.nat(9) });

  it("dispatch each access exactly once, in order, with the same answers as without waiting", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...KINDS), { minLength: 8, maxLength: 8 }),
        fc.array(instruction, { minLength: 1, maxLength: 12 }),
        async (kinds, program) => {
          const results: { log: string[]; answers: number[][] }[] = [];
          // The same program with the devices as drawn, and with devices that always answer at once.
          for (const drawn of [kinds, kinds.map(() => "ring0" as const)]) {
            const { ports, mmio, io, retire } = bench();
            const log: string[] = [];
            const modes = ["passthrough", "dword"] as const;
            drawn.forEach((kind, i) => {
              ports.register(`p${i}`, { base: i * 8, length: 6 }, device(kind, `p${i}`, log));
              const readMode = modes[i & 1]!;
              const writeMode = i & 1 ? "dword-read-missing" : "passthrough";
              mmio.register(`m${i}`, { base: i * 8, length: 8 }, device(kind, `m${i}`, log), { readMode, writeMode });
            });
            const answers: number[][] = [];
            for (const { accesses, faults } of program) {
              let faulted = faults !== 0;
              const run = (): number[] | undefined => {
                const values: number[] = [];
                for (const { space, write, at, width, value } of accesses) {
                  const buffer = new Uint8Array(16).fill(value);
                  const status =
                    space === "port"
                      ? write
                        ? io.portWrite(at, value, Math.min(width, 4))
                        : io.portRead(at, Math.min(width, 4))
                      : write
                        ? io.mmioWrite(at, width, buffer)
                        : io.mmioRead(at, width, buffer);
                  if (status === WAIT) return undefined;
                  values.push(status, ...(space === "mmio" ? buffer : []));
                }
                return values;
              };
              for (;;) {
                const values = run();
                if (values === undefined) {
                  await io.waiting;
                } else if (!faulted) {
                  // The operation got to its end and faults there: all of it happens again.
                  faulted = true;
                  io.clearJournal();
                } else {
                  answers.push(values);
                  break;
                }
              }
              retire();
              while (io.flushCommits() === WAIT) await io.waiting;
            }
            expect(io.divergences).toBe(0);
            results.push({ log, answers });
          }
          expect(results[0]!.log).toEqual(results[1]!.log);
          expect(results[0]!.answers).toEqual(results[1]!.answers);
        },
      ),
      { numRuns: 150, seed: 5 },
    );
  });
});
