import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeSvmIo, encodeSvmIo, type SvmIoExit, svmStringOperand } from "./svm-io.ts";
import {
  decodeVmxIo,
  decodeVmxStringInformation,
  encodeVmxIo,
  encodeVmxStringInformation,
  VMX_BASIC_INS_OUTS,
  vmxStringOperand,
} from "./vmx-io.ts";

const PORTS = [0, 0x60, 0x80, 0xff, 0x100, 0x1f0, 0x3f8, 0xcf8, 0x7fff, 0x8000, 0xffff];
const io = (port: number, bytes: 1 | 2 | 4, direction: "in" | "out") => ({
  port,
  bytes,
  direction,
  string: false,
  rep: false,
});

describe("VT-x I/O qualification (SDM vol 3, table 28-5)", () => {
  it.each([
    ["IN AL, 60h", 0x0060_0048, { ...io(0x60, 1, "in"), immediate: true }],
    ["OUT DX, EAX at CF8h", 0x0cf8_0003, { ...io(0xcf8, 4, "out"), immediate: false }],
    ["REP INSW at 1F0h", 0x01f0_0039, { ...io(0x1f0, 2, "in"), string: true, rep: true, immediate: false }],
  ] as const)("%s", (_, qualification, exit) => {
    expect(decodeVmxIo(qualification)).toEqual({ ok: true, value: exit });
    expect(encodeVmxIo(exit)).toBe(qualification);
  });

  it("every low half at every kind of port either decodes and encodes to itself, or is refused for a reason", () => {
    const refused: Record<string, number> = {};
    for (const port of PORTS) {
      for (let low = 0; low < 0x1_0000; low++) {
        const qualification = ((port << 16) | low) >>> 0;
        const exit = decodeVmxIo(qualification);
        if (exit.ok) {
          if (encodeVmxIo(exit.value) !== qualification) expect.fail(qualification.toString(16));
        } else refused[exit.fault] = (refused[exit.fault] ?? 0) + 1;
      }
    }
    // 512 values of bits 15 to 7, of which one is legal; five of eight sizes; immediates of strings and of high ports.
    const high = PORTS.filter((port) => port > 0xff).length;
    expect(refused).toEqual({
      reserved: PORTS.length * (0x1_0000 - 0x80),
      size: PORTS.length * 5 * 16,
      contradiction: 3 * (8 * high + 4 * (PORTS.length - high)),
    });
  });

  it("every port", () => {
    for (let port = 0; port < 0x1_0000; port++) {
      const exit = { ...io(port, 2, "out"), immediate: false };
      const read = decodeVmxIo(encodeVmxIo(exit));
      if (!read.ok || read.value.port !== port) expect.fail(String(port));
    }
  });

  it.each([
    2 ** 32 + 0x48,
    2 ** 63,
    -1,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
  ])("%d is no qualification", (value) => {
    expect(decodeVmxIo(value)).toEqual({ ok: false, fault: "reserved" });
  });
});

describe("VT-x INS and OUTS (SDM vol 3, table 28-9)", () => {
  it("address sizes and segments, both ways, whatever the undefined bits hold", () => {
    for (const [size, addressBits] of ([16, 32, 64] as const).entries()) {
      for (const [number, segment] of ["es", "cs", "ss", "ds", "fs", "gs"].entries()) {
        const information = (size << 7) | (number << 15);
        const junk = ~((7 << 7) | (7 << 15));
        expect(decodeVmxStringInformation(information | junk, "out")).toEqual({
          ok: true,
          value: { addressBits, segment },
        });
        expect(decodeVmxStringInformation(information, "in")).toEqual({
          ok: true,
          value: { addressBits, segment: undefined },
        });
        expect(encodeVmxStringInformation({ addressBits, segment } as never)).toBe(information);
      }
      expect(encodeVmxStringInformation({ addressBits, segment: undefined })).toBe(size << 7);
    }
    for (let size = 3; size < 8; size++) expect(decodeVmxStringInformation(size << 7, "in").ok).toBe(false);
    for (const number of [6, 7]) {
      expect(decodeVmxStringInformation(number << 15, "out")).toEqual({ ok: false, fault: "segment" });
      expect(decodeVmxStringInformation(number << 15, "in").ok).toBe(true);
    }
  });

  it("without IA32_VMX_BASIC bit 54 only the linear address is given", () => {
    expect(vmxStringOperand("out", VMX_BASIC_INS_OUTS - 1n, 0x1_8100, 0x1234n)).toEqual({
      ok: true,
      value: { kind: "decode", linear: 0x1234n },
    });
    expect(vmxStringOperand("out", VMX_BASIC_INS_OUTS, 0x1_8100, 0x1234n)).toEqual({
      ok: true,
      value: { kind: "known", addressBits: 64, segment: "ds", linear: 0x1234n },
    });
    expect(vmxStringOperand("in", VMX_BASIC_INS_OUTS, 0x1_8080, 0x1234n)).toMatchObject({
      value: { addressBits: 32, segment: "es" },
    });
    expect(vmxStringOperand("in", VMX_BASIC_INS_OUTS, 0x380, 0n)).toEqual({ ok: false, fault: "address-size" });
  });
});

