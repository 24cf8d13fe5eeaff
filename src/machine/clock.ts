import { virtualTime } from "../device/clock.ts";
import { CLOCK, CLOCK_RATE_SHIFT } from "../memory/layout.ts";

export type ClockMode = "host" | "instructions";

/** Longest slice, in ns of virtual time: the run loop looks around at least this often. */
const SLICE_NS = 1_000_000;
const ONE = 2 ** CLOCK_RATE_SHIFT;
/** Slowest and fastest believable speed, ns an instruction. */
const RATE_MIN = 0.05;
const RATE_MAX = 1000;
/** Weight of a new measurement of the speed. */
const SMOOTHING = 0.1;
/** Shorter slices are too noisy to measure. */
const MEASURABLE_NS = 50_000;

/**
 * The machine's one clock. Virtual time advances with retired instructions; on the host clock it then becomes the later
 * of itself and host time, so that a timer port never reads the host's clock.
 */
export class MachineClock {
  readonly mode: ClockMode;
  /** Virtual time in ns, exact at every device access. */
  readonly now: () => number;
  /** Instructions and REP units retired before the current slice. */
  private retiredBefore = 0;
  private readonly data: DataView;
  private readonly hostNow: () => number;
  /** Host time minus virtual time. */
  private hostOffset = 0;
  private rate = 1;
  private sliceStartHost = 0;

  /** `hostNow`: a monotonic clock in ns. */
  constructor(memory: WebAssembly.Memory, mode: ClockMode, hostNow: () => number = () => performance.now() * 1e6) {
    this.mode = mode;
    this.now = virtualTime(memory);
    this.data = new DataView(memory.buffer);
    this.hostNow = hostNow;
    this.setRate(mode === "instructions" ? 1 : 4);
    this.hostOffset = hostNow();
  }

  private setRate(nsPerInstruction: number): void {
    this.rate = nsPerInstruction;
    this.data.setUint32(CLOCK.rate, Math.round(nsPerInstruction * ONE), true);
  }

  private executed(): number {
    return this.data.getInt32(CLOCK.sliceBudget, true) - this.data.getInt32(CLOCK.budget, true);
  }

  /** Instructions and REP units retired since the machine was created. */
  get retired(): number {
    return this.retiredBefore + this.executed();
  }

  /** Instructions until `deadline`, at least 0. */
  instructionsUntil(deadline: number): number {
    const rate = this.data.getUint32(CLOCK.rate, true) / ONE;
    return Math.max(0, Math.ceil((deadline - this.now()) / rate));
  }

  /** Grants a slice that ends at `deadline` or after a millisecond. */
  beginSlice(deadline: number): void {
    const now = this.settle();
    const grant = this.instructionsUntil(Math.min(deadline, now + SLICE_NS));
    this.data.setInt32(CLOCK.sliceBudget, grant, true);
    this.data.setInt32(CLOCK.budget, grant, true);
    if (this.mode === "host") this.sliceStartHost = this.hostNow();
  }

  /** After a slice: on the host clock, measures the speed and catches up with the host. */
  endSlice(): void {
    const executed = this.executed();
    const now = this.settle();
    if (this.mode !== "host") return;
    const host = this.hostNow();
    const took = host - this.sliceStartHost;
    if (took > MEASURABLE_NS && executed > 0) {
      const measured = Math.min(RATE_MAX, Math.max(RATE_MIN, took / executed));
      this.setRate(this.rate + (measured - this.rate) * SMOOTHING);
    }
    this.catchUp(now, host);
  }

  private catchUp(now: number, host: number): void {
    const target = host - this.hostOffset;
    if (target > now) this.setBase(Math.floor(target));
  }

  /** Folds the finished slice into the base; returns virtual time. */
  private settle(): number {
    const now = this.now();
    this.retiredBefore += this.executed();
    this.setBase(now);
    return now;
  }

  private setBase(now: number): void {
    this.data.setBigInt64(CLOCK.baseNs, BigInt(now), true);
    this.data.setInt32(CLOCK.sliceBudget, 0, true);
    this.data.setInt32(CLOCK.budget, 0, true);
  }

  /** HLT on the instruction clock: time jumps. */
  advanceTo(deadline: number): void {
    if (deadline > this.settle()) this.setBase(Math.ceil(deadline));
  }

  /** HLT on the host clock: time has passed on its own. */
  readHost(): void {
    if (this.mode === "host") this.catchUp(this.settle(), this.hostNow());
  }

  /** ms of host time until `deadline`. */
  hostDelay(deadline: number): number {
    return (deadline + this.hostOffset - this.hostNow()) / 1e6;
  }

  save(): { now: number; retired: number } {
    const now = this.settle();
    return { now, retired: this.retiredBefore };
  }

  load(saved: { now: number; retired: number }): void {
    this.settle();
    this.retiredBefore = saved.retired;
    this.setBase(saved.now);
    this.hostOffset = this.hostNow() - saved.now;
  }
}
