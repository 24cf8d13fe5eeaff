import { constantOf, type Expr, type Variable } from "../../emit/index.ts";
import type { OperandWidth } from "../isa/x86.ts";
import { CPU } from "../state.ts";
import { conditionOf, type FlagSource, isPlain, zeroOf } from "./flag-sources.ts";
import { LateValue, LazyValues } from "./lazy-values.ts";
import { asLane, type LaneBytes, underLane, withLane } from "./xmm-lanes.ts";

/** What a register holds at this point of the code. */
interface RegisterValue {
  readonly expr: Expr;
  /** Not (yet) in the vCPU block. */
  readonly dirty: boolean;
  /** The low 16 bits, where they are known though the rest is not: a port in DX, say. */
  readonly low?: bigint | undefined;
}

/** The arithmetic flags at this point of the code. */
interface FlagState {
  /** The two words, see CPU; undefined: not loaded, or to be made by `make`. */
  result: Expr | undefined;
  carry: Expr | undefined;
  readonly dirty: boolean;
  /** Sets the words from `source`, when somebody wants them. */
  make: (() => void) | undefined;
  /** What produced them, where that is known: conditions are then tested without the words. */
  readonly source: FlagSource | undefined;
  /** INC and DEC: CF is that of this state. */
  readonly carryFrom: FlagState | undefined;
  readonly width: OperandWidth;
}

interface GuestState {
  readonly registers: (RegisterValue | undefined)[];
  readonly flags: FlagState;
}

/** Registers that a loop over string units assigns, as mutable locals. */
interface PinnedState {
  readonly gprs: ReadonlyMap<number, Variable>;
  readonly result: Variable;
  readonly carry: Variable;
  /** What a fault or an interrupt finds: CMPS and SCAS leave the flags as they were before the first unit. */
  readonly faultFlags: FlagState | undefined;
}

/** What a definition was seen to do with state that it found. */
export interface Uses {
  flagsRead: boolean;
  abandons: boolean;
  readonly flagsWritten: boolean;
}

const AT_HOME: FlagState = {
  result: undefined,
  carry: undefined,
  dirty: false,
  make: undefined,
  source: undefined,
  carryFrom: undefined,
  width: 32,
};

/** Keys: general registers are 0 to 15, XMM registers follow, then the flag words. */
const XMM = 16;
const FLAGS_RESULT = 32;
const FLAGS_CARRY = 33;
const REGISTERS = FLAGS_RESULT;
const isXmm = (key: number): boolean => key >= XMM && key < FLAGS_RESULT;
const typeOf = (key: number): "i32" | "i64" | "v128" => (isXmm(key) ? "v128" : key === FLAGS_CARRY ? "i32" : "i64");

const nothingKnown = () => new Array<RegisterValue | undefined>(REGISTERS).fill(undefined);

/**
 * Registers and flags as values, renamed at each write. Between blocks they are at home: in a local of their own
 * each, loaded when the region is entered and stored when it is left; within a block a home keeps the value that it had
 * when the block began. Writes under a condition are merged behind it.
 */
export abstract class RegisterCache extends LazyValues {
  private registers = nothingKnown();
  private flags: FlagState = AT_HOME;
  private pinned: PinnedState | undefined;
  private readonly constants = new Map<number, { expr: Expr; extent: { open: boolean } }>();
  private readonly homes = new Map<number, Variable>();
  /** Registers and flags that some block has brought home. */
  private readonly written = new Set<number>();
  /** Bits 63 to 32 of registers are zero (outside long mode). */
  protected homesLow32 = false;
  private readonly seen = { flagsRead: false, abandons: false };

  get uses(): Uses {
    return { ...this.seen, flagsWritten: this.flags.dirty };
  }

  protected noteAbandon(): void {
    this.seen.abandons = true;
  }

  /** How many conditions the code being written stands under. */
  protected conditions = 0;

  get cpu(): Expr {
    return this.param(0);
  }

  field(type: "i32" | "i64", offset: number): Expr {
    return this.load(type, type === "i32" ? 4 : 8, this.cpu, offset);
  }

