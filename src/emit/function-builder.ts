import { assert } from "../errors.ts";
import { ByteWriter } from "./byte-writer.ts";
import {
  BINARY,
  COMPARE,
  EXTEND_S,
  EXTEND_U,
  F32_CONST,
  F64_CONST,
  I32_CONST,
  I64_CONST,
  LOAD,
  LOCAL_GET,
  SELECT,
  STORE,
  UNARY,
  WRAP,
} from "./opcodes.ts";
import { CONVERT, SIMD } from "./simd.ts";
import {
  Expr,
  type FunctionRef,
  type FunctionType,
  type Label,
  type Operand,
  OperandError,
  type TypeTable,
  VALUE_TYPE_CODE,
  type ValueType,
  type Variable,
} from "./types.ts";

const TYPE_COLUMN: Record<ValueType, number> = { i32: 0, i64: 1, f32: 2, f64: 3, v128: 4 };
type Bytes = 1 | 2 | 4 | 8;

/** Constants that code is full of. */
const SMALL: readonly bigint[] = Array.from({ length: 65 }, (_, i) => BigInt(i));

const isConstant = (e: Expr) => e.op === I32_CONST || e.op === I64_CONST;
const bitsOf32 = (value: number) => 32 - Math.clz32(value);
const bitsOf64 = (value: bigint): number => {
  if (value < 0n) return 64;
  return value <= 0xffff_ffffn ? bitsOf32(Number(value)) : 32 + bitsOf32(Number(value >> 32n));
};
const constant32 = (value: number) =>
  new Expr("i32", I32_CONST, value, undefined, undefined, undefined, bitsOf32(value));
const constant64 = (value: bigint) =>
  new Expr("i64", I64_CONST, value, undefined, undefined, undefined, bitsOf64(value));
/** All bits below a number. */
const MASKS: readonly bigint[] = Array.from({ length: 65 }, (_, bits) => (1n << BigInt(bits)) - 1n);
/** What `Expr.op` is for a SIMD operation with this number. */
export const simdOpcode = (op: number): number => 0xfd00_0000 + op;
/** The value of an integer constant, as signed. */
export const constantOf = (e: Expr): bigint | undefined =>
  isConstant(e) ? BigInt(e.immediate as number | bigint) : undefined;

/**
 * Writes one WebAssembly function: expressions are trees (see `Expr`), statements are written at once.
 * Knows nothing of x86.
 */
export class FunctionBuilder implements FunctionRef {
  readonly code = new ByteWriter(512);
  /** Offsets in `code` of conditional branches with a hint: true means likely taken. */
  readonly hints: [offset: number, likely: boolean][] = [];
  readonly localTypes: ValueType[] = [];
  protected readonly freeLocals: Record<ValueType, number[]> = { i32: [], i64: [], f32: [], f64: [], v128: [] };
  private scopeLocals: number[] | undefined;
  private depth = 0;

  readonly module: TypeTable;
  readonly name: string;
  readonly type: FunctionType;
  readonly index: number;

  constructor(module: TypeTable, name: string, type: FunctionType, index: number) {
    this.module = module;
    this.name = name;
    this.type = type;
    this.index = index;
  }

  // --- values ---------------------------------------------------------------------------------------------------

  param(position: number): Expr {
    return new Expr(this.type.params[position]!, LOCAL_GET, position);
  }

  i32(value: number): Expr {
    return constant32(value | 0);
  }

  i64(value: number | bigint): Expr {
    if (typeof value === "number") return constant64(SMALL[value] ?? BigInt.asIntN(64, BigInt(value)));
    return constant64(BigInt.asIntN(64, value));
  }

  f32(value: number): Expr {
    return new Expr("f32", F32_CONST, value);
  }

  f64(value: number): Expr {
    return new Expr("f64", F64_CONST, value);
  }

