/** A session whose machine shows each byte it gets in hexadecimal; on `c` it crashes, on `q` it ends with status 3. */

import { runSession, type SessionMachine } from "../../src/cli/session.ts";

let output: (bytes: Uint8Array) => void = () => {};
let end: (end: { reason: string; status: number }) => void = () => {};
const say = (text: string): void => output(new TextEncoder().encode(text));

/** Outside any promise, as a bug in a callback would be. */
const crash = (): void => {
  setTimeout(() => {
    throw new TypeError("crash");
  });
};

const machine: SessionMachine = {
  serial: {
    onOutput: (listener) => {
      output = listener;
    },
    input: (bytes) => {
      for (const byte of bytes) {
        if (byte === "q".charCodeAt(0)) end({ reason: "debug-exit", status: 3 });
        else if (byte === "c".charCodeAt(0)) crash();
        else say(`<${byte.toString(16).padStart(2, "0")}>`);
      }
    },
  },
  run: () => {
    say(`ready ${process.pid}\r\n`);
    return new Promise((resolve) => {
      end = resolve;
    });
  },
  stop: () => end({ reason: "stopped", status: 0 }),
};

const streams = { input: process.stdin, output: process.stdout, notices: process.stderr };
process.exitCode = await runSession(machine, { serial: { kind: "stdio", streams }, notices: process.stderr });
