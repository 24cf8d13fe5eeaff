import type { Expr } from "../../emit/index.ts";
import { RAX, RDX, VECTOR } from "../state.ts";
import type { Family, FormSpec } from "./define.ts";
import type { X86 } from "./x86.ts";

/** A two-operand operation: the result, and the flags it leaves (written after the destination). */
type Operation = (x: X86, a: Expr, b: Expr) => { result: Expr; flags: () => void };

const plus: Operation = (x, a, b) => {
  const result = x.let(x.add(a, b));
  return { result, flags: () => x.flagsAdd(a, b, result) };
};

const minus: Operation = (x, a, b) => {
  const result = x.let(x.sub(a, b));
  return { result, flags: () => x.flagsSub(a, b, result) };
};

const plusCarry: Operation = (x, a, b) => {
  const result = x.let(x.add(x.add(a, b), x.u64(x.cf())));
  return { result, flags: () => x.flagsAdd(a, b, result) };
};

const minusBorrow: Operation = (x, a, b) => {
  const result = x.let(x.sub(x.sub(a, b), x.u64(x.cf())));
  return { result, flags: () => x.flagsSub(a, b, result) };
};

const logic =
  (name: "and" | "or" | "xor"): Operation =>
  (x, a, b) => {
    const result = x.let(x[name](a, b));
    return { result, flags: () => x.flagsLogic(result) };
  };

const OPERATIONS: readonly (readonly [name: string, operation: Operation])[] = [
  ["add", plus],
  ["or", logic("or")],
  ["adc", plusCarry],
  ["sbb", minusBorrow],
  ["and", logic("and")],
  ["sub", minus],
  ["xor", logic("xor")],
  ["cmp", minus],
];

/** Applies an operation to r/m in place; CMP writes flags only. */
export function updateWith(x: X86, operation: Operation, operand: Expr, writes: boolean): void {
  if (!writes) {
    operation(x, x.readRm(), operand).flags();
    return;
  }
  let flags = () => {};
  x.updateRm((old) => {
    const done = operation(x, old, operand);
    flags = done.flags;
    return done.result;
  });
  flags();
}

const both = (opcode: number, rest: Omit<FormSpec, "opcode" | "size">): FormSpec[] => [
  { ...rest, opcode, size: "b" },
  { ...rest, opcode: opcode + 1 },
];

