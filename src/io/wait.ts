import type { DeviceError } from "./errors.ts";

/** Completes what was waited for, or says why that failed. */
export type Finish = () => DeviceError | undefined;

/** One vCPU's wait for ring 3. There is at most one: nothing runs meanwhile. */
export class Wait {
  /** Settles when the vCPU may go on; rejected, it stays until `end`. */
  promise: Promise<void> | undefined;
  /** For a write of an instruction that has retired, which cannot be given up. */
  forCommit = false;
  failed = false;
  private wake: (() => void) | undefined;
  /** Counts waits: what settles after its wait was given up is ignored. */
  private generation = 0;

  get active(): boolean {
    return this.promise !== undefined;
  }

  /** The function to call when ring 3 has answered; it says whether the vCPU may now go on. */
  begin(forCommit: boolean): (finish: Finish) => boolean {
    const generation = ++this.generation;
    let fail!: (error: DeviceError) => void;
    const promise = new Promise<void>((resolve, reject) => {
      this.wake = resolve;
      fail = reject;
    });
    // Whoever runs the vCPU awaits it; when the machine is being disposed nobody does.
    promise.catch(() => {});
    this.promise = promise;
    this.forCommit = forCommit;
    this.failed = false;
    return (finish) => {
      if (generation !== this.generation) return false;
      const error = finish();
      if (error === undefined) return true;
      this.failed = true;
      fail(error);
      return false;
    };
  }

  /** Over, or given up: whoever awaits it goes on. */
  end(): void {
    this.generation++;
    this.promise = undefined;
    this.failed = false;
    const { wake } = this;
    this.wake = undefined;
    wake?.();
  }
}
