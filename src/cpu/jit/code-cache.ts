import type { GuestMemory } from "../../memory/guest-memory.ts";
import {
  HOT_BASE,
  HOT_ENTRIES,
  JUMP_CACHE_BASE,
  JUMP_CACHE_ENTRIES,
  JUMP_CACHE_ENTRY_SIZE,
  PAGE_FLAG,
  PAGE_SHIFT,
  PAGE_SIZE,
} from "../../memory/layout.ts";
import type { AccessSites } from "../mmu/access-sites.ts";
import { deviceSite } from "../mmu/mmio-tlb.ts";
import { CPU, RDX } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import type { KnownDevices } from "./device-access.ts";
import { contextValues, dispatcherModule, hotEntry, JUMP_CACHE, jumpCacheIndex } from "./dispatcher.ts";
import { JumpSites } from "./jump-sites.ts";
import type { CodeContext } from "./memory-access.ts";
import { codeContext, type Region } from "./region.ts";
import type { RegionCompiler } from "./region-compiler.ts";

const placeKey = (host: number, rip: bigint, context: number): string => `${host}/${rip}/${context}`;

/** Host addresses of its blocks. */
const startsOf = ({ host, blocks }: Region): number[] =>
  blocks.map(({ instructions }) => host + instructions[0]!.offset);

/** What the compiler is told about when to work, and how much of it to keep. */
export interface CodeCacheOptions {
  /** How often a place is reached before it is compiled. 0: at the first time, without waiting for others. */
  readonly threshold: number;
  /** Instructions in the cache, at most: then everything goes. */
  readonly capacity?: number;
}

/** Guest instructions in compiled code: about 40 bytes of machine code each. */
const CAPACITY = 400_000;
/** Regions in one module: a module of its own costs each region more than its compilation. */
const BATCH = 16;
/** Places of an instruction that access memory, at most, but for a few that have more. */
const SITES_EXPECTED = 2;
/** Slices that it may wait for others. */
const SLICES_WAITED_MAX = 8;
/** Times that code of a page changed before it is compiled less eagerly, and how much less each time. */
const PATIENCE = 4;
const MAX_DELAY_SHIFT = 8;
/** Slices without a change after which half of the changes are forgotten: other programs come to lie there. */
const SLICES_FORGIVING = 256;
/** Never matches: contexts begin at 2. */
const NO_CONTEXT = 0;
/** Stores beside compiled code that a page may see before its code is given up. */
const NEAR_MISSES_MAX = 2000;
const NEVER = 0x7fff_ffff;
/** Arrivals until code that could not be compiled is looked at again: there may be other code by then. */
const HOPELESS = 1_000_000;
/** Contexts that legacy code is known for; systems need a handful. */
const CONTEXTS_MAX = 1024;

interface Compiled {
  readonly rip: bigint;
  readonly ripLow: number;
  readonly context: number;
  readonly host: number;
  readonly page: number;
  /** Host addresses of its first byte and behind its last. */
  readonly from: number;
  readonly to: number;
  readonly slot: number;
  readonly instructions: number;
  readonly blocks: number;
  /** Host addresses of blocks that are not to become regions of their own yet. */
  readonly patient: Set<number>;
  /** What it was found with. */
  readonly codeContext: CodeContext;
  readonly dx: number;
  /** See `AccessSites`. */
  readonly sites: readonly number[];
}

interface CodePage {
  readonly regions: Set<Compiled>;
  /** Stores to it are seen: it holds code that is compiled, or will be. */
  watched: boolean;
  /** Times that a store hit compiled code, or too many came near it; and the slice up to which they count. */
  changes: number;
  countedUntil: number;
  nearMisses: number;
}

interface Waiting {
  readonly region: Region;
  /** DX when it was found. */
  readonly dx: number;
  readonly context: number;
}

export interface CodeStatistics {
  regions: number;
  instructions: number;
  /** Kinds of modes and segments that legacy code was met in. */
  contexts: number;
  modules: number;
  /** Regions that took the place of older ones, which knew less of their jumps. */
  recompilations: number;
  invalidations: number;
  flushes: number;
}

