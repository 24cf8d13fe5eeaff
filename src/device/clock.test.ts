import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CLOCK } from "../memory/layout.ts";
import { createCounter, ticksAt, timeOfTicks, virtualTime } from "./clock.ts";

const hz = fc.oneof(
  fc.constantFrom(1, 32_768, 1_193_182, 3_579_545, 10_000_000, 14_318_180, 1_000_000_000, 999_999_999, 2 ** 34),
  fc.integer({ min: 1, max: 2 ** 34 }),
);
const ns = fc.oneof(
  fc.maxSafeInteger().map(Math.abs),
  fc.integer({ min: 0, max: 4_000_000_000 }),
  fc.integer({ min: 1, max: 9_000_000 }).chain((s) => fc.constantFrom(s * 1e9, s * 1e9 - 1, s * 1e9 + 1)),
);

describe("counters", () => {
  it("count exactly: floor(ns * hz / 1e9)", () => {
    fc.assert(
      fc.property(ns, hz, (ns, hz) => {
        const exact = (BigInt(ns) * BigInt(hz)) / 1_000_000_000n;
        fc.pre(exact <= BigInt(Number.MAX_SAFE_INTEGER));
        expect(BigInt(ticksAt(ns, hz))).toBe(exact);
      }),
      { numRuns: 5000 },
    );
  });

  it("give the first nanosecond of a tick: ceil(ticks * 1e9 / hz)", () => {
    fc.assert(
      fc.property(ns, hz, (ticks, hz) => {
        const exact = (BigInt(ticks) * 1_000_000_000n + BigInt(hz) - 1n) / BigInt(hz);
        fc.pre(exact <= BigInt(Number.MAX_SAFE_INTEGER));
        expect(BigInt(timeOfTicks(ticks, hz))).toBe(exact);
      }),
      { numRuns: 5000 },
    );
  });

  it("follow the clock they are made from", () => {
    let now = 0;
    const counter = createCounter(() => now, 3_579_545);
    now = 1_000_000_000;
    expect(counter.read()).toBe(3_579_545);
    expect(counter.timeOf(1)).toBe(280);
  });
});

describe("virtual time from the clock block", () => {
  it("is baseNs + ((sliceBudget - budget) * rate >> 20), exactly", () => {
    const memory = new WebAssembly.Memory({ initial: 1 });
    const view = new DataView(memory.buffer);
    const now = virtualTime(memory);
    const positive = fc.integer({ min: 0, max: 2 ** 31 - 1 });
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 52 }), positive, positive, positive, (base, slice, budget, rate) => {
        fc.pre(budget <= slice);
        view.setBigUint64(CLOCK.baseNs, BigInt(base), true);
        view.setInt32(CLOCK.sliceBudget, slice, true);
        view.setInt32(CLOCK.budget, budget, true);
        view.setInt32(CLOCK.rate, rate, true);
        expect(BigInt(now())).toBe(BigInt(base) + ((BigInt(slice - budget) * BigInt(rate)) >> 20n));
      }),
      { numRuns: 2000 },
    );
  });
});