  private home(key: number): Expr {
    let variable = this.homes.get(key);
    if (variable === undefined) {
      variable = this.permanent(typeOf(key));
      this.homes.set(key, variable);
    }
    return this.get(variable);
  }

  /** Everything is at home, and nothing else is known. */
  protected beginBlock(): void {
    this.registers = nothingKnown();
    this.flags = AT_HOME;
    this.constants.clear();
    this.terminated = false;
    this.releaseLocals([]);
  }

  /** A field that nothing in a block changes. */
  protected constantField(type: "i32" | "i64", offset: number): Expr {
    const known = this.constants.get(offset);
    if (known?.extent.open) return known.expr;
    const expr = this.field(type, offset);
    this.constants.set(offset, { expr, extent: this.extent });
    return expr;
  }

  // --- general registers ----------------------------------------------------------------------------------------

  private register(key: number): RegisterValue {
    const variable = this.pinned?.gprs.get(key);
    if (variable) return { expr: this.snapshot(variable), dirty: true };
    let value = this.registers[key];
    if (value === undefined) {
      value = { expr: this.asRegister(key, this.home(key)), dirty: false };
      this.registers[key] = value;
    }
    return value;
  }

  /** A local that holds a register. */
  private asRegister(key: number, local: Expr): Expr {
    return this.homesLow32 && key < XMM ? this.knownNarrow(local) : local;
  }

  private setRegister(register: number, expr: Expr, low?: bigint): void {
    const variable = this.pinned?.gprs.get(register);
    if (variable) this.set(variable, expr);
    else this.registers[register] = { expr: this.settle(expr), dirty: true, low };
  }

  readGpr(register: number, width: OperandWidth = this.width): Expr {
    const { expr, low } = this.register(register);
    return width === 16 && low !== undefined ? this.i64(low) : this.zx(expr, width);
  }

  writeGpr(register: number, value: Expr, width: OperandWidth = this.width): void {
    if (width >= 32) {
      this.setRegister(register, this.zx(value, width));
      return;
    }
    const mask = width === 16 ? 0xffff : 0xff;
    const { expr } = this.register(register);
    const low = this.and(value, mask);
    this.setRegister(register, this.or(this.and(expr, ~mask), low), width === 16 ? constantOf(low) : undefined);
  }

  /** AH, CH, DH, BH by the number of the register they are part of. */
  protected readHigh(register: number): Expr {
    return this.and(this.shrU(this.register(register).expr, 8), 0xff);
  }

  protected writeHigh(register: number, value: Expr): void {
    const { expr } = this.register(register);
    this.setRegister(register, this.or(this.and(expr, ~0xff00), this.and(this.shl(value, 8), 0xff00)));
  }

  readAh(): Expr {
    return this.readHigh(0);
  }

  writeAh(value: Expr): void {
    this.writeHigh(0, value);
  }

  // --- XMM registers ----------------------------------------------------------------------------------------------

  readXmm(register: number): Expr {
    return this.register(XMM + register).expr;
  }

  writeXmm(register: number, value: Expr): void {
    this.setRegister(XMM + register, value);
  }

  /**
   * Replaces one lane. The whole is put together where somebody needs it: the next scalar operation does not, and puts
   * another value over this one.
   */
  protected writeXmmLane(register: number, bytes: LaneBytes, value: Expr, lane: number): void {
    const old = this.readXmm(register);
    const under = underLane(old, bytes, lane) ?? this.settle(old);
    const put = this.settle(asLane(this, value, bytes));
    this.registers[XMM + register] = { expr: this.let(withLane(this, under, put, bytes, lane)), dirty: true };
  }

  // --- flags ----------------------------------------------------------------------------------------------------

  private resolve(state: FlagState): void {
    const { make } = state;
    if (make === undefined) return;
    state.make = undefined;
    const { flags, width } = this;
    this.width = state.width;
    make();
    state.result = this.flags.result;
    state.carry = this.flags.carry;
    this.flags = flags;
    this.width = width;
  }

