/**
 * An ATA disk: its registers, its sector buffer and the transfer that is under way. What each command does is in
 * ata-commands.ts. ATA/ATAPI-6 (T13/1410D); clauses are its own.
 *
 * The drive is infinitely fast: a command has got as far as it can without the host before the write to the command
 * register ends, so BSY only shows while a software reset is held.
 */
import { savedCount, savedLike } from "../../device/saved.ts";
import { type BlockStorage, SECTOR_BYTES, StorageError } from "../../device/storage.ts";
import { PorticoError } from "../../errors.ts";
import { defaultGeometry, identifyDevice } from "./ata-identify.ts";
import { DEVICE, DIAGNOSTIC_PASSED, ERROR, STATUS } from "./ata-registers.ts";

/** Sectors that a DMA transfer moves through the buffer at a time. */
const DMA_SECTORS = 128;
const BUFFER_BYTES = DMA_SECTORS * SECTOR_BYTES;

/** CHECK POWER MODE's answers (clause 8), and sleep, in which nobody can ask. */
export const POWER = { standby: 0x00, idle: 0x80, active: 0xff, sleep: 0x01 } as const;

const GOOD = STATUS.ready | STATUS.seekComplete;

export interface DriveOptions {
  readonly storage: BlockStorage;
  readonly number: 0 | 1;
  readonly paired: boolean;
  readonly serial: string;
  /** ns of virtual time: for the standby timer. */
  readonly now: () => number;
}

/** A register with the value it had before: 48-bit commands use both (clause 6, 48-bit Address feature set). */
export interface Twice {
  now: number;
  before: number;
}

const twice = (): Twice => ({ now: 0, before: 0 });

/** Everything about a drive but its buffer and its sectors. */
function initialState(sectorCount: number) {
  return {
    features: twice(),
    count: twice(),
    lbaLow: twice(),
    lbaMid: twice(),
    lbaHigh: twice(),
    device: 0,
    status: 0,
    error: 0,
    /** Asks for an interrupt: INTRQ, when the drive is selected and nIEN is clear. */
    interrupt: false,

    /** The transfer under way. `position` to `end` of the buffer is what the host has yet to move of this block. */
    direction: "none" as "none" | "in" | "out",
    dma: false,
    position: 0,
    end: 0,
    /** The next sector between buffer and storage, and how many are left from there. */
    sector: 0,
    left: 0,
    blockSectors: 1,
    /** The address registers have 48 bits in the command under way. */
    extended: false,

    multiple: 0,
    geometry: defaultGeometry(sectorCount),
    dmaMode: 0,
    writeCache: true,
    lookAhead: true,
    /** SET FEATURES 66h: a software reset leaves the settings alone. */
    keepsSettings: false,

    power: POWER.active as number,
    /** ns without a command after which the drive goes to standby; 0: never. */
    standbyAfter: 0,
    lastCommandAt: 0,

    /** Sectors that the host may reach: now, and after a hardware reset (host protected area). */
    accessible: sectorCount,
    accessibleAfterReset: sectorCount,
    /** SET MAX ADDRESS has set `accessibleAfterReset`, which works once. */
    protectedAreaSet: false,
    command: 0,
    /** SET MAX ADDRESS looks at it. */
    previousCommand: 0,
  };
}

export type DriveState = ReturnType<typeof initialState>;

export class AtaDrive {
  readonly storage: BlockStorage;
  readonly state: DriveState;
  private readonly options: DriveOptions;
  private readonly buffer = new Uint8Array(BUFFER_BYTES);

  constructor(options: DriveOptions) {
    this.options = options;
    this.storage = options.storage;
    this.state = initialState(options.storage.sectorCount);
    this.hardwareReset();
  }

  get now(): number {
    return this.options.now();
  }

  // --- resets (clause 9, Power-on and hardware reset, Software reset, EXECUTE DEVICE DIAGNOSTIC) -------------------

  hardwareReset(): void {
    const { state, storage } = this;
    const { accessibleAfterReset, protectedAreaSet } = state;
    Object.assign(state, initialState(storage.sectorCount), {
      accessible: accessibleAfterReset,
      accessibleAfterReset,
      protectedAreaSet,
      geometry: defaultGeometry(accessibleAfterReset),
    });
    this.showSignature();
  }

  /** SRST was set: busy until it is cleared again. */
  beginSoftwareReset(): void {
    this.endTransfer();
    this.state.interrupt = false;
    this.state.status = STATUS.busy;
  }

  endSoftwareReset(): void {
    const { state } = this;
    if (!state.keepsSettings) {
      state.multiple = 0;
      state.geometry = defaultGeometry(state.accessible);
      state.writeCache = true;
      state.lookAhead = true;
    }
    if (state.power === POWER.sleep) state.power = POWER.standby;
    this.showSignature();
  }

  /** What tells a host that this is an ATA device, and that it passed its diagnostics. Clause 9, Signature. */
  showSignature(): void {
    const { state } = this;
    this.endTransfer();
    for (const register of [state.features, state.count, state.lbaLow, state.lbaMid, state.lbaHigh]) {
      register.now = 0;
      register.before = 0;
    }
    state.count.now = 1;
    state.lbaLow.now = 1;
    state.device = 0;
    state.error = DIAGNOSTIC_PASSED;
    state.status = GOOD;
    state.interrupt = false;
    state.command = 0;
  }

