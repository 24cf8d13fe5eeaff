import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PIT_COUNTER, PitCounter } from "./pit8254-counter.ts";

const newCounter = () => {
  const counter = new PitCounter(Object.fromEntries(Object.keys(PIT_COUNTER).map((name) => [name, 0])) as never);
  counter.setGate(0, true);
  return counter;
};

/** Actions at ticks, then the counting element and OUT after each tick from 1 on. */
type Script = Record<number, (counter: PitCounter, tick: number) => void>;
function waveform(script: Script, ticks: number) {
  const counter = newCounter();
  const values: number[] = [];
  let out = "";
  for (let tick = 0; tick <= ticks; tick++) {
    if (tick > 0) {
      values.push(counter.value(tick));
      out += counter.output(tick) ? "#" : "_";
    }
    script[tick]?.(counter, tick);
  }
  return { values, out };
}
const program =
  (control: number, ...counts: number[]) =>
  (counter: PitCounter, tick: number) => {
    counter.writeControl(tick, control);
    for (const count of counts) counter.writeCount(tick, count);
  };
const count = (value: number) => (counter: PitCounter, tick: number) => counter.writeCount(tick, value);
const gate = (high: boolean) => (counter: PitCounter, tick: number) => counter.setGate(tick, high);
const all =
  (...actions: Script[number][]) =>
  (counter: PitCounter, tick: number) => {
    for (const action of actions) action(counter, tick);
  };

/** The waveforms of the data sheet: control word and count written before the first clock edge shown. */
describe.each<[string, Script, number[], string]>([
  ["mode 0 (figure 15)", { 0: program(0x10, 4) }, [4, 3, 2, 1, 0, 0xffff, 0xfffe], "____###"],
  [
    "mode 0, GATE low for two clocks",
    { 0: program(0x10, 3), 2: gate(false), 4: gate(true) },
    [3, 2, 2, 2, 1, 0, 0xffff],
    "_____##",
  ],
  ["mode 0, a new count", { 0: program(0x10, 3), 3: count(2) }, [3, 2, 1, 2, 1, 0, 0xffff], "_____##"],
  [
    "mode 1 (figure 16), triggered twice",
    { 0: all(gate(false), program(0x12, 3)), 1: gate(true), 2: gate(false), 5: gate(true) },
    [0, 3, 2, 1, 0, 3, 2, 1, 0],
    "#___#___#",
  ],
  [
    "mode 1, retriggered while low",
    { 0: all(gate(false), program(0x12, 3)), 1: gate(true), 2: gate(false), 3: gate(true) },
    [0, 3, 2, 3, 2, 1, 0, 0xffff],
    "#_____##",
  ],
  [
    "mode 1, a new count waits for a trigger",
    { 0: all(gate(false), program(0x12, 2)), 1: gate(true), 2: all(count(4), gate(false)), 6: gate(true) },
    [0, 2, 1, 0, 0xffff, 0xfffe, 4, 3, 2, 1, 0],
    "#__###____#",
  ],
  ["mode 2 (figure 17)", { 0: program(0x14, 3) }, [3, 2, 1, 3, 2, 1, 3], "##_##_#"],
  [
    "mode 2, GATE",
    { 0: program(0x14, 3), 2: gate(false), 3: gate(true) },
    [3, 2, 2, 3, 2, 1, 3],
    // While GATE is low OUT is high; the rising edge reloads.
    "#####_#",
  ],
  ["mode 2, a new count", { 0: program(0x14, 4), 2: count(5) }, [4, 3, 2, 1, 5, 4, 3, 2, 1], "###_####_"],
  ["mode 3 (figure 18), even", { 0: program(0x16, 4) }, [4, 2, 4, 2, 4, 2, 4, 2, 4, 2], "##__##__##"],
  ["mode 3, odd", { 0: program(0x16, 5) }, [4, 2, 0, 4, 2, 4, 2, 0, 4, 2], "###__###__"],
  [
    "mode 3, GATE",
    { 0: program(0x16, 4), 4: gate(false), 6: gate(true) },
    [4, 2, 4, 2, 2, 2, 4, 2, 4, 2],
    "##__####__",
  ],
  ["mode 4 (figure 19)", { 0: program(0x18, 3) }, [3, 2, 1, 0, 0xffff, 0xfffe, 0xfffd], "###_###"],
  ["mode 4, GATE", { 0: all(gate(false), program(0x18, 3)), 3: gate(true) }, [3, 3, 3, 2, 1, 0, 0xffff], "#####_#"],
  ["mode 4, a new count", { 0: program(0x18, 3), 3: count(2) }, [3, 2, 1, 2, 1, 0, 0xffff], "#####_#"],
  [
    "mode 5 (figure 20), triggered twice",
    { 0: all(gate(false), program(0x1a, 3)), 1: gate(true), 2: gate(false), 6: gate(true) },
    [0, 3, 2, 1, 0, 0xffff, 3, 2, 1, 0],
    "####_####_",
  ],
  [
    "mode 5, a new count waits for a trigger",
    { 0: all(gate(false), program(0x1a, 3)), 1: gate(true), 2: all(count(5), gate(false)), 7: gate(true) },
    [0, 3, 2, 1, 0, 0xffff, 0xfffe, 5, 4],
    "####_####",
  ],
])("%s", (_, script, values, out) => {
  it("follows the figure", () => expect(waveform(script, values.length)).toEqual({ values, out }));
});

