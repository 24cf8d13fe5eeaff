import { describe, expect, it } from "vitest";
import { deviceUnderTest } from "../device/testing.ts";
import { type FwCfgOptions, fwCfg } from "./fw-cfg.ts";

const bytesOf = (text: string) => [...text].map((character) => character.charCodeAt(0));

const bench = (files: Record<string, Uint8Array> = {}) => benchWith({ files });

function benchWith(options: Pick<FwCfgOptions, "files" | "machineFiles">) {
  const device = deviceUnderTest(fwCfg, { ramBytes: 0x1_2345_6000, cpuCount: 3, ...options });
  return {
    ...device,
    item(key: number, length: number): number[] {
      device.write(0x510, key, 2);
      return Array.from({ length }, () => device.read(0x511));
    },
    /** A DMA request at 100h: control, length and address are big-endian, and so is the address register. */
    dma(control: number, length: number, address: number): number {
      const view = new DataView(device.memory.buffer);
      view.setUint32(0x100, control);
      view.setUint32(0x104, length);
      view.setBigUint64(0x108, BigInt(address));
      device.write(0x514, 0, 4);
      device.write(0x518, 0x0001_0000, 4);
      return view.getUint32(0x100);
    },
  };
}
/** Bits of the control field. */
const ERROR = 1;
const READ = 2;
const SKIP = 4;
const SELECT = 8;
const WRITE = 16;
const select = (key: number) => key * 0x1_0000 + SELECT;

describe("items (QEMU, docs/specs/fw_cfg)", () => {
  it.each([
    ["signature", 0x0000, bytesOf("QEMU")],
    ["interface: traditional and DMA", 0x0001, [3, 0, 0, 0]],
    ["RAM size, 64-bit little-endian", 0x0003, [0x00, 0x60, 0x45, 0x23, 0x01, 0, 0, 0]],
    ["CPU count, 16-bit little-endian", 0x0005, [3, 0]],
    ["most CPUs", 0x000f, [3, 0]],
    ["IRQ 0 at input 2 of the I/O APIC", 0x8002, [1]],
  ])("%s", (_, key, expected) => {
    const { item } = bench();
    expect(item(key, expected.length + 2)).toEqual([...expected, 0, 0]);
    expect(item(key, 1)).toEqual(expected.slice(0, 1));
  });

  it("that nobody knows read as zeros", () => {
    expect(bench().item(0x1234, 4)).toEqual([0, 0, 0, 0]);
  });

  it("list files in a directory: big-endian size and key, name of 56 bytes", () => {
    const { item } = bench({ "opt/a": Uint8Array.of(7, 8, 9), "etc/long/name": new Uint8Array(0x1234) });
    expect(item(0x19, 4)).toEqual([0, 0, 0, 2]);
    const directory = item(0x19, 4 + 128).slice(4);
    expect(directory.slice(0, 8)).toEqual([0, 0, 0, 3, 0, 0x20, 0, 0]);
    expect(directory.slice(8, 64)).toEqual([...bytesOf("opt/a"), ...new Array(51).fill(0)]);
    expect(directory.slice(64, 72)).toEqual([0, 0, 0x12, 0x34, 0, 0x21, 0, 0]);
    expect(directory.slice(72, 72 + 14)).toEqual([...bytesOf("etc/long/name"), 0]);
    expect(item(0x20, 4)).toEqual([7, 8, 9, 0]);
  });

  it("takes the machine's own files when somebody looks, and prefers those that were given", () => {
    let made = 0;
    const { item } = benchWith({
      files: { "opt/a": Uint8Array.of(1) },
      machineFiles: () => {
        made++;
        return { "etc/b": Uint8Array.of(2), "opt/a": Uint8Array.of(3) };
      },
    });
    expect(made).toBe(0);
    expect(item(0x19, 4)).toEqual([0, 0, 0, 2]);
    expect([item(0x20, 1), item(0x21, 1), made]).toEqual([[2], [1], 1]);
  });

  it.each([[""], ["x".repeat(56)], ["with space"], ["umläut"]])("refuse the name '%s'", (name) => {
    expect(() => bench({ [name]: new Uint8Array(1) })).toThrowError(
      expect.objectContaining({ code: "FW_CFG_FILE_INVALID" }),
    );
  });

  it("are selected by words and read by bytes only", () => {
    const { write, read, item } = bench();
    item(0, 1);
    write(0x510, 1);
    write(0x511, 0xff);
    expect(read(0x511)).toBe("E".charCodeAt(0));
    expect(read(0x510)).toBe(0xff);
  });

  it("keep their place in a snapshot and lose it at reset", () => {
    const device = bench();
    device.item(0, 2);
    expect(device.reincarnate().read(0x511)).toBe("M".charCodeAt(0));
    device.reset();
    expect(device.read(0x511)).toBe("Q".charCodeAt(0));
  });
});

describe("DMA", () => {
  it("announces itself at its address register", () => {
    const { read } = bench();
    expect(Array.from({ length: 8 }, (_, i) => read(0x514 + i))).toEqual(bytesOf("QEMU CFG"));
    expect(read(0x514, 4)).toBe(0x554d_4551);
  });

  it("selects and reads, with zeros beyond the end", () => {
    const device = bench({ "opt/a": Uint8Array.of(7, 8, 9) });
    device.memory.fill(0xee, 0x200, 0x210);
    expect(device.dma(select(0x20) | READ, 5, 0x200)).toBe(0);
    expect([...device.memory.subarray(0x200, 0x206)]).toEqual([7, 8, 9, 0, 0, 0xee]);
  });

  it("skips, and goes on where the last transfer ended", () => {
    const device = bench();
    expect(device.dma(select(0) | SKIP, 1, 0)).toBe(0);
    expect(device.dma(READ, 2, 0x200)).toBe(0);
    expect([...device.memory.subarray(0x200, 0x203)]).toEqual([...bytesOf("EM"), 0]);
    expect(device.read(0x511)).toBe("U".charCodeAt(0));
  });

  it("fails to write", () => {
    const device = bench({ "opt/a": Uint8Array.of(7) });
    expect(device.dma(select(0x20) | WRITE, 1, 0x200)).toBe(ERROR);
    expect(device.item(0x20, 1)).toEqual([7]);
  });

  it("stays inside guest memory, however large a guest makes it", () => {
    const device = bench({ "opt/a": Uint8Array.of(7, 8, 9) });
    expect(device.dma(select(0x20) | READ, 0x40_0000, 0xfffe)).toBe(0);
    expect([...device.memory.subarray(0xfffd)]).toEqual([0, 7, 8]);
    expect(device.dma(select(0x20) | READ, 3, 2 ** 52)).toBe(0);
    device.write(0x514, 0xffff_ffff, 4);
    expect(() => device.write(0x518, 0xffff_ffff, 4)).not.toThrow();
  });

  it("takes the address register's high half only once", () => {
    const device = bench();
    device.write(0x514, 0x0100_0000, 4);
    device.write(0x518, 0x0001_0000, 4);
    expect(device.dma(select(0) | READ, 4, 0x200)).toBe(0);
    expect([...device.memory.subarray(0x200, 0x204)]).toEqual(bytesOf("QEMU"));
  });
});
