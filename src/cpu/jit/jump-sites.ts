import { JUMP_SITE_SIZE, JUMP_SITES, JUMP_SITES_BASE } from "../../memory/layout.ts";

/** One indirect jump of compiled code. */
export const JUMP_SITE = {
  /** i32 each: low halves of the last targets, in a ring. */
  targets: 0,
  /** i32: how often it may still leave the region before its targets are looked at. Counts on, below 0. */
  left: 128,
} as const;
/** A power of two. */
export const JUMP_SITE_TARGETS = 32;

/** Jumps out of a region before it is compiled again, with their targets. */
const PATIENCE = 20_000;
/** Targets that a jump is compared with: by then the dispatcher costs no more. */
const COMPARED_MAX = 10;

const ALL_SITES: readonly number[] = Array.from({ length: JUMP_SITES }, (_, i) => JUMP_SITES_BASE + i * JUMP_SITE_SIZE);

/**
 * Where indirect jumps of compiled code go. Each is watched through one count of jumps that left its region; then the
 * targets seen last are what it is known by.
 */
export class JumpSites {
  private readonly words: Int32Array;
  /** By host address of the instruction. */
  private readonly watched = new Map<number, number>();
  private readonly known = new Map<number, readonly number[]>();
  /** Places of the table that are free. */
  private free: number[] = ALL_SITES.slice();

  constructor(memory: WebAssembly.Memory) {
    this.words = new Int32Array(memory.buffer);
  }

  reset(): void {
    this.watched.clear();
    this.known.clear();
    this.free = ALL_SITES.slice();
  }

  /** Code from one host address to another is no more. */
  forget(from: number, to: number): void {
    for (const host of this.known.keys()) if (host >= from && host < to) this.known.delete(host);
    for (const [host, site] of this.watched) {
      if (host < from || host >= to) continue;
      this.watched.delete(host);
      this.free.push(site);
    }
  }

  /** Low halves of the addresses that the instruction at a host address was seen to jump to; the commonest first. */
  targets(host: number): readonly number[] {
    return this.known.get(host) ?? [];
  }

  /** Where compiled code is to note the jumps of an instruction; undefined when nobody wants to know. */
  watch(host: number): number | undefined {
    if (this.known.has(host)) return undefined;
    let site = this.watched.get(host);
    if (site === undefined) {
      site = this.free.pop();
      if (site === undefined) return undefined;
      this.watched.set(host, site);
      this.words[(site + JUMP_SITE.left) >> 2] = PATIENCE;
    }
    return site;
  }

  /** Instructions that have been watched long enough: their targets are known from now on. */
  learn(): number[] {
    const learned: number[] = [];
    for (const [host, site] of this.watched) {
      if (this.words[(site + JUMP_SITE.left) >> 2]! > 0) continue;
      this.watched.delete(host);
      // Code that is about to be replaced still writes there: whoever gets the place takes that for targets.
      this.free.push(site);
      this.known.set(host, this.commonest(site));
      learned.push(host);
    }
    return learned;
  }

  private commonest(site: number): number[] {
    const counts = new Map<number, number>();
    for (let index = 0; index < JUMP_SITE_TARGETS; index++) {
      const target = this.words[(site + JUMP_SITE.targets) / 4 + index]!;
      counts.set(target, (counts.get(target) ?? 0) + 1);
    }
    return [...counts.keys()].sort((a, b) => counts.get(b)! - counts.get(a)!).slice(0, COMPARED_MAX);
  }
}