  // --- how a command ends -------------------------------------------------------------------------------------------

  /** Before a command: whatever was under way has ended. */
  begin(code: number): void {
    const { state } = this;
    this.endTransfer();
    state.interrupt = false;
    state.error = ERROR.none;
    state.status = GOOD;
    state.extended = false;
    if (this.isPastStandby) state.power = POWER.standby;
    state.lastCommandAt = this.now;
    state.previousCommand = state.command;
    state.command = code;
  }

  private get isPastStandby(): boolean {
    const { power, standbyAfter, lastCommandAt } = this.state;
    return power !== POWER.sleep && standbyAfter !== 0 && this.now - lastCommandAt >= standbyAfter;
  }

  complete(): void {
    this.endTransfer();
    this.state.status = GOOD;
    this.state.interrupt = true;
  }

  /** Ends the command with bits of the error register; `sector` goes to the address registers. */
  fail(error: number, sector?: number): void {
    this.endTransfer();
    if (sector !== undefined) this.showAddress(sector);
    this.state.error = error;
    this.state.status = GOOD | STATUS.error;
    this.state.interrupt = true;
  }

  abort(): void {
    this.fail(ERROR.aborted);
  }

  private endTransfer(): void {
    const { state } = this;
    state.direction = "none";
    state.dma = false;
    state.position = 0;
    state.end = 0;
    state.left = 0;
  }

  // --- addresses ----------------------------------------------------------------------------------------------------

  /**
   * The first sector that the registers name, -1 for a cylinder, head or sector that is not there. Clause 6, Register
   * delivered data transfer command sector addressing.
   */
  address(): number {
    const { lbaLow, lbaMid, lbaHigh, device, extended, geometry } = this.state;
    const low = lbaLow.now | (lbaMid.now << 8) | (lbaHigh.now << 16);
    if (extended) return low + 2 ** 24 * (lbaLow.before + lbaMid.before * 2 ** 8 + lbaHigh.before * 2 ** 16);
    const head = device & DEVICE.head;
    if ((device & DEVICE.lba) !== 0) return low + head * 2 ** 24;
    const cylinder = lbaMid.now | (lbaHigh.now << 8);
    const sector = lbaLow.now;
    const { cylinders, heads, sectors } = geometry;
    if (cylinder >= cylinders || head >= heads || sector === 0 || sector > sectors) return -1;
    return (cylinder * heads + head) * sectors + sector - 1;
  }

  /** Sectors that the count register asks for: 0 stands for one more than it can hold. */
  sectorCount(): number {
    const { count, extended } = this.state;
    return extended ? count.now + 256 * count.before || 0x1_0000 : count.now || 256;
  }

  /** Puts a sector's address into the registers, in the form that the command used. */
  showAddress(sector: number): void {
    const { state } = this;
    const low = sector % 2 ** 24;
    const high = Math.floor(sector / 2 ** 24);
    if (!state.extended && (state.device & DEVICE.lba) === 0) {
      const { heads, sectors } = state.geometry;
      const track = Math.floor(sector / sectors);
      const cylinder = Math.floor(track / heads);
      state.lbaLow.now = (sector % sectors) + 1;
      state.lbaMid.now = cylinder & 0xff;
      state.lbaHigh.now = (cylinder >> 8) & 0xff;
      state.device = (state.device & ~DEVICE.head) | (track % heads);
      return;
    }
    state.lbaLow.now = low & 0xff;
    state.lbaMid.now = (low >> 8) & 0xff;
    state.lbaHigh.now = low >> 16;
    if (!state.extended) {
      state.device = (state.device & ~DEVICE.head) | (high & DEVICE.head);
      return;
    }
    state.lbaLow.before = high & 0xff;
    state.lbaMid.before = (high >> 8) & 0xff;
    state.lbaHigh.before = (high >> 16) & 0xff;
  }

  // --- transfers ----------------------------------------------------------------------------------------------------

  /** 512 bytes that are not sectors go to the host. */
  send(bytes: Uint8Array): void {
    const { state } = this;
    this.buffer.set(bytes);
    state.direction = "in";
    state.end = bytes.length;
    this.requestData(true);
  }

  sendIdentity(): void {
    const { storage: _, now: __, ...options } = this.options;
    const { accessible, geometry, multiple, dmaMode, writeCache, lookAhead } = this.state;
    const settings = { geometry, multiple, dmaMode, writeCache, lookAhead };
    const identity = { sectorCount: accessible, defaultGeometry: defaultGeometry(accessible) };
    this.send(identifyDevice({ ...options, ...settings, ...identity, firmware: "1.0", model: "Portico hard disk" }));
  }

