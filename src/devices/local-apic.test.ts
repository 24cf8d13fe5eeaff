/** Expectations from Intel SDM volume 3, chapter 11 (December 2022 numbering). */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { apicBench, LOCAL } from "../../test/devices/apic-bench.ts";
import { DELIVERY } from "./apic-message-bus.ts";
import { REGISTER as R } from "./local-apic-registers.ts";

const ISR = 0x100;
const TMR = 0x180;
const IRR = 0x200;
const MASKED = 0x1_0000;
const SELF = 1 << 18;
const ALL = 2 << 18;
const OTHERS = 3 << 18;

/** Software-enabled, spurious vector FFh. */
function enabledBench(count = 1) {
  const system = apicBench(count);
  for (let i = 0; i < count; i++) system.setLocalOf(i, R.spurious, 0x1ff);
  return system;
}

describe("after power-up (11.4.7.1)", () => {
  it.each([
    ["ID", R.id, 0],
    ["version: 14h, six LVT entries, no EOI-broadcast suppression (figure 11-7)", R.version, 0x0005_0014],
    ["TPR", R.taskPriority, 0],
    ["PPR", R.processorPriority, 0],
    ["LDR", R.logicalDestination, 0],
    ["DFR", R.destinationFormat, 0xffff_ffff],
    ["SVR", R.spurious, 0xff],
    ["ESR", R.errorStatus, 0],
    ["ICR low", R.icrLow, 0],
    ["ICR high", R.icrHigh, 0],
    ["LVT timer", R.lvtTimer, MASKED],
    ["LVT thermal", R.lvtThermal, MASKED],
    ["LVT performance", R.lvtPerformance, MASKED],
    ["LVT LINT0", R.lvtLint0, MASKED],
    ["LVT LINT1", R.lvtLint1, MASKED],
    ["LVT error", R.lvtError, MASKED],
    ["initial count", R.initialCount, 0],
    ["current count", R.currentCount, 0],
    ["divide", R.divide, 0],
  ])("%s", (_, offset, expected) => {
    const system = apicBench();
    expect(system.local(offset)).toBe(expected);
    system.setLocal(R.spurious, 0x1ff);
    system.setLocal(offset, 0x0003_10a5);
    system.clock.advance(10);
    system.bench.reset();
    expect(system.local(offset)).toBe(expected);
  });

  it("processor n has ID n, and processor 0 is the bootstrap processor (figure 11-5)", () => {
    const system = apicBench(3);
    expect([0, 1, 2].map((i) => system.localOf(i, R.id))).toEqual([0, 0x0100_0000, 0x0200_0000]);
    expect(system.apics.cpus.map((apic) => apic.readBaseMsr())).toEqual([0xfee0_0900, 0xfee0_0800, 0xfee0_0800]);
  });
});