describe("counts (8254, 'Write Operations' and figure 23)", () => {
  it("takes 0 for the largest count: 2^16 or 10^4", () => {
    for (const [control, modulus, first] of [
      [0x34, 0x1_0000, 0xffff],
      [0x35, 10_000, 0x9999],
    ]) {
      const counter = newCounter();
      program(control, 0, 0)(counter, 0);
      expect(counter.value(1)).toBe(0);
      expect(counter.value(2)).toBe(first);
      expect(counter.output(modulus)).toBe(false);
      expect(counter.output(modulus + 1)).toBe(true);
    }
  });

  it("counts four decades in BCD", () => {
    const { values } = waveform({ 0: program(0x31, 0x01, 0x10) }, 4);
    expect(values).toEqual([0x1001, 0x1000, 0x0999, 0x0998]);
  });

  it.each([
    ["LSB only", 0x14, [0x12], 0x0012],
    ["MSB only", 0x24, [0x12], 0x1200],
    ["LSB, then MSB", 0x34, [0x34, 0x12], 0x1234],
  ])("is written %s", (_, control, bytes, value) => {
    const counter = newCounter();
    program(control, ...bytes)(counter, 0);
    expect(counter.value(1)).toBe(value);
  });

  it("stops counting in mode 0 between the two bytes of a new count, and OUT falls at once", () => {
    const counter = newCounter();
    program(0x30, 5, 0)(counter, 0);
    expect(counter.output(6)).toBe(true);
    counter.writeCount(8, 9);
    expect([counter.output(8), counter.value(20)]).toEqual([false, 0xfffe]);
    counter.writeCount(20, 0);
    expect([counter.value(21), counter.value(22)]).toEqual([9, 8]);
  });
});

/**
 * The oracle: an 8254 counter that lives from clock edge to clock edge, written from the mode definitions. LSB-only
 * counts; a count of 1 in modes 2 and 3 is illegal and not used.
 */
class SteppedCounter {
  mode = 0;
  bcd = false;
  out = false;
  ce = 0;
  nullCount = false;
  private cr = 0;
  private gate = true;
  private written = false;
  private loadNext = false;
  private counting = false;
  private odd = false;
  private strobe = false;

