import type { Expr, FunctionBuilder, FunctionRef, FunctionType, ModuleBuilder } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import type { CpuImports } from "../interp/imports.ts";
import { CPU, STOP } from "../state.ts";

/**
 * Functions of a compiled module that its regions call off the hot path. Each ends with operands that say where the
 * region is: `pc` (i32, host address of the instruction), `budget` (i32, what the interpreter would have left there) and,
 * but for the last two, `need` (i32, what the region needs to go on to the next place at which it looks at its budget).
 *
 * They give the budget that is left, and `ok`, 0 when the instruction was abandoned: `CPU.rip` and the budget in memory
 * are then those of a fault. Where less than `need` is left, an interrupt became pending, say: the region has to be left
 * after this instruction. Reads and writes then abandon it instead, with `STOP.redo`: the interpreter runs it again, and
 * the accesses that it has done are answered from a log (see `AccessLog`). So no region tests for it on its hot path.
 */
export interface ColdPaths {
  /** (cpu, linear i64, bytes, where) → host address or 0, budget */
  readonly read: FunctionRef;
  readonly modify: FunctionRef;
  /** (cpu, linear i64, bytes, where) → ok, budget */
  readonly write: FunctionRef;
  readonly prove: FunctionRef;
  /** (cpu, where) → ok, budget */
  readonly commit: FunctionRef;
  /** (cpu, port, bytes, where) → value, ok, budget */
  readonly portIn: FunctionRef;
  /** (cpu, port, bytes, value, where) → ok, budget */
  readonly portOut: FunctionRef;
  /** (cpu, vector, error code, pc, budget): an exception. */
  readonly raise: FunctionRef;
  /** (cpu, pc, budget): a helper has set `stop` and its operands. */
  readonly abandon: FunctionRef;
}

/** Page walks in generated code: (cpu, linear i64, bytes) → host address, or 0. */
export interface ImportedWalks {
  readonly read: FunctionRef;
  readonly write: FunctionRef;
}

export function defineColdPaths(module: ModuleBuilder, imports: CpuImports, walks: ImportedWalks): ColdPaths {
  const define = (name: string, params: FunctionType["params"], results: FunctionType["results"], where = 3) => {
    const f = module.function(name, {
      params: ["i32", ...params, ...new Array<"i32">(where).fill("i32")],
      results,
    });
    return { f, operands: params.map((_, i) => f.param(i + 1)), where: new Where(f, params.length + 1) };
  };

  const memory = (name: string, walk: FunctionRef, slow: FunctionRef, host: boolean): FunctionRef => {
    const { f, operands, where } = define(name, ["i64", "i32"], ["i32", "i32"]);
    const [linear, bytes] = operands as [Expr, Expr];
    where.before();
    const found = f.call(walk, f.param(0), linear, bytes);
    f.if(found, () => {
      if (!host) copyScratch(f, found, bytes);
      f.return(host ? found : f.i32(1), where.given());
    });
    where.abandonIfStopped([f.i32(0), f.i32(0)]);
    const result = f.call(slow, f.param(0), f.wrap(linear), f.wrap(f.shrU(linear, 32)), bytes);
    where.abandonUnless(result, [f.i32(0), f.i32(0)]);
    where.redoWithoutBudget([f.i32(0), f.i32(0)]);
    f.return(result, where.left());
    return f;
  };

  const commit = (): FunctionRef => {
    const { f, where } = define("commit", [], ["i32", "i32"]);
    where.before();
    const result = f.call(imports.commitModify, f.param(0));
    where.abandonUnless(result, [f.i32(0), f.i32(0)]);
    f.return(result, where.left());
    return f;
  };

  const portIn = (): FunctionRef => {
    const { f, operands, where } = define("portIn", ["i32", "i32"], ["i32", "i32", "i32"]);
    where.before();
    const value = f.call(imports.portIn, f.param(0), ...operands);
    where.abandonUnless(f.eqz(f.load("i32", 4, f.param(0), CPU.stop)), [f.i32(0), f.i32(0), f.i32(0)]);
    f.return(value, f.i32(1), where.left());
    return f;
  };

  const portOut = (): FunctionRef => {
    const { f, operands, where } = define("portOut", ["i32", "i32", "i32"], ["i32", "i32"]);
    where.before();
    f.call(imports.portOut, f.param(0), ...operands);
    where.abandonUnless(f.eqz(f.load("i32", 4, f.param(0), CPU.stop)), [f.i32(0), f.i32(0)]);
    f.return(f.i32(1), where.left());
    return f;
  };

  const raise = (): FunctionRef => {
    const { f, operands, where } = define("raise", ["i32", "i32"], [], 2);
    const [vector, errorCode] = operands as [Expr, Expr];
    f.store(4, f.param(0), f.i32(STOP.fault), CPU.stop);
    f.store(4, f.param(0), vector, CPU.vector);
    f.store(4, f.param(0), errorCode, CPU.errorCode);
    where.abandon();
    return f;
  };

  const abandon = (): FunctionRef => {
    const { f, where } = define("abandon", [], [], 2);
    where.abandon();
    return f;
  };

  return {
    read: memory("read", walks.read, imports.slowRead, true),
    modify: memory("modify", walks.write, imports.slowModify, true),
    write: memory("write", walks.write, imports.slowWrite, false),
    prove: memory("prove", walks.write, imports.slowProve, true),
    commit: commit(),
    portIn: portIn(),
    portOut: portOut(),
    raise: raise(),
    abandon: abandon(),
  };
}

