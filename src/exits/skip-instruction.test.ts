import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { lengthFromNextRip, ripAfter } from "./instruction-length.ts";
import { type SkipCpu, skipInstruction } from "./skip-instruction.ts";

describe("the next instruction", () => {
  it.each([
    ["in 32-bit code", 0x1000n, 2, false, 0x1002n],
    ["wraps at 32 bits outside 64-bit code", 0xffff_ffffn, 2, false, 1n],
    ["and has 32 bits there, whatever RIP held", 0x1_0000_1000n, 1, false, 0x1001n],
    ["does not wrap at 16 bits", 0xffffn, 2, false, 0x1_0001n],
    ["in 64-bit code", 0xffff_ffffn, 2, true, 0x1_0000_0001n],
    ["wraps at 64 bits", 0xffff_ffff_ffff_ffffn, 1, true, 0n],
  ] as const)("%s", (_, rip, length, code64, next) => {
    expect(ripAfter(rip, length, code64)).toEqual({ ok: true, value: next });
    if (code64 || rip < 1n << 32n) expect(lengthFromNextRip(rip, next, code64)).toEqual({ ok: true, value: length });
  });

  it.each([0, 16, -1, 1.5, Number.NaN, 2 ** 32])("no instruction has %d bytes", (length) => {
    expect(ripAfter(0n, length, true)).toEqual({ ok: false, fault: "length" });
  });

  it.each([
    ["none", 0x1000n, 0x1000n, true],
    ["too far", 0x1000n, 0x1010n, true],
    ["backwards", 0x1000n, 0xfffn, true],
  ] as const)("a next RIP that cannot be: %s", (_, rip, next, code64) => {
    expect(lengthFromNextRip(rip, next, code64)).toEqual({ ok: false, fault: "length" });
  });

  it("length and next RIP are two ways to say the same", () => {
    fc.assert(
      fc.property(
        fc.bigInt(0n, (1n << 64n) - 1n),
        fc.integer({ min: 1, max: 15 }),
        fc.boolean(),
        (any, length, code64) => {
          const rip = code64 ? any : any & 0xffff_ffffn;
          const next = ripAfter(rip, length, code64);
          expect(next.ok && lengthFromNextRip(rip, next.value, code64)).toEqual({ ok: true, value: length });
        },
      ),
      { seed: 15, numRuns: 500 },
    );
  });
});

const TF = 1 << 8;
const RF = 1 << 16;
const DE = 1 << 3;
const cpu: SkipCpu = {
  rip: 0x1000n,
  code64: false,
  eflags: 2,
  cr4: DE,
  breakpoints: [0x3f8n, 0n, 0n, 0n],
  dr6: 0xffff_0ff0,
  dr7: 0x400,
};
const com1 = { port: 0x3f8, bytes: 1 };

describe("after an instruction was carried out in the guest's place", () => {
  it("RIP moves, RF and the interrupt shadow are gone, nothing else happens", () => {
    expect(skipInstruction({ ...cpu, eflags: 0x246 | RF }, 1, com1)).toEqual({
      ok: true,
      value: { rip: 0x1001n, eflags: 0x246, interruptShadow: false, debug: undefined },
    });
  });

  it("a length that no instruction has is refused", () => {
    expect(skipInstruction(cpu, 16)).toEqual({ ok: false, fault: "length" });
  });

  it("TF: a single step after it, with BS; what was left in B0 to B3 goes", () => {
    expect(skipInstruction({ ...cpu, eflags: 2 | TF, dr6: 0xffff_0ff3 }, 2)).toMatchObject({
      value: { eflags: 2 | TF, debug: { dr6: 0xffff_4ff0, dr7: 0x400 } },
    });
  });

  it.each([
    ["DR0 on 3F8h, with CR4.DE", {}, 0x2_0401, com1, 1],
    ["without CR4.DE", { cr4: 0 }, 0x2_0401, com1, 0],
    ["not enabled", {}, 0x2_0400, com1, 0],
    ["enabled globally", {}, 0x2_0402, com1, 1],
    ["on writes of memory", {}, 0x1_0401, com1, 0],
    ["on memory", {}, 0x3_0401, com1, 0],
    ["the port before", {}, 0x2_0401, { port: 0x3f7, bytes: 1 }, 0],
    ["a word from the port before", {}, 0x2_0401, { port: 0x3f7, bytes: 2 }, 1],
    [
      "a word of which the second port counts",
      { breakpoints: [0x3f8n, 0n, 0n, 0n] },
      0x6_0401,
      { port: 0x3f9, bytes: 1 },
      1,
    ],
    ["an address aligned down to two", { breakpoints: [0x3f9n, 0n, 0n, 0n] }, 0x6_0401, com1, 1],
    ["to four", { breakpoints: [0x3fbn, 0n, 0n, 0n] }, 0xe_0401, com1, 1],
    ["to eight", { breakpoints: [0x3ffn, 0n, 0n, 0n] }, 0xa_0401, com1, 1],
    ["not to one", { breakpoints: [0x3f9n, 0n, 0n, 0n] }, 0x2_0401, com1, 0],
    ["several at once", { breakpoints: [0x3f8n, 0x3f8n, 0x3f9n, 0x3f8n] }, 0x2222_0455, com1, 0b1011],
    ["an address that only looks like the port", { breakpoints: [0x1_0000_03f8n, 0n, 0n, 0n] }, 0x2_0401, com1, 0],
  ] as const)("I/O breakpoint: %s", (_, change, dr7, io, hits) => {
    const after = skipInstruction({ ...cpu, dr6: 0xffff_0ffc, ...change, dr7: dr7 | 0x2000 }, 1, io);
    const debug = hits ? { dr6: (0xffff_0ff0 | hits) >>> 0, dr7 } : undefined;
    expect(after).toMatchObject({ ok: true, value: { debug } });
  });

  it("a breakpoint and a single step are one trap; BT and BD stay as they were", () => {
    expect(skipInstruction({ ...cpu, eflags: TF, dr6: 0xffff_aff0, dr7: 0x2_0401 }, 1, com1)).toMatchObject({
      value: { debug: { dr6: 0xffff_eff1 } },
    });
  });
});