/** ADD, OR, ADC, SBB, AND, SUB, XOR, CMP, TEST, INC, DEC, NEG, NOT, MUL, IMUL, DIV, IDIV, XADD, CMPXCHG and BCD. */
export const arithmetic: Family = (define) => {
  OPERATIONS.forEach(([name, operation], index) => {
    const opcode = index * 8;
    const writes = name !== "cmp";
    define(`${name} r/m, r`, both(opcode, { modrm: true, lock: writes }), (x) =>
      updateWith(x, operation, x.readReg(), writes),
    );
    define(`${name} r, r/m`, both(opcode + 2, { modrm: true }), (x) => {
      const b = x.readRm();
      const { result, flags } = operation(x, x.readReg(), b);
      if (writes) x.writeReg(result);
      flags();
    });
    define(
      `${name} acc, imm`,
      [
        { opcode: opcode + 4, size: "b", imm: "b" },
        { opcode: opcode + 5, imm: "z" },
      ],
      (x) => {
        const { result, flags } = operation(x, x.readAcc(), x.imm);
        if (writes) x.writeAcc(result);
        flags();
      },
    );
    define(
      `${name} r/m, imm`,
      [
        { opcode: 0x80, digit: index, size: "b", imm: "b", lock: writes },
        { opcode: 0x81, digit: index, imm: "z", lock: writes },
        { opcode: 0x82, digit: index, size: "b", imm: "b", lock: writes, modes: "legacy" },
        { opcode: 0x83, digit: index, imm: "b", lock: writes },
      ],
      (x) => updateWith(x, operation, x.imm, writes),
    );
  });

  define("test r/m, r", both(0x84, { modrm: true }), (x) => x.flagsLogic(x.let(x.and(x.readRm(), x.readReg()))));
  define("test acc, imm", [
    { opcode: 0xa8, size: "b", imm: "b" },
    { opcode: 0xa9, imm: "z" },
  ], (x) => x.flagsLogic(x.let(x.and(x.readAcc(), x.imm))));
  define(
    "test r/m, imm",
    [0, 1].flatMap((digit): FormSpec[] => [
      { opcode: 0xf6, digit, size: "b", imm: "b" },
      { opcode: 0xf7, digit, imm: "z" },
    ]),
    (x) => x.flagsLogic(x.let(x.and(x.readRm(), x.imm))),
  );

  const step = (operation: Operation) => (x: X86) => {
    x.flagsKeepCarry(() => updateWith(x, operation, x.i64(1), true));
  };
  define("inc r/m", both(0xfe, { digit: 0, lock: true }), step(plus));
  define("dec r/m", both(0xfe, { digit: 1, lock: true }), step(minus));
  for (const [name, base, operation] of [
    ["inc r", 0x40, plus],
    ["dec r", 0x48, minus],
  ] as const) {
    define(name, { opcode: Array.from({ length: 8 }, (_, r) => base + r), modes: "legacy" }, (x) => {
      x.flagsKeepCarry(() => {
        const { result, flags } = operation(x, x.readOpcodeReg(), x.i64(1));
        x.writeOpcodeReg(result);
        flags();
      });
    });
  }

  define("not r/m", both(0xf6, { digit: 2, lock: true }), (x) => x.updateRm((old) => x.xor(old, -1)));
  define("neg r/m", both(0xf6, { digit: 3, lock: true }), (x) => {
    let flags = () => {};
    x.updateRm((old) => {
      const result = x.let(x.sub(x.i64(0), old));
      flags = () => x.flagsSub(x.i64(0), old, result);
      return result;
    });
    flags();
  });

  define("mul r/m", both(0xf6, { digit: 4 }), (x) => multiplyAccumulator(x, false));
  define("imul r/m", both(0xf6, { digit: 5 }), (x) => multiplyAccumulator(x, true));
  define("div r/m", both(0xf6, { digit: 6 }), (x) => divide(x, false));
  define("idiv r/m", both(0xf6, { digit: 7 }), (x) => divide(x, true));
  define("imul r, r/m", { map: 1, opcode: 0xaf, modrm: true }, (x) => signedMultiply(x, x.readReg(), x.readRm()));
  define("imul r, r/m, imm", [
    { opcode: 0x69, modrm: true, imm: "z" },
    { opcode: 0x6b, modrm: true, imm: "b" },
  ], (x) => signedMultiply(x, x.readRm(), x.imm));

  define("xadd r/m, r", both(0xc0, { map: 1, modrm: true, lock: true }), (x) => {
    const addend = x.readReg();
    if (!x.rmIsMemory) {
      const old = x.readRm();
      const { result, flags } = plus(x, old, addend);
      x.writeReg(old);
      x.writeRm(result);
      flags();
      return;
    }
    let before = addend;
    let flags = () => {};
    x.updateRm((old) => {
      const done = plus(x, old, addend);
      before = old;
      flags = done.flags;
      return done.result;
    });
    x.writeReg(before);
    flags();
  });

  define("cmpxchg r/m, r", both(0xb0, { map: 1, modrm: true, lock: true }), (x) => {
    const accumulator = x.readAcc();
    const source = x.readReg();
    let before = source;
    if (x.rmIsMemory) {
      x.updateRm((old) => {
        before = old;
        return x.select(x.eq(old, accumulator), source, old);
      });
      x.if(x.ne(before, accumulator), () => x.writeAcc(before));
    } else {
      // A register that does not match is not written at all: its upper half stays.
      before = x.let(x.readRm());
      x.if(
        x.eq(before, accumulator),
        () => x.writeRm(source),
        () => x.writeAcc(before),
      );
    }
    x.flagsSub(accumulator, before, x.let(x.sub(accumulator, before)));
  });

  define("cmpxchg8b", { map: 1, opcode: 0xc7, digit: 1, operand: "memory", size: "y", lock: true }, (x) => {
    if (x.width === 64) compareExchange16(x);
    else compareExchange8(x);
  });

  decimal(define);
};

