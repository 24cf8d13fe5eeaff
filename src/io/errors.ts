import { PorticoError } from "../errors.ts";
import type { Range } from "./types.ts";

/** Ports and MMIO are told apart everywhere by these words. */
export type Space = "port" | "mmio";
export type Direction = "read" | "write";

const hex = (value: number) => `0x${value.toString(16)}`;

/** `0x3f8-0x3ff`, or `0x80` for one byte. */
export function describeSpan({ base, length }: Range): string {
  return length === 1 ? hex(base) : `${hex(base)}-${hex(base + length - 1)}`;
}

/** `ports 0x3f8-0x3ff`, `port 0x80`, `MMIO 0xfed00000-0xfed003ff`. */
export function describeRange(space: Space, range: Range): string {
  if (space === "mmio") return `MMIO ${describeSpan(range)}`;
  return `${range.length === 1 ? "port" : "ports"} ${describeSpan(range)}`;
}

interface Conflict {
  /** The range that was asked for, and for whom. */
  readonly range: Range;
  readonly owner: string;
  /** Who is there already, and where. */
  readonly existing: Range & { readonly owner: string };
}

abstract class RangeConflictError extends PorticoError {
  readonly range: Range;
  readonly owner: string;
  readonly existing: Range & { readonly owner: string };

  constructor(code: string, space: Space, { range, owner, existing }: Conflict) {
    const verb = existing.length === 1 || space === "mmio" ? "is" : "are";
    const same = existing.base === range.base && existing.length === range.length;
    const wanted = same ? `'${owner}'` : `'${owner}' (${describeSpan(range)})`;
    super(
      code,
      `${describeRange(space, existing)} ${verb} already claimed by '${existing.owner}'; give ${wanted} another base`,
    );
    this.range = range;
    this.owner = owner;
    this.existing = existing;
  }
}

export class PortRangeConflictError extends RangeConflictError {
  constructor(conflict: Conflict) {
    super("PORT_RANGE_CONFLICT", "port", conflict);
  }
}

export class MmioRangeConflictError extends RangeConflictError {
  constructor(conflict: Conflict) {
    super("MMIO_RANGE_CONFLICT", "mmio", conflict);
  }
}

export type IoRangeErrorCode =
  /** Empty, wrapping, beyond the space, or not on dwords although the access mode needs it. */
  | "INVALID_PORT_RANGE"
  | "INVALID_MMIO_RANGE"
  /** Neither a read nor a write handler in any context. */
  | "NO_HANDLERS"
  /** Part of what is to be unregistered is not registered. */
  | "PORT_RANGE_NOT_FOUND"
  | "MMIO_RANGE_NOT_FOUND"
  /** Part of what is to be unregistered belongs to somebody else. */
  | "NOT_PORT_RANGE_OWNER"
  | "NOT_MMIO_RANGE_OWNER";

/** A registration that cannot be, or an unregistration of what is not there. */
export class IoRangeError extends PorticoError {
  declare readonly code: IoRangeErrorCode;
  readonly range: Range;
  readonly owner: string;

  constructor(code: IoRangeErrorCode, range: Range, owner: string, message: string) {
    super(code, message);
    this.range = range;
    this.owner = owner;
  }
}

export type DeviceErrorCode =
  /** A ring-3 handler threw, or its promise was rejected; `cause` is why. */
  | "RING3_HANDLER_FAILED"
  /** A handler answered with something that is neither a value (of up to 32 bits) nor a status it may give. */
  | "BAD_HANDLER_RESULT";

/** A device's handler failed: the machine cannot go on. */
export class DeviceError extends PorticoError {
  declare readonly code: DeviceErrorCode;
  readonly device: string;
  readonly space: Space;
  readonly range: Range;
  readonly direction: Direction;

  constructor(
    code: DeviceErrorCode,
    access: { device: string; space: Space; range: Range; direction: Direction; address: number; width: number },
    reason: string,
    options?: ErrorOptions,
  ) {
    const { device, space, range, direction, address, width } = access;
    const where = `${direction} of ${width} ${width === 1 ? "byte" : "bytes"} at ${hex(address)}`;
    super(code, `'${device}' (${describeRange(space, range)}) failed on a ${where}: ${reason}`, options);
    this.device = device;
    this.space = space;
    this.range = range;
    this.direction = direction;
  }
}
