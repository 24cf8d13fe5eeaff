import type { Expr } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import type { Family } from "./define.ts";
import {
  binary,
  byteNumbers,
  bytesConstant,
  type Define,
  defineMmx,
  definePacked,
  defineXmm,
  enterMmx,
  join,
  type LaneOperation,
  lanesConstant,
  narrow,
  requireMmx,
  requireSse,
  shift,
  shuffle,
  shuffleLanes,
  widen,
  zero,
} from "./simd.ts";
import type { X86 } from "./x86.ts";

/** Instructions that move lanes about, and shifts. */
export const simdShuffles: Family = (define) => {
  unpackLow(define);
  byImmediate(define);
  words(define);
  byteShuffles(define);
  shifts(define);
};

const splat = (x: X86, op: number, value: Expr): Expr => x.simd("v128", op, [value]);
const swizzle = (x: X86, value: Expr, numbers: Expr): Expr => binary(x, SIMD.i8x16Swizzle, value, numbers);
/** The immediate byte, zero-extended (i32). */
const immediate = (x: X86): Expr => x.let(x.and(x.wrap(x.imm), 0xff));

function unpackLow(define: Define): void {
  for (const [name, opcode, bytes] of [
    ["punpcklbw", 0x60, 1],
    ["punpcklwd", 0x61, 2],
    ["punpckldq", 0x62, 4],
  ] as const) {
    const interleave: LaneOperation = (x, a, b) =>
      shuffle(x, a, b, (index) => {
        const lane = Math.floor(index / bytes);
        return (lane >> 1) * bytes + (index % bytes) + (lane & 1 ? 16 : 0);
      });
    defineXmm(define, name, opcode, interleave);
    defineMmx(define, name, opcode, interleave, 1, 4);
  }
  defineXmm(define, "punpcklqdq", 0x6c, (x, a, b) => shuffleLanes(x, 8, a, b, [0, 2]));
  for (const [name, opcode, bytes, prefix, lanes] of [
    ["unpcklps", 0x14, 4, "none", [0, 4, 1, 5]],
    ["unpckhps", 0x15, 4, "none", [2, 6, 3, 7]],
    ["unpcklpd", 0x14, 8, "66", [0, 2]],
    ["unpckhpd", 0x15, 8, "66", [1, 3]],
  ] as const) {
    define(name, { map: 1, opcode, prefix, modrm: true, size: "b" }, (x) => {
      requireSse(x);
      const source = x.readXmmRm();
      x.writeXmmReg(shuffleLanes(x, bytes, x.readXmmReg(), source, lanes));
    });
  }
}

/**
 * Byte numbers for a swizzle that moves four doublewords by the two-bit fields of an immediate: multiplying by powers of
 * four brings field n of lane n to bits 6 and 7.
 */
function doublewordNumbers(x: X86): Expr {
  const fields = binary(
    x,
    SIMD.i32x4Mul,
    splat(x, SIMD.i32x4Splat, immediate(x)),
    lanesConstant(x, 32, (lane) => 64 >> (2 * lane)),
  );
  const first = binary(
    x,
    SIMD.and,
    shift(x, SIMD.i32x4ShrU, fields, 4),
    lanesConstant(x, 32, () => 0xc),
  );
  const every = binary(
    x,
    SIMD.i32x4Mul,
    first,
    lanesConstant(x, 32, () => 0x0101_0101),
  );
  return x.let(
    binary(
      x,
      SIMD.or,
      every,
      lanesConstant(x, 32, () => 0x0302_0100),
    ),
  );
}

