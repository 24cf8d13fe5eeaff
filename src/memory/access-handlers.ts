/**
 * Access handlers: who watches which memory, and what happens at an access.
 *
 * An access to a page with a handler never goes straight: no TLB entry allows it, and the slow paths of CPUs, page walks and
 * bus masters come here. Physical handlers are asked first, by address, then virtual ones in the order of their registration,
 * each of them once.
 */
import { describe } from "../arguments.ts";
import { hex, MemoryError } from "./errors.ts";
import { PAGE_SIZE } from "./layout.ts";
import { PageWatches } from "./page-watches.ts";
import { type PhysicalHandler, type PhysicalHandlerHost, PhysicalHandlers } from "./physical-handlers.ts";
import { type Link, type VirtualHandler, VirtualHandlers } from "./virtual-handlers.ts";
import {
  type AccessSource,
  HANDLER_STATE,
  OUTCOME,
  type Outcome,
  setBytes,
  type Verdict,
  WatchedAccess,
} from "./watched-access.ts";

const OFFSET = PAGE_SIZE - 1;

/** What this needs of guest memory. */
export interface HandlerHost
  extends Pick<PhysicalHandlerHost, "isMemory" | "overlaps" | "mapAlias" | "isDeviceMemory"> {
  readonly pageFlags: Uint8Array;
  /** More is watched in these pages than before: cached translations to them must go. */
  raised(page: number, pages: number): void;
  allocateMonitor(length: number): number;
  releaseMonitor(hostOffset: number, length: number): void;
}

export class AccessHandlers {
  readonly physical: PhysicalHandlers;
  readonly virtual: VirtualHandlers;
  /** A handler wants the machine to stop after the instruction. */
  onStop: () => void = () => {};
  /** A callback threw, or gave no verdict: the access happens, the machine cannot go on. */
  onFailure: (error: unknown) => void = (error) => {
    throw error;
  };
  private readonly pages: PageWatches<PhysicalHandler, Link, Link>;

  constructor(host: HandlerHost) {
    const pages = new PageWatches<PhysicalHandler, Link, Link>(host.pageFlags, (page, count) =>
      host.raised(page, count),
    );
    this.pages = pages;
    const recompute = (page: number, count = 1) => pages.recompute(page, count);
    this.physical = new PhysicalHandlers({
      isMemory: (base, length) => host.isMemory(base, length),
      overlaps: (base, length) => host.overlaps(base, length),
      mapAlias: (page, hostOffset, writable) => host.mapAlias(page, hostOffset, writable),
      isDeviceMemory: (hostOffset) => host.isDeviceMemory(hostOffset),
      add: (handler, page) => pages.addPhysical(handler, page),
      remove: (handler, page) => pages.removePhysical(handler, page),
      recompute,
    });
    this.virtual = new VirtualHandlers({
      addLink: (link, page) => pages.addLink(link, page),
      removeLink: (link, page) => pages.removeLink(link, page),
      addReader: (link) => pages.addReader(link),
      removeReader: (link) => pages.removeReader(link),
      recompute,
      allocate: (length) => host.allocateMonitor(length),
      release: (hostOffset, length) => host.releaseMonitor(hostOffset, length),
      failed: (error) => this.onFailure(error),
    });
  }

  /** Something is watched at all. */
  get any(): boolean {
    return this.pages.size > 0;
  }

  /** `HANDLER_STATE` of the page around a guest-physical address. */
  state(physical: number): number {
    return this.pages.state(physical);
  }

  /** Watching `PAGE_FLAG`s of any page; for pages of RAM `GuestMemory.pageFlags` has them, too. */
  flags(physical: number): number {
    return this.pages.flags(physical);
  }

  /** Pages that are not `HANDLER_STATE.none`. */
  states(): Map<number, number> {
    return new Map(this.pages);
  }

  /** The "mmio" handler whose page this is: it is asked before the device, if there is one. */
  mmio(physical: number): PhysicalHandler | undefined {
    return this.pages.at(physical)?.physical.find((handler) => handler.kind === "mmio");
  }

  /** Whether any handler has bytes of an access within one page; allocates nothing, for what falls beside. */
  covers(physical: number, length: number): boolean {
    const record = this.pages.at(physical);
    if (record === undefined) return false;
    const { physical: physicals, links } = record;
    for (let i = 0; i < physicals.length; i++) if (physicals[i]!.overlaps(physical, length)) return true;
    const offset = physical & OFFSET;
    for (let i = 0; i < links.length; i++) if (links[i]!.covers(offset, length)) return true;
    return false;
  }

