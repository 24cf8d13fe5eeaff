import { type Decoder, MAX_LENGTH } from "../decode/decoder.ts";
import { formWidth } from "../isa/define.ts";
import { analyse } from "./control-flow.ts";
import type { CodeContext } from "./memory-access.ts";
import { type BasicBlock, isIndirect, type Region, type RegionInstruction } from "./region.ts";
import type { TraitTable } from "./traits.ts";

export interface RegionLimits {
  /** Most instructions and blocks of a region. Far larger ones are no longer optimised well by V8. */
  readonly instructions: number;
  readonly blocks: number;
}

export const REGION_LIMITS: RegionLimits = { instructions: 256, blocks: 64 };
/** A RET compares its target with so many places at most. */
const RETURN_SITES_MAX = 4;

const CONDITIONAL = new Set(["jcc", "loop", "loope", "loopne", "jcxz"]);
const RETURNS = new Set(["ret", "ret imm"]);
const CALLS = new Set(["call rel", "call r/m"]);

/** Where the indirect jump at a host address was seen to go: low halves of addresses (offsets in CS). */
export type SeenTargets = (host: number) => readonly number[];

interface Call {
  readonly target: number;
  readonly site: number;
}

interface Draft {
  readonly start: number;
  readonly instructions: RegionInstruction[];
  end: number;
}

/** Where the code is, and how much of it may be looked at. */
export interface CodePlace {
  readonly bytes: Uint8Array;
  /** Host address of the entry. */
  readonly host: number;
  /** Bytes before and from the entry on that lie in its page and within the limit of CS. */
  readonly before: number;
  readonly after: number;
  readonly rip: bigint;
}

/** Finds the code that can be reached from an entry without leaving its page. */
export class RegionFinder {
  private readonly decoder: Decoder;
  private readonly traits: TraitTable;
  private readonly limits: RegionLimits;

  constructor(decoder: Decoder, traits: TraitTable, limits: RegionLimits = REGION_LIMITS) {
    this.decoder = decoder;
    this.traits = traits;
    this.limits = limits;
  }

  /** Undefined when not even the first instruction can be compiled. */
  find(place: CodePlace, context: CodeContext, seenTargets: SeenTargets = () => []): Region | undefined {
    const found = new Map<number, RegionInstruction>();
    const leaders = new Set<number>([0]);
    /** Where the instructions that end blocks may go, by their offsets. */
    const jumps = new Map<number, readonly number[]>();
    const calls: Call[] = [];
    const work = [0];
    while (work.length > 0 && leaders.size <= this.limits.blocks) {
      let offset = work.shift()!;
      for (;;) {
        if (found.has(offset) || found.size >= this.limits.instructions) break;
        const one = this.decode(place, context, offset);
        if (one === undefined) break;
        found.set(offset, one);
        offset += one.decoded.length;
        if (!one.traits.ends) continue;
        const targets = this.targets(one, place, context, seenTargets);
        jumps.set(one.offset, targets);
        const isCall = CALLS.has(one.decoded.form!.name);
        for (const leader of isCall && targets.length > 0 ? [...targets, offset] : targets) {
          leaders.add(leader);
          work.push(leader);
        }
        if (isCall) for (const target of targets) calls.push({ target, site: offset });
        if (!one.traits.continues) break;
        leaders.add(offset);
      }
    }
    if (!found.has(0)) return undefined;
    const blocks = this.blocks(found, leaders, jumps, calls);
    return this.region(place, context, blocks);
  }

  private decode(place: CodePlace, context: CodeContext, offset: number): RegionInstruction | undefined {
    const rest = place.after - offset;
    if (offset < -place.before || rest <= 0) return undefined;
    const { mode64, initialPrefixes } = context;
    const decoded = this.decoder.decode(place.bytes, rest, mode64, initialPrefixes, place.host + offset);
    if (decoded.form === undefined || decoded.length > Math.min(rest, MAX_LENGTH)) return undefined;
    const traits = this.traits.of(decoded, context);
    return traits.supported ? { decoded, traits, offset } : undefined;
  }

