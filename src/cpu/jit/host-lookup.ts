import {
  constantOf,
  type Expr,
  type FunctionRef,
  type FunctionType,
  type ModuleBuilder,
  type Variable,
} from "../../emit/index.ts";
import type { DecodedInstruction } from "../decode/decoder.ts";
import { hostAddress, tlbEntry, tlbHit } from "../interp/helpers.ts";
import type { Address } from "../isa/x86.ts";
import { fillSite, NO_SITE, siteHit, siteHost } from "../mmu/access-sites.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { SS } from "../state.ts";
import type { ColdPaths } from "./cold-paths.ts";
import { DeviceAccess } from "./device-access.ts";
import {
  type BlockInstruction,
  type PageWindow,
  PageWindows,
  type RelativeAddress,
  stretchAround,
} from "./page-windows.ts";

/** The module that blocks are compiled into, and what they call. */
export interface CompiledModule {
  readonly module: ModuleBuilder;
  /** Soft-float functions, and `collectFunction` of the interpreter: those that the code needs. */
  readonly helpers: ReadonlyMap<string, FunctionRef>;
  /** Functions of the interpreter: see `bulkFunction` and `operateFunction`. */
  readonly bulk: FunctionRef;
  readonly operate: FunctionRef;
  readonly cold: ColdPaths;
}

/** One instruction in its block. */
export interface Place {
  readonly decoded: DecodedInstruction;
  /** Its address and that of the next. */
  readonly rip: bigint;
  readonly next: bigint;
  /** Host address of its first byte. */
  readonly host: number;
  /** Instructions of the block behind it. */
  readonly remaining: number;
  /** Budget that must be left after it, so that the region may go on until it looks at its budget again. */
  readonly need: number;
  /** It accesses memory once, so that an access that is over is never made again. */
  readonly alone: boolean;
  /** It ends its block, see `Traits.ends`. */
  readonly last: boolean;
  /** Its block, and its number there. */
  readonly block: readonly BlockInstruction[];
  readonly index: number;
}

/** An access: `linear` is that of `address` + `displacement`. */
export interface MemoryOperand {
  readonly address: Address;
  readonly displacement: number;
  readonly linear: Expr;
  readonly bytes: number;
  readonly write: boolean;
}

/** A window, and whether the operand is the first access to it; undefined: none. */
export type OperandWindow = { readonly window: PageWindow; readonly begins: boolean } | undefined;

/** Takes where something lies: a host address and a constant. */
export type Found = (host: Expr, offset: number) => void;

/** From linear to host addresses: by windows, sites and the TLB. */
export abstract class HostLookUp extends DeviceAccess {
  protected readonly parts: CompiledModule;
  /** i32: see CPU.tlbBase. */
  protected readonly tlbBase: Variable;
  protected place!: Place;
  /** What is written now stands in a loop. */
  protected looping = false;
  /** Gives a place that accesses memory a site, see `AccessSites`. */
  newSite: () => number = () => NO_SITE;
  /** Sites of accesses to the stack by bytes; negative: of writes. */
  private readonly stackSites = new Map<number, number>();
  protected operand: Address | undefined;
  /** What `operand` is made of, where that is one register and a constant. */
  protected relativeOperand: RelativeAddress | undefined;
  private readonly windows = new PageWindows();
  /** For the windows of a block, one after the other. */
  private readonly windowHosts: Variable[] = [];

  constructor(parts: CompiledModule, name: string, type: FunctionType, index: number) {
    super(parts.module, name, type, index);
    this.parts = parts;
    this.tlbBase = this.permanent("i32");
  }

  protected override beginBlock(): void {
    super.beginBlock();
    this.windows.clear();
  }

  protected entry(linear: Expr): Expr {
    return tlbEntry(this, this.cpu, linear, this.get(this.tlbBase));
  }

  /** The site of an access in a loop; those to the stack share theirs. */
  private site(bytes: number, write: boolean, address: Address): number | undefined {
    if (!this.looping) return undefined;
    if (constantOf(address.segment) !== BigInt(SS)) return this.newSite();
    const key = write ? -bytes : bytes;
    const site = this.stackSites.get(key) ?? this.newSite();
    this.stackSites.set(key, site);
    return site;
  }

