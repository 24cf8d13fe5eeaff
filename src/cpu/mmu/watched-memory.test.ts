/**
 * Access handlers against brute force: after every step page states, calls and remaps are what a plain model says, and no
 * cached translation lets an access pass that a handler should see.
 */
import { describe, expect, it } from "vitest";
import { BareVcpu, NO_DEVICES } from "../../../test/cpu/bare-vcpu.ts";
import { Random } from "../../../test/differential/prng.ts";
import { HANDLER_STATE, type PhysicalHandler, type VirtualHandler } from "../../memory/index.ts";
import { PAGE_FLAG, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_SIZE } from "../../memory/layout.ts";
import { CPU, STOP } from "../state.ts";
import { CR4 } from "../system/context.ts";
import { ABANDON } from "../vcpu-state.ts";
import { TLB_ENTRY } from "./tlb-layout.ts";

const PAGE = 4096;
const PAGES = 96;
const RAM = PAGES * PAGE;
/** Page tables lie in the first pages, three of them are roots. */
const TABLES = 16;
const ROOTS = [0, 1, 2].map((page) => page * PAGE);

type Mode = "paging32" | "pae" | "long";
type Walk = (cpu: number, linear: bigint, bytes: number) => number;
/** handler, kind or "remap", then what it was told. */
type Event = readonly (string | number | undefined)[];

interface ModelHandler {
  readonly id: string;
  readonly kind: "mmio" | "write" | "all";
  /** Linear for virtual handlers. */
  base: number;
  length: number;
  /** Virtual handlers only. */
  readonly isVirtual: boolean;
  readonly space: number | undefined;
  readonly off: Set<number>;
  enabled: boolean;
  /** Physical page of each linear page. */
  readonly links: Map<number, number>;
  readonly real: { physical?: PhysicalHandler; virtual?: VirtualHandler };
}

const pageOf = (address: number) => Math.floor(address / PAGE) * PAGE;

/** What the hardware manual says, over a copy of RAM. */
class Model {
  readonly ram = new Uint8Array(RAM);
  readonly data = new DataView(this.ram.buffer);
  readonly handlers: ModelHandler[] = [];
  readonly events: Event[] = [];
  root = 0;
  pdpte: bigint[] = [];
  readonly mode: Mode;

  constructor(mode: Mode) {
    this.mode = mode;
  }

  private byte(at: number): number {
    return at < RAM ? this.ram[at]! : 0xff;
  }

  word(at: number, bytes: number): bigint {
    let value = 0n;
    for (let i = bytes - 1; i >= 0; i--) value = value * 256n + BigInt(this.byte(at + i));
    return value;
  }

  loadRoot(root: number): void {
    this.root = root;
    this.pdpte = [0, 1, 2, 3].map((i) => this.word(root + i * 8, 8));
  }

  /** The entries of a walk, from the top, and where it ends (-1: nowhere). */
  walk(linear: number, root = this.root): { physical: number; entries: number[]; pointer: number | undefined } {
    const entries: number[] = [];
    const { mode } = this;
    const nowhere = (pointer?: number) => ({ physical: -1, entries, pointer });
    if (mode !== "long" && (linear < 0 || linear >= 2 ** 32)) return nowhere();
    const address = BigInt.asUintN(48, BigInt(linear));
    const levels = { paging32: [22, 12], pae: [21, 12], long: [39, 30, 21, 12] }[mode];
    const [size, bits] = mode === "paging32" ? [4, 10n] : [8, 9n];
    let table = root;
    let pointer: number | undefined;
    if (mode === "pae") {
      const index = Number(address >> 30n);
      if (root !== this.root) pointer = root + index * 8;
      const entry = pointer === undefined ? this.pdpte[index]! : this.word(pointer, 8);
      if ((entry & 1n) === 0n) return nowhere(pointer);
      table = Number(entry & 0xf_ffff_f000n);
    }
    for (const shift of levels) {
      const at = table + Number((address >> BigInt(shift)) & ((1n << bits) - 1n)) * size;
      entries.push(at);
      const entry = this.word(at, size);
      if ((entry & 1n) === 0n) return nowhere(pointer);
      const isLarge = (entry & 0x80n) !== 0n && shift !== 12;
      let reserved = mode === "paging32" ? 0n : mode === "pae" ? 0xffff_fff0_0000_0000n : 0x800f_fff0_0000_0000n;
      if (isLarge) reserved |= shift === 22 ? 0x3e_0000n : shift === 21 ? 0x1f_e000n : 0x80n;
      if (entry & reserved) return nowhere(pointer);
      if (isLarge && shift === 22) {
        const frame = (entry & 0xffc0_0000n) | (((entry >> 13n) & 0xfn) << 32n);
        return { physical: Number(frame | (address & 0x3f_ffffn)), entries, pointer };
      }
      const frame = entry & (mode === "paging32" ? 0xffff_f000n : 0xf_ffff_f000n);
      if (isLarge) return { physical: Number((frame & ~0x1f_ffffn) | (address & 0x1f_ffffn)), entries, pointer };
      table = Number(frame);
    }
    return { physical: table + (linear - pageOf(linear)), entries, pointer };
  }

