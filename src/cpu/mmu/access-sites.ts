import type { Expr, FunctionBuilder, FunctionRef, ModuleBuilder } from "../../emit/index.ts";
import { ACCESS_SITE_LOG, ACCESS_SITE_SIZE, ACCESS_SITES, ACCESS_SITES_BASE, PAGE_SIZE } from "../../memory/layout.ts";

/**
 * The pages that one place in a loop of compiled code reached last, which are most often those that it reaches next: a
 * TLB of one entry for each place, of one width and one kind of access. That saves no instructions, but the host waits
 * for an addition instead of a look-up. Pages that lie beside each other, in the host, too, are known together: which of
 * them a table is read from next is nothing that the host can foresee. Filled from the TLB alone; whoever takes a
 * translation away there has all sites forget theirs.
 */
export const ACCESS_SITE = {
  /** i64: linear address of the first page. */
  page: 0,
  /** i32: offsets from there below it may be accessed; 0 when nothing is known. */
  limit: 8,
  /** i32: host address = low half of the linear address + addend, modulo 2^32. */
  addend: 12,
} as const;

/** Bytes that a site knows of before it gets another page, at most. */
const WIDEST = 0x10_0000;

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

/**
 * The page of `linear` has been found to lie at `host`. `widen`: what to do with a site that stands in no log, or where the
 * page may go on from those that it has; see `widenSite`.
 */
export function fillSite(
  f: FunctionBuilder,
  site: number,
  { linear, host, bytes, widen }: { linear: Expr; host: Expr; bytes: number; widen: () => void },
): void {
  const zero = f.i32(0);
  const addend = f.let(f.sub(host, f.wrap(linear)));
  const limit = f.load("i64", 4, zero, site + ACCESS_SITE.limit);
  const offset = f.sub(linear, f.load("i64", 8, zero, site + ACCESS_SITE.page));
  const near = f.ltU(f.add(offset, PAGE_SIZE), f.add(limit, 2 * PAGE_SIZE));
  const goesOn = f.and(near, f.eq(f.load("i32", 4, zero, site + ACCESS_SITE.addend), addend));
  f.if(
    f.or(goesOn, f.eqz(limit)),
    widen,
    () => {
      f.store(8, zero, f.and(linear, -PAGE_SIZE), site + ACCESS_SITE.page);
      f.store(4, zero, f.i32(PAGE_SIZE + 1 - bytes), site + ACCESS_SITE.limit);
    },
    false,
  );
  f.store(4, zero, addend, site + ACCESS_SITE.addend);
}

/**
 * (site, linear, bytes): the site, for accesses of so many bytes, gets the page of `linear`: together with those that it has,
 * in whose neighbourhood it lies, in the host, too, or instead of them. Enters an empty one in the log.
 */
export function widenSite(module: ModuleBuilder): FunctionRef {
  const f = module.function("widenSite", { params: ["i32", "i64", "i32"], results: [] });
  const [site, linear, bytes] = [f.param(0), f.param(1), f.param(2)];
  const zero = f.i32(0);
  const page = f.let(f.and(linear, -PAGE_SIZE));
  const limit = f.load("i32", 4, site, ACCESS_SITE.limit);
  const setLimit = (value: Expr) => f.store(4, site, value, ACCESS_SITE.limit);
  f.if(
    limit,
    () => {
      const start = f.load("i64", 8, site, ACCESS_SITE.page);
      const size = f.let(f.sub(f.add(limit, bytes), 1));
      const before = f.let(f.eq(f.add(page, PAGE_SIZE), start));
      const beside = f.or(before, f.eq(page, f.add(start, f.u64(size))));
      f.if(f.and(beside, f.ltU(size, WIDEST)), () => {
        setLimit(f.add(limit, PAGE_SIZE));
        f.if(before, () => f.store(8, site, page, ACCESS_SITE.page));
        f.return();
      });
    },
    () => {
      const filled = f.load("i32", 4, zero, LOG.filled);
      f.if(f.or(f.geU(filled, LOG.max), f.eq(site, NO_SITE)), () => f.return());
      f.store(4, f.shl(filled, 2), site, LOG.sites);
      f.store(4, zero, f.add(filled, 1), LOG.filled);
    },
  );
  f.store(8, site, page, ACCESS_SITE.page);
  setLimit(f.sub(f.i32(PAGE_SIZE + 1), bytes));
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
