import { type Expr, type FunctionBuilder, type FunctionRef, ModuleBuilder, type Operand } from "../emit/index.ts";
import { assert, PorticoError } from "../errors.ts";
import { DEFER, type RangeHandlers, type RawRead, type RawWrite } from "../io/types.ts";
import { CLOCK, CLOCK_RATE_SHIFT } from "../memory/layout.ts";
import { byContext } from "./handlers.ts";
import type { RegisterFile, Slot } from "./registers.ts";
import type { Counter, Handlers, RawHandler } from "./types.ts";

/** Widths that a handler is built for. */
const WIDTHS = [1, 2, 4] as const;
type RawWidth = (typeof WIDTHS)[number];

/** A raw read gives the value (i32, or i64 of which the low bits count); bits beyond the access are dropped. */
export type RawReadBuilder = (x: RawBuilder) => Operand;
/** A raw write stores to registers and gives nothing. */
export type RawWriteBuilder = (x: RawBuilder) => void;

/**
 * A handler for the innermost context, written as operations: it runs once for each width when the device is created,
 * and what it builds becomes a WebAssembly function (and, in a compiling engine, part of the guest's own code).
 */
export function raw(build: RawReadBuilder | RawWriteBuilder): RawHandler {
  return { kind: "raw", build };
}

/** Where a raw handler is being built: a function of its own, or the middle of compiled guest code. */
export interface RawSite {
  readonly b: FunctionBuilder;
  readonly width: RawWidth;
  /** i32, from the start of the range. */
  readonly offset: Expr;
  /** i32, of a write; bits beyond the width are zero. */
  readonly value?: Expr;
  /** Leaves the handler for the next context outward; emitted where it is called. */
  decline(): void;
  /** ns of virtual time (i64), when the site knows better than the clock block. */
  now?(): Expr;
}

const NS_PER_SECOND = 1_000_000_000;

/** What a raw handler builds with. Values are i32 unless said otherwise; comparisons are unsigned where it matters. */
export class RawBuilder {
  /** Bytes of the access. */
  readonly width: RawWidth;
  /** Offset of the access in the range. */
  readonly offset: Expr;
  private readonly site: RawSite;
  private readonly b: FunctionBuilder;
  private readonly file: RegisterFile;
  private stored = false;
  private declined = false;

  constructor(site: RawSite, file: RegisterFile) {
    this.site = site;
    this.b = site.b;
    this.file = file;
    this.width = site.width;
    this.offset = site.offset;
  }

  /** Whether some path through the handler declines. */
  get declines(): boolean {
    return this.declined;
  }

  /** The value being written. */
  get value(): Expr {
    assert(this.site.value, "a raw read has no value");
    return this.site.value;
  }

  // --- registers and time -----------------------------------------------------------------------------------------

  /** A register now: i32, or i64 for a `u64` slot. */
  get<R extends object>(registers: R, name: keyof R & string): Expr {
    const { address, bytes } = this.slot(registers, name);
    return this.b.load(bytes === 8 ? "i64" : "i32", bytes, this.b.i32(0), address);
  }

  /** Stores to a register; the value wraps to the slot's width. Nothing may decline afterwards. */
  set<R extends object>(registers: R, name: keyof R & string, value: Operand): void {
    const { address, bytes } = this.slot(registers, name);
    const { b } = this;
    this.stored = true;
    if (bytes === 8) {
      const wide = typeof value === "object" && value.type === "i32" ? b.u64(value) : b.of("i64", value);
      // As TypeScript's setter: what a number cannot hold exactly is not kept.
      b.store(8, b.i32(0), b.and(wide, 2n ** 53n - 1n), address);
    } else {
      const narrow = typeof value === "object" && value.type === "i64" ? b.wrap(value) : b.of("i32", value);
      b.store(bytes, b.i32(0), narrow, address);
    }
  }

  /** Virtual time in ns (i64). */
  now(): Expr {
    if (this.site.now) return this.site.now();
    const { b } = this;
    const zero = b.i32(0);
    const field = (address: number) => b.load("i32", 4, zero, address);
    const elapsed = b.s64(b.sub(field(CLOCK.sliceBudget), field(CLOCK.budget)));
    const inSlice = b.shrU(b.mul(elapsed, b.u64(field(CLOCK.rate))), CLOCK_RATE_SHIFT);
    return b.let(b.add(b.load("i64", 8, zero, CLOCK.baseNs), inSlice));
  }

  /** The counter's value now (i64): floor(ns * hz / 1e9), exact. */
  counter(counter: Counter): Expr {
    const { b } = this;
    const now = b.let(this.now());
    const seconds = b.let(b.divU(now, NS_PER_SECOND));
    const rest = b.sub(now, b.mul(seconds, NS_PER_SECOND));
    return b.let(b.add(b.mul(seconds, counter.hz), b.divU(b.mul(rest, counter.hz), NS_PER_SECOND)));
  }

