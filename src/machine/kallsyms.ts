/**
 * Linux' own symbol table, found in the memory of a running kernel.
 *
 * A kernel with CONFIG_KALLSYMS holds, one behind the other (scripts/kallsyms.c; before Linux 6.4 the first two come first,
 * since then last):
 *
 *   offsets         i32 for each symbol
 *   relative_base   pointer: where the kernel runs, whatever address it was moved to
 *   num_syms        u32
 *   names           for each symbol a length (one byte, or two where bit 7 of the first is set) and so many token numbers;
 *                   the first character is the symbol's type
 *   markers         u32 for each 256th symbol: where it begins in `names`
 *   seqs_of_names   3 bytes for each symbol: its place in the order of names (Linux 6.2 and later 6.1; since 6.4 at the end)
 *   token_table     256 strings
 *   token_index     256 × u16: where they begin
 *
 * Characters that occur in names are tokens of their own, so the digits stand in a row in `token_table`. What else is taken
 * for a table is checked against its neighbours.
 */

import { CPU } from "../cpu/state.ts";
import { type KernelSymbol, KernelSymbols } from "./kernel-symbols.ts";
import type { Machine } from "./machine.ts";

const MIB = 2 ** 20;
/** Longest kernel image that is looked at, to each side of a known place in it. */
const REACH = 64 * MIB;
const TOKENS = 256;
const DIGIT_0 = 0x30;
const PER_MARKER = 256;
/** A kernel has at least so many symbols, and fewer than that. */
const [SYMBOLS_MIN, SYMBOLS_MAX] = [PER_MARKER * 4, 2_000_000];
/** Bytes that the names of `PER_MARKER` symbols take at most. */
const NAMES_MAX = PER_MARKER * 300;
/** Characters of a name with its type; a few tokens of a guest's making would be gigabytes. Linux' KSYM_NAME_LEN. */
const NAME_MAX = 512;

/** `undefined`: the guest is no Linux with symbols, or has not come so far. */
export function findKernelSymbols(machine: Machine): KernelSymbols | undefined {
  const { state, mmu } = machine.vcpu;
  const { memory } = machine;
  const lstar = state.number(CPU.lstar);
  const wide = state.isLong;
  if (wide && lstar >= 0) return undefined;
  // 32-bit kernels use no LSTAR; their interrupt descriptor table is part of the image.
  const known = mmu.physicalOf(wide ? lstar : state.number(CPU.idtrBase));
  if (known < 0 || known >= memory.ramBytes) return undefined;
  const ram = memory.bytes.subarray(memory.layout.ram, memory.layout.ram + memory.ramBytes);
  // The tables lie behind the code, in front of the interrupt descriptor table.
  const [before, after] = [Math.max(0, known - REACH), Math.min(ram.length, known + REACH)];
  for (const [from, to] of wide
    ? [[known, after]]
    : [
        [before, known],
        [known, after],
      ]) {
    for (const symbols of symbolsIn(ram, from!, to!, wide)) if (!wide || symbols.fits(lstar)) return symbols;
  }
  return undefined;
}

/** Symbol tables whose token table lies in [from, to). `wide`: of a 64-bit kernel. */
export function* symbolsIn(ram: Uint8Array, from: number, to: number, wide: boolean): Generator<KernelSymbols> {
  const table = new Tables(ram, wide);
  for (const at of digits(ram, from, to)) {
    const symbols = table.around(at);
    if (symbols) yield symbols;
  }
}

/** Every place where "0\0" "1\0" … "9\0" stands: 20 bytes, so that a look at two of sixteen is enough. */
function* digits(ram: Uint8Array, from: number, to: number): Generator<number> {
  for (let at = from - (from % 16); at < to - 40; at += 16) {
    const [low, high] = [ram[at]!, ram[at + 1]!];
    if ((low === 0) === (high === 0)) continue;
    const digit = (low === 0 ? high : low) - DIGIT_0;
    if (digit < 0 || digit > 9) continue;
    const start = at + (low === 0 ? 1 : 0) - digit * 2;
    let matching = 0;
    while (matching < 10 && ram[start + matching * 2] === DIGIT_0 + matching && ram[start + matching * 2 + 1] === 0)
      matching++;
    if (matching === 10) yield start;
  }
}

class Tables {
  private readonly ram: Uint8Array;
  private readonly view: DataView;
  private readonly pointer: 4 | 8;

  constructor(ram: Uint8Array, wide: boolean) {
    this.ram = ram;
    this.view = new DataView(ram.buffer, ram.byteOffset, ram.length);
    this.pointer = wide ? 8 : 4;
  }

  private align(at: number): number {
    return Math.ceil(at / this.pointer) * this.pointer;
  }

  private u32(at: number): number {
    return at >= 0 && at + 4 <= this.view.byteLength ? this.view.getUint32(at, true) : 0;
  }

