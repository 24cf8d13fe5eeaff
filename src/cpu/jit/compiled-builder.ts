import { constantOf, type Expr, type FunctionRef, type Label, type Operand, type Variable } from "../../emit/index.ts";
import { COLLECT } from "../isa/float-lanes.ts";
import type { Bytes, OperandWidth, RepeatOptions } from "../isa/x86.ts";
import { CPU, DS, ES, ONCE, PX, RAX, RCX, RDI, RSI, VECTOR } from "../state.ts";
import type { Place } from "./host-lookup.ts";
import { MemoryAccess } from "./memory-access.ts";
import { lowestLane } from "./xmm-lanes.ts";

/** Operand provider of the compiler: operands are decoded once, registers and flags live in locals. */
export abstract class CompiledOperands extends MemoryAccess {
  /** The instruction ends its block: control may go elsewhere, or never falls through. */
  ended = false;

  /** What `checkOnce` has checked on every way to here. */
  protected checked: ReadonlySet<string> = new Set();
  /** i32: see `isQuiet`; undefined while nobody asks. */
  private quiet: Variable | undefined;

  /** Whether the code that was written last goes on. */
  get reachable(): boolean {
    return !this.terminated;
  }

  /** Writes one instruction. */
  instruction(place: Place, width: OperandWidth): void {
    this.beginInstruction(place);
    this.width = width;
    this.ended = false;
    this.terminated = false;
    place.decoded.form!.body(this);
    if (this.terminated) this.ended = true;
    if (this.mayInterrupt && !this.ended) {
      this.if(this.get(this.attention), () => this.leaveEarly(), undefined, false);
    }
    if (!this.terminated) this.releaseAtBoundary();
  }

  /** Behind an instruction that is not the last: the others give their budget back. */
  private leaveEarly(): void {
    this.set(this.budget, this.budgetNow());
    this.exit(this.nextRip());
  }

  /** System operations end a region, so the outcome is the same in all of it. */
  override checkOnce(name: string, check: () => void): void {
    if (this.checked.has(name)) return;
    check();
    if (this.conditions === 0) this.checked = new Set([...this.checked, name]);
  }

  /** Leaves the region; what was written so far has retired. `between`: a string instruction goes on later. */
  abstract exit(rip: Expr, between?: boolean): void;

  // --- operands -------------------------------------------------------------------------------------------------

  /** Without REX, byte registers 4-7 are AH-BH. */
  private isHigh(register: number, width: OperandWidth): boolean {
    return width === 8 && register >= 4 && (this.decoded.px & PX.rex) === 0;
  }

  private readRegister(register: number, width: OperandWidth): Expr {
    return this.isHigh(register, width) ? this.readHigh(register & 3) : this.readGpr(register, width);
  }

  private writeRegister(register: number, value: Expr, width: OperandWidth): void {
    if (this.isHigh(register, width)) this.writeHigh(register & 3, value);
    else this.writeGpr(register, value, width);
  }

  private get regField(): number {
    return ((this.decoded.modrm >> 3) & 7) | (this.decoded.px & PX.rexR ? 8 : 0);
  }

  private get rmField(): number {
    return (this.decoded.modrm & 7) | (this.decoded.px & PX.rexB ? 8 : 0);
  }

  private get opcodeField(): number {
    return (this.decoded.opcode & 7) | (this.decoded.px & PX.rexB ? 8 : 0);
  }

  readRm(width: OperandWidth = this.width): Expr {
    if (this.rmIsMemory) return this.readMemory(this.rmAddress(), (width >> 3) as Bytes);
    return this.readRegister(this.rmField, width);
  }

