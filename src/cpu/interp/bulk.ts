import type { Expr, FunctionRef, FunctionType, ModuleBuilder } from "../../emit/index.ts";
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
    // Only a value whose bytes are all equal is a fill.
    const low = f.let(f.and(value, 0xff));
    const mask = f.shrU(f.i64(-1), f.sub(64, f.shl(f.u64(bytes), 3)));
    const pattern = f.and(f.mul(low, 0x101_0101_0101_0101n), mask);
    f.if(f.ne(pattern, f.and(value, mask)), giveUp);
    f.memoryFill(toHost, f.wrap(low), f.wrap(f.shl(f.get(most), f.u64(shift))));
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
