import type { Expr, FunctionBuilder, FunctionRef, FunctionType, ModuleBuilder } from "../../emit/index.ts";
import { PAGE_SHIFT, PAGE_SIZE, TLB_ENTRIES } from "../../memory/layout.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { defineWalks, type Walks } from "../mmu/walk-code.ts";
import { CPU, CS, DS, FS, PX, SEG, SS, STOP, VECTOR } from "../state.ts";
import type { CpuImports } from "./imports.ts";

/** Functions inside the interpreter module that instruction code shares. */
export interface Helpers {
  /** (cpu, linear, bytes) → host address, or 0: abandoned. */
  readonly hostRead: FunctionRef;
  /** (cpu, linear, bytes) → host address, or 0: not an ordinary page, `writeSlow` or `proveSlow` decides. */
  readonly hostWrite: FunctionRef;
  /** (cpu, linear, bytes) → host address (maybe the scratch slot), or 0: abandoned. */
  readonly hostModify: FunctionRef;
  /** As `hostRead` and `hostModify`, for an access that is known to miss the TLB. */
  readonly readMiss: FunctionRef;
  readonly modifyMiss: FunctionRef;
  /** (cpu, linear, bytes) → 1, or 0: abandoned. Writes what stands in `CPU.scratch`. */
  readonly writeMiss: FunctionRef;
  /** (cpu, linear, bytes) → 1, or 0: abandoned. What follows a `hostWrite` that gave 0. */
  readonly writeSlow: FunctionRef;
  readonly proveSlow: FunctionRef;
  /** Page walks, for other modules too. */
  readonly walks: Walks;
  /** Legacy modes: (cpu, segment, offset, bytes, write) → linear address, or -1: abandoned. */
  readonly segment: FunctionRef;
  /** 64-bit mode: (cpu, pc after ModRM, modrm, px, immediate bytes) → linear address, pc. */
  readonly address64: FunctionRef;
  /** Legacy modes: (cpu, pc after ModRM, modrm, px) → offset, pc, segment. */
  readonly addressLegacy: FunctionRef;
  /** (cpu) → host address of the code at `CPU.rip`, or 0: abandoned. Sets up the fetch window. */
  readonly refetch64: FunctionRef;
  readonly refetchLegacy: FunctionRef;
  /** See `bulkFunction` and `collectFunction`. */
  readonly bulk: FunctionRef;
  readonly collect: FunctionRef;
  /** (cpu, host) → 1: see `arrivedFunction`. */
  readonly arrived: FunctionRef;
}

/** Longest instruction, SDM vol 2, 2.3.11. */
const MAX_INSTRUCTION = 15;

export function defineHelpers(
  module: ModuleBuilder,
  imports: CpuImports,
): Omit<Helpers, "bulk" | "collect" | "arrived"> {
  const walks = defineWalks(module);
  const readMiss = missFunction(module, "readMiss", walks.read, imports.slowRead);
  const modifyMiss = missFunction(module, "modifyMiss", walks.write, imports.slowModify);
  const writeSlow = slowFunction(module, "writeSlow", imports.slowWrite);
  return {
    hostRead: hostFunction(module, "hostRead", TLB_ENTRY.readTag, readMiss),
    hostWrite: hostFunction(module, "hostWrite", TLB_ENTRY.writeTag, walks.write),
    hostModify: hostFunction(module, "hostModify", TLB_ENTRY.writeTag, modifyMiss),
    readMiss,
    modifyMiss,
    writeMiss: writeMiss(module, walks.write, writeSlow),
    writeSlow,
    proveSlow: slowFunction(module, "proveSlow", imports.slowProve),
    walks,
    segment: segmentFunction(module),
    address64: address64(module),
    addressLegacy: addressLegacy(module),
    refetch64: refetch(module, true, walks.fetch, imports),
    refetchLegacy: refetch(module, false, walks.fetch, imports),
  };
}

/** i32 address of the TLB entry for a linear address; `base` when `CPU.tlbBase` is at hand. */
export function tlbEntry(f: FunctionBuilder, cpu: Expr, linear: Expr, base?: Expr): Expr {
  const index = f.and(f.wrap(f.shrU(linear, PAGE_SHIFT - 5)), (TLB_ENTRIES - 1) << 5);
  return f.let(f.add(index, base ?? f.load("i32", 4, cpu, CPU.tlbBase)));
}