/** Compiled regions of one vCPU: found by where their code lies, dropped when it changes. */
export class CodeCache {
  readonly statistics: CodeStatistics = {
    regions: 0,
    instructions: 0,
    contexts: 0,
    modules: 0,
    recompilations: 0,
    invalidations: 0,
    flushes: 0,
  };
  /** The dispatcher's loop, see `dispatcherModule`. */
  readonly run: (cpu: number) => number;
  /** Drops ordinary translations for writing to a guest-physical page. */
  onCodePage: (physical: number) => void = () => {};
  private readonly state: VcpuState;
  private readonly memory: GuestMemory;
  private readonly compiler: () => RegionCompiler;
  private readonly imports: () => WebAssembly.Imports;
  private readonly threshold: number;
  private readonly capacity: number;
  private readonly table = new WebAssembly.Table({ initial: 256, element: "anyfunc" });
  private readonly freeSlots: number[] = [];
  private usedSlots = 0;
  private slices = 0;
  private slicesWaited = 0;
  /** By host address of the entry. */
  private readonly code = new Map<number, Compiled[]>();
  /** By host page number. */
  private readonly pages = new Map<number, CodePage>();
  private readonly waiting = new Map<string, Waiting>();
  /** Places that have been told to wait, and after how many changes of their page. */
  private readonly delayed = new Map<number, number>();
  private readonly contexts = new Map<string, number>();
  /** Numbers are not used twice; 2 and 3 are 64-bit mode. */
  private nextContext = 4;
  private readonly words: Int32Array;
  private readonly jumps: JumpSites;
  private readonly sites: AccessSites;
  private readonly raw: KnownDevices["raw"] | undefined;

  constructor(
    state: VcpuState,
    memory: GuestMemory,
    parts: {
      readonly interpreter: WebAssembly.Exports;
      /** What compiled modules import; asked for when the first one is. */
      readonly imports: () => WebAssembly.Imports;
      readonly compiler: () => RegionCompiler;
      /** Host address of the code at the instruction pointer, or 0. */
      readonly fetchCode: () => number;
      readonly redo: () => void;
      readonly sites: AccessSites;
      /** Raw handlers, to be written into compiled code. */
      readonly raw: KnownDevices["raw"] | undefined;
    },
    options: CodeCacheOptions,
  ) {
    this.state = state;
    this.memory = memory;
    this.compiler = parts.compiler;
    this.imports = parts.imports;
    this.raw = parts.raw;
    this.sites = parts.sites;
    this.threshold = options.threshold;
    this.capacity = options.capacity ?? CAPACITY;
    this.words = new Int32Array(memory.memory.buffer);
    this.jumps = new JumpSites(memory.memory);
    const dispatcher = new WebAssembly.Instance(new WebAssembly.Module(dispatcherModule()), {
      env: {
        memory: memory.memory,
        code: this.table,
        newContext: () => this.newContext(),
        findCode: (_: number, host: number) => this.find(host),
        fetchCode: parts.fetchCode,
        redo: parts.redo,
      },
      interpreter: parts.interpreter as unknown as WebAssembly.ModuleImports,
    });
    this.run = dispatcher.exports.run as (cpu: number) => number;
    this.reset();
  }

  /** Forgets everything. */
  reset(): void {
    this.clearJumpCache();
    for (const [page] of this.pages) this.unflag(page);
    this.pages.clear();
    for (const here of this.code.values()) for (const one of here) this.sites.giveBack(one.sites);
    this.code.clear();
    this.waiting.clear();
    this.delayed.clear();
    this.jumps.reset();
    this.words.fill(0, HOT_BASE >> 2, (HOT_BASE >> 2) + HOT_ENTRIES * 2);
    this.freeSlots.length = 0;
    this.usedSlots = 0;
    this.statistics.instructions = 0;
    this.statistics.regions = 0;
    this.state.setU32(CPU.hotThreshold, this.threshold);
    this.forgetContext();
  }

  /** Instructions that the interpreter has retired. (A slice that something cut short counts what was cut off, too.) */
  get interpreted(): number {
    return this.state.number(CPU.interpreted);
  }

  /** After the vCPU block was written from outside. */
  forgetContext(): void {
    this.state.setU32(CPU.hotThreshold, this.threshold);
    this.state.setU32(CPU.codeContext, NO_CONTEXT);
    // No stack mask is 0: the next look at the context finds it changed.
    this.state.setNumber(CPU.knownContext, 0);
  }

  /** Translations of code addresses may have changed. */
  translationsChanged(): void {
    this.state.setU32(CPU.codeGeneration, (this.state.u32(CPU.codeGeneration) + 1) >>> 0);
  }