  /** As a walk for an access does it: handlers see what it reads and writes in the tables. -1: a fault. */
  walkFor(linear: number, write: boolean): number {
    const { physical, entries } = this.walk(linear);
    const size = this.mode === "paging32" ? 4 : 8;
    entries.forEach((at, i) => {
      for (let part = 0; part < size; part += 4) this.report("read", at + part, undefined, 4, "walk");
      const isLeaf = physical >= 0 && i === entries.length - 1;
      const good = isLeaf || i < entries.length - 1;
      const low = Number(this.word(at, 4));
      const updated = (low | 0x20 | (isLeaf && write ? 0x40 : 0)) >>> 0;
      if (good && updated !== low) this.store(at, BigInt(updated), 4, undefined, "walk");
    });
    return physical;
  }

  /** Translations of all links that have changed. */
  relink(): void {
    const moved: Event[] = [];
    for (const handler of this.handlers) {
      for (const [linear, old] of handler.links) {
        const { physical } = this.walk(linear, handler.space ?? this.root);
        const page = physical < 0 ? -1 : pageOf(physical);
        if (page === old) continue;
        handler.links.set(linear, page);
        moved.push([handler.id, "remap", linear, old < 0 ? undefined : old, page < 0 ? undefined : page]);
      }
    }
    this.events.push(...moved);
  }

  private shareOn(handler: ModelHandler, page: number): number {
    const share = handler.kind === "write" ? HANDLER_STATE.write : HANDLER_STATE.all;
    if (handler.isVirtual) {
      if (![...handler.links.values()].includes(page)) return HANDLER_STATE.none;
      return handler.enabled ? share : HANDLER_STATE.disabled;
    }
    if (handler.base >= page + PAGE || page >= handler.base + handler.length) return HANDLER_STATE.none;
    return handler.off.has(page) ? HANDLER_STATE.disabled : share;
  }

  state(page: number): number {
    return Math.max(0, ...this.handlers.map((handler) => this.shareOn(handler, page)));
  }

  /** Pages with entries that decide about watched addresses. */
  tables(): Set<number> {
    const pages = new Set<number>();
    for (const { links, space } of this.handlers) {
      for (const linear of links.keys()) {
        const { entries, pointer } = this.walk(linear, space ?? this.root);
        for (const at of pointer === undefined ? entries : [pointer, ...entries]) pages.add(pageOf(at));
      }
    }
    return pages;
  }

  /** Calls for an access within a page. */
  report(
    kind: "read" | "write",
    at: number,
    linear: number | undefined,
    bytes: number,
    by: string,
    value?: bigint,
  ): void {
    const page = pageOf(at);
    const told = [
      at,
      bytes,
      Number(value ?? (at < RAM ? this.word(at, bytes) : by === "cpu" ? 0n : (1n << BigInt(bytes * 8)) - 1n)),
      by,
    ];
    const sees = (handler: ModelHandler) =>
      this.shareOn(handler, page) >= (kind === "write" ? HANDLER_STATE.write : HANDLER_STATE.all);
    const physical = this.handlers.filter((handler) => !handler.isVirtual).sort((a, b) => a.base - b.base);
    for (const handler of physical) {
      if (sees(handler) && handler.base < at + bytes && at < handler.base + handler.length)
        this.events.push([handler.id, kind, at, ...told]);
    }
    for (const handler of this.handlers) {
      if (!handler.isVirtual || !sees(handler)) continue;
      const places = [...handler.links].filter(([start, to]) => {
        const place = start + at - page;
        return to === page && handler.base < place + bytes && place < handler.base + handler.length;
      });
      const used = places.find(([start]) => linear !== undefined && start === pageOf(linear)) ?? places[0];
      if (used) this.events.push([handler.id, kind, used[0] + at - page, ...told]);
    }
  }

