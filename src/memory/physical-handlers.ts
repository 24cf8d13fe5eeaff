/**
 * Access handlers of guest-physical ranges.
 *
 * "write" and "all" handlers watch bytes of RAM or ROM, "mmio" handlers whole pages that are neither. Ranges never overlap.
 * A page can be turned off for one handler; an MMIO page can be backed by device memory for a while: both end with `reset`.
 */
import { hex, MemoryError } from "./errors.ts";
import { PAGE_SIZE } from "./layout.ts";
import { FOUR_GIB } from "./page-map.ts";
import { type AccessCallback, HANDLER_STATE } from "./watched-access.ts";

export type PhysicalKind = "mmio" | "write" | "all";

export interface PhysicalHandlerOptions {
  readonly kind: PhysicalKind;
  readonly base: number;
  readonly length: number;
  /** Who watches: conflicts are reported with it. */
  readonly owner: string;
  readonly callback: AccessCallback;
}

const pageOf = (address: number): number => address - (address % PAGE_SIZE);

export class PhysicalHandler {
  readonly kind: PhysicalKind;
  /** Changed by `PhysicalHandlers` alone. */
  base: number;
  length: number;
  owner: string;
  callback: AccessCallback;
  /** Times that it was called. */
  hits = 0;
  /** Pages that are turned off. */
  readonly off = new Set<number>();
  /** MMIO pages that are backed by device memory: its host offset. */
  readonly aliases = new Map<number, number>();

  constructor({ kind, base, length, owner, callback }: PhysicalHandlerOptions) {
    this.kind = kind;
    this.base = base;
    this.length = length;
    this.owner = owner;
    this.callback = callback;
  }

  get end(): number {
    return this.base + this.length;
  }

  stateOn(page: number): number {
    if (this.off.has(page) || this.aliases.has(page)) return HANDLER_STATE.disabled;
    return this.kind === "write" ? HANDLER_STATE.write : HANDLER_STATE.all;
  }

  overlaps(address: number, length: number): boolean {
    return this.base < address + length && address < this.end;
  }

  toString(): string {
    return `'${this.owner}' (${this.kind}, ${hex(this.base)}-${hex(this.end - 1)})`;
  }
}

/** What the registry needs of guest memory. */
export interface PhysicalHandlerHost {
  isMemory(base: number, length: number): boolean;
  overlaps(base: number, length: number): boolean;
  add(handler: PhysicalHandler, page: number): void;
  remove(handler: PhysicalHandler, page: number): void;
  recompute(page: number, pages: number): void;
  /** Device memory at an MMIO page; -1: nothing. */
  mapAlias(page: number, hostOffset: number, writable: boolean): void;
  isDeviceMemory(hostOffset: number): boolean;
}

export class PhysicalHandlers {
  /** By address; they do not overlap. */
  private readonly handlers: PhysicalHandler[] = [];
  private readonly host: PhysicalHandlerHost;

  constructor(host: PhysicalHandlerHost) {
    this.host = host;
  }

  get count(): number {
    return this.handlers.length;
  }

  [Symbol.iterator](): Iterator<PhysicalHandler> {
    return this.handlers[Symbol.iterator]();
  }

  /**
   * Throws `HANDLER_RANGE` when the range does not fit the kind, and `HANDLER_CONFLICT` when another handler has any of its
   * bytes; nothing has changed then.
   */
  register(options: PhysicalHandlerOptions): PhysicalHandler {
    const handler = new PhysicalHandler(options);
    this.check(handler, handler.base, handler.length);
    this.enter(handler);
    return handler;
  }

  deregister(handler: PhysicalHandler): void {
    this.reset(handler);
    this.leave(handler);
  }

  /** The handler at an address, or the first that has any of `length` bytes there. */
  find(address: number, length = 1): PhysicalHandler | undefined {
    const handler = this.handlers[this.firstEndingAfter(address)];
    return handler?.overlaps(address, length) ? handler : undefined;
  }

  /** Moves a handler or changes its length. Pages that were turned off are on again. Throws as `register`. */
  modify(handler: PhysicalHandler, base: number, length: number): void {
    this.mustHave(handler);
    this.check(handler, base, length);
    this.reset(handler);
    this.leave(handler);
    handler.base = base;
    handler.length = length;
    this.enter(handler);
  }

  change(handler: PhysicalHandler, parts: { readonly callback?: AccessCallback; readonly owner?: string }): void {
    this.mustHave(handler);
    if (parts.callback) handler.callback = parts.callback;
    if (parts.owner) handler.owner = parts.owner;
  }

  /** Makes two of one: the given one ends before `at`, the new one begins there. Pages stay off as they are. */
  split(handler: PhysicalHandler, at: number): PhysicalHandler {
    this.mustHave(handler);
    const inside = Number.isSafeInteger(at) && at > handler.base && at < handler.end;
    if (!inside || (handler.kind === "mmio" && at % PAGE_SIZE !== 0)) {
      throw new MemoryError(
        "HANDLER_RANGE",
        `${handler} cannot be split at ${hex(at)}: give an address inside it${handler.kind === "mmio" ? ", at a page's start" : ""}`,
      );
    }
    const second = new PhysicalHandler({ ...handler, base: at, length: handler.end - at });
    for (let page = pageOf(at); page < handler.end; page += PAGE_SIZE) {
      if (handler.off.has(page)) second.off.add(page);
      const alias = handler.aliases.get(page);
      if (alias !== undefined) second.aliases.set(page, alias);
    }
    this.leave(handler);
    handler.length = at - handler.base;
    const end = handler.end;
    for (const page of [...handler.off]) if (page >= end) handler.off.delete(page);
    for (const page of [...handler.aliases.keys()]) if (page >= end) handler.aliases.delete(page);
    this.enter(handler);
    this.enter(second);
    return second;
  }

