import type { GuestMemory } from "../memory/guest-memory.ts";
import { PAGE_SIZE } from "../memory/layout.ts";
import type { PhysicalHandler } from "../memory/physical-handlers.ts";
import type { Remap, VirtualHandler } from "../memory/virtual-handlers.ts";
import type { AccessCallback } from "../memory/watched-access.ts";

interface Watching {
  /** Bytes to watch; default 1. */
  readonly length?: number;
  /** Only writes (default), or reads as well. */
  readonly access?: "write" | "all";
  /** What errors call it; default says what is watched. */
  readonly name?: string;
}

/** Guest-physical memory: RAM or ROM. */
export interface PhysicalWatch extends Watching {
  readonly physical: number;
  readonly virtual?: never;
}

/** Guest-linear memory, wherever the guest's page tables have it. */
export interface VirtualWatch extends Watching {
  /** A linear address; numbers above 2^53 are not exact: give a bigint. */
  readonly virtual: number | bigint;
  readonly physical?: never;
  /** CR3 of the address space; without it whatever space is current. */
  readonly addressSpace?: number | bigint;
  /** A page of the range has moved in guest-physical memory. */
  readonly onRemap?: (remap: Remap) => void;
}

/** A page of the monitor's own in guest-linear space. */
export interface MonitorPages {
  /** Where, at a page's start. */
  readonly virtual: number | bigint;
  /** What the guest reads there; whole pages, the rest zeros. */
  readonly contents: Uint8Array;
  readonly addressSpace?: number | bigint;
  readonly name?: string;
}

/** A watch that stands, until `dispose`. */
export interface Watch {
  readonly name: string;
  /** Times that the callback was called. */
  readonly hits: number;
  /** Times that a page moved. */
  readonly remaps: number;
  /** Sees nothing until `resume`; the range stays its own. */
  pause(): void;
  resume(): void;
  dispose(): void;
}

export interface MonitorWatch extends Watch {
  /** The pages themselves: what is written here is what the guest reads. */
  readonly bytes: Uint8Array;
}

const HALF = 2n ** 63n;
const TWO_64 = 2n ** 64n;

/** A linear address as the CPU keeps it: signed. */
export function signedLinear(address: number | bigint): number {
  const value = BigInt(address);
  return Number(value >= HALF ? value - TWO_64 : value);
}

const hex = (address: number | bigint): string => `0x${BigInt.asUintN(64, BigInt(address)).toString(16)}`;

/** Throws `MemoryError` `HANDLER_RANGE` or `HANDLER_CONFLICT`. */
export function watchMemory(memory: GuestMemory, what: PhysicalWatch | VirtualWatch, callback: AccessCallback): Watch {
  const { length = 1, access = "write" } = what;
  if (what.physical !== undefined) {
    const { physical } = memory.handlers;
    const owner = what.name ?? `watch of ${hex(what.physical)}+${length}`;
    const handler = physical.register({ kind: access, base: what.physical, length, owner, callback });
    return physicalWatch(memory, handler);
  }
  const { virtual } = memory.handlers;
  const owner = what.name ?? `watch of linear ${hex(what.virtual)}+${length}`;
  const { addressSpace, onRemap } = what;
  const start = signedLinear(what.virtual);
  const space = addressSpace === undefined ? undefined : Number(addressSpace);
  const handler = virtual.register({ kind: access, start, length, owner, addressSpace: space, callback, onRemap });
  return virtualWatch(memory, handler);
}

/** Throws as `watchMemory`, and `ROM_SIZE` when the machine has no room for the pages. */
export function insertPages(memory: GuestMemory, what: MonitorPages, onWrite: AccessCallback = () => {}): MonitorWatch {
  const { virtual } = memory.handlers;
  const length = Math.max(1, Math.ceil(what.contents.length / PAGE_SIZE)) * PAGE_SIZE;
  const { addressSpace } = what;
  const handler = virtual.register({
    kind: "hypervisor",
    start: signedLinear(what.virtual),
    length,
    owner: what.name ?? `page at linear ${hex(what.virtual)}`,
    addressSpace: addressSpace === undefined ? undefined : Number(addressSpace),
    callback: onWrite,
  });
  const bytes = memory.bytes.subarray(handler.host, handler.host + length);
  bytes.set(what.contents);
  return Object.assign(virtualWatch(memory, handler), { bytes });
}

function physicalWatch({ handlers }: GuestMemory, handler: PhysicalHandler): Watch {
  const { physical } = handlers;
  let disposed = false;
  return {
    name: handler.owner,
    get hits() {
      return handler.hits;
    },
    remaps: 0,
    pause() {
      if (disposed) return;
      const first = handler.base - (handler.base % PAGE_SIZE);
      for (let page = first; page < handler.end; page += PAGE_SIZE) physical.pageOff(handler, page);
    },
    resume() {
      if (!disposed) physical.reset(handler);
    },
    dispose() {
      if (!disposed) physical.deregister(handler);
      disposed = true;
    },
  };
}

function virtualWatch({ handlers }: GuestMemory, handler: VirtualHandler): Watch {
  const { virtual } = handlers;
  let disposed = false;
  return {
    name: handler.owner,
    get hits() {
      return handler.hits;
    },
    get remaps() {
      return handler.remaps;
    },
    pause: () => virtual.enable(handler, false),
    resume: () => virtual.enable(handler, true),
    dispose() {
      if (!disposed) virtual.deregister(handler);
      disposed = true;
    },
  };
}