function onlyZf(x: X86, zf: Expr): void {
  x.flagsMerge(x.shl(zf, 6), 0x40);
}

function compareExchange8(x: X86): void {
  const pair = (high: number, low: number) => x.let(x.or(x.shl(x.readGpr(high, 32), 32), x.readGpr(low, 32)));
  const expected = pair(RDX, RAX);
  const replacement = pair(1, 3);
  let before = expected;
  x.modifyMemory(x.rmAddress(), 8, (old) => {
    before = old;
    return x.select(x.eq(old, expected), replacement, old);
  });
  const equal = x.let(x.eq(before, expected));
  x.if(x.eqz(equal), () => {
    x.writeGpr(RAX, before, 32);
    x.writeGpr(RDX, x.shrU(before, 32), 32);
  });
  onlyZf(x, equal);
}

function compareExchange16(x: X86): void {
  const address = x.rmAddress();
  x.if(x.wrap(x.and(address.offset, 15)), () => x.fault(VECTOR.gp, 0), undefined, false);
  x.proveWritable(address, 16);
  const low = x.readMemory(address, 8);
  const high = x.readMemory(address, 8, 8);
  const equal = x.let(x.and(x.eq(low, x.readGpr(RAX, 64)), x.eq(high, x.readGpr(RDX, 64))));
  x.if(
    equal,
    () => {
      x.writeMemory(address, 8, x.readGpr(3, 64));
      x.writeMemory(address, 8, x.readGpr(1, 64), 8);
    },
    () => {
      x.writeMemory(address, 8, low);
      x.writeMemory(address, 8, high, 8);
      x.writeGpr(RAX, low, 64);
      x.writeGpr(RDX, high, 64);
    },
  );
  onlyZf(x, equal);
}

/** High 64 bits of a 64 × 64 bit product, unsigned. */
function multiplyHigh(x: X86, a: Expr, b: Expr): Expr {
  const half = (v: Expr) => [x.let(x.and(v, 0xffff_ffff)), x.let(x.shrU(v, 32))] as const;
  const [a0, a1] = half(a);
  const [b0, b1] = half(b);
  const low = x.mul(a0, b0);
  const middle = x.let(x.add(x.mul(a1, b0), x.shrU(low, 32)));
  const cross = x.let(x.add(x.mul(a0, b1), x.and(middle, 0xffff_ffff)));
  return x.let(x.add(x.add(x.mul(a1, b1), x.shrU(middle, 32)), x.shrU(cross, 32)));
}

function signedMultiplyHigh(x: X86, a: Expr, b: Expr): Expr {
  const corrected = x.sub(x.sub(multiplyHigh(x, a, b), x.and(x.shrS(a, 63), b)), x.and(x.shrS(b, 63), a));
  return x.let(corrected);
}

function multiplyAccumulator(x: X86, signed: boolean): void {
  const extend = (v: Expr) => x.let(signed ? x.sx(v) : v);
  const b = extend(x.readRm());
  const a = extend(x.readAcc());
  const product = x.let(x.mul(a, b));
  let overflow: Expr;
  if (x.width === 64) {
    const high = signed ? signedMultiplyHigh(x, a, b) : multiplyHigh(x, a, b);
    x.writeAcc(product);
    x.writeGpr(RDX, high);
    overflow = x.ne(high, signed ? x.shrS(product, 63) : x.i64(0));
  } else {
    if (x.width === 8) x.writeGpr(RAX, product, 16);
    else {
      x.writeAcc(product);
      x.writeGpr(RDX, x.shrU(product, x.width));
    }
    overflow = x.ne(product, signed ? x.sx(product) : x.zx(product));
  }
  const carry = x.let(overflow);
  x.flagsFrom(product, carry, carry);
}

