/** Segment caches filled in generated code: what `VcpuState.setSegment` does. */
import type { Expr, FunctionRef } from "../../emit/index.ts";
import { ATTR, CPU, SEG, SS } from "../state.ts";
import { InterpreterBuilder, type InterpreterModule } from "./interpreter-builder.ts";

/** Each gives 1, for want of functions without a result. */
export interface SegmentLoads {
  /** (cpu, segment, selector, low, high): a code or data descriptor that has been checked. */
  readonly descriptor: FunctionRef;
  /** (cpu, selector, cpl): a null selector in SS of 64-bit code. */
  readonly nullStack: FunctionRef;
  /** (cpu, segment, selector): a null selector in DS, ES, FS or GS. */
  readonly nullData: FunctionRef;
}

export function defineSegmentLoads(parts: InterpreterModule): SegmentLoads {
  return { descriptor: loadDescriptor(parts), nullStack: loadNullStack(parts), nullData: loadNullData(parts) };
}

function loadDescriptor(parts: InterpreterModule): FunctionRef {
  const type = { params: ["i32", "i32", "i32", "i32", "i32"], results: ["i32"] } as const;
  const x = InterpreterBuilder.create(parts, "loadDescriptor", type, false);
  const [segment, selector, low, high] = [x.param(1), x.param(2), x.param(3), x.param(4)];
  const cache = x.let(x.add(x.cpu, x.mul(segment, SEG.size)));
  const attributes = x.let(x.and(x.shrU(high, 8), 0xf0ff));
  const base = x.let(x.or(x.or(x.shrU(low, 16), x.shl(x.and(high, 0xff), 16)), x.and(high, 0xff00_0000 | 0)));
  const raw = x.let(x.or(x.and(low, 0xffff), x.and(high, 0xf_0000)));
  const limit = x.let(x.select(x.and(attributes, ATTR.g), x.or(x.shl(raw, 12), 0xfff), raw));
  const set32 = (field: number, value: Expr) => x.store(4, cache, value, CPU.segments + field);
  const set64 = (field: number, value: Expr) => x.store(8, cache, value, CPU.segments + field);
  set32(SEG.selector, selector);
  set32(SEG.attributes, attributes);
  set64(SEG.base, x.u64(base));
  set64(SEG.limit, x.u64(limit));
  const isCode = x.let(x.ne(x.and(attributes, 8), 0));
  const second = x.let(x.ne(x.and(attributes, 2), 0));
  const present = x.let(x.eq(x.and(attributes, ATTR.present | ATTR.s), ATTR.present | ATTR.s));
  const readable = x.let(x.and(present, x.or(x.eqz(isCode), second)));
  const writable = x.let(x.and(present, x.and(x.eqz(isCode), second)));
  const down = x.let(x.eq(x.and(attributes, ATTR.s | 0xc), ATTR.s | 0x4));
  const upper = x.select(x.and(attributes, ATTR.db), x.i64(0xffff_ffff), x.i64(0xffff));
  const top = x.let(x.select(down, upper, x.u64(limit)));
  set64(SEG.low, x.select(down, x.add(x.u64(limit), 1), x.i64(0)));
  set64(SEG.highRead, x.select(readable, top, x.i64(-1)));
  set64(SEG.highWrite, x.select(writable, top, x.i64(-1)));
  const wide = x.and(x.eq(limit, -1), x.eqz(down));
  const flat = x.and(x.and(x.eqz(base), wide), x.and(readable, writable));
  const others = x.and(x.field("i32", CPU.flatSegments), x.xor(x.shl(x.i32(1), segment), -1));
  x.setField("i32", CPU.flatSegments, x.or(others, x.shl(flat, segment)));
  x.if(x.eq(segment, SS), () => {
    const mask = x.select(x.and(attributes, ATTR.db), x.i64(0xffff_ffff), x.i64(0xffff));
    x.setField("i64", CPU.stackMask, mask);
  });
  x.return(x.i32(1));
  return x;
}

function unusable(x: InterpreterBuilder, cache: Expr, selector: Expr, attributes: Expr): void {
  const set64 = (field: number, value: number) => x.store(8, cache, x.i64(value), CPU.segments + field);
  x.store(4, cache, selector, CPU.segments + SEG.selector);
  x.store(4, cache, attributes, CPU.segments + SEG.attributes);
  set64(SEG.base, 0);
  set64(SEG.limit, 0);
  set64(SEG.low, 0);
  set64(SEG.highRead, -1);
  set64(SEG.highWrite, -1);
}

function loadNullStack(parts: InterpreterModule): FunctionRef {
  const type = { params: ["i32", "i32", "i32"], results: ["i32"] } as const;
  const x = InterpreterBuilder.create(parts, "loadNullStack", type, false);
  const attributes = x.or(x.shl(x.param(2), ATTR.dplShift), ATTR.unusable);
  unusable(x, x.let(x.add(x.cpu, SS * SEG.size)), x.param(1), attributes);
  x.setField("i32", CPU.flatSegments, x.and(x.field("i32", CPU.flatSegments), ~(1 << SS)));
  x.setField("i64", CPU.stackMask, 0xffff);
  x.return(x.i32(1));
  return x;
}

function loadNullData(parts: InterpreterModule): FunctionRef {
  const x = InterpreterBuilder.create(
    parts,
    "loadNullData",
    { params: ["i32", "i32", "i32"], results: ["i32"] },
    false,
  );
  const segment = x.param(1);
  unusable(x, x.let(x.add(x.cpu, x.mul(segment, SEG.size))), x.param(2), x.i32(ATTR.unusable));
  const others = x.xor(x.shl(x.i32(1), segment), -1);
  x.setField("i32", CPU.flatSegments, x.and(x.field("i32", CPU.flatSegments), others));
  x.return(x.i32(1));
  return x;
}