  /** A number as a constant of the given type; an expression as it is. */
  of(type: ValueType, value: Operand): Expr {
    if (value instanceof Expr) {
      if (value.type !== type) throw new OperandError(`${this.name}: ${value.type} where ${type} is needed`);
      return value;
    }
    switch (type) {
      case "i32":
        return this.i32(Number(value));
      case "i64":
        if (!Number.isInteger(Number(value)))
          throw new OperandError(`${this.name}: ${value} where an integer is needed`);
        return this.i64(value);
      case "f32":
        return this.f32(Number(value));
      case "f64":
        return this.f64(Number(value));
      default:
        throw new OperandError("v128 constants are made with v128Const");
    }
  }

  private pair(a: Operand, b: Operand): [Expr, Expr] {
    if (a instanceof Expr) return [a, this.of(a.type, b)];
    if (b instanceof Expr) return [this.of(b.type, a), b];
    throw new OperandError("an operation on two plain numbers has no type");
  }

  private binary(name: keyof typeof BINARY, a: Operand, b: Operand): Expr {
    const [left, right] = this.pair(a, b);
    const folded = foldBinary(name, left, right);
    if (folded !== undefined) return folded;
    const op = BINARY[name][TYPE_COLUMN[left.type]] || noSuch(name, left);
    return new Expr(left.type, op, undefined, left, right, undefined, resultBits(name, left, right));
  }

  private compare(name: keyof typeof COMPARE, a: Operand, b: Operand): Expr {
    const [left, right] = this.pair(a, b);
    const folded = foldCompare(name, left, right);
    if (folded !== undefined) return this.i32(folded);
    const op = COMPARE[name][TYPE_COLUMN[left.type]] || noSuch(name, left);
    return new Expr("i32", op, undefined, left, right, undefined, 1);
  }

  private unary(name: keyof typeof UNARY, a: Expr): Expr {
    const folded = foldExtension(name, a);
    if (folded !== undefined) return this.of(a.type, folded);
    const op = UNARY[name][TYPE_COLUMN[a.type]] || noSuch(name, a);
    return new Expr(a.type, op, undefined, a);
  }

  add = (a: Operand, b: Operand) => this.binary("add", a, b);
  sub = (a: Operand, b: Operand) => this.binary("sub", a, b);
  mul = (a: Operand, b: Operand) => this.binary("mul", a, b);
  div = (a: Operand, b: Operand) => this.binary("div", a, b);
  divS = (a: Operand, b: Operand) => this.binary("divS", a, b);
  divU = (a: Operand, b: Operand) => this.binary("divU", a, b);
  remS = (a: Operand, b: Operand) => this.binary("remS", a, b);
  remU = (a: Operand, b: Operand) => this.binary("remU", a, b);
  and = (a: Operand, b: Operand) => this.binary("and", a, b);
  or = (a: Operand, b: Operand) => this.binary("or", a, b);
  xor = (a: Operand, b: Operand) => this.binary("xor", a, b);
  shl = (a: Operand, b: Operand) => this.binary("shl", a, b);
  shrS = (a: Operand, b: Operand) => this.binary("shrS", a, b);
  shrU = (a: Operand, b: Operand) => this.binary("shrU", a, b);
  rotl = (a: Operand, b: Operand) => this.binary("rotl", a, b);
  rotr = (a: Operand, b: Operand) => this.binary("rotr", a, b);
  eq = (a: Operand, b: Operand) => this.compare("eq", a, b);
  ne = (a: Operand, b: Operand) => this.compare("ne", a, b);
  lt = (a: Operand, b: Operand) => this.compare("lt", a, b);
  gt = (a: Operand, b: Operand) => this.compare("gt", a, b);
  le = (a: Operand, b: Operand) => this.compare("le", a, b);
  ge = (a: Operand, b: Operand) => this.compare("ge", a, b);
  ltS = (a: Operand, b: Operand) => this.compare("ltS", a, b);
  ltU = (a: Operand, b: Operand) => this.compare("ltU", a, b);
  gtS = (a: Operand, b: Operand) => this.compare("gtS", a, b);
  gtU = (a: Operand, b: Operand) => this.compare("gtU", a, b);
  leS = (a: Operand, b: Operand) => this.compare("leS", a, b);
  leU = (a: Operand, b: Operand) => this.compare("leU", a, b);
  geS = (a: Operand, b: Operand) => this.compare("geS", a, b);
  geU = (a: Operand, b: Operand) => this.compare("geU", a, b);
  clz = (a: Expr) => this.unary("clz", a);
  ctz = (a: Expr) => this.unary("ctz", a);
  popcnt = (a: Expr) => this.unary("popcnt", a);
  fabs = (a: Expr) => this.unary("abs", a);
  fneg = (a: Expr) => this.unary("neg", a);
  nearest = (a: Expr) => this.unary("nearest", a);
  trunc = (a: Expr) => this.unary("trunc", a);
  floor = (a: Expr) => this.unary("floor", a);
  ceil = (a: Expr) => this.unary("ceil", a);
  sqrt = (a: Expr) => this.unary("sqrt", a);
  extend8S = (a: Expr) => this.unary("extend8S", a);
  extend16S = (a: Expr) => this.unary("extend16S", a);
  extend32S = (a: Expr) => this.unary("extend32S", a);