/** Two- and three-operand IMUL: the truncated product; CF = OF = it did not fit. */
function signedMultiply(x: X86, left: Expr, right: Expr): void {
  const a = x.let(x.sx(left));
  const b = x.let(x.sx(right));
  const product = x.let(x.mul(a, b));
  const overflow = x.let(
    x.width === 64 ? x.ne(signedMultiplyHigh(x, a, b), x.shrS(product, 63)) : x.ne(product, x.sx(product)),
  );
  x.writeReg(product);
  x.flagsFrom(product, overflow, overflow);
}

/** DIV and IDIV: flags are undefined afterwards and stay. */
function divide(x: X86, signed: boolean): void {
  const divisor = x.let(signed ? x.sx(x.readRm()) : x.readRm());
  const divideError = () => x.fault(VECTOR.de);
  x.if(x.eqz(divisor), divideError, undefined, false);
  if (x.width === 64) {
    divide128(x, divisor, signed, divideError);
    return;
  }
  const dividend = x.let(
    x.width === 8
      ? signed
        ? x.sx(x.readGpr(RAX, 16), 16)
        : x.readGpr(RAX, 16)
      : x.width === 16 && signed
        ? x.sx(x.or(x.shl(x.readGpr(RDX), 16), x.readAcc()), 32)
        : x.or(x.shl(x.readGpr(RDX), x.width), x.readAcc()),
  );
  if (signed) {
    // The one quotient that overflows 64 bits, and so traps in WebAssembly.
    const overflows = x.and(x.eq(dividend, -(2n ** 63n)), x.eq(divisor, -1));
    x.if(overflows, divideError, undefined, false);
  }
  const quotient = x.let(signed ? x.divS(dividend, divisor) : x.divU(dividend, divisor));
  const remainder = x.let(x.sub(dividend, x.mul(quotient, divisor)));
  x.if(x.ne(quotient, signed ? x.sx(quotient) : x.zx(quotient)), divideError, undefined, false);
  if (x.width === 8) {
    x.writeGpr(RAX, x.or(x.shl(x.and(remainder, 0xff), 8), x.and(quotient, 0xff)), 16);
  } else {
    x.writeAcc(quotient);
    x.writeGpr(RDX, remainder);
  }
}

/** RDX:RAX by a 64-bit divisor, one bit a step when the high half takes part. */
function divide128(x: X86, divisor: Expr, signed: boolean, divideError: () => void): void {
  const low = x.variable("i64", x.readGpr(RAX));
  const high = x.variable("i64", x.readGpr(RDX));
  const size = x.variable("i64", divisor);
  const negativeDividend = x.let(x.shrS(x.snapshot(high), 63));
  const negativeDivisor = x.let(x.shrS(divisor, 63));
  if (signed) {
    x.if(x.wrap(negativeDividend), () => {
      x.set(low, x.let(x.sub(x.i64(0), x.get(low))));
      x.set(high, x.xor(x.get(high), -1));
      x.if(x.eqz(x.get(low)), () => x.set(high, x.add(x.get(high), 1)));
    });
    x.if(x.wrap(negativeDivisor), () => x.set(size, x.sub(x.i64(0), x.get(size))));
  }
  const quotient = x.variable("i64");
  const remainder = x.variable("i64");
  x.if(
    x.eqz(x.get(high)),
    () => {
      x.set(quotient, x.divU(x.get(low), x.get(size)));
      x.set(remainder, x.remU(x.get(low), x.get(size)));
    },
    () => {
      x.if(x.geU(x.get(high), x.get(size)), divideError, undefined, false);
      const steps = x.variable("i32", 64);
      x.loop((again) => {
        x.scope(() => {
          const carry = x.let(x.shrU(x.get(high), 63));
          const shifted = x.let(x.or(x.shl(x.get(high), 1), x.shrU(x.get(low), 63)));
          const fits = x.let(x.or(x.wrap(carry), x.geU(shifted, x.get(size))));
          const doubled = x.let(x.or(x.shl(x.get(low), 1), x.u64(fits)));
          x.set(high, x.select(fits, x.sub(shifted, x.get(size)), shifted));
          x.set(low, doubled);
          x.set(steps, x.sub(x.get(steps), 1));
        });
        x.brIf(again, x.get(steps));
      });
      x.set(quotient, x.get(low));
      x.set(remainder, x.get(high));
    },
    true,
  );
  if (signed) {
    const negative = x.let(x.xor(negativeDividend, negativeDivisor));
    // The magnitude may reach 2^63 only when the quotient is negative.
    const limit = x.sub(x.i64(2n ** 63n - 1n), negative);
    x.if(x.gtU(x.get(quotient), x.let(limit)), divideError, undefined, false);
    x.set(quotient, x.sub(x.xor(x.snapshot(quotient), negative), negative));
    x.set(remainder, x.sub(x.xor(x.snapshot(remainder), negativeDividend), negativeDividend));
  }
  x.writeAcc(x.get(quotient));
  x.writeGpr(RDX, x.get(remainder));
}

