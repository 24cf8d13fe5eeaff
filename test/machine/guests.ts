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
