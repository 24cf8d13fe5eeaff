/** One place that a guest accesses, from one vCPU: what happened there. */

import { Distribution } from "./distribution.ts";
import type { AccessCounts, AccessKind } from "./report.ts";

export interface PlaceKey {
  readonly space: "port" | "mmio";
  readonly address: number;
  readonly direction: "read" | "write";
  readonly bytes: number;
}

export const keyOf = (key: PlaceKey): string => `${key.space} ${key.address} ${key.direction} ${key.bytes}`;

export interface Answered {
  readonly user: boolean;
  readonly string: boolean;
  readonly emulated: boolean;
  readonly units: number;
  /** NaN: unknown. */
  readonly ns: number;
}

export class Place {
  exits = 0;
  user = 0;
  string = 0;
  emulated = 0;
  units = 0;
  outside = 0;
  readonly kernelTimes = new Distribution();
  readonly userTimes = new Distribution();
  /** Strings that transferred nothing: the exit after the last unit of a REP, in which KVM only moves RIP. */
  ended = 0;
  readonly endedTimes = new Distribution();
  readonly key: PlaceKey;

  constructor(key: PlaceKey) {
    this.key = key;
  }

  exit({ user, string, emulated, units, ns }: Answered): void {
    this.exits++;
    if (user) this.user++;
    if (string) this.string++;
    if (emulated) this.emulated++;
    this.units += units;
    const ended = string && units === 0 && !user;
    if (ended) this.ended++;
    if (!Number.isNaN(ns)) (ended ? this.endedTimes : user ? this.userTimes : this.kernelTimes).add(ns);
  }

  addAll(other: Place): void {
    this.exits += other.exits;
    this.user += other.user;
    this.string += other.string;
    this.emulated += other.emulated;
    this.units += other.units;
    this.outside += other.outside;
    this.kernelTimes.addAll(other.kernelTimes);
    this.userTimes.addAll(other.userTimes);
    this.ended += other.ended;
    this.endedTimes.addAll(other.endedTimes);
  }

  /** Without kvm_pio nothing tells which strings transferred nothing: the kernel has answered them. */
  forgetEnded(): void {
    this.kernelTimes.addAll(this.endedTimes);
    this.endedTimes.clear();
    this.ended = 0;
  }

  times(): Distribution {
    const all = new Distribution();
    all.addAll(this.kernelTimes);
    all.addAll(this.userTimes);
    all.addAll(this.endedTimes);
    return all;
  }

  /** What it costs to answer here depends on this. */
  get kind(): AccessKind {
    if (this.key.space === "mmio") return "mmio";
    return this.string * 2 > this.exits ? "string" : "port";
  }

  /**
   * @param answered whether the trace tells who answered
   * @param spanNs of the whole trace
   */
  counts(answered: boolean, spanNs: number | undefined): AccessCounts {
    return {
      exits: this.exits,
      perSecond: spanNs ? this.exits / (spanNs / 1e9) : undefined,
      kernel: answered ? this.exits - this.user - this.ended : undefined,
      user: answered ? this.user : undefined,
      ended: this.ended,
      string: this.string,
      emulated: this.emulated,
      units: this.units,
      outside: this.outside,
      time: this.times().summary(),
    };
  }
}
