/** The local APIC's timer. Intel SDM volume 3, section 11.5.4. */
import type { RawBuilder } from "../device/raw.ts";
import type { DeviceHost, Registers, Timer } from "../device/types.ts";
import type { Expr } from "../emit/index.ts";

/** LVT timer bits 18:17; 3 is reserved and does not count. Section 11.5.1, figure 11-8. */
export const TIMER_MODE = { oneShot: 0, periodic: 1, tscDeadline: 2, reserved: 3 } as const;

/** Beyond this many ns ahead (52 days) a deadline is not armed in one step. */
const FAR_NS = 2n ** 52n;

const SHAPE = {
  initialCount: "u32",
  /** Divide configuration register as written, and the shift that it means. */
  divide: "u8",
  shift: "u8",
  mode: "u8",
  /** Counting, or a TSC deadline is set. */
  running: "u8",
  /** At `startNs` (ns) the count stood `startTicks` below the initial count. */
  startNs: "u64",
  startTicks: "u32",
  deadlineLow: "u32",
  deadlineHigh: "u32",
  /** See `listen`. */
  listening: "u8",
} as const;

/**
 * Input clock: the core crystal, 1 GHz (CPUID leaf 15h), so a tick is 1 ns before division.
 *
 * The count is a function of virtual time. A deadline is armed only while somebody would notice the expiry: not while it
 * is masked or its vector is still pending, so that no period, however short, makes work without end.
 */
export class LocalApicTimer {
  private readonly r: Registers<typeof SHAPE>;
  private readonly now: () => number;
  private readonly timer: Timer;
  private readonly expired: () => void;

  /** `expired` is called at each expiry while listened to. */
  constructor(host: DeviceHost, expired: () => void) {
    this.r = host.registers(SHAPE);
    this.now = host.clock.now;
    this.expired = expired;
    this.timer = host.timer(() => this.fire());
    this.reset();
  }

  /** Section 11.4.7.1: counts zero, disarmed. */
  reset(): void {
    const { r } = this;
    r.initialCount = 0;
    r.running = 0;
    r.mode = TIMER_MODE.oneShot;
    r.deadlineLow = 0;
    r.deadlineHigh = 0;
    r.listening = 0;
    this.writeDivide(0);
  }

  /** Whether an expiry would have an effect now. */
  listen(listening: boolean): void {
    if (listening === (this.r.listening !== 0)) return;
    this.catchUp();
    this.r.listening = listening ? 1 : 0;
    this.arm();
  }

  get initialCount(): number {
    return this.r.initialCount;
  }

  writeInitialCount(value: number): void {
    const { r } = this;
    this.catchUp();
    if (r.mode === TIMER_MODE.tscDeadline) return;
    r.initialCount = value;
    r.running = value !== 0 ? 1 : 0;
    this.countFrom(0);
    this.arm();
  }

  readCurrentCount(): number {
    const { r } = this;
    if (!this.counting) return 0;
    const ticks = this.elapsedTicks();
    if (r.mode === TIMER_MODE.periodic) return r.initialCount - (ticks % r.initialCount);
    return Math.max(0, r.initialCount - ticks);
  }

  /** The same as emitted code; `valid` (0 or 1) only while a count is in its first round. */
  emitCurrentCount(x: RawBuilder): { count: Expr; valid: Expr } {
    const { r } = this;
    const initial = x.let(x.u64(x.get(r, "initialCount")));
    const sinceStart = x.shrU(x.sub(x.now(), x.get(r, "startNs")), x.u64(x.get(r, "shift")));
    const ticks = x.let(x.add(x.u64(x.get(r, "startTicks")), sinceStart));
    const counting = x.and(x.ne(x.get(r, "running"), 0), x.ltU(x.get(r, "mode"), TIMER_MODE.tscDeadline));
    return { count: x.low(x.sub(initial, ticks)), valid: x.and(counting, x.ltU(ticks, initial)) };
  }

  get divide(): number {
    return this.r.divide;
  }

  /** Divide configuration, figure 11-10: bits 3, 1 and 0 give 2, 4, ... 128 and, for 111b, 1. Counting goes on. */
  writeDivide(value: number): void {
    const { r } = this;
    this.catchUp();
    if (this.counting) this.countFrom(this.elapsedTicks() % r.initialCount);
    r.divide = value & 0b1011;
    r.shift = ((((value & 8) >> 1) | (value & 3)) + 1) & 7;
    this.arm();
  }

