import type { Registers } from "../device/types.ts";

/** Timer N configuration and capability register, low dword (HPET 1.0a, table 4, section 2.3.8). */
export const TN_CONF = {
  levelTriggered: 1 << 1,
  interruptEnable: 1 << 2,
  periodic: 1 << 3,
  periodicCapable: 1 << 4,
  size64Capable: 1 << 5,
  setValue: 1 << 6,
  mode32: 1 << 8,
  routeShift: 9,
  routeMask: 31 << 9,
  fsbEnable: 1 << 14,
  fsbCapable: 1 << 15,
} as const;

/** One comparator. 64-bit values are two halves. */
export const HPET_TIMER = {
  config: "u32",
  comparatorLow: "u32",
  comparatorHigh: "u32",
  periodLow: "u32",
  periodHigh: "u32",
  fsbValue: "u32",
  fsbAddress: "u32",
  /** The comparator will match at tick `next` (of the clock behind the main counter). */
  armed: "u8",
  next: "u64",
  /** Tick of the last match that was signalled since the comparator was armed, or 0. */
  signalled: "u64",
} as const;

/** Matches further away than this many ticks (130 days at 100 MHz) are left to eternity. */
const HORIZON = 2n ** 50n;

/** The comparator of one timer: when it matches, and what it becomes then. HPET 1.0a, section 2.3.9.2. */
export class HpetTimer {
  readonly registers: Registers<typeof HPET_TIMER>;

  constructor(registers: Registers<typeof HPET_TIMER>) {
    this.registers = registers;
  }

  get periodic(): boolean {
    return (this.registers.config & TN_CONF.periodic) !== 0;
  }

  /** A match does something. Until it does, nobody follows the comparator: Linux writes idle ones 200,000 times. */
  get matters(): boolean {
    return (this.registers.config & (TN_CONF.interruptEnable | TN_CONF.levelTriggered | TN_CONF.periodic)) !== 0;
  }

  /** Bits that take part in the comparison. */
  private get width(): 32 | 64 {
    return this.registers.config & TN_CONF.mode32 ? 32 : 64;
  }

  /** Forces 32-bit values into shape. */
  truncate(): void {
    if (this.width === 64) return;
    this.registers.comparatorHigh = 0;
    this.registers.periodHigh = 0;
  }

  /**
   * A dword written to the comparator. In periodic mode it is the period, and with TN_VAL_SET also the accumulator.
   * Returns whether the accumulator has changed.
   */
  writeComparator(high: boolean, value: number, setAccumulator: boolean): boolean {
    const r = this.registers;
    if (high && this.width === 32) return false;
    const accumulates = !this.periodic || setAccumulator;
    if (accumulates) r[high ? "comparatorHigh" : "comparatorLow"] = value;
    if (this.periodic) r[high ? "periodHigh" : "periodLow"] = value;
    return accumulates;
  }

  /**
   * Finds the next match, while the main counter has the value `main` at `tick`; with `later`, the next after this tick.
   */
  arm(main: bigint, tick: number, later = false): void {
    const r = this.registers;
    const first = later ? main + 1n : main;
    const distance = BigInt.asUintN(this.width, this.comparator() - first) + (first - main);
    r.armed = distance < HORIZON ? 1 : 0;
    r.next = r.armed ? tick + Number(distance) : 0;
    r.signalled = 0;
  }

  /** Passes the matches up to `tick`; true when there were any. */
  match(tick: number): boolean {
    const r = this.registers;
    if (!r.armed || r.next > tick) return false;
    const step = this.step();
    if (step >= HORIZON) {
      r.armed = 0;
      if (this.periodic) this.setComparator(this.comparator() + step);
    } else {
      const passed = Math.floor((tick - r.next) / Number(step)) + 1;
      r.next += passed * Number(step);
      if (this.periodic) this.setComparator(this.comparator() + BigInt(passed) * step);
    }
    return true;
  }

  /** The first match that is no sooner than `soonest`, or `Infinity`. */
  nextMatch(soonest: number): number {
    const r = this.registers;
    if (!r.armed) return Number.POSITIVE_INFINITY;
    if (r.next >= soonest) return r.next;
    const step = this.step();
    if (step >= HORIZON) return r.next;
    return r.next + Math.ceil((soonest - r.next) / Number(step)) * Number(step);
  }

  /** Ticks from one match to the next: the period, or once around for a one-shot comparator (and for period 0). */
  private step(): bigint {
    const r = this.registers;
    const period = this.periodic ? (BigInt(r.periodHigh) << 32n) | BigInt(r.periodLow) : 0n;
    return period || 1n << BigInt(this.width);
  }

  private comparator(): bigint {
    return (BigInt(this.registers.comparatorHigh) << 32n) | BigInt(this.registers.comparatorLow);
  }

  private setComparator(value: bigint): void {
    const wrapped = BigInt.asUintN(this.width, value);
    this.registers.comparatorLow = Number(wrapped & 0xffff_ffffn);
    this.registers.comparatorHigh = Number(wrapped >> 32n);
  }
}