describe("writable bits (figures 11-8, 11-13, 11-14, 11-23)", () => {
  it.each([
    ["ID is fixed", R.id, 0xffff_ffff, 0],
    ["TPR", R.taskPriority, 0xffff_ffff, 0xff],
    ["LDR", R.logicalDestination, 0xffff_ffff, 0xff00_0000],
    ["DFR", R.destinationFormat, 0, 0x0fff_ffff],
    ["SVR", R.spurious, 0xffff_ffff, 0x3ff],
    ["LVT timer", R.lvtTimer, 0xffff_ffff, 0x7_00ff],
    ["LVT thermal", R.lvtThermal, 0xffff_ffff, 0x1_07ff],
    ["LVT performance", R.lvtPerformance, 0xffff_ffff, 0x1_07ff],
    ["LVT LINT0: not delivery status and remote IRR", R.lvtLint0, 0xffff_ffff, 0x1_a7ff],
    ["LVT LINT1", R.lvtLint1, 0xffff_ffff, 0x1_a7ff],
    ["LVT error", R.lvtError, 0xffff_ffff, 0x1_00ff],
    ["ICR high", R.icrHigh, 0xffff_ffff, 0xff00_0000],
    ["ICR low: not delivery status", R.icrLow, 0x0000_16fe, 0x0000_06fe],
    ["divide", R.divide, 0xffff_ffff, 0xb],
    ["ISR", ISR, 0xffff_ffff, 0],
    ["IRR", IRR + 0x70, 0xffff_ffff, 0],
  ])("%s", (_, offset, written, expected) => {
    const system = enabledBench();
    system.setLocal(offset, written);
    expect(system.local(offset)).toBe(expected);
  });

  it("software-disabled, every LVT entry is masked and stays so (11.4.7.2)", () => {
    const system = enabledBench();
    system.setLocal(R.lvtError, 0x40);
    expect(system.local(R.lvtError)).toBe(0x40);
    system.setLocal(R.spurious, 0xff);
    expect(system.local(R.lvtError)).toBe(MASKED | 0x40);
    system.setLocal(R.lvtError, 0x41);
    expect(system.local(R.lvtError)).toBe(MASKED | 0x41);
  });
});

describe("priorities (11.8.3)", () => {
  it("takes requests from the highest vector down, a class at a time", () => {
    const system = enabledBench();
    for (const vector of [0x31, 0x52, 0x51]) system.setLocal(R.icrLow, SELF | vector);
    expect(system.vectors(IRR)).toEqual([0x31, 0x51, 0x52]);
    expect(system.take()).toBe(0x52);
    expect([system.vectors(IRR), system.vectors(ISR)]).toEqual([[0x31, 0x51], [0x52]]);
    expect(system.cpu.intr, "51h is of the class in service").toBe(false);
    expect(system.local(R.processorPriority)).toBe(0x50);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.take()).toBe(0x51);
    system.setLocal(R.icrLow, SELF | 0x60);
    expect(system.take(), "a higher class nests").toBe(0x60);
    expect(system.vectors(ISR)).toEqual([0x51, 0x60]);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.vectors(ISR), "EOI ends the highest").toEqual([0x51]);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.take()).toBe(0x31);
    expect(system.take()).toBeUndefined();
  });

  it("holds what the task priority covers, by class (figure 11-18)", () => {
    const system = enabledBench();
    system.setLocal(R.taskPriority, 0x35);
    system.setLocal(R.icrLow, SELF | 0x3f);
    expect(system.cpu.intr).toBe(false);
    expect(system.local(R.processorPriority)).toBe(0x35);
    system.setLocal(R.taskPriority, 0x2f);
    expect(system.cpu.intr).toBe(true);
  });

  it("CR8 is the class of the same register (11.8.6)", () => {
    const system = enabledBench();
    system.setLocal(R.icrLow, SELF | 0x8f);
    system.first.writeTpr(0x80);
    expect([system.local(R.taskPriority), system.cpu.intr]).toEqual([0x80, false]);
    system.setLocal(R.taskPriority, 0x3f);
    expect([system.first.readTpr(), system.cpu.intr]).toEqual([0x3f, true]);
  });

  it("gives the spurious vector when the request was there but is masked now (11.9), and ISR stays", () => {
    const system = enabledBench();
    system.setLocal(R.spurious, 0x1ef);
    system.setLocal(R.icrLow, SELF | 0x30);
    system.setLocal(R.taskPriority, 0x80);
    expect(system.first.acknowledge()).toBe(0xef);
    expect([system.vectors(ISR), system.vectors(IRR)]).toEqual([[], [0x30]]);
  });

  it("acknowledges nothing when nothing requests", () => {
    expect(enabledBench().first.acknowledge()).toBe(-1);
  });

  it("remembers one more of a vector in service, and no more", () => {
    const system = enabledBench();
    system.setLocal(R.icrLow, SELF | 0x40);
    system.take();
    for (let i = 0; i < 3; i++) system.setLocal(R.icrLow, SELF | 0x40);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.take()).toBe(0x40);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.take()).toBeUndefined();
  });

  it("an EOI with nothing in service does nothing", () => {
    const system = enabledBench();
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.vectors(ISR)).toEqual([]);
  });
});

