/**
 * The guest-physical address space of one machine, over the machine's one WebAssembly memory.
 *
 * RAM lies from 0 to `ramBytes` but for A0000-BFFFF (the VGA window of the PC memory map). C0000-FFFFF is RAM until it
 * is write-protected or covered by ROM. Whatever is not RAM or ROM belongs to `io/`: a claimed MMIO range or a hole.
 *
 * Two faces: what loaders use throws a `MemoryError` when something does not fit (a user's mistake); the accessors of devices never throw and never leave guest memory: holes read as all ones and drop writes,
 * ROM drops writes. A20 masks the CPU's addresses only: bus masters drive the whole address.
 */
import { describe } from "../arguments.ts";
import { AccessHandlers } from "./access-handlers.ts";
import { hex, MemoryError } from "./errors.ts";
import { type Layout, PAGE_FLAG, PAGE_SHIFT, PAGE_SIZE, planLayout, RAM_MAX } from "./layout.ts";
import { checkPages, FOUR_GIB, PAGE_ENTRY, PAGE_ENTRY_FLAGS, PageMap } from "./page-map.ts";
import { isMap, isPacked, type MemorySnapshot, packPages, type SavedMap, unpackPages } from "./snapshot.ts";
import { type AccessSource, DEVICE_SOURCE, OUTCOME } from "./watched-access.ts";

/** The VGA window: never RAM. */
export const VGA_WINDOW = { base: 0xa_0000, length: 0x2_0000 } as const;
/** What a PC can turn from RAM into ROM and back. */
export const SHADOW_AREA = { base: 0xc_0000, length: 0x4_0000 } as const;
/** At most this much of a BIOS image's end is seen again below 1 MiB (E0000-FFFFF). */
const BIOS_SHADOW_MAX = 0x2_0000;
const ONE_MIB = 0x10_0000;
const A20 = 0x10_0000;
const WASM_PAGE = 0x1_0000;

export interface GuestMemoryOptions {
  /** A multiple of 4 KiB, at most `RAM_MAX`. */
  readonly ramBytes: number;
  /** Room for ROM images and device memory; default 16 MiB, of which the host commits what is used. */
  readonly extraBytes?: number;
  readonly vcpus?: number;
}

/** Someone who caches translations or code: the CPUs. */
export interface MemoryListener {
  /** A page changed its kind, A20 switched, or dirty flags were taken: cached translations are stale. */
  flush(): void;
  /** A device or loader wrote to a page flagged `code`; the range does not leave that page. */
  written(gpa: number, length: number): void;
  /** Access handlers see more of these pages than before: cached translations to them, and no others, are stale. */
  watched?(gpa: number, length: number): void;
  /** Something else stands behind these pages: the same, and code in them has changed. */
  remapped?(gpa: number, length: number): void;
}

export type PageKind = "ram" | "rom" | "none";

export class GuestMemory {
  readonly layout: Layout;
  readonly memory: WebAssembly.Memory;
  /** The whole WebAssembly memory: index it with host offsets. It never grows, so views stay valid. */
  readonly bytes: Uint8Array;
  readonly data: DataView;
  /** One byte for each RAM page (`PAGE_FLAG`), index `gpa >>> 12`. */
  readonly pageFlags: Uint8Array;
  /** Device accesses (one for each contiguous part) that hit neither RAM nor ROM, and writes that ROM dropped. */
  readonly unassigned = { reads: 0, writes: 0, romWrites: 0 };

  /** Who watches which memory. */
  readonly handlers: AccessHandlers;

  private readonly pages = new PageMap();
  private readonly listeners: MemoryListener[] = [];
  /** Bytes of the layout's `extra` area that are handed out. */
  private extraUsed = 0;
  /** Bytes at its end that are handed out to the monitor itself, and what came back of them. */
  private monitorUsed = 0;
  private readonly monitorFree: { readonly host: number; readonly length: number }[] = [];
  private a20Enabled = true;

