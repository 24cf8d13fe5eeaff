/**
 * One access of one region: through the contexts, the journal and the counters.
 *
 * An access goes to the innermost context that has a handler; a handler that defers hands it outward unseen. Ring 3 may
 * answer with a promise: then the client gives `WAIT`, the engine abandons its operation, and restarts it when `waiting`
 * settles. The journal answers what the operation had completed before. Nothing here allocates unless ring 3 is asked,
 * or something fails.
 */
import { COUNTER, NOBODY, RAW, RING0, RING3 } from "./counters.ts";
import { DeviceError, type DeviceErrorCode, type Direction } from "./errors.ts";
import { Journal, KIND } from "./journal.ts";
import type { DeviceAccess } from "./mmio-access.ts";
import type { RegionStore } from "./region-store.ts";
import { COMMIT_LATER, CONTEXTS, type Context, DEFER, type Ring3Write, UNUSED, WAIT } from "./types.ts";

/** What the dispatcher asks of its vCPU. */
export interface InstructionSource {
  /**
   * A number that changes whenever an operation is complete: the number of retired instructions and REP units. The same
   * number while an operation restarts. Where an operation ends without retiring (a delivered interrupt or exception),
   * the engine calls `clearJournal`.
   */
  instructionTag(): number;
  /** A write was promised for after this instruction: leave the run loop and call `flushCommits` before the next one. */
  requestExit?(): void;
}

/** Sees each access that reached a device or nobody, once, when it completes. `value` is what was read or written. */
export type AccessListener = (
  space: "port" | "mmio",
  direction: Direction,
  address: number,
  width: number,
  value: number,
  context: Context | "unclaimed",
  owner: string | undefined,
) => void;

/** Reasons to leave the short path. */
const WAITING = 1;
const COMMIT = 2;
const INSTRUMENTED = 4;

const ALL_ONES = 0xffff_ffff;

/** Bits of a value of `width` bytes, up to 32. */
export function maskOf(width: number): number {
  return width === 1 ? 0xff : width === 2 ? 0xffff : -1;
}

export class Dispatcher implements DeviceAccess {
  readonly journal = new Journal();
  private readonly source: InstructionSource;
  /** Some range has a ring-3 handler. While none has, no access can wait, and nobody needs the journal. */
  private journalled = false;
  /** The operation that the journal is about. */
  private tag = Number.NaN;
  private flags = 0;

  private promise: Promise<void> | undefined;
  private wake: (() => void) | undefined;
  /** Counts waits: what settles after its wait was given up is ignored. */
  private generation = 0;
  /** The wait is for a commit of an instruction that has retired: it cannot be given up. */
  private waitsForCommit = false;
  private failed = false;

  // The pending commit.
  private commitStore: RegionStore | undefined;
  private commitRegion = 0;
  private commitHandler: Ring3Write | undefined;
  private commitAddress = 0;
  private commitOffset = 0;
  private commitWidth = 0;
  private commitValue = 0;

  private listener: AccessListener | undefined;
  private stopwatch: (() => number) | undefined;

  constructor(source: InstructionSource, stores: readonly RegionStore[]) {
    this.source = source;
    for (const store of stores) {
      store.whenRing3(() => {
        this.journalled = true;
      });
    }
  }

  // ---- Observation -------------------------------------------------------------------------------------------------

  get onAccess(): AccessListener | undefined {
    return this.listener;
  }
  set onAccess(listener: AccessListener | undefined) {
    this.listener = listener;
    this.instrument();
  }

  /** A clock in ns; while there is one, the time spent in each range and context is added up. */
  get timing(): (() => number) | undefined {
    return this.stopwatch;
  }
  set timing(now: (() => number) | undefined) {
    this.stopwatch = now;
    this.instrument();
  }

  private instrument(): void {
    const wanted = this.listener !== undefined || this.stopwatch !== undefined;
    this.flags = wanted ? this.flags | INSTRUMENTED : this.flags & ~INSTRUMENTED;
  }

  // ---- Waiting -----------------------------------------------------------------------------------------------------

  get waiting(): Promise<void> | undefined {
    return this.promise;
  }

  clearJournal(): void {
    this.journal.clear();
    if ((this.flags & WAITING) !== 0 && (!this.waitsForCommit || this.failed)) this.endWait();
  }

  /** True while a write of a retired instruction has not been performed. */
  get commitPending(): boolean {
    return (this.flags & COMMIT) !== 0 || ((this.flags & WAITING) !== 0 && this.waitsForCommit);
  }

