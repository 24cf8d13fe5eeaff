import { describe, expect, it } from "vitest";
import { softfloatTypes } from "../../src/cpu/interp/softfloat-imports.ts";
import { instructionForms } from "../../src/cpu/isa/index.ts";
import { RegionCompiler } from "../../src/cpu/jit/region-compiler.ts";
import { CPU, RBX, RCX, RSI, RSP, STOP, VECTOR } from "../../src/cpu/state.ts";
import { Random } from "../differential/prng.ts";
import { CODE, differences, type Outcome, Twin } from "./twin.ts";

const compiler = new RegionCompiler(instructionForms(), { softfloat: softfloatTypes });
const DATA = 0x8000n;
/** A page that is not there. */
const HOLE = 0x2_8000;
/** No instruction in 64-bit mode: the region ends. */
const NOTHING = 0x06;

const half = (bits: number) => BigInt(bits) << 48n;
/** Doubles, each of which is something else as two singles. */
const DOUBLES: readonly bigint[] = [
  0n,
  half(0x8000),
  // 1.5 and a third
  half(0x3ff8),
  0x3fd5_5555_5555_5555n,
  // a denormal, the smallest normal number and twice that, the largest
  1n,
  half(0x0010),
  half(0x8020),
  0x7fef_ffff_ffff_ffffn,
  // infinity, NaN, signalling NaN
  half(0xfff0),
  half(0x7ff8),
  0x7ff0_0000_0000_0001n,
  // singles: 2 and a third, a denormal and 1
  0x4000_0000_3eaa_aaabn,
  0x0000_0001_3f80_0000n,
];

/** Long mode at CPL 0, all pages below the code present and writable, RSI and RSP at data. */
class Bench {
  private readonly twin = new Twin("long");
  private readonly region: (cpu: number) => number;
  readonly instructions: number;

  constructor(code: readonly number[]) {
    const { twin } = this;
    twin.randomize(new Random(1), false, 0);
    for (let page = 0; page < CODE >> 12; page++) twin.ram[0x2_3000 + page * 8] = 0x63;
    twin.ram.fill(0, 0x2_3000 + (HOLE >> 12) * 8, 0x2_3000 + ((HOLE >> 12) + 1) * 8);
    twin.ram.set([...code, NOTHING], CODE);
    twin.vcpu.stateChanged();
    const { state } = twin.vcpu;
    state.setGpr(RSI, DATA);
    state.setGpr(RSP, DATA + 0x800n);
    state.setGpr(RBX, BigInt(HOLE));
    const region = twin.scan(compiler, 0)!;
    this.instructions = region.instructions;
    this.region = twin.compile(compiler, [region])[0]!;
  }

  get state() {
    return this.twin.vcpu.state;
  }

  randomize(random: Random): void {
    for (let at = 0; at < 16 * 16; at += 8) this.state.setU64(CPU.xmm + at, random.pick(DOUBLES));
    this.state.setU32(CPU.mxcsr, random.pick([0x1f80, 0x1fa0]));
    this.state.setGpr(RCX, BigInt(random.below(64)));
  }

  /** In compiled code; the interpreter does the same. */
  run(budget?: number): Outcome | undefined {
    const { twin } = this;
    const start = twin.save();
    const compiled = twin.compiled(this.region, budget);
    if (compiled === undefined) return undefined;
    const after = twin.save();
    twin.restore(start, false);
    expect(differences(twin.interpreted(compiled), compiled)).toEqual([]);
    twin.restore(after, false);
    return compiled;
  }

  xmm(register: number): [low: bigint, high: bigint] {
    const at = CPU.xmm + register * 16;
    return [this.state.u64(at), this.state.u64(at + 8)];
  }

  setXmm(register: number, low: bigint, high: bigint): void {
    this.state.setU64(CPU.xmm + register * 16, low);
    this.state.setU64(CPU.xmm + register * 16 + 8, high);
  }
}

/** movaps xmm1, xmm0; addsd xmm1, xmm2; movss xmm4, xmm3; paddd xmm5, xmm4; movsd xmm1, [rbx]; paddd xmm5, xmm5 */
const FAULT = [
  ...[0x0f, 0x28, 0xc8, 0xf2, 0x0f, 0x58, 0xca, 0xf3, 0x0f, 0x10, 0xe3, 0x66, 0x0f, 0xfe, 0xec],
  ...[0xf2, 0x0f, 0x10, 0x0b, 0x66, 0x0f, 0xfe, 0xed],
];

/** mulsd xmm0, xmm1; paddd xmm1, xmm1; divsd xmm0, xmm2 */
const UNMASKED = [0xf2, 0x0f, 0x59, 0xc1, 0x66, 0x0f, 0xfe, 0xc9, 0xf2, 0x0f, 0x5e, 0xc2];

/** test cl, 1; jz +4; paddd xmm1, xmm0; paddd xmm2, xmm1 */
const ONE_SIDED = [0xf6, 0xc1, 0x01, 0x74, 0x04, 0x66, 0x0f, 0xfe, 0xc8, 0x66, 0x0f, 0xfe, 0xd1];

