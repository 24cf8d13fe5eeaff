import type { PorticoError } from "../errors.ts";

/** What `--watch` names. */
export interface WatchOption {
  /** As the user wrote it. */
  readonly text: string;
  readonly place:
    | { readonly kind: "physical"; readonly address: number }
    | { readonly kind: "virtual"; readonly address: bigint }
    | { readonly kind: "symbol"; readonly name: string };
  /** Undefined: what the symbol has room for, at most 8 bytes. */
  readonly length: number | undefined;
  readonly access: "write" | "all";
}

const FORM = /^(phys|virt):([^:+]+)(?:\+(0x[0-9a-f]+|\d+))?(?::(w|rw))?$/i;
const NUMBER = /^(0x[0-9a-f]+|\d+)$/i;
const FOUR_GIB = 2n ** 32n;

/** Throws what `usageError` makes of a message. */
export function parseWatch(text: string, usageError: (message: string) => PorticoError): WatchOption {
  const [, space, place, length, access] = FORM.exec(text) ?? [];
  if (space === undefined || place === undefined) {
    throw usageError(`--watch '${text}' is not understood; it is phys:0x1000+16:w or virt:jiffies_64+8:rw`);
  }
  const bytes = length === undefined ? undefined : Number(length);
  if (bytes === 0) throw usageError(`--watch '${text}' is of 0 bytes; give at least one`);
  const common = { text, access: access?.toLowerCase() === "rw" ? "all" : "write" } as const;
  if (!NUMBER.test(place)) {
    if (space.toLowerCase() === "virt") return { ...common, place: { kind: "symbol", name: place }, length: bytes };
    throw usageError(`--watch '${text}': '${place}' is not a guest-physical address, such as 0x1000`);
  }
  const address = BigInt(place);
  if (space.toLowerCase() === "virt") return { ...common, place: { kind: "virtual", address }, length: bytes ?? 1 };
  if (address >= FOUR_GIB) throw usageError(`--watch '${text}': guest memory ends below 0x100000000`);
  return { ...common, place: { kind: "physical", address: Number(address) }, length: bytes ?? 1 };
}
