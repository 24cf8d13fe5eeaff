/**
 * The regions of one address space (ports or MMIO): who claims what, with which handlers and counters.
 *
 * A registration is one contiguous piece until part of it is unregistered; each piece has a number, and everything the
 * dispatcher needs is in arrays indexed by that number. Number 0 is "nobody". Pieces never overlap. Numbers are not used
 * again, so that the counters of a range outlive it.
 */
import type { CoalescedRing } from "./coalesced-ring.ts";
import { COUNTER, NOBODY, RAW, RING0, type UnclaimedCounts } from "./counters.ts";
import {
  describeRange,
  IoRangeError,
  type IoRangeErrorCode,
  MmioRangeConflictError,
  PortRangeConflictError,
  type Space,
} from "./errors.ts";
import { KIND } from "./journal.ts";
import type { RawDispatch, RawFunction } from "./raw-dispatch.ts";
import {
  COALESCED,
  DEFER,
  FLUSH_FIRST,
  type Range,
  type RangeHandlers,
  type Region,
  type Ring0Read,
  type Ring0Write,
  type Ring3Read,
  type Ring3Write,
  type StringRead,
  type StringWrite,
  UNUSED,
} from "./types.ts";

/** Who, other than a region, holds any of a range. */
export type Taken = (base: number, length: number) => string | undefined;
/** Keeps a space's look-up table in step: `number` now stands at `[start, end)`. */
export type Paint = (start: number, end: number, number: number) => void;

const CODES = {
  port: { invalid: "INVALID_PORT_RANGE", notFound: "PORT_RANGE_NOT_FOUND", notOwner: "NOT_PORT_RANGE_OWNER" },
  mmio: { invalid: "INVALID_MMIO_RANGE", notFound: "MMIO_RANGE_NOT_FOUND", notOwner: "NOT_MMIO_RANGE_OWNER" },
} as const satisfies Record<Space, Record<string, IoRangeErrorCode>>;

/** Stand-ins for handlers that are missing, so that every slot can be called. */
const defer = () => DEFER;
const unused = () => UNUSED;

export class RegionStore {
  readonly space: Space;
  /** Kind of this space's entries in a journal, without direction and width. */
  readonly kind: number;
  readonly unclaimed: UnclaimedCounts;

  /** Where each piece lies (`end` exclusive), and where its offsets count from. All 0 for number 0. */
  start = new Float64Array(64);
  end = new Float64Array(64);
  origin = new Float64Array(64);
  /** `MODE` numbers of the MMIO space. */
  readMode = new Uint8Array(64);
  writeMode = new Uint8Array(64);
  counters = new Float64Array(64 * COUNTER.perRegion);
  /** Nanoseconds in each context, when a client measures: `number * 3 + context`. */
  times = new Float64Array(64 * 3);

  /** The innermost synchronous handler of each direction, its context (-1: none), and the index of its counter. */
  readonly innerRead: Ring0Read[] = [unused];
  readonly innerWrite: Ring0Write[] = [unused];
  innerReadContext = new Int8Array(64);
  innerWriteContext = new Int8Array(64);
  innerReadCounter = new Int32Array(64);
  innerWriteCounter = new Int32Array(64);
  /** Where emitted code finds the piece, 0 when it does not. */
  slot = new Uint16Array(64);

  /** The raw handlers that emitted code can reach. */
  readonly emittedRead: (RawFunction | undefined)[] = [undefined];
  readonly emittedWrite: (RawFunction | undefined)[] = [undefined];
  readonly ring0Read: (Ring0Read | undefined)[] = [undefined];
  readonly ring0Write: (Ring0Write | undefined)[] = [undefined];
  readonly ring3Read: (Ring3Read | undefined)[] = [undefined];
  readonly ring3Write: (Ring3Write | undefined)[] = [undefined];
  readonly readString: (StringRead | undefined)[] = [undefined];
  readonly writeString: (StringWrite | undefined)[] = [undefined];
  /** Which contexts had a handler at all, for the statistics: bit `context`. */
  readonly contexts: number[] = [0];

