import { callback, checkArgument } from "../arguments.ts";
import { constantOf, type Expr, type FunctionBuilder, type Operand } from "../emit/index.ts";
import { PorticoError } from "../errors.ts";
import type { RawSite, RawWidth } from "../io/types.ts";
import { CLOCK, CLOCK_RATE_SHIFT } from "../memory/layout.ts";
import type { RegisterFile, Slot } from "./registers.ts";
import type { Counter, RawHandler } from "./types.ts";

/** A raw read gives the value (i32, or i64 of which the low bits count); bits beyond the access are dropped. */
export type RawReadBuilder = (x: RawBuilder) => Operand;
/** A raw write stores to registers and gives nothing. */
export type RawWriteBuilder = (x: RawBuilder) => void;

/**
 * A handler for the innermost context, written as operations: it runs once for each width when the device is created,
 * and what it builds becomes a WebAssembly function (and, in a compiling engine, part of the guest's own code).
 */
export function raw(build: RawReadBuilder | RawWriteBuilder): RawHandler {
  checkArgument("what raw() is given", build, callback);
  return { kind: "raw", build };
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

  /** An interrupt can be requested where this handler is built: see `interrupt`. */
  get canInterrupt(): boolean {
    return this.site.interrupt !== undefined;
  }

  /** Whether some path through the handler declines. */
  get declines(): boolean {
    return this.declined;
  }

  /** The value being written. */
  get value(): Expr {
    return this.site.value ?? misuse("a raw read has no value: x.value is for write handlers");
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

  /** A register by number; number 0 for an index that is too large. */
  getWord(words: Uint32Array, index: Expr): Expr {
    return this.b.load("i32", 4, this.wordAt(words, index), this.wordsAddress(words));
  }

  /** Stores to a register by number. Nothing may decline afterwards. */
  setWord(words: Uint32Array, index: Expr, value: Expr): void {
    this.stored = true;
    this.b.store(4, this.wordAt(words, index), value, this.wordsAddress(words));
  }

  private wordAt(words: Uint32Array, index: Expr): Expr {
    return this.b.shl(this.b.select(this.b.ltU(index, words.length), index, 0), 2);
  }

  private wordsAddress(words: Uint32Array): number {
    const address = this.file.addressOf(words);
    return address ?? misuse("these words are not registers of this machine: give what host.words() gave");
  }

  /** Requests an interrupt of a CPU as its pins emit it. Nothing may decline afterwards. */
  interrupt(emit: (b: FunctionBuilder) => void): void {
    const request = this.site.interrupt ?? misuse("no interrupt can be requested here: ask canInterrupt first");
    this.stored = true;
    request(() => emit(this.b));
  }

  constant(value: number): Expr {
    return this.b.i32(value);
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
    if (this.stored)
      misuse("a raw handler declines after it has stored: decline first, or half an access is seen twice");
    this.declined = true;
    this.site.decline();
  }

  if(condition: Expr, then: () => void, otherwise?: () => void): void {
    const known = constantOf(condition);
    if (known !== undefined) {
      if (known !== 0n) then();
      else otherwise?.();
      return;
    }
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
    return slot ?? misuse(`'${name}' is not a register of this machine: give what host.registers() gave`);
  }
}

/** What a handler does wrong while it is being built. */
function misuse(message: string): never {
  throw new PorticoError("ARGUMENT", message);
}