  store(at: number, value: bigint, bytes: number, linear: number | undefined, by: string): void {
    this.report("write", at, linear, bytes, by, BigInt.asUintN(bytes * 8, value));
    for (let i = 0; i < bytes; i++) if (at + i < RAM) this.ram[at + i] = Number((value >> BigInt(i * 8)) & 0xffn);
    this.relink();
  }

  /** A device's access: cut at pages and at the edges of handlers. */
  device(kind: "read" | "write", at: number, data: Uint8Array): void {
    for (let done = 0; done < data.length; ) {
      const start = at + done;
      const edges = [pageOf(start) + PAGE, at + data.length];
      for (const handler of this.handlers) {
        const bases = handler.isVirtual
          ? [...handler.links]
              .filter(([, to]) => to === pageOf(start))
              .map(([linear, to]) => handler.base - linear + to)
          : [handler.base];
        for (const base of bases) edges.push(base, base + handler.length);
      }
      const bytes = Math.min(...edges.filter((edge) => edge > start)) - start;
      let value = 0n;
      for (let i = bytes - 1; i >= 0; i--) value = value * 256n + BigInt(data[done + i]!);
      if (kind === "read") this.report(kind, start, undefined, bytes, "device");
      else this.store(start, value, bytes, undefined, "device");
      done += bytes;
    }
  }
}

/** Outside memory there are zeros, as in the model. */
const ZERO_DEVICES = {
  ...NO_DEVICES,
  mmioRead: (_address: number, width: number, buffer: Uint8Array) => {
    buffer.fill(0, 0, width);
    return 0;
  },
};

class Subject {
  private readonly bare = new BareVcpu({ ramBytes: RAM, io: ZERO_DEVICES });
  readonly memory = this.bare.memory;
  readonly vcpu = this.bare.vcpu;
  private readonly walks = (this.vcpu as unknown as { interpreter: { walkRead: Walk; walkWrite: Walk } }).interpreter;
  private readonly devices = (
    this.vcpu.mmu as unknown as { mmio: { find(linear: number, write: boolean, user: boolean): number } }
  ).mmio;
  readonly events: Event[] = [];

  start(mode: Mode, ram: Uint8Array, root: number): void {
    this.memory.bytes.set(ram, this.memory.layout.ram);
    this.bare.setPaging(mode, root, { cr4: mode === "paging32" ? CR4.pse : 0 });
  }

  loadCr3(root: number): boolean {
    const { state, mmu } = this.vcpu;
    const old = state.number(CPU.cr3);
    state.setNumber(CPU.cr3, root);
    mmu.updatePaging();
    if (!mmu.loadPdpte()) {
      state.setNumber(CPU.cr3, old);
      mmu.updatePaging();
      return false;
    }
    mmu.flushNonGlobal();
    return true;
  }

  /** Guest-physical address that a cached translation gives to an access, or -1. */
  cached(linear: number, bytes: number, write: boolean): number {
    const { mmu } = this.vcpu;
    const host = mmu.supervisor.hit(linear, bytes, write ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag);
    return host === 0 ? -1 : host - this.memory.layout.ram;
  }

  cachedDevice(linear: number, bytes: number, write: boolean): number {
    return linear - pageOf(linear) + bytes > PAGE ? -1 : this.devices.find(linear, write, false);
  }

