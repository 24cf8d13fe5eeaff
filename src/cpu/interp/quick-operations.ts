/**
 * System operations that generated code can do itself most of the time: (cpu) → RESULT, or 0 before anything has happened:
 * TypeScript has to do it. Operands as in `isa/system-operations.ts`, in `CPU.args`.
 */
import type { Expr, FunctionRef } from "../../emit/index.ts";
import { PAGE_SHIFT, TLB_ENTRIES, TLB_SIZE } from "../../memory/layout.ts";
import type { SystemOperation } from "../isa/system-operations.ts";
import { forgetSites } from "../mmu/access-sites.ts";
import { MMIO_TLB, NO_TAG, TLB_ENTRY, TLB_FLAG, TLB_HEADER } from "../mmu/tlb-layout.ts";
import { ATTR, CPU, CS, EVENT, FLAG, FS, GS, MODE, RAX, RCX, RDX, SEG, SS } from "../state.ts";
import type { Gates } from "./gates.ts";
import { RESULT } from "./imports.ts";
import { InterpreterBuilder, type InterpreterModule } from "./interpreter-builder.ts";
import type { SegmentLoads } from "./segment-loads.ts";
import { TransferCode } from "./transfer-code.ts";

const OPERATION = { params: ["i32"], results: ["i32"] } as const;

export function defineQuickOperations(
  parts: InterpreterModule,
  loads: SegmentLoads,
  gates: Gates,
): Map<SystemOperation, FunctionRef> {
  const define = (name: SystemOperation, body: (x: InterpreterBuilder) => void): [SystemOperation, FunctionRef] => {
    const x = InterpreterBuilder.create(parts, name, OPERATION, true);
    body(x);
    x.return(x.i32(RESULT.refetch));
    return [name, x];
  };
  const transfer = (name: SystemOperation) => new QuickTransfer(parts, loads, name, OPERATION, true);
  return new Map<SystemOperation, FunctionRef>([
    ["interrupt", gates.interrupt],
    ["iret", gates.iret],
    ["syscall", transfer("syscall").syscall()],
    ["sysret", transfer("sysret").sysret()],
    ["load-segment", transfer("load-segment").moveToSegment()],
    define("mov-from-cr", moveFromControl),
    define("invlpg", invalidatePage),
    define("swapgs", swapGs),
    define("wrmsr", writeBase),
  ]);
}

const EFER_SCE = 1;
/** Flat code and data of level 0 as SYSCALL and SYSRET load them, as words of a descriptor. */
const FLAT_LOW = 0x0000_ffff;
const FLAT_HIGH = 0x000f_0000 | ((ATTR.g | ATTR.present | ATTR.s) << 8);
const CODE64_HIGH = FLAT_HIGH | ((ATTR.l | 0xb) << 8);
const STACK_HIGH = FLAT_HIGH | ((ATTR.db | 0x3) << 8);

class QuickTransfer extends TransferCode {
  private enter(selector: Expr, stack: Expr, cpl: 0 | 3): void {
    const { x } = this;
    const words = (high: number) => ({ low: x.i32(FLAT_LOW), high: x.i32(high | (cpl << 13)) });
    this.loadSegment(CS, x.and(selector, 0xffff), words(CODE64_HIGH));
    this.loadSegment(SS, x.and(stack, 0xffff), words(STACK_HIGH));
    this.setCpl(x.i32(cpl));
  }

  private refuseWithoutSyscall(): void {
    const { x } = this;
    this.refuseIf(x.eqz(x.and(x.field("i32", CPU.efer), EFER_SCE)));
  }

  syscall(): FunctionRef {
    const { x } = this;
    this.refuseWithoutSyscall();
    const flags = this.flags();
    this.refuseAlignmentCheck(flags);
    x.writeGpr(RCX, x.field("i64", CPU.rip), 64);
    x.writeGpr(11, x.u64(flags), 64);
    this.setFlags(x.let(x.and(flags, x.xor(x.field("i32", CPU.sfmask), -1))));
    const base = x.load("i32", 2, x.cpu, CPU.star + 4);
    this.enter(x.and(base, 0xfffc), x.add(base, 8), 0);
    x.setField("i64", CPU.rip, x.field("i64", CPU.lstar));
    x.return(x.i32(RESULT.refetch));
    return x;
  }

