/**
 * What watches each guest-physical page: physical handlers, pages of virtual handlers (links), page-table entries that
 * decide about watched linear addresses. Sparse: a page that nobody watches has no record.
 *
 * The state of a page is the highest of what its handlers ask for. The page's flags follow it: TLBs and generated code see
 * only those.
 */
import { PAGE_FLAG, PAGE_SHIFT, PAGE_SIZE } from "./layout.ts";
import { HANDLER_STATE } from "./watched-access.ts";

/** Something that watches bytes of a page. */
interface PageWatcher {
  /** Its share in the state of a page (guest-physical page address): `HANDLER_STATE`. */
  stateOn(page: number): number;
}

export interface PhysicalWatcher extends PageWatcher {
  readonly base: number;
}

export interface LinkWatcher extends PageWatcher {
  /** Of the registration of its handler. */
  readonly order: number;
  readonly linear: number;
}

/** Someone who wants to know when a page-table entry changes. */
export interface EntryReader {
  /** Physical addresses of the entries that it depends on. */
  readonly entries: readonly number[];
}

export interface PageRecord<Physical extends PhysicalWatcher, Link extends LinkWatcher, Reader extends EntryReader> {
  /** By address. */
  readonly physical: Physical[];
  /** In order of registration of their handlers, then by address. */
  readonly links: Link[];
  /** By the address of the entry. */
  readonly entries: Map<number, Set<Reader>>;
  state: number;
  flags: number;
}

export class PageWatches<Physical extends PhysicalWatcher, Link extends LinkWatcher, Reader extends EntryReader> {
  private readonly records = new Map<number, PageRecord<Physical, Link, Reader>>();
  private readonly pageFlags: Uint8Array;
  /** Cached translations to `pages` consecutive pages must go: more is watched than before. */
  private readonly raised: (page: number, pages: number) => void;

  constructor(pageFlags: Uint8Array, raised: (page: number, pages: number) => void) {
    this.pageFlags = pageFlags;
    this.raised = raised;
  }

  /** Pages with a record. */
  get size(): number {
    return this.records.size;
  }

  at(physical: number): PageRecord<Physical, Link, Reader> | undefined {
    return this.records.get(Math.floor(physical / PAGE_SIZE));
  }

  /** `HANDLER_STATE` of a page. */
  state(physical: number): number {
    return this.at(physical)?.state ?? HANDLER_STATE.none;
  }

  /** Watching `PAGE_FLAG`s of a page, of RAM or not. */
  flags(physical: number): number {
    return this.at(physical)?.flags ?? 0;
  }

  *[Symbol.iterator](): Generator<readonly [page: number, state: number]> {
    for (const [page, { state }] of this.records) if (state !== HANDLER_STATE.none) yield [page * PAGE_SIZE, state];
  }

  private record(number: number): PageRecord<Physical, Link, Reader> {
    let record = this.records.get(number);
    if (record === undefined) {
      record = { physical: [], links: [], entries: new Map(), state: HANDLER_STATE.none, flags: 0 };
      this.records.set(number, record);
    }
    return record;
  }

  addPhysical(handler: Physical, page: number): void {
    const { physical } = this.record(page / PAGE_SIZE);
    let at = physical.length;
    while (at > 0 && physical[at - 1]!.base > handler.base) at--;
    physical.splice(at, 0, handler);
  }

  removePhysical(handler: Physical, page: number): void {
    const record = this.at(page);
    const at = record?.physical.indexOf(handler) ?? -1;
    if (at >= 0) record!.physical.splice(at, 1);
  }

  addLink(link: Link, page: number): void {
    const { links } = this.record(page / PAGE_SIZE);
    let at = links.length;
    const follows = (other: Link) => (other.order - link.order || other.linear - link.linear) > 0;
    while (at > 0 && follows(links[at - 1]!)) at--;
    links.splice(at, 0, link);
    this.recompute(page, 1);
  }

  removeLink(link: Link, page: number): void {
    const record = this.at(page);
    const at = record?.links.indexOf(link) ?? -1;
    if (at < 0) return;
    record!.links.splice(at, 1);
    this.recompute(page, 1);
  }

  addReader(reader: Reader): void {
    for (const entry of reader.entries) {
      const { entries } = this.record(Math.floor(entry / PAGE_SIZE));
      const readers = entries.get(entry);
      if (readers) readers.add(reader);
      else entries.set(entry, new Set([reader]));
      this.recompute(entry - (entry % PAGE_SIZE), 1);
    }
  }

  removeReader(reader: Reader): void {
    for (const entry of reader.entries) {
      const record = this.at(entry);
      const readers = record?.entries.get(entry);
      if (!readers?.delete(reader) || readers.size > 0) continue;
      record!.entries.delete(entry);
      this.recompute(entry - (entry % PAGE_SIZE), 1);
    }
  }

  /** Who depends on entries of which any byte lies in the range, which does not leave its page. */
  readers(physical: number, length: number): Set<Reader> | undefined {
    const entries = this.at(physical)?.entries;
    if (entries === undefined || entries.size === 0) return undefined;
    let found: Set<Reader> | undefined;
    const collect = (readers: Set<Reader>) => {
      found ??= new Set();
      for (const reader of readers) found.add(reader);
    };
    if (entries.size <= length / 4) {
      for (const [entry, readers] of entries) if (entry < physical + length && physical < entry + 8) collect(readers);
      return found;
    }
    // Entries are 4 or 8 bytes long and aligned; a wide one begins at most 7 bytes before what is written.
    for (let entry = physical - (physical % 4) - 4; entry < physical + length; entry += 4) {
      const readers = entries.get(entry);
      if (readers) collect(readers);
    }
    return found;
  }

  /** State and flags of consecutive pages from what is on them. */
  recompute(first: number, pages: number): void {
    let from = -1;
    for (let i = 0; i < pages; i++) {
      const page = first + i * PAGE_SIZE;
      if (this.recomputeOne(page)) {
        if (from < 0) from = page;
      } else if (from >= 0) {
        this.raised(from, (page - from) / PAGE_SIZE);
        from = -1;
      }
    }
    if (from >= 0) this.raised(from, (first + pages * PAGE_SIZE - from) / PAGE_SIZE);
  }

  /** True: more is watched than before. */
  private recomputeOne(page: number): boolean {
    const number = page / PAGE_SIZE;
    const record = this.records.get(number);
    if (record === undefined) return false;
    let state: number = HANDLER_STATE.none;
    for (const handler of record.physical) state = Math.max(state, handler.stateOn(page));
    for (const link of record.links) state = Math.max(state, link.stateOn(page));
    record.state = state;
    let flags = state === HANDLER_STATE.all ? PAGE_FLAG.watchedAll | PAGE_FLAG.watchedWrite : 0;
    if (state === HANDLER_STATE.write || record.entries.size > 0) flags |= PAGE_FLAG.watchedWrite;
    const before = record.flags;
    record.flags = flags;
    if (number < this.pageFlags.length) {
      this.pageFlags[page >>> PAGE_SHIFT] =
        (this.pageFlags[page >>> PAGE_SHIFT]! & ~(PAGE_FLAG.watchedAll | PAGE_FLAG.watchedWrite)) | flags;
    }
    if (record.physical.length + record.links.length + record.entries.size === 0) this.records.delete(number);
    return (flags & ~before) !== 0;
  }
}
