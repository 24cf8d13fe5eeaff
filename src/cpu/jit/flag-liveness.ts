import { edge, successors } from "./control-flow.ts";
import type { BasicBlock, Region } from "./region.ts";

/**
 * Blocks at whose beginning the arithmetic flags matter: an instruction reads them, may be abandoned, or leaves the
 * region before others overwrite them.
 */
export function flagsNeededAt({ flow }: Region): Set<BasicBlock> {
  const needed = new Set<BasicBlock>();
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of flow.order.toReversed()) {
      if (needed.has(block) || !neededAtStart(block, needed, flow.irreducible)) continue;
      needed.add(block);
      changed = true;
    }
  }
  return needed;
}

function neededAtStart(block: BasicBlock, needed: ReadonlySet<BasicBlock>, irreducible: ReadonlySet<string>): boolean {
  for (const { traits } of block.instructions) {
    if (traits.readsFlags || traits.mayAbandon) return true;
    if (traits.writesFlags) return false;
  }
  const inside = successors(block).filter((next) => !irreducible.has(edge(block, next)));
  return leavesRegion(block, inside) || inside.some((next) => needed.has(next));
}

/** Some way out of the block leads out of the region. */
function leavesRegion(block: BasicBlock, inside: readonly BasicBlock[]): boolean {
  const { traits } = block.instructions.at(-1)!;
  if (!traits.ends) return block.next === undefined || !inside.includes(block.next);
  const taken = block.taken !== undefined && inside.includes(block.taken);
  const next = !traits.continues || (block.next !== undefined && inside.includes(block.next));
  return !taken || !next;
}
