import type { Expr } from "../../emit/index.ts";
import { CPU, CS, FLOAT_ERROR, PX, SEG, VECTOR } from "../state.ts";
import type { X86 } from "./x86.ts";
import { FPU_STATUS as SW } from "./x87-status.ts";

/** CR0.MP, EM, TS and NE (SDM vol 3, 2.5). */
const CR0 = { mp: 2, em: 4, ts: 8, ne: 0x20 } as const;

const SELECTOR = CPU.segments + SEG.selector;
/** Soft-float operands that are not registers, and where stores leave their status. */
const TEMPORARY = CPU.scratch2;
const STORE_STATUS = CPU.scratch2 + 48;

/** Unmasked, these keep a computation from giving a result at all, and so from popping or pushing. SDM vol 1, 8.6. */
export const BEFORE_RESULT = SW.invalid | SW.denormal | SW.zeroDivide;
/** Unmasked, these keep a store from reaching memory. */
export const BEFORE_STORE = SW.invalid | SW.overflow | SW.underflow;

/** One register of the stack. */
export interface StackRegister {
  /** Physical number (i32). */
  readonly number: Expr;
  /** Its 16-byte slot, as soft-float functions take them (i32). */
  readonly slot: Expr;
}

/** #NM of every x87 instruction but FWAIT (SDM vol 3, table 2-2). */
export function checkAvailable(x: X86): void {
  x.checkOnce("x87", () => {
    const disabled = x.and(x.field("i32", CPU.cr0), CR0.em | CR0.ts);
    x.if(disabled, () => x.fault(VECTOR.nm), undefined, false);
  });
}

/**
 * What waiting instructions do first: an exception that an earlier one left unmasked becomes #MF now.
 *
 * With CR0.NE = 0 the processor asserts FERR# and waits for an interrupt, unless IGNNE# tells it to go on (SDM vol 1,
 * D.2).
 */
export function checkPending(x: X86): void {
  x.if(
    x.and(x.field("i32", CPU.fpuStatus), SW.summary),
    () => {
      x.if(x.and(x.field("i32", CPU.cr0), CR0.ne), () => x.fault(VECTOR.mf));
      x.if(x.eqz(x.field("i32", CPU.fpuIgnored)), () => x.fault(FLOAT_ERROR));
    },
    undefined,
    false,
  );
}

/** IGNNE# lasts as long as FERR#: call it when the status may have lost its summary bit. */
export function endIgnored(x: X86, status: Expr): void {
  x.setField("i32", CPU.fpuIgnored, x.and(x.field("i32", CPU.fpuIgnored), status));
}

/** FWAIT: #NM only when both MP and TS are set. */
export function checkWait(x: X86): void {
  const disabled = x.eq(x.and(x.field("i32", CPU.cr0), CR0.mp | CR0.ts), CR0.mp | CR0.ts);
  x.if(disabled, () => x.fault(VECTOR.nm), undefined, false);
  checkPending(x);
}

/** ES and B as they follow from flags and masks. */
export function summary(x: X86, status: Expr, control: Expr): Expr {
  const unmasked = x.and(x.and(status, x.xor(control, -1)), SW.exceptions);
  return x.select(unmasked, x.i32(SW.summaryAndBusy), x.i32(0));
}

/**
 * The x87 registers as one waiting, non-control instruction sees them. Made at its start; `conclude` ends it. What may
 * fault (memory operands) comes between the two, and before anything here that changes registers.
 */
export class X87 {
  readonly x: X86;
  readonly control: Expr;
  /** TOP when the instruction began. */
  private readonly top: Expr;
  private readonly empty: Expr;

  constructor(x: X86) {
    checkAvailable(x);
    checkPending(x);
    this.x = x;
    this.control = x.field("i32", CPU.fpuControl);
    this.top = x.field("i32", CPU.fpuTop);
    this.empty = x.field("i32", CPU.fpuEmpty);
  }

  /** ST(i), by TOP as it was at the start; ST(-1) is where a push goes. */
  st(i: number | Expr): StackRegister {
    const { x } = this;
    const number = x.let(x.and(x.add(this.top, i), 7));
    return { number, slot: x.let(x.add(x.fieldAddress(CPU.fpu), x.shl(number, 4))) };
  }

  /** ST(i) of a register operand. REX.B has no meaning there. */
  operand(): StackRegister {
    return this.st(this.x.let(this.x.and(this.x.rmNumber(), 7)));
  }

  /** A slot that is no register: 0, 1 or 2. */
  temporary(index = 0): Expr {
    return this.x.let(this.x.fieldAddress(TEMPORARY + index * 16));
  }

  isEmpty(register: StackRegister): Expr {
    return this.x.and(this.x.shrU(this.empty, register.number), 1);
  }

  anyEmpty(...registers: StackRegister[]): Expr {
    const { x } = this;
    return x.and(
      registers.map((one) => x.shrU(this.empty, one.number)).reduce((all, one) => x.or(all, one)),
      1,
    );
  }

  /** i32: non-zero when none of these exceptions is both raised and unmasked. */
  allowed(status: Expr, exceptions: number): Expr {
    const { x } = this;
    return x.eqz(x.and(x.and(status, x.xor(this.control, -1)), exceptions));
  }

