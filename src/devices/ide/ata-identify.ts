/** The 512 bytes of IDENTIFY DEVICE. ATA/ATAPI-6 (T13/1410D), clause 8, IDENTIFY DEVICE. */

/** Most sectors of a DRQ block of READ MULTIPLE and WRITE MULTIPLE. */
export const MULTIPLE_MAX = 16;
/** The largest PIO, multiword DMA and Ultra DMA modes of the drive. */
export const MODES = { pio: 4, multiword: 2, ultra: 5 } as const;
/** Sectors that 28 bits of address reach; larger drives report this and their size in words 100-103. */
export const LBA28_SECTORS = 0x0fff_ffff;

export interface Geometry {
  readonly cylinders: number;
  readonly heads: number;
  /** Sectors of a track. */
  readonly sectors: number;
}

/** Words 1 and 54: by default a drive reports at most 16,383 cylinders, however large it is. */
const CYLINDERS_MAX = 0xffff;
const DEFAULT = { cylinders: 16_383, heads: 16, sectors: 63 } as const;

/** The translation of a drive that the host has not given another; drives too small for the usual one get a smaller one. */
export function defaultGeometry(sectorCount: number): Geometry {
  const sectors = Math.min(DEFAULT.sectors, sectorCount);
  const heads = Math.min(DEFAULT.heads, Math.floor(sectorCount / sectors));
  return { cylinders: Math.min(DEFAULT.cylinders, Math.floor(sectorCount / (heads * sectors))), heads, sectors };
}

/** The translation that INITIALIZE DEVICE PARAMETERS asks for; `undefined` when the drive has not one cylinder of it. */
export function translation(sectorCount: number, heads: number, sectors: number): Geometry | undefined {
  const cylinders = sectors === 0 ? 0 : Math.min(CYLINDERS_MAX, Math.floor(sectorCount / (heads * sectors)));
  return cylinders === 0 ? undefined : { cylinders, heads, sectors };
}

export interface Identity {
  /** At most 20, 8 and 40 characters of ASCII. */
  readonly serial: string;
  readonly firmware: string;
  readonly model: string;
  /** Sectors that the host may reach. */
  readonly sectorCount: number;
  readonly defaultGeometry: Geometry;
  readonly geometry: Geometry;
  /** Sectors of a DRQ block of READ MULTIPLE, 0 when disabled. */
  readonly multiple: number;
  /** The DMA mode as SET FEATURES numbers them (20h: multiword, 40h: Ultra DMA), 0 before one was chosen. */
  readonly dmaMode: number;
  readonly writeCache: boolean;
  readonly lookAhead: boolean;
  readonly number: 0 | 1;
  /** There is another device on the cable. */
  readonly paired: boolean;
}

const upTo = (mode: number) => 2 ** (mode + 1) - 1;
const SIGNATURE = 0xa5;

export function identifyDevice(drive: Identity): Uint8Array {
  const bytes = new Uint8Array(512);
  const view = new DataView(bytes.buffer);
  const word = (index: number, value: number) => view.setUint16(2 * index, value, true);
  const dword = (index: number, value: number) => view.setUint32(2 * index, value, true);
  /** Two characters a word, the first in the upper half. */
  const text = (index: number, words: number, value: string) => {
    for (let i = 0; i < 2 * words; i++) bytes[2 * index + (i ^ 1)] = (value.charCodeAt(i) || 0x20) & 0x7f;
  };
  const { geometry, defaultGeometry: initial, sectorCount } = drive;
  const chosen = (base: number, mode: number) => ((drive.dmaMode & 0xf8) === base ? 1 << mode : 0) << 8;
  const modeNumber = drive.dmaMode & 7;

  word(0, 0x0040); // an ATA device, not removable
  word(1, initial.cylinders);
  word(2, 0xc837); // spun up, and this data is complete
  word(3, initial.heads);
  word(6, initial.sectors);
  text(10, 10, drive.serial);
  text(23, 4, drive.firmware);
  text(27, 20, drive.model);
  word(47, 0x8000 | MULTIPLE_MAX);
  word(49, 0x2f00); // standard standby timer, IORDY and its disabling, LBA, DMA
  word(50, 0x4000);
  word(51, 0x0200); // PIO mode 2, for hosts that do not know word 64
  word(53, 0x0007); // words 54-58, 64-70 and 88 are valid
  word(54, geometry.cylinders);
  word(55, geometry.heads);
  word(56, geometry.sectors);
  dword(57, geometry.cylinders * geometry.heads * geometry.sectors);
  word(59, drive.multiple === 0 ? 0 : 0x0100 | drive.multiple);
  dword(60, Math.min(sectorCount, LBA28_SECTORS));
  word(63, upTo(MODES.multiword) | chosen(0x20, modeNumber));
  word(64, upTo(MODES.pio - 3)); // modes 3 and up
  for (const index of [65, 66, 67, 68]) word(index, 120); // cycle times in ns of multiword DMA 2 and PIO 4
  word(80, 0x0070); // ATA/ATAPI-4 to -6
  // NOP, host protected area, look-ahead, write cache, power management; then FLUSH CACHE (EXT) and 48 bits.
  const sets = 0x4408;
  word(82, sets | 0x60);
  word(83, 0x7400);
  word(84, 0x4000);
  word(85, sets | (drive.lookAhead ? 0x40 : 0) | (drive.writeCache ? 0x20 : 0));
  word(86, 0x3400);
  word(87, 0x4000);
  word(88, upTo(MODES.ultra) | chosen(0x40, modeNumber));
  word(93, resetResult(drive));
  dword(100, sectorCount % 2 ** 32);
  dword(102, Math.floor(sectorCount / 2 ** 32));
  bytes[510] = SIGNATURE;
  bytes[511] = -bytes.reduce((sum, byte) => sum + byte, 0);
  return bytes;
}

/** Word 93: what a hardware reset found. The numbers come from jumpers, the cable has 80 conductors. */
function resetResult({ number, paired }: Identity): number {
  const common = 0x6000;
  // Device 1: number from a jumper, PDIAG- asserted. Device 0: passed, number from a jumper; and either it saw DASP-
  // and PDIAG- of device 1, or it answers for the one that is not there.
  if (number === 1) return common | 0x0b00;
  return common | 0x000b | (paired ? 0x0030 : 0x0040);
}
