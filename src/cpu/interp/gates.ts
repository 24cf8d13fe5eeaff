/**
 * Delivery through interrupt and trap gates and IRET in generated code, the commonest ways: between flat 32-bit code and
 * between 64-bit code, through descriptors of the GDT that are accessed already, all of it in pages that the TLB has.
 * Whatever is different, faults included, is refused before anything has happened: `system/delivery.ts` and
 * `system/far-transfers.ts` do it then.
 */
import type { Expr, FunctionRef } from "../../emit/index.ts";
import { CLOCK, TLB_SIZE } from "../../memory/layout.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import {
  ARITHMETIC_FLAGS,
  ATTR,
  CPU,
  CS,
  DS,
  ES,
  EVENT,
  FLAG,
  FS,
  GS,
  MODE,
  ONCE,
  RSP,
  SEG,
  SS,
  TR,
} from "../state.ts";
import { RESULT } from "./imports.ts";
import type { InterpreterModule } from "./interpreter-builder.ts";
import type { SegmentLoads } from "./segment-loads.ts";
import { TransferCode, type Words } from "./transfer-code.ts";

/** High half of a descriptor, SDM vol 3, 3.4.5 and 6.11. */
const [PRESENT, L, DB] = [1 << 15, 1 << 21, 1 << 22];
/** Code that is present and accessed and not conforming. */
const CODE = { mask: PRESENT | (0x1d << 8), bits: PRESENT | (0x19 << 8) } as const;
/** A stack that is also flat, 32 bits wide and does not expand down. */
const FLAT_STACK = { low: 0x0000_ffff, mask: 0xffcf_04ff | 0, bits: 0x00cf_0000 } as const;
/** A present 32- or 64-bit interrupt or trap gate; what tells a trap gate. */
const GATE = { mask: PRESENT | (0x1e << 8), bits: PRESENT | (0xe << 8), trap: 1 << 8 } as const;

const POINTER = CPU.gpr + RSP * 8;

export interface Gates {
  /** (cpu, vector, error code or -1, 1 for INT n, RF to push) → 1, or 0: refused. */
  readonly deliver: FunctionRef;
  /** (cpu) → RESULT, or 0: refused. Operands as the system operations of the same names. */
  readonly interrupt: FunctionRef;
  readonly iret: FunctionRef;
}

export function defineGates(parts: InterpreterModule, loads: SegmentLoads): Gates {
  const type = { params: ["i32", "i32", "i32", "i32", "i32"], results: ["i32"] } as const;
  const gate32 = new GateCode(parts, loads, "gate32", type, false).gate32();
  const gate64 = new GateCode(parts, loads, "gate64", type, true).gate64();
  const deliver = new GateCode(parts, loads, "deliver", type, false).deliver(gate32, gate64);
  const operation = { params: ["i32"], results: ["i32"] } as const;
  const return32 = new GateCode(parts, loads, "return32", operation, false).return32();
  const return64 = new GateCode(parts, loads, "return64", operation, true).return64();
  return {
    deliver,
    interrupt: new GateCode(parts, loads, "interrupt", operation, false).interrupt(deliver),
    iret: new GateCode(parts, loads, "iret", operation, false).iret(return32, return64),
  };
}

class GateCode extends TransferCode {
  // --- gates, SDM vol 3, 6.12 and 6.14 ------------------------------------------------------------------------------

  deliver(gate32: FunctionRef, gate64: FunctionRef): FunctionRef {
    const { x } = this;
    const mode = x.let(x.and(x.field("i32", CPU.mode), MODE.protected | MODE.v86 | MODE.long | MODE.code64));
    const operands = [0, 1, 2, 3, 4].map((position) => x.param(position));
    x.if(x.eq(mode, MODE.protected | MODE.long | MODE.code64), () => x.return(x.call(gate64, ...operands)));
    x.if(x.eq(mode, MODE.protected), () => x.return(x.call(gate32, ...operands)));
    x.return(x.i32(0));
    return x;
  }

