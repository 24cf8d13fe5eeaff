import { type Expr, FunctionBuilder, type Operand, type ValueType } from "../../emit/index.ts";
import { CLOCK, CLOCK_RATE_SHIFT } from "../../memory/layout.ts";
import { CPU, FLAG, RAX, RCX, RSP, SS, VECTOR } from "../state.ts";
import { isQuiet } from "./mxcsr.ts";
import type { SystemOperation } from "./system-operations.ts";

/** Operand width in bits. */
export type OperandWidth = 8 | 16 | 32 | 64;
export type Bytes = 1 | 2 | 4 | 8;

/** A memory operand: offset within a segment. In 64-bit mode a provider may already have added the segment base. */
export interface Address {
  readonly offset: Expr;
  /** Segment register number (i32). */
  readonly segment: Expr;
  /** 64-bit mode: the offset is a linear address, FS and GS bases included. */
  readonly linear?: boolean;
}

export interface RepeatOptions {
  /**
   * CMPS and SCAS: ZF ends it. A fault leaves the flags as they were before the first unit (SDM vol 2, REP), and so does
   * a trap or an interrupt between two units, as seen on silicon.
   */
  readonly compares: boolean;
  /**
   * Registers that 32-bit addresses in 64-bit mode zero-extend even when no unit completes: RCX always, and these (as
   * silicon does; the SDM is silent).
   */
  readonly truncated: readonly number[];
  /** MOVS and STOS: units within a page may be done at once, with the same effect. */
  readonly bulk?: "move" | "store";
}

/**
 * The vocabulary that instruction definitions are written in. What differs between the interpreter and the compiler is
 * the operand provider, a subclass; the definitions are the same.
 *
 * Values are i64. A read gives the operand zero-extended; a write takes the low bits, whatever lies above. A definition
 * does everything that can fault before it writes a register or a flag.
 */
export abstract class X86 extends FunctionBuilder {
  /** True: code for 64-bit mode; false: real, V86, protected and compatibility mode. */
  abstract readonly mode64: boolean;
  /** Operand width of the form being generated. */
  width: OperandWidth = 32;

  // --- operands -------------------------------------------------------------------------------------------------

  /** Whether the r/m operand is memory: known when a definition is generated. */
  abstract readonly rmIsMemory: boolean;
  /** The address of a memory r/m operand. */
  abstract rmAddress(): Address;
  /** i32: non-zero when the base of the memory r/m operand is this register (POP with a stack-relative destination). */
  abstract rmAddressUses(register: number): Expr;
  /** The offset alone, for LEA: no segment base, truncated to the address size. */
  abstract rmOffset(): Expr;
  abstract readRm(width?: OperandWidth): Expr;
  abstract writeRm(value: Expr, width?: OperandWidth): void;
  /** Read-modify-write: write permission is proven before the read. `change` may not write registers or flags. */
  abstract updateRm(change: (old: Expr) => Expr, width?: OperandWidth): void;
  /** The register named by ModRM.reg. */
  abstract readReg(width?: OperandWidth): Expr;
  abstract writeReg(value: Expr, width?: OperandWidth): void;
  /** ModRM.reg as a number (i32), REX.R included. */
  abstract regNumber(): Expr;
  /** ModRM.rm as a number (i32), REX.B included; meaningful for a register operand. */
  abstract rmNumber(): Expr;
  /** The register named by the low bits of the opcode. */
  abstract readOpcodeReg(width?: OperandWidth): Expr;
  abstract writeOpcodeReg(value: Expr, width?: OperandWidth): void;
  /** Immediate, sign-extended to 64 bits (i64); `second` the one after it (ENTER, far pointers). */
  abstract readonly imm: Expr;
  abstract readonly imm2: Expr;
  /** A register by its number; width 8 means AL..BL, SPL.. (never AH..BH). */
  abstract readGpr(register: number, width?: OperandWidth): Expr;
  abstract writeGpr(register: number, value: Expr, width?: OperandWidth): void;
  /** AH, for the few instructions that name it. */
  abstract readAh(): Expr;
  abstract writeAh(value: Expr): void;
  /** i32: non-zero when REX.W was given. */
  abstract rexW(): Expr;
  /** i32: prefix bits, see PX; for instructions whose prefixes choose their meaning. */
  abstract prefixes(): Expr;
  /** Mask of the address size: 0xFFFF, 0xFFFFFFFF or -1 (i64). */
  abstract addressMask(): Expr;

