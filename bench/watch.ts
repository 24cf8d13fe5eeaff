/** What watching memory costs: `npx tsx bench/watch.ts`. Medians of several runs, in ns. */
import { createMachine, type Machine } from "../src/index.ts";
import { KERNEL, kernel, x86 } from "../test/machine/guests.ts";
import { median } from "./statistics.ts";

const WORD = KERNEL.data + 0x100;
const ELSEWHERE = KERNEL.data + 0x1_0000;
const STORES = 8;
const RUNS = 7;

/** Stores to one word, over and over; 2 more instructions a round. */
function machineStoring(at: number): Machine {
  const body = Array.from({ length: STORES }, (_, i) => x86.store(at, i)).flat();
  const loop = [...body, 0x49]; // DEC ecx
  const machine = createMachine({ memoryMiB: 64, clock: "instructions" });
  machine.boot({ image: kernel([...loop, 0xe9, ...x86.dword(-(loop.length + 5))]) }); // JMP
  return machine;
}

/** ns for a store of `at` while `watch` is watched. */
function store(at: number, instructions: number, watch?: (machine: Machine) => void): number {
  const machine = machineStoring(at);
  watch?.(machine);
  machine.runUntil(instructions);
  const times = Array.from({ length: RUNS }, () => {
    const start = performance.now();
    machine.runUntil(machine.clock.retired + instructions);
    return ((performance.now() - start) * 1e6) / ((instructions * STORES) / (STORES + 2));
  });
  machine.dispose();
  return median(times);
}

/** ns to register and remove a watch of `pages` pages on a machine whose guest has just run. */
function register(pages: number): number {
  const machine = machineStoring(ELSEWHERE);
  machine.runUntil(1_000_000);
  const times = Array.from({ length: 200 }, () => {
    const start = performance.now();
    machine.watch({ physical: WORD - 0x100, length: pages * 4096 }, () => {}).dispose();
    return (performance.now() - start) * 1e6;
  });
  machine.dispose();
  return median(times);
}

const word = { physical: WORD, length: 4 } as const;
const watchWord = (machine: Machine) => void machine.watch(word, () => {});
const rows: readonly (readonly [string, number])[] = [
  ["a store, nothing watched", store(ELSEWHERE, 100_000_000)],
  ["a store, another page watched", store(ELSEWHERE, 100_000_000, watchWord)],
  ["a store beside a watched word, in its page", store(WORD + 8, 2_000_000, watchWord)],
  ["a store to a watched word", store(WORD, 2_000_000, watchWord)],
  [
    "the same, by a linear address",
    store(WORD, 2_000_000, (machine) => void machine.watch({ virtual: WORD, length: 4 }, () => {})),
  ],
  ["a watch of a page, registered and removed", register(1)],
  ["a watch of 1000 pages, registered and removed", register(1000)],
];
for (const [what, ns] of rows) console.log(`${what.padEnd(48)}${ns < 100 ? ns.toFixed(2) : ns.toFixed(0)} ns`);
