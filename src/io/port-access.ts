/** What a port access becomes: accesses of one region each; see `PortSpace` for the rules. */
import { type Dispatcher, maskOf } from "./dispatcher.ts";
import type { Direction } from "./errors.ts";
import type { PortSpace } from "./port-space.ts";
import type { RegionStore } from "./region-store.ts";
import { WAIT } from "./types.ts";

export class PortAccess {
  private readonly store: RegionStore;
  private readonly table: Int32Array;
  private readonly device: Dispatcher;

  constructor(ports: PortSpace, device: Dispatcher) {
    this.store = ports.store;
    this.table = ports.table;
    this.device = device;
  }

  read(port: number, width: number): number {
    const address = port & 0xffff;
    const region = this.table[address]!;
    if (address + width > this.store.end[region]!) return this.readSplit(address, width);
    return this.device.deviceRead(this.store, region, address, width);
  }

  write(port: number, value: number, width: number): number {
    const address = port & 0xffff;
    const region = this.table[address]!;
    const data = (value & maskOf(width)) >>> 0;
    if (address + width > this.store.end[region]!) return this.writeSplit(address, data, width);
    return this.device.deviceWrite(this.store, region, address, data, width);
  }

  /** As `read` and `write`, when emitted code has asked the raw handler already. */
  readOutward(port: number, width: number): number {
    const address = port & 0xffff;
    const region = this.table[address]!;
    if (address + width > this.store.end[region]!) return this.readSplit(address, width);
    return this.device.deviceReadOutward(this.store, region, address, width);
  }

  writeOutward(port: number, value: number, width: number): number {
    const address = port & 0xffff;
    const region = this.table[address]!;
    const data = (value & maskOf(width)) >>> 0;
    if (address + width > this.store.end[region]!) return this.writeSplit(address, data, width);
    return this.device.deviceWriteOutward(this.store, region, address, data, width);
  }

  /**
   * Units that the region's string callback took, or all of them where nobody is: a read gives ones, a write is dropped.
   * 0 where there is no callback, and while a restarted operation is answered unit by unit. The engine completes what
   * was transferred before it makes another access.
   */
  string(direction: Direction, port: number, buffer: Uint8Array, width: number): number {
    const { store, device } = this;
    const address = port & 0xffff;
    const ready = device.readyForString();
    if (ready === WAIT) return WAIT;
    let units = Math.floor(buffer.length / width);
    if (ready === 0 || units === 0) return 0;
    const region = this.table[address]!;
    if (this.isUnclaimed(address, width)) {
      if (direction === "read") buffer.fill(0xff, 0, units * width);
    } else {
      const callbacks = direction === "read" ? store.readString : store.writeString;
      if (callbacks[region] === undefined || address + width > store.end[region]!) return 0;
      units = device.callString(store, region, direction, address, buffer, width);
    }
    device.accounting.string(store, region, direction, address, buffer, width, units);
    return units;
  }

  /** Not inside one region: nobody's, or byte by byte. */
  private readSplit(address: number, width: number): number {
    if (this.isUnclaimed(address, width)) return this.device.deviceRead(this.store, 0, address, width);
    let value = 0;
    for (let i = 0; i < width; i++) {
      const port = (address + i) & 0xffff;
      const byte = this.device.deviceRead(this.store, this.table[port]!, port, 1);
      if (byte < 0) return byte;
      value |= byte << (8 * i);
    }
    return value >>> 0;
  }

  private writeSplit(address: number, value: number, width: number): number {
    if (this.isUnclaimed(address, width)) return this.device.deviceWrite(this.store, 0, address, value, width);
    for (let i = 0; i < width; i++) {
      const port = (address + i) & 0xffff;
      const byte = (value >>> (8 * i)) & 0xff;
      const status = this.device.deviceWrite(this.store, this.table[port]!, port, byte, 1);
      if (status < 0) return status;
    }
    return 0;
  }

  private isUnclaimed(address: number, width: number): boolean {
    for (let i = 0; i < width; i++) if (this.table[(address + i) & 0xffff] !== 0) return false;
    return true;
  }
}