  writeRm(value: Expr, width: OperandWidth = this.width): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), (width >> 3) as Bytes, value);
    else this.writeRegister(this.rmField, value, width);
  }

  updateRm(change: (old: Expr) => Expr, width: OperandWidth = this.width): void {
    if (this.rmIsMemory) this.modifyMemory(this.rmAddress(), (width >> 3) as Bytes, change);
    else this.writeRegister(this.rmField, change(this.readRegister(this.rmField, width)), width);
  }

  readReg(width: OperandWidth = this.width): Expr {
    return this.readRegister(this.regField, width);
  }

  writeReg(value: Expr, width: OperandWidth = this.width): void {
    this.writeRegister(this.regField, value, width);
  }

  regNumber(): Expr {
    return this.i32(this.regField);
  }

  rmNumber(): Expr {
    return this.i32(this.rmField);
  }

  readOpcodeReg(width: OperandWidth = this.width): Expr {
    return this.readRegister(this.opcodeField, width);
  }

  writeOpcodeReg(value: Expr, width: OperandWidth = this.width): void {
    this.writeRegister(this.opcodeField, value, width);
  }

  get imm(): Expr {
    return this.i64(this.decoded.imm);
  }

  get imm2(): Expr {
    return this.i64(this.decoded.imm2);
  }

  rexW(): Expr {
    return this.i32(this.decoded.px & PX.rexW);
  }

  prefixes(): Expr {
    return this.i32(this.decoded.px);
  }

  // --- SIMD registers: MMX stays in the vCPU block ----------------------------------------------------------------

  readXmmReg(): Expr {
    return this.readXmm(this.regField);
  }

  writeXmmReg(value: Expr): void {
    this.writeXmm(this.regField, value);
  }

  readXmmRegLow(bytes: 4 | 8): Expr {
    return lowestLane(this, this.readXmmReg(), bytes);
  }

  writeXmmRegPart(bytes: 4 | 8, value: Expr, at = 0): void {
    this.writeXmmLane(this.regField, bytes, value, at / bytes);
  }

  readXmmRm(aligned = true): Expr {
    return this.rmIsMemory ? this.readMemory128(this.rmAddress(), aligned) : this.readXmm(this.rmField);
  }

  writeXmmRm(value: Expr, aligned = true): void {
    if (this.rmIsMemory) this.writeMemory128(this.rmAddress(), value, aligned);
    else this.writeXmm(this.rmField, value);
  }

  readXmmRmLow(bytes: 4 | 8): Expr {
    if (!this.rmIsMemory) return lowestLane(this, this.readXmm(this.rmField), bytes);
    return this.load(bytes === 4 ? "i32" : "i64", bytes, this.hostRead(this.rmAddress(), bytes));
  }

  writeXmmRmLow(bytes: 4 | 8, value: Expr): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), bytes, value);
    else this.writeXmmLane(this.rmField, bytes, value, 0);
  }

  /** MMX registers are eight: REX has no part in their numbers. */
  private mmx(field: number): number {
    return CPU.fpu + (field & 7) * 16;
  }

  private storeMmx(offset: number, value: Expr): void {
    this.store(8, this.cpu, value, offset);
    this.store(2, this.cpu, this.i32(0xffff), offset + 8);
  }

  readMmxReg(): Expr {
    return this.load("i64", 8, this.cpu, this.mmx(this.regField));
  }

  writeMmxReg(value: Expr): void {
    this.storeMmx(this.mmx(this.regField), value);
  }

  readMmxRm(bytes: 4 | 8 = 8): Expr {
    if (this.rmIsMemory) return this.readMemory(this.rmAddress(), bytes);
    return this.load("i64", bytes, this.cpu, this.mmx(this.rmField));
  }

  writeMmxRm(value: Expr): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), 8, value);
    else this.storeMmx(this.mmx(this.rmField), value);
  }

  // --- MXCSR ----------------------------------------------------------------------------------------------------

  /** A local, loaded when the region is entered, and set by whatever changes MXCSR. */
  private get quietLocal(): Variable {
    this.quiet ??= this.permanent("i32");
    return this.quiet;
  }

  /** For the prologue. */
  protected loadQuiet(): void {
    if (this.quiet) this.set(this.quiet, super.isQuiet());
  }

  override isQuiet(): Expr {
    return this.get(this.quietLocal);
  }

  override writeMxcsr(value: Expr): void {
    super.writeMxcsr(value);
    this.set(this.quietLocal, super.isQuiet());
  }

  collectExceptions(packed: boolean): Expr {
    const [vector, quiet] = this.callMulti(this.helperFunction(COLLECT.name), this.cpu, packed ? 1 : 0);
    this.set(this.quietLocal, quiet!);
    return vector!;
  }

  // --- state ----------------------------------------------------------------------------------------------------

  systemFlags(): Expr {
    return this.field("i32", CPU.eflags);
  }

  stackMask(): Expr {
    return this.i64(this.context.stackMask);
  }

  cpl(): Expr {
    return this.field("i32", CPU.cpl);
  }

  // --- control --------------------------------------------------------------------------------------------------

  nextRip(): Expr {
    return this.i64(this.place.next);
  }

  startRip(): Expr {
    return this.i64(this.place.rip);
  }

  escapeOpcode(): Expr {
    return this.i32(((this.decoded.opcode & 7) << 8) | this.decoded.modrm);
  }

  checkTarget(target: Expr): void {
    const bad = this.mode64
      ? this.ne(this.shrS(this.shl(target, 16), 16), target)
      : this.gtU(target, this.context.csLimit);
    this.if(bad, () => this.fault(VECTOR.gp, 0), undefined, false);
  }

  repeat(unit: () => void, { compares, truncated, bulk }: RepeatOptions): void {
    const { px } = this.decoded;
    if ((px & (PX.rep | PX.repne)) === 0) {
      unit();
      return;
    }
    // Units count against the budget, which the rest of a block has already taken its share of.
    this.ended = true;
    if (this.mode64 && px & PX.addressSmall) {
      for (const register of [RCX, ...truncated]) this.writeIndex(register, this.readIndex(register));
    }
    this.pin([RAX, RCX, RSI, RDI], compares, () =>
      this.block((end) =>
        this.loop((again) => {
          this.brIf(end, this.eqz(this.readIndex(RCX)));
          if (bulk !== undefined) this.repeatBulk(bulk, end, again);
          unit();
          const count = this.let(this.sub(this.readIndex(RCX), 1));
          this.writeIndex(RCX, count);
          // REPE (F3) goes on while ZF is 1, REPNE while it is 0.
          if (compares) this.brIf(end, this.ne(this.zf(), px & PX.rep ? 1 : 0));
          this.brIf(end, this.eqz(this.and(count, this.addressMask())));
          this.takeUnit();
          this.br(again);
        }),
      ),
    );
  }

  /** Each further unit is retired like an instruction of its own; without budget the instruction starts again. */
  private takeUnit(): void {
    const giveWay = () => {
      this.setField("i32", CPU.once, ONCE.repeat);
      this.setField("i32", CPU.onceBudget, this.get(this.budget));
      this.exit(this.startRip(), true);
    };
    this.if(this.leS(this.get(this.budget), 0), giveWay, undefined, false);
    this.set(this.budget, this.sub(this.get(this.budget), 1));
  }

  /**
   * MOVS and STOS upwards, to the end of the page that ends first, by one call, which goes `again`; control comes behind
   * it for what is not that simple.
   */
  private repeatBulk(kind: "move" | "store", end: Label, again: Label): void {
    const source = this.dataAddress(this.readIndex(RSI), DS, true);
    const sourceSegment = kind === "move" ? Number(constantOf(source.segment)) : ES;
    const flat = (segment: number) => ((this.context.flatSegments >> segment) & 1) !== 0;
    if (this.decoded.px & PX.addressSmall || !flat(ES) || !flat(sourceSegment)) return;
    const shift = Math.log2(this.bytes);
    const from = this.let(source.offset);
    const value = kind === "store" ? this.readAcc() : this.i64(0);
    const units = this.let(
      this.call(
        this.parts.bulk,
        this.cpu,
        this.readIndex(RDI),
        from,
        this.readIndex(RCX),
        value,
        this.get(this.budget),
        shift | (kind === "store" ? 4 : 0),
      ),
    );
    this.if(this.ne(units, 0), () => {
      const bytes = this.shl(units, shift);
      this.writeIndex(RDI, this.add(this.readIndex(RDI), bytes));
      if (kind === "move") this.writeIndex(RSI, this.add(this.readIndex(RSI), bytes));
      const count = this.let(this.sub(this.readIndex(RCX), units));
      this.writeIndex(RCX, count);
      this.set(this.budget, this.sub(this.get(this.budget), this.sub(this.wrap(units), 1)));
      this.brIf(end, this.eqz(count));
      this.takeUnit();
      this.br(again);
    });
  }

  override ioExits(): Expr {
    return this.i32(this.context.ioExits ? 1 : 0);
  }

  override budgetLeft(): Expr {
    return this.budgetNow();
  }

  portIn(port: Expr, bytes: Bytes): Expr {
    this.expectAttention();
    const result = this.variable("i32");
    const answer = (value: Expr) => this.set(result, value);
    const [number, width] = [this.let(this.wrap(port)), this.i32(bytes)];
    this.portInPlace(number, { bytes, answer }, () =>
      answer(this.callSlow(this.parts.cold.portIn, true, number, width)[0]!),
    );
    return this.u64(this.snapshot(result));
  }

  portOut(port: Expr, bytes: Bytes, value: Expr): void {
    this.expectAttention();
    const [number, width, data] = [this.let(this.wrap(port)), this.i32(bytes), this.settle(this.wrap(value))];
    this.portInPlace(number, { bytes, data }, () => this.callSlow(this.parts.cold.portOut, true, number, width, data));
  }

  private helperFunction(name: string): FunctionRef {
    const target = this.parts.helpers.get(name);
    if (target === undefined) throw new Error(`Portico bug: no helper ${name}`);
    return target;
  }

  helper(name: string, ...operands: Operand[]): Expr {
    return this.call(this.helperFunction(name), ...operands);
  }
}
