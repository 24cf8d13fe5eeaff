import { describe, expect, it } from "vitest";
import { ARITHMETIC_FLAGS, FLAG } from "../../src/cpu/state.ts";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { KERNEL, kernelWithHandler, x86 } from "../machine/guests.ts";

const VECTOR = 0x40;
const APIC = { eoi: 0xfee0_00b0, spurious: 0xfee0_00f0, timer: 0xfee0_0320, initial: 0xfee0_0380, divide: 0xfee0_03e0 };
const DATA = KERNEL.data + 0x4000;
const STRING = KERNEL.data + 0x4100;
/** Where the next record goes, and the first of them: registers as PUSHA has them, EIP, CS, EFLAGS. */
const NEXT = KERNEL.data + 0x4200;
const RECORDS = KERNEL.data + 0x5000;
const RECORD = 11;
const [EBX, ECX, EIP, EFLAGS] = [4, 6, 8, 10];
/** The interrupt comes after so many instructions, at most: more than the loop has. */
const LATEST = 140;
const STOSD = [0xf3, 0xab]; // rep stosd
/** Behind the loop. */
const FUNCTION = [0x83, 0xc3, 0x05, 0x19, 0xd8, 0xc3]; // add ebx, 5; sbb eax, ebx; ret

/** Memory, flags that live across instructions, a call, a branch, a string instruction; four turns. */
const LOOP: readonly (readonly number[])[] = [
  [0xe8, 0, 0, 0, 0], // 1: call f
  [0x01, 0x06], // add [esi], eax
  [0x11, 0xc3], // adc ebx, eax
  [0x3b, 0x5e, 0x04], // cmp ebx, [esi+4]
  [0x72, 0x01], // jc 2f
  [0x40], // inc eax
  [0x53], // 2: push ebx
  [0xd1, 0xe3], // shl ebx, 1
  [0x5a], // pop edx
  [0x8d, 0x44, 0x88, 0x03], // lea eax, [eax+ecx*4+3]
  [0x51], // push ecx
  [0xb9, ...x86.dword(10)], // mov ecx, 10
  [0xbf, ...x86.dword(STRING)], // mov edi, STRING
  STOSD,
  [0x59], // pop ecx
  [0x49], // dec ecx
  [0x75, 0], // jnz 1b
];

const LOOP_BYTES = linked(LOOP);

function linked(instructions: readonly (readonly number[])[]): number[] {
  const bytes = instructions.flat();
  // The function follows, behind a jump of two bytes.
  bytes[1] = bytes.length + 2 - 5;
  bytes[bytes.length - 1] = 256 - bytes.length;
  return bytes;
}

/** Runs the loop again and again, each time with an interrupt one instruction later. */
function timerImage(): Uint8Array {
  const turn = [
    ...x86.mov(0, 0),
    ...x86.mov(3, 0x8000_0001),
    ...x86.mov(6, DATA),
    ...x86.mov(1, 4),
    ...[0x89, 0x2d, ...x86.dword(APIC.initial)], // mov [initial], ebp
    0xfb, // sti
    ...LOOP_BYTES,
    ...[0xeb, FUNCTION.length], // jmp over
    ...FUNCTION,
    0xfa, // cli
    ...x86.store(APIC.initial, 0),
    0x45, // inc ebp
    ...[0x81, 0xfd, ...x86.dword(LATEST)], // cmp ebp, LATEST
  ];
  const main = [
    ...x86.store(APIC.spurious, 0x1ff),
    ...x86.store(APIC.divide, 0xb),
    ...x86.store(APIC.timer, VECTOR),
    ...x86.store(NEXT, RECORDS),
    ...x86.mov(5, 1),
    ...turn,
    ...[0x0f, 0x86, ...x86.dword((-turn.length - 6) >>> 0)], // jbe
    ...x86.exit(0),
  ];
  return kernelWithHandler(main, recorder(x86.store(APIC.eoi, 0)));
}

/** A handler that writes a record, and then ends the interrupt. */
function recorder(end: readonly number[]): number[] {
  return [
    0x60, // pusha
    ...[0x8b, 0x3d, ...x86.dword(NEXT)], // mov edi, [NEXT]
    ...[0x89, 0xe6], // mov esi, esp
    ...x86.mov(1, RECORD),
    ...[0xf3, 0xa5], // rep movsd
    ...[0x89, 0x3d, ...x86.dword(NEXT)], // mov [NEXT], edi
    ...end,
    0x61, // popa
    0xcf, // iret
  ];
}

