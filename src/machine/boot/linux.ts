/**
 * Loads a Linux kernel by the 64-bit or the 32-bit boot protocol: everything that its real-mode code would have done.
 * Linux, Documentation/arch/x86/boot.rst and zero-page.rst.
 */
import { LOW_MEMORY, MIB } from "../platform.ts";
import type { BootMemory } from "./boot-memory.ts";
import { FreeRam } from "./free-ram.ts";
import { hex, ImageError } from "./image-error.ts";
import {
  ENTRY_64,
  HEADER_FIELD,
  type HeaderField,
  type LinuxImage,
  parseLinuxImage,
  SETUP_HEADER_START,
  TRADITIONAL_ADDRESS,
} from "./linux-header.ts";
import { inMiB, type MemoryMapEntry, memoryMap, writeBiosDataArea } from "./memory-map.ts";
import { flatState, type StartState } from "./start-state.ts";

export type LinuxProtocol = "64-bit" | "32-bit";

export interface LinuxBoot {
  readonly kernel: Uint8Array;
  readonly initrd?: Uint8Array | undefined;
  readonly commandLine?: string | undefined;
  /** Goes into boot_params; 0 or absent: the kernel searches the BIOS area. */
  readonly rsdpAddress?: number | undefined;
  /** Default: 64-bit when the kernel has that entry. */
  readonly protocol?: LinuxProtocol | undefined;
}

export interface LoadedLinux {
  readonly start: StartState;
  readonly protocol: LinuxProtocol;
  readonly kernelAddress: number;
  /** Undefined without a RAM disk. */
  readonly initrdAddress: number | undefined;
}

/** Where the loader's own structures lie, below anything that the kernel uses before it has read them. */
const PLACE = {
  gdt: LOW_MEMORY.free,
  pageTables: 0x2000,
  bootParams: 0x8000,
  commandLine: 0x1_0000,
  commandLineEnd: 0x2_0000,
} as const;

/** zero-page.rst; the setup header lies between them. */
const BOOT_PARAMS = {
  acpi_rsdp_addr: 0x070,
  e820_entries: 0x1e8,
  e820_table: 0x2d0,
  length: 0x1000,
} as const;
const E820_ENTRY = 20;

const LOADER_UNDEFINED = 0xff;
const CAN_USE_HEAP = 1 << 7;
/** The heap of real-mode code ends here, less 200h for its stack: boot.rst's sample. No real-mode code runs. */
const HEAP_END = 0xe000 - 0x200;

/** A relocatable kernel that prefers no address goes here, out of the way of ISA's 16 MiB. */
const RELOCATED_ADDRESS = 16 * MIB;
const PAGE = 0x1000;

/** Writes kernel, RAM disk, command line, boot_params and descriptor tables. Throws `ImageError`. */
export function loadLinux(memory: BootMemory, boot: LinuxBoot): LoadedLinux {
  const image = parseLinuxImage(boot.kernel);
  const protocol = boot.protocol ?? (image.has64BitEntry ? "64-bit" : "32-bit");
  if (protocol === "64-bit" && !image.has64BitEntry) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      "this kernel has no 64-bit entry (XLF_KERNEL_64); boot it by the 32-bit protocol",
    );
  }
  const commandLine = encodeCommandLine(boot.commandLine ?? "", image);
  const map = memoryMap(memory.size);
  const ram = new FreeRam(map);
  const kernelAddress = placeKernel(ram, image, memory.size);
  const initrd = boot.initrd?.length ? boot.initrd : undefined;
  const initrdAddress = initrd && placeInitrd(ram, initrd.length, image);

  writeBiosDataArea(memory);
  memory.write(kernelAddress, image.kernel);
  if (initrd) memory.write(initrdAddress!, initrd);
  memory.write(PLACE.commandLine, commandLine);
  memory.write(
    PLACE.bootParams,
    bootParams(image, map, {
      code32_start: kernelAddress,
      ramdisk_image: initrdAddress ?? 0,
      ramdisk_size: initrd?.length ?? 0,
      rsdpAddress: boot.rsdpAddress ?? 0,
    }),
  );
  const start =
    protocol === "64-bit"
      ? flatState(memory, "long64", kernelAddress + ENTRY_64, { rsi: PLACE.bootParams }, PLACE)
      : flatState(memory, "protected32", kernelAddress, { rsi: PLACE.bootParams }, PLACE);
  return { start, protocol, kernelAddress, initrdAddress };
}

