import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  changeLine,
  copyOnWriteStorage,
  createMachine,
  type DeviceHost,
  decodeSnapshot,
  defineDevice,
  type Machine,
  memoryStorage,
  PorticoError,
  raw,
  ring3,
} from "../../src/index.ts";

const PORCH = readFileSync(join(import.meta.dirname, "..", "..", "guests", "porch", "porch.elf"));

/** As JavaScript sees them: nothing checks types before. */
// biome-ignore lint/suspicious/noExplicitAny: what is tested
type Untyped = any;

const PORT = { base: 0x700, length: 1 };
const PAGE = { base: 0xd000_0000, length: 0x1000 };
const BAR = { kind: "io", size: 4, handlers: { read: () => 0 } };
const FUNCTION = { vendorId: 0x1234, deviceId: 1, classCode: 0xff0000, bars: [BAR] };

/** What is wrong, handlers, and what the error says of it. */
const RAW_MISTAKES: [string, (host: Untyped) => unknown, string][] = [
  ["no value", () => ({ read: raw(() => {}) }), "a raw read handler gives no value: return what the guest reads"],
  ["a value read", () => ({ read: raw((x) => x.value) }), "a raw read has no value"],
  ["no such register", () => ({ read: raw((x) => x.get({ a: 1 }, "a")) }), "'a' is not a register of this machine"],
  [
    "other words",
    () => ({ read: raw((x) => x.getWord(new Uint32Array(4), x.offset)) }),
    "these words are not registers of this machine",
  ],
  [
    "a late decline",
    (host) => {
      const r = host.registers({ a: "u8" });
      const write = raw((x) => {
        x.set(r, "a", 1);
        x.decline();
      });
      return { write: { raw: write, ring0: () => {} } };
    },
    "a raw handler declines after it has stored",
  ],
  ["two widths", () => ({ read: raw((x) => x.add(x.now(), x.offset)) }), "0-read1: i32 where i64 is needed"],
  ["two numbers", () => ({ read: raw((x) => x.add(1, 2)) }), "an operation on two plain numbers has no type"],
  ["a fraction", () => ({ read: raw((x) => x.add(x.now(), 1.5)) }), "0-read1: 1.5 where an integer is needed"],
  [
    "a line of its own making",
    () => ({ write: raw((x) => changeLine(x, { set() {}, pulse() {} }, x.value).apply()) }),
    "a raw handler drives lines that host.interrupt() gave",
  ],
];

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
      "'sectorCount' of disk 0 is undefined: give a whole number from 1 up",
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
    [
      "coalesce() too late",
      () => device((host) => [host.ports(PORT, { read: () => 0 }), host.coalesce()]),
      "'lamp' has claimed ranges already: call coalesce() before the first",
    ],
    [
      "coalesce() after a BAR",
      () => device((host) => [host.pciFunction(FUNCTION), host.coalesce()]),
      "'lamp' has claimed ranges already",
    ],
    ...[0, -1, 1.5, Number.NaN, 2 ** 40, "many"].map((capacity): [string, () => unknown, string] => [
      `a ring of ${capacity}`,
      () => device((host) => host.coalesce(capacity)),
      "give a whole number from 1 to 65536, or nothing",
    ]),
    [
      "'coalesce' without coalesce()",
      () => device((host) => host.ports(PORT, { write: () => {}, coalesce: true })),
      "a range of 'lamp' cannot have 'coalesce': call host.coalesce() before the first range",
    ],
    [
      "a raw coalesced write",
      () => device((host) => [host.coalesce(), host.ports(PORT, { write: raw(() => {}), coalesce: true })]),
      "give a plain or a ring3 write handler",
    ],
    [
      "a type of register",
      () => device((host) => host.registers({ a: "u12" })),
      `'a' of 'lamp' is 'u12': give "u8" or`,
    ],
    ["no raw handler", () => (raw as Untyped)(), "what raw() is given is undefined: give a function"],
    ["no ring-3 handler", () => (ring3 as Untyped)({}), "what ring3() is given is an object (Object)"],
    [
      "a function for a raw handler",
      () => device((host) => host.ports(PORT, { read: { raw: () => 5 } })),
      "'raw' of 'read' of the object of handlers of 'lamp' is a function: give what raw() gives, or nothing",
    ],
    [
      "a ring-0 handler",
      () => device((host) => host.ports(PORT, { write: { ring0: 5 } })),
      "'ring0' of 'write' of the object of handlers of 'lamp' is 5: give a function, or nothing",
    ],
    ["a page", () => machine().watch({ physical: Number.NaN }, () => {}), "'physical' of what watch() is given is NaN"],
    ["no registers", () => device((host) => host.registers()), "the registers of 'lamp' is undefined"],
    ["words", () => device((host) => host.words(-1)), "is -1: give a whole number from 1 up"],
    ["a line", () => device((host) => host.interrupt(24)), "is 24: give a whole number from 0 to 23"],
    ["no timer", () => device((host) => host.timer()), "what a timer of 'lamp' calls is undefined"],
    [
      "a deadline",
      () => device((host) => host.timer(() => {}).set(5n)),
      "the deadline of a timer is 5n: give a number",
    ],
    ["no deadline", () => device((host) => host.timer(() => {}).set(Number.NaN)), "is NaN: give a number"],
    ["a frequency", () => device((host) => host.clock.counter(0.5)), "the frequency of a counter is 0.5: give a whole"],
    ["a message", () => device((host) => host.msi(0xfee0_0000)), "'data' of the message of 'lamp' is undefined"],
    ["no reset", () => device((host) => host.onReset()), "what onReset() of 'lamp' is given is undefined"],
    ["no end", () => device((host) => host.onDispose(null)), "what onDispose() of 'lamp' is given is null"],
    ["no input", () => device((host) => host.input({})), "what input() of 'lamp' is given is an object (Object)"],
    [
      "half a state",
      () => device((host) => host.state({ save: () => 0 })),
      "'load' of what state() of 'lamp' is given",
    ],
    ["no function", () => device((host) => host.pciFunction()), "the PCI function of 'lamp' is undefined"],
    [
      "an identity",
      () => device((host) => host.pciFunction({ ...FUNCTION, vendorId: 0x12345 })),
      "'vendorId' of the PCI function of 'lamp' is 74565: give a whole number from 0 to 65535",
    ],
    [
      "a BAR",
      () => device((host) => host.pciFunction({ ...FUNCTION, bars: [{ kind: "mmio", size: 16 }] })),
      `'kind' of BAR 0 of the PCI function of 'lamp' is 'mmio': give "io" or "memory"`,
    ],
    [
      "registers beyond configuration space",
      () => device((host) => host.pciFunction({ ...FUNCTION, registers: [{ offset: 0xff, bytes: [1, 2] }] })),
      "the number of bytes of register 0 of the PCI function of 'lamp' is 2: give a whole number from 0 to 1",
    ],
    ["a mode", () => device((host) => host.mmio(PAGE, { read: () => 0 }, { readMode: "byte" })), "'readMode' of"],
    ...RAW_MISTAKES.map(([what, handler, message]): [string, () => unknown, string] => [
      `raw: ${what}`,
      () => device((host) => host.ports(PORT, handler(host))),
      `handler of 'lamp' cannot be built: ${message}`,
    ]),
    [
      "a disk without its ways",
      () => create({ disks: [{ ...memoryStorage(new Uint8Array(512)), flush: undefined }] }),
      "'flush' of disk 0 is undefined: give a function",
    ],
    [
      "a disk of no size",
      () => create({ disks: [{ ...memoryStorage(new Uint8Array(512)), sectorCount: Number.NaN }] }),
      "'sectorCount' of disk 0 is NaN",
    ],
    ["a text as a disk", () => (memoryStorage as Untyped)("a.img"), "what memoryStorage() is given is 'a.img'"],
    ["nothing to copy", () => (copyOnWriteStorage as Untyped)(), "what copyOnWriteStorage() is given is undefined"],
    ["a text as a snapshot", () => (decodeSnapshot as Untyped)("{}"), "what decodeSnapshot() is given is '{}'"],
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
