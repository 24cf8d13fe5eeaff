/** A trace of KVM, read once from front to back: bytes in, a report out. */

import type { ExitFault } from "../decoded.ts";
import { Distribution } from "./distribution.ts";
import { type KvmEvent, parseEvent } from "./event.ts";
import { type EventLine, type FrontEnd, parseLine } from "./line.ts";
import { LineSplitter } from "./line-splitter.ts";
import { keyOf, Place, type PlaceKey } from "./place.ts";
import { type Isa, ioReason, isIdle } from "./reasons.ts";
import type { PlaceReport, TraceReport } from "./report.ts";
import { savings } from "./savings.ts";
import { type FinishedExit, VcpuThread } from "./vcpu-thread.ts";

/** A trace of garbage names as many places, threads and reasons as it has lines; these bound what is held. */
const MOST_PLACES = 20_000;
const MOST_THREADS = 4096;
const MOST_REASONS = 512;

export class TraceAnalysis {
  private readonly splitter = new LineSplitter();
  private readonly threads = new Map<string, VcpuThread>();
  /** By thread, then by place. */
  private readonly places = new Map<VcpuThread, Map<string, Place>>();
  private placeCount = 0;
  private readonly reasons = new Map<string, { exits: number; totalNs: number }>();
  private readonly otherTimes = new Distribution();
  private readonly seen = new Set<string>();
  private readonly isas = new Set<Isa>();
  private readonly invalid: Partial<Record<ExitFault, number>> = {};
  private readonly frontEnds = new Map<FrontEnd, number>();
  private lines = 0;
  private events = 0;
  private malformed = 0;
  private gaps = 0;
  private lost = 0;
  private total = 0;
  private untimed = 0;
  private unplaced = 0;
  private outside = 0;
  private elsewhere = 0;
  /** Seconds of the first event: times count from here, so that nanoseconds stay exact. */
  private epoch: number | undefined;
  private first = Number.NaN;
  private last = Number.NaN;

  push(bytes: Uint8Array): void {
    for (const line of this.splitter.push(bytes)) this.line(line);
  }

  /** The report; nothing may be pushed after it. */
  end(): TraceReport {
    for (const line of this.splitter.end()) this.line(line);
    this.forgetAll();
    return this.report();
  }

  private line(text: string): void {
    this.lines++;
    const line = parseLine(text);
    if (line.kind === "other") return;
    if (line.kind === "lost") {
      this.gaps++;
      this.lost += line.events;
      this.forgetAll();
      return;
    }
    const event = parseEvent(line.name, line.payload);
    if (event === undefined) {
      this.malformed++;
      return;
    }
    const thread = event === "ignored" ? undefined : this.threadOf(line, event);
    if (event !== "ignored" && thread === undefined) {
      this.malformed++;
      return;
    }
    this.events++;
    this.frontEnds.set(line.frontEnd, (this.frontEnds.get(line.frontEnd) ?? 0) + 1);
    if (event === "ignored" || thread === undefined) return;
    this.seen.add(line.name);
    this.event(thread, event, this.timeOf(line));
  }

  private event(thread: VcpuThread, event: KvmEvent, at: number): void {
    switch (event.kind) {
      case "exit": {
        const isa = ioReason(event.reason)?.isa;
        if (isa !== undefined) this.isas.add(isa);
        this.finished(thread, thread.exit(event, at));
        break;
      }
      case "entry":
        this.finished(thread, thread.entry(event.vcpu, at));
        break;
      case "pio":
        this.outsideAccess(thread, thread.pio(event), event.count);
        break;
      case "mmio":
        this.outsideAccess(thread, thread.mmio(event), 1);
        break;
      case "fast-mmio":
        this.outsideAccess(thread, thread.notify(event.address), 1);
        break;
      case "user":
        thread.userExit(event.access);
        break;
    }
  }

  /** Threads are vCPUs. A line whose thread is not understood may still name its vCPU. */
  private threadOf(line: EventLine, event: KvmEvent): VcpuThread | undefined {
    const vcpu = event.kind === "exit" || event.kind === "entry" ? event.vcpu : undefined;
    if (line.thread === undefined && vcpu === undefined) return undefined;
    const key = line.thread === undefined ? `vcpu ${vcpu}` : `thread ${line.thread}`;
    let thread = this.threads.get(key);
    if (thread === undefined) {
      if (this.threads.size >= MOST_THREADS) return undefined;
      thread = new VcpuThread(line.thread);
      this.threads.set(key, thread);
    }
    return thread;
  }

  private timeOf(line: EventLine): number {
    if (!line.timed) return Number.NaN;
    this.epoch ??= line.seconds;
    const at = (line.seconds - this.epoch) * 1e9 + line.nanoseconds;
    if (Number.isNaN(this.first) || at < this.first) this.first = at;
    if (Number.isNaN(this.last) || at > this.last) this.last = at;
    return at;
  }

  private forgetAll(): void {
    for (const thread of this.threads.values()) this.finished(thread, thread.forget());
  }

