/** A session with a program whose standard input and output are the guest's serial port. */
import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import type { Chunk, Session } from "./engine.ts";

/** ms of CPU time of all threads of a process, from the scheduler's own account in ns (proc(5)); 0 when it has gone. */
export function processCpuMs(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
      const [ran] = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ");
      return sum + Number(ran) / 1e6;
    }, 0);
  } catch {
    return 0;
  }
}

export class ProgramSession implements Session {
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;
  private complaint = "";
  private chunkListener: (chunk: Chunk) => void = () => {};
  private endListener: (complaint: string) => void = () => {};

  constructor(program: string, args: readonly string[], input: "pipe" | "ignore" = "pipe") {
    this.child = spawn(program, args, { stdio: [input, "pipe", "pipe"] });
    this.child.stdout!.on("data", (bytes: Buffer) => {
      const wallMs = performance.now();
      this.chunkListener({ text: bytes.toString("latin1"), wallMs, cpuMs: processCpuMs(this.child.pid!) });
    });
    this.child.stderr!.on("data", (bytes: Buffer) => {
      this.complaint += bytes.toString();
    });
    this.child.stdin?.on("error", () => {}); // the program may end before it has read everything
    this.ended = new Promise((resolve) => {
      const end = () => {
        this.endListener(this.complaint);
        resolve();
      };
      this.child.once("exit", end);
      this.child.once("error", (error) => {
        this.complaint += error.message;
        end();
      });
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  onChunk(listener: (chunk: Chunk) => void): void {
    this.chunkListener = listener;
  }

  onEnd(listener: (complaint: string) => void): void {
    this.endListener = listener;
  }

  send(text: string): void {
    this.child.stdin?.write(text, "latin1");
  }

  async close(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}
