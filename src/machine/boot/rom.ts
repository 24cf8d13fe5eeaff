/** Firmware images: mapped below 4 GiB, where a reset begins, and shadowed below 1 MiB, where real mode finds them. */
import { GIB, KIB, LOW_MEMORY, MIB } from "../platform.ts";
import type { BootMemory } from "./boot-memory.ts";
import { ImageError } from "./image-error.ts";
import { resetState, type StartState } from "./start-state.ts";

const ROM_UNIT = 64 * KIB;
const ROM_LIMIT = 16 * MIB;
/** E0000-FFFFF, as chipsets decode it. */
const SHADOW_LIMIT = LOW_MEMORY.biosEnd - LOW_MEMORY.bios;
const RESET_VECTOR_LENGTH = 16;

export interface LoadedRom {
  readonly start: StartState;
  /** To be mapped read-only here: the image ends at 4 GiB. */
  readonly romAddress: number;
  readonly rom: Uint8Array;
}

export const isRomSize = (length: number): boolean => length > 0 && length % ROM_UNIT === 0 && length <= ROM_LIMIT;

/** Whether the last 16 bytes, where the CPU starts, hold anything. */
export function hasResetVector(image: Uint8Array): boolean {
  const vector = image.subarray(-RESET_VECTOR_LENGTH);
  return vector.some((byte) => byte !== vector[0]);
}

/**
 * Copies the image's last 128 KiB (or all of a smaller one) to RAM that ends at 1 MiB; the machine maps the whole.
 * The shadow is writable, as firmware expects once it has unlocked it. Throws `ImageError`.
 */
export function loadRom(memory: BootMemory, image: Uint8Array): LoadedRom {
  if (!isRomSize(image.length)) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      `a ROM image of ${image.length} bytes; it must have a multiple of 64 KiB, at most 16 MiB`,
    );
  }
  if (!hasResetVector(image)) {
    throw new ImageError("IMAGE_NOT_BOOTABLE", "the ROM image is empty at its reset vector, 16 bytes before its end");
  }
  if (memory.size < LOW_MEMORY.biosEnd) {
    throw new ImageError("MEMORY_TOO_SMALL", `${memory.size} bytes of RAM; a ROM needs at least 1 MiB`);
  }
  const shadow = image.subarray(-Math.min(image.length, SHADOW_LIMIT));
  memory.write(LOW_MEMORY.biosEnd - shadow.length, shadow);
  return { start: resetState(), romAddress: 4 * GIB - image.length, rom: image };
}
