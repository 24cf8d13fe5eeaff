import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineDevice } from "../define.ts";
import { deviceUnderTest } from "../testing.ts";
import type { PciBar, PciFunction, PciFunctionOptions } from "../types.ts";
import { assignPciResources } from "./assign.ts";

/** PCI 3.0, figure 6-1: offsets as a driver knows them. */
const AT = {
  command: 0x04,
  status: 0x06,
  header: 0x0e,
  bar0: 0x10,
  bar1: 0x14,
  bar2: 0x18,
  capabilities: 0x34,
} as const;
const LINE = 0x3c;
const IO = 1;
const MEMORY = 2;
const MASTER = 4;
const INTX_DISABLE = 0x400;

const BASE = { vendorId: 0x1234, deviceId: 0x5678, classCode: 0x02_0000 } as const;

interface CardOptions {
  readonly functions: readonly Partial<PciFunctionOptions>[];
}
/** As many functions as a test likes. */
const card = defineDevice("card", (host, { functions }: CardOptions): PciFunction[] =>
  functions.map((options) => host.pciFunction({ ...BASE, ...options })),
);

const ioBar = (size: number, value: number): PciBar => ({ kind: "io", size, handlers: { read: () => value } });
const memoryBar = (size: number, value: number, more: object = {}): PciBar => ({
  kind: "memory",
  size,
  handlers: { read: () => value },
  ...more,
});

function bench(...functions: Partial<PciFunctionOptions>[]) {
  const device = deviceUnderTest(card, { functions });
  const at = (index: number) => device.api[index].slot * 8 + device.api[index].function;
  return {
    ...device,
    functions: device.api,
    get: (index: number, offset: number, width: number) => device.pci.read(0, at(index), offset, width),
    put: (index: number, offset: number, value: number, width: number) =>
      device.pci.write(0, at(index), offset, value, width),
  };
}

describe("the header", () => {
  it("names the function and cannot be changed", () => {
    const device = bench({ revision: 3, subsystemVendorId: 0xaaaa, subsystemId: 0xbbbb, interruptPin: 2 });
    for (let offset = 0; offset < 0x10; offset += 4) if (offset !== 4) device.put(0, offset, 0xffff_ffff, 4);
    device.put(0, 0x2c, 0, 4);
    expect(device.get(0, 0, 4)).toBe(0x5678_1234);
    expect(device.get(0, 8, 4)).toBe(0x0200_0003);
    expect(device.get(0, AT.header, 1)).toBe(0);
    expect(device.get(0, 0x2c, 4)).toBe(0xbbbb_aaaa);
    expect(device.get(0, 0x3d, 1)).toBe(2);
  });

  it("lets software write the interrupt line, cache line size and latency timer", () => {
    const device = bench({ interruptPin: 1 });
    device.put(0, LINE, 0x0b, 1);
    device.put(0, 0x0c, 0xff10, 2);
    expect(device.get(0, LINE, 2)).toBe(0x010b);
    expect(device.get(0, 0x0c, 2)).toBe(0xf810);
  });

  it("has only the command bits of what there is", () => {
    const none = bench({});
    none.put(0, AT.command, 0xffff, 2);
    expect(none.get(0, AT.command, 2)).toBe(0x0144);
    const all = bench({ interruptPin: 1, bars: [ioBar(16, 0), memoryBar(16, 0)] });
    all.put(0, AT.command, 0xffff, 2);
    expect(all.get(0, AT.command, 2)).toBe(0x0547);
  });

  it("marks functions of a slot that has several", () => {
    const device = bench({ slot: 3 }, { slot: 3, function: 1 }, { slot: 4 });
    expect([0, 1, 2].map((i) => device.get(i, AT.header, 1))).toEqual([0x80, 0x80, 0]);
    device.reset();
    expect(device.get(0, AT.header, 1)).toBe(0x80);
  });

  it("clears status bits by writing ones (PCI 3.0, 6.2.3)", () => {
    const device = bench({});
    device.functions[0].setConfig(AT.status, 0xf900, 2);
    device.put(0, AT.status, 0x2100, 2);
    expect(device.get(0, AT.status, 2)).toBe(0xd800);
    device.put(0, AT.command, 0xffff_0000, 4);
    expect(device.get(0, AT.status, 2)).toBe(0);
  });
});

