import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { pic8259 } from "./pic8259.ts";
import { withoutRaw } from "./testing.ts";

const MASTER = 0x20;
const SLAVE = 0xa0;
/** OCW2 and OCW3 (8259A data sheet, figure 8). */
const EOI = 0x20;
const specificEoi = (level: number) => 0x60 | level;
const READ_IRR = 0x0a;
const READ_ISR = 0x0b;
const POLL = 0x0c;
const SPECIAL_MASK_ON = 0x68;
const SPECIAL_MASK_OFF = 0x48;

/** A pair that has been through what every PC BIOS does: vectors 08h and 70h, cascade on 2, 8086 mode. */
function pair({ icw4 = 0x01, slaveIcw4 = 0x01 } = {}) {
  const output: boolean[] = [];
  const device = deviceUnderTest(pic8259, { onOutput: (high) => output.push(high) });
  const initialize = (base: number, vector: number, cascade: number, icw4: number) => {
    device.write(base, 0x11);
    device.write(base + 1, vector);
    device.write(base + 1, cascade);
    device.write(base + 1, icw4);
  };
  initialize(MASTER, 0x08, 0x04, icw4);
  initialize(SLAVE, 0x70, 0x02, slaveIcw4);
  const { api } = device;
  const chip = (base: number) => ({
    irr: () => {
      device.write(base, READ_IRR);
      return device.read(base);
    },
    isr: () => {
      device.write(base, READ_ISR);
      return device.read(base);
    },
    imr: () => device.read(base + 1),
    mask: (value: number) => device.write(base + 1, value),
    command: (value: number) => device.write(base, value),
    poll: () => {
      device.write(base, POLL);
      return device.read(base);
    },
    initialize: (icw4: number) => initialize(base, base === MASTER ? 0x08 : 0x70, base === MASTER ? 0x04 : 0x02, icw4),
  });
  return {
    device,
    api,
    output,
    master: chip(MASTER),
    slave: chip(SLAVE),
    raise: (...irqs: number[]) => {
      for (const irq of irqs) api.setInput(irq, true);
    },
    lower: (...irqs: number[]) => {
      for (const irq of irqs) api.setInput(irq, false);
    },
    pulse: (irq: number) => {
      api.setInput(irq, false);
      api.setInput(irq, true);
    },
    elcr: (value: number) => device.write(0x4d0, value, 2),
  };
}

describe("initialization (8259A, 'Initialization Command Words')", () => {
  it("asserts nothing before a chip is initialized", () => {
    const device = deviceUnderTest(pic8259, { onOutput: () => {} });
    device.api.setInput(0, true);
    expect(device.api.intr).toBe(false);
    device.write(0x20, 0x11);
    device.write(0x21, 0x08);
    device.write(0x21, 0x04);
    expect(device.api.intr).toBe(false);
    device.write(0x21, 0x01);
    // The edge came before ICW1, which resets the edge sense circuit.
    expect(device.api.intr).toBe(false);
    device.api.setInput(0, false);
    device.api.setInput(0, true);
    expect(device.api.acknowledge()).toBe(0x08);
  });

  it.each([
    ["ICW1-4", [0x11, 0x08, 0x04, 0x01]],
    ["single, with ICW4: no ICW3", [0x13, 0x08, 0x01]],
    ["no ICW4", [0x10, 0x08, 0x04]],
    ["single, no ICW4", [0x12, 0x08]],
  ])("takes the words of %s, then writes at A0 = 1 go to the mask", (_, [icw1, ...rest]) => {
    const { device, master, raise, api } = pair();
    device.write(MASTER, icw1);
    for (const word of rest) device.write(MASTER + 1, word);
    master.mask(0xa5);
    expect(master.imr()).toBe(0xa5);
    raise(1);
    expect(api.acknowledge()).toBe(0x09);
  });

  it("clears mask, service, special mask mode and the choice of status register (items a to f)", () => {
    const { master, raise, api } = pair({ icw4: 0x03 });
    master.mask(0x80);
    raise(1);
    api.acknowledge();
    raise(3);
    master.command(READ_ISR);
    master.command(0xc2); // lowest priority: 2
    master.initialize(0x01);
    expect([master.imr(), master.isr(), master.irr()]).toEqual([0, 0, 0]);
    // IRQ 7 has the lowest priority again.
    raise(7, 0);
    expect(api.acknowledge()).toBe(0x08);
    expect(api.acknowledge()).toBe(0x0f);
    // The automatic EOI of the old ICW4 is gone: IRQ 0 stays in service. (7 came from the spurious vector.)
    expect(master.isr()).toBe(0x01);
  });

  it("keeps only bits 7..3 of ICW2", () => {
    const { device, raise, api } = pair();
    for (const word of [0x11, 0x37, 0x04, 0x01]) device.write(word === 0x11 ? MASTER : MASTER + 1, word);
    raise(4);
    expect(api.acknowledge()).toBe(0x34);
  });
});

