import { afterEach, describe, expect, it } from "vitest";
import { defineDevice, ring3 } from "../../src/device/define.ts";
import { HYPERCALL, PV_ERROR } from "../../src/exits/index.ts";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import type { WatchedAccess } from "../../src/memory/index.ts";
import { KERNEL, kernel, kernelWithHandler, x86 } from "./guests.ts";

const DIRECTORY = 0x30_0000;
const TABLE = 0x30_1000;
/** Two guest-physical pages; the first one is also at three other linear addresses. */
const PAGE = 0x31_0000;
const NEXT = 0x31_1000;
const [FIRST, SECOND, THIRD] = [0x40_0000, 0x40_2000, 0x40_3000];
const DMA_PORT = 0x710;

const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.dispose();
});

/** 4 MiB identity mapped by a large page, then the table's pages; CR0.WP stays clear. */
const paging = [
  ...x86.mov(0, 0x10), // CR4.PSE
  ...[0x0f, 0x22, 0xe0],
  ...x86.mov(0, DIRECTORY),
  ...[0x0f, 0x22, 0xd8],
  ...[0x0f, 0x20, 0xc0], // CR0.PG
  ...[0x0d, ...x86.dword(0x8000_0000)],
  ...[0x0f, 0x22, 0xc0],
];

const dmaDevice = defineDevice("dma", (host, _: object) => {
  host.ports(
    { base: DMA_PORT, length: 4 },
    {
      write: (_offset: number, value: number) => {
        host.dma.write(value, Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8));
        host.dma.read(value, new Uint8Array(8));
      },
    },
  );
});

type Compile = "always" | "never";

function boot(code: readonly number[], compile: Compile, image = kernel(code)): Machine {
  const machine = createMachine({ memoryMiB: 8, clock: "instructions", compile });
  machines.push(machine);
  machine.add(dmaDevice, {});
  machine.boot({ image });
  const { memory } = machine;
  memory.write32(DIRECTORY, 0x83);
  memory.write32(DIRECTORY + 4, TABLE | 3);
  [PAGE, NEXT, PAGE, PAGE].forEach((page, index) => {
    memory.write32(TABLE + index * 4, page | 3);
  });
  for (let i = 0; i < 0x1000; i += 4) memory.write32(PAGE + i, (i * 0x0101) >>> 0);
  memory.write32(NEXT, 0x5555_5555);
  return machine;
}

const seen = (access: WatchedAccess) => [
  access.kind,
  Number(access.address),
  access.width,
  access.width > 8 ? [...access.data].join() : Number(access.value),
  access.linear === undefined ? access.by : Number(access.linear),
];

const PROGRAM = [
  ...x86.store(FIRST + 0x10, 0x1122_3344),
  ...[0xa0, ...x86.dword(SECOND + 0x10)], // MOV al, [second]
  ...[0x83, 0x05, ...x86.dword(THIRD + 0x10), 1], // ADD dword [third], 1
  ...x86.store(PAGE + 0x20, 7), // straight
  ...x86.store(FIRST + 0xffe, 0xaabb_ccdd), // across
  ...[0xa1, ...x86.dword(FIRST + 0xffe)],
  ...[0xfc, ...x86.mov(6, FIRST + 0x100), ...x86.mov(7, KERNEL.data), ...x86.mov(1, 10), 0xf3, 0xa5], // REP MOVSD
  ...[...x86.mov(0, 0x77), ...x86.mov(7, SECOND + 0x200), ...x86.mov(1, 12), 0xf3, 0xaa], // REP STOSB
  ...[...x86.mov(4, THIRD + 0x300), 0x50, 0x58], // PUSH eax; POP eax
  ...x86.mov(4, KERNEL.stack),
  ...[...x86.mov(0, 0x1234), 0x87, 0x05, ...x86.dword(FIRST + 0x30)], // XCHG
  ...x86.out(DMA_PORT, PAGE + 0xffc, 4),
  ...x86.exit(0),
];

