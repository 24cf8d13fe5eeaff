/** Which loader an image is for. */
import { isElf } from "./elf32.ts";
import { ImageError } from "./image-error.ts";
import { isLinuxImage } from "./linux-header.ts";
import { isMultiboot2Image, isMultibootImage } from "./multiboot-header.ts";
import { hasResetVector, isRomSize } from "./rom.ts";

export type ImageKind = "bzimage" | "multiboot" | "rom";

/** Throws `ImageError` when no loader takes the image; the message says what it seems to be. */
export function detectImage(image: Uint8Array): ImageKind {
  if (isLinuxImage(image)) return "bzimage";
  if (isMultibootImage(image)) return "multiboot";
  if (isRomSize(image.length) && hasResetVector(image) && !isElf(image)) return "rom";
  throw image.length === 0
    ? new ImageError("IMAGE_TRUNCATED", "the image is empty")
    : new ImageError("IMAGE_NOT_BOOTABLE", `the image cannot be booted: ${describe(image)}`);
}

function describe(image: Uint8Array): string {
  if (isMultiboot2Image(image)) return "it has a Multiboot 2 header; give it a Multiboot 1 header";
  if (isElf(image)) return "an ELF file without Multiboot header; of Linux, give the bzImage instead of vmlinux";
  if (image[0] === 0x1f && image[1] === 0x8b) return "it is compressed with gzip; decompress it";
  return "it is no bzImage, has no Multiboot header, and is no ROM (a multiple of 64 KiB with code at its end)";
}