  // --- memory ---------------------------------------------------------------------------------------------------

  /** Loads zero-extended. Faults leave the instruction. */
  abstract readMemory(address: Address, bytes: Bytes, displacement?: number): Expr;
  abstract writeMemory(address: Address, bytes: Bytes, value: Expr, displacement?: number): void;
  abstract modifyMemory(address: Address, bytes: Bytes, change: (old: Expr) => Expr): void;
  /** i32 host address of `bytes` readable bytes (a scratch copy where they are not plain RAM). */
  abstract hostRead(address: Address, bytes: number): Expr;
  /**
   * i32 host address of `bytes` bytes of ordinary memory in one page that may be read (or written) as they are, or 0: then
   * a slow path has to look. Never faults. Providers without a fast way always give 0.
   */
  plainHost(_address: Address, _bytes: number, _write: boolean): Expr {
    return this.i32(0);
  }
  /** Faults now if a later write of up to 16 bytes there would. */
  abstract proveWritable(address: Address, bytes: number): void;
  /** 16 bytes; `aligned`: #GP(0) at an address that is not a multiple of 16. */
  abstract readMemory128(address: Address, aligned?: boolean): Expr;
  abstract writeMemory128(address: Address, value: Expr, aligned?: boolean): void;
  /** Address DS:offset or another default segment, the override prefix honoured. */
  abstract dataAddress(offset: Expr, defaultSegment: number, overridable: boolean): Address;

  // --- SIMD registers: XMM as v128, low parts as i32 (4 bytes) and i64 (8 bytes); MMX as i64 ----------------------

  /** An XMM register by its number. */
  abstract readXmm(register: number): Expr;
  abstract writeXmm(register: number, value: Expr): void;
  /** The XMM register named by ModRM.reg. */
  abstract readXmmReg(): Expr;
  abstract writeXmmReg(value: Expr): void;
  abstract readXmmRegLow(bytes: 4 | 8): Expr;
  /** Replaces bytes from `at` on, keeps the others. */
  abstract writeXmmRegPart(bytes: 4 | 8, value: Expr, at?: number): void;
  /** Register or 16 bytes of memory, which must be aligned (#GP(0)) unless told otherwise. */
  abstract readXmmRm(aligned?: boolean): Expr;
  abstract writeXmmRm(value: Expr, aligned?: boolean): void;
  /** Low part of a register, or memory of that size at any address. */
  abstract readXmmRmLow(bytes: 4 | 8): Expr;
  abstract writeXmmRmLow(bytes: 4 | 8, value: Expr): void;
  /** The MMX register named by ModRM.reg; writing sets the exponent of its x87 register to ones. */
  abstract readMmxReg(): Expr;
  abstract writeMmxReg(value: Expr): void;
  /** MMX register or memory of `bytes`. */
  abstract readMmxRm(bytes?: 4 | 8): Expr;
  abstract writeMmxRm(value: Expr): void;

  // --- state by offset (see CPU in state.ts) ----------------------------------------------------------------------

  abstract field(type: "i32" | "i64", offset: number): Expr;
  abstract setField(type: "i32" | "i64", offset: number, value: Operand): void;
  /** i32 host address of a field, for helpers that take pointers. */
  abstract fieldAddress(offset: number): Expr;

  // --- MXCSR ----------------------------------------------------------------------------------------------------

  /** See `isQuiet`. */
  isQuiet(): Expr {
    return isQuiet(this, this.field("i32", CPU.mxcsr));
  }
  writeMxcsr(value: Expr): void {
    this.setField("i32", CPU.mxcsr, value);
  }
  /** MXCSR takes what soft-float functions have raised. i32: the vector of the exception that follows, or 0. */
  abstract collectExceptions(packed: boolean): Expr;

  // --- flags ----------------------------------------------------------------------------------------------------