/** i32: non-zero when all `bytes` at `linear` lie in the page of the entry, with the right that the tag stands for. */
export function tlbHit(f: FunctionBuilder, entry: Expr, tag: number, linear: Expr, bytes: Expr | number): Expr {
  const last = typeof bytes === "number" ? f.add(linear, bytes - 1) : f.add(linear, f.sub(f.u64(bytes), 1));
  return f.eq(f.and(last, -PAGE_SIZE), f.load("i64", 8, entry, tag));
}

export function hostAddress(f: FunctionBuilder, entry: Expr, linear: Expr): Expr {
  return f.add(f.wrap(linear), f.load("i32", 4, entry, TLB_ENTRY.addend));
}

const HOST_FUNCTION: FunctionType = { params: ["i32", "i64", "i32"], results: ["i32"] };

function hostFunction(module: ModuleBuilder, name: string, tag: number, miss: FunctionRef): FunctionRef {
  const f = module.function(name, HOST_FUNCTION);
  const [cpu, linear, bytes] = [f.param(0), f.param(1), f.param(2)];
  const entry = tlbEntry(f, cpu, linear);
  f.if(tlbHit(f, entry, tag, linear, bytes), () => f.return(hostAddress(f, entry, linear)), undefined, true);
  f.return(f.call(miss, cpu, linear, bytes));
  return f;
}

/** What follows a walk that gave 0: a fault that it recorded, or TypeScript. */
function callSlow(f: FunctionBuilder, slow: FunctionRef): void {
  const [cpu, linear, bytes] = [f.param(0), f.param(1), f.param(2)];
  f.if(f.load("i32", 4, cpu, CPU.stop), () => f.return(f.i32(0)));
  f.return(f.call(slow, cpu, f.wrap(linear), f.wrap(f.shrU(linear, 32)), bytes));
}

function slowFunction(module: ModuleBuilder, name: string, slow: FunctionRef): FunctionRef {
  const f = module.function(name, HOST_FUNCTION);
  callSlow(f, slow);
  f.unreachable();
  return f;
}

/** A page walk, else the slow path. */
function missFunction(module: ModuleBuilder, name: string, walk: FunctionRef, slow: FunctionRef): FunctionRef {
  const f = module.function(name, HOST_FUNCTION);
  const host = f.call(walk, f.param(0), f.param(1), f.param(2));
  f.if(host, () => f.return(host), undefined, true);
  callSlow(f, slow);
  f.unreachable();
  return f;
}

function writeMiss(module: ModuleBuilder, walk: FunctionRef, writeSlow: FunctionRef): FunctionRef {
  const f = module.function("writeMiss", HOST_FUNCTION);
  const [cpu, bytes] = [f.param(0), f.param(2)];
  const host = f.call(walk, cpu, f.param(1), bytes);
  f.if(f.eqz(host), () => f.return(f.call(writeSlow, cpu, f.param(1), bytes)), undefined, false);
  for (const size of [8, 4, 2, 1] as const) {
    f.if(f.eq(bytes, size), () => {
      f.store(size, host, f.load("i64", size, cpu, CPU.scratch));
      f.return(f.i32(1));
    });
  }
  f.memoryCopy(host, f.add(cpu, CPU.scratch), bytes);
  f.return(f.i32(1));
  return f;
}

