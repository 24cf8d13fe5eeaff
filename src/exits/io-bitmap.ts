/** Which port accesses leave the guest: VT-x I/O bitmaps A and B, AMD-V's I/O permission map. A set bit exits. */

/** Bytes of bitmap A (ports 0-7FFFh) and of bitmap B (8000h-FFFFh). */
export const VMX_BITMAP_BYTES = 0x1000;
/** The I/O permission map is three pages, of which 65,539 bits count: four bytes at FFFFh test three bits more. */
export const SVM_IOPM_BYTES = 0x3000;

const test = (map: Uint8Array, bit: number): boolean => ((map[bit >> 3]! >> (bit & 7)) & 1) !== 0;

/** SDM vol 3, 26.1.3: any byte of the access that the bitmaps name, and every access that wraps around. */
export function vmxBitmapsExit(a: Uint8Array, b: Uint8Array, port: number, bytes: number): boolean {
  if (port + bytes > 0x1_0000) return true;
  for (let at = port; at < port + bytes; at++) {
    if (test(at < 0x8000 ? a : b, at & 0x7fff)) return true;
  }
  return false;
}

/** The primary processor-based controls that decide about I/O, SDM vol 3, table 25-6. */
export const VMX_UNCONDITIONAL_IO = 1 << 24;
export const VMX_USE_IO_BITMAPS = 1 << 25;

/** With bitmaps in use, the unconditional control counts for nothing. */
export function vmxIoExits(controls: number, a: Uint8Array, b: Uint8Array, port: number, bytes: number): boolean {
  if (controls & VMX_USE_IO_BITMAPS) return vmxBitmapsExit(a, b, port, bytes);
  return (controls & VMX_UNCONDITIONAL_IO) !== 0;
}

/** APM vol 2, 15.10.1: one bit a byte of the access, without wrapping. */
export function svmIoExits(map: Uint8Array, port: number, bytes: number): boolean {
  for (let at = port; at < port + bytes; at++) if (test(map, at)) return true;
  return false;
}

function setBits(map: Uint8Array, first: number, count: number, exits: boolean): void {
  for (let bit = first; bit < first + count; bit++) {
    if (exits) map[bit >> 3]! |= 1 << (bit & 7);
    else map[bit >> 3]! &= ~(1 << (bit & 7));
  }
}

/** Whether `count` ports from `first` exit. */
export function setVmxBitmaps(a: Uint8Array, b: Uint8Array, first: number, count: number, exits: boolean): void {
  const low = Math.max(0, Math.min(count, 0x8000 - first));
  setBits(a, first, low, exits);
  setBits(b, Math.max(first, 0x8000) - 0x8000, count - low, exits);
}

/** The same for AMD-V; bits up to 65,538 may be named. */
export function setSvmIopm(map: Uint8Array, first: number, count: number, exits: boolean): void {
  setBits(map, first, count, exits);
}
