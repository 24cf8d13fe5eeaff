/** `portico bench`: what an access costs by the path that it takes and the context that answers it. */

import { cpus } from "node:os";
import { defineDevice, raw, ring3 } from "../device/index.ts";
import { type ExitStatistics, HYPERCALL, IO_PATHS, type IoPath } from "../exits/index.ts";
import { createMachine, type Machine } from "../machine/machine.ts";
import { benchGuest, code } from "./bench-guest.ts";
import { type BenchResult, formatBench } from "./bench-table.ts";
import type { BenchOptions } from "./options.ts";

const RAM_MIB = 4;
const MMIO = RAM_MIB * 2 ** 20;
/** Contexts, and where a device that is answered in them lies. */
const CONTEXTS = { raw: 0, ring0: 1, ring3: 2 } as const;
type Context = keyof typeof CONTEXTS;
const port = (context: Context): number => 0x700 + CONTEXTS[context] * 16;
const page = (context: Context): number => MMIO + CONTEXTS[context] * 0x1000;
const STRING_PORT = 0x740;
const COALESCED_PORT = 0x750;
const DOORBELL_PORT = 0x760;
/** Units of one REP. */
const UNITS = 1024;
const FIRST_COUNT = 64;
const COUNT_MAX = 2 ** 30;

interface Case {
  readonly path: string;
  readonly context: string;
  /** What one iteration does. */
  readonly what: string;
  readonly ioPath: IoPath;
  /** Before the loop; registers it may change: EAX, EBX, EDX, ESI, EDI, EBP, and what it leaves in EBP stays. */
  readonly prepare?: readonly number[];
  readonly body: readonly number[];
  /** Accesses of an iteration. */
  readonly units?: number;
}

function cases(doorbell: number): Case[] {
  const contexts = Object.keys(CONTEXTS) as Context[];
  const list: Case[] = [{ path: "none", context: "-", what: "empty loop", ioPath: "direct", body: [] }];
  for (const ioPath of ["direct", "decoded", "emulated", "trap"] as const) {
    for (const context of contexts) {
      const body = [...code.mov("edx", port(context)), ...code.inEax];
      list.push({ path: ioPath, context, what: "IN EAX, DX", ioPath, body });
    }
  }
  for (const context of contexts) {
    const call = [...code.mov("edx", port(context)), ...code.mov("eax", HYPERCALL.io + 2), ...code.vmcall];
    list.push({ path: "hypercall", context, what: "IN by call", ioPath: "direct", body: call });
  }
  for (const context of contexts) {
    const prepare = [
      ...[...code.mov("ebx", 1), ...code.mov("esi", 0)],
      ...[0x51, ...code.mov("ecx", page(context)), ...code.mov("edx", 0x1000)],
      ...[...code.mov("eax", HYPERCALL.map), ...code.vmcall, 0x59, 0x89, 0xc5], // POP ecx; MOV ebp, eax
    ];
    const body = [
      ...[0x51, 0x89, 0xeb, ...code.mov("ecx", 0), ...code.mov("edx", 4)], // PUSH ecx; MOV ebx, ebp
      ...[...code.mov("eax", HYPERCALL.read), ...code.vmcall, 0x59],
    ];
    list.push({ path: "handle", context, what: "MMIO read by handle", ioPath: "direct", prepare, body });
  }
  for (const context of contexts) {
    list.push({ path: "mmio", context, what: "MOV EAX, [register]", ioPath: "direct", body: code.load(page(context)) });
  }
  const out = (to: number) => [...code.mov("edx", to), ...code.outEax];
  list.push({ path: "decoded", context: "ring3", what: "OUT DX, EAX", ioPath: "decoded", body: out(port("ring3")) });
  list.push({ path: "coalesced", context: "ring3", what: "OUT DX, EAX", ioPath: "decoded", body: out(COALESCED_PORT) });
  list.push({ path: "doorbell", context: "ring0", what: "OUT DX, EAX", ioPath: "decoded", body: out(DOORBELL_PORT) });
  const notify = [...code.mov("ebx", doorbell), ...code.mov("eax", HYPERCALL.notify), ...code.vmcall];
  list.push({ path: "doorbell", context: "ring0", what: "NOTIFY by call", ioPath: "direct", body: notify });
  for (const ioPath of ["direct", "decoded", "emulated", "trap"] as const) {
    const strings = [
      ["blocks", STRING_PORT],
      ["units", port("ring0")],
    ] as const;
    for (const [kind, at] of strings) {
      const insert = [...code.mov("edi", 0x22_0000), ...code.mov("edx", at), 0x51, ...code.mov("ecx", UNITS)];
      const body = [...insert, 0xf3, 0x6c, 0x59];
      list.push({ path: ioPath, context: "ring0", what: `REP INSB, ${kind}`, ioPath, body, units: UNITS });
    }
  }
  return list;
}