describe("fully nested mode", () => {
  it("serves the lowest number first and holds back equal and lower priorities until EOI", () => {
    const { api, master, raise, pulse } = pair();
    raise(5, 3);
    expect(api.acknowledge()).toBe(0x0b);
    expect([master.isr(), master.irr(), api.intr]).toEqual([0x08, 0x20, false]);
    pulse(3);
    expect(api.intr).toBe(false);
    raise(1);
    expect(api.acknowledge()).toBe(0x09);
    master.command(EOI);
    expect(master.isr()).toBe(0x08);
    master.command(EOI);
    expect(api.acknowledge()).toBe(0x0b);
    master.command(EOI);
    expect(api.acknowledge()).toBe(0x0d);
  });

  it("clears exactly the level that a specific EOI names", () => {
    const { api, master, raise } = pair();
    raise(5);
    api.acknowledge();
    raise(1);
    api.acknowledge();
    master.command(specificEoi(5));
    expect(master.isr()).toBe(0x02);
    master.command(0x40); // OCW2 "no operation"
    expect(master.isr()).toBe(0x02);
  });

  it("masks, keeps the request, and lets it through when unmasked", () => {
    const { api, master, raise, output } = pair();
    master.mask(0xff);
    output.length = 0;
    raise(6);
    expect([api.intr, master.irr()]).toEqual([false, 0x40]);
    master.mask(0xbf);
    expect(output).toEqual([true]);
    expect(api.acknowledge()).toBe(0x0e);
    expect(output).toEqual([true, false]);
  });
});

describe("triggering", () => {
  it("takes one interrupt from an edge that stays high", () => {
    const { api, master, raise } = pair();
    raise(4);
    expect(api.acknowledge()).toBe(0x0c);
    master.command(EOI);
    raise(4);
    expect(api.intr).toBe(false);
  });

  it("takes interrupts from a level for as long as it is high (ELCR)", () => {
    const { api, slave, master, raise, lower, elcr } = pair();
    elcr(0x0800);
    raise(11);
    for (let i = 0; i < 2; i++) {
      expect(api.acknowledge()).toBe(0x73);
      slave.command(EOI);
      master.command(EOI);
    }
    lower(11);
    expect(api.intr).toBe(false);
    expect(slave.irr()).toBe(0);
  });

  it("has edge triggering fixed for IRQ 0, 1, 2, 8 and 13 (ICH9, ELCR1 and ELCR2)", () => {
    const { device, elcr } = pair();
    elcr(0xffff);
    expect(device.read(0x4d0)).toBe(0xf8);
    expect(device.read(0x4d1)).toBe(0xde);
    expect(device.read(0x4d0, 2)).toBe(0xdef8);
  });

  it("turns a high input into a request when it becomes level-triggered", () => {
    const { api, raise, master, elcr } = pair();
    raise(5);
    api.acknowledge();
    master.command(EOI);
    elcr(0x0020);
    expect(api.acknowledge()).toBe(0x0d);
  });

  it.each([
    ["IRQ 7", [6], 0x0f, 0, 0],
    ["IRQ 7 for a slave's request too, because the cascade input fell", [12], 0x0f, 0, 0],
  ])("gives the default %s, with nothing in service, when the request has gone", (_, irqs, vector, isr, slaveIsr) => {
    const { api, raise, lower, master, slave } = pair();
    raise(...irqs);
    expect(api.intr).toBe(true);
    lower(...irqs);
    expect(api.acknowledge()).toBe(vector);
    expect([master.isr(), slave.isr()]).toEqual([isr, slaveIsr]);
  });

  it("ignores what the board says about the cascade input", () => {
    const { api, raise } = pair();
    raise(2);
    expect(api.intr).toBe(false);
  });
});

