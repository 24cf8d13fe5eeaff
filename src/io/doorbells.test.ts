import { describe, expect, it } from "vitest";
import { Doorbells } from "./doorbells.ts";
import { MmioSpace } from "./mmio-space.ts";
import { PortSpace } from "./port-space.ts";
import { createIoClient } from "./vcpu-io.ts";

const RANGE = { space: "port", base: 0x800, length: 4 } as const;

function bench() {
  const ports = new PortSpace();
  const bells = new Doorbells((range, handlers) => ports.register("doorbell", range, handlers));
  const io = createIoClient(ports, new MmioSpace(), { instructionTag: () => 0 });
  const rung: string[] = [];
  const add = (name: string, match?: number) =>
    bells.add((count) => rung.push(`${name} ${count}`), match === undefined ? RANGE : { ...RANGE, match });
  const deliver = () => {
    bells.deliver();
    return rung.splice(0);
  };
  return { ports, bells, io, add, deliver };
}

describe("doorbells that match a value", () => {
  it("hear of that one alone, whatever its width; others of the range have others", () => {
    const { io, add, deliver } = bench();
    add("zero", 0);
    add("one", 1);
    add("all", 0xffff_ffff);
    io.portWrite(0x800, 1, 2);
    io.portWrite(0x803, 1, 1);
    io.portWrite(0x800, 0xffff_ffff, 4);
    io.portWrite(0x800, 0xffff, 2);
    expect(deliver()).toEqual(["one 2", "all 1"]);
    io.portWrite(0x800, 0, 1);
    expect(deliver()).toEqual(["zero 1"]);
    expect(deliver()).toEqual([]);
  });

  it("leave every other write, and all reads, to nobody", () => {
    const { io, add, deliver } = bench();
    add("one", 1);
    expect(io.portWrite(0x800, 2, 1)).toBe(0);
    expect(io.portRead(0x800, 2)).toBe(0xffff);
    expect(deliver()).toEqual([]);
  });

  it("are rung by number too, until they are gone; the range lasts as long as one of them", () => {
    const { bells, io, add, deliver } = bench();
    const one = add("one", 1);
    const two = add("two", 2);
    expect(two.id).toBe(one.id + 1);
    expect([
      bells.ring(two.id),
      bells.ring(two.id),
      bells.ring(0),
      bells.ring(two.id + 1),
      bells.ring(2 ** 60),
    ]).toEqual([...[true, true, false, false, false]]);
    expect(deliver()).toEqual(["two 2"]);
    two.dispose();
    two.dispose();
    io.portWrite(0x800, 2, 1);
    io.portWrite(0x800, 1, 1);
    expect([bells.ring(two.id), deliver()]).toEqual([false, ["one 1"]]);
    one.dispose();
    add("whatever").dispose();
    add("two again", 2);
    io.portWrite(0x800, 2, 1);
    expect(deliver()).toEqual(["two again 1"]);
  });

  it("without a range they are rung by number alone", () => {
    const { bells, deliver } = bench();
    let heard = 0;
    const bell = bells.add((count) => (heard += count));
    bells.ring(bell.id);
    deliver();
    bell.dispose();
    expect([heard, bells.ring(bell.id)]).toEqual([1, false]);
  });

  it("what was rung before a bell went is not told", () => {
    const { bells, add, deliver } = bench();
    const one = add("one", 1);
    bells.ring(one.id);
    one.dispose();
    expect(deliver()).toEqual([]);
  });

  it.each([
    ["the same value twice", 1, 1, "DOORBELL_CONFLICT"],
    ["a value and whatever is written", 1, undefined, "PORT_RANGE_CONFLICT"],
    ["whatever is written and a value", undefined, 1, "PORT_RANGE_CONFLICT"],
    ["a negative value", 1, -1, "DOORBELL_MATCH"],
    ["more than 32 bits", 1, 2 ** 32, "DOORBELL_MATCH"],
    ["a fraction", 1, 0.5, "DOORBELL_MATCH"],
  ])("%s: refused, and nothing is changed", (_, first, second, code) => {
    const { io, add, deliver } = bench();
    add("first", first);
    expect(() => add("second", second)).toThrow(expect.objectContaining({ code }));
    io.portWrite(0x800, 1, 1);
    expect(deliver()).toEqual(["first 1"]);
  });
});