  /** Throws `RAM_SIZE` or `RAM_ALLOCATION`. */
  constructor(options: GuestMemoryOptions) {
    const { ramBytes, extraBytes = 0x100_0000, vcpus = 1 } = options;
    if (!Number.isInteger(ramBytes / PAGE_SIZE) || ramBytes <= 0 || ramBytes > RAM_MAX) {
      throw new MemoryError(
        "RAM_SIZE",
        `${ramBytes} bytes of RAM: give a multiple of 4096 between 4096 and ${RAM_MAX} (${RAM_MAX / ONE_MIB} MiB)`,
      );
    }
    this.layout = planLayout(ramBytes, extraBytes, vcpus);
    const wasmPages = this.layout.totalBytes / WASM_PAGE;
    try {
      this.memory = new WebAssembly.Memory({ initial: wasmPages, maximum: wasmPages });
    } catch (cause) {
      throw new MemoryError(
        "RAM_ALLOCATION",
        `the host cannot give ${ramBytes / ONE_MIB} MiB of memory for the guest's RAM; give the machine less`,
        { cause },
      );
    }
    this.bytes = new Uint8Array(this.memory.buffer);
    this.data = new DataView(this.memory.buffer);
    this.pageFlags = this.bytes.subarray(this.layout.pageFlags, this.layout.pageFlags + ramBytes / PAGE_SIZE);
    this.pages.map(0, ramBytes, this.layout.ram, PAGE_ENTRY.memory | PAGE_ENTRY.writable);
    this.pages.unmap(VGA_WINDOW.base, VGA_WINDOW.length);
    this.flagSpecialPages(VGA_WINDOW.base, VGA_WINDOW.length);
    this.handlers = new AccessHandlers({
      pageFlags: this.pageFlags,
      isMemory: (base, length) => this.isMemory(base, length),
      overlaps: (base, length) => this.overlaps(base, length),
      isDeviceMemory: (host) =>
        host % PAGE_SIZE === 0 && host >= this.layout.extra && host < this.layout.extra + this.extraUsed,
      mapAlias: (page, host, writable) => this.mapAlias(page, host, writable),
      raised: (page, pages) => {
        for (const listener of [...this.listeners]) listener.watched?.(page, pages * PAGE_SIZE);
      },
      allocateMonitor: (length) => this.allocateMonitor(length),
      releaseMonitor: (host, length) => this.monitorFree.push({ host, length }),
    });
  }

  get ramBytes(): number {
    return this.layout.ramBytes;
  }

  // ---- What a TLB fill asks ----------------------------------------------------------------------------------------

  /** The address that leaves the CPU: bit 20 is forced to 0 while A20 is off. */
  physical(gpa: number): number {
    return this.a20Enabled || (gpa & A20) === 0 ? gpa : gpa - A20;
  }

  /**
   * The page around `gpa` (already through `physical`): its host offset plus `PAGE_ENTRY` flags, or 0 when it is not
   * memory. Pages in ROM and write-protected RAM lack `PAGE_ENTRY.writable`. O(1).
   */
  pageEntry(gpa: number): number {
    return this.pages.entry(gpa);
  }

  /** Host offset of the byte at `gpa`, or -1 when it is not memory. */
  hostOffset(gpa: number): number {
    const entry = this.pages.entry(gpa);
    return entry === 0 ? -1 : entry - (entry & PAGE_ENTRY_FLAGS) + (gpa & (PAGE_SIZE - 1));
  }

  isWritable(gpa: number): boolean {
    return (this.pages.entry(gpa) & PAGE_ENTRY.writable) !== 0;
  }

  kind(gpa: number): PageKind {
    const entry = this.pages.entry(gpa);
    if (entry === 0) return "none";
    return entry & PAGE_ENTRY.writable ? "ram" : "rom";
  }

  /** True when any byte of the range is RAM or ROM. */
  overlaps(base: number, length: number): boolean {
    const end = Math.min(base + length, FOUR_GIB);
    for (let gpa = base - (base % PAGE_SIZE); gpa < end; gpa += PAGE_SIZE) {
      if (this.pages.entry(gpa) !== 0) return true;
    }
    return false;
  }

  /** True when every byte of the range is RAM or ROM. */
  isMemory(base: number, length: number): boolean {
    const end = base + length;
    if (end > FOUR_GIB) return false;
    for (let gpa = base - (base % PAGE_SIZE); gpa < end; gpa += PAGE_SIZE) {
      if (this.pages.entry(gpa) === 0) return false;
    }
    return true;
  }

