import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";

const CONSOLE = join(import.meta.dirname, "console.ts");

/** A shell on a pseudo-terminal of script(1), which shows the terminal's mode before and after the program. */
class Shell {
  seen = "";
  readonly #script: ChildProcessWithoutNullStreams;
  readonly #closed: Promise<void>;

  constructor() {
    const program = `"${process.execPath}" --import tsx "${CONSOLE}"`;
    const command = `echo before $(stty -g); ${program}; echo "status $?"; echo after $(stty -g)`;
    this.#script = spawn("script", ["-qec", command, "/dev/null"], { env: { ...process.env, SHELL: "/bin/sh" } });
    this.#script.stdout.on("data", (chunk: Buffer) => {
      this.seen += chunk.toString();
    });
    this.#closed = new Promise((resolve) => this.#script.on("close", () => resolve()));
  }

  type(text: string): void {
    this.#script.stdin.write(text);
  }

  async until(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.seen);
      if (match) return match;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  /** The program's process, once it runs. */
  async pid(): Promise<number> {
    return Number((await this.until(/ready (\d+)/))[1]);
  }

  /** The program's status; the terminal's mode must be as it was. */
  async end(): Promise<number> {
    const status = Number((await this.until(/status (\d+)/))[1]);
    const after = (await this.until(/after (\S+)\r\n/))[1];
    expect(after).toBe(/before (\S+)/.exec(this.seen)?.[1]);
    await this.#closed;
    return status;
  }

  dispose(): void {
    this.#script.kill();
  }
}

describe("the console on a real terminal", () => {
  let shell: Shell;
  afterEach(() => shell.dispose());

  it("sends Ctrl-C, Ctrl-Z, Ctrl-S and carriage return to the guest, unechoed", async () => {
    shell = new Shell();
    await shell.pid();
    shell.type("\x03\x1a\x13\r\x1c");
    await shell.until(/<03><1a><13><0d><1c>/);
    expect(shell.seen).not.toContain("^C");
    shell.type("q");
    expect(await shell.end()).toBe(3);
  });

  it("quits on Ctrl-A X", async () => {
    shell = new Shell();
    await shell.pid();
    shell.type("\x01h");
    await shell.until(/portico: Ctrl-A X +quit\r\n/);
    shell.type("\x01x");
    expect(await shell.end()).toBe(0);
  });

  it.each([
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("restores the terminal on %s", async (signal, status) => {
    shell = new Shell();
    process.kill(await shell.pid(), signal);
    expect(await shell.end()).toBe(status);
  });

  it("restores the terminal when the program crashes", async () => {
    shell = new Shell();
    await shell.pid();
    shell.type("c");
    expect(await shell.end()).not.toBe(0);
    expect(shell.seen).toContain("TypeError");
  });
});
