/** What an access handler is told, and what it may answer. */

/** Who accesses: an instruction or event delivery; a page walk; a bus master, a loader or the host program. */
export type AccessOrigin = "cpu" | "walk" | "device";

/** Where an access comes from; one object for each CPU and origin, asked only when a handler is called. */
export interface AccessSource {
  readonly by: AccessOrigin;
  /** Number of the vCPU; -1: none. */
  readonly vcpu: number;
  /** Address of the instruction, as the instruction pointer has it; `undefined` without one. */
  readonly rip: number | undefined;
}

/** Bus masters, loaders, the host program. */
export const DEVICE_SOURCE: AccessSource = { by: "device", vcpu: -1, rip: undefined };

/**
 * What becomes of an access. Nothing: it happens. `{ value }`: this is what is read or written (little-endian, cut to the
 * width). "swallow": a write does not happen, a read gives ones. "stop": it happens, and the machine stops after the
 * instruction.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: most handlers only look
export type Verdict = void | undefined | "swallow" | "stop" | { readonly value: bigint };

export type AccessCallback = (access: WatchedAccess) => Verdict;

const u64 = (address: number): bigint => BigInt.asUintN(64, BigInt(address));

/** One access to watched memory. An access that crosses a page is two, one for each page. */
export class WatchedAccess {
  readonly kind: "read" | "write";
  /** Guest-physical address. */
  readonly physical: number;
  /**
   * The bytes: of a read what is there (before a handler of kind "mmio" has answered: zeros), of a write what is to be
   * there. A copy.
   */
  readonly data: Uint8Array;
  private readonly watched: number;
  private readonly linearAt: number | undefined;
  private readonly source: AccessSource;

  constructor(
    kind: "read" | "write",
    watched: number,
    physical: number,
    linear: number | undefined,
    data: Uint8Array,
    source: AccessSource,
  ) {
    this.kind = kind;
    this.watched = watched;
    this.physical = physical;
    this.linearAt = linear;
    this.data = data;
    this.source = source;
  }

  /** Where in the watched range: a guest-physical address, or a linear one for a virtual handler. Unsigned. */
  get address(): bigint {
    return u64(this.watched);
  }

  /** The linear address that the instruction used, which may be an alias; `undefined` for page walks and devices. */
  get linear(): bigint | undefined {
    return this.linearAt === undefined ? undefined : u64(this.linearAt);
  }

  /** Bytes: 1 to 16 by a CPU, more by a device. */
  get width(): number {
    return this.data.length;
  }

  /** `data` as a little-endian number. */
  get value(): bigint {
    let value = 0n;
    for (let i = this.data.length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.data[i]!);
    return value;
  }

  get by(): AccessOrigin {
    return this.source.by;
  }

  /** Number of the vCPU, -1 for a device. */
  get vcpu(): number {
    return this.source.vcpu;
  }

  /** The instruction pointer: of the instruction that accesses, or that an event interrupts. */
  get rip(): bigint | undefined {
    const { rip } = this.source;
    return rip === undefined ? undefined : u64(rip);
  }
}

/** Page states, the digest of all handlers on a page: the highest counts. */
export const HANDLER_STATE = { none: 0, disabled: 1, write: 2, all: 3 } as const;

/** What handlers have made of an access. */
export const OUTCOME = { swallowed: 0, happens: 1, replaced: 2 } as const;
export type Outcome = (typeof OUTCOME)[keyof typeof OUTCOME];

/** Bytes of a little-endian number into all of `into`. */
export function setBytes(into: Uint8Array, value: bigint): void {
  let rest = BigInt.asUintN(into.length * 8, value);
  for (let i = 0; i < into.length; i++, rest >>= 8n) into[i] = Number(rest & 0xffn);
}
