/** Offsets in the header of a function. PCI 3.0, figure 6-1. */
export const CONFIG = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revision: 0x08,
  classCode: 0x09,
  cacheLineSize: 0x0c,
  latencyTimer: 0x0d,
  headerType: 0x0e,
  bar0: 0x10,
  barsEnd: 0x28,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  capabilities: 0x34,
  interruptLine: 0x3c,
  interruptPin: 0x3d,
  deviceSpecific: 0x40,
  size: 0x100,
} as const;

/** PCI 3.0, table 6-1. */
export const COMMAND = {
  io: 1 << 0,
  memory: 1 << 1,
  busMaster: 1 << 2,
  parityResponse: 1 << 6,
  serr: 1 << 8,
  interruptDisable: 1 << 10,
} as const;

/** PCI 3.0, table 6-2. */
export const STATUS = {
  interrupt: 1 << 3,
  capabilities: 1 << 4,
  /** Bits that a write of one clears: parity, aborts, system error. */
  writeOneToClear: 0xf900,
} as const;

/** Header type bit 7: the slot has several functions. */
export const MULTI_FUNCTION = 0x80;

/** 256 bytes with what software may do to each bit. */
export class ConfigSpace {
  readonly bytes: Uint8Array;
  private readonly initial = new Uint8Array(CONFIG.size);
  private readonly writable = new Uint8Array(CONFIG.size);
  private readonly writeOneToClear = new Uint8Array(CONFIG.size);

  /** `bytes`: where it lives, `CONFIG.size` of them. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes.fill(0);
  }

  /** Declares `width` bytes: their value after reset and the bits that software may change. */
  define(offset: number, value: number, width: number, writable = 0): void {
    this.set(offset, value, width);
    for (let i = 0; i < width; i++) {
      this.initial[offset + i] = this.bytes[offset + i];
      this.writable[offset + i] = writable / 2 ** (8 * i);
    }
  }

  defineWriteOneToClear(offset: number, mask: number, width: number): void {
    for (let i = 0; i < width; i++) this.writeOneToClear[offset + i] = mask >>> (8 * i);
  }

  get(offset: number, width: number): number {
    const { bytes } = this;
    if (width === 4) {
      return (bytes[offset] | (bytes[offset + 1] << 8) | (bytes[offset + 2] << 16) | (bytes[offset + 3] << 24)) >>> 0;
    }
    let value = 0;
    for (let i = width - 1; i >= 0; i--) value = value * 256 + bytes[offset + i];
    return value;
  }

  /** Regardless of masks. */
  set(offset: number, value: number, width: number): void {
    for (let i = 0; i < width; i++) this.bytes[offset + i] = value / 2 ** (8 * i);
  }

  /** As software writes. */
  write(offset: number, value: number, width: number): void {
    for (let i = 0; i < width; i++) {
      const at = offset + i;
      const byte = (value / 2 ** (8 * i)) & 0xff;
      const mask = this.writable[at];
      this.bytes[at] = ((this.bytes[at] & ~mask) | (byte & mask)) & ~(byte & this.writeOneToClear[at]);
    }
  }

  reset(): void {
    this.bytes.set(this.initial);
  }
}