  /** Gate and code segment, checked; the level that the handler runs at is below 3 and not above the current one. */
  private target(gateBytes: 8 | 16): { gate: Expr; gateWords: Words; selector: Expr; code: Words; cpl: Expr } {
    const { x } = this;
    const [vector, software] = [x.param(1), x.param(3)];
    const offset = x.let(x.mul(vector, gateBytes));
    this.refuseIf(x.gtU(x.add(offset, gateBytes - 1), x.field("i32", CPU.idtrLimit)));
    const gate = this.table(CPU.idtrBase, offset, gateBytes);
    const gateWords = { low: this.word(gate, 0), high: this.word(gate, 4) };
    const current = x.cpl();
    this.refuseUnless(gateWords.high, GATE.mask, GATE.bits);
    this.refuseIf(x.and(x.ne(software, 0), x.ltU(this.dpl(gateWords.high), current)));
    x.if(x.eq(current, 3), () => this.refuseAlignmentCheck(x.systemFlags()));

    const selector = x.let(x.shrU(gateWords.low, 16));
    const code = this.descriptor(selector);
    this.refuseUnless(code.high, CODE.mask, CODE.bits);
    const cpl = x.let(this.dpl(code.high));
    this.refuseIf(x.or(x.gtU(cpl, current), x.eq(cpl, 3)));
    return { gate, gateWords, selector, code, cpl };
  }

  private offsetOf({ low, high }: Words): Expr {
    const { x } = this;
    return x.let(x.or(x.and(high, 0xffff_0000 | 0), x.and(low, 0xffff)));
  }

  private finishDelivery(gateHigh: Expr, selector: Expr, code: Words, cpl: Expr): void {
    const { x } = this;
    const always = FLAG.tf | FLAG.nt | FLAG.rf | FLAG.vm;
    const kept = x.select(x.and(gateHigh, GATE.trap), x.i32(~always), x.i32(~(always | FLAG.if)));
    x.setField("i32", CPU.eflags, x.and(x.systemFlags(), kept));
    this.loadSegment(CS, x.or(x.and(selector, 0xfffc), cpl), code);
    this.setCpl(cpl);
    x.return(x.i32(1));
  }

  /** Host address of `bytes` in the current TSS. */
  private task(offset: Expr, bytes: number): Expr {
    const { x } = this;
    const limit = x.field("i32", CPU.segments + TR * SEG.size + SEG.limit);
    this.refuseIf(x.gtU(x.add(offset, 7), limit));
    return this.table(CPU.segments + TR * SEG.size + SEG.base, offset, bytes);
  }

  gate32(): FunctionRef {
    const { x } = this;
    const [errorCode, saved] = [x.param(2), x.let(x.or(this.flags(), x.param(4)))];
    // The handler's code is 32-bit as the interrupted code is: no change of modes.
    this.refuseIf(x.eqz(x.and(this.attributesOf(CS), ATTR.db)));
    const { gateWords, selector, code, cpl } = this.target(8);
    this.refuseIf(x.eqz(x.and(code.high, DB)));
    const offset = this.offsetOf(gateWords);
    this.refuseBeyondLimit(code, offset);

    const inner = x.let(x.ltU(cpl, x.cpl()));
    const pointer = x.variable("i32", x.field("i32", POINTER));
    const stackSelector = x.variable("i32", 0);
    const stackHigh = x.variable("i32", 0);
    x.if(
      inner,
      () => {
        this.refuseIf(x.eqz(x.and(this.attributesOf(TR), 8)));
        const task = this.task(x.let(x.add(x.shl(cpl, 3), 4)), 8);
        x.set(pointer, this.word(task, 0));
        x.set(stackSelector, this.word(task, 4, 2));
        const stack = this.stackDescriptor(x.get(stackSelector), cpl);
        this.refuseUnless(stack.high, FLAT_STACK.mask, FLAT_STACK.bits);
        this.refuseIf(x.ne(stack.low, FLAT_STACK.low));
        x.set(stackHigh, stack.high);
      },
      () => this.refuseUnlessFlatStack(),
    );
    const hasCode = x.let(x.geS(errorCode, 0));
    const bytes = x.let(x.add(x.select(inner, x.i32(20), x.i32(12)), x.shl(hasCode, 2)));
    const bottom = x.let(x.sub(x.get(pointer), bytes));
    const frame = this.host(this.supervisor, x.u64(bottom), bytes, TLB_ENTRY.writeTag);
    const at = x.variable("i32", frame);
    x.if(hasCode, () => {
      x.store(4, frame, errorCode);
      x.set(at, x.add(frame, 4));
    });
    x.store(4, x.get(at), x.field("i32", CPU.rip));
    x.store(4, x.get(at), this.selectorOf(CS), 4);
    x.store(4, x.get(at), saved, 8);
    x.if(inner, () => {
      x.store(4, x.get(at), x.field("i32", POINTER), 12);
      x.store(4, x.get(at), this.selectorOf(SS), 16);
      this.loadSegment(SS, x.get(stackSelector), { low: x.i32(FLAT_STACK.low), high: x.get(stackHigh) });
    });
    x.setField("i64", POINTER, x.u64(bottom));
    x.setField("i64", CPU.rip, x.u64(offset));
    this.finishDelivery(gateWords.high, selector, code, cpl);
    return x;
  }

