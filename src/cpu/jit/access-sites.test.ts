import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { CPU, RAX, RBX, RCX, RDI, RDX, RSI, RSP } from "../state.ts";

const [DIRECTORY, TABLE, CODE, STACK, LINEAR, FIRST, SECOND] = [0x1000, 0x2000, 0x3000, 0x4000, 0x8000, 0x6000, 0x7000];
const PRESENT_WRITABLE = 3;
const COMPILE = ["never", "auto", "always"] as const;
type Compile = (typeof COMPILE)[number];

/** Bytes of `mov dword [edi], value`. */
const setEntry = (value: number) => [0xc7, 0x07, value & 0xff, value >> 8, 0, 0];

/** 32-bit paging, page by page; ESI is `LINEAR`, which leads to `FIRST`, EDI the place of its table entry, EDX CR3. */
function bench(compile: Compile, code: readonly number[], turns: number) {
  const bare = new BareVcpu({ ramBytes: 0x1_0000, compile });
  const { memory, state } = bare;
  for (let page = 0; page < 16; page++) memory.write32(TABLE + page * 4, (page << 12) | PRESENT_WRITABLE);
  const entry = TABLE + (LINEAR >> 12) * 4;
  memory.write32(entry, FIRST | PRESENT_WRITABLE);
  memory.write32(DIRECTORY, TABLE | PRESENT_WRITABLE);
  memory.write32(FIRST, 1);
  memory.write32(SECOND, 100);
  memory.write(CODE, Uint8Array.from(code));
  bare.setPaging("paging32", DIRECTORY, { cr0: 1 << 16 });
  bare.setFlatSegments();
  state.setNumber(CPU.rip, CODE);
  for (const register of [RAX, RBX]) state.setGpr32(register, 0);
  state.setGpr32(RSP, STACK + 0x1000);
  state.setGpr32(RSI, LINEAR);
  state.setGpr32(RDI, entry);
  state.setGpr32(RCX, turns);
  state.setGpr32(RDX, DIRECTORY);
  bare.vcpu.stateChanged();
  return { ...bare, bare, entry, memory, state };
}