describe("errors (11.5.3)", () => {
  it.each([
    ["sending an illegal vector", (s: ReturnType<typeof enabledBench>) => s.setLocal(R.icrLow, SELF | 0x0f), 0x20],
    ["receiving one", (s: ReturnType<typeof enabledBench>) => s.first.receive(DELIVERY.fixed, 0x0f, false), 0x40],
    ["reading a reserved register", (s: ReturnType<typeof enabledBench>) => s.local(0x3f0), 0x80],
    ["writing a reserved register", (s: ReturnType<typeof enabledBench>) => s.setLocal(0x2f0, 0), 0x80],
  ])("%s: shown after a write to ESR", (_, act, bit) => {
    const system = enabledBench();
    system.setLocal(R.lvtError, 0xfe);
    act(system);
    expect(system.local(R.errorStatus)).toBe(0);
    expect(system.take()).toBe(0xfe);
    system.setLocal(R.errorStatus, 0);
    expect(system.local(R.errorStatus)).toBe(bit);
    system.setLocal(R.errorStatus, 0);
    expect(system.local(R.errorStatus)).toBe(0);
  });

  it("interrupts once until ESR is written", () => {
    const system = enabledBench();
    system.setLocal(R.lvtError, 0xfe);
    system.local(0);
    system.take();
    system.setLocal(R.endOfInterrupt, 0);
    system.local(0);
    expect(system.take()).toBeUndefined();
    system.setLocal(R.errorStatus, 0);
    system.local(0);
    expect(system.take()).toBe(0xfe);
  });

  it("an illegal vector in the error entry ends there", () => {
    const system = enabledBench();
    system.setLocal(R.lvtError, 0x05);
    system.local(0);
    system.setLocal(R.errorStatus, 0);
    expect(system.local(R.errorStatus)).toBe(0xc0);
  });
});

