import { SIMD } from "../../emit/simd.ts";
import type { Family } from "./define.ts";
import {
  binary,
  type Define,
  definePacked,
  defineXmm,
  join,
  type LaneOperation,
  lanesConstant,
  shift,
  shuffle,
  shuffleLanes,
  unary,
} from "./simd.ts";

/** One WebAssembly instruction. */
const direct =
  (op: number): LaneOperation =>
  (x, a, b) =>
    binary(x, op, a, b);

const swapped =
  (op: number): LaneOperation =>
  (x, a, b) =>
    binary(x, op, b, a);

/** Integer arithmetic, logic and comparison of MMX, SSE2 and SSSE3. */
export const simdInteger: Family = (define) => {
  for (const [name, opcode, op] of DIRECT) definePacked(define, name, opcode, direct(op));
  definePacked(define, "pandn", 0xdf, swapped(SIMD.andNot));
  multiplication(define);
  packing(define);
  definePacked(define, "psadbw", 0xf6, (x, a, b) => {
    const difference = binary(x, SIMD.or, binary(x, SIMD.i8x16SubSatU, a, b), binary(x, SIMD.i8x16SubSatU, b, a));
    const words = unary(x, SIMD.i16x8ExtaddPairwiseU, difference);
    const doublewords = x.let(unary(x, SIMD.i32x4ExtaddPairwiseU, words));
    const sums = binary(x, SIMD.i64x2Add, doublewords, shift(x, SIMD.i64x2ShrU, doublewords, 32));
    return binary(
      x,
      SIMD.and,
      sums,
      lanesConstant(x, 64, () => 0xffff_ffffn),
    );
  });
  horizontal(define);
  signs(define);
};

const DIRECT: readonly (readonly [name: string, opcode: number, op: number])[] = [
  ["pcmpgtb", 0x64, SIMD.i8x16GtS],
  ["pcmpgtw", 0x65, SIMD.i16x8GtS],
  ["pcmpgtd", 0x66, SIMD.i32x4GtS],
  ["pcmpeqb", 0x74, SIMD.i8x16Eq],
  ["pcmpeqw", 0x75, SIMD.i16x8Eq],
  ["pcmpeqd", 0x76, SIMD.i32x4Eq],
  ["paddq", 0xd4, SIMD.i64x2Add],
  ["pmullw", 0xd5, SIMD.i16x8Mul],
  ["psubusb", 0xd8, SIMD.i8x16SubSatU],
  ["psubusw", 0xd9, SIMD.i16x8SubSatU],
  ["pminub", 0xda, SIMD.i8x16MinU],
  ["pand", 0xdb, SIMD.and],
  ["paddusb", 0xdc, SIMD.i8x16AddSatU],
  ["paddusw", 0xdd, SIMD.i16x8AddSatU],
  ["pmaxub", 0xde, SIMD.i8x16MaxU],
  ["pavgb", 0xe0, SIMD.i8x16AvgrU],
  ["pavgw", 0xe3, SIMD.i16x8AvgrU],
  ["psubsb", 0xe8, SIMD.i8x16SubSatS],
  ["psubsw", 0xe9, SIMD.i16x8SubSatS],
  ["pminsw", 0xea, SIMD.i16x8MinS],
  ["por", 0xeb, SIMD.or],
  ["paddsb", 0xec, SIMD.i8x16AddSatS],
  ["paddsw", 0xed, SIMD.i16x8AddSatS],
  ["pmaxsw", 0xee, SIMD.i16x8MaxS],
  ["pxor", 0xef, SIMD.xor],
  ["pmaddwd", 0xf5, SIMD.i32x4DotI16x8S],
  ["psubb", 0xf8, SIMD.i8x16Sub],
  ["psubw", 0xf9, SIMD.i16x8Sub],
  ["psubd", 0xfa, SIMD.i32x4Sub],
  ["psubq", 0xfb, SIMD.i64x2Sub],
  ["paddb", 0xfc, SIMD.i8x16Add],
  ["paddw", 0xfd, SIMD.i16x8Add],
  ["paddd", 0xfe, SIMD.i32x4Add],
];