  /**
   * An access within one page; `data` is what it reads or writes, and is changed where a handler replaces it. Once
   * swallowed it stays so. `linear` is the address that the CPU used.
   */
  access(
    kind: "read" | "write",
    physical: number,
    linear: number | undefined,
    data: Uint8Array,
    source: AccessSource,
    only?: PhysicalHandler,
  ): Outcome {
    const record = this.pages.at(physical);
    if (record === undefined) return OUTCOME.happens;
    const page = physical - (physical & OFFSET);
    const least = kind === "write" ? HANDLER_STATE.write : HANDLER_STATE.all;
    const length = data.length;
    let outcome: Outcome = OUTCOME.happens;
    const note = (next: Outcome) => {
      if (outcome !== OUTCOME.swallowed && next !== OUTCOME.happens) outcome = next;
    };
    // Handlers come and go while others are being called.
    // A CPU asks handlers of MMIO pages before the device, by themselves.
    const isCpu = source.by === "cpu";
    const physicals = only ? [only] : record.physical.filter((handler) => !isCpu || handler.kind !== "mmio");
    const links = only ? [] : [...record.links];
    for (const handler of physicals) {
      if (!handler.overlaps(physical, length) || handler.stateOn(page) < least) continue;
      note(this.call(handler, kind, physical, physical, linear, data, source));
    }
    const called: VirtualHandler[] = [];
    for (const link of links) {
      const { handler } = link;
      if (called.includes(handler) || link.stateOn() < least || !link.covers(physical - page, length)) continue;
      called.push(handler);
      // Of several pages of the handler that lie here, the one that was used.
      const used = links.find((one) => one.handler === handler && isUsed(one, linear, physical - page, length)) ?? link;
      note(this.call(handler, kind, used.linear + (physical - page), physical, linear, data, source));
    }
    return outcome;
  }

  /** A write to a page of the monitor. It does not happen where the handler has no opinion. */
  hypervisorWrite(handler: VirtualHandler, linear: number, data: Uint8Array, source: AccessSource): Outcome {
    return this.call(handler, "write", linear, -1, linear, data, source, "swallow");
  }

  private call(
    handler: PhysicalHandler | VirtualHandler,
    kind: "read" | "write",
    watched: number,
    physical: number,
    linear: number | undefined,
    data: Uint8Array,
    source: AccessSource,
    otherwise?: Verdict,
  ): Outcome {
    handler.hits++;
    const access = new WatchedAccess(kind, watched, physical, linear, data.slice(), source);
    let verdict: Verdict;
    try {
      verdict = checked(handler.callback(access), handler, access);
    } catch (error) {
      this.onFailure(error);
    }
    if (verdict === undefined) verdict = otherwise;
    if (verdict === undefined) return OUTCOME.happens;
    if (verdict === "stop") {
      this.onStop();
      return OUTCOME.happens;
    }
    if (verdict === "swallow") {
      if (kind === "read") data.fill(0xff);
      return OUTCOME.swallowed;
    }
    setBytes(data, verdict.value);
    return OUTCOME.replaced;
  }

  /**
   * Where to cut what a device does with `length` bytes at an address, all in one page: the end of the first piece that one
   * handler (or none) has.
   */
  cut(physical: number, length: number): number {
    const record = this.pages.at(physical);
    let end = physical + length;
    if (record === undefined) return end;
    const edge = (at: number) => {
      if (at > physical && at < end) end = at;
    };
    for (const handler of record.physical) {
      edge(handler.base);
      edge(handler.end);
    }
    const page = physical - (physical & OFFSET);
    for (const { linear, handler } of record.links) {
      edge(page + handler.start - linear);
      edge(page + handler.end - linear);
    }
    return end;
  }

  /** Bytes of a page that holds watched page-table entries have changed. */
  written(physical: number, length: number): void {
    const readers = this.pages.readers(physical, length);
    if (readers) this.virtual.entriesWritten(readers);
  }
}

/** Throws `MemoryError` `BAD_VERDICT` for what JavaScript lets a callback give. */
function checked(verdict: unknown, handler: PhysicalHandler | VirtualHandler, { kind, width, address }: WatchedAccess) {
  if (verdict === undefined || verdict === "swallow" || verdict === "stop") return verdict;
  const { value } = (verdict ?? {}) as { value?: unknown };
  if (typeof value === "bigint") return { value };
  const bytes = `${width} ${width === 1 ? "byte" : "bytes"}`;
  const given = value === undefined ? describe(verdict) : `{ value: ${describe(value)} }`;
  throw new MemoryError(
    "BAD_VERDICT",
    `${handler} failed on a ${kind} of ${bytes} at ${hex(address)}: its callback returned ${given}; give nothing, { value } with a bigint, "swallow" or "stop"`,
  );
}

function isUsed(link: Link, linear: number | undefined, offset: number, length: number): boolean {
  return linear !== undefined && link.linear === linear - offset && link.covers(offset, length);
}
