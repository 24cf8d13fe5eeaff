/** The side of a `ScriptSession` inside the machine's own process. */
import type { BootRequest, Chunk, Unrelated } from "./engine.ts";

export const bootRequest = (): BootRequest => JSON.parse(process.argv[2]!) as BootRequest;

export function sendChunk(text: string, retired?: number): void {
  const { user, system } = process.cpuUsage();
  const chunk: Chunk = {
    text,
    wallMs: performance.now(),
    cpuMs: (user + system) / 1000,
    ...(retired !== undefined && { retired }),
  };
  process.send!(chunk);
}

export function onText(listener: (bytes: Uint8Array) => void, burden?: (unrelated: Unrelated) => void): void {
  process.on("message", (message) => {
    if (typeof message === "string") listener(new TextEncoder().encode(message));
    else burden?.(message as Unrelated);
  });
  process.on("disconnect", () => process.exit());
}
