import { constantOf, type Expr, type Label, type Variable } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import { RESULT } from "../interp/imports.ts";
import { formWidth } from "../isa/define.ts";
import { SYSTEM_OPERATIONS, type SystemOperation } from "../isa/system-operations.ts";
import type { OperandWidth } from "../isa/x86.ts";
import { CPU } from "../state.ts";
import { CompiledOperands } from "./compiled-builder.ts";
import { edge, isCheckpoint, successors } from "./control-flow.ts";
import { flagsNeededAt } from "./flag-liveness.ts";
import type { CompiledModule, Place } from "./host-lookup.ts";
import { JUMP_SITE, JUMP_SITE_TARGETS } from "./jump-sites.ts";
import type { CodeContext } from "./memory-access.ts";
import { type BasicBlock, isIndirect, type Region } from "./region.ts";

/** What a compiled region returns. */
export const REGION = {
  /** An instruction was abandoned: `CPU.stop` says why, `CPU.rip` is its address. */
  abandoned: 0,
  /** Everything up to `CPU.rip` has retired. */
  retired: 1,
  /** Nothing was done: too little budget to begin. Interpret. */
  declined: 2,
  /** As `retired`; the last instruction was a system operation, and modes may have changed. */
  changed: 3,
  /** As `changed`; the monitor has to look. */
  leave: 4,
} as const;

const REGION_TYPE = { params: ["i32"], results: ["i32"] } as const;

/** Writes a region as one function: blocks in structured control flow, and the three ways out. */
export class RegionBuilder extends CompiledOperands {
  /** Where the indirect jump at a host address is noted, see `JumpSites`. */
  jumpSite: (host: number) => number | undefined = () => undefined;
  private plan: Region | undefined;
  private current: BasicBlock | undefined;
  /** An unconditional jump of the current block to another one, which follows when the instruction is written. */
  private following: BasicBlock | undefined;
  private readonly labels = new Map<BasicBlock, Label>();
  private flagsNeeded: ReadonlySet<BasicBlock> = new Set();
  /** Instructions from each block to the next checkpoint, at most. */
  private longest: ReadonlyMap<BasicBlock, number> = new Map();
  private exiting!: Label;
  private calling!: Label;
  /** i64: where the guest goes on. */
  private readonly target: Variable;
  /** i32: number, prefixes and place of a system operation. */
  private readonly operation: Variable;
  private readonly prefixBits: Variable;
  private readonly pc: Variable;

  static create(parts: CompiledModule, name: string, context: CodeContext): RegionBuilder {
    return parts.module.adopt((index) => new RegionBuilder(parts, name, REGION_TYPE, index, context));
  }

  /** A builder whose code goes nowhere. */
  static trial(parts: CompiledModule, context: CodeContext): RegionBuilder {
    return new RegionBuilder(parts, "trial", REGION_TYPE, 0, context);
  }

  constructor(parts: CompiledModule, name: string, type: typeof REGION_TYPE, index: number, context: CodeContext) {
    super(parts, name, type, index, context);
    this.target = this.permanent("i64");
    this.operation = this.permanent("i32");
    this.prefixBits = this.permanent("i32");
    this.pc = this.permanent("i32");
  }

  /** One instruction, to see what it does. */
  tryOut(place: Place, width: OperandWidth): void {
    this.frame(() => this.instruction(place, width));
  }

  /** The whole function. */
  write(region: Region): void {
    this.plan = region;
    this.flagsNeeded = flagsNeededAt(region);
    this.longest = longestPaths(region);
    this.frame(() => this.subtree(region.blocks[0]!));
    this.prologue(() => this.enter(this.longest.get(region.blocks[0]!)!));
  }

  // --- the frame ------------------------------------------------------------------------------------------------

  private frame(body: () => void): void {
    let outcome = false;
    this.block((abandoned) => {
      this.abandoned = abandoned;
      this.block((calling) => {
        this.calling = calling;
        this.block((exiting) => {
          this.exiting = exiting;
          this.beginBlock();
          body();
          outcome = this.terminated;
          this.unreachable();
        });
        this.leaveWith(REGION.retired);
      });
      this.callSystem();
    });
    this.storeHomes();
    this.return(this.i32(REGION.abandoned));
    this.unreachable();
    this.terminated = outcome;
  }

