import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import {
  createMachine,
  DeviceError,
  defineDevice,
  HANDLER_STATE,
  type Handlers,
  type IoPath,
  type Machine,
  MemoryError,
  memoryStorage,
  PorticoError,
  ring3,
} from "../../src/index.ts";
import { KERNEL, kernel, x86 } from "./guests.ts";

const PORT = 0x700;
const MMIO = 0x80_0000;

/** As JavaScript gives them: nothing checks types before. */
// biome-ignore lint/suspicious/noExplicitAny: what is tested
type Untyped = any;

const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.dispose();
});

function boot(handlers: Handlers, code: readonly number[], ioPath: IoPath = "direct"): Machine {
  const machine = createMachine({ memoryMiB: 8, clock: "instructions", ioPath });
  machines.push(machine);
  const device = defineDevice("lamp", (host) => {
    host.ports({ base: PORT, length: 4 }, handlers);
    host.mmio({ base: MMIO, length: 0x1000 }, handlers);
  });
  machine.add(device, undefined);
  machine.boot({ image: kernel([...code, ...x86.exit(0)]) });
  return machine;
}

const READ = [...x86.mov(2, PORT), 0xec]; // IN al, dx
const WRITE = x86.out(PORT, 1, 1);
const MMIO_READ = [0xa1, ...x86.dword(MMIO)];
const MMIO_WRITE = x86.store(MMIO, 1);
const STRING = [...x86.mov(2, PORT), ...x86.mov(7, KERNEL.data), ...x86.mov(1, 4), 0xfc, 0xf3, 0x6c]; // REP INSB

const outcome = (machine: Machine) => machine.run().catch((error) => error);

/** Everything but what handlers may give. */
const noAnswer = fc.oneof(
  fc.constantFrom<unknown>(Number.NaN, undefined, -7, -1e9, 2 ** 32, 1e300, Number.POSITIVE_INFINITY, Symbol("value")),
  fc.anything({ withBigInt: true, withNullPrototype: true }).filter((value) => typeof value !== "number"),
);

describe("a handler that answers with anything", () => {
  it.each<[string, readonly number[], (answer: unknown) => Handlers]>([
    ["port read", READ, (answer) => ({ read: () => answer as number })],
    ["MMIO read", MMIO_READ, (answer) => ({ read: () => answer as number })],
    ["ring-3 port read", READ, (answer) => ({ read: ring3(() => answer as number) })],
    ["ring-3 MMIO read, later", MMIO_READ, (answer) => ({ read: ring3(async () => answer as number) })],
    ["string", STRING, (answer) => ({ read: () => 0, readString: () => answer as number })],
  ])(
    "ends the run of its machine with an error that names it: %s",
    async (_, code, handlers) => {
      await fc.assert(
        fc.asyncProperty(noAnswer, async (answer) => {
          const error = await outcome(boot(handlers(answer), code));
          expect(error).toBeInstanceOf(DeviceError);
          expect(error).toMatchObject({ code: "BAD_HANDLER_RESULT", device: "lamp", direction: "read" });
          for (const machine of machines.splice(0)) machine.dispose();
        }),
        { numRuns: 25 },
      );
    },
    60_000,
  );

  it.each([
    ["port", WRITE],
    ["MMIO", MMIO_WRITE],
  ])(
    "may give what it likes to a write, or ends the run with an error that names it: %s",
    async (_, code) => {
      await fc.assert(
        fc.asyncProperty(noAnswer, async (answer) => {
          const end = await outcome(boot({ write: () => answer as number }, code));
          if (!(end instanceof DeviceError)) expect(end).toEqual({ reason: "debug-exit", status: 1 });
          for (const machine of machines.splice(0)) machine.dispose();
        }),
        { numRuns: 25 },
      );
    },
    60_000,
  );

  it("fails the exit on the other paths", async () => {
    const machine = boot({ read: () => 5n as Untyped }, READ, "decoded");
    const failures: unknown[] = [];
    machine.onExitFailure = ({ cause }) => {
      failures.push(cause);
      machine.stop();
    };
    await machine.run();
    expect(failures[0]).toMatchObject({ code: "BAD_HANDLER_RESULT", message: expect.stringContaining("returned 5n") });
  });

  it("is told how to wait", async () => {
    const error = await outcome(boot({ read: (async () => 5) as Untyped }, READ));
    expect(error.message).toMatch(/failed on a read of 1 byte at 0x700: its handler returned a promise: .* ring3\(\)$/);
  });

  it("may give more bits than were asked for", async () => {
    const machine = boot({ read: () => 0xffff_ff12 }, [...READ, 0xa2, ...x86.dword(KERNEL.data)]);
    await machine.run();
    expect(machine.memory.read32(KERNEL.data)).toBe(0x12);
  });
});

