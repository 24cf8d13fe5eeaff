import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { CPU, CS, VECTOR } from "../state.ts";

const TABLES = 0x1000;
const CODE = 0x1_0000;
/** The page behind `CODE`, and where it lies in memory: not behind it. */
const NEXT = CODE + 0x1000;
const NEXT_AT = 0x1_8000;
const RBX = 3;

const dword = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];

/** Two pages of code that follow each other in linear addresses only. */
function twoPages(bits: 32 | 64): BareVcpu {
  const bare = new BareVcpu({ ramBytes: 0x2_0000 });
  const { memory } = bare;
  bare.startFlat([], CODE);
  const entry = (at: number, value: number) => memory.write(at, Uint8Array.from([...dword(value), ...dword(0)]));
  const levels = bits === 64 ? 3 : 1;
  for (let level = 0; level < levels; level++) entry(TABLES * (level + 1), TABLES * (level + 2) + 3);
  const table = TABLES * (levels + 1);
  const size = bits === 64 ? 8 : 4;
  for (let page = 0; page < 32; page++) memory.write(table + page * size, Uint8Array.from(dword(page * 0x1000 + 3)));
  memory.write(table + (NEXT >> 12) * size, Uint8Array.from(dword(NEXT_AT + 3)));
  // What must not be taken for code.
  memory.write(NEXT, new Uint8Array(0x1000).fill(0xf4));
  bare.setPaging(bits === 64 ? "long" : "paging32", TABLES);
  return bare;
}

/** Writes code to linear addresses around the end of the page. */
function place(bare: BareVcpu, linear: number, code: readonly number[]): void {
  code.forEach((byte, i) => {
    const at = linear + i;
    bare.memory.write(at < NEXT ? at : at - NEXT + NEXT_AT, Uint8Array.of(byte));
  });
}

/** 1: jmp to `before` bytes before the end of the page; there: mov acc, imm; add ebx, eax; jmp 1b */
function loop(bare: BareVcpu, bits: 32 | 64, before: number, value: number, prefixes: number): number {
  const start = NEXT - before;
  const move = bits === 64 ? [0x48, 0xb8, ...dword(value), ...dword(0)] : [0xb8, ...dword(value)];
  const body = [...new Array(prefixes).fill(0x2e), ...move, 0x01, 0xc3];
  place(bare, CODE, [0xe9, ...dword(start - CODE - 5)]);
  place(bare, start, [...body, 0xe9, ...dword(CODE - (start + body.length + 5))]);
  return 4;
}

describe("instructions that lie across two pages", () => {
  it.each([32, 64] as const)("are put together from where the pages are, %i bits", (bits) => {
    const numbers = { before: fc.integer({ min: 1, max: 20 }), value: fc.nat(0xffff), prefixes: fc.nat(4) };
    fc.assert(
      fc.property(fc.record(numbers), ({ before, value, prefixes }) => {
        const bare = twoPages(bits);
        const instructions = loop(bare, bits, before, value, prefixes);
        expect(bare.run(instructions * 5).reason).toBe("budget");
        expect(bare.state.gpr32(RBX)).toBe(5 * value);
        expect(bare.state.number(CPU.rip)).toBe(CODE);
      }),
      { numRuns: 200 },
    );
  });

  it("change when their second page does", () => {
    const bare = twoPages(64);
    loop(bare, 64, 4, 0x1111, 0);
    bare.run(40);
    bare.memory.write(NEXT_AT, Uint8Array.of(0x33));
    bare.state.setGpr32(RBX, 0);
    bare.run(40);
    // The bytes 48 B8 11 11 stay in the first page.
    expect(bare.state.gpr32(RBX)).toBe((10 * 0x33_1111) >>> 0);
  });

  it.each([
    { limit: NEXT + 1, faults: true },
    { limit: NEXT + 2, faults: false },
    { limit: NEXT + 17, faults: false },
  ])("must lie within the limit of CS: $limit", ({ limit, faults }) => {
    const bare = twoPages(32);
    // 1: jmp 2f; 2: mov eax, 0x12345678, the last three bytes in the next page
    place(bare, CODE, [0xe9, ...dword(NEXT - 2 - CODE - 5)]);
    place(bare, NEXT - 2, [0xb8, ...dword(0x1234_5678)]);
    // Both pages are in the TLB.
    place(bare, NEXT + 3, [0xe9, ...dword(CODE - NEXT - 8)]);
    bare.run(9);
    bare.state.setNumber(CPU.rip, CODE);
    bare.state.setSegment(CS, 8, 0, limit, 0x409b);
    let vector = -1;
    bare.vcpu.onException = (raised) => {
      vector = raised;
      return true;
    };
    bare.state.setGpr32(0, 0);
    bare.run(2);
    expect(vector).toBe(faults ? VECTOR.gp : -1);
    expect(bare.state.gpr32(0)).toBe(faults ? 0 : 0x1234_5678);
  });
});