  control(mode: number, bcd: boolean): void {
    this.mode = mode;
    this.bcd = bcd;
    this.out = mode !== 0;
    this.nullCount = true;
    this.written = false;
    this.loadNext = false;
    this.counting = false;
    this.strobe = false;
  }
  write(count: number): void {
    this.cr = this.bcd ? (count >> 4) * 10 + (count & 15) || 10_000 : count || 0x1_0000;
    this.nullCount = true;
    const first = !this.written;
    this.written = true;
    if (this.mode === 0) {
      this.out = false;
      this.counting = false;
      this.loadNext = true;
    }
    if (this.mode === 4) this.loadNext = true;
    if ((this.mode === 2 || this.mode === 3) && (first || !this.counting)) this.loadNext ||= !this.counting;
  }
  setGate(high: boolean): void {
    const rising = high && !this.gate;
    const falling = !high && this.gate;
    this.gate = high;
    if (rising && this.written && this.mode !== 0 && this.mode !== 4) this.loadNext = true;
    // A trigger is kept by a flip-flop until the next clock edge, even if GATE falls before.
    if (falling && (this.mode === 2 || this.mode === 3) && this.counting) this.out = true;
  }
  clock(): void {
    const edgeTriggered = this.mode === 1 || this.mode === 5;
    const ended = this.strobe && this.ce === 0;
    if (this.loadNext) {
      this.load();
      this.loadNext = false;
      this.counting = true;
      this.strobe = true;
      if (this.mode === 1) this.out = false;
      if (this.mode > 1) this.out = true;
    } else if (this.counting && (this.gate || edgeTriggered)) {
      this.count(ended);
    }
  }
  private load(): void {
    this.odd = this.mode === 3 && this.cr % 2 === 1;
    this.ce = this.odd ? this.cr - 1 : this.cr;
    this.nullCount = false;
  }
  private count(ended: boolean): void {
    const modulus = this.bcd ? 10_000 : 0x1_0000;
    if (this.mode === 2) {
      if (this.ce === 1) this.load();
      else this.ce--;
      this.out = this.ce !== 1;
    } else if (this.mode === 3) {
      if (this.odd && this.out && this.ce === 0) this.toggle();
      else {
        this.ce -= 2;
        if (this.ce === 0 && !(this.odd && this.out)) this.toggle();
      }
    } else {
      this.ce = (this.ce - 1 + modulus) % modulus;
      if (this.mode <= 1 && this.ce === 0) this.out = true;
      if (this.mode >= 4) {
        if (ended) {
          this.out = true;
          this.strobe = false;
        } else if (this.strobe && this.ce === 0) this.out = false;
      }
    }
  }
  private toggle(): void {
    this.out = !this.out;
    this.load();
  }
  get value(): number {
    const value = this.bcd ? this.ce % 10_000 : this.ce & 0xffff;
    if (!this.bcd) return value;
    return Number.parseInt(String(value), 16);
  }
}

describe("against a counter stepped from edge to edge", () => {
  const wait = fc.record({ kind: fc.constant("wait" as const), ticks: fc.integer({ min: 0, max: 30 }) });
  const write = fc.record({ kind: fc.constant("write" as const), count: fc.integer({ min: 2, max: 24 }) });
  const gateTo = fc.record({ kind: fc.constant("gate" as const), high: fc.boolean() });
  const control = fc.record({
    kind: fc.constant("control" as const),
    mode: fc.integer({ min: 0, max: 7 }),
    bcd: fc.boolean(),
  });
  const step = fc.oneof(
    { weight: 6, arbitrary: wait },
    { weight: 3, arbitrary: write },
    { weight: 3, arbitrary: gateTo },
    { weight: 1, arbitrary: control },
  );

  it("has the same count, OUT, null count and next edges at every tick", () => {
    fc.assert(
      fc.property(control, fc.array(step, { maxLength: 40 }), (first, steps) => {
        const counter = newCounter();
        const model = new SteppedCounter();
        let tick = 0;
        let loaded = false;
        /** The rise that the counter foretold, when nothing has been done to it since. */
        let foretold: number | undefined;
        for (const action of [first, ...steps]) {
          // Two actions of one kind within a tick are not what hardware can do: keep a clock edge between them.
          if (action.kind === "wait") {
            for (let i = 0; i < action.ticks; i++) {
              const before = model.out;
              const next = counter.nextRise(tick, tick);
              model.clock();
              tick++;
              if (!model.nullCount) loaded = true;
              expect(counter.output(tick)).toBe(model.out);
              if (loaded) expect(counter.value(tick)).toBe(model.value);
              if (foretold !== undefined && model.mode !== 3) expect(next).toBe(foretold);
              if (!before && model.out) expect(next).toBe(tick);
              else expect(next).not.toBe(tick);
              foretold = next > tick ? next : undefined;
            }
            continue;
          }
          foretold = undefined;
          if (action.kind === "control") {
            counter.writeControl(tick, 0x10 | (action.mode << 1) | (action.bcd ? 1 : 0));
            model.control(action.mode > 5 ? action.mode - 4 : action.mode, action.bcd);
            loaded = false;
          } else if (action.kind === "write") {
            const value = action.count % 16 > 9 && model.bcd ? 0x12 : action.count;
            counter.writeCount(tick, value);
            model.write(value);
          } else {
            counter.setGate(tick, action.high);
            model.setGate(action.high);
          }
          expect(counter.output(tick)).toBe(model.out);
          counter.latchStatus(tick);
          expect(counter.read(tick) & 0xc0).toBe((model.out ? 0x80 : 0) | (model.nullCount ? 0x40 : 0));
        }
      }),
      { numRuns: 300 },
    );
  });
});
