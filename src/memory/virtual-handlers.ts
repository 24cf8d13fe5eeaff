/**
 * Access handlers of guest-linear ranges, tied to one address space or following the current one.
 *
 * "write" and "all" handlers have a link for each page: the guest-physical page that the guest's tables put behind it. The
 * links are exact at every moment, whatever the guest's TLB may still remember, because the page-table entries that a
 * translation went through are watched: a write to one of them looks up again what depends on it. Accesses through other
 * linear addresses of the same physical page are seen, because it is the physical page that is watched.
 *
 * A "hypervisor" handler puts a page of the monitor's own into linear space. No guest-physical page stands behind it.
 */
import { CountedBitmap } from "./counted-bitmap.ts";
import { hex, MemoryError } from "./errors.ts";
import { PAGE_SIZE } from "./layout.ts";
import { type AccessCallback, HANDLER_STATE } from "./watched-access.ts";

export type VirtualKind = "write" | "all" | "hypervisor";

/** A page of a watched range has moved. */
export interface Remap {
  /** Linear address of the page, unsigned. */
  readonly address: bigint;
  /** Guest-physical pages; `undefined`: none. */
  readonly old: number | undefined;
  readonly new: number | undefined;
}

export interface VirtualHandlerOptions {
  readonly kind: VirtualKind;
  /** Linear address: signed, as the CPU keeps it (the upper half is negative). */
  readonly start: number;
  readonly length: number;
  readonly owner: string;
  /** CR3 of the address space; without it the handler follows the current one. */
  readonly addressSpace?: number | undefined;
  readonly callback: AccessCallback;
  readonly onRemap?: ((remap: Remap) => void) | undefined;
}

/** How a CPU translates. */
export interface Translator {
  /** The current address space: CR3 as paging uses it; -1 while paging is off. */
  readonly space: number;
  /** CR3 as paging would use it. */
  spaceOf(cr3: number): number;
  /**
   * Guest-physical page behind a linear page in an address space, whatever the rights, or -1. The physical addresses of the
   * page-table entries that decided are added to `entries`. Nothing changes by looking.
   */
  translate(linear: number, space: number, entries: number[]): number;
  /** Cached translations of one linear page must go. */
  drop(linear: number): void;
  /** Where pages of the monitor are: linear pages [first, first + pages). */
  hypervisorRange(first: number, pages: number): void;
}

/** One page of a handler. */
export class Link {
  readonly handler: VirtualHandler;
  readonly linear: number;
  /** Guest-physical page, or -1. */
  physical = -1;
  entries: readonly number[] = [];

  constructor(handler: VirtualHandler, linear: number) {
    this.handler = handler;
    this.linear = linear;
  }

  get order(): number {
    return this.handler.order;
  }

  stateOn(): number {
    if (!this.handler.enabled) return HANDLER_STATE.disabled;
    return this.handler.kind === "write" ? HANDLER_STATE.write : HANDLER_STATE.all;
  }

  /** Whether the handler watches any of `length` bytes at this offset of the page. */
  covers(offset: number, length: number): boolean {
    const at = this.linear + offset;
    return this.handler.start < at + length && at < this.handler.end;
  }
}

export class VirtualHandler {
  readonly kind: VirtualKind;
  readonly start: number;
  readonly length: number;
  readonly owner: string;
  readonly space: number | undefined;
  readonly callback: AccessCallback;
  readonly onRemap: ((remap: Remap) => void) | undefined;
  /** Place in the order of registration. */
  readonly order: number;
  readonly links: Link[] = [];
  /** Host offset of a hypervisor handler's pages. */
  readonly host: number;
  /** Times that it was called, and times that one of its pages moved. */
  hits = 0;
  remaps = 0;
  enabled = true;

  constructor(options: VirtualHandlerOptions, space: number | undefined, order: number, host: number) {
    this.kind = options.kind;
    this.start = options.start;
    this.length = options.length;
    this.owner = options.owner;
    this.callback = options.callback;
    this.onRemap = options.onRemap;
    this.space = space;
    this.order = order;
    this.host = host;
  }

  get end(): number {
    return this.start + this.length;
  }

  toString(): string {
    const space = this.space === undefined ? "" : ` in ${hex(this.space)}`;
    return `'${this.owner}' (${this.kind}, ${linearHex(this.start)}-${linearHex(this.end - 1)}${space})`;
  }
}

