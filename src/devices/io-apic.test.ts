/** Expectations from the Intel 82093AA data sheet (290566-001); the EOI register from the ICH9 data sheet. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { apicBench, IO } from "../../test/devices/apic-bench.ts";
import { REGISTER as R } from "./local-apic-registers.ts";

const IRR = 0x200;
const TMR = 0x180;
const LEVEL = 0x8000;
const MASKED = 0x1_0000;
const REMOTE_IRR = 0x4000;
const ACTIVE_LOW = 0x2000;

function ioBench(count = 1) {
  const system = apicBench(count);
  for (let i = 0; i < count; i++) system.setLocalOf(i, R.spurious, 0x1ff);
  const indirect = (index: number) => {
    system.bench.mmioWrite(IO, index);
    return system.bench.mmioRead(IO + 0x10);
  };
  const setIndirect = (index: number, value: number) => {
    system.bench.mmioWrite(IO, index);
    system.bench.mmioWrite(IO + 0x10, value);
  };
  return { ...system, indirect, setIndirect, eoi: () => system.setLocal(R.endOfInterrupt, 0) };
}

describe("registers (sections 3.1 and 3.2)", () => {
  it.each([
    ["ID: bits 27:24", 0x00, 0xffff_ffff, 0x0f00_0000],
    ["version: 24 entries, 20h", 0x01, 0xffff_ffff, 0x0017_0020],
    ["an entry's low half: delivery status and remote IRR are read-only", 0x10, 0xffff_ffff, 0x0001_afff],
    ["an entry's high half", 0x3f, 0xffff_ffff, 0xff00_0000],
    ["beyond the table", 0x40, 0xffff_ffff, 0],
  ])("%s", (_, index, written, read) => {
    const system = ioBench();
    system.setIndirect(index, written);
    expect(system.indirect(index)).toBe(read);
  });

  it("after reset all entries are masked (3.2.4)", () => {
    const system = ioBench();
    for (let pin = 0; pin < 24; pin++) {
      system.setIndirect(0x10 + 2 * pin, 0x40);
      system.setIndirect(0x11 + 2 * pin, 0xff00_0000);
    }
    system.bench.reset();
    for (let pin = 0; pin < 24; pin++) {
      expect([system.indirect(0x10 + 2 * pin), system.indirect(0x11 + 2 * pin)]).toEqual([MASKED, 0]);
    }
  });

  it("the select register holds eight bits, and a byte write is enough", () => {
    const system = ioBench();
    system.bench.mmioWrite(IO, 0x01, 1);
    expect([system.bench.mmioRead(IO), system.bench.mmioRead(IO + 0x10)]).toEqual([1, 0x0017_0020]);
  });
});

describe("edge-triggered", () => {
  it("sends at each rising edge", () => {
    const system = ioBench();
    system.redirect(4, 0x34);
    system.io.setInput(4, true);
    system.io.setInput(4, true);
    expect(system.take()).toBe(0x34);
    system.eoi();
    expect(system.take()).toBeUndefined();
    system.io.setInput(4, false);
    system.io.setInput(4, true);
    expect([system.take(), system.vectors(TMR)]).toEqual([0x34, []]);
  });

  it("loses edges while masked (3.2.4, interrupt mask)", () => {
    const system = ioBench();
    system.redirect(4, 0x34 | MASKED);
    system.io.setInput(4, true);
    system.redirect(4, 0x34);
    expect(system.take()).toBeUndefined();
  });
});

describe("level-triggered", () => {
  it("sets remote IRR until EOI, then sends again while the line is asserted", () => {
    const system = ioBench();
    system.redirect(9, 0x39 | LEVEL);
    system.io.setInput(9, true);
    expect([system.entry(9), system.vectors(IRR), system.vectors(TMR)]).toEqual([
      0x39 | LEVEL | REMOTE_IRR,
      [0x39],
      [0x39],
    ]);
    expect(system.take()).toBe(0x39);
    expect(system.take()).toBeUndefined();
    system.eoi();
    expect(system.take()).toBe(0x39);
    system.io.setInput(9, false);
    expect(system.entry(9)).toBe(0x39 | LEVEL | REMOTE_IRR);
    system.eoi();
    expect([system.take(), system.entry(9)]).toEqual([undefined, 0x39 | LEVEL]);
  });

  it("a line that stays asserted makes one interrupt for each EOI, and nothing runs away", () => {
    const system = ioBench();
    for (let pin = 0; pin < 24; pin++) {
      system.redirect(pin, 0x39 | LEVEL);
      system.io.setInput(pin, true);
    }
    for (let i = 0; i < 1000; i++) {
      expect(system.take()).toBe(0x39);
      expect(system.take()).toBeUndefined();
      system.eoi();
    }
  });

  it("ignores a masked line, and sends when it is unmasked while asserted", () => {
    const system = ioBench();
    system.redirect(9, 0x39 | LEVEL | MASKED);
    system.io.setInput(9, true);
    expect([system.take(), system.entry(9)]).toEqual([undefined, 0x39 | LEVEL | MASKED]);
    system.redirect(9, 0x39 | LEVEL);
    expect(system.take()).toBe(0x39);
  });

  it.each([
    ["an ISA line, active high", 9, 0],
    ["a PCI line, active low", 16, ACTIVE_LOW],
  ])("sees %s, by its polarity (3.2.4)", (_, pin, polarity) => {
    const system = ioBench();
    system.redirect(pin, 0x50 | LEVEL | polarity);
    expect(system.take()).toBeUndefined();
    system.io.setInput(pin, true);
    expect(system.take()).toBe(0x50);
    system.io.setInput(pin, false);
    system.eoi();
    expect(system.take()).toBeUndefined();
    // The wrong polarity: an interrupt while nobody requests one, and none while somebody does.
    system.redirect(pin, 0x51 | LEVEL | (polarity ^ ACTIVE_LOW));
    expect(system.take()).toBe(0x51);
    system.io.setInput(pin, true);
    system.eoi();
    expect(system.take()).toBeUndefined();
  });

  it("takes the falling edge of an active-low entry", () => {
    const system = ioBench();
    system.redirect(4, 0x34 | ACTIVE_LOW);
    system.io.setInput(4, true);
    expect(system.take()).toBeUndefined();
    system.io.setInput(4, false);
    expect(system.take()).toBe(0x34);
  });

  it("a changed vector does not hear the old one's EOI; switching to edge clears remote IRR, as kernels do for 82093AA", () => {
    const system = ioBench();
    system.redirect(9, 0x39 | LEVEL);
    system.io.setInput(9, true);
    system.take();
    system.redirect(9, 0x3a | LEVEL);
    system.eoi();
    expect([system.take(), system.entry(9)]).toEqual([undefined, 0x3a | LEVEL | REMOTE_IRR]);
    system.redirect(9, 0x3a | MASKED);
    system.redirect(9, 0x3a | LEVEL);
    expect(system.take()).toBe(0x3a);
  });

  it("the EOI register ends it too (ICH9, EOIR)", () => {
    const system = ioBench();
    system.redirect(9, 0x39 | LEVEL);
    system.io.setInput(9, true);
    system.take();
    system.io.setInput(9, false);
    system.bench.mmioWrite(IO + 0x40, 0x39);
    expect(system.entry(9)).toBe(0x39 | LEVEL);
  });

  it("waits, delivery status pending, until a local APIC takes it", () => {
    const system = apicBench();
    system.redirect(9, 0x39 | LEVEL);
    system.io.setInput(9, true);
    expect(system.entry(9)).toBe(0x39 | LEVEL | 0x1000);
    system.setLocal(R.spurious, 0x1ff);
    expect([system.take(), system.entry(9)]).toEqual([0x39, 0x39 | LEVEL | REMOTE_IRR]);
  });
});

describe("delivery modes (3.2.4)", () => {
  it("physical and logical destinations", () => {
    const system = ioBench(3);
    for (let i = 0; i < 3; i++) system.setLocalOf(i, R.logicalDestination, 0x0100_0000 << i);
    system.redirect(1, 0x31, 0x0200_0000);
    system.redirect(2, 0x832, 0x0300_0000);
    for (const pin of [1, 2]) system.io.setInput(pin, true);
    expect([0, 1, 2].map((i) => system.vectors(IRR, i))).toEqual([[0x32], [0x32], [0x31]]);
  });

  it("NMI, INIT and ExtINT", () => {
    const system = ioBench();
    system.redirect(1, 0x400);
    system.redirect(3, 0x500);
    system.redirect(0, 0x700);
    system.pic.push(0x21);
    system.io.setInput(0, true);
    expect(system.take()).toBe(0x21);
    expect(system.take()).toBeUndefined();
    system.io.setInput(1, true);
    system.io.setInput(3, true);
    expect(system.cpu.signals).toEqual(["nmi", "init"]);
  });

  it("lowest priority reaches one of many", () => {
    const system = ioBench(4);
    for (let i = 0; i < 4; i++) system.setLocalOf(i, R.logicalDestination, 0x0100_0000 << i);
    system.setLocalOf(0, R.taskPriority, 0x20);
    system.redirect(5, 0x955, 0xff00_0000);
    system.io.setInput(5, true);
    const takers = [0, 1, 2, 3].filter((i) => system.vectors(IRR, i).includes(0x55));
    expect(takers).toEqual([1]);
  });
});

describe("message-signalled interrupts (SDM volume 3, 11.11)", () => {
  it.each([
    ["physical", 0xfee0_1000, 0x4041, [[], [0x41], []]],
    ["physical, nobody", 0xfee0_9000, 0x4041, [[], [], []]],
    ["logical without redirection hint, as Linux's flat mode", 0xfee0_5004, 0x4041, [[0x41], [], [0x41]]],
    ["logical with redirection hint: one of them", 0xfee0_600c, 0x4041, [[], [0x41], []]],
    ["lowest priority", 0xfee0_6004, 0x4141, [[], [0x41], []]],
    ["level-triggered, asserted", 0xfee0_1000, 0xc041, [[], [0x41], []]],
    ["level-triggered, de-asserted", 0xfee0_1000, 0x8041, [[], [], []]],
    ["elsewhere", 0xfed0_1000, 0x4041, [[], [], []]],
  ])("%s", (_, address, data, expected) => {
    const system = ioBench(3);
    for (let i = 0; i < 3; i++) system.setLocalOf(i, R.logicalDestination, 0x0100_0000 << i);
    system.apics.bus.msi(address, data);
    expect([0, 1, 2].map((i) => system.vectors(IRR, i))).toEqual(expected);
    expect(system.vectors(TMR, 1)).toEqual(data === 0xc041 ? [0x41] : []);
  });
});

describe("whatever a guest does", () => {
  const step = fc.oneof(
    fc.record({ pin: fc.nat(23), low: fc.integer({ min: 0, max: 0x1_ffff }), high: fc.constantFrom(0, 0xff00_0000) }),
    fc.record({ pin: fc.nat(23), asserted: fc.boolean() }),
    fc.record({ offset: fc.constantFrom(0, 0x10, 0x40, 0x44, 0xffc), value: fc.integer({ min: 0, max: 0xffff_ffff }) }),
    fc.constant({ take: true }),
    fc.constant({ eoi: true }),
  );
  type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;
  const run = (system: ReturnType<typeof ioBench>, steps: readonly Step[]) =>
    steps.map((s) => {
      if ("asserted" in s) system.io.setInput(s.pin, s.asserted);
      else if ("low" in s) system.redirect(s.pin, s.low, s.high);
      else if ("offset" in s) system.bench.mmioWrite(IO + s.offset, s.value);
      else if ("eoi" in s) system.eoi();
      else return system.take();
      return [system.bench.mmioRead(IO + 0x10), system.cpu.intr];
    });

  it("never throws, and goes on identically after save and load", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 50 }), fc.array(step, { maxLength: 30 }), (before, after) => {
        const system = ioBench();
        run(system, before);
        const copy = system.reincarnate();
        const again = { ...copy, indirect: system.indirect, setIndirect: system.setIndirect };
        expect(run({ ...again, eoi: () => copy.setLocal(R.endOfInterrupt, 0) }, after)).toEqual(run(system, after));
        for (let pin = 0; pin < 24; pin++) expect(copy.entry(pin)).toBe(system.entry(pin));
      }),
      { numRuns: 200 },
    );
  });
});
