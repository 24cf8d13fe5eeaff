import { describe, expect, it } from "vitest";
import { defineDevice } from "../device/define.ts";
import { deviceUnderTest } from "../device/testing.ts";
import { pciHost, type ShadowSegment } from "./pci-host.ts";

/** A network card in slot 3, whose BAR0 and bytes 40h-43h can be written. */
const card = defineDevice("card", (host) => {
  host.pciFunction({
    slot: 3,
    vendorId: 0x1af4,
    deviceId: 0x1000,
    classCode: 0x02_0000,
    bars: [{ kind: "io", size: 32, handlers: { read: () => 0x5a } }],
    registers: [{ offset: 0x40, bytes: [0, 0, 0, 0], writable: [0xff, 0xff, 0xff, 0xff] }],
  });
});

function bench(shadow: (segments: readonly ShadowSegment[]) => void = () => {}) {
  const device = deviceUnderTest(pciHost, { shadow });
  device.add(card, undefined);
  const address = (slot: number, offset: number, f = 0) => 0x8000_0000 + slot * 0x800 + f * 0x100 + offset;
  return {
    ...device,
    select: (slot: number, offset: number, f = 0) => device.write(0xcf8, address(slot, offset & 0xfc, f), 4),
  };
}

describe("configuration mechanism 1 (PCI 3.0, 3.2.2.3.2)", () => {
  it("reads functions by dword, word and byte at CFC-CFF", () => {
    const { select, read } = bench();
    select(3, 0);
    expect(read(0xcfc, 4)).toBe(0x1000_1af4);
    expect(read(0xcfe, 2)).toBe(0x1000);
    expect(read(0xcfc, 2)).toBe(0x1af4);
    expect([0, 1, 2, 3].map((i) => read(0xcfc + i))).toEqual([0xf4, 0x1a, 0x00, 0x10]);
  });

  it("writes functions by dword, word and byte", () => {
    const { select, read, write } = bench();
    select(3, 0x40);
    write(0xcfc, 0x4433_2211, 4);
    write(0xcfe, 0xbbaa, 2);
    write(0xcfd, 0x99);
    expect(read(0xcfc, 4)).toBe(0xbbaa_9911);
  });

  it("gives all ones for functions that are not there", () => {
    const { select, read, write } = bench();
    for (const [slot, f] of [
      [1, 0],
      [3, 1],
      [31, 7],
    ]) {
      select(slot, 0, f);
      expect(read(0xcfc, 4)).toBe(0xffff_ffff);
      expect(read(0xcfe, 2)).toBe(0xffff);
    }
    write(0xcf8, 0x8001_1800, 4);
    expect(read(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it("is off while the enable bit is clear", () => {
    const { read, write } = bench();
    write(0xcf8, 0x0000_1800, 4);
    expect(read(0xcfc, 4)).toBe(0xffff_ffff);
  });

  it("keeps the address register a dword: bytes and words pass by", () => {
    const { read, write } = bench();
    write(0xcf8, 0xffff_ffff, 4);
    expect(read(0xcf8, 4)).toBe(0x80ff_fffc);
    // How Linux and others probe for mechanism 1 (arch/x86/pci/direct.c): a byte to CFB, then a dword back and forth.
    write(0xcfb, 0x01);
    write(0xcf8, 0x8000_0000, 4);
    expect(read(0xcf8, 4)).toBe(0x8000_0000);
    expect(read(0xcf8)).toBe(0xff);
    write(0xcf8, 0x1234, 2);
    expect(read(0xcf8, 4)).toBe(0x8000_0000);
  });

  it("enables a card's ports", () => {
    const { select, read, write } = bench();
    select(3, 0x10);
    write(0xcfc, 0xc000, 4);
    select(3, 0x04);
    write(0xcfc, 1, 2);
    expect(read(0xc01f)).toBe(0x5a);
  });

  it("comes back from a snapshot with its address", () => {
    const device = deviceUnderTest(pciHost, { shadow: () => {} });
    device.write(0xcf8, 0x8000_1840, 4);
    expect(device.reincarnate().read(0xcf8, 4)).toBe(0x8000_1840);
    device.reset();
    expect(device.read(0xcf8, 4)).toBe(0);
  });
});

describe("the host bridge", () => {
  it("is an 82441FX in slot 0", () => {
    const { select, read } = bench();
    select(0, 0);
    expect(read(0xcfc, 4)).toBe(0x1237_8086);
    select(0, 8);
    expect(read(0xcfc, 4) >>> 8).toBe(0x06_0000);
    select(0, 0x2c);
    expect(read(0xcfc, 4)).toBe(0x1100_1af4);
    select(0, 4);
    expect(read(0xcfc, 2)).toBe(0x0006);
    select(0, 0x0c);
    expect(read(0xcfe)).toBe(0);
  });

  it("is all RAM once firmware has unlocked it, with SMRAM locked", () => {
    const seen: (readonly ShadowSegment[])[] = [];
    const { select, read, write, api } = bench((segments) => seen.push(segments));
    api.unlockShadow();
    select(0, 0x58);
    expect(read(0xcfc, 4)).toBe(0x3333_3000);
    expect(seen.at(-1)!.every((segment) => segment.read === "ram" && segment.write === "ram")).toBe(true);
    select(0, 0x70);
    write(0xcfe, 0x40);
    expect(read(0xcfe)).toBe(0x12);
  });

  it("sends parts of the BIOS area to RAM or ROM (82441FX, 3.2.18)", () => {
    const seen: (readonly ShadowSegment[])[] = [];
    const { select, write, reset } = bench((segments) => seen.push(segments));
    const last = (base: number) => seen.at(-1)!.find((segment) => segment.base === base);
    select(0, 0x58);
    write(0xcfd, 0x30);
    expect(last(0xf_0000)).toEqual({ base: 0xf_0000, length: 0x1_0000, read: "ram", write: "ram" });
    expect(last(0xc_0000)).toEqual({ base: 0xc_0000, length: 0x4000, read: "pci", write: "pci" });
    write(0xcfe, 0x21);
    expect(last(0xc_0000)).toEqual({ base: 0xc_0000, length: 0x4000, read: "ram", write: "pci" });
    expect(last(0xc_4000)).toEqual({ base: 0xc_4000, length: 0x4000, read: "pci", write: "ram" });
    select(0, 0x5c);
    write(0xcff, 0x10);
    expect(last(0xe_c000)).toEqual({ base: 0xe_c000, length: 0x4000, read: "ram", write: "pci" });
    const covered = seen.at(-1)!.reduce((sum, { length }) => sum + length, 0);
    expect(covered).toBe(0x4_0000);
    reset();
    expect(seen.at(-1)!.every(({ read, write }) => read === "pci" && write === "pci")).toBe(true);
  });
});

describe("reset control at CF9h (ICH9, 13.7.5)", () => {
  it("resets when bit 2 rises", () => {
    const { write, read, board } = bench();
    write(0xcf9, 0x02);
    expect(board).toEqual([]);
    expect(read(0xcf9)).toBe(0x02);
    write(0xcf9, 0x06);
    expect(board).toEqual([{ kind: "reset" }]);
    write(0xcf9, 0x06);
    expect(board.length).toBe(1);
  });

  it("resets at the FADT's single write of 06h, and again after the machine was reset", () => {
    const { write, reset, board } = bench();
    write(0xcf9, 0x06);
    reset();
    write(0xcf9, 0x06);
    expect(board.length).toBe(2);
  });

  it("does not touch the configuration address", () => {
    const { write, read } = bench();
    write(0xcf8, 0x8000_1840, 4);
    write(0xcf9, 0x00);
    expect(read(0xcf8, 4)).toBe(0x8000_1840);
  });
});
