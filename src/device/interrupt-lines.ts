import { checkArgument, whole } from "../arguments.ts";
import type { Expr } from "../emit/index.ts";
import { PorticoError } from "../errors.ts";
import type { RawBuilder } from "./raw.ts";
import type { RegisterFile } from "./registers.ts";
import type { InterruptLine } from "./types.ts";

export type LineListener = (high: boolean) => void;

/** A change of a line as emitted code makes it; nothing where the line has that level already. */
export interface LineChange {
  /** i32: it is one for TypeScript. A raw handler declines then, before it stores anything. */
  readonly refused: Expr;
  apply(): void;
}

/** Emits what a line's listener does. `high` (i32, 0 or 1) is the new level of the line, which had the other one. */
export type EmitChange = (x: RawBuilder, high: Expr) => LineChange;

/**
 * For raw handlers: the change of a line, as `line.set(high)` makes it.
 *
 * ```ts
 * const change = changeLine(x, line, x.ne(x.get(r, "status"), 0));
 * x.if(change.refused, () => x.decline());
 * change.apply();
 * ```
 *
 * Throws `PorticoError` `ARGUMENT` for another line: a PCI function's is driven in ring 0.
 */
export function changeLine(x: RawBuilder, line: InterruptLine, high: Expr): LineChange {
  if (!(line instanceof LineSource))
    throw new PorticoError("ARGUMENT", "a raw handler drives lines that host.interrupt() gave: give changeLine() one");
  return line.emit(x, high);
}

/** The board's interrupt wires: each GSI is the wired-OR of its sources and leads to any number of inputs. */
export class InterruptLines {
  readonly count: number;
  readonly registers: RegisterFile;
  /** Sources that hold each line high. */
  readonly holders: Uint32Array;
  private readonly listeners: LineListener[][];
  /** What emitted code does in the place of the listeners, where it can. */
  private readonly emitters: (EmitChange | undefined)[] = [];

  constructor(count: number, registers: RegisterFile) {
    this.count = count;
    this.registers = registers;
    this.holders = registers.allocateWords("interrupt lines", count);
    this.listeners = Array.from({ length: count }, () => []);
  }

  /**
   * Connects an input (8259A, I/O APIC): called at every change of the level of line `gsi`. `emit`: how emitted code does
   * the same; only while there is no other listener.
   */
  listen(gsi: number, listener: LineListener, emit?: EmitChange): void {
    this.check(gsi);
    this.listeners[gsi].push(listener);
    this.emitters[gsi] = this.listeners[gsi].length === 1 ? emit : undefined;
  }

  emitter(gsi: number): EmitChange | undefined {
    return this.emitters[gsi];
  }

  level(gsi: number): boolean {
    return this.holders[gsi] > 0;
  }

  /** A new source on line `gsi`, low. Throws `PorticoError` `ARGUMENT`. */
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
    const listeners = this.listeners[gsi];
    for (let i = 0; i < listeners.length; i++) listeners[i](high);
  }

  private check(gsi: number): void {
    checkArgument("the number (GSI) of an interrupt line", gsi, whole(0, this.count - 1));
  }
}

export class LineSource implements InterruptLine {
  private readonly lines: InterruptLines;
  readonly gsi: number;
  private readonly r;

  constructor(lines: InterruptLines, gsi: number) {
    this.lines = lines;
    this.gsi = gsi;
    this.r = lines.registers.allocate("interrupt lines", { high: "u8" });
  }

  get high(): boolean {
    return this.r.high !== 0;
  }

  set(high: boolean): void {
    if (high === this.high) return;
    this.r.high = high ? 1 : 0;
    this.lines.change(this.gsi, high ? 1 : -1, true);
  }

  pulse(): void {
    this.set(false);
    this.set(true);
  }

  /** See `changeLine`. */
  emit(x: RawBuilder, level: Expr): LineChange {
    const { lines, gsi, r } = this;
    const high = x.let(level);
    const changes = x.let(x.ne(high, x.get(r, "high")));
    const emit = lines.emitter(gsi);
    if (emit === undefined) return { refused: changes, apply: () => {} };
    const listener = emit(x, high);
    const isShared = x.gtU(x.getWord(lines.holders, x.constant(gsi)), x.get(r, "high"));
    return {
      refused: x.let(x.and(changes, x.or(isShared, listener.refused))),
      apply: () =>
        x.if(changes, () => {
          x.set(r, "high", high);
          x.setWord(lines.holders, x.constant(gsi), high);
          listener.apply();
        }),
    };
  }

  /** From a snapshot: the inputs restore what they had seen themselves, so nobody is told. */
  restore(high: boolean): void {
    if (high === this.high) return;
    this.r.high = high ? 1 : 0;
    this.lines.change(this.gsi, high ? 1 : -1, false);
  }
}
