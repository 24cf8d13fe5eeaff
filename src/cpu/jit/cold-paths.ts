import type { Expr, FunctionBuilder, FunctionRef, FunctionType, ModuleBuilder } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import type { CpuImports } from "../interp/imports.ts";
import { CPU, STOP } from "../state.ts";

/**
 * Functions of a compiled module that its blocks call off the hot path. Each ends with three operands that say where the
 * block is: `pc` (i32, host address of the instruction), `rip` (i64, its address) and `remaining` (i32, instructions of
 * the block behind it). A block takes its whole length from the budget when it is entered; around a slow path the budget
 * is what the interpreter would show there.
 *
 * Results: `ok` is 0 when the instruction was abandoned; `CPU.rip` and the budget are then those of a fault. `attention`
 * is 1 when the block must be left after this instruction, because less budget is left than it needs.
 */
export interface ColdPaths {
  /** (cpu, linear i64, bytes, where) → host address or 0, attention */
  readonly read: FunctionRef;
  readonly modify: FunctionRef;
  /** (cpu, linear i64, bytes, where) → ok, attention */
  readonly write: FunctionRef;
  readonly prove: FunctionRef;
  /** (cpu, where) → ok, attention */
  readonly commit: FunctionRef;
  /** (cpu, port, bytes, where) → value, ok, attention */
  readonly portIn: FunctionRef;
  /** (cpu, port, bytes, value, where) → ok, attention */
  readonly portOut: FunctionRef;
  /** (cpu, vector, error code, where) → 0: an exception. */
  readonly raise: FunctionRef;
  /** (cpu, where) → 0: a helper has set `stop` and its operands. */
  readonly abandon: FunctionRef;
}

const WHERE = ["i32", "i64", "i32"] as const;

export function defineColdPaths(module: ModuleBuilder, imports: CpuImports): ColdPaths {
  const define = (name: string, params: FunctionType["params"], results: FunctionType["results"]) => {
    const f = module.function(name, { params: ["i32", ...params, ...WHERE], results });
    return { f, operands: params.map((_, i) => f.param(i + 1)), where: new Where(f, params.length + 1) };
  };

  const memory = (name: string, slow: FunctionRef): FunctionRef => {
    const { f, operands, where } = define(name, ["i64", "i32"], ["i32", "i32"]);
    const [linear, bytes] = operands as [Expr, Expr];
    where.before();
    const result = f.call(slow, f.param(0), f.wrap(linear), f.wrap(f.shrU(linear, 32)), bytes);
    where.abandonUnless(result, [f.i32(0), f.i32(0)]);
    f.return(result, where.after());
    return f;
  };

  const commit = (): FunctionRef => {
    const { f, where } = define("commit", [], ["i32", "i32"]);
    where.before();
    const result = f.call(imports.commitModify, f.param(0));
    where.abandonUnless(result, [f.i32(0), f.i32(0)]);
    f.return(result, where.after());
    return f;
  };

  const portIn = (): FunctionRef => {
    const { f, operands, where } = define("portIn", ["i32", "i32"], ["i32", "i32", "i32"]);
    where.before();
    const value = f.call(imports.portIn, f.param(0), ...operands);
    where.abandonUnless(f.eqz(f.load("i32", 4, f.param(0), CPU.stop)), [f.i32(0), f.i32(0), f.i32(0)]);
    f.return(value, f.i32(1), where.after());
    return f;
  };

  const portOut = (): FunctionRef => {
    const { f, operands, where } = define("portOut", ["i32", "i32", "i32"], ["i32", "i32"]);
    where.before();
    f.call(imports.portOut, f.param(0), ...operands);
    where.abandonUnless(f.eqz(f.load("i32", 4, f.param(0), CPU.stop)), [f.i32(0), f.i32(0)]);
    f.return(f.i32(1), where.after());
    return f;
  };

  const raise = (): FunctionRef => {
    const { f, operands, where } = define("raise", ["i32", "i32"], ["i32"]);
    const [vector, errorCode] = operands as [Expr, Expr];
    f.store(4, f.param(0), f.i32(STOP.fault), CPU.stop);
    f.store(4, f.param(0), vector, CPU.vector);
    f.store(4, f.param(0), errorCode, CPU.errorCode);
    where.abandon();
    f.return(f.i32(0));
    return f;
  };

  const abandon = (): FunctionRef => {
    const { f, where } = define("abandon", [], ["i32"]);
    where.abandon();
    f.return(f.i32(0));
    return f;
  };

  return {
    read: memory("read", imports.slowRead),
    modify: memory("modify", imports.slowModify),
    write: memory("write", imports.slowWrite),
    prove: memory("prove", imports.slowProve),
    commit: commit(),
    portIn: portIn(),
    portOut: portOut(),
    raise: raise(),
    abandon: abandon(),
  };
}

/** The place of an instruction in its block, and what depends on it. */
class Where {
  private readonly f: FunctionBuilder;
  private readonly pc: Expr;
  private readonly rip: Expr;
  private readonly remaining: Expr;

  constructor(f: FunctionBuilder, first: number) {
    this.f = f;
    this.pc = f.param(first);
    this.rip = f.param(first + 1);
    this.remaining = f.param(first + 2);
  }

  private get budget(): Expr {
    return this.f.load("i32", 4, this.f.i32(0), CLOCK.budget);
  }

  private setBudget(value: Expr): void {
    this.f.store(4, this.f.i32(0), value, CLOCK.budget);
  }

  before(): void {
    const { f } = this;
    const cpu = f.param(0);
    f.store(4, cpu, this.pc, CPU.startPc);
    f.store(8, cpu, f.sub(this.rip, f.u64(this.pc)), CPU.ripBias);
    f.store(4, cpu, f.i32(STOP.none), CPU.stop);
    this.setBudget(f.add(this.budget, this.remaining));
  }

  /** The attention result. */
  after(): Expr {
    const { f } = this;
    const budget = this.budget;
    this.setBudget(f.sub(budget, this.remaining));
    return f.let(f.ltS(budget, this.remaining));
  }

  /** Before `before`: nothing of the instruction happened, its budget comes back. */
  abandon(): void {
    this.setBudget(this.f.add(this.budget, this.remaining));
    this.leave();
  }

  /** Between `before` and `after`. */
  abandonUnless(ok: Expr, results: readonly Expr[]): void {
    const { f } = this;
    f.if(
      f.eqz(ok),
      () => {
        this.leave();
        f.return(...results);
      },
      undefined,
      false,
    );
  }

  private leave(): void {
    const { f } = this;
    this.setBudget(f.add(this.budget, 1));
    f.store(8, f.param(0), this.rip, CPU.rip);
  }
}
