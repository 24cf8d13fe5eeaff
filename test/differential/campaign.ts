/** Batches of random programs, run on the host CPU and on a subject, and compared. */
import { compare } from "./compare.ts";
import { Generator } from "./generate.ts";
import { runNative } from "./native.ts";
import { Random } from "./prng.ts";
import { type LinkedProgram, link, type Program, withoutUnit } from "./program.ts";
import { type Mode, type Outcome, VECTOR_TIMEOUT, WINDOW_SIZE } from "./state.ts";
import type { Subject } from "./subject.ts";
import { background } from "./values.ts";
import type { Vendor } from "./vendor.ts";

const BATCH = 4000;

export interface CampaignOptions {
  readonly host: Vendor;
  readonly mode: Mode;
  readonly selection: string;
  readonly seed: number;
  readonly count: number;
  /** Failures after which to stop. */
  readonly limit: number;
}

export interface Failure {
  readonly program: LinkedProgram;
  readonly background: Uint8Array;
  readonly host: Vendor;
  readonly native: Outcome;
  readonly differences: readonly string[];
}

export interface CampaignResult {
  readonly cases: number;
  /** Cases that never ended on the host: they prove nothing. */
  readonly timeouts: number;
  /** Cases in which the host did not agree with itself: see `settle`. */
  readonly unstable: number;
  /** Executed units by the name of their form, and outcomes by vector. */
  readonly coverage: ReadonlyMap<string, number>;
  readonly vectors: ReadonlyMap<number, number>;
  readonly failures: readonly Failure[];
}

export function campaign(subject: Subject | undefined, options: CampaignOptions): CampaignResult {
  const coverage = new Map<string, number>();
  const vectors = new Map<number, number>();
  const failures: Failure[] = [];
  let timeouts = 0;
  let unstable = 0;
  let cases = 0;
  for (let batch = 0; cases < options.count && failures.length < options.limit; batch++) {
    const random = new Random(options.seed * 65_537 + batch);
    const window = background(random, WINDOW_SIZE);
    const generator = new Generator(random, options.mode, options.selection, options.host);
    const programs = Array.from({ length: Math.min(BATCH, options.count - cases) }, () => generator.next());
    const natives = runNative(window, programs, options.mode);
    subject?.prepare(window);
    for (let i = 0; i < programs.length && failures.length < options.limit; i++) {
      const program = programs[i]!;
      const native = natives[i]!;
      cases++;
      vectors.set(native.vector, (vectors.get(native.vector) ?? 0) + 1);
      if (native.vector === VECTOR_TIMEOUT) timeouts++;
      count(program, native, coverage);
      if (!subject) continue;
      if (attempt(subject, program, native, window, options.host).length === 0) continue;
      const settled = settle(program, native, window);
      const differences = attempt(subject, program, settled, window, options.host);
      if (settled !== native) unstable++;
      if (differences.length > 0) {
        failures.push({ program, background: window, host: options.host, native: settled, differences });
      }
    }
  }
  return { cases, timeouts, unstable, coverage, vectors, failures };
}

/**
 * The host's answer once more. A timer interrupt at the very instruction that faults shows: where RIP is beyond the limit
 * of CS, it is then the kernel's IRET that faults, and RF is not set. The same outcome is returned as the object given.
 */
function settle(program: LinkedProgram, native: Outcome, background: Uint8Array): Outcome {
  const [again] = runNative(background, [program], program.mode);
  return compare(program, native, again!, background).length === 0 ? native : again!;
}

/** An exception out of the subject is a difference like any other. */
function attempt(
  subject: Subject,
  program: LinkedProgram,
  native: Outcome,
  background: Uint8Array,
  host: Vendor,
): string[] {
  let outcome: Outcome;
  try {
    outcome = subject.run(program);
  } catch (error) {
    return [`threw ${error instanceof Error ? error.stack : error}`];
  }
  return compare(program, native, outcome, background, host);
}

/** Counts the units up to where the host stopped. */
function count(program: LinkedProgram, native: Outcome, coverage: Map<string, number>): void {
  program.program.units.forEach((unit, index) => {
    if (native.rip < program.addresses[index]!) return;
    coverage.set(unit.form.name, (coverage.get(unit.form.name) ?? 0) + 1);
  });
}

/** Drops instructions as long as some difference remains. */
export function minimise(subject: Subject, failure: Failure): Failure {
  let smallest = failure;
  subject.prepare(failure.background);
  for (let changed = true; changed; ) {
    changed = false;
    for (let index = smallest.program.program.units.length - 1; index >= 0; index--) {
      if (smallest.program.program.units.length === 1) break;
      const reduced: Program = withoutUnit(smallest.program.program, index);
      const program = link(reduced);
      if (!program) continue;
      const [native] = runNative(failure.background, [program], program.mode);
      const differences = attempt(subject, program, native!, failure.background, failure.host);
      if (differences.length === 0) continue;
      smallest = { ...failure, program, native: native!, differences };
      changed = true;
    }
  }
  return smallest;
}