/** Reserves the memory that the kernel is loaded to and that it moves to, and returns the former. */
function placeKernel(ram: FreeRam, image: LinuxImage, ramBytes: number): number {
  const { relocatable, alignment, preferredAddress, initSize } = image;
  if (preferredAddress % alignment !== 0) {
    throw new ImageError(
      "IMAGE_NOT_BOOTABLE",
      `pref_address ${hex(preferredAddress)} is not a multiple of kernel_alignment ${hex(alignment)}`,
    );
  }
  const relocated = Math.ceil(RELOCATED_ADDRESS / alignment) * alignment;
  const load = !relocatable
    ? TRADITIONAL_ADDRESS
    : preferredAddress >= TRADITIONAL_ADDRESS
      ? preferredAddress
      : relocated;
  // A kernel that was loaded below its preferred address, or cannot be relocated, moves itself there.
  const run = Math.max(load, preferredAddress);
  const end = run + initSize;
  if (!ram.take(load, end - load)) {
    throw new ImageError(
      "MEMORY_TOO_SMALL",
      `the kernel needs RAM from ${hex(load)} to ${hex(end)}; the machine has ${inMiB(ramBytes)}. Give it more than ${inMiB(end)}`,
    );
  }
  return load;
}

/** As high as allowed, so that the kernel finds its low memory free. */
function placeInitrd(ram: FreeRam, length: number, image: LinuxImage): number {
  const limit = image.initrdAddressMax + 1;
  ram.take(0, TRADITIONAL_ADDRESS);
  const address = ram.takeHighest(length, PAGE, limit);
  if (address === undefined) {
    throw new ImageError(
      "INITRD_TOO_LARGE",
      `the initrd has ${inMiB(length)}; beside the kernel and below ${hex(limit)} at most ${inMiB(ram.largest(limit))} are free. ` +
        "Give the machine more memory or make the initrd smaller",
    );
  }
  return address;
}

/** With its NUL. */
function encodeCommandLine(text: string, image: LinuxImage): Uint8Array {
  const bytes = new TextEncoder().encode(`${text}\0`);
  if (bytes.indexOf(0) !== bytes.length - 1) {
    throw new ImageError("COMMAND_LINE_INVALID", "the kernel command line contains a NUL character");
  }
  const room = Math.min(image.commandLineSize, PLACE.commandLineEnd - PLACE.commandLine - 1);
  if (bytes.length - 1 > room) {
    throw new ImageError(
      "COMMAND_LINE_INVALID",
      `the kernel command line has ${bytes.length - 1} bytes; this kernel takes at most ${room}`,
    );
  }
  return bytes;
}

interface Handover {
  readonly code32_start: number;
  readonly ramdisk_image: number;
  readonly ramdisk_size: number;
  readonly rsdpAddress: number;
}

/** The "zero page". Screen information stays zero: there is no VGA. */
function bootParams(image: LinuxImage, map: readonly MemoryMapEntry[], handover: Handover): Uint8Array {
  const bytes = new Uint8Array(BOOT_PARAMS.length);
  const view = new DataView(bytes.buffer);
  bytes.set(image.setupHeader, SETUP_HEADER_START);
  const set = (field: HeaderField, value: number): void => {
    const [offset, width] = HEADER_FIELD[field];
    for (let index = 0; index < width; index++) bytes[offset + index] = Math.floor(value / 256 ** index) & 0xff;
  };
  set("type_of_loader", LOADER_UNDEFINED);
  set("loadflags", bytes[HEADER_FIELD.loadflags[0]]! | CAN_USE_HEAP);
  set("heap_end_ptr", HEAP_END);
  set("code32_start", handover.code32_start);
  set("ramdisk_image", handover.ramdisk_image);
  set("ramdisk_size", handover.ramdisk_size);
  set("cmd_line_ptr", PLACE.commandLine);
  view.setBigUint64(BOOT_PARAMS.acpi_rsdp_addr, BigInt(handover.rsdpAddress), true);
  bytes[BOOT_PARAMS.e820_entries] = map.length;
  map.forEach(({ base, length, type }, index) => {
    const at = BOOT_PARAMS.e820_table + index * E820_ENTRY;
    view.setBigUint64(at, BigInt(base), true);
    view.setBigUint64(at + 8, BigInt(length), true);
    view.setUint32(at + 16, type, true);
  });
  return bytes;
}
