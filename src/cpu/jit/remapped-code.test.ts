import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { CPU } from "../state.ts";

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
    const bare = new BareVcpu({ ramBytes: 0x8000, compile });
    const { memory, state } = bare;
    for (let page = 0; page < 8; page++) memory.write32(TABLE + page * 4, (page << 12) | PRESENT_WRITABLE);
    memory.write32(TABLE + (LINEAR >> 12) * 4, FIRST | PRESENT_WRITABLE);
    memory.write32(DIRECTORY, TABLE | PRESENT_WRITABLE);
    memory.write(CODE, PROGRAM);
    memory.write(FIRST, Uint8Array.of(0xb8, 1, 0, 0, 0, 0xc3)); // mov eax, 1; ret
    memory.write(SECOND, Uint8Array.of(0xb8, 2, 0, 0, 0, 0xc3));

    bare.setPaging("paging32", DIRECTORY);
    bare.setFlatSegments();
    state.setNumber(CPU.rip, CODE);
    state.setGpr32(4, STACK + 0x1000);
    state.setGpr32(6, LINEAR);
    state.setGpr32(7, TABLE + (LINEAR >> 12) * 4);
    bare.vcpu.stateChanged();
    expect(bare.run(1000).reason).toBe("halt");
    expect([state.gpr32(3), state.gpr32(0)]).toEqual([1, 2]);
  });
});
