/** Runs the hostile guest, starting it again whenever it has ended, reset or wedged its machine. */

import { defineDevice, ring3 } from "../../src/device/define.ts";
import { raw } from "../../src/device/raw.ts";
import type { DeviceClass } from "../../src/device/types.ts";
import { createMachine, type Machine, type MachineOptions } from "../../src/machine/machine.ts";
import { MMIO } from "../../src/machine/platform.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/machine/snapshot.ts";
import { type Coverage, watchCoverage } from "./coverage.ts";
import { hostileImage, hostileReport } from "./hostile-guest.ts";
import { checkTlbs, guardMemory } from "./invariants.ts";
import { Random } from "./random.ts";

export interface StormOptions {
  readonly seed: number;
  /** Instructions in all. */
  readonly instructions: number;
  /** Instructions between looks at the guest; default 50,000. */
  readonly slice?: number;
  /** Instructions of one life: then another guest, with another seed, begins. Default two million. */
  readonly life?: number;
  /** Copies the machine into another one now and then, and compares what becomes of both. */
  readonly snapshots?: boolean;
  /** Whether every access is recorded for `coverage`; without, accesses take the short way that guests usually get. */
  readonly watch?: boolean;
  /** Default "auto". */
  readonly compile?: MachineOptions["compile"];
}

export interface StormResult {
  readonly retired: number;
  readonly steps: number;
  readonly interrupts: number;
  readonly faults: number;
  /** Why the guest was started anew. */
  readonly ends: Readonly<Record<string, number>>;
  readonly tripleFaults: number;
  readonly resets: number;
  readonly coverage: Coverage | undefined;
  readonly snapshots: number;
  /** Longest slice in ms of host time. */
  readonly longestMs: number;
  readonly hash: string;
}

/** A card with everything that the PCI kit offers: BARs of each kind, INTx, messages, raw and ring-3 handlers. */
const card: DeviceClass<undefined, void> = defineDevice("card", (host) => {
  const r = host.registers({ a: "u32", b: "u32" });
  const f = host.pciFunction({
    slot: 2,
    vendorId: 0x1af4,
    deviceId: 0x10ff,
    classCode: 0xff_0000,
    interruptPin: 1,
    msiMessages: 4,
    bars: [
      { kind: "io", size: 64, handlers: { read: () => r.a, write: (offset) => f.interrupt.set((offset & 4) !== 0) } },
      {
        kind: "memory",
        size: 0x1000,
        handlers: {
          read: raw((x) => x.get(r, "b")),
          write: raw((x) => x.set(r, "b", x.value)),
        },
      },
      {
        kind: "memory",
        size: 0x4000,
        wide: true,
        handlers: {
          read: ring3((offset) => (r.a + offset) >>> 0),
          write: ring3((offset, value) => {
            r.a = value;
            f.message(offset & 3);
          }),
        },
        options: { readMode: "passthrough", writeMode: "passthrough" },
      },
    ],
  });
});

export function stormMachine(compile?: MachineOptions["compile"]): Machine {
  const machine = createMachine({
    ...(compile && { compile }),
    memoryMiB: 8,
    clock: "instructions",
    files: { "opt/x": new Uint8Array(3000) },
  });
  machine.add(card, undefined);
  return machine;
}

/** MMIO that nobody claims at first: VGA window, top of RAM, BAR windows, holes, the end of the address space. */
const HOLES = [
  { base: 0xa_0000, length: 0x2_0000 },
  { base: 0xe_0000, length: 0x2_0000 },
  { base: 0x7f_fff0, length: 0x20 },
  { base: 0x8000_0000, length: 0x8000 },
  { base: 0xfec0_1000, length: 0x1000 },
  { base: 0xfed4_0000, length: 0x5000 },
  { base: 0xffff_ff00, length: 0x100 },
];
/** Claimed windows once more, and where their registers lie close together: they come more often. */
const FAVOURITES = [
  { base: MMIO.localApic, length: MMIO.localApicLength },
  { base: MMIO.localApic, length: MMIO.localApicLength },
  { base: MMIO.localApic, length: 0x400 },
  { base: MMIO.ioApic, length: MMIO.ioApicLength },
  { base: MMIO.ioApic, length: MMIO.ioApicLength },
  { base: MMIO.ioApic, length: 0x20 },
  { base: MMIO.hpet, length: MMIO.hpetLength },
  { base: MMIO.hpet, length: 0x180 },
];
const WINDOWS = [...HOLES, ...FAVOURITES];

export async function storm(options: StormOptions): Promise<StormResult> {
  const { seed, instructions, slice = 50_000, life = 2_000_000 } = options;
  const random = new Random(seed);
  const machine = stormMachine(options.compile);
  const coverage = options.watch ? watchCoverage(machine) : undefined;
  const checkGuards = guardMemory(machine);
  const ends: Record<string, number> = {};
  const totals = { steps: 0, interrupts: 0, faults: 0, snapshots: 0, longestMs: 0 };
  let began = 0;
  const start = (why: string) => {
    ends[why] = (ends[why] ?? 0) + 1;
    const image = hostileImage(machine, { seed: random.u32() || 1, reckless: random.chance(4), windows: WINDOWS });
    machine.boot({ image });
    began = machine.clock.retired;
  };
  start("begin");
  let last = hostileReport(machine);
  while (machine.clock.retired < instructions) {
    const host = performance.now();
    const going = machine.runUntil(machine.clock.retired + slice);
    totals.longestMs = Math.max(totals.longestMs, performance.now() - host);
    const report = hostileReport(machine);
    for (const name of ["interrupts", "faults"] as const) {
      totals[name] += report[name] >= last[name] ? report[name] - last[name] : report[name];
    }
    const moved = report.progress - last.progress;
    totals.steps += moved > 0 ? moved : 0;
    last = report;

    if (random.chance(20)) {
      const broken = checkGuards() ?? checkTlbs(machine);
      if (broken !== undefined) throw new Error(`${broken}, at ${machine.clock.retired}`);
    }
    if (going && options.snapshots && random.chance(16)) {
      totals.snapshots++;
      await compareCopies(machine, slice);
    }
    if (machine.ended !== undefined) start(machine.ended.reason);
    else if (!going) start("idle for good");
    else if (moved === 0) start("no progress");
    else if (machine.clock.retired - began > life) start("end of life");
    if (random.chance(3)) machine.serial.input(Uint8Array.of(random.u32(), random.u32()));
    if (random.chance(3)) machine.pc.keyboard.key("KeyA", random.chance(2));
  }
  const { resets, tripleFaults } = machine.events;
  const hash = await machine.stateHash();
  const { retired } = machine.clock;
  machine.dispose();
  return { retired, ends, resets, tripleFaults, coverage, hash, ...totals };
}

/** What a snapshot, written and read, makes of the same number of instructions. */
async function compareCopies(machine: Machine, instructions: number): Promise<void> {
  const file = encodeSnapshot(machine.save());
  const copy = stormMachine();
  copy.restore(decodeSnapshot(file));
  const end = machine.clock.retired + instructions;
  copy.runUntil(end);
  machine.runUntil(end);
  const [hash, copied] = [await machine.stateHash(), await copy.stateHash()];
  copy.dispose();
  if (copied !== hash) throw new Error(`a copy went another way: ${copied} instead of ${hash} at ${end}`);
}
