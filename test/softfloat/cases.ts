/** Which oracle operation each exported function answers to, on what operands, and how to call it. */

import type { SoftFloat } from "../../src/cpu/softfloat/exports.ts";
import {
  bcd,
  f32,
  f32x4,
  f64,
  f64x2,
  f80,
  f80Between,
  f80Integral,
  f80Near,
  type Generator,
  i64,
  none,
  positiveF80Between,
} from "./operands.ts";

/** Where `call` finds its operands and leaves its results in linear memory. */
export const A = 0x100;
export const B = 0x110;
export const RESULT = 0x120;
export const SECOND = 0x130;
export const FLAGS = 0x140;
const SLOT = 0x150;

export interface Case {
  /** Name in the oracle. */
  readonly operation: string;
  readonly kind: "sse" | "x87";
  readonly a: Generator;
  readonly b: Generator;
  /** Bytes of each result to compare. */
  readonly bytes: readonly [number, number];
  /** Bits of the status word that the instruction defines. */
  readonly status: number;
  /** Runs our function; what it raised goes to FLAGS. */
  readonly call: (soft: SoftFloat, memory: DataView, control: number) => void;
}

const EXCEPTIONS = 0x3f;
/** Exceptions and C1. */
const ARITHMETIC = 0x23f;
const CONDITION_CODES = 0x4700;

function sse(operation: string, operands: readonly [Generator, Generator], bytes: number, call: Case["call"]): Case {
  return { operation, kind: "sse", a: operands[0], b: operands[1], bytes: [bytes, 0], status: EXCEPTIONS, call };
}

function flags(memory: DataView): number {
  return memory.getUint32(FLAGS, true);
}

const FORMATS = [
  { type: "f64", bytes: 8, one: f64, many: f64x2 },
  { type: "f32", bytes: 4, one: f32, many: f32x4 },
] as const;

type Bits = bigint | number;
type Binary = (a: Bits, b: Bits, mxcsr: number, flagsPtr: number) => Bits;
type Predicate = (a: Bits, b: Bits, predicate: number, mxcsr: number, flagsPtr: number) => Bits;
type Unary = (a: Bits, mxcsr: number, flagsPtr: number) => Bits;

