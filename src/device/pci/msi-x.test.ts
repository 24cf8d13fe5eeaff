import { describe, expect, it } from "vitest";
import { defineDevice } from "../define.ts";
import { type DeviceUnderTest, deviceUnderTest } from "../testing.ts";
import type { PciFunction, PciFunctionOptions } from "../types.ts";

const COMMAND = 0x04;
const STATUS = 0x06;
const CAPABILITIES = 0x34;
const MEMORY = 2;
const MASTER = 4;
const ENABLE = 0x8000;
const FUNCTION_MASK = 0x4000;
const BAR = 0x8000_0000;

const card = defineDevice(
  "card",
  (host, options: Partial<PciFunctionOptions>): PciFunction =>
    host.pciFunction({ vendorId: 0x1234, deviceId: 0x5678, classCode: 0x02_0000, slot: 4, ...options }),
);

function bench(vectors: number, options: Partial<PciFunctionOptions> = {}) {
  const device = deviceUnderTest(card, { interruptPin: 1, msiX: { vectors }, ...options });
  return setUp(device);
}

function setUp(device: DeviceUnderTest<PciFunction>) {
  const get = (offset: number, width: number) => device.pci.read(0, 0x20, offset, width);
  const put = (offset: number, value: number, width: number) => device.pci.write(0, 0x20, offset, value, width);
  const capability = get(CAPABILITIES, 1);
  const place = (offset: number) => get(capability + offset, 4);
  return {
    device,
    get,
    put,
    capability,
    function: device.api,
    /** Puts the BAR of the table at 2 GiB. */
    map: () => {
      put(0x10 + 4 * (place(4) & 7), BAR, 4);
      put(COMMAND, MEMORY | MASTER, 2);
    },
    control: (bits: number) => put(capability + 2, bits, 2),
    table: (vector: number, dword: number) => BAR + (place(4) & ~7) + vector * 16 + dword * 4,
    pending: (dword: number) => device.mmioRead(BAR + (place(8) & ~7) + dword * 4),
    /** As a driver does: address and data of a vector, then its mask. */
    program(vector: number, data: number, control = 0) {
      device.mmioWrite(this.table(vector, 0), 0xfee0_1000);
      device.mmioWrite(this.table(vector, 1), 0);
      device.mmioWrite(this.table(vector, 2), data);
      device.mmioWrite(this.table(vector, 3), control);
    },
    sent: () => device.msis.map(({ data }) => data),
  };
}

