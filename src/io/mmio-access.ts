/**
 * What an MMIO access becomes: accesses of dwords or less that the devices' ranges accept. VirtualBox's IOMMMIO_FLAGS
 * in our words; see `MmioSpace`.
 */
import { type MmioSpace, READ_MODE, WRITE_MODE } from "./mmio-space.ts";
import type { RegionStore } from "./region-store.ts";

/** Performs one access of one region; `WAIT` (negative) ends the whole access. */
export interface DeviceAccess {
  deviceRead(store: RegionStore, region: number, address: number, width: number): number;
  deviceWrite(store: RegionStore, region: number, address: number, value: number, width: number): number;
  /** As the above, when emitted code has asked the raw handler already. */
  deviceReadOutward(store: RegionStore, region: number, address: number, width: number): number;
  deviceWriteOutward(store: RegionStore, region: number, address: number, value: number, width: number): number;
  dropWrite(store: RegionStore, region: number, address: number, width: number): void;
}

export class MmioAccess {
  private readonly mmio: MmioSpace;
  private readonly store: RegionStore;
  private readonly device: DeviceAccess;

  constructor(mmio: MmioSpace, device: DeviceAccess) {
    this.mmio = mmio;
    this.store = mmio.store;
    this.device = device;
  }

  read(address: number, width: number, buffer: Uint8Array): number {
    const region = this.mmio.find(address);
    if (!this.isDword(region, address, width)) return this.readParts(address, width, buffer);
    return storeDword(buffer, this.device.deviceRead(this.store, region, address, 4));
  }

  write(address: number, width: number, buffer: Uint8Array): number {
    const region = this.mmio.find(address);
    if (!this.isDword(region, address, width)) return this.writeParts(address, width, buffer);
    return this.device.deviceWrite(this.store, region, address, littleEndian(buffer, 0, 4), 4);
  }

  /** As `read` and `write`, when emitted code has asked the raw handler already. */
  readOutward(address: number, width: number, buffer: Uint8Array): number {
    const region = this.mmio.find(address);
    if (!this.isDword(region, address, width)) return this.readParts(address, width, buffer);
    return storeDword(buffer, this.device.deviceReadOutward(this.store, region, address, 4));
  }

  writeOutward(address: number, width: number, buffer: Uint8Array): number {
    const region = this.mmio.find(address);
    if (!this.isDword(region, address, width)) return this.writeParts(address, width, buffer);
    return this.device.deviceWriteOutward(this.store, region, address, littleEndian(buffer, 0, 4), 4);
  }

  /** What every mode hands to the device as it is. */
  private isDword(region: number, address: number, width: number): boolean {
    return width === 4 && (address & 3) === 0 && address + 4 <= this.store.end[region]!;
  }

  private readParts(address: number, width: number, buffer: Uint8Array): number {
    const { store } = this;
    for (let done = 0; done < width; ) {
      const at = address + done;
      const region = this.mmio.find(at);
      const length = this.extent(region, at, width - done);
      let status = 0;
      if (region === 0) {
        status = this.device.deviceRead(store, 0, at, length);
        if (status >= 0) buffer.fill(0xff, done, done + length);
      } else if (store.readMode[region] === READ_MODE.passthrough) {
        status = this.readThrough(region, at, length, buffer, done);
      } else {
        status = this.readDwords(region, at, length, buffer, done);
      }
      if (status < 0) return status;
      done += length;
    }
    return 0;
  }

  private writeParts(address: number, width: number, buffer: Uint8Array): number {
    const { store } = this;
    for (let done = 0; done < width; ) {
      const at = address + done;
      const region = this.mmio.find(at);
      const length = this.extent(region, at, width - done);
      const mode = store.writeMode[region]!;
      let status = 0;
      if (region === 0) {
        status = this.device.deviceWrite(store, 0, at, littleEndian(buffer, done, Math.min(length, 4)), length);
      } else if (mode === WRITE_MODE.passthrough) {
        status = this.writeThrough(region, at, length, buffer, done);
      } else if (!accepts(mode, at, length)) {
        this.device.dropWrite(store, region, at, length);
      } else {
        status = this.writeDwords(region, at, length, buffer, done, mode);
      }
      if (status < 0) return status;
      done += length;
    }
    return 0;
  }

