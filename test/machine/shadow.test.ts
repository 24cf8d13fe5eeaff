import { describe, expect, it } from "vitest";
import { createMachine } from "../../src/machine/machine.ts";
import { KERNEL, kernel, x86 } from "./guests.ts";

const BIOS = 0xf_0000;

describe("the BIOS area of a machine without firmware", () => {
  it.each(["never", "always"] as const)("is RAM until the chipset is told otherwise (compile: %s)", async (compile) => {
    const machine = createMachine({ memoryMiB: 8, clock: "instructions", compile });
    const attributes = (value: number) => [...x86.out(0xcf8, 0x8000_0058, 4), ...x86.out(0xcfc, value, 4)];
    const look = (index: number) => [...x86.load(BIOS), ...x86.storeEax(KERNEL.data + 4 * index)];
    const code = [
      ...[x86.store(BIOS, 0x1111_1111), look(0)],
      // Reads and writes to the bus, where nobody is.
      ...[attributes(0), look(1), x86.store(BIOS, 0x2222_2222), look(2)],
      // Reads from RAM, writes to the bus; then both from RAM.
      ...[attributes(0x1000), look(3), x86.store(BIOS, 0x3333_3333), look(4)],
      ...[attributes(0x3000), x86.store(BIOS, 0x4444_4444), look(5)],
    ].flat();
    machine.boot({ image: kernel([...code, ...x86.exit(0), ...x86.halt]) });
    await machine.run();
    const seen = Array.from({ length: 6 }, (_, i) => machine.memory.read32(KERNEL.data + 4 * i));
    expect(seen).toEqual([0x1111_1111, 0xffff_ffff, 0xffff_ffff, 0x1111_1111, 0x1111_1111, 0x4444_4444]);
    machine.dispose();
  });
});