  /** As generated code accesses memory, with its own walks or those of TypeScript. */
  access(linear: number, bytes: number, write: boolean, value: bigint, generated: boolean): void {
    const { state, mmu } = this.vcpu;
    const { data } = this.memory;
    state.setU32(CPU.stop, STOP.none);
    if (generated && this.cached(linear, bytes, write) < 0) {
      const walk = write ? this.walks.walkWrite : this.walks.walkRead;
      const host = walk(state.base, BigInt(linear), bytes);
      if (state.u32(CPU.stop) !== STOP.none) return;
      if (host !== 0) {
        for (let i = 0; write && i < bytes; i++) data.setUint8(host + i, Number((value >> BigInt(i * 8)) & 0xffn));
        return;
      }
    }
    try {
      if (write) mmu.write(linear, bytes, value);
      else mmu.read(linear, bytes);
    } catch (thrown) {
      if (thrown !== ABANDON) throw thrown;
    }
  }

  get fullFlushes(): number {
    return this.vcpu.mmu.supervisor.fullFlushes + this.vcpu.mmu.user.fullFlushes;
  }

  /** Live translations: linear page, guest-physical page, whether reads and writes pass. */
  *translations(): Generator<{ linear: number; physical: number; read: boolean; write: boolean }> {
    const { layout, bytes, data } = this.memory;
    for (const base of [layout.tlb, layout.tlb + TLB_SIZE]) {
      for (let at = base; at < base + TLB_ENTRIES * TLB_ENTRY_SIZE; at += TLB_ENTRY_SIZE) {
        const read = (bytes[at + TLB_ENTRY.readTag]! & 1) === 0;
        const write = (bytes[at + TLB_ENTRY.writeTag]! & 1) === 0;
        if (!read && !write) continue;
        const linear = Number(data.getBigInt64(at + (read ? TLB_ENTRY.readTag : TLB_ENTRY.writeTag), true));
        const host = (data.getUint32(at + TLB_ENTRY.addend, true) + (linear >>> 0)) >>> 0;
        yield { linear, physical: host - layout.ram, read, write };
      }
    }
  }
}

class Trial {
  private readonly random: Random;
  private readonly mode: Mode;
  private readonly model: Model;
  private readonly subject = new Subject();
  private named = 0;
  conflicts = 0;

  constructor(mode: Mode, seed: number) {
    this.random = new Random(seed);
    this.mode = mode;
    this.model = new Model(mode);
    for (let at = 0; at < TABLES * PAGE; at += this.entryBytes) this.setEntry(at, this.entry(at));
    for (let at = TABLES * PAGE; at < RAM; at += 4) this.model.data.setUint32(at, this.random.u32(), true);
    this.model.loadRoot(ROOTS[0]!);
    this.subject.start(mode, this.model.ram, ROOTS[0]!);
  }

  private get entryBytes(): 4 | 8 {
    return this.mode === "paging32" ? 4 : 8;
  }

  private setEntry(at: number, value: bigint): void {
    if (this.entryBytes === 8) this.model.data.setBigUint64(at, value, true);
    else this.model.data.setUint32(at, Number(value), true);
  }

  private below(limit: number): number {
    return this.random.u32() % limit;
  }

  /** Entries lead to other tables or to pages, sometimes large, sometimes nowhere. */
  private entry(at: number): bigint {
    const { mode } = this;
    const page = this.below(3) ? this.below(TABLES - 3) + 3 : this.below(PAGES + 3);
    if (this.below(7) === 0) return (BigInt(this.random.u32() & ~1) >> 0n) & 0xffff_fffen;
    let low = (page << 12) | 3 | (this.below(4) << 5);
    // PDPTEs of PAE paging reserve most of their low bits.
    if (mode === "pae" && at < 3 * PAGE && at % PAGE < 32) return BigInt((page << 12) | 1);
    if (this.below(12) === 0) low = 0x83 | (this.below(4) << 5);
    if (this.below(8) === 0) low |= 0x100;
    const high = mode !== "paging32" && this.below(40) === 0 ? 1n << 40n : 0n;
    return (high << 0n) | BigInt(low >>> 0);
  }

