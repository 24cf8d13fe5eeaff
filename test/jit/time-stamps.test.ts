import { describe, expect, it } from "vitest";
import { createMachine } from "../../src/machine/machine.ts";
import { KERNEL, kernel, x86 } from "../machine/guests.ts";

const TSC_AUX = 0xc000_0103;
const AUX = 0x1234_5678;
const RESULTS = KERNEL.data + 0x4000;
const TURNS = 20;

/** In each turn: EDX:EAX of RDTSC, of RDTSCP behind it, and ECX of that. */
const TURN = [
  ...[0x0f, 0x31, 0xab, 0x92, 0xab], // rdtsc; stosd; xchg edx, eax; stosd
  ...x86.mov(1, 0),
  ...[0x0f, 0x01, 0xf9, 0xab, 0x92, 0xab], // rdtscp; stosd; xchg edx, eax; stosd
  ...[0x91, 0xab], // xchg ecx, eax; stosd
];
const BETWEEN = 5;

const IMAGE = kernel([
  ...x86.mov(1, TSC_AUX),
  ...x86.mov(0, AUX),
  ...x86.mov(2, 0),
  ...[0x0f, 0x30], // wrmsr
  ...x86.mov(7, RESULTS),
  ...x86.mov(5, TURNS),
  ...TURN,
  0x4d, // dec ebp
  ...[0x75, 256 - TURN.length - 3], // jnz
  ...x86.exit(0),
]);

describe.each(["never", "always"] as const)("time stamps, compile: %s", (compile) => {
  it("are exact at each instruction; RDTSCP gives IA32_TSC_AUX too", () => {
    const machine = createMachine({ memoryMiB: 4, clock: "instructions", compile });
    machine.boot({ image: IMAGE });
    machine.runUntil(100_000);
    const results = new Uint32Array(machine.memory.bytes.buffer, machine.memory.layout.ram + RESULTS, 5 * TURNS);
    for (let turn = 0; turn < TURNS; turn++) {
      const [low, high, low2, high2, aux] = results.subarray(5 * turn);
      expect([low2! - low!, high, high2, aux]).toEqual([BETWEEN, 0, 0, AUX]);
    }
    machine.dispose();
  });
});