/** Limit and rights as cached with the segment (SDM vol 3, 5.3 and 5.5). */
export function segmentFunction(module: ModuleBuilder): FunctionRef {
  const f = module.function("segment", { params: ["i32", "i32", "i64", "i32", "i32"], results: ["i64"] });
  const [cpu, segment, offset, bytes, write] = [f.param(0), f.param(1), f.param(2), f.param(3), f.param(4)];
  const cache = f.let(f.add(cpu, f.mul(segment, SEG.size)));
  const at = (field: number) => f.load("i64", 8, cache, CPU.segments + field);
  const high = f.choose(
    "i64",
    write,
    () => at(SEG.highWrite),
    () => at(SEG.highRead),
  );
  const last = f.sub(f.add(offset, f.u64(bytes)), 1);
  const inside = f.and(f.geS(offset, at(SEG.low)), f.leS(last, high));
  f.if(inside, () => f.return(f.and(f.add(offset, at(SEG.base)), 0xffff_ffff)), undefined, true);
  f.store(4, cpu, f.i32(STOP.fault), CPU.stop);
  f.store(4, cpu, f.select(f.eq(segment, SS), f.i32(VECTOR.ss), f.i32(VECTOR.gp)), CPU.vector);
  f.store(4, cpu, f.i32(0), CPU.errorCode);
  f.return(f.i64(-1));
  return f;
}

const gprAt = (f: FunctionBuilder, cpu: Expr, number: Expr, bytes: 4 | 8) =>
  f.load("i64", bytes, f.add(cpu, f.shl(number, 3)), CPU.gpr);

/** SDM vol 2, 2.1.5 (32-bit addressing forms) and 2.2.1 (REX). */
function address64(module: ModuleBuilder): FunctionRef {
  const f = module.function("address64", {
    params: ["i32", "i32", "i32", "i32", "i32"],
    results: ["i64", "i32"],
  });
  const [cpu, , modrm, px, immediate] = [f.param(0), f.param(1), f.param(2), f.param(3), f.param(4)];
  const pc = f.variable("i32", f.param(1));
  const offset = f.variable("i64");
  const rm = f.let(f.and(modrm, 7));
  const mod = f.let(f.shrU(modrm, 6));
  const displacement32 = () => {
    const value = f.load("i64", 4, f.get(pc), 0, true);
    f.set(pc, f.add(f.get(pc), 4));
    return value;
  };
  const rexBase = () => f.shl(f.and(px, PX.rexB), 3);
  f.if(
    f.eq(rm, 4),
    () => {
      const sib = f.load("i32", 1, f.get(pc));
      f.set(pc, f.add(f.get(pc), 1));
      f.if(
        f.and(f.eq(f.and(sib, 7), 5), f.eqz(mod)),
        () => f.set(offset, displacement32()),
        () => f.set(offset, gprAt(f, cpu, f.or(f.and(sib, 7), rexBase()), 8)),
      );
      const index = f.let(f.or(f.and(f.shrU(sib, 3), 7), f.shl(f.and(px, PX.rexX), 2)));
      f.if(f.ne(index, 4), () => {
        f.set(offset, f.add(f.get(offset), f.shl(gprAt(f, cpu, index, 8), f.u64(f.shrU(sib, 6)))));
      });
    },
    () =>
      f.if(
        f.and(f.eq(rm, 5), f.eqz(mod)),
        () => {
          // RIP-relative: from the end of the instruction, immediate included.
          const value = displacement32();
          const next = f.add(f.u64(f.add(f.get(pc), immediate)), f.load("i64", 8, cpu, CPU.ripBias));
          f.set(offset, f.add(value, next));
        },
        () => f.set(offset, gprAt(f, cpu, f.or(rm, rexBase()), 8)),
      ),
  );
  f.if(
    f.eq(mod, 1),
    () => {
      f.set(offset, f.add(f.get(offset), f.load("i64", 1, f.get(pc), 0, true)));
      f.set(pc, f.add(f.get(pc), 1));
    },
    () => f.if(f.eq(mod, 2), () => f.set(offset, f.add(f.get(offset), displacement32()))),
  );
  f.if(
    f.and(px, PX.addressSmall | PX.segment),
    () => {
      f.if(f.and(px, PX.addressSmall), () => f.set(offset, f.and(f.get(offset), 0xffff_ffff)));
      f.set(offset, f.add(f.get(offset), overrideBase64(f, cpu, px)));
    },
    undefined,
    false,
  );
  f.return(f.get(offset), f.get(pc));
  return f;
}

