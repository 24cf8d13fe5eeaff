/**
 * One line of a Linux trace of KVM, as three programs print it:
 *
 *     vm-98   [000] d..1.  6.271765: kvm_entry: vcpu 0, rip 0x106d           /sys/kernel/tracing/trace, trace_pipe
 *     vm-104  [000]       10.200493: kvm_entry:            vcpu 0, rip 0x1000      trace-cmd report
 *     vm  109 [000]       15.509228:          kvm:kvm_entry: vcpu 0, rip 0x1000    perf script
 *
 * A command's name may hold anything, so a line is read from the event's name outward. All repetitions are bounded: a
 * hostile line costs no more than its length.
 */

export type FrontEnd = "ftrace" | "trace-cmd" | "perf";

export interface EventLine {
  readonly kind: "event";
  readonly name: string;
  /** What the event itself prints. */
  readonly payload: string;
  /** The thread, which for KVM is the vCPU; undefined when that part of the line is not understood. */
  readonly thread: number | undefined;
  readonly seconds: number;
  readonly nanoseconds: number;
  /** False where the trace clock counts something else than seconds (`x86-tsc`, `counter`). */
  readonly timed: boolean;
  readonly frontEnd: FrontEnd;
}

/** Events that the recorder had no room for. */
export interface LostLine {
  readonly kind: "lost";
  /** 0: it does not know how many. */
  readonly events: number;
}

export type TraceLine = EventLine | LostLine | { readonly kind: "other" };

const OTHER: TraceLine = { kind: "other" };

const EVENT =
  /(?:(\d{1,12})\.(\d{6}(?:\d{3})?)|(\d{1,20})):(\s{1,64})(?:\d{1,20}\s{1,8})?(kvm:)?(kvm_[a-z_]{1,40}):(\s{0,64})/;
/** `-PID (TGID) [CPU] flags`, the second and the last only in some versions. */
const FTRACE_HEAD =
  /-(\d{1,10})\s{1,20}(?:\(\s{0,8}[\d-]{1,10}\)\s{1,20})?\[\d{1,5}\]\s{1,20}(?:[^\s[\]]{1,8}\s{1,20})?$/;
/** `TID [CPU]` or `PID/TID [CPU]`. */
const PERF_HEAD = /(?:^|\s)(?:\d{1,10}\/)?(\d{1,10})\s{1,20}(?:\[\d{1,5}\]\s{1,20})?$/;
/** More than the longest head. */
const HEAD = 160;

const LOST = [
  /^CPU:\d{1,5} \[LOST (\d{1,15}) EVENTS\]/, // ftrace
  /^CPU:\d{1,5} \[(?:(\d{1,15}) )?EVENTS DROPPED\]/, // trace-cmd
  /PERF_RECORD_LOST(?:_SAMPLES)?:? (?:lost )?(\d{1,15})/, // perf script --show-lost-events
];
/** The oldest events were overwritten before anybody read them. */
const OVERWRITTEN = /^# entries-in-buffer\/entries-written: (\d{1,15})\/(\d{1,15})/;

export function parseLine(line: string): TraceLine {
  if (!line.includes("kvm_")) return parseMarker(line);
  const match = EVENT.exec(line);
  if (match === null) return OTHER;
  const [whole, seconds, fraction, , gap, perf, name, padding] = match;
  const head = line.slice(Math.max(0, match.index - HEAD), match.index);
  const thread = (perf ? PERF_HEAD.exec(head) : (FTRACE_HEAD.exec(head) ?? PERF_HEAD.exec(head)))?.[1];
  return {
    kind: "event",
    name: name!,
    payload: line.slice(match.index + whole.length),
    thread: thread === undefined ? undefined : Number(thread),
    seconds: seconds === undefined ? 0 : Number(seconds),
    nanoseconds: fraction === undefined ? 0 : Number(fraction) * (fraction.length === 6 ? 1000 : 1),
    timed: seconds !== undefined,
    frontEnd: perf ? "perf" : padding!.length > 1 || gap!.length > 1 ? "trace-cmd" : "ftrace",
  };
}

function parseMarker(line: string): TraceLine {
  if (line.includes("LOST") || line.includes("DROPPED")) {
    for (const pattern of LOST) {
      const match = pattern.exec(line);
      if (match !== null) return { kind: "lost", events: Number(match[1] ?? 0) };
    }
  }
  const overwritten = OVERWRITTEN.exec(line);
  if (overwritten === null) return OTHER;
  const events = Number(overwritten[2]) - Number(overwritten[1]);
  return events > 0 ? { kind: "lost", events } : OTHER;
}