describe("slots", () => {
  it("are given out from 1, and refused twice", () => {
    const device = bench({}, { slot: 2 }, {});
    expect(device.functions.map((f) => f.slot)).toEqual([1, 2, 3]);
    expect(() => bench({ slot: 5 }, { slot: 5 })).toThrowError(expect.objectContaining({ code: "PCI_SLOT_TAKEN" }));
    expect(() => bench({ slot: 32 })).toThrowError(expect.objectContaining({ code: "PCI_SLOT_INVALID" }));
    expect(() => bench(...new Array(32).fill({}))).toThrowError(expect.objectContaining({ code: "PCI_SLOT_TAKEN" }));
  });

  it("read as all ones where nobody is", () => {
    const { pci } = bench({});
    expect(pci.read(0, 31 << 3, 0, 4)).toBe(0xffff_ffff);
    expect(pci.read(0, 31 << 3, 2, 2)).toBe(0xffff);
    expect(pci.read(1, 1 << 3, 0, 1)).toBe(0xff);
    expect(() => pci.write(1, 1 << 3, AT.command, 7, 2)).not.toThrow();
  });
});

describe("sizing a BAR: write ones, read back (PCI 3.0, 6.2.5.1)", () => {
  it.each([
    ["16 ports", ioBar(16, 0), 0xffff_fff1],
    ["256 ports", ioBar(256, 0), 0xffff_ff01],
    ["4 KiB of memory", memoryBar(0x1000, 0), 0xffff_f000],
    ["1 MiB, prefetchable", memoryBar(0x10_0000, 0, { prefetchable: true }), 0xfff0_0008],
    ["2 GiB", memoryBar(2 ** 31, 0), 0x8000_0000],
  ])("%s", (_, bar, expected) => {
    const device = bench({ bars: [bar] });
    device.put(0, AT.bar0, 0xffff_ffff, 4);
    expect(device.get(0, AT.bar0, 4)).toBe(expected);
    expect(device.get(0, AT.bar1, 4)).toBe(0);
  });

  it.each([
    ["64 KiB", 0x1_0000, 0xffff_000c, 0xffff_ffff],
    ["4 GiB", 2 ** 32, 0x0000_000c, 0xffff_ffff],
    ["16 GiB", 2 ** 34, 0x0000_000c, 0xffff_fffc],
  ])("%s, 64-bit", (_, size, low, high) => {
    const device = bench({ bars: [memoryBar(size, 0, { wide: true, prefetchable: true })] });
    device.put(0, AT.bar0, 0xffff_ffff, 4);
    device.put(0, AT.bar1, 0xffff_ffff, 4);
    expect(device.get(0, AT.bar0, 4)).toBe(low);
    expect(device.get(0, AT.bar1, 4)).toBe(high);
  });

  it.each([
    ["not a power of two", ioBar(24, 0)],
    ["too small", memoryBar(8, 0)],
    ["too large for I/O", ioBar(512, 0)],
    ["too large for 32 bits", memoryBar(2 ** 32, 0)],
  ])("%s is the host program's mistake", (_, bar) => {
    expect(() => bench({ bars: [bar] })).toThrowError(expect.objectContaining({ code: "PCI_BAR_INVALID" }));
  });
});

