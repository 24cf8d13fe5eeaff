import { describe, expect, it } from "vitest";
import { symbolsIn } from "./kallsyms.ts";
import { KernelSymbols, readSymbols } from "./kernel-symbols.ts";

const text = (lines: string) => new TextEncoder().encode(lines);
const KERNEL = -0x7f00_0000;

describe("symbols", () => {
  const symbols = new KernelSymbols([
    { name: "a_percpu_variable", address: 0x1000 },
    { name: "start", address: KERNEL },
    { name: "alias", address: KERNEL },
    { name: "next", address: KERNEL + 0x100 },
  ]);

  it.each([
    [KERNEL, "start"],
    [KERNEL + 0xff, "start+0xff"],
    [KERNEL + 0x100, "next"],
    [KERNEL + 0x1101, undefined],
    [KERNEL - 1, undefined],
    [0x1000, undefined],
  ])("%i is %s", (address, name) => {
    expect(symbols.describe(address)).toBe(name);
  });

  it("are found by name; a symbol has the room up to the next", () => {
    expect(["alias", "a_percpu_variable", "none"].map((name) => symbols.address(name))).toEqual([
      KERNEL,
      0x1000,
      undefined,
    ]);
    expect([symbols.room(KERNEL), symbols.room(KERNEL + 0x100)]).toEqual([0x100, undefined]);
  });
});

describe("a file of symbols", () => {
  it("the text of /proc/kallsyms, moved to where the kernel runs", () => {
    const file = text(
      "ffffffff81000000 T _text\nffffffff81e00080 T entry_SYSCALL_64\nffffffffc0000000 t helper\t[module]\n",
    );
    const symbols = readSymbols(file);
    expect([symbols.size, symbols.describe(-0x7f00_0000), symbols.describe(-0x4000_0000)]).toEqual([
      3,
      "_text",
      "helper",
    ]);
    const moved = symbols.relocated(-0x7e20_0000 + 0x80 + 0x60_0000);
    expect([moved.address("_text"), moved.fits(-0x7e20_0000 + 0x80 + 0x60_0000)]).toEqual([-0x7ea0_0000, true]);
  });

  it("an ELF symbol table", () => {
    const file = new Uint8Array(512);
    const view = new DataView(file.buffer);
    file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
    view.setBigUint64(40, 64n, true); // section headers: none, symbols, names
    view.setUint16(58, 64, true);
    view.setUint16(60, 3, true);
    const section = (index: number, type: number, offset: number, length: number, link: number) => {
      const at = 64 + index * 64;
      view.setUint32(at + 4, type, true);
      view.setBigUint64(at + 24, BigInt(offset), true);
      view.setBigUint64(at + 32, BigInt(length), true);
      view.setUint32(at + 40, link, true);
    };
    section(1, 2, 256, 48, 2);
    section(2, 3, 320, 16, 0);
    view.setUint32(256 + 24, 1, true);
    view.setBigUint64(256 + 32, 0xffff_ffff_8100_0040n, true);
    file.set(text("\0a_name\0"), 320);
    expect(readSymbols(file).address("a_name")).toBe(-0x7f00_0000 + 0x40);
    expect(() => readSymbols(file.subarray(0, 200))).toThrow(expect.objectContaining({ code: "SYMBOLS" }));
  });

  it.each([
    ["nothing", ""],
    ["what a reader without rights is shown", "0000000000000000 T _text\n"],
    ["something else", "portico\n"],
  ])("refuses %s", (_, lines) => {
    expect(() => readSymbols(text(lines))).toThrow(expect.objectContaining({ code: "SYMBOLS" }));
  });
});

/** What scripts/kallsyms.c makes, with characters and one longer word as tokens. */
function kallsyms(names: readonly string[], layout: "6.1" | "6.2" | "6.4", wide: boolean): Uint8Array {
  const pointer = wide ? 8 : 4;
  const bytes: number[] = [];
  const align = () => {
    while (bytes.length % pointer !== 0) bytes.push(0);
  };
  const number = (value: number | bigint, length: number) => {
    for (let i = 0; i < length; i++) bytes.push(Number((BigInt.asUintN(64, BigInt(value)) >> BigInt(i * 8)) & 0xffn));
  };
  const tokens = Array.from({ length: 256 }, (_, i) => (i >= 0x21 && i < 0x7f ? String.fromCharCode(i) : `word${i}`));
  const base = wide ? KERNEL : 0xc100_0000;
  const offsets = () => {
    align();
    for (let i = 0; i < names.length; i++) number(wide ? -1 - i * 16 : i * 16, 4);
    align();
    number(base, pointer);
  };
  number(0x1234_5678, 4);
  align();
  if (layout !== "6.4") offsets();
  number(names.length, 4);
  align();
  const start = bytes.length;
  const markers: number[] = [];
  names.forEach((name, i) => {
    if (i % 256 === 0) markers.push(bytes.length - start);
    const codes = [...`T${name}`].map((character) => character.charCodeAt(0));
    if (codes.length < 128) bytes.push(codes.length);
    else bytes.push((codes.length & 0x7f) | 0x80, codes.length >> 7);
    bytes.push(...codes);
  });
  align();
  for (const marker of markers) number(marker, 4);
  align();
  for (let i = 0; layout === "6.2" && i < names.length; i++) bytes.push(i >> 16, i >> 8, i & 0xff);
  align();
  const places: number[] = [];
  const table = bytes.length;
  for (const token of tokens) {
    places.push(bytes.length - table);
    bytes.push(...text(token), 0);
  }
  align();
  for (const place of places) number(place, 2);
  if (layout === "6.4") offsets();
  for (let i = 0; i < 64; i++) bytes.push(0x30, 0);
  return Uint8Array.from(bytes);
}

describe.each(["6.1", "6.2", "6.4"] as const)("the table of a running kernel, Linux %s", (layout) => {
  it.each([
    ["64-bit", true, 2001],
    ["64-bit", true, 2048],
    ["32-bit", false, 2003],
  ])("%s, %j, %i symbols", (_, wide, count) => {
    const names = Array.from({ length: count }, (_, i) => `symbol_${i}${i % 100 === 7 ? "_long".repeat(30) : ""}`);
    const ram = new Uint8Array(0x2_0000);
    ram.set(kallsyms(names, layout, wide).subarray(0, 0x1_f000), 0x800);
    const [symbols] = symbolsIn(ram, 0, ram.length, wide);
    expect(symbols?.size).toBe(count);
    const base = wide ? KERNEL : 0xc100_0000;
    expect(names.map((name) => symbols!.address(name))).toEqual(names.map((_, i) => base + i * 16));
  });
});

describe("what only looks like such a table is none", () => {
  const names = Array.from({ length: 2000 }, (_, i) => `symbol_${i}`);
  const room = (table: Uint8Array) => {
    const ram = new Uint8Array(0x2_0000);
    ram.set(table);
    return ram;
  };

  it("offsets that would begin in front of memory", () => {
    const table = kallsyms(names, "6.1", true);
    const base = 8 + names.length * 4;
    expect([...symbolsIn(room(table), 0, 0x2_0000, true)].length).toBe(1);
    expect([...symbolsIn(room(table.subarray(base)), 0, 0x2_0000, true)]).toEqual([]);
  });

  it.each([
    [511, 1],
    [512, 0],
  ])("a name of %i characters", (length, found) => {
    const table = kallsyms([...names.slice(1), "x".repeat(length)], "6.4", true);
    expect([...symbolsIn(room(table), 0, 0x2_0000, true)].length).toBe(found);
  });
});