/** What the program does to the page and its successor, by guest-physical address. */
function expected(): unknown[] {
  const word = (offset: number) => (offset * 0x0101) >>> 0;
  const hits: unknown[] = [
    ["write", PAGE + 0x10, 4, 0x1122_3344, FIRST + 0x10],
    ["read", PAGE + 0x10, 1, 0x44, SECOND + 0x10],
    ["read", PAGE + 0x10, 4, 0x1122_3344, THIRD + 0x10],
    ["write", PAGE + 0x10, 4, 0x1122_3345, THIRD + 0x10],
    ["write", PAGE + 0x20, 4, 7, PAGE + 0x20],
    ["write", PAGE + 0xffe, 2, 0xccdd, FIRST + 0xffe],
    ["write", NEXT, 2, 0xaabb, FIRST + 0x1000],
    ["read", PAGE + 0xffe, 2, 0xccdd, FIRST + 0xffe],
    ["read", NEXT, 2, 0xaabb, FIRST + 0x1000],
  ];
  for (let i = 0; i < 10; i++) hits.push(["read", PAGE + 0x100 + i * 4, 4, word(0x100 + i * 4), FIRST + 0x100 + i * 4]);
  for (let i = 0; i < 12; i++) hits.push(["write", PAGE + 0x200 + i, 1, 0x77, SECOND + 0x200 + i]);
  hits.push(
    ["write", PAGE + 0x2fc, 4, 0x77, THIRD + 0x2fc],
    ["read", PAGE + 0x2fc, 4, 0x77, THIRD + 0x2fc],
    ["read", PAGE + 0x30, 4, word(0x30), FIRST + 0x30],
    ["write", PAGE + 0x30, 4, 0x1234, FIRST + 0x30],
    ["write", PAGE + 0xffc, 4, 0x0403_0201, "device"],
    ["write", NEXT, 4, 0x0807_0605, "device"],
    ["read", PAGE + 0xffc, 4, 0x0403_0201, "device"],
    ["read", NEXT, 4, 0x0807_0605, "device"],
  );
  return hits;
}