function sseCases(): Case[] {
  const cases: Case[] = [];
  for (const { type, bytes, one, many } of FORMATS) {
    const get = (m: DataView, at: number): Bits => (bytes === 8 ? m.getBigInt64(at, true) : m.getInt32(at, true));
    const put = (m: DataView, at: number, value: Bits) =>
      typeof value === "bigint" ? m.setBigInt64(at, value, true) : m.setInt32(at, value, true);

    for (const name of ["add", "sub", "mul", "div", "min", "max"] as const) {
      cases.push(
        sse(`${type}_${name}`, [one, one], bytes, (soft, m, mxcsr) =>
          put(m, RESULT, (soft[`${type}_${name}`] as Binary)(get(m, A), get(m, B), mxcsr, FLAGS)),
        ),
      );
    }
    // Packed forms: lane by lane, then the rule for exceptions before computation that `exports.ts` states.
    for (const name of ["add", "div"] as const) {
      cases.push(
        sse(`${type}_packed_${name}`, [many, many], 16, (soft, m, mxcsr) => {
          for (let lane = 0; lane < 16; lane += bytes) {
            const result = (soft[`${type}_${name}`] as Binary)(get(m, A + lane), get(m, B + lane), mxcsr, FLAGS);
            put(m, RESULT + lane, result);
          }
          if (flags(m) & ~(mxcsr >> 7) & 7) m.setUint32(FLAGS, flags(m) & 7, true);
        }),
      );
    }
    // Horizontal forms: pairs of neighbours, first those of a, then those of b; the lower element is the first operand.
    for (const name of ["add", "sub"] as const) {
      cases.push(
        sse(`${type}_packed_h${name}`, [many, many], 16, (soft, m, mxcsr) => {
          for (let lane = 0; lane < 16; lane += bytes) {
            const pair = A + 2 * lane; // b follows a
            const result = (soft[`${type}_${name}`] as Binary)(get(m, pair), get(m, pair + bytes), mxcsr, FLAGS);
            put(m, RESULT + lane, result);
          }
          if (flags(m) & ~(mxcsr >> 7) & 7) m.setUint32(FLAGS, flags(m) & 7, true);
        }),
      );
    }
    cases.push(
      sse(`${type}_sqrt`, [one, none], bytes, (soft, m, mxcsr) =>
        put(m, RESULT, (soft[`${type}_sqrt`] as Unary)(get(m, A), mxcsr, FLAGS)),
      ),
    );
    for (let predicate = 0; predicate < 8; predicate++) {
      cases.push(
        sse(`${type}_cmp${predicate}`, [one, one], bytes, (soft, m, mxcsr) =>
          put(m, RESULT, (soft[`${type}_cmp`] as Predicate)(get(m, A), get(m, B), predicate, mxcsr, FLAGS)),
        ),
      );
    }
    for (const name of ["compare", "compare_unordered"] as const) {
      cases.push(
        sse(`${type}_${name}`, [one, one], 4, (soft, m, mxcsr) => {
          const bits = (soft[`${type}_${name}`] as Binary)(get(m, A), get(m, B), mxcsr, FLAGS) as number;
          m.setUint32(RESULT, bits | 0x202, true); // IF and the always-set bit 1 of EFLAGS
        }),
      );
    }
    for (const name of ["to_i32", "to_i32_truncate", "to_i64", "to_i64_truncate"] as const) {
      cases.push(
        sse(`${type}_${name}`, [one, none], name.includes("64") ? 8 : 4, (soft, m, mxcsr) =>
          put(m, RESULT, (soft[`${type}_${name}`] as Unary)(get(m, A), mxcsr, FLAGS)),
        ),
      );
    }
    cases.push(
      sse(`${type}_from_i32`, [i64, none], bytes, (soft, m, mxcsr) =>
        put(m, RESULT, (soft[`${type}_from_i32`] as Unary)(m.getInt32(A, true), mxcsr, FLAGS)),
      ),
      sse(`${type}_from_i64`, [i64, none], bytes, (soft, m, mxcsr) =>
        put(m, RESULT, (soft[`${type}_from_i64`] as Unary)(m.getBigInt64(A, true), mxcsr, FLAGS)),
      ),
    );
  }
  cases.push(
    sse("f32_to_f64", [f32, none], 8, (soft, m, mxcsr) =>
      m.setBigInt64(RESULT, soft.f32_to_f64(m.getInt32(A, true), mxcsr, FLAGS), true),
    ),
    sse("f64_to_f32", [f64, none], 4, (soft, m, mxcsr) =>
      m.setInt32(RESULT, soft.f64_to_f32(m.getBigInt64(A, true), mxcsr, FLAGS), true),
    ),
  );
  return cases;
}

function x87(
  operation: string,
  operands: readonly [Generator, Generator],
  status: number,
  call: (soft: SoftFloat, memory: DataView, control: number) => number,
  bytes: readonly [number, number] = [10, 0],
): Case {
  return {
    operation,
    kind: "x87",
    a: operands[0],
    b: operands[1],
    bytes,
    status,
    call: (soft, m, control) => m.setUint32(FLAGS, flags(m) | call(soft, m, control), true),
  };
}

/** A store: `write` only if the exceptions that prevent it are masked; the oracle shows 0x5a where nothing was stored. */
function store(
  operation: string,
  operand: Generator,
  bytes: number,
  call: (soft: SoftFloat, memory: DataView, control: number) => Bits,
): Case {
  return {
    ...x87(operation, [operand, none], ARITHMETIC, () => 0, [10, 0]),
    call: (soft, m, control) => {
      for (let i = 0; i < 10; i++) m.setUint8(RESULT + i, 0x5a);
      const value = BigInt(call(soft, m, control));
      if (flags(m) & ~control & 0x1b) return;
      for (let i = 0; i < bytes; i++) m.setUint8(RESULT + i, Number(BigInt.asUintN(8, value >> BigInt(8 * i))));
    },
  };
}

