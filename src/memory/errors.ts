import { PorticoError } from "../errors.ts";

export type MemoryErrorCode =
  /** RAM size not a multiple of 4 KiB, zero, or above `RAM_MAX`. */
  | "RAM_SIZE"
  /** The host cannot give this much memory. */
  | "RAM_ALLOCATION"
  /** Something to be loaded does not lie in RAM. */
  | "OUTSIDE_RAM"
  /** A ROM image is empty, or does not fit into the room planned for ROM. */
  | "ROM_SIZE"
  /** A mapping that is not made of whole pages below 4 GiB. */
  | "MEMORY_RANGE"
  /** A range that an access handler of this kind cannot have. */
  | "HANDLER_RANGE"
  /** Another access handler has some of the range. */
  | "HANDLER_CONFLICT"
  /** An access handler that is not registered. */
  | "HANDLER_GONE"
  /** An access handler gave what is no verdict. */
  | "BAD_VERDICT"
  /** A snapshot of a machine with other memory. */
  | "SNAPSHOT_MISMATCH"
  /** A snapshot that no machine saved. */
  | "SNAPSHOT_INVALID";

/** A user's mistake with guest memory. */
export class MemoryError extends PorticoError {
  declare readonly code: MemoryErrorCode;
  constructor(code: MemoryErrorCode, message: string, options?: ErrorOptions) {
    super(code, message, options);
  }
}

export const hex = (value: number | bigint) => `0x${value.toString(16)}`;
