/** Linux traces of KVM, explained: see `readTrace`. */
export type { Octave, Summary } from "./distribution.ts";
export { readTrace, TraceError } from "./read-trace.ts";
export * from "./report.ts";
