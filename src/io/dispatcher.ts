/**
 * One access of one region: through the contexts, the journal and the counters.
 *
 * An access goes to the innermost context that has a handler; a handler that defers hands it outward unseen. Ring 3 may
 * answer with a promise: then the result is `WAIT`, the engine abandons its operation, and restarts it when `waiting`
 * settles. The journal answers what the operation had completed before. Nothing here allocates unless ring 3 is asked,
 * or something fails.
 */
import { describe } from "../arguments.ts";
import { Accounting } from "./accounting.ts";
import type { CoalescedRing } from "./coalesced-ring.ts";
import { NOBODY, RAW, RING0, RING3 } from "./counters.ts";
import { DeviceError, type DeviceErrorCode, type Direction } from "./errors.ts";
import { Journal, KIND } from "./journal.ts";
import type { DeviceAccess } from "./mmio-access.ts";
import type { RawDispatch } from "./raw-dispatch.ts";
import type { RegionStore } from "./region-store.ts";
import { COALESCED, COMMIT_LATER, DEFER, FLUSH_FIRST, type Ring3Read, type Ring3Write, UNUSED, WAIT } from "./types.ts";
import { Wait } from "./wait.ts";

/** What the dispatcher asks of its vCPU. */
export interface InstructionSource {
  /**
   * A number that changes whenever an operation is complete: the number of retired instructions and REP units. The same
   * number while an operation restarts. Where an operation ends without changing it, the engine calls `clearJournal`: an
   * instruction that faults (before its exception is delivered), and a delivery that is complete.
   */
  instructionTag(): number;
  /** A write was promised for after this instruction: call `flushCommits` before the next one. */
  requestCheck?(): void;
}

const ALL_ONES = 0xffff_ffff;

/** Bits of a value of `width` bytes, up to 32. */
export function maskOf(width: number): number {
  return width === 1 ? 0xff : width === 2 ? 0xffff : -1;
}

/** What a handler returns, beside a status. */
const RIGHT = { read: "a value (0 to 0xffffffff: use >>> 0)", write: "nothing" } as const;

/** Whether a handler's answer is a value: what it has beyond the access's width is cut off. A write's means nothing. */
function isValue(answer: unknown): answer is number {
  return typeof answer === "number" && answer >= 0 && answer <= ALL_ONES;
}

export class Dispatcher implements DeviceAccess {
  readonly journal = new Journal();
  readonly accounting = new Accounting();
  private readonly wait = new Wait();
  private readonly source: InstructionSource;
  private readonly stores: readonly RegionStore[];
  /** Some range has a ring-3 handler. While none has, no access can wait, and nobody needs the journal. */
  private journalled = false;
  /** The operation that the journal is about. */
  private tag = Number.NaN;
  /** Something waits, is pending, or observes: accesses take the long path. */
  private busy = false;
  /** A restarted operation has not caught up with its journal yet. */
  private replaying = false;
  private readonly raw: RawDispatch | undefined;
  /** What this dispatcher keeps emitted code from doing. */
  private readonly closed = { ports: false, mmio: false, observed: false };

  /** A ring-0 write of a retired instruction that ring 3 has yet to perform. */
  private readonly commit = {
    pending: false,
    store: undefined as RegionStore | undefined,
    region: 0,
    handler: undefined as Ring3Write | undefined,
    address: 0,
    offset: 0,
    value: 0,
    width: 0,
  };

  constructor(source: InstructionSource, stores: readonly RegionStore[], raw?: RawDispatch) {
    this.source = source;
    this.stores = stores;
    this.raw = raw;
    for (const store of stores) {
      store.whenRing3(() => {
        this.journalled = true;
        this.refresh();
      });
    }
  }

  /** To be called when what `busy` depends on has changed. */
  refresh(): void {
    this.busy = this.wait.active || this.commit.pending || this.accounting.active;
    const { raw } = this;
    if (raw === undefined) return;
    // A port access of emitted code is all that its instruction does, and needs no journal; other instructions make
    // several memory accesses.
    const ports = this.busy || this.replaying;
    const mmio = this.busy || this.journalled;
    raw.slots.close(Number(ports) - Number(this.closed.ports), Number(mmio) - Number(this.closed.mmio));
    this.closed.ports = ports;
    this.closed.mmio = mmio;
    const { active } = this.accounting;
    if (active !== this.closed.observed) raw.observe(active ? 1 : -1);
    this.closed.observed = active;
  }