  // ---- A20, ROM, listeners -----------------------------------------------------------------------------------------

  get a20(): boolean {
    return this.a20Enabled;
  }

  setA20(enabled: boolean): void {
    if (enabled === this.a20Enabled) return;
    this.a20Enabled = enabled;
    this.flushListeners();
  }

  /** Returns the function that ends the subscription. */
  listen(listener: MemoryListener): () => void {
    this.listeners.push(listener);
    return () => {
      const index = this.listeners.indexOf(listener);
      if (index >= 0) this.listeners.splice(index, 1);
    };
  }

  /**
   * Room for `length` bytes of ROM or device memory: a page-aligned host offset, zeroed. Throws `ROM_SIZE` when the
   * room planned in the layout is used up.
   */
  allocateExtra(length: number): number {
    const rounded = Math.ceil(length / PAGE_SIZE) * PAGE_SIZE;
    this.requireExtra(rounded);
    const offset = this.layout.extra + this.extraUsed;
    this.extraUsed += rounded;
    return offset;
  }

  private requireExtra(length: number): void {
    const left = this.layout.extraBytes - this.monitorUsed - this.extraUsed;
    if (length <= left) return;
    throw new MemoryError(
      "ROM_SIZE",
      `${length} bytes of ROM do not fit: ${left} bytes are left for ROM and device memory`,
    );
  }

  /** Zeroed pages that are no part of the machine's state, from the other end of the same area. */
  private allocateMonitor(length: number): number {
    const again = this.monitorFree.findIndex((free) => free.length === length);
    if (again < 0) {
      this.requireExtra(length);
      this.monitorUsed += length;
      return this.layout.extra + this.layout.extraBytes - this.monitorUsed;
    }
    const { host } = this.monitorFree[again]!;
    this.monitorFree.splice(again, 1);
    this.bytes.fill(0, host, host + length);
    return host;
  }

  /** One page of device memory in place of MMIO, or nothing again (-1). */
  private mapAlias(page: number, host: number, writable: boolean): void {
    if (host < 0) this.pages.unmap(page, PAGE_SIZE);
    else this.pages.map(page, PAGE_SIZE, host, PAGE_ENTRY.memory | (writable ? PAGE_ENTRY.writable : 0));
    this.flagSpecialPages(page, PAGE_SIZE);
    for (const listener of [...this.listeners]) listener.remapped?.(page, PAGE_SIZE);
  }

  /** Maps pages got from `allocateExtra` at `base`. */
  mapExtra(base: number, length: number, hostOffset: number, writable: boolean): void {
    checkPages(base, length);
    this.pages.map(base, length, hostOffset, PAGE_ENTRY.memory | (writable ? PAGE_ENTRY.writable : 0));
    this.flagSpecialPages(base, length);
    this.flushListeners();
  }

  /** Takes them away: `io/` answers there again. */
  unmapExtra(base: number, length: number): void {
    checkPages(base, length);
    this.pages.unmap(base, length);
    this.flagSpecialPages(base, length);
    this.flushListeners();
  }

  /** An image as ROM from `base` (whole pages; the rest of the last page reads as ones). */
  mapRom(base: number, image: Uint8Array): void {
    const length = this.romLength(image);
    checkPages(base, length);
    const host = this.allocateExtra(length);
    this.bytes.fill(0xff, host + image.length, host + length);
    this.bytes.set(image, host);
    this.mapExtra(base, length, host, false);
  }

  /**
   * A BIOS image: it ends at 4 GiB, where the CPU starts after reset, and its last 128 KiB (or all of it) are seen
   * again below 1 MiB.
   */
  mapBios(image: Uint8Array): void {
    const length = this.romLength(image);
    const host = this.allocateExtra(length);
    this.bytes.fill(0xff, host, host + length - image.length);
    this.bytes.set(image, host + length - image.length);
    this.mapExtra(FOUR_GIB - length, length, host, false);
    const shadow = Math.min(length, BIOS_SHADOW_MAX);
    this.mapExtra(ONE_MIB - shadow, shadow, host + length - shadow, false);
  }

