/** Guest memory and synthetic images for tests of the loaders. */
import type { BootMemory } from "./boot-memory.ts";

export interface TestRam extends BootMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  read(gpa: number, length: number): Uint8Array;
}

/** RAM that refuses every access outside itself. */
export function ram(size: number): TestRam {
  const bytes = new Uint8Array(size);
  return {
    size,
    bytes,
    view: new DataView(bytes.buffer),
    write: (gpa, data) => bytes.set(data, gpa),
    read(gpa, length) {
      if (gpa + length > size) throw new RangeError(`read beyond RAM: ${gpa}`);
      return bytes.slice(gpa, gpa + length);
    },
  };
}

/** For large arrays, which `toEqual` compares slowly. */
export function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, index) => byte === right[index]);
}

export interface TestLinux {
  /** 0x020f is 2.15. */
  readonly version: number;
  readonly setupSectors: number;
  /** Bytes of the protected-mode kernel; the file ends with them. */
  readonly kernelLength: number;
  readonly loadflags: number;
  readonly xloadflags: number;
  readonly relocatable: number;
  readonly alignment: number;
  readonly prefAddress: number;
  readonly initSize: number;
  readonly cmdlineSize: number;
  readonly initrdAddrMax: number;
}

/** Numbers of a Debian 6.1 kernel, but for its size. */
const DEBIAN: TestLinux = {
  version: 0x020f,
  setupSectors: 27,
  kernelLength: 0x2_0000,
  loadflags: 0x01,
  xloadflags: 0x7f,
  relocatable: 1,
  alignment: 0x20_0000,
  prefAddress: 0x100_0000,
  initSize: 0x10_0000,
  cmdlineSize: 2047,
  initrdAddrMax: 0x7fff_ffff,
};

/** A bzImage whose kernel is the bytes 0, 1, 2 ... of their offsets. Offsets: boot.rst, "Details of header fields". */
export function linuxImage(overrides: Partial<TestLinux> = {}): Uint8Array {
  const options = { ...DEBIAN, ...overrides };
  const setupLength = (options.setupSectors + 1) * 512;
  const image = Uint8Array.from({ length: setupLength + options.kernelLength }, (_, i) => (i - setupLength) & 0xff);
  image.fill(0, 0, setupLength);
  const view = new DataView(image.buffer);
  image[0x1f1] = options.setupSectors;
  view.setUint32(0x1f4, options.kernelLength / 16, true);
  view.setUint16(0x1fe, 0xaa55, true);
  view.setUint16(0x200, 0x6aeb, true);
  image.set(new TextEncoder().encode("HdrS"), 0x202);
  view.setUint16(0x206, options.version, true);
  image[0x211] = options.loadflags;
  view.setUint32(0x214, 0x10_0000, true);
  view.setUint32(0x22c, options.initrdAddrMax, true);
  view.setUint32(0x230, options.alignment, true);
  image[0x234] = options.relocatable;
  view.setUint16(0x236, options.xloadflags, true);
  view.setUint32(0x238, options.cmdlineSize, true);
  view.setUint32(0x248, 0x400, true);
  view.setUint32(0x24c, options.kernelLength - 0x400, true);
  view.setBigUint64(0x258, BigInt(options.prefAddress), true);
  view.setUint32(0x260, options.initSize, true);
  return image;
}

/** A Multiboot header. Multiboot Specification 0.6.96, section 3.1.1. */
export function multibootHeader(flags: number, ...fields: number[]): Uint8Array {
  const words = [0x1bad_b002, flags, -(0x1bad_b002 + flags), ...fields];
  return new Uint8Array(Uint32Array.from(words).buffer);
}

export interface TestSegment {
  readonly virtual: number;
  readonly physical: number;
  readonly bytes: Uint8Array;
  readonly memoryLength?: number;
}

/** A 32-bit x86 executable without sections. System V ABI, chapters 4 and 5. */
export function elf32(entry: number, segments: readonly TestSegment[]): Uint8Array {
  const headersLength = 52 + 32 * segments.length;
  const image = new Uint8Array(headersLength + segments.reduce((sum, segment) => sum + segment.bytes.length, 0));
  const view = new DataView(image.buffer);
  image.set([0x7f, 0x45, 0x4c, 0x46, 1, 1, 1]);
  [2, 3].forEach((value, index) => {
    view.setUint16(16 + 2 * index, value, true);
  });
  [1, entry, 52, 0, 0].forEach((value, index) => {
    view.setUint32(20 + 4 * index, value, true);
  });
  [52, 32, segments.length, 40, 0, 0].forEach((value, index) => {
    view.setUint16(40 + 2 * index, value, true);
  });
  let offset = headersLength;
  segments.forEach(({ virtual, physical, bytes, memoryLength = bytes.length }, index) => {
    [1, offset, virtual, physical, bytes.length, memoryLength, 7, 4].forEach((value, field) => {
      view.setUint32(52 + 32 * index + 4 * field, value, true);
    });
    image.set(bytes, offset);
    offset += bytes.length;
  });
  return image;
}