  // ---- One access --------------------------------------------------------------------------------------------------

  /** The value (up to 32 bits; all ones from nobody), or `WAIT`. */
  deviceRead(store: RegionStore, region: number, address: number, width: number): number {
    if (this.busy || (this.journalled && !this.atJournalEnd())) {
      return this.deviceReadSlow(store, region, address, width);
    }
    const handler = store.innerRead[region]!;
    const answer = handler(address - store.origin[region]!, width);
    if (isValue(answer)) {
      store.counters[store.innerReadCounter[region]!]++;
      const value = (answer & maskOf(width)) >>> 0;
      if (this.journalled) this.journal.record(store.kind | width, address, value);
      return value;
    }
    return this.readOutward(store, region, store.innerReadContext[region]!, address, width, answer);
  }

  /** 0, or `WAIT`. `value` has no bits beyond `width`. */
  deviceWrite(store: RegionStore, region: number, address: number, value: number, width: number): number {
    if (this.busy || (this.journalled && !this.atJournalEnd())) {
      return this.deviceWriteSlow(store, region, address, value, width);
    }
    const handler = store.innerWrite[region]!;
    const answer = handler(address - store.origin[region]!, value, width);
    if (answer === undefined || isValue(answer)) {
      store.counters[store.innerWriteCounter[region]!]++;
      if (this.journalled) this.journal.record(store.kind | KIND.write | width, address, value);
      return 0;
    }
    return this.writeOutward(store, region, store.innerWriteContext[region]!, address, value, width, answer);
  }

  /** As `deviceRead`, when emitted code has asked the raw handler already: what it declines goes straight to ring 0. */
  deviceReadOutward(store: RegionStore, region: number, address: number, width: number): number {
    const handler = store.ring0Read[region];
    // Where accesses may wait, emitted code has not asked anybody.
    if (handler === undefined || !store.emittedRead[region]?.connected || this.busy || this.journalled) {
      return this.deviceRead(store, region, address, width);
    }
    this.accounting.deferral(store, region, RAW);
    const answer = handler(address - store.origin[region]!, width);
    if (!isValue(answer)) return this.readOutward(store, region, RING0, address, width, answer);
    this.accounting.count(store, region, RING0, false);
    return (answer & maskOf(width)) >>> 0;
  }

  deviceWriteOutward(store: RegionStore, region: number, address: number, value: number, width: number): number {
    const handler = store.ring0Write[region];
    if (handler === undefined || !store.emittedWrite[region]?.connected || this.busy || this.journalled) {
      return this.deviceWrite(store, region, address, value, width);
    }
    this.accounting.deferral(store, region, RAW);
    const answer = handler(address - store.origin[region]!, value, width);
    if (!(answer === undefined || isValue(answer))) {
      return this.writeOutward(store, region, RING0, address, value, width, answer);
    }
    this.accounting.count(store, region, RING0, true);
    return 0;
  }

  /** A write that the range's access mode drops: nobody's. */
  dropWrite(store: RegionStore, region: number, address: number, width: number): void {
    this.accounting.write(store, region, NOBODY, address, width, 0);
  }

  private deviceReadSlow(store: RegionStore, region: number, address: number, width: number): number {
    if (this.flushCommits() === WAIT) return WAIT;
    if (!this.atJournalEnd() && this.journal.answers(store.kind | width, address)) return this.journal.value();
    const context = store.innerReadContext[region]!;
    const began = this.accounting.now();
    const answer = store.innerRead[region]!(address - store.origin[region]!, width);
    this.accounting.spent(store, region, context, began);
    return this.readOutward(store, region, context, address, width, answer);
  }

  private deviceWriteSlow(store: RegionStore, region: number, address: number, value: number, width: number): number {
    if (this.flushCommits() === WAIT) return WAIT;
    if (!this.atJournalEnd() && this.journal.answers(store.kind | KIND.write | width, address)) return 0;
    const context = store.innerWriteContext[region]!;
    const began = this.accounting.now();
    const answer = store.innerWrite[region]!(address - store.origin[region]!, value, width);
    this.accounting.spent(store, region, context, began);
    return this.writeOutward(store, region, context, address, value, width, answer);
  }

