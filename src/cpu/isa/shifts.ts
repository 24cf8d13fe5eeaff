import type { Expr } from "../../emit/index.ts";
import { DS, PX, RCX } from "../state.ts";
import type { Family, FormSpec } from "./define.ts";
import type { X86 } from "./x86.ts";

/** `count` (i32) is masked and not zero where `flags` runs. */
type Shift = (x: X86, value: Expr, count: Expr) => { result: Expr; flags: () => void };

const msb = (x: X86, value: Expr, below = 0) => x.and(x.wrap(x.shrU(value, x.width - 1 - below)), 1);

/** Only CF and OF change: they live in the top bits of the carry vector. */
export function setCfOf(x: X86, cf: Expr, of: Expr): void {
  const c = x.let(cf);
  const rest = x.and(x.flagsCarry(), 0x3fff_ffff);
  x.setFlags(x.flagsResult(), x.or(rest, x.or(x.shl(c, 31), x.shl(x.xor(c, of), 30))));
}

/** Only CF changes; OF is bit 31 xor bit 30, so both flip. */
export function setCf(x: X86, cf: Expr): void {
  const carry = x.let(x.flagsCarry());
  x.setFlags(x.flagsResult(), x.xor(carry, x.mul(x.xor(x.shrU(carry, 31), cf), 0xc000_0000 | 0)));
}

const shl: Shift = (x, value, count) => {
  const by = x.u64(count);
  const result = x.let(x.shl(value, by));
  const out = x.width === 64 ? x.shrU(value, x.sub(64, by)) : x.shrU(result, x.width);
  return {
    result,
    flags: () => {
      const cf = x.let(x.and(x.wrap(out), 1));
      x.flagsFrom(result, cf, x.xor(msb(x, result), cf));
    },
  };
};

const shr: Shift = (x, value, count) => {
  const by = x.u64(count);
  const result = x.let(x.shrU(value, by));
  return {
    result,
    flags: () => x.flagsFrom(result, x.and(x.wrap(x.shrU(value, x.sub(by, 1))), 1), msb(x, value)),
  };
};

const sar: Shift = (x, value, count) => {
  const by = x.u64(count);
  const signed = x.let(x.sx(value));
  const result = x.let(x.shrS(signed, by));
  return {
    result,
    flags: () => x.flagsFrom(result, x.and(x.wrap(x.shrS(signed, x.sub(by, 1))), 1), x.i32(0)),
  };
};

/** A value of the operand's width, rotated by less than that. */
function rotated(x: X86, value: Expr, by: Expr, left: boolean): Expr {
  if (x.width === 64) return left ? x.rotl(value, x.u64(by)) : x.rotr(value, x.u64(by));
  if (x.width === 32) {
    const low = x.wrap(value);
    return x.u64(left ? x.rotl(low, by) : x.rotr(low, by));
  }
  const up = x.u64(by);
  const back = x.and(x.sub(x.width, up), x.width - 1);
  return x.zx(x.or(x.shl(value, left ? up : back), x.shrU(value, left ? back : up)));
}

const rotate =
  (left: boolean): Shift =>
  (x, value, count) => {
    const result = x.let(rotated(x, value, x.let(x.and(count, x.width - 1)), left));
    return {
      result,
      flags: () => {
        if (left) {
          const cf = x.let(x.and(x.wrap(result), 1));
          setCfOf(x, cf, x.xor(msb(x, result), cf));
        } else {
          const cf = x.let(msb(x, result));
          setCfOf(x, cf, x.xor(cf, msb(x, result, 1)));
        }
      },
    };
  };

