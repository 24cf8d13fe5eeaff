import type { Expr } from "../../emit/index.ts";
import type { Family, FormSpec } from "./define.ts";
import type { X86 } from "./x86.ts";
import { BEFORE_RESULT, type StackRegister, X87 } from "./x87-stack.ts";
import { FPU_STATUS as SW } from "./x87-status.ts";

type Operation = "f80_add" | "f80_sub" | "f80_mul" | "f80_div";

/** ModRM.reg of D8 and its relatives: operation, and whether the operands change places. 2 and 3 compare. */
const ARITHMETIC: readonly (readonly [digit: number, name: string, operation: Operation, reverse: boolean])[] = [
  [0, "add", "f80_add", false],
  [1, "mul", "f80_mul", false],
  [4, "sub", "f80_sub", false],
  [5, "subr", "f80_sub", true],
  [6, "div", "f80_div", false],
  [7, "divr", "f80_div", true],
];

/** A memory operand, widened to a slot. `control`: what it adds to the control word of the operation. */
interface Widened {
  readonly slot: Expr;
  readonly control: Expr | number;
}

/** Formats of memory operands by opcode, and how each is read and widened. */
const MEMORY_OPERANDS: readonly (readonly [opcode: number, format: string, widen: (fpu: X87) => Widened])[] = [
  [0xd8, "m32fp", (fpu) => binaryOperand(fpu, 32)],
  [0xdc, "m64fp", (fpu) => binaryOperand(fpu, 64)],
  [0xda, "m32int", (fpu) => integerOperand(fpu, 32)],
  [0xde, "m16int", (fpu) => integerOperand(fpu, 16)],
];

function binaryOperand(fpu: X87, width: 32 | 64): Widened {
  const { x } = fpu;
  const bits = x.readRm(width);
  const slot = fpu.temporary();
  const control =
    width === 32 ? x.helper("f80_operand_f32", slot, x.wrap(bits)) : x.helper("f80_operand_f64", slot, bits);
  return { slot, control };
}

function integerOperand(fpu: X87, width: 16 | 32): Widened {
  const { x } = fpu;
  const slot = fpu.temporary();
  x.helper("f80_from_i64", slot, x.sx(x.readRm(width), width));
  return { slot, control: 0 };
}

/** destination = a op b, then pops. An empty register gives the indefinite. */
function compute(
  fpu: X87,
  destination: StackRegister,
  needed: readonly StackRegister[],
  pops: number,
  operate: () => Expr,
): void {
  const { x } = fpu;
  const status = fpu.unlessEmpty(needed, operate, () => fpu.setIndefinite(destination));
  if (pops > 0) x.if(fpu.allowed(status, BEFORE_RESULT), () => fpu.pop(pops));
  fpu.conclude(status);
}

/** C3 C2 C0 of an unordered result: also the masked answer to an empty register. */
const UNORDERED = SW.c3 | SW.c2 | SW.c0;

/** Compares ST(0) with a slot; the condition codes tell. */
function compare(fpu: X87, needed: readonly StackRegister[], pops: number, operate: () => Expr): void {
  const { x } = fpu;
  const status = x.choose("i32", fpu.anyEmpty(...needed), () => SW.invalid | SW.stackFault | UNORDERED, operate, false);
  if (pops > 0) x.if(fpu.allowed(status, BEFORE_RESULT), () => fpu.pop(pops));
  fpu.conclude(status, SW.conditions);
}

