import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { CPU, RBX, RCX, RDI } from "../state.ts";

const [CODE, ELSEWHERE, TABLE] = [0x3000, 0x5000, 0x8000];
/** Far more than the jumps after which a region is compiled again. */
const TURNS = 100_000;

// 1: mov eax, ecx; and eax, 3; call [edi + eax * 4]; add ebx, eax; dec ecx; jnz 1b; hlt
const CALLING = [0x89, 0xc8, 0x83, 0xe0, 0x03, 0xff, 0x14, 0x87, 0x01, 0xc3, 0x49, 0x75, 0xf3, 0xf4];
// The same with push 2f; jmp [edi + eax * 4]; 2:
const JUMPING = [
  ...[0x89, 0xc8, 0x83, 0xe0, 0x03, 0x68, (CODE + 13) & 0xff, CODE >> 8, 0, 0],
  ...[0xff, 0x24, 0x87, 0x01, 0xc3, 0x49, 0x75, 0xee, 0xf4],
];
/** Functions of 16 bytes: mov eax, 10 ** number; ret */
const givesPower = (number: number) => [0xb8, ...dword(10 ** number), 0xc3, ...new Array<number>(10).fill(0x90)];
const at = (number: number) => CODE + 0x40 + number * 16;

function dword(value: number): number[] {
  return [value & 0xff, (value >> 8) & 0xff, (value >> 16) & 0xff, value >>> 24];
}

function bench(loop: readonly number[], compile: "never" | "auto" | "always") {
  const bare = new BareVcpu({ ramBytes: 0x1_0000, compile });
  const padding = new Array<number>(0x40 - loop.length).fill(0x90);
  bare.startFlat([...loop, ...padding, ...[0, 1, 2, 3].flatMap(givesPower)], CODE);
  bare.memory.write(ELSEWHERE, Uint8Array.from(givesPower(4)));
  const { state } = bare;
  /** What the functions at these addresses, called in turn, give in all. */
  const sum = (functions: readonly number[]) => {
    bare.memory.write(TABLE, Uint8Array.from(functions.flatMap(dword)));
    state.setNumber(CPU.rip, CODE);
    state.setU32(CPU.activity, 0);
    state.setGpr32(RBX, 0);
    state.setGpr32(RCX, TURNS);
    state.setGpr32(RDI, TABLE);
    for (let slice = 0; slice < 200; slice++) if (bare.run(10_000).reason === "halt") return state.gpr32(RBX);
    throw new Error("the loop does not end");
  };
  return { bare, sum, statistics: bare.vcpu.code?.statistics };
}

describe.each([
  ["calls", CALLING],
  ["jumps", JUMPING],
] as const)("indirect %s of a loop", (_, loop) => {
  it.each([
    "never",
    "auto",
    "always",
  ] as const)("go on in the region where they are seen to go, compiled %s", (compile) => {
    const { sum, statistics } = bench(loop, compile);
    expect(sum([at(0), at(1), at(2), at(0)])).toBe((TURNS / 4) * 112);
    const { instructions } = statistics ?? { instructions: 0 };
    if (compile !== "never") expect(statistics?.recompilations).toBeGreaterThan(0);

    // Places that were never seen, in the page and outside.
    expect(sum([at(3), at(1), at(3), at(2)])).toBe((TURNS / 4) * 2110);
    expect(sum([ELSEWHERE, at(1), at(0), ELSEWHERE])).toBe((TURNS / 4) * 20_011);
    if (compile !== "never") expect(statistics?.instructions).toBeLessThan(instructions + 64);
  });

  it("follow the code that they lead to when it changes", () => {
    const { bare, sum, statistics } = bench(loop, "auto");
    const functions = [at(0), at(1), at(2), at(3)];
    expect(sum(functions)).toBe((TURNS / 4) * 1111);
    const { invalidations } = statistics!;
    bare.memory.write(at(2) + 1, Uint8Array.of(7, 0));
    expect(statistics!.invalidations).toBeGreaterThan(invalidations);
    expect(sum(functions)).toBe((TURNS / 4) * (1111 - 100 + 7));
    expect(sum(functions)).toBe((TURNS / 4) * (1111 - 100 + 7));
  });
});
