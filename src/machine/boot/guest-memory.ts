/** Guest RAM as boot loaders and table writers see it: addresses 0 to size - 1. */
export interface GuestMemory {
  /** Bytes of RAM. */
  readonly size: number;
  write(gpa: number, bytes: Uint8Array): void;
  /** A copy of `length` bytes. */
  read(gpa: number, length: number): Uint8Array;
}