describe("interprocessor interrupts (11.6)", () => {
  const received = (system: ReturnType<typeof enabledBench>, vector: number) =>
    system.cpus.map((_, i) => (system.vectors(IRR, i).includes(vector) ? 1 : 0)).join("");

  /** Destination, ICR low, who gets it, of four processors; processor 0 sends. */
  it.each([
    ["physical: the ID", 2, 0x40, "0010"],
    ["physical FFh: everybody (11.6.2.1)", 0xff, 0x40, "1111"],
    ["physical, nobody", 7, 0x40, "0000"],
    ["self", 3, SELF | 0x40, "1000"],
    ["all including self", 3, ALL | 0x40, "1111"],
    ["all excluding self", 3, OTHERS | 0x40, "0111"],
    ["logical flat: a bit for each (11.6.2.2)", 0x0a, 0x840, "0101"],
    ["logical flat FFh", 0xff, 0x840, "1111"],
  ])("%s", (_, destination, command, expected) => {
    const system = enabledBench(4);
    for (let i = 0; i < 4; i++) system.setLocalOf(i, R.logicalDestination, 0x0100_0000 << i);
    system.setLocal(R.icrHigh, destination << 24);
    system.setLocal(R.icrLow, command);
    expect(received(system, 0x40)).toBe(expected);
    expect(system.local(R.icrLow) & 0x1000, "delivery status: idle").toBe(0);
  });

  it.each([
    ["cluster 1, both", 0x13, "1100"],
    ["cluster 1, second", 0x12, "0100"],
    ["cluster 2, first", 0x21, "0010"],
    ["FFh: everybody", 0xff, "1111"],
  ])("logical cluster model: %s (11.6.2.2)", (_, destination, expected) => {
    const system = enabledBench(4);
    [0x11, 0x12, 0x21, 0x22].forEach((id, i) => {
      system.setLocalOf(i, R.destinationFormat, 0x0fff_ffff);
      system.setLocalOf(i, R.logicalDestination, id * 2 ** 24);
    });
    system.setLocal(R.icrHigh, destination * 2 ** 24);
    system.setLocal(R.icrLow, 0x840);
    expect(received(system, 0x40)).toBe(expected);
  });

  it("lowest priority: one processor, the one with the lowest, equals in turn (11.6.2.4)", () => {
    const system = enabledBench(3);
    for (let i = 0; i < 3; i++) system.setLocalOf(i, R.logicalDestination, 0x0100_0000 << i);
    system.setLocal(R.icrHigh, 0x0700_0000);
    const winners = [0x40, 0x41, 0x42].map((vector) => {
      system.setLocal(R.icrLow, 0x900 | vector);
      return received(system, vector);
    });
    expect([...winners].sort()).toEqual(["001", "010", "100"]);
    [0x80, 0x90, 0x20].forEach((priority, i) => {
      while (system.take(i) !== undefined) system.setLocalOf(i, R.endOfInterrupt, 0);
      system.setLocalOf(i, R.taskPriority, priority);
    });
    system.setLocal(R.icrLow, 0x950);
    expect(received(system, 0x50)).toBe("001");
  });

  it("the MP start-up sequence reaches processors that software has not enabled (11.4.7.2)", () => {
    const system = apicBench(2);
    system.setLocal(R.icrHigh, 0x0100_0000);
    for (const command of [0xc500, 0x8500, 0x0608, 0x0608, 0x0440, 0x4040]) system.setLocal(R.icrLow, command);
    expect(system.cpus[1].signals).toEqual(["init", "startup 8", "startup 8"].concat("nmi"));
    expect(system.vectors(IRR, 1), "but not fixed interrupts").toEqual([]);
  });

  it("INIT resets all but the ID and the base (11.4.7.3)", () => {
    const system = enabledBench(2);
    system.setLocalOf(1, R.taskPriority, 0x55);
    system.setLocal(R.icrHigh, 0x0100_0000);
    system.setLocal(R.icrLow, 0x4040);
    system.setLocal(R.icrLow, 0x4500);
    expect(system.localOf(1, R.id)).toBe(0x0100_0000);
    expect([R.taskPriority, R.spurious, IRR + 0x20].map((r) => system.localOf(1, r))).toEqual([0, 0xff, 0]);
    expect(system.cpus[1].intr).toBe(false);
  });
});