  /** Makes one of two neighbours of one kind: the first stays, with its owner and callback. */
  join(first: PhysicalHandler, second: PhysicalHandler): void {
    this.mustHave(first);
    this.mustHave(second);
    if (first.kind !== second.kind || first.end !== second.base) {
      throw new MemoryError(
        "HANDLER_RANGE",
        `${first} and ${second} cannot be joined: they are not neighbours of one kind`,
      );
    }
    this.leave(second);
    this.leave(first);
    first.length += second.length;
    for (const page of second.off) first.off.add(page);
    for (const [page, host] of second.aliases) first.aliases.set(page, host);
    this.enter(first);
  }

  /**
   * Turns the page around `address` off for this handler, until `reset`. A call that has begun still ends: the callback may
   * be running.
   */
  pageOff(handler: PhysicalHandler, address: number): void {
    const page = this.pageIn(handler, address);
    handler.off.add(page);
    this.host.recompute(page, 1);
  }

  /**
   * Backs the page around `address` of an MMIO handler with a page of device memory (`GuestMemory.allocateExtra`) until
   * `reset`: accesses go straight there. False: it was backed by that page already.
   */
  alias(handler: PhysicalHandler, address: number, hostOffset: number, writable = true): boolean {
    const page = this.pageIn(handler, address);
    if (handler.kind !== "mmio" || !this.host.isDeviceMemory(hostOffset)) {
      throw new MemoryError(
        "HANDLER_RANGE",
        `${handler} cannot be backed by ${hex(hostOffset)}: only pages of device memory can stand behind MMIO pages`,
      );
    }
    if (handler.aliases.get(page) === hostOffset) return false;
    handler.aliases.set(page, hostOffset);
    this.host.mapAlias(page, hostOffset, writable);
    this.host.recompute(page, 1);
    return true;
  }

  /** Every page of the handler is on, and no MMIO page is backed by memory any more. */
  reset(handler: PhysicalHandler): void {
    this.mustHave(handler);
    const pages = [...handler.off, ...handler.aliases.keys()];
    for (const page of handler.aliases.keys()) this.host.mapAlias(page, -1, false);
    handler.off.clear();
    handler.aliases.clear();
    for (const page of pages) this.host.recompute(page, 1);
  }

  // ------------------------------------------------------------------------------------------------------------------

  private enter(handler: PhysicalHandler): void {
    this.handlers.splice(this.firstEndingAfter(handler.base), 0, handler);
    this.onPages(handler, (page) => this.host.add(handler, page));
  }

  private leave(handler: PhysicalHandler): void {
    this.mustHave(handler);
    this.handlers.splice(this.handlers.indexOf(handler), 1);
    this.onPages(handler, (page) => this.host.remove(handler, page));
  }

  private onPages(handler: PhysicalHandler, action: (page: number) => void): void {
    const first = pageOf(handler.base);
    let pages = 0;
    for (let page = first; page < handler.end; page += PAGE_SIZE, pages++) action(page);
    this.host.recompute(first, pages);
  }

  /** Index of the first handler that ends behind an address. */
  private firstEndingAfter(address: number): number {
    let low = 0;
    let high = this.handlers.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.handlers[middle]!.end <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  private check(handler: PhysicalHandler, base: number, length: number): void {
    const end = base + length;
    const isRange = Number.isSafeInteger(base) && Number.isSafeInteger(length) && base >= 0 && length > 0;
    const range = isRange ? `${hex(base)}-${hex(end - 1)}` : `${base} with ${length} bytes`;
    if (!isRange || end > FOUR_GIB) {
      throw new MemoryError("HANDLER_RANGE", `'${handler.owner}' cannot watch ${range}: give a range below 4 GiB`);
    }
    if (handler.kind === "mmio") {
      if (base % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0 || this.host.overlaps(base, length)) {
        const rule = "give whole pages that are neither RAM nor ROM";
        throw new MemoryError("HANDLER_RANGE", `'${handler.owner}' cannot handle MMIO at ${range}: ${rule}`);
      }
    } else if (!this.host.isMemory(base, length)) {
      const rule = "give a range within RAM or ROM";
      throw new MemoryError("HANDLER_RANGE", `'${handler.owner}' cannot watch ${range}: ${rule}`);
    }
    for (let at = this.firstEndingAfter(base); at < this.handlers.length; at++) {
      const other = this.handlers[at]!;
      if (!other.overlaps(base, length)) break;
      if (other === handler) continue;
      throw new MemoryError(
        "HANDLER_CONFLICT",
        `${hex(Math.max(base, other.base))} is watched by ${other} already: '${handler.owner}' cannot have ${range}`,
      );
    }
  }

  private pageIn(handler: PhysicalHandler, address: number): number {
    this.mustHave(handler);
    const page = pageOf(address);
    if (handler.overlaps(page, PAGE_SIZE)) return page;
    throw new MemoryError("HANDLER_RANGE", `${hex(address)} does not lie in a page of ${handler}`);
  }

  private mustHave(handler: PhysicalHandler): void {
    if (this.handlers[this.firstEndingAfter(handler.base)] === handler) return;
    throw new MemoryError("HANDLER_GONE", `${handler} is not registered: register it again`);
  }
}