  /** 1 when zero, else 0 (i32). */
  eqz(a: Expr): Expr {
    // biome-ignore lint/suspicious/noDoubleEquals: a number or a bigint
    if (isConstant(a)) return this.i32(a.immediate == 0 ? 1 : 0);
    return new Expr("i32", a.type === "i64" ? 0x50 : 0x45, undefined, a, undefined, undefined, 1);
  }

  /** i64 to its low 32 bits. */
  wrap(a: Expr): Expr {
    if (a.op === I64_CONST) return this.i32(Number(BigInt.asIntN(32, a.immediate as bigint)));
    if (a.op === EXTEND_S || a.op === EXTEND_U) return a.a!;
    return new Expr("i32", WRAP, undefined, a, undefined, undefined, Math.min(32, a.bits));
  }

  /** i32 zero-extended to i64. */
  u64(a: Expr): Expr {
    if (a.op === I32_CONST) return this.i64((a.immediate as number) >>> 0);
    if (a.op === WRAP && a.a!.bits <= 32) return a.a!;
    return new Expr("i64", EXTEND_U, undefined, a, undefined, undefined, a.bits);
  }

  /** i32 sign-extended to i64. */
  s64(a: Expr): Expr {
    if (a.op === I32_CONST) return this.i64(a.immediate as number);
    return new Expr("i64", EXTEND_S, undefined, a);
  }

  /** Any unary conversion by opcode, e.g. 0xbf (f64.reinterpret_i64), 0xb9 (f64.convert_i64_s), 0xfc06. */
  convert(type: ValueType, op: number, a: Expr): Expr {
    const folded = foldReinterpretation(op, a);
    if (folded !== undefined) return folded;
    return new Expr(type, op, undefined, a);
  }

  /** `condition` (i32) non-zero ? a : b. */
  select(condition: Expr, a: Operand, b: Operand): Expr {
    const [left, right] = this.pair(a, b);
    const known = constantOf(condition);
    if (known !== undefined) return known !== 0n ? left : right;
    return new Expr(left.type, SELECT, undefined, left, right, condition, Math.max(left.bits, right.bits));
  }

  /** A SIMD operation without memory access; `op` is the number after the 0xFD prefix, `immediate` its lane byte(s). */
  simd(type: ValueType, op: number, operands: readonly Expr[], immediate?: number | Uint8Array): Expr {
    return new Expr(type, simdOpcode(op), immediate, operands[0], operands[1], operands[2]);
  }

  /** v128 constant from 16 bytes. */
  v128Const(bytes: Uint8Array): Expr {
    return new Expr("v128", simdOpcode(0x0c), bytes);
  }

  // --- locals ---------------------------------------------------------------------------------------------------

  protected allocate(type: ValueType): number {
    const free = this.freeLocals[type].pop();
    const index = free ?? this.type.params.length + this.localTypes.push(type) - 1;
    this.scopeLocals?.push(index);
    return index;
  }

