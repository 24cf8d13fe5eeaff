import type { Expr, FunctionRef, FunctionType, ModuleBuilder, Operand, Variable } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import { SYSTEM_OPERATIONS, type SystemOperation } from "../isa/system-operations.ts";
import { type Address, type Bytes, type OperandWidth, type RepeatOptions, X86 } from "../isa/x86.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { CPU, CS, DS, ONCE, PX, RCX, RDI, RSI, SEG, STOP, VECTOR } from "../state.ts";
import { type Helpers, hostAddress, overrideBase64, tlbEntry, tlbHit } from "./helpers.ts";
import { type CpuImports, RESULT } from "./imports.ts";

/** What an instruction sees of its encoding, and how it ends. */
export interface InstructionContext {
  readonly px: Expr;
  /** The opcode byte (i32). */
  readonly opcode: Expr;
  readonly modrm: Expr | undefined;
  /** Host address of the ModRM byte. */
  readonly modrmAt: Expr;
  readonly address: Address | undefined;
  readonly imm: Expr | undefined;
  readonly imm2: Expr | undefined;
  /** Host address of the next instruction. */
  readonly next: Expr;
  readonly ends: Ends;
}

export interface Ends {
  /** Abandoned: `CPU.stop` is set. */
  abandon(): void;
  /** Retired, the next instruction follows. */
  retire(next: Expr): void;
  /** Retired; `target` has been checked. */
  jump(target: Expr): void;
  /** What a system operation returned. */
  result(result: Expr): void;
}

export interface InterpreterModule {
  readonly module: ModuleBuilder;
  readonly imports: CpuImports;
  readonly softfloat: ReadonlyMap<string, FunctionRef>;
  readonly helpers: Helpers;
  /** System operations that generated code can often do itself: (cpu) → RESULT, or 0: TypeScript has to. */
  readonly quick: Map<SystemOperation, FunctionRef>;
}

/** Operand provider of the interpreter: operands are decoded at run time, registers live in the vCPU block. */
export class InterpreterBuilder extends X86 {
  readonly mode64: boolean;
  /** Set around each body by the generator. */
  context!: InstructionContext;
  /** In the main loop TLB hits are tested in place; in instruction functions by a call. */
  inlineMemory = false;
  private readonly parts: InterpreterModule;

  static create(parts: InterpreterModule, name: string, type: FunctionType, mode64: boolean): InterpreterBuilder {
    return parts.module.adopt((index) => new InterpreterBuilder(parts, name, type, index, mode64));
  }

  constructor(parts: InterpreterModule, name: string, type: FunctionType, index: number, mode64: boolean) {
    super(parts.module, name, type, index);
    this.parts = parts;
    this.mode64 = mode64;
  }

  get cpu(): Expr {
    return this.param(0);
  }

  // --- registers ------------------------------------------------------------------------------------------------

  private loadRegister(address: Expr, offset: number, width: OperandWidth): Expr {
    return this.load("i64", (width >> 3) as Bytes, address, offset);
  }

  private storeRegister(address: Expr, offset: number, value: Expr, width: OperandWidth): void {
    if (width === 32) this.store(8, address, this.zx(value, 32), offset);
    else this.store((width >> 3) as Bytes, address, value, offset);
  }

  /** Address of the register that a 3-bit field names; `field` is the number times 8, `rex` its fourth bit times 64. */
  private registerAddress(field: Expr, rex: Expr | undefined, width: OperandWidth): Expr {
    if (width !== 8) return this.add(this.cpu, rex ? this.or(field, rex) : field);
    // Without REX, 4-7 name AH-BH: byte 1 of registers 0-3.
    const high = this.or(this.and(field, 0x18), this.and(this.shrU(field, 5), 1));
    if (rex === undefined) return this.add(this.cpu, high);
    return this.add(this.cpu, this.select(this.and(this.px, PX.rex), this.or(field, rex), high));
  }