  /** A slow path may have taken translations away. */
  protected forgetWindows(): void {
    for (const { host } of this.windows.open) this.set(host, 0);
  }

  /** A window that an operand lies in, or the one that it begins. */
  protected windowOf({ address, displacement, bytes, write }: MemoryOperand): OperandWindow {
    if (address !== this.operand || this.relativeOperand === undefined) return undefined;
    const { base } = this.relativeOperand;
    const window = this.windows.use(
      { base, displacement: this.relativeOperand.displacement + displacement },
      bytes,
      write,
    );
    if (window !== undefined) return { window, begins: false };
    const { block, index } = this.place;
    const stretch = displacement === 0 && block.length > 0 ? stretchAround(block, index, bytes, write) : undefined;
    if (stretch === undefined) return undefined;
    const { from, to, others } = stretch;
    this.windowHosts[this.windows.count] ??= this.permanent("i32");
    const host = this.windowHosts[this.windows.count]!;
    const { extent, looping } = this;
    return { window: { base, from, to, write, host, extent, hasSite: looping, left: others }, begins: true };
  }

  /**
   * Does `found` with the host address of what is accessed, by a window, its site or the TLB; `missed` when none of them
   * knows its page. With a site or in a window, `found` is written twice.
   */
  protected lookUp(operand: MemoryOperand, at: OperandWindow, found: Found, missed: () => void): void {
    const { linear, bytes, write, address } = operand;
    if (at === undefined) {
      const site = this.site(bytes, write, address);
      const byTlb = () => this.byTlb(operand, site, bytes, found, missed);
      if (site === undefined) byTlb();
      else this.if(siteHit(this, site, linear), () => found(siteHost(this, site, linear), 0), byTlb, true);
    } else if (at.begins) {
      this.beginWindow(operand, at.window, found, missed);
      this.windows.add(at.window);
    } else {
      const { host, from, hasSite } = at.window;
      const inWindow = () => found(this.get(host), this.relativeOperand!.displacement + operand.displacement - from);
      // In a loop, where the stretch may lie in two pages each time, the TLB is asked here.
      const otherwise = hasSite ? () => this.byTlb(operand, undefined, bytes, found, missed) : missed;
      this.if(this.get(host), inWindow, otherwise, true);
    }
  }

  /** The first access of a window looks up all of it. */
  private beginWindow(
    operand: MemoryOperand,
    { host, from, to, hasSite }: PageWindow,
    found: Found,
    missed: () => void,
  ): void {
    const { linear, write } = operand;
    const before = this.relativeOperand!.displacement - from;
    const start = before === 0 ? linear : this.sub(linear, before);
    const hit = (at: Expr) => {
      this.set(host, before === 0 ? at : this.sub(at, before));
      found(this.get(host), before);
    };
    const otherwise = (go: () => void) => () => {
      this.set(host, 0);
      go();
    };
    if (hasSite) {
      const site = this.newSite();
      const byTlb = otherwise(() => this.byTlb(operand, site, to - from, found, missed));
      this.if(siteHit(this, site, start), () => hit(siteHost(this, site, linear)), byTlb, true);
      return;
    }
    const entry = this.entry(linear);
    const tag = write ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag;
    const endHit = tlbHit(this, entry, tag, start, to - from);
    const allHit = before === 0 ? endHit : this.and(endHit, tlbHit(this, entry, tag, start, 1));
    this.if(allHit, () => hit(hostAddress(this, entry, linear)), otherwise(missed), true);
  }

  /** `site` is told what the TLB knows, for `siteBytes`. */
  private byTlb(
    { linear, bytes, write }: MemoryOperand,
    site: number | undefined,
    siteBytes: number,
    found: Found,
    missed: () => void,
  ): void {
    const entry = this.entry(linear);
    const hit = () => {
      const host = hostAddress(this, entry, linear);
      if (site === undefined) {
        found(host, 0);
        return;
      }
      const settled = this.settle(host);
      const { widenSite } = this.parts.cold;
      const widen = () => this.callMulti(widenSite, this.i32(site), linear, this.i32(siteBytes));
      fillSite(this, site, { linear, host: settled, bytes: siteBytes, widen });
      found(settled, 0);
    };
    const tag = write ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag;
    this.if(tlbHit(this, entry, tag, linear, bytes), hit, missed, true);
  }
}
