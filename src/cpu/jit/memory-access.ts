import {
  constantOf,
  type Expr,
  type FunctionRef,
  type FunctionType,
  type Label,
  type Operand,
  type Variable,
} from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import type { DecodedInstruction } from "../decode/decoder.ts";
import { hostAddress, tlbHit } from "../interp/helpers.ts";
import type { Address, Bytes } from "../isa/x86.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { CPU, DS, FS, PX, SEG, SS, VECTOR } from "../state.ts";
import type { Access, SeenDevice } from "./device-access.ts";
import {
  type CompiledModule,
  type Found,
  HostLookUp,
  type MemoryOperand,
  type OperandWindow,
  type Place,
} from "./host-lookup.ts";

/** Thrown by words that compiled code has no answer to: the block ends before the instruction. */
export class UnsupportedInstruction extends Error {}

/** What compiled code takes for granted: who runs it has to know that it is so. */
export interface CodeContext {
  readonly mode64: boolean;
  /** Long mode: registers have 64 bits, in compatibility mode too. */
  readonly long: boolean;
  /** See CPU.initialPrefixes. */
  readonly initialPrefixes: number;
  /** Legacy modes: see CPU.stackMask and CPU.flatSegments; the limit of CS. */
  readonly stackMask: bigint;
  readonly flatSegments: number;
  readonly csLimit: bigint;
  /** See CPU.ioExits: the same as long as a machine lives. */
  readonly ioExits: boolean;
}

const [RBX, RBP, RSP, RSI, RDI] = [3, 5, 4, 6, 7];
/** Base and index of 16-bit addresses by ModRM.rm: SDM vol 2, table 2-1. */
const ADDRESS16: readonly (readonly [base: number, index?: number])[] = [
  [RBX, RSI],
  [RBX, RDI],
  [RBP, RSI],
  [RBP, RDI],
  [RSI],
  [RDI],
  [RBP],
  [RBX],
];

/** Memory operands with constant encodings, and accesses through the TLB with their slow paths. */
export abstract class MemoryAccess extends HostLookUp {
  readonly mode64: boolean;
  readonly context: CodeContext;
  /** i32: a slow path asked to leave the region after this instruction. */
  protected readonly attention: Variable;
  /** Whether a slow path of the current instruction can ask for that. */
  protected mayInterrupt = false;
  /** i32: the budget, less what the rest of the block takes. */
  protected readonly budget: Variable;
  /** Where an abandoned instruction goes, with everything at home. */
  protected abandoned!: Label;
  /** Places so far that access memory, and that write. */
  accesses = 0;
  stores = 0;

  constructor(parts: CompiledModule, name: string, type: FunctionType, index: number, context: CodeContext) {
    super(parts, name, type, index);
    this.context = context;
    this.mode64 = context.mode64;
    this.attention = this.permanent("i32");
    this.budget = this.permanent("i32");
    this.homesLow32 = !context.mode64 && !context.long;
  }

  protected beginInstruction(place: Place): void {
    this.place = place;
    this.mayInterrupt = false;
    // At once: the first use may stand under a condition, the second behind it.
    this.relativeOperand = undefined;
    this.operand = this.rmIsMemory ? this.effectiveAddress() : undefined;
  }

  protected get decoded(): DecodedInstruction {
    return this.place.decoded;
  }

  // --- operands -------------------------------------------------------------------------------------------------

  get rmIsMemory(): boolean {
    const { modrm, form } = this.decoded;
    return modrm >= 0 && modrm < 0xc0 && !form!.rmAlwaysRegister;
  }

  rmAddress(): Address {
    return this.operand!;
  }

  rmOffset(): Expr {
    return this.rmAddress().offset;
  }

  rmAddressUses(register: number): Expr {
    const { sib, modrm, px } = this.decoded;
    const base = (sib & 7) + (px & PX.rexB ? 8 : 0);
    const isDisplacement = (sib & 7) === 5 && modrm >> 6 === 0;
    return this.i32(sib >= 0 && !isDisplacement && base === register ? 1 : 0);
  }

  addressMask(): Expr {
    const small = (this.decoded.px & PX.addressSmall) !== 0;
    return this.i64(this.mode64 ? (small ? 0xffff_ffff : -1) : small ? 0xffff : 0xffff_ffff);
  }

  /** Number of the overriding segment, or -1. */
  private get override(): number {
    return ((this.decoded.px & PX.segment) >> PX.segmentShift) - 1;
  }

