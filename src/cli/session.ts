/**
 * One run of a machine from the command line: its console, the signals that end it, the time limit and the status.
 */

import { constants } from "node:os";
import type { OutputFile } from "../node/files.ts";
import { Terminal, type TerminalStreams } from "../node/terminal.ts";

/** What a session needs of a machine. */
export interface SessionMachine {
  readonly serial: {
    onOutput(listener: (bytes: Uint8Array) => void): void;
    input(bytes: Uint8Array): void;
  };
  /** Settles when the guest has ended the machine, or after `stop`. */
  run(): Promise<{ readonly reason: string; readonly status: number }>;
  stop(): void;
}

/** Where COM1 leads: a terminal or pipe, a file that takes its output, or nowhere. */
export type SessionSerial =
  | { kind: "stdio"; streams: TerminalStreams }
  | { kind: "file"; file: OutputFile }
  | { kind: "none" };

export interface SessionOptions {
  readonly serial: SessionSerial;
  readonly timeoutSeconds?: number | undefined;
  /** For a line about how the session ended. */
  readonly notices: NodeJS.WritableStream;
}

/** As timeout(1) does. */
const STATUS_TIMEOUT = 124;
/** As a shell shows a process that a signal has ended. */
const statusOfSignal = (signal: EndingSignal): number => 128 + constants.signals[signal];

const ENDING_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"] as const;
type EndingSignal = (typeof ENDING_SIGNALS)[number] | "SIGPIPE";

/** `setInterval`'s longest. */
const LONG = 2 ** 31 - 1;

/** Resolves to the status for the shell. The terminal is as before by then, whatever happened. */
export async function runSession(machine: SessionMachine, options: SessionOptions): Promise<number> {
  let stopped: { status: number; message?: string } | undefined;
  let failure: unknown;
  const stop = (status: number, message?: string): void => {
    stopped ??= message === undefined ? { status } : { status, message };
    machine.stop();
  };
  const onSignal = (signal: NodeJS.Signals): void => stop(statusOfSignal(signal as EndingSignal));
  for (const signal of ENDING_SIGNALS) process.on(signal, onSignal);

  const { serial, timeoutSeconds } = options;
  let terminal: Terminal | undefined;
  if (serial.kind === "stdio") {
    terminal = new Terminal(serial.streams, {
      input: (bytes) => machine.serial.input(bytes),
      quit: () => stop(0),
      outputClosed: () => stop(statusOfSignal("SIGPIPE")),
    });
    machine.serial.onOutput((bytes) => terminal!.write(bytes));
  } else if (serial.kind === "file") {
    machine.serial.onOutput((bytes) => {
      if (failure !== undefined) return;
      try {
        serial.file.write(bytes);
      } catch (error) {
        failure = error;
        machine.stop();
      }
    });
  }

  // A guest that sleeps with nothing to wake it leaves the event loop empty, and Node would end the process.
  const keepAlive = setInterval(() => {}, LONG);
  const timeout =
    timeoutSeconds === undefined
      ? undefined
      : setTimeout(() => stop(STATUS_TIMEOUT, `stopped after ${timeoutSeconds} s (--timeout)`), timeoutSeconds * 1000);
  try {
    const end = await machine.run();
    if (failure !== undefined) throw failure;
    return stopped ? stopped.status : end.status;
  } finally {
    clearInterval(keepAlive);
    clearTimeout(timeout);
    terminal?.close();
    if (serial.kind === "file") serial.file.close();
    for (const signal of ENDING_SIGNALS) process.off(signal, onSignal);
    if (stopped?.message !== undefined) options.notices.write(`portico: ${stopped.message}\n`);
  }
}