const PROGRAMS: Readonly<Record<string, readonly number[]>> = {
  "a fault": FAULT,
  "an unmasked exception, if the MXCSR says so": UNMASKED,
  "one branch": ONE_SIDED,
  // movlps xmm1, [rsi]; movups [rsi+16], xmm1; mov rax, [rsi+8]; mov rdx, [rsi+16]; movsd [rsi+32], xmm1;
  // movlps xmm1, [rdx*8+rsi]
  "a part that is read after the whole": [
    ...[0x0f, 0x12, 0x0e, 0x0f, 0x11, 0x4e, 0x10, 0x48, 0x8b, 0x46, 0x08, 0x48, 0x8b, 0x56, 0x10],
    ...[0xf2, 0x0f, 0x11, 0x4e, 0x20, 0x0f, 0x12, 0x0c, 0xd6],
  ],
  // movsd xmm1, xmm2; movss xmm1, xmm3; movups [rsi], xmm1; movsd xmm1, xmm4; movss [rsi+16], xmm1; movhps xmm1, [rsi];
  // movlps xmm1, [rsi+8]; movsd [rsi+24], xmm1; movhlps xmm6, xmm1; movlhps xmm1, xmm6; movss xmm6, [rsi+4];
  // movss xmm1, xmm6; movsd xmm6, xmm1; movaps xmm7, xmm1; movss xmm7, xmm2; cvtsi2sd xmm1, ecx; movd eax, xmm1;
  // pinsrw xmm6, eax, 5
  "parts of registers": [
    ...[0xf2, 0x0f, 0x10, 0xca, 0xf3, 0x0f, 0x10, 0xcb, 0x0f, 0x11, 0x0e, 0xf2, 0x0f, 0x10, 0xcc],
    ...[0xf3, 0x0f, 0x11, 0x4e, 0x10, 0x0f, 0x16, 0x0e, 0x0f, 0x12, 0x4e, 0x08, 0xf2, 0x0f, 0x11, 0x4e, 0x18],
    ...[0x0f, 0x12, 0xf1, 0x0f, 0x16, 0xce, 0xf3, 0x0f, 0x10, 0x76, 0x04, 0xf3, 0x0f, 0x10, 0xce],
    ...[0xf2, 0x0f, 0x10, 0xf1, 0x0f, 0x28, 0xf9, 0xf3, 0x0f, 0x10, 0xfa, 0xf2, 0x0f, 0x2a, 0xc9],
    ...[0x66, 0x0f, 0x7e, 0xc8, 0x66, 0x0f, 0xc4, 0xf0, 0x05],
  ],
  // mov ecx, 6; L: addsd xmm1, xmm2; test cl, 1; jz M; movss xmm1, xmm3; mulsd xmm5, xmm4; M: paddd xmm6, xmm1;
  // movsd xmm1, xmm5; dec ecx; jnz L; movups [rsi], xmm1
  "branches that meet, in a loop": [
    ...[0xb9, 6, 0, 0, 0, 0xf2, 0x0f, 0x58, 0xca, 0xf6, 0xc1, 0x01, 0x74, 0x08, 0xf3, 0x0f, 0x10, 0xcb],
    ...[0xf2, 0x0f, 0x59, 0xec, 0x66, 0x0f, 0xfe, 0xf1, 0xf2, 0x0f, 0x10, 0xcd, 0xff, 0xc9, 0x75, 0xe3],
    ...[0x0f, 0x11, 0x0e],
  ],
  // cld; movsd xmm1, xmm2; addsd xmm4, xmm3; mov ecx, 20; lea rdi, [rsi+256]; rep movsb; addsd xmm1, xmm4; paddd xmm5, xmm1
  "a repeated string instruction": [
    ...[0xfc, 0xf2, 0x0f, 0x10, 0xca, 0xf2, 0x0f, 0x58, 0xe3, 0xb9, 20, 0, 0, 0, 0x48, 0x8d, 0xbe, 0, 1, 0, 0],
    ...[0xf3, 0xa4, 0xf2, 0x0f, 0x58, 0xcc, 0x66, 0x0f, 0xfe, 0xe9],
  ],
  // mov ebx, 3; L: call F; movsd xmm2, xmm0; dec ebx; jnz L; addsd xmm1, xmm2; jmp E; F: mulsd xmm0, xmm1;
  // movss xmm1, xmm3; ret; E: movups [rsi], xmm0
  "calls in the region": [
    ...[0xbb, 3, 0, 0, 0, 0xe8, 0x0e, 0, 0, 0, 0xf2, 0x0f, 0x10, 0xd0, 0xff, 0xcb, 0x75, 0xf3],
    ...[0xf2, 0x0f, 0x58, 0xca, 0xeb, 0x09, 0xf2, 0x0f, 0x59, 0xc1, 0xf3, 0x0f, 0x10, 0xcb, 0xc3, 0x0f, 0x11, 0x06],
  ],
  // mov ecx, 4; mov dword [rsi], 1fa0h; L: divsd xmm1, xmm2; addsd xmm3, xmm1; add dword [rsi], 2000h; ldmxcsr [rsi];
  // dec ecx; jnz L; divss xmm3, xmm2; stmxcsr [rsi+4]
  "another rounding mode each time": [
    ...[0xb9, 4, 0, 0, 0, 0xc7, 0x06, 0xa0, 0x1f, 0, 0, 0xf2, 0x0f, 0x5e, 0xca, 0xf2, 0x0f, 0x58, 0xd9],
    ...[0x81, 0x06, 0x00, 0x20, 0, 0, 0x0f, 0xae, 0x16, 0xff, 0xc9, 0x75, 0xeb],
    ...[0xf3, 0x0f, 0x5e, 0xda, 0x0f, 0xae, 0x5e, 0x04],
  ],
  // mov eax, [rsi]; mov [rsi], eax; addsd xmm1, xmm2; movss xmm9, xmm3; fxsave [rsi]; paddd xmm9, xmm1; movsd xmm2, xmm9;
  // fxrstor [rsi]; addsd xmm1, xmm2
  "FXSAVE and FXRSTOR": [
    ...[0x8b, 0x06, 0x89, 0x06, 0xf2, 0x0f, 0x58, 0xca, 0xf3, 0x44, 0x0f, 0x10, 0xcb, 0x0f, 0xae, 0x06],
    ...[0x66, 0x44, 0x0f, 0xfe, 0xc9, 0xf2, 0x41, 0x0f, 0x10, 0xd1, 0x0f, 0xae, 0x0e, 0xf2, 0x0f, 0x58, 0xca],
  ],
};

