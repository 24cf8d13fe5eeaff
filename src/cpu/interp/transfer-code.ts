import type { Expr, FunctionType } from "../../emit/index.ts";
import { TLB_SIZE } from "../../memory/layout.ts";
import type { Bytes } from "../isa/x86.ts";
import { TLB_ENTRY } from "../mmu/tlb-layout.ts";
import { ARITHMETIC_FLAGS, ATTR, CPU, FLAG, SEG, WALK } from "../state.ts";
import { hostAddress, tlbEntry, tlbHit } from "./helpers.ts";
import { InterpreterBuilder, type InterpreterModule } from "./interpreter-builder.ts";
import type { SegmentLoads } from "./segment-loads.ts";

/** High half of a descriptor, SDM vol 3, 3.4.5. */
const PRESENT = 1 << 15;
/** Data that is present, accessed and writable. */
const STACK = { mask: PRESENT | (0x1b << 8), bits: PRESENT | (0x13 << 8) } as const;

/** A descriptor's two words. */
export interface Words {
  readonly low: Expr;
  readonly high: Expr;
}

/** EFLAGS without the arithmetic flags and RF, as the register keeps them. */
const SYSTEM_FLAGS = 0x3f_7fd7 & ~(ARITHMETIC_FLAGS | FLAG.rf);

/**
 * What transfers of control and segment loads in generated code are made of. Each function returns 0, before anything has
 * happened, where it finds what it leaves to TypeScript.
 */
export class TransferCode {
  readonly x: InterpreterBuilder;
  private readonly loads: SegmentLoads;

  constructor(parts: InterpreterModule, loads: SegmentLoads, name: string, type: FunctionType, mode64 = false) {
    this.x = InterpreterBuilder.create(parts, name, type, mode64);
    this.loads = loads;
  }

  protected refuseIf(condition: Expr): void {
    this.x.if(condition, () => this.x.return(this.x.i32(0)), undefined, false);
  }

  protected refuseUnless(value: Expr, mask: number, bits: number): void {
    this.refuseIf(this.x.ne(this.x.and(value, mask), bits));
  }

  protected get supervisor(): Expr {
    return this.x.field("i32", CPU.tlbSupervisor);
  }

  /** Host address of `bytes` in one page that the TLB at `base` has. */
  protected host(base: Expr, linear: Expr, bytes: number | Expr, tag: number): Expr {
    const { x } = this;
    const at = x.let(linear);
    const entry = tlbEntry(x, x.cpu, at, base);
    this.refuseIf(x.eqz(tlbHit(x, entry, tag, at, bytes)));
    return x.let(hostAddress(x, entry, at));
  }

  /** Host address of what lies `offset` (i32) behind the linear address in a field: tables. */
  protected table(field: number, offset: Expr, bytes: number): Expr {
    const { x } = this;
    const linear = x.add(x.field("i64", field), x.u64(offset));
    return this.host(this.supervisor, linear, bytes, TLB_ENTRY.readTag);
  }

  protected word(at: Expr, offset: number, bytes: Bytes = 4): Expr {
    return this.x.load("i32", bytes, at, offset);
  }

  protected dpl(high: Expr): Expr {
    return this.x.and(this.x.shrU(high, 13), 3);
  }

  /** The descriptor of a selector in the GDT. */
  protected descriptor(selector: Expr): Words {
    const { x } = this;
    const offset = x.let(x.and(selector, 0xfff8));
    this.refuseIf(x.or(x.eqz(offset), x.and(selector, 4)));
    this.refuseIf(x.gtU(x.add(offset, 7), x.field("i32", CPU.gdtrLimit)));
    const at = this.table(CPU.gdtrBase, offset, 8);
    return { low: this.word(at, 0), high: this.word(at, 4) };
  }

  protected stackDescriptor(selector: Expr, cpl: Expr): Words {
    const { x } = this;
    this.refuseIf(x.ne(x.and(selector, 3), cpl));
    const words = this.descriptor(selector);
    this.refuseUnless(words.high, STACK.mask, STACK.bits);
    this.refuseIf(x.ne(this.dpl(words.high), cpl));
    return words;
  }

  protected refuseBeyondLimit({ low, high }: Words, offset: Expr): void {
    const { x } = this;
    const raw = x.let(x.or(x.and(low, 0xffff), x.and(high, 0xf_0000)));
    const scaled = x.or(x.shl(raw, 12), 0xfff);
    this.refuseIf(x.gtU(offset, x.select(x.and(high, ATTR.g << 8), scaled, raw)));
  }

  protected loadSegment(segment: Expr | number, selector: Expr, { low, high }: Words): void {
    const { x } = this;
    x.call(this.loads.descriptor, x.cpu, segment, selector, low, high);
  }

  protected setCpl(cpl: Expr): void {
    const { x } = this;
    const user = x.let(x.eq(cpl, 3));
    const walks = x.field("i32", CPU.walkSupervisor);
    x.setField("i32", CPU.cpl, cpl);
    x.setField("i32", CPU.tlbBase, x.add(this.supervisor, x.select(user, x.i32(TLB_SIZE), x.i32(0))));
    x.setField("i32", CPU.walkMode, x.or(walks, x.select(walks, x.mul(user, WALK.user), x.i32(0))));
  }

  protected isCanonicalHigh(high: Expr): Expr {
    const sign = this.x.let(this.x.shrS(high, 15));
    return this.x.or(this.x.eqz(sign), this.x.eq(sign, -1));
  }

  protected loadNullStack(selector: Expr, cpl: Expr): void {
    this.x.call(this.loads.nullStack, this.x.cpu, selector, cpl);
  }

  protected loadNullData(segment: Expr | number, selector: Expr): void {
    this.x.call(this.loads.nullData, this.x.cpu, segment, selector);
  }

  protected selectorOf(segment: number): Expr {
    return this.x.field("i32", CPU.segments + segment * SEG.size + SEG.selector);
  }

  protected attributesOf(segment: number): Expr {
    return this.x.field("i32", CPU.segments + segment * SEG.size + SEG.attributes);
  }

  /** EFLAGS, `RF` as 0. */
  protected flags(): Expr {
    const { x } = this;
    return x.let(x.or(x.and(x.systemFlags(), SYSTEM_FLAGS | FLAG.one), x.flagsImage()));
  }

  /** All of EFLAGS but RF, which becomes 0. */
  protected setFlags(image: Expr): void {
    const { x } = this;
    x.flagsFromImage(image);
    x.setField("i32", CPU.eflags, x.or(x.and(image, SYSTEM_FLAGS), FLAG.one));
  }

  /** Alignment checks end or begin with a change of CPL or AC: those are TypeScript's. */
  protected refuseAlignmentCheck(flags: Expr): void {
    this.refuseIf(this.x.and(flags, FLAG.ac));
  }
}