  flagsResult(): Expr {
    if (this.pinned) return this.snapshot(this.pinned.result);
    this.resolve(this.flags);
    if (this.flags.result !== undefined) return this.flags.result;
    this.seen.flagsRead = true;
    return this.home(FLAGS_RESULT);
  }

  flagsCarry(): Expr {
    if (this.pinned) return this.snapshot(this.pinned.carry);
    this.resolve(this.flags);
    if (this.flags.carry !== undefined) return this.flags.carry;
    this.seen.flagsRead = true;
    return this.home(FLAGS_CARRY);
  }

  setFlags(result: Expr, carry: Expr): void {
    if (this.pinned) {
      this.set(this.pinned.result, result);
      this.set(this.pinned.carry, carry);
      return;
    }
    this.flags = { ...AT_HOME, result: this.let(result), carry: this.let(carry), dirty: true };
  }

  private defer(source: FlagSource, make: () => void): void {
    if (this.pinned) make();
    else this.flags = { ...AT_HOME, dirty: true, make, source, width: this.width };
  }

  override flagsAdd(a: Expr, b: Expr, sum: Expr): void {
    const result = this.let(sum);
    const source: FlagSource = { kind: "add", a, b, result, width: this.width, plain: isPlain("add", a, b, result) };
    this.defer(source, () => super.flagsAdd(a, b, result));
  }

  override flagsSub(a: Expr, b: Expr, difference: Expr): void {
    const result = this.let(difference);
    const source: FlagSource = { kind: "sub", a, b, result, width: this.width, plain: isPlain("sub", a, b, result) };
    this.defer(source, () => super.flagsSub(a, b, result));
  }

  override flagsLogic(value: Expr): void {
    const result = this.let(value);
    const source: FlagSource = { kind: "logic", a: result, b: result, result, width: this.width, plain: true };
    this.defer(source, () => super.flagsLogic(result));
  }

  override flagsKeepCarry(compute: () => void): void {
    this.seen.flagsRead ||= !this.flags.dirty;
    const previous = this.flags;
    compute();
    const fresh = this.flags;
    const make = () => {
      this.flags = previous;
      super.flagsKeepCarry(() => {
        this.flags = fresh;
      });
    };
    this.flags = { ...fresh, result: undefined, carry: undefined, make, carryFrom: previous.carryFrom ?? previous };
  }

  override cf(): Expr {
    if (this.pinned) return super.cf();
    const { source, carryFrom } = this.flags;
    if (carryFrom !== undefined) {
      const { flags } = this;
      this.flags = carryFrom;
      const carry = this.cf();
      this.flags = flags;
      return carry;
    }
    return (source && conditionOf(this, source, "carry")) ?? super.cf();
  }

  override zf(): Expr {
    const source = this.pinned ? undefined : this.flags.source;
    return source ? zeroOf(this, source) : super.zf();
  }

  override sf(): Expr {
    return (!this.pinned && this.flags.source && conditionOf(this, this.flags.source, "sign")) || super.sf();
  }

  override of_(): Expr {
    return (!this.pinned && this.flags.source && conditionOf(this, this.flags.source, "overflow")) || super.of_();
  }

  override condition(code: number): Expr {
    const { source, carryFrom } = this.flags;
    if (!this.pinned && source !== undefined) {
      const kind = CONDITIONS[code >> 1];
      const fused = kind && !(kind === "belowEqual" && carryFrom) ? conditionOf(this, source, kind) : undefined;
      if (fused !== undefined) return code & 1 ? this.eqz(fused) : fused;
    }
    return super.condition(code);
  }

  // --- conditional code -------------------------------------------------------------------------------------------

