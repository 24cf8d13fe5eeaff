import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import type { VcpuOptions } from "../engine.ts";
import { CPU, CS } from "../state.ts";

/** `code` at a guest-physical address, where it starts. */
function bench(
  compile: NonNullable<VcpuOptions["compile"]>,
  code: readonly number[],
  at = 0x3000,
  ramBytes = 0x1_0000,
) {
  const bare = new BareVcpu({ ramBytes, compile });
  bare.startFlat(code, at);
  return { vcpu: bare.vcpu, state: bare.state, run: (instructions: number) => bare.run(instructions).reason };
}

const dword = (value: number) => [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];

/** Calls a function `first` times, makes it give 2 instead of 1, calls it `then` times; EBX is the sum. */
function program(at: number, first: number, then: number): number[] {
  const loopOf = (count: number) => [
    ...[0xb9, ...dword(count)], // mov ecx, count
    ...[0xe8, 0, 0, 0, 0], // 1: call f
    ...[0x01, 0xc3], // add ebx, eax
    ...[0x49, 0x75, 0xf6], // dec ecx; jnz 1b
  ];
  const { length } = loopOf(0);
  const f = 2 * length + 10 + 1;
  const calling = (count: number, from: number) =>
    loopOf(count).map((byte, i) => (i >= 6 && i < 10 ? dword(f - from - 10)[i - 6]! : byte));
  return [
    ...calling(first, 0),
    ...[0xc7, 0x05, ...dword(at + f + 1), ...dword(2)], // mov dword [f + 1], 2
    ...calling(then, length + 10),
    0xf4, // hlt
    ...[0xb8, 1, 0, 0, 0, 0xc3], // f: mov eax, 1; ret
  ];
}

describe("compiled code that changes", () => {
  it.each(["never", "auto", "always"] as const)("between its first run and its compilation, %s", (compile) => {
    // It is found in the first slices, and changes before code that waits is compiled.
    const { vcpu, state, run } = bench(compile, program(0x3000, 3000, 40_000));
    for (let slice = 0; slice < 200 && run(5000) === "budget"; slice++);
    expect(state.u32(CPU.activity)).toBe(1);
    expect(state.gpr32(3)).toBe(3000 + 2 * 40_000);
    if (compile !== "never") expect(vcpu.code!.statistics.modules).toBeGreaterThan(0);
  });

  it.each(["auto", "always"] as const)("above 2 GiB, %s", (compile) => {
    const at = 0x9000_3000;
    const count = 60_000;
    const { vcpu, state, run } = bench(compile, program(at, count, count), at, 0xa000_0000);
    let executed = 0;
    while (executed < 2_000_000 && run(10_000) === "budget") executed += 10_000;
    expect(state.u32(CPU.activity)).toBe(1);
    expect(state.gpr32(3)).toBe(3 * count);
    expect(vcpu.code!.statistics.invalidations).toBeGreaterThan(0);
    expect(vcpu.code!.interpreted / executed).toBeLessThan(0.5);
  });
});

describe("places that are reached often", () => {
  it.each([0x1000, 0x2000, 0x4000, 0x8000])("are compiled though they lie %i bytes apart and alternate", (distance) => {
    const bare = new BareVcpu({ ramBytes: 0x2_0000, compile: "auto" });
    // Here: inc eax; jmp there. There: inc ebx; jmp here.
    bare.startFlat([0x40, 0xe9, ...dword(distance - 6)], 0x3000);
    bare.memory.write(0x3000 + distance, Uint8Array.from([0x43, 0xe9, ...dword(-distance - 6)]));
    let executed = 0;
    for (; executed < 500_000; executed += 10_000) bare.run(10_000);
    expect(bare.state.gpr32(0)).toBe(executed / 4);
    expect(bare.state.gpr32(3)).toBe(executed / 4);
    expect(bare.vcpu.code!.interpreted / executed).toBeLessThan(0.5);
  });

  it("are not compiled twice at once: a loop and the function that it is part of", () => {
    // 1: mov ecx, 2; 2: dec ecx; jnz 2b; jmp 1b
    const { vcpu, run } = bench("auto", [0xb9, ...dword(2), 0x49, 0x75, 0xfd, 0xeb, 0xf6]);
    for (let slice = 0; slice < 60; slice++) run(10_000);
    expect(vcpu.code!.statistics.regions).toBe(1);
  });
});

describe("what code is compiled for", () => {
  it("does not add up, however many kinds of segments a guest loads", () => {
    // 1: inc eax; jmp 1b
    const { vcpu, state, run } = bench("always", [0x40, 0xeb, 0xfd]);
    const { statistics } = vcpu.code!;
    for (let i = 0; i < 3000; i++) {
      state.setSegment(CS, 8, 0, 0x10_0000 + i, 0x409b);
      expect(run(10)).toBe("budget");
    }
    expect(state.gpr32(0)).toBe(3000 * 5);
    expect(statistics.contexts).toBeLessThanOrEqual(1024);
    expect(statistics.regions).toBeLessThanOrEqual(1024);
  });
});

describe("code that has changed often", () => {
  const count = 33_000;

  /** Writes the program once more and runs it; how many modules that took. */
  function runAgain(bare: BareVcpu): number {
    const { statistics } = bare.vcpu.code!;
    const { modules } = statistics;
    bare.memory.write(0x3000, Uint8Array.from(program(0x3000, count, count)));
    bare.state.setNumber(CPU.rip, 0x3000);
    bare.state.setU32(CPU.activity, 0);
    for (let slice = 0; slice < 1000 && bare.run(20_000).reason === "budget"; slice++);
    expect(bare.state.u32(CPU.activity)).toBe(1);
    return statistics.modules - modules;
  }

  function changedOften(): BareVcpu {
    const bare = new BareVcpu({ ramBytes: 0x1_0000, compile: "auto" });
    bare.startFlat([0xf4], 0x3000);
    expect(runAgain(bare)).toBeGreaterThan(0);
    for (let i = 0; i < 26; i++) runAgain(bare);
    expect(runAgain(bare)).toBe(0);
    return bare;
  }

  it("is compiled again when it has been left alone for a while", () => {
    const bare = changedOften();
    for (let slice = 0; slice < 2000; slice++) bare.run(1);
    for (let runs = 0; runAgain(bare) === 0; runs++) expect(runs).toBeLessThan(200);
    // What it was like before is forgotten.
    expect(runAgain(bare)).toBeGreaterThan(0);
  });

  it("is compiled again after a reset", () => {
    const bare = changedOften();
    bare.vcpu.reset();
    bare.startFlat([0xf4], 0x3000);
    expect(runAgain(bare)).toBeGreaterThan(0);
  });
});
