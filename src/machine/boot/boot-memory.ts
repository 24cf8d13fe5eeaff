/** Guest RAM as boot loaders and table writers see it: addresses 0 to size - 1. */
export interface BootMemory {
  /** Bytes of RAM. */
  readonly size: number;
  write(gpa: number, bytes: Uint8Array): void;
}