  private effectiveAddress(): Address {
    const { decoded, mode64 } = this;
    const small = (decoded.px & PX.addressSmall) !== 0;
    if (!mode64 && small) return this.address16();
    const { base, index, scale } = this.addressRegisters();
    const ripRelative = mode64 && base < 0 && decoded.sib < 0;
    const constant = BigInt(decoded.displacement) + (ripRelative ? this.place.next : 0n);
    const offset =
      mode64 && !small ? this.sum64(base, index, scale, constant) : this.sum32(base, index, scale, constant);
    const defaultSegment = base === RSP || base === RBP ? SS : DS;
    if (base >= 0 && index < 0 && this.isFlat(mode64, small, defaultSegment)) {
      this.relativeOperand = { base: this.readGpr(base, 64), displacement: decoded.displacement };
    }
    return decoded.form!.offsetOnly
      ? { offset: this.let(offset), segment: this.i32(0), linear: mode64 }
      : this.dataAddress(offset, defaultSegment, true);
  }

  /** A linear address is the offset, in as many bits as the mode has. */
  private isFlat(mode64: boolean, small: boolean, defaultSegment: number): boolean {
    const segment = this.override < 0 ? defaultSegment : this.override;
    return mode64 ? !small && this.override < FS : ((this.context.flatSegments >> segment) & 1) !== 0;
  }

  /** SDM vol 2, tables 2-2 and 2-3; -1: none. */
  private addressRegisters(): { base: number; index: number; scale: number } {
    const { modrm, sib, px } = this.decoded;
    const noBase = modrm >> 6 === 0;
    if (sib < 0) {
      const base = (modrm & 7) | (px & PX.rexB ? 8 : 0);
      return { base: noBase && (modrm & 7) === 5 ? -1 : base, index: -1, scale: 0 };
    }
    const base = (sib & 7) | (px & PX.rexB ? 8 : 0);
    const index = ((sib >> 3) & 7) | (px & PX.rexX ? 8 : 0);
    return { base: noBase && (sib & 7) === 5 ? -1 : base, index: index === RSP ? -1 : index, scale: sib >> 6 };
  }

  private sum64(base: number, index: number, scale: number, constant: bigint): Expr {
    let sum: Expr | undefined = base < 0 ? undefined : this.readGpr(base, 64);
    if (index >= 0) {
      const scaled = this.shl(this.readGpr(index, 64), scale);
      sum = sum ? this.add(sum, scaled) : scaled;
    }
    return sum ? this.add(sum, constant) : this.i64(constant);
  }

  private sum32(base: number, index: number, scale: number, constant: bigint): Expr {
    let sum: Expr | undefined = base < 0 ? undefined : this.wrap(this.readGpr(base, 64));
    if (index >= 0) {
      const scaled = this.shl(this.wrap(this.readGpr(index, 64)), scale);
      sum = sum ? this.add(sum, scaled) : scaled;
    }
    const low = Number(BigInt.asIntN(32, constant));
    return this.u64(sum ? this.add(sum, low) : this.i32(low));
  }

  private address16(): Address {
    const { modrm, displacement, form } = this.decoded;
    const direct = modrm >> 6 === 0 && (modrm & 7) === 6;
    const [base, index] = ADDRESS16[modrm & 7]!;
    let sum: Expr = this.i64(displacement);
    if (!direct) {
      sum = this.add(this.readGpr(base, 64), displacement);
      if (index !== undefined) sum = this.add(sum, this.readGpr(index, 64));
    }
    const offset = this.and(sum, 0xffff);
    if (form!.offsetOnly) return { offset: this.let(offset), segment: this.i32(0) };
    return this.dataAddress(offset, !direct && base === RBP ? SS : DS, true);
  }

  dataAddress(offset: Expr, defaultSegment: number, overridable: boolean): Address {
    const override = overridable ? this.override : -1;
    const segment = override >= 0 ? override : defaultSegment;
    if (!this.mode64) return { offset: this.let(offset), segment: this.i32(segment) };
    // Only FS and GS have a base.
    const based = override >= FS ? this.add(offset, this.segmentBase(override)) : offset;
    // The base is in the offset: for those who add a segment's own, it is one without.
    return { offset: this.let(based), segment: this.i32(defaultSegment), linear: true };
  }

  private segmentBase(segment: number): Expr {
    return this.constantField("i64", CPU.segments + segment * SEG.size + SEG.base);
  }

  // --- leaving ----------------------------------------------------------------------------------------------------

  private get hostPc(): Expr {
    return this.i32(this.place.host);
  }

  /** The budget as the interpreter would show it in this instruction. */
  protected budgetNow(): Expr {
    return this.add(this.get(this.budget), this.place.remaining);
  }

  private leaveAbandoned(): void {
    this.goHome(true);
    this.br(this.abandoned);
  }

  abandon(): void {
    this.noteAbandon();
    this.callMulti(this.parts.cold.abandon, this.cpu, this.hostPc, this.budgetNow());
    this.leaveAbandoned();
  }