  /** To 64-bit code. */
  sysret(): FunctionRef {
    const { x } = this;
    this.refuseWithoutSyscall();
    const target = x.readGpr(RCX, 64);
    const flags = x.let(x.and(x.wrap(x.readGpr(11, 64)), 0x3c_7fd7));
    this.refuseIf(x.or(x.cpl(), x.ne(x.field("i32", CPU.args), 64)));
    this.refuseIf(x.eqz(isCanonical(x, target)));
    this.refuseIf(x.and(flags, FLAG.tf));
    this.refuseIf(x.and(x.field("i32", CPU.pendingEvents), EVENT.nmi));
    this.refuseIf(x.and(x.ne(x.and(flags, FLAG.if), 0), x.ne(x.field("i32", CPU.intr), 0)));
    this.refuseAlignmentCheck(flags);
    this.setFlags(flags);
    const base = x.load("i32", 2, x.cpu, CPU.star + 6);
    this.enter(x.or(x.add(base, 16), 3), x.or(x.add(base, 8), 3), 3);
    x.setField("i64", CPU.rip, target);
    x.return(x.i32(RESULT.refetch));
    return x;
  }

  /** MOV to DS, ES, FS and GS in protected mode, from the GDT. */
  moveToSegment(): FunctionRef {
    const { x } = this;
    const segment = x.field("i32", CPU.args);
    const selector = x.let(x.and(x.field("i32", CPU.args + 8), 0xffff));
    this.refuseIf(x.eq(segment, SS));
    this.refuseIf(x.ne(x.and(x.field("i32", CPU.mode), MODE.protected | MODE.v86), MODE.protected));
    x.if(x.eqz(x.and(selector, 0xfffc)), () => {
      this.loadNullData(segment, selector);
      x.return(x.i32(RESULT.refetch));
    });
    const words = this.descriptor(selector);
    const type = x.let(x.and(x.shrU(words.high, 8), 0x9f));
    // Present, accessed, code or data; code has to be readable, and conforming code has other rules.
    const wanted = ATTR.present | ATTR.s | 1;
    this.refuseIf(x.ne(x.and(type, wanted), wanted));
    x.if(x.and(type, 8), () => this.refuseIf(x.ne(x.and(type, 6), 2)));
    const dpl = x.let(this.dpl(words.high));
    this.refuseIf(x.or(x.gtU(x.and(selector, 3), dpl), x.gtU(x.cpl(), dpl)));
    this.loadSegment(segment, selector, words);
    x.return(x.i32(RESULT.refetch));
    return x;
  }
}

function refuseIf(x: InterpreterBuilder, condition: Expr): void {
  x.if(condition, () => x.return(x.i32(0)), undefined, false);
}

const isCanonical = (x: InterpreterBuilder, address: Expr) => x.eq(x.shrS(x.shl(address, 16), 16), address);

