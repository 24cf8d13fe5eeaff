import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { instructionForms } from "../isa/index.ts";
import { PX } from "../state.ts";
import { Decoder, MAX_LENGTH } from "./decoder.ts";

const forms = instructionForms();
const decoder = new Decoder(forms);
/** `initialPrefixes` of a 16- and a 32-bit code segment. */
const INITIAL = { 16: PX.addressSmall, 32: 1 << PX.attributeShift, 64: 1 << PX.attributeShift } as const;
type Mode = keyof typeof INITIAL;
const MODES: readonly Mode[] = [16, 32, 64];

const decode = (mode: Mode, ...bytes: number[]) =>
  decoder.decode(Uint8Array.from(bytes), bytes.length, mode === 64, INITIAL[mode]);

/** Room for the longest instruction; NOPs follow it until the next slot. */
const SLOT = 16;
const NOP = 0x90;
const hasObjdump = spawnSync("objdump", ["--version"]).status === 0;

/** Lengths by GNU objdump, 0 where it sees no (single) instruction. */
function objdumpLengths(mode: Mode, encodings: readonly Uint8Array[]): number[] {
  const folder = mkdtempSync(join(tmpdir(), "portico-decoder-"));
  try {
    const image = new Uint8Array(encodings.length * SLOT).fill(NOP);
    for (const [index, bytes] of encodings.entries()) image.set(bytes, index * SLOT);
    const file = join(folder, "code.bin");
    writeFileSync(file, image);
    const machine = mode === 64 ? "i386:x86-64" : mode === 32 ? "i386" : "i8086";
    const args = ["-b", "binary", "-m", machine, "-M", "intel,intel64", "-D", "-z", "--insn-width=16", file];
    const text = execFileSync("objdump", args, { encoding: "utf8", maxBuffer: 1 << 28 });
    const lengths = new Array<number>(encodings.length).fill(0);
    for (const [, address, hex, mnemonic] of text.matchAll(/^ *([0-9a-f]+):\t((?:[0-9a-f]{2} )+) *\t(.*)$/gm)) {
      const at = Number.parseInt(address!, 16);
      if (at % SLOT !== 0) continue;
      // A lone prefix is shown as a line of its own: it belongs to no instruction that objdump knows.
      const alone = /^(rex\S*|data16|addr(16|32)|repn?z?|lock|[c-gs]s)$/.test(mnemonic!.trim());
      if (!mnemonic!.includes("(bad)") && !alone) lengths[at / SLOT] = hex!.trim().split(" ").length;
    }
    return lengths;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function disagreements(mode: Mode, encodings: readonly Uint8Array[]): { wrong: string[]; compared: number } {
  const ours = encodings
    .map((bytes) => ({ bytes, one: decoder.decode(bytes, bytes.length, mode === 64, INITIAL[mode]) }))
    // objdump sees FWAIT as a prefix of the x87 instruction after it, and so shows its own prefixes apart.
    .filter(({ one }) => one.form !== undefined && one.form.name !== "fwait");
  const theirs = objdumpLengths(
    mode,
    ours.map(({ bytes, one }) => bytes.subarray(0, one.length)),
  );
  const wrong: string[] = [];
  let compared = 0;
  ours.forEach(({ bytes, one }, index) => {
    if (theirs[index] === 0) return;
    compared++;
    if (one.length !== theirs[index]) {
      const text = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
      wrong.push(`${text}: ${one.form?.name}, ${one.length} bytes; objdump ${theirs[index]}`);
    }
  });
  return { wrong, compared };
}

/** Each form with each shape of memory operand and each set of prefixes that could change its length. */
function systematic(mode: Mode): Uint8Array[] {
  const encodings: Uint8Array[] = [];
  const prefixSets = [[], [0x66], [0x67], [0x66, 0x67], [0xf2], [0xf3], ...(mode === 64 ? [[0x48], [0x66, 0x48]] : [])];
  for (const form of forms) {
    if (form.modes !== undefined && (form.modes === "64") !== (mode === 64)) continue;
    const escapes = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][form.map]!;
    const mandatory = form.prefixes?.find((prefix) => prefix !== "none");
    const own = mandatory && !form.prefixes!.includes("none") ? [Number.parseInt(mandatory, 16)] : [];
    for (const prefixes of prefixSets) {
      if (own.length > 0 && prefixes.some((byte) => [0x66, 0xf2, 0xf3].includes(byte))) continue;
      const head = [...own, ...prefixes, ...escapes, form.opcode];
      const digit = (form.digit ?? 3) << 3;
      const tails: number[][] = form.modrm ? [] : [[]];
      if (form.modrm) {
        if (form.operand !== "memory") tails.push([0xc0 | digit | (form.rm ?? 2)]);
        if (form.operand !== "register" && !form.rmAlwaysRegister) {
          for (const mod of [0, 1, 2]) {
            for (const rm of [0, 4, 5, 6]) {
              const modrm = (mod << 6) | digit | rm;
              if (rm === 4) for (const sib of [0x25, 0x24, 0x8b, 0x2d]) tails.push([modrm, sib]);
              else tails.push([modrm]);
            }
          }
        }
      }
      for (const tail of tails) {
        const filler = Array.from({ length: 14 - head.length - tail.length }, (_, i) => 0x11 + i);
        encodings.push(Uint8Array.from([...head, ...tail, ...filler]));
      }
    }
  }
  return encodings;
}

describe.skipIf(!hasObjdump)("lengths against GNU objdump", () => {
  it.each(MODES)("every form, %d-bit code", (mode) => {
    const { wrong, compared } = disagreements(mode, systematic(mode));
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(10_000);
  });

  it.each(MODES)("random bytes, %d-bit code", (mode) => {
    const byte = fc.integer({ min: 0, max: 255 });
    const legacy = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
    const prefix = fc.constantFrom(...legacy);
    const opcode = byte.filter((one) => !legacy.includes(one) && (mode !== 64 || (one & 0xf0) !== 0x40));
    const rex = mode === 64 ? fc.array(fc.integer({ min: 0x40, max: 0x4f }), { maxLength: 1 }) : fc.constant([]);
    const encoding = fc
      .tuple(
        // Repeated and void prefixes are legal, but objdump shows them as instructions of their own.
        fc.uniqueArray(prefix, { maxLength: 2 }),
        rex,
        fc.oneof(
          opcode.map((one) => [one]),
          byte.map((one) => [0x0f, one]),
        ),
        fc.array(byte, { minLength: 12, maxLength: 12 }),
      )
      .map((parts) => Uint8Array.from(parts.flat()));
    const encodings = fc.sample(encoding, { numRuns: 20_000, seed: 20 + mode });
    const { wrong, compared } = disagreements(mode, encodings);
    expect(wrong).toEqual([]);
    expect(compared).toBeGreaterThan(5_000);
  });
});

describe("operands", () => {
  it("of a scaled address: SDM vol 2, table 2-3", () => {
    // lock add qword ptr gs:[rax + rcx * 4 + 12345678h], -2
    const one = decode(64, 0x65, 0xf0, 0x48, 0x83, 0x84, 0x88, 0x78, 0x56, 0x34, 0x12, 0xfe);
    expect(one).toMatchObject({ length: 11, opcode: 0x83, modrm: 0x84, sib: 0x88, imm: -2n, attribute: 64 });
    expect(one.displacement).toBe(0x12345678);
    expect(one.form?.name).toBe("add r/m, imm");
    expect(one.px & PX.lock).not.toBe(0);
    expect((one.px & PX.segment) >> PX.segmentShift).toBe(6);
  });

  it.each([
    [
      "REX before another prefix is void",
      64,
      [0x48, 0x66, 0xb8, 0x34, 0x12],
      { length: 5, attribute: 16, imm: 0x1234n },
    ],
    ["64-bit immediate", 64, [0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 0x88], { length: 10, imm: -0x77f8_f9fa_fbfc_fdffn }],
    ["66h toggles only once", 16, [0x66, 0x66, 0xb8, 1, 0, 0, 0x80], { length: 7, attribute: 32, imm: -0x7fff_ffffn }],
    ["near branches ignore 66h in 64-bit mode", 64, [0x66, 0xe9, 0, 0, 0, 0], { length: 6 }],
    ["near branches take 66h elsewhere", 32, [0x66, 0xe9, 0, 0x80], { length: 4, imm: -0x8000n }],
    ["unsigned 16 bits of RET", 32, [0xc2, 0xff, 0xff], { length: 3, imm: 0xffffn }],
    ["ENTER", 32, [0xc8, 0xfe, 0xff, 0x83], { length: 4, imm: 0xfffen, imm2: 0x83n }],
    ["far pointer", 16, [0xea, 0xf0, 0xff, 0x00, 0xf0], { length: 5, imm: 0xfff0n, imm2: 0xf000n }],
    ["offset of 16 bits", 32, [0x67, 0xa1, 0xfe, 0xff], { length: 4, imm: 0xfffen }],
    ["offset of 64 bits", 64, [0xa0, 1, 2, 3, 4, 5, 6, 7, 0xf8], { length: 9, imm: 0xf807_0605_0403_0201n }],
    ["displacement of 16 bits", 16, [0x8b, 0x87, 0x00, 0x80], { length: 4, displacement: -0x8000 }],
    ["ModRM.mod ignored", 64, [0x0f, 0x20, 0x04], { length: 3, modrm: 0x04, sib: -1 }],
  ] as const)("%s", (_, mode, bytes, expected) => {
    expect(decode(mode, ...bytes)).toMatchObject(expected);
  });

  it.each([
    ["ADDSD", [0xf2, 0x0f, 0x58, 0xc1], "adds"],
    ["ADDPD", [0x66, 0x0f, 0x58, 0xc1], "addp"],
    ["the last of F2 and F3", [0xf2, 0xf3, 0x0f, 0xb8, 0xc1], "popcnt"],
    ["the last of F3 and F2", [0xf3, 0xf2, 0x0f, 0xd6, 0xc1], "movdq2q"],
    ["POPCNT", [0xf3, 0x0f, 0xb8, 0xc1], "popcnt"],
    ["SWAPGS", [0x0f, 0x01, 0xf8], "swapgs"],
    ["INVLPG", [0x0f, 0x01, 0x38], "invlpg"],
  ] as const)("mandatory prefixes and ModRM choose: %s", (_, bytes, name) => {
    expect(decode(64, ...bytes).form?.name).toBe(name);
  });

  it("no such instruction", () => {
    expect(decode(64, 0x06)).toMatchObject({ form: undefined, length: 1 });
    expect(decode(64, 0x0f, 0xc7, 0xc8).form).toBeUndefined();
  });
});

describe("bytes that are missing", () => {
  it("asks for one more until the length is known", () => {
    const whole = Uint8Array.of(0x66, 0x0f, 0x3a, 0x0f, 0x84, 0x24, 1, 2, 3, 4, 5);
    const { length } = decoder.decode(whole, whole.length, true, INITIAL[64]);
    expect(length).toBe(11);
    for (let available = 1; available < length; available++) {
      const part = decoder.decode(whole, available, true, INITIAL[64]);
      expect(part.form).toBeUndefined();
      expect(part.length).toBeGreaterThan(available);
      expect(part.length).toBeLessThanOrEqual(length);
    }
  });

  it("more than 15 bytes: SDM vol 2, 2.3.11", () => {
    const fourteen = new Array<number>(14).fill(0x66);
    expect(decode(32, ...fourteen, NOP).length).toBe(MAX_LENGTH);
    expect(decode(32, ...fourteen, 0x66, NOP).length).toBeGreaterThan(MAX_LENGTH);
    expect(decode(32, ...fourteen.slice(2), 0x81, 0xc0, 1, 2).length).toBeGreaterThan(MAX_LENGTH);
  });
});
