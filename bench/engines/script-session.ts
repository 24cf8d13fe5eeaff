/** A session with a machine that is a library: it lives in a Node process of its own, which runs one of our host scripts. */
import { type ChildProcess, fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { BootRequest, Chunk, Session, Unrelated } from "./engine.ts";

export class ScriptSession implements Session {
  private readonly child: ChildProcess;
  private readonly ended: Promise<void>;
  private complaint = "";
  private chunkListener: (chunk: Chunk) => void = () => {};
  private endListener: (complaint: string) => void = () => {};

  /** @param script beside this file; it takes the boot request as JSON, and sends chunks and takes text as messages. */
  constructor(script: string, boot: BootRequest, nodeOptions: readonly string[] = []) {
    const path = fileURLToPath(new URL(script, import.meta.url));
    this.child = fork(path, [JSON.stringify(boot)], {
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      execArgv: [...process.execArgv, ...nodeOptions],
    });
    this.child.stderr!.on("data", (bytes: Buffer) => {
      this.complaint += bytes.toString();
    });
    this.child.on("message", (chunk) => this.chunkListener(chunk as Chunk));
    this.ended = new Promise((resolve) => {
      this.child.once("exit", () => {
        this.endListener(this.complaint);
        resolve();
      });
    });
  }

  onChunk(listener: (chunk: Chunk) => void): void {
    this.chunkListener = listener;
  }

  onEnd(listener: (complaint: string) => void): void {
    this.endListener = listener;
  }

  send(text: string): void {
    this.child.send(text);
  }

  burden(unrelated: Unrelated): void {
    this.child.send(unrelated);
  }

  async close(): Promise<void> {
    this.child.kill("SIGKILL");
    await this.ended;
  }
}
