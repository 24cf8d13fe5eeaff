import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  createMachine,
  type DeviceHost,
  defineDevice,
  type Machine,
  memoryStorage,
  PorticoError,
} from "../../src/index.ts";

const PORCH = readFileSync(join(import.meta.dirname, "..", "..", "guests", "porch", "porch.elf"));

/** As JavaScript sees them: nothing checks types before. */
// biome-ignore lint/suspicious/noExplicitAny: what is tested
type Untyped = any;

describe("arguments of the wrong type", () => {
  const machines: Machine[] = [];
  afterEach(() => {
    for (const machine of machines.splice(0)) machine.dispose();
  });

  const create = (options: unknown): Untyped => {
    const machine = createMachine(options as object);
    machines.push(machine);
    return machine;
  };
  const machine = (): Untyped => create({ memoryMiB: 4 });
  const device = (claim: (host: Untyped) => void) =>
    machine().add(
      defineDevice("lamp", (host: DeviceHost) => claim(host)),
      undefined,
    );

  it.each<[string, () => unknown, string]>([
    ["no options", () => create(null), "what createMachine() is given is null: give an object"],
    ["a clock", () => create({ clock: "wall" }), `'clock' of what createMachine() is given is 'wall': give "host" or`],
    ["a mode", () => create({ compile: true }), `is true: give "auto" or "always" or "never", or nothing`],
    ["a path", () => create({ ioPath: "fast" }), "'ioPath' of what createMachine() is given is 'fast'"],
    ["an epoch", () => create({ epochNs: 5 }), "'epochNs' of what createMachine() is given is 5: give a bigint"],
    ["a file", () => create({ files: { a: "text" } }), "the file 'a' is 'text': give a Uint8Array"],
    ["disks", () => create({ disks: {} }), "is an object (Object): give an array of BlockStorage"],
    ["a disk's name", () => create({ disks: ["a.img"] }), "disk 0 is 'a.img': give an object"],
    [
      "a disk's bytes",
      () => create({ disks: [new Uint8Array(512)] }),
      "'sectorCount' of disk 0 is undefined: give a number",
    ],
    ["nothing to boot", () => machine().boot(), "what boot() is given is undefined: give an object, of { image,"],
    ["no image", () => machine().boot({}), "'image' of what boot() is given is undefined: give a Uint8Array"],
    ["an image's name", () => machine().boot({ image: "a.elf" }), "is 'a.elf': give a Uint8Array"],
    [
      "an ArrayBuffer",
      () => machine().boot({ image: new ArrayBuffer(4) }),
      "is an object (ArrayBuffer): give a Uint8Array",
    ],
    [
      "an initrd's name",
      () => machine().boot({ image: PORCH, initrd: "a" }),
      "'initrd' of what boot() is given is 'a'",
    ],
    ["words", () => machine().boot({ image: PORCH, commandLine: ["a"] }), "is an array: give a string, or nothing"],
    [
      "no device",
      () => machine().add(),
      "the device that add() is given is undefined: give an object, of { name, create }",
    ],
    ["a function", () => machine().add(() => {}), "the device that add() is given is a function"],
    [
      "no definition",
      () => (defineDevice as Untyped)("lamp"),
      "the definition of 'lamp' is undefined: give a function",
    ],
    [
      "no range",
      () => device((host) => host.ports()),
      "the port range of 'lamp' is undefined: give an object, of { base, length }",
    ],
    [
      "no handlers",
      () => device((host) => host.ports({ base: 1, length: 1 })),
      "the object of handlers of 'lamp' is undefined",
    ],
    [
      "a handler",
      () => device((host) => host.mmio({ base: 1, length: 1 }, { read: 5 })),
      "'read' of the object of handlers of 'lamp' is 5",
    ],
    ["nothing to watch", () => machine().watch(), "what watch() is given is undefined"],
    ["no place", () => machine().watch({}, () => {}), "give either { physical } or { virtual }"],
    [
      "a symbol",
      () => machine().watch({ virtual: "jiffies" }, () => {}),
      "'virtual' of what watch() is given is 'jiffies'",
    ],
    [
      "no callback",
      () => machine().watch({ physical: 0x1000 }),
      "the callback of watch() is undefined: give a function",
    ],
    ["no pages", () => machine().insert({ virtual: 0x1000n }), "'contents' of what insert() is given is undefined"],
    ["no listener", () => machine().doorbell(), "the listener of doorbell() is undefined: give a function"],
    ["no space", () => machine().doorbell(() => {}, { base: 1, length: 1 }), `is undefined: give "port" or "mmio"`],
    ["nothing to share", () => machine().passThrough(), "the range of passThrough() is undefined"],
    ["a listener", () => machine().serial.onOutput(5), "the listener of serial.onOutput() is 5: give a function"],
    ["a line", () => machine().serial.input("ls\n"), "what serial.input() is given is 'ls\n': give a Uint8Array"],
  ])("%s: an error says what would be right", (_, mistake, message) => {
    expect(mistake).toThrow(PorticoError);
    expect(mistake).toThrow(expect.objectContaining({ code: "ARGUMENT", message: expect.stringContaining(message) }));
  });

  it("right ones pass", () => {
    const right = create({
      memoryMiB: 4,
      clock: "instructions",
      epochNs: 0n,
      files: { a: new Uint8Array(1) },
      disks: [memoryStorage(new Uint8Array(512))],
    });
    right.watch({ virtual: 0x1000, addressSpace: 0n }, () => {});
    right.boot({ image: PORCH, initrd: undefined, commandLine: "a", name: undefined });
  });
});