/** What the registry needs of guest memory. */
export interface VirtualHandlerHost {
  addLink(link: Link, page: number): void;
  removeLink(link: Link, page: number): void;
  addReader(link: Link): void;
  removeReader(link: Link): void;
  recompute(page: number): void;
  /** Zeroed pages of the monitor: host offset. */
  allocate(length: number): number;
  release(hostOffset: number, length: number): void;
  failed(error: unknown): void;
}

/** Every page of a range has a link. */
const LENGTH_MAX = 2 ** 32;

const linearHex = (address: number): string => hex(BigInt.asUintN(64, BigInt(address)));
const pageOf = (address: number): number => Math.floor(address / PAGE_SIZE) * PAGE_SIZE;

export class VirtualHandlers {
  private readonly handlers: VirtualHandler[] = [];
  private readonly host: VirtualHandlerHost;
  private translator: Translator | undefined;
  /** Linear pages of "write" and "all" handlers. */
  private readonly pages = new CountedBitmap();
  private readonly hypervisor = new Map<number, VirtualHandler[]>();
  private registered = 0;

  constructor(host: VirtualHandlerHost) {
    this.host = host;
  }

  get count(): number {
    return this.handlers.length;
  }

  [Symbol.iterator](): Iterator<VirtualHandler> {
    return this.handlers[Symbol.iterator]();
  }

  /** The CPU whose address spaces these are. */
  attach(translator: Translator): void {
    this.translator = translator;
    this.updateHypervisorRange();
    this.resync();
  }

  /**
   * Throws `HANDLER_RANGE`, and `HANDLER_CONFLICT` when another handler of its tree ("write" and "all" share one) has any
   * of its bytes in the same address space; nothing has changed then.
   */
  register(options: VirtualHandlerOptions): VirtualHandler {
    const { kind, start, length, owner, addressSpace } = options;
    const end = start + length;
    const isRange = Number.isSafeInteger(start) && Number.isSafeInteger(length) && length > 0 && length <= LENGTH_MAX;
    const low = start >= 0 && end <= 2 ** 47;
    if (!isRange || !(low || (start >= -(2 ** 47) && end <= 0))) {
      throw new MemoryError(
        "HANDLER_RANGE",
        `'${owner}' cannot watch ${length} bytes at ${start}: give a range of canonical linear addresses, of up to 4 GiB`,
      );
    }
    const isHypervisor = kind === "hypervisor";
    if (isHypervisor && (start % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0)) {
      throw new MemoryError(
        "HANDLER_RANGE",
        `'${owner}' cannot insert ${length} bytes at ${linearHex(start)}: give whole pages`,
      );
    }
    const space = addressSpace === undefined ? undefined : (this.translator?.spaceOf(addressSpace) ?? addressSpace);
    for (const other of this.handlers) {
      const sameSpace = space === undefined || other.space === undefined || space === other.space;
      if ((other.kind === "hypervisor") !== isHypervisor || !sameSpace) continue;
      if (start >= other.end || other.start >= end) continue;
      throw new MemoryError(
        "HANDLER_CONFLICT",
        `${linearHex(Math.max(start, other.start))} is watched by ${other} already: '${owner}' cannot have ${linearHex(start)}-${linearHex(end - 1)}`,
      );
    }
    const host = isHypervisor ? this.host.allocate(length) : -1;
    const handler = new VirtualHandler(options, space, this.registered++, host);
    this.handlers.push(handler);
    if (isHypervisor) this.insert(handler);
    else this.link(handler);
    return handler;
  }

  deregister(handler: VirtualHandler): void {
    const at = this.handlers.indexOf(handler);
    if (at < 0) throw new MemoryError("HANDLER_GONE", `${handler} is not registered: register it again`);
    this.handlers.splice(at, 1);
    if (handler.kind === "hypervisor") this.withdraw(handler);
    for (const link of handler.links) {
      this.pages.remove(link.linear / PAGE_SIZE);
      this.host.removeReader(link);
      if (link.physical >= 0) this.host.removeLink(link, link.physical);
      link.physical = -1;
      link.entries = [];
    }
    handler.links.length = 0;
  }

  /** Off and on again; its pages keep their links. */
  enable(handler: VirtualHandler, enabled: boolean): void {
    handler.enabled = enabled;
    for (const { physical } of handler.links) if (physical >= 0) this.host.recompute(physical);
  }

  // --- links ----------------------------------------------------------------------------------------------------------

  private link(handler: VirtualHandler): void {
    for (let linear = pageOf(handler.start); linear < handler.end; linear += PAGE_SIZE) {
      const link = new Link(handler, linear);
      handler.links.push(link);
      this.pages.add(linear / PAGE_SIZE);
      this.look(link);
      // The CPU may remember an older translation, which leads to where nobody watches.
      this.translator?.drop(linear);
    }
  }

