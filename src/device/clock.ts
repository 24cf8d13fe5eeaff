import { checkArgument, whole } from "../arguments.ts";
import { CLOCK, CLOCK_RATE_SHIFT } from "../memory/layout.ts";
import type { Clock, Counter } from "./types.ts";

const NS_PER_SECOND = 1_000_000_000;
/** Products of a remainder below 1e9 (or hz) with a number below this are exact in a double (< 2^53). */
const EXACT_HZ = 2 ** 23;
/** A second's ticks times a second's nanoseconds must fit an unsigned 64-bit integer, for emitted code. */
const HZ_MAX = 2 ** 34;

/** The right-hand part of a split by 2^15: 1e9 = 30517 * 2^15 + 18944. */
const SPLIT = 2 ** 15;
const NS_HIGH = Math.floor(NS_PER_SECOND / SPLIT);
const NS_LOW = NS_PER_SECOND % SPLIT;

/** floor(a * b / divisor), exact for a below `divisor` < 2^37 and b < 2^37, though a * b may exceed 2^53. */
function multiplyDivide(a: number, b: number, divisor: number): number {
  const high = Math.floor(b / SPLIT);
  const upper = a * high;
  const quotient = Math.floor(upper / divisor);
  const rest = upper - quotient * divisor;
  return quotient * SPLIT + Math.floor((rest * SPLIT + a * (b - high * SPLIT)) / divisor);
}

/** floor(ns * hz / 1e9) without BigInt. */
export function ticksAt(ns: number, hz: number): number {
  const seconds = Math.floor(ns / NS_PER_SECOND);
  const rest = ns - seconds * NS_PER_SECOND;
  const partial = hz < EXACT_HZ ? Math.floor((rest * hz) / NS_PER_SECOND) : multiplyDivide(rest, hz, NS_PER_SECOND);
  return seconds * hz + partial;
}

/** ceil(ticks * 1e9 / hz) without BigInt: the first nanosecond at which `ticksAt` reaches `ticks`. */
export function timeOfTicks(ticks: number, hz: number): number {
  const seconds = Math.floor(ticks / hz);
  const rest = ticks - seconds * hz;
  if (hz < EXACT_HZ) return seconds * NS_PER_SECOND + Math.ceil((rest * NS_PER_SECOND) / hz);
  const upper = rest * NS_HIGH;
  const quotient = Math.floor(upper / hz);
  const lower = (upper - quotient * hz) * SPLIT + rest * NS_LOW;
  return seconds * NS_PER_SECOND + quotient * SPLIT + Math.ceil(lower / hz);
}

/**
 * A counter at `hz` (a positive integer up to 2^34) over `now`. Exact while its value is a safe integer. Throws
 * `PorticoError` `ARGUMENT`.
 */
export function createCounter(now: () => number, hz: number): Counter {
  checkArgument("the frequency of a counter", hz, whole(1, HZ_MAX));
  return { hz, read: () => ticksAt(now(), hz), timeOf: (ticks) => timeOfTicks(ticks, hz) };
}

/**
 * Virtual time as the clock block of the machine's memory gives it (see `CLOCK`): the same figure that emitted code
 * computes. Host time never enters.
 */
export function virtualTime(memory: WebAssembly.Memory): () => number {
  const u32 = new Uint32Array(memory.buffer);
  const base = CLOCK.baseNs >> 2;
  const sliceBudget = CLOCK.sliceBudget >> 2;
  const budget = CLOCK.budget >> 2;
  const rate = CLOCK.rate >> 2;
  return () => {
    const elapsed = (u32[sliceBudget] - u32[budget]) | 0;
    const nsPerInstruction = u32[rate];
    const whole = nsPerInstruction >>> CLOCK_RATE_SHIFT;
    const fraction = nsPerInstruction & ((1 << CLOCK_RATE_SHIFT) - 1);
    const inSlice = elapsed * whole + Math.floor((elapsed * fraction) / 2 ** CLOCK_RATE_SHIFT);
    return u32[base + 1] * 2 ** 32 + u32[base] + inSlice;
  };
}

export function createClock(now: () => number, epochNs: bigint): Clock {
  return { now, epochNs, counter: (hz) => createCounter(now, hz) };
}
