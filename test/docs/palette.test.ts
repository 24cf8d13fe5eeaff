import { expect, it } from "vitest";
import { palette } from "../../docs/examples/palette.ts";
import { createMachine } from "../../src/index.ts";
import { kernel, x86 } from "../machine/guests.ts";

const BASE = 0xe800_0000;

it("answers a guest's MMIO from raw code, and ring 0 sees what changes", () => {
  const machine = createMachine({ memoryMiB: 16, clock: "instructions" });
  const changes: [number, number][] = [];
  machine.add(palette, { base: BASE, changed: (colour, rgb) => changes.push([colour, rgb]) });
  const read = [...x86.mov(7, BASE + 0x10c), 0x03, 0x07]; // ADD eax, [edi]
  const code = [...x86.mov(0, 0), ...x86.store(BASE, 3), ...x86.store(BASE + 0x10c, 0x30), ...read, ...read, ...read];
  machine.boot({ image: kernel([...code, ...x86.mov(2, 0xf4), 0xee, ...x86.halt]) });
  machine.runUntil(1000);
  expect(machine.ended).toEqual({ reason: "debug-exit", status: (0x90 << 1) | 1 });
  expect(changes).toEqual([[3, 0x30]]);
  const rows = machine.profile().ranges.filter(({ owner }) => owner === "palette");
  expect(rows.map(({ context, reads, writes, deferrals }) => [context, reads, writes, deferrals])).toEqual([
    ["raw", 3, 1, 1],
    ["ring0", 0, 1, 0],
  ]);
  machine.dispose();
});