  /** Whether a linear page belongs to a "write" or "all" handler. */
  handles(linear: number): boolean {
    return this.pages.has(Math.floor(linear / PAGE_SIZE));
  }

  /** Translates again. True: the link has moved. */
  private look(link: Link): boolean {
    const { translator, host } = this;
    const entries: number[] = [];
    let physical = -1;
    if (translator !== undefined) {
      const { space } = link.handler;
      // What belongs to an address space has no place while there are none.
      const none = space !== undefined && translator.space < 0;
      if (!none) physical = translator.translate(link.linear, space ?? translator.space, entries);
    }
    if (entries.length !== link.entries.length || entries.some((entry, i) => entry !== link.entries[i])) {
      host.removeReader(link);
      link.entries = entries;
      host.addReader(link);
    }
    if (physical === link.physical) return false;
    const old = link.physical;
    link.physical = -1;
    if (old >= 0) host.removeLink(link, old);
    link.physical = physical;
    if (physical >= 0) host.addLink(link, physical);
    // A translation that the CPU still remembers would lead to where nobody watches any more.
    translator?.drop(link.linear);
    return true;
  }

  private lookAgain(links: Iterable<Link>): void {
    const moved: { link: Link; old: number; now: number }[] = [];
    for (const link of links) {
      const old = link.physical;
      if (this.look(link)) moved.push({ link, old, now: link.physical });
    }
    // Every state is as it will be before anybody is told.
    for (const { link, old, now } of moved) {
      const { handler, linear } = link;
      handler.remaps++;
      if (handler.onRemap === undefined) continue;
      try {
        handler.onRemap({
          address: BigInt.asUintN(64, BigInt(linear)),
          old: old < 0 ? undefined : old,
          new: now < 0 ? undefined : now,
        });
      } catch (error) {
        this.host.failed(error);
      }
    }
  }

  /** Page-table entries that these links depend on were written. */
  entriesWritten(links: Set<Link>): void {
    // In the order of registration, by address.
    this.lookAgain([...links].sort((a, b) => a.order - b.order || a.linear - b.linear));
  }

  /** INVLPG: cheap for a page that nobody watches. */
  invalidated(linear: number): void {
    if (!this.handles(linear)) return;
    const page = pageOf(linear);
    this.lookAgain(this.allLinks().filter((link) => link.linear === page));
  }

  /** CR3 was loaded, or the paging mode or the memory map changed. */
  resync(): void {
    if (this.handlers.length > 0) this.lookAgain(this.allLinks());
  }

  private allLinks(): Link[] {
    return this.handlers.flatMap((handler) => handler.links);
  }

  // --- pages of the monitor ----------------------------------------------------------------------------------------------

  private insert(handler: VirtualHandler): void {
    for (let linear = handler.start; linear < handler.end; linear += PAGE_SIZE) {
      const here = this.hypervisor.get(linear);
      if (here) here.push(handler);
      else this.hypervisor.set(linear, [handler]);
      this.translator?.drop(linear);
    }
    this.updateHypervisorRange();
  }

  private withdraw(handler: VirtualHandler): void {
    for (let linear = handler.start; linear < handler.end; linear += PAGE_SIZE) {
      const rest = this.hypervisor.get(linear)!.filter((other) => other !== handler);
      if (rest.length > 0) this.hypervisor.set(linear, rest);
      else this.hypervisor.delete(linear);
      this.translator?.drop(linear);
    }
    this.updateHypervisorRange();
    this.host.release(handler.host, handler.length);
  }

  private updateHypervisorRange(): void {
    let first = Number.POSITIVE_INFINITY;
    let last = Number.NEGATIVE_INFINITY;
    for (const linear of this.hypervisor.keys()) {
      first = Math.min(first, linear);
      last = Math.max(last, linear);
    }
    const pages = this.hypervisor.size === 0 ? 0 : (last - first) / PAGE_SIZE + 1;
    this.translator?.hypervisorRange(pages === 0 ? 0 : first, pages);
  }

  /** The monitor's page at a linear address, if there is one. */
  hypervisorAt(linear: number): VirtualHandler | undefined {
    if (this.hypervisor.size === 0) return undefined;
    const here = this.hypervisor.get(pageOf(linear));
    if (here === undefined) return undefined;
    const space = this.translator?.space;
    return here.find((handler) => handler.space === undefined || handler.space === space);
  }
}