  /** Performs a pending commit. Returns 0, or `WAIT` while ring 3 is busy with it (or with an access that waits). */
  flushCommits(): number {
    if ((this.flags & WAITING) !== 0) return WAIT;
    if ((this.flags & COMMIT) === 0) return 0;
    this.flags &= ~COMMIT;
    const { commitRegion: region, commitHandler: handler, commitAddress: address } = this;
    const store = this.commitStore!;
    const { commitValue: value, commitWidth: width } = this;
    if (handler === undefined) {
      this.countWrite(store, region, NOBODY, address, width, value);
      return 0;
    }
    return this.callRing3Write(store, region, handler, address, this.commitOffset, value, width, true);
  }

  /** False while a restarted operation is still to be answered from the journal. */
  private atJournalEnd(): boolean {
    const { journal } = this;
    const tag = this.source.instructionTag();
    if (tag !== this.tag) {
      this.tag = tag;
      journal.clear();
    }
    return journal.cursor === journal.count;
  }

  /** The operation is abandoned until `settle` has been called. */
  private wait(commit: boolean): (finish: () => DeviceError | undefined) => void {
    const generation = ++this.generation;
    this.flags |= WAITING;
    this.waitsForCommit = commit;
    this.journal.restart();
    let wake!: () => void;
    let fail!: (error: DeviceError) => void;
    const promise = new Promise<void>((resolve, reject) => {
      wake = resolve;
      fail = reject;
    });
    // Whoever runs the vCPU awaits it; one that is being disposed does not.
    promise.catch(() => {});
    this.promise = promise;
    this.wake = wake;
    return (finish) => {
      if (generation !== this.generation) return;
      const error = finish();
      if (error === undefined) {
        // What has just been recorded is answered when the restart gets there.
        this.journal.restart();
        this.endWait();
      } else {
        this.failed = true;
        fail(error);
      }
    };
  }

  private endWait(): void {
    this.generation++;
    this.flags &= ~WAITING;
    this.failed = false;
    this.promise = undefined;
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }

  // ---- One access of one region --------------------------------------------------------------------------------------

  /** The value (up to 32 bits; all ones from nobody), or `WAIT`. */
  deviceRead(store: RegionStore, region: number, address: number, width: number): number {
    if (this.flags !== 0 || (this.journalled && !this.atJournalEnd())) {
      return this.deviceReadSlow(store, region, address, width);
    }
    const handler = store.innerRead[region]!;
    const answer = handler(address - store.origin[region]!, width);
    if (answer >= 0) {
      store.counters[store.innerReadCounter[region]!]++;
      const value = (answer & maskOf(width)) >>> 0;
      if (this.journalled) this.journal.record(store.kind | width, address, value);
      return value;
    }
    return this.readOutward(store, region, store.innerReadContext[region]!, address, width, answer);
  }

  /** 0, or `WAIT`. `value` has no bits beyond `width`. */
  deviceWrite(store: RegionStore, region: number, address: number, value: number, width: number): number {
    if (this.flags !== 0 || (this.journalled && !this.atJournalEnd())) {
      return this.deviceWriteSlow(store, region, address, value, width);
    }
    const handler = store.innerWrite[region]!;
    const answer = handler(address - store.origin[region]!, value, width);
    if (answer === undefined || answer >= 0) {
      store.counters[store.innerWriteCounter[region]!]++;
      if (this.journalled) this.journal.record(store.kind | KIND.write | width, address, value);
      return 0;
    }
    return this.writeOutward(store, region, store.innerWriteContext[region]!, address, value, width, answer);
  }

  private deviceReadSlow(store: RegionStore, region: number, address: number, width: number): number {
    if (this.flushCommits() === WAIT) return WAIT;
    if (!this.atJournalEnd() && this.journal.answers(store.kind | width, address)) return this.journal.value();
    const context = store.innerReadContext[region]!;
    const began = this.stopwatch === undefined ? 0 : this.stopwatch();
    const answer = store.innerRead[region]!(address - store.origin[region]!, width);
    if (context >= 0) this.addTime(store, region, context, began);
    return this.readOutward(store, region, context, address, width, answer);
  }