  /** Few linear pages, so that everything meets. */
  private linear(): number {
    const { mode } = this;
    const page = this.below(12) * PAGE + this.below(2) * 2 ** 21 + this.below(2) * 2 ** 22;
    if (mode === "paging32") return page + this.below(2) * 2 ** 31;
    if (mode === "pae") return page + this.below(4) * 2 ** 30;
    const top = this.below(2) ? 0 : -(2 ** 47);
    return top + page + this.below(2) * 2 ** 30 + this.below(2) * 2 ** 39;
  }

  private readonly steps: readonly (readonly [weight: number, run: () => void])[] = [
    [5, () => this.writeEntry()],
    [12, () => this.access()],
    [3, () => this.device()],
    [1, () => this.subject.vcpu.mmu.invalidatePage(this.linear())],
    [1, () => this.loadCr3()],
    [2, () => this.registerPhysical()],
    [3, () => this.registerVirtual()],
    [1, () => this.deregister()],
    [1, () => this.toggle()],
  ];
  private readonly total = this.steps.reduce((sum, [weight]) => sum + weight, 0);

  step(): void {
    let roll = this.below(this.total);
    for (const [weight, run] of this.steps) {
      if (roll < weight) {
        run();
        break;
      }
      roll -= weight;
    }
    this.compare();
  }

  private writeEntry(): void {
    const { memory } = this.subject;
    const handler = this.model.handlers[this.below(this.model.handlers.length + 1)];
    // Mostly where it matters.
    let at = this.below((TABLES * PAGE) / 8) * 8;
    if (handler?.isVirtual && this.below(4)) {
      const { entries } = this.model.walk(pageOf(handler.base), handler.space ?? this.model.root);
      at = entries[this.below(entries.length || 1)] ?? at;
    }
    if (at + 8 > RAM) return;
    const value = this.entry(at);
    if (this.below(2)) {
      this.model.device("write", at, bytesOf(value, 4));
      memory.write32(at, Number(value & 0xffff_ffffn));
    } else {
      const data = bytesOf(value, this.entryBytes);
      this.model.device("write", at, data);
      memory.write(at, data);
    }
  }

  private access(): void {
    const { subject } = this;
    const bytes = [1, 2, 4, 8][this.below(4)]!;
    const write = this.below(2) === 0;
    const offset = this.below(3) ? this.below(PAGE / 8) * 8 : this.below(2) ? PAGE - this.below(4) - 1 : this.below(64);
    const linear = this.linear() + offset;
    const value = this.below(2)
      ? this.entry(PAGE * 4)
      : BigInt.asUintN(bytes * 8, BigInt(this.random.u32()) * 0x1_0001_0001n);
    this.expectAccess(linear, bytes, write, value);
    subject.access(linear, bytes, write, value, this.below(2) === 0);
  }

  private expectAccess(linear: number, bytes: number, write: boolean, value: bigint): void {
    const { model, subject } = this;
    const part = (at: number, from: number, done: number, length: number) => {
      const piece = BigInt.asUintN(length * 8, value >> BigInt(done * 8));
      if (write) model.store(at, piece, length, from, "cpu");
      else model.report("read", at, from, length, "cpu");
    };
    const cached = subject.cached(linear, bytes, write);
    const device = subject.cachedDevice(linear, bytes, write);
    if (cached >= 0 || device >= 0) {
      part(cached >= 0 ? cached : device, linear, 0, bytes);
      return;
    }
    const first = Math.min(bytes, PAGE - (linear - pageOf(linear)));
    const physical = model.walkFor(linear, write);
    if (physical < 0) return;
    if (first === bytes) {
      part(physical, linear, 0, bytes);
      return;
    }
    let next = linear + first;
    if (this.mode !== "long" && next >= 2 ** 32) next = 0;
    const second = model.walkFor(next, write);
    if (second < 0) return;
    const isRam = (at: number) => at < RAM;
    if (write && isRam(physical) && !isRam(second)) {
      part(second, next, first, bytes - first);
      part(physical, linear, 0, first);
    } else {
      part(physical, linear, 0, first);
      part(second, next, first, bytes - first);
    }
  }