/** The same for words 0-3 (`from` 0) or 4-7 (`from` 4); the other words stay. */
function wordNumbers(x: X86, from: 0 | 4): Expr {
  const moved = (lane: number) => lane >> 2 === from >> 2;
  const fields = binary(
    x,
    SIMD.i16x8Mul,
    splat(x, SIMD.i16x8Splat, immediate(x)),
    lanesConstant(x, 16, (lane) => (moved(lane) ? 64 >> (2 * (lane & 3)) : 0)),
  );
  const first = binary(
    x,
    SIMD.and,
    shift(x, SIMD.i16x8ShrU, fields, 5),
    lanesConstant(x, 16, () => 6),
  );
  const every = binary(
    x,
    SIMD.i16x8Mul,
    first,
    lanesConstant(x, 16, () => 0x0101),
  );
  const base = (lane: number) => (moved(lane) ? from : lane) * 2;
  return binary(
    x,
    SIMD.i16x8Add,
    every,
    lanesConstant(x, 16, (lane) => base(lane) * 0x0101 + 0x0100),
  );
}

function byImmediate(define: Define): void {
  const spec = { map: 1, opcode: 0x70, modrm: true, size: "b", imm: "b" } as const;
  for (const [name, prefix, numbers] of [
    ["pshufd", "66", doublewordNumbers],
    ["pshufhw", "f3", (x: X86) => wordNumbers(x, 4)],
    ["pshuflw", "f2", (x: X86) => wordNumbers(x, 0)],
  ] as const) {
    define(name, { ...spec, prefix }, (x) => {
      requireSse(x);
      x.writeXmmReg(swizzle(x, x.readXmmRm(), numbers(x)));
    });
  }
  define("pshufw", { ...spec, prefix: "none" }, (x) => {
    requireMmx(x);
    const result = narrow(x, swizzle(x, widen(x, x.readMmxRm()), wordNumbers(x, 0)));
    enterMmx(x);
    x.writeMmxReg(result);
  });
  define("shufps", { ...spec, opcode: 0xc6, prefix: "none" }, (x) => {
    requireSse(x);
    const source = x.readXmmRm();
    const numbers = doublewordNumbers(x);
    const [low, high] = [swizzle(x, x.readXmmReg(), numbers), swizzle(x, source, numbers)];
    x.writeXmmReg(shuffleLanes(x, 8, low, high, [0, 3]));
  });
  define("shufpd", { ...spec, opcode: 0xc6, prefix: "66" }, (x) => {
    requireSse(x);
    const source = x.readXmmRm();
    const destination = x.readXmmReg();
    const imm = immediate(x);
    const half = (value: Expr, bit: number) =>
      x.select(x.and(imm, bit), shuffleLanes(x, 8, value, value, [1, 1]), value);
    x.writeXmmReg(join(x, half(destination, 1), half(source, 2)));
  });
}