  /** The registration behind each piece. */
  readonly regions: (StoredRegion | undefined)[] = [undefined];
  /** Mapped pieces, by address. */
  readonly order: number[] = [];

  /** Where writes of these regions wait. */
  readonly rings = new Set<CoalescedRing>();
  /** Changes whenever a piece appears or disappears. */
  generation = 0;
  private hasRing3 = false;
  private readonly ring3Listeners: (() => void)[] = [];
  private readonly limit: number;
  private readonly paint: Paint;
  private readonly raw: RawDispatch | undefined;
  private readonly taken: Taken | undefined;

  /**
   * `limit` is the first address beyond the space; `raw` the way of emitted code to it; `taken` knows what lies there
   * that is no region.
   */
  constructor(
    space: Space,
    limit: number,
    paint: Paint,
    unclaimed: UnclaimedCounts,
    raw: RawDispatch | undefined,
    taken?: Taken,
  ) {
    this.space = space;
    this.kind = space === "mmio" ? KIND.mmio : 0;
    this.limit = limit;
    this.paint = paint;
    this.unclaimed = unclaimed;
    this.raw = raw;
    this.taken = taken;
    this.innerReadContext[0] = NOBODY;
    this.innerWriteContext[0] = NOBODY;
  }

  /** Numbers handed out, 0 included. */
  get count(): number {
    return this.regions.length;
  }

  /** See `PortSpace.register` and `MmioSpace.register`. */
  register(owner: string, range: Range, handlers: RangeHandlers, readMode: number, writeMode: number): StoredRegion {
    const { base, length } = range;
    this.checkRange(owner, range);
    const { raw, ring0, ring3 } = handlers;
    if (!(raw?.read || raw?.write || ring0?.read || ring0?.write || ring3?.read || ring3?.write)) {
      throw new IoRangeError(
        "NO_HANDLERS",
        { base, length },
        owner,
        `'${owner}' gives neither a read nor a write handler for ${describeRange(this.space, range)}; give at least one`,
      );
    }
    const region = new StoredRegion(this, owner, base, length, handlers, readMode, writeMode);
    this.checkFree(region, base, base + length);
    if (ring3 && !this.hasRing3) {
      this.hasRing3 = true;
      for (const listener of this.ring3Listeners) listener();
    }
    this.map(this.createPiece(region, base, base + length));
    return region;
  }

  /** Calls `listener` once some region has (or already had) a ring-3 handler: from then on accesses may wait. */
  whenRing3(listener: () => void): void {
    if (this.hasRing3) listener();
    else this.ring3Listeners.push(listener);
  }

  /** See `PortSpace.unregister`. */
  unregister(owner: string, range: Range): void {
    this.checkRange(owner, range);
    const from = range.base;
    const to = from + range.length;
    const pieces = this.piecesOf(owner, range);
    for (const piece of pieces) {
      const start = this.start[piece]!;
      const end = this.end[piece]!;
      this.unmap(piece);
      if (from <= start && end <= to) {
        this.retire(piece);
        continue;
      }
      const tail = start < from && to < end ? this.createPiece(this.regions[piece]!, to, end) : 0;
      if (from <= start) this.start[piece] = to;
      else this.end[piece] = from;
      this.map(piece);
      if (tail !== 0) this.map(tail);
    }
  }

  /** The mapped piece at an address, or 0. Logarithmic: the spaces' tables are for dispatch. */
  find(address: number): number {
    const piece = this.order[this.firstEndingAfter(address)];
    return piece !== undefined && this.start[piece]! <= address ? piece : 0;
  }

