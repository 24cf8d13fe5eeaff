import type { SavedDevice } from "../device/device-set.ts";
import { PorticoError } from "../errors.ts";
import type { MemorySnapshot } from "../memory/snapshot.ts";
import type { ClockMode } from "./clock.ts";

/** A machine's whole state as data. */
export interface MachineSnapshot {
  readonly version: 1;
  readonly clockMode: ClockMode;
  readonly clock: { readonly now: number; readonly retired: number };
  /** The vCPU block. */
  readonly cpu: Uint8Array;
  readonly memory: MemorySnapshot;
  readonly devices: Readonly<Record<string, SavedDevice>>;
}

const MAGIC = "PORTICO1";

/**
 * A snapshot as one file: the magic, the length of a JSON text, the text, and the byte arrays that it refers to by
 * position and length.
 */
export function encodeSnapshot(snapshot: MachineSnapshot): Uint8Array {
  const blobs: Uint8Array[] = [];
  let offset = 0;
  const json = JSON.stringify(snapshot, (_, value) => {
    if (value instanceof Uint8Array) {
      blobs.push(value);
      offset += value.length;
      return { $bytes: [offset - value.length, value.length] };
    }
    if (typeof value === "bigint") return { $bigint: `${value}` };
    return value;
  });
  const text = new TextEncoder().encode(json);
  const file = new Uint8Array(16 + text.length + offset);
  file.set(new TextEncoder().encode(MAGIC));
  new DataView(file.buffer).setUint32(8, text.length, true);
  file.set(text, 16);
  let at = 16 + text.length;
  for (const blob of blobs) {
    file.set(blob, at);
    at += blob.length;
  }
  return file;
}

/** Throws `PorticoError` `SNAPSHOT_INVALID`. */
export function decodeSnapshot(file: Uint8Array): MachineSnapshot {
  const bad = (what: string): never => {
    throw new PorticoError("SNAPSHOT_INVALID", `${what}: give a file that Portico saved`);
  };
  if (file.length < 16 || new TextDecoder().decode(file.subarray(0, 8)) !== MAGIC) bad("not a snapshot");
  const length = new DataView(file.buffer, file.byteOffset).getUint32(8, true);
  const base = 16 + length;
  if (base > file.length) bad("the snapshot is truncated");
  return JSON.parse(new TextDecoder().decode(file.subarray(16, base)), (_, value) => {
    if (value !== null && typeof value === "object") {
      if (Array.isArray(value.$bytes)) {
        const [start, size] = value.$bytes as [number, number];
        if (base + start + size > file.length) bad("the snapshot is truncated");
        return file.slice(base + start, base + start + size);
      }
      if (typeof value.$bigint === "string") return BigInt(value.$bigint);
    }
    return value;
  }) as MachineSnapshot;
}
