/** Files that a user names: read or opened whole, with errors that a user understands. */

import { closeSync, createReadStream, openSync, readFileSync, writeSync } from "node:fs";
import { PorticoError } from "../errors.ts";

/** A file that cannot be read or written; the message names it and says why. */
export class FileError extends PorticoError {
  declare readonly code: "FILE_UNREADABLE" | "FILE_UNWRITABLE";
  readonly path: string;

  constructor(code: FileError["code"], path: string, message: string, options?: ErrorOptions) {
    super(code, message, options);
    this.path = path;
  }
}

/** Node's error codes in words; others keep Node's own message. */
const REASONS: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EISDIR: "it is a directory",
  ELOOP: "too many symbolic links",
  ENAMETOOLONG: "the name is too long",
  ENOENT: "no such file or folder",
  ENOSPC: "no space left on the device",
  ENOTDIR: "a part of the path is not a directory",
  EROFS: "the file system is read-only",
  ERR_FS_FILE_TOO_LARGE: "it is too large",
};

/** Why a file operation failed, in words. */
export function reason(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return REASONS[code ?? ""] ?? message;
}

/** The whole file. `role` says what it is for, as in "cannot read the kernel 'x': no such file". Throws `FileError`. */
export function readWhole(path: string, role: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new FileError("FILE_UNREADABLE", path, `cannot read the ${role} '${path}': ${reason(error)}`, {
      cause: error,
    });
  }
}

/** The file piece by piece, however large it is; `-` is standard input. Throws `FileError`. */
export async function* readPieces(path: string, role: string): AsyncGenerator<Uint8Array> {
  const stream = path === "-" ? process.stdin : createReadStream(path, { highWaterMark: 1 << 20 });
  try {
    for await (const piece of stream) yield piece as Uint8Array;
  } catch (error) {
    throw new FileError("FILE_UNREADABLE", path, `cannot read the ${role} '${path}': ${reason(error)}`, {
      cause: error,
    });
  }
}

/** A file to be written from its start, open from now on so that a bad path shows at once. The owner closes it. */
export interface OutputFile {
  write(bytes: Uint8Array): void;
  close(): void;
}

/** Throws `FileError`, as do its writes. */
export function openOutput(path: string, role: string): OutputFile {
  const guarded = <T>(work: () => T): T => {
    try {
      return work();
    } catch (error) {
      throw new FileError("FILE_UNWRITABLE", path, `cannot write the ${role} '${path}': ${reason(error)}`, {
        cause: error,
      });
    }
  };
  let descriptor: number | undefined = guarded(() => openSync(path, "w"));
  return {
    write(bytes) {
      guarded(() => {
        for (let done = 0; done < bytes.length; ) done += writeSync(descriptor!, bytes, done);
      });
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}
