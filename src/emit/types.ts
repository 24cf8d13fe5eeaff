/** Operands that an operation does not take: the mistake of whoever builds, which is a user where a raw handler is built. */
export class OperandError extends Error {}

/** WebAssembly value types (core specification, 5.3.1). */
export type ValueType = "i32" | "i64" | "f32" | "f64" | "v128";

export const VALUE_TYPE_CODE: Record<ValueType, number> = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b };

export interface FunctionType {
  readonly params: readonly ValueType[];
  readonly results: readonly ValueType[];
}

/** Where function types get their numbers: the module under construction. */
export interface TypeTable {
  typeIndex(type: FunctionType): number;
}

/** A function of the module under construction, imported or defined. */
export interface FunctionRef {
  readonly type: FunctionType;
  readonly index: number;
  readonly name: string;
}

/**
 * A typed expression over constants and locals that are never assigned again: it has no effects, so it may be emitted
 * where it is used, as often as it is used. What has effects or reads memory is emitted at once into a fresh local.
 */
export class Expr {
  readonly type: ValueType;
  /** Opcode; bytes above the first are written as an unsigned LEB128 after a prefix byte (0xFC, 0xFD). */
  readonly op: number;
  readonly a: Expr | undefined;
  readonly b: Expr | undefined;
  readonly c: Expr | undefined;
  /** Constant value, local index, or lane immediates. */
  readonly immediate: number | bigint | Uint8Array | undefined;
  /** Of an integer: bits from this number on are known to be zero. */
  readonly bits: number;

  constructor(
    type: ValueType,
    op: number,
    immediate?: number | bigint | Uint8Array,
    a?: Expr,
    b?: Expr,
    c?: Expr,
    bits = type === "i32" ? 32 : 64,
  ) {
    this.type = type;
    this.op = op;
    this.immediate = immediate;
    this.a = a;
    this.b = b;
    this.c = c;
    this.bits = bits;
  }
}

/** An expression, or a number that takes the type of the other operand. */
export type Operand = Expr | number | bigint;

/** A mutable local. `get()` yields its value at the moment of the call only if it is consumed before the next `set`. */
export interface Variable {
  readonly type: ValueType;
  readonly index: number;
}

/** A branch target: the end of a block or the start of a loop. */
export interface Label {
  readonly depth: number;
}