/** RCL and RCR: a rotation of width + 1 bits. */
const rotateCarry =
  (left: boolean): Shift =>
  (x, value, count) => {
    const { width } = x;
    const carry = x.let(x.u64(x.cf()));
    const by = x.let(x.u64(width < 32 ? x.remU(count, width + 1) : count));
    let result: Expr;
    let out: Expr;
    if (width < 64) {
      const ring = x.let(x.or(x.shl(carry, width), value));
      const back = x.sub(width + 1, by);
      const turned = x.let(x.or(x.shl(ring, left ? by : back), x.shrU(ring, left ? back : by)));
      result = x.let(x.zx(turned));
      out = x.and(x.wrap(x.shrU(turned, width)), 1);
    } else {
      // 65 bits: shift twice, because a shift by 64 would be a shift by 0.
      const less = x.sub(by, 1);
      const wrapped = x.sub(64, by);
      const moved = left
        ? x.or(x.or(x.shl(value, by), x.shl(carry, less)), x.shrU(x.shrU(value, 1), wrapped))
        : x.or(x.or(x.shrU(value, by), x.shl(carry, wrapped)), x.shl(x.shl(value, 1), wrapped));
      result = x.let(x.select(x.eqz(by), value, moved));
      out = x.and(x.wrap(left ? x.shrU(value, wrapped) : x.shrU(value, less)), 1);
    }
    const cf = x.let(x.select(x.eqz(by), x.wrap(carry), out));
    return {
      result,
      flags: () => setCfOf(x, cf, left ? x.xor(msb(x, result), cf) : x.xor(msb(x, result), msb(x, result, 1))),
    };
  };

const SHIFTS: readonly (readonly [string, Shift])[] = [
  ["rol", rotate(true)],
  ["ror", rotate(false)],
  ["rcl", rotateCarry(true)],
  ["rcr", rotateCarry(false)],
  ["shl", shl],
  ["shr", shr],
  ["sal", shl],
  ["sar", sar],
];

function apply(x: X86, shift: Shift, rawCount: Expr): void {
  const count = x.let(x.and(rawCount, x.width === 64 ? 63 : 31));
  let flags = () => {};
  x.updateRm((old) => {
    const done = shift(x, old, count);
    flags = done.flags;
    return done.result;
  });
  x.if(count, flags, undefined, true);
}

const both = (opcode: number, rest: Omit<FormSpec, "opcode" | "size">): FormSpec[] => [
  { ...rest, opcode, size: "b" },
  { ...rest, opcode: opcode + 1 },
];

/** Shifts, rotates, double shifts, bit tests and bit scans. */
export const shifts: Family = (define) => {
  SHIFTS.forEach(([name, shift], digit) => {
    define(`${name} r/m, imm8`, both(0xc0, { digit, imm: "b" }), (x) => apply(x, shift, x.wrap(x.imm)));
    define(`${name} r/m, 1`, both(0xd0, { digit }), (x) => apply(x, shift, x.i32(1)));
    define(`${name} r/m, cl`, both(0xd2, { digit }), (x) => apply(x, shift, x.wrap(x.readGpr(RCX, 8))));
  });

  for (const [name, opcode, left] of [
    ["shld", 0xa4, true],
    ["shrd", 0xac, false],
  ] as const) {
    define(`${name} r/m, r, imm8`, { map: 1, opcode, modrm: true, imm: "b" }, (x) =>
      doubleShift(x, x.wrap(x.imm), left),
    );
    define(`${name} r/m, r, cl`, { map: 1, opcode: opcode + 1, modrm: true }, (x) =>
      doubleShift(x, x.wrap(x.readGpr(RCX, 8)), left),
    );
  }

  const tests: readonly (readonly [string, ((x: X86, old: Expr, bit: Expr) => Expr) | undefined])[] = [
    ["bt", undefined],
    ["bts", (x, old, bit) => x.or(old, bit)],
    ["btr", (x, old, bit) => x.and(old, x.xor(bit, -1))],
    ["btc", (x, old, bit) => x.xor(old, bit)],
  ];
  tests.forEach(([name, change], index) => {
    const lock = change !== undefined;
    define(`${name} r/m, r`, { map: 1, opcode: 0xa3 + index * 8, modrm: true, lock }, (x) =>
      bitTest(x, x.readReg(), change, true),
    );
    define(`${name} r/m, imm8`, { map: 1, opcode: 0xba, digit: 4 + index, imm: "b", lock }, (x) =>
      bitTest(x, x.imm, change, false),
    );
  });

  for (const [name, opcode, forward] of [
    ["bsf", 0xbc, true],
    ["bsr", 0xbd, false],
  ] as const) {
    define(name, { map: 1, opcode, modrm: true }, (x) => {
      const source = x.readRm();
      // A zero source leaves the destination as it is (Intel and AMD, though the SDM calls it undefined).
      x.if(x.ne(source, 0), () => x.writeReg(forward ? x.ctz(source) : x.sub(63, x.clz(source))));
      x.setFlags(source, x.i32(0));
    });
  }

  define("popcnt", { map: 1, opcode: 0xb8, prefix: "f3", modrm: true }, (x) => {
    const source = x.readRm();
    x.writeReg(x.popcnt(source));
    // ZF from the source; the other five flags are cleared. The parity of 0 or 1 is made odd by the parity byte.
    const zero = x.let(x.eqz(source));
    x.flagsFromImage(x.shl(zero, 6));
  });
};

