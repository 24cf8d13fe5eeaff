/**
 * The device kit as a device sees it. A model is a pure object: registers in, effects out through what the host gives.
 */
import type {
  MmioReadMode,
  MmioWriteMode,
  Range,
  Region,
  Ring0Read,
  Ring0Write,
  Ring3Read,
  Ring3Write,
  StringRead,
  StringWrite,
} from "../io/types.ts";

/** Storage of one register in the machine's WebAssembly memory. */
export type RegisterType = "u8" | "u16" | "u32" | "u64";
export type RegisterShape = Readonly<Record<string, RegisterType>>;

/**
 * Fixed slots, zero at creation, saved and restored by the machine. `u64` slots read as safe integers and hold up to
 * 2^53 - 1; anything wider is two `u32`. Values wrap to the slot's width on assignment.
 */
export type Registers<S extends RegisterShape> = { -readonly [K in keyof S]: number };

export interface RegisterOptions {
  /** The registers survive a machine reset (CMOS, a power well of its own). */
  readonly keepOnReset?: boolean;
}

/** A handler built from WebAssembly operations by `raw(...)`; see `raw.ts` for the builder. */
export interface RawHandler {
  readonly kind: "raw";
  readonly build: (x: never) => unknown;
}
/** A handler that may wait, made by `ring3(...)`. */
export interface Ring3Handler<F> {
  readonly kind: "ring3";
  readonly run: F;
}

/**
 * One direction of one range: a ring-0 function; `raw(...)`, from which the others derive; `ring3(...)`; or several
 * contexts by name.
 */
export type Handler<Ring0, Ring3> =
  | Ring0
  | RawHandler
  | Ring3Handler<Ring3>
  | { readonly raw?: RawHandler; readonly ring0?: Ring0; readonly ring3?: Ring3 };

export interface Handlers {
  readonly read?: Handler<Ring0Read, Ring3Read>;
  readonly write?: Handler<Ring0Write, Ring3Write>;
  readonly readString?: StringRead;
  readonly writeString?: StringWrite;
  /**
   * Writes are collected, and performed in order before the device is accessed in any other way, when the ring is full,
   * and after each slice of the guest: their instructions retire at once. Meanwhile `clock.now()` is the time at which
   * the write was made. Needs `DeviceHost.coalesce`; the writes are not `raw`, and there are no string callbacks.
   */
  readonly coalesce?: boolean;
}

export interface MmioOptions {
  /** Default "dword": the device sees aligned dwords only. */
  readonly readMode?: MmioReadMode;
  /** Default "dword-read-missing". */
  readonly writeMode?: MmioWriteMode;
}

/**
 * One source on an interrupt line. Lines are wired-OR: the line is high while any source holds it high. The board
 * connects GSI n to 8259A input n (n < 16) and I/O APIC pin n (0 goes to pin 2).
 */
export interface InterruptLine {
  set(high: boolean): void;
  /** Low, then high: an edge, left high for an edge-triggered device that lowers it later with `set(false)`. */
  pulse(): void;
}

/** A one-shot deadline on virtual time. Saved and restored by the machine. */
export interface Timer {
  /**
   * ns of virtual time; a deadline in the past fires before the next guest instruction that can see it, `Infinity` is as
   * `cancel`. Throws `PorticoError` `ARGUMENT`.
   */
  set(deadlineNs: number): void;
  cancel(): void;
  /** `undefined` when idle. */
  readonly deadline: number | undefined;
}

/** A free-running counter derived from virtual time: nothing to advance, nothing to save. */
export interface Counter {
  readonly hz: number;
  /** floor(ns * hz / 1e9), exact, as a safe integer. */
  read(): number;
  /** The first ns at which `read()` is at least `ticks`. */
  timeOf(ticks: number): number;
}

export interface Clock {
  /** Virtual time in ns since the machine was created; exact at every device access. */
  now(): number;
  counter(hz: number): Counter;
  /** ns since 1970-01-01 UTC that virtual time 0 stands for (fixed on the instruction clock). */
  readonly epochNs: bigint;
}

/** Guest-physical memory for DMA: never leaves guest memory; holes read as all ones and drop writes. */
export interface Dma {
  read(address: number, into: Uint8Array): void;
  write(address: number, from: Uint8Array): void;
  read32(address: number): number;
  write32(address: number, value: number): void;
  /** Whether memory answers all of these addresses: on a bus the others end a transfer with an abort. */
  isMemory(address: number, length: number): boolean;
}

/** What a device can do to the machine as a whole. Takes effect after the instruction that causes it. */
export interface Board {
  powerOff(): void;
  /** Ends the machine with this status (debug-exit). */
  exit(status: number): void;
  reset(): void;
  setA20(enabled: boolean): void;
  readonly a20: boolean;
  nmi(): void;
}

/** A base address register. PCI 3.0, section 6.2.5.1. */
export type PciBar =
  | {
      readonly kind: "io";
      /** A power of two, 4 to 256. */
      readonly size: number;
      readonly handlers: Handlers;
    }
  | {
      readonly kind: "memory";
      /** A power of two, at least 16. */
      readonly size: number;
      readonly prefetchable?: boolean;
      /** A 64-bit register: takes the next index as well. */
      readonly wide?: boolean;
      readonly handlers: Handlers;
      readonly options?: MmioOptions;
    };

/** Bytes of configuration space beyond the standard header. */
export interface PciRegister {
  readonly offset: number;
  /** Value after reset, one byte each. */
  readonly bytes: readonly number[];
  /** Bits that software may change, one mask a byte; none by default. */
  readonly writable?: readonly number[];
}

