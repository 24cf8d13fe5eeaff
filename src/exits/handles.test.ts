import { describe, expect, it } from "vitest";
import { MmioSpace, PortSpace } from "../io/index.ts";
import { HandleTable, type SavedHandles } from "./handles.ts";
import { PV_ERROR } from "./hypercall-abi.ts";

function bench() {
  const ports = new PortSpace();
  const region = ports.register("d", { base: 0x700, length: 8 }, { ring0: { read: () => 0 } });
  let flush = () => {};
  const memory = {
    overlaps: () => false,
    listen(listener: { flush(): void; written(): void }) {
      flush = listener.flush;
      listener.written();
      return () => {};
    },
  };
  const table = new HandleTable(ports, new MmioSpace(), memory);
  return { table, region, flush: () => flush() };
}

describe("handles", () => {
  it("a place is used again, under another number", () => {
    const { table } = bench();
    const [first, second] = [table.map("port", 0x700, 4), table.map("port", 0x704, 4)];
    expect(table.unmap(first)).toBe(0);
    expect(table.find(first)).toBe(PV_ERROR.invalid);
    expect(table.find(second)).toMatchObject({ base: 0x704 });
    expect(table.map("port", 0x700, 1)).toBe(first + 512);
  });

  it("a change of memory makes stale at once what has moved meanwhile, even if it comes back", () => {
    const { table, region, flush } = bench();
    const handle = table.map("port", 0x700, 8);
    region.move(0x800);
    flush();
    region.move(0x700);
    expect(table.find(handle)).toBe(PV_ERROR.stale);
  });

  it("a saved table is the same table, empty places and all; a reset empties it", () => {
    const { table, region } = bench();
    const handles = [1, 2, 3, 4].map((length) => table.map("port", 0x700, length));
    table.unmap(handles[1]!);
    const other = bench();
    other.table.load(JSON.parse(JSON.stringify(table.save())) as SavedHandles);
    expect(other.table.save()).toEqual(table.save());
    expect(other.table.find(handles[2]!)).toMatchObject({ length: 3 });
    expect(other.table.map("port", 0x700, 1)).toBe(table.map("port", 0x700, 1));
    table.unmap(handles[3]!);
    table.clear();
    for (const handle of handles) expect(table.find(handle)).toBe(PV_ERROR.invalid);
    region.dispose();
    table.load(other.table.save());
    expect(table.find(handles[0]!)).toBe(PV_ERROR.stale);
  });

  it("nonsense in a saved table is an empty place", () => {
    const { table } = bench();
    const range = { space: "port", base: 0x700, length: 1, stale: false };
    const nonsense = [
      undefined,
      {},
      { serial: 1, handle: { ...range, space: "memory" } },
      { serial: 1, handle: { ...range, base: -1 } },
      { serial: 1, handle: { ...range, length: 0 } },
      { serial: 1, handle: { ...range, length: 2 ** 60 } },
    ];
    table.load(nonsense as unknown as SavedHandles);
    nonsense.forEach((_, place) => {
      for (const serial of [0, 1]) expect(table.find(serial * 512 + place + 1)).toBe(PV_ERROR.invalid);
    });
    expect(table.map("port", 0x700, 1)).toBe(1);
  });
});