describe("decoding", () => {
  it("follows the address and the command register", () => {
    const device = bench({ bars: [ioBar(16, 0x11), memoryBar(0x1000, 0x2222_2222)] });
    device.put(0, AT.bar0, 0xc000, 4);
    device.put(0, AT.bar1, 0xe000_0000, 4);
    expect([device.read(0xc000), device.mmioRead(0xe000_0000)]).toEqual([0xff, 0xffff_ffff]);
    device.put(0, AT.command, IO, 2);
    expect([device.read(0xc00f), device.mmioRead(0xe000_0000)]).toEqual([0x11, 0xffff_ffff]);
    device.put(0, AT.command, MEMORY, 2);
    expect([device.read(0xc000), device.mmioRead(0xe000_0ffc)]).toEqual([0xff, 0x2222_2222]);
    device.put(0, AT.bar1 + 2, 0xd000, 2);
    expect([device.mmioRead(0xe000_0000), device.mmioRead(0xd000_0000)]).toEqual([0xffff_ffff, 0x2222_2222]);
    expect(device.functions[0].barBase(1)).toBe(0xd000_0000);
    device.reset();
    expect(device.mmioRead(0xd000_0000)).toBe(0xffff_ffff);
    expect(device.functions[0].barBase(1)).toBeUndefined();
  });

  it("reaches 64-bit addresses", () => {
    const device = bench({ bars: [memoryBar(0x1000, 0x33, { wide: true })] });
    device.put(0, AT.command, MEMORY, 2);
    device.put(0, AT.bar0, 0x4000_0000, 4);
    device.put(0, AT.bar1, 0x12, 4);
    expect(device.mmioRead(0x12_4000_0000)).toBe(0x33);
    device.put(0, AT.bar1, 0xffff_ffff, 4);
    expect(device.functions[0].barBase(0)).toBeUndefined();
  });

  it("leaves ports beyond FFFF undecoded", () => {
    const device = bench({ bars: [ioBar(16, 0x11)] });
    device.put(0, AT.command, IO, 2);
    device.put(0, AT.bar0, 0x1_c000, 4);
    expect(device.read(0xc000)).toBe(0xff);
  });

  it("lets the board's own ranges win, and comes back when moved away", () => {
    const fixed = defineDevice("fixed", (host) => {
      host.ports({ base: 0x3f8, length: 8 }, { read: () => 0x77 });
    });
    const device = bench({ bars: [ioBar(256, 0x11)] });
    device.add(fixed, undefined);
    device.put(0, AT.command, IO, 2);
    device.put(0, AT.bar0, 0x300, 4);
    expect([device.read(0x3f8), device.read(0x300)]).toEqual([0x77, 0xff]);
    device.put(0, AT.bar0, 0x400, 4);
    expect([device.read(0x3f8), device.read(0x400)]).toEqual([0x77, 0x11]);
  });

  it("never throws and always has one answer, however a guest programs overlapping BARs", () => {
    const sizes = [16, 32, 64, 16];
    const write = fc.record({
      index: fc.integer({ min: 0, max: 3 }),
      offset: fc.constantFrom(AT.command, AT.bar0, AT.bar1, AT.bar2),
      value: fc.oneof(
        fc.integer({ min: 0, max: 0x1ff }),
        fc.constantFrom(0, 0xffff_ffff, 0xfff0, 3, 0xffff_fff0, 0x1_0000),
      ),
      width: fc.constantFrom(1, 2, 4),
    });
    fc.assert(
      fc.property(fc.array(write, { maxLength: 25 }), (writes) => {
        const device = bench(...sizes.map((size, i) => ({ bars: [ioBar(size, i), memoryBar(size, i + 0x10)] })));
        for (const { index, offset, value, width } of writes)
          device.put(index, offset, value % 2 ** (8 * width), width);
        // Who answers, from the registers alone: lower slots first, each BAR whole or not at all.
        const owner = { io: new Map<number, number>(), memory: new Map<number, number>() };
        sizes.forEach((size, index) => {
          const command = device.get(index, AT.command, 2);
          for (const kind of ["io", "memory"] as const) {
            const register = device.get(index, kind === "io" ? AT.bar0 : AT.bar1, 4);
            const base = register - (register % (kind === "io" ? 4 : 16));
            const enabled = command & (kind === "io" ? IO : MEMORY);
            if (!enabled || base + size > (kind === "io" ? 0x1_0000 : 2 ** 32)) continue;
            const range = Array.from({ length: size }, (_, i) => base + i);
            if (range.some((address) => owner[kind].has(address))) continue;
            for (const address of range) owner[kind].set(address, index);
          }
        });
        for (let address = 0; address < 0x240; address += 4) {
          expect(device.read(address)).toBe(owner.io.get(address) ?? 0xff);
          expect(device.mmioRead(address)).toBe((owner.memory.get(address) ?? 0xffff_ffef) + 0x10);
        }
        // A snapshot comes back to the same answers.
        const copy = device.reincarnate();
        for (const [address, index] of owner.io) expect(copy.read(address)).toBe(index);
        for (const [address, index] of owner.memory) {
          if (address % 4 === 0) expect(copy.mmioRead(address)).toBe(index + 0x10);
        }
      }),
      { numRuns: 150 },
    );
  });
});