  /** Locals made inside are free for reuse afterwards; nothing made inside may be used outside. */
  scope<T>(body: () => T): T {
    const outer = this.scopeLocals;
    this.scopeLocals = [];
    const result = body();
    for (const index of this.scopeLocals) {
      this.freeLocals[this.localTypes[index - this.type.params.length]!].push(index);
    }
    this.scopeLocals = outer;
    return result;
  }

  /** Evaluates now, once. Constants and locals come back as they are. */
  let(value: Expr): Expr {
    if (value.op === LOCAL_GET || isConstant(value)) return value;
    return this.capture(value);
  }

  protected capture(value: Expr): Expr {
    this.emit(value);
    return this.fromStack(value.type, value.bits);
  }

  private fromStack(type: ValueType, bits?: number): Expr {
    const index = this.allocate(type);
    this.code.byte(0x21);
    this.code.u32(index);
    return new Expr(type, LOCAL_GET, index, undefined, undefined, undefined, bits);
  }

  /** A mutable local. */
  variable(type: ValueType, initial?: Operand): Variable {
    const variable = { type, index: this.allocate(type) };
    if (initial !== undefined) this.set(variable, initial);
    return variable;
  }

  get(variable: Variable): Expr {
    return new Expr(variable.type, LOCAL_GET, variable.index);
  }

  /** A local of which somebody knows that its upper half is zero. */
  protected knownNarrow(local: Expr): Expr {
    return new Expr(local.type, LOCAL_GET, local.immediate, undefined, undefined, undefined, 32);
  }

  /** The value of a variable now, safe against later assignments. */
  snapshot(variable: Variable): Expr {
    return this.capture(this.get(variable));
  }

  set(variable: Variable, value: Operand): void {
    this.emit(this.of(variable.type, value));
    this.code.byte(0x21);
    this.code.u32(variable.index);
  }

  // --- memory ---------------------------------------------------------------------------------------------------

  private memoryImmediate(bytes: number, offset: number): void {
    this.code.u32(Math.log2(bytes));
    this.code.u32(offset);
  }

  /** Loads `bytes` from `address + offset` (i32), extended to the type; emitted now. */
  load(type: "i32" | "i64", bytes: Bytes, address: Expr, offset = 0, signed = false): Expr {
    const op = LOAD[type][bytes]?.[signed ? 1 : 0];
    assert(op !== undefined, `no ${bytes}-byte load of ${type}`);
    this.emit(address);
    this.code.byte(op);
    this.memoryImmediate(bytes, offset);
    return this.fromStack(type, signed ? undefined : 8 * bytes);
  }

  loadV128(address: Expr, offset = 0): Expr {
    this.emit(address);
    this.code.append([0xfd, 0x00]);
    this.memoryImmediate(16, offset);
    return this.fromStack("v128");
  }

  /** Stores the low `bytes` of `value`. */
  store(bytes: Bytes, address: Expr, value: Expr, offset = 0): void {
    if (value.type !== "i32" && value.type !== "i64")
      throw new OperandError(`store of ${value.type}: it takes an integer`);
    const op = STORE[value.type][bytes];
    assert(op !== undefined, `no ${bytes}-byte store of ${value.type}`);
    this.emit(address);
    this.emit(value);
    this.code.byte(op);
    this.memoryImmediate(bytes, offset);
  }

  storeV128(address: Expr, value: Expr, offset = 0): void {
    this.emit(address);
    this.emit(value);
    this.code.append([0xfd, 0x0b]);
    this.memoryImmediate(16, offset);
  }

  memoryCopy(destination: Expr, source: Expr, bytes: Expr): void {
    this.emit(destination);
    this.emit(source);
    this.emit(bytes);
    this.code.append([0xfc, 0x0a, 0, 0]);
  }

  memoryFill(destination: Expr, value: Expr, bytes: Expr): void {
    this.emit(destination);
    this.emit(value);
    this.emit(bytes);
    this.code.append([0xfc, 0x0b, 0]);
  }

  // --- control --------------------------------------------------------------------------------------------------

  private hint(likely: boolean | undefined): void {
    if (likely !== undefined) this.hints.push([this.code.length, likely]);
  }