  /** All symbols, if the digits at `digits` belong to a token table. */
  around(digits: number): KernelSymbols | undefined {
    const { ram, view } = this;
    let second = digits;
    for (let token = 1; token < DIGIT_0; token++) {
      second--;
      while (second > 0 && ram[second - 1] !== 0) second--;
      if (digits - second > 0x4000) return undefined;
    }
    const ends: number[] = [];
    for (let at = second; ends.length < TOKENS - 1; at = ends.at(-1)! + 1) {
      const end = ram.indexOf(0, at);
      if (end < 0 || end - at > 0x1000) return undefined;
      ends.push(end);
    }
    const index = this.align(ends.at(-1)! + 1);
    if (index + TOKENS * 2 > ram.length) return undefined;
    // What is in front of the table need not end with a zero: the index knows where the first token begins.
    const start = second - view.getUint16(index + 2, true);
    if (start % this.pointer !== 0 || ram.indexOf(0, start) !== second - 1) return undefined;
    const begins = [start, second, ...ends.slice(0, -1).map((end) => end + 1)];
    if (begins.some((at, i) => view.getUint16(index + i * 2, true) !== at - start)) return undefined;
    const tokens = [second - 1, ...ends].map((end, i) => String.fromCharCode(...ram.subarray(begins[i]!, end)));
    return this.decode(tokens, start, index + TOKENS * 2);
  }

  private decode(tokens: readonly string[], tokenTable: number, behind: number): KernelSymbols | undefined {
    for (const { at, count } of this.markersBefore(tokenTable)) {
      // The names of the last marker lie in between: names begin further down, where a pointer may lie.
      const latest = at - this.u32(at + (count - 1) * 4);
      for (let names = latest - (latest % this.pointer); names > latest - NAMES_MAX; names -= this.pointer) {
        const total = this.u32(names - this.pointer);
        if (Math.ceil(total / PER_MARKER) !== count) continue;
        const found = this.names(tokens, names, total, at);
        if (found) return this.addresses(found, names - this.pointer, this.align(behind));
      }
    }
    return undefined;
  }

  /** Where the markers may lie: right in front of the token table, or with `seqs_of_names` in between. */
  private *markersBefore(tokenTable: number): Generator<{ at: number; count: number }> {
    for (let total = SYMBOLS_MIN; total < SYMBOLS_MAX; total++) {
      const count = Math.ceil(total / PER_MARKER);
      const length = this.align(count * 4);
      for (const between of total % PER_MARKER === 0 ? [0, this.align(total * 3)] : [this.align(total * 3)]) {
        const at = tokenTable - between - length;
        if (at > 0 && this.u32(at) === 0 && this.areMarkers(at, count)) yield { at, count };
      }
    }
  }

  private areMarkers(at: number, count: number): boolean {
    for (let i = 1; i < count; i++) {
      const step = this.u32(at + i * 4) - this.u32(at + i * 4 - 4);
      if (step < PER_MARKER || step > NAMES_MAX) return false;
    }
    return true;
  }

  private names(tokens: readonly string[], from: number, total: number, markers: number): string[] | undefined {
    const { ram } = this;
    const names: string[] = [];
    let at = from;
    for (let symbol = 0; symbol < total; symbol++) {
      if (symbol % PER_MARKER === 0 && this.u32(markers + (symbol / PER_MARKER) * 4) !== at - from) return undefined;
      let length = ram[at++]!;
      if (length & 0x80) length = (length & 0x7f) | (ram[at++]! << 7);
      if (length === 0 || at + length > markers) return undefined;
      let name = "";
      for (let i = 0; i < length && name.length <= NAME_MAX; i++) name += tokens[ram[at + i]!];
      if (name.length > NAME_MAX) return undefined;
      names.push(name.slice(1));
      at += length;
    }
    return markers - at < this.pointer ? names : undefined;
  }

  /** The offsets lie in front of `before`, where the count stands, or at `behind`. */
  private addresses(names: readonly string[], before: number, behind: number): KernelSymbols | undefined {
    const length = this.align(names.length * 4);
    const early = { base: before - this.pointer, offsets: before - this.pointer - length };
    const late = { base: behind + length, offsets: behind };
    for (const { base, offsets } of [early, late]) {
      if (offsets < 0) continue;
      const start = this.base(base);
      // A kernel lies in the upper half of its address space, at a page's start.
      if (start % 0x1000 !== 0 || (this.pointer === 8 ? start >= -0x1000 : start < 0x8000_0000)) continue;
      const symbols = names.map((name, i): KernelSymbol => {
        const offset = this.view.getInt32(offsets + i * 4, true);
        if (this.pointer === 4) return { name, address: (start + offset) >>> 0 };
        // Negative: from the base on; else as it is (per-CPU variables).
        return { name, address: offset < 0 ? start - 1 - offset : offset };
      });
      return new KernelSymbols(symbols);
    }
    return undefined;
  }

  private base(at: number): number {
    if (at < 0 || at + 8 > this.view.byteLength) return 1;
    return this.pointer === 8 ? Number(this.view.getBigInt64(at, true)) : this.view.getUint32(at, true);
  }
}
