/** What the guest `ports` says, and what can be said against other machines that run it. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { MachineOptions } from "../../../src/machine/machine.ts";
import { createMachine } from "../../../src/machine/machine.ts";
import { guestOf } from "../../machine/guests.ts";
import { zoo } from "../../machine/io-conformance.ts";
import { ROOT } from "../guest-process.ts";

export const PORTS = join(ROOT, "guests", "ports", "ports.bin");

/** Results by the names of cases. */
export type Cases = ReadonlyMap<string, string>;

export interface Report {
  readonly instructions: Cases;
  /** The same cases by hypercall, as far as there are calls. */
  readonly calls: Cases;
  /** With a device of the test. */
  readonly testDevice: Cases;
}

/** Throws if the report has no end. */
export function readReport(text: string): Report {
  const sections = new Map<string, Map<string, string>>();
  const lines = text.trimEnd().split("\n");
  if (lines.pop() !== "end") throw new Error(`the guest has not come to its end: ${text.slice(-500)}`);
  let cases = new Map<string, string>();
  for (const line of lines) {
    const title = /^begin (.*)$/.exec(line)?.[1];
    if (title !== undefined) sections.set(title, (cases = new Map()));
    const [, name, result] = /^(\S+ .*?): (.*)$/.exec(line) ?? [];
    if (name !== undefined && result !== undefined) cases.set(name, result);
  }
  const section = (title: string) => sections.get(title) ?? new Map<string, string>();
  return { instructions: section("instructions"), calls: section("calls"), testDevice: section("test device") };
}

export interface Run {
  readonly text: string;
  /** What reached the device of the test, and when. */
  readonly log: readonly string[];
  readonly exits: ReadonlyMap<string, number>;
}

export async function runOnPortico(options: MachineOptions): Promise<Run> {
  const machine = createMachine({ memoryMiB: 16, clock: "instructions", epochNs: 0n, ...options });
  const log: string[] = [];
  machine.add(zoo(log), undefined);
  const guest = guestOf(machine);
  machine.boot({ image: new Uint8Array(readFileSync(PORTS)) });
  await machine.run();
  const exits = new Map(machine.profile().exits.map(({ kind, exits }) => [kind, exits]));
  machine.dispose();
  return { text: guest.said(), log, exits };
}

/** `MODE [rep ]in|out[s]SIZE dx|imm PORT, CONDITION` */
function parts(name: string): { mode: string; form: string; condition: string } {
  const [, mode = "", form = "", condition = ""] = /^(\S+) (.*? \w+), (.*)$/.exec(name) ?? [];
  return { mode, form, condition };
}

/**
 * What QEMU's interpreter (7.2 TCG) does in its own way, against the manual and Bochs:
 *
 * - LOCK is ignored: SDM vol 2, LOCK.
 * - Segments have no limits: vol 3, 5.3.
 * - The trap of an I/O breakpoint waits for the end of a REP, and a single step is not seen beside it: vol 3, 18.2.3, 18.3.1.4.
 * - In 64-bit code ES has a base as an override, and takes the place of GS: vol 1, 3.4.2.1; APM vol 3, 1.2.4.
 * - REX counts although another prefix follows: vol 2, 2.2.1.
 */
export function qemuErrs(name: string): boolean {
  const { mode, form, condition } = parts(name);
  if (condition === "lock" || condition.startsWith("limit")) return true;
  if (condition === "breakpoint") return form.startsWith("rep");
  if (condition === "breakpoint, step") return true;
  if (condition === "es" || condition === "gs, then es") return mode.startsWith("l64") && /^(rep )?outs/.test(form);
  return condition === "rex.w, then 2e" && /^(rep )?(in|out)s?w/.test(form);
}

/** QEMU's interpreter never sets RF for a handler: SDM vol 3, 18.3.1.1. */
export function withoutRf(result: string): string {
  return result.replace(/ fl=(\w+)/, (_, flags) => ` fl=${(Number.parseInt(flags, 16) & ~0x1_0000).toString(16)}`);
}

/**
 * What Bochs 2.7 and this machine have in common: the devices of record.sh have no fw_cfg, and answer only accesses of
 * their own width. A trap in the middle of REP sets RF for its handler (SDM vol 3, 18.3.1.1), in Bochs it does not.
 */
export function asBochs(name: string, result: string): string {
  const { form, condition } = parts(name);
  let common = result.replace(/ dev=.*/, "");
  if (form.endsWith("511")) common = common.replace(/ mem=.*/, "");
  return /^(step|breakpoint)/.test(condition) && form.startsWith("rep") ? withoutRf(common) : common;
}