  /**
   * A part of the BIOS area as it is without shadowing: the last 128 KiB of the ROM below 4 GiB, and nothing where there
   * is no ROM.
   */
  mapBiosWindow(base: number, length: number): void {
    checkPages(base, length);
    this.pages.unmap(base, length);
    const first = Math.max(base, ONE_MIB - BIOS_SHADOW_MAX);
    for (let gpa = first; gpa < base + length; gpa += PAGE_SIZE) {
      const entry = this.pages.entry(gpa + FOUR_GIB - ONE_MIB);
      if (entry !== 0) this.pages.map(gpa, PAGE_SIZE, entry - (entry & PAGE_ENTRY_FLAGS), entry & PAGE_ENTRY_FLAGS);
    }
    this.flagSpecialPages(base, length);
    this.flushListeners();
  }

  /**
   * RAM at its own place again, instead of ROM or a hole in front of it; read-only when not `writable`. This is what a
   * chipset's shadowing registers do to C0000-FFFFF.
   */
  mapRam(base: number, length: number, writable = true): void {
    checkPages(base, length);
    if (base + length > this.layout.ramBytes) {
      throw new MemoryError("OUTSIDE_RAM", `${hex(base)}-${hex(base + length - 1)} does not lie in RAM`);
    }
    const flags = PAGE_ENTRY.memory | (writable ? PAGE_ENTRY.writable : 0);
    this.pages.map(base, length, this.layout.ram + base, flags);
    this.flagSpecialPages(base, length);
    this.flushListeners();
  }

  // ---- Devices (bus masters): never throw, never leave guest memory ------------------------------------------------

  /** A handler may want to see accesses to the page: of its watching flags, any of `mask` is set. */
  isWatched(gpa: number, mask: number): boolean {
    if (gpa < this.layout.ramBytes) return gpa >= 0 && (this.pageFlags[gpa >>> PAGE_SHIFT]! & mask) !== 0;
    return this.handlers.any && (this.handlers.flags(gpa) & mask) !== 0;
  }

  read(gpa: number, into: Uint8Array, source = DEVICE_SOURCE): void {
    for (let done = 0; done < into.length; ) {
      const at = gpa + done;
      let length = this.run(at, into.length - done);
      if (this.handlers.any) length = this.cut(at, length, source);
      const host = this.hostOffset(at);
      if (host < 0) {
        this.unassigned.reads++;
        into.fill(0xff, done, done + length);
      } else {
        into.set(this.bytes.subarray(host, host + length), done);
      }
      if (this.isWatched(at, PAGE_FLAG.watchedAll))
        this.handlers.access("read", at, undefined, into.subarray(done, done + length), source);
      done += length;
    }
  }

  write(gpa: number, from: Uint8Array, source = DEVICE_SOURCE): void {
    for (let done = 0; done < from.length; ) {
      const at = gpa + done;
      let length = this.run(at, from.length - done);
      if (this.handlers.any) length = this.cut(at, length, source);
      let part = done === 0 && length === from.length ? from : from.subarray(done, done + length);
      done += length;
      if (this.isWatched(at, PAGE_FLAG.watchedWrite)) {
        part = part.slice();
        if (this.handlers.access("write", at, undefined, part, source) === OUTCOME.swallowed) continue;
      }
      const host = this.beginWrite(at);
      if (host >= 0) {
        this.bytes.set(part, host);
        this.endWrite(at, length);
      }
    }
  }

  /** What a device does is cut at pages and at the edges of handlers; walks read and write whole words, as CPUs do. */
  private cut(gpa: number, length: number, { by }: AccessSource): number {
    const inPage = Math.min(length, PAGE_SIZE - (gpa & (PAGE_SIZE - 1)));
    return by === "device" ? this.handlers.cut(gpa, inPage) - gpa : inPage;
  }

  private readFew(gpa: number, bytes: number, source: AccessSource): number {
    const data = new Uint8Array(bytes);
    this.read(gpa, data, source);
    return data.reduceRight((value, byte) => value * 256 + byte, 0);
  }

