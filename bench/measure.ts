/** Measures the tests of our guest on one engine. */
import { fileURLToPath } from "node:url";
import type { Engine } from "./engines/engine.ts";
import { GuestError, GuestSession, type GuestTest, type Interval } from "./guest-session.ts";
import { median } from "./statistics.ts";

/** Long enough that the millisecond between a byte and its flush does not matter. */
const INTERVAL_MS = 250;
/** From here on the time for the wanted interval can be extrapolated. */
const CALIBRATED_MS = 25;
const TIMEOUT_MS = 120_000;
const MEMORY_MIB = 64;
/** What every engine runs for the comparison of results. */
const COMMON_ITERATIONS = 3;

export interface Measurement {
  /** ns an operation on the wall; medians over the repetitions, as the others. */
  readonly ns: number;
  /** ns of CPU time an operation, all threads. */
  readonly cpuNs: number;
  /** Millions of instructions a second, where the engine counts them. */
  readonly mips?: number;
  /** The same by CPU time. */
  readonly cpuMips?: number;
  readonly iterations: number;
  readonly checksum: string;
}

export type Outcome = Measurement | { readonly error: string } | { readonly skipped: true };

export type Variant = 32 | 64;

export class GuestBench {
  private readonly engine: Engine;
  private readonly image: string;
  private session: GuestSession | undefined;

  constructor(engine: Engine, variant: Variant) {
    this.engine = engine;
    this.image = fileURLToPath(new URL(`guest/bench${variant}.bin`, import.meta.url));
  }

  private async guest(): Promise<GuestSession> {
    this.session ??= await GuestSession.start(this.engine, { image: this.image, memoryMiB: MEMORY_MIB });
    return this.session;
  }

  async tests(): Promise<GuestTest[]> {
    return (await this.guest()).list();
  }

  /** A guest that fell over is started anew for the next test. */
  async measure(test: GuestTest, repetitions: number): Promise<Outcome> {
    try {
      return await this.repeat(await this.guest(), test, repetitions);
    } catch (error) {
      await this.close();
      if (error instanceof GuestError) return { error: error.message };
      throw error;
    }
  }

  private async repeat(guest: GuestSession, test: GuestTest, repetitions: number): Promise<Outcome> {
    const common = await guest.run(test.name, COMMON_ITERATIONS, TIMEOUT_MS);
    if (common === undefined) return { skipped: true };
    const iterations = await calibrate(guest, test);
    const runs: Interval[] = [];
    while (runs.length < repetitions) runs.push((await guest.run(test.name, iterations, TIMEOUT_MS))!);
    const operations = iterations * test.operations;
    const { retired } = runs[0]!;
    return {
      ns: (median(runs.map((run) => run.wallMs)) * 1e6) / operations,
      cpuNs: (median(runs.map((run) => run.cpuMs)) * 1e6) / operations,
      ...(retired !== undefined && {
        mips: median(runs.map((run) => run.retired! / run.wallMs / 1000)),
        cpuMips: median(runs.map((run) => run.retired! / run.cpuMs / 1000)),
      }),
      iterations,
      checksum: common.checksum,
    };
  }

  async close(): Promise<void> {
    await this.session?.close();
    this.session = undefined;
  }
}

/** Iterations for one interval (250 ms). Running them warms up every compiler, too. */
export async function calibrate(guest: GuestSession, test: GuestTest): Promise<number> {
  for (let iterations = 4; ; iterations *= 4) {
    const { wallMs } = (await guest.run(test.name, iterations, TIMEOUT_MS))!;
    if (wallMs < CALIBRATED_MS) continue;
    const wanted = Math.max(1, Math.round((iterations * INTERVAL_MS) / wallMs));
    // Compilers are faster once warm: what was extrapolated may be too few.
    const warm = (await guest.run(test.name, wanted, TIMEOUT_MS))!;
    return Math.max(1, Math.round((wanted * INTERVAL_MS) / warm.wallMs));
  }
}
