/** What a disk is made of: sectors behind a small interface, in memory, read-only, or with changes kept apart. */
import { bytes as byteArray, callback, checkArgument, checkMembers, whole } from "../arguments.ts";
import { PorticoError } from "../errors.ts";

export const SECTOR_BYTES = 512;

const BACKING = { sectorCount: whole(1), read: callback };

/** The host failed to read or write a disk's contents while the machine ran: the guest's drive reports an error. */
export class StorageError extends PorticoError {
  declare readonly code: "DISK_IO";

  constructor(message: string, options?: ErrorOptions) {
    super("DISK_IO", message, options);
  }
}

/**
 * The contents of a disk. Who opens one closes it; a machine only uses it. All of it is synchronous. What it throws other
 * than a `StorageError` ends the machine's `run`.
 */
export interface BlockStorage {
  /** At least 1. */
  readonly sectorCount: number;
  /** False: `write` is never called; the guest's writes fail. */
  readonly writable: boolean;
  /** Whole sectors, as many as `into` holds, all of them inside the disk. Throws `StorageError`. */
  read(sector: number, into: Uint8Array): void;
  /** Whole sectors, as many as `from` holds, all of them inside the disk. Throws `StorageError`. */
  write(sector: number, from: Uint8Array): void;
  /** Brings what was written to where it outlives the host program. Throws `StorageError`. */
  flush(): void;
  /**
   * What a machine's snapshot holds of the contents, as JSON-like data (`Uint8Array` allowed); `null` when they never
   * change. Throws `PorticoError` `DISK_NOT_IN_SNAPSHOT` when they change and lie elsewhere.
   */
  save(): unknown;
  /** What `save` returned, for the same disk. Throws `PorticoError` `SNAPSHOT_MISMATCH`. */
  load(saved: unknown): void;
}

/** Sectors in so many bytes. Throws `PorticoError` `DISK_SIZE`; `name` says whose size it is. */
export function sectorsOf(bytes: number, name: string): number {
  if (bytes === 0) throw new PorticoError("DISK_SIZE", `${name} is empty: a disk has at least one sector of 512 bytes`);
  if (bytes % SECTOR_BYTES !== 0) {
    throw new PorticoError("DISK_SIZE", `${name} has ${bytes} bytes: a disk is a multiple of 512 bytes`);
  }
  return bytes / SECTOR_BYTES;
}

function mismatch(what: string): PorticoError {
  return new PorticoError("SNAPSHOT_MISMATCH", `the snapshot's disk differs from the machine's: ${what}`);
}

/**
 * A disk in memory: `bytes` itself, which writes change. A snapshot holds all of it. Throws `PorticoError` `DISK_SIZE`.
 */
export function memoryStorage(bytes: Uint8Array): BlockStorage {
  checkArgument("what memoryStorage() is given", bytes, byteArray);
  return {
    sectorCount: sectorsOf(bytes.length, "the disk in memory"),
    writable: true,
    read: (sector, into) => into.set(bytes.subarray(sector * SECTOR_BYTES, sector * SECTOR_BYTES + into.length)),
    write: (sector, from) => bytes.set(from, sector * SECTOR_BYTES),
    flush() {},
    // A Buffer's own slice does not copy.
    save: () => new Uint8Array(bytes),
    load(saved) {
      if (!(saved instanceof Uint8Array) || saved.length !== bytes.length) {
        throw mismatch(`it is not one of ${bytes.length} bytes in memory`);
      }
      bytes.set(saved);
    },
  };
}

/** A disk whose contents never change, which a snapshot therefore leaves out. */
export function readOnlyStorage(backing: Pick<BlockStorage, "sectorCount" | "read">): BlockStorage {
  checkMembers("what readOnlyStorage() is given", backing, BACKING);
  return {
    sectorCount: backing.sectorCount,
    writable: false,
    read: (sector, into) => backing.read(sector, into),
    write() {
      throw new StorageError("this disk is read-only");
    },
    flush() {},
    save: () => null,
    load(saved) {
      if (saved !== null) throw mismatch("it is not read-only");
    },
  };
}