describe("cascade", () => {
  it("takes the vector from the slave and needs an EOI on both", () => {
    const { api, raise, master, slave } = pair();
    raise(12);
    expect(api.acknowledge()).toBe(0x74);
    expect([master.isr(), slave.isr()]).toEqual([0x04, 0x10]);
    raise(14);
    expect(api.intr).toBe(false);
    slave.command(EOI);
    expect([master.irr(), api.intr]).toEqual([0x04, false]);
    master.command(EOI);
    expect(api.acknowledge()).toBe(0x76);
  });

  it("ranks the slave's inputs between 1 and 3", () => {
    const { api, raise, master, slave } = pair();
    raise(3, 15, 8, 1);
    const served = [];
    for (let i = 0; i < 4; i++) {
      const vector = api.acknowledge();
      served.push(vector);
      if (vector >= 0x70) slave.command(EOI);
      master.command(EOI);
    }
    expect(served).toEqual([0x09, 0x70, 0x77, 0x0b]);
  });

  it("lets a higher request of a slave in service through only in special fully nested mode", () => {
    for (const [icw4, through] of [
      [0x01, false],
      [0x11, true],
    ] as const) {
      const { api, raise, master } = pair({ icw4 });
      raise(12);
      api.acknowledge();
      raise(9);
      expect(api.intr).toBe(through);
      if (!through) continue;
      expect(api.acknowledge()).toBe(0x71);
      // Lower priorities of the master stay locked out.
      raise(4);
      expect(api.intr).toBe(false);
      expect(master.isr()).toBe(0x04);
    }
  });

  it("makes a new edge on the cascade for each request, also under automatic EOI", () => {
    const { api, raise } = pair({ icw4: 0x03, slaveIcw4: 0x03 });
    raise(8, 14);
    expect(api.acknowledge()).toBe(0x70);
    expect(api.acknowledge()).toBe(0x76);
    expect(api.intr).toBe(false);
  });
});

describe("rotation (8259A, 'Automatic Rotation' and 'Specific Rotation')", () => {
  /** Raises all of 0, 1, 3..7 and returns the order in which they are served with `eoi` after each. */
  const order = (prepare: number[], eoi: (level: number) => number[]) => {
    const { api, master, raise } = pair();
    for (const command of prepare) master.command(command);
    raise(0, 1, 3, 4, 5, 6, 7);
    const served = [];
    for (let i = 0; i < 7; i++) {
      const level = api.acknowledge() - 0x08;
      served.push(level);
      for (const command of eoi(level)) master.command(command);
    }
    return served;
  };

  it("starts with 0", () => expect(order([], () => [EOI])).toEqual([0, 1, 3, 4, 5, 6, 7]));
  it("starts below the level that 'set priority' names", () =>
    expect(order([0xc4], () => [EOI])).toEqual([5, 6, 7, 0, 1, 3, 4]));
  it("rotates on a specific EOI", () => expect(order([0xc4], (l) => [0xe0 | l])).toEqual([5, 6, 7, 0, 1, 3, 4]));

  it("gives the level just served the lowest priority: data sheet example", () => {
    // "Before rotate (IR4 the highest priority requiring service)": 4 and 6 requested, 4 served, then rotate.
    const { api, master, raise, pulse } = pair();
    raise(6, 4);
    expect(api.acknowledge()).toBe(0x0c);
    master.command(0xa0);
    // "After rotate": highest 5, 6, 7, 0, 1, 2, 3, 4 lowest.
    pulse(4);
    raise(3);
    expect(api.acknowledge()).toBe(0x0e);
    master.command(0xa0);
    raise(0);
    expect(api.acknowledge()).toBe(0x08);
  });

  it("rotates at each automatic EOI when asked", () => {
    const { api, master, raise, pulse } = pair({ icw4: 0x03 });
    master.command(0x80);
    raise(1, 5);
    expect(api.acknowledge()).toBe(0x09);
    expect(master.isr()).toBe(0);
    pulse(1);
    expect(api.acknowledge()).toBe(0x0d);
    expect(api.acknowledge()).toBe(0x09);
    master.command(0x00);
    pulse(1);
    pulse(0);
    // Priority stays where rotation left it: 2 highest, 1 lowest.
    expect(api.acknowledge()).toBe(0x08);
    pulse(0);
    expect(api.acknowledge()).toBe(0x08);
  });
});

describe("special mask mode", () => {
  it("lets lower priorities through while the masked level is in service, and a plain EOI skips that level", () => {
    const { api, master, raise } = pair();
    raise(1);
    api.acknowledge();
    raise(6);
    expect(api.intr).toBe(false);
    master.mask(0x02);
    expect(api.intr).toBe(false);
    master.command(SPECIAL_MASK_ON);
    expect(api.acknowledge()).toBe(0x0e);
    expect(master.isr()).toBe(0x42);
    master.command(EOI);
    expect(master.isr()).toBe(0x02);
    master.command(EOI);
    expect(master.isr()).toBe(0x02);
    // ESMM = 0: the SMM bit is "don't care".
    master.command(0x28);
    master.command(EOI);
    expect(master.isr()).toBe(0x02);
    master.command(SPECIAL_MASK_OFF);
    master.command(EOI);
    expect(master.isr()).toBe(0);
  });
});

