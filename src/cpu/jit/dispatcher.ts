import { type Expr, type FunctionBuilder, type FunctionRef, ModuleBuilder } from "../../emit/index.ts";
import { CLOCK, HOT_BASE, HOT_ENTRIES, JUMP_CACHE_BASE, JUMP_CACHE_ENTRIES } from "../../memory/layout.ts";
import { arrivedFunction } from "../interp/arrivals.ts";
import { hostAddress, tlbEntry, tlbHit } from "../interp/helpers.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { CPU, CS, MODE, SEG, STOP } from "../state.ts";
import { REGION } from "./region-builder.ts";

/** Compiled code by the instruction pointer, direct-mapped; 32 bytes an entry. */
export const JUMP_CACHE = {
  /** i64 */
  rip: 0,
  /** i32: see CPU.codeContext; never 0 in use. */
  context: 8,
  /** i32: see CPU.codeGeneration. */
  generation: 12,
  /** i32: host address of the code. */
  host: 16,
  /** i32: index in the function table. */
  code: 20,
} as const;

/** Index of an entry: for TypeScript what `jumpCacheEntry` is for emitted code. */
export const jumpCacheIndex = (ripLow: number): number => (ripLow ^ (ripLow >>> 12)) & (JUMP_CACHE_ENTRIES - 1);

/** The entry of the hot-code table for a host address. */
export const hotEntry = (host: number): number => HOT_BASE + (host & (HOT_ENTRIES - 1)) * 8;

/** State under which legacy code is compiled; what `CPU.knownContext` holds. */
const CONTEXT_FIELDS: readonly (readonly ["i32" | "i64", field: number, known: number])[] = [
  ["i64", CPU.stackMask, 0],
  ["i32", CPU.flatSegments, 8],
  ["i32", CPU.initialPrefixes, 12],
  ["i64", CPU.segments + CS * SEG.size + SEG.limit, 16],
  ["i64", CPU.segments + CS * SEG.size + SEG.base, 24],
  ["i32", CPU.mode, 32],
];

/**
 * The loop around compiled code: `run(cpu)` looks up the code at `CPU.rip` and calls it, over and over; where there is
 * none, the interpreter goes on, which comes back when it gets to code that was reached often. Returns a STOP reason.
 */
export function dispatcherModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  module.importMemory("env", "memory");
  module.importTable("env", "code");
  const interpret = { params: ["i32"], results: ["i32"] } as const;
  const run64 = module.importFunction("interpreter", "run64", interpret);
  const runLegacy = module.importFunction("interpreter", "runLegacy", interpret);
  const imports = {
    /** (cpu): the state is not that of `CPU.knownContext`; sets it and `CPU.codeContext`. */
    newContext: module.importFunction("env", "newContext", { params: ["i32"], results: [] }),
    /** (cpu, host) → 1 when there is compiled code for `CPU.rip` now, and in the jump cache. */
    findCode: module.importFunction("env", "findCode", { params: ["i32", "i32"], results: ["i32"] }),
    /** (cpu) → host address of the code at `CPU.rip`, which the TLB lacks, or 0: the interpreter finds out why. */
    fetchCode: module.importFunction("env", "fetchCode", { params: ["i32"], results: ["i32"] }),
    /** (cpu): the next instruction is run again by the interpreter. */
    redo: module.importFunction("env", "redo", { params: ["i32"], results: [] }),
  };
  const arrived = arrivedFunction(module);
  const context = contextFunction(module, imports.newContext);
  const f = module.function("run", interpret);
  const cpu = f.param(0);
  const rip = f.variable("i64");
  const known = f.variable("i32");
  const stopWith = (reason: number) => {
    f.store(4, cpu, f.i32(reason), CPU.stop);
    f.return(f.i32(reason));
  };
  f.loop((changed) => {
    f.set(known, f.call(context, cpu));
    f.loop((next) => {
      f.if(f.leS(f.load("i32", 4, f.i32(0), CLOCK.budget), 0), () => stopWith(STOP.budget), undefined, false);
      f.block((interpreted) => {
        f.set(rip, f.load("i64", 8, cpu, CPU.rip));
        const at = f.let(jumpCacheEntry(f, f.get(rip)));
        const field = (name: keyof typeof JUMP_CACHE) => f.load("i32", 4, at, JUMP_CACHE_BASE + JUMP_CACHE[name]);
        const same = f.and(
          f.eq(f.load("i64", 8, at, JUMP_CACHE_BASE), f.get(rip)),
          f.eq(field("context"), f.get(known)),
        );
        f.if(
          same,
          () => {
            const generation = f.load("i32", 4, cpu, CPU.codeGeneration);
            f.if(
              f.ne(field("generation"), generation),
              () => {
                // Translations have changed since: whether this one has, the TLB knows.
                const host = f.let(codeHost(f, cpu, f.get(rip)));
                f.brIf(interpreted, f.ne(host, field("host")));
                f.store(4, at, generation, JUMP_CACHE_BASE + JUMP_CACHE.generation);
              },
              undefined,
              false,
            );
            const result = f.callIndirect(interpret, field("code"), cpu);
            f.brIf(next, f.eq(result, REGION.retired), true);
            f.brIf(changed, f.eq(result, REGION.changed));
            f.brIf(interpreted, f.eq(result, REGION.declined));
            f.if(f.eqz(result), () => {
              const stop = f.load("i32", 4, cpu, CPU.stop);
              f.if(
                f.eq(stop, STOP.redo),
                () => {
                  f.callMulti(imports.redo, cpu);
                  f.br(interpreted);
                },
                () => f.return(stop),
              );
            });
            stopWith(STOP.leave);
          },
          () => {
            const host = f.variable("i32", codeHost(f, cpu, f.get(rip)));
            f.if(f.eqz(f.get(host)), () => f.set(host, f.call(imports.fetchCode, cpu)), undefined, false);
            f.brIf(interpreted, f.eqz(f.get(host)));
            f.brIf(interpreted, f.eqz(f.call(arrived, cpu, f.get(host))));
            f.brIf(next, f.call(imports.findCode, cpu, f.get(host)));
          },
        );
      });
      f.store(4, cpu, f.i32(0), CPU.compiled);
      const mode64 = f.and(f.load("i32", 4, cpu, CPU.mode), MODE.code64);
      const budget = f.load("i32", 4, f.i32(0), CLOCK.budget);
      const stop = f.choose(
        "i32",
        mode64,
        () => f.call(run64, cpu),
        () => f.call(runLegacy, cpu),
      );
      const took = f.s64(f.sub(budget, f.load("i32", 4, f.i32(0), CLOCK.budget)));
      f.store(8, cpu, f.add(f.load("i64", 8, cpu, CPU.interpreted), took), CPU.interpreted);
      f.brIf(changed, f.eq(stop, STOP.hot));
      f.return(stop);
    });
  });
  f.unreachable();
  module.export("run", f);
  return module.build();
}

