import { PassThrough } from "node:stream";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { OutputFile } from "../node/files.ts";
import { runSession, type SessionMachine, type SessionSerial } from "./session.ts";

interface End {
  reason: string;
  status: number;
}

/** A machine whose guest does what the test says. */
class FakeMachine implements SessionMachine {
  received = "";
  stops = 0;
  #resolve: (end: End) => void = () => {};
  #reject: (error: Error) => void = () => {};
  readonly #ended = new Promise<End>((resolve, reject) => {
    this.#resolve = resolve;
    this.#reject = reject;
  });
  #output: (bytes: Uint8Array) => void = () => {};

  readonly serial = {
    onOutput: (listener: (bytes: Uint8Array) => void): void => {
      this.#output = listener;
    },
    input: (bytes: Uint8Array): void => {
      this.received += new TextDecoder().decode(bytes);
    },
  };

  run(): Promise<End> {
    return this.#ended;
  }

  stop(): void {
    this.stops++;
    this.#resolve({ reason: "stopped", status: 0 });
  }

  say(text: string): void {
    this.#output(new TextEncoder().encode(text));
  }

  end(status: number): void {
    this.#resolve({ reason: status === 0 ? "poweroff" : "debug-exit", status });
  }

  fail(error: Error): void {
    this.#reject(error);
  }
}

function harness(terminal: boolean) {
  const input = Object.assign(new PassThrough(), {
    isTTY: terminal,
    modes: [] as boolean[],
    setRawMode: (_: boolean) => input,
  });
  input.setRawMode = (mode) => {
    input.modes.push(mode);
    return input;
  };
  const output = Object.assign(new PassThrough(), { isTTY: terminal });
  const notices = Object.assign(new PassThrough(), { isTTY: terminal });
  const text = (stream: PassThrough): string => String(stream.read() ?? "");
  const serial = { kind: "stdio", streams: { input, output, notices } } as unknown as SessionSerial;
  const machine = new FakeMachine();
  const status = (timeoutSeconds?: number): Promise<number> => runSession(machine, { serial, notices, timeoutSeconds });
  return { machine, input, output, notices, text, status };
}

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

afterEach(() => vi.useRealTimers());

describe("a session on a terminal", () => {
  it("is raw while the guest runs and as before afterwards", async () => {
    const { machine, input, status } = harness(true);
    const ended = status();
    expect(input.modes).toEqual([true]);
    machine.end(0);
    expect(await ended).toBe(0);
    expect(input.modes.at(-1)).toBe(false);
  });

  it("gives the guest all keys but the escape", async () => {
    const { machine, input, status } = harness(true);
    const ended = status();
    input.write("ls\r\x03\x01\x01");
    await settled();
    expect(machine.received).toBe("ls\r\x03\x01");
    input.write("\x01x");
    expect(await ended).toBe(0);
    expect(machine.stops).toBe(1);
  });

  it("ends its last line", async () => {
    const { machine, output, text, status } = harness(true);
    const ended = status();
    machine.say("login: ");
    machine.end(0);
    await ended;
    expect(text(output)).toBe("login: \n");
  });

  it("says how to leave, and shows help on a line of its own", async () => {
    const { machine, input, output, notices, text, status } = harness(true);
    const ended = status();
    expect(text(notices)).toBe("portico: Ctrl-A X quits, Ctrl-A H shows help\n");
    machine.say("# ");
    input.write("\x01h");
    await settled();
    expect(text(output)).toBe("# ");
    expect(text(notices)).toMatch(/^\nportico: Ctrl-A X +quit\n/);
    machine.end(0);
    await ended;
  });

  it("is restored when the machine fails", async () => {
    const { machine, input, status } = harness(true);
    const ended = status();
    machine.fail(new Error("broken"));
    await expect(ended).rejects.toThrow("broken");
    expect(input.modes.at(-1)).toBe(false);
  });

  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("ends on %s with status %i, restored", async (signal, expected) => {
    const { input, status } = harness(true);
    const listeners = process.listenerCount(signal);
    const ended = status();
    process.emit(signal, signal);
    expect(await ended).toBe(expected);
    expect(input.modes.at(-1)).toBe(false);
    expect(process.listenerCount(signal)).toBe(listeners);
  });
});

describe("a session on pipes", () => {
  it("passes every byte and survives the end of its input", async () => {
    const { machine, input, output, notices, text, status } = harness(false);
    const ended = status();
    input.end("\x01x poweroff\n");
    await settled();
    await settled();
    expect(machine.received).toBe("\x01x poweroff\n");
    expect(machine.stops).toBe(0);
    machine.say("bye");
    machine.end(0);
    expect(await ended).toBe(0);
    expect(text(output)).toBe("bye");
    expect(text(notices)).toBe("");
  });

  it("writes what arrives in one turn at once", async () => {
    const { machine, output, status } = harness(false);
    const write = vi.spyOn(output, "write");
    const ended = status();
    for (const letter of "hello") machine.say(letter);
    await settled();
    expect(write).toHaveBeenCalledTimes(1);
    machine.end(0);
    await ended;
  });

  it("ends when nobody reads its output any more", async () => {
    const { output, status } = harness(false);
    const ended = status();
    output.emit("error", Object.assign(new Error("write EPIPE"), { code: "EPIPE" }));
    expect(await ended).toBe(141);
  });
});

describe("how a session ends", () => {
  it("passes the guest's status on", async () => {
    const { machine, status } = harness(false);
    const ended = status();
    machine.end(7);
    expect(await ended).toBe(7);
  });

  it("stops after the time limit with status 124 and says so", async () => {
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
    const { machine, notices, text, status } = harness(false);
    const ended = status(2.5);
    vi.advanceTimersByTime(2499);
    expect(machine.stops).toBe(0);
    vi.advanceTimersByTime(1);
    expect(await ended).toBe(124);
    expect(text(notices)).toBe("portico: stopped after 2.5 s (--timeout)\n");
  });

  it("does not let a later signal change the status", async () => {
    const { status } = harness(false);
    const ended = status();
    process.emit("SIGTERM", "SIGTERM");
    process.emit("SIGHUP", "SIGHUP");
    expect(await ended).toBe(143);
  });
});

describe("serial output to a file", () => {
  it("is written and the file closed", async () => {
    const machine = new FakeMachine();
    const written: string[] = [];
    const file: OutputFile = {
      write: (bytes) => void written.push(new TextDecoder().decode(bytes)),
      close: () => void written.push("<closed>"),
    };
    const ended = runSession(machine, { serial: { kind: "file", file }, notices: new PassThrough() });
    machine.say("log");
    machine.end(0);
    await ended;
    expect(written).toEqual(["log", "<closed>"]);
  });

  it("ends the session when the file cannot be written", async () => {
    const machine = new FakeMachine();
    const file: OutputFile = {
      write: () => {
        throw new Error("disk full");
      },
      close: () => {},
    };
    const ended = runSession(machine, { serial: { kind: "file", file }, notices: new PassThrough() });
    machine.say("log");
    await expect(ended).rejects.toThrow("disk full");
    expect(machine.stops).toBe(1);
  });
});
