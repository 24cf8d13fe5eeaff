/** `--watch`: a line on standard error for each access to watched memory, or with `--watch-count` a table at the end. */

import { PorticoError } from "../errors.ts";
import { findKernelSymbols } from "../machine/kallsyms.ts";
import type { KernelSymbols } from "../machine/kernel-symbols.ts";
import type { Machine } from "../machine/machine.ts";
import type { Watch } from "../machine/watch.ts";
import type { WatchedAccess } from "../memory/index.ts";
import { count, table } from "./table.ts";
import type { WatchOption } from "./watch-option.ts";

export interface WatchReportOptions {
  readonly watches: readonly WatchOption[];
  /** Count accesses instead of printing them. */
  readonly countOnly: boolean;
  /** From a file; they are moved to where the kernel runs. */
  readonly symbols: KernelSymbols | undefined;
  readonly output: { write(text: string): unknown };
  /** The terminal is raw: lines end with a carriage return. */
  readonly raw: boolean;
}

/** ms between two looks for the kernel's symbols: ten times what a look took that found none, within these. */
const FIRST_LOOK_MS = 20;
const LAST_LOOK_MS = 5000;
/** What a symbol is watched for without a length. */
const WORD = 8;

const hex = (value: bigint): string => `0x${value.toString(16)}`;
const signed = (address: bigint): number => Number(BigInt.asIntN(64, address));

export class WatchReport {
  /** A watch that cannot be: the machine has been stopped. */
  error: PorticoError | undefined;
  private readonly machine: Machine;
  private readonly options: WatchReportOptions;
  private readonly standing: Watch[] = [];
  private waiting: WatchOption[] = [];
  private symbols: KernelSymbols | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private delay = FIRST_LOOK_MS;
  private resets = 0;
  private readonly counts = new Map<string, { watch: string; kind: string; place: string; hits: number }>();

  /** Watches what needs no symbol. Throws `MemoryError`. */
  constructor(machine: Machine, options: WatchReportOptions) {
    this.machine = machine;
    this.options = options;
    this.begin();
  }

  private begin(): void {
    this.symbols = undefined;
    this.delay = FIRST_LOOK_MS;
    this.waiting = [];
    for (const option of this.options.watches) {
      const { place, length = 1 } = option;
      if (place.kind === "symbol") this.waiting.push(option);
      else if (place.kind === "physical") this.watch({ physical: place.address, length }, option);
      else this.watch({ virtual: place.address, length }, option);
    }
    this.lookLater();
  }

  private watch(
    where: { physical: number; length: number } | { virtual: number | bigint; length: number },
    option: WatchOption,
  ): void {
    const { access, text } = option;
    this.standing.push(this.machine.watch({ ...where, access, name: text }, (hit) => this.seen(hit, option)));
  }

  private lookLater(): void {
    this.timer = setTimeout(() => {
      try {
        this.look();
      } catch (error) {
        if (!(error instanceof PorticoError)) throw error;
        this.error = error;
        this.machine.stop();
      }
    }, this.delay);
  }

  /** The kernel may have begun to run, or another one after a reset. */
  private look(): void {
    const { machine } = this;
    if (machine.events.resets !== this.resets) {
      this.resets = machine.events.resets;
      for (const watch of this.standing.splice(0)) watch.dispose();
      this.begin();
      return;
    }
    if (this.symbols === undefined) {
      const start = performance.now();
      this.symbols = this.findSymbols();
      const took = performance.now() - start;
      // Hardly anything, as long as there is no kernel.
      if (this.symbols === undefined)
        this.delay = Math.min(Math.max(FIRST_LOOK_MS, this.delay, took * 10), LAST_LOOK_MS);
      else this.resolve(this.symbols);
    }
    this.lookLater();
  }

  private findSymbols(): KernelSymbols | undefined {
    const { symbols } = this.options;
    if (symbols === undefined) return findKernelSymbols(this.machine);
    const { lstar } = this.machine;
    return lstar < 0 ? symbols.relocated(lstar) : undefined;
  }

  private resolve(symbols: KernelSymbols): void {
    for (const option of this.waiting.splice(0)) {
      const { name } = option.place as { name: string };
      const address = symbols.address(name);
      if (address === undefined) {
        throw new PorticoError(
          "SYMBOLS",
          `--watch '${option.text}': the guest's kernel has no symbol '${name}'; give --symbols a file that has it`,
        );
      }
      const length = option.length ?? Math.min(symbols.room(address) ?? WORD, WORD);
      this.watch({ virtual: address, length }, option);
    }
  }

  private describe(address: bigint | undefined): string | undefined {
    return address === undefined ? undefined : this.symbols?.describe(signed(address));
  }

  private place({ by, rip }: WatchedAccess): string {
    if (by === "device") return "a device";
    const symbol = this.describe(rip);
    const at = `${hex(rip!)}${symbol === undefined ? "" : ` ${symbol}`}`;
    return by === "walk" ? `${at}, page walk` : at;
  }

  /** A symbol by the name that the user gave it: it may have others. */
  private target({ address }: WatchedAccess, { place }: WatchOption): string | undefined {
    const start = place.kind === "symbol" ? this.symbols?.address(place.name) : undefined;
    if (place.kind !== "symbol" || start === undefined) return this.describe(address);
    const offset = signed(address) - start;
    return offset === 0 ? place.name : `${place.name}${offset > 0 ? "+" : ""}${offset}`;
  }

  private seen(hit: WatchedAccess, option: WatchOption): void {
    const watch = option.text;
    const place = this.place(hit);
    if (this.options.countOnly) {
      const key = `${watch}\n${hit.kind}\n${place}`;
      const entry = this.counts.get(key);
      if (entry) entry.hits++;
      else this.counts.set(key, { watch, kind: hit.kind, place, hits: 1 });
      return;
    }
    const seconds = (this.machine.clock.now() / 1e9).toFixed(9).padStart(14);
    const symbol = this.target(hit, option);
    const where = `${hex(hit.address)}${symbol === undefined ? "" : ` (${symbol})`}`;
    const digits = hit.value.toString(16).padStart(hit.width * 2, "0");
    const value = hit.width > 16 ? `…${digits.slice(-32)}` : `0x${digits}`;
    const line = `[${seconds}] ${hit.kind.padEnd(5)} ${where} ${hit.width} ${value} by ${place}`;
    this.options.output.write(this.options.raw ? `${line}\r\n` : `${line}\n`);
  }

  /** No more looks; what is left to say. */
  finish(): void {
    clearTimeout(this.timer);
    const { output, countOnly } = this.options;
    for (const { text } of this.waiting) {
      if (this.error === undefined) output.write(`portico: --watch '${text}': no kernel with symbols was found\n`);
    }
    if (countOnly) output.write(`\n${this.table()}\n`);
  }

  private table(): string {
    const rows = [...this.counts.values()].sort((a, b) => b.hits - a.hits);
    if (rows.length === 0) return "Nothing that is watched was accessed.";
    return table(
      ["Watch", "Access", "By", "Times"],
      3,
      rows.map(({ watch, kind, place, hits }) => [watch, kind, place, count.format(hits)]),
    );
  }
}