  override if(condition: Expr, then: () => void, otherwise?: () => void, likely?: boolean): void {
    const known = constantOf(condition);
    if (known !== undefined) {
      if (known !== 0n) then();
      else otherwise?.();
      return;
    }
    this.emit(condition);
    const at = this.code.length;
    const before: GuestState = { registers: this.registers, flags: this.flags };
    const merged = new Map<number, Variable>();
    let everTerminated = true;
    const branch = (body: () => void) => () =>
      this.inExtent(() => {
        this.registers = before.registers.slice();
        this.flags = before.flags;
        this.terminated = false;
        this.conditions++;
        body();
        this.conditions--;
        if (!this.terminated) this.leaveBranch(before, merged);
        everTerminated &&= this.terminated;
      });
    this.branches(branch(then), otherwise && branch(otherwise), likely);
    this.registers = before.registers;
    this.flags = before.flags;
    this.terminated = everTerminated && otherwise !== undefined;
    if (merged.size > 0) this.merge(merged, at);
  }

  /** At the end of a branch: what it changed goes to locals that both sides share. */
  private leaveBranch(before: GuestState, merged: Map<number, Variable>): void {
    const assign = (key: number, value: Expr) => {
      let variable = merged.get(key);
      if (variable === undefined) {
        const type = typeOf(key);
        variable = { type, index: this.allocate(type) };
        merged.set(key, variable);
      }
      this.set(variable, value);
    };
    this.registers.forEach((value, key) => {
      if (value?.dirty && value !== before.registers[key]) assign(key, value.expr);
    });
    if (this.flags.dirty && this.flags !== before.flags) {
      assign(FLAGS_RESULT, this.flagsResult());
      assign(FLAGS_CARRY, this.flagsCarry());
    }
  }

  /** Behind the branches: the shared locals are the registers. In front of them, at `at`, they get the old values. */
  private merge(merged: ReadonlyMap<number, Variable>, at: number): void {
    const end = this.code.length;
    for (const [key, variable] of merged) {
      if (key === FLAGS_RESULT) this.set(variable, this.flagsResult());
      else if (key === FLAGS_CARRY) this.set(variable, this.flagsCarry());
      else this.set(variable, this.register(key).expr);
    }
    this.moveCode(end, at);
    for (const [key, variable] of merged) {
      if (key < REGISTERS) this.registers[key] = { expr: this.asRegister(key, this.get(variable)), dirty: true };
    }
    const [result, carry] = [merged.get(FLAGS_RESULT), merged.get(FLAGS_CARRY)];
    if (result && carry) this.flags = { ...AT_HOME, result: this.get(result), carry: this.get(carry), dirty: true };
  }

  /** Moves what was written from `from` on to the earlier place `to`. */
  private moveCode(from: number, to: number): void {
    const { bytes, length } = this.code;
    const moved = bytes.slice(from, length);
    bytes.copyWithin(to + moved.length, to, from);
    bytes.set(moved, to);
    for (const hint of this.hints) if (hint[0] >= to) hint[0] += moved.length;
  }

  // --- string loops -----------------------------------------------------------------------------------------------

  /** Inside `body`, a loop, these registers and the flags are mutable locals. */
  protected pin(registers: readonly number[], keepFaultFlags: boolean, body: () => void): void {
    const result = this.variable("i64", this.flagsResult());
    const carry = this.variable("i32", this.flagsCarry());
    const { dirty } = this.flags;
    const faultFlags = keepFaultFlags ? this.flags : undefined;
    const gprs = new Map(registers.map((register) => [register, this.variable("i64", this.register(register).expr)]));
    this.pinned = { gprs, result, carry, faultFlags };
    body();
    this.pinned = undefined;
    for (const [register, variable] of gprs) {
      this.registers[register] = { expr: this.freeze(variable), dirty: true };
    }
    this.flags = {
      ...AT_HOME,
      result: this.freeze(result),
      carry: this.freeze(carry),
      dirty: dirty || keepFaultFlags,
    };
  }

  // --- leaving ----------------------------------------------------------------------------------------------------

