import { edge, isCheckpoint, successors } from "./control-flow.ts";
import type { BasicBlock, Region } from "./region.ts";

/**
 * Blocks at whose beginning the arithmetic flags matter: an instruction reads them, may be abandoned, or leaves the
 * region before others overwrite them.
 */
export function flagsNeededAt(region: Region): Set<BasicBlock> {
  const { flow } = region;
  const needed = new Set<BasicBlock>();
  for (let changed = true; changed; ) {
    changed = false;
    for (const block of flow.order.toReversed()) {
      if (needed.has(block) || !neededAtStart(block, needed, region)) continue;
      needed.add(block);
      changed = true;
    }
  }
  return needed;
}

function neededAtStart(block: BasicBlock, needed: ReadonlySet<BasicBlock>, region: Region): boolean {
  for (const { traits } of block.instructions) {
    if (traits.readsFlags || traits.mayAbandon) return true;
    if (traits.writesFlags) return false;
  }
  const inside = successors(block).filter((next) => !region.flow.irreducible.has(edge(block, next)));
  // On the way to a checkpoint the region is left when the budget is short.
  if (inside.some((next) => isCheckpoint(next, region))) return true;
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
