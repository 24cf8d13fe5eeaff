import { describe, expect, it } from "vitest";
import { Random } from "../../../test/differential/prng.ts";
import { CODE, type Outcome, Twin } from "../../../test/jit/twin.ts";
import { softfloatTypes } from "../interp/softfloat-imports.ts";
import { instructionForms } from "../isa/index.ts";
import { NO_SITE } from "../mmu/access-sites.ts";
import { CPU, MODE, RAX, RBX, RCX, RDX, RSI, RSP, STOP, VECTOR } from "../state.ts";
import type { Region } from "./region.ts";
import { RegionCompiler } from "./region-compiler.ts";
import { REGION_LIMITS } from "./region-finder.ts";

/** Straight-line code: what one block is made of. */
const ONE_BLOCK = { ...REGION_LIMITS, blocks: 1 };
const compiler = new RegionCompiler(instructionForms(), { softfloat: softfloatTypes, limits: ONE_BLOCK });

/** For code that does not run. */
const NOWHERE = { jumpSite: () => undefined, newSite: () => NO_SITE };
/** No instruction in 64-bit mode. */
const NOTHING = 0x06;
/** A page that is not there. */
const HOLE = 0x2_8000n;
const DEVICE = 0x3_0000n;
const DATA = 0x8000n;
const EXECUTED_ALL = { stop: STOP.none };

/** Long mode at CPL 0, the code at `CODE`, all pages below it present and writable. */
function bench(...code: number[]): { twin: Twin; block: Region } {
  const twin = new Twin("long");
  twin.randomize(new Random(1), false, 0);
  for (let page = 0; page < CODE >> 12; page++) twin.ram[0x2_3000 + page * 8] = 0x63;
  twin.ram.fill(0, 0x2_3000 + 0x28 * 8, 0x2_3000 + 0x29 * 8);
  twin.ram.set([...code, NOTHING], CODE);
  twin.vcpu.stateChanged();
  twin.vcpu.state.setGpr(RSP, DATA + 0x800n);
  const block = twin.scan(compiler, 0);
  if (block === undefined) throw new Error("nothing to compile");
  return { twin, block };
}

function run({ twin, block }: { twin: Twin; block: Region }, budget?: number): Outcome | undefined {
  const [compiled] = twin.compile(compiler, [block]);
  return twin.compiled(compiled!, budget);
}

const instructionsOf = (region: Region) => region.blocks[0]!.instructions;
const names = (region: Region) => instructionsOf(region).map(({ decoded }) => decoded.form!.name);
const lengthAt = (twin: Twin, by: RegionCompiler, offset: number) => twin.scan(by, offset)?.instructions;
const lengthOf = (...code: number[]) => instructionsOf(bench(...code).block).length;

/** How often a block stores (37h, i64.store) at an offset of the vCPU block that needs two bytes. */
function stores(block: Region, offset: number): number {
  const needle = [0x37, 3, (offset & 0x7f) | 0x80, offset >> 7];
  const bytes = compiler.compile([block], [NOWHERE]);
  const cold = compiler.compile([], []);
  const count = (where: Uint8Array) =>
    where.filter((_, at) => needle.every((byte, i) => where[at + i] === byte)).length;
  return count(bytes) - count(cold);
}

describe("where a block ends", () => {
  it("behind a branch", () => {
    // inc eax; jz +0; inc eax
    expect(names(bench(0xff, 0xc0, 0x74, 0x00, 0xff, 0xc0).block)).toEqual(["inc r/m", "jcc"]);
    expect(names(bench(0xff, 0xc0, 0xc3).block)).toEqual(["inc r/m", "ret"]);
    expect(names(bench(0xff, 0xd0, 0xff, 0xc0).block)).toEqual(["call r/m"]);
  });

  it("behind what only TypeScript can do, and before what is no instruction", () => {
    expect(lengthOf(0xff, 0xc0, 0x0f, 0xa2, 0x90)).toBe(2);
    expect(lengthOf(0xff, 0xc0, 0x06)).toBe(1);
    // lock nop
    expect(lengthOf(0xff, 0xc0, 0xf0, 0x90)).toBe(1);
  });

  it("behind a repeated string instruction, which may give way in its middle", () => {
    expect(lengthOf(0xa4, 0xf3, 0xa4, 0x90)).toBe(2);
  });

  it("before an instruction that does not fit in the page", () => {
    const { twin } = bench(0x90);
    twin.ram.set([0x90, 0x90, 0xb8, 1, 2], CODE + 0xffb);
    expect(lengthAt(twin, compiler, 0xffb)).toBe(2);
    expect(twin.scan(compiler, 0xffd)).toBeUndefined();
  });

  it("at its longest", () => {
    const short = new RegionCompiler(instructionForms(), {
      softfloat: softfloatTypes,
      limits: { ...ONE_BLOCK, instructions: 3 },
    });
    const { twin } = bench(...new Array<number>(10).fill(0x90));
    expect(lengthAt(twin, short, 0)).toBe(3);
  });
});

