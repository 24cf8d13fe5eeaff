/**
 * A high precision event timer block: a 64-bit counter at 100 MHz and 3 or more comparators, each one-shot or periodic,
 * edge- or level-triggered, by I/O APIC, legacy replacement or message.
 *
 * Source: IA-PC HPET (High Precision Event Timers) Specification, revision 1.0a.
 */
import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";
import type { InterruptLine } from "../device/types.ts";
import { PorticoError } from "../errors.ts";
import { HPET_TIMER, HpetTimer, TN_CONF } from "./hpet-timer.ts";

export interface HpetOptions {
  /** Default FED0_0000h, where every PC has it. */
  readonly base?: number;
  /** Comparators, 3 (default) to 24, which fill the block. */
  readonly timers?: number;
  /**
   * Announce message (FSB) delivery. Off by default: Linux would prefer such a timer to the local APIC's, and pay an
   * MMIO access for each tick.
   */
  readonly messages?: boolean;
  /**
   * Legacy replacement begins or ends: IRQ 0 and IRQ 8 belong to timers 0 and 1 instead of the PIT and the RTC (section
   * 2.3.3). Also called at reset.
   */
  readonly onLegacyRouting?: (active: boolean) => void;
}

export const HPET_BASE = 0xfed0_0000;
const BLOCK_BYTES = 0x400;
const MIN_TIMERS = 3;
const MAX_TIMERS = 24;

/**
 * 10 ns, in femtoseconds. The specification wants 100 ns or less; ticks of whole nanoseconds keep counter and virtual
 * time in step for good.
 */
export const HPET_PERIOD_FS = 10_000_000;
const HPET_HZ = 100_000_000;

/** Register offsets (table 1). */
const CAPABILITIES = 0x000;
const PERIOD = 0x004;
const CONFIG = 0x010;
const STATUS = 0x020;
const COUNTER_LOW = 0x0f0;
const COUNTER_HIGH = 0x0f4;
const FIRST_TIMER = 0x100;
const TIMER_BYTES = 0x20;
const TIMER = {
  config: 0x00,
  routes: 0x04,
  comparatorLow: 0x08,
  comparatorHigh: 0x0c,
  fsbValue: 0x10,
  fsbAddress: 0x14,
};

/** General capabilities (table 2): revision 1, 64-bit counter, legacy replacement, vendor Intel as in every chipset. */
const CAPABILITY_BITS = 0x8086_0000 | (1 << 15) | (1 << 13) | 1;
const TIMER_COUNT_SHIFT = 8;
/** General configuration (table 3). */
const GEN_CONF = { enable: 1, legacy: 2 } as const;

/** Timers can be routed to I/O APIC inputs 20 to 23, which no ISA device shares. */
const ROUTES = [20, 21, 22, 23];
const ROUTE_CAPABILITY = 0x00f0_0000;
/** Legacy replacement (table 3): timer 0 replaces the PIT, timer 1 the RTC. The board leads GSI 0 to I/O APIC input 2. */
const LEGACY_GSI = [0, 8];

const TIMER_WRITABLE =
  TN_CONF.levelTriggered |
  TN_CONF.interruptEnable |
  TN_CONF.periodic |
  TN_CONF.setValue |
  TN_CONF.mode32 |
  TN_CONF.routeMask;
const TIMER_CAPABILITIES = TN_CONF.periodicCapable | TN_CONF.size64Capable;

/**
 * The shortest distance of two interrupts of a periodic timer: 20 us. A shorter period makes them coalesce, so that a
 * guest cannot flood the host; comparators stay exact. For the "minimum clock tick" of the ACPI table.
 */
export const HPET_MINIMUM_TICK = 2000;