describe("interrupt pins", () => {
  it("drive the wire of slot and pin, as a level", () => {
    const device = bench({ slot: 5, interruptPin: 3 });
    const [f] = device.functions;
    f.interrupt.set(true);
    expect(device.lines.level(16 + ((5 + 2) % 4))).toBe(true);
    expect(device.get(0, AT.status, 2) & 8).toBe(8);
    f.interrupt.set(false);
    expect(device.lines.events.map((event) => event.high)).toEqual([true, false]);
    expect(device.get(0, AT.status, 2) & 8).toBe(0);
  });

  it("are silent while disabled, and remember (PCI 3.0, 6.2.2 and 6.2.3)", () => {
    const device = bench({ slot: 4, interruptPin: 1 });
    device.put(0, AT.command, INTX_DISABLE, 2);
    device.functions[0].interrupt.set(true);
    expect(device.lines.level(16)).toBe(false);
    expect(device.get(0, AT.status, 2) & 8).toBe(8);
    device.put(0, AT.command, 0, 2);
    expect(device.lines.level(16)).toBe(true);
    const copy = device.reincarnate();
    expect(copy.lines.level(16)).toBe(true);
    copy.api[0].interrupt.set(false);
    expect(copy.lines.level(16)).toBe(false);
    device.reset();
    expect(device.lines.level(16)).toBe(false);
  });
});

describe("message-signalled interrupts (PCI 3.0, 6.8.1)", () => {
  const withMsi = (messages: number) => {
    const device = bench({ slot: 4, interruptPin: 1, msiMessages: messages });
    const capability = device.get(0, AT.capabilities, 1);
    device.put(0, capability + 4, 0xfee0_1000, 4);
    device.put(0, capability + 8, 0, 4);
    device.put(0, capability + 12, 0x4063, 2);
    return { device, capability, function: device.functions[0] };
  };

  it("are announced in the capability list", () => {
    const { device, capability } = withMsi(8);
    expect(device.get(0, AT.status, 2) & 0x10).toBe(0x10);
    expect(device.get(0, capability, 4)).toBe(0x0086_0005);
  });

  it("are sent once enabled, and take the place of the pin", () => {
    const { device, capability, function: f } = withMsi(1);
    expect(f.message()).toBe(false);
    f.interrupt.set(true);
    expect(device.lines.level(16)).toBe(true);
    device.put(0, AT.command, MASTER, 2);
    device.put(0, capability + 2, 1, 2);
    expect(device.lines.level(16)).toBe(false);
    expect(f.message()).toBe(true);
    expect(device.msis).toEqual([{ address: 0xfee0_1000, data: 0x4063 }]);
  });

  it("need bus mastering", () => {
    const { device, capability, function: f } = withMsi(1);
    device.put(0, capability + 2, 1, 2);
    expect(f.message()).toBe(true);
    expect(device.msis).toEqual([]);
  });

  it.each([
    [0, [0x4063, 0x4063, 0x4063]],
    [1, [0x4062, 0x4063, 0x4063]],
    [3, [0x4060, 0x4063, 0x4067]],
    [7, [0x4060, 0x4063, 0x4067]],
  ])("fold into the 2^%i messages that software enabled", (enabled, data) => {
    const { device, capability, function: f } = withMsi(8);
    device.put(0, AT.command, MASTER, 2);
    device.put(0, capability + 2, 1 | (enabled << 4), 2);
    for (const message of [0, 3, 7]) f.message(message);
    expect(device.msis.map((msi) => msi.data)).toEqual(data);
  });
});

