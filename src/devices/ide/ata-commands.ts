/** The commands of an ATA disk. ATA/ATAPI-6 (T13/1410D), clause 8; a command that is not here is aborted. */
import { type AtaDrive, type DriveState, POWER } from "./ata-drive.ts";
import { LBA28_SECTORS, MODES, MULTIPLE_MAX, translation } from "./ata-identify.ts";
import { DEVICE, ERROR } from "./ata-registers.ts";

type Command = (drive: AtaDrive) => void;

const SECOND = 1_000_000_000;
const MINUTE = 60 * SECOND;

// --- reading and writing --------------------------------------------------------------------------------------------

/** 48-bit commands have no cylinders and heads. */
const extended =
  (command: Command): Command =>
  (drive) => {
    drive.state.extended = true;
    if ((drive.state.device & DEVICE.lba) === 0) drive.abort();
    else command(drive);
  };

/** Goes on with the sectors that the registers name if they are all there; else ID not found, at the first that is not. */
function withSectors(drive: AtaDrive, next: (sector: number, count: number) => void): void {
  const sector = drive.address();
  const count = drive.sectorCount();
  const { accessible } = drive.state;
  if (sector < 0) drive.fail(ERROR.idNotFound);
  else if (sector + count > accessible) drive.fail(ERROR.idNotFound, Math.max(sector, accessible));
  else next(sector, count);
}

const read =
  (block: (drive: AtaDrive) => number | "dma"): Command =>
  (drive) => {
    const sectors = block(drive);
    if (sectors === 0) drive.abort();
    else withSectors(drive, (sector, count) => drive.startSectors("in", sector, count, sectors));
  };

const write =
  (block: (drive: AtaDrive) => number | "dma"): Command =>
  (drive) => {
    const sectors = block(drive);
    if (sectors === 0 || !drive.storage.writable) drive.abort();
    else withSectors(drive, (sector, count) => drive.startSectors("out", sector, count, sectors));
  };

const single = () => 1;
const multiple = (drive: AtaDrive) => drive.state.multiple;
const dma = () => "dma" as const;

/** READ VERIFY SECTORS: nothing can be wrong with a sector that is there. */
const verify: Command = (drive) => {
  drive.state.power = POWER.active;
  withSectors(drive, () => drive.complete());
};

const seek: Command = (drive) => {
  const sector = drive.address();
  if (sector < 0 || sector >= drive.state.accessible) drive.fail(ERROR.idNotFound);
  else drive.complete();
};

const flush: Command = (drive) => {
  if (drive.withStorage(() => drive.storage.flush())) drive.complete();
  else drive.faultAt();
};

// --- settings -------------------------------------------------------------------------------------------------------

/** A count that is not supported also disables READ MULTIPLE and WRITE MULTIPLE. */
const setMultiple: Command = (drive) => {
  const count = drive.state.count.now;
  const supported = count <= MULTIPLE_MAX && (count & (count - 1)) === 0;
  drive.state.multiple = supported ? count : 0;
  if (supported) drive.complete();
  else drive.abort();
};

const initializeParameters: Command = (drive) => {
  const { state } = drive;
  const geometry = translation(state.accessible, (state.device & DEVICE.head) + 1, state.count.now);
  if (!geometry) return drive.abort();
  state.geometry = geometry;
  drive.complete();
};

/** SET FEATURES by subcommand, in the features register; false: this value is not supported. */
const FEATURES: ReadonlyMap<number, (drive: AtaDrive) => boolean> = new Map([
  [0x02, ({ state }) => setting(() => (state.writeCache = true))],
  [0x03, ({ state }) => setTransferMode(state)],
  [0x55, ({ state }) => setting(() => (state.lookAhead = false))],
  [0x66, ({ state }) => setting(() => (state.keepsSettings = true))],
  [0x82, ({ state }) => setting(() => (state.writeCache = false))],
  [0xaa, ({ state }) => setting(() => (state.lookAhead = true))],
  [0xcc, ({ state }) => setting(() => (state.keepsSettings = false))],
]);

function setting(change: () => void): boolean {
  change();
  return true;
}

/** Kind of mode in bits 7:3, its number below. The drive answers at any speed; it only remembers the DMA mode. */
function setTransferMode(state: DriveState): boolean {
  const value = state.count.now;
  const mode = value & 7;
  switch (value & 0xf8) {
    case 0x00:
      return mode <= 1; // default PIO, with and without IORDY
    case 0x08:
      return mode <= MODES.pio;
    case 0x20:
      if (mode > MODES.multiword) return false;
      break;
    case 0x40:
      if (mode > MODES.ultra) return false;
      break;
    default:
      return false;
  }
  state.dmaMode = value;
  return true;
}

const setFeatures: Command = (drive) => {
  if (FEATURES.get(drive.state.features.now)?.(drive)) drive.complete();
  else drive.abort();
};

// --- power ----------------------------------------------------------------------------------------------------------

const power =
  (mode: number): Command =>
  (drive) => {
    drive.state.power = mode;
    drive.complete();
  };

/** IDLE and STANDBY also set the standby timer, by the table of clause 8, IDLE. */
const powerAndTimer =
  (mode: number): Command =>
  (drive) => {
    drive.state.standbyAfter = standbyTimer(drive.state.count.now);
    power(mode)(drive);
  };