  /** The stack in use is flat and 32 bits wide. */
  private refuseUnlessFlatStack(): void {
    const { x } = this;
    this.refuseIf(x.eqz(x.and(x.field("i32", CPU.flatSegments), 1 << SS)));
    this.refuseIf(x.eqz(x.and(this.attributesOf(SS), ATTR.db)));
  }

  gate64(): FunctionRef {
    const { x } = this;
    const [errorCode, saved] = [x.param(2), x.let(x.or(this.flags(), x.param(4)))];
    const { gate, gateWords, selector, code, cpl } = this.target(16);
    this.refuseUnless(code.high, L | DB, L);
    const targetHigh = this.word(gate, 8);
    this.refuseIf(x.eqz(this.isCanonicalHigh(targetHigh)));

    const inner = x.let(x.ltU(cpl, x.cpl()));
    const ist = x.let(x.and(gateWords.high, 7));
    const pointer = x.variable("i64", x.field("i64", POINTER));
    x.if(x.or(inner, ist), () => {
      const offset = x.select(ist, x.add(x.shl(ist, 3), 0x1c), x.add(x.shl(cpl, 3), 4));
      x.set(pointer, x.load("i64", 8, this.task(x.let(offset), 8)));
    });
    const hasCode = x.let(x.geS(errorCode, 0));
    const bytes = x.let(x.add(x.shl(hasCode, 3), 40));
    const bottom = x.let(x.sub(x.and(x.get(pointer), -16), x.u64(bytes)));
    const frame = this.host(this.supervisor, bottom, bytes, TLB_ENTRY.writeTag);
    const at = x.variable("i32", frame);
    x.if(hasCode, () => {
      x.store(8, frame, x.u64(errorCode));
      x.set(at, x.add(frame, 8));
    });
    x.store(8, x.get(at), x.field("i64", CPU.rip));
    x.store(8, x.get(at), x.u64(this.selectorOf(CS)), 8);
    x.store(8, x.get(at), x.u64(saved), 16);
    x.store(8, x.get(at), x.field("i64", POINTER), 24);
    x.store(8, x.get(at), x.u64(this.selectorOf(SS)), 32);
    x.if(inner, () => this.loadNullStack(cpl, cpl));
    x.setField("i64", POINTER, bottom);
    const target = x.or(x.u64(this.offsetOf(gateWords)), x.shl(x.u64(targetHigh), 32));
    x.setField("i64", CPU.rip, target);
    this.finishDelivery(gateWords.high, selector, code, cpl);
    return x;
  }

  /** INT n. With TF set the engine wants to know. */
  interrupt(deliver: FunctionRef): FunctionRef {
    const { x } = this;
    this.refuseIf(x.and(x.systemFlags(), FLAG.tf));
    const done = x.call(deliver, x.cpu, x.field("i32", CPU.args), -1, 1, 0);
    x.return(x.select(done, x.i32(RESULT.refetch), x.i32(0)));
    return x;
  }

  // --- IRET, SDM vol 2 ----------------------------------------------------------------------------------------------