/** Around large pages TypeScript looks for their other parts; it also tells access handlers. */
function invalidatePage(x: InterpreterBuilder): void {
  const linear = x.variable("i64", x.field("i64", CPU.args));
  x.if(
    x.and(x.field("i32", CPU.mode), MODE.code64),
    () => refuseIf(x, x.eqz(isCanonical(x, x.get(linear)))),
    () => {
      const segment = x.let(x.add(x.cpu, x.mul(x.field("i32", CPU.args + 8), SEG.size)));
      const base = x.load("i64", 8, segment, CPU.segments + SEG.base);
      x.set(linear, x.and(x.add(x.get(linear), base), 0xffff_ffff));
    },
  );
  const low = x.let(x.wrap(x.get(linear)));
  const supervisor = x.field("i32", CPU.tlbSupervisor);
  const user = x.let(x.add(supervisor, TLB_SIZE));
  const largeAt = x.let(x.shrU(low, 25));
  const large = (tlb: Expr) => x.load("i32", 1, x.let(x.add(tlb, largeAt)), TLB_HEADER.large);
  const either = x.or(large(supervisor), large(user));
  refuseIf(x, x.and(x.shrU(either, x.and(x.shrU(low, 22), 7)), 1));
  // Compiled code at this address may be another's now: the dispatcher asks the TLB again.
  x.setField("i32", CPU.codeGeneration, x.add(x.field("i32", CPU.codeGeneration), 1));
  const number = x.let(x.and(x.shrU(low, PAGE_SHIFT - 5), (TLB_ENTRIES - 1) << 5));
  const flagsOf = (tlb: Expr) => x.load("i32", 4, x.let(x.add(tlb, number)), TLB_ENTRY.physical);
  refuseIf(x, x.and(x.or(flagsOf(supervisor), flagsOf(user)), TLB_FLAG.watched));
  for (const tlb of [supervisor, user]) {
    const entry = x.let(x.add(tlb, number));
    for (const tag of [TLB_ENTRY.readTag, TLB_ENTRY.writeTag, TLB_ENTRY.execTag]) {
      x.store(8, entry, x.i64(NO_TAG), tag);
    }
    const flags = x.load("i32", 4, entry, TLB_ENTRY.physical);
    x.store(4, entry, x.and(flags, TLB_FLAG.logged | TLB_FLAG.loggedGlobal), TLB_ENTRY.physical);
  }
  forgetSites(x);
  // Few enough to drop all: their tags become something that equals no page.
  x.memoryFill(x.fieldAddress(MMIO_TLB.base), x.i32(NO_TAG), x.i32(MMIO_TLB.size));
}

/** CR0, CR2, CR3 and CR4; their fields follow each other. */
function moveFromControl(x: InterpreterBuilder): void {
  const number = x.field("i32", CPU.args);
  refuseIf(x, x.or(x.eq(number, 1), x.gtU(number, 4)));
  const field = x.select(number, x.shl(x.sub(number, 1), 3), x.i32(0));
  const value = x.load("i64", 8, x.let(x.add(x.cpu, field)), CPU.cr0);
  const low = x.and(value, 0xffff_ffff);
  const visible = x.select(x.and(x.field("i32", CPU.mode), MODE.code64), value, low);
  x.store(8, x.let(x.add(x.cpu, x.shl(x.field("i32", CPU.args + 8), 3))), visible, CPU.gpr);
}

const baseOf = (segment: number) => CPU.segments + segment * SEG.size + SEG.base;

/** A new base without a descriptor: legacy modes may no longer take the segment for flat. */
function setBase(x: InterpreterBuilder, segment: number, base: Expr): void {
  x.setField("i64", baseOf(segment), base);
  x.setField("i32", CPU.flatSegments, x.and(x.field("i32", CPU.flatSegments), ~(1 << segment)));
}

function swapGs(x: InterpreterBuilder): void {
  const own = x.field("i64", baseOf(GS));
  setBase(x, GS, x.field("i64", CPU.kernelGsBase));
  x.setField("i64", CPU.kernelGsBase, own);
}

/** IA32_FS_BASE, IA32_GS_BASE and IA32_KERNEL_GS_BASE. */
function writeBase(x: InterpreterBuilder): void {
  const number = x.let(x.sub(x.wrap(x.readGpr(RCX, 64)), 0xc000_0100 | 0));
  refuseIf(x, x.gtU(number, 2));
  const value = x.let(x.or(x.shl(x.readGpr(RDX, 32), 32), x.readGpr(RAX, 32)));
  refuseIf(x, x.eqz(isCanonical(x, value)));
  x.if(x.eqz(number), () => setBase(x, FS, value));
  x.if(x.eq(number, 1), () => setBase(x, GS, value));
  x.if(x.eq(number, 2), () => x.setField("i64", CPU.kernelGsBase, value));
}