  private newContext(): void {
    const { state } = this;
    const { key, known } = contextValues((type, at) => (type === "i64" ? state.u64(at) : BigInt(state.u32(at))));
    for (const [type, at, value] of known) {
      if (type === "i64") state.setU64(at, value);
      else state.setU32(at, Number(value));
    }
    let number = this.contexts.get(key);
    if (number === undefined) {
      // A guest that loads ever new segments may not fill the host's memory with what they were.
      if (this.contexts.size === CONTEXTS_MAX) {
        this.contexts.clear();
        this.reset();
      }
      number = this.nextContext;
      this.nextContext += 2;
      this.contexts.set(key, number);
    }
    this.statistics.contexts = this.contexts.size;
    state.setU32(CPU.codeContext, number);
  }

  private get context(): number {
    const { state } = this;
    return (state.is64 ? 2 : state.u32(CPU.codeContext)) + (state.cpl === 3 ? 1 : 0);
  }

  // --- finding ----------------------------------------------------------------------------------------------------

  /** 1 when there is compiled code for the instruction pointer, whose code lies at `host`; it is in the jump cache then. */
  private find(signedHost: number): number {
    const { state, context } = this;
    // WebAssembly gives signed numbers.
    const host = signedHost >>> 0;
    const rip = state.u64(CPU.rip);
    const found = this.compiledAt(host, rip, context);
    if (found === undefined) return this.want(host, rip, context);
    this.enterJumpCache(found);
    return 1;
  }

  private compiledAt(host: number, rip: bigint, context: number): Compiled | undefined {
    return this.code.get(host)?.find((one) => one.rip === rip && one.context === context);
  }

  private enterJumpCache(one: Compiled): void {
    const { words } = this;
    const at = (JUMP_CACHE_BASE + jumpCacheIndex(one.ripLow) * JUMP_CACHE_ENTRY_SIZE) >> 2;
    words[at] = one.ripLow;
    words[at + 1] = Number(one.rip >> 32n) | 0;
    words[at + JUMP_CACHE.context / 4] = one.context;
    words[at + JUMP_CACHE.generation / 4] = this.state.u32(CPU.codeGeneration);
    words[at + JUMP_CACHE.host / 4] = one.host;
    words[at + JUMP_CACHE.code / 4] = one.slot;
  }

  private clearJumpCache(): void {
    for (let entry = 0; entry < JUMP_CACHE_ENTRIES; entry++) {
      const at = JUMP_CACHE_BASE + entry * JUMP_CACHE_ENTRY_SIZE + JUMP_CACHE.context;
      this.words[at >> 2] = NO_CONTEXT;
    }
  }

  private countdown(host: number, count: number): void {
    const at = hotEntry(host) >> 2;
    this.words[at] = host;
    this.words[at + 1] = count;
  }

  /** Compiles the code, now or with others. */
  private want(host: number, rip: bigint, context: number): number {
    const key = placeKey(host, rip, context);
    // What is reached as often again while it waits has waited long enough.
    const urgent = this.waiting.has(key);
    if (!urgent) {
      if (this.threshold > 0 && this.isPartOfAnother(host, rip, context)) {
        this.countdown(host, this.threshold);
        return 0;
      }
      const changes = this.recentChanges(host >>> PAGE_SHIFT);
      if (changes > PATIENCE && this.mustWait(host, changes)) return 0;
      const region = this.findRegion(host, rip, codeContext(this.state));
      if (region === undefined) {
        this.countdown(host, HOPELESS);
        return 0;
      }
      this.waiting.set(key, { region, context, dx: this.state.gpr32(RDX) & 0xffff });
      // From now on its code may not change unnoticed.
      this.watchedPage(host >>> PAGE_SHIFT);
    }
    if (this.threshold > 0 && this.waiting.size < BATCH && !urgent) {
      this.countdown(host, this.threshold);
      return 0;
    }
    this.compileWaiting();
    const found = this.compiledAt(host, rip, context);
    if (found === undefined) return 0;
    this.enterJumpCache(found);
    return 1;
  }

  /**
   * A block of code that waits or is compiled begins there: most of those who come will soon come by way of that. Once it
   * is compiled it may be reached as often again before it becomes a region of its own.
   */
  private isPartOfAnother(host: number, rip: bigint, context: number): boolean {
    const distance = BigInt.asUintN(64, rip - BigInt(host));
    for (const { region, context: other } of this.waiting.values()) {
      const same = other === context && BigInt.asUintN(64, region.rip - BigInt(region.host)) === distance;
      if (same && startsOf(region).includes(host)) return true;
    }
    let first = false;
    for (const one of this.pages.get(host >>> PAGE_SHIFT)?.regions ?? []) {
      const same = one.context === context && BigInt.asUintN(64, one.rip - BigInt(one.host)) === distance;
      if (same && one.patient.delete(host)) first = true;
    }
    return first;
  }