/** Changes are kept in blocks of 4 KiB, the size in which file systems write. */
const BLOCK_SECTORS = 8;
const BLOCK_BYTES = BLOCK_SECTORS * SECTOR_BYTES;

interface SavedChanges {
  readonly sectorCount: number;
  /** Numbers of the blocks that differ from the backing, and their contents one after the other. */
  readonly blocks: readonly number[];
  readonly contents: Uint8Array;
}

/**
 * A writable disk over contents that are only read: changes stay in memory, and a snapshot holds them (not the backing,
 * which must be the same when the snapshot is restored).
 */
export function copyOnWriteStorage(backing: Pick<BlockStorage, "sectorCount" | "read">): BlockStorage {
  checkMembers("what copyOnWriteStorage() is given", backing, BACKING);
  const { sectorCount } = backing;
  const changed = new Map<number, Uint8Array>();

  /** A block to be written, with what the backing has unless all of it will be replaced. */
  function blockForWrite(number: number, whole: boolean): Uint8Array {
    const known = changed.get(number);
    if (known) return known;
    const block = new Uint8Array(BLOCK_BYTES);
    const first = number * BLOCK_SECTORS;
    const length = Math.min(BLOCK_SECTORS, sectorCount - first) * SECTOR_BYTES;
    if (!whole) backing.read(first, block.subarray(0, length));
    changed.set(number, block);
    return block;
  }

  return {
    sectorCount,
    writable: true,
    read(sector, into) {
      const end = sector + into.length / SECTOR_BYTES;
      for (let at = sector; at < end; ) {
        const number = Math.floor(at / BLOCK_SECTORS);
        const block = changed.get(number);
        let next = (number + 1) * BLOCK_SECTORS;
        // One read of the backing for all blocks in a row that it still has.
        if (!block) while (next < end && !changed.has(next / BLOCK_SECTORS)) next += BLOCK_SECTORS;
        next = Math.min(next, end);
        const part = into.subarray((at - sector) * SECTOR_BYTES, (next - sector) * SECTOR_BYTES);
        if (block) {
          const from = (at % BLOCK_SECTORS) * SECTOR_BYTES;
          part.set(block.subarray(from, from + part.length));
        } else {
          backing.read(at, part);
        }
        at = next;
      }
    },
    write(sector, from) {
      const end = sector + from.length / SECTOR_BYTES;
      for (let at = sector; at < end; ) {
        const number = Math.floor(at / BLOCK_SECTORS);
        const next = Math.min((number + 1) * BLOCK_SECTORS, end);
        const part = from.subarray((at - sector) * SECTOR_BYTES, (next - sector) * SECTOR_BYTES);
        blockForWrite(number, next - at === BLOCK_SECTORS).set(part, (at % BLOCK_SECTORS) * SECTOR_BYTES);
        at = next;
      }
    },
    flush() {},
    save(): SavedChanges {
      const blocks = [...changed.keys()].sort((a, b) => a - b);
      const contents = new Uint8Array(blocks.length * BLOCK_BYTES);
      blocks.forEach((number, index) => {
        contents.set(changed.get(number)!, index * BLOCK_BYTES);
      });
      return { sectorCount, blocks, contents };
    },
    load(saved) {
      const { sectorCount: sectors, blocks, contents } = (saved ?? {}) as SavedChanges;
      const isChanges =
        sectors === sectorCount &&
        Array.isArray(blocks) &&
        contents instanceof Uint8Array &&
        contents.length === blocks.length * BLOCK_BYTES &&
        blocks.every((block) => Number.isInteger(block) && block >= 0 && block * BLOCK_SECTORS < sectorCount);
      if (!isChanges) throw mismatch(`it holds no changes to ${sectorCount} sectors`);
      changed.clear();
      blocks.forEach((number, index) => {
        changed.set(number, contents.slice(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES));
      });
    },
  };
}
