import type { Registers } from "../device/types.ts";

/** One counter of an 8254, derived from the tick number of its clock. All zero is the state after reset but for GATE. */
export const PIT_COUNTER = {
  /** Bits 5..0 of the control word: access, mode, BCD. */
  control: "u8",
  /** The count register, as the guest wrote it. */
  count: "u16",
  /** First byte of a two-byte count; `writeHigh` says that the second is next. */
  lowByte: "u8",
  writeHigh: "u8",
  readHigh: "u8",
  /** Output latch, and which of its bytes wait to be read (1 low, 2 high). */
  latch: "u16",
  latched: "u8",
  status: "u8",
  statusLatched: "u8",
  gate: "u8",
  /** A whole count was written after the control word. */
  written: "u8",
  /** The count written has not reached the counting element yet. */
  nullCount: "u8",
  /** The counting element was loaded since the control word; until then it reads `held`. */
  loaded: "u8",
  held: "u16",
  running: "u8",
  /** What the counting element was loaded with: 1..65536. */
  reload: "u32",
  /** Ticks counted since the load: `counted`, and the time since tick `origin` while running. */
  counted: "u64",
  origin: "u64",
  /** The counting element will be loaded from the count register at tick `loadAt`. */
  loadPending: "u8",
  loadAt: "u64",
} as const;

/** Read/write field of the control word (8254, figure 7): which bytes of a count are transferred. */
export const ACCESS = { low: 1, high: 2, both: 3 } as const;
/** Status byte (8254, figure 12). */
const STATUS = { output: 0x80, nullCount: 0x40 } as const;

const NEVER = Number.POSITIVE_INFINITY;

/**
 * A counter, by the mode definitions of the Intel 8254 data sheet (231164). Methods take the current tick: the number of
 * falling clock edges so far. What is written during tick t is loaded by the next edge, t + 1.
 */
export class PitCounter {
  readonly registers: Registers<typeof PIT_COUNTER>;

  constructor(registers: Registers<typeof PIT_COUNTER>) {
    this.registers = registers;
  }

  /** 0..5; 6 and 7 are other names of 2 and 3. */
  get mode(): number {
    const mode = (this.registers.control >> 1) & 7;
    return mode > 5 ? mode - 4 : mode;
  }

  writeControl(tick: number, control: number): void {
    this.stop(tick);
    const r = this.registers;
    r.control = control;
    r.count = 0;
    r.writeHigh = 0;
    r.readHigh = 0;
    r.latched = 0;
    r.statusLatched = 0;
    r.written = 0;
    r.nullCount = 1;
  }

  writeCount(tick: number, value: number): void {
    const r = this.registers;
    this.sync(tick);
    const access = this.access();
    if (access === ACCESS.both && !r.writeHigh) {
      r.lowByte = value;
      r.writeHigh = 1;
      // "Writing the first byte disables counting. OUT is set low immediately" (mode 0).
      if (this.mode === 0) this.stop(tick);
      return;
    }
    r.count = access === ACCESS.both ? (value << 8) | r.lowByte : access === ACCESS.high ? value << 8 : value;
    r.writeHigh = 0;
    r.written = 1;
    r.nullCount = 1;
    switch (this.mode) {
      case 0:
        this.stop(tick);
        this.loadOn(tick + 1);
        break;
      case 4:
        this.loadOn(tick + 1);
        break;
      case 2:
      case 3:
        // While counting, the new count waits for the end of the cycle (mode 3: half-cycle); without GATE, for GATE.
        if (!r.loaded) this.loadOn(tick + 1);
        else if (r.running) this.loadOn(this.boundaryAfter(tick));
        break;
    }
  }

  read(tick: number): number {
    const r = this.registers;
    if (r.statusLatched) {
      r.statusLatched = 0;
      return r.status;
    }
    if (r.latched) {
      const high = !(r.latched & 1);
      r.latched = high ? 0 : r.latched & 2;
      return high ? r.latch >> 8 : r.latch & 0xff;
    }
    const access = this.access();
    const high = access === ACCESS.high || (access === ACCESS.both && r.readHigh === 1);
    if (access === ACCESS.both) r.readHigh ^= 1;
    const value = this.value(tick);
    return high ? value >> 8 : value & 0xff;
  }

  /** "If a Counter is latched and then, some time later, latched again before the count is read, ... is ignored." */
  latchCount(tick: number): void {
    const r = this.registers;
    if (r.latched) return;
    r.latch = this.value(tick);
    r.latched = this.access();
  }

  latchStatus(tick: number): void {
    const r = this.registers;
    if (r.statusLatched) return;
    r.status = (this.output(tick) ? STATUS.output : 0) | (r.nullCount ? STATUS.nullCount : 0) | r.control;
    r.statusLatched = 1;
  }

  setGate(tick: number, high: boolean): void {
    const r = this.registers;
    this.sync(tick);
    if (high === (r.gate === 1)) return;
    r.gate = high ? 1 : 0;
    const { mode } = this;
    if (mode === 1 || mode === 5) {
      if (high && r.written) this.loadOn(tick + 1);
    } else if (!high) {
      if (!r.running) return;
      this.pause(tick);
      if (mode === 2 || mode === 3) r.loadPending = 0;
    } else if (mode === 2 || mode === 3) {
      if (r.written) this.loadOn(tick + 1);
    } else if (r.loaded) {
      r.running = 1;
      r.origin = tick;
    }
  }

