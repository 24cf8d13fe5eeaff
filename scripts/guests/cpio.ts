/** Writes the "newc" cpio archives that Linux unpacks as its initramfs. Linux: Documentation/driver-api/early-userspace/buffer-format.rst. */

const MAGIC = "070701";
const TRAILER = "TRAILER!!!";

const S_IFDIR = 0o040000;
const S_IFREG = 0o100000;
const S_IFLNK = 0o120000;
const S_IFCHR = 0o020000;

export type CpioEntry =
  | { kind: "directory"; path: string; mode?: number }
  | { kind: "file"; path: string; content: Uint8Array; mode?: number }
  | { kind: "link"; path: string; target: string }
  | { kind: "device"; path: string; major: number; minor: number; mode?: number };

/** One archive. Everything belongs to root and has time 0, so that the same entries give the same bytes. */
export function writeCpio(entries: readonly CpioEntry[]): Uint8Array {
  const parts: Uint8Array[] = [];
  let inode = 1;
  for (const entry of entries) {
    switch (entry.kind) {
      case "directory":
        parts.push(...record(entry.path, { inode: inode++, mode: S_IFDIR | (entry.mode ?? 0o755), links: 2 }));
        break;
      case "file":
        parts.push(...record(entry.path, { inode: inode++, mode: S_IFREG | (entry.mode ?? 0o644) }, entry.content));
        break;
      case "link":
        parts.push(...record(entry.path, { inode: inode++, mode: S_IFLNK | 0o777 }, encode(entry.target)));
        break;
      case "device": {
        const { major, minor } = entry;
        parts.push(...record(entry.path, { inode: inode++, mode: S_IFCHR | (entry.mode ?? 0o600), major, minor }));
        break;
      }
    }
  }
  parts.push(...record(TRAILER, { inode: 0, mode: 0 }));
  return concatenate(parts);
}

interface Header {
  inode: number;
  mode: number;
  links?: number;
  major?: number;
  minor?: number;
}

/** Header and name, then the content, each padded to four bytes. */
function record(path: string, header: Header, content: Uint8Array = new Uint8Array()): Uint8Array[] {
  const name = encode(path);
  const fields = [
    header.inode,
    header.mode,
    0, // uid
    0, // gid
    header.links ?? 1,
    0, // mtime
    content.length,
    0, // device of the file system: major
    0, // and minor
    header.major ?? 0,
    header.minor ?? 0,
    name.length + 1,
    0, // checksum: unused in this variant
  ];
  const head = encode(MAGIC + fields.map((field) => field.toString(16).padStart(8, "0")).join(""));
  return [
    concatenate([head, name, zeros(1 + padding(head.length + name.length + 1))]),
    content,
    zeros(padding(content.length)),
  ];
}

const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
const zeros = (count: number): Uint8Array => new Uint8Array(count);
const padding = (length: number): number => -length & 3;

function concatenate(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}
