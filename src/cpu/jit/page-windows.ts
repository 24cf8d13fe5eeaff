import type { Expr, Variable } from "../../emit/index.ts";
import type { DecodedInstruction } from "../decode/decoder.ts";
import { PX } from "../state.ts";
import type { Extent } from "./lazy-values.ts";

/** What is known of an instruction of the block, see `Traits`. */
export interface BlockInstruction {
  readonly decoded: DecodedInstruction;
  readonly traits: { readonly accesses: number; readonly stores: number };
}

/** An address as a value that nobody changes, and a constant. */
export interface RelativeAddress {
  readonly base: Expr;
  readonly displacement: number;
}

/** Displacements to one value, all of which accesses of the block have. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  /** Accesses behind the first. */
  readonly others: number;
}

/**
 * A stretch of memory that the first access to it looked up as a whole: several accesses of a block go to one stack frame
 * or structure, which mostly lies in one page. The others need no look-up then, nor a linear address.
 */
export interface PageWindow {
  readonly base: Expr;
  readonly from: number;
  readonly to: number;
  /** It may be written; else it may only be read. */
  readonly write: boolean;
  /**
   * i32: host address of `from`, or 0 when the stretch is not known to lie in one page that may be accessed so. A slow path
   * may take any translation away, and leaves 0.
   */
  readonly host: Variable;
  /** Where it was looked up: not on every way to what comes behind that. */
  readonly extent: Extent;
  /** The first access has a site, see `AccessSites`. */
  readonly hasSite: boolean;
  /** Accesses that may still use it. */
  left: number;
}

/** A longer stretch would too often lie in two pages. */
const STRETCH_MAX = 512;
/** How far to look for other accesses. */
const LOOK_AHEAD = 64;

/** The windows of the block that is being written. */
export class PageWindows {
  private readonly windows: PageWindow[] = [];

  get count(): number {
    return this.windows.length;
  }

  clear(): void {
    this.windows.length = 0;
  }

  add(window: PageWindow): void {
    this.windows.push(window);
  }

  /** A window for an access, which uses it. */
  use({ base, displacement }: RelativeAddress, bytes: number, write: boolean): PageWindow | undefined {
    const window = this.open.find(
      (one) => one.base === base && (one.write || !write) && one.from <= displacement && displacement + bytes <= one.to,
    );
    if (window !== undefined) window.left--;
    return window;
  }

  /** Those that further accesses may use. */
  get open(): readonly PageWindow[] {
    return this.windows.filter(({ extent, left }) => extent.open && left > 0);
  }
}

/**
 * What instructions behind `block[index]` access as it does, by a constant to the same register. Whether the register is
 * the same then, only who writes the accesses will see.
 */
export function stretchAround(
  block: readonly BlockInstruction[],
  index: number,
  bytes: number,
  write: boolean,
): Stretch | undefined {
  const { decoded } = block[index]!;
  let from = decoded.displacement;
  let to = from + bytes;
  let others = 0;
  const end = Math.min(block.length, index + LOOK_AHEAD);
  for (let at = index + 1; at < end; at++) {
    const other = block[at]!;
    const { displacement } = other.decoded;
    if (!accessesAlike(block[index]!, other, write)) continue;
    const [first, behind] = [Math.min(from, displacement), Math.max(to, displacement + bytes)];
    if (behind - first > STRETCH_MAX) continue;
    [from, to] = [first, behind];
    others++;
  }
  return others > 0 ? { from, to, others } : undefined;
}

const ADDRESS_PREFIXES = PX.rexB | PX.rexX | PX.segment | PX.addressSmall;

function accessesAlike(
  { decoded: a }: BlockInstruction,
  { decoded: b, traits }: BlockInstruction,
  write: boolean,
): boolean {
  // What may be written may be read.
  if (traits.accesses === 0 || (traits.stores > 0 && !write)) return false;
  if (b.modrm < 0 || b.modrm >= 0xc0 || (a.modrm & 7) !== (b.modrm & 7)) return false;
  return (a.px & ADDRESS_PREFIXES) === (b.px & ADDRESS_PREFIXES) && a.sib === b.sib;
}