  // --- control ----------------------------------------------------------------------------------------------------

  /** Gives the access to the next context outward, as if this one had never seen it. */
  decline(): void {
    assert(!this.stored, "a raw handler declines after it has stored: the next context would see half an access");
    this.declined = true;
    this.site.decline();
  }

  if(condition: Expr, then: () => void, otherwise?: () => void): void {
    const before = this.stored;
    let after = before;
    const branch = (body: () => void) => () => {
      this.stored = before;
      body();
      after ||= this.stored;
    };
    this.b.if(condition, branch(then), otherwise && branch(otherwise));
    this.stored = after;
  }

  /** Evaluates now, once: for a value that is used several times. */
  let(value: Expr): Expr {
    return this.b.let(value);
  }

  /** `condition` non-zero ? a : b. Both are evaluated. */
  select(condition: Expr, a: Operand, b: Operand): Expr {
    return this.b.select(condition, typeof a === "object" || typeof b === "object" ? a : this.b.of("i32", a), b);
  }

  // --- arithmetic -------------------------------------------------------------------------------------------------

  add = (a: Operand, b: Operand) => this.b.add(a, b);
  sub = (a: Operand, b: Operand) => this.b.sub(a, b);
  mul = (a: Operand, b: Operand) => this.b.mul(a, b);
  and = (a: Operand, b: Operand) => this.b.and(a, b);
  or = (a: Operand, b: Operand) => this.b.or(a, b);
  xor = (a: Operand, b: Operand) => this.b.xor(a, b);
  shl = (a: Operand, b: Operand) => this.b.shl(a, b);
  shrU = (a: Operand, b: Operand) => this.b.shrU(a, b);
  eq = (a: Operand, b: Operand) => this.b.eq(a, b);
  ne = (a: Operand, b: Operand) => this.b.ne(a, b);
  ltU = (a: Operand, b: Operand) => this.b.ltU(a, b);
  leU = (a: Operand, b: Operand) => this.b.leU(a, b);
  gtU = (a: Operand, b: Operand) => this.b.gtU(a, b);
  geU = (a: Operand, b: Operand) => this.b.geU(a, b);
  not = (a: Expr) => this.b.eqz(a);
  /** i32 zero-extended to i64. */
  u64 = (a: Expr) => this.b.u64(a);
  /** The low 32 bits of an i64. */
  low = (a: Expr) => this.b.wrap(a);

  private slot(registers: object, name: string): Slot {
    const slot = this.file.slotsOf(registers)?.get(name);
    assert(slot, `'${name}' is not a register of this machine`);
    return slot;
  }
}

/** Compiles the raw handlers of one machine's devices. */
export class RawCompiler {
  private readonly memory: WebAssembly.Memory;
  private readonly file: RegisterFile;
  private readonly builders = new WeakMap<RawRead | RawWrite, RawHandler>();

  constructor(memory: WebAssembly.Memory, file: RegisterFile) {
    this.memory = memory;
    this.file = file;
  }

  /** A module for the raw handlers of one device. */
  module(owner: string): RawModule {
    return new RawModule(owner, this.memory, this.file, this.builders);
  }

  /**
   * Builds a handler into other code: a read returns its value (i32, bits beyond the width zero), a write `undefined`.
   * `face` is the `raw.read` or `raw.write` of some `RangeHandlers`; `undefined` for one that was not built here.
   */
  inline(face: RawRead | RawWrite, site: RawSite): { value: Expr | undefined } | undefined {
    const handler = this.builders.get(face);
    return handler && { value: buildInto(handler, site, this.file).value };
  }
}

function buildInto(
  handler: RawHandler,
  site: RawSite,
  file: RegisterFile,
): { value: Expr | undefined; declines: boolean } {
  const x = new RawBuilder(site, file);
  const result = (handler.build as (x: RawBuilder) => Operand | undefined)(x);
  const { b } = site;
  if (site.value !== undefined) return { value: undefined, declines: x.declines };
  assert(result !== undefined, "a raw read gives a value");
  const low = typeof result === "object" && result.type === "i64" ? b.wrap(result) : b.of("i32", result);
  return { value: site.width === 4 ? low : b.and(low, 2 ** (8 * site.width) - 1), declines: x.declines };
}

type Exports = Record<string, (offset: number, value: number) => number>;