  abstract flagsResult(): Expr;
  abstract flagsCarry(): Expr;
  /** `result` i64, sign-extended; `carry` i32, see CPU.flagsCarry. */
  abstract setFlags(result: Expr, carry: Expr): void;
  /** i32: the EFLAGS register without the arithmetic flags. */
  abstract systemFlags(): Expr;

  // --- control --------------------------------------------------------------------------------------------------

  /** i64: address of the next instruction. */
  abstract nextRip(): Expr;
  /** i64: address of this instruction, prefixes included. */
  abstract startRip(): Expr;
  /** i32: low three bits of the opcode, then the ModRM byte: the x87 opcode register. */
  abstract escapeOpcode(): Expr;
  /** Ends the instruction at `target` (an offset in CS, already truncated to the operand size). */
  abstract jump(target: Expr): void;
  /** Faults now if a near branch to `target` would (limit, canonical form). */
  abstract checkTarget(target: Expr): void;
  /** Abandons the instruction with an exception. `errorCode` only for vectors that have one. */
  abstract fault(vector: Operand, errorCode?: number): void;
  /** Leaves the instruction: a helper has set `stop` and its operands. */
  abstract abandon(): void;
  /**
   * A slow path in TypeScript, by name, with i64 operands. It takes care of everything: the rest of the instruction is
   * not executed.
   */
  abstract system(operation: SystemOperation, ...operands: Expr[]): void;
  /** String instruction: `unit` once, or under REP until CX is 0 (or ZF stops it, with `compares`). */
  abstract repeat(unit: () => void, options: RepeatOptions): void;
  /** Port access of 1, 2 or 4 bytes; includes the permission check. */
  abstract portIn(port: Expr, bytes: Bytes): Expr;
  abstract portOut(port: Expr, bytes: Bytes, value: Expr): void;
  /** Calls a helper function of another module by name. */
  abstract helper(name: string, ...operands: Operand[]): Expr;

  /** A check whose outcome only system operations change. */
  checkOnce(_name: string, check: () => void): void {
    check();
  }

  /** Like `choose`: `usual` where all of several conditions (i32) hold, which they mostly do. Neither writes registers. */
  chooseIfAll(type: ValueType, conditions: readonly Expr[], usual: () => Expr, otherwise: () => Expr): Expr {
    const all = conditions.reduce((some, one) => this.and(some, one));
    return this.choose(type, all, usual, otherwise, true);
  }

  // === derived vocabulary =========================================================================================

  get bytes(): Bytes {
    return (this.width >> 3) as Bytes;
  }

  /** Zero-extends the low `width` bits. */
  zx(value: Expr, width: OperandWidth = this.width): Expr {
    if (width === 64) return value;
    if (width === 32) return this.u64(this.wrap(value));
    return this.and(value, width === 16 ? 0xffff : 0xff);
  }

  /** Sign-extends the low `width` bits. */
  sx(value: Expr, width: OperandWidth = this.width): Expr {
    if (width === 64) return value;
    if (width === 32) return this.extend32S(value);
    return width === 16 ? this.extend16S(value) : this.extend8S(value);
  }

  readAcc(width: OperandWidth = this.width): Expr {
    return this.readGpr(RAX, width);
  }

  writeAcc(value: Expr, width: OperandWidth = this.width): void {
    this.writeGpr(RAX, value, width);
  }

  /** Moves bits `width-1` and `width-2` of a carry-out vector to 31 and 30, keeps bit 3. */
  private carryOut(vector: Expr): Expr {
    const { width } = this;
    if (width === 64) {
      const v = this.let(vector);
      return this.wrap(this.or(this.and(this.shrU(v, 32), 0xc000_0000n), this.and(v, 8)));
    }
    const v = this.let(this.wrap(vector));
    if (width === 32) return this.and(v, 0xc000_0008 | 0);
    return this.or(this.and(this.shl(v, 32 - width), 0xc000_0000 | 0), this.and(v, 8));
  }

  /** Flags of `sum = a + b (+ carry)`. */
  flagsAdd(a: Expr, b: Expr, sum: Expr): void {
    const s = this.let(sum);
    const vector = this.or(this.and(a, b), this.and(this.or(a, b), this.xor(s, -1)));
    this.setFlags(this.sx(s), this.carryOut(vector));
  }