  fault(vector: Operand, errorCode = -1): void {
    this.noteAbandon();
    this.callMulti(this.parts.cold.raise, this.cpu, vector, errorCode, this.hostPc, this.budgetNow());
    this.leaveAbandoned();
  }

  /**
   * Calls a slow path; the instruction may end there. The results before the budget; the last of them says `ok`.
   * `attention`: whether it may want the region to be left after this instruction.
   */
  protected callSlow(target: FunctionRef, attention: boolean, ...operands: Expr[]): Expr[] {
    this.noteAbandon();
    const { remaining, need } = this.place;
    const results = this.callMulti(
      target,
      this.cpu,
      ...operands,
      this.hostPc,
      this.budgetNow(),
      this.i32(remaining + need),
    );
    const left = results.pop()!;
    this.if(this.eqz(results.at(-1)!), () => this.leaveAbandoned(), undefined, false);
    this.set(this.budget, this.sub(left, remaining));
    this.forgetWindows();
    if (attention) this.lookAt(left);
    return results;
  }

  protected cutsBudget(emit: () => void): void {
    const zero = this.i32(0);
    this.store(4, zero, this.budgetNow(), CLOCK.budget);
    emit();
    const left = this.let(this.load("i32", 4, zero, CLOCK.budget));
    this.set(this.budget, this.sub(left, this.place.remaining));
    this.lookAt(left);
  }

  /** What is left of the budget decides whether the region goes on behind this instruction. */
  private lookAt(left: Expr): void {
    if (!this.mayInterrupt) throw new Error("Portico bug: attention is for instructions that look at it");
    const { remaining, need } = this.place;
    this.set(this.attention, this.or(this.get(this.attention), this.ltS(left, remaining + need)));
  }

  /** The instruction looks at `attention` at its end. (Once set, it is never cleared: the region is left.) */
  protected expectAttention(): void {
    this.mayInterrupt = true;
  }

  // --- memory ---------------------------------------------------------------------------------------------------

  /** Linear address after limit and rights checks. */
  private linear(address: Address, bytes: number, write: boolean, displacement = 0): Expr {
    const sum = displacement === 0 ? address.offset : this.add(address.offset, displacement);
    if (this.mode64) return this.let(sum);
    // Each part of an operand wraps at the address size for itself, as silicon has it.
    const offset = this.let(displacement === 0 ? sum : this.and(sum, this.addressMask()));
    const segment = Number(constantOf(address.segment));
    if ((this.context.flatSegments >> segment) & 1) return offset;
    const linear = this.call(this.parts.cold.segment, this.cpu, segment, offset, bytes, write ? 1 : 0);
    this.if(this.eq(linear, -1), () => this.abandon(), undefined, false);
    return linear;
  }

  private missed(name: "read" | "modify", { linear, bytes }: MemoryOperand): Expr {
    return this.callSlow(this.parts.cold[name], false, linear, this.i32(bytes))[0]!;
  }

  private hostOf(name: "read" | "modify", address: Address, bytes: number, linear: Expr): Expr {
    const operand = { address, displacement: 0, linear, bytes, write: name === "modify" };
    return this.hostIn(name, operand, this.windowOf(operand));
  }

  private hostIn(name: "read" | "modify", operand: MemoryOperand, at: OperandWindow): Expr {
    this.accesses++;
    if (operand.write) this.stores++;
    const result = this.variable("i32");
    const given = (host: Expr, offset: number) => this.set(result, offset === 0 ? host : this.add(host, offset));
    this.lookUp(operand, at, given, () => given(this.missed(name, operand), 0));
    return this.get(result);
  }

  readMemory(address: Address, bytes: Bytes, displacement = 0): Expr {
    const linear = this.linear(address, bytes, false, displacement);
    const inMemory = () => this.readInMemory({ address, displacement, linear, bytes, write: false });
    const seen = this.deviceSeen(bytes, false);
    if (seen === undefined) return inMemory();
    const result = this.variable("i64");
    const answer = (value: Expr) => this.set(result, value.type === "i32" ? this.u64(value) : value);
    this.mmioInPlace(seen, this.settle(linear), { bytes, answer }, () => answer(inMemory()));
    return this.snapshot(result);
  }

  private readInMemory(operand: MemoryOperand): Expr {
    const at = this.windowOf(operand);
    const load = (host: Expr, offset = 0) => this.load("i64", operand.bytes as Bytes, host, offset);
    if (at === undefined) return load(this.hostIn("read", operand, at));
    // In a window the offset costs nothing where it is part of the load.
    this.accesses++;
    const result = this.variable("i64");
    const given: Found = (host, offset) => this.set(result, load(host, offset));
    this.lookUp(operand, at, given, () => given(this.missed("read", operand), 0));
    return this.freeze(result);
  }

