/** A guest in a process of its own, Portico's or QEMU's, talked to through its serial console. */

import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const ROOT = join(import.meta.dirname, "..", "..");
export const PORCH = join(ROOT, "guests", "porch", "porch.elf");
export const GUESTS = join(ROOT, "build", "guests");

/** What `until` and `exit` wait for at most, unless told. */
const PATIENCE_MS = 60_000;

export class GuestProcess {
  /** All that the guest has said, carriage returns removed. */
  output = "";
  /** What the monitor itself said. */
  notices = "";
  readonly #name: string;
  readonly #process: ChildProcessWithoutNullStreams;
  readonly #exit: Promise<number>;
  #exited = false;
  #matched = 0;
  #wake: () => void = () => {};

  constructor(command: string, options: readonly string[]) {
    this.#name = command;
    this.#process = spawn(command, options, { stdio: "pipe" });
    this.#process.stdout.on("data", (chunk: Buffer) => {
      this.output += chunk.toString("latin1").replaceAll("\r", "");
      this.#wake();
    });
    this.#process.stderr.on("data", (chunk: Buffer) => {
      this.notices += chunk.toString();
    });
    this.#process.stdin.on("error", () => {}); // the guest ended while something was being typed
    this.#exit = new Promise((resolve, reject) => {
      this.#process.on("error", reject);
      this.#process.on("close", (status, signal) => {
        this.#exited = true;
        this.#wake();
        if (status === null) reject(new Error(`${command} was ended by ${signal}`));
        else resolve(status);
      });
    });
    this.#exit.catch(() => {}); // reported by whoever waits for it
  }

  /** The command that users run, from the built package. */
  static portico(...options: string[]): GuestProcess {
    return new GuestProcess(process.execPath, [join(ROOT, "dist", "cli", "main.js"), "run", ...options]);
  }

  /** An emulator that we did not write. `-cpu` and machine are its defaults; nothing but a serial port is attached. */
  static qemu(...options: string[]): GuestProcess {
    return GuestProcess.#qemu("qemu-system-i386", options);
  }

  /** The same with a processor that has 64-bit mode. */
  static qemu64(...options: string[]): GuestProcess {
    return GuestProcess.#qemu("qemu-system-x86_64", options);
  }

  static #qemu(command: string, options: readonly string[]): GuestProcess {
    const console = ["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"];
    const bare = ["-display", "none", "-monitor", "none", "-vga", "none", "-net", "none", "-m", "256"];
    const exit = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"];
    return new GuestProcess(command, [...console, ...bare, ...exit, ...options]);
  }

  type(text: string): void {
    this.#process.stdin.write(text);
  }

  /** Says that no more input will come. */
  endInput(): void {
    this.#process.stdin.end();
  }

  /** Waits for `pattern` in what the guest says after the previous match; returns what was said up to its end. */
  async until(pattern: RegExp, patienceMs = PATIENCE_MS): Promise<string> {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const rest = this.output.slice(this.#matched);
      const match = pattern.exec(rest);
      if (match) {
        const end = match.index + match[0].length;
        this.#matched += end;
        return rest.slice(0, end);
      }
      if (this.#exited) throw new Error(`${this.#name} ended before ${pattern}${this.#story()}`);
      if (Date.now() > deadline) throw new Error(`no ${pattern} within ${patienceMs} ms${this.#story()}`);
      await this.#news(deadline - Date.now());
    }
  }

  /** Types a line and returns what the guest answers, without the echo and without the next prompt. */
  async command(line: string, prompt: RegExp, patienceMs = PATIENCE_MS): Promise<string> {
    this.type(`${line}\r`);
    const said = await this.until(prompt, patienceMs);
    const withoutPrompt = said.slice(0, said.length - prompt.exec(said)![0].length);
    return withoutPrompt.slice(withoutPrompt.indexOf("\n") + 1);
  }

  /** The status of the process, once the guest has ended it. */
  async exit(patienceMs = PATIENCE_MS): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`still running after ${patienceMs} ms${this.#story()}`)), patienceMs);
    });
    try {
      return await Promise.race([this.#exit, late]);
    } finally {
      clearTimeout(timer);
    }
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Milliseconds of processor time that the process has used. */
  processorTimeMs(): number {
    const stat = readFileSync(`/proc/${this.#process.pid}/stat`, "utf8");
    // proc(5): fields 14 and 15, utime and stime in ticks of 10 ms; the name in parentheses is field 2.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) * 10;
  }

  dispose(): void {
    if (!this.#exited) this.#process.kill("SIGKILL");
  }

  #news(patienceMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, Math.max(patienceMs, 1));
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #story(): string {
    return `; the guest's last words:\n${this.output.slice(-2000)}\nand the monitor's:\n${this.notices.slice(-2000)}`;
  }
}