function x87Cases(): Case[] {
  const cases: Case[] = [];
  for (const name of ["add", "sub", "mul", "div", "rem", "rem_nearest", "scale"] as const) {
    const codes = name.startsWith("rem") ? ARITHMETIC | CONDITION_CODES : ARITHMETIC;
    for (const second of name === "scale" ? [f80, f80Integral] : [f80, f80Near]) {
      cases.push(x87(`f80_${name}`, [f80, second], codes, (soft, _, cw) => soft[`f80_${name}`](RESULT, A, B, cw)));
    }
  }
  for (const name of ["compare", "compare_unordered"] as const) {
    for (const second of [f80, f80Near]) {
      cases.push(
        x87(`f80_${name}`, [f80, second], ARITHMETIC | CONDITION_CODES, (soft, _, cw) => soft[`f80_${name}`](A, B, cw)),
      );
    }
  }
  for (const name of ["sqrt", "round"] as const) {
    for (const operand of [f80, f80Integral]) {
      cases.push(x87(`f80_${name}`, [operand, none], ARITHMETIC, (soft, _, cw) => soft[`f80_${name}`](RESULT, A, cw)));
    }
  }
  cases.push(
    x87(
      "f80_extract",
      [f80, none],
      ARITHMETIC,
      (soft, m, cw) => {
        const status = soft.f80_extract(SECOND, RESULT, A, cw);
        if (status & ~cw & 7) m.setBigUint64(SECOND, 0n, true); // nothing was pushed
        return status;
      },
      [10, 10],
    ),
    x87("f80_examine", [f80, none], CONDITION_CODES, (soft) => soft.f80_examine(A)),
    x87("f80_add_f32", [f80, f32], ARITHMETIC, (soft, m, cw) =>
      soft.f80_add(RESULT, A, SLOT, cw | soft.f80_operand_f32(SLOT, m.getInt32(B, true))),
    ),
    x87("f80_add_f64", [f80, f64], ARITHMETIC, (soft, m, cw) =>
      soft.f80_add(RESULT, A, SLOT, cw | soft.f80_operand_f64(SLOT, m.getBigInt64(B, true))),
    ),
    x87("f80_div_f64", [f80, f64], ARITHMETIC, (soft, m, cw) =>
      soft.f80_div(RESULT, A, SLOT, cw | soft.f80_operand_f64(SLOT, m.getBigInt64(B, true))),
    ),
    x87("f80_divr_f32", [f80, f32], ARITHMETIC, (soft, m, cw) =>
      soft.f80_div(RESULT, SLOT, A, cw | soft.f80_operand_f32(SLOT, m.getInt32(B, true))),
    ),
    x87("f80_compare_f64", [f80, f64], ARITHMETIC | CONDITION_CODES, (soft, m, cw) =>
      soft.f80_compare(A, SLOT, cw | soft.f80_operand_f64(SLOT, m.getBigInt64(B, true))),
    ),
    x87("f80_from_f32", [f32, none], ARITHMETIC, (soft, m, cw) => {
      m.setBigUint64(RESULT, 0n, true);
      m.setUint16(RESULT + 8, 0, true);
      return soft.f80_from_f32(RESULT, m.getInt32(A, true), cw);
    }),
    x87("f80_from_f64", [f64, none], ARITHMETIC, (soft, m, cw) => {
      m.setBigUint64(RESULT, 0n, true);
      m.setUint16(RESULT + 8, 0, true);
      return soft.f80_from_f64(RESULT, m.getBigInt64(A, true), cw);
    }),
    x87("f80_from_i64", [i64, none], ARITHMETIC, (soft, m) => {
      soft.f80_from_i64(RESULT, m.getBigInt64(A, true));
      return 0;
    }),
    x87("f80_from_bcd", [bcd, none], ARITHMETIC, (soft, m) => {
      soft.f80_from_bcd(RESULT, m.getBigInt64(A, true), m.getUint16(A + 8, true));
      return 0;
    }),
    store("f80_to_f32", f80, 4, (soft, _, cw) => BigInt(soft.f80_to_f32(A, cw, FLAGS))),
    store("f80_to_f64", f80, 8, (soft, _, cw) => soft.f80_to_f64(A, cw, FLAGS)),
    store("f80_to_i16", f80Integral, 2, (soft, _, cw) => soft.f80_to_i16(A, cw, FLAGS)),
    store("f80_to_i32", f80Integral, 4, (soft, _, cw) => soft.f80_to_i32(A, cw, FLAGS)),
    store("f80_to_i64", f80Integral, 8, (soft, _, cw) => soft.f80_to_i64(A, cw, FLAGS)),
    store("f80_to_i16_truncate", f80Integral, 2, (soft) => soft.f80_to_i16_truncate(A, FLAGS)),
    store("f80_to_i32_truncate", f80Integral, 4, (soft) => soft.f80_to_i32_truncate(A, FLAGS)),
    store("f80_to_i64_truncate", f80Integral, 8, (soft) => soft.f80_to_i64_truncate(A, FLAGS)),
    x87("f80_to_bcd", [f80Integral, none], ARITHMETIC, (soft, m, cw) => {
      for (let i = 0; i < 10; i++) m.setUint8(RESULT + i, 0x5a);
      return soft.f80_to_bcd(RESULT, A, cw);
    }),
    x87("f80_one", [none, none], ARITHMETIC, (soft) => {
      soft.f80_one(RESULT);
      return 0;
    }),
    x87("f80_zero", [none, none], ARITHMETIC, (soft) => {
      soft.f80_zero(RESULT);
      return 0;
    }),
  );
  for (const name of ["pi", "log2_10", "log2_e", "log10_2", "ln_2"] as const) {
    cases.push(
      x87(`f80_${name}`, [none, none], ARITHMETIC, (soft, _, cw) => {
        soft[`f80_${name}`](RESULT, cw);
        return 0;
      }),
    );
  }
  return cases;
}