describe("LINT pins (11.5.1)", () => {
  it("ExtINT on LINT0 follows the 8259A and takes its vector, past all priorities", () => {
    const system = enabledBench();
    system.setLocal(R.taskPriority, 0xff);
    system.setLocal(R.lvtLint0, 0x0700);
    system.pic.push(0x08);
    system.apics.setLint(0, true);
    expect(system.take()).toBe(0x08);
    system.apics.setLint(0, false);
    expect(system.take()).toBeUndefined();
    expect(system.vectors(ISR)).toEqual([]);
    system.apics.setLint(0, true);
    system.setLocal(R.lvtLint0, 0x1_0700);
    expect(system.cpu.intr).toBe(false);
  });

  it("NMI on LINT1, at its rising edge", () => {
    const system = enabledBench();
    system.setLocal(R.lvtLint1, 0x0400);
    system.apics.setLint(1, true);
    system.apics.setLint(1, true);
    system.apics.setLint(1, false);
    expect(system.cpu.signals).toEqual(["nmi"]);
    system.setLocal(R.lvtLint1, 0x1_0400);
    system.apics.setLint(1, true);
    expect(system.cpu.signals).toEqual(["nmi"]);
  });

  it("fixed and edge-triggered: one interrupt an edge", () => {
    const system = enabledBench();
    system.setLocal(R.lvtLint0, 0x0050);
    system.apics.setLint(0, true);
    expect(system.take()).toBe(0x50);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.take()).toBeUndefined();
  });

  it("fixed and level-triggered: again after EOI while the level stays, with remote IRR in between", () => {
    const system = enabledBench();
    system.setLocal(R.lvtLint0, 0x8050);
    system.apics.setLint(0, true);
    expect(system.local(R.lvtLint0)).toBe(0xc050);
    expect(system.take()).toBe(0x50);
    expect(system.vectors(TMR)).toEqual([0x50]);
    system.setLocal(R.endOfInterrupt, 0);
    expect(system.take()).toBe(0x50);
    system.apics.setLint(0, false);
    system.setLocal(R.endOfInterrupt, 0);
    expect([system.take(), system.local(R.lvtLint0)]).toEqual([undefined, 0x8050]);
  });

  it("by their polarity: active low, the 8259A's requests pass while it has none, and NMI comes at the falling edge", () => {
    const system = enabledBench();
    system.setLocal(R.lvtLint0, 0x2700);
    expect(system.cpu.intr).toBe(true);
    system.apics.setLint(0, true);
    expect(system.cpu.intr).toBe(false);
    system.setLocal(R.lvtLint0, 0x1_0700);
    system.setLocal(R.lvtLint1, 0x2400);
    system.apics.setLint(1, true);
    expect(system.cpu.signals).toEqual([]);
    system.apics.setLint(1, false);
    expect(system.cpu.signals).toEqual(["nmi"]);
  });

  it("virtual wire mode, as firmware hands over (MP 1.4, 3.6.2.2)", () => {
    const system = apicBench();
    system.pic.push(0x20);
    system.apics.setLint(0, true);
    expect(system.cpu.intr).toBe(false);
    system.apics.enterVirtualWireMode();
    expect([R.spurious, R.lvtLint0, R.lvtLint1].map(system.local)).toEqual([0x10f, 0x700, 0x400]);
    expect(system.take()).toBe(0x20);
    system.apics.setLint(1, true);
    expect(system.cpu.signals).toEqual(["nmi"]);
  });
});

describe("IA32_APIC_BASE (11.4.3, 11.4.4)", () => {
  it.each([
    ["x2APIC", 0xfee0_0d00],
    ["a reserved low bit", 0xfee0_0801],
    ["beyond MAXPHYADDR", 2 ** 40 + 0x800],
  ])("refuses %s", (_, value) => {
    const system = apicBench();
    expect(system.first.writeBaseMsr(value)).toBe(false);
    expect(system.first.readBaseMsr()).toBe(0xfee0_0900);
  });

  it("moves the registers", () => {
    const system = enabledBench(2);
    expect(system.first.writeBaseMsr(0xd000_0900)).toBe(true);
    expect(system.bench.mmioRead(0xd000_0000 + R.spurious)).toBe(0x1ff);
    expect(system.bench.mmioRead(LOCAL + R.spurious), "not this processor's any more").toBe(0xffff_ffff);
    expect(system.localOf(1, R.id), "but the other's").toBe(0x0100_0000);
    const copy = system.reincarnate();
    expect(copy.bench.mmioRead(0xd000_0000 + R.spurious)).toBe(0x1ff);
    expect(copy.localOf(1, R.id)).toBe(0x0100_0000);
    system.bench.reset();
    expect(system.local(R.version)).toBe(0x0005_0014);
    expect(system.bench.mmioRead(0xd000_0000)).toBe(0xffff_ffff);
  });

  it("disabled, the pins are INTR and NMI, and the registers are gone; enabled again, it is as after power-up", () => {
    const system = enabledBench();
    system.setLocal(R.icrLow, SELF | 0x40);
    expect(system.first.writeBaseMsr(0xfee0_0100)).toBe(true);
    expect([system.cpu.intr, system.local(R.version)]).toEqual([false, 0xffff_ffff]);
    system.pic.push(0x33);
    system.apics.setLint(0, true);
    expect(system.take()).toBe(0x33);
    system.apics.setLint(1, true);
    expect(system.cpu.signals).toEqual(["nmi"]);
    system.apics.setLint(0, false);
    expect(system.apics.bus.deliver(0, false, DELIVERY.fixed, 0x40, false)).toBe(false);
    system.first.writeBaseMsr(0xfee0_0900);
    expect([system.local(R.spurious), system.vectors(IRR)]).toEqual([0xff, []]);
  });
});