  /** Goes on from what the handler of `context` answered (-1: there is no synchronous handler). */
  private readOutward(
    store: RegionStore,
    region: number,
    context: number,
    address: number,
    width: number,
    answer: number,
  ): number {
    if (answer === FLUSH_FIRST) {
      if (this.flushRing(store.regions[region]!.handlers.ring!) === WAIT) return WAIT;
      return this.deviceRead(store, region, address, width);
    }
    let from = context;
    let status = answer;
    const offset = address - store.origin[region]!;
    if (status === DEFER && from >= 0) this.accounting.deferral(store, region, from);
    const ring0 = store.ring0Read[region];
    if (status === DEFER && from === RAW && ring0 !== undefined) {
      from = RING0;
      const began = this.accounting.now();
      status = ring0(offset, width);
      this.accounting.spent(store, region, RING0, began);
      if (status === DEFER) this.accounting.deferral(store, region, RING0);
    }
    if (status === DEFER) {
      const ring3 = store.ring3Read[region];
      if (ring3 !== undefined) return this.callRing3Read(store, region, ring3, address, offset, width);
      status = UNUSED;
    }
    if (status === UNUSED) return this.finishRead(store, region, NOBODY, address, width, ALL_ONES);
    if (!isValue(status)) throw this.badResult(store, region, "read", address, width, status);
    return this.finishRead(store, region, from, address, width, status);
  }

  private writeOutward(
    store: RegionStore,
    region: number,
    context: number,
    address: number,
    value: number,
    width: number,
    // biome-ignore lint/suspicious/noConfusingVoidType: what Ring0Write returns
    answer: number | void,
  ): number {
    if (answer === COALESCED) {
      this.accounting.deferral(store, region, RING0);
      this.record(store.kind | KIND.write | width, address, value);
      return 0;
    }
    if (answer === FLUSH_FIRST) {
      if (this.flushRing(store.regions[region]!.handlers.ring!) === WAIT) return WAIT;
      return this.deviceWrite(store, region, address, value, width);
    }
    let from = context;
    let status = answer ?? 0;
    const offset = address - store.origin[region]!;
    if (status === DEFER && from >= 0) this.accounting.deferral(store, region, from);
    const ring0 = store.ring0Write[region];
    if (status === DEFER && from === RAW && ring0 !== undefined) {
      from = RING0;
      const began = this.accounting.now();
      status = ring0(offset, value, width) ?? 0;
      this.accounting.spent(store, region, RING0, began);
      if (status === DEFER) this.accounting.deferral(store, region, RING0);
    }
    const ring3 = store.ring3Write[region];
    if (status === DEFER) {
      if (ring3 !== undefined) return this.callRing3Write(store, region, ring3, address, offset, value, width, false);
      status = UNUSED;
    }
    if (status === COMMIT_LATER && from === RING0) {
      this.accounting.deferral(store, region, RING0);
      this.record(store.kind | KIND.write | width, address, value);
      this.commitLater(store, region, ring3, address, offset, value, width);
      return 0;
    }
    if (status !== UNUSED && !isValue(status)) throw this.badResult(store, region, "write", address, width, status);
    this.accounting.write(store, region, status === UNUSED ? NOBODY : from, address, width, value);
    this.record(store.kind | KIND.write | width, address, value);
    return 0;
  }

  /** Counts and records a completed read; gives its value cut to the width. */
  private finishRead(
    store: RegionStore,
    region: number,
    context: number,
    address: number,
    width: number,
    answer: number,
  ): number {
    const value = (answer & maskOf(width)) >>> 0;
    this.accounting.read(store, region, context, address, width, value);
    this.record(store.kind | width, address, value);
    return value;
  }

  // ---- The journal and waiting -------------------------------------------------------------------------------------

  get waiting(): Promise<void> | undefined {
    return this.wait.promise;
  }

  clearJournal(): void {
    this.journal.clear();
    this.caughtUp();
    if (this.wait.active && (!this.wait.forCommit || this.wait.failed)) this.endWait();
  }

  /** False while a restarted operation is still to be answered from the journal. */
  private atJournalEnd(): boolean {
    const { journal } = this;
    const tag = this.source.instructionTag();
    if (tag !== this.tag) {
      this.tag = tag;
      journal.clear();
    }
    if (journal.cursor !== journal.count) return false;
    this.caughtUp();
    return true;
  }