describe.each(COMPILE)("accesses in loops, compiled %s", (compile) => {
  // 1: mov ebp, 20; 2: add ebx, [esi]; dec ebp; jnz 2b
  const reads = [0xbd, 20, 0, 0, 0, 0x03, 0x1e, 0x4d, 0x75, 0xfb];
  const toggle = [0x81, 0x37, 0, (FIRST ^ SECOND) >> 8, 0, 0]; // xor dword [edi], FIRST ^ SECOND
  const again = (length: number) => [0x49, 0x75, -(length + 3) & 0xff, 0xf4]; // dec ecx; jnz 1b; hlt

  it.each([
    ["INVLPG", [0x0f, 0x01, 0x3e]],
    ["a CR3 load", [0x0f, 0x22, 0xda]],
  ] as const)("go where the page leads after %s", (_, drop) => {
    const body = [...reads, ...toggle, ...drop];
    const { bare, state } = bench(compile, [...body, ...again(body.length)], 2000);
    for (let slice = 0; slice < 100 && bare.run(5000).reason === "budget"; slice++);
    expect(state.u32(CPU.activity)).toBe(1);
    expect(state.gpr32(RBX)).toBe(1000 * 20 * (1 + 100));
  });

  it("stay where the page led without", () => {
    const body = [...reads, ...toggle];
    const { bare, state } = bench(compile, [...body, ...again(body.length)], 2000);
    for (let slice = 0; slice < 100 && bare.run(5000).reason === "budget"; slice++);
    // The page was in the TLB from the first turn on.
    expect(state.gpr32(RBX)).toBe(2000 * 20);
  });

  it("fault where writing is no longer allowed", () => {
    // 1: inc dword [esi]; dec ecx; jnz 1b; mov dword [edi], read-only; invlpg [esi]; jmp 1b
    const code = [0xff, 0x06, 0x49, 0x75, 0xfb, ...setEntry(FIRST | 1), 0x0f, 0x01, 0x3e, 0xeb, 0xf0];
    const { bare, memory, state, vcpu } = bench(compile, code, 50_000);
    vcpu.onException = () => true;
    let exit = bare.run(5000);
    for (let slice = 0; slice < 100 && exit.reason === "budget"; slice++) exit = bare.run(5000);
    expect(exit).toMatchObject({ reason: "exception", vector: 14, errorCode: 3 });
    expect(state.number(CPU.rip)).toBe(CODE);
    expect(memory.read32(FIRST)).toBe(1 + 50_000);
  });

  it.each(["write", "all"] as const)("are seen from the next one on by a handler for %s", (kind) => {
    // 1: mov [esi + 8], ebx; add ebx, [esi]; jmp 1b
    const { bare, memory } = bench(compile, [0x89, 0x5e, 0x08, 0x03, 0x1e, 0xeb, 0xf9], 0);
    const turns = 30_000;
    for (let slice = 0; slice < 30; slice++) bare.run((turns / 30) * 3);
    let seen = 0;
    const handler = memory.handlers.physical.register({
      kind,
      base: FIRST,
      length: 16,
      owner: "test",
      callback: () => void seen++,
    });
    bare.run(300);
    expect(seen).toBe(kind === "write" ? 100 : 200);
    memory.handlers.physical.deregister(handler);
    bare.run(300);
    expect(seen).toBe(kind === "write" ? 100 : 200);
  });

  it.each([
    ["upwards", 0, 0x1000],
    ["downwards", 0x1000, 0],
  ])("follow pages that lie beside each other, %s, until one of them is elsewhere", (_, first, second) => {
    // Two pages that follow each other in memory; the other one is mapped away after half of the turns.
    const both = [
      ...[0xbd, 20, 0, 0, 0],
      ...[0x81, 0xf6, 0, (first ^ second) >> 8, 0, 0], // 2: xor esi, first ^ second
      ...[0x03, 0x1e], // add ebx, [esi]
      ...[0x4d, 0x75, 0xf5], // dec ebp; jnz 2b
    ];
    const remap = [
      ...[0x81, 0xf9, 0xe8, 0x03, 0, 0], // cmp ecx, 1000
      ...[0x75, 9], // jne 3f
      ...setEntry(0xa000 | PRESENT_WRITABLE),
      ...[0x0f, 0x01, 0x3e], // invlpg [esi]
    ]; // 3:
    const body = [...both, ...remap];
    const { bare, memory, entry, state } = bench(compile, [...body, ...again(body.length)], 2000);
    memory.write32(entry, FIRST | PRESENT_WRITABLE);
    memory.write32(entry + 4, SECOND | PRESENT_WRITABLE);
    memory.write32(0xa000, 10_000);
    state.setGpr32(RSI, LINEAR + first);
    // ESI is what it was after an even number of turns, so that INVLPG names this page: it is the one to be mapped away.
    state.setGpr32(RDI, entry + (first >> 12) * 4);
    bare.vcpu.stateChanged();
    for (let slice = 0; slice < 100 && bare.run(5000).reason === "budget"; slice++);
    expect(state.u32(CPU.activity)).toBe(1);
    const [here, there] = first === 0 ? [1, 100] : [100, 1];
    // The turn in which ECX is 1000 is the 1001st.
    expect(state.gpr32(RBX)).toBe(1001 * 10 * (here + there) + 999 * 10 * (10_000 + there));
  });

  it("are divided between two pages when they cross", () => {
    // 1: add ebx, [esi]; inc esi; cmp esi, end; jb 1b; mov esi, LINEAR + 0xff8; dec ecx; jnz 1b; hlt
    const end = LINEAR + 0x1000 + 2;
    const scan = [0x03, 0x1e, 0x46, 0x81, 0xfe, end & 0xff, end >> 8, 0, 0, 0x72, 0xf5];
    const body = [...scan, 0xbe, (LINEAR + 0xff8) & 0xff, (LINEAR + 0xff8) >> 8, 0, 0];
    const { bare, memory, entry, state } = bench(compile, [...body, ...again(body.length)], 3000);
    memory.write32(entry + 4, 0xa000 | PRESENT_WRITABLE);
    const bytes = Uint8Array.from({ length: 16 }, (_, i) => (i * 37 + 1) & 0xff);
    memory.write(FIRST + 0xff8, bytes.subarray(0, 8));
    memory.write(0xa000, bytes.subarray(8));
    state.setGpr32(RSI, LINEAR + 0xff8);
    for (let slice = 0; slice < 100 && bare.run(5000).reason === "budget"; slice++);
    expect(state.u32(CPU.activity)).toBe(1);
    const words = new DataView(bytes.buffer);
    let sum = 0;
    for (let at = 0; at < 10; at++) sum += words.getUint32(at, true);
    expect(state.gpr32(RBX)).toBe(Number((BigInt(sum) * 3000n) & 0xffff_ffffn));
  });
});