  /**
   * Brings home what is not there yet, all at once: values may be made of what homes hold. `unfinished`: the instruction
   * is abandoned. `more` goes along. The code that follows must leave the block.
   */
  protected goHome(unfinished: boolean, flagsNeeded = true, more: readonly (readonly [Variable, Expr])[] = []): void {
    const { pinned } = this;
    const moves: (readonly [Variable, Expr])[] = [...more];
    const move = (key: number, value: Expr) => {
      this.home(key);
      this.written.add(key);
      moves.push([this.homes.get(key)!, value]);
    };
    for (let key = 0; key < REGISTERS; key++) {
      const variable = pinned?.gprs.get(key);
      const value = this.registers[key];
      if (variable) move(key, this.get(variable));
      else if (value?.dirty) move(key, value.expr);
    }
    const flags = pinned ? (unfinished && pinned.faultFlags) || undefined : this.flags;
    if (flagsNeeded && flags?.dirty) {
      this.resolve(flags);
      move(FLAGS_RESULT, flags.result!);
      move(FLAGS_CARRY, flags.carry!);
    } else if (pinned && flags === undefined) {
      move(FLAGS_RESULT, this.get(pinned.result));
      move(FLAGS_CARRY, this.get(pinned.carry));
    }
    for (const [variable, value] of moves) this.emit(this.of(variable.type, value));
    for (const [variable] of moves.toReversed()) {
      this.code.byte(LOCAL_SET);
      this.code.u32(variable.index);
    }
  }

  private offsetOf(key: number): number {
    if (isXmm(key)) return CPU.xmm + (key - XMM) * 16;
    return key === FLAGS_RESULT ? CPU.flagsResult : key === FLAGS_CARRY ? CPU.flagsCarry : CPU.gpr + key * 8;
  }

  /** Stores in the vCPU block what any block has brought home. For the end of the function, when all of it is known. */
  protected storeHomes(): void {
    for (const key of this.written) {
      const type = typeOf(key);
      if (type === "v128") this.storeV128(this.cpu, this.home(key), this.offsetOf(key));
      else this.setField(type, this.offsetOf(key), this.home(key));
    }
  }

  /** Puts code that fills the homes (and then what `more` writes) in front of everything else. */
  protected prologue(more: () => void): void {
    const end = this.code.length;
    for (const [key, variable] of this.homes) {
      this.emit(this.cpu);
      this.code.append(this.loadOf(key));
      this.code.u32(this.offsetOf(key));
      this.code.byte(LOCAL_SET);
      this.code.u32(variable.index);
    }
    more();
    this.moveCode(end, 0);
  }

  /** Opcode and alignment. */
  private loadOf(key: number): readonly number[] {
    if (isXmm(key)) return V128_LOAD;
    if (key === FLAGS_CARRY) return I32_LOAD;
    return this.homesLow32 && key < XMM ? I64_LOAD32_U : I64_LOAD;
  }

  /** Between instructions: what later ones may still read. */
  protected releaseAtBoundary(): void {
    const roots: Expr[] = [];
    for (const value of this.registers) {
      if (value === undefined) continue;
      roots.push(value.expr);
      // Its parts are read, and put together anew, even where the whole is at hand.
      if (value.expr instanceof LateValue) roots.push(value.expr.value);
    }
    const addFlags = (state: FlagState | undefined): void => {
      if (state === undefined) return;
      if (state.result) roots.push(state.result);
      if (state.carry) roots.push(state.carry);
      // What `make` refers to is its source and the carry that stays.
      if (state.source) roots.push(state.source.a, state.source.b, state.source.result);
      addFlags(state.carryFrom);
    };
    addFlags(this.flags);
    for (const { expr, extent } of this.constants.values()) if (extent.open) roots.push(expr);
    this.releaseLocals(roots);
  }

  setField(type: "i32" | "i64", offset: number, value: Expr | number | bigint): void {
    this.store(type === "i32" ? 4 : 8, this.cpu, this.of(type, value), offset);
  }

  fieldAddress(offset: number): Expr {
    return this.add(this.cpu, offset);
  }
}

const LOCAL_SET = 0x21;
const I32_LOAD = [0x28, 2];
const I64_LOAD = [0x29, 3];
const I64_LOAD32_U = [0x35, 2];
const V128_LOAD = [0xfd, 0x00, 4];

const CONDITIONS = ["overflow", undefined, undefined, "belowEqual", undefined, undefined, "less", "lessEqual"] as const;
