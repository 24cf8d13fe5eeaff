import {
  type Expr,
  type FunctionBuilder,
  type FunctionRef,
  type FunctionType,
  ModuleBuilder,
} from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import { hostAddress, segmentFunction, tlbEntry, tlbHit } from "../interp/helpers.ts";
import { type CpuImports, declareImports, KNOWN_DEVICE } from "../interp/imports.ts";
import { widenSite } from "../mmu/access-sites.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { CPU, STOP } from "../state.ts";

/**
 * Functions that compiled regions call off the hot path. `where` is three operands that say where the region is: `pc`
 * (i32, host address of the instruction), `budget` (i32, what the interpreter would have left there) and `need` (i32, what
 * the region needs to go on to the next place at which it looks at its budget).
 *
 * Those with a `where` give the budget that is left, and `ok`, 0 when the instruction was abandoned: `CPU.rip`
 * and the budget in memory are then those of a fault. Where less than `need` is left, an interrupt became pending, say:
 * the region has to be left after this instruction. Reads and writes then abandon it instead, with `STOP.redo`: the
 * interpreter runs it again, and the accesses that it has done are answered from a log (see `AccessLog`). So no region
 * tests for it on its hot path.
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
  /** (cpu, guest-physical address, bytes, where) → ok, budget: a device, to or from the scratch slot. */
  readonly readDevice: FunctionRef;
  readonly writeDevice: FunctionRef;
  /** (cpu, vector, error code, pc, budget): an exception. */
  readonly raise: FunctionRef;
  /** (cpu, pc, budget): a helper has set `stop` and its operands. */
  readonly abandon: FunctionRef;
  /** See Helpers.segment of the interpreter. */
  readonly segment: FunctionRef;
  /** See `widenSite`. */
  readonly widenSite: FunctionRef;
}

/** Linear address and bytes. */
const ACCESS = ["i64", "i32"] as const;
const WHERE = ["i32", "i32", "i32"] as const;
const TYPES: Readonly<Record<keyof ColdPaths, FunctionType>> = {
  read: { params: ["i32", ...ACCESS, ...WHERE], results: ["i32", "i32"] },
  modify: { params: ["i32", ...ACCESS, ...WHERE], results: ["i32", "i32"] },
  write: { params: ["i32", ...ACCESS, ...WHERE], results: ["i32", "i32"] },
  prove: { params: ["i32", ...ACCESS, ...WHERE], results: ["i32", "i32"] },
  commit: { params: ["i32", ...WHERE], results: ["i32", "i32"] },
  portIn: { params: ["i32", "i32", "i32", ...WHERE], results: ["i32", "i32", "i32"] },
  portOut: { params: ["i32", "i32", "i32", "i32", ...WHERE], results: ["i32", "i32"] },
  readDevice: { params: ["i32", "i32", "i32", ...WHERE], results: ["i32", "i32"] },
  writeDevice: { params: ["i32", "i32", "i32", ...WHERE], results: ["i32", "i32"] },
  raise: { params: ["i32", "i32", "i32", "i32", "i32"], results: [] },
  abandon: { params: ["i32", "i32", "i32"], results: [] },
  segment: { params: ["i32", "i32", "i64", "i32", "i32"], results: ["i64"] },
  widenSite: { params: ["i32", "i64", "i32"], results: [] },
};

/** For a compiled module: imports the functions of `coldModule`. */
export function importColdPaths(module: ModuleBuilder): ColdPaths {
  const entries = Object.entries(TYPES).map(([name, type]) => [name, module.importFunction("cold", name, type)]);
  return Object.fromEntries(entries) as ColdPaths;
}

/** The module that all compiled modules import their cold paths from; it imports what the interpreter does. */
export function coldModule(): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  const { cpu: imports } = declareImports(module, {});
  const walk = { params: ["i32", "i64", "i32"], results: ["i32"] } as const;
  const walks = {
    read: module.importFunction("interpreter", "walkRead", walk),
    write: module.importFunction("interpreter", "walkWrite", walk),
  };
  const devices = {
    read: module.importFunction("interpreter", "readDevice", KNOWN_DEVICE),
    write: module.importFunction("interpreter", "writeDevice", KNOWN_DEVICE),
  };
  const paths = defineColdPaths(module, imports, walks, devices);
  for (const [name, target] of Object.entries(paths)) module.export(name, target);
  return module.build();
}