describe("poll command", () => {
  it("acknowledges by a read: I in bit 7, level in bits 2..0", () => {
    const { api, master, raise } = pair();
    expect(master.poll()).toBe(0);
    raise(5);
    expect(master.poll()).toBe(0x85);
    expect(api.intr).toBe(false);
    expect(master.isr()).toBe(0x20);
  });

  it("overrides the choice of a status register for one read", () => {
    const { device, raise } = pair();
    raise(5);
    device.write(MASTER, 0x0f); // P, RR and RIS
    expect(device.read(MASTER)).toBe(0x85);
    expect(device.read(MASTER)).toBe(0x20); // the ISR
  });

  it("polls the slave by itself", () => {
    const { slave, master, raise } = pair();
    raise(13);
    expect(master.poll()).toBe(0x82);
    expect(slave.poll()).toBe(0x85);
    expect(slave.isr()).toBe(0x20);
  });
});

describe("the pair as a device", () => {
  it("resets to uninitialized chips and a low output", () => {
    const { device, api, output, raise } = pair();
    raise(3);
    device.reset();
    expect(output.at(-1)).toBe(false);
    expect(api.intr).toBe(false);
    expect(device.read(0x4d0, 2)).toBe(0);
  });

  it("carries requests and services over a snapshot", () => {
    const { device, api, raise } = pair();
    raise(12, 3);
    api.acknowledge();
    const copy = device.reincarnate();
    copy.write(SLAVE, EOI);
    copy.write(MASTER, EOI);
    expect(copy.api.acknowledge()).toBe(0x0b);
  });

  it("masks and ends interrupts in raw code without moving the output", () => {
    const { device, api, master, output, raise } = pair();
    raise(4);
    api.acknowledge();
    output.length = 0;
    const ring0 = deviceUnderTest(withoutRaw(pic8259), { onOutput: () => {} });
    ring0.load(device.save());
    for (const bench of [device, ring0]) {
      bench.write(MASTER + 1, 0x5a);
      bench.write(MASTER, specificEoi(3));
    }
    expect([master.imr(), master.isr(), output]).toEqual([0x5a, 0x10, []]);
    device.write(MASTER, EOI);
    expect(master.isr()).toBe(0);
    ring0.write(MASTER, EOI);
    ring0.write(MASTER, READ_ISR);
    expect(device.save()).toEqual(ring0.save());
  });

  it("never throws, and its output is high exactly when an acknowledge has something to give", () => {
    const port = fc.constantFrom(0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1);
    const step = fc.oneof(
      fc.tuple(fc.constant("write"), port, fc.integer({ min: 0, max: 0xffff }), fc.constantFrom(1, 1, 2)),
      fc.tuple(fc.constant("write"), port, fc.constantFrom(0x20, 0x61, 0x66, 0x0b, 0xfb, 0xff), fc.constant(1)),
      fc.tuple(fc.constant("read"), port, fc.constant(0), fc.constantFrom(1, 2, 4)),
      fc.tuple(fc.constant("input"), fc.integer({ min: 0, max: 15 }), fc.constantFrom(0, 1), fc.constant(0)),
      fc.tuple(fc.constant("acknowledge"), fc.constant(0), fc.constant(0), fc.constant(0)),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const { device, api, output } = pair();
        // The same chip answered by ring 0 alone must stay the same.
        const twin = deviceUnderTest(withoutRaw(pic8259), { onOutput: () => {} });
        twin.load(device.save());
        for (const [kind, a, b, c] of steps) {
          const before = api.intr;
          if (kind === "write") {
            device.write(a, b, c);
            twin.write(a, b, c);
          } else if (kind === "read") {
            expect(device.read(a, c)).toBe(twin.read(a, c));
          } else if (kind === "input") {
            api.setInput(a, b === 1);
            twin.api.setInput(a, b === 1);
          } else {
            const vector = api.acknowledge();
            expect(twin.api.acknowledge()).toBe(vector);
            expect(vector).toBeGreaterThanOrEqual(0);
            expect(vector).toBeLessThanOrEqual(255);
            // Without a request only a default IR7 can come.
            if (!before) expect(vector & 7).toBe(7);
          }
          expect(output.at(-1) ?? false).toBe(api.intr);
        }
        expect(device.save()).toEqual(twin.save());
      }),
      { numRuns: 100 },
    );
  });
});
