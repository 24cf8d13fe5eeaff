import { Expr, type Label, type Operand, type ValueType, type Variable } from "../../emit/index.ts";
import { BINARY, LOCAL_GET } from "../../emit/opcodes.ts";
import { X86 } from "../isa/x86.ts";

/** A stretch of code that runs as a whole or not at all; what was evaluated in it stays valid until it ends. */
export interface Extent {
  open: boolean;
}

/** Operations of i64 whose low half depends on the low halves of their operands alone. */
const LOW_HALVES = new Map<number, "add" | "sub" | "mul" | "and" | "or" | "xor">(
  (["add", "sub", "mul", "and", "or", "xor"] as const).map((name) => [BINARY[name][1], name] as const),
);
/** How deep to look: what is used twice is written twice. */
const WRAP_DEPTH = 2;

/** No WebAssembly opcode. */
const LATE = -1;

/** A value that is evaluated where it is first needed, or never. */
export class LateValue extends Expr {
  readonly value: Expr;
  /** Where it was evaluated last, if anywhere. */
  local = -1;
  extent: Extent | undefined;

  constructor(value: Expr) {
    super(value.type, LATE, undefined, undefined, undefined, undefined, value.bits);
    this.value = value;
  }
}

/**
 * Evaluation on demand: `let` only notes the value, and emits it into a local where something needs it. What nobody
 * reads (most flags, the upper halves of products) is never emitted, and what only a cold path reads is emitted there.
 *
 * Locals are given back between instructions, by `releaseLocals`, not at the end of scopes: values outlive the
 * instruction that made them.
 */
export abstract class LazyValues extends X86 {
  protected extent: Extent = { open: true };
  /** The code just written never reaches what follows. */
  protected terminated = false;
  /** Locals that definitions assign more than once: what mentions them must be evaluated in place. */
  private readonly mutable = new Set<number>();
  private readonly inUse: number[] = [];

  override let(value: Expr): Expr {
    if (value.op === LATE || this.isSettled(value)) return value;
    return this.mentionsMutable(value) ? this.capture(value) : new LateValue(value);
  }

  /** The low half of a sum is the sum of the low halves: on x86-64, 32-bit operations clear the upper half for nothing. */
  override wrap(value: Expr): Expr {
    return this.lowHalf(value, WRAP_DEPTH);
  }

  private lowHalf(value: Expr, depth: number): Expr {
    const inner = value instanceof LateValue && !value.extent?.open ? value.value : value;
    const name = depth > 0 ? LOW_HALVES.get(inner.op) : undefined;
    if (name === undefined) return super.wrap(value);
    return this[name](this.lowHalf(inner.a!, depth - 1), this.lowHalf(inner.b!, depth - 1));
  }

  private isSettled(value: Expr): boolean {
    return value.op === LOCAL_GET || (value.a === undefined && typeof value.immediate !== "object");
  }

  private mentionsMutable(value: Expr): boolean {
    if (value.op === LOCAL_GET) return this.mutable.has(value.immediate as number);
    return (
      (value.a !== undefined && this.mentionsMutable(value.a)) ||
      (value.b !== undefined && this.mentionsMutable(value.b)) ||
      (value.c !== undefined && this.mentionsMutable(value.c))
    );
  }

  /** The value in a local that nobody assigns again (or a constant), evaluated by now. */
  protected settle(value: Expr): Expr {
    if (value instanceof LateValue) {
      if (!value.extent?.open) {
        this.emit(value.value);
        this.keep(value, 0x21);
      }
      return new Expr(value.type, LOCAL_GET, value.local, undefined, undefined, undefined, value.bits);
    }
    if (value.op === LOCAL_GET) return this.mentionsMutable(value) ? this.capture(value) : value;
    return this.isSettled(value) ? value : this.capture(value);
  }

  protected override emit(value: Expr): void {
    if (!(value instanceof LateValue)) {
      super.emit(value);
      return;
    }
    if (value.extent?.open) {
      this.code.byte(LOCAL_GET);
      this.code.u32(value.local);
      return;
    }
    this.emit(value.value);
    this.keep(value, 0x22);
  }

  /** The value is on the stack: `op` is local.set or local.tee. */
  private keep(value: LateValue, op: 0x21 | 0x22): void {
    value.local = this.allocate(value.type);
    value.extent = this.extent;
    this.code.byte(op);
    this.code.u32(value.local);
  }

  // --- locals ---------------------------------------------------------------------------------------------------

  protected override allocate(type: ValueType): number {
    const index = super.allocate(type);
    this.inUse.push(index);
    return index;
  }

  /** A local that was never anything else, and never will be; 0 when the function begins. */
  protected permanent(type: ValueType): Variable {
    return { type, index: this.type.params.length + this.localTypes.push(type) - 1 };
  }

  override scope<T>(body: () => T): T {
    return body();
  }

  override variable(type: ValueType, initial?: Operand): Variable {
    const variable = super.variable(type, initial);
    this.mutable.add(variable.index);
    return variable;
  }

  /** The variable is not assigned any more. */
  protected freeze(variable: Variable): Expr {
    this.mutable.delete(variable.index);
    return this.get(variable);
  }

  /** Between instructions: all locals but those that `roots` need may be used again. */
  protected releaseLocals(roots: Iterable<Expr>): void {
    const needed = new Set<number>();
    const seen = new Set<Expr>();
    const mark = (value: Expr | undefined): void => {
      if (value === undefined) return;
      if (value instanceof LateValue) {
        if (seen.has(value)) return;
        seen.add(value);
        if (value.extent?.open) needed.add(value.local);
        else mark(value.value);
        return;
      }
      if (value.op === LOCAL_GET) needed.add(value.immediate as number);
      mark(value.a);
      mark(value.b);
      mark(value.c);
    };
    for (const root of roots) mark(root);
    this.mutable.clear();
    let kept = 0;
    for (const index of this.inUse) {
      if (needed.has(index)) this.inUse[kept++] = index;
      else this.freeLocals[this.localTypes[index - this.type.params.length]!].push(index);
    }
    this.inUse.length = kept;
  }

  // --- regions --------------------------------------------------------------------------------------------------

  protected inExtent(body: () => void): void {
    const outer = this.extent;
    this.extent = { open: true };
    body();
    this.extent.open = false;
    this.extent = outer;
  }

  override block(body: (end: Label) => void): void {
    super.block((end) => this.inExtent(() => body(end)));
    this.terminated = false;
  }

  override loop(body: (start: Label) => void): void {
    super.loop((start) => this.inExtent(() => body(start)));
    this.terminated = false;
  }

  /** One branch a condition: processors do that faster than they put conditions together. */
  override chooseIfAll(type: ValueType, conditions: readonly Expr[], usual: () => Expr, otherwise: () => Expr): Expr {
    const result: Variable = { type, index: this.allocate(type) };
    this.block((done) => {
      this.block((unusual) => {
        for (const condition of conditions) this.brIf(unusual, this.eqz(condition), false);
        this.set(result, usual());
        this.br(done);
      });
      this.set(result, otherwise());
    });
    return this.get(result);
  }

  override br(label: Label): void {
    super.br(label);
    this.terminated = true;
  }

  override return(...values: Expr[]): void {
    super.return(...values);
    this.terminated = true;
  }
}
