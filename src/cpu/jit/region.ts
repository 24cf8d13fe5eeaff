import type { DecodedInstruction } from "../decode/decoder.ts";
import { CPU, CS, SEG } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import type { CodeContext } from "./memory-access.ts";

/** What a definition says of itself when it is run by a builder whose code is thrown away. */
export interface Traits {
  readonly supported: boolean;
  /** Control never falls through, or may go elsewhere: the last of its block. */
  readonly ends: boolean;
  /** Control may fall through to the next instruction. */
  readonly continues: boolean;
  readonly readsFlags: boolean;
  /** All six arithmetic flags, on every path. */
  readonly writesFlags: boolean;
  /** May be abandoned: what was there before it must be whole. */
  readonly mayAbandon: boolean;
  /** Places of the definition that access memory, and those of them that write. */
  readonly accesses: number;
  readonly stores: number;
  /** A REP string instruction: it takes budget of its own. */
  readonly repeats: boolean;
  readonly helpers: readonly string[];
}

/** An instruction where it stands: offset from the region's first byte (negative: before it). */
export interface RegionInstruction {
  readonly decoded: DecodedInstruction;
  readonly traits: Traits;
  readonly offset: number;
}

const INDIRECT = new Set(["jmp r/m", "call r/m"]);

/** A near jump or call to a place that is not in the instruction. */
export const isIndirect = ({ decoded }: RegionInstruction): boolean => INDIRECT.has(decoded.form!.name);

/** Straight-line code: no instruction but the last leaves it. */
export interface BasicBlock {
  readonly index: number;
  readonly instructions: readonly RegionInstruction[];
  /** Offset behind its last instruction. */
  readonly end: number;
  /** Where a jump of its last instruction goes; undefined: out of the region, or nowhere known. */
  readonly taken: BasicBlock | undefined;
  /** What follows when no jump is taken; undefined: outside. */
  readonly next: BasicBlock | undefined;
  /** Where else its last instruction may go: a RET behind calls, an indirect jump to where it was seen to go. */
  readonly seen: readonly BasicBlock[];
}

/** Code of one page that is compiled as a whole; the first block is its entry. */
export interface Region {
  readonly context: CodeContext;
  /** Address (an offset in CS) and host address of the entry. */
  readonly rip: bigint;
  readonly host: number;
  readonly blocks: readonly BasicBlock[];
  readonly flow: ControlFlow;
  readonly instructions: number;
  /** Offsets of the first byte and behind the last. */
  readonly from: number;
  readonly to: number;
}

/** Shape of a region, for structured code: N. Ramsey, "Beyond Relooper", ICFP 2022. */
export interface ControlFlow {
  /** Reachable blocks in reverse postorder; a block's number in it. */
  readonly order: readonly BasicBlock[];
  readonly position: ReadonlyMap<BasicBlock, number>;
  /** Children in the dominator tree, in reverse postorder. */
  readonly children: ReadonlyMap<BasicBlock, readonly BasicBlock[]>;
  readonly isLoopHeader: ReadonlySet<BasicBlock>;
  /** Blocks of loops. */
  readonly inLoop: ReadonlySet<BasicBlock>;
  /** Blocks that more than the code before them goes to: they need a label. */
  readonly isMerge: ReadonlySet<BasicBlock>;
  /** Edges "from → to" that structured code cannot follow (they enter a loop elsewhere than at its head). */
  readonly irreducible: ReadonlySet<string>;
}

/** The context that the vCPU is in. */
export function codeContext(state: VcpuState): CodeContext {
  const mode64 = state.is64;
  return {
    mode64,
    long: state.isLong,
    initialPrefixes: state.initialPrefixes,
    stackMask: mode64 ? 0xffff_ffffn : state.u64(CPU.stackMask),
    flatSegments: mode64 ? 0x3f : state.u32(CPU.flatSegments) & 0x3f,
    csLimit: mode64 ? 0xffff_ffffn : state.u64(CPU.segments + CS * SEG.size + SEG.limit),
    ioExits: state.u32(CPU.ioExits) !== 0,
  };
}
