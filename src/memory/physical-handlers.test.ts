import { describe, expect, it } from "vitest";
import { GuestMemory, HANDLER_STATE, type PhysicalHandlerOptions, type WatchedAccess } from "./index.ts";
import { PAGE_FLAG } from "./layout.ts";

const MIB = 0x10_0000;
const PAGE = 0x1000;
const { none, disabled, write, all } = HANDLER_STATE;

const withMemory = () => {
  const memory = new GuestMemory({ ramBytes: 4 * MIB, extraBytes: MIB });
  const hits: unknown[] = [];
  const note =
    (owner: string) =>
    ({ kind, physical, data }: WatchedAccess) =>
      void hits.push([owner, kind, physical, [...data].join()]);
  const register = (kind: PhysicalHandlerOptions["kind"], base: number, length: number, owner = "a") =>
    memory.handlers.physical.register({ kind, base, length, owner, callback: note(owner) });
  const states = (...pages: number[]) => pages.map((page) => memory.handlers.state(page));
  return { memory, physical: memory.handlers.physical, hits, register, states };
};

describe("registering", () => {
  it.each([
    ["nothing", "write", 0, 0, /give a range below 4 GiB/],
    ["beyond 4 GiB", "all", 2 ** 32, 1, /give a range below 4 GiB/],
    ["half outside RAM", "write", 4 * MIB - 1, 2, /within RAM or ROM/],
    ["the VGA window as RAM", "all", 0xa_0000, PAGE, /within RAM or ROM/],
    ["RAM as MMIO", "mmio", MIB, PAGE, /neither RAM nor ROM/],
    ["a part of an MMIO page", "mmio", 0xa_0000, 16, /whole pages/],
  ] as const)("refuses %s", (_, kind, base, length, message) => {
    const { register, memory } = withMemory();
    expect(() => register(kind, base, length)).toThrow(expect.objectContaining({ code: "HANDLER_RANGE" }));
    expect(() => register(kind, base, length)).toThrow(message);
    expect(memory.handlers.any).toBe(false);
  });

  it("names both owners of a conflict", () => {
    const { register, states } = withMemory();
    register("write", 0x1010, 16, "first");
    expect(() => register("all", 0x101f, 1, "second")).toThrow(
      "0x101f is watched by 'first' (write, 0x1010-0x101f) already: 'second' cannot have 0x101f-0x101f",
    );
    register("all", 0x1020, 1, "third");
    expect(states(0x1000, 0x2000)).toEqual([all, none]);
  });

  it("a page's state is the highest of its handlers', and that of what is left", () => {
    const { memory, physical, register, states } = withMemory();
    const first = register("write", 0x1ff0, 0x20);
    const second = register("all", 0x2800, 0x1000);
    expect(states(0x1000, 0x2000, 0x3000)).toEqual([write, all, all]);
    const flags = () =>
      [1, 2, 3].map((page) => memory.pageFlags[page]! & (PAGE_FLAG.watchedAll | PAGE_FLAG.watchedWrite));
    const [w, a] = [PAGE_FLAG.watchedWrite, PAGE_FLAG.watchedAll | PAGE_FLAG.watchedWrite];
    expect(flags()).toEqual([w, a, a]);
    physical.deregister(second);
    expect(states(0x1000, 0x2000, 0x3000)).toEqual([write, write, none]);
    expect(flags()).toEqual([w, w, 0]);
    physical.deregister(first);
    expect(flags()).toEqual([0, 0, 0]);
    expect(() => physical.deregister(first)).toThrow(expect.objectContaining({ code: "HANDLER_GONE" }));
  });
});

