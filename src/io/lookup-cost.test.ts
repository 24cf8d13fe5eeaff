import { describe, expect, it } from "vitest";
import { DYNAMIC_BASE } from "../memory/layout.ts";
import { createIoClient, MmioSpace, PortSpace, RawDispatch } from "./index.ts";

/** Ranges besides the one that is measured. */
const MANY = 10_000;
const PORT = 0x80;
const ADDRESS = 0xfee0_0000;
const ACCESSES = 5_000;
/** A search by halves would need 14 steps more, a list 10,000; noise of the host makes some. */
const FACTOR = 4;

const ANSWERS = { read: () => 1, write: () => 0 };

function board(others: number) {
  const raw = new RawDispatch(new WebAssembly.Memory({ initial: DYNAMIC_BASE / 0x1_0000 }));
  const ports = new PortSpace(raw);
  const mmio = new MmioSpace({ raw });
  let retired = 0;
  const io = createIoClient(ports, mmio, { instructionTag: () => retired++ });
  const known = { raw: ANSWERS, ring0: ANSWERS };
  raw.add(ANSWERS.read, false, ({ b }) => b.i32(1))([]);
  for (let i = 0; i < others; i++) {
    ports.register(`port${i}`, { base: 0x1000 + 4 * i, length: 3 }, known);
    // Several in a page, then one in each.
    const base = i < MANY / 2 ? 0xe000_0000 + i * 0x40 : 0xf000_0000 + (i - MANY / 2) * 0x1000;
    mmio.register(`mmio${i}`, { base, length: 0x20 }, known);
  }
  ports.register("measured", { base: PORT, length: 1 }, { ring0: ANSWERS });
  mmio.register("measured", { base: ADDRESS, length: 0x1000 }, { ring0: ANSWERS });
  const buffer = new Uint8Array(4);
  return {
    port: () => io.portRead(PORT, 1),
    unclaimed: () => io.portWrite(0x500, 0, 1),
    mmio: () => io.mmioRead(ADDRESS, 4, buffer),
    emitted: () => raw.functions.portWrite(0x500, 1, 0),
  };
}

/** The least of many rounds, in ns an access. */
function cost(access: () => number): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < 60; round++) {
    const began = performance.now();
    for (let i = 0; i < ACCESSES; i++) access();
    least = Math.min(least, performance.now() - began);
  }
  return (least * 1e6) / ACCESSES;
}

describe("the cost of an access", () => {
  const [few, many] = [board(0), board(MANY)];

  it.each(["port", "unclaimed", "mmio", "emitted"] as const)("does not grow with the number of ranges: %s", (way) => {
    for (const { [way]: access } of [few, many]) cost(access);
    expect(cost(many[way])).toBeLessThan(FACTOR * cost(few[way]) + 20);
  });
});