/** 64-bit mode: the base that an FS or GS override adds (the others are ignored). */
export function overrideBase64(f: FunctionBuilder, cpu: Expr, px: Expr): Expr {
  const override = f.let(f.and(f.shrU(px, PX.segmentShift), 7));
  return f.choose(
    "i64",
    f.gtU(override, FS),
    () => f.load("i64", 8, f.add(cpu, f.mul(f.sub(override, 1), SEG.size)), CPU.segments + SEG.base),
    () => f.i64(0),
  );
}

/** SDM vol 2, tables 2-1 (16-bit) and 2-2 (32-bit). */
function addressLegacy(module: ModuleBuilder): FunctionRef {
  const f = module.function("addressLegacy", {
    params: ["i32", "i32", "i32", "i32"],
    results: ["i64", "i32", "i32"],
  });
  const [cpu, , modrm, px] = [f.param(0), f.param(1), f.param(2), f.param(3)];
  const pc = f.variable("i32", f.param(1));
  const offset = f.variable("i64");
  const segment = f.variable("i32", DS);
  const rm = f.let(f.and(modrm, 7));
  const mod = f.let(f.shrU(modrm, 6));
  const take = (bytes: 1 | 2 | 4) => {
    const value = f.load("i64", bytes, f.get(pc), 0, true);
    f.set(pc, f.add(f.get(pc), bytes));
    return value;
  };
  const addTo = (value: Expr) => f.set(offset, f.add(f.get(offset), value));
  const register = (number: number) => f.load("i64", 8, cpu, CPU.gpr + number * 8);
  const [BX, BP, SI, DI] = [3, 5, 6, 7];

  f.if(
    f.and(px, PX.addressSmall),
    () => {
      f.if(
        f.and(f.eq(rm, 6), f.eqz(mod)),
        () => f.set(offset, take(2)),
        () => {
          const bases: [number, number | undefined][] = [
            [BX, SI],
            [BX, DI],
            [BP, SI],
            [BP, DI],
            [SI, undefined],
            [DI, undefined],
            [BP, undefined],
            [BX, undefined],
          ];
          bases.forEach(([base, index], number) => {
            f.if(f.eq(rm, number), () => {
              f.set(offset, index === undefined ? register(base) : f.add(register(base), register(index)));
              if (base === BP) f.set(segment, SS);
            });
          });
          f.if(f.eq(mod, 1), () => addTo(take(1)));
          f.if(f.eq(mod, 2), () => addTo(take(2)));
        },
      );
      f.set(offset, f.and(f.get(offset), 0xffff));
    },
    () => {
      f.if(
        f.eq(rm, 4),
        () => {
          const sib = f.load("i32", 1, f.get(pc));
          f.set(pc, f.add(f.get(pc), 1));
          const base = f.let(f.and(sib, 7));
          f.if(
            f.and(f.eq(base, 5), f.eqz(mod)),
            () => f.set(offset, take(4)),
            () => {
              f.set(offset, gprAt(f, cpu, base, 8));
              f.if(f.eq(f.and(base, 6), 4), () => f.set(segment, SS));
            },
          );
          const index = f.let(f.and(f.shrU(sib, 3), 7));
          f.if(f.ne(index, 4), () => addTo(f.shl(gprAt(f, cpu, index, 8), f.u64(f.shrU(sib, 6)))));
        },
        () =>
          f.if(
            f.and(f.eq(rm, 5), f.eqz(mod)),
            () => f.set(offset, take(4)),
            () => {
              f.set(offset, gprAt(f, cpu, rm, 8));
              f.if(f.eq(rm, 5), () => f.set(segment, SS));
            },
          ),
      );
      f.if(f.eq(mod, 1), () => addTo(take(1)));
      f.if(f.eq(mod, 2), () => addTo(take(4)));
      f.set(offset, f.and(f.get(offset), 0xffff_ffff));
    },
    false,
  );
  f.if(f.and(px, PX.segment), () => f.set(segment, f.sub(f.and(f.shrU(px, PX.segmentShift), 7), 1)), undefined, false);
  f.return(f.get(offset), f.get(pc), f.get(segment));
  return f;
}

/**
 * Fast part of a fetch: the code page is in the TLB, or a page walk puts it there, and the instruction cannot cross it, or
 * the TLB has the next page, too; else TypeScript does it.
 */
