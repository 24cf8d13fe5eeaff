import { checkArgument, describe, bytes as isBytes } from "../arguments.ts";
import type { SavedDevice } from "../device/device-set.ts";
import { PorticoError } from "../errors.ts";
import type { SavedHandles } from "../exits/handles.ts";
import type { MemorySnapshot } from "../memory/snapshot.ts";
import { checkBootOptions } from "./arguments.ts";
import type { BootOptions } from "./boot/boot-options.ts";
import type { ClockMode } from "./clock.ts";
import { crc32 } from "./crc32.ts";

export const SNAPSHOT_VERSION = 1;

/** A machine's whole state as data. */
export interface MachineSnapshot {
  readonly version: typeof SNAPSHOT_VERSION;
  readonly clockMode: ClockMode;
  readonly clock: { readonly now: number; readonly retired: number };
  /** The vCPU block. */
  readonly cpu: Uint8Array;
  readonly memory: MemorySnapshot;
  readonly devices: Readonly<Record<string, SavedDevice>>;
  /** Ranges that the guest has mapped by hypercall. */
  readonly handles?: SavedHandles;
  /** What a reset loads again. */
  readonly boot?: BootOptions;
}

/**
 * File header: magic, format version (u32), CRC-32 of all that follows it (u32), bytes after the header (f64), of which
 * JSON (u32), and four bytes of zeros.
 */
const MAGIC = "PORTICO\0";
const HEADER = { version: 8, crc: 12, covered: 16, bytes: 16, text: 24, size: 32 } as const;

/** Kinds of byte arrays, by their names in the file. */
const ARRAYS = { bytes: Uint8Array, words: Uint32Array } as const;

/**
 * A snapshot as one file: the header, a JSON text, and the arrays that the text refers to by kind, position and length
 * (both in bytes).
 */
export function encodeSnapshot(snapshot: MachineSnapshot): Uint8Array {
  const blobs: Uint8Array[] = [];
  let offset = 0;
  const json = stringify(snapshot, (value) => {
    for (const [kind, array] of Object.entries(ARRAYS)) {
      if (!(value instanceof array)) continue;
      blobs.push(new Uint8Array(value.buffer, value.byteOffset, value.byteLength));
      offset += value.byteLength;
      return { $array: kind, at: offset - value.byteLength, length: value.byteLength };
    }
    if (typeof value === "bigint") return { $bigint: `${value}` };
    return value;
  });
  const text = new TextEncoder().encode(json);
  const file = new Uint8Array(HEADER.size + text.length + offset);
  file.set(text, HEADER.size);
  let at = HEADER.size + text.length;
  for (const blob of blobs) {
    file.set(blob, at);
    at += blob.length;
  }
  file.set(new TextEncoder().encode(MAGIC));
  const header = new DataView(file.buffer);
  header.setUint32(HEADER.version, SNAPSHOT_VERSION, true);
  header.setFloat64(HEADER.bytes, file.length - HEADER.size, true);
  header.setUint32(HEADER.text, text.length, true);
  header.setUint32(HEADER.crc, crc32(file.subarray(HEADER.covered)), true);
  return file;
}

/** As JSON.stringify, which would let a Buffer of Node turn itself into a list of numbers before anybody sees it. */
export function stringify(data: unknown, replace: (value: unknown) => unknown): string {
  return JSON.stringify(data, function (this: Record<string, unknown>, key) {
    return replace(this[key]);
  });
}

function invalid(what: string): PorticoError {
  return new PorticoError("SNAPSHOT_INVALID", `${what}: give a file that Portico saved`);
}

/** Throws `PorticoError` `SNAPSHOT_INVALID`, `SNAPSHOT_MISMATCH` for another version's format, or `ARGUMENT`. */
export function decodeSnapshot(data: Uint8Array): MachineSnapshot {
  checkArgument("what decodeSnapshot() is given", data, isBytes);
  // A plain view: Node's Buffer has a `slice` of its own, which does not copy.
  const file = new Uint8Array(data.buffer, data.byteOffset, data.length);
  if (new TextDecoder("latin1").decode(file.subarray(0, MAGIC.length)) !== MAGIC) throw invalid("not a snapshot");
  if (file.length < HEADER.size) throw invalid("the snapshot is truncated");
  const header = new DataView(file.buffer, file.byteOffset, HEADER.size);
  checkVersion(header.getUint32(HEADER.version, true));
  const body = file.subarray(HEADER.size);
  const bytes = header.getFloat64(HEADER.bytes, true);
  if (body.length < bytes) throw invalid(`the snapshot is truncated: ${body.length} of ${bytes} bytes are there`);
  const whole = body.length === bytes && crc32(file.subarray(HEADER.covered)) === header.getUint32(HEADER.crc, true);
  if (!whole) throw invalid("the snapshot is damaged");
  const textLength = header.getUint32(HEADER.text, true);
  const blobs = body.subarray(Math.min(textLength, body.length));
  try {
    return JSON.parse(new TextDecoder().decode(body.subarray(0, textLength)), (_, value) => revive(value, blobs));
  } catch (cause) {
    if (cause instanceof SyntaxError) throw invalid("the snapshot is damaged");
    throw cause;
  }
}

function revive(value: unknown, blobs: Uint8Array): unknown {
  if (typeof value !== "object" || value === null) return value;
  if ("$bigint" in value) return BigInt(`${value.$bigint}`);
  if (!("$array" in value)) return value;
  const { $array, at, length } = value as unknown as { $array: keyof typeof ARRAYS; at: number; length: number };
  if (!Object.hasOwn(ARRAYS, $array) || !(at >= 0 && length >= 0 && at + length <= blobs.length)) {
    throw invalid("the snapshot is damaged");
  }
  const bytes = blobs.slice(at, at + length);
  return $array === "bytes" ? bytes : new ARRAYS[$array](bytes.buffer, 0, Math.floor(length / 4));
}

/** Whether the object has a snapshot's shape at all; what its parts hold is theirs to check. */
export function checkSnapshot(snapshot: MachineSnapshot): void {
  if (typeof snapshot !== "object" || snapshot === null) throw invalid("not a snapshot");
  checkVersion(snapshot.version);
  const { clock, cpu, memory, devices, handles, boot } = snapshot;
  const isRecord = (value: unknown) => typeof value === "object" && value !== null;
  /** Of a time that passed 2^53 ns, what rounding has left. */
  const isCount = (value: unknown) => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 63;
  const whole = isRecord(clock) && isCount(clock.now) && isCount(clock.retired) && cpu instanceof Uint8Array;
  if (!whole || !isRecord(memory) || !isRecord(devices)) throw invalid("parts of the snapshot are missing");
  if (handles !== undefined && !Array.isArray(handles)) throw invalid("the snapshot's handles are none");
  if (boot !== undefined && !isBoot(boot)) throw invalid("the snapshot's image is none");
}

function isBoot(boot: BootOptions): boolean {
  try {
    checkBootOptions(boot);
    return true;
  } catch {
    return false;
  }
}

function checkVersion(version: number): void {
  if (version === SNAPSHOT_VERSION) return;
  throw new PorticoError(
    "SNAPSHOT_MISMATCH",
    `snapshot version ${describe(version)}: this Portico reads version ${SNAPSHOT_VERSION}`,
  );
}
