import { describe, expect, it } from "vitest";
import { TLB_ENTRIES, TLB_SIZE } from "../../memory/layout.ts";
import { Tlb } from "./tlb.ts";
import { TLB_ENTRY } from "./tlb-layout.ts";

const PAGE = 4096;
const HOST = 0x50_0000;

function tlbUnderTest(): Tlb {
  return new Tlb(new WebAssembly.Memory({ initial: Math.ceil(TLB_SIZE / 65536) }), 0);
}

interface Rights {
  readable?: boolean;
  writable?: boolean;
  executable?: boolean;
  global?: boolean;
  large?: boolean;
}

function fill(tlb: Tlb, linear: number, rights: Rights = {}): void {
  const { readable = true, writable = true, executable = true, global = false, large = false } = rights;
  const high = Math.floor(linear / 2 ** 32);
  tlb.fill(linear >>> 0, high, HOST, 0x1000, readable, writable, executable, global, large, false);
}

describe("a hit", () => {
  it.each([
    ["low half", 0x1234_5000],
    ["upper half of the canonical addresses", -0x8000_0000 + 0x5000],
    ["beyond 4 GiB", 0x7fff_1234_5000],
  ])("%s: gives the host address, within the page only", (_, linear) => {
    const tlb = tlbUnderTest();
    fill(tlb, linear);
    expect(tlb.hit(linear + 0x10, 4, TLB_ENTRY.readTag)).toBe(HOST + 0x10);
    expect(tlb.hit(linear + PAGE - 8, 8, TLB_ENTRY.readTag)).toBe(HOST + PAGE - 8);
    expect(tlb.hit(linear + PAGE - 7, 8, TLB_ENTRY.readTag)).toBe(0);
    expect(tlb.hit(linear + TLB_ENTRIES * PAGE, 4, TLB_ENTRY.readTag)).toBe(0);
    expect(tlb.hit(linear + 2 ** 32, 4, TLB_ENTRY.readTag)).toBe(0);
  });

  it("needs the right that is asked for", () => {
    const tlb = tlbUnderTest();
    fill(tlb, 0x5000, { writable: false });
    expect(tlb.hit(0x5000, 4, TLB_ENTRY.readTag)).toBe(HOST);
    expect(tlb.hit(0x5000, 4, TLB_ENTRY.writeTag)).toBe(0);
  });
});

describe("INVLPG", () => {
  it("drops every part of a large page that the address lies in, and no other page", () => {
    const tlb = tlbUnderTest();
    fill(tlb, 0x40_1000, { large: true });
    fill(tlb, 0x40_2000, { large: true, global: true });
    fill(tlb, 0x40_3000);
    tlb.invalidate(0x40_5000);
    expect([0x40_1000, 0x40_2000].map((linear) => tlb.hit(linear, 4, TLB_ENTRY.readTag))).toEqual([0, 0]);
    expect(tlb.hit(0x40_3000, 4, TLB_ENTRY.readTag)).toBe(HOST);
  });
});

describe("a flush", () => {
  it("finds entries that were global, then not, and the other way round", () => {
    const tlb = tlbUnderTest();
    fill(tlb, 0x5000, { global: true });
    fill(tlb, 0x5000);
    fill(tlb, 0x6000);
    fill(tlb, 0x6000, { global: true });
    tlb.flush(true);
    expect(tlb.hit(0x5000, 4, TLB_ENTRY.readTag)).toBe(0);
    expect(tlb.hit(0x6000, 4, TLB_ENTRY.readTag)).toBe(HOST);
    fill(tlb, 0x6000);
    tlb.flush(true);
    expect(tlb.hit(0x6000, 4, TLB_ENTRY.readTag)).toBe(0);
  });

  it("drops what was filled, and keeps global translations when asked to", () => {
    const tlb = tlbUnderTest();
    fill(tlb, 0x5000);
    fill(tlb, 0x6000, { global: true });
    tlb.flush(true);
    expect(tlb.hit(0x5000, 4, TLB_ENTRY.readTag)).toBe(0);
    expect(tlb.hit(0x6000, 4, TLB_ENTRY.readTag)).toBe(HOST);
    tlb.flush(false);
    expect(tlb.hit(0x6000, 4, TLB_ENTRY.readTag)).toBe(0);
  });

  it("forgets nothing after any number of fills without rights", () => {
    const tlb = tlbUnderTest();
    for (let i = 0; i < 2 * TLB_ENTRIES; i++) {
      fill(tlb, 0x7000, { readable: false, writable: false, executable: false });
    }
    fill(tlb, 0x5000);
    tlb.flush(false);
    expect(tlb.hit(0x5000, 4, TLB_ENTRY.readTag)).toBe(0);
  });

  it("is complete after pages were dropped one by one", () => {
    const tlb = tlbUnderTest();
    for (let page = 0; page < 3; page++) fill(tlb, page * PAGE);
    tlb.invalidate(PAGE);
    fill(tlb, PAGE);
    tlb.flush(false);
    for (let page = 0; page < 3; page++) expect(tlb.hit(page * PAGE, 4, TLB_ENTRY.readTag)).toBe(0);
  });
});