  private get px(): Expr {
    return this.context.px;
  }

  private get modrm(): Expr {
    return this.context.modrm!;
  }

  private regAddress(width: OperandWidth): Expr {
    const rex = this.mode64 ? this.shl(this.and(this.px, PX.rexR), 4) : undefined;
    return this.registerAddress(this.and(this.modrm, 0x38), rex, width);
  }

  private rmRegisterAddress(width: OperandWidth): Expr {
    const rex = this.mode64 ? this.shl(this.and(this.px, PX.rexB), 6) : undefined;
    return this.registerAddress(this.shl(this.and(this.modrm, 7), 3), rex, width);
  }

  private opcodeRegAddress(width: OperandWidth): Expr {
    const rex = this.mode64 ? this.shl(this.and(this.px, PX.rexB), 6) : undefined;
    return this.registerAddress(this.shl(this.and(this.context.opcode, 7), 3), rex, width);
  }

  get rmIsMemory(): boolean {
    return this.context.address !== undefined;
  }

  rmAddress(): Address {
    return this.context.address!;
  }

  rmAddressUses(register: number): Expr {
    // Only RSP is asked for: it needs a SIB byte with base 4 and no REX.B, and 32- or 64-bit addressing.
    const sib = this.load("i32", 1, this.modrmAt, 1);
    const hasSib = this.eq(this.and(this.modrm, 7), 4);
    const wide = this.mode64 ? this.eqz(this.and(this.px, PX.rexB)) : this.eqz(this.and(this.px, PX.addressSmall));
    return this.let(this.and(this.and(hasSib, wide), this.eq(this.and(sib, 7), register)));
  }

  private get modrmAt(): Expr {
    return this.context.modrmAt;
  }

  rmOffset(): Expr {
    return this.context.address!.offset;
  }

  readRm(width: OperandWidth = this.width): Expr {
    if (this.rmIsMemory) return this.readMemory(this.rmAddress(), (width >> 3) as Bytes);
    return this.loadRegister(this.rmRegisterAddress(width), 0, width);
  }