describe("MSI-X (PCI 3.0, 6.8.2)", () => {
  it.each([
    [1, 0x2000],
    [3, 0x2000],
    [256, 0x2000],
    [257, 0x4000],
    [2048, 0x1_0000],
  ])("announces %i vectors, with table and pending bits in a BAR of their own", (vectors, size) => {
    const { get, put, capability } = bench(vectors);
    expect(get(STATUS, 2) & 0x10).toBe(0x10);
    expect([get(capability, 1), get(capability + 2, 2)]).toEqual([0x11, vectors - 1]);
    expect([get(capability + 4, 4), get(capability + 8, 4)]).toEqual([0, size / 2]);
    put(0x10, 0xffff_ffff, 4);
    expect(get(0x10, 4)).toBe(2 ** 32 - size);
    // Table size and places are read-only; the two bits of the control word are not.
    for (let offset = 2; offset < 12; offset += 2) put(capability + offset, 0xffff, 2);
    expect(get(capability + 2, 2)).toBe(ENABLE | FUNCTION_MASK | (vectors - 1));
    expect([get(capability + 4, 4), get(capability + 8, 4)]).toEqual([0, size / 2]);
  });

  it("takes the first BAR that is free, or the one it is given", () => {
    const bars = [{ kind: "memory", size: 0x1000, wide: true, handlers: {} }] as const;
    const first = bench(2, { bars });
    expect([first.get(first.capability + 4, 4), first.get(first.capability + 8, 4)]).toEqual([2, 0x1002]);
    const chosen = bench(2, { bars, msiX: { vectors: 2, bar: 4 } });
    expect([chosen.get(chosen.capability + 4, 4), chosen.get(chosen.capability + 8, 4)]).toEqual([4, 0x1004]);
  });

  it.each([
    ["no vector", { msiX: { vectors: 0 } }, "PCI_MSI_INVALID"],
    ["too many", { msiX: { vectors: 2049 } }, "PCI_MSI_INVALID"],
    [
      "a BAR in use",
      { msiX: { vectors: 1, bar: 0 }, bars: [{ kind: "io", size: 4, handlers: {} }] },
      "PCI_BAR_INVALID",
    ],
    ["no BAR seven", { msiX: { vectors: 1, bar: 6 } }, "PCI_BAR_INVALID"],
  ] as const)("refuses %s", (_, options, code) => {
    expect(() => deviceUnderTest(card, options)).toThrowError(expect.objectContaining({ code }));
  });

  it("has all vectors masked at first, and keeps what is written", () => {
    const { device, map, table } = bench(3);
    map();
    const entry = (vector: number) => [0, 1, 2, 3].map((dword) => device.mmioRead(table(vector, dword)));
    expect(entry(2)).toEqual([0, 0, 0, 1]);
    for (let dword = 0; dword < 4; dword++) device.mmioWrite(table(2, dword), 0xffff_ffff);
    expect(entry(2)).toEqual([0xffff_fffc, 0xffff_ffff, 0xffff_ffff, 1]);
    device.mmioWrite64(table(0, 2), 0x1_2345_6789n);
    expect(device.mmioRead64(table(0, 2))).toBe(0x1_2345_6789n);
    expect(device.mmioRead(table(3, 3))).toBe(0);
    device.reset();
    map();
    expect(entry(2)).toEqual([0, 0, 0, 1]);
  });

  it("sends each vector's own message once enabled, and takes the place of the pin", () => {
    const system = bench(4);
    const { device, function: f } = system;
    system.map();
    system.program(1, 0x41);
    system.program(3, 0x43);
    expect(f.message(1)).toBe(false);
    f.interrupt.set(true);
    expect(device.lines.level(16)).toBe(true);
    system.control(ENABLE);
    expect(device.lines.level(16)).toBe(false);
    expect([f.message(3), f.message(1)]).toEqual([true, true]);
    expect(device.msis).toEqual([
      { address: 0xfee0_1000, data: 0x43 },
      { address: 0xfee0_1000, data: 0x41 },
    ]);
    system.control(0);
    expect([f.message(1), device.lines.level(16)]).toEqual([false, true]);
  });

  it("holds a masked vector's message back, once, until the mask goes", () => {
    const system = bench(70);
    system.map();
    system.control(ENABLE);
    system.program(69, 0x69, 1);
    system.program(0, 0x40);
    for (let i = 0; i < 3; i++) system.function.message(69);
    system.function.message(0);
    expect([system.sent(), [0, 1, 2, 3].map(system.pending)]).toEqual([[0x40], [0, 0, 1 << 5, 0]]);
    // Pending bits are read-only.
    system.device.mmioWrite(BAR + 0x1008, 0);
    expect(system.pending(2)).toBe(1 << 5);
    system.device.mmioWrite(system.table(69, 3), 0);
    expect([system.sent(), system.pending(2)]).toEqual([[0x40, 0x69], 0]);
    system.device.mmioWrite(system.table(69, 3), 0);
    expect(system.sent().length).toBe(2);
  });

  it("holds all back while the function is masked", () => {
    const system = bench(3);
    system.map();
    system.control(ENABLE | FUNCTION_MASK);
    for (const vector of [0, 1, 2]) system.program(vector, 0x40 + vector, vector === 1 ? 1 : 0);
    for (const vector of [2, 1, 0]) system.function.message(vector);
    expect([system.sent(), system.pending(0)]).toEqual([[], 7]);
    system.control(ENABLE);
    expect([system.sent(), system.pending(0)]).toEqual([[0x40, 0x42], 2]);
  });

  it("needs bus mastering", () => {
    const system = bench(1);
    system.map();
    system.control(ENABLE);
    system.program(0, 0x40);
    system.put(COMMAND, MEMORY, 2);
    expect(system.function.message(0)).toBe(true);
    expect(system.sent()).toEqual([]);
  });

  it("stands behind MSI in the capability list, and comes first when both are on", () => {
    const system = bench(1, { msiMessages: 1 });
    const second = system.get(system.capability + 1, 1);
    expect([system.get(system.capability, 1), system.get(second, 1)]).toEqual([0x05, 0x11]);
    system.put(COMMAND, MASTER, 2);
    system.put(system.capability + 2, 1, 2);
    system.put(second + 2, ENABLE, 2);
    expect(system.function.message(0)).toBe(true);
    expect(system.sent()).toEqual([]); // the vector is masked
  });

  it("comes back from a snapshot with its table, masks and pending bits", () => {
    const system = bench(3);
    system.map();
    system.control(ENABLE);
    system.program(2, 0x42, 1);
    system.function.message(2);
    const copy = setUp(system.device.reincarnate());
    expect([copy.pending(0), copy.device.mmioRead(copy.table(2, 2))]).toEqual([4, 0x42]);
    copy.device.mmioWrite(copy.table(2, 3), 0);
    expect(copy.sent()).toEqual([0x42]);
  });
});
