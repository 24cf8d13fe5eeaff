/** From the bytes of a trace, in pieces, to its report; what is no such text is refused. */

import { PorticoError } from "../../errors.ts";
import { TraceAnalysis } from "./analysis.ts";
import type { TraceReport } from "./report.ts";

/** What was given is no text of a trace with KVM's events. */
export class TraceError extends PorticoError {
  declare readonly code: "TRACE_BINARY" | "TRACE_EMPTY";

  constructor(code: TraceError["code"], message: string) {
    super(code, message);
  }
}

/** Files that people hand over in place of the text: how they begin, what they are, and how to get at the text. */
const BINARIES: readonly { readonly start: readonly number[]; readonly advice: (name: string) => string }[] = [
  {
    start: [...ascii("PERFILE2")],
    advice: (name) => `is a recording of perf; print it with \`perf script -i ${name}\``,
  },
  {
    start: [0x17, 0x08, 0x44, ...ascii("tracing")],
    advice: (name) => `is a recording of trace-cmd; print it with \`trace-cmd report ${name}\``,
  },
  { start: [0x1f, 0x8b], advice: () => "is compressed; unpack it with gzip -d" },
  { start: [0xfd, ...ascii("7zXZ")], advice: () => "is compressed; unpack it with xz -d" },
  { start: [0x28, 0xb5, 0x2f, 0xfd], advice: () => "is compressed; unpack it with zstd -d" },
];

function ascii(text: string): number[] {
  return [...text].map((character) => character.charCodeAt(0));
}

/** @param name for messages. Throws `TraceError`, and what reading the pieces throws */
export async function readTrace(pieces: AsyncIterable<Uint8Array>, name: string): Promise<TraceReport> {
  const analysis = new TraceAnalysis();
  let first = true;
  for await (const piece of pieces) {
    if (first) refuseBinary(piece, name);
    first = false;
    analysis.push(piece);
  }
  const report = analysis.end();
  const { lines, events, eventNames } = report.source;
  if (events === 0) {
    throw new TraceError(
      "TRACE_EMPTY",
      `'${name}' holds no event of KVM in ${lines} lines; it should be what trace-cmd report, perf script or /sys/kernel/tracing/trace print`,
    );
  }
  if (report.exits.total + report.exits.outside === 0) {
    const names = eventNames.length > 0 ? `only ${eventNames.join(", ")}` : "none that tells about I/O";
    throw new TraceError(
      "TRACE_EMPTY",
      `'${name}' holds no exit and no access (of KVM's events: ${names}); record kvm:kvm_exit, kvm_entry, kvm_pio, kvm_mmio and kvm_userspace_exit`,
    );
  }
  return report;
}

function refuseBinary(piece: Uint8Array, name: string): void {
  const found = BINARIES.find(({ start }) => start.every((byte, index) => piece[index] === byte));
  if (found !== undefined) throw new TraceError("TRACE_BINARY", `'${name}' ${found.advice(name)}`);
}
