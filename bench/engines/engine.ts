/** A machine under measurement, seen through its serial port. */

/** Serial output with the state of the clocks when it left the machine. */
export interface Chunk {
  readonly text: string;
  /** ms on the wall, from an arbitrary start. */
  readonly wallMs: number;
  /** ms of CPU time of the whole process, all its threads. */
  readonly cpuMs: number;
  /** Instructions retired; only engines that count them. */
  readonly retired?: number;
}

export interface Session {
  /** One listener. */
  onChunk(listener: (chunk: Chunk) => void): void;
  /** Called when the process has gone; with what it said on standard error. */
  onEnd(listener: (complaint: string) => void): void;
  send(text: string): void;
  /** Portico only: from now on the machine has this instead, beside its guest. */
  burden?(unrelated: Unrelated): void;
  close(): Promise<void>;
}

export interface BootRequest {
  readonly image: string;
  readonly initrd?: string;
  readonly commandLine?: string;
  readonly memoryMiB: number;
}

/** What the guest has nothing to do with, and must not pay for. */
export interface Unrelated {
  /** Ranges of one port, and as many of one MMIO page. */
  readonly ranges?: number;
  /** Watched pages of RAM that the guest does not touch. */
  readonly watches?: number;
}

export type Capability = "multiboot32" | "multiboot64" | "linux";

export interface Engine {
  readonly name: string;
  /** One line with the version, or undefined: not installed. */
  version(): string | undefined;
  can(capability: Capability): boolean;
  start(boot: BootRequest): Session;
  /** By the command that a user types, where `start` is something else. */
  startCommand?(boot: BootRequest): Session;
}
