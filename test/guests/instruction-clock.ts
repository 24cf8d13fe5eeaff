/**
 * One machine on the instruction clock, in a process of its own. Prints what it came to as JSON.
 *
 *   run KERNEL INITRD APPEND               to the guest's power-off
 *   interpret KERNEL INITRD APPEND         the same, without the compiler
 *   save KERNEL INITRD APPEND FILE AT END  to AT instructions, saved to FILE, then on to END
 *   resume FILE END                        from the file to END
 */

import { readFileSync, writeFileSync } from "node:fs";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/machine/snapshot.ts";

export interface Outcome {
  /** Why the machine ended, if it did. */
  reason: string | undefined;
  retired: number;
  output: string;
  hash: string;
}

const MEMORY_MIB = 128;

async function outcome(machine: Machine, output: string): Promise<Outcome> {
  return { reason: machine.ended?.reason, retired: machine.clock.retired, output, hash: await machine.stateHash() };
}

async function main(mode: string, words: string[]): Promise<Outcome> {
  const machine = createMachine({
    memoryMiB: MEMORY_MIB,
    clock: "instructions",
    compile: mode === "interpret" ? "never" : "auto",
  });
  let output = "";
  machine.serial.onOutput((bytes) => {
    output += Buffer.from(bytes).toString("latin1").replaceAll("\r", "");
  });
  if (mode === "resume") {
    const [file, end] = words as [string, string];
    machine.restore(decodeSnapshot(readFileSync(file)));
    machine.runUntil(Number(end));
    return outcome(machine, output);
  }
  const [kernel, initrd, commandLine, file, at, end] = words as [string, string, string, string?, string?, string?];
  machine.boot({ image: readFileSync(kernel), initrd: readFileSync(initrd), commandLine });
  if (mode === "run" || mode === "interpret") {
    await machine.run();
    return outcome(machine, output);
  }
  machine.runUntil(Number(at));
  writeFileSync(file!, encodeSnapshot(machine.save()));
  output = "";
  machine.runUntil(Number(end));
  return outcome(machine, output);
}

const [mode, ...words] = process.argv.slice(2);
console.log(JSON.stringify(await main(mode!, words)));
process.exit(0);