/** Decimal adjustment, SDM vol 2 (DAA, DAS, AAA, AAS, AAM, AAD); not in 64-bit mode. */
function decimal(define: Parameters<Family>[0]): void {
  for (const [name, opcode, subtract] of [
    ["daa", 0x27, false],
    ["das", 0x2f, true],
  ] as const) {
    define(name, { opcode, size: "b", modes: "legacy" }, (x) => {
      const al = x.wrap(x.readAcc());
      const cf = x.let(x.cf());
      const low = x.let(x.or(x.gtU(x.and(al, 15), 9), x.af()));
      const high = x.let(x.or(x.gtU(al, 0x99), cf));
      const adjust = x.add(x.mul(low, 6), x.mul(high, 0x60));
      const result = x.let(x.u64(x.and(subtract ? x.sub(al, adjust) : x.add(al, adjust), 0xff)));
      // DAS also carries when the low adjustment alone borrows.
      const carry = subtract ? x.or(high, x.and(low, x.ltU(al, 6))) : high;
      x.writeAcc(result);
      x.flagsFrom(result, carry, x.i32(0), low);
    });
  }
  for (const [name, opcode, subtract] of [
    ["aaa", 0x37, false],
    ["aas", 0x3f, true],
  ] as const) {
    define(name, { opcode, size: "b", modes: "legacy" }, (x) => {
      const ax = x.wrap(x.readGpr(RAX, 16));
      const adjust = x.let(x.or(x.gtU(x.and(ax, 15), 9), x.af()));
      const amount = x.mul(adjust, 0x106);
      const changed = x.let(subtract ? x.sub(ax, amount) : x.add(ax, amount));
      x.writeGpr(RAX, x.u64(x.and(changed, 0xff0f)), 16);
      x.flagsFrom(x.u64(x.and(changed, 0xf)), adjust, x.i32(0), adjust);
    });
  }
  define("aam", { opcode: 0xd4, size: "b", imm: "b", modes: "legacy" }, (x) => {
    const base = x.let(x.zx(x.imm));
    x.if(x.eqz(base), () => x.fault(VECTOR.de), undefined, false);
    const al = x.readAcc();
    const low = x.let(x.remU(al, base));
    x.writeGpr(RAX, x.or(x.shl(x.divU(al, base), 8), low), 16);
    x.flagsLogic(low);
  });
  define("aad", { opcode: 0xd5, size: "b", imm: "b", modes: "legacy" }, (x) => {
    const ax = x.readGpr(RAX, 16);
    const sum = x.let(x.and(x.add(x.and(ax, 0xff), x.mul(x.shrU(ax, 8), x.zx(x.imm))), 0xff));
    x.writeGpr(RAX, sum, 16);
    x.flagsLogic(sum);
  });
}