  private deviceWriteSlow(store: RegionStore, region: number, address: number, value: number, width: number): number {
    if (this.flushCommits() === WAIT) return WAIT;
    if (!this.atJournalEnd() && this.journal.answers(store.kind | KIND.write | width, address)) return 0;
    const context = store.innerWriteContext[region]!;
    const began = this.stopwatch === undefined ? 0 : this.stopwatch();
    const answer = store.innerWrite[region]!(address - store.origin[region]!, value, width);
    if (context >= 0) this.addTime(store, region, context, began);
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
    let from = context;
    let status = answer;
    const offset = address - store.origin[region]!;
    if (status === DEFER && from >= 0) this.countDeferral(store, region, from);
    const ring0 = store.ring0Read[region];
    if (status === DEFER && from === RAW && ring0 !== undefined) {
      from = RING0;
      const began = this.stopwatch === undefined ? 0 : this.stopwatch();
      status = ring0(offset, width);
      this.addTime(store, region, RING0, began);
      if (status === DEFER) this.countDeferral(store, region, RING0);
    }
    if (status === DEFER) {
      const ring3 = store.ring3Read[region];
      if (ring3 !== undefined) return this.callRing3Read(store, region, ring3, address, offset, width);
      status = UNUSED;
    }
    if (status === UNUSED) return this.finishRead(store, region, NOBODY, address, width, ALL_ONES);
    if (!(status >= 0)) throw this.badResult(store, region, "read", address, width, status);
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
    let from = context;
    let status = answer ?? 0;
    const offset = address - store.origin[region]!;
    if (status === DEFER && from >= 0) this.countDeferral(store, region, from);
    const ring0 = store.ring0Write[region];
    if (status === DEFER && from === RAW && ring0 !== undefined) {
      from = RING0;
      const began = this.stopwatch === undefined ? 0 : this.stopwatch();
      status = ring0(offset, value, width) ?? 0;
      this.addTime(store, region, RING0, began);
      if (status === DEFER) this.countDeferral(store, region, RING0);
    }
    const ring3 = store.ring3Write[region];
    if (status === DEFER) {
      if (ring3 !== undefined) return this.callRing3Write(store, region, ring3, address, offset, value, width, false);
      status = UNUSED;
    }
    if (status === COMMIT_LATER && from === RING0) {
      this.countDeferral(store, region, RING0);
      this.record(store.kind | KIND.write | width, address, value);
      this.commitStore = store;
      this.commitRegion = region;
      this.commitHandler = ring3;
      this.commitAddress = address;
      this.commitOffset = offset;
      this.commitValue = value;
      this.commitWidth = width;
      this.flags |= COMMIT;
      this.source.requestExit?.();
      return 0;
    }
    if (status !== UNUSED && !(status >= 0)) throw this.badResult(store, region, "write", address, width, status);
    this.countWrite(store, region, status === UNUSED ? NOBODY : from, address, width, value);
    this.record(store.kind | KIND.write | width, address, value);
    return 0;
  }

  private record(kind: number, address: number, value: number): void {
    if (this.journalled) this.journal.record(kind, address, value);
  }

  // ---- Ring 3 ------------------------------------------------------------------------------------------------------

  private callRing3Read(
    store: RegionStore,
    region: number,
    handler: (offset: number, width: number) => number | Promise<number>,
    address: number,
    offset: number,
    width: number,
  ): number {
    const began = this.stopwatch === undefined ? 0 : this.stopwatch();
    let answer: number | Promise<number>;
    try {
      answer = handler(offset, width);
    } catch (cause) {
      this.wait(false)(() => this.handlerFailed(store, region, "read", address, width, cause));
      return WAIT;
    }
    if (typeof answer === "number" && isRing3Value(answer)) {
      this.addTime(store, region, RING3, began);
      return this.finishRead(store, region, ring3Context(answer), address, width, ring3Value(answer));
    }
    const settle = this.wait(false);
    const finish = (value: number): DeviceError | undefined => {
      if (!isRing3Value(value)) return this.badResult(store, region, "read", address, width, value);
      this.addTime(store, region, RING3, began);
      this.finishRead(store, region, ring3Context(value), address, width, ring3Value(value));
      return undefined;
    };
    if (isPromise(answer)) {
      answer.then(
        (value) => settle(() => finish(value)),
        (cause) => settle(() => this.handlerFailed(store, region, "read", address, width, cause)),
      );
    } else {
      const value = answer;
      settle(() => finish(value));
    }
    return WAIT;
  }

