/** Runs processors in wild states, and looks whether three machines with different slices come to the same end. */

import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/machine/snapshot.ts";
import { scramble } from "./hostile-processor.ts";
import { checkTlbs, guardMemory } from "./invariants.ts";
import { Random } from "./random.ts";

export interface ChaosOptions {
  readonly seed: number;
  readonly episodes: number;
  /** Instructions of an episode; default 20,000. */
  readonly instructions?: number;
}

export interface ChaosResult {
  readonly retired: number;
  readonly episodes: Readonly<Record<string, number>>;
  readonly tripleFaults: number;
  readonly hash: string;
}

/** A kernel that halts: what a machine boots before its processor is scrambled, and again after a reset. */
const KERNEL = (() => {
  const image = new Uint8Array(64);
  const data = new DataView(image.buffer);
  const words = [0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), 0x38_0000, 0x38_0000, 0, 0, 0x38_0020];
  words.forEach((word, index) => {
    data.setUint32(index * 4, word, true);
  });
  image.set([0xfa, 0xf4, 0xeb, 0xfd], 32); // CLI; HLT; JMP
  return image;
})();

const machineOf = () => createMachine({ memoryMiB: 4, clock: "instructions" });

export async function chaos({ seed, episodes, instructions = 20_000 }: ChaosOptions): Promise<ChaosResult> {
  const random = new Random(seed);
  const whole = machineOf();
  const sliced = machineOf();
  const guards = [guardMemory(whole), guardMemory(sliced)];
  const count: Record<string, number> = {};
  let hash = "";
  for (let episode = 0; episode < episodes; episode++) {
    const life = `seed ${seed}, episode ${episode}`;
    try {
      whole.boot({ image: KERNEL });
      const mode = scramble(whole, random);
      count[mode] = (count[mode] ?? 0) + 1;
      sliced.restore(whole.save());
      const end = whole.clock.retired + instructions;
      whole.runUntil(end);
      await runInSlices(sliced, end, random);
      if (episode % 16 === 15) for (const guard of guards) fail(guard(), life);
      fail(checkTlbs(whole), life);
      fail(checkTlbs(sliced), life);
      hash = await whole.stateHash();
      const other = await sliced.stateHash();
      if (hash !== other) throw new Error(`${hash} in one slice, ${other} in many`);
    } catch (cause) {
      throw new Error(`${life}: ${cause instanceof Error ? cause.message : cause}`, { cause });
    }
  }
  const { retired } = whole.clock;
  const { tripleFaults } = whole.events;
  whole.dispose();
  sliced.dispose();
  return { retired, episodes: count, tripleFaults, hash };
}

async function runInSlices(machine: Machine, end: number, random: Random): Promise<void> {
  while (machine.clock.retired < end) {
    const size = random.pick([1, 2, 7, 100, 3000]);
    if (!machine.runUntil(Math.min(end, machine.clock.retired + size))) return;
    if (random.chance(400)) machine.restore(decodeSnapshot(encodeSnapshot(machine.save())));
  }
}

function fail(broken: string | undefined, life: string): void {
  if (broken !== undefined) throw new Error(`${life}: ${broken}`);
}
