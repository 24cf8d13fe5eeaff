/** Guests for the tests of whole machines. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createMachine, type Machine, type MachineOptions } from "../../src/machine/machine.ts";

export const PORCH = new Uint8Array(readFileSync(join(import.meta.dirname, "../../guests/porch/porch.elf")));

export interface Guest {
  readonly machine: Machine;
  /** What it has said on COM1, without carriage returns. */
  said(): string;
  type(text: string): void;
}

export function guestOf(machine: Machine): Guest {
  let said = "";
  machine.serial.onOutput((bytes) => {
    said += new TextDecoder("latin1").decode(bytes).replaceAll("\r", "");
  });
  const type = (text: string) => machine.serial.input(new TextEncoder().encode(text));
  return { machine, said: () => said, type };
}

/** Portico's own guest, on the instruction clock unless told. */
export function bootPorch(options: MachineOptions = {}): Guest {
  const guest = guestOf(createMachine({ memoryMiB: 16, clock: "instructions", ...options }));
  guest.machine.boot({ image: PORCH });
  return guest;
}

/** Where `kernel` puts its code, and where its stack ends. */
export const KERNEL = { code: 0x20_0020, stack: 0x21_0000, data: 0x22_0000 } as const;

/** A flat Multiboot kernel: 32-bit protected mode, flat segments of the loader's, interrupts off. */
export function kernel(code: readonly number[]): Uint8Array {
  const header = [0x1bad_b002, 0x1_0000, -(0x1bad_b002 + 0x1_0000), 0x20_0000, 0x20_0000, 0, 0, KERNEL.code];
  const image = new Uint8Array(32 + code.length);
  const data = new DataView(image.buffer);
  header.forEach((word, index) => {
    data.setUint32(index * 4, word, true);
  });
  image.set(code, 32);
  return image;
}

/** A few instructions, by the names of the manual. */
export const x86 = {
  dword: (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24],
  /** MOV r32, imm32; registers by number. */
  mov: (register: number, value: number) => [0xb8 + register, ...x86.dword(value)],
  /** MOV [address], imm32 */
  store: (address: number, value: number) => [0xc7, 0x05, ...x86.dword(address), ...x86.dword(value)],
  /** MOV eax, [address] */
  load: (address: number) => [0xa1, ...x86.dword(address)],
  /** MOV [address], eax */
  storeEax: (address: number) => [0xa3, ...x86.dword(address)],
  /** MOV dx, port; MOV eax, value; OUT dx, al, ax or eax */
  out: (port: number, value: number, width: 1 | 2 | 4 = 1) => [
    ...x86.mov(2, port),
    ...x86.mov(0, value),
    ...(width === 1 ? [0xee] : width === 2 ? [0x66, 0xef] : [0xef]),
  ],
  /** MOV dx, port; IN al, ax or eax */
  in: (port: number, width: 1 | 2 | 4 = 1) => [
    ...x86.mov(2, port),
    ...(width === 1 ? [0xec] : width === 2 ? [0x66, 0xed] : [0xed]),
  ],
  /** Ends the machine with status (value << 1) | 1. */
  exit: (value: number) => x86.out(0xf4, value),
  /** HLT, for good. */
  halt: [0xf4, 0xeb, 0xfd],
} as const;

/**
 * A kernel with one handler for vectors 0 (#DE), 13 (#GP), 20h and 24h (IRQ 0 and 4, once the 8259A says so) and 40h, and
 * segments of its own: code 10h, stack 18h.
 */
export function kernelWithHandler(main: readonly number[], handler: readonly number[]): Uint8Array {
  const at = 0x20_1000;
  const gdt = KERNEL.data + 0x900;
  const idt = KERNEL.data + 0x1000;
  const pointers = KERNEL.data + 0x800;
  const pointer = (place: number, limit: number, base: number) => [
    ...x86.store(place, (limit | ((base & 0xffff) << 16)) >>> 0),
    ...x86.store(place + 4, base >>> 16),
  ];
  const descriptor = (selector: number, high: number) => [
    ...x86.store(gdt + selector, 0xffff),
    ...x86.store(gdt + selector + 4, high),
  ];
  const gate = (vector: number) => [
    ...x86.store(idt + vector * 8, ((0x10 << 16) | (at & 0xffff)) >>> 0),
    ...x86.store(idt + vector * 8 + 4, ((at & 0xffff_0000) | 0x8e00) >>> 0),
  ];
  const setup = [
    ...[0, 13, 0x20, 0x24, 0x40].flatMap(gate),
    ...descriptor(0x10, 0x00cf_9b00),
    ...descriptor(0x18, 0x00cf_9300),
    ...pointer(pointers, 0x1f, gdt),
    ...pointer(pointers + 8, 0x7ff, idt),
    ...[0x0f, 0x01, 0x15, ...x86.dword(pointers)], // LGDT
    ...[0x0f, 0x01, 0x1d, ...x86.dword(pointers + 8)], // LIDT
  ];
  const next = KERNEL.code + setup.length + 7;
  // JMP 10h:next; MOV ax, 18h; MOV ss, ax
  const segments = [0xea, ...x86.dword(next), 0x10, 0, 0x66, 0xb8, 0x18, 0, 0x8e, 0xd0];
  const code = [...setup, ...segments, ...x86.mov(4, KERNEL.stack), ...main];
  if (KERNEL.code + code.length > at) throw new Error("the kernel grows into its handler");
  const padding = new Array<number>(at - KERNEL.code - code.length).fill(0x90);
  return kernel([...code, ...padding, ...handler, ...x86.halt]);
}