  private deviceSeen(bytes: number, write: boolean): SeenDevice | undefined {
    const { alone, last, host } = this.place;
    const seen = alone ? this.deviceSeenAt(host, bytes, write) : undefined;
    // The last of a block does not look for attention.
    return last && seen?.inline === undefined ? undefined : seen;
  }

  protected askDevice(physical: Expr, { bytes, data, answer }: Access): void {
    const { cold } = this.parts;
    if (data !== undefined) this.storeAt(this.cpu, CPU.scratch, bytes, data);
    this.callSlow(data === undefined ? cold.readDevice : cold.writeDevice, true, physical, this.i32(bytes));
    answer?.(this.load("i32", bytes as Bytes, this.cpu, CPU.scratch));
  }

  hostRead(address: Address, bytes: number): Expr {
    return this.hostOf("read", address, bytes, this.linear(address, bytes, false));
  }

  override plainHost(address: Address, bytes: number, write: boolean): Expr {
    const segment = Number(constantOf(address.segment));
    if (!this.mode64 && ((this.context.flatSegments >> segment) & 1) === 0) return this.i32(0);
    const linear = this.let(address.offset);
    const entry = this.entry(linear);
    const hit = tlbHit(this, entry, write ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag, linear, bytes);
    return this.choose(
      "i32",
      hit,
      () => hostAddress(this, entry, linear),
      () => this.i32(0),
      true,
    );
  }

  private linear128(address: Address, write: boolean, aligned: boolean): Expr {
    if (aligned) {
      // Before the limit: through SS too it is #GP.
      const segment = this.mode64 ? 0 : Number(constantOf(address.segment));
      const flat = this.mode64 || ((this.context.flatSegments >> segment) & 1) !== 0;
      const linear = flat ? address.offset : this.add(address.offset, this.segmentBase(segment));
      this.if(this.and(this.wrap(linear), 15), () => this.fault(VECTOR.gp, 0), undefined, false);
    }
    return this.linear(address, 16, write);
  }

  readMemory128(address: Address, aligned = false): Expr {
    return this.loadV128(this.hostOf("read", address, 16, this.linear128(address, false, aligned)));
  }

  private storeAt(address: Expr, offset: number, bytes: number, value: Expr): void {
    if (value.type === "v128") this.storeV128(address, value, offset);
    else this.store(bytes as Bytes, address, value, offset);
  }

  private writeOperand(operand: MemoryOperand, value: Expr): void {
    this.accesses++;
    this.stores++;
    // What both sides need is evaluated before they part.
    const settled = this.settle(value);
    const { bytes } = operand;
    const seen = this.deviceSeen(bytes, true);
    if (seen === undefined) {
      this.writeInMemory(operand, settled);
      return;
    }
    const linear = this.settle(operand.linear);
    const data = settled.type === "i64" ? this.settle(this.wrap(settled)) : settled;
    this.mmioInPlace(seen, linear, { bytes, data }, () => this.writeInMemory({ ...operand, linear }, settled));
  }

  private writeInMemory(operand: MemoryOperand, value: Expr): void {
    const { linear, bytes } = operand;
    const written: Found = (host, offset) => this.storeAt(host, offset, bytes, value);
    this.lookUp(operand, this.windowOf(operand), written, () => {
      this.storeAt(this.cpu, CPU.scratch, bytes, value);
      this.callSlow(this.parts.cold.write, false, linear, this.i32(bytes));
    });
  }

  writeMemory(address: Address, bytes: Bytes, value: Expr, displacement = 0): void {
    const linear = this.linear(address, bytes, true, displacement);
    this.writeOperand({ address, displacement, linear, bytes, write: true }, value);
  }

  writeMemory128(address: Address, value: Expr, aligned = false): void {
    const linear = this.linear128(address, true, aligned);
    this.writeOperand({ address, displacement: 0, linear, bytes: 16, write: true }, value);
  }

  modifyMemory(address: Address, bytes: Bytes, change: (old: Expr) => Expr): void {
    this.expectAttention();
    const host = this.hostOf("modify", address, bytes, this.linear(address, bytes, true));
    this.store(bytes, host, change(this.load("i64", bytes, host)));
    this.if(
      this.eq(host, this.fieldAddress(CPU.scratch)),
      () => this.callSlow(this.parts.cold.commit, true),
      undefined,
      false,
    );
  }

  proveWritable(address: Address, bytes: number): void {
    this.accesses++;
    this.stores++;
    const linear = this.linear(address, bytes, true);
    this.if(
      tlbHit(this, this.entry(linear), TLB_ENTRY.writeTag, linear, bytes),
      () => {},
      () => this.callSlow(this.parts.cold.prove, false, linear, this.i32(bytes)),
      true,
    );
  }
}
