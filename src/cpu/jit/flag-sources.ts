import { constantOf, type Expr } from "../../emit/index.ts";
import { BINARY } from "../../emit/opcodes.ts";
import type { OperandWidth, X86 } from "../isa/x86.ts";
import { LateValue } from "./lazy-values.ts";

/** The operation that left the flags. Of its operands and its result only the low `width` bits count. */
export interface FlagSource {
  readonly kind: "add" | "sub" | "logic";
  readonly a: Expr;
  readonly b: Expr;
  readonly result: Expr;
  readonly width: OperandWidth;
  /** No carry or borrow came in: the result follows from `a` and `b` alone. */
  readonly plain: boolean;
}

export type FusedCondition = "carry" | "belowEqual" | "sign" | "overflow" | "less" | "lessEqual";

const I64 = 1;

const same = (a: Expr | undefined, b: Expr): boolean =>
  a === b || (a !== undefined && constantOf(a) !== undefined && constantOf(a) === constantOf(b));

/** Whether `result` is `a + b` or `a - b`, and not ADC or SBB. */
export function isPlain(kind: "add" | "sub", a: Expr, b: Expr, result: Expr): boolean {
  const value = result instanceof LateValue ? result.value : result;
  return value.op === BINARY[kind][I64] && same(value.a, a) && same(value.b, b);
}

/** Operands of a comparison: 32 bits as i32. */
function comparable(x: X86, value: Expr, width: OperandWidth, signed: boolean): Expr {
  if (width === 64) return value;
  if (width === 32) return x.wrap(value);
  return signed ? x.sx(value, width) : x.zx(value, width);
}

/** i32: ZF. */
export const zeroOf = (x: X86, { result, width }: FlagSource): Expr => x.eqz(comparable(x, result, width, false));

/** The condition straight from the operands (i32 0 or 1), or undefined: to be had from the flag words only. */
export function conditionOf(x: X86, source: FlagSource, condition: FusedCondition): Expr | undefined {
  const { kind, a, b, result, width, plain } = source;
  const pair = (signed: boolean): [Expr, Expr] => [comparable(x, a, width, signed), comparable(x, b, width, signed)];
  const compares = kind === "sub" && plain;
  const top = (value: Expr) => x.and(x.wrap(x.shrU(value, width - 1)), 1);
  switch (condition) {
    case "carry":
      if (kind === "logic") return x.i32(0);
      if (!plain) return undefined;
      return kind === "sub"
        ? x.ltU(...pair(false))
        : x.ltU(comparable(x, result, width, false), comparable(x, a, width, false));
    case "belowEqual":
      if (kind === "logic") return zeroOf(x, source);
      return compares ? x.leU(...pair(false)) : undefined;
    case "sign":
      return x.ltS(comparable(x, result, width, true), 0);
    case "overflow":
      if (kind === "logic") return x.i32(0);
      return kind === "sub"
        ? top(x.and(x.xor(a, b), x.xor(a, result)))
        : top(x.and(x.xor(a, result), x.xor(b, result)));
    case "less":
      if (kind === "logic") return conditionOf(x, source, "sign");
      return compares ? x.ltS(...pair(true)) : undefined;
    case "lessEqual":
      if (kind === "logic") return x.leS(comparable(x, result, width, true), 0);
      return compares ? x.leS(...pair(true)) : undefined;
  }
}