  /** Index in `order` of the first piece whose end lies beyond `address`. */
  firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.order.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.end[this.order[middle]!]! > address) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Throws the space's conflict error when somebody other than `region` claims any of `[start, end)`. */
  checkFree(region: StoredRegion, start: number, end: number): void {
    const range = { base: start, length: end - start };
    const taken = this.taken?.(start, end - start);
    if (taken !== undefined) throw this.conflict(region, range, { owner: taken, ...range });
    for (let index = this.firstEndingAfter(start); index < this.order.length; index++) {
      const piece = this.order[index]!;
      if (this.start[piece]! >= end) return;
      const { owner } = this.regions[piece]!;
      if (this.regions[piece] === region) continue;
      const base = this.start[piece]!;
      throw this.conflict(region, range, { owner, base, length: this.end[piece]! - base });
    }
  }

  /** Throws when a range is empty, wraps, is not made of integers, or leaves the space. */
  checkRange(owner: string, { base, length }: Range): void {
    const integers = Number.isSafeInteger(base) && Number.isSafeInteger(length);
    if (integers && base >= 0 && length >= 1 && base + length <= this.limit) return;
    throw this.invalid(owner, { base, length }, `give a range within 0-0x${(this.limit - 1).toString(16)}, not empty`);
  }

  invalid(owner: string, range: Range, advice: string): IoRangeError {
    const what = `base ${range.base}, length ${range.length} of '${owner}' is not a range of ${
      this.space === "port" ? "ports" : "MMIO"
    }`;
    return new IoRangeError(CODES[this.space].invalid, range, owner, `${what}: ${advice}`);
  }

  /** Puts a piece at its `start` to `end`. */
  map(piece: number): void {
    this.generation++;
    const start = this.start[piece]!;
    const end = this.end[piece]!;
    this.order.splice(this.firstEndingAfter(start), 0, piece);
    if (this.slot[piece] !== 0) {
      const { handlers, readMode, writeMode } = this.regions[piece]!;
      this.raw?.place(this.slot[piece]!, handlers, start, end, this.origin[piece]!, readMode !== 0, writeMode !== 0);
    }
    this.paint(start, end, piece);
  }

  /** Takes a piece off the space; its counters stay. */
  unmap(piece: number): void {
    this.generation++;
    this.order.splice(this.order.indexOf(piece), 1);
    this.paint(this.start[piece]!, this.end[piece]!, 0);
    if (this.slot[piece] !== 0) this.raw?.slots.invalidate(this.slot[piece]!);
  }

  /** An unmapped piece's end: nobody calls its handlers again. */
  retire(piece: number): void {
    const region = this.regions[piece]!;
    region.pieces.splice(region.pieces.indexOf(piece), 1);
    this.innerRead[piece] = unused;
    this.innerWrite[piece] = unused;
    this.ring0Read[piece] = this.ring3Read[piece] = this.readString[piece] = undefined;
    this.ring0Write[piece] = this.ring3Write[piece] = this.writeString[piece] = undefined;
    this.emittedRead[piece] = this.emittedWrite[piece] = undefined;
    const slot = this.slot[piece]!;
    if (slot === 0) return;
    const counters = piece * COUNTER.perRegion + RAW * COUNTER.perContext;
    this.counters[counters + COUNTER.reads] += this.emittedAccesses(piece, false);
    this.counters[counters + COUNTER.writes] += this.emittedAccesses(piece, true);
    this.slot[piece] = 0;
    this.raw?.slots.release(slot);
  }

  /** Accesses of a live piece that emitted code has made: they are not in `counters`. */
  emittedAccesses(piece: number, write: boolean): number {
    const slot = this.slot[piece]!;
    return slot === 0 ? 0 : (this.raw?.slots.count(slot, write) ?? 0);
  }

  private conflict(region: StoredRegion, range: Range, existing: Range & { owner: string }) {
    const conflict = { range, owner: region.owner, existing };
    return this.space === "port" ? new PortRangeConflictError(conflict) : new MmioRangeConflictError(conflict);
  }

  private createPiece(region: StoredRegion, start: number, end: number): number {
    const piece = this.regions.length;
    if (piece === this.start.length) this.grow();
    this.regions.push(region);
    region.pieces.push(piece);
    this.start[piece] = start;
    this.end[piece] = end;
    this.origin[piece] = region.base;
    this.readMode[piece] = region.readMode;
    this.writeMode[piece] = region.writeMode;

    const { raw, ring0, ring3 } = region.handlers;
    this.innerRead[piece] = raw?.read ?? ring0?.read ?? defer;
    this.innerWrite[piece] = raw?.write ?? ring0?.write ?? defer;
    this.innerReadContext[piece] = raw?.read ? RAW : ring0?.read ? RING0 : -1;
    this.innerWriteContext[piece] = raw?.write ? RAW : ring0?.write ? RING0 : -1;
    const counters = piece * COUNTER.perRegion;
    this.innerReadCounter[piece] = counters + Math.max(this.innerReadContext[piece]!, 0) * COUNTER.perContext;
    this.innerWriteCounter[piece] = counters + Math.max(this.innerWriteContext[piece]!, 0) * COUNTER.perContext + 1;
    this.ring0Read[piece] = ring0?.read;
    this.ring0Write[piece] = ring0?.write;
    this.ring3Read[piece] = ring3?.read;
    this.ring3Write[piece] = ring3?.write;
    this.readString[piece] = ring0?.readString;
    this.writeString[piece] = ring0?.writeString;
    const has = (handlers: { read?: unknown; write?: unknown } | undefined, bit: number) =>
      handlers?.read || handlers?.write ? bit : 0;
    this.contexts[piece] = has(raw, 1) | has(ring0, 2) | has(ring3, 4);
    if (region.handlers.ring !== undefined) this.collectWrites(piece, region.handlers);
    // Emitted code would not look at the ring.
    this.slot[piece] = region.handlers.ring === undefined ? (this.raw?.allocate(region.handlers) ?? 0) : 0;
    const isEmitted = this.slot[piece] !== 0;
    this.emittedRead[piece] = isEmitted ? this.raw?.functionOf(raw?.read) : undefined;
    this.emittedWrite[piece] = isEmitted ? this.raw?.functionOf(raw?.write) : undefined;
    return piece;
  }

  /** Nothing goes past the writes of the device that wait. */
  private collectWrites(piece: number, { ring, coalesce }: RangeHandlers): void {
    if (ring === undefined) return;
    this.rings.add(ring);
    const read = this.innerRead[piece]!;
    const write = this.innerWrite[piece]!;
    this.innerRead[piece] = (offset, width) => (ring.count > 0 ? FLUSH_FIRST : read(offset, width));
    this.innerWrite[piece] = coalesce
      ? (offset, value, width) => (ring.append(this, piece, offset, value, width) ? COALESCED : FLUSH_FIRST)
      : (offset, value, width) => (ring.count > 0 ? FLUSH_FIRST : write(offset, value, width));
    if (coalesce) this.innerWriteContext[piece] = RING0;
    this.readString[piece] = this.writeString[piece] = undefined;
  }

  /** The pieces in a range, when all of it belongs to `owner`; otherwise throws, and nothing has changed. */
  private piecesOf(owner: string, range: Range): number[] {
    const codes = CODES[this.space];
    const to = range.base + range.length;
    const pieces: number[] = [];
    for (let address = range.base; address < to; ) {
      const piece = this.find(address);
      if (piece === 0) {
        const message = `0x${address.toString(16)} in ${describeRange(this.space, range)} is not registered, so '${owner}' cannot unregister it`;
        throw new IoRangeError(codes.notFound, range, owner, message);
      }
      const region = this.regions[piece]!;
      if (region.owner !== owner) {
        const message = `0x${address.toString(16)} in ${describeRange(this.space, range)} belongs to '${region.owner}', so '${owner}' cannot unregister it`;
        throw new IoRangeError(codes.notOwner, range, owner, message);
      }
      const start = Math.max(range.base, this.start[piece]!);
      const end = Math.min(to, this.end[piece]!);
      region.checkAlignment({ base: start, length: end - start });
      pieces.push(piece);
      address = this.end[piece]!;
    }
    return pieces;
  }

  private grow(): void {
    const size = this.start.length * 2;
    const double = <T extends Float64Array | Int32Array | Uint16Array | Int8Array | Uint8Array>(old: T, per = 1): T => {
      const more = new (old.constructor as new (length: number) => T)(size * per);
      more.set(old);
      return more;
    };
    this.start = double(this.start);
    this.end = double(this.end);
    this.origin = double(this.origin);
    this.readMode = double(this.readMode);
    this.writeMode = double(this.writeMode);
    this.counters = double(this.counters, COUNTER.perRegion);
    this.times = double(this.times, 3);
    this.innerReadContext = double(this.innerReadContext);
    this.innerWriteContext = double(this.innerWriteContext);
    this.innerReadCounter = double(this.innerReadCounter);
    this.innerWriteCounter = double(this.innerWriteCounter);
    this.slot = double(this.slot);
  }
}