  private callRing3Write(
    store: RegionStore,
    region: number,
    handler: Ring3Write,
    address: number,
    offset: number,
    value: number,
    width: number,
    commit: boolean,
  ): number {
    const began = this.stopwatch === undefined ? 0 : this.stopwatch();
    let answer: unknown;
    try {
      answer = handler(offset, value, width);
    } catch (cause) {
      this.wait(commit)(() => this.handlerFailed(store, region, "write", address, width, cause));
      return WAIT;
    }
    if (!isPromise(answer)) {
      this.addTime(store, region, RING3, began);
      this.countWrite(store, region, RING3, address, width, value);
      // A committed write is in the journal since its instruction retired.
      if (!commit) this.record(store.kind | KIND.write | width, address, value);
      return 0;
    }
    const settle = this.wait(commit);
    const finish = () => {
      this.addTime(store, region, RING3, began);
      this.countWrite(store, region, RING3, address, width, value);
      if (!commit) this.record(store.kind | KIND.write | width, address, value);
      return undefined;
    };
    answer.then(
      () => settle(finish),
      (cause) => settle(() => this.handlerFailed(store, region, "write", address, width, cause)),
    );
    return WAIT;
  }

  // ---- String transfers ----------------------------------------------------------------------------------------------

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
    const began = this.stopwatch === undefined ? 0 : this.stopwatch();
    const done = handler(address - store.origin[region]!, buffer, width);
    this.addTime(store, region, RING0, began);
    if (!Number.isInteger(done) || done < 0 || done > units) {
      const reason = `its string handler says it transferred ${done} of ${units} units`;
      throw this.error("BAD_HANDLER_RESULT", store, region, direction, address, width, reason);
    }
    return done;
  }

  /** Counts and reports transferred units: of a region's ring 0, or (region 0) of nobody. */
  finishString(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    buffer: Uint8Array,
    width: number,
    units: number,
  ): void {
    const ring0 = region * COUNTER.perRegion + RING0 * COUNTER.perContext;
    if (direction === "read") {
      if (region === 0) store.unclaimed.read(address, units);
      else store.counters[ring0 + COUNTER.reads] += units;
    } else {
      if (region === 0) store.unclaimed.write(address, units);
      else store.counters[ring0 + COUNTER.writes] += units;
    }
    if (this.listener === undefined) return;
    for (let unit = 0; unit < units; unit++) {
      let value = 0;
      for (let i = width - 1; i >= 0; i--) value = value * 256 + buffer[unit * width + i]!;
      this.trace(store, region, direction, address, width, value, region === 0 ? NOBODY : RING0);
    }
  }

  // ---- Counting and reporting --------------------------------------------------------------------------------------

  /** Counts, records and reports a completed read; gives its value cut to the width. */
  private finishRead(
    store: RegionStore,
    region: number,
    context: number,
    address: number,
    width: number,
    answer: number,
  ): number {
    const value = (answer & maskOf(width)) >>> 0;
    if (region === 0) store.unclaimed.read(address, 1);
    else store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + COUNTER.reads]++;
    this.record(store.kind | width, address, value);
    if (this.listener !== undefined) this.trace(store, region, "read", address, width, value, context);
    return value;
  }

  private countWrite(
    store: RegionStore,
    region: number,
    context: number,
    address: number,
    width: number,
    value: number,
  ): void {
    if (region === 0) store.unclaimed.write(address, 1);
    else store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + COUNTER.writes]++;
    if (this.listener !== undefined) this.trace(store, region, "write", address, width, value, context);
  }

  /** A write that the range's access mode drops: nobody's. */
  dropWrite(store: RegionStore, region: number, address: number, width: number): void {
    this.countWrite(store, region, NOBODY, address, width, 0);
  }

  private countDeferral(store: RegionStore, region: number, context: number): void {
    store.counters[region * COUNTER.perRegion + context * COUNTER.perContext + COUNTER.deferrals]++;
  }

  private addTime(store: RegionStore, region: number, context: number, began: number): void {
    if (this.stopwatch !== undefined && context < NOBODY) store.times[region * 3 + context] += this.stopwatch() - began;
  }

  private trace(
    store: RegionStore,
    region: number,
    direction: Direction,
    address: number,
    width: number,
    value: number,
    context: number,
  ): void {
    const name = context === NOBODY ? "unclaimed" : CONTEXTS[context]!;
    this.listener?.(store.space, direction, address, width, value, name, store.regions[region]?.owner);
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
    const reason = `its handler returned ${String(result)}, which is neither a value (0 or more: use >>> 0) nor a status`;
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

/** Ring 3 is the outermost: when it defers, nobody is home either. */
function isRing3Value(answer: number): boolean {
  return answer >= 0 || answer === UNUSED || answer === DEFER;
}
function ring3Context(answer: number): number {
  return answer >= 0 ? RING3 : NOBODY;
}
function ring3Value(answer: number): number {
  return answer >= 0 ? answer : ALL_ONES;
}

function isPromise(answer: unknown): answer is PromiseLike<number> {
  return typeof answer === "object" && answer !== null && typeof (answer as PromiseLike<number>).then === "function";
}