/**
 * The transcendental instructions, whose last bit Intel leaves open. C1 tells which way that bit went, so it is not
 * compared. Operands of all kinds, then those of the documented range.
 */
export function transcendentalCases(): Case[] {
  const status = EXCEPTIONS | 0x400;
  const cases: Case[] = [];
  const angles = [f80, f80Between(-72, 1), f80Between(-2, 4), f80Between(2, 62)];
  for (const operand of angles) {
    for (const name of ["sin", "cos"] as const) {
      cases.push(x87(`f80_${name}`, [operand, none], status, (soft, _, cw) => soft[`f80_${name}`](RESULT, A, cw)));
    }
    // ST0 after the instruction is the cosine or the 1, ST1 the sine or tangent; without a result ST0 is the operand.
    for (const name of ["sincos", "tan"] as const) {
      const call = (soft: SoftFloat, _: DataView, cw: number) => soft[`f80_${name}`](SECOND, RESULT, A, cw);
      cases.push(x87(`f80_${name}`, [operand, none], status, call, [10, 10]));
    }
  }
  for (const operand of [f80, f80Between(-72, -1), f80Between(-6, -1)]) {
    cases.push(x87("f80_exp2_minus_1", [operand, none], status, (soft, _, cw) => soft.f80_exp2_minus_1(RESULT, A, cw)));
  }
  for (const operand of [
    f80,
    positiveF80Between(-1, 0),
    positiveF80Between(-70, 70),
    positiveF80Between(-16382, 16383),
  ]) {
    cases.push(x87("f80_log2", [operand, f80], status, (soft, _, cw) => soft.f80_log2(RESULT, A, B, cw)));
  }
  for (const operand of [f80, f80Between(-72, -3), f80Between(-4, -1), positiveF80Between(-3, 80)]) {
    cases.push(x87("f80_log2_plus_1", [operand, f80], status, (soft, _, cw) => soft.f80_log2_plus_1(RESULT, A, B, cw)));
  }
  for (const operands of [
    [f80, f80],
    [f80, f80Near],
    [f80Between(-2, 2), f80Between(-3, 3)],
    [f80Between(-2, 2), f80Between(-40, 40)],
  ] as const) {
    cases.push(x87("f80_atan", operands, status, (soft, _, cw) => soft.f80_atan(RESULT, A, B, cw)));
  }
  return cases;
}

/** Everything that must equal the host bit for bit. */
export function exactCases(): Case[] {
  return [...sseCases(), ...x87Cases()];
}