/** Copies 1 to 16 bytes from the scratch slot. */
function copyScratch(f: FunctionBuilder, host: Expr, bytes: Expr): void {
  const cpu = f.param(0);
  for (const width of [1, 2, 4, 8] as const) {
    const copy = () => f.store(width, host, f.load("i64", width, cpu, CPU.scratch));
    f.if(f.eq(bytes, width), copy);
  }
  f.if(f.eq(bytes, 16), () => f.storeV128(host, f.loadV128(cpu, CPU.scratch)));
}

/** The place of an instruction in its region, and what depends on it. */
class Where {
  private readonly f: FunctionBuilder;
  private readonly first: number;

  constructor(f: FunctionBuilder, first: number) {
    this.f = f;
    this.first = first;
  }

  private get pc(): Expr {
    return this.f.param(this.first);
  }
  private get budget(): Expr {
    return this.f.param(this.first + 1);
  }
  private get need(): Expr {
    return this.f.param(this.first + 2);
  }

  private setBudget(value: Expr): void {
    this.f.store(4, this.f.i32(0), value, CLOCK.budget);
  }

  before(): void {
    const { f } = this;
    const cpu = f.param(0);
    f.store(4, cpu, this.pc, CPU.startPc);
    f.store(4, cpu, f.i32(STOP.none), CPU.stop);
    f.store(4, cpu, f.i32(1), CPU.compiled);
    this.setBudget(this.budget);
  }

  /** What there was when it began. */
  given(): Expr {
    return this.budget;
  }

  /** After a walk: a page fault. */
  abandonIfStopped(results: readonly Expr[]): void {
    this.abandonUnless(this.f.eqz(this.f.load("i32", 4, this.f.param(0), CPU.stop)), results);
  }

  /** What the slow path has left. */
  left(): Expr {
    return this.f.load("i32", 4, this.f.i32(0), CLOCK.budget);
  }

  /** Nothing of the instruction happened, its budget comes back. */
  abandon(): void {
    this.setBudget(this.f.add(this.budget, 1));
    this.leave();
  }

  /** Between `before` and `left`. */
  abandonUnless(ok: Expr, results: readonly Expr[]): void {
    const { f } = this;
    f.if(
      f.eqz(ok),
      () => {
        this.setBudget(f.add(this.left(), 1));
        this.leave();
        f.return(...results);
      },
      undefined,
      false,
    );
  }

  redoWithoutBudget(results: readonly Expr[]): void {
    const { f } = this;
    f.if(
      f.ltS(this.left(), this.need),
      () => {
        f.store(4, f.param(0), f.i32(STOP.redo), CPU.stop);
        this.setBudget(f.add(this.left(), 1));
        this.leave();
        f.return(...results);
      },
      undefined,
      false,
    );
  }

  private leave(): void {
    const { f } = this;
    const cpu = f.param(0);
    f.store(8, cpu, f.add(f.load("i64", 8, cpu, CPU.ripBias), f.u64(this.pc)), CPU.rip);
  }
}