  private recentChanges(number: number): number {
    const page = this.pages.get(number);
    if (page === undefined) return 0;
    const periods = Math.floor((this.slices - page.countedUntil) / SLICES_FORGIVING);
    if (periods > 0) {
      page.changes >>>= Math.min(periods, 31);
      page.countedUntil += periods * SLICES_FORGIVING;
    }
    return page.changes;
  }

  /** Code that changes all the time has to be reached far more often before it is compiled again. */
  private mustWait(host: number, changes: number): boolean {
    const page = this.pages.get(host >>> PAGE_SHIFT)!;
    const delay = Math.max(64, this.threshold) * 2 ** Math.min(changes - PATIENCE, MAX_DELAY_SHIFT);
    page.nearMisses = 0;
    if (this.delayed.get(host) === changes) {
      this.delayed.delete(host);
      return false;
    }
    this.delayed.set(host, changes);
    this.countdown(host, Math.min(NEVER, delay));
    return true;
  }

  private findRegion(host: number, rip: bigint, context: CodeContext): Region | undefined {
    const { memory } = this;
    const before = host & (PAGE_SIZE - 1);
    let after = PAGE_SIZE - before;
    let start = before;
    if (!context.mode64) {
      const offset = Number(BigInt.asUintN(32, rip));
      after = Math.min(after, Number(context.csLimit) - offset + 1);
      start = Math.min(start, offset);
    }
    const signed = BigInt.asIntN(64, rip);
    const place = { bytes: memory.bytes, host, before: start, after, rip: signed };
    return this.compiler().find(place, context, (jump) => this.jumps.targets(jump));
  }

  /** A slice begins: what has waited long enough is compiled. */
  beginSlice(): void {
    this.slices++;
    for (const jump of this.jumps.learn()) this.compileAgain(jump);
    if (this.waiting.size > 0 && ++this.slicesWaited >= SLICES_WAITED_MAX) this.compileWaiting();
  }

  /** More is known now of the indirect jump at a host address: regions that it leaves may go on where it leads. */
  private compileAgain(jump: number): void {
    for (const one of this.pages.get(jump >>> PAGE_SHIFT)?.regions ?? []) {
      const { host, rip, context, dx } = one;
      const place = placeKey(host, rip, context);
      if (jump < one.from || jump >= one.to || this.waiting.has(place)) continue;
      const better = this.findRegion(host, rip, one.codeContext);
      if (better !== undefined && better.blocks.length > one.blocks) {
        this.waiting.set(place, { region: better, context, dx });
      }
    }
  }

  /** Compiles what waits. */
  private compileWaiting(): void {
    this.slicesWaited = 0;
    const waiting = [...this.waiting.values()];
    this.waiting.clear();
    const instructions = waiting.reduce((all, { region }) => all + region.instructions, 0);
    const sites = instructions * SITES_EXPECTED;
    if (this.statistics.instructions + instructions > this.capacity || this.sites.left < sites) {
      this.statistics.flushes++;
      this.reset();
    }
    const sitesTaken = waiting.map((): number[] => []);
    const surroundings = waiting.map((one, index) => ({
      devices: this.knownDevices(one),
      jumpSite: (jump: number) => this.jumps.watch(jump),
      newSite: () => {
        const site = this.sites.take();
        sitesTaken[index]!.push(site);
        return site;
      },
    }));
    const regions = waiting.map(({ region }) => region);
    const module = new WebAssembly.Module(this.compiler().compile(regions, surroundings));
    const { exports } = new WebAssembly.Instance(module, this.imports());
    this.statistics.modules++;
    waiting.forEach((one, index) => {
      this.add(one, exports[`r${index}`] as CallableFunction, sitesTaken[index]!);
    });
  }

  private knownDevices({ dx, context }: Waiting): KnownDevices | undefined {
    const { raw, state } = this;
    return raw && { raw, dx, user: (context & 1) !== 0, site: (host) => deviceSite(state, host) };
  }

