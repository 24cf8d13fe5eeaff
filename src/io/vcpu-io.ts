/**
 * The one dispatch: what a vCPU calls for every port and MMIO access, however it was decoded.
 *
 * ```ts
 * const io = createIoClient(ports, mmio, { instructionTag: () => vcpu.retired });
 * const value = io.portRead(0x3fd, 1);
 * if (value === WAIT) {
 *   // Abandon the instruction; when the promise settles, execute it again from its start.
 *   await io.waiting;
 * }
 * ```
 */
import type { AccessListener } from "./accounting.ts";
import { Dispatcher, type InstructionSource } from "./dispatcher.ts";
import { MmioAccess } from "./mmio-access.ts";
import type { MmioSpace } from "./mmio-space.ts";
import { PortAccess } from "./port-access.ts";
import type { PortSpace } from "./port-space.ts";
import { RawSpaces } from "./raw-access.ts";
import type { IoClient, RawAccess } from "./types.ts";

/** The dispatcher of one vCPU. Throws `DeviceError` `BAD_HANDLER_RESULT` when a synchronous handler breaks its contract. */
export function createIoClient(ports: PortSpace, mmio: MmioSpace, source: InstructionSource): VcpuIo {
  return new VcpuIo(ports, mmio, source);
}

export class VcpuIo implements IoClient {
  readonly raw: RawAccess | undefined = undefined;
  private readonly dispatcher: Dispatcher;
  private readonly ports: PortAccess;
  private readonly mmio: MmioAccess;

  constructor(ports: PortSpace, mmio: MmioSpace, source: InstructionSource) {
    this.dispatcher = new Dispatcher(source, [ports.store, mmio.store], ports.raw);
    this.ports = new PortAccess(ports, this.dispatcher);
    this.mmio = new MmioAccess(mmio, this.dispatcher);
    if (ports.raw === undefined) return;
    this.raw = new RawSpaces(ports.raw, ports, mmio, {
      portRead: (port, width) => this.ports.readOutward(port, width),
      portWrite: (port, value, width) => this.ports.writeOutward(port, value, width),
      mmioRead: (address, width, buffer) => this.mmio.readOutward(address, width, buffer),
      mmioWrite: (address, width, buffer) => this.mmio.writeOutward(address, width, buffer),
    });
  }

  portRead(port: number, width: number): number {
    return this.ports.read(port, width);
  }

  portWrite(port: number, value: number, width: number): number {
    return this.ports.write(port, value, width);
  }

  /** What was transferred is complete: commit it (registers, journal) before another access of the same instruction. */
  portReadString(port: number, buffer: Uint8Array, width: number): number {
    return this.ports.string("read", port, buffer, width);
  }

  portWriteString(port: number, buffer: Uint8Array, width: number): number {
    return this.ports.string("write", port, buffer, width);
  }

  mmioRead(address: number, width: number, buffer: Uint8Array): number {
    return this.mmio.read(address, width, buffer);
  }

  mmioWrite(address: number, width: number, buffer: Uint8Array): number {
    return this.mmio.write(address, width, buffer);
  }

  /**
   * Settles when the abandoned operation may start again. Rejects with `DeviceError` when a ring-3 handler failed: every
   * access gives `WAIT` from then on, until `clearJournal`.
   */
  get waiting(): Promise<void> | undefined {
    return this.dispatcher.waiting;
  }

  /**
   * The operation in progress is over without having retired: an exception or interrupt was delivered, or the vCPU was
   * reset. An access that still waits is given up: `waiting` resolves, and what its handler answers is ignored.
   */
  clearJournal(): void {
    this.dispatcher.clearJournal();
  }

  /** True while a write of a retired instruction is still to be performed. */
  get commitPending(): boolean {
    return this.dispatcher.commitPending;
  }

  /**
   * Performs a pending commit, as any access would do first. The engine calls it before the instruction that follows a
   * `requestCheck`. Returns 0, or `WAIT`.
   */
  flushCommits(): number {
    return this.dispatcher.flushCommits();
  }

  /** Writes that wait in rings, see `RangeHandlers.coalesce`. */
  get coalescedPending(): boolean {
    return this.dispatcher.coalescedPending;
  }

  /** Performs them; between two slices. Returns 0, or `WAIT` while ring 3 is busy with one. */
  flushCoalesced(): number {
    return this.dispatcher.flushCoalesced();
  }

  /** Times that a restarted operation did something else than what it had done before. */
  get divergences(): number {
    return this.dispatcher.journal.divergences;
  }

  /** Set to see every completed access. */
  get onAccess(): AccessListener | undefined {
    return this.dispatcher.accounting.listener;
  }
  set onAccess(listener: AccessListener | undefined) {
    this.dispatcher.accounting.listener = listener;
    this.dispatcher.refresh();
  }

  /** A clock in ns; while there is one, the statistics add up the time spent in each range and context. */
  get timing(): (() => number) | undefined {
    return this.dispatcher.accounting.clock;
  }
  set timing(now: (() => number) | undefined) {
    this.dispatcher.accounting.clock = now;
    this.dispatcher.refresh();
  }
}