describe("capabilities and own registers", () => {
  it("are chained behind the registers and end with zero", () => {
    const device = bench({
      msiMessages: 1,
      registers: [{ offset: 0x40, bytes: [1, 2, 3], writable: [0xff, 0x0f, 0] }],
      capabilities: [{ id: 0x09, bytes: [0x10, 0xaa], writable: [0, 0xf0] }],
    });
    const msi = device.get(0, AT.capabilities, 1);
    expect(msi).toBe(0x44);
    const vendor = device.get(0, msi + 1, 1);
    expect(vendor).toBe(0x54);
    expect(device.get(0, vendor, 4)).toBe(0xaa10_0009);
    device.put(0, vendor, 0xffff_ffff, 4);
    expect(device.get(0, vendor, 4)).toBe(0xfa10_0009);
    device.put(0, 0x40, 0xffff_ffff, 4);
    expect(device.get(0, 0x40, 4)).toBe(0x0003_0fff);
  });

  it("tell the device what was written", () => {
    const seen: string[] = [];
    const device = bench({ onConfigWrite: (offset, width) => seen.push(`${offset}/${width}`) });
    device.put(0, 0x40, 0, 2);
    expect(seen).toEqual(["64/2"]);
  });

  it("must fit", () => {
    const capabilities = [{ id: 9, bytes: new Array(200).fill(0) }];
    expect(() => bench({ msiMessages: 1, capabilities })).toThrowError(
      expect.objectContaining({ code: "PCI_CONFIG_FULL" }),
    );
  });
});

describe("what firmware assigns", () => {
  const windows = {
    io: { base: 0xc000, end: 0xc100 },
    memory: { base: 0xe000_0000, end: 0xe010_0000 },
    interruptLine: (slot: number, pin: number) => ((slot + pin) % 2 === 0 ? 10 : 11),
  };

  it("is aligned, disjoint, inside its window, and decoded", () => {
    const device = bench(
      { slot: 1, interruptPin: 1, bars: [ioBar(32, 1), memoryBar(0x1000, 1)] },
      { slot: 2, interruptPin: 2, bars: [ioBar(64, 2), memoryBar(0x8000, 2)] },
    );
    assignPciResources(device.pci, windows);
    expect(device.get(1, AT.bar0, 4)).toBe(0xc001);
    expect(device.get(0, AT.bar0, 4)).toBe(0xc041);
    expect(device.get(1, AT.bar1, 4)).toBe(0xe000_0000);
    expect(device.get(0, AT.bar1, 4)).toBe(0xe000_8000);
    expect([device.read(0xc040), device.mmioRead(0xe000_0000)]).toEqual([1, 2]);
    expect([0, 1].map((i) => device.get(i, LINE, 1))).toEqual([10, 10]);
  });

  it("leaves out what does not fit, and does not decode it", () => {
    const device = bench({ bars: [memoryBar(0x20_0000, 1), ioBar(16, 2)] }, { bars: [memoryBar(0x1000, 3)] });
    assignPciResources(device.pci, windows);
    expect(device.get(0, AT.command, 2)).toBe(IO);
    expect(device.mmioRead(0xe000_0000)).toBe(3);
    expect(device.read(0xc000)).toBe(2);
  });
});