function doubleShift(x: X86, rawCount: Expr, left: boolean): void {
  const { width } = x;
  const count = x.let(x.and(rawCount, width === 64 ? 63 : 31));
  const by = x.u64(count);
  const source = x.readReg();
  let flags = () => {};
  x.updateRm((old) => {
    let result: Expr;
    if (width === 16) {
      // Counts beyond 16 go on with the first operand, as the CPUs do.
      const ring = x.let(
        left ? x.or(x.or(x.shl(old, 32), x.shl(source, 16)), old) : x.or(x.or(x.shl(old, 32), x.shl(source, 16)), old),
      );
      result = left ? x.shrU(x.shl(ring, by), 32) : x.shrU(ring, by);
    } else {
      const back = x.sub(width, by);
      const moved = left ? x.or(x.shl(old, by), x.shrU(source, back)) : x.or(x.shrU(old, by), x.shl(source, back));
      result = x.select(count, moved, old);
    }
    const done = x.let(x.zx(result));
    flags = () => {
      const out = left
        ? width === 64
          ? x.shrU(old, x.sub(64, by))
          : x.shrU(x.shl(old, by), width)
        : x.shrU(old, x.sub(by, 1));
      const cf = x.let(x.and(x.wrap(out), 1));
      x.flagsFrom(done, cf, x.xor(msb(x, done), msb(x, old)));
    };
    return done;
  });
  x.if(count, flags, undefined, true);
}

const movedOffset = (x: X86, offset: Expr, by: Expr): Expr => x.and(x.add(offset, by), x.addressMask());

/** 64-bit mode: the segment base is already in; small addresses wrap without it. */
function movedLinear(x: X86, linear: Expr, by: Expr): Expr {
  return x.choose(
    "i64",
    x.and(x.prefixes(), PX.addressSmall),
    () => {
      const base = x.let(x.dataAddress(x.i64(0), DS, true).offset);
      return x.add(movedOffset(x, x.sub(linear, base), by), base);
    },
    () => x.add(linear, by),
  );
}

/** BT family. With a register offset a memory operand is a bit string that may lie anywhere around the address. */
function bitTest(
  x: X86,
  offset: Expr,
  change: ((x: X86, old: Expr, bit: Expr) => Expr) | undefined,
  bitString: boolean,
): void {
  const { width } = x;
  const index = x.let(x.and(offset, width - 1));
  const bit = x.let(x.shl(x.i64(1), index));
  let cf = x.i32(0);
  const test = (old: Expr) => x.let(x.and(x.wrap(x.shrU(old, index)), 1));
  const update = (old: Expr) => {
    cf = test(old);
    return change!(x, old, bit);
  };
  if (x.rmIsMemory && bitString) {
    const units = x.shrS(x.sx(offset), Math.log2(width));
    const base = x.rmAddress();
    const by = x.let(x.mul(units, width >> 3));
    const address = {
      ...base,
      offset: x.let(x.mode64 ? movedLinear(x, base.offset, by) : movedOffset(x, base.offset, by)),
    };
    if (change) x.modifyMemory(address, x.bytes, update);
    else cf = test(x.readMemory(address, x.bytes));
  } else if (change) x.updateRm(update);
  else cf = test(x.readRm());
  setCf(x, cf);
}
