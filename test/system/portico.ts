/** `tsx test/system/portico.ts GUEST`: the log of one guest on standard output. */
import { createMachine } from "../../src/machine/machine.ts";
import { assemble } from "./build.ts";

/** Far more than any of the guests needs. */
const INSTRUCTION_LIMIT = 20_000_000;
const SLICE = 100_000;
const LOG_LIMIT = 1_000_000;

/** Runs an image until it ends and returns what it wrote to port E9h between "BEGIN" and "end". */
export function runOnPortico(image: Uint8Array): string[] {
  const machine = createMachine({ memoryMiB: 64, clock: "instructions" });
  let text = "";
  machine.onDebugOutput = (byte) => {
    text += String.fromCharCode(byte);
  };
  try {
    machine.boot({ image });
    // One guest means to reset the machine; more often than once is a guest gone astray.
    for (
      let end = SLICE;
      end <= INSTRUCTION_LIMIT && machine.events.resets < 2 && text.length < LOG_LIMIT;
      end += SLICE
    ) {
      if (!machine.runUntil(end)) break;
    }
  } catch (error) {
    // A guest never throws out of the machine: the log then ends with what did.
    text += `\n${String(error)}\n`;
  } finally {
    machine.dispose();
  }
  return text.trimEnd().split("\n").slice(1);
}

if (process.argv[1] === import.meta.filename) {
  process.stdout.write(`${runOnPortico(assemble(process.argv[2]!)).join("\n")}\n`);
}