  /** `likely: false` moves the then-part out of the hot path. */
  if(condition: Expr, then: () => void, otherwise?: () => void, likely?: boolean): void {
    this.emit(condition);
    this.branches(then, otherwise, likely);
  }

  /** An `if` whose condition is on the stack already. */
  protected branches(then: () => void, otherwise?: () => void, likely?: boolean): void {
    this.hint(likely);
    this.code.append([0x04, 0x40]);
    this.depth++;
    this.scope(then);
    if (otherwise !== undefined) {
      this.code.byte(0x05);
      this.scope(otherwise);
    }
    this.depth--;
    this.code.byte(0x0b);
  }

  /** Like `if`, with a value of `type` from both sides. */
  choose(type: ValueType, condition: Expr, then: () => Operand, otherwise: () => Operand, likely?: boolean): Expr {
    const index = this.allocate(type);
    const result: Variable = { type, index };
    this.if(
      condition,
      () => this.set(result, then()),
      () => this.set(result, otherwise()),
      likely,
    );
    return new Expr(type, LOCAL_GET, index);
  }

  /** A label at the end of `body`. */
  block(body: (end: Label) => void): void {
    this.structured(0x02, body);
  }

  /** A label at the start of `body`; falling off its end leaves the loop. */
  loop(body: (start: Label) => void): void {
    this.structured(0x03, body);
  }

  private structured(op: number, body: (label: Label) => void): void {
    this.code.append([op, 0x40]);
    const label = { depth: ++this.depth };
    body(label);
    this.depth--;
    this.code.byte(0x0b);
  }

  br(label: Label): void {
    this.code.byte(0x0c);
    this.code.u32(this.depth - label.depth);
  }

  brIf(label: Label, condition: Expr, likely?: boolean): void {
    this.emit(condition);
    this.hint(likely);
    this.code.byte(0x0d);
    this.code.u32(this.depth - label.depth);
  }

  brTable(labels: readonly Label[], otherwise: Label, index: Expr): void {
    this.emit(index);
    this.code.byte(0x0e);
    this.code.u32(labels.length);
    for (const label of labels) this.code.u32(this.depth - label.depth);
    this.code.u32(this.depth - otherwise.depth);
  }

  return(...values: Expr[]): void {
    for (const value of values) this.emit(value);
    this.code.byte(0x0f);
  }

  unreachable(): void {
    this.code.byte(0x00);
  }

  /** Calls now; the single result, if there is one, in a fresh local. */
  call(target: FunctionRef, ...operands: Operand[]): Expr {
    return this.callMulti(target, ...operands)[0]!;
  }

  /** Calls now; all results in fresh locals. */
  callMulti(target: FunctionRef, ...operands: Operand[]): Expr[] {
    assert(operands.length === target.type.params.length, `${target.name} takes ${target.type.params.length} operands`);
    operands.forEach((operand, position) => {
      this.emit(this.of(target.type.params[position]!, operand));
    });
    this.code.byte(0x10);
    this.code.u32(target.index);
    return this.results(target.type);
  }

  callIndirect(type: FunctionType, index: Expr, ...operands: Operand[]): Expr {
    operands.forEach((operand, position) => {
      this.emit(this.of(type.params[position]!, operand));
    });
    this.emit(index);
    this.code.byte(0x11);
    this.code.u32(this.module.typeIndex(type));
    this.code.u32(0);
    return this.results(type)[0]!;
  }

  private results(type: FunctionType): Expr[] {
    const results = type.results.map((result) => ({ type: result, index: this.allocate(result) }));
    for (const result of results.toReversed()) {
      this.code.byte(0x21);
      this.code.u32(result.index);
    }
    return results.map((result) => new Expr(result.type, LOCAL_GET, result.index));
  }

  // --- writing --------------------------------------------------------------------------------------------------

