import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Aml,
  argument,
  buffer,
  device,
  eisaId,
  ifTrue,
  integer,
  method,
  nameObject,
  nameString,
  packageOf,
  returnValue,
  scope,
  store,
  string,
} from "./aml.ts";
import { busWindow, isaIrq, memory32, memoryWindow, ports, portWindow, resourceTemplate } from "./resources.ts";
import { HEADER_LENGTH } from "./table.ts";

/** What Intel's compiler makes of ASL terms (`-oa`: without its optimizations), the table header cut off. */
function compile(asl: string): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), "portico-asl-"));
  try {
    writeFileSync(join(folder, "t.asl"), `DefinitionBlock ("", "DSDT", 2, "PORTIC", "PORTICO", 1) { ${asl} }`);
    execFileSync("iasl", ["-oa", "-p", join(folder, "t"), join(folder, "t.asl")], { stdio: "pipe" });
    return new Uint8Array(readFileSync(join(folder, "t.aml")).subarray(HEADER_LENGTH));
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const bytes = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index & 0xff);
const aslBytes = (length: number): string => [...bytes(length)].join(", ");

describe("terms are what iasl writes", () => {
  it.each<[string, Aml]>([
    ["Name (A, Zero)", nameObject("A", integer(0))],
    ["Name (A, One)", nameObject("A", integer(1))],
    ["Name (A, 2)", nameObject("A", integer(2))],
    ["Name (A, 0xFF)", nameObject("A", integer(0xff))],
    ["Name (A, 0x100)", nameObject("A", integer(0x100))],
    ["Name (A, 0xFFFF)", nameObject("A", integer(0xffff))],
    ["Name (A, 0x10000)", nameObject("A", integer(0x1_0000))],
    ["Name (A, 0xFFFFFFFF)", nameObject("A", integer(0xffff_ffff))],
    ["Name (A, 0x100000000)", nameObject("A", integer(0x1_0000_0000))],
    ["Name (A, Ones)", nameObject("A", integer(0xffff_ffff_ffff_ffffn))],
    ['Name (\\ABCD, "text")', nameObject("\\ABCD", string("text"))],
    ['Name (A, EisaId ("PNP0A03"))', nameObject("A", eisaId("PNP0A03"))],
    ['Name (A, EisaId ("ABC1DEF"))', nameObject("A", eisaId("ABC1DEF"))],
    ["Name (A, Package () { One, Package () { } })", nameObject("A", packageOf([integer(1), packageOf([])]))],
    [
      "Device (\\_SB.D) { Name (X, Zero) } Scope (\\_SB.D) { } Device (\\_SB.D.E) { Name (^^Y, One) }",
      Uint8Array.from([
        ...device("\\_SB.D", [nameObject("X", integer(0))]),
        ...scope("\\_SB.D", []),
        ...device("\\_SB.D.E", [nameObject("^^Y", integer(1))]),
      ]),
    ],
    ["Scope (\\) { Name (A, Zero) }", scope("\\", [nameObject("A", integer(0))])],
    [
      "Name (A, Zero) Method (M, 2) { A = Arg1 If (A) { Return (5) } Return (A) }",
      Uint8Array.from([
        ...nameObject("A", integer(0)),
        ...method("M", 2, [
          store(argument(1), nameString("A")),
          ifTrue(nameString("A"), [returnValue(integer(5))]),
          returnValue(nameString("A")),
        ]),
      ]),
    ],
  ])("%s", (asl, ours) => {
    expect(ours).toEqual(compile(asl));
  });

  // The lengths on both sides of each step of PkgLength (6, 12 and 20 bits).
  it.each([2, 60, 61, 62, 63, 64, 255, 256, 4087, 4088, 4089, 4090, 4091, 4092])("a buffer of %i bytes", (length) => {
    expect(nameObject("A", buffer(bytes(length)))).toEqual(
      compile(`Name (A, Buffer (${length}) { ${aslBytes(length)} })`),
    );
  });

  it("a PkgLength of four bytes", () => {
    const length = 0x10_0000;
    const encoded = buffer(new Uint8Array(length));
    // ACPI 6.5, section 20.2.4: PkgLength counts itself; BufferOp 11h, then DWordPrefix 0Ch and the size.
    const pkgLength = 4 + 5 + length;
    expect([...encoded.subarray(0, 10)]).toEqual([
      0x11,
      0xc0 | (pkgLength & 0xf),
      (pkgLength >> 4) & 0xff,
      (pkgLength >> 12) & 0xff,
      pkgLength >> 20,
      0x0c,
      0x00,
      0x00,
      0x10,
      0x00,
    ]);
  });
});

describe("resource descriptors are what iasl writes", () => {
  it.each<[string, Uint8Array]>([
    ["IO (Decode16, 0x70, 0x70, 1, 2)", ports(0x70, 2)],
    ["IRQNoFlags () { 12 }", isaIrq(12)],
    ["Memory32Fixed (ReadWrite, 0xFEC00000, 0x1000)", memory32(0xfec0_0000, 0x1000, true)],
    ["Memory32Fixed (ReadOnly, 0xFED00000, 0x400)", memory32(0xfed0_0000, 0x400, false)],
    ["WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 255, 0, 256)", busWindow(0, 255)],
    [
      "WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0xD00, 0xFFFF, 0, 0xF300)",
      portWindow(0xd00, 0xffff),
    ],
    [
      "DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite, 0, 0x8000000, 0xFEBFFFFF, 0, 0xF6C00000)",
      memoryWindow(0x800_0000, 0xfebf_ffff),
    ],
  ])("%s", (asl, ours) => {
    expect(nameObject("A", resourceTemplate([ours]))).toEqual(compile(`Name (A, ResourceTemplate () { ${asl} })`));
  });
});

it("refuses names that ACPI does not know", () => {
  expect(() => nameString("TOOLONG")).toThrow("not an ACPI name");
  expect(() => nameString("low")).toThrow("not an ACPI name");
  expect(() => eisaId("PNP12345")).toThrow("plug-and-play");
});
