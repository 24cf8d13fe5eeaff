/** The guest of `portico bench`: a flat Multiboot kernel that repeats a few instructions and ends. */

const BASE = 0x20_0000;
const HEADER = 32;
const STACK = 0x21_0000;
const REGISTERS = { eax: 0, ecx: 1, edx: 2, ebx: 3, esi: 6, edi: 7 } as const;

const dword = (value: number): number[] => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];

/** Instructions of 32-bit code. */
export const code = {
  mov: (register: keyof typeof REGISTERS, value: number): number[] => [0xb8 + REGISTERS[register], ...dword(value)],
  inEax: [0xed],
  outEax: [0xef],
  /** MOV eax, [address] */
  load: (address: number): number[] => [0xa1, ...dword(address)],
  vmcall: [0x0f, 0x01, 0xc1],
} as const;

/** `body` is run `count` times, with ECX kept; then the machine ends. */
export function benchGuest(count: number, prepare: readonly number[], body: readonly number[]): Uint8Array {
  // DEC ecx; JNZ body
  const back = -(body.length + 7);
  const loop = [...body, 0x49, 0x0f, 0x85, ...dword(back >>> 0)];
  const start = [0xbc, ...dword(STACK), ...code.mov("ecx", count), ...prepare];
  // OUT F4h, al; CLI; HLT
  const end = [0xb0, 0, 0xe6, 0xf4, 0xfa, 0xf4];
  const instructions = [...start, ...loop, ...end];
  const header = [0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), BASE, BASE, 0, 0, BASE + HEADER];
  const image = new Uint8Array(HEADER + instructions.length);
  const data = new DataView(image.buffer);
  header.forEach((word, index) => {
    data.setUint32(index * 4, word, true);
  });
  image.set(instructions, HEADER);
  return image;
}