  protected emit(e: Expr): void {
    if (e.a !== undefined) this.emit(e.a);
    if (e.b !== undefined) this.emit(e.b);
    if (e.c !== undefined) this.emit(e.c);
    const { code } = this;
    if (e.op >= 0xfd00_0000) {
      code.byte(0xfd);
      code.u32(e.op - 0xfd00_0000);
      if (typeof e.immediate === "number") code.byte(e.immediate);
      else if (e.immediate instanceof Uint8Array) code.append(e.immediate);
      return;
    }
    if (e.op > 0xff) {
      code.byte(e.op >> 8);
      code.u32(e.op & 0xff);
      return;
    }
    code.byte(e.op);
    switch (e.op) {
      case LOCAL_GET:
        code.u32(e.immediate as number);
        break;
      case I32_CONST:
        code.s32(e.immediate as number);
        break;
      case I64_CONST:
        code.s64(e.immediate as bigint);
        break;
      case F32_CONST:
        code.append(new Uint8Array(new Float32Array([e.immediate as number]).buffer));
        break;
      case F64_CONST:
        code.append(new Uint8Array(new Float64Array([e.immediate as number]).buffer));
        break;
    }
  }

  /** The function's entry of the code section, without its size; and the offset that `hints` are relative to. */
  body(): { bytes: Uint8Array; codeOffset: number } {
    const out = new ByteWriter(this.code.length + 64);
    const runs: [ValueType, number][] = [];
    for (const type of this.localTypes) {
      const last = runs.at(-1);
      if (last !== undefined && last[0] === type) last[1]++;
      else runs.push([type, 1]);
    }
    out.u32(runs.length);
    for (const [type, count] of runs) {
      out.u32(count);
      out.byte(VALUE_TYPE_CODE[type]);
    }
    const codeOffset = out.length;
    out.append(this.code.bytes.subarray(0, this.code.length));
    out.byte(0x0b);
    return { bytes: out.finish(), codeOffset };
  }
}

/** See `Expr.bits`. */
function resultBits(name: keyof typeof BINARY, left: Expr, right: Expr): number {
  const size = left.type === "i32" ? 32 : 64;
  switch (name) {
    case "and":
    case "remU":
      return Math.min(left.bits, right.bits);
    case "or":
    case "xor":
      return Math.max(left.bits, right.bits);
    case "add":
      return Math.min(size, Math.max(left.bits, right.bits) + 1);
    case "mul":
      return Math.min(size, left.bits + right.bits);
    case "shl":
      return isConstant(right) ? Math.min(size, left.bits + shiftCount(right, size)) : size;
    case "shrU":
      return isConstant(right) ? Math.max(0, left.bits - shiftCount(right, size)) : left.bits;
    case "divU":
      return left.bits;
    default:
      return size;
  }
}

const shiftCount = (count: Expr, size: number) => Number(BigInt.asUintN(6, constantOf(count)!)) & (size - 1);

function noSuch(name: string, { type }: Expr): never {
  throw new OperandError(`${name} does not exist for ${type}`);
}

/** Constants meet constants, what changes nothing vanishes: what operand providers with known operands live on. */
function foldBinary(name: keyof typeof BINARY, left: Expr, right: Expr): Expr | undefined {
  if (right.op === I32_CONST) return foldBinary32(name, left, right.immediate as number);
  if (right.op === I64_CONST) return foldBinary64(name, left, right.immediate as bigint);
  if (isConstant(left) && left.bits === 0 && ZERO_NEUTRAL_LEFT.has(name)) return right;
  return undefined;
}

/** 0 changes nothing on the left of these. */
const ZERO_NEUTRAL_LEFT: ReadonlySet<string> = new Set(["add", "or", "xor"]);
/** 0 changes nothing on the right of these. */
const ZERO_NEUTRAL: ReadonlySet<string> = new Set(["add", "sub", "or", "xor", "shl", "shrS", "shrU", "rotl", "rotr"]);

