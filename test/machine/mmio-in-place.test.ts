import { describe, expect, it, vi } from "vitest";
import { AccessLog } from "../../src/cpu/mmu/access-log.ts";
import { defineDevice } from "../../src/device/define.ts";
import { raw } from "../../src/device/raw.ts";
import { createMachine } from "../../src/machine/machine.ts";
import { KERNEL, kernel, x86 } from "./guests.ts";

const RAM_MIB = 16;
/** Device memory, at the next 4 MiB page behind RAM, and where the guest maps it. */
const MMIO = RAM_MIB * 2 ** 20;
const MAPPED = 0x4000_0000;
/** Another large page, whose translation takes the place of that of `MAPPED` in a TLB of device pages. */
const ALIAS = MAPPED + 0x40_0000;
const RAM_PAGE = 0x80_0000;
const DIRECTORY = KERNEL.data + 0x1000;
/** Long enough for the loop to be compiled in the first pass. */
const PASSES = 3_000_000;
const LARGE = 0x83;

/** Three registers: each read and write changes the one that it reaches. The last lies in a page of its own. */
const REGISTERS = { first: 0, second: 0x20, elsewhere: 0x40_0000 } as const;
type Context = "raw" | "ring0";
const counters = (context: Context, seen: { builds: number }) =>
  defineDevice("counters", (host) => {
    const r = host.registers({ first: "u32", second: "u32", elsewhere: "u32" });
    for (const name of Object.keys(REGISTERS) as (keyof typeof REGISTERS)[]) {
      const handlers = {
        raw: {
          read: raw((x) => {
            seen.builds++;
            x.set(r, name, x.add(x.get(r, name), 3));
            return x.get(r, name);
          }),
          write: raw((x) => {
            seen.builds++;
            x.set(r, name, x.xor(x.get(r, name), x.value));
          }),
        },
        ring0: {
          read: () => {
            r[name] += 3;
            return r[name];
          },
          write: (_: number, value: number) => {
            r[name] ^= value;
          },
        },
      };
      host.mmio({ base: MMIO + REGISTERS[name], length: 0x20 }, handlers[context]);
    }
  });

/** One loop that reads and writes what ESI points to, called for each target; between them, page tables change. */
function guest(): Uint8Array {
  const directory = (entry: number, value: number) => x86.store(DIRECTORY + entry * 4, value);
  const map = (physical: number, linear = MAPPED) => [
    ...directory(linear >>> 22, physical | LARGE),
    ...[0x0f, 0x01, 0x3d, ...x86.dword(linear)], // INVLPG
  ];
  const identity = [0, 1, 2, 3].flatMap((page) => directory(page, (page << 22) | LARGE));
  const paging = [
    ...[0x0f, 0x20, 0xe0, 0x83, 0xc8, 0x10, 0x0f, 0x22, 0xe0], // CR4.PSE
    ...x86.mov(0, DIRECTORY),
    ...[0x0f, 0x22, 0xd8], // CR3
    ...[0x0f, 0x20, 0xc0, 0x0d, ...x86.dword(0x8000_0000), 0x0f, 0x22, 0xc0], // CR0.PG
  ];
  // MOV eax, [esi]; ADD ebx, eax; MOV [esi + 4], ebx; DEC ecx; JNZ
  const loop = [0x8b, 0x06, 0x01, 0xc3, 0x89, 0x5e, 0x04, 0x49, 0x75, 0xf6, 0xc3];
  const at = KERNEL.code + 5;
  const targets = (): number[] => {
    const code: number[] = [];
    const here = () => KERNEL.code + 5 + loop.length + setup.length + code.length;
    const pass = (target: number, passes = PASSES) => {
      code.push(...x86.mov(6, target), ...x86.mov(1, passes));
      code.push(0xe8, ...x86.dword(at - (here() + 5)));
    };
    pass(MAPPED);
    pass(MAPPED + 0x20);
    pass(KERNEL.data, 1000);
    code.push(...map(RAM_PAGE));
    pass(MAPPED, 1000);
    code.push(...map(MMIO));
    pass(MAPPED);
    code.push(...map(MMIO + REGISTERS.elsewhere));
    pass(MAPPED, 1000);
    // Once more RAM, while another address is known to lead to the device.
    code.push(...map(MMIO, ALIAS), ...map(RAM_PAGE));
    code.push(...x86.load(ALIAS), ...x86.storeEax(ALIAS + 4));
    pass(MAPPED, 1000);
    code.push(0x89, 0x1d, ...x86.dword(KERNEL.data + 0x100));
    return [...code, ...x86.exit(0), ...x86.halt];
  };
  const setup = [...x86.mov(4, KERNEL.stack), ...identity, ...map(MMIO), ...paging];
  // JMP over the loop, which comes first so that its address is known.
  return kernel([0xe9, ...x86.dword(loop.length), ...loop, ...setup, ...targets()]);
}

async function run(context: Context, compile: "auto" | "never") {
  const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions", compile });
  const seen = { builds: 0 };
  machine.add(counters(context, seen), undefined);
  const before = seen.builds;
  machine.boot({ image: guest() });
  const { status } = await machine.run();
  const results = [KERNEL.data + 0x100, KERNEL.data + 4, RAM_PAGE + 4].map((at) => machine.memory.read32(at));
  const ranges = machine.profile().ranges.filter(({ owner }) => owner === "counters");
  return { status, results, ranges, inPlace: seen.builds - before };
}

describe("device memory that compiled code reaches in place", () => {
  it("is read and written as by the interpreter, through other addresses and remaps too", async () => {
    const { inPlace: none, ...interpreted } = await run("raw", "never");
    const { inPlace, ...compiled } = await run("raw", "auto");
    expect(compiled).toEqual(interpreted);
    expect(interpreted.ranges.length).toBe(3);
    expect(none).toBe(0);
    expect(inPlace).toBeGreaterThan(0);
  });

  it("is asked of ring 0 as by the interpreter, and not noted in the access log", async () => {
    const record = vi.spyOn(AccessLog.prototype, "record");
    const interpreted = await run("ring0", "never");
    record.mockClear();
    expect(await run("ring0", "auto")).toEqual(interpreted);
    expect(interpreted.ranges.length).toBe(3);
    expect(record.mock.calls.length).toBeLessThan(PASSES / 100);
    record.mockRestore();
  });

  it.each(["raw", "ring0"] as const)("is seen by a handler that comes later (%s)", (context) => {
    const hits = (["never", "auto"] as const).map((compile) => {
      const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions", compile });
      machine.add(counters(context, { builds: 0 }), undefined);
      machine.boot({ image: guest() });
      machine.runUntil(PASSES * 4);
      const { physical } = machine.memory.handlers;
      const range = { base: MMIO, length: 0x1000, owner: "test" };
      const handler = physical.register({ kind: "mmio", ...range, callback: () => undefined });
      machine.runUntil(PASSES * 4 + 5000);
      machine.dispose();
      return handler.hits;
    });
    expect(hits[0]).toBeGreaterThan(1000);
    expect(hits[1]).toBe(hits[0]);
  });
});