  /** Sectors to the host, or from it, in DRQ blocks of `blockSectors`; DMA has no blocks. */
  startSectors(direction: "in" | "out", sector: number, count: number, blockSectors: number | "dma"): void {
    const { state } = this;
    state.direction = direction;
    state.dma = blockSectors === "dma";
    state.blockSectors = blockSectors === "dma" ? DMA_SECTORS : blockSectors;
    state.sector = sector;
    state.left = count;
    state.power = POWER.active;
    // The host may send the first block without having been interrupted. Clause 9, PIO data-out command protocol.
    this.nextBlock(direction === "in");
  }

  /** Fills the buffer, or makes room in it; ends the command after the last block. */
  private nextBlock(interrupts: boolean): void {
    const { state } = this;
    if (state.left === 0) {
      // The last block of PIO data-in is not followed by an interrupt: it has had its own.
      if (state.direction === "in" && !state.dma) {
        this.endTransfer();
        state.status = GOOD;
      } else {
        this.complete();
      }
      return;
    }
    const sectors = Math.min(state.left, state.blockSectors);
    state.position = 0;
    state.end = sectors * SECTOR_BYTES;
    if (state.direction === "in") {
      const { sector } = state;
      if (!this.withStorage(() => this.storage.read(sector, this.buffer.subarray(0, state.end)))) {
        this.fail(ERROR.uncorrectable, sector);
        return;
      }
      state.sector += sectors;
      state.left -= sectors;
    }
    this.requestData(interrupts);
  }

  private requestData(interrupts: boolean): void {
    this.state.status = GOOD | STATUS.dataRequest;
    if (interrupts && !this.state.dma) this.state.interrupt = true;
  }

  /** The host has moved the whole block. */
  private endBlock(): void {
    const { state } = this;
    if (state.direction === "out") {
      const { sector, end } = state;
      if (!this.withStorage(() => this.storage.write(sector, this.buffer.subarray(0, end)))) {
        this.faultAt(sector);
        return;
      }
      state.sector += end / SECTOR_BYTES;
      state.left -= end / SECTOR_BYTES;
    }
    this.nextBlock(true);
  }

  /** The medium did not take what it should: device fault. 7.15. */
  faultAt(sector?: number): void {
    this.fail(ERROR.aborted, sector);
    this.state.status |= STATUS.deviceFault;
  }

  /** False when the host failed. Throws `PorticoError` `DISK_WAITS`, and whatever else the storage throws. */
  withStorage(work: () => unknown): boolean {
    try {
      if (work() instanceof Promise)
        throw new PorticoError("DISK_WAITS", "a disk returned a promise: read, write and flush have to be synchronous");
      return true;
    } catch (error) {
      if (error instanceof StorageError) return false;
      throw error;
    }
  }

  /** Bytes that the host has yet to move of the block under way; 0 unless one of this kind is. */
  pending(direction: "in" | "out", dma: boolean): number {
    const { state } = this;
    return state.direction === direction && state.dma === dma ? state.end - state.position : 0;
  }

  /** Moves the next bytes to the host: at most what is `pending`. */
  takeData(into: Uint8Array): void {
    const { state } = this;
    into.set(this.buffer.subarray(state.position, state.position + into.length));
    state.position += into.length;
    if (state.position === state.end) this.endBlock();
  }

  giveData(from: Uint8Array): void {
    const { state } = this;
    this.buffer.set(from, state.position);
    state.position += from.length;
    if (state.position === state.end) this.endBlock();
  }

  takeWord(): number {
    const { state, buffer } = this;
    const value = buffer[state.position]! | (buffer[state.position + 1]! << 8);
    state.position += 2;
    if (state.position === state.end) this.endBlock();
    return value;
  }

  giveWord(value: number): void {
    const { state, buffer } = this;
    buffer[state.position] = value;
    buffer[state.position + 1] = value >> 8;
    state.position += 2;
    if (state.position === state.end) this.endBlock();
  }

  // --- state --------------------------------------------------------------------------------------------------------

  save() {
    return {
      state: structuredClone(this.state),
      buffer: this.buffer.slice(0, this.state.end),
      storage: this.storage.save(),
    };
  }

  /** Throws `PorticoError` `SNAPSHOT_MISMATCH` or `SNAPSHOT_INVALID`. */
  load(saved: ReturnType<AtaDrive["save"]>): void {
    const state = savedLike("a drive", saved.state, this.state);
    const { position, end, sector, left, blockSectors, accessible, accessibleAfterReset } = state;
    const { sectorCount } = this.storage;
    const isCount = (value: number) => Number.isSafeInteger(value) && value >= 0;
    const isTransfer =
      [position, end, sector, left, blockSectors].every(isCount) &&
      position <= end &&
      end <= BUFFER_BYTES &&
      blockSectors <= DMA_SECTORS &&
      saved.buffer.length === end &&
      sector + left <= sectorCount;
    if (!isTransfer) throw new PorticoError("SNAPSHOT_INVALID", "the snapshot's drive is in a transfer that cannot be");
    // A disk of another size is a mismatch, and says so.
    this.storage.load(saved.storage);
    savedCount("a drive's sectors", accessible, sectorCount);
    savedCount("a drive's sectors after a reset", accessibleAfterReset, sectorCount);
    Object.assign(this.state, state);
    this.buffer.set(saved.buffer);
  }
}
