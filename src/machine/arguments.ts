/** What a machine is given, checked. All of it throws `PorticoError` `ARGUMENT`. */

import {
  array,
  bigint,
  boolean,
  bytes,
  callback,
  checkArgument,
  checkMembers,
  linearAddress,
  number,
  object,
  oneOf,
  optional,
  text,
  whole,
  wholeNumber,
} from "../arguments.ts";
import { PorticoError } from "../errors.ts";
import { IO_PATHS } from "../exits/index.ts";
import type { BootOptions } from "./boot/boot-options.ts";

const MACHINE = {
  clock: optional(oneOf(["host", "instructions"])),
  epochNs: optional(bigint),
  files: optional(object("an object of Uint8Arrays by name")),
  compile: optional(oneOf(["auto", "always", "never"])),
  ioPath: optional(oneOf(IO_PATHS)),
  hypercalls: optional(boolean),
  disks: optional(array("BlockStorage")),
};

/** What a machine asks of a `BlockStorage`. */
const DISK = {
  sectorCount: whole(1),
  writable: boolean,
  read: callback,
  write: callback,
  flush: callback,
  save: callback,
  load: callback,
};

interface Given {
  readonly files?: Readonly<Record<string, unknown>>;
  readonly disks?: readonly unknown[];
}

export function checkMachineOptions(options: Given): void {
  checkMembers("what createMachine() is given", options, MACHINE);
  for (const [name, contents] of Object.entries(options.files ?? {}))
    checkArgument(`the file '${name}'`, contents, bytes);
  for (const [index, disk] of (options.disks ?? []).entries()) checkMembers(`disk ${index}`, disk, DISK);
}

const BOOT = {
  image: bytes,
  initrd: optional(bytes),
  commandLine: optional(text),
  name: optional(text),
  protocol: optional(oneOf(["64-bit", "32-bit"])),
};

export function checkBootOptions(options: BootOptions): void {
  checkMembers("what boot() is given", options, BOOT);
}

export function checkDevice(deviceClass: unknown, name: unknown): void {
  checkMembers("the device that add() is given", deviceClass, { name: text, create: callback });
  checkArgument("the name that add() is given", name, optional(text));
}

const WATCHING = { addressSpace: optional(linearAddress), name: optional(text) };

const WATCH = {
  physical: optional(wholeNumber),
  virtual: optional(linearAddress),
  length: optional(number),
  access: optional(oneOf(["write", "all"])),
  onRemap: optional(callback),
  ...WATCHING,
};

export function checkWatch(what: { readonly physical?: unknown; readonly virtual?: unknown }, called: unknown): void {
  checkMembers("what watch() is given", what, WATCH);
  if ((what.physical === undefined) === (what.virtual === undefined))
    throw new PorticoError("ARGUMENT", "watch() needs to know what to watch: give either { physical } or { virtual }");
  checkArgument("the callback of watch()", called, callback);
}

export function checkMonitorPages(what: unknown, onWrite: unknown): void {
  checkMembers("what insert() is given", what, { virtual: linearAddress, contents: bytes, ...WATCHING });
  checkArgument("the callback of insert()", onWrite, optional(callback));
}

const DOORBELL = { space: oneOf(["port", "mmio"]), base: number, length: number, match: optional(number) };

export function checkDoorbell(listener: unknown, range: unknown): void {
  checkArgument("the listener of doorbell()", listener, callback);
  if (range !== undefined) checkMembers("the range of doorbell()", range, DOORBELL);
}

export function checkRange(name: string, range: unknown): void {
  checkMembers(name, range, { base: number, length: number });
}