/** PINSRW and PEXTRW, and the masks of signs. */
function words(define: Define): void {
  const insert = (x: X86, value: Expr, word: Expr, lanes: number) => {
    const here = binary(
      x,
      SIMD.i16x8Eq,
      splat(x, SIMD.i16x8Splat, x.and(immediate(x), lanes - 1)),
      lanesConstant(x, 16, (lane) => lane),
    );
    return x.simd("v128", SIMD.bitselect, [splat(x, SIMD.i16x8Splat, x.wrap(word)), value, here]);
  };
  const extract = (x: X86, value: Expr, lanes: number) => {
    const at = x.mul(x.and(immediate(x), lanes - 1), 0x0202);
    const numbers = splat(x, SIMD.i16x8Splat, x.add(at, 0x0100));
    return x.u64(x.simd("i32", SIMD.i16x8ExtractU, [swizzle(x, value, numbers)], 0));
  };
  const pinsrw = { map: 1, opcode: 0xc4, modrm: true, size: "b", imm: "b" } as const;
  define("pinsrw", { ...pinsrw, prefix: "66" }, (x) => {
    requireSse(x);
    const word = x.readRm(x.rmIsMemory ? 16 : 32);
    x.writeXmmReg(insert(x, x.readXmmReg(), word, 8));
  });
  define("pinsrw", { ...pinsrw, prefix: "none" }, (x) => {
    requireMmx(x);
    const word = x.readRm(x.rmIsMemory ? 16 : 32);
    const result = narrow(x, insert(x, widen(x, x.readMmxReg()), word, 4));
    enterMmx(x);
    x.writeMmxReg(result);
  });
  const register = { map: 1, operand: "register", size: "b" } as const;
  define("pextrw", { ...register, opcode: 0xc5, prefix: "66", imm: "b" }, (x) => {
    requireSse(x);
    x.writeReg(extract(x, x.readXmmRm(), 8), 32);
  });
  define("pextrw", { ...register, opcode: 0xc5, prefix: "none", imm: "b" }, (x) => {
    requireMmx(x);
    const word = extract(x, widen(x, x.readMmxRm()), 4);
    enterMmx(x);
    x.writeReg(word, 32);
  });
  for (const [name, opcode, prefix, op] of [
    ["movmskps", 0x50, "none", SIMD.i32x4Bitmask],
    ["movmskpd", 0x50, "66", SIMD.i64x2Bitmask],
    ["pmovmskb", 0xd7, "66", SIMD.i8x16Bitmask],
  ] as const) {
    define(name, { ...register, opcode, prefix }, (x) => {
      requireSse(x);
      x.writeReg(x.u64(x.simd("i32", op, [x.readXmmRm()])), 32);
    });
  }
  define("pmovmskb", { ...register, opcode: 0xd7, prefix: "none" }, (x) => {
    requireMmx(x);
    const mask = x.simd("i32", SIMD.i8x16Bitmask, [widen(x, x.readMmxRm())]);
    enterMmx(x);
    x.writeReg(x.u64(x.and(mask, 0xff)), 32);
  });
}

/** SSSE3: PSHUFB and PALIGNR. */
function byteShuffles(define: Define): void {
  /** Bit 7 of a number gives zero; of the others the low bits count. A swizzle gives zero above 15. */
  const pshufb =
    (mask: number): LaneOperation =>
    (x, a, b) =>
      swizzle(
        x,
        a,
        binary(
          x,
          SIMD.and,
          b,
          bytesConstant(x, () => mask),
        ),
      );
  definePacked(define, "pshufb", 0x00, pshufb(0x8f), { map: 2, mmx: pshufb(0x87) });

  /** Byte numbers from `count` on; those past the end of a vector select nothing. */
  const numbersFrom = (x: X86, count: Expr) =>
    binary(x, SIMD.i8x16Add, byteNumbers(x), splat(x, SIMD.i8x16Splat, count));
  const atMost = (x: X86, value: Expr, limit: number) => x.let(x.select(x.ltU(value, limit), value, limit));
  define("palignr", { map: 3, opcode: 0x0f, prefix: "66", modrm: true, size: "b", imm: "b" }, (x) => {
    requireSse(x);
    const low = x.readXmmRm();
    const count = atMost(x, immediate(x), 32);
    const fromLow = swizzle(x, low, numbersFrom(x, count));
    const fromHigh = swizzle(x, x.readXmmReg(), numbersFrom(x, x.sub(count, 16)));
    x.writeXmmReg(binary(x, SIMD.or, fromLow, fromHigh));
  });
  define("palignr", { map: 3, opcode: 0x0f, prefix: "none", modrm: true, size: "b", imm: "b" }, (x) => {
    requireMmx(x);
    const low = widen(x, x.readMmxRm());
    const both = join(x, low, widen(x, x.readMmxReg()));
    const result = narrow(x, swizzle(x, both, numbersFrom(x, atMost(x, immediate(x), 16))));
    enterMmx(x);
    x.writeMmxReg(result);
  });

  // PSRLDQ and PSLLDQ shift the whole register by bytes.
  const wholeRegister = { map: 1, opcode: 0x73, prefix: "66", operand: "register", size: "b", imm: "b" } as const;
  for (const [name, digit] of [
    ["psrldq", 3],
    ["pslldq", 7],
  ] as const) {
    define(name, { ...wholeRegister, digit }, (x) => {
      requireSse(x);
      const count = atMost(x, immediate(x), 16);
      x.writeXmmRm(swizzle(x, x.readXmmRm(), numbersFrom(x, digit === 3 ? count : x.sub(x.i32(0), count))));
    });
  }
}