/** Offset of an entry in the jump cache. */
function jumpCacheEntry(f: FunctionBuilder, rip: Expr): Expr {
  const low = f.let(f.wrap(rip));
  return f.shl(f.and(f.xor(low, f.shrU(low, 12)), JUMP_CACHE_ENTRIES - 1), 5);
}

/** Host address of the code at `rip` if the TLB has it, else 0. */
function codeHost(f: FunctionBuilder, cpu: Expr, rip: Expr): Expr {
  const base = f.load("i64", 8, cpu, CPU.segments + CS * SEG.size + SEG.base);
  const mode64 = f.let(f.and(f.load("i32", 4, cpu, CPU.mode), MODE.code64));
  const linear = f.let(f.select(mode64, rip, f.and(f.add(rip, base), 0xffff_ffff)));
  const entry = tlbEntry(f, cpu, linear);
  return f.select(tlbHit(f, entry, TLB_ENTRY.execTag, linear, 1), hostAddress(f, entry, linear), f.i32(0));
}

/** (cpu) → number of the state that compiled code takes for granted: 2 and 3 in 64-bit mode; bit 0: CPL 3. */
function contextFunction(module: ModuleBuilder, newContext: FunctionRef): FunctionRef {
  const f = module.function("context", { params: ["i32"], results: ["i32"] });
  const cpu = f.param(0);
  const user = f.let(f.eq(f.load("i32", 4, cpu, CPU.cpl), 3));
  f.if(f.and(f.load("i32", 4, cpu, CPU.mode), MODE.code64), () => f.return(f.or(user, 2)));
  let same: Expr = f.i32(1);
  for (const [type, field, known] of CONTEXT_FIELDS) {
    const bytes = type === "i64" ? 8 : 4;
    same = f.and(same, f.eq(f.load(type, bytes, cpu, field), f.load(type, bytes, cpu, CPU.knownContext + known)));
  }
  f.if(f.eqz(same), () => f.callMulti(newContext, cpu), undefined, false);
  f.return(f.or(f.load("i32", 4, cpu, CPU.codeContext), user));
  return f;
}

/** A text that is equal for equal contexts, and the values that `CPU.knownContext` gets. */
export function contextValues(read: (type: "i32" | "i64", offset: number) => bigint): {
  readonly key: string;
  readonly known: readonly (readonly ["i32" | "i64", number, bigint])[];
} {
  const known = CONTEXT_FIELDS.map(([type, field, at]) => [type, CPU.knownContext + at, read(type, field)] as const);
  return { key: known.map(([, , value]) => value).join(), known };
}
