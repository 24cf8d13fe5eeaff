/** Loads a Multiboot 1 kernel, ELF or flat, with its modules. Multiboot Specification 0.6.96, sections 3.1 to 3.3. */
import { LOW_MEMORY, MIB } from "../platform.ts";
import type { BootMemory } from "./boot-memory.ts";
import { placeSections } from "./elf-sections.ts";
import { parseElf32 } from "./elf32.ts";
import { FreeRam } from "./free-ram.ts";
import { hex, ImageError } from "./image-error.ts";
import { inMiB, memoryMap, writeBiosDataArea } from "./memory-map.ts";
import { type LoadAddresses, parseMultibootHeader } from "./multiboot-header.ts";
import { encodeInformation } from "./multiboot-information.ts";
import { flatState, GDT_LENGTH, type StartState } from "./start-state.ts";

export interface MultibootModule {
  readonly data: Uint8Array;
  readonly name: string;
  readonly arguments?: string | undefined;
}

export interface MultibootBoot {
  readonly kernel: Uint8Array;
  /** First word of the command line. Default "kernel". */
  readonly name?: string | undefined;
  readonly arguments?: string | undefined;
  readonly modules?: readonly MultibootModule[] | undefined;
}

export interface LoadedMultiboot {
  readonly start: StartState;
  readonly informationAddress: number;
}

const BOOTLOADER_MAGIC = 0x2bad_b002;
const PAGE = 0x1000;
/** Boot information goes above the memory that boot sectors and small kernels use for themselves (7C00h and below). */
const INFORMATION_FROM = 0x9000;

interface Segment {
  readonly address: number;
  readonly bytes: Uint8Array;
  readonly memoryLength: number;
}

/** Writes kernel, modules and boot information. Throws `ImageError`. */
export function loadMultiboot(memory: BootMemory, boot: MultibootBoot): LoadedMultiboot {
  const header = parseMultibootHeader(boot.kernel);
  const { entry, segments, sections } = header.addresses
    ? { ...flatImage(boot.kernel, header.offset, header.addresses), sections: undefined }
    : parseElf32(boot.kernel);
  const map = memoryMap(memory.size);
  const ram = new FreeRam(map);
  // Real-mode vectors and the BIOS data area are no place for a kernel.
  ram.take(0, LOW_MEMORY.free);
  for (const segment of segments) {
    if (!ram.take(segment.address, segment.memoryLength)) {
      const end = segment.address + segment.memoryLength;
      throw new ImageError(
        end > memory.size ? "MEMORY_TOO_SMALL" : "IMAGE_NOT_BOOTABLE",
        `the kernel loads to ${hex(segment.address)}-${hex(end)}, which is not all free RAM of this machine ` +
          `(${inMiB(memory.size)}); below 1 MiB it is ${hex(LOW_MEMORY.free)}-${hex(LOW_MEMORY.ebda)}`,
      );
    }
  }
  // Behind the kernel, where GRUB and QEMU put them too, and never below 1 MiB.
  const kernelEnd = Math.max(MIB, ...segments.map((segment) => segment.address + segment.memoryLength));
  const modules = (boot.modules ?? []).map(({ data, name, arguments: words }) => {
    const room = Math.max(data.length, 1);
    const address = ram.takeLowest(room, PAGE, kernelEnd) ?? ram.takeLowest(room, PAGE, MIB);
    if (address === undefined) throw tooLarge(`module "${name}"`, data.length, ram);
    return { address, data, length: data.length, commandLine: commandLine(name, words) };
  });
  const loadedSections = sections && placeSections(ram, boot.kernel, sections, kernelEnd);

  const information = {
    commandLine: commandLine(boot.name ?? "kernel", boot.arguments),
    ramBytes: memory.size,
    map,
    modules,
    sections: loadedSections,
  };
  const { length } = encodeInformation(information, 0);
  const informationAddress = ram.takeLowest(length, 16, INFORMATION_FROM);
  const gdt = ram.takeLowest(GDT_LENGTH, 8, INFORMATION_FROM);
  if (informationAddress === undefined || gdt === undefined) throw tooLarge("the boot information", length, ram);

  writeBiosDataArea(memory);
  for (const { address, bytes, memoryLength } of segments) {
    memory.write(address, bytes);
    memory.write(address + bytes.length, new Uint8Array(memoryLength - bytes.length));
  }
  for (const { address, data } of modules) memory.write(address, data);
  for (const { address, bytes } of loadedSections?.pieces ?? []) memory.write(address, bytes);
  memory.write(informationAddress, encodeInformation(information, informationAddress));
  const registers = { rax: BOOTLOADER_MAGIC, rbx: informationAddress };
  return { start: flatState(memory, "protected32", entry, registers, { gdt, pageTables: 0 }), informationAddress };
}

function commandLine(name: string, words: string | undefined): string {
  const text = words ? `${name} ${words}` : name;
  if (text.includes("\0"))
    throw new ImageError("COMMAND_LINE_INVALID", `the command line of "${name}" contains a NUL character`);
  return text;
}

function tooLarge(what: string, length: number, ram: FreeRam): ImageError {
  return new ImageError(
    "MODULE_TOO_LARGE",
    `${what} has ${length} bytes; at most ${ram.largest(Number.POSITIVE_INFINITY)} are free. Give the machine more memory`,
  );
}

/** An image that states its addresses in the header (section 3.1.3). */
function flatImage(
  image: Uint8Array,
  headerOffset: number,
  { headerAddress, loadAddress, loadEnd, bssEnd, entry }: LoadAddresses,
): { entry: number; segments: Segment[] } {
  const start = headerOffset - (headerAddress - loadAddress);
  const length = loadEnd === 0 ? image.length - start : loadEnd - loadAddress;
  if (start < 0 || headerAddress < loadAddress || length <= 0) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      `the Multiboot header puts itself at ${hex(headerAddress)} and the image at ${hex(loadAddress)}-${hex(loadEnd)}, ` +
        `which cannot be: it lies ${headerOffset} bytes into the file`,
    );
  }
  if (start + length > image.length) {
    throw new ImageError(
      "IMAGE_TRUNCATED",
      `the image has ${image.length} bytes; its Multiboot header loads ${length} from offset ${start}`,
    );
  }
  const memoryLength = Math.max(length, bssEnd === 0 ? 0 : bssEnd - loadAddress);
  return { entry, segments: [{ address: loadAddress, bytes: image.subarray(start, start + length), memoryLength }] };
}
