import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { decodeEptViolation, EPT_MMIO_RIGHTS, type EptCapabilities, encodeEptViolation, eptIllegality } from "./ept.ts";
import { decodeNestedPageFault, encodeNestedPageFault, fetchedInstruction } from "./nested-page-fault.ts";

const set = (flags: object): string[] => Object.entries(flags).flatMap(([name, value]) => (value ? [name] : []));

describe("EPT violation (SDM vol 3, table 28-7)", () => {
  it.each([
    ["write to a page that is not there", 0x182, ["write", "linearValid", "finalTranslation"]],
    ["read of one", 0x181, ["read", "linearValid", "finalTranslation"]],
    ["fetch from a page without the right", 0x18c, ["fetch", "readable", "linearValid", "finalTranslation"]],
    ["page walk that sets an accessed bit", 0x83, ["read", "write", "linearValid"]],
    ["trace output", 0x1_0002, ["write", "asynchronous"]],
  ])("%s", (_, qualification, flags) => {
    const violation = decodeEptViolation(qualification);
    expect(violation.ok && set(violation.value)).toEqual(flags);
    expect(violation.ok && encodeEptViolation(violation.value)).toBe(qualification);
  });

  it("all 17 bits either decode and encode to themselves, or contradict each other", () => {
    let legal = 0;
    for (let qualification = 0; qualification < 1 << 17; qualification++) {
      const violation = decodeEptViolation(qualification);
      if (!violation.ok) {
        if (violation.fault !== "contradiction") expect.fail(String(qualification));
        continue;
      }
      legal++;
      if (encodeEptViolation(violation.value) !== qualification) expect.fail(String(qualification));
    }
    expect(legal).toBe(((1 << 17) * 7 * 3) / (8 * 4)); // some access; not the final one without an address
  });

  it.each([2 ** 17 + 1, 2 ** 40 + 1, 2 ** 63, -1, 1.5, Number.NaN])("%d has bits that must be zero", (value) => {
    expect(decodeEptViolation(value)).toEqual({ ok: false, fault: "reserved" });
  });
});

describe("EPT misconfiguration (SDM vol 3, 29.3.3.1)", () => {
  const can: EptCapabilities = {
    physicalBits: 40,
    executeOnly: false,
    pages2M: true,
    pages1G: false,
    modeBasedExecute: false,
  };
  it.each([
    ["KVM's MMIO entry", EPT_MMIO_RIGHTS.kvm, 1, "write-without-read"],
    ["VirtualBox's", EPT_MMIO_RIGHTS.virtualBox, 1, "write-without-read"],
    ["execute only, where that is not supported", 0b100n | (6n << 3n), 1, "execute-only"],
    ["memory type 2", 0b111n | (2n << 3n), 1, "memory-type"],
    ["memory type 3", 0b111n | (3n << 3n), 1, "memory-type"],
    ["memory type 7", 0b111n | (7n << 3n), 1, "memory-type"],
    ["memory type 7 of a large page", 0b111n | (7n << 3n) | (1n << 7n), 2, "memory-type"],
    ["an address beyond MAXPHYADDR", 0b111n | (6n << 3n) | (1n << 40n), 1, "reserved-bits"],
    ["a reserved bit of a table entry", 0b111n | (1n << 3n), 2, "reserved-bits"],
    ["a large entry at the top", 0b111n | (1n << 7n), 4, "reserved-bits"],
    ["1 GiB, where that is not supported", 0b111n | (6n << 3n) | (1n << 7n), 3, "reserved-bits"],
    ["an address within a large page", 0b111n | (6n << 3n) | (1n << 7n) | 0x1000n, 2, "reserved-bits"],
    ["an absent page", 0xffff_f000n, 1, undefined],
    ["write back", 0b111n | (6n << 3n) | 0x12_3456_7000n, 1, undefined],
    ["uncacheable, read only", 0b001n, 1, undefined],
    ["a table", 0b111n | 0x1000n, 4, undefined],
    ["a large page", 0b111n | (6n << 3n) | (1n << 7n) | 0x20_0000n, 2, undefined],
  ] as const)("%s", (_, entry, level, cause) => {
    expect(eptIllegality(entry, level, can)).toBe(cause);
  });

  it("capabilities make entries legal", () => {
    expect(eptIllegality(0b100n | (6n << 3n), 1, { ...can, executeOnly: true })).toBeUndefined();
    expect(eptIllegality(0b111n | (6n << 3n) | (1n << 7n), 3, { ...can, pages1G: true })).toBeUndefined();
    expect(eptIllegality(0b111n | (6n << 3n) | (1n << 40n), 1, { ...can, physicalBits: 52 })).toBeUndefined();
    // Bit 10 is ignored but with mode-based execute control, where it is a right.
    expect(eptIllegality(1n << 10n, 1, can)).toBeUndefined();
    expect(eptIllegality(1n << 10n, 1, { ...can, modeBasedExecute: true })).toBe("execute-only");
  });

  it("bits 63 to 52 and the ignored ones never matter", () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 0xfffn), fc.bigInt(0n, 7n), (high, low) => {
        const entry = (high << 52n) | (low << 8n);
        expect(eptIllegality(0b111n | (6n << 3n) | entry, 1, can)).toBeUndefined();
      }),
      { seed: 49, numRuns: 200 },
    );
  });
});

