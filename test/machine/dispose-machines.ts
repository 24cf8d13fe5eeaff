/**
 * A process that makes machines, uses and disposes of them, and prints what is left of them as JSON. Started with
 * --expose-gc. It ends by itself unless a machine has left something behind that keeps it alive.
 */

import { setTimeout as sleep } from "node:timers/promises";
import { defineDevice, ring3 } from "../../src/device/define.ts";
import { bootPorch } from "./guests.ts";

declare const gc: () => void;

const collected = new Set<string>();
const registry = new FinalizationRegistry<string>((name) => collected.add(name));

/** A machine that is disposed of in the middle of something; nothing here keeps it. */
async function use(what: "idle" | "busy" | "waiting"): Promise<void> {
  const { machine, said, type } = bootPorch({ clock: "host" });
  const never = defineDevice("never", (host) => {
    host.ports({ base: 0x1230, length: 1 }, { read: ring3(() => new Promise<number>(() => {})) });
  });
  machine.add(never, undefined);
  const ran = machine.run();
  while (!/porch> $/.test(said())) await sleep(5);
  if (what === "busy") type("time 4000000000\r");
  if (what === "waiting") type("in 0x1230\r");
  await sleep(30);
  machine.dispose();
  await ran;
  registry.register(machine, `${what} machine ${collected.size}.${Math.random()}`);
  registry.register(machine.memory.memory, `${what} memory ${Math.random()}`);
}

for (const what of ["idle", "busy", "waiting"] as const) await use(what);
for (let i = 0; i < 50 && collected.size < 6; i++) {
  gc();
  await sleep(10);
}
const resources = process.getActiveResourcesInfo();
const count = (name: string) => resources.filter((resource) => resource === name).length;
console.log(
  JSON.stringify({ made: 6, collected: collected.size, timers: count("Timeout"), immediates: count("Immediate") }),
);