function refetch(module: ModuleBuilder, mode64: boolean, walk: FunctionRef, imports: CpuImports): FunctionRef {
  const f = module.function(mode64 ? "refetch64" : "refetchLegacy", { params: ["i32"], results: ["i32"] });
  const cpu = f.param(0);
  const rip = f.load("i64", 8, cpu, CPU.rip);
  const segment = CPU.segments + CS * SEG.size;
  const linear = mode64 ? rip : f.let(f.and(f.add(rip, f.load("i64", 8, cpu, segment + SEG.base)), 0xffff_ffff));
  const host = f.variable("i32", 0);
  /** `goesOn`: the next page is within the limit, too. */
  const find = (goesOn: Expr) => {
    const entry = tlbEntry(f, cpu, linear);
    f.if(
      tlbHit(f, entry, TLB_ENTRY.execTag, linear, MAX_INSTRUCTION),
      () => f.set(host, hostAddress(f, entry, linear)),
      () => {
        f.if(goesOn, () => fetchAtPageEnd(f, cpu, linear, rip));
        f.set(host, f.call(walk, cpu, linear, MAX_INSTRUCTION));
      },
      true,
    );
  };
  if (mode64) find(f.i32(1));
  else {
    // The whole rest of the page must lie within the limit, so that the window needs no second bound.
    const pageEnd = f.let(f.add(rip, f.sub(PAGE_SIZE - 1, f.and(linear, PAGE_SIZE - 1))));
    const limit = f.load("i64", 8, cpu, segment + SEG.limit);
    f.if(f.leU(pageEnd, limit), () => find(f.leU(f.add(pageEnd, MAX_INSTRUCTION), limit)), undefined, true);
  }
  f.if(
    f.get(host),
    () => {
      const start = f.sub(f.get(host), f.wrap(f.and(linear, PAGE_SIZE - 1)));
      returnWindow(f, cpu, { rip, host: f.get(host), start, length: PAGE_SIZE - MAX_INSTRUCTION + 1 });
    },
    undefined,
    true,
  );
  f.return(f.call(imports.slowFetch, cpu));
  return f;
}

/** The fetch window, see CPU.windowStart, with the instruction at `rip` at `host`, which is returned. */
function returnWindow(
  f: FunctionBuilder,
  cpu: Expr,
  { rip, host, start, length }: { rip: Expr; host: Expr; start: Expr; length: number },
): void {
  f.store(4, cpu, start, CPU.windowStart);
  f.store(4, cpu, f.i32(length), CPU.windowLength);
  f.store(8, cpu, f.sub(rip, f.u64(host)), CPU.ripBias);
  f.return(host);
}

/**
 * The last bytes of a page, and the first ones of the next: put together in `CPU.fetchScratch` when the TLB has both, with
 * a window for one instruction, whose address is returned.
 */
function fetchAtPageEnd(f: FunctionBuilder, cpu: Expr, linear: Expr, rip: Expr): void {
  const rest = f.let(f.sub(PAGE_SIZE, f.wrap(f.and(linear, PAGE_SIZE - 1))));
  f.if(f.ltU(rest, MAX_INSTRUCTION), () => {
    const last = f.let(f.add(linear, MAX_INSTRUCTION - 1));
    const entry = tlbEntry(f, cpu, linear);
    const next = tlbEntry(f, cpu, last);
    const both = f.and(tlbHit(f, entry, TLB_ENTRY.execTag, linear, 1), tlbHit(f, next, TLB_ENTRY.execTag, last, 1));
    f.if(both, () => {
      const pageEnd = f.add(hostAddress(f, entry, linear), rest);
      f.storeV128(cpu, f.loadV128(f.sub(pageEnd, VECTOR_BYTES)), CPU.fetchScratch);
      const nextPage = hostAddress(f, next, f.and(last, -PAGE_SIZE));
      f.storeV128(cpu, f.loadV128(nextPage), CPU.fetchScratch + VECTOR_BYTES);
      const host = f.let(f.sub(f.add(cpu, CPU.fetchScratch + VECTOR_BYTES), rest));
      returnWindow(f, cpu, { rip, host, start: host, length: 1 });
    });
  });
}

const VECTOR_BYTES = 16;
