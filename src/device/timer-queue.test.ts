import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TimerQueue } from "./timer-queue.ts";
import type { Timer } from "./types.ts";

/** What a timer queue must do, the slow way: a list searched from end to end. */
class BruteForce {
  readonly deadlines: (number | undefined)[] = [];
  readonly fired: number[] = [];

  next(): number {
    return Math.min(Number.POSITIVE_INFINITY, ...this.deadlines.filter((d) => d !== undefined));
  }

  fireDue(now: number): void {
    while (this.next() <= now) {
      const index = this.deadlines.indexOf(this.next());
      this.deadlines[index] = undefined;
      this.fired.push(index);
    }
  }
}

type Step =
  | { kind: "set"; timer: number; at: number }
  | { kind: "cancel"; timer: number }
  | { kind: "run"; to: number };
const COUNT = 9;
const timer = fc.integer({ min: 0, max: COUNT - 1 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({ kind: fc.constant("set" as const), timer, at: fc.integer({ min: 0, max: 60 }) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("cancel" as const), timer }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("run" as const), to: fc.integer({ min: 0, max: 60 }) }) },
);

describe("timer queue", () => {
  it("fires in order of deadline, then of creation, whatever was set and cancelled", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const queue = new TimerQueue();
        const fired: number[] = [];
        const timers = Array.from({ length: COUNT }, (_, index) => queue.create(() => fired.push(index)));
        const model = new BruteForce();
        for (let i = 0; i < COUNT; i++) model.deadlines.push(undefined);
        for (const step of steps) {
          if (step.kind === "set") {
            timers[step.timer].set(step.at);
            model.deadlines[step.timer] = step.at;
          } else if (step.kind === "cancel") {
            timers[step.timer].cancel();
            model.deadlines[step.timer] = undefined;
          } else {
            queue.fireDue(step.to);
            model.fireDue(step.to);
          }
          expect(fired).toEqual(model.fired);
          expect(queue.nextDeadline).toBe(model.next());
          expect(timers.map((t) => t.deadline)).toEqual(model.deadlines);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("lets a periodic timer catch up", () => {
    const queue = new TimerQueue();
    let count = 0;
    const timer: Timer = queue.create(() => {
      count++;
      timer.set(10 * (count + 1));
    });
    timer.set(10);
    queue.fireDue(55);
    expect(count).toBe(5);
    expect(timer.deadline).toBe(60);
  });

  it("says when the earliest deadline becomes earlier, and only then", () => {
    const queue = new TimerQueue();
    const cuts: number[] = [];
    queue.onEarlier = (deadline) => cuts.push(deadline);
    const [a, b] = [queue.create(() => {}), queue.create(() => {})];
    a.set(100);
    b.set(200);
    b.set(50);
    a.set(70);
    expect(cuts).toEqual([100, 50]);
  });

  it("takes an infinite deadline as none", () => {
    const queue = new TimerQueue();
    const timer = queue.create(() => {});
    timer.set(1);
    timer.set(Number.POSITIVE_INFINITY);
    expect(timer.deadline).toBeUndefined();
    expect(queue.nextDeadline).toBe(Number.POSITIVE_INFINITY);
  });

  it.each([0, 1000, 1.3e16])("goes on behind a timer that asks for the same time again and again, at %d ns", (now) => {
    const queue = new TimerQueue();
    let fired = 0;
    const again = queue.create(() => {
      fired++;
      again.set(now);
    });
    again.set(now);
    for (let time = now; fired < 5; time = queue.nextDeadline) {
      queue.fireDue(time);
      expect(queue.nextDeadline).toBeGreaterThan(time);
      expect(queue.nextDeadline).toBeLessThan(time + 8);
    }
  });

  it("takes a deadline in the far future for none", () => {
    const queue = new TimerQueue();
    const timer = queue.create(() => {});
    timer.set(2 ** 61);
    expect(queue.nextDeadline).toBe(2 ** 61);
    for (const never of [2 ** 63, Number.POSITIVE_INFINITY]) {
      timer.set(never);
      expect(queue.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    }
  });

  it("fires at once whatever lies in the past", () => {
    const queue = new TimerQueue();
    const fired: number[] = [];
    for (const deadline of [-1, -(2 ** 60), Number.NEGATIVE_INFINITY])
      queue.create(() => fired.push(deadline)).set(deadline);
    queue.fireDue(0);
    expect(fired).toEqual([Number.NEGATIVE_INFINITY, -(2 ** 60), -1]);
  });

  it("refuses what is no time, and stays as it was", () => {
    const queue = new TimerQueue();
    const timer = queue.create(() => {});
    timer.set(7);
    for (const deadline of [Number.NaN, 5n, "5", undefined, null]) {
      expect(() => timer.set(deadline as number)).toThrow(expect.objectContaining({ code: "ARGUMENT" }));
      expect(queue.nextDeadline).toBe(7);
    }
  });
});