function multiplication(define: Define): void {
  /** High halves of 16-bit products. */
  const high =
    (low: number, up: number): LaneOperation =>
    (x, a, b) =>
      shuffleLanes(x, 2, binary(x, low, a, b), binary(x, up, a, b), [1, 3, 5, 7, 9, 11, 13, 15]);
  definePacked(define, "pmulhw", 0xe5, high(SIMD.i32x4ExtmulLowS, SIMD.i32x4ExtmulHighS));
  definePacked(define, "pmulhuw", 0xe4, high(SIMD.i32x4ExtmulLowU, SIMD.i32x4ExtmulHighU));

  definePacked(define, "pmuludq", 0xf4, (x, a, b) => {
    const even = (value: typeof a) => shuffleLanes(x, 4, value, value, [0, 2, 0, 2]);
    return binary(x, SIMD.i64x2ExtmulLowU, even(a), even(b));
  });

  // Unsigned bytes of the destination times signed bytes of the source: each product fits 16 bits, the sum saturates.
  const pmaddubsw: LaneOperation = (x, a, b) => {
    const evenA = binary(
      x,
      SIMD.and,
      a,
      lanesConstant(x, 16, () => 0xff),
    );
    const evenB = shift(x, SIMD.i16x8ShrS, shift(x, SIMD.i16x8Shl, b, 8), 8);
    const oddA = shift(x, SIMD.i16x8ShrU, a, 8);
    const oddB = shift(x, SIMD.i16x8ShrS, b, 8);
    return binary(x, SIMD.i16x8AddSatS, binary(x, SIMD.i16x8Mul, evenA, evenB), binary(x, SIMD.i16x8Mul, oddA, oddB));
  };
  definePacked(define, "pmaddubsw", 0x04, pmaddubsw, { map: 2 });

  // WebAssembly saturates -1 times -1 (in Q15), x86 wraps it to -1.
  const pmulhrsw: LaneOperation = (x, a, b) => {
    const least = lanesConstant(x, 16, () => 0x8000);
    const both = binary(x, SIMD.and, binary(x, SIMD.i16x8Eq, a, least), binary(x, SIMD.i16x8Eq, b, least));
    return binary(x, SIMD.xor, binary(x, SIMD.i16x8Q15MulrSatS, a, b), both);
  };
  definePacked(define, "pmulhrsw", 0x0b, pmulhrsw, { map: 2 });
}

/** Narrowing with saturation: the destination's lanes, then the source's. */
function packing(define: Define): void {
  for (const [name, opcode, op] of [
    ["packsswb", 0x63, SIMD.i8x16NarrowS],
    ["packuswb", 0x67, SIMD.i8x16NarrowU],
    ["packssdw", 0x6b, SIMD.i16x8NarrowS],
  ] as const) {
    const mmx: LaneOperation = (x, a, b) => {
      const both = x.let(join(x, a, b));
      return binary(x, op, both, both);
    };
    definePacked(define, name, opcode, direct(op), { mmx });
  }

  // Interleaving; each entry: opcode, lane bytes. The MMX low forms read only 32 bits of memory (see simd-shuffles).
  for (const [name, opcode, bytes] of [
    ["punpckhbw", 0x68, 1],
    ["punpckhwd", 0x69, 2],
    ["punpckhdq", 0x6a, 4],
  ] as const) {
    const interleave =
      (first: number): LaneOperation =>
      (x, a, b) =>
        shuffle(x, a, b, (index) => {
          const lane = Math.floor(index / bytes);
          return first + (lane >> 1) * bytes + (index % bytes) + (lane & 1 ? 16 : 0);
        });
    definePacked(define, name, opcode, interleave(8), { mmx: interleave(4) });
  }
  defineXmm(define, "punpckhqdq", 0x6d, (x, a, b) => shuffleLanes(x, 8, a, b, [1, 3]));
}

/** PHADD and PHSUB: neighbours of the destination, then of the source. SSSE3. */
function horizontal(define: Define): void {
  for (const [name, opcode, bytes, op] of [
    ["phaddw", 0x01, 2, SIMD.i16x8Add],
    ["phaddd", 0x02, 4, SIMD.i32x4Add],
    ["phaddsw", 0x03, 2, SIMD.i16x8AddSatS],
    ["phsubw", 0x05, 2, SIMD.i16x8Sub],
    ["phsubd", 0x06, 4, SIMD.i32x4Sub],
    ["phsubsw", 0x07, 2, SIMD.i16x8SubSatS],
  ] as const) {
    const every = (odd: number) => Array.from({ length: 16 / bytes }, (_, lane) => lane * 2 + odd);
    const operation: LaneOperation = (x, a, b) =>
      binary(x, op, shuffleLanes(x, bytes, a, b, every(0)), shuffleLanes(x, bytes, a, b, every(1)));
    const mmx: LaneOperation = (x, a, b) => {
      const both = x.let(join(x, a, b));
      return operation(x, both, both);
    };
    definePacked(define, name, opcode, operation, { map: 2, mmx });
  }
}

/** PABS and PSIGN. SSSE3. */
function signs(define: Define): void {
  for (const [name, opcode, op] of [
    ["pabsb", 0x1c, SIMD.i8x16Abs],
    ["pabsw", 0x1d, SIMD.i16x8Abs],
    ["pabsd", 0x1e, SIMD.i32x4Abs],
  ] as const) {
    definePacked(define, name, opcode, (x, _, b) => unary(x, op, b), { map: 2 });
  }
  for (const [name, opcode, bits, shiftRight, subtract, equal] of [
    ["psignb", 0x08, 8, SIMD.i8x16ShrS, SIMD.i8x16Sub, SIMD.i8x16Eq],
    ["psignw", 0x09, 16, SIMD.i16x8ShrS, SIMD.i16x8Sub, SIMD.i16x8Eq],
    ["psignd", 0x0a, 32, SIMD.i32x4ShrS, SIMD.i32x4Sub, SIMD.i32x4Eq],
  ] as const) {
    const operation: LaneOperation = (x, a, b) => {
      const negative = x.let(shift(x, shiftRight, b, bits - 1));
      const signed = binary(x, subtract, binary(x, SIMD.xor, a, negative), negative);
      const none = lanesConstant(x, 32, () => 0);
      return binary(x, SIMD.andNot, signed, binary(x, equal, b, none));
    };
    definePacked(define, name, opcode, operation, { map: 2 });
  }
}