  writeRm(value: Expr, width: OperandWidth = this.width): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), (width >> 3) as Bytes, value);
    else this.storeRegister(this.rmRegisterAddress(width), 0, value, width);
  }

  updateRm(change: (old: Expr) => Expr, width: OperandWidth = this.width): void {
    if (this.rmIsMemory) {
      this.modifyMemory(this.rmAddress(), (width >> 3) as Bytes, change);
      return;
    }
    const address = this.let(this.rmRegisterAddress(width));
    this.storeRegister(address, 0, change(this.loadRegister(address, 0, width)), width);
  }

  readReg(width: OperandWidth = this.width): Expr {
    return this.loadRegister(this.regAddress(width), 0, width);
  }

  writeReg(value: Expr, width: OperandWidth = this.width): void {
    this.storeRegister(this.regAddress(width), 0, value, width);
  }

  regNumber(): Expr {
    const number = this.and(this.shrU(this.modrm, 3), 7);
    return this.mode64 ? this.or(number, this.shl(this.and(this.px, PX.rexR), 1)) : number;
  }

  rmNumber(): Expr {
    const number = this.and(this.modrm, 7);
    return this.mode64 ? this.or(number, this.shl(this.and(this.px, PX.rexB), 3)) : number;
  }

  readOpcodeReg(width: OperandWidth = this.width): Expr {
    return this.loadRegister(this.opcodeRegAddress(width), 0, width);
  }

  writeOpcodeReg(value: Expr, width: OperandWidth = this.width): void {
    this.storeRegister(this.opcodeRegAddress(width), 0, value, width);
  }

  get imm(): Expr {
    return this.context.imm!;
  }

  get imm2(): Expr {
    return this.context.imm2!;
  }

  readGpr(register: number, width: OperandWidth = this.width): Expr {
    return this.loadRegister(this.cpu, CPU.gpr + register * 8, width);
  }

  writeGpr(register: number, value: Expr, width: OperandWidth = this.width): void {
    this.storeRegister(this.cpu, CPU.gpr + register * 8, value, width);
  }

  readAh(): Expr {
    return this.load("i64", 1, this.cpu, CPU.gpr + 1);
  }

  writeAh(value: Expr): void {
    this.store(1, this.cpu, value, CPU.gpr + 1);
  }

  rexW(): Expr {
    return this.and(this.px, PX.rexW);
  }

  prefixes(): Expr {
    return this.px;
  }

  addressMask(): Expr {
    const small = this.and(this.px, PX.addressSmall);
    return this.mode64
      ? this.select(small, this.i64(0xffff_ffff), this.i64(-1))
      : this.select(small, this.i64(0xffff), this.i64(0xffff_ffff));
  }

  // --- memory ---------------------------------------------------------------------------------------------------

  private linear(address: Address, bytes: number, write: boolean, displacement: number): Expr {
    const offset = displacement === 0 ? address.offset : this.add(address.offset, displacement);
    if (this.mode64) return this.let(offset);
    const { segment } = address;
    const flat = this.and(this.shrU(this.field("i32", CPU.flatSegments), segment), 1);
    // Each part of an operand wraps at the address size for itself, as silicon has it.
    const plain = displacement === 0 ? this.let(offset) : this.let(this.and(offset, this.addressMask()));
    return this.choose(
      "i64",
      flat,
      () => plain,
      () => {
        const linear = this.call(this.parts.helpers.segment, this.cpu, segment, plain, bytes, write ? 1 : 0);
        this.if(this.eq(linear, -1), () => this.abandon(), undefined, false);
        return linear;
      },
      true,
    );
  }

  private abandonUnless(ok: Expr): void {
    this.if(this.eqz(ok), () => this.abandon(), undefined, false);
  }

  private hostOf(kind: "read" | "modify", linear: Expr, bytes: number): Expr {
    const { helpers } = this.parts;
    if (!this.inlineMemory) {
      const host = this.call(kind === "read" ? helpers.hostRead : helpers.hostModify, this.cpu, linear, bytes);
      this.abandonUnless(host);
      return host;
    }
    const entry = tlbEntry(this, this.cpu, linear);
    const tag = kind === "read" ? TLB_ENTRY.readTag : TLB_ENTRY.writeTag;
    return this.choose(
      "i32",
      tlbHit(this, entry, tag, linear, bytes),
      () => hostAddress(this, entry, linear),
      () => {
        const host = this.call(kind === "read" ? helpers.readMiss : helpers.modifyMiss, this.cpu, linear, bytes);
        this.abandonUnless(host);
        return host;
      },
      true,
    );
  }

  readMemory(address: Address, bytes: Bytes, displacement = 0): Expr {
    return this.load("i64", bytes, this.hostOf("read", this.linear(address, bytes, false, displacement), bytes));
  }

  hostRead(address: Address, bytes: number): Expr {
    return this.hostOf("read", this.linear(address, bytes, false, 0), bytes);
  }

  override plainHost(address: Address, bytes: number, write: boolean): Expr {
    const entry = tlbEntry(this, this.cpu, address.offset);
    let plain = tlbHit(this, entry, write ? TLB_ENTRY.writeTag : TLB_ENTRY.readTag, address.offset, bytes);
    // In a flat segment an offset is a linear address.
    if (!this.mode64) plain = this.and(plain, this.shrU(this.field("i32", CPU.flatSegments), address.segment));
    return this.let(this.select(plain, hostAddress(this, entry, address.offset), this.i32(0)));
  }

  private linear128(address: Address, write: boolean, aligned: boolean): Expr {
    if (aligned) {
      // Before the limit: through SS too it is #GP.
      let linear = address.offset;
      if (!this.mode64) {
        const segment = this.add(this.cpu, this.mul(address.segment, SEG.size));
        linear = this.add(linear, this.load("i64", 8, segment, CPU.segments + SEG.base));
      }
      this.if(this.and(this.wrap(linear), 15), () => this.fault(VECTOR.gp, 0), undefined, false);
    }
    return this.linear(address, 16, write, 0);
  }

  readMemory128(address: Address, aligned = false): Expr {
    return this.loadV128(this.hostOf("read", this.linear128(address, false, aligned), 16));
  }

  private storeAt(address: Expr, offset: number, bytes: number, value: Expr): void {
    if (value.type === "v128") this.storeV128(address, value, offset);
    else this.store(bytes as Bytes, address, value, offset);
  }

  private writeLinear(linear: Expr, bytes: number, value: Expr): void {
    const { helpers } = this.parts;
    if (this.inlineMemory) {
      const entry = tlbEntry(this, this.cpu, linear);
      this.if(
        tlbHit(this, entry, TLB_ENTRY.writeTag, linear, bytes),
        () => this.storeAt(hostAddress(this, entry, linear), 0, bytes, value),
        () => {
          this.storeAt(this.cpu, CPU.scratch, bytes, value);
          this.abandonUnless(this.call(helpers.writeMiss, this.cpu, linear, bytes));
        },
        true,
      );
      return;
    }
    const host = this.call(helpers.hostWrite, this.cpu, linear, bytes);
    this.if(
      host,
      () => this.storeAt(host, 0, bytes, value),
      () => {
        this.storeAt(this.cpu, CPU.scratch, bytes, value);
        this.abandonUnless(this.call(helpers.writeSlow, this.cpu, linear, bytes));
      },
      true,
    );
  }

  writeMemory(address: Address, bytes: Bytes, value: Expr, displacement = 0): void {
    this.writeLinear(this.linear(address, bytes, true, displacement), bytes, this.let(value));
  }

  writeMemory128(address: Address, value: Expr, aligned = false): void {
    this.writeLinear(this.linear128(address, true, aligned), 16, this.let(value));
  }

  modifyMemory(address: Address, bytes: Bytes, change: (old: Expr) => Expr): void {
    const host = this.hostOf("modify", this.linear(address, bytes, true, 0), bytes);
    this.store(bytes, host, change(this.load("i64", bytes, host)));
    this.if(
      this.eq(host, this.fieldAddress(CPU.scratch)),
      () => this.abandonUnless(this.call(this.parts.imports.commitModify, this.cpu)),
      undefined,
      false,
    );
  }

  proveWritable(address: Address, bytes: number): void {
    const { helpers } = this.parts;
    const linear = this.linear(address, bytes, true, 0);
    const host = this.call(helpers.hostWrite, this.cpu, linear, bytes);
    this.if(
      this.eqz(host),
      () => this.abandonUnless(this.call(helpers.proveSlow, this.cpu, linear, bytes)),
      undefined,
      false,
    );
  }

  dataAddress(offset: Expr, defaultSegment: number, overridable: boolean): Address {
    const segment = this.i32(defaultSegment);
    if (this.mode64) {
      if (!overridable) return { offset, segment, linear: true };
      return { offset: this.let(this.add(offset, overrideBase64(this, this.cpu, this.px))), segment, linear: true };
    }
    if (!overridable) return { offset, segment };
    const override = this.let(this.and(this.shrU(this.px, PX.segmentShift), 7));
    return { offset, segment: this.let(this.select(override, this.sub(override, 1), segment)) };
  }

  // --- SIMD registers -------------------------------------------------------------------------------------------

  /** 16 times the register number, plus the base of the block. */
  private xmmRegAddress(): Expr {
    const number = this.shl(this.and(this.modrm, 0x38), 1);
    return this.add(this.cpu, this.mode64 ? this.or(number, this.shl(this.and(this.px, PX.rexR), 5)) : number);
  }

  private xmmRmAddress(): Expr {
    const number = this.shl(this.and(this.modrm, 7), 4);
    return this.add(this.cpu, this.mode64 ? this.or(number, this.shl(this.and(this.px, PX.rexB), 7)) : number);
  }

  private loadLow(bytes: 4 | 8, address: Expr, offset: number): Expr {
    return this.load(bytes === 4 ? "i32" : "i64", bytes, address, offset);
  }

  readXmm(register: number): Expr {
    return this.loadV128(this.cpu, CPU.xmm + register * 16);
  }

  writeXmm(register: number, value: Expr): void {
    this.storeV128(this.cpu, value, CPU.xmm + register * 16);
  }

  readXmmReg(): Expr {
    return this.loadV128(this.xmmRegAddress(), CPU.xmm);
  }

  writeXmmReg(value: Expr): void {
    this.storeV128(this.xmmRegAddress(), value, CPU.xmm);
  }

  readXmmRegLow(bytes: 4 | 8): Expr {
    return this.loadLow(bytes, this.xmmRegAddress(), CPU.xmm);
  }

  writeXmmRegPart(bytes: 4 | 8, value: Expr, at = 0): void {
    this.store(bytes, this.xmmRegAddress(), value, CPU.xmm + at);
  }

  readXmmRm(aligned = true): Expr {
    if (this.rmIsMemory) return this.readMemory128(this.rmAddress(), aligned);
    return this.loadV128(this.xmmRmAddress(), CPU.xmm);
  }

  writeXmmRm(value: Expr, aligned = true): void {
    if (this.rmIsMemory) this.writeMemory128(this.rmAddress(), value, aligned);
    else this.storeV128(this.xmmRmAddress(), value, CPU.xmm);
  }

  readXmmRmLow(bytes: 4 | 8): Expr {
    if (!this.rmIsMemory) return this.loadLow(bytes, this.xmmRmAddress(), CPU.xmm);
    return this.loadLow(bytes, this.hostRead(this.rmAddress(), bytes), 0);
  }

  writeXmmRmLow(bytes: 4 | 8, value: Expr): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), bytes, value);
    else this.store(bytes, this.xmmRmAddress(), value, CPU.xmm);
  }

  private mmxRegAddress(): Expr {
    return this.add(this.cpu, this.shl(this.and(this.modrm, 0x38), 1));
  }

  private mmxRmAddress(): Expr {
    return this.add(this.cpu, this.shl(this.and(this.modrm, 7), 4));
  }

  private storeMmx(address: Expr, value: Expr): void {
    this.store(8, address, value, CPU.fpu);
    this.store(2, address, this.i32(0xffff), CPU.fpu + 8);
  }

  readMmxReg(): Expr {
    return this.load("i64", 8, this.mmxRegAddress(), CPU.fpu);
  }

  writeMmxReg(value: Expr): void {
    this.storeMmx(this.mmxRegAddress(), value);
  }

  readMmxRm(bytes: 4 | 8 = 8): Expr {
    if (this.rmIsMemory) return this.readMemory(this.rmAddress(), bytes);
    return this.load("i64", bytes, this.mmxRmAddress(), CPU.fpu);
  }

  writeMmxRm(value: Expr): void {
    if (this.rmIsMemory) this.writeMemory(this.rmAddress(), 8, value);
    else this.storeMmx(this.mmxRmAddress(), value);
  }

  collectExceptions(packed: boolean): Expr {
    return this.callMulti(this.parts.helpers.collect, this.cpu, packed ? 1 : 0)[0]!;
  }

  // --- state ----------------------------------------------------------------------------------------------------

  field(type: "i32" | "i64", offset: number): Expr {
    return this.load(type, type === "i32" ? 4 : 8, this.cpu, offset);
  }

  setField(type: "i32" | "i64", offset: number, value: Operand): void {
    this.store(type === "i32" ? 4 : 8, this.cpu, this.of(type, value), offset);
  }

  fieldAddress(offset: number): Expr {
    return this.add(this.cpu, offset);
  }

  flagsResult(): Expr {
    return this.field("i64", CPU.flagsResult);
  }

  flagsCarry(): Expr {
    return this.field("i32", CPU.flagsCarry);
  }

  setFlags(result: Expr, carry: Expr): void {
    this.setField("i64", CPU.flagsResult, result);
    this.setField("i32", CPU.flagsCarry, carry);
  }

  systemFlags(): Expr {
    return this.field("i32", CPU.eflags);
  }

  stackMask(): Expr {
    return this.field("i64", CPU.stackMask);
  }

  cpl(): Expr {
    return this.field("i32", CPU.cpl);
  }

  // --- control --------------------------------------------------------------------------------------------------

  nextRip(): Expr {
    return this.let(this.add(this.u64(this.context.next), this.field("i64", CPU.ripBias)));
  }

  startRip(): Expr {
    return this.let(this.add(this.u64(this.field("i32", CPU.startPc)), this.field("i64", CPU.ripBias)));
  }

  escapeOpcode(): Expr {
    return this.or(this.shl(this.and(this.context.opcode, 7), 8), this.modrm);
  }

  checkTarget(target: Expr): void {
    const bad = this.mode64
      ? this.ne(this.shrS(this.shl(target, 16), 16), target)
      : this.gtU(target, this.field("i64", CPU.segments + CS * SEG.size + SEG.limit));
    this.if(bad, () => this.fault(VECTOR.gp, 0), undefined, false);
  }

  jump(target: Expr): void {
    this.context.ends.jump(this.let(target));
  }

  fault(vector: Operand, errorCode = -1): void {
    this.setField("i32", CPU.stop, STOP.fault);
    this.setField("i32", CPU.vector, vector);
    this.setField("i32", CPU.errorCode, errorCode);
    this.abandon();
  }

  abandon(): void {
    this.context.ends.abandon();
  }

  system(operation: SystemOperation, ...operands: Expr[]): void {
    operands.forEach((operand, position) => {
      this.setField("i64", CPU.args + position * 8, operand);
    });
    this.setField("i64", CPU.rip, this.nextRip());
    const quick = this.parts.quick.get(operation);
    if (quick !== undefined) {
      const done = this.call(quick, this.cpu);
      this.if(done, () => this.context.ends.result(done), undefined, true);
    }
    const id = SYSTEM_OPERATIONS.indexOf(operation);
    this.context.ends.result(this.call(this.parts.imports.system, this.cpu, id, this.px));
  }

  repeat(unit: () => void, { compares, truncated, bulk }: RepeatOptions): void {
    const { context } = this;
    const { ends, next } = context;
    this.if(
      this.and(this.px, PX.rep | PX.repne),
      () => {
        if (this.mode64) {
          this.if(
            this.and(this.px, PX.addressSmall),
            () => {
              for (const register of [RCX, ...truncated]) this.writeIndex(register, this.readIndex(register));
            },
            undefined,
            false,
          );
        }
        let restoreFlags = () => {};
        if (compares) {
          const result = this.let(this.flagsResult());
          const carry = this.let(this.flagsCarry());
          restoreFlags = () => this.setFlags(result, carry);
          const abandon = () => {
            restoreFlags();
            ends.abandon();
          };
          this.context = { ...context, ends: { ...ends, abandon } };
        }
        this.loop((again) => {
          this.scope(() => {
            this.if(this.eqz(this.readIndex(RCX)), () => ends.retire(next));
            let done: Expr = this.i64(1);
            if (bulk === undefined) unit();
            else {
              const units = this.variable("i64", 0);
              this.bulk(bulk, units);
              this.if(this.eqz(this.get(units)), () => {
                unit();
                this.set(units, 1);
              });
              done = this.snapshot(units);
            }
            const count = this.let(this.sub(this.readIndex(RCX), done));
            this.writeIndex(RCX, count);
            if (compares) {
              // REPE (F3) goes on while ZF is 1, REPNE while it is 0.
              const wanted = this.ne(this.and(this.px, PX.rep), 0);
              this.if(this.ne(this.zf(), wanted), () => ends.retire(next));
            }
            this.if(this.eqz(this.and(count, this.addressMask())), () => ends.retire(next));
            // Each further unit is retired like an instruction of its own; without budget the instruction starts again.
            const clock = this.i32(0);
            const budget = this.load("i32", 4, clock, CLOCK.budget);
            this.if(this.leS(budget, 0), () => {
              restoreFlags();
              this.setField("i32", CPU.once, ONCE.repeat);
              this.setField("i32", CPU.onceBudget, budget);
              ends.retire(this.field("i32", CPU.startPc));
            });
            this.store(4, clock, this.sub(budget, 1), CLOCK.budget);
          });
          this.br(again);
        });
        this.context = context;
      },
      unit,
    );
  }

  /** MOVS and STOS upwards, see `bulkFunction`: `units` becomes how many were done; each counts like an instruction. */
  private bulk(kind: "move" | "store", units: Variable): void {
    const shift = Math.log2(this.bytes);
    const source = this.dataAddress(this.readIndex(RSI), DS, true);
    let simple = this.eqz(this.and(this.px, PX.addressSmall));
    if (!this.mode64) {
      const flat = this.field("i32", CPU.flatSegments);
      const segments = kind === "move" ? this.shrU(flat, source.segment) : flat;
      simple = this.and(simple, this.and(flat, segments));
    }
    const value = kind === "store" ? this.readAcc() : this.i64(0);
    this.if(simple, () => {
      const clock = this.i32(0);
      const budget = this.load("i32", 4, clock, CLOCK.budget);
      const [to, from] = [this.readIndex(RDI), this.let(source.offset)];
      const flags = shift | (kind === "store" ? 4 : 0);
      const done = this.call(this.parts.helpers.bulk, this.cpu, to, from, this.readIndex(RCX), value, budget, flags);
      this.if(this.ne(done, 0), () => {
        const bytes = this.let(this.shl(done, shift));
        this.writeIndex(RDI, this.add(to, bytes));
        if (kind === "move") this.writeIndex(RSI, this.add(this.readIndex(RSI), bytes));
        this.store(4, clock, this.sub(budget, this.sub(this.wrap(done), 1)), CLOCK.budget);
        this.set(units, done);
      });
    });
  }

  private abandonIfStopped(): void {
    this.if(this.field("i32", CPU.stop), () => this.abandon(), undefined, false);
  }

  portIn(port: Expr, bytes: Bytes): Expr {
    const value = this.call(this.parts.imports.portIn, this.cpu, this.wrap(port), bytes);
    this.abandonIfStopped();
    return this.u64(value);
  }

  portOut(port: Expr, bytes: Bytes, value: Expr): void {
    this.call(this.parts.imports.portOut, this.cpu, this.wrap(port), bytes, this.wrap(value));
    this.abandonIfStopped();
  }

  helper(name: string, ...operands: Operand[]): Expr {
    const target = this.parts.softfloat.get(name);
    if (target === undefined) throw new Error(`Portico bug: no helper ${name}`);
    return this.call(target, ...operands);
  }
}

/** How instruction functions end: with a RESULT or the address of the next instruction. */
export function functionEnds(x: InterpreterBuilder): Ends {
  return {
    abandon: () => x.return(x.i32(RESULT.abandoned)),
    retire: (next) => x.return(next),
    jump: (target) => {
      x.checkTarget(target);
      x.setField("i64", CPU.rip, target);
      x.return(x.i32(RESULT.refetch));
    },
    result: (result) => x.return(result),
  };
}
