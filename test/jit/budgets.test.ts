import { describe, expect, it } from "vitest";
import { softfloatTypes } from "../../src/cpu/interp/softfloat-imports.ts";
import { instructionForms } from "../../src/cpu/isa/index.ts";
import { RegionCompiler } from "../../src/cpu/jit/region-compiler.ts";
import { Random } from "../differential/prng.ts";
import { CODE, differences, Twin } from "./twin.ts";

const compiler = new RegionCompiler(instructionForms(), { softfloat: softfloatTypes });

/** Loops whose flags and registers are alive in different places. */
const LOOPS: Readonly<Record<string, readonly number[]>> = {
  // mov ecx, 9; 1: add eax, ebx; dec ecx; jnz 1b
  "count down": [0xb9, 9, 0, 0, 0, 0x01, 0xd8, 0xff, 0xc9, 0x75, 0xfa],
  // cmp rdi, r9; jb out; mov r10, r9; jmp 2f; 1: lea rsi, [rsi+4]; cmp rdi, rsi; jb out; 2: mov rdx, rdi; sub rdx, rsi;
  // shr rdx, 1; cmp r8, rdx; jae 1b; add r8, 3; jmp 1b
  "flags that only a short budget needs": [
    0x4c, 0x39, 0xcf, 0x72, 0x26, 0x4d, 0x89, 0xca, 0xeb, 0x09, 0x48, 0x8d, 0x76, 0x04, 0x48, 0x39, 0xf7, 0x72, 0x18,
    0x48, 0x89, 0xfa, 0x48, 0x29, 0xf2, 0x48, 0xd1, 0xea, 0x49, 0x39, 0xd0, 0x73, 0xe9, 0x49, 0x83, 0xc0, 0x03, 0xeb,
    0xe3,
  ],
  // 1: call f; dec ecx; jnz 1b; jmp out; f: add eax, 5; sbb ebx, eax; ret
  "a function": [0xe8, 0x06, 0, 0, 0, 0xff, 0xc9, 0x75, 0xf7, 0xeb, 0x06, 0x83, 0xc0, 0x05, 0x19, 0xc3, 0xc3],
  // 1: mov ecx, 5; rep stosb; sub edx, 7; jnc 1b
  "repeated strings inside": [0xb9, 5, 0, 0, 0, 0xf3, 0xaa, 0x83, 0xea, 7, 0x73, 0xf4],
};

describe("a region leaves with everything, wherever its budget ends", () => {
  it.each(Object.keys(LOOPS))("%s", (name) => {
    const twin = new Twin("long");
    twin.randomize(new Random(3), false, 0);
    for (let page = 0; page < CODE >> 12; page++) twin.ram[0x2_3000 + page * 8] = 0x63;
    twin.ram.fill(0x06, CODE, CODE + 256).set(LOOPS[name]!, CODE);
    twin.vcpu.stateChanged();
    const { state } = twin.vcpu;
    const values: [number, bigint][] = [
      [1, 7n],
      [2, 100n],
      [4, 0x9000n],
      [6, 0x1000n],
      [7, 0x1100n],
      [8, 3n],
      [9, 0x80n],
    ];
    for (const [register, value] of values) state.setGpr(register, value);
    state.eflags = 0x93;
    const start = twin.save();
    const region = twin.scan(compiler, 0)!;
    expect(region.blocks.length).toBeGreaterThan(1);
    const [compiled] = twin.compile(compiler, [region]);
    let runs = 0;
    for (let budget = 1; budget < 150; budget++) {
      twin.restore(start, true);
      const outcome = twin.compiled(compiled!, budget);
      if (outcome === undefined) continue;
      runs++;
      twin.restore(start, true);
      expect(differences(twin.interpreted(outcome), outcome), `budget ${budget}`).toEqual([]);
    }
    expect(runs).toBeGreaterThan(50);
  });
});
