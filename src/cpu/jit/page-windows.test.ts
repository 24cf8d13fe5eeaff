import { describe, expect, it } from "vitest";
import { BareVcpu, NO_DEVICES } from "../../../test/cpu/bare-vcpu.ts";
import { CLOCK } from "../../memory/layout.ts";
import { CPU, RAX, RBP, RBX, RCX, RDX, RSI, RSP } from "../state.ts";

const [DIRECTORY, TABLE, CODE, STACK, LINEAR, FIRST, SECOND] = [0x1000, 0x2000, 0x3000, 0x4000, 0x8000, 0x6000, 0xa000];
const DEVICE = 0xfe00_0000;
const DEVICE_LINEAR = 0xc000;
const PRESENT_WRITABLE = 3;
const TURNS = 0x40;

/** mov eax, [esi+8]; add eax, [esi]; mov [esi+4], eax; mov edx, [ebp]; add [esi+16], eax; adc ebx, [esi+12]; add eax, [esi-4] */
const ACCESSES = [
  ...[0x8b, 0x46, 0x08, 0x03, 0x06, 0x89, 0x46, 0x04, 0x8b, 0x55, 0x00],
  ...[0x01, 0x46, 0x10, 0x13, 0x5e, 0x0c, 0x03, 0x46, 0xfc],
];
/** mov [esi], eax; mov edx, [ebp]; mov [esi+4], eax; mov [esi+8], edx */
const STORES = [0x89, 0x06, 0x8b, 0x55, 0x00, 0x89, 0x46, 0x04, 0x89, 0x56, 0x08];
/** mov eax, [esi]; add esi, 4; add eax, [esi]; mov [esi+8], eax; sub esi, 3; add ebx, [esi+4] */
const MOVING = [0x8b, 0x06, 0x83, 0xc6, 4, 0x03, 0x06, 0x89, 0x46, 8, 0x83, 0xee, 3, 0x03, 0x5e, 4];
const INC_ESI = 0x46;
const INVLPG_EDI = [0x0f, 0x01, 0x3f];

interface Bench {
  readonly compile: "never" | "always";
  readonly body: readonly number[];
  /** Whether the region is a loop: a system operation ends it otherwise. */
  readonly loop: boolean;
  /** What the second page is. */
  readonly second?: number;
  readonly onRead?: (bare: BareVcpu, reads: number) => void;
}

/** Turns of `body` with ESI from shortly before the end of a page on. */
function bench({ compile, body, loop, second = SECOND | PRESENT_WRITABLE, onRead }: Bench) {
  let reads = 0;
  const bare: BareVcpu = new BareVcpu({
    ramBytes: 0x1_0000,
    compile,
    io: {
      ...NO_DEVICES,
      mmioRead: (_, width, buffer) => {
        buffer.fill(0, 0, width)[0] = ++reads;
        onRead?.(bare, reads);
        return 0;
      },
    },
  });
  const { memory, state } = bare;
  for (let page = 0; page < 16; page++) memory.write32(TABLE + page * 4, (page << 12) | PRESENT_WRITABLE);
  const map = (linear: number, entry: number) => memory.write32(TABLE + (linear >> 12) * 4, entry);
  map(LINEAR, FIRST | PRESENT_WRITABLE);
  map(LINEAR + 0x1000, second);
  map(DEVICE_LINEAR, DEVICE | PRESENT_WRITABLE);
  memory.write32(DIRECTORY, TABLE | PRESENT_WRITABLE);
  for (const page of [FIRST, SECOND])
    memory.write(
      page,
      Uint8Array.from({ length: 0x1000 }, (_, i) => i * 7),
    );
  const code = [...body, ...(loop ? [] : INVLPG_EDI), 0x49];
  memory.write(CODE, Uint8Array.from([...code, 0x75, -(code.length + 2) & 0xff, 0xf4])); // jnz; hlt
  bare.setPaging("paging32", DIRECTORY, { cr0: 1 << 16 });
  bare.setFlatSegments();
  state.setNumber(CPU.rip, CODE);
  for (const register of [RAX, RBX, RDX]) state.setGpr32(register, 0);
  state.setGpr32(RSP, STACK + 0x1000);
  state.setGpr32(RBP, DEVICE_LINEAR);
  state.setGpr32(RSI, LINEAR + 0xfe0);
  state.setGpr32(RCX, TURNS);
  bare.vcpu.stateChanged();
  bare.vcpu.onException = () => true;
  return bare;
}

function watchWrites({ memory }: BareVcpu, onWrite: () => void): void {
  const range = { base: FIRST, length: 0x1000, owner: "test" };
  memory.handlers.physical.register({ kind: "write", ...range, callback: () => void onWrite() });
}

function outcome(options: Bench) {
  const bare = bench(options);
  const { state, memory } = bare;
  const exit = bare.run(10_000);
  return {
    exit,
    rip: state.number(CPU.rip),
    cr2: state.number(CPU.cr2),
    registers: [RAX, RBX, RCX, RDX, RSI].map((register) => state.gpr32(register)),
    flags: state.eflags,
    pages: [FIRST, SECOND].map((page) => [...memory.bytes.subarray(memory.layout.ram + page).subarray(0, 0x1000)]),
    budget: state.data.getInt32(CLOCK.budget, true),
  };
}

describe.each([true, false])("accesses of a block to one stretch of memory (in a loop: %s)", (loop) => {
  it.each([
    ["one value", [...ACCESSES, INC_ESI]],
    ["a value that changes", MOVING],
  ])("go to one page or to two: %s", (_, body) => {
    const interpreted = outcome({ compile: "never", body, loop });
    expect(interpreted.exit.reason).toBe("halt");
    expect(outcome({ compile: "always", body, loop })).toEqual(interpreted);
  });

  it.each([
    ["is not there", 0],
    ["is read-only", SECOND | 1],
  ])("fault where they should when the second page %s", (_, second) => {
    for (const body of [[...ACCESSES, INC_ESI], MOVING, [...STORES, INC_ESI]]) {
      const interpreted = outcome({ compile: "never", body, loop, second });
      expect(interpreted.exit).toMatchObject({ reason: "exception", vector: 14 });
      expect(outcome({ compile: "always", body, loop, second })).toEqual(interpreted);
    }
  });

  it("are seen by a handler for writes where they could only be read", () => {
    const seen = (["never", "always"] as const).map((compile) => {
      const bare = bench({ compile, body: ACCESSES, loop });
      let writes = 0;
      watchWrites(bare, () => writes++);
      bare.run(10_000);
      return writes;
    });
    expect(seen).toEqual([2 * TURNS, 2 * TURNS]);
  });

  it("are seen by a handler that comes while a device is asked between them", () => {
    const seen = (["never", "always"] as const).map((compile) => {
      let writes = 0;
      const onRead = (bare: BareVcpu, reads: number) => {
        if (reads === 20) watchWrites(bare, () => writes++);
      };
      bench({ compile, body: STORES, loop, onRead }).run(10_000);
      return writes;
    });
    // In that turn the two behind the device's access, and three in each turn after it.
    expect(seen).toEqual([2 + 3 * (TURNS - 20), 2 + 3 * (TURNS - 20)]);
  });
});