function standbyTimer(value: number): number {
  if (value <= 240) return value * 5 * SECOND;
  if (value <= 251) return (value - 240) * 30 * MINUTE;
  // 253 is the vendor's, between 8 and 12 hours; 254 is reserved.
  return [21 * MINUTE, 8 * 60 * MINUTE, 8 * 60 * MINUTE, 21 * MINUTE + 15 * SECOND][value - 252]!;
}

const checkPower: Command = (drive) => {
  drive.state.count.now = drive.state.power;
  drive.complete();
};

// --- host protected area --------------------------------------------------------------------------------------------

const READ_NATIVE_MAX = 0xf8;
const READ_NATIVE_MAX_EXT = 0x27;

const readNativeMax: Command = (drive) => {
  const last = drive.storage.sectorCount - 1;
  drive.showAddress(drive.state.extended ? last : Math.min(last, LBA28_SECTORS));
  drive.complete();
};

/** Takes effect only right behind READ NATIVE MAX ADDRESS. Bit 0 of the count: the value outlives a reset. */
const setMax =
  (before: number): Command =>
  (drive) => {
    const { state } = drive;
    const last = drive.address();
    const permanent = (state.count.now & 1) !== 0;
    if (state.previousCommand !== before) return drive.abort();
    if (last < 0 || last >= drive.storage.sectorCount) return drive.fail(ERROR.idNotFound);
    if (permanent && state.protectedAreaSet) return drive.fail(ERROR.idNotFound);
    state.accessible = last + 1;
    if (permanent) {
      state.accessibleAfterReset = last + 1;
      state.protectedAreaSet = true;
    }
    drive.complete();
  };

// --- the table ------------------------------------------------------------------------------------------------------

/** A code one above the usual one asked for no retries; the standard dropped those, some drivers did not. */
const TABLE: readonly (readonly [name: string, code: number | readonly number[], command: Command])[] = [
  ["RECALIBRATE", 0x10, (drive) => drive.complete()],
  ["READ SECTORS", [0x20, 0x21], read(single)],
  ["READ SECTORS EXT", 0x24, extended(read(single))],
  ["READ DMA EXT", 0x25, extended(read(dma))],
  ["READ NATIVE MAX ADDRESS EXT", READ_NATIVE_MAX_EXT, extended(readNativeMax)],
  ["READ MULTIPLE EXT", 0x29, extended(read(multiple))],
  ["WRITE SECTORS", [0x30, 0x31], write(single)],
  ["WRITE SECTORS EXT", 0x34, extended(write(single))],
  ["WRITE DMA EXT", 0x35, extended(write(dma))],
  ["SET MAX ADDRESS EXT", 0x37, extended(setMax(READ_NATIVE_MAX_EXT))],
  ["WRITE MULTIPLE EXT", 0x39, extended(write(multiple))],
  ["READ VERIFY SECTORS", [0x40, 0x41], verify],
  ["READ VERIFY SECTORS EXT", 0x42, extended(verify)],
  ["SEEK", 0x70, seek],
  ["INITIALIZE DEVICE PARAMETERS", 0x91, initializeParameters],
  ["STANDBY IMMEDIATE", [0xe0, 0x94], power(POWER.standby)],
  ["IDLE IMMEDIATE", [0xe1, 0x95], power(POWER.idle)],
  ["STANDBY", [0xe2, 0x96], powerAndTimer(POWER.standby)],
  ["IDLE", [0xe3, 0x97], powerAndTimer(POWER.idle)],
  ["CHECK POWER MODE", [0xe5, 0x98], checkPower],
  ["SLEEP", [0xe6, 0x99], power(POWER.sleep)],
  ["READ MULTIPLE", 0xc4, read(multiple)],
  ["WRITE MULTIPLE", 0xc5, write(multiple)],
  ["SET MULTIPLE MODE", 0xc6, setMultiple],
  ["READ DMA", [0xc8, 0xc9], read(dma)],
  ["WRITE DMA", [0xca, 0xcb], write(dma)],
  ["FLUSH CACHE", 0xe7, flush],
  ["FLUSH CACHE EXT", 0xea, flush],
  ["IDENTIFY DEVICE", 0xec, (drive) => drive.sendIdentity()],
  ["SET FEATURES", 0xef, setFeatures],
  ["READ NATIVE MAX ADDRESS", READ_NATIVE_MAX, readNativeMax],
  ["SET MAX ADDRESS", 0xf9, setMax(READ_NATIVE_MAX)],
  // Its purpose is to be aborted.
  ["NOP", 0x00, (drive) => drive.abort()],
];

const COMMANDS: ReadonlyMap<number, Command> = new Map(
  TABLE.flatMap(([, code, command]) => [code].flat().map((each) => [each, command] as const)),
);

/** Not a command of one drive: both of them execute it, whichever is selected. */
export const EXECUTE_DEVICE_DIAGNOSTIC = 0x90;

/** A drive that sleeps hears nothing but a reset. */
export function execute(drive: AtaDrive, code: number): void {
  if (drive.state.power === POWER.sleep) return;
  drive.begin(code);
  const command = COMMANDS.get(code);
  if (command) command(drive);
  else drive.abort();
}
