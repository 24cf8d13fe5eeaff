/**
 * Corners that random programs hardly reach, with what processors do there. Where the host is an x86-64 CPU with a C
 * compiler, it is asked as well.
 */
import { existsSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { runNative } from "./native.ts";
import { SoftwareSubject } from "./software.ts";
import {
  CODE_BASE,
  CODE_SIZE,
  Ldt,
  type MachineCase,
  type Mode,
  type Outcome,
  WINDOW_BASE,
  WINDOW_SIZE,
} from "./state.ts";

const UD = 6;
const SS = 12;
const GP = 13;
const PF = 14;
const BEYOND_CODE = CODE_BASE + CODE_SIZE;

interface Corner {
  readonly name: string;
  readonly mode: Mode;
  readonly code: readonly number[];
  /** Default: at the end of the code page. Nothing follows it. */
  readonly codeOffset?: number;
  readonly rbx?: number | bigint;
  /** #BP: what follows the code is INT3. */
  readonly expected: { readonly vector: number; readonly error?: number; readonly cr2?: number };
}

const repeat = (count: number, byte: number): number[] => new Array<number>(count).fill(byte);
const NOP = 0x90;
const DS = 0x3e;
/** ADD dword [...], imm32: 11 bytes. */
const ADD = [0x81, 0x04, 0x25, 0, 0, 0, 0, 0, 0, 0, 0];
const missing = { vector: PF, error: 0x14, cr2: BEYOND_CODE };
const tooLong = { vector: GP, error: 0 };

/** Bytes are fetched as far as they are needed and there are fewer than 15. */
const lengths: Corner[] = ([32, 64] as const).flatMap((mode) =>
  [
    { name: "14 prefixes before a missing page", code: repeat(14, DS), expected: missing },
    { name: "15 prefixes", code: repeat(15, DS), expected: tooLong },
    { name: "14 prefixes and an opcode", code: [...repeat(14, DS), NOP], expected: missing },
    { name: "15 prefixes and an opcode", code: [...repeat(15, DS), NOP], expected: tooLong },
    { name: "13 prefixes and UD2", code: [...repeat(13, DS), 0x0f, 0x0b], expected: { vector: UD } },
    { name: "14 prefixes and UD2", code: [...repeat(14, DS), 0x0f, 0x0b], expected: tooLong },
    { name: "13 prefixes and half an opcode", code: [...repeat(13, DS), 0x0f], expected: missing },
    { name: "14 prefixes and half an opcode", code: [...repeat(14, DS), 0x0f], expected: tooLong },
    { name: "15 bytes of 16", code: [...repeat(5, DS), ...ADD].slice(0, 15), expected: tooLong },
    { name: "14 bytes of 16", code: [...repeat(5, DS), ...ADD].slice(0, 14), expected: missing },
    { name: "14 bytes of 15", code: [...repeat(4, DS), ...ADD].slice(0, 14), expected: missing },
  ].map((corner) => ({ ...corner, mode })),
);

const registers: Corner[] = ([32, 64] as const).flatMap((mode) =>
  [0x20, 0x21, 0x22, 0x23].flatMap((opcode) =>
    Array.from({ length: mode === 64 ? 16 : 8 }, (_, number): Corner => {
      const exists = opcode & 1 ? number < 8 : [0, 2, 3, 4, 8].includes(number);
      return {
        name: `MOV ${opcode & 1 ? "DR" : "CR"}${number}, ${opcode & 2 ? "written" : "read"} at CPL 3`,
        mode,
        code: [...(number > 7 ? [0x44] : []), 0x0f, opcode, 0xc0 | ((number & 7) << 3)],
        codeOffset: 0x100,
        expected: exists ? { vector: GP, error: 0 } : { vector: UD },
      };
    }),
  ),
);

/** The window is a segment of 64 KiB; its last page is read-only, and nothing is around it. */
const areas: Corner[] = [
  {
    name: "FXRSTOR wraps at 64 KiB",
    mode: 32,
    code: [0x67, 0x0f, 0xae, 0x0f],
    rbx: 0xff00,
    expected: { vector: 3 },
  },
  {
    name: "FXSAVE wraps at 64 KiB, and looks at its first byte after its last",
    mode: 32,
    code: [0x67, 0x0f, 0xae, 0x07],
    rbx: 0xff00,
    expected: { vector: PF, error: 7, cr2: WINDOW_BASE + 0xff00 },
  },
  {
    name: "FRSTOR wraps at 64 KiB",
    mode: 32,
    code: [0x67, 0xdd, 0x27],
    rbx: 0xfff0,
    expected: { vector: 3 },
  },
  {
    name: "FXSAVE wraps at 4 GiB",
    mode: 64,
    code: [0x67, 0x0f, 0xae, 0x03],
    rbx: 0xffff_ff00,
    expected: { vector: PF, error: 6, cr2: 0xff },
  },
  {
    name: "FXRSTOR wraps at 4 GiB",
    mode: 64,
    code: [0x67, 0x0f, 0xae, 0x0b],
    rbx: 0xffff_ff00,
    expected: { vector: PF, error: 4, cr2: 0xff },
  },
  {
    name: "FXRSTOR wraps at 4 GiB before FS is added",
    mode: 64,
    code: [0x64, 0x67, 0x0f, 0xae, 0x0b],
    rbx: 0xffff_ff00,
    expected: { vector: PF, error: 4, cr2: 0x1_0fff_ff00 },
  },
  {
    name: "FNSAVE wraps at 4 GiB",
    mode: 64,
    code: [0x67, 0xdd, 0x33],
    rbx: 0xffff_fff0,
    expected: { vector: PF, error: 6, cr2: 0xffff_fff0 },
  },
].map((corner) => ({ codeOffset: 0x100, ...corner }) as Corner);

/** mov rsp, rbx: to an address that is not canonical, which a number of 53 bits does not tell from the one 8 below. */
const stacks: Corner[] = (
  [
    ["PUSH of a register by FF /6", [0x41, 0xff, 0xf7]],
    ["PUSH of memory", [0xff, 0x35, 0, 0, 0, 0]],
    ["POP to a register by 8F /0", [0x8f, 0xc7]],
    ["CALL through a register", [0xff, 0xd7]],
    ["PUSH of a register", [0x57]],
  ] as const
).map(([name, code]) => ({
  name: `${name}, the stack is not canonical`,
  mode: 64,
  code: [0x48, 0x89, 0xdc, ...code],
  codeOffset: 0x100,
  rbx: 2n ** 60n + 132n,
  expected: { vector: SS },
}));

function caseOf({ mode, code, codeOffset = CODE_SIZE - code.length, rbx = 0 }: Corner): MachineCase {
  const gpr = new BigUint64Array(16);
  gpr[3] = BigInt(rbx);
  gpr[4] = BigInt(WINDOW_BASE + 0x8000);
  const fx = new Uint8Array(512);
  new DataView(fx.buffer).setUint16(0, 0x37f, true);
  new DataView(fx.buffer).setUint32(24, 0x1f80, true);
  const { window, flat } = Ldt;
  const segments = { ds: window, es: window, fs: window, gs: window, ss: flat };
  return { mode, gpr, rflags: 0x202, fx, segments, codeOffset, code: Uint8Array.from(code), patches: [] };
}

function seen({ vector, error, cr2 }: Outcome): object {
  return { vector, ...(vector >= GP && { error }), ...(vector === PF && { cr2: Number(cr2) }) };
}

const corners = [...lengths, ...registers, ...areas, ...stacks];
const hasOracle = process.platform === "linux" && process.arch === "x64" && existsSync("/usr/bin/gcc");

describe.each<Mode>([64, 32])("%i-bit corners", (mode) => {
  const mine = corners.filter((corner) => corner.mode === mode);
  const background = new Uint8Array(WINDOW_SIZE);

  it.each(mine)("$name", (corner) => {
    const subject = new SoftwareSubject(mode);
    subject.prepare(background);
    expect(seen(subject.run(caseOf(corner)))).toEqual(corner.expected);
  });

  it.runIf(hasOracle)("the processor of this machine agrees", () => {
    const outcomes = runNative(background, mine.map(caseOf), mode);
    expect(outcomes.map((outcome, i) => [mine[i]!.name, seen(outcome)])).toEqual(
      mine.map(({ name, expected }) => [name, expected]),
    );
  });
});
