import { describe, expect, it } from "vitest";
import { GuestMemory } from "../../memory/guest-memory.ts";
import { CLOCK } from "../../memory/layout.ts";
import { SoftwareVcpu } from "../engine.ts";
import { CPU, CS, DS, SS } from "../state.ts";

const [DIRECTORY, TABLE, CODE, STACK] = [0x1000, 0x2000, 0x3000, 0x4000];
/** The function is called at the first page; these are its two versions. */
const [LINEAR, FIRST, SECOND] = [0x5000, 0x6000, 0x7000];
const PRESENT_WRITABLE = 3;

/** 32-bit code: the function, then again after its page leads elsewhere. EBX and EAX are what it gave. */
const PROGRAM = Uint8Array.of(
  ...[0xff, 0xd6], // call esi
  ...[0x89, 0xc3], // mov ebx, eax
  ...[0xc7, 0x07, (SECOND | PRESENT_WRITABLE) & 0xff, SECOND >> 8, 0, 0], // mov dword [edi], SECOND
  ...[0x0f, 0x01, 0x3e], // invlpg [esi]
  ...[0xff, 0xd6], // call esi
  0xf4, // hlt
);

describe("code whose page leads elsewhere after INVLPG", () => {
  it.each(["never", "auto", "always"] as const)("compiled %s", (compile) => {
    const memory = new GuestMemory({ ramBytes: 0x8000, extraBytes: 0 });
    const board = { tsc: () => 0n, apic: undefined, interrupts: { acknowledge: () => -1 } };
    const io = {
      portRead: () => 0,
      portWrite: () => 0,
      portReadString: () => 0,
      portWriteString: () => 0,
      mmioRead: () => 0,
      mmioWrite: () => 0,
      waiting: undefined,
      clearJournal: () => {},
    };
    const vcpu = new SoftwareVcpu(memory, io, board, 0, { compile });
    for (let page = 0; page < 8; page++) memory.write32(TABLE + page * 4, (page << 12) | PRESENT_WRITABLE);
    memory.write32(TABLE + (LINEAR >> 12) * 4, FIRST | PRESENT_WRITABLE);
    memory.write32(DIRECTORY, TABLE | PRESENT_WRITABLE);
    memory.write(CODE, PROGRAM);
    memory.write(FIRST, Uint8Array.of(0xb8, 1, 0, 0, 0, 0xc3)); // mov eax, 1; ret
    memory.write(SECOND, Uint8Array.of(0xb8, 2, 0, 0, 0, 0xc3));

    const { state } = vcpu;
    state.setU32(CPU.cr0, 0x8000_0001);
    state.setNumber(CPU.cr3, DIRECTORY);
    state.setSegment(CS, 8, 0, 0xffff_ffff, 0xc09b);
    for (const segment of [SS, DS]) state.setSegment(segment, 16, 0, 0xffff_ffff, 0xc093);
    state.setNumber(CPU.rip, CODE);
    state.setGpr32(4, STACK + 0x1000);
    state.setGpr32(6, LINEAR);
    state.setGpr32(7, TABLE + (LINEAR >> 12) * 4);
    vcpu.stateChanged();
    for (const field of [CLOCK.budget, CLOCK.sliceBudget]) state.data.setInt32(field, 1000, true);
    expect(vcpu.run().reason).toBe("halt");
    expect([state.gpr32(3), state.gpr32(0)]).toEqual([1, 2]);
  });
});
