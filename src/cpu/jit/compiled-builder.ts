import type { Expr, Operand } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import type { SystemOperation } from "../isa/system-operations.ts";
import type { Bytes, OperandWidth, RepeatOptions } from "../isa/x86.ts";
import { CPU, CS, PX, RAX, RCX, RDI, RSI, SEG, VECTOR } from "../state.ts";
import { type CodeContext, type CompiledModule, MemoryAccess, type Place } from "./memory-access.ts";

/** What a compiled block returns. */
export const BLOCK = {
  /** An instruction was abandoned: `CPU.stop` says why, `CPU.rip` is its address. */
  abandoned: 0,
  /** Everything up to `CPU.rip` has retired. */
  retired: 1,
  /** Nothing was done: too little budget for the whole block, or the context has changed. Interpret. */
  declined: 2,
} as const;

/** Thrown by words that compiled code has no answer to: the block ends before the instruction. */
export class UnsupportedInstruction extends Error {}

const BLOCK_TYPE = { params: ["i32"], results: ["i32"] } as const;

/** Operand provider of the compiler: operands are decoded once, registers and flags live in locals. */
export class CompiledBuilder extends MemoryAccess {
  /** The instruction ended the block on some path: no other may follow. */
  ended = false;

  static create(parts: CompiledModule, name: string, context: CodeContext): CompiledBuilder {
    return parts.module.adopt((index) => new CompiledBuilder(parts, name, BLOCK_TYPE, index, context));
  }

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
    if (this.mayInterrupt && !this.ended) {
      this.if(this.get(this.attention), () => this.leaveEarly(), undefined, false);
    }
    this.releaseAtBoundary();
  }

  /** Behind an instruction that is not the last: the others give their budget back. */
  private leaveEarly(): void {
    const clock = this.i32(0);
    const budget = this.load("i32", 4, clock, CLOCK.budget);
    this.store(4, clock, this.add(budget, this.place.remaining), CLOCK.budget);
    this.exit(this.nextRip());
  }

  /** Leaves the block; what was written so far has retired. `between`: a string instruction goes on later. */
  exit(rip: Expr, between = false): void {
    this.spill(between);
    this.setField("i64", CPU.rip, rip);
    this.return(this.i32(BLOCK.retired));
  }

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

  // --- SIMD registers: they stay in the vCPU block ----------------------------------------------------------------

  private xmm(register: number): number {
    return CPU.xmm + register * 16;
  }

  private loadLow(bytes: 4 | 8, address: Expr, offset: number): Expr {
    return this.load(bytes === 4 ? "i32" : "i64", bytes, address, offset);
  }

  readXmmReg(): Expr {
    return this.loadV128(this.cpu, this.xmm(this.regField));
  }

  writeXmmReg(value: Expr): void {
    this.storeV128(this.cpu, value, this.xmm(this.regField));
  }

  readXmmRegLow(bytes: 4 | 8): Expr {
    return this.loadLow(bytes, this.cpu, this.xmm(this.regField));
  }

  writeXmmRegPart(bytes: 4 | 8, value: Expr, at = 0): void {
    this.store(bytes, this.cpu, value, this.xmm(this.regField) + at);
  }

  readXmmRm(aligned = true): Expr {
    if (this.rmIsMemory) return this.readMemory128(this.rmAddress(), aligned);
    return this.loadV128(this.cpu, this.xmm(this.rmField));
  }

  writeXmmRm(value: Expr, aligned = true): void {
    if (this.rmIsMemory) this.writeMemory128(this.rmAddress(), value, aligned);
    else this.storeV128(this.cpu, value, this.xmm(this.rmField));
  }

  readXmmRmLow(bytes: 4 | 8): Expr {
    if (!this.rmIsMemory) return this.loadLow(bytes, this.cpu, this.xmm(this.rmField));
    return this.loadLow(bytes, this.hostRead(this.rmAddress(), bytes), 0);
  }

  writeXmmRmLow(bytes: 4 | 8, value: Expr): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), bytes, value);
    else this.store(bytes, this.cpu, value, this.xmm(this.rmField));
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
      : this.gtU(target, this.constantField("i64", CPU.segments + CS * SEG.size + SEG.limit));
    this.if(bad, () => this.fault(VECTOR.gp, 0), undefined, false);
  }

  jump(target: Expr): void {
    this.ended = true;
    const settled = this.let(target);
    this.checkTarget(settled);
    this.exit(settled);
  }

  system(_operation: SystemOperation): void {
    throw new UnsupportedInstruction();
  }

  repeat(unit: () => void, { compares, truncated }: RepeatOptions): void {
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
          unit();
          const count = this.let(this.sub(this.readIndex(RCX), 1));
          this.writeIndex(RCX, count);
          // REPE (F3) goes on while ZF is 1, REPNE while it is 0.
          if (compares) this.brIf(end, this.ne(this.zf(), px & PX.rep ? 1 : 0));
          this.brIf(end, this.eqz(this.and(count, this.addressMask())));
          const clock = this.i32(0);
          const budget = this.load("i32", 4, clock, CLOCK.budget);
          this.if(this.leS(budget, 0), () => this.exit(this.startRip(), true), undefined, false);
          this.store(4, clock, this.sub(budget, 1), CLOCK.budget);
          this.br(again);
        }),
      ),
    );
  }

  portIn(port: Expr, bytes: Bytes): Expr {
    return this.u64(this.callSlow(this.parts.cold.portIn, this.wrap(port), this.i32(bytes))[0]!);
  }

  portOut(port: Expr, bytes: Bytes, value: Expr): void {
    this.callSlow(this.parts.cold.portOut, this.wrap(port), this.i32(bytes), this.wrap(value));
  }

  helper(name: string, ...operands: Operand[]): Expr {
    const target = this.parts.softfloat.get(name);
    if (target === undefined) throw new Error(`Portico bug: no helper ${name}`);
    return this.call(target, ...operands);
  }
}