/** One registration: what is left of it, and where. */
export class StoredRegion implements Region {
  readonly owner: string;
  readonly length: number;
  readonly handlers: RangeHandlers;
  readonly readMode: number;
  readonly writeMode: number;
  /** Numbers of the pieces that are left. */
  readonly pieces: number[] = [];
  private readonly store: RegionStore;
  private origin: number;
  private isMapped = true;

  constructor(
    store: RegionStore,
    owner: string,
    base: number,
    length: number,
    handlers: RangeHandlers,
    readMode: number,
    writeMode: number,
  ) {
    this.store = store;
    this.owner = owner;
    this.origin = base;
    this.length = length;
    this.handlers = handlers;
    this.readMode = readMode;
    this.writeMode = writeMode;
    this.checkAlignment({ base, length });
  }

  /** Where offset 0 lies (or lay last), whatever has been cut away since. */
  get base(): number {
    return this.origin;
  }

  get mapped(): boolean {
    return this.isMapped;
  }

  /** What has not been unregistered, ascending. */
  get ranges(): Range[] {
    const { start, end } = this.store;
    return this.pieces
      .map((piece) => ({ base: start[piece]!, length: end[piece]! - start[piece]! }))
      .sort((a, b) => a.base - b.base);
  }

  move(base: number | undefined): void {
    const { store } = this;
    if (base !== undefined) {
      const target = { base, length: this.length };
      store.checkRange(this.owner, target);
      this.checkAlignment(target);
      const by = base - this.origin;
      for (const piece of this.pieces) store.checkFree(this, store.start[piece]! + by, store.end[piece]! + by);
    }
    if (this.isMapped) for (const piece of this.pieces) store.unmap(piece);
    this.isMapped = base !== undefined;
    if (base === undefined) return;
    const by = base - this.origin;
    this.origin = base;
    for (const piece of this.pieces) {
      store.start[piece] += by;
      store.end[piece] += by;
      store.origin[piece] = base;
      store.map(piece);
    }
  }

  dispose(): void {
    if (this.isMapped) for (const piece of this.pieces) this.store.unmap(piece);
    this.isMapped = false;
    for (const piece of [...this.pieces]) this.store.retire(piece);
  }

  /** A device that sees whole dwords needs whole dwords. */
  checkAlignment(range: Range): void {
    if (this.readMode === 0 && this.writeMode === 0) return;
    if (range.base % 4 === 0 && range.length % 4 === 0) return;
    throw this.store.invalid(
      this.owner,
      range,
      "with a dword access mode, base and length are multiples of 4; or use the pass-through modes",
    );
  }
}