  private device(): void {
    const at = this.below(RAM - 64);
    const data = Uint8Array.from({ length: this.below(24) + 1 }, () => this.below(256));
    if (this.below(2)) {
      this.model.device("read", at, data);
      this.subject.memory.read(at, data);
    } else if (at >= TABLES * PAGE) {
      this.model.device("write", at, data);
      this.subject.memory.write(at, data);
    }
  }

  private loadCr3(): void {
    const root = ROOTS[this.below(ROOTS.length)]!;
    // PAE paging reads its four pointers now.
    for (let at = 0; this.mode === "pae" && at < 32; at += 4)
      this.model.report("read", root + at, undefined, 4, "walk");
    if (!this.subject.loadCr3(root)) return;
    this.model.loadRoot(root);
    this.model.relink();
  }

  private handler(parts: Pick<ModelHandler, "kind" | "base" | "length" | "isVirtual" | "space">): ModelHandler {
    return { id: `h${this.named++}`, off: new Set(), enabled: true, links: new Map(), real: {}, ...parts };
  }

  private conflicts_(handler: ModelHandler): boolean {
    return this.model.handlers.some(
      (other) =>
        other.isVirtual === handler.isVirtual &&
        (other.space === undefined || handler.space === undefined || other.space === handler.space) &&
        other.base < handler.base + handler.length &&
        handler.base < other.base + other.length,
    );
  }

  /** Registers with both, or sees it refused. No full flush. */
  private register(handler: ModelHandler, real: () => ModelHandler["real"]): void {
    const flushes = this.subject.fullFlushes;
    if (this.conflicts_(handler)) {
      this.conflicts++;
      expect(real).toThrow(expect.objectContaining({ code: "HANDLER_CONFLICT" }));
      return;
    }
    Object.assign(handler.real, real());
    this.model.handlers.push(handler);
    for (
      let linear = pageOf(handler.base);
      handler.isVirtual && linear < handler.base + handler.length;
      linear += PAGE
    ) {
      const { physical } = this.model.walk(linear, handler.space ?? this.model.root);
      handler.links.set(linear, physical < 0 ? -1 : pageOf(physical));
    }
    expect(this.subject.fullFlushes).toBe(flushes);
  }

  private callback(id: string) {
    return (access: { kind: string; address: bigint; physical: number; width: number; value: bigint; by: string }) => {
      const address = Number(BigInt.asIntN(64, access.address));
      this.subject.events.push([
        id,
        access.kind,
        address,
        access.physical,
        access.width,
        Number(access.value),
        access.by,
      ]);
    };
  }

  private registerPhysical(): void {
    const isMmio = this.below(5) === 0;
    const base = isMmio ? RAM + this.below(3) * PAGE : this.below(PAGES * 16) * (PAGE / 16);
    const length = isMmio ? PAGE : Math.min(RAM - base, [1, 3, 8, 64, PAGE, 2 * PAGE][this.below(6)]!);
    const kind = isMmio ? "mmio" : this.below(2) ? "write" : "all";
    const handler = this.handler({ kind, base, length, isVirtual: false, space: undefined });
    const { physical } = this.subject.memory.handlers;
    this.register(handler, () => ({
      physical: physical.register({ kind, base, length, owner: handler.id, callback: this.callback(handler.id) }),
    }));
  }

  private registerVirtual(): void {
    const base = this.linear() + this.below(64) * 64;
    const length = [1, 4, 8, 100, PAGE, 3 * PAGE][this.below(6)]!;
    const kind = this.below(2) ? "write" : "all";
    const space = this.below(2) ? undefined : ROOTS[this.below(ROOTS.length)];
    const handler = this.handler({ kind, base, length, isVirtual: true, space });
    const { virtual } = this.subject.memory.handlers;
    this.register(handler, () => ({
      virtual: virtual.register({
        kind,
        start: base,
        length,
        owner: handler.id,
        addressSpace: space,
        callback: this.callback(handler.id),
        onRemap: (remap) => {
          const address = Number(BigInt.asIntN(64, remap.address));
          this.subject.events.push([handler.id, "remap", address, remap.old, remap.new]);
        },
      }),
    }));
  }

