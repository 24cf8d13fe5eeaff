import type { Expr, FunctionBuilder, FunctionRef, ModuleBuilder } from "../../emit/index.ts";
import { ACCESS_SITE_LOG, ACCESS_SITE_SIZE, ACCESS_SITES, ACCESS_SITES_BASE, PAGE_SIZE } from "../../memory/layout.ts";

/**
 * The page that one place in a loop of compiled code reached last, which is most often the one that it reaches next: a
 * TLB of one entry for each place, of one width and one kind of access. That saves no instructions, but the host waits
 * for an addition instead of a look-up. Filled from the TLB alone; whoever takes a translation away there has all sites
 * forget theirs.
 */
export const ACCESS_SITE = {
  /** i64: linear address of the page. */
  page: 0,
  /** i32: offsets into the page below it may be accessed; 0 when nothing is known. */
  limit: 8,
  /** i32: host address = low half of the linear address + addend, modulo 2^32. */
  addend: 12,
} as const;

/** Never filled: for places that there is no other one for. */
export const NO_SITE = ACCESS_SITES_BASE;

/** The log of filled sites: how many (i32), and the address of each. */
const LOG = { filled: ACCESS_SITE_LOG, sites: ACCESS_SITE_LOG + 8, max: ACCESS_SITES - 2 } as const;

/** The table of sites: who has which, and what is forgotten. */
export class AccessSites {
  private readonly words: Int32Array;
  private readonly free: number[] = [];
  private next = NO_SITE + ACCESS_SITE_SIZE;

  constructor(memory: WebAssembly.Memory) {
    this.words = new Int32Array(memory.buffer);
  }

  /** Sites that can still be taken. */
  get left(): number {
    return this.free.length + (ACCESS_SITES_BASE + ACCESS_SITES * ACCESS_SITE_SIZE - this.next) / ACCESS_SITE_SIZE;
  }

  /** A site of one's own, or `NO_SITE`. */
  take(): number {
    const site = this.free.pop() ?? this.fresh();
    // Code that was dropped while it ran may have filled it once more.
    this.words[(site + ACCESS_SITE.limit) >> 2] = 0;
    return site;
  }

  private fresh(): number {
    if (this.left === 0) return NO_SITE;
    this.next += ACCESS_SITE_SIZE;
    return this.next - ACCESS_SITE_SIZE;
  }

  giveBack(sites: readonly number[]): void {
    for (const site of sites) if (site !== NO_SITE) this.free.push(site);
  }

  /** A translation is no longer what it was. */
  forget(): void {
    const { words } = this;
    for (let i = words[LOG.filled >> 2]! - 1; i >= 0; i--) {
      words[(words[(LOG.sites >> 2) + i]! + ACCESS_SITE.limit) >> 2] = 0;
    }
    words[LOG.filled >> 2] = 0;
  }
}

/** i32: the site, whose address is known, has the page of all bytes at `linear`. */
export function siteHit(f: FunctionBuilder, site: number, linear: Expr): Expr {
  const zero = f.i32(0);
  const offset = f.sub(linear, f.load("i64", 8, zero, site + ACCESS_SITE.page));
  return f.ltU(offset, f.load("i64", 4, zero, site + ACCESS_SITE.limit));
}

export function siteHost(f: FunctionBuilder, site: number, linear: Expr): Expr {
  return f.add(f.wrap(linear), f.load("i32", 4, f.i32(0), site + ACCESS_SITE.addend));
}

/** The page of `linear` has been found to lie at `host`. `open`: what to do with a site that stands in no log. */
export function fillSite(f: FunctionBuilder, site: number, linear: Expr, host: Expr, open: () => void): void {
  const zero = f.i32(0);
  f.if(f.eqz(f.load("i32", 4, zero, site + ACCESS_SITE.limit)), open, undefined, false);
  f.store(8, zero, f.and(linear, -PAGE_SIZE), site + ACCESS_SITE.page);
  f.store(4, zero, f.sub(host, f.wrap(linear)), site + ACCESS_SITE.addend);
}

/** (site, bytes): enters a site for accesses of so many bytes in the log, and gives it a limit, if there is room. */
export function openSite(module: ModuleBuilder): FunctionRef {
  const f = module.function("openSite", { params: ["i32", "i32"], results: [] });
  const [site, bytes] = [f.param(0), f.param(1)];
  const zero = f.i32(0);
  const filled = f.load("i32", 4, zero, LOG.filled);
  f.if(f.or(f.geU(filled, LOG.max), f.eq(site, NO_SITE)), () => f.return());
  f.store(4, f.shl(filled, 2), site, LOG.sites);
  f.store(4, zero, f.add(filled, 1), LOG.filled);
  f.store(4, site, f.sub(f.i32(PAGE_SIZE + 1), bytes), ACCESS_SITE.limit);
  return f;
}

/** What `AccessSites.forget` does, in generated code. */
export function forgetSites(f: FunctionBuilder): void {
  const zero = f.i32(0);
  const left = f.variable("i32", f.load("i32", 4, zero, LOG.filled));
  f.block((done) => {
    f.loop((again) => {
      f.brIf(done, f.eqz(f.get(left)));
      f.set(left, f.sub(f.get(left), 1));
      const site = f.load("i32", 4, f.shl(f.get(left), 2), LOG.sites);
      f.store(4, site, zero, ACCESS_SITE.limit);
      f.br(again);
    });
  });
  f.store(4, zero, zero, LOG.filled);
}