  private writeFew(gpa: number, bytes: number, value: number, source: AccessSource): void {
    const data = new Uint8Array(bytes);
    for (let i = 0; i < bytes; i++) data[i] = value >>> (i * 8);
    this.write(gpa, data, source);
  }

  read8(gpa: number): number {
    if (this.isWatched(gpa, PAGE_FLAG.watchedAll)) return this.readFew(gpa, 1, DEVICE_SOURCE);
    const host = this.hostOffset(gpa);
    if (host >= 0) return this.bytes[host]!;
    this.unassigned.reads++;
    return 0xff;
  }

  read16(gpa: number): number {
    if (this.isWatched(gpa, PAGE_FLAG.watchedAll)) return this.readFew(gpa, 2, DEVICE_SOURCE);
    const host = this.hostOffset(gpa);
    if (host >= 0 && (gpa & 0xfff) <= 0xffe) return this.data.getUint16(host, true);
    return this.read8(gpa) | (this.read8(gpa + 1) << 8);
  }

  read32(gpa: number, source = DEVICE_SOURCE): number {
    if (this.isWatched(gpa, PAGE_FLAG.watchedAll)) return this.readFew(gpa, 4, source);
    const host = this.hostOffset(gpa);
    if (host >= 0 && (gpa & 0xfff) <= 0xffc) return this.data.getUint32(host, true);
    return (this.read16(gpa) | (this.read16(gpa + 2) << 16)) >>> 0;
  }

  /** As `read32` of an aligned address, but nobody learns of it and nothing is counted. */
  peek32(gpa: number): number {
    const host = this.hostOffset(gpa);
    return host < 0 ? 0xffff_ffff : this.data.getUint32(host, true);
  }

  read64(gpa: number): bigint {
    return BigInt(this.read32(gpa)) | (BigInt(this.read32(gpa + 4)) << 32n);
  }

  write8(gpa: number, value: number): void {
    if (this.isWatched(gpa, PAGE_FLAG.watchedWrite)) {
      this.writeFew(gpa, 1, value, DEVICE_SOURCE);
      return;
    }
    const host = this.beginWrite(gpa);
    if (host < 0) return;
    this.bytes[host] = value;
    this.endWrite(gpa, 1);
  }

  write16(gpa: number, value: number): void {
    if ((gpa & 0xfff) > 0xffe) {
      this.write8(gpa, value);
      this.write8(gpa + 1, value >>> 8);
      return;
    }
    if (this.isWatched(gpa, PAGE_FLAG.watchedWrite)) {
      this.writeFew(gpa, 2, value, DEVICE_SOURCE);
      return;
    }
    const host = this.beginWrite(gpa);
    if (host < 0) return;
    this.data.setUint16(host, value, true);
    this.endWrite(gpa, 2);
  }

  write32(gpa: number, value: number, source = DEVICE_SOURCE): void {
    if ((gpa & 0xfff) > 0xffc) {
      this.write16(gpa, value);
      this.write16(gpa + 2, value >>> 16);
      return;
    }
    if (this.isWatched(gpa, PAGE_FLAG.watchedWrite)) {
      this.writeFew(gpa, 4, value, source);
      return;
    }
    const host = this.beginWrite(gpa);
    if (host < 0) return;
    this.data.setUint32(host, value, true);
    this.endWrite(gpa, 4);
  }

  write64(gpa: number, value: bigint): void {
    this.write32(gpa, Number(value & 0xffff_ffffn));
    this.write32(gpa + 4, Number((value >> 32n) & 0xffff_ffffn));
  }

  // ---- Loaders: throw when something does not fit ------------------------------------------------------------------

  /** Copies `bytes` into RAM. Throws `OUTSIDE_RAM`, before anything is written, when any of it is not RAM. */
  loadImage(gpa: number, bytes: Uint8Array): void {
    this.requireRam(gpa, bytes.length);
    this.write(gpa, bytes);
  }

  /** Fills RAM with one byte value. Throws `OUTSIDE_RAM` like `loadImage`. */
  fill(gpa: number, length: number, value: number): void {
    this.requireRam(gpa, length);
    for (let done = 0; done < length; ) {
      const chunk = this.run(gpa + done, length - done);
      if (this.handlers.any) {
        this.write(gpa + done, new Uint8Array(chunk).fill(value));
        done += chunk;
        continue;
      }
      const host = this.beginWrite(gpa + done);
      this.bytes.fill(value, host, host + chunk);
      this.endWrite(gpa + done, chunk);
      done += chunk;
    }
  }