function foldBinary32(name: keyof typeof BINARY, left: Expr, b: number): Expr | undefined {
  if (b === 0 ? ZERO_NEUTRAL.has(name) : (b === -1 && name === "and") || (b === 1 && name === "mul")) return left;
  if (name === "and" && left.op !== I32_CONST) {
    const possible = Number(MASKS[left.bits]!) | 0;
    return (b & possible) === possible ? left : (b & possible) === 0 ? constant32(0) : undefined;
  }
  if (left.op !== I32_CONST) return undefined;
  const a = left.immediate as number;
  const value = compute32(name, a, b);
  return value === undefined ? undefined : constant32(value | 0);
}

function compute32(name: keyof typeof BINARY, a: number, b: number): number | undefined {
  switch (name) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return Math.imul(a, b);
    case "and":
      return a & b;
    case "or":
      return a | b;
    case "xor":
      return a ^ b;
    case "shl":
      return a << b;
    case "shrS":
      return a >> b;
    case "shrU":
      return a >>> b;
    default:
      return undefined;
  }
}

function foldBinary64(name: keyof typeof BINARY, left: Expr, b: bigint): Expr | undefined {
  if (b === 0n ? ZERO_NEUTRAL.has(name) : (b === -1n && name === "and") || (b === 1n && name === "mul")) return left;
  if (name === "and" && left.op !== I64_CONST) {
    const possible = MASKS[left.bits]!;
    const kept = b & possible;
    return kept === possible ? left : kept === 0n ? constant64(0n) : undefined;
  }
  if (left.op !== I64_CONST) return undefined;
  const value = compute64(name, left.immediate as bigint, b);
  return value === undefined ? undefined : constant64(BigInt.asIntN(64, value));
}

function compute64(name: keyof typeof BINARY, a: bigint, b: bigint): bigint | undefined {
  const count = b & 63n;
  switch (name) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return a * b;
    case "and":
      return a & b;
    case "or":
      return a | b;
    case "xor":
      return a ^ b;
    case "shl":
      return a << count;
    case "shrS":
      return a >> count;
    case "shrU":
      return BigInt.asUintN(64, a) >> count;
    default:
      return undefined;
  }
}

function foldCompare(name: keyof typeof COMPARE, left: Expr, right: Expr): number | undefined {
  if (!isConstant(left) || !isConstant(right)) return undefined;
  const [a, b] = [BigInt(left.immediate as number | bigint), BigInt(right.immediate as number | bigint)];
  const bits = left.type === "i32" ? 32 : 64;
  const [x, y] = name.endsWith("U") ? [BigInt.asUintN(bits, a), BigInt.asUintN(bits, b)] : [a, b];
  switch (name) {
    case "eq":
      return Number(x === y);
    case "ne":
      return Number(x !== y);
    case "ltS":
    case "ltU":
      return Number(x < y);
    case "gtS":
    case "gtU":
      return Number(x > y);
    case "leS":
    case "leU":
      return Number(x <= y);
    case "geS":
    case "geU":
      return Number(x >= y);
    default:
      return undefined;
  }
}

/** Bits that were a number, and numbers that stand in a lane. */
function foldReinterpretation(op: number, a: Expr): Expr | undefined {
  switch (op) {
    case CONVERT.f32ReinterpretI32:
      if (a.op === CONVERT.i32ReinterpretF32) return a.a;
      if (a.op === simdOpcode(SIMD.i32x4Extract)) {
        return new Expr("f32", simdOpcode(SIMD.f32x4Extract), a.immediate, a.a);
      }
      return undefined;
    case CONVERT.f64ReinterpretI64:
      if (a.op === CONVERT.i64ReinterpretF64) return a.a;
      if (a.op === simdOpcode(SIMD.i64x2Extract)) {
        return new Expr("f64", simdOpcode(SIMD.f64x2Extract), a.immediate, a.a);
      }
      return undefined;
    default:
      return undefined;
  }
}

function foldExtension(name: keyof typeof UNARY, a: Expr): bigint | undefined {
  if (!isConstant(a)) return undefined;
  const value = BigInt(a.immediate as number | bigint);
  switch (name) {
    case "extend8S":
      return BigInt.asIntN(8, value);
    case "extend16S":
      return BigInt.asIntN(16, value);
    case "extend32S":
      return BigInt.asIntN(32, value);
    default:
      return undefined;
  }
}
