/**
 * One channel's half of the bus master: it follows a table of physical regions while the drive moves data by DMA. Intel
 * 82371SB (PIIX3), Bus Master IDE Registers; SFF-8038i (Programming Interface for Bus Master IDE Controller).
 */
import { savedLike } from "../../device/saved.ts";
import type { Dma } from "../../device/types.ts";

/** Offsets within a channel's eight ports. */
const REGISTER = { command: 0, status: 2, table: 4 } as const;
export const BUS_MASTER_LENGTH = 8;

/** BMICx. `toMemory` is the data sheet's "write": the drive is read. */
const COMMAND = { start: 1 << 0, toMemory: 1 << 3 } as const;

/** BMISx. */
const STATUS = { active: 1 << 0, error: 1 << 1, interrupt: 1 << 2, capable: 0x60 } as const;
const WRITE_ONE_TO_CLEAR = STATUS.error | STATUS.interrupt;

/** An entry: address of the region, then its bytes (0: 64 KiB) with the end-of-table bit. SFF-8038i, section 1.2. */
const ENTRY_BYTES = 8;
const END_OF_TABLE = 0x8000_0000;
const REGION_MAX = 0x1_0000;

export interface BusMasterHost {
  readonly dma: Dma;
  /** The function may master the bus. */
  enabled(): boolean;
  /** Bytes that the drive can move now in this direction. */
  pending(direction: "in" | "out"): number;
  move(direction: "in" | "out", bytes: Uint8Array): void;
  /** Nobody answered an address. */
  masterAbort(): void;
}

export class BusMaster {
  private readonly host: BusMasterHost;
  private readonly chunk = new Uint8Array(REGION_MAX);
  private state = initialState();

  constructor(host: BusMasterHost) {
    this.host = host;
  }

  read(offset: number): number {
    const { state } = this;
    switch (offset) {
      case REGISTER.command:
        return state.command;
      case REGISTER.status:
        return state.status;
      case REGISTER.table:
      case REGISTER.table + 1:
      case REGISTER.table + 2:
      case REGISTER.table + 3:
        return (state.table >>> (8 * (offset - REGISTER.table))) & 0xff;
      default:
        return 0;
    }
  }

  write(offset: number, value: number): void {
    const { state } = this;
    switch (offset) {
      case REGISTER.command:
        this.writeCommand(value);
        break;
      case REGISTER.status:
        state.status = (state.status & ~(STATUS.capable | (value & WRITE_ONE_TO_CLEAR))) | (value & STATUS.capable);
        break;
      case REGISTER.table:
      case REGISTER.table + 1:
      case REGISTER.table + 2:
      case REGISTER.table + 3: {
        const shift = 8 * (offset - REGISTER.table);
        state.table = ((state.table & ~(0xff << shift)) | ((value << shift) & ~3)) >>> 0;
        break;
      }
    }
  }

  /** Starting begins the table; stopping forgets everything, so that nothing can be resumed. */
  private writeCommand(value: number): void {
    const { state } = this;
    const started = (value & ~state.command & COMMAND.start) !== 0;
    // The direction stays as it is while the function is active.
    const direction = (state.status & STATUS.active) !== 0 && (value & COMMAND.start) !== 0 ? state.command : value;
    state.command = (value & COMMAND.start) | (direction & COMMAND.toMemory);
    if (started) {
      state.status |= STATUS.active;
      state.next = state.table;
      state.left = 0;
      state.last = false;
      this.run();
    } else if ((value & COMMAND.start) === 0) {
      state.status &= ~STATUS.active;
    }
  }

  /** The drive has raised its interrupt: all its data is where it belongs. */
  driveInterrupt(): void {
    this.state.status |= STATUS.interrupt;
  }

  /** Moves what drive, table and bus allow. */
  run(): void {
    const { state, host } = this;
    while ((state.status & STATUS.active) !== 0 && host.enabled()) {
      const direction = (state.command & COMMAND.toMemory) !== 0 ? "in" : "out";
      const pending = host.pending(direction);
      if (pending === 0) return;
      if (state.left === 0 && !this.nextRegion()) return;
      const bytes = this.chunk.subarray(0, Math.min(pending, state.left));
      const address = state.address;
      state.address += bytes.length;
      state.left -= bytes.length;
      // Active ends with the last region, before the drive's interrupt can tell that it was the end of the transfer.
      if (state.left === 0 && state.last) state.status &= ~STATUS.active;
      if (direction === "out") host.dma.read(address, bytes);
      host.move(direction, bytes);
      if (direction === "in") host.dma.write(address, bytes);
    }
  }

  /** False when the table or the region it names is not in memory: the transfer ends with an error. */
  private nextRegion(): boolean {
    const { state, host } = this;
    const { dma } = host;
    if (!dma.isMemory(state.next, ENTRY_BYTES)) return this.fail();
    const address = dma.read32(state.next) & ~1;
    const size = dma.read32(state.next + 4);
    // A table does not cross a 64 KiB boundary: the counter has 16 bits.
    state.next = ((state.next & 0xffff_0000) | ((state.next + ENTRY_BYTES) & 0xffff)) >>> 0;
    state.address = address >>> 0;
    state.left = size & 0xfffe || REGION_MAX;
    state.last = (size & END_OF_TABLE) !== 0;
    return dma.isMemory(state.address, state.left) || this.fail();
  }

  private fail(): false {
    const { state, host } = this;
    state.status = (state.status & ~STATUS.active) | STATUS.error;
    host.masterAbort();
    return false;
  }

  reset(): void {
    this.state = initialState();
  }

  save() {
    return { ...this.state };
  }

  /** Throws `PorticoError` `SNAPSHOT_INVALID`. */
  load(saved: ReturnType<BusMaster["save"]>): void {
    this.state = savedLike("a bus master", saved, this.state);
  }
}

function initialState() {
  return {
    command: 0,
    status: 0,
    table: 0,
    /** The entry that comes next, and what is left of the region before it. */
    next: 0,
    address: 0,
    left: 0,
    last: false,
  };
}