  iret(return32: FunctionRef, return64: FunctionRef): FunctionRef {
    const { x } = this;
    const mode = x.let(x.and(x.field("i32", CPU.mode), MODE.protected | MODE.v86 | MODE.long | MODE.code64));
    // A nested task; traps; an NMI that ends.
    this.refuseIf(x.and(x.systemFlags(), FLAG.nt | FLAG.tf));
    this.refuseIf(x.and(x.field("i32", CPU.pendingEvents), EVENT.nmi | EVENT.nmiBlocked));
    const width = x.field("i32", CPU.args);
    x.if(x.and(x.eq(mode, MODE.protected | MODE.long | MODE.code64), x.eq(width, 64)), () =>
      x.return(x.call(return64, x.cpu)),
    );
    x.if(x.and(x.eq(mode, MODE.protected), x.eq(width, 32)), () => x.return(x.call(return32, x.cpu)));
    x.return(x.i32(0));
    return x;
  }

  /** Code segment of the frame. */
  private returnCode(selector: Expr): Words {
    const { x } = this;
    const rpl = x.let(x.and(selector, 3));
    this.refuseIf(x.ltU(rpl, x.cpl()));
    const code = this.descriptor(selector);
    this.refuseUnless(code.high, CODE.mask, CODE.bits);
    this.refuseIf(x.ne(this.dpl(code.high), rpl));
    return code;
  }

  /** EFLAGS but for RF. What makes the engine look is refused: TF, a pending interrupt, AC. */
  private returnFlags(image: Expr): Expr {
    const { x } = this;
    this.refuseIf(x.and(image, FLAG.tf | FLAG.vm));
    const old = x.systemFlags();
    const cpl = x.cpl();
    const always = FLAG.tf | FLAG.df | FLAG.nt | FLAG.ac | FLAG.id;
    const byIopl = x.leU(cpl, x.and(x.shrU(old, 12), 3));
    const mask = x.let(
      x.or(x.or(x.i32(always), x.shl(byIopl, 9)), x.select(cpl, x.i32(0), x.i32(FLAG.iopl | FLAG.vif | FLAG.vip))),
    );
    const kept = x.and(old, x.and(x.xor(mask, -1), ~ARITHMETIC_FLAGS));
    const flags = x.let(x.or(kept, x.and(image, mask)));
    this.refuseIf(x.and(x.ne(x.and(flags, FLAG.if), 0), x.ne(x.field("i32", CPU.intr), 0)));
    this.refuseAlignmentCheck(x.or(flags, old));
    return x.let(x.or(flags, x.and(image, ARITHMETIC_FLAGS)));
  }

  /**
   * RF, as handlers of faults return it, ends with the next instruction. Refused where it can be seen: with breakpoints,
   * and before a repeated string instruction, whose units are interrupted with RF set.
   */
  private resume(image: Expr, linear: Expr, rpl: Expr): void {
    const { x } = this;
    x.if(x.and(image, FLAG.rf), () => {
      this.refuseIf(x.eqz(x.field("i32", CPU.walkSupervisor)));
      const tlb = x.add(this.supervisor, x.select(x.eq(rpl, 3), x.i32(TLB_SIZE), x.i32(0)));
      const byte = x.load("i32", 1, this.host(x.let(tlb), linear, 1, TLB_ENTRY.execTag));
      const segmentPrefix = x.eq(x.and(byte, 0xe7), 0x26);
      const others = x.or(x.eq(x.and(byte, 0xfc), 0x64), x.eq(x.and(byte, 0xfc), 0xf0));
      this.refuseIf(x.or(segmentPrefix, others));
    });
  }

  private rememberResume(image: Expr): void {
    const { x } = this;
    x.if(x.and(image, FLAG.rf), () => {
      x.setField("i32", CPU.once, ONCE.resume);
      x.setField("i32", CPU.onceBudget, x.load("i32", 4, x.i32(0), CLOCK.budget));
    });
  }

  private finishReturn(selector: Expr, code: Words, image: Expr, flags: Expr): void {
    const { x } = this;
    this.loadSegment(CS, selector, code);
    this.setFlags(flags);
    this.setCpl(x.let(x.and(selector, 3)));
    this.rememberResume(image);
  }