  /** Flags of `difference = a - b (- borrow)`. */
  flagsSub(a: Expr, b: Expr, difference: Expr): void {
    const d = this.let(difference);
    const notA = this.let(this.xor(a, -1));
    const vector = this.or(this.and(notA, b), this.and(this.or(notA, b), d));
    this.setFlags(this.sx(d), this.carryOut(vector));
  }

  /** INC and DEC: as ADD and SUB, but CF stays. */
  flagsKeepCarry(compute: () => void): void {
    const cf = this.let(this.cf());
    compute();
    const carry = this.let(this.flagsCarry());
    // bit 30 is CF xor OF: it flips together with CF.
    const changed = this.xor(this.shrU(carry, 31), cf);
    this.setFlags(this.let(this.flagsResult()), this.xor(carry, this.mul(changed, 0xc000_0000 | 0)));
  }

  /** AND, OR, XOR, TEST: CF = OF = 0 (AF is undefined: 0). */
  flagsLogic(result: Expr): void {
    this.setFlags(this.sx(result), this.i32(0));
  }

  /** Flags with CF, OF and AF given as i32 0 or 1. */
  flagsFrom(result: Expr, cf: Expr, of: Expr, af?: Expr): void {
    const c = this.let(cf);
    let carry = this.or(this.shl(c, 31), this.shl(this.xor(c, of), 30));
    if (af !== undefined) carry = this.or(carry, this.shl(af, 3));
    this.setFlags(this.sx(result), carry);
  }

  /** All six arithmetic flags from an EFLAGS image (i32). */
  flagsFromImage(image: Expr): void {
    const e = this.let(image);
    const bit = (shift: number) => this.and(this.shrU(e, shift), 1);
    const zf = this.let(bit(6));
    const carry = this.or(
      this.or(this.shl(e, 31), this.shl(this.xor(bit(0), bit(11)), 30)),
      this.or(this.or(this.shl(bit(4), 3), bit(7)), this.shl(this.xor(bit(2), zf), 8)),
    );
    this.setFlags(this.u64(this.xor(zf, 1)), carry);
  }

  /** The six arithmetic flags as in EFLAGS (i32). */
  flagsImage(): Expr {
    const parts = [
      this.cf(),
      this.shl(this.pf(), 2),
      this.shl(this.af(), 4),
      this.shl(this.zf(), 6),
      this.shl(this.sf(), 7),
      this.shl(this.of_(), 11),
    ];
    return this.let(parts.reduce((all, part) => this.or(all, part)));
  }

  /** Sets some of the arithmetic flags (mask as in EFLAGS) from an image, keeps the others. */
  flagsMerge(image: Expr, mask: number): void {
    const old = this.flagsImage();
    this.flagsFromImage(this.or(this.and(old, ~mask), this.and(image, mask)));
  }

  cf(): Expr {
    return this.shrU(this.flagsCarry(), 31);
  }
  of_(): Expr {
    const carry = this.let(this.flagsCarry());
    return this.shrU(this.xor(carry, this.shl(carry, 1)), 31);
  }
  zf(): Expr {
    return this.eqz(this.flagsResult());
  }
  sf(): Expr {
    return this.xor(this.wrap(this.shrU(this.flagsResult(), 63)), this.and(this.flagsCarry(), 1));
  }
  pf(): Expr {
    const byte = this.and(this.xor(this.wrap(this.flagsResult()), this.shrU(this.flagsCarry(), 8)), 0xff);
    return this.and(this.xor(this.popcnt(byte), 1), 1);
  }
  af(): Expr {
    return this.and(this.shrU(this.flagsCarry(), 3), 1);
  }

  /** Condition code 0..15 (SDM vol 2, appendix B.1.4.7) as i32 0 or 1. */
  condition(code: number): Expr {
    let value: Expr;
    switch (code >> 1) {
      case 0:
        value = this.of_();
        break;
      case 1:
        value = this.cf();
        break;
      case 2:
        value = this.zf();
        break;
      case 3:
        value = this.or(this.cf(), this.zf());
        break;
      case 4:
        value = this.sf();
        break;
      case 5:
        value = this.pf();
        break;
      case 6:
        value = this.xor(this.sf(), this.of_());
        break;
      default:
        value = this.or(this.zf(), this.xor(this.sf(), this.of_()));
        break;
    }
    return code & 1 ? this.eqz(value) : value;
  }

