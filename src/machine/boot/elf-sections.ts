/**
 * Hands a Multiboot kernel its own ELF sections: the headers, and the contents of sections that no segment loaded
 * (symbols, strings, debug information). Multiboot Specification 0.6.96, section 3.3, flags bit 5.
 */
import { type Elf32Sections, SECTION_HEADER } from "./elf32.ts";
import type { FreeRam } from "./free-ram.ts";
import type { PlacedSections } from "./multiboot-information.ts";

const SHT_NULL = 0;
const SHT_NOBITS = 8;

export interface LoadedSections extends PlacedSections {
  readonly pieces: readonly { readonly address: number; readonly bytes: Uint8Array }[];
}

/** Undefined when they do not fit or lie outside the file: a kernel boots without them. */
export function placeSections(
  ram: FreeRam,
  file: Uint8Array,
  sections: Elf32Sections,
  from: number,
): LoadedSections | undefined {
  const headers = Uint8Array.from(sections.headers);
  const view = new DataView(headers.buffer);
  const pieces: { address: number; bytes: Uint8Array }[] = [];
  for (let at = 0; at < headers.length; at += sections.entrySize) {
    const field = (name: keyof typeof SECTION_HEADER): number => view.getUint32(at + SECTION_HEADER[name], true);
    const [type, offset, length] = [field("sh_type"), field("sh_offset"), field("sh_size")];
    // An address of its own means that a segment has brought the section along.
    if (type === SHT_NULL || type === SHT_NOBITS || length === 0 || field("sh_addr") !== 0) continue;
    if (offset + length > file.length) return undefined;
    const address = ram.takeLowest(length, Math.max(field("sh_addralign"), 1), from);
    if (address === undefined) return undefined;
    view.setUint32(at + SECTION_HEADER.sh_addr, address, true);
    pieces.push({ address, bytes: file.subarray(offset, offset + length) });
  }
  const address = ram.takeLowest(headers.length, 16, from);
  if (address === undefined) return undefined;
  const { count, entrySize, stringTableIndex } = sections;
  return { address, count, entrySize, stringTableIndex, pieces: [...pieces, { address, bytes: headers }] };
}
