/** The rules for AMD hosts, wherever the tests run: what they leave out or open, and that it is no more. */
import { describe, expect, it } from "vitest";
import { adapt, latitude } from "./amd.ts";
import type { Draft, DraftUnit } from "./draft.ts";
import { formsOf, Generator } from "./generate.ts";
import { Random } from "./prng.ts";
import type { LinkedProgram } from "./program.ts";
import type { Mode, Outcome } from "./state.ts";

const [BR, GP, PF, AC] = [5, 13, 14, 17] as const;

function unit(mode: Mode, name: string, bytes: number[]): DraftUnit {
  const form = formsOf(name, mode)[0]!;
  const fixups = form.kind === "branch" ? [{ at: bytes.length - 1, width: 1, kind: "branch", target: 1 } as const] : [];
  return { form, bytes, fixups, start: 0, written: 0, undefinedFlags: 0, read: 0, changed: [] };
}

describe("instructions", () => {
  const adapted = (mode: Mode, narrow: boolean, name: string, bytes: number[]) =>
    adapt(unit(mode, name, bytes), { mode, narrow } as Draft)?.bytes;

  it.each<[string, Mode, string, number[]]>([
    ["66h before a near branch in 64-bit mode", 64, "call near", [0x66, 0xe8, 0, 0, 0, 0]],
    ["F3h before LOOPNE", 32, "loopne", [0xf3, 0xe0, 0]],
    ["LOCK MOV CR0", 32, "mov r,cr0", [0xf0, 0x0f, 0x20, 0xc0]],
  ])("%s is left out", (_, mode, name, bytes) => {
    expect(adapted(mode, false, name, bytes)).toBeUndefined();
  });

  it.each<[string, Mode, string, number[]]>([
    ["a near branch", 64, "call near", [0xe8, 0, 0, 0, 0]],
    ["66h before a near branch in 32-bit mode", 32, "call near", [0x66, 0xe8, 0, 0]],
    ["LOOPNE", 32, "loopne", [0xe0, 0]],
    ["PUSH of 16 bits", 32, "push es", [0x66, 0x06]],
    ["REP MOVSB with 64-bit addresses", 64, "movsb", [0xf3, 0xa4]],
    ["MOVSB with 32-bit addresses", 64, "movsb", [0x67, 0xa4]],
  ])("%s stays", (_, mode, name, bytes) => {
    expect(adapted(mode, false, name, bytes)).toEqual(bytes);
  });

  it.each<[string, Mode, boolean, string, number[], number]>([
    ["PUSH ES of 32 bits", 32, false, "push es", [0x06], 6],
    ["PUSH ES of 32 bits in 16-bit code", 32, true, "push es", [0x66, 0x06], 9],
    ["REP MOVSB with 32-bit addresses", 64, false, "movsb", [0xf3, 0x67, 0xa4], 6],
  ])("%s is set up", (_, mode, narrow, name, bytes, length) => {
    const all = adapted(mode, narrow, name, bytes)!;
    expect(all.length).toBe(length + bytes.length);
    expect(all.slice(length)).toEqual(bytes);
  });

  it("for Intel hosts are what they were", () => {
    const bytes = (host?: "Intel") => {
      const generator = new Generator(new Random(1), 32, "integer", host);
      return Array.from({ length: 200 }, () => [...generator.next().code]);
    };
    expect(bytes("Intel")).toEqual(bytes());
  });
});

describe("outcomes", () => {
  const RIP = 0x2800_0000;
  const outcome = (vector: number, rip = RIP): Outcome =>
    ({
      vector,
      rip: BigInt(rip),
      cr2: 0n,
      gpr: new BigUint64Array(16),
      segments: [],
      fx: new Uint8Array(512),
    }) as unknown as Outcome;
  const of = (mode: Mode, name: string, bytes: number[], host: Outcome, ours: Outcome) =>
    latitude(
      {
        program: { units: [unit(mode, name, bytes)], narrow: false },
        addresses: [RIP, RIP + bytes.length],
        mode,
      } as unknown as LinkedProgram,
      host,
      ours,
    );

  it.each<[string, Mode, string, number[], number, number]>([
    ["BOUND whose upper bound is missing", 32, "bound", [0x62, 0x00], PF, BR],
    ["MOVUPS that is not aligned", 64, "movups load", [0x0f, 0x10, 0x00], AC, PF],
    ["an operand across the canonical limit", 64, "mov r,rm", [0x8b, 0x00], GP, AC],
  ])("%s: nothing is compared", (_, mode, name, bytes, host, ours) => {
    expect(of(mode, name, bytes, outcome(host), outcome(ours))).toEqual({ everything: true });
  });

  it.each<[string, Mode, string, number[], number, number]>([
    ["BOUND that faults", 32, "bound", [0x62, 0x00], PF, PF],
    ["MOVAPS", 64, "movaps load", [0x0f, 0x28, 0x00], AC, PF],
    ["MOV", 64, "mov r,rm", [0x8b, 0x00], PF, AC],
    ["CMPS without REP", 64, "cmpsb", [0xa6], PF, PF],
  ])("%s: everything is compared", (_, mode, name, bytes, host, ours) => {
    expect(of(mode, name, bytes, outcome(host), outcome(ours))).toEqual({});
  });

  it("REPE CMPSB that faults: all but the arithmetic flags", () => {
    expect(of(64, "cmpsb", [0xf3, 0xa6], outcome(PF), outcome(PF))).toEqual({ flags: 0x8d5 });
  });

  it("CMPS that faults by its other operand: all but the fault", () => {
    expect(of(64, "cmpsb", [0xa6], outcome(PF), outcome(GP))).toEqual({ fault: true });
    expect(of(64, "cmpsb", [0xa6], outcome(PF), outcome(3, RIP + 1))).toEqual({});
    expect(of(64, "scasb", [0xae], outcome(PF), outcome(GP))).toEqual({});
  });

  it("a program that ends without a fault is compared", () => {
    const end = outcome(3, RIP + 2);
    expect(of(64, "cmpsb", [0xf3, 0xa6], end, end)).toEqual({});
  });
});
