import { PorticoError } from "../../errors.ts";

export type ImageErrorCode =
  /** The image is shorter than its own headers say. */
  | "IMAGE_TRUNCATED"
  /** The image is no kernel or ROM that can be booted here, or contradicts itself. */
  | "IMAGE_NOT_BOOTABLE"
  /** The initial RAM disk does not fit below the limit that the kernel sets, or beside the kernel. */
  | "INITRD_TOO_LARGE"
  /** A Multiboot module, or the boot information, does not fit. */
  | "MODULE_TOO_LARGE"
  /** The kernel needs more RAM than the machine has. */
  | "MEMORY_TOO_SMALL"
  /** The command line is longer than the kernel takes, or contains NUL. */
  | "COMMAND_LINE_INVALID";

/** An image, or what goes with it, cannot be booted; the message names the value and what would be right. */
export class ImageError extends PorticoError {
  declare readonly code: ImageErrorCode;

  constructor(code: ImageErrorCode, message: string) {
    super(code, message);
  }
}

export const hex = (value: number): string => `0x${value.toString(16)}`;
