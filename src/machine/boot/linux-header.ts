/** The setup header of a bzImage. Linux, Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header". */
import { hex, ImageError } from "./image-error.ts";

/** Offset in the image's first sectors, and in boot_params; width in bytes. Names are those of boot.rst. */
export const HEADER_FIELD = {
  setup_sects: [0x1f1, 1],
  syssize: [0x1f4, 4],
  boot_flag: [0x1fe, 2],
  jump_length: [0x201, 1],
  header: [0x202, 4],
  version: [0x206, 2],
  type_of_loader: [0x210, 1],
  loadflags: [0x211, 1],
  code32_start: [0x214, 4],
  ramdisk_image: [0x218, 4],
  ramdisk_size: [0x21c, 4],
  heap_end_ptr: [0x224, 2],
  cmd_line_ptr: [0x228, 4],
  initrd_addr_max: [0x22c, 4],
  kernel_alignment: [0x230, 4],
  relocatable_kernel: [0x234, 1],
  xloadflags: [0x236, 2],
  cmdline_size: [0x238, 4],
  payload_offset: [0x248, 4],
  payload_length: [0x24c, 4],
  pref_address: [0x258, 8],
  init_size: [0x260, 4],
} as const satisfies Record<string, readonly [offset: number, width: number]>;

export type HeaderField = keyof typeof HEADER_FIELD;

export const SETUP_HEADER_START = 0x1f1;
/** boot_params keeps room for the header up to here. */
const SETUP_HEADER_LIMIT = 0x290;

const BOOT_FLAG = 0xaa55;
/** "HdrS" */
const HEADER_MAGIC = 0x5372_6448;
const SECTOR = 512;
/** Headers of every version end before the second sector's 0x90th byte. */
const SMALLEST_IMAGE = SETUP_HEADER_LIMIT;
/** What setup_sects = 0 means. */
const DEFAULT_SETUP_SECTORS = 4;

const LOADED_HIGH = 1 << 0;
const XLF_KERNEL_64 = 1 << 0;

/** Entry of the 64-bit protocol, from the start of the protected-mode kernel. */
export const ENTRY_64 = 0x200;
/** Where a kernel that cannot be relocated is loaded. */
export const TRADITIONAL_ADDRESS = 0x10_0000;

/** Until 2.06 a command line had at most 255 characters; until 2.03 the RAM disk ended below this. */
const DEFAULT_CMDLINE_SIZE = 255;
const DEFAULT_INITRD_ADDR_MAX = 0x37ff_ffff;

/** A kernel image, its header read and found consistent. */
export interface LinuxImage {
  /** 0x020c is 2.12. */
  readonly version: number;
  /** Setup header, as it is copied to boot_params at 0x1f1. */
  readonly setupHeader: Uint8Array;
  /** What runs in protected or long mode. */
  readonly kernel: Uint8Array;
  readonly has64BitEntry: boolean;
  readonly relocatable: boolean;
  /** A power of two; 1 for a kernel that is not relocatable. */
  readonly alignment: number;
  /** Preferred load address, 0 when the kernel names none. */
  readonly preferredAddress: number;
  /** Bytes from the run-time start address that the kernel uses before it looks at the memory map. */
  readonly initSize: number;
  readonly commandLineSize: number;
  /** Highest address that the last byte of the RAM disk may have. */
  readonly initrdAddressMax: number;
}

export function readField(image: Uint8Array, field: HeaderField): number {
  const [offset, width] = HEADER_FIELD[field];
  let value = 0;
  for (let index = width - 1; index >= 0; index--) value = value * 256 + image[offset + index]!;
  return value;
}

export function isLinuxImage(image: Uint8Array): boolean {
  return image.length >= 0x206 && readField(image, "header") === HEADER_MAGIC;
}

/** Reads and checks the header. Throws `ImageError`. */
export function parseLinuxImage(image: Uint8Array): LinuxImage {
  if (!isLinuxImage(image)) {
    throw new ImageError("IMAGE_NOT_BOOTABLE", 'not a bzImage: the signature "HdrS" is missing at offset 0x202');
  }
  requireLength(image, SMALLEST_IMAGE, "the setup header");
  const field = (name: HeaderField): number => readField(image, name);
  /** Fields that came later than the image's version read as `otherwise`. */
  const since = (version: number, name: HeaderField, otherwise: number): number =>
    field("version") >= version ? field(name) : otherwise;

  const version = field("version");
  if (field("boot_flag") !== BOOT_FLAG) {
    throw notBootable(`boot_flag is ${hex(field("boot_flag"))}, not 0xaa55`);
  }
  if (version < 0x0202) {
    throw notBootable(`boot protocol ${formatVersion(version)} is too old; 2.02 (Linux 2.4) or later is needed`);
  }
  if ((field("loadflags") & LOADED_HIGH) === 0) {
    throw notBootable("a zImage, which loads below 1 MiB; build a bzImage");
  }
  const setupBytes = ((field("setup_sects") || DEFAULT_SETUP_SECTORS) + 1) * SECTOR;
  requireLength(image, setupBytes + 1, "the setup sectors");
  const kernel = image.subarray(setupBytes);
  // Before 2.04 only 16 bits of syssize count.
  requireLength(image, setupBytes + 16 * since(0x0204, "syssize", field("syssize") & 0xffff), "the kernel (syssize)");
  const payloadEnd = since(0x0208, "payload_offset", 0) + since(0x0208, "payload_length", 0);
  requireLength(image, setupBytes + payloadEnd, "the compressed payload");

  const relocatable = since(0x0205, "relocatable_kernel", 0) !== 0;
  const alignment = relocatable ? field("kernel_alignment") : 1;
  if (alignment === 0 || (alignment & (alignment - 1)) !== 0) {
    throw notBootable(`kernel_alignment is ${hex(alignment)}, not a power of two`);
  }
  const has64BitEntry = (since(0x020c, "xloadflags", 0) & XLF_KERNEL_64) !== 0;
  if (has64BitEntry && kernel.length <= ENTRY_64) {
    throw notBootable(`${kernel.length} bytes of kernel end before the 64-bit entry at 0x200`);
  }
  return {
    version,
    setupHeader: image.subarray(SETUP_HEADER_START, Math.min(0x202 + field("jump_length"), SETUP_HEADER_LIMIT)),
    kernel,
    has64BitEntry,
    relocatable,
    alignment,
    preferredAddress: since(0x020a, "pref_address", 0),
    initSize: Math.max(since(0x020a, "init_size", 0), kernel.length),
    commandLineSize: since(0x0206, "cmdline_size", DEFAULT_CMDLINE_SIZE),
    initrdAddressMax: since(0x0203, "initrd_addr_max", DEFAULT_INITRD_ADDR_MAX),
  };
}

function requireLength(image: Uint8Array, needed: number, what: string): void {
  if (image.length < needed) {
    throw new ImageError(
      "IMAGE_TRUNCATED",
      `the bzImage has ${image.length} bytes; ${what} needs ${needed}. Copy or download it again`,
    );
  }
}

const notBootable = (why: string): ImageError =>
  new ImageError("IMAGE_NOT_BOOTABLE", `cannot boot this bzImage: ${why}`);

export const formatVersion = (version: number): string => `${version >> 8}.${String(version & 0xff).padStart(2, "0")}`;