  private caughtUp(): void {
    if (!this.replaying) return;
    this.replaying = false;
    this.refresh();
  }

  private record(kind: number, address: number, value: number): void {
    if (this.journalled) this.journal.record(kind, address, value);
  }

  /** Abandons the operation; the result is to be called with what completes the access. */
  private beginWait(forCommit: boolean): (finish: () => DeviceError | undefined) => void {
    const settle = this.wait.begin(forCommit);
    this.journal.restart();
    this.refresh();
    return (finish) => {
      if (!settle(finish)) return;
      // What has just been recorded is answered when the restart gets there.
      this.journal.restart();
      this.replaying = true;
      this.endWait();
    };
  }

  private endWait(): void {
    this.wait.end();
    this.refresh();
  }

  // ---- Pending commits ---------------------------------------------------------------------------------------------

  /** True while a write of a retired instruction has not been performed. */
  get commitPending(): boolean {
    return this.commit.pending || (this.wait.active && this.wait.forCommit);
  }

  /** Performs a pending commit. Returns 0, or `WAIT` while ring 3 is busy with it (or with an access that waits). */
  flushCommits(): number {
    if (this.wait.active) return WAIT;
    if (!this.commit.pending) return 0;
    this.commit.pending = false;
    this.refresh();
    const { region, handler, address, offset, value, width } = this.commit;
    const store = this.commit.store!;
    if (handler !== undefined) {
      return this.callRing3Write(store, region, handler, address, offset, value, width, true);
    }
    this.accounting.write(store, region, NOBODY, address, width, value);
    return 0;
  }

  private commitLater(
    store: RegionStore,
    region: number,
    handler: Ring3Write | undefined,
    address: number,
    offset: number,
    value: number,
    width: number,
  ): void {
    const { commit } = this;
    commit.pending = true;
    commit.store = store;
    commit.region = region;
    commit.handler = handler;
    commit.address = address;
    commit.offset = offset;
    commit.value = value;
    commit.width = width;
    this.refresh();
    this.source.requestCheck?.();
  }

  // ---- Coalesced writes --------------------------------------------------------------------------------------------

  /** Performs all writes that wait in rings. Returns 0, or `WAIT` while ring 3 is busy with one. */
  flushCoalesced(): number {
    for (const store of this.stores) {
      for (const ring of store.rings) if (ring.count > 0 && this.flushRing(ring) === WAIT) return WAIT;
    }
    return 0;
  }

  /** Writes that wait in rings, the one that ring 3 is busy with included. */
  get coalescedPending(): boolean {
    return this.commitPending || this.stores.some(({ rings }) => [...rings].some(({ count }) => count > 0));
  }

  private flushRing(ring: CoalescedRing): number {
    if (this.wait.active) return WAIT;
    while (ring.count > 0) if (ring.take(this.performLater) === WAIT) return WAIT;
    return 0;
  }

  /** A write of an instruction that has retired; it is in no journal. */
  private readonly performLater = (
    space: unknown,
    region: number,
    offset: number,
    value: number,
    width: number,
  ): number => {
    const store = space as RegionStore;
    const address = store.origin[region]! + offset;
    const ring0 = store.ring0Write[region];
    const ring3 = store.ring3Write[region];
    const status = ring0 === undefined ? DEFER : (ring0(offset, value, width) ?? 0);
    if ((status === DEFER || status === COMMIT_LATER) && ring3 !== undefined) {
      return this.callRing3Write(store, region, ring3, address, offset, value, width, true);
    }
    const nobody = status === DEFER || status === COMMIT_LATER || status === UNUSED;
    if (!nobody && !isValue(status)) throw this.badResult(store, region, "write", address, width, status);
    this.accounting.write(store, region, nobody ? NOBODY : RING0, address, width, value);
    return 0;
  };

  // ---- Ring 3 ------------------------------------------------------------------------------------------------------