interface LaneShift {
  readonly name: string;
  readonly bits: 16 | 32 | 64;
  readonly op: number;
  readonly arithmetic: boolean;
  /** Opcode of the form whose count is in a register. */
  readonly opcode: number;
  /** Opcode and ModRM.reg of the form with an immediate. */
  readonly immediate: readonly [opcode: number, digit: number];
}

const SHIFTS: readonly LaneShift[] = [
  { name: "psrlw", bits: 16, op: SIMD.i16x8ShrU, arithmetic: false, opcode: 0xd1, immediate: [0x71, 2] },
  { name: "psrld", bits: 32, op: SIMD.i32x4ShrU, arithmetic: false, opcode: 0xd2, immediate: [0x72, 2] },
  { name: "psrlq", bits: 64, op: SIMD.i64x2ShrU, arithmetic: false, opcode: 0xd3, immediate: [0x73, 2] },
  { name: "psraw", bits: 16, op: SIMD.i16x8ShrS, arithmetic: true, opcode: 0xe1, immediate: [0x71, 4] },
  { name: "psrad", bits: 32, op: SIMD.i32x4ShrS, arithmetic: true, opcode: 0xe2, immediate: [0x72, 4] },
  { name: "psllw", bits: 16, op: SIMD.i16x8Shl, arithmetic: false, opcode: 0xf1, immediate: [0x71, 6] },
  { name: "pslld", bits: 32, op: SIMD.i32x4Shl, arithmetic: false, opcode: 0xf2, immediate: [0x72, 6] },
  { name: "psllq", bits: 64, op: SIMD.i64x2Shl, arithmetic: false, opcode: 0xf3, immediate: [0x73, 6] },
];

/** Counts at or above the lane width give zeros, or signs (SDM vol 2, PSLLW, PSRAW): WebAssembly would take them modulo. */
function shifts(define: Define): void {
  for (const { name, bits, op, arithmetic, opcode, immediate: group } of SHIFTS) {
    /** `count` is i64, all 64 bits of it matter. */
    const apply = (x: X86, value: Expr, count: Expr): Expr => {
      const wide = x.let(x.geU(count, bits));
      if (arithmetic) return shift(x, op, value, x.select(wide, x.i32(bits - 1), x.wrap(count)));
      return x.select(wide, zero(x), shift(x, op, value, x.wrap(count)));
    };
    const [immediateOpcode, digit] = group;
    const byRegister = { map: 1, opcode, modrm: true, size: "b" } as const;
    const byImmediate = { map: 1, opcode: immediateOpcode, digit, operand: "register", size: "b", imm: "b" } as const;
    define(name, { ...byRegister, prefix: "66" }, (x) => {
      requireSse(x);
      const count = x.let(narrow(x, x.readXmmRm()));
      x.writeXmmReg(apply(x, x.readXmmReg(), count));
    });
    define(name, { ...byRegister, prefix: "none" }, (x) => {
      requireMmx(x);
      const count = x.readMmxRm();
      const result = narrow(x, apply(x, widen(x, x.readMmxReg()), count));
      enterMmx(x);
      x.writeMmxReg(result);
    });
    define(name, { ...byImmediate, prefix: "66" }, (x) => {
      requireSse(x);
      x.writeXmmRm(apply(x, x.readXmmRm(), x.u64(immediate(x))));
    });
    define(name, { ...byImmediate, prefix: "none" }, (x) => {
      requireMmx(x);
      const result = narrow(x, apply(x, widen(x, x.readMmxRm()), x.u64(immediate(x))));
      enterMmx(x);
      x.writeMmxRm(result);
    });
  }
}
