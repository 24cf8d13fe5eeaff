/** Expectations from Intel SDM volume 3, section 11.5.4; a tick of the undivided timer is 1 ns (CPUID leaf 15h). */
import { describe, expect, it } from "vitest";
import { apicBench } from "../../test/devices/apic-bench.ts";
import { REGISTER as R } from "./local-apic-registers.ts";

const VECTOR = 0x40;
const MASKED = 0x1_0000;
const PERIODIC = 0x2_0000;
const DEADLINE = 0x4_0000;
const DIVIDE_BY_1 = 0xb;

function timerBench(lvt: number, divide = DIVIDE_BY_1) {
  const system = apicBench();
  system.setLocal(R.spurious, 0x1ff);
  system.setLocal(R.lvtTimer, lvt);
  system.setLocal(R.divide, divide);
  /** Advances and takes interrupts at once; their times. */
  const timesOver = (ns: number): number[] => {
    const end = system.clock.now() + ns;
    const times: number[] = [];
    while (system.clock.nextDeadline <= end) {
      system.clock.advance(system.clock.nextDeadline - system.clock.now());
      const vector = system.take();
      if (vector === undefined) continue;
      times.push(system.clock.now());
      system.setLocal(R.endOfInterrupt, 0);
    }
    system.clock.advance(end - system.clock.now());
    return times;
  };
  return { ...system, timesOver };
}

describe("divide configuration (figure 11-10)", () => {
  it.each([
    [0b0000, 2],
    [0b0001, 4],
    [0b0010, 8],
    [0b0011, 16],
    [0b1000, 32],
    [0b1001, 64],
    [0b1010, 128],
    [0b1011, 1],
  ])("%i divides by %i", (code, divisor) => {
    const system = timerBench(VECTOR, code);
    system.setLocal(R.initialCount, 1000);
    system.clock.advance(100 * divisor - 1);
    expect(system.local(R.currentCount)).toBe(901);
    system.clock.advance(1);
    expect(system.local(R.currentCount)).toBe(900);
    expect(system.timesOver(2000 * divisor)).toEqual([1000 * divisor]);
  });

  it("changed on the way, the count goes on from where it is", () => {
    const system = timerBench(VECTOR);
    system.setLocal(R.initialCount, 1000);
    system.clock.advance(400);
    system.setLocal(R.divide, 0b1010);
    expect(system.local(R.currentCount)).toBe(600);
    system.clock.advance(128);
    expect(system.local(R.currentCount)).toBe(599);
    expect(system.timesOver(128 * 1000)).toEqual([400 + 128 * 600]);
  });
});

describe("one-shot", () => {
  it("counts down once, interrupts at zero and stays there", () => {
    const system = timerBench(VECTOR);
    system.setLocal(R.initialCount, 5000);
    expect([system.local(R.initialCount), system.local(R.currentCount)]).toEqual([5000, 5000]);
    expect(system.timesOver(20_000)).toEqual([5000]);
    expect([system.local(R.initialCount), system.local(R.currentCount)]).toEqual([5000, 0]);
  });

  it("a new initial count starts over; zero stops", () => {
    const system = timerBench(VECTOR);
    system.setLocal(R.initialCount, 5000);
    system.clock.advance(4999);
    system.setLocal(R.initialCount, 5000);
    expect(system.timesOver(20_000)).toEqual([9999]);
    system.setLocal(R.initialCount, 5000);
    system.setLocal(R.initialCount, 0);
    expect(system.timesOver(20_000)).toEqual([]);
  });

  it("masked at zero, the interrupt is lost; masked before and not at zero, it is not", () => {
    const system = timerBench(VECTOR | MASKED);
    system.setLocal(R.initialCount, 5000);
    system.clock.advance(5000);
    system.setLocal(R.lvtTimer, VECTOR);
    expect(system.timesOver(20_000)).toEqual([]);
    system.setLocal(R.lvtTimer, VECTOR | MASKED);
    system.setLocal(R.initialCount, 5000);
    system.clock.advance(4999);
    system.setLocal(R.lvtTimer, VECTOR);
    expect(system.timesOver(20_000)).toEqual([30_000]);
  });

  it("an expiry that the host serves late happens before the change that follows it", () => {
    const system = timerBench(VECTOR);
    system.setLocal(R.initialCount, 5000);
    system.clock.skip(6000);
    system.setLocal(R.lvtTimer, VECTOR | MASKED);
    expect(system.take()).toBe(VECTOR);
  });
});