  private finished(thread: VcpuThread, exit: FinishedExit | undefined): void {
    if (exit === undefined) return;
    const timed = !Number.isNaN(exit.ns);
    this.total++;
    thread.exits++;
    if (!timed) this.untimed++;
    if (exit.fault !== undefined) this.invalid[exit.fault] = (this.invalid[exit.fault] ?? 0) + 1;
    if (exit.unplaced) this.unplaced++;
    this.countReason(exit);
    if (timed && !isIdle(exit.reason)) thread.outsideNs += exit.ns;
    if (exit.place === undefined) {
      if (timed && !isIdle(exit.reason)) this.otherTimes.add(exit.ns);
      return;
    }
    thread.io++;
    if (exit.user) thread.user++;
    const place = this.placeOf(thread, exit.place);
    if (place === undefined) this.elsewhere++;
    else place.exit(exit);
  }

  private countReason({ reason, ns }: FinishedExit): void {
    const name = this.reasons.has(reason) || this.reasons.size < MOST_REASONS ? reason : "(others)";
    const entry = this.reasons.get(name) ?? { exits: 0, totalNs: 0 };
    entry.exits++;
    if (!Number.isNaN(ns)) entry.totalNs += ns;
    this.reasons.set(name, entry);
  }

  private outsideAccess(thread: VcpuThread, key: PlaceKey | undefined, units: number): void {
    if (key === undefined) return;
    this.outside++;
    const place = this.placeOf(thread, key);
    if (place === undefined) return;
    place.outside++;
    place.units += units;
  }

  private placeOf(thread: VcpuThread, key: PlaceKey): Place | undefined {
    let places = this.places.get(thread);
    if (places === undefined) this.places.set(thread, (places = new Map()));
    const name = keyOf(key);
    let place = places.get(name);
    if (place === undefined) {
      if (this.placeCount >= MOST_PLACES) return undefined;
      this.placeCount++;
      place = new Place(key);
      places.set(name, place);
    }
    return place;
  }

  private report(): TraceReport {
    const answered = this.seen.has("kvm_userspace_exit");
    const spanNs = this.last > this.first ? this.last - this.first : undefined;
    if (!this.seen.has("kvm_pio")) {
      for (const places of this.places.values()) for (const place of places.values()) place.forgetEnded();
    }
    const merged = new Map<string, { all: Place; vcpus: { thread: VcpuThread; place: Place }[] }>();
    for (const [thread, places] of this.places) {
      for (const [name, place] of places) {
        let entry = merged.get(name);
        if (entry === undefined) merged.set(name, (entry = { all: new Place(place.key), vcpus: [] }));
        entry.all.addAll(place);
        entry.vcpus.push({ thread, place });
      }
    }
    const all = [...merged.values()].map((entry) => entry.all);
    const sum = (pick: (place: Place) => number): number => all.reduce((total, place) => total + pick(place), 0);
    const io = sum((place) => place.exits) + this.elsewhere;
    const user = [...this.threads.values()].reduce((total, thread) => total + thread.user, 0);
    const ended = sum((place) => place.ended);
    const kernelTimes = new Distribution();
    const userTimes = new Distribution();
    for (const place of all) {
      kernelTimes.addAll(place.kernelTimes);
      userTimes.addAll(place.userTimes);
    }
    const [isa, second] = this.isas;
    return {
      source: {
        frontEnd: [...this.frontEnds].sort(([, a], [, b]) => b - a)[0]?.[0],
        isa: second === undefined ? isa : "both",
        lines: this.lines + this.splitter.overlong,
        events: this.events,
        malformed: this.malformed + this.splitter.overlong,
        gaps: this.gaps,
        lost: this.lost,
        spanNs,
        eventNames: [...this.seen].sort(),
      },
      exits: {
        total: this.total,
        io,
        string: sum((place) => place.string),
        emulated: sum((place) => place.emulated),
        kernel: answered ? io - user - ended : undefined,
        user: answered ? user : undefined,
        ended,
        untimed: this.untimed,
        invalid: this.invalid,
        unplaced: this.unplaced,
        outside: this.outside,
      },
      vcpus: [...this.threads.values()]
        .map(({ vcpu, thread, exits, io, user, outsideNs }) => ({
          vcpu,
          thread,
          exits,
          io,
          user: answered ? user : undefined,
          outsideNs,
        }))
        .sort(byVcpu),
      places: [...merged.values()]
        .map(
          ({ all, vcpus }): PlaceReport => ({
            ...all.key,
            ...all.counts(answered, spanNs),
            vcpus: vcpus
              .sort((a, b) => byVcpu(a.thread, b.thread))
              .map(({ thread, place }) => ({
                vcpu: thread.vcpu,
                thread: thread.thread,
                ...place.counts(answered, spanNs),
              })),
          }),
        )
        .sort(byTime),
      elsewhere: this.elsewhere,
      reasons: [...this.reasons]
        .map(([reason, counts]) => ({ reason, ...counts }))
        .sort((a, b) => b.totalNs - a.totalNs || b.exits - a.exits),
      histogram: { kernel: kernelTimes.octaves(), user: userTimes.octaves() },
      savings: savings(all, this.otherTimes, answered),
    };
  }
}

function byTime(a: PlaceReport, b: PlaceReport): number {
  const time = (place: PlaceReport): number => place.time?.totalNs ?? 0;
  return time(b) - time(a) || b.exits - a.exits || b.outside - a.outside || a.address - b.address;
}

interface Vcpu {
  readonly vcpu: number | undefined;
  readonly thread: number | undefined;
}

function byVcpu(a: Vcpu, b: Vcpu): number {
  return (a.vcpu ?? -1) - (b.vcpu ?? -1) || (a.thread ?? -1) - (b.thread ?? -1);
}
