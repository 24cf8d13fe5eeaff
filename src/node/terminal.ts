/**
 * The guest's console on standard input and output. On a terminal, input is raw: every key goes to the guest but the
 * escape sequences. From a pipe or file, input passes unchanged, and its end is not the guest's end.
 */

import type { ReadStream, WriteStream } from "node:tty";
import { ESCAPE_HELP, EscapeFilter } from "./escape.ts";

const LINE_FEED = 0x0a;

export interface TerminalStreams {
  /** `process.stdin`, or anything of its kind. */
  readonly input: NodeJS.ReadableStream & Partial<Pick<ReadStream, "isTTY" | "setRawMode" | "unref" | "ref">>;
  readonly output: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY">>;
  /** For what Portico itself says while the guest runs: `process.stderr`. */
  readonly notices: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY">>;
}

export interface TerminalEvents {
  /** Bytes for the guest. */
  input(bytes: Uint8Array): void;
  /** The user asked to leave. */
  quit(): void;
  /** Nobody reads the output any more. */
  outputClosed(): void;
}

/**
 * Open from construction until `close`, which may be called at any time and more than once. The terminal's mode is also
 * restored when the process exits by itself or by an error; signals are the caller's.
 */
export class Terminal {
  readonly #streams: TerminalStreams;
  readonly #events: TerminalEvents;
  readonly #raw: boolean;
  readonly #filter: EscapeFilter;
  #pending: Uint8Array[] = [];
  #atLineStart = true;
  #open = true;

  constructor(streams: TerminalStreams, events: TerminalEvents) {
    this.#streams = streams;
    this.#events = events;
    this.#raw = streams.input.isTTY === true && streams.input.setRawMode !== undefined;
    this.#filter = new EscapeFilter({
      input: (bytes) => events.input(bytes),
      quit: () => events.quit(),
      help: () => this.notice(ESCAPE_HELP.join("\n")),
    });

    streams.input.on("data", this.#received);
    streams.input.on("error", ignore); // a terminal that hangs up: the signal tells
    streams.output.on("error", this.#outputFailed);
    process.on("exit", this.#restore);
    process.on("SIGCONT", this.#enterRawMode);
    this.#enterRawMode();
    streams.input.resume();
    if (this.#raw && streams.notices.isTTY) this.notice("Ctrl-A X quits, Ctrl-A H shows help");
  }

  /** Sends the guest's output. What arrives in one turn of the event loop is written at once. */
  write(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.#pending.length === 0) queueMicrotask(this.#flush);
    this.#pending.push(bytes.slice());
  }

  /** A message from Portico, on lines of its own. (Node's raw mode still sends CR with each LF.) */
  notice(text: string): void {
    this.#flush();
    const ownLine = this.#atLineStart || !this.#streams.output.isTTY ? "" : "\n";
    const lines = text.split("\n").map((line) => `portico: ${line}\n`);
    this.#streams.notices.write(ownLine + lines.join(""));
    this.#atLineStart = true;
  }

  /** Writes what is left, leaves the cursor at the start of a line and gives the terminal back as it was. */
  close(): void {
    if (!this.#open) return;
    this.#flush();
    this.#open = false;
    if (!this.#atLineStart && this.#streams.output.isTTY) this.#streams.output.write("\n");
    const { input, output } = this.#streams;
    input.off("data", this.#received);
    input.pause();
    input.unref?.();
    output.off("error", this.#outputFailed);
    output.on("error", ignore); // a late one has nobody left to tell
    this.#restore();
    process.off("exit", this.#restore);
    process.off("SIGCONT", this.#enterRawMode);
  }

  readonly #received = (chunk: Uint8Array | string): void => {
    const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk;
    if (this.#raw) this.#filter.push(bytes);
    else this.#events.input(bytes);
  };

  readonly #flush = (): void => {
    if (this.#pending.length === 0) return;
    const [first, ...rest] = this.#pending;
    const bytes = rest.length === 0 ? first! : Buffer.concat(this.#pending);
    this.#pending = [];
    if (!this.#open) return;
    this.#atLineStart = bytes[bytes.length - 1] === LINE_FEED;
    this.#streams.output.write(bytes);
  };

  readonly #outputFailed = (): void => this.#events.outputClosed();

  /** Also after SIGCONT: a shell that had stopped us has set the terminal's mode to its own. */
  readonly #enterRawMode = (): void => {
    if (this.#raw) this.#streams.input.setRawMode!(true);
  };

  readonly #restore = (): void => {
    if (this.#raw) this.#streams.input.setRawMode!(false);
  };
}

function ignore(): void {}