describe("a handler that stands", () => {
  it("moves, grows and shrinks; what does not fit leaves it where it is", () => {
    const { physical, register, states } = withMemory();
    const handler = register("write", 0x1000, PAGE);
    register("write", 0x5000, PAGE, "b");
    expect(() => physical.modify(handler, 0x4000, 2 * PAGE)).toThrow(
      expect.objectContaining({ code: "HANDLER_CONFLICT" }),
    );
    expect(states(0x1000, 0x4000)).toEqual([write, none]);
    physical.modify(handler, 0x1800, 2 * PAGE);
    expect(states(0x1000, 0x2000, 0x3000, 0x4000)).toEqual([write, write, write, none]);
    expect(physical.find(0x37ff)).toBe(handler);
    expect(physical.find(0x3800)).toBeUndefined();
  });

  it("is split and joined", () => {
    const { memory, physical, register, states, hits } = withMemory();
    const first = register("write", 0x1000, 3 * PAGE);
    physical.pageOff(first, 0x3000);
    const second = physical.split(first, 0x2800);
    physical.change(second, { owner: "b", callback: ({ physical: at }) => void hits.push(["b", at]) });
    expect(states(0x1000, 0x2000, 0x3000)).toEqual([write, write, disabled]);
    memory.write16(0x27ff, 0x0201);
    expect(hits.splice(0)).toEqual([
      ["a", "write", 0x27ff, "1"],
      ["b", 0x2800],
    ]);
    expect(() => physical.split(first, 0x2800)).toThrow(expect.objectContaining({ code: "HANDLER_RANGE" }));
    physical.join(first, second);
    memory.write16(0x27ff, 0x0201);
    expect(hits).toEqual([["a", "write", 0x27ff, "1,2"]]);
    expect([first.base, first.length, physical.count]).toEqual([0x1000, 3 * PAGE, 1]);
    expect(states(0x3000)).toEqual([disabled]);
    const other = register("all", 0x4000, PAGE);
    expect(() => physical.join(first, other)).toThrow(/not neighbours of one kind/);
  });

  it("a page is off until reset", () => {
    const { memory, physical, register, states, hits } = withMemory();
    const handler = register("all", 0x1000, 2 * PAGE);
    physical.pageOff(handler, 0x1234);
    expect(states(0x1000, 0x2000)).toEqual([disabled, all]);
    memory.write8(0x1000, 1);
    expect([memory.read8(0x1000), hits.length, memory.pageFlags[1]! & PAGE_FLAG.watchedAll]).toEqual([1, 0, 0]);
    expect(() => physical.pageOff(handler, 0x3000)).toThrow(expect.objectContaining({ code: "HANDLER_RANGE" }));
    physical.reset(handler);
    memory.read8(0x1000);
    expect([states(0x1000), hits]).toEqual([[all], [["a", "read", 0x1000, "1"]]]);
  });
});

describe("what devices and the host do", () => {
  it("is cut at the edges of handlers and pages, nothing is left out", () => {
    const { memory, register, hits } = withMemory();
    register("write", 0x1ffe, 4);
    register("all", 0x2004, 2, "b");
    memory.write(
      0x1ffc,
      Uint8Array.from({ length: 12 }, (_, i) => i),
    );
    expect([...memory.slice(0x1ffc, 12)]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
    expect(hits).toEqual([
      ["a", "write", 0x1ffe, "2,3"],
      ["a", "write", 0x2000, "4,5"],
      ["b", "write", 0x2004, "8,9"],
      ["b", "read", 0x2004, "8,9"],
    ]);
  });

  it("is replaced and swallowed", () => {
    const { memory, physical } = withMemory();
    physical.register({
      kind: "all",
      base: 0x1000,
      length: 8,
      owner: "a",
      callback: ({ kind, physical: at }) => (at < 0x1004 ? { value: kind === "read" ? 0x11n : 0x22n } : "swallow"),
    });
    memory.fill(0xff8, 20, 0x33);
    const { layout, bytes } = memory;
    expect([...bytes.subarray(layout.ram + 0xffe, layout.ram + 0x100a)].join()).toBe(
      [0x33, 0x33, 0x22, 0, 0, 0, 0, 0, 0, 0, 0x33, 0x33].join(),
    );
    expect(memory.read32(0x1000)).toBe(0x11);
    expect(memory.read32(0x1004)).toBe(0xffff_ffff);
  });

  it("reaches handlers of MMIO pages; device memory can stand behind one until reset", () => {
    const { memory, physical, register, states, hits } = withMemory();
    const page = 8 * MIB;
    const handler = register("mmio", page, 2 * PAGE);
    memory.write8(page + 4, 7);
    expect(hits.splice(0)).toEqual([["a", "write", page + 4, "7"]]);
    const host = memory.allocateExtra(PAGE);
    expect(physical.alias(handler, page + 8, host)).toBe(true);
    expect(physical.alias(handler, page, host)).toBe(false);
    expect(states(page, page + PAGE)).toEqual([disabled, all]);
    memory.write8(page + 4, 9);
    expect([memory.read8(page + 4), memory.bytes[host + 4], hits.length]).toEqual([9, 9, 0]);
    physical.reset(handler);
    expect([memory.kind(page), states(page), memory.read8(page + 4)]).toEqual(["none", [all], 0xff]);
    expect(hits).toEqual([["a", "read", page + 4, "255"]]);
    expect(() => physical.alias(handler, page, memory.layout.ram)).toThrow(/only pages of device memory/);
  });
});