describe("entry", () => {
  it("declines without budget for all of it, and does nothing", () => {
    const one = bench(0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0);
    const before = one.twin.save();
    expect(run(one, 2)).toBeUndefined();
    expect(Buffer.compare(one.twin.save().cpu, before.cpu)).toBe(0);
    expect(run(one, 3)).toMatchObject({ ...EXECUTED_ALL, executed: 3 });
  });

  it("knows its mode", () => {
    expect(bench(0x90).twin.vcpu.state.mode & MODE.code64).not.toBe(0);
    expect(bench(0x90).block.context.mode64).toBe(true);
  });
});

describe("registers and flags", () => {
  it("flags that are overwritten are stored once, when the block is left", () => {
    // xor eax, edx; against add eax, ebx; add eax, ecx; xor eax, edx
    const once = stores(bench(0x31, 0xd0).block, CPU.flagsResult);
    expect(once).toBeGreaterThan(0);
    expect(stores(bench(0x01, 0xd8, 0x01, 0xc8, 0x31, 0xd0).block, CPU.flagsResult)).toBe(once);
    // mov eax, ebx
    expect(stores(bench(0x89, 0xd8).block, CPU.flagsResult)).toBe(0);
  });

  it("dead flags leave no code behind", () => {
    const module = (...code: number[]) => compiler.compile([bench(...code).block], [NOWHERE]).length;
    // lea eax, [rbx+rcx] against add ebx, ecx, each followed by sub edx, esi
    const withoutFlags = module(0x8d, 0x04, 0x0b, 0x29, 0xf2);
    const withFlags = module(0x01, 0xcb, 0x29, 0xf2);
    expect(withFlags - withoutFlags).toBeLessThan(8);
  });

  it("a fault finds the flags and registers of the instruction before it", () => {
    // stc; mov eax, 7; sub eax, 7; inc ecx; mov edx, [rbx]; inc ecx
    const one = bench(0xf9, 0xb8, 7, 0, 0, 0, 0x83, 0xe8, 7, 0xff, 0xc1, 0x8b, 0x13, 0xff, 0xc1);
    const { state } = one.twin.vcpu;
    state.setGpr(RBX, HOLE + 0x123n);
    state.setGpr(RCX, 0xffff_ffffn);
    const rdx = state.gpr(RDX);
    expect(run(one)).toMatchObject({ stop: STOP.fault, vector: VECTOR.pf, errorCode: 0, executed: 4 });
    expect(state.number(CPU.cr2)).toBe(Number(HOLE) + 0x123);
    expect(state.number(CPU.rip)).toBe(CODE + 11);
    expect([state.gpr(RAX), state.gpr(RCX), state.gpr(RDX)]).toEqual([0n, 0n, rdx]);
    // INC keeps the CF of SUB, which is 0; 0xffffffff + 1 sets ZF, AF and PF.
    expect(state.eflags & 0x8d5).toBe(0x54);
  });

  it("POP to memory that is not there leaves the stack pointer alone", () => {
    const one = bench(0xff, 0xc0, 0x8f, 0x03);
    const { state } = one.twin.vcpu;
    state.setGpr(RBX, HOLE);
    expect(run(one)).toMatchObject({ stop: STOP.fault, errorCode: 2, executed: 1 });
    expect(state.gpr(RSP)).toBe(DATA + 0x800n);
  });

  it("writes under a condition that does not hold keep the old value", () => {
    // bsf eax, ecx; bsf edx, ebx
    const one = bench(0x0f, 0xbc, 0xc1, 0x0f, 0xbc, 0xd3);
    const { state } = one.twin.vcpu;
    const rax = state.gpr(RAX);
    state.setGpr(RCX, 0n);
    state.setGpr(RBX, 0x100n);
    run(one);
    expect([state.gpr(RAX), state.gpr(RDX)]).toEqual([rax, 8n]);
  });

  it("AH to BH are parts of the first four registers", () => {
    // mov ah, bl; add dh, ah; xchg ah, al
    const one = bench(0x88, 0xdc, 0x00, 0xe6, 0x86, 0xc4);
    const { state } = one.twin.vcpu;
    state.setGpr(RAX, 0x1122_3344_5566_7788n);
    state.setGpr(RBX, 0xeen);
    state.setGpr(RDX, 0x2010n);
    run(one);
    expect(state.gpr(RAX)).toBe(0x1122_3344_5566_88een);
    expect(state.gpr(RDX)).toBe(0x0e10n);
  });
});

