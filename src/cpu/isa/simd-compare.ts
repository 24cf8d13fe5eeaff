import type { Expr } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import type { Family } from "./define.ts";
import {
  areOrdered,
  asFloat,
  both,
  eachLane,
  everyLane,
  FORMATS,
  laneOf,
  ordinaryLanes,
  type Precision,
  withExceptions,
} from "./float-lanes.ts";
import { binary, lanesConstant, requireSse, zero } from "./simd.ts";
import type { X86 } from "./x86.ts";

/** ZF and CF, at their places in EFLAGS. */
const EQUAL = 0x40;
const LESS = 0x01;

/** Comparisons of SSE and SSE2. Numbers and zeros are compared by WebAssembly, whatever MXCSR says. */
export const simdCompare: Family = (define) => {
  for (const [p, packed, scalar] of FORMATS) {
    for (const [name, opcode, helper] of [
      ["ucomis", 0x2e, `${p.suffix}_compare_unordered`],
      ["comis", 0x2f, `${p.suffix}_compare`],
    ] as const) {
      define(name, { map: 1, opcode, prefix: packed, modrm: true, size: "b" }, (x) => {
        requireSse(x);
        const b = x.readXmmRmLow(p.bytes);
        const a = x.readXmmRegLow(p.bytes);
        const [left, right] = [asFloat(x, p, a), asFloat(x, p, b)];
        const image = x.chooseIfAll(
          "i32",
          areOrdered(x, p, a, b),
          () => x.select(x.eq(left, right), x.i32(EQUAL), x.select(x.lt(left, right), x.i32(LESS), x.i32(0))),
          () => withExceptions(x, false, (call) => call(helper, a, b)),
        );
        x.flagsFromImage(image);
      });
    }

    const cmp = { map: 1, opcode: 0xc2, modrm: true, size: "b", imm: "b" } as const;
    /** Predicates 0-7; the higher bits of the immediate are reserved, and ignored without VEX. */
    const predicateOf = (x: X86) => x.let(x.and(x.wrap(x.imm), 7));
    define("cmpp", { ...cmp, prefix: packed }, (x) => {
      requireSse(x);
      const b = x.readXmmRm();
      const a = x.readXmmReg();
      const predicate = predicateOf(x);
      const value = x.choose(
        "v128",
        everyLane(x, p, both(x, ordinaryLanes(x, p, a, true), ordinaryLanes(x, p, b, true))),
        () => orderedLanes(x, p, a, b, predicate),
        () =>
          withExceptions(x, true, (call) =>
            eachLane(x, p, (lane) => call(`${p.suffix}_cmp`, laneOf(x, p, a, lane), laneOf(x, p, b, lane), predicate)),
          ),
        true,
      );
      x.writeXmmReg(value);
    });
    define("cmps", { ...cmp, prefix: scalar }, (x) => {
      requireSse(x);
      const b = x.readXmmRmLow(p.bytes);
      const a = x.readXmmRegLow(p.bytes);
      const predicate = predicateOf(x);
      x.writeXmmRegPart(
        p.bytes,
        withExceptions(x, false, (call) => call(`${p.suffix}_cmp`, a, b, predicate)),
      );
    });
  }
};

/** EQ, LT, LE, UNORD (never, here) and their negations, of lanes that are not NaN. */
function orderedLanes(x: X86, p: Precision, a: Expr, b: Expr, predicate: Expr): Expr {
  const kind = x.let(x.and(predicate, 3));
  const less = x.select(x.eq(kind, 1), binary(x, p.lt, a, b), binary(x, p.le, a, b));
  const ordered = x.select(x.eq(kind, 0), binary(x, p.eq, a, b), less);
  const holds = x.select(x.eq(kind, 3), zero(x), ordered);
  const ones = lanesConstant(x, 64, () => -1);
  return binary(x, SIMD.xor, holds, x.select(x.and(predicate, 4), ones, zero(x)));
}
