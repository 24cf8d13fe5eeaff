import { beforeEach, describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { CPU, CS, RSI, VECTOR } from "../state.ts";

const CODE = 0x1000;
const OPERAND = 0x2000;
const EM = 4;
const TS = 8;
const NE = 0x20;
const OSFXSR = 0x200;
const OSXMMEXCPT = 0x400;

/** Real mode, SI at an aligned operand. */
class Bench {
  private readonly bare = new BareVcpu({ ramBytes: 0x10_0000 });
  readonly memory = this.bare.memory;
  readonly vcpu = this.bare.vcpu;
  readonly ram = this.memory.layout.ram;
  readonly state = this.vcpu.state;

  constructor() {
    this.state.setSegment(CS, 0, 0, 0xffff, 0x9b);
    this.state.setGpr(RSI, BigInt(OPERAND));
    this.vcpu.onException = () => true;
  }

  /** Runs one instruction and HLT; the vector of an exception, or "retired". */
  run(cr0: number, cr4: number, code: readonly number[]): number | "retired" {
    const { state, memory, ram, vcpu } = this;
    memory.bytes.set([...code, 0xf4], ram + CODE);
    state.setU32(CPU.cr0, 0x10 | cr0);
    state.setU32(CPU.cr4, cr4);
    state.setNumber(CPU.rip, CODE);
    state.setU32(CPU.activity, 0);
    vcpu.stateChanged();
    const exit = this.bare.run(1000);
    if (exit.reason === "exception") return exit.vector;
    expect(exit.reason).toBe("halt");
    return "retired";
  }
}

let bench: Bench;
beforeEach(() => {
  bench = new Bench();
});

const ADDPS = [0x0f, 0x58, 0x04];
const PADDB_XMM = [0x66, 0x0f, 0xfc, 0x04];
const LDMXCSR = [0x0f, 0xae, 0x14];
const STMXCSR = [0x0f, 0xae, 0x1c];
const PADDB_MMX = [0x0f, 0xfc, 0x04];
const EMMS = [0x0f, 0x77];
const PSHUFW = [0x0f, 0x70, 0x04, 0];
const MOVDQ2Q = [0xf2, 0x0f, 0xd6, 0xc1];
const CVTPI2PS_REGISTER = [0x0f, 0x2a, 0xc1];
const CVTPI2PS_MEMORY = [0x0f, 0x2a, 0x04];
const MOVNTI = [0x0f, 0xc3, 0x04];
const SFENCE = [0x0f, 0xae, 0xf8];
const PREFETCH = [0x0f, 0x18, 0x0c];
const CLFLUSH = [0x0f, 0xae, 0x3c];
const FXSAVE = [0x0f, 0xae, 0x04];
const FXRSTOR = [0x0f, 0xae, 0x0c];
const SQRTPD_REGISTER = [0x66, 0x0f, 0x51, 0xc1];

describe("availability (SDM vol 3, 2.5, tables 12-1 and 13-1)", () => {
  const { ud, nm, mf } = VECTOR;
  const sse = [
    [0, OSFXSR, "retired"],
    [0, 0, ud],
    [EM, OSFXSR, ud],
    [TS, OSFXSR, nm],
    [TS, 0, ud],
    [EM | TS, OSFXSR, ud],
  ] as const;
  const mmx = [
    [0, 0, "retired"],
    [EM, OSFXSR, ud],
    [TS, OSFXSR, nm],
    [EM | TS, OSFXSR, ud],
  ] as const;
  const always = [
    [0, 0, "retired"],
    [EM | TS, 0, "retired"],
  ] as const;
  const state = [
    [0, 0, "retired"],
    [EM, OSFXSR, nm],
    [TS, OSFXSR, nm],
  ] as const;
  it.each([
    ["addps", ADDPS, sse],
    ["paddb xmm", PADDB_XMM, sse],
    ["ldmxcsr", LDMXCSR, sse],
    ["stmxcsr", STMXCSR, sse],
    ["movdq2q", MOVDQ2Q, sse],
    ["cvtpi2ps", CVTPI2PS_REGISTER, sse],
    ["paddb mm", PADDB_MMX, mmx],
    ["pshufw", PSHUFW, mmx],
    ["emms", EMMS, mmx],
    ["movnti", MOVNTI, always],
    ["sfence", SFENCE, always],
    ["prefetch", PREFETCH, always],
    ["clflush", CLFLUSH, always],
    ["fxsave", FXSAVE, state],
    ["fxrstor", FXRSTOR, state],
  ] as const)("%s", (_, code, cases) => {
    for (const [cr0, cr4, expected] of cases) {
      expect(bench.run(cr0, cr4, code), `CR0 ${cr0.toString(16)}, CR4 ${cr4.toString(16)}`).toBe(expected);
    }
  });

  it.each([
    ["paddb mm", PADDB_MMX, mf],
    ["emms", EMMS, mf],
    ["movdq2q", MOVDQ2Q, mf],
    ["cvtpi2ps xmm, mm", CVTPI2PS_REGISTER, mf],
    ["cvtpi2ps xmm, m64", CVTPI2PS_MEMORY, "retired"],
    ["addps", ADDPS, "retired"],
    ["fxsave", FXSAVE, "retired"],
  ] as const)("%s with a pending x87 exception", (_, code, expected) => {
    bench.state.setU32(CPU.fpuControl, 0x37e);
    bench.state.setU32(CPU.fpuStatus, 0x8081);
    expect(bench.run(NE, OSFXSR, code)).toBe(expected);
  });
});

describe("SIMD floating-point exceptions (SDM vol 1, 11.5)", () => {
  const DENORMAL_FLAG = 2;
  /** SQRTPD of two denormals, DE unmasked; the destination holds ones. */
  const prepare = () => {
    const { state } = bench;
    state.setU32(CPU.mxcsr, 0x1e80);
    for (const lane of [0, 8]) {
      state.setU64(CPU.xmm + lane, 0xffff_ffff_ffff_ffffn);
      state.setU64(CPU.xmm + 16 + lane, 1n);
    }
  };

  it.each([
    [OSFXSR | OSXMMEXCPT, VECTOR.xm],
    [OSFXSR, VECTOR.ud],
  ])("CR4 %i: vector %i, flag set, destination kept", (cr4, vector) => {
    prepare();
    expect(bench.run(0, cr4, SQRTPD_REGISTER)).toBe(vector);
    // PE of the computation that did not take place stays away.
    expect(bench.state.u32(CPU.mxcsr)).toBe(0x1e80 | DENORMAL_FLAG);
    expect(bench.state.u64(CPU.xmm)).toBe(0xffff_ffff_ffff_ffffn);
  });

  it("reserved bits of MXCSR are #GP(0)", () => {
    bench.memory.data.setUint32(bench.ram + OPERAND, 0x1_1f80, true);
    expect(bench.run(0, OSFXSR, LDMXCSR)).toBe(VECTOR.gp);
    expect(bench.state.u32(CPU.errorCode)).toBe(0);
    expect(bench.state.u32(CPU.mxcsr)).toBe(0x1f80);
  });
});

describe("with PE set already, which numbers in the usual range make use of", () => {
  const PE = 0x20;
  /** Around every bound of the fast paths, as exponent and significand. */
  const numbers = (exponentBits: number, significandBits: number): bigint[] => {
    const top = 2n ** BigInt(exponentBits) - 1n;
    const one = top >> 1n;
    const most = 2n ** BigInt(significandBits) - 1n;
    const magnitudes = [0n, 1n, 2n, one, top - 1n, top].flatMap((exponent) =>
      [0n, 1n, most].map((significand) => (exponent << BigInt(significandBits)) | significand),
    );
    return [...magnitudes, ...magnitudes.map((one) => one | (1n << BigInt(exponentBits + significandBits)))];
  };
  const single = { bytes: 4, numbers: numbers(8, 23), ordinary: 0x3fc0_0000n };
  const double = { bytes: 8, numbers: numbers(11, 52), ordinary: 0x3ff8_0000_0000_0000n };
  const formats = { none: single, f3: single, "66": double, f2: double };
  const prefixes = { none: [], f3: [0xf3], "66": [0x66], f2: [0xf2] };
  const operations = { add: 0x58, mul: 0x59, sub: 0x5c, div: 0x5e, sqrt: 0x51, min: 0x5d, max: 0x5f, convert: 0x5a };

  /** XMM0 and XMM1, of whose lanes one is special, to XMM0; everything that tells. */
  const outcome = (code: readonly number[], mxcsr: number, format: typeof single, at: number, operands: bigint[]) => {
    const { state } = bench;
    state.setU32(CPU.mxcsr, mxcsr);
    operands.forEach((operand, register) => {
      const lanes = new DataView(state.bytes.buffer, state.base + CPU.xmm + register * 16, 16);
      for (let lane = 0; lane < 16 / format.bytes; lane++) {
        const value = lane === at ? operand : format.ordinary;
        if (format.bytes === 4) lanes.setUint32(lane * 4, Number(value), true);
        else lanes.setBigUint64(lane * 8, value, true);
      }
    });
    state.eflags = 2;
    const result = bench.run(0, OSFXSR | OSXMMEXCPT, code);
    return [result, state.u64(CPU.xmm), state.u64(CPU.xmm + 8), state.u32(CPU.mxcsr) | PE, state.eflags];
  };

  const cases = Object.entries(operations).flatMap(([name, opcode]) =>
    (["none", "66", "f3", "f2"] as const).map((prefix) => [name, prefix, opcode] as const),
  );
  it.each([
    ...cases,
    ["comi", "none", 0x2f],
    ["comi", "66", 0x2f],
    ["ucomi", "none", 0x2e],
    ["ucomi", "66", 0x2e],
  ] as const)("%s, prefix %s", (name, prefix, opcode) => {
    const code = [...prefixes[prefix], 0x0f, opcode, 0xc1];
    const unary = name === "sqrt" || name === "convert";
    const format = formats[prefix];
    const packed = (prefix === "none" || prefix === "66") && !name.endsWith("comi");
    for (let lane = 0; lane < (packed ? 16 / format.bytes : 1); lane++) {
      for (const a of unary ? [1n] : format.numbers) {
        for (const b of format.numbers) {
          const what = `${a.toString(16)}, ${b.toString(16)} in lane ${lane}`;
          expect(outcome(code, 0x1fa0, format, lane, [a, b]), what).toEqual(
            outcome(code, 0x1f80, format, lane, [a, b]),
          );
        }
      }
    }
  });
});

describe("FXSAVE without CR4.OSFXSR", () => {
  it("leaves the XMM part of the area alone, and FXRSTOR the registers", () => {
    const { memory, ram, state } = bench;
    memory.bytes.fill(0xee, ram + OPERAND, ram + OPERAND + 512);
    state.setU64(CPU.xmm, 0x1122_3344_5566_7788n);
    expect(bench.run(0, 0, FXSAVE)).toBe("retired");
    expect(memory.bytes.subarray(ram + OPERAND + 160, ram + OPERAND + 512).every((byte) => byte === 0xee)).toBe(true);
    expect(bench.run(0, 0, FXRSTOR)).toBe("retired");
    expect(state.u64(CPU.xmm)).toBe(0x1122_3344_5566_7788n);
    expect(bench.run(0, OSFXSR, FXRSTOR)).toBe("retired");
    expect(state.u64(CPU.xmm)).toBe(0xeeee_eeee_eeee_eeeen);
  });
});

describe("FXSAVE and FXRSTOR of memory in the TLB", () => {
  /** Everything that FXRSTOR loads, different in each byte. */
  const image = () => {
    const bytes = Uint8Array.from({ length: 512 }, (_, index) => (index * 7 + 3) & 0xff);
    const view = new DataView(bytes.buffer);
    view.setUint16(0, 0x1f7f, true);
    view.setUint16(2, 0x7a45, true);
    view.setUint32(24, 0x9fc1, true);
    return bytes;
  };

  it.each([0x3000, 0x3ff0])("do what the slow path does, at %i", (area) => {
    const { memory, ram, state } = bench;
    state.setSegment(3, 0, 0, 0xffff_ffff, 0xc093);
    state.setU64(CPU.gpr + 6 * 8, BigInt(area));
    const blocks: Uint8Array[] = [];
    const saved: Uint8Array[] = [];
    // mov al, [si]; mov [si], al in front makes the page ordinary.
    for (const warm of [[], [0x8a, 0x04, 0x88, 0x04]]) {
      memory.bytes.set(image(), ram + area);
      state.bytes.fill(0, state.base + CPU.fpuControl, state.base + CPU.scratch);
      expect(bench.run(0, OSFXSR, [...warm, ...FXRSTOR])).toBe("retired");
      blocks.push(state.bytes.slice(state.base + CPU.fpuControl, state.base + CPU.scratch));
      memory.bytes.fill(0xee, ram + area, ram + area + 512);
      expect(bench.run(0, OSFXSR, [...warm, ...FXSAVE])).toBe("retired");
      saved.push(memory.bytes.slice(ram + area, ram + area + 512));
    }
    expect(blocks[1]).toEqual(blocks[0]);
    expect(saved[1]).toEqual(saved[0]);
    expect(saved[0]!.subarray(160, 288)).toEqual(image().subarray(160, 288));
  });
});

describe("MMX and the x87 registers (SDM vol 1, 9.5)", () => {
  it("a write sets the exponent to ones, TOP to 0 and all tags to valid; EMMS empties them", () => {
    const { state } = bench;
    state.setU32(CPU.fpuTop, 5);
    state.setU32(CPU.fpuEmpty, 0xff);
    // movq mm3, [si]
    bench.memory.data.setBigUint64(bench.ram + OPERAND, 0x0102_0304_0506_0708n, true);
    expect(bench.run(0, 0, [0x0f, 0x6f, 0x1c])).toBe("retired");
    expect(state.u64(CPU.fpu + 3 * 16)).toBe(0x0102_0304_0506_0708n);
    expect(state.u32(CPU.fpu + 3 * 16 + 8) & 0xffff).toBe(0xffff);
    expect([state.u32(CPU.fpuTop), state.u32(CPU.fpuEmpty)]).toEqual([0, 0]);
    expect(bench.run(0, 0, EMMS)).toBe("retired");
    expect(state.u32(CPU.fpuEmpty)).toBe(0xff);
  });
});
