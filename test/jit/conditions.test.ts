import { describe, expect, it } from "vitest";
import { softfloatTypes } from "../../src/cpu/interp/softfloat-imports.ts";
import { instructionForms } from "../../src/cpu/isa/index.ts";
import { RegionCompiler } from "../../src/cpu/jit/region-compiler.ts";
import { RAX, RBX, RCX, RSI } from "../../src/cpu/state.ts";
import { Random } from "../differential/prng.ts";
import { CODE, differences, Twin } from "./twin.ts";

const compiler = new RegionCompiler(instructionForms(), { softfloat: softfloatTypes });

/** Prefix bytes, and the bit of the opcode that says "not 8 bits". */
const WIDTHS = [
  [8, [], 0],
  [16, [0x66], 1],
  [32, [], 1],
  [64, [0x48], 1],
] as const;

/** rAX with rBX, or alone. The opcode is that of 8 bits. */
const OPERATIONS: Readonly<Record<string, readonly number[]>> = {
  add: [0x00, 0xd8],
  or: [0x08, 0xd8],
  adc: [0x10, 0xd8],
  sbb: [0x18, 0xd8],
  and: [0x20, 0xd8],
  sub: [0x28, 0xd8],
  xor: [0x30, 0xd8],
  cmp: [0x38, 0xd8],
  test: [0x84, 0xd8],
  inc: [0xfe, 0xc0],
  dec: [0xfe, 0xc8],
  neg: [0xf6, 0xd8],
  "shl by one": [0xd0, 0xe0],
  "sar by cl": [0xd2, 0xf8],
  "rol by cl": [0xd2, 0xc0],
};

/** What comes between the operation and the questions. */
const BETWEEN: Readonly<Record<string, readonly number[]>> = {
  nothing: [],
  "inc ecx": [0xff, 0xc1],
  "dec ecx; dec ecx": [0xff, 0xc9, 0xff, 0xc9],
  cmc: [0xf5],
  "inc ecx; stc; dec ecx": [0xff, 0xc1, 0xf9, 0xff, 0xc9],
  // The operands are gone, the flags are not.
  "mov eax, 5; mov ebx, eax": [0xb8, 5, 0, 0, 0, 0x89, 0xc3],
};

/** SETcc [rsi + code] for each condition, then LAHF. */
const QUESTIONS = [...Array.from({ length: 16 }, (_, code) => [0x0f, 0x90 + code, 0x46, code]).flat(), 0x9f];

const values = (width: number): bigint[] => {
  const top = 1n << BigInt(width - 1);
  // What lies above the operand must not matter.
  return [0n, 1n, top - 1n, top, 2n * top - 1n, 0x1234_5678_9abc_def0n | (top << 1n)];
};

/** Conditions are tested on operands and results where those are known; the interpreter always has the flags. */
describe.each(Object.keys(OPERATIONS))("conditions after %s", (name) => {
  it.each(Object.keys(BETWEEN))("and %s", (between) => {
    const twin = new Twin("long");
    const [opcode, modrm] = OPERATIONS[name]! as [number, number];
    const blocks = WIDTHS.map(([, prefixes, wide], slot) => {
      const code = [...prefixes, opcode | wide, modrm, ...BETWEEN[between]!, ...QUESTIONS, 0xf4];
      twin.ram.set(code, CODE + slot * 256);
      twin.randomize(new Random(1), false, slot * 256);
      return twin.scan(compiler, slot * 256)!;
    });
    const functions = twin.compile(compiler, blocks);
    WIDTHS.forEach(([width], slot) => {
      twin.randomize(new Random(width), false, slot * 256);
      const { state } = twin.vcpu;
      const fresh = twin.save();
      for (const a of values(width)) {
        for (const b of values(width)) {
          twin.restore(fresh, false);
          state.setGpr(RAX, a);
          state.setGpr(RBX, b);
          state.setGpr(RCX, BigInt.asUintN(32, b));
          state.setGpr(RSI, 0x8000n);
          state.eflags = Number(a & 1n);
          const start = twin.save();
          const compiled = twin.compiled(functions[slot]!)!;
          twin.restore(start, false);
          expect(
            differences(twin.interpreted(compiled), compiled),
            `${width} bits: ${a.toString(16)}, ${b.toString(16)}`,
          ).toEqual([]);
        }
      }
    });
  });
});
