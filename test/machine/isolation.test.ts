import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createMachine } from "../../src/machine/machine.ts";
import { bootPorch, type Guest } from "./guests.ts";
import { hostileImage } from "./hostile-guest.ts";
import { stormMachine } from "./hostile-storm.ts";
import { guardMemory } from "./invariants.ts";
import { Random } from "./random.ts";

/** A guest with a plan: where it is after so many instructions, input included. */
interface Plan {
  readonly start: () => Guest["machine"];
  /** Instructions, then what happens at that moment. */
  readonly steps: readonly (readonly [number, (machine: Guest["machine"]) => void])[];
}

const type = (text: string) => (machine: Guest["machine"]) => machine.serial.input(new TextEncoder().encode(text));
const nothing = () => {};

const PLANS: Record<string, Plan> = {
  small: {
    start: () => bootPorch({ memoryMiB: 8 }).machine,
    steps: [
      [20_000, type("time inb 0x3fd 20000\r")],
      [200_000, type("pci\r")],
      [300_000, nothing],
    ],
  },
  large: {
    start: () => bootPorch({ memoryMiB: 64 }).machine,
    steps: [
      [20_000, type("acpi\r")],
      [150_000, type("reboot\r")],
      [250_000, type("mem\r")],
      [320_000, nothing],
    ],
  },
  hostile: {
    start: () => {
      const machine = stormMachine();
      machine.boot({ image: hostileImage(machine, { seed: 77, reckless: false }) });
      return machine;
    },
    steps: [[300_000, nothing]],
  },
};

async function alone({ start, steps }: Plan): Promise<string> {
  const machine = start();
  for (const [at, act] of steps) {
    machine.runUntil(at);
    act(machine);
  }
  const hash = await machine.stateHash();
  machine.dispose();
  return hash;
}

describe("machines in one process", () => {
  it("come to the same state in two runs", async () => {
    for (const plan of Object.values(PLANS)) expect(await alone(plan)).toBe(await alone(plan));
  });

  it("each do what they do alone, however their slices interleave", async () => {
    const random = new Random(3);
    const machines = Object.entries(PLANS).map(([name, { start, steps }]) => {
      const machine = start();
      return { name, machine, steps: [...steps], hash: "", guard: guardMemory(machine) };
    });
    while (machines.some(({ hash }) => hash === "")) {
      const each = random.pick(machines);
      const step = each.steps[0];
      if (step === undefined) {
        each.hash ||= await each.machine.stateHash();
        continue;
      }
      const [at, act] = step;
      const next = Math.min(at, each.machine.clock.retired + random.pick([1, 100, 5000, 40_000]));
      // A guest that sleeps until its next input has done all its instructions.
      const going = each.machine.runUntil(next);
      if (going && each.machine.clock.retired < at) continue;
      act(each.machine);
      each.steps.shift();
    }
    for (const { name, hash, machine, guard } of machines) {
      expect([name, hash]).toEqual([name, await alone(PLANS[name]!)]);
      expect(guard()).toBeUndefined();
      machine.dispose();
    }
  });

  it("run at the same time, and one goes on when the other is disposed of", async () => {
    const [first, second] = [bootPorch({ clock: "host" }), bootPorch({ clock: "host", memoryMiB: 32 })];
    const runs = [first.machine.run(), second.machine.run()];
    const ready = async (guest: Guest, what: RegExp) => {
      while (!what.test(guest.said())) await new Promise((resolve) => setTimeout(resolve, 5));
    };
    await ready(first, /porch> $/);
    await ready(second, /porch> $/);
    first.type("time 400000000\r"); // busy when it is disposed of
    await ready(first, /time 400000000\n/);
    first.machine.dispose();
    expect(await runs[0]).toEqual({ reason: "stopped", status: 0 });
    const silent = first.said();
    second.type("in 0x3fd\r");
    await ready(second, /port 0x03fd = 0x60.*\nporch> $/);
    second.type("poweroff\r");
    expect(await runs[1]).toEqual({ reason: "poweroff", status: 0 });
    expect(first.said()).toBe(silent);
    second.machine.dispose();
  });
});

describe("a disposed machine", () => {
  it("answers with an error, and may be disposed of again", async () => {
    const { machine } = bootPorch();
    machine.dispose();
    machine.dispose();
    await expect(machine.run()).rejects.toMatchObject({ code: "MACHINE_DISPOSED" });
    for (const use of [
      () => machine.runUntil(1),
      () => machine.save(),
      () => machine.boot({ image: new Uint8Array(1) }),
    ])
      expect(use).toThrowError(expect.objectContaining({ code: "MACHINE_DISPOSED" }));
  });

  it("may be disposed of from within, by what it says", async () => {
    const { machine } = bootPorch({ clock: "host" });
    machine.serial.onOutput(() => machine.dispose());
    expect(await machine.run()).toEqual({ reason: "stopped", status: 0 });
  });

  it("leaves nothing behind: its memory is collected, and the process ends by itself", () => {
    const script = join(import.meta.dirname, "dispose-machines.ts");
    const words = ["--expose-gc", "--import", "tsx", script];
    const said = execFileSync(process.execPath, words, { encoding: "utf8", timeout: 60_000 });
    expect(JSON.parse(said)).toEqual({ made: 6, collected: 6, timers: 0, immediates: 0 });
  });
});

it("creates machines of every size, and refuses others", () => {
  for (const memoryMiB of [1, 3, 17]) createMachine({ memoryMiB }).dispose();
  for (const memoryMiB of [0, -1, 1.5, 4096, Number.NaN])
    expect(() => createMachine({ memoryMiB })).toThrowError(expect.objectContaining({ code: "MEMORY_SIZE" }));
});