/** FADD, FMUL, FSUB, FSUBR, FDIV, FDIVR and the comparisons, in all their forms. SDM vol 2, chapter 3; table A-7 on. */
export const x87Arithmetic: Family = (define) => {
  const registers = (name: string, opcode: number, digit: number, body: (x: X86) => void, rm?: number) =>
    define(name, { opcode, digit, operand: "register", size: "b", ...(rm !== undefined && { rm }) }, body);

  for (const [digit, name, operation, reverse] of ARITHMETIC) {
    for (const [opcode, format, widen] of MEMORY_OPERANDS) {
      define(`f${name} ${format}`, { opcode, digit, operand: "memory", size: "b" }, (x) => {
        const fpu = new X87(x);
        const operand = widen(fpu);
        const st0 = fpu.st(0);
        const [a, b] = reverse ? [operand.slot, st0.slot] : [st0.slot, operand.slot];
        compute(fpu, st0, [st0], 0, () => x.helper(operation, st0.slot, a, b, x.or(fpu.control, operand.control)));
      });
    }
    // ST(0) = ST(0) op ST(i).
    registers(`f${name} st0, sti`, 0xd8, digit, (x) => {
      const fpu = new X87(x);
      const [st0, sti] = [fpu.st(0), fpu.operand()];
      const [a, b] = reverse ? [sti, st0] : [st0, sti];
      compute(fpu, st0, [st0, sti], 0, () => x.helper(operation, st0.slot, a.slot, b.slot, fpu.control));
    });
    // ST(i) = ST(i) op ST(0): subtraction and division have the reverse forms under the other digit.
    for (const [opcode, suffix, pops] of [
      [0xdc, "", 0],
      [0xde, "p", 1],
    ] as const) {
      const other = digit < 4 ? digit : digit ^ 1;
      registers(`f${name}${suffix} sti, st0`, opcode, other, (x) => {
        const fpu = new X87(x);
        const [st0, sti] = [fpu.st(0), fpu.operand()];
        const [a, b] = reverse ? [st0, sti] : [sti, st0];
        compute(fpu, sti, [st0, sti], pops, () => x.helper(operation, sti.slot, a.slot, b.slot, fpu.control));
      });
    }
  }

  for (const [digit, name, pops] of [
    [2, "fcom", 0],
    [3, "fcomp", 1],
  ] as const) {
    for (const [opcode, format, widen] of MEMORY_OPERANDS) {
      define(`${name} ${format}`, { opcode, digit, operand: "memory", size: "b" }, (x) => {
        const fpu = new X87(x);
        const operand = widen(fpu);
        const st0 = fpu.st(0);
        compare(fpu, [st0], pops, () =>
          x.helper("f80_compare", st0.slot, operand.slot, x.or(fpu.control, operand.control)),
        );
      });
    }
  }

  const compareRegister = (
    name: string,
    spec: Pick<FormSpec, "opcode" | "digit" | "rm">,
    helper: "f80_compare" | "f80_compare_unordered",
    pops: number,
  ) =>
    define(name, { ...spec, operand: "register", size: "b" }, (x) => {
      const fpu = new X87(x);
      const [st0, sti] = [fpu.st(0), fpu.operand()];
      compare(fpu, [st0, sti], pops, () => x.helper(helper, st0.slot, sti.slot, fpu.control));
    });
  compareRegister("fcom", { opcode: [0xd8, 0xdc], digit: 2 }, "f80_compare", 0);
  compareRegister("fcomp", { opcode: [0xd8, 0xdc], digit: 3 }, "f80_compare", 1);
  compareRegister("fcomp", { opcode: 0xde, digit: 2 }, "f80_compare", 1);
  compareRegister("fcompp", { opcode: 0xde, digit: 3, rm: 1 }, "f80_compare", 2);
  compareRegister("fucom", { opcode: 0xdd, digit: 4 }, "f80_compare_unordered", 0);
  compareRegister("fucomp", { opcode: 0xdd, digit: 5 }, "f80_compare_unordered", 1);
  compareRegister("fucompp", { opcode: 0xda, digit: 5, rm: 1 }, "f80_compare_unordered", 2);

  // FCOMI and FUCOMI answer in ZF, PF and CF.
  for (const [opcode, digit, name, helper, pops] of [
    [0xdb, 6, "fcomi", "f80_compare", 0],
    [0xdb, 5, "fucomi", "f80_compare_unordered", 0],
    [0xdf, 6, "fcomip", "f80_compare", 1],
    [0xdf, 5, "fucomip", "f80_compare_unordered", 1],
  ] as const) {
    registers(name, opcode, digit, (x) => {
      const fpu = new X87(x);
      const [st0, sti] = [fpu.st(0), fpu.operand()];
      const status = x.choose(
        "i32",
        fpu.anyEmpty(st0, sti),
        () => SW.invalid | SW.stackFault | UNORDERED,
        () => x.helper(helper, st0.slot, sti.slot, fpu.control),
        false,
      );
      // The flags are written even where an unmasked exception keeps the instruction from popping.
      x.flagsFromImage(x.and(x.shrU(status, 8), 0x45));
      if (pops > 0) x.if(fpu.allowed(status, BEFORE_RESULT), () => fpu.pop(pops));
      fpu.concludeKeepingC1(x.and(status, ~UNORDERED));
    });
  }

  registers(
    "ftst",
    0xd9,
    4,
    (x) => {
      const fpu = new X87(x);
      const st0 = fpu.st(0);
      const zero = fpu.temporary();
      x.helper("f80_zero", zero);
      compare(fpu, [st0], 0, () => x.helper("f80_compare", st0.slot, zero, fpu.control));
    },
    4,
  );
  registers(
    "fxam",
    0xd9,
    4,
    (x) => {
      const fpu = new X87(x);
      const st0 = fpu.st(0);
      const status = x.choose(
        "i32",
        fpu.isEmpty(st0),
        () => x.or(x.shl(x.shrU(x.load("i32", 2, st0.slot, 8), 15), 9), SW.c3 | SW.c0),
        () => x.helper("f80_examine", st0.slot),
      );
      fpu.conclude(status, SW.conditions);
    },
    5,
  );

  for (const [rm, name, change] of [
    [0, "fchs", (x: X86, head: Expr) => x.xor(head, 0x8000)],
    [1, "fabs", (x: X86, head: Expr) => x.and(head, 0x7fff)],
  ] as const) {
    registers(
      name,
      0xd9,
      4,
      (x) => {
        const fpu = new X87(x);
        const st0 = fpu.st(0);
        compute(fpu, st0, [st0], 0, () => {
          x.store(2, st0.slot, change(x, x.load("i32", 2, st0.slot, 8)), 8);
          return x.i32(0);
        });
      },
      rm,
    );
  }
};