describe("a watch's callback that gives no verdict", () => {
  const store = x86.store(KERNEL.data, 5);
  it.each<[string, unknown, string]>([
    ["a number", { value: 5 }, "{ value: 5 }"],
    ["no value", {}, "an object (Object)"],
    ["an unknown word", "ignore", "'ignore'"],
    ["null", null, "null"],
    ["a count", 3, "3"],
    ["a promise", Promise.resolve("stop"), "an object (Promise)"],
    ["a symbol", { value: Symbol("a") }, "{ value: Symbol(a) }"],
  ])("ends the run with an error that names it: %s", async (_, verdict, given) => {
    const machine = boot({ read: () => 0 }, store);
    machine.watch({ physical: KERNEL.data, length: 4, name: "spy" }, () => verdict as Untyped);
    const error = await outcome(machine);
    expect(error).toBeInstanceOf(MemoryError);
    expect(error.code).toBe("BAD_VERDICT");
    expect(error.message).toContain(`'spy' (write, 0x`);
    expect(error.message).toContain(`failed on a write of 4 bytes at 0x${KERNEL.data.toString(16)}: `);
    expect(error.message).toContain(`its callback returned ${given}; give nothing, { value } with a bigint,`);
    // As where a callback throws, the access has happened.
    expect(machine.memory.read32(KERNEL.data)).toBe(5);
  });

  it("does so for runUntil, too, and only once", () => {
    const machine = boot({ read: () => 0 }, store);
    const watch = machine.watch({ physical: KERNEL.data }, () => 5 as Untyped);
    expect(() => machine.runUntil(1000)).toThrow(expect.objectContaining({ code: "BAD_VERDICT" }));
    expect(machine.memory.handlers.state(KERNEL.data)).toBe(HANDLER_STATE.write);
    watch.dispose();
    machine.runUntil(2000);
    expect(machine.ended).toEqual({ reason: "debug-exit", status: 1 });
  });
});

describe("a disk of the host program", () => {
  const IDE = 0x1f0;
  const readSector = [
    ...[0xe6, 0x00], // nothing: a byte to an unclaimed port
    ...x86.out(IDE + 6, 0xe0, 1),
    ...x86.out(IDE + 2, 1, 1),
    ...x86.out(IDE + 3, 0, 1),
    ...x86.out(IDE + 4, 0, 1),
    ...x86.out(IDE + 5, 0, 1),
    ...x86.out(IDE + 7, 0x20, 1),
  ];
  const withDisk = (read: () => unknown): Machine => {
    const machine = createMachine({
      memoryMiB: 8,
      clock: "instructions",
      disks: [{ ...memoryStorage(new Uint8Array(512)), read: read as () => void }],
    });
    machines.push(machine);
    machine.boot({ image: kernel([...readSector, ...x86.exit(0)]) });
    return machine;
  };

  it("that waits ends the run: disks are synchronous", async () => {
    const error = await outcome(withDisk(async () => {}));
    expect(error).toBeInstanceOf(PorticoError);
    expect(error.code).toBe("DISK_WAITS");
  });

  it("that throws something of its own ends the run with that", async () => {
    const own = new Error("the socket is closed");
    const thrown = await outcome(
      withDisk(() => {
        throw own;
      }),
    );
    expect(thrown).toBe(own);
  });
});

describe("bytes that are a Buffer of Node", () => {
  it("are no part of a snapshot's future", () => {
    const bytes = Buffer.alloc(512);
    const saved = memoryStorage(bytes).save() as Uint8Array;
    bytes[0] = 7;
    expect(saved[0]).toBe(0);
  });
});