function benchMachine(ioPath: IoPath): { machine: Machine; doorbell: number } {
  const machine = createMachine({ memoryMiB: RAM_MIB, clock: "instructions", ioPath });
  const subject = defineDevice("bench", (host) => {
    const r = host.registers({ value: "u32" });
    const handlers = {
      raw: { read: raw((x) => x.get(r, "value")), write: raw((x) => x.set(r, "value", x.value)) },
      ring0: {
        read: () => r.value,
        write: (_: number, value: number) => {
          r.value = value;
        },
      },
      ring3: {
        read: ring3(async () => r.value),
        write: ring3(async (_: number, value: number) => {
          r.value = value;
        }),
      },
    };
    for (const context of Object.keys(CONTEXTS) as Context[]) {
      host.ports({ base: port(context), length: 4 }, handlers[context]);
      host.mmio({ base: page(context), length: 0x1000 }, handlers[context]);
    }
    host.ports(
      { base: STRING_PORT, length: 4 },
      { ...handlers.ring0, readString: (_, buffer, width) => buffer.fill(r.value).length / width },
    );
  });
  const slow = defineDevice("bench-coalesced", (host) => {
    host.coalesce();
    host.ports({ base: COALESCED_PORT, length: 4 }, { write: ring3(async () => {}), coalesce: true });
  });
  machine.add(subject, undefined);
  machine.add(slow, undefined);
  machine.doorbell(() => {}, { space: "port", base: DOORBELL_PORT, length: 4 });
  return { machine, doorbell: machine.doorbell(() => {}).id };
}

type Work = Pick<ExitStatistics, "bytesFetched" | "walkLoads" | "decodeSteps" | "contextSwitches">;
const NO_WORK: Work = { bytesFetched: 0, walkLoads: 0, decodeSteps: 0, contextSwitches: 0 };

function workOf(machine: Machine): Work {
  const total = { ...NO_WORK };
  for (const row of machine.profile().exits) {
    for (const name of Object.keys(NO_WORK) as (keyof Work)[]) total[name] += row[name];
  }
  return total;
}

/** ms that `count` iterations take. */
async function time(machine: Machine, { prepare = [], body }: Case, count: number): Promise<number> {
  machine.boot({ image: benchGuest(count, prepare, body) });
  const start = performance.now();
  await machine.run();
  return performance.now() - start;
}

/** Twice as often each time, until it has taken long enough twice: the first time may have been the host's own start. */
async function measure(machine: Machine, one: Case, milliseconds: number): Promise<BenchResult> {
  for (let count = FIRST_COUNT; ; count *= 2) {
    if ((await time(machine, one, count)) < milliseconds && count < COUNT_MAX) continue;
    const before = workOf(machine);
    const took = await time(machine, one, count);
    if (took < milliseconds && count < COUNT_MAX) continue;
    const after = workOf(machine);
    const accesses = count * (one.units ?? 1);
    const each = (name: keyof Work) => (after[name] - before[name]) / accesses;
    return {
      path: one.path,
      context: one.context,
      what: one.what,
      accesses,
      nanoseconds: (took * 1e6) / accesses,
      bytesFetched: each("bytesFetched"),
      walkLoads: each("walkLoads"),
      decodeSteps: each("decodeSteps"),
      contextSwitches: each("contextSwitches"),
    };
  }
}

/** Runs all of it, or what `--only` names, and prints. */
export async function bench({ json, milliseconds, only }: BenchOptions): Promise<number> {
  const machines = new Map(IO_PATHS.map((path) => [path, benchMachine(path)]));
  const list = cases(machines.get("direct")!.doorbell).filter(
    ({ path }) => only === undefined || only === path || path === "none",
  );
  const results: BenchResult[] = [];
  for (const one of list) {
    progress(`${results.length + 1}/${list.length} ${one.path}`);
    results.push(await measure(machines.get(one.ioPath)!.machine, one, milliseconds));
  }
  progress("");
  for (const { machine } of machines.values()) machine.dispose();
  const host = { node: process.version, cpu: cpus()[0]?.model ?? "unknown", milliseconds };
  console.log(json ? JSON.stringify({ host, results }, null, 2) : formatBench(results));
  return 0;
}

/** One line that is written over, on a terminal. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${text.padEnd(30)}\r`);
}