describe("AMD-V EXITINFO1 of I/O (APM vol 2, figure 15-2)", () => {
  it.each([
    ["IN AL, 60h", 0x0060_0111, { ...io(0x60, 1, "in"), addressBits: 32, segment: 0 }],
    ["OUT DX, EAX at CF8h", 0x0cf8_0240, { ...io(0xcf8, 4, "out"), addressBits: 64, segment: 0 }],
    ["REP INSW at 1F0h", 0x01f0_012d, { ...io(0x1f0, 2, "in"), string: true, rep: true, addressBits: 32, segment: 0 }],
    [
      "REP OUTSB at 3F8h",
      0x03f8_0e1c,
      { ...io(0x3f8, 1, "out"), string: true, rep: true, addressBits: 64, segment: 3 },
    ],
    ["OUT 80h, AL as QEMU reports it", 0x0080_0010, { ...io(0x80, 1, "out"), addressBits: undefined, segment: 0 }],
  ] as const)("%s", (_, info1, exit) => {
    expect(decodeSvmIo(info1)).toEqual({ ok: true, value: exit });
    expect(encodeSvmIo(exit)).toBe(info1);
  });

  it("every low half either decodes and encodes to itself, or is refused for a reason", () => {
    const refused: Record<string, number> = {};
    for (const port of PORTS) {
      for (let low = 0; low < 0x1_0000; low++) {
        const info1 = ((port << 16) | low) >>> 0;
        const exit = decodeSvmIo(info1);
        if (exit.ok) {
          if (encodeSvmIo(exit.value) !== info1) expect.fail(info1.toString(16));
        } else refused[exit.fault] = (refused[exit.fault] ?? 0) + 1;
      }
    }
    // One of 16 values of the four reserved bits, three of eight sizes, four of eight address sizes.
    expect(refused).toEqual({
      reserved: PORTS.length * 0xf000,
      size: PORTS.length * 0x1000 * (5 / 8),
      "address-size": PORTS.length * 0x1000 * (3 / 8) * (4 / 8),
    });
  });

  it.each([2 ** 32 + 0x111, 2 ** 63, -1, 0.5, Number.NaN])("%d is no EXITINFO1", (value) => {
    expect(decodeSvmIo(value)).toEqual({ ok: false, fault: "reserved" });
  });

  const outs = (rep: boolean, segment: number): SvmIoExit => ({
    ...io(0x3f8, 1, "out"),
    string: true,
    rep,
    addressBits: 32,
    segment,
  });
  it.each([
    [
      "OUTSB alone has no room for an override",
      outs(false, 4),
      false,
      1,
      { kind: "known", addressBits: 32, segment: "ds" },
    ],
    ["nor has REP OUTSB", outs(true, 4), false, 2, { kind: "known", addressBits: 32, segment: "ds" }],
    ["two bytes without REP hold a prefix", outs(false, 3), false, 2, { kind: "decode" }],
    ["three bytes with REP hold one more", outs(true, 3), false, 3, { kind: "decode" }],
    ["decode assists name the segment", outs(true, 4), true, 3, { kind: "known", addressBits: 32, segment: "fs" }],
    [
      "INS writes to ES, whatever its prefixes",
      { ...outs(true, 4), direction: "in" },
      false,
      4,
      { kind: "known", addressBits: 32, segment: "es" },
    ],
    ["no address size", { ...outs(true, 3), addressBits: undefined }, true, 2, { kind: "decode" }],
  ] as const)("%s", (_, exit, assists, length, operand) => {
    expect(svmStringOperand(exit, assists, length)).toEqual({ ok: true, value: operand });
  });

  it("a segment that does not exist is refused where the field counts", () => {
    expect(svmStringOperand(outs(false, 6), true, 1)).toEqual({ ok: false, fault: "segment" });
    expect(svmStringOperand(outs(false, 6), false, 1).ok).toBe(true);
  });
});

it("both vendors' fields of one access decode to the same access", () => {
  fc.assert(
    fc.property(
      fc.nat(0xffff),
      fc.constantFrom(1 as const, 2 as const, 4 as const),
      fc.constantFrom("in" as const, "out" as const),
      fc.boolean(),
      fc.boolean(),
      (port, bytes, direction, string, rep) => {
        const access = { port, bytes, direction, string, rep };
        const vmx = decodeVmxIo(encodeVmxIo({ ...access, immediate: false }));
        const svm = decodeSvmIo(encodeSvmIo({ ...access, addressBits: 64, segment: 3 }));
        expect(vmx).toMatchObject({ ok: true, value: access });
        expect(svm).toMatchObject({ ok: true, value: access });
      },
    ),
    { seed: 30, numRuns: 500 },
  );
});