  private leaveWith(result: number): void {
    this.storeState();
    this.return(this.i32(result));
  }

  private storeState(): void {
    this.storeHomes();
    this.setField("i64", CPU.rip, this.get(this.target));
    this.store(4, this.i32(0), this.get(this.budget), CLOCK.budget);
  }

  private callSystem(): void {
    this.storeState();
    this.setField("i32", CPU.startPc, this.get(this.pc));
    this.setField("i32", CPU.compiled, 0);
    const result = this.call(this.parts.operate, this.cpu, this.get(this.operation), this.get(this.prefixBits));
    this.unlikely(this.eqz(result), () => {
      this.setField("i64", CPU.rip, this.add(this.field("i64", CPU.ripBias), this.u64(this.get(this.pc))));
      const left = this.load("i32", 4, this.i32(0), CLOCK.budget);
      this.store(4, this.i32(0), this.add(left, 1), CLOCK.budget);
      this.return(this.i32(REGION.abandoned));
    });
    const leaves = this.eq(result, RESULT.leave);
    this.return(this.select(leaves, this.i32(REGION.leave), this.i32(REGION.changed)));
  }

  /** An `if` outside guest code: nothing to merge. */
  private unlikely(condition: Expr, then: () => void): void {
    this.emit(condition);
    this.branches(then, undefined, false);
  }

  /** Too little budget for the longest way through: nothing is done. */
  private enter(longest: number): void {
    const { rip, host } = this.plan!;
    this.set(this.budget, this.load("i32", 4, this.i32(0), CLOCK.budget));
    this.unlikely(this.ltS(this.get(this.budget), longest), () => this.return(this.i32(REGION.declined)));
    this.set(this.tlbBase, this.field("i32", CPU.tlbBase));
    this.loadQuiet();
    this.loadPortsOpen();
    this.setField("i64", CPU.ripBias, this.i64(rip - BigInt(host)));
  }

  // --- control flow -----------------------------------------------------------------------------------------------

  /** A block and everything that it dominates. */
  private subtree(block: BasicBlock): void {
    const { checked } = this;
    this.blockAndDominated(block);
    this.checked = checked;
  }

  private blockAndDominated(block: BasicBlock): void {
    const { flow } = this.plan!;
    const merges = flow.children.get(block)!.filter((child) => flow.isMerge.has(child));
    const inside = () => this.within(block, merges.toReversed());
    if (!flow.isLoopHeader.has(block)) {
      inside();
      return;
    }
    this.loop((again) => {
      this.labels.set(block, again);
      inside();
    });
  }

  /** `merges`: blocks that are to follow the code of `block`, the last one first. */
  private within(block: BasicBlock, merges: readonly BasicBlock[]): void {
    const [last, ...others] = merges;
    if (last === undefined) {
      this.blockCode(block);
      return;
    }
    this.block((end) => {
      this.labels.set(last, end);
      this.within(block, others);
    });
    this.subtree(last);
  }

  private blockCode(block: BasicBlock): void {
    const { rip, host, context } = this.plan!;
    this.beginBlock();
    this.current = block;
    this.looping = this.plan!.flow.inLoop.has(block);
    const { instructions } = block;
    const after = longestAfter(block, this.longest, this.plan!);
    const own = instructions.length;
    this.set(this.budget, this.sub(this.get(this.budget), own));
    this.following = undefined;
    instructions.forEach(({ decoded, traits, offset }, index) => {
      const place = {
        decoded,
        rip: rip + BigInt(offset),
        next: rip + BigInt(offset + decoded.length),
        host: host + offset,
        remaining: own - 1 - index,
        need: after,
        alone: traits.accesses === 1,
        last: traits.ends,
        block: instructions,
        index,
      };
      this.instruction(place, formWidth(decoded.form!, decoded.attribute, context.mode64));
    });
    if (!this.reachable && this.following === undefined) return;
    const next = this.following ?? block.next;
    this.following = undefined;
    if (next === undefined || this.isCut(block, next)) {
      this.leaveTo(this.i64(next ? rip + BigInt(next.instructions[0]!.offset) : rip + BigInt(block.end)));
      return;
    }
    const { flow } = this.plan!;
    this.checkBudget(next);
    this.goHome(false, this.flagsNeeded.has(next));
    if (flow.isMerge.has(next) || flow.position.get(next)! <= flow.position.get(block)!)
      this.br(this.labels.get(next)!);
    else this.subtree(next);
  }

