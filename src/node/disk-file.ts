/** Files as disks. */

import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import {
  type BlockStorage,
  copyOnWriteStorage,
  readOnlyStorage,
  SECTOR_BYTES,
  StorageError,
  sectorsOf,
} from "../device/storage.ts";
import { PorticoError } from "../errors.ts";
import { FileError, reason } from "./files.ts";

/**
 * What becomes of the guest's writes. "cow": they are kept in memory, the file never changes. "rw": they go to the file.
 * "ro": they fail.
 */
export type DiskMode = "cow" | "rw" | "ro";

export interface OpenDisk extends BlockStorage {
  /** No machine may use the disk afterwards. */
  close(): void;
}

/**
 * A file as a disk; its size is the disk's. Throws `FileError`, or `PorticoError` `DISK_SIZE` for a file that is empty or
 * no multiple of 512 bytes, and `DISK_NOT_A_FILE` for a directory, pipe or character device.
 *
 * A "rw" disk has no part in snapshots: saving a machine that has one throws `DISK_NOT_IN_SNAPSHOT`, since the file
 * would go on changing behind the snapshot's back.
 */
export function openDisk(path: string, mode: DiskMode = "cow"): OpenDisk {
  const code = mode === "rw" ? "FILE_UNWRITABLE" : "FILE_UNREADABLE";
  let descriptor: number;
  try {
    descriptor = openSync(path, mode === "rw" ? "r+" : "r");
  } catch (error) {
    throw new FileError(code, path, `cannot open the disk '${path}': ${reason(error)}`, { cause: error });
  }
  let open = true;
  const close = () => {
    if (open) closeSync(descriptor);
    open = false;
  };
  try {
    const file = fileStorage(path, descriptor);
    const storage = mode === "rw" ? file : mode === "ro" ? readOnlyStorage(file) : copyOnWriteStorage(file);
    return { ...storage, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** The file itself. The caller owns the descriptor. */
function fileStorage(path: string, descriptor: number): BlockStorage {
  const status = fstatSync(descriptor);
  if (!status.isFile()) {
    const what = status.isDirectory() ? "a directory" : "not a regular file";
    throw new PorticoError("DISK_NOT_A_FILE", `the disk '${path}' is ${what}: give a file that holds its sectors`);
  }
  const sectorCount = sectorsOf(status.size, `the disk '${path}'`);

  /** `move` transfers some bytes of the disk from `done` on and says how many. */
  function transfer(length: number, move: (done: number) => number): void {
    for (let done = 0; done < length; ) {
      const moved = guarded(() => move(done));
      // The file has become shorter under our hands.
      if (moved === 0) throw new StorageError(`the disk '${path}' has no more bytes`);
      done += moved;
    }
  }

  function guarded<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw new StorageError(`the disk '${path}': ${reason(error)}`, { cause: error });
    }
  }

  return {
    sectorCount,
    writable: true,
    read(sector, into) {
      const at = sector * SECTOR_BYTES;
      transfer(into.length, (done) => readSync(descriptor, into, done, into.length - done, at + done));
    },
    write(sector, from) {
      const at = sector * SECTOR_BYTES;
      transfer(from.length, (done) => writeSync(descriptor, from, done, from.length - done, at + done));
    },
    flush: () => guarded(() => fsyncSync(descriptor)),
    save() {
      throw notInSnapshot(path);
    },
    load() {
      throw notInSnapshot(path);
    },
  };
}

function notInSnapshot(path: string): PorticoError {
  return new PorticoError(
    "DISK_NOT_IN_SNAPSHOT",
    `the disk '${path}' is written to its file, which a snapshot does not hold: open it copy-on-write instead`,
  );
}