export const hpet = defineDevice("hpet", (host, options: HpetOptions): void => {
  const count = options.timers ?? MIN_TIMERS;
  if (!Number.isInteger(count) || count < MIN_TIMERS || count > MAX_TIMERS) {
    throw new PorticoError("HPET_TIMERS_INVALID", `an HPET has ${MIN_TIMERS} to ${MAX_TIMERS} timers, not ${count}`);
  }
  const messages = options.messages ?? false;
  const timerWritable = TIMER_WRITABLE | (messages ? TN_CONF.fsbEnable : 0);
  const timerCapabilities = TIMER_CAPABILITIES | (messages ? TN_CONF.fsbCapable : 0);
  const ticks = host.clock.counter(HPET_HZ);
  const block = host.registers({
    config: "u32",
    status: "u32",
    /** The main counter at tick `origin`; while halted, its value. */
    baseLow: "u32",
    baseHigh: "u32",
    origin: "u64",
    /** A write with TN_VAL_SET went to the low half of this timer (number + 1) at `setValueAt` ns; see `writeComparator`. */
    setValueTimer: "u8",
    setValueAt: "u64",
  });
  const units = Array.from({ length: count }, (_, index) => ({
    index,
    bit: 2 ** index,
    timer: new HpetTimer(host.registers(HPET_TIMER)),
    legacyLine: index < LEGACY_GSI.length ? host.interrupt(LEGACY_GSI[index]) : undefined,
    lines: ROUTES.map((gsi) => host.interrupt(gsi)),
    event: host.timer(() => {
      catchUp();
      schedule();
    }),
  }));
  type Unit = (typeof units)[number];

  const running = () => (block.config & GEN_CONF.enable) !== 0;
  const isLevel = ({ timer }: Unit) => (timer.registers.config & TN_CONF.levelTriggered) !== 0;
  const isEnabled = ({ timer }: Unit) => (timer.registers.config & TN_CONF.interruptEnable) !== 0;
  const isMessage = ({ timer }: Unit) => (timer.registers.config & TN_CONF.fsbEnable) !== 0;

  function lineOf({ timer, legacyLine, lines }: Unit): InterruptLine | undefined {
    if (block.config & GEN_CONF.legacy && legacyLine) return legacyLine;
    return lines[ROUTES.indexOf((timer.registers.config & TN_CONF.routeMask) >> TN_CONF.routeShift)];
  }

  function counter(): bigint {
    const base = (BigInt(block.baseHigh) << 32n) | BigInt(block.baseLow);
    return running() ? BigInt.asUintN(64, base + BigInt(ticks.read() - block.origin)) : base;
  }

  /** Makes `value` the main counter's value now. */
  function setCounter(value: bigint): void {
    block.baseLow = Number(value & 0xffff_ffffn);
    block.baseHigh = Number(value >> 32n);
    block.origin = ticks.read();
    for (const { timer } of units) {
      if (running() && timer.matters) timer.arm(value, block.origin);
      else timer.registers.armed = 0;
    }
  }

  /** Lets everything that should have matched by now match. */
  function catchUp(): void {
    for (const unit of units) {
      if (unit.timer.registers.armed === 0) continue;
      const tick = ticks.read();
      if (unit.timer.match(tick)) signal(unit, tick);
    }
  }

  function signal(unit: Unit, tick: number): void {
    const r = unit.timer.registers;
    r.signalled = tick;
    if (isMessage(unit)) {
      if (isEnabled(unit)) host.msi(r.fsbAddress, r.fsbValue);
    } else if (isLevel(unit)) {
      // Status is kept for disabled interrupts too ("the timer can still operate and generate appropriate status bits").
      block.status |= unit.bit;
      driveLevel(unit);
    } else if (isEnabled(unit)) {
      lineOf(unit)?.pulse();
    }
  }

  function driveLevel(unit: Unit): void {
    if (!isLevel(unit) || isMessage(unit)) return;
    lineOf(unit)?.set((block.status & unit.bit) !== 0 && isEnabled(unit) && running());
  }

  /** Arms events for the matches that interrupt. A level that is pending needs none until its status is cleared. */
  function schedule(): void {
    for (const unit of units) {
      const { timer, event, bit } = unit;
      const pending = isLevel(unit) && !isMessage(unit) && (block.status & bit) !== 0;
      if (!isEnabled(unit) || pending) {
        event.cancel();
        continue;
      }
      const { signalled } = timer.registers;
      const next = timer.nextMatch(timer.periodic && signalled > 0 ? signalled + HPET_MINIMUM_TICK : 0);
      event.set(next === Number.POSITIVE_INFINITY ? next : ticks.timeOf(next));
    }
  }

  function writeConfig(value: number): void {
    const wasRunning = running();
    const wasLegacy = block.config & GEN_CONF.legacy;
    const now = counter();
    const before = units.map(lineOf);
    block.config = value & (GEN_CONF.enable | GEN_CONF.legacy);
    if (running() !== wasRunning) setCounter(now);
    units.forEach((unit, index) => {
      if (before[index] !== lineOf(unit)) before[index]?.set(false);
      driveLevel(unit);
    });
    const legacy = block.config & GEN_CONF.legacy;
    if (legacy !== wasLegacy) options.onLegacyRouting?.(legacy !== 0);
  }

  function writeTimerConfig(unit: Unit, value: number): void {
    const { timer } = unit;
    const r = timer.registers;
    const before = r.config;
    const { matters } = timer;
    const line = lineOf(unit);
    const route = (value & TN_CONF.routeMask) >> TN_CONF.routeShift;
    // "If the value is not supported ... the value read back will not match what was written."
    const kept = ROUTES.includes(route) ? 0 : TN_CONF.routeMask;
    r.config = (value & timerWritable & ~kept) | (before & kept);
    timer.truncate();
    const interrupts = isEnabled(unit) && !isMessage(unit);
    if (line !== lineOf(unit) || !interrupts || isLevel(unit)) line?.set(false);
    if (!isLevel(unit)) block.status &= ~unit.bit;
    driveLevel(unit);
    if (!running() || !timer.matters) return;
    const changed = ((before ^ r.config) & (TN_CONF.periodic | TN_CONF.mode32)) !== 0;
    // A comparator that nobody followed has matched already if this is its tick.
    if (changed || !matters) timer.arm(counter(), ticks.read(), !changed);
  }

  /**
   * TN_VAL_SET clears itself after a dword. A qword write comes as two dwords at one instant: there it holds for both.
   */
  function writeComparator({ timer, index }: Unit, high: boolean, value: number): void {
    const r = timer.registers;
    const setValue = (r.config & TN_CONF.setValue) !== 0;
    let secondHalf = false;
    if (setValue || block.setValueTimer !== 0) {
      const now = host.clock.now();
      secondHalf = high && block.setValueTimer === index + 1 && block.setValueAt === now;
      r.config &= ~TN_CONF.setValue;
      block.setValueTimer = setValue && !high ? index + 1 : 0;
      block.setValueAt = now;
    }
    const changed = timer.writeComparator(high, value, setValue || secondHalf);
    if (!changed || !running()) return;
    if (timer.matters) timer.arm(counter(), ticks.read());
    else r.armed = 0;
  }

  function readTimer({ timer }: Unit, register: number): number {
    const r = timer.registers;
    switch (register) {
      case TIMER.config:
        return r.config | timerCapabilities;
      case TIMER.routes:
        return ROUTE_CAPABILITY;
      case TIMER.comparatorLow:
        return r.comparatorLow;
      case TIMER.comparatorHigh:
        return r.comparatorHigh;
      case TIMER.fsbValue:
        return r.fsbValue;
      case TIMER.fsbAddress:
        return r.fsbAddress;
      default:
        return 0;
    }
  }

  function writeTimer(unit: Unit, register: number, value: number): void {
    const r = unit.timer.registers;
    switch (register) {
      case TIMER.config:
        writeTimerConfig(unit, value);
        break;
      case TIMER.comparatorLow:
      case TIMER.comparatorHigh:
        writeComparator(unit, register === TIMER.comparatorHigh, value);
        break;
      case TIMER.fsbValue:
        if (messages) r.fsbValue = value;
        break;
      case TIMER.fsbAddress:
        if (messages) r.fsbAddress = value;
        break;
    }
  }

  function read(offset: number): number {
    catchUp();
    switch (offset) {
      case CAPABILITIES:
        return (CAPABILITY_BITS | ((units.length - 1) << TIMER_COUNT_SHIFT)) >>> 0;
      case PERIOD:
        return HPET_PERIOD_FS;
      case CONFIG:
        return block.config;
      case STATUS:
        return block.status;
      case COUNTER_LOW:
        return Number(counter() & 0xffff_ffffn);
      case COUNTER_HIGH:
        return Number(counter() >> 32n);
    }
    const unit = unitAt(offset);
    return unit ? readTimer(unit, offset % TIMER_BYTES) : 0;
  }

  function write(offset: number, value: number): void {
    catchUp();
    switch (offset) {
      case CONFIG:
        writeConfig(value);
        break;
      case STATUS:
        block.status &= ~value;
        units.forEach(driveLevel);
        break;
      case COUNTER_LOW:
        setCounter((counter() & ~0xffff_ffffn) | BigInt(value));
        break;
      case COUNTER_HIGH:
        setCounter((counter() & 0xffff_ffffn) | (BigInt(value) << 32n));
        break;
      default: {
        const unit = unitAt(offset);
        if (unit) writeTimer(unit, offset % TIMER_BYTES, value);
      }
    }
    schedule();
  }

  function unitAt(offset: number): Unit | undefined {
    return offset < FIRST_TIMER ? undefined : units[Math.floor((offset - FIRST_TIMER) / TIMER_BYTES)];
  }

  host.mmio(
    { base: options.base ?? HPET_BASE, length: BLOCK_BYTES },
    {
      read: {
        // The main counter is what clock sources read all the time.
        raw: raw((x) => {
          x.if(x.ne(x.and(x.offset, ~4), COUNTER_LOW), () => x.decline());
          if (x.width !== 4) x.decline();
          const base = x.or(x.u64(x.get(block, "baseLow")), x.shl(x.u64(x.get(block, "baseHigh")), 32));
          const elapsed = x.sub(x.counter(ticks), x.get(block, "origin"));
          const enabled = x.and(x.get(block, "config"), GEN_CONF.enable);
          const value = x.add(base, x.mul(elapsed, x.u64(enabled)));
          return x.shrU(value, x.shl(x.u64(x.and(x.offset, 4)), 3));
        }),
        ring0: read,
      },
      write,
    },
    // Only aligned dwords and qwords are defined (section 2.2).
    { readMode: "dword", writeMode: "only-dword-qword" },
  );

  /** Comparators hold all ones (section 2.3.9); the rest of the block is zero. */
  function reset(): void {
    for (const { timer } of units) {
      timer.registers.comparatorLow = 0xffff_ffff;
      timer.registers.comparatorHigh = 0xffff_ffff;
    }
  }
  reset();
  host.onReset(() => {
    reset();
    options.onLegacyRouting?.(false);
  });
});