  /** Going in or out of TSC-deadline mode disarms the timer. Section 11.5.4.1. */
  setMode(mode: number): void {
    const { r } = this;
    if (mode === r.mode) return;
    this.catchUp();
    if (r.mode >= TIMER_MODE.tscDeadline || mode >= TIMER_MODE.tscDeadline) {
      r.running = 0;
      r.initialCount = 0;
      r.deadlineLow = 0;
      r.deadlineHigh = 0;
    } else if (this.counting) {
      // The count goes on from where it is; what happens at zero is what changes.
      this.countFrom(this.elapsedTicks() % r.initialCount);
    }
    r.mode = mode;
    this.arm();
  }

  /** IA32_TSC_DEADLINE: zero when disarmed, and in other modes. Section 11.5.4.1. */
  readDeadline(): bigint {
    this.catchUp();
    if (this.r.mode !== TIMER_MODE.tscDeadline || this.r.running === 0) return 0n;
    return this.deadline;
  }

  writeDeadline(value: bigint): void {
    const { r } = this;
    if (r.mode !== TIMER_MODE.tscDeadline) return;
    this.catchUp();
    r.deadlineLow = Number(value & 0xffff_ffffn);
    r.deadlineHigh = Number((value >> 32n) & 0xffff_ffffn);
    r.running = value !== 0n ? 1 : 0;
    if (value !== 0n && value <= this.tsc()) this.fire();
    else this.arm();
  }

  private get deadline(): bigint {
    return (BigInt(this.r.deadlineHigh) << 32n) | BigInt(this.r.deadlineLow);
  }

  /** A tick is a nanosecond; what IA32_TSC_ADJUST adds is the CPU's affair. */
  private tsc(): bigint {
    return BigInt(this.now());
  }

  private get counting(): boolean {
    return this.r.running !== 0 && this.r.mode < TIMER_MODE.tscDeadline;
  }

  private countFrom(ticks: number): void {
    this.r.startNs = this.now();
    this.r.startTicks = ticks;
  }

  /** Ticks since the initial count was loaded, rounds included. */
  private elapsedTicks(): number {
    const { r } = this;
    return r.startTicks + Math.floor((this.now() - r.startNs) / 2 ** r.shift);
  }

  /** ns at which round `round` (from 1) ends. */
  private endOfRound(round: number): number {
    const { r } = this;
    return r.startNs + (round * r.initialCount - r.startTicks) * 2 ** r.shift;
  }

  private fire(): void {
    const { r } = this;
    this.timer.cancel();
    if (r.mode === TIMER_MODE.tscDeadline && this.deadline > this.tsc()) {
      // FAR_NS has passed
      this.arm();
      return;
    }
    if (r.mode !== TIMER_MODE.periodic) r.running = 0;
    if (r.listening !== 0) this.expired();
    this.arm();
  }

  /** Lets happen what was due before a change that is about to be made. */
  catchUp(): void {
    const { r } = this;
    const { deadline } = this.timer;
    if (deadline !== undefined && deadline <= this.now()) this.fire();
    if (r.running === 0) return;
    if (r.mode === TIMER_MODE.oneShot && this.elapsedTicks() >= r.initialCount) r.running = 0;
    if (r.mode === TIMER_MODE.tscDeadline && this.deadline <= this.tsc()) r.running = 0;
  }

  private arm(): void {
    this.timer.set(this.nextExpiry());
  }

  /** ns, after now; `Infinity` when there is none or nobody listens. */
  private nextExpiry(): number {
    const { r } = this;
    if (r.running === 0 || r.listening === 0) return Number.POSITIVE_INFINITY;
    const now = this.now();
    switch (r.mode) {
      case TIMER_MODE.oneShot:
        return this.endOfRound(1) > now ? this.endOfRound(1) : Number.POSITIVE_INFINITY;
      case TIMER_MODE.periodic:
        return this.endOfRound(Math.floor(this.elapsedTicks() / r.initialCount) + 1);
      case TIMER_MODE.tscDeadline: {
        const ahead = this.deadline - this.tsc();
        return now + Number(ahead < FAR_NS ? ahead : FAR_NS);
      }
      default:
        return Number.POSITIVE_INFINITY;
    }
  }
}
