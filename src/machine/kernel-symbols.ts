/** Names of a guest kernel's addresses. */
import { PorticoError } from "../errors.ts";

/** Linear addresses are signed, as the CPU keeps them. */
export interface KernelSymbol {
  readonly name: string;
  readonly address: number;
}

const TWO_64 = 2n ** 64n;
const HALF = 2n ** 63n;

/** Where system calls of 64-bit programs enter Linux: what LSTAR holds. */
const ENTRY = "entry_SYSCALL_64";

export class KernelSymbols {
  private readonly byName = new Map<string, number>();
  /** Ascending, without the offsets of per-CPU variables. */
  private readonly sorted: KernelSymbol[];

  constructor(symbols: Iterable<KernelSymbol>) {
    const all = [...symbols];
    for (const { name, address } of all) if (!this.byName.has(name)) this.byName.set(name, address);
    this.sorted = all
      .filter(({ address }) => address < 0 || address >= 0x100_0000)
      .sort((a, b) => a.address - b.address);
  }

  get size(): number {
    return this.byName.size;
  }

  /** Of several symbols of one name, the first. */
  address(name: string): number | undefined {
    return this.byName.get(name);
  }

  /** Index of the last symbol at or below an address, or -1. */
  private indexOf(address: number): number {
    let low = 0;
    let high = this.sorted.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.sorted[middle]!.address <= address) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** `name+0x12`; `undefined` for what lies in front of all symbols or far behind the last. */
  describe(address: number): string | undefined {
    const index = this.indexOf(address);
    if (index < 0) return undefined;
    let first = index;
    while (first > 0 && this.sorted[first - 1]!.address === this.sorted[index]!.address) first--;
    const { name, address: start } = this.sorted[first]!;
    const offset = address - start;
    if (index === this.sorted.length - 1 && offset > 0x1000) return undefined;
    return offset === 0 ? name : `${name}+0x${offset.toString(16)}`;
  }

  /** Bytes from a symbol to the next one. */
  room(address: number): number | undefined {
    const next = this.sorted[this.indexOf(address) + 1];
    return next && next.address - address;
  }

  /** The same names where the kernel runs: `lstar` is what the processor's LSTAR holds. */
  relocated(lstar: number): KernelSymbols {
    const entry = this.address(ENTRY);
    if (entry === undefined || entry === lstar) return this;
    const slide = lstar - entry;
    return new KernelSymbols(this.sorted.map(({ name, address }) => ({ name, address: address + slide })));
  }

  /** Whether these are the names of the kernel whose LSTAR this is. */
  fits(lstar: number): boolean {
    return this.address(ENTRY) === lstar;
  }
}

/** A file of symbols: the text of /proc/kallsyms or System.map, or an ELF file. Throws `PorticoError` `SYMBOLS`. */
export function readSymbols(file: Uint8Array): KernelSymbols {
  const isElf = file.length > 64 && file[0] === 0x7f && file[1] === 0x45 && file[2] === 0x4c && file[3] === 0x46;
  const symbols = new KernelSymbols(isElf ? elfSymbols(file) : textSymbols(file));
  if (symbols.size > 0) return symbols;
  throw new PorticoError("SYMBOLS", "it has no symbols: give the text of /proc/kallsyms, read as root, or a vmlinux");
}

const signed = (value: bigint): number => Number(value >= HALF ? value - TWO_64 : value);

function* textSymbols(file: Uint8Array): Generator<KernelSymbol> {
  for (const line of new TextDecoder().decode(file).split("\n")) {
    const match = /^([0-9a-f]+) [A-Za-z?] (\S+)/.exec(line);
    // What a reader without rights is shown are zeros.
    if (match && !/^0+$/.test(match[1]!)) yield { name: match[2]!, address: signed(BigInt(`0x${match[1]}`)) };
  }
}

const SHT_SYMTAB = 2;

/** The symbol table of a little-endian ELF file. ELF-64 Object File Format 1.5, sections 4 and 5. */
function* elfSymbols(file: Uint8Array): Generator<KernelSymbol> {
  const view = new DataView(file.buffer, file.byteOffset, file.length);
  const wide = file[4] === 2;
  const word = (at: number) => (wide ? Number(view.getBigUint64(at, true)) : view.getUint32(at, true));
  try {
    const sections = wide ? word(40) : word(32);
    const size = view.getUint16(wide ? 58 : 46, true);
    const count = view.getUint16(wide ? 60 : 48, true);
    const section = (index: number) => {
      const at = sections + index * size;
      const field = (n: number) => (wide ? word(at + 8 + n * 8) : word(at + 8 + n * 4));
      return {
        type: view.getUint32(at + 4, true),
        offset: field(2),
        length: field(3),
        link: view.getUint32(at + (wide ? 40 : 24), true),
      };
    };
    for (let index = 0; index < count; index++) {
      const table = section(index);
      if (table.type !== SHT_SYMTAB) continue;
      const names = section(table.link).offset;
      for (let at = table.offset; at < table.offset + table.length; at += wide ? 24 : 16) {
        const start = names + view.getUint32(at, true);
        const address = wide ? signed(view.getBigUint64(at + 8, true)) : view.getUint32(at + 4, true);
        const name = new TextDecoder().decode(file.subarray(start, file.indexOf(0, start)));
        if (name !== "" && address !== 0) yield { name, address };
      }
    }
  } catch (cause) {
    if (!(cause instanceof RangeError)) throw cause;
    throw new PorticoError("SYMBOLS", "its ELF section table leads outside the file: give a whole vmlinux", { cause });
  }
}
