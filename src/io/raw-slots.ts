/** The I/O tables in the machine's WebAssembly memory (see `IO`): what emitted code knows about who answers. */
import { IO, IO_SLOT, IO_SLOT_UNCLAIMED, IO_SLOTS, PAGE_SHIFT, PAGE_SIZE } from "../memory/layout.ts";
import type { UnclaimedRow } from "./counters.ts";

const PORT_COUNT = 0x1_0000;
const PAGE_COUNT = 2 ** (32 - PAGE_SHIFT);

/** How a slot's range looks: where it lies, what its offsets count from, and its raw functions. */
export interface SlotRange {
  readonly start: number;
  readonly length: number;
  readonly origin: number;
  /** Numbers of the functions for widths 1, 2 and 4. */
  readonly read: readonly [number, number, number];
  readonly write: readonly [number, number, number];
  /** Address bits that make an access one for TypeScript. */
  readonly readMisaligned: number;
  readonly writeMisaligned: number;
}

export class RawSlots {
  private readonly words: Int32Array;
  private readonly ports: Uint16Array;
  private readonly pages: Uint16Array;
  private readonly unclaimed: Uint32Array;
  private readonly free: number[] = [];
  private used = IO_SLOT_UNCLAIMED + 1;

  constructor(memory: WebAssembly.Memory) {
    const { buffer } = memory;
    this.words = new Int32Array(buffer, 0, IO.end / 4);
    this.ports = new Uint16Array(buffer, IO.ports, PORT_COUNT).fill(IO_SLOT_UNCLAIMED);
    this.pages = new Uint16Array(buffer, IO.pages, PAGE_COUNT);
    this.unclaimed = new Uint32Array(buffer, IO.unclaimed, PORT_COUNT * 4);
  }

  static address(slot: number): number {
    return IO.slots + slot * IO_SLOT.size;
  }

  /** A slot, or 0 when all are taken. */
  allocate(): number {
    return this.free.pop() ?? (this.used < IO_SLOTS ? this.used++ : 0);
  }

  /** The slot's next owner starts counting from 0; its generation goes on. */
  release(slot: number): void {
    const { words } = this;
    words.fill(0, (RawSlots.address(slot) + IO_SLOT.reads) / 4, (RawSlots.address(slot) + IO_SLOT.size) / 4);
    this.free.push(slot);
  }

  place(slot: number, range: SlotRange): void {
    const at = RawSlots.address(slot) / 4;
    const { words } = this;
    words[at + IO_SLOT.start / 4] = range.start;
    words[at + IO_SLOT.length / 4] = range.length;
    words[at + IO_SLOT.origin / 4] = range.origin;
    words.set(range.read, at + IO_SLOT.read / 4);
    words.set(range.write, at + IO_SLOT.write / 4);
    words[at + IO_SLOT.readMisaligned / 4] = range.readMisaligned;
    words[at + IO_SLOT.writeMisaligned / 4] = range.writeMisaligned;
    this.invalidate(slot);
  }

  /** Code that was built for the slot's range is not to be used any more. */
  invalidate(slot: number): void {
    this.words[RawSlots.address(slot) / 4]! += 1;
  }

  invalidateAll(): void {
    for (let slot = IO_SLOT_UNCLAIMED; slot < this.used; slot++) this.invalidate(slot);
  }

  generation(slot: number): number {
    return this.words[RawSlots.address(slot) / 4]!;
  }

  /** Accesses that emitted code has made. */
  count(slot: number, write: boolean): number {
    const at = (RawSlots.address(slot) + (write ? IO_SLOT.writes : IO_SLOT.reads)) / 4;
    return (this.words[at + 1]! >>> 0) * 2 ** 32 + (this.words[at]! >>> 0);
  }

  /** `slot` 0: only TypeScript knows who answers. */
  paintPorts(start: number, end: number, slot: number): void {
    this.ports.fill(slot, start, end);
    this.invalidate(IO_SLOT_UNCLAIMED);
  }

  slotOfPort(port: number): number {
    return this.ports[port]!;
  }

  /** Pages `first` to `last`; those beyond 4 GiB have no entries. */
  paintPages(first: number, last: number, slot: number): void {
    this.pages.fill(slot, Math.min(first, PAGE_COUNT), Math.min(last + 1, PAGE_COUNT));
  }

  slotOfPage(address: number): number {
    return this.pages[Math.floor(address / PAGE_SIZE)] ?? 0;
  }

  /** Ports that emitted code has found unclaimed, ascending. */
  unclaimedPorts(): UnclaimedRow[] {
    const { unclaimed } = this;
    const count = (at: number) => unclaimed[at + 1]! * 2 ** 32 + unclaimed[at]!;
    const rows: UnclaimedRow[] = [];
    for (let port = 0; port < PORT_COUNT; port++) {
      const reads = count(port * 4);
      const writes = count(port * 4 + 2);
      if (reads + writes > 0) rows.push({ base: port, reads, writes });
    }
    return rows;
  }

  /** Opens and closes the ways that do not lead through TypeScript; each `close` needs its own way back. */
  close(ports: number, mmio: number): void {
    this.words[IO.portsClosed / 4]! += ports;
    this.words[IO.mmioClosed / 4]! += mmio;
  }
}