  /** Level of OUT. */
  output(tick: number): boolean {
    this.sync(tick);
    const r = this.registers;
    const elapsed = this.elapsed(tick);
    switch (this.mode) {
      case 0:
        return r.loaded === 1 && elapsed >= r.reload;
      case 1:
        return !r.loaded || elapsed >= r.reload;
      case 2:
        return !r.running || elapsed % r.reload !== r.reload - 1;
      case 3:
        return !r.running || elapsed % r.reload < highHalf(r.reload);
      default:
        return !r.loaded || elapsed !== r.reload;
    }
  }

  /** The counting element in the guest's format (binary or four BCD digits). */
  value(tick: number): number {
    this.sync(tick);
    const r = this.registers;
    if (!r.loaded) return r.held;
    const elapsed = this.elapsed(tick);
    const { reload } = r;
    switch (this.mode) {
      case 2:
        return this.encode(reload - (elapsed % reload));
      case 3: {
        // Counts down by two, from an even number: once for each half of the cycle.
        const inCycle = elapsed % reload;
        const half = inCycle < highHalf(reload) ? inCycle : inCycle - highHalf(reload);
        return this.encode(reload - (reload & 1) - 2 * half);
      }
      default: {
        const modulus = this.modulus();
        return this.encode((((reload - elapsed) % modulus) + modulus) % modulus);
      }
    }
  }

  /** Puts the counting element in its place at `tick`: a load that has come due happens. */
  sync(tick: number): void {
    const r = this.registers;
    if (!r.loadPending || tick < r.loadAt) return;
    const at = r.loadAt;
    const reload = this.countWritten();
    // A new count of mode 3 may take effect in the middle of a cycle: then the low half is next.
    const lowHalf = this.mode === 3 && r.running && this.elapsed(at) % r.reload !== 0;
    r.counted = lowHalf ? highHalf(reload) : 0;
    r.reload = reload;
    r.origin = at;
    r.loaded = 1;
    r.nullCount = 0;
    r.loadPending = 0;
    r.running = this.mode === 1 || this.mode === 5 ? 1 : r.gate;
  }

  /**
   * The next tick at which OUT rises (for the strobes of modes 2 and 4: ends), no sooner than `soonest` where that
   * skips whole cycles; `Infinity` when it will not by itself.
   */
  nextRise(tick: number, soonest: number): number {
    this.sync(tick);
    const r = this.registers;
    const { mode } = this;
    const periodic = mode === 2 || mode === 3;
    // In the middle of a strobe: the next edge ends it, by counting or by a load.
    if (mode >= 4 && !this.output(tick)) return r.running || r.loadPending ? tick + 1 : NEVER;
    let { origin, reload, counted } = r;
    if (r.loadPending && !(periodic && r.running)) {
      if (!r.gate && mode !== 1 && mode !== 5) return NEVER;
      origin = r.loadAt;
      reload = this.countWritten();
      counted = 0;
    } else if (!r.running) {
      return NEVER;
    }
    const end = origin + reload - counted;
    if (!periodic) return rising(tick, mode === 4 || mode === 5 ? end + 1 : end);
    // A count of 1 is illegal in these modes ("COUNT = 1 is illegal"): OUT never moves.
    if (reload === 1) return NEVER;
    const from = Math.max(tick + 1, soonest);
    return from <= end ? end : end + Math.ceil((from - end) / reload) * reload;
  }

  /** Mode 3: the next tick at which OUT falls. */
  nextFall(tick: number): number {
    const r = this.registers;
    const rise = this.nextRise(tick, tick);
    if (rise === NEVER) return NEVER;
    const reload = r.loadPending && !r.running ? this.countWritten() : r.reload;
    const fall = rise - reload + highHalf(reload);
    return fall > tick ? fall : rise + highHalf(reload);
  }

  private access(): number {
    return (this.registers.control >> 4) & 3 || ACCESS.both;
  }

  private modulus(): number {
    return this.registers.control & 1 ? 10_000 : 0x1_0000;
  }

  /** The count register as a number; 0 stands for the largest count. */
  private countWritten(): number {
    const { count, control } = this.registers;
    return (control & 1 ? fromBcd(count) : count) || this.modulus();
  }

  private encode(value: number): number {
    return this.registers.control & 1 ? toBcd(value % 10_000) : value & 0xffff;
  }

  private elapsed(tick: number): number {
    const r = this.registers;
    return r.running ? r.counted + tick - r.origin : r.counted;
  }

  private loadOn(tick: number): void {
    this.registers.loadAt = tick;
    this.registers.loadPending = 1;
  }

  private pause(tick: number): void {
    const r = this.registers;
    r.counted = this.elapsed(tick);
    r.running = 0;
  }

  /** Counting ends until the next load; the counting element keeps its value. */
  private stop(tick: number): void {
    const r = this.registers;
    r.held = this.value(tick);
    r.loaded = 0;
    r.running = 0;
    r.counted = 0;
    r.loadPending = 0;
  }

  /** The end of the running cycle (mode 3: half-cycle). */
  private boundaryAfter(tick: number): number {
    const { reload } = this.registers;
    const inCycle = this.elapsed(tick) % reload;
    const half = highHalf(reload);
    return tick + (this.mode === 3 && inCycle < half ? half : reload) - inCycle;
  }
}

/** Mode 3: "OUT will be high for (N + 1)/2 counts and low for (N - 1)/2 counts" when N is odd. */
function highHalf(count: number): number {
  return (count + 1) >> 1;
}

function rising(tick: number, at: number): number {
  return at > tick ? at : NEVER;
}

function fromBcd(value: number): number {
  return (value >> 12) * 1000 + ((value >> 8) & 15) * 100 + ((value >> 4) & 15) * 10 + (value & 15);
}

function toBcd(value: number): number {
  const digit = (power: number) => Math.floor(value / power) % 10;
  return (digit(1000) << 12) | (digit(100) << 8) | (digit(10) << 4) | digit(1);
}