/** A capability besides MSI. PCI 3.0, section 6.7. */
export interface PciCapability {
  readonly id: number;
  /** What follows the two bytes of id and link. */
  readonly bytes: readonly number[];
  readonly writable?: readonly number[];
}

export interface PciFunctionOptions {
  /** Device number on bus 0, 0-31; by default the first free one from 1. */
  readonly slot?: number;
  /** 0-7, default 0. */
  readonly function?: number;
  readonly vendorId: number;
  readonly deviceId: number;
  /** Base class, subclass and programming interface: 24 bits, as 0x060000 for a host bridge. */
  readonly classCode: number;
  readonly revision?: number;
  readonly subsystemVendorId?: number;
  readonly subsystemId?: number;
  /** INTA is 1. None by default. */
  readonly interruptPin?: 1 | 2 | 3 | 4;
  /** By index of the register, 0-5. */
  readonly bars?: readonly (PciBar | undefined)[];
  /** Messages that the function can send: 1, 2, 4, 8, 16 or 32. No MSI by default. */
  readonly msiMessages?: number;
  /**
   * MSI-X: 1 to 2048 vectors, each with an address and a mask of its own, in a memory BAR that the kit provides: at index
   * `bar`, or at the first that is free. No MSI-X by default.
   */
  readonly msiX?: { readonly vectors: number; readonly bar?: number };
  readonly capabilities?: readonly PciCapability[];
  readonly registers?: readonly PciRegister[];
  /** Called after software wrote `width` bytes at `offset` of configuration space. */
  onConfigWrite?(offset: number, width: number): void;
}

/** What a device does with its function. */
export interface PciFunction {
  readonly slot: number;
  readonly function: number;
  /**
   * The function's interrupt request, a level. It reaches the INTx wire unless software has turned the pin off or
   * switched to messages; command and status register follow it.
   */
  readonly interrupt: InterruptLine;
  /**
   * Sends message `index`, by MSI-X or MSI, whichever software has enabled; one that is masked waits. False when it has
   * enabled neither: use `interrupt`.
   */
  message(index?: number): boolean;
  /** Whether the function may access memory (bus master enable): what a device checks before DMA. */
  readonly busMaster: boolean;
  /** Where software has put a BAR; `undefined` while it does not decode. */
  barBase(index: number): number | undefined;
  /** Configuration space as software reads it. `width` 1, 2 or 4, not beyond 256. */
  readConfig(offset: number, width: number): number;
  /** Sets bytes regardless of write masks: for the device's own status. */
  setConfig(offset: number, value: number, width: number): void;
}

/** Configuration space as a host bridge reaches it. All ones from functions that are not there. */
export interface PciConfiguration {
  /** `deviceFunction` is slot * 8 + function; `width` 1, 2 or 4, within one dword. */
  read(bus: number, deviceFunction: number, offset: number, width: number): number;
  write(bus: number, deviceFunction: number, offset: number, value: number, width: number): void;
  /** What reads of bus 0 give, for raw handlers: 64 dwords for each `deviceFunction`. */
  readonly words: Uint32Array;
}

/** What a device is given. Whatever is not of the type that is asked for throws `PorticoError` `ARGUMENT`. */
export interface DeviceHost {
  readonly name: string;
  readonly clock: Clock;
  readonly dma: Dma;
  readonly board: Board;
  readonly pciConfiguration: PciConfiguration;
  registers<const S extends RegisterShape>(shape: S, options?: RegisterOptions): Registers<S>;
  /** Registers of 32 bits by number, like those of `registers`: for tables that raw handlers look things up in. */
  words(count: number, options?: RegisterOptions): Uint32Array;
  /** Claims ports. Throws `PortRangeConflictError` naming both owners. */
  ports(range: Range, handlers: Handlers): Region;
  /** Claims guest-physical addresses outside RAM. Throws `MmioRangeConflictError`. */
  mmio(range: Range, handlers: Handlers, options?: MmioOptions): Region;
  /**
   * Before any range is claimed: some of them have `coalesce`, and up to `capacity` writes wait at a time (default 256).
   * Throws `PorticoError` `ARGUMENT`.
   */
  coalesce(capacity?: number): void;
  interrupt(gsi: number): InterruptLine;
  timer(fire: () => void): Timer;
  /**
   * A function on PCI bus 0, with its configuration space, BARs and interrupts. Throws `PorticoError` `PCI_SLOT_TAKEN`,
   * `PCI_SLOT_INVALID`, `PCI_BAR_INVALID`, `PCI_MSI_INVALID` or `PCI_CONFIG_FULL`.
   */
  pciFunction(options: PciFunctionOptions): PciFunction;
  /** A message-signalled interrupt: the dword write that the local APIC decodes (SDM vol 3, 11.11). */
  msi(address: number, data: number): void;
  /**
   * Called at machine reset, in the order in which the devices were created, after every device's interrupt lines went
   * low, its timers were cancelled and its `registers` zeroed (unless declared with `keepOnReset`).
   */
  onReset(reset: () => void): void;
  onDispose(dispose: () => void): void;
  /** State beyond `registers` and timers. What `save` returns must be JSON-like data (Uint8Array allowed). */
  state<T>(state: { save(): T; load(saved: T): void }): void;
  /** Host input (keys, serial bytes) enters through here, so that it can be recorded at an instruction count. */
  input<A extends unknown[]>(receive: (...args: A) => void): (...args: A) => void;
}

/** A device class: `create` is called once for each instance and returns what the host program may use. */
export interface DeviceClass<Options, Api> {
  readonly name: string;
  /** Format of the saved state: a snapshot with another one is refused. */
  readonly version: number;
  readonly create: (host: DeviceHost, options: Options) => Api;
}
