import { checkArgument, object, oneOf, whole } from "../arguments.ts";
import { PorticoError } from "../errors.ts";
import { DEVICE_REGISTERS_BASE, DEVICE_REGISTERS_SIZE } from "../memory/layout.ts";
import type { RegisterShape, Registers, RegisterType } from "./types.ts";

const BYTES: Record<RegisterType, 1 | 2 | 4 | 8> = { u8: 1, u16: 2, u32: 4, u64: 8 };
const TYPE = oneOf(Object.keys(BYTES));

/** Where a register lives in the machine's WebAssembly memory. */
export interface Slot {
  readonly address: number;
  readonly bytes: 1 | 2 | 4 | 8;
}
export type Slots = ReadonlyMap<string, Slot>;

/** Hands out the fixed slots of device registers. The memory never grows, so its views stay valid. */
export class RegisterFile {
  private readonly memory: WebAssembly.Memory;
  private readonly slots = new WeakMap<object, Slots>();
  private readonly wordAddresses = new WeakMap<Uint32Array, number>();
  private next = DEVICE_REGISTERS_BASE;

  constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
  }

  /** Throws `PorticoError` `DEVICE_REGISTERS_FULL` when all room is taken, and `ARGUMENT`. */
  allocate<const S extends RegisterShape>(owner: string, shape: S): Registers<S> {
    checkArgument(`the registers of '${owner}'`, shape, object("an object of types by name"));
    const registers = {};
    const slots = new Map<string, Slot>();
    for (const [name, type] of Object.entries(shape)) {
      checkArgument(`the type of the register '${name}' of '${owner}'`, type, TYPE);
      const bytes = BYTES[type];
      const address = this.take(owner, bytes, bytes);
      slots.set(name, { address, bytes });
      Object.defineProperty(registers, name, { enumerable: true, ...this.accessors(address, type) });
    }
    this.slots.set(registers, slots);
    return registers as Registers<S>;
  }

  /** As `allocate`, `count` registers of 32 bits by number. */
  allocateWords(owner: string, count: number): Uint32Array {
    checkArgument(`the number of words of '${owner}'`, count, whole(1));
    const address = this.take(owner, 4 * count, 4);
    const words = new Uint32Array(this.memory.buffer, address, count);
    this.wordAddresses.set(words, address);
    return words;
  }

  private take(owner: string, bytes: number, alignment: number): number {
    const address = Math.ceil(this.next / alignment) * alignment;
    if (address + bytes > DEVICE_REGISTERS_BASE + DEVICE_REGISTERS_SIZE) {
      throw new PorticoError(
        "DEVICE_REGISTERS_FULL",
        `no room for the registers of '${owner}': all devices together have ${DEVICE_REGISTERS_SIZE} bytes`,
      );
    }
    this.next = address + bytes;
    return address;
  }

  /** Where words lie, for emitted code. `undefined` when they are not of this machine. */
  addressOf(words: Uint32Array): number | undefined {
    return this.wordAddresses.get(words);
  }

  /** Slots by register name, for emitted code. `undefined` when the object is not of this machine. */
  slotsOf(registers: object): Slots | undefined {
    return this.slots.get(registers);
  }

  private accessors(address: number, type: RegisterType): { get(): number; set(value: number): void } {
    const { buffer } = this.memory;
    if (type === "u64") {
      const words = new Uint32Array(buffer, address, 2);
      return {
        get: () => words[1] * 2 ** 32 + words[0],
        set: (value) => {
          words[0] = value;
          // Above 2^53 - 1 a number would no longer be exact.
          words[1] = Math.floor(value / 2 ** 32) & 0x1f_ffff;
        },
      };
    }
    const cell =
      type === "u8"
        ? new Uint8Array(buffer, address, 1)
        : type === "u16"
          ? new Uint16Array(buffer, address, 1)
          : new Uint32Array(buffer, address, 1);
    return {
      get: () => cell[0],
      set: (value) => {
        cell[0] = value;
      },
    };
  }
}