describe("nested page fault (APM vol 2, 15.25.6)", () => {
  it.each([
    [
      "MMIO write through an entry with a reserved bit",
      0x1_0000_000f,
      ["present", "write", "user", "reserved", "finalAddress"],
    ],
    ["the same as QEMU reports it", 0x1_0000_000e, ["write", "user", "reserved", "finalAddress"]],
    ["fetch from an absent page", 0x1_0000_0014, ["user", "fetch", "finalAddress"]],
    ["walk of the guest's tables", 0x2_0000_0006, ["write", "user", "tableWalk"]],
  ])("%s", (_, info1, flags) => {
    const fault = decodeNestedPageFault(info1);
    expect(fault.ok && set(fault.value)).toEqual(flags);
    expect(fault.ok && encodeNestedPageFault(fault.value)).toBe(info1);
  });

  it.each([
    ["bit 5", 0x1_0000_0024, "reserved"],
    ["bit 38", 2 ** 38 + 4, "reserved"],
    ["bit 63", 2 ** 63, "reserved"],
    ["both stages", 0x3_0000_0004, "contradiction"],
    ["not a user access", 0x1_0000_0002, "contradiction"],
    ["a fraction", 4.5, "reserved"],
  ] as const)("%s is refused", (_, info1, fault) => {
    expect(decodeNestedPageFault(info1)).toEqual({ ok: false, fault });
  });

  it("every legal combination decodes and encodes to itself", () => {
    const bits = [0, 1, 3, 4, 6, 31, 34, 35, 36, 37];
    for (let choice = 0; choice < 1 << bits.length; choice++) {
      const base = bits.reduce((sum, position, index) => sum + (choice & (1 << index) ? 2 ** position : 0), 4);
      for (const stage of [0, 2 ** 32, 2 ** 33]) {
        const fault = decodeNestedPageFault(base + stage);
        if (!fault.ok || encodeNestedPageFault(fault.value) !== base + stage) expect.fail(String(base + stage));
      }
    }
  });

  it("decode assists: up to 15 bytes; none means that software fetches them", () => {
    const bytes = Uint8Array.from({ length: 15 }, (_, index) => index);
    expect(fetchedInstruction(0, bytes)).toEqual({ ok: true, value: undefined });
    expect(fetchedInstruction(3, bytes)).toEqual({ ok: true, value: Uint8Array.of(0, 1, 2) });
    expect(fetchedInstruction(15, bytes)).toMatchObject({ ok: true });
    expect(fetchedInstruction(16, new Uint8Array(16))).toEqual({ ok: false, fault: "length" });
    expect(fetchedInstruction(4, new Uint8Array(3))).toEqual({ ok: false, fault: "length" });
  });
});