describe("periodic", () => {
  it("reloads the initial count", () => {
    const system = timerBench(VECTOR | PERIODIC);
    system.setLocal(R.initialCount, 1000);
    expect(system.timesOver(4500)).toEqual([1000, 2000, 3000, 4000]);
    expect(system.local(R.currentCount)).toBe(500);
  });

  it("expiries while the last one is pending are one interrupt, and the phase stays", () => {
    const system = timerBench(VECTOR | PERIODIC);
    system.setLocal(R.initialCount, 1000);
    system.clock.advance(3400);
    expect(system.timesOver(0)).toEqual([]);
    expect(system.take()).toBe(VECTOR);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.timesOver(2000)).toEqual([4000, 5000]);
  });

  it("a second of a 1 ns period is one deadline while nobody takes it", () => {
    const system = timerBench(VECTOR | PERIODIC);
    system.setLocal(R.initialCount, 1);
    const start = performance.now();
    system.clock.advance(1e9);
    expect(performance.now() - start).toBeLessThan(100);
    expect(system.clock.nextDeadline).toBe(Number.POSITIVE_INFINITY);
    const now = system.clock.now();
    expect(system.take()).toBe(VECTOR);
    expect(system.clock.nextDeadline).toBe(now + 1);
  });

  it("an illegal vector is one error until ESR is written, however short the period", () => {
    const system = timerBench(0x05 | PERIODIC);
    system.setLocal(R.lvtError, 0xfe);
    system.setLocal(R.initialCount, 1);
    const start = performance.now();
    system.clock.advance(1e9);
    expect(performance.now() - start).toBeLessThan(100);
    expect(system.take()).toBe(0xfe);
    system.setLocal(R.endOfInterrupt, 0);
    system.clock.advance(10);
    expect(system.take()).toBeUndefined();
    system.setLocal(R.errorStatus, 0);
    expect(system.local(R.errorStatus)).toBe(0x40);
    system.clock.advance(1);
    expect(system.take()).toBe(0xfe);
  });

  it("turned into one-shot on the way, it finishes the round; and the other way round", () => {
    const system = timerBench(VECTOR | PERIODIC);
    system.setLocal(R.initialCount, 1000);
    system.timesOver(1300);
    system.setLocal(R.lvtTimer, VECTOR);
    expect(system.local(R.currentCount)).toBe(700);
    expect(system.timesOver(5000)).toEqual([2000]);
    system.setLocal(R.initialCount, 1000);
    system.clock.advance(100);
    system.setLocal(R.lvtTimer, VECTOR | PERIODIC);
    expect(system.timesOver(2000)).toEqual([7300, 8300]);
  });
});

describe("TSC deadline (11.5.4.1)", () => {
  it("interrupts when the TSC reaches it, once, and reads zero afterwards", () => {
    const system = timerBench(VECTOR | DEADLINE);
    system.first.writeTscDeadline(5000n);
    expect(system.first.readTscDeadline()).toBe(5000n);
    expect(system.timesOver(10_000)).toEqual([5000]);
    expect(system.first.readTscDeadline()).toBe(0n);
  });

  it("a deadline in the past interrupts at once; zero disarms", () => {
    const system = timerBench(VECTOR | DEADLINE);
    system.clock.advance(100);
    system.first.writeTscDeadline(99n);
    expect(system.take()).toBe(VECTOR);
    system.setLocal(R.endOfInterrupt, 0);
    system.first.writeTscDeadline(1000n);
    system.first.writeTscDeadline(0n);
    expect(system.timesOver(10_000)).toEqual([]);
  });

  it("a deadline past while masked is gone", () => {
    const system = timerBench(VECTOR | DEADLINE | MASKED);
    system.first.writeTscDeadline(1000n);
    system.clock.advance(1000);
    expect(system.first.readTscDeadline()).toBe(0n);
    system.setLocal(R.lvtTimer, VECTOR | DEADLINE);
    expect(system.timesOver(10_000)).toEqual([]);
  });

  it("the farthest deadline does not disturb", () => {
    const system = timerBench(VECTOR | DEADLINE);
    system.first.writeTscDeadline(2n ** 64n - 1n);
    system.clock.advance(3600e9);
    expect(system.take()).toBeUndefined();
    expect(system.first.readTscDeadline()).toBe(2n ** 64n - 1n);
  });

  it("the three modes exclude each other", () => {
    const system = timerBench(VECTOR | DEADLINE);
    system.setLocal(R.initialCount, 1000);
    expect([system.local(R.initialCount), system.local(R.currentCount)]).toEqual([0, 0]);
    system.first.writeTscDeadline(1000n);
    system.setLocal(R.lvtTimer, VECTOR);
    expect(system.first.readTscDeadline()).toBe(0n);
    system.first.writeTscDeadline(1000n);
    system.setLocal(R.lvtTimer, VECTOR | DEADLINE);
    expect([system.first.readTscDeadline(), system.timesOver(10_000)]).toEqual([0n, []]);
  });
});