  /** Data segments that the new CPL may not see become null (SDM vol 3, 5.8.6). */
  private dropInnerSegments(): void {
    const { x } = this;
    const cpl = x.cpl();
    for (const segment of [ES, DS, FS, GS]) {
      const attributes = this.attributesOf(segment);
      const conforming = x.eq(x.and(attributes, ATTR.s | 0xc), ATTR.s | 0xc);
      const kept = x.or(x.and(attributes, ATTR.unusable), conforming);
      const visible = x.geU(x.and(x.shrU(attributes, ATTR.dplShift), 3), cpl);
      x.if(x.eqz(x.or(kept, visible)), () => this.loadNullData(segment, x.i32(0)));
    }
  }

  return32(): FunctionRef {
    const { x } = this;
    this.refuseUnlessFlatStack();
    const base = x.field("i32", CPU.tlbBase);
    const pointer = x.field("i32", POINTER);
    const frame = this.host(base, x.u64(pointer), 12, TLB_ENTRY.readTag);
    const offset = this.word(frame, 0);
    const selector = this.word(frame, 4, 2);
    const image = this.word(frame, 8);
    const flags = this.returnFlags(image);
    const code = this.returnCode(selector);
    this.refuseIf(x.eqz(x.and(code.high, DB)));
    this.refuseIf(x.eqz(x.and(this.attributesOf(CS), ATTR.db)));
    this.refuseBeyondLimit(code, offset);
    const rpl = x.let(x.and(selector, 3));
    const codeBase = x.or(x.shrU(code.low, 16), x.and(code.high, 0xff00_00ff | 0));
    this.refuseIf(x.and(x.ne(codeBase, 0), x.ne(x.and(image, FLAG.rf), 0)));
    this.resume(image, x.u64(offset), rpl);
    const outer = x.let(x.ne(rpl, x.cpl()));
    const newPointer = x.variable("i32", x.add(pointer, 12));
    x.if(outer, () => {
      this.host(base, x.u64(pointer), 20, TLB_ENTRY.readTag);
      const stackSelector = this.word(frame, 16, 2);
      const stack = this.stackDescriptor(stackSelector, rpl);
      this.refuseIf(x.eqz(x.and(stack.high, DB)));
      x.set(newPointer, this.word(frame, 12));
      this.loadSegment(SS, stackSelector, stack);
    });
    x.setField("i64", POINTER, x.u64(x.get(newPointer)));
    x.setField("i64", CPU.rip, x.u64(offset));
    this.finishReturn(selector, code, image, flags);
    x.if(outer, () => this.dropInnerSegments());
    x.return(x.i32(RESULT.refetch));
    return x;
  }

  return64(): FunctionRef {
    const { x } = this;
    const frame = this.host(x.field("i32", CPU.tlbBase), x.field("i64", POINTER), 40, TLB_ENTRY.readTag);
    this.refuseIf(x.eqz(this.isCanonicalHigh(this.word(frame, 4))));
    const selector = this.word(frame, 8, 2);
    const image = this.word(frame, 16);
    const stackSelector = this.word(frame, 32, 2);
    const flags = this.returnFlags(image);
    const code = this.returnCode(selector);
    this.refuseUnless(code.high, L | DB, L);
    const rpl = x.let(x.and(selector, 3));
    const offset = x.load("i64", 8, frame);
    const pointer = x.load("i64", 8, frame, 24);
    this.resume(image, offset, rpl);
    x.if(
      x.and(stackSelector, 0xfffc),
      () => this.loadSegment(SS, stackSelector, this.stackDescriptor(stackSelector, rpl)),
      () => {
        this.refuseIf(x.or(x.eq(rpl, 3), x.ne(x.and(stackSelector, 3), rpl)));
        this.loadNullStack(stackSelector, rpl);
      },
    );
    x.setField("i64", CPU.rip, offset);
    x.setField("i64", POINTER, pointer);
    this.finishReturn(selector, code, image, flags);
    this.dropInnerSegments();
    x.return(x.i32(RESULT.refetch));
    return x;
  }
}