  private deregister(): void {
    const { handlers } = this.model;
    const [handler] = handlers.splice(this.below(handlers.length + 1), 1);
    if (handler === undefined) return;
    const flushes = this.subject.fullFlushes;
    const { physical, virtual } = this.subject.memory.handlers;
    if (handler.real.physical) physical.deregister(handler.real.physical);
    if (handler.real.virtual) virtual.deregister(handler.real.virtual);
    expect(this.subject.fullFlushes).toBe(flushes);
  }

  private toggle(): void {
    const handler = this.model.handlers[this.below(this.model.handlers.length + 1)];
    if (handler === undefined) return;
    const flushes = this.subject.fullFlushes;
    const { physical, virtual } = this.subject.memory.handlers;
    if (handler.real.virtual) {
      handler.enabled = !handler.enabled;
      virtual.enable(handler.real.virtual, handler.enabled);
    } else if (handler.off.size > 0 && this.below(2)) {
      handler.off.clear();
      physical.reset(handler.real.physical!);
    } else {
      const address = handler.base + this.below(handler.length);
      handler.off.add(pageOf(address));
      physical.pageOff(handler.real.physical!, address);
    }
    expect(this.subject.fullFlushes).toBe(flushes);
  }

  private compare(): void {
    const { model, subject } = this;
    expect(subject.events).toEqual(model.events);
    subject.events.length = 0;
    model.events.length = 0;
    const states = new Map<number, number>();
    const pages = new Set<number>();
    for (const handler of model.handlers) {
      for (const page of handler.links.values()) if (page >= 0) pages.add(page);
      for (let page = pageOf(handler.base); !handler.isVirtual && page < handler.base + handler.length; page += PAGE)
        pages.add(page);
    }
    for (const page of pages) if (model.state(page) !== HANDLER_STATE.none) states.set(page, model.state(page));
    const sorted = (map: Map<number, number>) => [...map].sort(([a], [b]) => a - b);
    expect(sorted(subject.memory.handlers.states())).toEqual(sorted(states));
    const links = new Map<number, number>();
    for (const { links: own, space } of model.handlers) {
      if (space === undefined || space === model.root) for (const [linear, page] of own) links.set(linear, page);
    }
    const tables = model.tables();
    for (const { linear, physical, read, write } of subject.translations()) {
      const state = states.get(physical) ?? HANDLER_STATE.none;
      const passes =
        (read && state === HANDLER_STATE.all) || (write && (state >= HANDLER_STATE.write || tables.has(physical)));
      const isOld = links.has(linear) && links.get(linear) !== physical;
      if (passes || isOld) expect({ linear, physical, read, write, state }).toBe("no translation");
    }
  }

  /** RAM, and flags of its pages. */
  finish(): void {
    const { memory } = this.subject;
    const ram = memory.bytes.subarray(memory.layout.ram, memory.layout.ram + RAM);
    expect(Buffer.compare(ram, this.model.ram)).toBe(0);
    const { handlers } = this.model;
    while (handlers.length > 0) {
      const { real } = handlers.pop()!;
      if (real.physical) memory.handlers.physical.deregister(real.physical);
      if (real.virtual) memory.handlers.virtual.deregister(real.virtual);
    }
    // What is left of them is nothing.
    expect(memory.handlers.any).toBe(false);
    const watched = PAGE_FLAG.watchedAll | PAGE_FLAG.watchedWrite;
    expect(memory.pageFlags.some((flags) => (flags & watched) !== 0)).toBe(false);
  }
}

function bytesOf(value: bigint, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
}

/** `PORTICO_WATCH_SEEDS=1000` runs as many others. */
const MORE = Number(process.env.PORTICO_WATCH_SEEDS ?? 0);
const SEEDS = MORE > 0 ? Array.from({ length: MORE }, (_, i) => 100 + i) : [1, 2, 3, 6];

describe.each(["paging32", "pae", "long"] as const)("access handlers against brute force, %s", (mode) => {
  let conflicts = 0;

  it.each(SEEDS)("seed %i", (seed) => {
    const trial = new Trial(mode, seed);
    for (let step = 0; step < 300; step++) trial.step();
    trial.finish();
    conflicts += trial.conflicts;
  });

  it("registrations that must be refused among them", () => expect(conflicts).toBeGreaterThan(SEEDS.length));
});