  private add({ region, context, dx }: Waiting, run: CallableFunction, sites: readonly number[]): void {
    const { host } = region;
    const rip = BigInt.asUintN(64, region.rip);
    const before = this.compiledAt(host, rip, context);
    if (before !== undefined) {
      this.drop(before);
      this.statistics.recompilations++;
    }
    const slot = this.freeSlots.pop() ?? this.newSlot();
    this.table.set(slot, run);
    const one: Compiled = {
      rip,
      ripLow: Number(BigInt.asUintN(32, rip)),
      context,
      host,
      page: host >>> PAGE_SHIFT,
      from: host + region.from,
      to: host + region.to,
      slot,
      instructions: region.instructions,
      blocks: region.blocks.length,
      patient: new Set(startsOf(region)),
      codeContext: region.context,
      dx,
      sites,
    };
    const here = this.code.get(host);
    if (here) here.push(one);
    else this.code.set(host, [one]);
    this.watchedPage(one.page).regions.add(one);
    this.statistics.regions++;
    this.statistics.instructions += region.instructions;
    this.countdown(host, 0);
  }

  private newSlot(): number {
    if (this.usedSlots === this.table.length) this.table.grow(this.table.length);
    return this.usedSlots++;
  }

  // --- changes of code --------------------------------------------------------------------------------------------

  /** Guest-physical page of a host page of RAM, or -1 (ROM: nobody writes there). */
  private physicalPage(page: number): number {
    const { layout } = this.memory;
    const offset = page * PAGE_SIZE - layout.ram;
    return offset >= 0 && offset < layout.ramBytes ? offset >>> PAGE_SHIFT : -1;
  }

  private flag(page: number): void {
    const physical = this.physicalPage(page);
    if (physical < 0) return;
    this.memory.pageFlags[physical]! |= PAGE_FLAG.code;
    this.onCodePage(physical * PAGE_SIZE);
  }

  /** The page, whose stores are seen from now on. */
  private watchedPage(number: number): CodePage {
    let page = this.pages.get(number);
    if (page === undefined) {
      page = { regions: new Set(), watched: false, changes: 0, countedUntil: this.slices, nearMisses: 0 };
      this.pages.set(number, page);
    }
    if (!page.watched) this.flag(number);
    page.watched = true;
    return page;
  }

  private unflag(page: number): void {
    const physical = this.physicalPage(page);
    if (physical >= 0) this.memory.pageFlags[physical]! &= ~PAGE_FLAG.code;
  }

  /** `length` bytes of RAM at a guest-physical address, in one page, change. True: compiled code was dropped. */
  changed(physical: number, length: number): boolean {
    const from = this.memory.layout.ram + physical;
    const number = from >>> PAGE_SHIFT;
    const page = this.pages.get(number);
    if (page === undefined) return false;
    let dropped = false;
    for (const one of page.regions) {
      if (one.from < from + length && from < one.to) {
        this.drop(one);
        this.jumps.forget(one.from, one.to);
        dropped = true;
      }
    }
    for (const [key, { region }] of this.waiting) {
      if (region.host + region.from < from + length && from < region.host + region.to) this.waiting.delete(key);
    }
    if (!dropped && ++page.nearMisses > NEAR_MISSES_MAX) {
      dropped = page.regions.size > 0;
      for (const one of page.regions) this.drop(one);
    }
    if (dropped) {
      page.changes = this.recentChanges(number) + 1;
      page.countedUntil = this.slices;
      page.nearMisses = 0;
      this.statistics.invalidations++;
      const waits = [...this.waiting.values()].some(({ region }) => region.host >>> PAGE_SHIFT === number);
      if (page.regions.size === 0 && !waits) {
        this.unflag(number);
        page.watched = false;
      }
    }
    return dropped;
  }

  private drop(one: Compiled): void {
    this.pages.get(one.page)!.regions.delete(one);
    const here = this.code.get(one.host)!.filter((other) => other !== one);
    if (here.length > 0) this.code.set(one.host, here);
    else this.code.delete(one.host);
    const at = (JUMP_CACHE_BASE + jumpCacheIndex(one.ripLow) * JUMP_CACHE_ENTRY_SIZE) >> 2;
    if (this.words[at + JUMP_CACHE.code / 4] === one.slot) this.words[at + JUMP_CACHE.context / 4] = NO_CONTEXT;
    // The function may be running: it stays in the table until its place is taken.
    this.freeSlots.push(one.slot);
    this.sites.giveBack(one.sites);
    this.statistics.regions--;
    this.statistics.instructions -= one.instructions;
  }
}
