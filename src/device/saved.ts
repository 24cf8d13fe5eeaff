/**
 * What the `load` of a device's state finds in a snapshot, which may hold anything: refused where no `save` gives it.
 * All of it throws `PorticoError` `SNAPSHOT_INVALID`.
 */
import { describe } from "../arguments.ts";
import { PorticoError } from "../errors.ts";

function refuse(name: string, value: unknown): never {
  throw new PorticoError("SNAPSHOT_INVALID", `the snapshot has ${describe(value)} for ${name}, which no device saves`);
}

/** A whole number from 0 to `most`. */
export function savedCount(name: string, value: unknown, most: number): number {
  return Number.isInteger(value) && (value as number) >= 0 && (value as number) <= most
    ? (value as number)
    : refuse(name, value);
}

/** A list of such numbers, of any length. */
export function savedCounts(name: string, value: unknown, most = 0xff): number[] {
  return Array.isArray(value) ? value.map((one) => savedCount(name, one, most)) : refuse(name, value);
}

/** A copy of what has the members of `like`, each of the same type and all numbers finite. */
export function savedLike<T extends object>(name: string, value: unknown, like: T): T {
  if (typeof value !== "object" || value === null) return refuse(name, value);
  const members = Object.entries(like).map(([member, wanted]) => {
    const given = (value as Record<string, unknown>)[member];
    const at = `'${member}' of ${name}`;
    if (typeof wanted === "object") return [member, savedLike(at, given, wanted)];
    const fits = typeof given === typeof wanted && (typeof given !== "number" || Number.isFinite(given));
    return fits ? [member, given] : refuse(at, given);
  });
  return Object.fromEntries(members) as T;
}
