/** Loadable segments of a 32-bit x86 ELF executable. System V ABI, chapters 4 and 5, with the i386 supplement. */
import { hex, ImageError } from "./image-error.ts";

export interface Elf32Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
  /** At least as many as `bytes` has; the rest is zero. */
  readonly memoryLength: number;
}

/** The section header table as it stands in the file. */
export interface Elf32Sections {
  readonly headers: Uint8Array;
  readonly count: number;
  readonly entrySize: number;
  readonly stringTableIndex: number;
}

export interface Elf32 {
  /** Physical address. */
  readonly entry: number;
  readonly segments: readonly Elf32Segment[];
  readonly sections: Elf32Sections | undefined;
}

const HEADER_LENGTH = 52;
const PROGRAM_HEADER_LENGTH = 32;
/** Offsets in a section header. */
export const SECTION_HEADER = {
  sh_type: 4,
  sh_addr: 12,
  sh_offset: 16,
  sh_size: 20,
  sh_addralign: 32,
  length: 40,
} as const;
const CLASS_32 = 1;
const LITTLE_ENDIAN = 1;
const TYPE_EXECUTABLE = 2;
const MACHINE_386 = 3;
const PT_LOAD = 1;
const ADDRESS_SPACE = 2 ** 32;

const startsWithMagic = (file: Uint8Array): boolean =>
  file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;

export function isElf(file: Uint8Array): boolean {
  return file.length >= HEADER_LENGTH && startsWithMagic(file);
}

/** Reads and checks the file. Throws `ImageError`. */
export function parseElf32(file: Uint8Array): Elf32 {
  if (!isElf(file)) throw notBootable("the image is no ELF file and its Multiboot header has no load addresses");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const u16 = (offset: number): number => view.getUint16(offset, true);
  const u32 = (offset: number): number => view.getUint32(offset, true);
  if (file[4] !== CLASS_32 || u16(18) !== MACHINE_386) {
    throw notBootable(
      `an ELF file of class ${file[4]} for machine ${u16(18)}; Multiboot 1 takes 32-bit x86 (class 1, machine 3): ` +
        "convert it with objcopy -O elf32-i386",
    );
  }
  if (file[5] !== LITTLE_ENDIAN || u16(16) !== TYPE_EXECUTABLE) {
    throw notBootable(`an ELF file of type ${u16(16)}; an executable (type 2, little-endian) is needed`);
  }
  const [table, entrySize, count] = [u32(28), u16(42), u16(44)];
  if (entrySize < PROGRAM_HEADER_LENGTH) throw notBootable(`program headers of ${entrySize} bytes; they have 32`);
  requireLength(file, table + count * entrySize, "the program headers");

  let entry = u32(24);
  const segments: Elf32Segment[] = [];
  for (let index = 0; index < count; index++) {
    const at = table + index * entrySize;
    if (u32(at) !== PT_LOAD) continue;
    const offset = u32(at + 4);
    const virtual = u32(at + 8);
    const physical = u32(at + 12);
    const fileLength = u32(at + 16);
    const memoryLength = u32(at + 20);
    if (memoryLength === 0) continue;
    requireLength(file, offset + fileLength, `segment ${index}`);
    if (memoryLength < fileLength || physical + memoryLength > ADDRESS_SPACE) {
      throw notBootable(`segment ${index} has ${fileLength} bytes in the file, ${memoryLength} at ${hex(physical)}`);
    }
    // The entry is a virtual address, and a kernel may be linked away from where it is loaded.
    const start = u32(24);
    if (start >= virtual && start < virtual + memoryLength) entry = start - virtual + physical;
    segments.push({ address: physical, bytes: file.subarray(offset, offset + fileLength), memoryLength });
  }
  if (segments.length === 0) throw notBootable("an ELF file without loadable segments");
  return { entry, segments, sections: sectionHeaders(file, u32(32), u16(46), u16(48), u16(50)) };
}

/** Undefined when there are none, or they lie outside the file: the kernel does without them. */
function sectionHeaders(
  file: Uint8Array,
  offset: number,
  entrySize: number,
  count: number,
  stringTableIndex: number,
): Elf32Sections | undefined {
  if (count === 0 || entrySize < SECTION_HEADER.length || offset + count * entrySize > file.length) return undefined;
  return { headers: file.subarray(offset, offset + count * entrySize), count, entrySize, stringTableIndex };
}

function requireLength(file: Uint8Array, needed: number, what: string): void {
  if (file.length < needed) {
    throw new ImageError("IMAGE_TRUNCATED", `the ELF file has ${file.length} bytes; ${what} needs ${needed}`);
  }
}

const notBootable = (why: string): ImageError => new ImageError("IMAGE_NOT_BOOTABLE", `cannot boot this image: ${why}`);
