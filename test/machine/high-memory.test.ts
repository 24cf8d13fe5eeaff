import { describe, expect, it } from "vitest";
import { createMachine } from "../../src/machine/machine.ts";
import { kernel, x86 } from "./guests.ts";

/** A page of RAM above 2 GiB, the last page of a machine of 3 GiB, and what is no memory behind it. */
const PAGE = 0xb000_0000;
const LAST = 0xbfff_f000;
const BEHIND = 0xc000_0000;
const [REQUEST, TO, STRING, COPY] = [PAGE + 0x1800, PAGE + 0x2000, PAGE + 0x3000, PAGE + 0x4ffe];
const LOCAL_APIC_VERSION = 0xfee0_0030;
const TURNS = 20;
const swapped = (value: number) => Buffer.from(x86.dword(value)).readUInt32BE();

/** Key 0 of fw_cfg, by DMA and by INSB; accesses across pages, to devices and to what is nothing. */
const PROGRAM = [
  ...x86.mov(5, TURNS),
  // 1:
  ...x86.store(PAGE + 0x10, 0x1122_3344),
  ...[0x83, 0x05, ...x86.dword(PAGE + 0x10), 1], // add dword [PAGE + 10h], 1
  ...x86.store(PAGE + 0xffe, 0xaabb_ccdd),
  ...x86.store(REQUEST, swapped(0x000a)),
  ...x86.store(REQUEST + 4, swapped(4)),
  ...x86.store(REQUEST + 8, 0),
  ...x86.store(REQUEST + 12, swapped(TO)),
  ...x86.out(0x514, 0, 4),
  ...x86.out(0x518, swapped(REQUEST), 4),
  ...x86.out(0x510, 0, 2),
  ...x86.mov(2, 0x511),
  ...x86.mov(7, STRING),
  ...x86.mov(1, 4),
  ...[0xf3, 0x6c], // rep insb
  ...x86.mov(6, STRING),
  ...x86.mov(7, COPY),
  ...x86.mov(1, 2),
  ...[0xf3, 0xa5], // rep movsd
  ...x86.mov(7, LAST + 0x100),
  ...x86.mov(1, 0x3c0),
  ...x86.mov(0, 0x1234_5678),
  ...[0xf3, 0xab], // rep stosd
  ...x86.load(LOCAL_APIC_VERSION),
  ...x86.storeEax(PAGE + 0x20),
  ...x86.load(BEHIND),
  ...x86.storeEax(PAGE + 0x24),
  ...x86.store(BEHIND, 1),
  0x4d, // dec ebp
];
const CODE = [...PROGRAM, 0x0f, 0x85, ...x86.dword((5 - PROGRAM.length - 6) >>> 0), ...x86.exit(0)];

describe("memory above 2 GiB", () => {
  it.each(["never", "always"] as const)("is memory for instructions, devices and handlers, compiled %s", (compile) => {
    const machine = createMachine({ memoryMiB: 3072, clock: "instructions", compile });
    try {
      machine.boot({ image: kernel(CODE) });
      const { memory } = machine;
      const seen: unknown[] = [];
      memory.handlers.physical.register({
        kind: "all",
        base: PAGE + 0x10,
        length: 4,
        owner: "test",
        callback: ({ kind, physical, value }) => {
          seen.push([kind, physical, Number(value)]);
        },
      });
      machine.runUntil(1_000_000);
      expect(machine.clock.retired).toBeLessThan(1_000_000);
      const words = (at: number, count: number) => Array.from({ length: count }, (_, i) => memory.read32(at + i * 4));
      const signature = Buffer.from("QEMU").readUInt32LE();
      const turn = [
        ["write", PAGE + 0x10, 0x1122_3344],
        ["read", PAGE + 0x10, 0x1122_3344],
        ["write", PAGE + 0x10, 0x1122_3345],
      ];
      expect(seen).toEqual(Array.from({ length: TURNS }, () => turn).flat());
      expect(words(PAGE + 0xffe, 1)).toEqual([0xaabb_ccdd]);
      expect([memory.read32(REQUEST), memory.read32(TO), memory.read32(STRING)]).toEqual([0, signature, signature]);
      expect(words(COPY, 2)).toEqual([signature, 0]);
      expect(words(LAST + 0xfc, 2)).toEqual([0, 0x1234_5678]);
      expect(words(LAST + 0xffc, 1)).toEqual([0x1234_5678]);
      // Version 14h, six entries of its table.
      expect(words(PAGE + 0x20, 2)).toEqual([0x0005_0014, 0xffff_ffff]);
    } finally {
      machine.dispose();
    }
  });
});
