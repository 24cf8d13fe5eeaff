import type { Expr, FunctionBuilder, FunctionRef, FunctionType, ModuleBuilder } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import { PAGE_SIZE } from "../../memory/layout.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { CPU, FLAG } from "../state.ts";
import { hostAddress, tlbEntry, tlbHit } from "./helpers.ts";

/** (cpu, to i64, from i64, count i64, value i64, budget, shift of the unit + 4 for STOS) → units done */
export const BULK: FunctionType = { params: ["i32", "i64", "i64", "i64", "i64", "i32", "i32"], results: ["i64"] };

/** Shorter strings are done one by one: finding out costs as much. */
const BULK_MINIMUM = 8;

/**
 * MOVS and STOS upwards between linear addresses, to the end of the page that ends first, and within the budget (one unit
 * has been paid for). 0 when it is not that simple; a page that is not at hand is for a single unit to find.
 */
export function bulkFunction(module: ModuleBuilder): FunctionRef {
  const f = module.function("bulk", BULK);
  const operand = (position: number) => f.param(position);
  const [cpu, to, from, count] = [operand(0), operand(1), operand(2), operand(3)];
  const [value, budget, kind] = [operand(4), operand(5), operand(6)];
  const giveUp = () => f.return(f.i64(0));
  f.if(f.ltU(count, BULK_MINIMUM), giveUp, undefined, false);
  f.if(f.and(f.load("i32", 4, cpu, CPU.eflags), FLAG.df), giveUp, undefined, false);
  const shift = f.let(f.and(kind, 3));
  const bytes = f.let(f.shl(f.i32(1), shift));
  const least = (a: Expr, b: Expr) => f.let(f.select(f.ltU(a, b), a, b));
  const roomOf = (linear: Expr) => f.let(f.sub(PAGE_SIZE, f.and(linear, PAGE_SIZE - 1)));
  const most = f.variable("i64", least(count, f.s64(f.add(budget, 1))));
  const toEntry = tlbEntry(f, cpu, to);
  f.if(f.eqz(tlbHit(f, toEntry, TLB_ENTRY.writeTag, to, bytes)), giveUp, undefined, false);
  const toHost = f.let(hostAddress(f, toEntry, to));
  f.set(most, least(f.get(most), f.shrU(roomOf(to), f.u64(shift))));
  f.if(f.and(kind, 4), () => {
    const length = f.let(f.wrap(f.shl(f.get(most), f.u64(shift))));
    const low = f.let(f.and(value, 0xff));
    const bits = f.let(f.shl(f.u64(bytes), 3));
    const unit = f.let(f.and(value, f.shrU(f.i64(-1), f.sub(64, bits))));
    // The unit, again and again in 8 bytes: shifts count modulo 64, so that there is none where it is whole.
    let pattern = unit;
    for (const units of [1, 2, 4]) pattern = f.let(f.or(pattern, f.shl(pattern, f.mul(bits, units))));
    f.if(f.eq(pattern, f.mul(low, 0x101_0101_0101_0101n)), () => {
      f.memoryFill(toHost, f.wrap(low), length);
      f.return(f.get(most));
    });
    f.if(f.ltU(length, 16), giveUp);
    storePattern(f, toHost, pattern, length);
    f.return(f.get(most));
  });
  const fromEntry = tlbEntry(f, cpu, from);
  f.if(f.eqz(tlbHit(f, fromEntry, TLB_ENTRY.readTag, from, bytes)), giveUp, undefined, false);
  const fromHost = f.let(hostAddress(f, fromEntry, from));
  f.set(most, least(f.get(most), f.shrU(roomOf(from), f.u64(shift))));
  const length = f.let(f.wrap(f.shl(f.get(most), f.u64(shift))));
  // A destination a little above its source repeats what it has just written: one by one.
  f.if(f.ltU(f.sub(toHost, fromHost), length), giveUp, undefined, false);
  f.memoryCopy(toHost, fromHost, length);
  f.return(f.get(most));
  return f;
}

/** Fills `length` bytes, 16 or more and a multiple of the pattern's period, which divides 8. */
function storePattern(f: FunctionBuilder, to: Expr, pattern: Expr, length: Expr): void {
  const vector = f.let(f.simd("v128", SIMD.i64x2Splat, [pattern]));
  const last = f.let(f.sub(f.add(to, length), 16));
  const at = f.variable("i32", to);
  f.loop((again) => {
    f.storeV128(f.get(at), vector);
    f.set(at, f.add(f.get(at), 16));
    f.brIf(again, f.ltU(f.get(at), last));
  });
  // What is left is less than a vector: this one overlaps what is there, in step with it.
  f.storeV128(last, vector);
}