  /** Offset that a relative branch goes to, when that is in reach. */
  private target(one: RegionInstruction, place: CodePlace, context: CodeContext): number | undefined {
    const { decoded } = one;
    const { name } = decoded.form!;
    if (!CONDITIONAL.has(name) && name !== "jmp rel" && name !== "call rel") return undefined;
    const width = formWidth(decoded.form!, decoded.attribute, context.mode64);
    const target = BigInt.asUintN(width, place.rip + BigInt(one.offset + decoded.length) + decoded.imm);
    const offset = Number(BigInt.asIntN(64, target - place.rip));
    return offset >= -place.before && offset < place.after ? offset : undefined;
  }

  /** Offsets in reach that the last instruction of a block may jump to. */
  private targets(
    one: RegionInstruction,
    place: CodePlace,
    context: CodeContext,
    seenTargets: SeenTargets,
  ): readonly number[] {
    const target = this.target(one, place, context);
    if (target !== undefined) return [target];
    if (!isIndirect(one)) return [];
    const rip = Number(BigInt.asUintN(32, place.rip));
    return seenTargets(place.host + one.offset)
      .map((low) => (low - rip) | 0)
      .filter((offset) => offset >= -place.before && offset < place.after);
  }

  private blocks(
    found: ReadonlyMap<number, RegionInstruction>,
    leaders: ReadonlySet<number>,
    jumps: ReadonlyMap<number, readonly number[]>,
    calls: readonly Call[],
  ): BasicBlock[] {
    const drafts: Draft[] = [];
    for (const start of leaders) {
      const first = found.get(start);
      if (first === undefined) continue;
      const draft: Draft = { start, instructions: [], end: start };
      for (let one: RegionInstruction | undefined = first; one !== undefined; one = found.get(draft.end)) {
        draft.instructions.push(one);
        draft.end += one.decoded.length;
        if (one.traits.ends || leaders.has(draft.end)) break;
      }
      drafts.push(draft);
    }
    type Building = { -readonly [K in keyof BasicBlock]: BasicBlock[K] };
    const blocks: Building[] = drafts.map(({ instructions, end }, index) => ({
      index,
      instructions,
      end,
      taken: undefined,
      next: undefined,
      seen: [],
    }));
    const at = new Map(drafts.map(({ start }, index) => [start, blocks[index]!]));
    for (const block of blocks) {
      const last = block.instructions.at(-1)!;
      const targets = (jumps.get(last.offset) ?? []).flatMap((target) => at.get(target) ?? []);
      if (isIndirect(last)) block.seen = targets;
      else block.taken = targets[0];
      if (!last.traits.ends || last.traits.continues) block.next = at.get(block.end);
    }
    this.connectReturns(blocks, at, calls);
    return blocks;
  }

  private region({ rip, host }: CodePlace, context: CodeContext, blocks: readonly BasicBlock[]): Region {
    const offsets = blocks.flatMap(({ instructions }) => instructions.map(({ offset }) => offset));
    return {
      context,
      rip,
      host,
      blocks,
      flow: analyse(blocks),
      instructions: offsets.length,
      from: Math.min(...offsets),
      to: Math.max(...blocks.map(({ end }) => end)),
    };
  }

  /** A RET of a function that is called inside the region goes back to the places behind those calls. */
  private connectReturns(
    blocks: readonly { seen: readonly BasicBlock[]; readonly index: number }[],
    at: ReadonlyMap<number, BasicBlock>,
    calls: readonly Call[],
  ): void {
    const sites = new Map<BasicBlock, Set<BasicBlock>>();
    for (const { target, site } of calls) {
      const [entry, back] = [at.get(target), at.get(site)];
      if (entry === undefined || back === undefined) continue;
      for (const block of bodyOf(entry, at)) {
        if (!RETURNS.has(block.instructions.at(-1)!.decoded.form!.name)) continue;
        const known = sites.get(block) ?? new Set();
        sites.set(block, known.add(back));
      }
    }
    for (const [block, backs] of sites) {
      if (backs.size <= RETURN_SITES_MAX) blocks[block.index]!.seen = [...backs];
    }
  }
}

/** Blocks of a function: calls are stepped over. */
function bodyOf(entry: BasicBlock, at: ReadonlyMap<number, BasicBlock>): Set<BasicBlock> {
  const body = new Set<BasicBlock>([entry]);
  for (const block of body) {
    const isCall = CALLS.has(block.instructions.at(-1)!.decoded.form!.name);
    const after = isCall ? [at.get(block.end)] : [block.taken, block.next];
    for (const one of after) if (one !== undefined) body.add(one);
  }
  return body;
}