describe("both ways out of a conditional branch", () => {
  // cmp eax, ebx; jl +5
  it.each([
    [0xffff_ffffn, 1n, CODE + 9],
    [1n, 0xffff_ffffn, CODE + 4],
  ])("%d < %d (signed, 32 bits)", (left, right, target) => {
    const one = bench(0x39, 0xd8, 0x7c, 5);
    const { state } = one.twin.vcpu;
    state.setGpr(RAX, left);
    state.setGpr(RBX, right);
    expect(run(one)).toMatchObject({ ...EXECUTED_ALL, executed: 2 });
    expect(state.number(CPU.rip)).toBe(target);
  });
});

describe("devices", () => {
  // inc ecx; mov eax, [rsi]; inc ecx; mov [rsi+4], eax; inc ecx
  const code = [0xff, 0xc1, 0x8b, 0x06, 0xff, 0xc1, 0x89, 0x46, 0x04, 0xff, 0xc1];

  it("see the time of their instruction", () => {
    const one = bench(...code);
    one.twin.vcpu.state.setGpr(RSI, DEVICE);
    const outcome = run(one);
    // The clock counts an instruction when it begins.
    expect(outcome?.accesses.map((text) => text.split(" ")[0])).toEqual(["2:", "4:"]);
    expect(outcome).toMatchObject({ ...EXECUTED_ALL, executed: 5 });
  });

  it.each([
    [0, 2, CODE + 4],
    [1, 4, CODE + 9],
  ])("access %d asks for attention: the block is left behind its instruction", (access, executed, rip) => {
    const one = bench(...code);
    const { state } = one.twin.vcpu;
    state.setGpr(RSI, DEVICE);
    state.setGpr(RCX, 0n);
    one.twin.interruptAt = access;
    expect(run(one)).toMatchObject({ ...EXECUTED_ALL, executed });
    expect(state.number(CPU.rip)).toBe(rip);
    expect(state.gpr(RCX)).toBe(BigInt(access + 1));
  });

  it("that answer in ring 3 abandon their instruction", () => {
    const one = bench(...code);
    const { state } = one.twin.vcpu;
    state.setGpr(RSI, DEVICE);
    state.setGpr(RCX, 0n);
    one.twin.waitAt = 1;
    expect(run(one)).toMatchObject({ stop: STOP.wait, executed: 3 });
    expect(state.number(CPU.rip)).toBe(CODE + 6);
    expect(state.gpr(RCX)).toBe(2n);
  });

  it("behind ports too", () => {
    // inc ecx; in al, 60h; out 80h, al; inc ecx
    const one = bench(0xff, 0xc1, 0xe4, 0x60, 0xe6, 0x80, 0xff, 0xc1);
    one.twin.interruptAt = 1;
    const outcome = run(one);
    expect(outcome?.accesses[0]).toBe("2: in 96 1");
    expect(outcome?.accesses[1]).toMatch(/^3: out 128 1 /);
    expect(outcome).toMatchObject({ ...EXECUTED_ALL, executed: 3 });
    expect(one.twin.vcpu.state.number(CPU.rip)).toBe(CODE + 6);
  });
});

describe("repeated strings", () => {
  it("give way when the budget is used up, and go on", () => {
    // rep stosb
    const one = bench(0xf3, 0xaa);
    const { state } = one.twin.vcpu;
    state.setGpr(RCX, 10n);
    state.setGpr(7, DATA);
    state.eflags = 2;
    expect(run(one, 4)).toMatchObject({ ...EXECUTED_ALL, executed: 4 });
    expect([state.gpr(RCX), state.gpr(7), state.number(CPU.rip)]).toEqual([6n, DATA + 4n, CODE]);
    expect(run(one, 100)).toMatchObject({ ...EXECUTED_ALL, executed: 6 });
    expect([state.gpr(RCX), state.number(CPU.rip)]).toEqual([0n, CODE + 2]);
  });

  it("keep what they did before a fault", () => {
    const one = bench(0xff, 0xc0, 0xf3, 0xab);
    const { state } = one.twin.vcpu;
    state.setGpr(RCX, 10n);
    state.setGpr(7, HOLE - 12n);
    state.eflags = 2;
    expect(run(one)).toMatchObject({ stop: STOP.fault, vector: VECTOR.pf, executed: 4 });
    expect([state.gpr(RCX), state.gpr(7), state.number(CPU.rip)]).toEqual([7n, HOLE, CODE + 2]);
  });
});
