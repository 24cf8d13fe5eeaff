import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  SVM_IOPM_BYTES,
  setSvmIopm,
  setVmxBitmaps,
  svmIoExits,
  VMX_BITMAP_BYTES,
  VMX_UNCONDITIONAL_IO,
  VMX_USE_IO_BITMAPS,
  vmxBitmapsExit,
  vmxIoExits,
} from "./io-bitmap.ts";

function bitmaps(...ports: number[]): [Uint8Array, Uint8Array] {
  const a = new Uint8Array(VMX_BITMAP_BYTES);
  const b = new Uint8Array(VMX_BITMAP_BYTES);
  for (const port of ports) setVmxBitmaps(a, b, port, 1, true);
  return [a, b];
}

describe("VT-x I/O bitmaps (SDM vol 3, 25.6.4)", () => {
  it.each([
    ["the port itself", [0x3f8], 0x3f8, 1, true],
    ["its neighbours", [0x3f8], 0x3f9, 1, false],
    ["the last byte of a word", [0x3f9], 0x3f8, 2, true],
    ["the last byte of a dword", [0x3fb], 0x3f8, 4, true],
    ["the byte after a dword", [0x3fc], 0x3f8, 4, false],
    ["a word across the two bitmaps, bit in A", [0x7fff], 0x7fff, 2, true],
    ["a word across the two bitmaps, bit in B", [0x8000], 0x7fff, 2, true],
    ["the last port", [0xffff], 0xffff, 1, true],
    ["the last port, clear", [], 0xffff, 1, false],
    ["a word that wraps", [], 0xffff, 2, true],
    ["a dword that wraps", [], 0xfffd, 4, true],
    ["a dword up to the last port", [], 0xfffc, 4, false],
  ] as const)("%s", (_, set, port, bytes, exits) => {
    expect(vmxBitmapsExit(...bitmaps(...set), port, bytes)).toBe(exits);
  });

  it("bitmaps in use override unconditional exits", () => {
    const [a, b] = bitmaps(0x60);
    expect(vmxIoExits(0, a, b, 0x60, 1)).toBe(false);
    expect(vmxIoExits(VMX_UNCONDITIONAL_IO, a, b, 0x61, 1)).toBe(true);
    expect(vmxIoExits(VMX_UNCONDITIONAL_IO | VMX_USE_IO_BITMAPS, a, b, 0x61, 1)).toBe(false);
    expect(vmxIoExits(VMX_USE_IO_BITMAPS, a, b, 0x60, 1)).toBe(true);
  });
});

describe("AMD-V I/O permission map (APM vol 2, 15.10.1)", () => {
  it.each([
    ["nothing beyond the last port set", [], 0xffff, 4, false],
    ["bit 65,536", [0x1_0000], 0xffff, 4, true],
    ["bit 65,538, the last one", [0x1_0002], 0xffff, 4, true],
    ["the same for two bytes", [0x1_0002], 0xffff, 2, false],
    ["bit 65,539 is no part of it", [0x1_0003], 0xffff, 4, false],
    ["bit 65,536 from one port lower", [0x1_0000], 0xfffe, 2, false],
  ] as const)("%s", (_, set, port, bytes, exits) => {
    const map = new Uint8Array(SVM_IOPM_BYTES);
    for (const bit of set) setSvmIopm(map, bit, 1, true);
    expect(svmIoExits(map, port, bytes)).toBe(exits);
  });
});

it("both agree with a set of ports, but for accesses that wrap", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(0xffff), fc.integer({ min: 1, max: 64 }), fc.boolean()), { maxLength: 12 }),
      fc.array(fc.nat(0xffff), { minLength: 1, maxLength: 20 }),
      fc.constantFrom(1, 2, 4),
      (changes, ports, bytes) => {
        const truth = new Set<number>();
        const [a, b] = bitmaps();
        const map = new Uint8Array(SVM_IOPM_BYTES);
        for (const [first, length, exits] of changes) {
          const count = Math.min(length, 0x1_0000 - first);
          setVmxBitmaps(a, b, first, count, exits);
          setSvmIopm(map, first, count, exits);
          for (let port = first; port < first + count; port++) exits ? truth.add(port) : truth.delete(port);
        }
        for (const port of [...ports, ...changes.map(([first]) => first)]) {
          const touched = Array.from({ length: bytes }, (_, index) => port + index);
          const expected = touched.some((one) => truth.has(one));
          expect(svmIoExits(map, port, bytes)).toBe(expected);
          expect(vmxBitmapsExit(a, b, port, bytes)).toBe(expected || port + bytes > 0x1_0000);
        }
      },
    ),
    { seed: 24, numRuns: 200 },
  );
});
