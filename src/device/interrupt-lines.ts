import { assert } from "../errors.ts";
import type { InterruptLine } from "./types.ts";

export type LineListener = (high: boolean) => void;

/** The board's interrupt wires: each GSI is the wired-OR of its sources and leads to any number of inputs. */
export class InterruptLines {
  readonly count: number;
  /** Sources that hold each line high. */
  private readonly holders: Uint8Array;
  private readonly listeners: LineListener[][];

  constructor(count: number) {
    this.count = count;
    this.holders = new Uint8Array(count);
    this.listeners = Array.from({ length: count }, () => []);
  }

  /** Connects an input (8259A, I/O APIC): called at every change of the level of line `gsi`. */
  listen(gsi: number, listener: LineListener): void {
    this.check(gsi);
    this.listeners[gsi].push(listener);
  }

  level(gsi: number): boolean {
    return this.holders[gsi] > 0;
  }

  /** A new source on line `gsi`, low. */
  source(gsi: number): LineSource {
    this.check(gsi);
    return new LineSource(this, gsi);
  }

  /** For sources: one holder more or less. */
  change(gsi: number, by: 1 | -1, notify: boolean): void {
    const before = this.holders[gsi];
    this.holders[gsi] = before + by;
    if (!notify || (before > 0 && before + by > 0)) return;
    const high = by > 0;
    for (const listener of this.listeners[gsi]) listener(high);
  }

  private check(gsi: number): void {
    assert(Number.isInteger(gsi) && gsi >= 0 && gsi < this.count, `GSI ${gsi} is not one of the ${this.count} lines`);
  }
}

export class LineSource implements InterruptLine {
  private readonly lines: InterruptLines;
  readonly gsi: number;
  private isHigh = false;

  constructor(lines: InterruptLines, gsi: number) {
    this.lines = lines;
    this.gsi = gsi;
  }

  get high(): boolean {
    return this.isHigh;
  }

  set(high: boolean): void {
    if (high === this.isHigh) return;
    this.isHigh = high;
    this.lines.change(this.gsi, high ? 1 : -1, true);
  }

  pulse(): void {
    this.set(false);
    this.set(true);
  }

  /** From a snapshot: the inputs restore what they had seen themselves, so nobody is told. */
  restore(high: boolean): void {
    if (high === this.isHigh) return;
    this.isHigh = high;
    this.lines.change(this.gsi, high ? 1 : -1, false);
  }
}