  /** How many of `length` bytes from `address` the same region (or nobody) answers. */
  private extent(region: number, address: number, length: number): number {
    if (region !== 0) return Math.min(length, this.store.end[region]! - address);
    let bytes = 1;
    while (bytes < length && this.mmio.find(address + bytes) === 0) bytes++;
    return bytes;
  }

  private readThrough(region: number, address: number, length: number, buffer: Uint8Array, at: number): number {
    for (let done = 0; done < length; ) {
      const width = partOf(address + done, length - done, done === 0);
      const value = this.device.deviceRead(this.store, region, address + done, width);
      if (value < 0) return value;
      for (let i = 0; i < width; i++) buffer[at + done + i] = value >>> (8 * i);
      done += width;
    }
    return 0;
  }

  private writeThrough(region: number, address: number, length: number, buffer: Uint8Array, at: number): number {
    for (let done = 0; done < length; ) {
      const width = partOf(address + done, length - done, done === 0);
      const value = littleEndian(buffer, at + done, width);
      const status = this.device.deviceWrite(this.store, region, address + done, value, width);
      if (status < 0) return status;
      done += width;
    }
    return 0;
  }

  /** Reads each dword that covers part of the access, and cuts the bytes out. */
  private readDwords(region: number, address: number, length: number, buffer: Uint8Array, at: number): number {
    for (let done = 0; done < length; ) {
      const skip = (address + done) & 3;
      const bytes = Math.min(4 - skip, length - done);
      const value = this.device.deviceRead(this.store, region, address + done - skip, 4);
      if (value < 0) return value;
      for (let i = 0; i < bytes; i++) buffer[at + done + i] = value >>> (8 * (skip + i));
      done += bytes;
    }
    return 0;
  }

  /** Merges the given bytes into zeros or into the dword that stands there, dword by dword. */
  private writeDwords(
    region: number,
    address: number,
    length: number,
    buffer: Uint8Array,
    at: number,
    mode: number,
  ): number {
    const readMissing = mode === WRITE_MODE["dword-read-missing"] || mode === WRITE_MODE["dword-qword-read-missing"];
    for (let done = 0; done < length; ) {
      const skip = (address + done) & 3;
      const bytes = Math.min(4 - skip, length - done);
      const dword = address + done - skip;
      let value = 0;
      if (bytes < 4 && readMissing) {
        value = this.device.deviceRead(this.store, region, dword, 4);
        if (value < 0) return value;
      }
      for (let i = 0; i < bytes; i++) {
        const shift = 8 * (skip + i);
        value = (value & ~(0xff << shift)) | (buffer[at + done + i]! << shift);
      }
      const status = this.device.deviceWrite(this.store, region, dword, value >>> 0, 4);
      if (status < 0) return status;
      done += bytes;
    }
    return 0;
  }
}

/** The "only" modes: an aligned dword or, where qwords are allowed, an aligned qword. Other modes take everything. */
function accepts(mode: number, address: number, length: number): boolean {
  if (mode < WRITE_MODE["only-dword"]) return true;
  if (length === 4) return (address & 3) === 0;
  return length === 8 && (address & 7) === 0 && mode === WRITE_MODE["only-dword-qword"];
}

/** Width of the next pass-through access: all of it when a handler can see it whole, else the largest aligned part. */
function partOf(address: number, left: number, first: boolean): number {
  if (first && (left === 1 || left === 2 || left === 4)) return left;
  if (left >= 4 && (address & 3) === 0) return 4;
  return left >= 2 && (address & 1) === 0 ? 2 : 1;
}

/** A read's value into the buffer; a status stays. */
function storeDword(buffer: Uint8Array, value: number): number {
  if (value < 0) return value;
  buffer[0] = value;
  buffer[1] = value >>> 8;
  buffer[2] = value >>> 16;
  buffer[3] = value >>> 24;
  return 0;
}

function littleEndian(buffer: Uint8Array, at: number, width: number): number {
  let value = 0;
  for (let i = 0; i < width; i++) value |= buffer[at + i]! << (8 * i);
  return value >>> 0;
}