  /** On the way to a checkpoint: leaves when the budget does not last to the next one. Here the flags are still known. */
  private checkBudget(block: BasicBlock): void {
    if (!isCheckpoint(block, this.plan!)) return;
    const short = this.ltS(this.get(this.budget), this.longest.get(block)!);
    this.if(short, () => this.leaveTo(this.i64(this.startOf(block))), undefined, false);
  }

  private isCut(from: BasicBlock, to: BasicBlock): boolean {
    return this.plan!.flow.irreducible.has(edge(from, to));
  }

  /** A conditional jump inside the region. */
  private branchTo(block: BasicBlock): void {
    this.checkBudget(block);
    this.goHome(false, this.flagsNeeded.has(block));
    this.br(this.labels.get(block)!);
  }

  jump(target: Expr): void {
    this.ended = true;
    const settled = this.let(target);
    this.checkTarget(settled);
    const { current, plan } = this;
    if (plan !== undefined && current !== undefined) {
      const inside = (to: BasicBlock | undefined): to is BasicBlock => to !== undefined && !this.isCut(current, to);
      const known = constantOf(settled);
      if (known !== undefined && inside(current.taken) && this.startOf(current.taken) === known) {
        if (this.conditions > 0) this.branchTo(current.taken);
        else {
          this.following = current.taken;
          this.terminated = true;
        }
        return;
      }
      for (const site of current.seen) {
        if (inside(site)) {
          this.if(this.eq(settled, this.i64(this.startOf(site))), () => this.branchTo(site), undefined, true);
        }
      }
      if (isIndirect(current.instructions.at(-1)!)) this.noteJump(settled);
    }
    this.leaveTo(settled);
  }

  /** An indirect jump out of the region: where to, for those who compile it the next time. */
  private noteJump(target: Expr): void {
    const site = this.jumpSite(this.place.host);
    if (site === undefined) return;
    const zero = this.i32(0);
    const left = this.let(this.sub(this.load("i32", 4, zero, site + JUMP_SITE.left), 1));
    this.store(4, zero, left, site + JUMP_SITE.left);
    this.store(4, this.shl(this.and(left, JUMP_SITE_TARGETS - 1), 2), this.wrap(target), site + JUMP_SITE.targets);
  }

  private startOf(block: BasicBlock): bigint {
    return BigInt.asIntN(64, this.plan!.rip + BigInt(block.instructions[0]!.offset));
  }

  // --- leaving ----------------------------------------------------------------------------------------------------

  private leaveTo(rip: Expr, between = false): void {
    this.goHome(between, true, [[this.target, rip]]);
    this.br(this.exiting);
  }

  exit(rip: Expr, between = false): void {
    this.leaveTo(rip, between);
  }

  system(operation: SystemOperation, ...operands: Expr[]): void {
    this.noteAbandon();
    operands.forEach((operand, position) => {
      this.setField("i64", CPU.args + position * 8, operand);
    });
    const { place } = this;
    this.goHome(false, true, [
      [this.target, this.nextRip()],
      [this.operation, this.i32(SYSTEM_OPERATIONS.indexOf(operation))],
      [this.prefixBits, this.i32(place.decoded.px)],
      [this.pc, this.i32(place.host)],
      [this.budget, this.budgetNow()],
    ]);
    this.br(this.calling);
  }
}

/** Instructions of the longest way on from behind a block to the next checkpoint or out of the region. */
function longestAfter(block: BasicBlock, longest: ReadonlyMap<BasicBlock, number>, region: Region): number {
  const { flow } = region;
  let most = 0;
  for (const next of successors(block)) {
    if (isCheckpoint(next, region) || flow.irreducible.has(edge(block, next))) continue;
    most = Math.max(most, longest.get(next)!);
  }
  return most;
}

/** Instructions of the longest way from the beginning of each block to the next checkpoint or out of the region. */
function longestPaths(region: Region): Map<BasicBlock, number> {
  const longest = new Map<BasicBlock, number>();
  for (const block of region.flow.order.toReversed()) {
    longest.set(block, block.instructions.length + longestAfter(block, longest, region));
  }
  return longest;
}