describe.each(["never", "always"] as const)("watched memory, compiled: %s", (compile) => {
  it("a physical range: every access, through all aliases, across pages, by string instructions and by DMA", () => {
    const machine = boot([...paging, ...PROGRAM], compile);
    const hits: unknown[] = [];
    const watch = machine.watch({ physical: PAGE, length: 0x2000, access: "all" }, (access) => {
      hits.push(seen(access));
    });
    expect(machine.runUntil(10_000)).toBe(false);
    expect(hits).toEqual(expected());
    expect(watch.hits).toBe(hits.length);
    expect(machine.ended).toEqual({ reason: "debug-exit", status: 1 });
  });

  it("an instruction that compiled code gives up after the access, and the interpreter runs again, is seen once", () => {
    const machine = boot([...paging, ...PROGRAM], compile);
    const hits: unknown[] = [];
    machine.watch({ physical: PAGE, length: 0x2000, access: "all" }, (access) => {
      hits.push(seen(access));
      machine.vcpu.requestExit();
    });
    expect(machine.runUntil(10_000)).toBe(false);
    expect(hits).toEqual(expected());
  });

  it("a linear range: the same, however the page is reached", () => {
    const machine = boot([...paging, ...PROGRAM], compile);
    const hits: unknown[] = [];
    machine.watch({ virtual: FIRST, length: 0x2000, access: "all" }, (access) => {
      expect(Number(access.address) - FIRST).toBe(access.physical - PAGE);
      hits.push(seen(access).with(1, access.physical));
    });
    expect(machine.runUntil(10_000)).toBe(false);
    expect(hits).toEqual(expected());
  });

  it("writes to single bytes only", () => {
    const machine = boot([...paging, ...PROGRAM], compile);
    const [physical, linear]: unknown[][] = [[], []];
    const write = (range: [number, number]) => (hit: unknown) => {
      const [kind, address, width] = hit as [string, number, number];
      return kind === "write" && address < range[1] && range[0] < address + width;
    };
    machine.watch({ physical: PAGE + 0x12, length: 1 }, (access) => void physical!.push(seen(access)));
    machine.watch({ virtual: SECOND + 0x205, length: 3 }, (access) => {
      linear!.push(seen(access).with(1, access.physical));
    });
    machine.runUntil(10_000);
    expect(physical).toEqual(expected().filter(write([PAGE + 0x12, PAGE + 0x13])));
    expect(linear).toEqual(expected().filter(write([PAGE + 0x205, PAGE + 0x208])));
    expect([physical!.length, linear!.length]).toEqual([2, 3]);
  });

  it("leaves the guest what it would have been", async () => {
    const hash = async (watched: boolean) => {
      const machine = boot([...paging, ...PROGRAM], compile);
      if (watched) machine.watch({ physical: 0x10_0000, length: 0x40_0000, access: "all" }, () => {});
      machine.runUntil(10_000);
      return machine.stateHash();
    };
    expect(await hash(true)).toBe(await hash(false));
  });

  it("tells which instruction it was", () => {
    const code = [...x86.mov(0, 5), ...x86.storeEax(PAGE), ...x86.load(PAGE), ...x86.exit(0)];
    const machine = boot(code, compile);
    const rips: unknown[] = [];
    machine.watch({ physical: PAGE, length: 4, access: "all" }, ({ rip, by, vcpu }) => void rips.push([rip, by, vcpu]));
    machine.runUntil(1000);
    expect(rips).toEqual([
      [BigInt(KERNEL.code + 5), "cpu", 0],
      [BigInt(KERNEL.code + 10), "cpu", 0],
    ]);
  });

  it("a handler replaces, swallows and stops", () => {
    const code = [
      ...x86.store(PAGE, 0x1111),
      ...x86.store(PAGE + 4, 0x2222),
      ...x86.load(PAGE + 8),
      ...x86.storeEax(KERNEL.data),
      ...x86.load(PAGE + 12),
      ...x86.storeEax(KERNEL.data + 4),
      ...[0x83, 0x05, ...x86.dword(PAGE + 16), 1], // ADD [page + 16], 1
      ...x86.store(PAGE + 20, 0x3333),
      ...x86.store(PAGE + 24, 0x4444),
      ...x86.exit(0),
    ];
    const machine = boot(code, compile);
    machine.watch({ physical: PAGE, length: 24, access: "all" }, ({ kind, physical }) => {
      switch (physical - PAGE) {
        case 0:
          return { value: 0xabcdn };
        case 4:
          return "swallow";
        case 8:
          return { value: 0x77n };
        case 12:
          return "swallow";
        case 16:
          return kind === "read" ? { value: 41n } : undefined;
        default:
          return "stop";
      }
    });
    expect(machine.runUntil(1000)).toBe(false);
    expect(machine.ended?.reason).toBe("stopped");
    const { memory } = machine;
    const words = [PAGE, PAGE + 4, KERNEL.data, KERNEL.data + 4, PAGE + 16, PAGE + 20, PAGE + 24];
    expect(words.map((at) => memory.peek32(at))).toEqual([
      0xabcd,
      4 * 0x101,
      0x77,
      0xffff_ffff,
      42,
      0x3333,
      24 * 0x101,
    ]);
  });

  it("what an event pushes is seen", () => {
    const image = kernelWithHandler([...x86.mov(4, PAGE + 0x100), 0xcd, 0x40, ...x86.halt], [...x86.exit(0)]);
    const machine = boot([], compile, image);
    const hits: unknown[] = [];
    machine.watch({ physical: PAGE, length: 0x100 }, (access) => void hits.push(seen(access).slice(0, 3)));
    machine.runUntil(5000);
    expect(hits).toEqual([0xfc, 0xf8, 0xf4].map((at) => ["write", PAGE + at, 4]));
  });

  it("page walks set accessed and dirty bits in watched tables", () => {
    const machine = boot([...paging, ...x86.load(FIRST), ...x86.storeEax(FIRST), ...x86.exit(0)], compile);
    const hits: unknown[] = [];
    machine.watch({ physical: TABLE, length: 4 }, (access) => void hits.push(seen(access)));
    machine.runUntil(1000);
    expect(hits).toEqual([
      ["write", TABLE, 4, PAGE | 0x23, "walk"],
      ["write", TABLE, 4, PAGE | 0x63, "walk"],
    ]);
  });

  it("an access whose instruction waits for ring 3 is seen once", async () => {
    const waiting = defineDevice("waiting", (host, _: object) => {
      const later = () => new Promise<void>((resolve) => setTimeout(resolve));
      host.ports(
        { base: 0x720, length: 4 },
        {
          read: ring3(async () => {
            await later();
            return 0x5a;
          }),
          write: ring3(later),
        },
      );
    });
    const code = [
      ...x86.mov(2, 0x720),
      ...[...x86.mov(6, PAGE), ...x86.mov(1, 3), 0xf3, 0x6e], // REP OUTSB
      ...[...x86.mov(7, PAGE + 0x80), ...x86.mov(1, 2), 0xf3, 0x6c], // REP INSB
      ...x86.exit(0),
    ];
    const machine = createMachine({ memoryMiB: 8, clock: "instructions", compile });
    machines.push(machine);
    machine.add(waiting, {});
    machine.boot({ image: kernel(code) });
    const hits: unknown[] = [];
    machine.watch(
      { physical: PAGE, length: 0x100, access: "all" },
      (access) => void hits.push(seen(access).slice(0, 3)),
    );
    await machine.run();
    expect(hits).toEqual([
      ...[0, 1, 2].map((at) => ["read", PAGE + at, 1]),
      ...[0x80, 0x81].map((at) => ["write", PAGE + at, 1]),
    ]);
  });

  it("what a callback throws ends the run", async () => {
    const machine = boot([...x86.store(PAGE, 1), ...x86.halt], compile);
    machine.watch({ physical: PAGE }, () => {
      throw new Error("no more");
    });
    await expect(machine.run()).rejects.toThrow("no more");
  });

  it("a linear page that moves: by a page-table write, INVLPG and CR3, told once each", () => {
    const entry = TABLE + 0x10; // of linear 404000h
    const linear = 0x40_4000;
    const code = [
      ...paging,
      ...x86.store(entry, PAGE | 3),
      ...x86.store(linear, 1),
      ...x86.store(entry, NEXT | 3),
      ...[0x0f, 0x01, 0x3d, ...x86.dword(linear)], // INVLPG
      ...x86.store(linear, 2),
      ...x86.store(PAGE, 3), // no longer behind it
      ...x86.store(NEXT, 4),
      ...x86.mov(0, DIRECTORY + 0x2000),
      ...[0x0f, 0x22, 0xd8], // another address space, where nothing is there
      ...x86.store(NEXT, 5),
      ...x86.mov(0, DIRECTORY),
      ...[0x0f, 0x22, 0xd8],
      ...x86.store(linear, 6),
      ...x86.exit(0),
    ];
    const events = (addressSpace?: number) => {
      const machine = boot(code, compile);
      machine.memory.write32(DIRECTORY + 0x2000, 0x83);
      const log: unknown[] = [];
      const space = addressSpace === undefined ? {} : { addressSpace };
      const watch = machine.watch(
        { virtual: linear, length: 4, onRemap: ({ old, new: now }) => void log.push([old, now]), ...space },
        ({ value }) => void log.push(Number(value)),
      );
      const flushes = machine.vcpu.mmu.supervisor.fullFlushes;
      machine.runUntil(1000);
      watch.dispose();
      expect(machine.vcpu.mmu.supervisor.fullFlushes - flushes).toBeLessThan(10); // by CR0, CR3 and CR4
      return log;
    };
    // Before paging is on, linear addresses are physical ones.
    const moves = [[linear, undefined], [undefined, PAGE], 1, [PAGE, NEXT], 2, 4];
    expect(events()).toEqual([...moves, [NEXT, undefined], [undefined, NEXT], 6]);
    // Of its own address space the page stays where it is, and is seen from another one.
    expect(events(DIRECTORY)).toEqual([...moves.slice(1), 5, 6]);
  });

  it("a page of the monitor: the guest reads and runs it, its writes go to the handler", () => {
    const place = 0xc000_0000;
    const mapped = 0x40_1000;
    const code = [
      ...paging,
      ...x86.load(place + 8),
      ...x86.storeEax(KERNEL.data),
      ...x86.store(place + 8, 0x1234),
      ...x86.load(place + 8),
      ...x86.storeEax(KERNEL.data + 4),
      ...x86.store(place + 12, 0x5678),
      ...x86.load(place + 12),
      ...x86.storeEax(KERNEL.data + 8),
      ...x86.mov(4, KERNEL.stack),
      ...x86.mov(0, place),
      ...[0xff, 0xd0], // CALL eax
      ...x86.storeEax(KERNEL.data + 12),
      ...x86.load(mapped), // where the guest has a page of its own
      ...x86.storeEax(KERNEL.data + 16),
      ...x86.exit(0),
    ];
    const machine = boot(code, compile);
    const contents = new Uint8Array(16);
    contents.set([...x86.mov(0, 0x77), 0xc3]); // MOV eax, 77h; RET
    contents.set(x86.dword(0xabcd_ef01), 8);
    const writes: unknown[] = [];
    const inserted = machine.insert({ virtual: place, contents }, ({ address, width, value }) => {
      writes.push([Number(address), width, Number(value)]);
      return Number(address) === place + 12 ? { value } : undefined;
    });
    const over = machine.insert({ virtual: mapped, contents: Uint8Array.of(1, 2, 3, 4) });
    expect(machine.runUntil(2000)).toBe(false);
    const words = [0, 4, 8, 12, 16].map((at) => machine.memory.peek32(KERNEL.data + at));
    expect(words).toEqual([0xabcd_ef01, 0xabcd_ef01, 0x5678, 0x77, 0x0403_0201]);
    expect(writes).toEqual([
      [place + 8, 4, 0x1234],
      [place + 12, 4, 0x5678],
    ]);
    expect(inserted.bytes[12]).toBe(0x78);
    expect(() => machine.insert({ virtual: place, contents }, () => {})).toThrow(
      expect.objectContaining({ code: "HANDLER_CONFLICT" }),
    );
    over.dispose();
    expect(machine.vcpu.mmu.read32(mapped)).toBe(machine.memory.peek32(NEXT));
    inserted.dispose();
    expect(() => machine.vcpu.mmu.read32(place)).toThrow();
  });

  it("a call page of the monitor: hypercalls by a call into it", () => {
    const place = 0xc000_0000;
    const call = (number: number) => [...x86.mov(0, number), ...x86.mov(6, place), 0xff, 0xd6]; // CALL esi
    const code = [
      ...paging,
      ...x86.mov(4, KERNEL.stack),
      ...x86.mov(2, 0x3fd),
      ...call(HYPERCALL.io), // IN AL, DX
      ...x86.storeEax(KERNEL.data),
      ...call(0x4fff),
      ...x86.storeEax(KERNEL.data + 4),
      ...x86.exit(0),
    ];
    const machine = boot(code, compile);
    machine.insert({ virtual: place, contents: Uint8Array.of(0x0f, 0x01, 0xc1, 0xc3) }); // VMCALL; RET
    expect(machine.runUntil(2000)).toBe(false);
    const [status, unknown] = [0, 4].map((at) => machine.memory.peek32(KERNEL.data + at));
    expect(status).toBe(0x60);
    expect(unknown! | 0).toBe(PV_ERROR.unknown);
  });

  it("a device's page: its handler is asked before the device", () => {
    const page = 0x90_0000;
    const device = defineDevice("mmio", (host, _: object) => {
      host.mmio({ base: page, length: 0x1000 }, { read: (offset: number) => 0x1000 + offset, write: () => {} });
    });
    const code = [0, 4, 8, 4].flatMap((offset, i) => [
      ...x86.load(page + offset),
      ...x86.storeEax(KERNEL.data + i * 4),
    ]);
    const machine = createMachine({ memoryMiB: 8, clock: "instructions", compile });
    machines.push(machine);
    machine.add(device, {});
    machine.boot({ image: kernel([...code, ...code, ...x86.exit(0)]) });
    const seenBy: number[] = [];
    const { physical } = machine.memory.handlers;
    physical.register({
      kind: "mmio",
      base: page,
      length: 0x1000,
      owner: "test",
      callback: ({ physical: at }) => {
        seenBy.push(at - page);
        return at === page + 4 ? { value: 0n } : undefined;
      },
    });
    machine.runUntil(1000);
    expect(seenBy).toEqual([0, 4, 8, 4, 0, 4, 8, 4]);
    expect([0, 4, 8, 12].map((at) => machine.memory.peek32(KERNEL.data + at))).toEqual([0x1000, 0, 0x1008, 0]);
  });
});
