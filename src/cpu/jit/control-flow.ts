import type { BasicBlock, ControlFlow, Region } from "./region.ts";

export const edge = (from: BasicBlock, to: BasicBlock): string => `${from.index}>${to.index}`;

/** All blocks that control may go to. */
export function successors(block: BasicBlock): BasicBlock[] {
  const all: BasicBlock[] = [];
  if (block.taken) all.push(block.taken);
  all.push(...block.seen);
  if (block.next) all.push(block.next);
  return all;
}

/** A jump that is not the last thing of its block, so that its target needs a label. */
const jumps = (block: BasicBlock): BasicBlock[] =>
  block.taken && block.instructions.at(-1)!.traits.continues ? [block.taken, ...block.seen] : [...block.seen];

/** A block on the way to which the budget is looked at: it runs again and again, or behind units that took their own. */
export function isCheckpoint(block: BasicBlock, region: Region): boolean {
  return region.flow.isLoopHeader.has(block) || followsRepeat(block, region);
}

function followsRepeat(block: BasicBlock, { blocks }: Region): boolean {
  return blocks.some(({ instructions, next }) => next === block && instructions.at(-1)!.traits.repeats);
}

export function analyse(blocks: readonly BasicBlock[]): ControlFlow {
  const order = reversePostorder(blocks[0]!);
  const position = new Map(order.map((block, at) => [block, at]));
  const dominators = dominatorTree(order, position);
  const dominates = (a: BasicBlock, b: BasicBlock): boolean => {
    const target = position.get(a)!;
    let at = position.get(b)!;
    while (at > target) at = dominators[at]!;
    return at === target;
  };
  const isLoopHeader = new Set<BasicBlock>();
  const isMerge = new Set<BasicBlock>();
  const irreducible = new Set<string>();
  const incoming = new Map<BasicBlock, number>();
  for (const from of order) {
    const labelled = jumps(from);
    for (const to of new Set(successors(from))) {
      const backward = position.get(to)! <= position.get(from)!;
      if (backward && !dominates(to, from)) irreducible.add(edge(from, to));
      else if (backward) isLoopHeader.add(to);
      else {
        const count = (incoming.get(to) ?? 0) + 1;
        incoming.set(to, count);
        if (count > 1 || labelled.includes(to)) isMerge.add(to);
      }
    }
  }
  const children = new Map<BasicBlock, BasicBlock[]>(order.map((block) => [block, []]));
  for (let at = 1; at < order.length; at++) children.get(order[dominators[at]!]!)!.push(order[at]!);
  const inLoop = loopBlocks(order, position, irreducible);
  return { order, position, children, isLoopHeader, inLoop, isMerge, irreducible };
}

/** Blocks from which control can come back to them: all that lead to a backward edge without passing its target. */
function loopBlocks(
  order: readonly BasicBlock[],
  position: ReadonlyMap<BasicBlock, number>,
  irreducible: ReadonlySet<string>,
): Set<BasicBlock> {
  const predecessors = new Map<BasicBlock, BasicBlock[]>(order.map((block) => [block, []]));
  for (const from of order) {
    for (const to of successors(from)) if (!irreducible.has(edge(from, to))) predecessors.get(to)!.push(from);
  }
  const inLoop = new Set<BasicBlock>();
  for (const head of order) {
    const body = new Set([head]);
    const enter = (block: BasicBlock): void => {
      if (body.has(block)) return;
      body.add(block);
      for (const from of predecessors.get(block)!) enter(from);
    };
    const backward = predecessors.get(head)!.filter((from) => position.get(from)! >= position.get(head)!);
    for (const from of backward) enter(from);
    if (backward.length > 0) for (const block of body) inLoop.add(block);
  }
  return inLoop;
}

function reversePostorder(entry: BasicBlock): BasicBlock[] {
  const order: BasicBlock[] = [];
  const seen = new Set<BasicBlock>();
  const visit = (block: BasicBlock): void => {
    if (seen.has(block)) return;
    seen.add(block);
    // What falls through comes first in the result, so it is visited last.
    for (const next of successors(block)) visit(next);
    order.push(block);
  };
  visit(entry);
  return order.reverse();
}

/** Immediate dominators by position: Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm", 2001. */
function dominatorTree(order: readonly BasicBlock[], position: ReadonlyMap<BasicBlock, number>): Int32Array {
  const dominators = new Int32Array(order.length).fill(-1);
  const predecessors: number[][] = order.map(() => []);
  order.forEach((block, at) => {
    for (const next of successors(block)) predecessors[position.get(next)!]!.push(at);
  });
  dominators[0] = 0;
  for (let changed = true; changed; ) {
    changed = false;
    for (let at = 1; at < order.length; at++) {
      let common = -1;
      for (const from of predecessors[at]!) {
        if (dominators[from] === -1) continue;
        common = common === -1 ? from : intersect(dominators, common, from);
      }
      if (dominators[at] !== common) {
        dominators[at] = common;
        changed = true;
      }
    }
  }
  return dominators;
}

function intersect(dominators: Int32Array, a: number, b: number): number {
  let [x, y] = [a, b];
  while (x !== y) {
    while (x > y) x = dominators[x]!;
    while (y > x) y = dominators[y]!;
  }
  return x;
}
