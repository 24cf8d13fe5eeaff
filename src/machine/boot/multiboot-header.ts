/** The header that a Multiboot kernel carries. Multiboot Specification 0.6.96, section 3.1. */
import { hex, ImageError } from "./image-error.ts";

const MAGIC = 0x1bad_b002;
/** Multiboot 2 has another magic number and another layout. */
const MAGIC_2 = 0xe852_50d6;
/** The header lies within the first 8192 bytes, on a 4-byte boundary. */
const SEARCH_LENGTH = 8192;
const SHORT_LENGTH = 12;
const ADDRESSES_LENGTH = 32;
const VIDEO_LENGTH = 48;

/** Bits 0-15 are requirements: a loader that does not know one must not load the image. */
const FLAG = {
  pageAlign: 1 << 0,
  memoryInfo: 1 << 1,
  video: 1 << 2,
  requirements: 0xffff,
  addresses: 1 << 16,
} as const;
const EGA_TEXT = 1;

export interface LoadAddresses {
  readonly headerAddress: number;
  readonly loadAddress: number;
  /** 0: to the end of the file. */
  readonly loadEnd: number;
  /** 0: no bss. */
  readonly bssEnd: number;
  readonly entry: number;
}

export interface MultibootHeader {
  /** In the file. */
  readonly offset: number;
  /** Undefined: the image is ELF. */
  readonly addresses: LoadAddresses | undefined;
}

/** The first header whose checksum is right, with its flags; undefined when there is none. */
function search(image: Uint8Array): { offset: number; flags: number } | undefined {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const end = Math.min(image.length, SEARCH_LENGTH) - SHORT_LENGTH;
  for (let offset = 0; offset <= end; offset += 4) {
    if (view.getUint32(offset, true) !== MAGIC) continue;
    const flags = view.getUint32(offset + 4, true);
    if (((MAGIC + flags + view.getUint32(offset + 8, true)) & 0xffff_ffff) === 0) return { offset, flags };
  }
  return undefined;
}

export const isMultibootImage = (image: Uint8Array): boolean => search(image) !== undefined;

/** True for an image that only a Multiboot 2 loader can boot; for a better error message. */
export function isMultiboot2Image(image: Uint8Array): boolean {
  const view = new DataView(image.buffer, image.byteOffset, image.byteLength);
  const end = Math.min(image.length, 32768) - 16;
  for (let offset = 0; offset <= end; offset += 8) {
    const sum = [0, 4, 8, 12].reduce((total, field) => total + view.getUint32(offset + field, true), 0);
    if (view.getUint32(offset, true) === MAGIC_2 && sum % 2 ** 32 === 0) return true;
  }
  return false;
}

/** Reads the header and refuses what cannot be satisfied. Throws `ImageError`. */
export function parseMultibootHeader(image: Uint8Array): MultibootHeader {
  const found = search(image);
  if (!found) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      "no Multiboot header (magic 0x1badb002, right checksum) in the first 8192 bytes",
    );
  }
  const { offset, flags } = found;
  const unknown = flags & FLAG.requirements & ~(FLAG.pageAlign | FLAG.memoryInfo | FLAG.video);
  if (unknown !== 0) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      `the Multiboot header requires features ${hex(unknown)}; only bits 0 to 2 are defined`,
    );
  }
  const needed = (flags & FLAG.video) !== 0 ? VIDEO_LENGTH : (flags & FLAG.addresses) !== 0 ? ADDRESSES_LENGTH : 0;
  if (image.length < offset + needed) {
    throw new ImageError(
      "IMAGE_TRUNCATED",
      `the image has ${image.length} bytes; its Multiboot header ends at ${offset + needed}`,
    );
  }
  const view = new DataView(image.buffer, image.byteOffset + offset);
  const u32 = (at: number): number => view.getUint32(at, true);
  // A loader need not set the mode that is asked for, so text without a display is fine; a framebuffer is a need.
  if ((flags & FLAG.video) !== 0 && u32(32) !== EGA_TEXT) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      `the Multiboot header asks for graphics (mode type ${u32(32)}), and the machine has no display; ask for text (1) or nothing`,
    );
  }
  const addresses =
    (flags & FLAG.addresses) === 0
      ? undefined
      : { headerAddress: u32(12), loadAddress: u32(16), loadEnd: u32(20), bssEnd: u32(24), entry: u32(28) };
  return { offset, addresses };
}