/** One WebAssembly module: built handler by handler, instantiated at the first access to any of them. */
export class RawModule {
  private readonly owner: string;
  private readonly memory: WebAssembly.Memory;
  private readonly file: RegisterFile;
  private readonly builders: WeakMap<RawRead | RawWrite, RawHandler>;
  private module: ModuleBuilder | undefined;
  private waiting: ((exports: Exports) => void)[] = [];

  constructor(
    owner: string,
    memory: WebAssembly.Memory,
    file: RegisterFile,
    builders: WeakMap<RawRead | RawWrite, RawHandler>,
  ) {
    this.owner = owner;
    this.memory = memory;
    this.file = file;
    this.builders = builders;
  }

  /**
   * The raw entries of a range, `undefined` when it has none. Throws `PorticoError` `RAW_HANDLER_NEEDS_OUTER` for a
   * handler that may decline while nothing stands behind it.
   */
  compile(handlers: Handlers): RangeHandlers["raw"] {
    const read = byContext(handlers.read);
    const write = byContext(handlers.write);
    if (!read.raw && !write.raw) return undefined;
    return {
      ...(read.raw && { read: this.read(read.raw, Boolean(read.ring0 ?? read.ring3)) }),
      ...(write.raw && { write: this.write(write.raw, Boolean(write.ring0 ?? write.ring3)) }),
    };
  }

  private read(handler: RawHandler, hasOuter: boolean): RawRead {
    const names = WIDTHS.map((width) => this.function(handler, width, false, hasOuter));
    type Read = (offset: number) => number;
    const first = (width: number) => (offset: number) => {
      this.instantiate();
      return face(offset, width);
    };
    let [byte, word, dword] = WIDTHS.map(first) as [Read, Read, Read];
    this.waiting.push((exports) => {
      [byte, word, dword] = names.map((name) => exports[name] as Read) as [Read, Read, Read];
    });
    const face: RawRead = (offset, width) =>
      width === 4 ? dword(offset) : width === 1 ? byte(offset) : width === 2 ? word(offset) : DEFER;
    this.builders.set(face, handler);
    return face;
  }

  private write(handler: RawHandler, hasOuter: boolean): RawWrite {
    const names = WIDTHS.map((width) => this.function(handler, width, true, hasOuter));
    type Write = (offset: number, value: number) => number;
    const first = (width: number) => (offset: number, value: number) => {
      this.instantiate();
      return face(offset, value, width);
    };
    let [byte, word, dword] = WIDTHS.map(first) as [Write, Write, Write];
    this.waiting.push((exports) => {
      [byte, word, dword] = names.map((name) => exports[name]) as [Write, Write, Write];
    });
    const face: RawWrite = (offset, value, width) =>
      width === 4
        ? dword(offset, value)
        : width === 1
          ? byte(offset, value)
          : width === 2
            ? word(offset, value)
            : DEFER;
    this.builders.set(face, handler);
    return face;
  }

  /** Builds one direction and width; returns the name it is exported by. */
  private function(handler: RawHandler, width: RawWidth, isWrite: boolean, hasOuter: boolean): string {
    this.module ??= this.begin();
    const { module } = this;
    const name = `${this.waiting.length}-${isWrite ? "write" : "read"}${width}`;
    // A read gives an f64: every 32-bit value and the status -1 are distinct in it, and JavaScript gets a plain number.
    const b = module.function(
      name,
      isWrite ? { params: ["i32", "i32"], results: ["i32"] } : { params: ["i32"], results: ["f64"] },
    );
    const status = (value: number) => (isWrite ? b.i32(value) : b.f64(value));
    const { value, declines } = buildInto(
      handler,
      {
        b,
        width,
        offset: b.param(0),
        ...(isWrite && { value: b.param(1) }),
        decline: () => b.return(status(DEFER)),
      },
      this.file,
    );
    if (declines && !hasOuter) {
      throw new PorticoError(
        "RAW_HANDLER_NEEDS_OUTER",
        `a raw ${isWrite ? "write" : "read"} handler of '${this.owner}' may decline: give it a ring0 or ring3 handler too`,
      );
    }
    const f64ConvertI32U = 0xb8;
    b.return(value === undefined ? status(0) : b.convert("f64", f64ConvertI32U, value));
    module.export(name, b as FunctionRef);
    return name;
  }

  private begin(): ModuleBuilder {
    const module = new ModuleBuilder();
    module.importMemory("portico", "memory");
    return module;
  }

  private instantiate(): void {
    assert(this.module, "a raw module is instantiated once");
    const compiled = new WebAssembly.Module(this.module.build());
    const { exports } = new WebAssembly.Instance(compiled, { portico: { memory: this.memory } });
    const waiting = this.waiting;
    this.waiting = [];
    this.module = undefined;
    for (const connect of waiting) connect(exports as Exports);
  }
}