async function run(compile: "never" | "auto" | "always", image: Uint8Array) {
  const machine = createMachine({ memoryMiB: 4, clock: "instructions", compile });
  try {
    machine.boot({ image });
    machine.runUntil(1_000_000);
    const { clock, vcpu } = machine;
    const interpreted = (vcpu.code?.interpreted ?? clock.retired) / clock.retired;
    return { hash: await machine.stateHash(), retired: clock.retired, interpreted, ...recordsOf(machine) };
  } finally {
    machine.dispose();
  }
}

function recordsOf({ memory }: Machine) {
  const words = new Uint32Array(memory.bytes.buffer, memory.layout.ram);
  const count = (words[NEXT / 4]! - RECORDS) / (RECORD * 4);
  const records = Array.from({ length: count }, (_, index) => {
    const from = RECORDS / 4 + index * RECORD;
    return [...words.subarray(from, from + RECORD)];
  });
  const code = Buffer.from(memory.bytes.buffer, memory.layout.ram + KERNEL.code, 0x1000);
  return { records, loop: KERNEL.code + code.indexOf(Buffer.from(LOOP_BYTES)) };
}

describe("a timer interrupt at each instruction of a loop", () => {
  it("finds the same state whatever runs the code", async () => {
    const { interpreted: _, ...expected } = await run("never", timerImage());
    for (const compile of ["auto", "always"] as const) {
      const { interpreted, ...actual } = await run(compile, timerImage());
      expect(actual).toEqual(expected);
      if (compile === "always") expect(interpreted).toBeLessThan(0.5);
    }
    // One for each time, but for those that end before it comes.
    expect(expected.records.length).toBeGreaterThan(100);
    const places = new Set(expected.records.map((record) => record[EIP]));
    let at = expected.loop;
    for (const instruction of LOOP) {
      expect(places, `${at.toString(16)}`).toContain(at);
      at += instruction.length;
    }
    const flags = new Set(expected.records.map((record) => record[EFLAGS]! & ARITHMETIC_FLAGS));
    expect(flags.size).toBeGreaterThan(5);
    // Between two units of a string instruction RF is pushed as 1 (SDM vol 3, 17.3.1.1).
    const string = expected.loop + LOOP.slice(0, LOOP.indexOf(STOSD)).flat().length;
    const inside = expected.records.filter((record) => record[EIP] === string && record[ECX]! < 10);
    expect(inside.length).toBeGreaterThan(20);
    for (const record of expected.records) {
      expect(record[EFLAGS]! & FLAG.rf).toBe(inside.includes(record) ? FLAG.rf : 0);
    }
  });
});

const COM1 = { ier: 0x3f9, iir: 0x3fa, mcr: 0x3fc };
const TURNS = 100;
/** The write that allows the interrupt of an empty transmitter, which comes at once; then its end. */
const ALLOW = [...x86.out(COM1.ier, 2), 0x43, 0x43]; // inc ebx; inc ebx
const FORBID = x86.out(COM1.ier, 0);
const STI = 0xfb;

/** The interrupt comes behind the write or, in every second turn, behind the instruction after STI. */
function uartImage(): Uint8Array {
  const turn = [...ALLOW, ...FORBID, 0xfa, ...ALLOW, STI, 0x43, 0x43, ...FORBID]; // cli before the second
  const initialize = [0x20, 0x04, 0x01, 0xef].flatMap((value) => x86.out(0x21, value));
  const main = [
    ...x86.store(NEXT, RECORDS),
    ...x86.out(0x20, 0x11),
    ...initialize,
    ...x86.out(COM1.mcr, 8),
    STI,
    ...x86.mov(3, 0),
    ...x86.mov(5, TURNS),
    ...turn,
    0x4d, // dec ebp
    ...[0x0f, 0x85, ...x86.dword((-turn.length - 7) >>> 0)], // jnz
    ...x86.exit(0),
  ];
  const acknowledge = [0x66, 0xba, COM1.iir & 0xff, COM1.iir >> 8, 0xec]; // mov dx, iir; in al, dx
  return kernelWithHandler(main, recorder([...acknowledge, ...x86.out(0x20, 0x20)]));
}

describe("an interrupt of the UART, which a write allows", () => {
  it("comes behind that instruction whatever runs the code", async () => {
    const { interpreted: _, ...expected } = await run("never", uartImage());
    for (const compile of ["auto", "always"] as const) {
      const { interpreted, ...actual } = await run(compile, uartImage());
      expect(actual).toEqual(expected);
      if (compile === "always") expect(interpreted).toBeLessThan(0.5);
    }
    expect(expected.records.length).toBe(2 * TURNS);
    // EBX counts the instructions between: the write comes before both, STI in their middle.
    const counts = expected.records.map((record) => record[EBX]! % 6);
    expect(new Set(counts.filter((_, index) => index % 2 === 0))).toEqual(new Set([0]));
    expect(new Set(counts.filter((_, index) => index % 2 === 1))).toEqual(new Set([5]));
  });
});
