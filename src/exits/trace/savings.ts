/**
 * What moving a handler inward would save, from what the same trace shows answers to cost further in.
 */

import { Distribution } from "./distribution.ts";
import type { Place } from "./place.ts";
import type { AccessKind, Saving, SavingsReport } from "./report.ts";

const KINDS: readonly AccessKind[] = ["port", "string", "mmio"];

/** Where a kind of access was never answered in the kernel: what to take instead, dearer kinds first. */
const INSTEAD: Readonly<Record<AccessKind, readonly AccessKind[]>> = {
  port: ["mmio", "string"],
  string: ["mmio", "port"],
  mmio: ["string", "port"],
};

/**
 * @param others times of the exits that are not about I/O, a last resort
 * @param answered whether the trace tells who answered
 */
export function savings(places: readonly Place[], others: Distribution, answered: boolean): SavingsReport {
  const kernel = new Map(KINDS.map((kind) => [kind, new Distribution()]));
  if (answered) for (const place of places) kernel.get(place.kind)!.addAll(place.kernelTimes);

  const reference = new Map<AccessKind, SavingsReport["reference"][number]>();
  for (const kind of KINDS) {
    if (!answered || !places.some((place) => place.kind === kind)) continue;
    const from = [kind, ...INSTEAD[kind]].find((other) => kernel.get(other)!.count > 0);
    if (from !== undefined) {
      reference.set(kind, { kind, medianNs: Math.round(kernel.get(from)!.quantile(0.5)), from });
    } else if (others.count > 0) {
      reference.set(kind, { kind, medianNs: Math.round(others.quantile(0.5)), from: "other exits" });
    }
  }

  const candidates = places
    .map((place): Saving => {
      const { userTimes } = place;
      const cost = reference.get(place.kind)?.medianNs;
      const inKernelNs =
        cost === undefined || userTimes.count === 0
          ? undefined
          : Math.max(0, userTimes.totalNs - userTimes.count * cost);
      const totalNs = place.times().totalNs;
      return { ...place.key, exits: place.exits, totalNs, inKernelNs, withoutExitNs: totalNs };
    })
    .filter((saving) => saving.totalNs > 0)
    .sort((a, b) => b.totalNs - a.totalNs);
  return { reference: [...reference.values()], candidates };
}
