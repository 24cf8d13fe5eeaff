/**
 * The way from emitted code to raw handlers that does not lead through TypeScript. A table in WebAssembly memory leads
 * from the port or page to the range, the range to the numbers of its functions in one function table.
 *
 * ```ts
 * const raw = new RawDispatch(memory);
 * const ports = new PortSpace({ raw });
 * const mmio = new MmioSpace({ raw });
 * new WebAssembly.Instance(cpu, { env: { memory, ...raw.functions } });
 * ```
 */
import { buildRawModule, DECLINE } from "./raw-module.ts";
import { RawSlots } from "./raw-slots.ts";
import type { RangeHandlers, RawBuild, RawFunctions, RawRead, RawWrite } from "./types.ts";

/** Compiled once for each process: it holds no state. */
let module: WebAssembly.Module | undefined;

const NO_READ = [DECLINE.read, DECLINE.read, DECLINE.read] as const;
const NO_WRITE = [DECLINE.write, DECLINE.write, DECLINE.write] as const;
type ByWidth = readonly [number, number, number];

/** Offsets plus a width must not wrap at 2^32; what lies behind is answered through TypeScript. */
const LENGTH_MAX = 0xffff_fff0;

export interface RawFunction {
  /** Number of the function for width 1; those for 2 and 4 follow. */
  readonly first: number;
  readonly build: RawBuild;
  /** The functions are in the table: emitted code has asked them before it comes to TypeScript. */
  connected: boolean;
}

export class RawDispatch {
  readonly slots: RawSlots;
  /** To be imported by emitted code. */
  readonly functions: RawFunctions;
  private readonly table = new WebAssembly.Table({ element: "anyfunc", initial: 256 });
  private readonly handlers = new WeakMap<RawRead | RawWrite, RawFunction>();
  private readonly declineRead: CallableFunction;
  private readonly declineWrite: CallableFunction;
  private entries = 2;
  private observers = 0;

  constructor(memory: WebAssembly.Memory) {
    this.slots = new RawSlots(memory);
    module ??= new WebAssembly.Module(buildRawModule());
    const { exports } = new WebAssembly.Instance(module, { io: { memory, table: this.table } });
    const { declineRead, declineWrite, ...functions } = exports as Record<string, CallableFunction>;
    this.functions = functions as unknown as RawFunctions;
    this.declineRead = declineRead!;
    this.declineWrite = declineWrite!;
    this.table.set(DECLINE.read, this.declineRead);
    this.table.set(DECLINE.write, this.declineWrite);
  }

  /**
   * Makes a raw handler known, by the face that ranges name it by. Returns a function to be called with its WebAssembly
   * functions for widths 1, 2 and 4; until then it declines here.
   */
  add(face: RawRead | RawWrite, isWrite: boolean, build: RawBuild): (functions: readonly CallableFunction[]) => void {
    const first = this.entries;
    this.entries += 3;
    if (this.entries > this.table.length) this.table.grow(this.table.length);
    const decline = isWrite ? this.declineWrite : this.declineRead;
    for (let index = first; index < this.entries; index++) this.table.set(index, decline);
    const handler: RawFunction = { first, build, connected: false };
    this.handlers.set(face, handler);
    return (functions) => {
      handler.connected = true;
      functions.forEach((one, index) => {
        this.table.set(first + index, one);
      });
    };
  }

  functionOf(face: RawRead | RawWrite | undefined): RawFunction | undefined {
    return face && this.handlers.get(face);
  }

  /** A slot for a range, 0 when it has no raw handler that is known here. */
  allocate({ raw }: RangeHandlers): number {
    return this.functionOf(raw?.read) || this.functionOf(raw?.write) ? this.slots.allocate() : 0;
  }

  /** A slot's range lies in `[start, end)` now. With a dword mode only whole dwords go straight to the handler. */
  place(
    slot: number,
    { raw }: RangeHandlers,
    start: number,
    end: number,
    origin: number,
    dwordReads: boolean,
    dwordWrites: boolean,
  ): void {
    this.slots.place(slot, {
      start,
      length: Math.min(end - start, LENGTH_MAX),
      origin,
      read: this.numbers(raw?.read, NO_READ, dwordReads),
      write: this.numbers(raw?.write, NO_WRITE, dwordWrites),
      readMisaligned: dwordReads ? 3 : 0,
      writeMisaligned: dwordWrites ? 3 : 0,
    });
  }

  private numbers(face: RawRead | RawWrite | undefined, none: ByWidth, dwordsOnly: boolean): ByWidth {
    const handler = this.functionOf(face);
    if (handler === undefined) return none;
    const { first } = handler;
    return dwordsOnly ? [none[0], none[1], first + 2] : [first, first + 1, first + 2];
  }

  /** Somebody wants to see each access (or has seen enough): code that answers in place is not to be used. */
  observe(change: 1 | -1): void {
    this.observers += change;
    if (this.observers > 0) this.slots.invalidateAll();
  }

  get observed(): boolean {
    return this.observers > 0;
  }
}
