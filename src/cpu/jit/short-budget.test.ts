import { describe, expect, it } from "vitest";
import { BareVcpu, NO_DEVICES } from "../../../test/cpu/bare-vcpu.ts";
import type { IoClient, RawAccess } from "../../io/types.ts";
import { CPU, RAX, RBX, RCX, RDI, RSI, RSP } from "../state.ts";

const CODE = 0x3000;
const DATA = 0x8000;
const DEVICE = 0xfe00_0000;

/** Loops of ECX turns, each with one access to the device at ESI. */
const ACCESSES: Readonly<Record<string, { code: readonly number[]; reads: number; writes: number }>> = {
  // 1: mov eax, [esi]; add ebx, eax; dec ecx; jnz 1b; hlt
  "a read": { code: [0x8b, 0x06, 0x01, 0xc3, 0x49, 0x75, 0xf9, 0xf4], reads: 1, writes: 0 },
  // 1: mov [esi], ecx; add ebx, ecx; dec ecx; jnz 1b; hlt
  "a write": { code: [0x89, 0x0e, 0x01, 0xcb, 0x49, 0x75, 0xf9, 0xf4], reads: 0, writes: 1 },
  // 1: add [esi], ecx; adc ebx, 1; dec ecx; jnz 1b; hlt
  "a read and write": { code: [0x01, 0x0e, 0x83, 0xd3, 0x01, 0x49, 0x75, 0xf8, 0xf4], reads: 1, writes: 1 },
  // 1: push dword [esi]; pop eax; add ebx, eax; dec ecx; jnz 1b; hlt
  "a read on the way to the stack": {
    code: [0xff, 0x36, 0x58, 0x01, 0xc3, 0x49, 0x75, 0xf8, 0xf4],
    reads: 1,
    writes: 0,
  },
  // 1: movsd; sub esi, 4; sub edi, 4; add ebx, [edi]; dec ecx; jnz 1b; hlt
  "a read by a string instruction": {
    code: [0xa5, 0x83, 0xee, 4, 0x83, 0xef, 4, 0x03, 0x1f, 0x49, 0x75, 0xf4, 0xf4],
    reads: 1,
    writes: 0,
  },
};
const TURNS = 6;

interface Bench {
  readonly code: readonly number[];
  readonly compile: "never" | "always";
  /** The loop has run before, and is compiled by somebody who knows what its accesses reach. */
  readonly seen: boolean;
}

/** A device whose register counts its reads, and which asks for attention `left` instructions after its access `at`. */
function bench({ code, compile, seen }: Bench, at: number, left: number) {
  let accesses = Number.NEGATIVE_INFINITY;
  const counts = { reads: 0, writes: 0 };
  const accessed = () => {
    if (accesses++ === at) bare.vcpu.limitBudget(left);
    return 0;
  };
  const client: IoClient = {
    ...NO_DEVICES,
    mmioRead: (_, width, buffer) => {
      buffer.fill(0, 0, width)[0] = ++counts.reads;
      return accessed();
    },
    mmioWrite: () => {
      counts.writes++;
      return accessed();
    },
  };
  const bare = new BareVcpu({ ramBytes: 0x1_0000, compile, io: { ...client, raw: nothingRaw(client) } });
  const { state, vcpu } = bare;
  const start = () => {
    bare.startFlat(code, CODE);
    state.setU32(CPU.activity, 0);
    state.setGpr32(RAX, 0);
    state.setGpr32(RBX, 0);
    state.setGpr32(RSI, DEVICE);
    state.setGpr32(RDI, DATA);
    state.setGpr32(RCX, TURNS);
  };
  if (seen) {
    start();
    bare.run(10_000);
    vcpu.code?.reset();
    counts.reads = 0;
    counts.writes = 0;
  }
  start();
  accesses = 0;
  return { bare, counts };
}

/** The innermost context of a machine whose devices have no raw handlers. */
function nothingRaw(outward: IoClient): RawAccess {
  const functions = { portRead: () => -1n, mmioRead: () => -1n, portWrite: () => -1, mmioWrite: () => -1 };
  return { functions, outward, inlinePort: () => undefined, inlineMmio: () => undefined };
}

describe.each([false, true])("a device access that leaves too little budget happens once (seen before: %s)", (seen) => {
  it.each(Object.keys(ACCESSES))("%s", (name) => {
    const { code, reads, writes } = ACCESSES[name]!;
    // Behind the last of these accesses there are more instructions than the device leaves.
    for (let at = 0; at < (TURNS - 3) * (reads + writes); at++) {
      for (let left = 0; left < 8; left++) {
        const outcomes = (["never", "always"] as const).map((compile) => {
          const { bare, counts } = bench({ code, compile, seen }, at, left);
          const { state } = bare;
          const look = () => ({
            rip: state.number(CPU.rip),
            eflags: state.eflags,
            registers: [RAX, RBX, RCX, RSI, RDI].map((register) => state.gpr32(register)),
            ...counts,
          });
          const first = [bare.run(10_000).reason, look()];
          return { first, last: [bare.run(10_000).reason, look()] };
        });
        expect(outcomes[1], `access ${at}, ${left} left`).toEqual(outcomes[0]);
        expect(outcomes[0]!.first[0]).toBe("budget");
        expect(outcomes[0]!.last).toMatchObject(["halt", { reads: TURNS * reads, writes: TURNS * writes }]);
      }
    }
  });
});

describe("a store into compiled code", () => {
  it("is done once, though the same one was recorded before that code was compiled", () => {
    const [called, immediate] = [CODE + 0x40, CODE + 0x41];
    // 1: inc eax; mov [immediate], eax; call edi; dec ecx; jnz 1b; hlt
    const loop = [0x40, 0xa3, immediate & 0xff, immediate >>> 8, 0, 0, 0xff, 0xd7, 0x49, 0x75, 0xf5, 0xf4];
    // mov edx, IMMEDIATE; add ebx, edx; ret
    const code = [...loop, ...new Array<number>(0x40 - loop.length).fill(0x90), 0xba, 0, 0, 0, 0, 0x01, 0xd3, 0xc3];
    const bare = new BareVcpu({ ramBytes: 0x1_0000, compile: "always", io: NO_DEVICES });
    bare.startFlat(code, CODE);
    const { state, vcpu } = bare;
    for (const register of [RAX, RBX]) state.setGpr32(register, 0);
    state.setGpr32(RSP, DATA);
    state.setGpr32(RDI, called);
    state.setGpr32(RCX, TURNS);
    bare.run(1000);
    expect(state.gpr32(RBX)).toBe((TURNS * (TURNS + 1)) / 2);
    expect(vcpu.code?.statistics.invalidations).toBeGreaterThan(0);
  });
});