  private callRing3Read(
    store: RegionStore,
    region: number,
    handler: Ring3Read,
    address: number,
    offset: number,
    width: number,
  ): number {
    const began = this.accounting.now();
    const failed = (cause: unknown) => this.handlerFailed(store, region, "read", address, width, cause);
    const finish = (answer: number): DeviceError | undefined => {
      // Ring 3 is the outermost: when it defers, nobody is home either.
      const nobody = answer === UNUSED || answer === DEFER;
      if (!nobody && !isValue(answer)) return this.badResult(store, region, "read", address, width, answer);
      this.accounting.spent(store, region, RING3, began);
      this.finishRead(store, region, nobody ? NOBODY : RING3, address, width, nobody ? ALL_ONES : answer);
      return undefined;
    };
    let answer: number | Promise<number>;
    try {
      answer = handler(offset, width);
    } catch (cause) {
      this.beginWait(false)(() => failed(cause));
      return WAIT;
    }
    if (isPromise(answer)) {
      const settle = this.beginWait(false);
      answer.then(
        (value) => settle(() => finish(value)),
        (cause) => settle(() => failed(cause)),
      );
      return WAIT;
    }
    const error = finish(answer);
    if (error !== undefined) {
      this.beginWait(false)(() => error);
      return WAIT;
    }
    return ((answer < 0 ? ALL_ONES : answer) & maskOf(width)) >>> 0;
  }

  private callRing3Write(
    store: RegionStore,
    region: number,
    handler: Ring3Write,
    address: number,
    offset: number,
    value: number,
    width: number,
    forCommit: boolean,
  ): number {
    const began = this.accounting.now();
    const failed = (cause: unknown) => this.handlerFailed(store, region, "write", address, width, cause);
    const finish = () => {
      this.accounting.spent(store, region, RING3, began);
      this.accounting.write(store, region, RING3, address, width, value);
      // A committed write is in the journal since ring 0 promised it.
      if (!forCommit) this.record(store.kind | KIND.write | width, address, value);
      return undefined;
    };
    let answer: unknown;
    try {
      answer = handler(offset, value, width);
    } catch (cause) {
      this.beginWait(forCommit)(() => failed(cause));
      return WAIT;
    }
    if (!isPromise(answer)) {
      finish();
      return 0;
    }
    const settle = this.beginWait(forCommit);
    answer.then(
      () => settle(finish),
      (cause) => settle(() => failed(cause)),
    );
    return WAIT;
  }

  // ---- String transfers --------------------------------------------------------------------------------------------

  /** 1: go on; 0: units are being answered from the journal, one by one; or `WAIT`. */
  readyForString(): number {
    const atEnd = this.atJournalEnd();
    if (this.flushCommits() === WAIT) return WAIT;
    return atEnd ? 1 : 0;
  }

  /** A string callback's turn, timed and checked: the units it says it transferred. */
  callString(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    buffer: Uint8Array,
    width: number,
  ): number {
    const handler = direction === "read" ? store.readString[region]! : store.writeString[region]!;
    const units = Math.floor(buffer.length / width);
    const began = this.accounting.now();
    const done = handler(address - store.origin[region]!, buffer, width);
    this.accounting.spent(store, region, RING0, began);
    if (Number.isInteger(done) && done >= 0 && done <= units) return done;
    const reason = `its string handler says it transferred ${describe(done)} of ${units} units`;
    throw this.error("BAD_HANDLER_RESULT", store, region, direction, address, width, reason);
  }

  // ---- Failures ----------------------------------------------------------------------------------------------------

  private badResult(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    width: number,
    result: unknown,
  ): DeviceError {
    const reason = isPromise(result)
      ? "its handler returned a promise: wrap what may wait in ring3()"
      : `its handler returned ${describe(result)}, which is neither ${RIGHT[direction]} nor a status`;
    return this.error("BAD_HANDLER_RESULT", store, region, direction, address, width, reason);
  }

  private handlerFailed(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    width: number,
    cause: unknown,
  ): DeviceError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    return this.error("RING3_HANDLER_FAILED", store, region, direction, address, width, reason, cause);
  }

  private error(
    code: DeviceErrorCode,
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    width: number,
    reason: string,
    cause?: unknown,
  ): DeviceError {
    const range = { base: store.start[region]!, length: store.end[region]! - store.start[region]! };
    const access = {
      device: store.regions[region]?.owner ?? "?",
      space: store.space,
      range,
      direction,
      address,
      width,
    };
    return new DeviceError(code, access, reason, cause === undefined ? undefined : { cause });
  }
}

function isPromise(answer: unknown): answer is PromiseLike<number> {
  return typeof answer === "object" && answer !== null && typeof (answer as PromiseLike<number>).then === "function";
}
