import type { Outcome } from "../../memory/watched-access.ts";

/**
 * Accesses that handlers have seen in an instruction which then had to wait for ring 3. When it starts again, they are
 * answered from here, in order, and nobody is told twice.
 */
interface Seen {
  readonly kind: "read" | "write";
  readonly physical: number;
  /** What handlers have made of it. */
  readonly data: Uint8Array;
  readonly outcome: Outcome;
}

export class WatchJournal {
  private seen: Seen[] = [];
  /** Index of the next answer; -1: nothing is being repeated. */
  private cursor = -1;
  private place = -1;
  private abandoned = false;

  /** `place` tells instructions of one slice apart. */
  record(place: number, kind: "read" | "write", physical: number, data: Uint8Array, outcome: Outcome): void {
    if (place !== this.place) this.forget();
    this.place = place;
    this.seen.push({ kind, physical, data: data.slice(), outcome });
  }

  /** The next access, if this is it: its bytes go to `data`. */
  answer(place: number, kind: "read" | "write", physical: number, data: Uint8Array): Outcome | undefined {
    if (this.cursor < 0) return undefined;
    const next = this.seen[this.cursor]!;
    if (next.kind !== kind || next.physical !== physical || next.data.length !== data.length) {
      this.forget();
      return undefined;
    }
    // A new slice counts anew.
    this.place = place;
    data.set(next.data);
    this.cursor = this.cursor + 1 < this.seen.length ? this.cursor + 1 : -1;
    return next.outcome;
  }

  /** The instruction at `place` waits and will start again. */
  abandon(place: number): void {
    if (this.cursor < 0 && place !== this.place) this.forget();
    this.abandoned = this.seen.length > 0;
  }

  /** The vCPU goes on. */
  resume(): void {
    if (this.abandoned) this.cursor = 0;
    else this.forget();
    this.abandoned = false;
  }

  forget(): void {
    this.seen = [];
    this.cursor = -1;
    this.place = -1;
    this.abandoned = false;
  }
}
