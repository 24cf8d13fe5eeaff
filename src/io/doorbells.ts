/** Doorbells: the guest's instruction retires at once, and a listener hears later how often it was rung. */
import type { RangeHandlers } from "./types.ts";

export interface Doorbell {
  /** The number by which a call rings it. */
  readonly id: number;
  /** Handlers that make a range ring it, whatever is written. */
  readonly handlers: RangeHandlers;
  dispose(): void;
}

export class Doorbells {
  private readonly bells = new Map<number, { count: number; readonly listener: (count: number) => void }>();
  private next = 1;
  private pending = false;

  add(listener: (count: number) => void): Doorbell {
    const id = this.next++;
    const bell = { count: 0, listener };
    this.bells.set(id, bell);
    const write = () => {
      bell.count++;
      this.pending = true;
    };
    return { id, handlers: { ring0: { write } }, dispose: () => this.bells.delete(id) };
  }

  /** False: there is none of that number. */
  ring(id: number): boolean {
    const bell = this.bells.get(id);
    if (bell === undefined) return false;
    bell.count++;
    this.pending = true;
    return true;
  }

  /** Tells the listeners; between two slices of the guest. */
  deliver(): void {
    if (!this.pending) return;
    this.pending = false;
    for (const bell of this.bells.values()) {
      const { count } = bell;
      bell.count = 0;
      if (count > 0) bell.listener(count);
    }
  }
}