/** Functions of the interpreter's module for either direction. */
interface Directions {
  readonly read: FunctionRef;
  readonly write: FunctionRef;
}

/** `walks`: (cpu, linear i64, bytes) → host address, or 0. `devices`: see `KNOWN_DEVICE`. */
function defineColdPaths(
  module: ModuleBuilder,
  imports: CpuImports,
  walks: Directions,
  devices: Directions,
): ColdPaths {
  const define = (name: keyof ColdPaths) => {
    const { params } = TYPES[name];
    const f = module.function(name, TYPES[name]);
    const first = params.length - (name === "raise" || name === "abandon" ? 2 : 3);
    const operands = params.slice(1, first).map((_, i) => f.param(i + 1));
    return { f, operands, where: new Where(f, first) };
  };

  const memory = (name: keyof ColdPaths, walk: FunctionRef, slow: FunctionRef, host: boolean): FunctionRef => {
    const { f, operands, where } = define(name);
    const [linear, bytes] = operands as [Expr, Expr];
    const found = (at: Expr) => {
      if (!host) copyScratch(f, at, bytes);
      f.return(host ? at : f.i32(1), where.given());
    };
    // Accesses in a window that is not known to lie in one page come here straight away.
    const entry = tlbEntry(f, f.param(0), linear);
    const tag = name === "read" ? TLB_ENTRY.readTag : TLB_ENTRY.writeTag;
    f.if(tlbHit(f, entry, tag, linear, bytes), () => found(hostAddress(f, entry, linear)));
    where.before();
    const walked = f.call(walk, f.param(0), linear, bytes);
    f.if(walked, () => found(walked));
    where.abandonIfStopped([f.i32(0), f.i32(0)]);
    const result = f.call(slow, f.param(0), f.wrap(linear), f.wrap(f.shrU(linear, 32)), bytes);
    where.abandonUnless(result, [f.i32(0), f.i32(0)]);
    where.redoWithoutBudget([f.i32(0), f.i32(0)]);
    f.return(result, where.left());
    return f;
  };

  const commit = (): FunctionRef => {
    const { f, where } = define("commit");
    where.before();
    const result = f.call(imports.commitModify, f.param(0));
    where.abandonUnless(result, [f.i32(0), f.i32(0)]);
    f.return(result, where.left());
    return f;
  };

  const portIn = (): FunctionRef => {
    const { f, operands, where } = define("portIn");
    where.before();
    const value = f.call(imports.portIn, f.param(0), ...operands);
    where.abandonUnless(f.eqz(f.load("i32", 4, f.param(0), CPU.stop)), [f.i32(0), f.i32(0), f.i32(0)]);
    f.return(value, f.i32(1), where.left());
    return f;
  };

  const portOut = (): FunctionRef => {
    const { f, operands, where } = define("portOut");
    where.before();
    f.call(imports.portOut, f.param(0), ...operands);
    where.abandonUnless(f.eqz(f.load("i32", 4, f.param(0), CPU.stop)), [f.i32(0), f.i32(0)]);
    f.return(f.i32(1), where.left());
    return f;
  };

  const device = (name: keyof ColdPaths, target: FunctionRef): FunctionRef => {
    const { f, operands, where } = define(name);
    where.before();
    where.abandonUnless(f.call(target, f.param(0), ...operands), [f.i32(0), f.i32(0)]);
    f.return(f.i32(1), where.left());
    return f;
  };

  const raise = (): FunctionRef => {
    const { f, operands, where } = define("raise");
    const [vector, errorCode] = operands as [Expr, Expr];
    f.store(4, f.param(0), f.i32(STOP.fault), CPU.stop);
    f.store(4, f.param(0), vector, CPU.vector);
    f.store(4, f.param(0), errorCode, CPU.errorCode);
    where.abandon();
    return f;
  };

  const abandon = (): FunctionRef => {
    const { f, where } = define("abandon");
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
    readDevice: device("readDevice", devices.read),
    writeDevice: device("writeDevice", devices.write),
    raise: raise(),
    abandon: abandon(),
    segment: segmentFunction(module),
    widenSite: widenSite(module),
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
