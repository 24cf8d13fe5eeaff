import type { Expr } from "../../emit/index.ts";
import { CPU } from "../state.ts";
import type { Family } from "./define.ts";
import type { X86 } from "./x86.ts";
import { BEFORE_RESULT, type StackRegister, X87 } from "./x87-stack.ts";
import { FPU_STATUS as SW } from "./x87-status.ts";

/** Without a quotient (a NaN, or an exception that prevents one), C0 and C3 stay as they are; C1 and C2 become 0. */
function concludeRemainder(fpu: X87, status: Expr): void {
  const { x } = fpu;
  const isNan = x.eq(x.and(x.load("i32", 2, fpu.st(0).slot, 8), 0x7fff), 0x7fff);
  const prevented = x.or(x.and(status, SW.invalid), x.eqz(fpu.allowed(status, BEFORE_RESULT)));
  const quotient = SW.c0 | SW.c3;
  const kept = x.or(x.and(status, ~quotient), x.and(x.field("i32", CPU.fpuStatus), quotient));
  fpu.conclude(x.select(x.or(isNan, prevented), kept, status), SW.conditions);
}

/** Square root, remainders, rounding, scaling, transcendental functions: D9 F0 to D9 FF. SDM vol 2, table A-10. */
export const x87Functions: Family = (define) => {
  const form = (name: string, digit: 6 | 7, rm: number, body: (fpu: X87, x: X86) => void) =>
    define(name, { opcode: 0xd9, digit, rm, size: "b" }, (x) => body(new X87(x), x));

  /** ST(0) = f(ST(0)). */
  const unary = (name: string, digit: 6 | 7, rm: number, helper: string, replaced: number = SW.c1) =>
    form(name, digit, rm, (fpu, x) => {
      const st0 = fpu.st(0);
      const status = fpu.unlessEmpty(
        [st0],
        () => x.helper(helper, st0.slot, st0.slot, fpu.control),
        () => fpu.setIndefinite(st0),
      );
      fpu.conclude(status, replaced);
    });
  unary("f2xm1", 6, 0, "f80_exp2_minus_1");
  unary("fsqrt", 7, 2, "f80_sqrt");
  unary("frndint", 7, 4, "f80_round");
  unary("fsin", 7, 6, "f80_sin", SW.c1 | SW.c2);
  unary("fcos", 7, 7, "f80_cos", SW.c1 | SW.c2);

  /** ST(0) = f(ST(0), ST(1)). */
  const binary = (name: string, digit: 6 | 7, rm: number, helper: string, conclude: (fpu: X87, status: Expr) => void) =>
    form(name, digit, rm, (fpu, x) => {
      const [st0, st1] = [fpu.st(0), fpu.st(1)];
      const status = fpu.unlessEmpty(
        [st0, st1],
        () => x.helper(helper, st0.slot, st0.slot, st1.slot, fpu.control),
        () => fpu.setIndefinite(st0),
      );
      conclude(fpu, status);
    });
  binary("fscale", 7, 5, "f80_scale", (fpu, status) => fpu.conclude(status));
  binary("fprem1", 6, 5, "f80_rem_nearest", concludeRemainder);
  binary("fprem", 7, 0, "f80_rem", concludeRemainder);

  /** ST(1) = f(ST(0), ST(1)), pop. */
  const binaryPop = (name: string, digit: 6 | 7, rm: number, helper: string) =>
    form(name, digit, rm, (fpu, x) => {
      const [st0, st1] = [fpu.st(0), fpu.st(1)];
      const status = fpu.unlessEmpty(
        [st0, st1],
        () => x.helper(helper, st1.slot, st0.slot, st1.slot, fpu.control),
        () => fpu.setIndefinite(st1),
      );
      x.if(fpu.allowed(status, BEFORE_RESULT), () => fpu.pop(1));
      fpu.conclude(status);
    });
  binaryPop("fyl2x", 6, 1, "f80_log2");
  binaryPop("fpatan", 6, 3, "f80_atan");
  binaryPop("fyl2xp1", 7, 1, "f80_log2_plus_1");

  /** One result replaces ST(0), the other is pushed. `operate` gets both destinations. */
  const pushing = (
    name: string,
    digit: 6 | 7,
    rm: number,
    replaced: number,
    operate: (x: X86, first: StackRegister, pushed: StackRegister, control: Expr) => Expr,
  ) =>
    form(name, digit, rm, (fpu, x) => {
      const [st0, pushed] = [fpu.st(0), fpu.st(-1)];
      const status = x.choose(
        "i32",
        x.or(fpu.isEmpty(st0), x.eqz(fpu.isEmpty(pushed))),
        () => {
          fpu.ifInvalidMasked(() => {
            fpu.setIndefinite(st0);
            x.helper("f80_indefinite", pushed.slot);
          });
          // With both at fault it is an underflow: C1 is 0.
          const overflow = x.select(fpu.isEmpty(st0), x.i32(0), x.i32(SW.c1));
          return x.or(overflow, SW.invalid | SW.stackFault);
        },
        () => operate(x, st0, pushed, fpu.control),
        false,
      );
      const complete = x.eqz(x.and(status, replaced & SW.c2));
      x.if(x.and(fpu.allowed(status, BEFORE_RESULT), complete), () => fpu.push());
      fpu.conclude(status, replaced);
    });
  pushing("fptan", 6, 2, SW.c1 | SW.c2, (x, tangent, one, control) =>
    x.helper("f80_tan", tangent.slot, one.slot, tangent.slot, control),
  );
  pushing("fxtract", 6, 4, SW.c1, (x, exponent, significand, control) =>
    x.helper("f80_extract", exponent.slot, significand.slot, exponent.slot, control),
  );
  pushing("fsincos", 7, 3, SW.c1 | SW.c2, (x, sine, cosine, control) =>
    x.helper("f80_sincos", sine.slot, cosine.slot, sine.slot, control),
  );
};