  /** A copy of `length` bytes, holes as ones. */
  slice(gpa: number, length: number): Uint8Array {
    const copy = new Uint8Array(length);
    this.read(gpa, copy);
    return copy;
  }

  // ---- Dirty pages -------------------------------------------------------------------------------------------------

  /**
   * The RAM pages (guest-physical page numbers, ascending) written since the last call, and forgets them. Listeners
   * flush: a CPU sets the flag when it first maps a page writable, so its writable translations must go.
   */
  takeDirtyPages(): number[] {
    const taken: number[] = [];
    for (let page = 0; page < this.pageFlags.length; page++) {
      const flags = this.pageFlags[page]!;
      if ((flags & PAGE_FLAG.dirty) === 0) continue;
      this.pageFlags[page] = flags & ~PAGE_FLAG.dirty;
      taken.push(page);
    }
    if (taken.length > 0) this.flushListeners();
    return taken;
  }

  // ---- Snapshot ----------------------------------------------------------------------------------------------------

  save(): MemorySnapshot {
    return {
      version: 1,
      ramBytes: this.layout.ramBytes,
      ...this.saveMap(),
      extra: packPages(this.extraArea),
      ram: packPages(this.ramArea),
    };
  }

  /** What lies where, without contents. */
  saveMap(): SavedMap {
    return { a20: this.a20Enabled, map: this.pages.save(this.layout), extraBytes: this.extraUsed };
  }

  /**
   * Contents, mapping and A20 as they were saved; every RAM page becomes dirty, and listeners hear of every page flagged
   * `code`. Throws as `check` does, before it changes anything.
   */
  load(snapshot: MemorySnapshot): void {
    this.check(snapshot);
    this.loadMap(snapshot);
    this.loadContents(snapshot);
  }

  /**
   * Throws `SNAPSHOT_MISMATCH` when RAM has another size or ROM does not fit, `SNAPSHOT_INVALID` when the data are not
   * what `save` gives.
   */
  check(snapshot: MemorySnapshot): void {
    const { ramBytes, extraBytes } = this.layout;
    const isWhole = [snapshot.ramBytes, snapshot.extraBytes].every(
      (bytes) => Number.isInteger(bytes) && bytes % PAGE_SIZE === 0 && bytes >= 0,
    );
    if (!isWhole || typeof snapshot.a20 !== "boolean") throw notMemory();
    if (snapshot.version !== 1 || snapshot.ramBytes !== ramBytes || snapshot.extraBytes > extraBytes) {
      throw new MemoryError(
        "SNAPSHOT_MISMATCH",
        `the snapshot (version ${describe(snapshot.version)}) holds ${snapshot.ramBytes / ONE_MIB} MiB of RAM and ${snapshot.extraBytes} bytes of ROM; this machine has ${ramBytes / ONE_MIB} MiB and room for ${extraBytes} bytes (version 1)`,
      );
    }
    const limits = { ram: ramBytes, extra: snapshot.extraBytes };
    const packed = isPacked(snapshot.ram, limits.ram) && isPacked(snapshot.extra, limits.extra);
    if (!packed || !isMap(snapshot.map, limits)) throw notMemory();
  }

  /** The first half of `load`, after `check`: what lies where. */
  loadMap({ map, a20, extraBytes }: SavedMap): void {
    this.extraUsed = extraBytes;
    this.pages.load(map, this.layout);
    this.flagSpecialPages(0, this.layout.ramBytes);
    this.a20Enabled = a20;
    this.flushListeners();
  }

  /** The second half of `load`. */
  loadContents({ ram, extra }: Pick<MemorySnapshot, "ram" | "extra">): void {
    unpackPages(extra, this.extraArea);
    unpackPages(ram, this.ramArea);
    this.endWrite(0, this.layout.ramBytes);
  }

  private get ramArea(): Uint8Array {
    return this.bytes.subarray(this.layout.ram, this.layout.ram + this.layout.ramBytes);
  }