describe("XMM registers and MXCSR are those of the interpreter", () => {
  it.each(Object.keys(PROGRAMS))("with %s", (name) => {
    const bench = new Bench(PROGRAMS[name]!);
    const start = bench.state.bytes.slice(bench.state.base, bench.state.base + CPU.size);
    const random = new Random(1);
    let ran = 0;
    for (let i = 0; i < 300; i++) {
      bench.state.bytes.set(start, bench.state.base);
      bench.randomize(random);
      // Regions are also left in their middle, where the budget ends.
      if (bench.run(i % 3 === 0 ? bench.instructions + random.below(20) : undefined)) ran++;
    }
    expect(ran).toBeGreaterThan(150);
  });
});

describe("a fault", () => {
  it("of memory finds what the instructions before it wrote, and nothing of its own", () => {
    const bench = new Bench(FAULT);
    bench.setXmm(0, half(0x3ff0), 7n);
    bench.setXmm(2, half(0x4000), 8n);
    bench.setXmm(3, 0x11n, 9n);
    bench.setXmm(4, 0x3333_0000_0022n, 10n);
    bench.setXmm(5, 1n, 0x5_0000_0001n);
    expect(bench.run()).toMatchObject({ stop: STOP.fault, vector: VECTOR.pf, executed: 4 });
    expect(bench.xmm(1)).toEqual([half(0x4008), 7n]);
    expect(bench.xmm(4)).toEqual([0x3333_0000_0011n, 10n]);
    expect(bench.xmm(5)).toEqual([0x3333_0000_0012n, 0x5_0000_000bn]);
  });

  it("of an operation: MXCSR has its flag, the register its old value", () => {
    const bench = new Bench(UNMASKED);
    // ZE is unmasked.
    bench.state.setU32(CPU.mxcsr, 0x1da0);
    bench.setXmm(0, half(0x3ff8), 5n);
    bench.setXmm(1, half(0x4000), 6n);
    bench.setXmm(2, 0n, 7n);
    expect(bench.run()).toMatchObject({ stop: STOP.fault, vector: VECTOR.xm, executed: 2 });
    expect(bench.state.u32(CPU.mxcsr)).toBe(0x1da4);
    expect(bench.xmm(0)).toEqual([half(0x4008), 5n]);
    expect(bench.xmm(1)).toEqual([half(0x8000), 12n]);
  });

  it.each([
    [0n, 2],
    [1n, 2],
  ])("because CR0.TS is set, on either way (CL is %d)", (rcx, executed) => {
    const bench = new Bench(ONE_SIDED);
    bench.state.setU64(CPU.cr0, bench.state.u64(CPU.cr0) | 8n);
    bench.state.setGpr(RCX, rcx);
    expect(bench.run()).toMatchObject({ stop: STOP.fault, vector: VECTOR.nm, executed });
  });
});

it("the first inexact result sets PE, those behind it find it set", () => {
  // divsd xmm0, xmm2; divsd xmm1, xmm2
  const bench = new Bench([0xf2, 0x0f, 0x5e, 0xc2, 0xf2, 0x0f, 0x5e, 0xca]);
  bench.state.setU32(CPU.mxcsr, 0x1f80);
  for (const register of [0, 1]) bench.setXmm(register, half(0x3ff0), 1n);
  bench.setXmm(2, half(0x4008), 1n);
  expect(bench.run()).toMatchObject({ stop: STOP.none, executed: 2 });
  expect([bench.xmm(0), bench.xmm(1)]).toEqual(Array(2).fill([0x3fd5_5555_5555_5555n, 1n]));
  expect(bench.state.u32(CPU.mxcsr)).toBe(0x1fa0);
});