  /** i32: instructions that may retire after this one, before the run loop is left. */
  budgetLeft(): Expr {
    return this.load("i32", 4, this.i32(0), CLOCK.budget);
  }

  /** i32: port instructions are for the monitor, see CPU.ioExits. */
  ioExits(): Expr {
    return this.field("i32", CPU.ioExits);
  }

  /** i64: virtual time in ns, which is the time stamp counter before IA32_TSC_ADJUST. */
  virtualTime(): Expr {
    const zero = this.i32(0);
    const word = (address: number) => this.load("i32", 4, zero, address);
    const executed = this.sub(word(CLOCK.sliceBudget), this.budgetLeft());
    const elapsed = this.shrU(this.mul(this.s64(executed), this.u64(word(CLOCK.rate))), CLOCK_RATE_SHIFT);
    // At once: time goes on.
    return this.capture(this.add(this.load("i64", 8, zero, CLOCK.baseNs), elapsed));
  }

  // --- stack ----------------------------------------------------------------------------------------------------

  abstract stackMask(): Expr;

  /** SS:offset on the stack. */
  stackAddress(offset: Expr): Address {
    return { offset, segment: this.i32(SS), linear: this.mode64 };
  }

  /** RSP with its low part (by stack width) replaced. */
  writeStackPointer(value: Expr): void {
    if (this.mode64) {
      this.writeGpr(RSP, value, 64);
      return;
    }
    const mask = this.let(this.stackMask());
    const old = this.readGpr(RSP, 32);
    this.writeGpr(RSP, this.or(this.and(old, this.xor(mask, -1)), this.and(value, mask)), 32);
  }

  readStackPointer(): Expr {
    if (this.mode64) return this.readGpr(RSP, 64);
    return this.let(this.and(this.readGpr(RSP, 32), this.stackMask()));
  }

  /** `pointer + by`, wrapped to the width of the stack pointer. */
  stackOffset(pointer: Expr, by: number): Expr {
    const moved = this.add(pointer, by);
    return this.let(this.mode64 ? moved : this.and(moved, this.stackMask()));
  }

  push(value: Expr, width: OperandWidth = this.width): void {
    const bytes = (width >> 3) as Bytes;
    const top = this.stackOffset(this.readStackPointer(), -bytes);
    this.writeMemory(this.stackAddress(top), bytes, value);
    this.writeStackPointer(top);
  }

  /** Pops; the stack pointer moves at once, so nothing after it may fault unless it goes through `peek`. */
  pop(width: OperandWidth = this.width): Expr {
    const top = this.readStackPointer();
    const value = this.readMemory(this.stackAddress(top), (width >> 3) as Bytes);
    this.writeStackPointer(this.add(top, width >> 3));
    return value;
  }

  /** Faults with #GP(0) unless CPL is 0. */
  requireCpl0(): void {
    this.if(this.cpl(), () => this.fault(VECTOR.gp, 0), undefined, false);
  }

  abstract cpl(): Expr;

  /** -1 when DF is set, else 1, times `bytes` (i64). */
  stringStep(bytes: number): Expr {
    const df = this.and(this.systemFlags(), FLAG.df);
    return this.let(this.select(df, this.i64(-bytes), this.i64(bytes)));
  }

  /** Reads an index or count register at the address size. */
  readIndex(register: number): Expr {
    return this.let(this.and(this.readGpr(register, 64), this.addressMask()));
  }

  /** Writes it: 32-bit updates zero-extend, 16-bit updates keep the rest. */
  writeIndex(register: number, value: Expr): void {
    if (this.mode64) {
      this.writeGpr(register, this.and(value, this.addressMask()), 64);
      return;
    }
    const mask = this.let(this.addressMask());
    const old = this.readGpr(register, 32);
    this.writeGpr(register, this.or(this.and(old, this.xor(mask, -1)), this.and(value, mask)), 32);
  }

  readCount(): Expr {
    return this.readIndex(RCX);
  }
}
