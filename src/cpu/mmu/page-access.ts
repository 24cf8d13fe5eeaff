import { type IoClient, WAIT } from "../../io/types.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { PAGE_FLAG, PAGE_SHIFT, PAGE_SIZE } from "../../memory/layout.ts";
import { PAGE_ENTRY, PAGE_ENTRY_FLAGS } from "../../memory/page-map.ts";
import { OUTCOME } from "../../memory/watched-access.ts";
import { CPU, STOP } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import type { WatchedAccesses } from "./watched-accesses.ts";

/** Beyond every guest-physical address: in place of one for a page of the monitor. */
export const MONITOR_PAGE = 2 ** 52;

/**
 * Accesses whose guest-physical page is known, between the vCPU's scratch slot and memory, a device or a page of the monitor.
 * Handlers are told. `entry` is the page's `GuestMemory.pageEntry`. False, or 0: the access waits for ring 3, `CPU.stop` is
 * set.
 */
export class PageAccess {
  private readonly cpu: VcpuState;
  private readonly memory: GuestMemory;
  private readonly io: IoClient;
  private readonly outward: Pick<IoClient, "mmioRead" | "mmioWrite">;
  private readonly watched: WatchedAccesses;
  private readonly scratch: Uint8Array;

  constructor(cpu: VcpuState, memory: GuestMemory, io: IoClient, watched: WatchedAccesses) {
    this.cpu = cpu;
    this.memory = memory;
    this.io = io;
    this.outward = io.raw?.outward ?? io;
    this.watched = watched;
    this.scratch = memory.bytes.subarray(cpu.base + CPU.scratch, cpu.base + CPU.scratch + 64);
  }

  /** `PAGE_FLAG`s; of pages outside RAM only those of handlers. */
  flags(physical: number): number {
    const { memory } = this;
    if (physical < memory.ramBytes) return memory.pageFlags[physical >>> PAGE_SHIFT]!;
    return memory.handlers.any ? memory.handlers.flags(physical) : 0;
  }

  markDirty(physical: number): void {
    if (physical < this.memory.ramBytes) this.memory.pageFlags[physical >>> PAGE_SHIFT]! |= PAGE_FLAG.dirty;
  }

  /** Reads `bytes` to the scratch slot, from its byte `at`. */
  read(linear: number, physical: number, entry: number, at: number, bytes: number): boolean {
    const data = this.scratch.subarray(at, at + bytes);
    const isWatched = (this.flags(physical) & PAGE_FLAG.watchedAll) !== 0;
    const watched = isWatched && this.memory.handlers.covers(physical, bytes);
    if (entry !== 0) {
      const host = hostOf(entry, physical);
      data.set(this.memory.bytes.subarray(host, host + bytes));
    } else {
      // A handler of MMIO pages is asked before the device.
      data.fill(0);
      const asked = watched ? this.watched.report("read", physical, linear, data, true) : OUTCOME.happens;
      if (asked === OUTCOME.happens && this.io.mmioRead(physical, bytes, data) === WAIT) {
        this.wait();
        return false;
      }
    }
    if (watched) this.watched.report("read", physical, linear, data);
    return true;
  }

  /** Writes `bytes` from the scratch slot, from its byte `at`. */
  write(linear: number, physical: number, entry: number, at: number, bytes: number): boolean {
    if (physical >= MONITOR_PAGE) {
      const { handlers } = this.memory;
      const handler = handlers.virtual.hypervisorAt(linear)!;
      const data = this.scratch.slice(at, at + bytes);
      if (handlers.hypervisorWrite(handler, linear, data, this.watched.cpuSource))
        this.memory.bytes.set(data, handler.host + linear - handler.start);
      return true;
    }
    const watched = (this.flags(physical) & PAGE_FLAG.watchedWrite) !== 0;
    // Most that come here write to a page for the first time; a view of the bytes would take longer than they do.
    if (!watched && entry !== 0) {
      if ((entry & PAGE_ENTRY.writable) === 0) return true;
      const host = hostOf(entry, physical);
      for (let i = 0; i < bytes; i++) this.memory.bytes[host + i] = this.scratch[at + i]!;
      this.markDirty(physical);
      return true;
    }
    let data = this.scratch.subarray(at, at + bytes);
    if (watched && this.memory.handlers.covers(physical, bytes)) {
      data = data.slice();
      if (entry === 0 && this.watched.report("write", physical, linear, data, true) === OUTCOME.swallowed) return true;
      if (this.watched.report("write", physical, linear, data) === OUTCOME.swallowed) return true;
    }
    if (entry !== 0) {
      if ((entry & PAGE_ENTRY.writable) === 0) return true;
      this.memory.bytes.set(data, hostOf(entry, physical));
      this.markDirty(physical);
      this.memory.handlers.written(physical, bytes);
      return true;
    }
    if (this.io.mmioWrite(physical, bytes, data) !== WAIT) return true;
    this.wait();
    return false;
  }

  /** A read that generated code has translated; `physical` is no memory. Host address of the scratch slot. */
  deviceRead(physical: number, bytes: number): number {
    if (this.outward.mmioRead(physical, bytes, this.scratch) === WAIT) return this.wait();
    return this.cpu.base + CPU.scratch;
  }

  /** A write from the scratch slot. 1, or 0. */
  deviceWrite(physical: number, bytes: number): number {
    return this.outward.mmioWrite(physical, bytes, this.scratch) === WAIT ? this.wait() : 1;
  }

  private wait(): number {
    this.cpu.setU32(CPU.stop, STOP.wait);
    return 0;
  }
}

/** Host address of a byte of a page of memory. */
export function hostOf(entry: number, physical: number): number {
  return entry - (entry & PAGE_ENTRY_FLAGS) + (physical & (PAGE_SIZE - 1));
}