const offset = fc.oneof(fc.constantFrom(...Object.values(R)), fc.integer({ min: 0, max: 0xfff }));
const value = fc.oneof(
  fc.integer({ min: 0, max: 0xffff_ffff }),
  fc.integer({ min: 0, max: 0x7_ffff }),
  fc.nat(200).map((n) => SELF | n),
  fc.nat(255).map((n) => 0x700 | n),
);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ offset, value }) },
  { weight: 3, arbitrary: fc.record({ offset }) },
  { weight: 2, arbitrary: fc.record({ offset, width: fc.constantFrom(1, 2), value }) },
  { weight: 4, arbitrary: fc.constant({ take: true }) },
  { weight: 2, arbitrary: fc.constant({ offset: R.endOfInterrupt as number, value: 0 }) },
  { weight: 3, arbitrary: fc.record({ advance: fc.nat(1e6) }) },
  { weight: 1, arbitrary: fc.record({ pin: fc.constantFrom(0 as const, 1 as const), high: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ base: fc.constantFrom(0xfee0_0900, 0xfee0_0100, 0xd000_0900, 0xfee0_0400) }) },
  { weight: 1, arbitrary: fc.record({ deadline: fc.bigInt(0n, 2n ** 64n - 1n) }) },
  { weight: 1, arbitrary: fc.record({ ahead: fc.bigInt(-10n, 1_000_000n) }) },
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** Runs a program on processor 0 and gives all that its guest could see. */
function run(system: ReturnType<typeof apicBench>, steps: readonly Step[]): unknown[] {
  return steps.map((s) => {
    if ("take" in s) return system.take();
    if ("advance" in s) system.clock.advance(s.advance);
    else if ("pin" in s) system.apics.setLint(s.pin, s.high);
    else if ("base" in s) return system.first.writeBaseMsr(s.base);
    else if ("deadline" in s) system.first.writeTscDeadline(s.deadline);
    else if ("ahead" in s) system.first.writeTscDeadline(BigInt(system.clock.now()) + s.ahead);
    else if ("value" in s) system.bench.mmioWrite(LOCAL + (s.offset & ~3), s.value, "width" in s ? s.width : 4);
    else return system.bench.mmioRead(LOCAL + (s.offset & ~3));
    return [system.cpu.intr, system.cpu.signals.length, system.first.readTpr(), system.first.readTscDeadline()];
  });
}

describe("whatever a guest does", () => {
  it("answers the same with emitted handlers (one processor) and without (two)", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        // A broadcast INIT or the like does not come back from the other processor, which nobody runs.
        expect(run(apicBench(1), [{ offset: R.spurious, value: 0x1ff }, ...steps])).toEqual(
          run(apicBench(2), [{ offset: R.spurious, value: 0x1ff }, ...steps]),
        );
      }),
      { numRuns: 150 },
    );
  });

  it("goes on identically after save and load", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), fc.array(step, { maxLength: 40 }), (before, after) => {
        const system = apicBench();
        run(system, [{ offset: R.spurious, value: 0x1ff }, ...before]);
        const copy = system.reincarnate();
        system.cpu.signals.length = 0;
        expect(copy.cpu.intr).toBe(system.cpu.intr);
        expect(run(copy, after)).toEqual(run(system, after));
      }),
      { numRuns: 100 },
    );
  });
});
