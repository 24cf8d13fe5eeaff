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
/** A slice that took longer than this by the host's clock was too long, ns: the next ones get less to do. */
const SLICE_HOST_MAX_NS = 2 * SLICE_NS;
/** Fewest instructions that a slice is cut to. */
const GRANT_MIN = 256;
const GRANT_MAX = 2 ** 30;
/** Shorter slices are too noisy to measure; they only show how slow the guest is at most. */
const MEASURABLE_NS = 50_000;
/** Virtual time that is ahead of the host's by this much or more advances at half speed, ns. */
const AHEAD_MAX_NS = SLICE_NS;
/**
 * Longest step of virtual time, ns, beyond what the machine had to sleep. A longer one (the host was stopped or slept)
 * looks to a guest like a processor that hung, and PM timers wrap in it: the rest is time that the machine did not run in.
 */
const STEP_MAX_NS = 1_000_000_000;

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
  /** Host time minus virtual time, were it exact. */
  private hostOffset = 0;
  /** Measured speed, ns an instruction. */
  private rate = 1;
  private sliceStartHost = 0;
  /**
   * Most instructions of a slice. A guest whose instructions suddenly cost a thousand times as much (exceptions without
   * end, say) may hold the host up once, not for as long as the measured speed takes to follow.
   */
  private grantLimit = GRANT_MAX;

  /** `hostNow`: a monotonic clock in ns. */
  constructor(memory: WebAssembly.Memory, mode: ClockMode, hostNow: () => number = () => performance.now() * 1e6) {
    this.mode = mode;
    this.now = virtualTime(memory);
    this.data = new DataView(memory.buffer);
    this.hostNow = hostNow;
    this.rate = mode === "instructions" ? 1 : 4;
    this.setSliceRate(this.rate);
    this.hostOffset = hostNow();
  }

  /** Between slices only: time within a slice would change in retrospect. */
  private setSliceRate(nsPerInstruction: number): void {
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
    if (this.mode === "host") {
      this.sliceStartHost = this.hostNow();
      // Slices that were faster than measured have put virtual time ahead; it goes slower until the host is there.
      const ahead = Math.max(0, now - (this.sliceStartHost - this.hostOffset));
      this.setSliceRate(Math.max(RATE_MIN, this.rate * (1 - Math.min(ahead, AHEAD_MAX_NS) / (2 * AHEAD_MAX_NS))));
    }
    const grant = Math.min(this.grantLimit, this.instructionsUntil(Math.min(deadline, now + SLICE_NS)));
    this.data.setInt32(CLOCK.sliceBudget, grant, true);
    this.data.setInt32(CLOCK.budget, grant, true);
  }

  /** After a slice: on the host clock, measures the speed and catches up with the host. */
  endSlice(): void {
    const executed = this.executed();
    const now = this.settle();
    if (this.mode !== "host") return;
    const host = this.hostNow();
    const took = host - this.sliceStartHost;
    if (executed > 0) this.measure(took, executed);
    this.grantLimit =
      took > SLICE_HOST_MAX_NS
        ? Math.max(GRANT_MIN, Math.floor((executed * SLICE_NS) / took))
        : Math.min(GRANT_MAX, this.grantLimit * 2);
    this.catchUp(now, host, now);
  }

  private measure(took: number, executed: number): void {
    if (took > MEASURABLE_NS) this.rate += (Math.min(RATE_MAX, took / executed) - this.rate) * SMOOTHING;
    const slowest = (took + MEASURABLE_NS) / executed;
    // Far too slow: slices would be too short to measure, for ever, and time in them too fast.
    if (this.rate > 2 * slowest) this.rate = slowest;
    this.rate = Math.max(RATE_MIN, this.rate);
  }

  /** Virtual time becomes the later of itself and the host's, but for a stall: what lies far behind `expected`. */
  private catchUp(now: number, host: number, expected: number): void {
    const latest = expected + STEP_MAX_NS;
    const stalled = host - this.hostOffset - latest;
    if (stalled > 0) this.hostOffset += stalled;
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

  /** The machine begins or goes on to run: host time that it did not run in is none of the guest's. */
  resume(): void {
    this.hostOffset = this.hostNow() - this.settle();
  }

  /** On the host clock, time has passed on its own: at HLT, to which the next `deadline` would have put an end. */
  readHost(deadline = this.now()): void {
    if (this.mode !== "host") return;
    const now = this.settle();
    this.catchUp(now, this.hostNow(), Math.max(now, deadline));
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