  private get extraArea(): Uint8Array {
    return this.bytes.subarray(this.layout.extra, this.layout.extra + this.extraUsed);
  }

  // ------------------------------------------------------------------------------------------------------------------

  /** How many bytes from `gpa`, at most `length`, one host copy can take: to the end of the page, and on while it fits. */
  private run(gpa: number, length: number): number {
    const entry = this.pages.entry(gpa);
    let bytes = PAGE_SIZE - (gpa & (PAGE_SIZE - 1));
    while (bytes < length) {
      const next = this.pages.entry(gpa + bytes);
      const pages = Math.ceil(bytes / PAGE_SIZE);
      if (entry === 0 ? next !== 0 : next !== entry + pages * PAGE_SIZE) break;
      bytes += PAGE_SIZE;
    }
    return Math.min(bytes, length);
  }

  /** Host offset for a write, or -1 when it is to be dropped. */
  private beginWrite(gpa: number): number {
    const entry = this.pages.entry(gpa);
    if (entry & PAGE_ENTRY.writable) return entry - (entry & PAGE_ENTRY_FLAGS) + (gpa & (PAGE_SIZE - 1));
    if (entry === 0) this.unassigned.writes++;
    else this.unassigned.romWrites++;
    return -1;
  }

  /** Dirty flags and reports for a run of pages that was written. */
  private endWrite(gpa: number, length: number): void {
    for (let page = gpa >>> PAGE_SHIFT; page * PAGE_SIZE < gpa + length; page++) {
      const from = Math.max(gpa, page * PAGE_SIZE);
      const to = Math.min(gpa + length, (page + 1) * PAGE_SIZE);
      // Device memory mapped outside RAM has no flags.
      if (page >= this.pageFlags.length) {
        if (this.handlers.any) this.handlers.written(from, to - from);
        continue;
      }
      const flags = this.pageFlags[page]! | PAGE_FLAG.dirty;
      this.pageFlags[page] = flags;
      if ((flags & PAGE_FLAG.code) !== 0) {
        for (let i = 0; i < this.listeners.length; i++) this.listeners[i]!.written(from, to - from);
      }
      if ((flags & PAGE_FLAG.watchedWrite) !== 0) this.handlers.written(from, to - from);
    }
  }

  /** Keeps `PAGE_FLAG.special` of the RAM pages in a range in step with the page map. */
  private flagSpecialPages(base: number, length: number): void {
    const plain = this.layout.ram + (PAGE_ENTRY.memory | PAGE_ENTRY.writable);
    const end = Math.min(base + length, this.layout.ramBytes);
    for (let gpa = base; gpa < end; gpa += PAGE_SIZE) {
      const page = gpa >>> PAGE_SHIFT;
      const others = this.pageFlags[page]! & ~PAGE_FLAG.special;
      this.pageFlags[page] = this.pages.entry(gpa) === plain + gpa ? others : others | PAGE_FLAG.special;
    }
  }

  private requireRam(gpa: number, length: number): void {
    const end = gpa + length;
    let fits = Number.isSafeInteger(gpa) && gpa >= 0 && end <= FOUR_GIB;
    for (let at = gpa; fits && at < end; at += PAGE_SIZE - (at % PAGE_SIZE)) fits = this.isWritable(at);
    if (!fits) {
      throw new MemoryError(
        "OUTSIDE_RAM",
        `${length} bytes at ${hex(gpa)} do not lie in RAM (${this.layout.ramBytes / ONE_MIB} MiB from 0, without the hole at 0xa0000); give the machine more memory`,
      );
    }
  }

  private romLength(image: Uint8Array): number {
    if (image.length === 0)
      throw new MemoryError("ROM_SIZE", "a ROM image of 0 bytes: give an image that is not empty");
    return Math.ceil(image.length / PAGE_SIZE) * PAGE_SIZE;
  }

  private flushListeners(): void {
    for (const listener of [...this.listeners]) listener.flush();
  }
}

function notMemory(): MemoryError {
  return new MemoryError("SNAPSHOT_INVALID", "the snapshot's memory is not what Portico saves: give another snapshot");
}