  /**
   * The status of `operate`, which needs all of `registers`; when one is empty, a stack underflow, whose masked response
   * is `indefinite`. SDM vol 1, 8.5.1.1.
   */
  unlessEmpty(registers: readonly StackRegister[], operate: () => Expr, indefinite: () => void): Expr {
    const { x } = this;
    return x.choose(
      "i32",
      this.anyEmpty(...registers),
      () => {
        this.ifInvalidMasked(indefinite);
        return SW.invalid | SW.stackFault;
      },
      operate,
      false,
    );
  }

  ifInvalidMasked(then: () => void): void {
    this.x.if(this.x.and(this.control, SW.invalid), then);
  }

  // --- changes to the registers -----------------------------------------------------------------------------------

  fill(register: StackRegister): void {
    const { x } = this;
    x.setField("i32", CPU.fpuEmpty, x.and(x.field("i32", CPU.fpuEmpty), x.rotl(x.i32(-2), register.number)));
  }

  free(register: StackRegister): void {
    const { x } = this;
    x.setField("i32", CPU.fpuEmpty, x.or(x.field("i32", CPU.fpuEmpty), x.shl(x.i32(1), register.number)));
  }

  setIndefinite(register: StackRegister): void {
    this.x.helper("f80_indefinite", register.slot);
    this.fill(register);
  }

  copy(destination: Expr, source: Expr): void {
    const { x } = this;
    const [significand, head] = [x.load("i64", 8, source), x.load("i32", 2, source, 8)];
    x.store(8, destination, significand);
    x.store(2, destination, head, 8);
  }

  pop(times: number): void {
    for (let i = 0; i < times; i++) this.free(this.st(i));
    if (times > 0) this.setTop(times);
  }

  /** ST(-1), already written, becomes ST(0). */
  push(): void {
    this.fill(this.st(-1));
    this.setTop(-1);
  }

  setTop(by: number): void {
    this.x.setField("i32", CPU.fpuTop, this.st(by).number);
  }

  // --- end --------------------------------------------------------------------------------------------------------

  /**
   * Takes up a soft-float status: exceptions stick, the condition codes in `replaced` are those of `status`. Notes where
   * the instruction and its memory operand were (SDM vol 1, 8.1.8). The opcode is noted only with an unmasked exception,
   * as processors without the compatibility mode of IA32_MISC_ENABLE do (8.1.9.1).
   */
  conclude(status: Expr | number, replaced: number = SW.c1): void {
    const { x } = this;
    const kept = x.and(x.field("i32", CPU.fpuStatus), ~replaced);
    const merged = x.let(x.or(kept, status));
    const unmasked = x.and(x.and(merged, x.xor(this.control, -1)), SW.exceptions);
    const final = x.variable("i32", merged);
    x.if(
      unmasked,
      () => {
        x.set(final, x.or(merged, SW.summaryAndBusy));
        x.setField("i32", CPU.fpuOpcode, x.escapeOpcode());
      },
      undefined,
      false,
    );
    x.setField("i32", CPU.fpuStatus, x.get(final));
    x.setField("i64", CPU.fpuIp, x.startRip());
    x.setField("i32", CPU.fpuCs, x.field("i32", SELECTOR + CS * SEG.size));
    if (x.rmIsMemory) this.noteOperand();
  }

  private noteOperand(): void {
    const { x } = this;
    const { offset, segment, linear } = x.rmAddress();
    if (!linear) {
      x.setField("i64", CPU.fpuDp, offset);
      const cache = x.add(x.fieldAddress(SELECTOR), x.mul(segment, SEG.size));
      x.setField("i32", CPU.fpuDs, x.load("i32", 4, cache));
      return;
    }
    // In 64-bit mode the pointer is the offset: without the base of FS or GS. Selectors mean nothing there.
    const override = x.let(x.and(x.shrU(x.prefixes(), PX.segmentShift), 7));
    const pointer = x.variable("i64", offset);
    x.if(
      override,
      () => {
        const cache = x.add(x.fieldAddress(CPU.segments + SEG.base), x.mul(x.sub(override, 1), SEG.size));
        x.set(pointer, x.sub(offset, x.load("i64", 8, cache)));
      },
      undefined,
      false,
    );
    x.setField("i64", CPU.fpuDp, x.get(pointer));
    x.setField("i32", CPU.fpuDs, 0);
  }

  /** For those that leave C1 alone unless they find an empty register. */
  concludeKeepingC1(status: Expr): void {
    const { x } = this;
    const c1 = x.and(x.field("i32", CPU.fpuStatus), SW.c1);
    this.conclude(x.or(status, x.select(x.and(status, SW.stackFault), x.i32(0), c1)));
  }

  // --- status of stores ---------------------------------------------------------------------------------------------

  /** Address of a cleared word for a store's status. */
  storeStatus(): Expr {
    this.x.setField("i32", STORE_STATUS, 0);
    return this.x.fieldAddress(STORE_STATUS);
  }

  takeStoreStatus(): Expr {
    return this.x.field("i32", STORE_STATUS);
  }
}
