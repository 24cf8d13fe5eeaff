import type { Expr } from "../../emit/index.ts";
import type { Family } from "./define.ts";
import type { OperandWidth, X86 } from "./x86.ts";
import { BEFORE_STORE, X87 } from "./x87-stack.ts";
import { FPU_STATUS as SW } from "./x87-status.ts";

/** Loads, stores, exchanges, conditional moves and constants. */
export const x87Moves: Family = (define) => {
  loads(define);
  stores(define);
  registerMoves(define);
};

/** Pushes what `load` writes to the new top, which gives the status; the indefinite when the stack is full. */
function push(fpu: X87, load: (slot: Expr) => Expr | number): void {
  const { x } = fpu;
  const target = fpu.st(-1);
  const status = x.choose(
    "i32",
    fpu.isEmpty(target),
    () => load(target.slot),
    () => {
      fpu.ifInvalidMasked(() => x.helper("f80_indefinite", target.slot));
      return SW.invalid | SW.stackFault | SW.c1;
    },
    true,
  );
  // A denormal is loaded even when DE is unmasked.
  x.if(fpu.allowed(status, SW.invalid), () => fpu.push());
  fpu.conclude(status);
}

/** Ten bytes are two accesses, which fault one after the other. */
function readTenBytes(x: X86): { low: Expr; high: Expr } {
  const address = x.rmAddress();
  return { low: x.readMemory(address, 8), high: x.readMemory(address, 2, 8) };
}

function loads(define: Parameters<Family>[0]): void {
  const load = (name: string, opcode: number, digit: number, body: (fpu: X87, x: X86) => void) =>
    define(name, { opcode, digit, operand: "memory", size: "b" }, (x) => body(new X87(x), x));

  load("fld m32", 0xd9, 0, (fpu, x) => {
    const bits = x.wrap(x.readRm(32));
    push(fpu, (slot) => x.helper("f80_from_f32", slot, bits, fpu.control));
  });
  load("fld m64", 0xdd, 0, (fpu, x) => {
    const bits = x.readRm(64);
    push(fpu, (slot) => x.helper("f80_from_f64", slot, bits, fpu.control));
  });
  load("fld m80", 0xdb, 5, (fpu, x) => {
    const { low, high } = readTenBytes(x);
    push(fpu, (slot) => {
      x.store(8, slot, low);
      x.store(2, slot, high, 8);
      return 0;
    });
  });
  for (const [name, opcode, digit, width] of [
    ["fild m16", 0xdf, 0, 16],
    ["fild m32", 0xdb, 0, 32],
    ["fild m64", 0xdf, 5, 64],
  ] as const) {
    load(name, opcode, digit, (fpu, x) => {
      const value = x.let(x.sx(x.readRm(width), width));
      push(fpu, (slot) => {
        x.helper("f80_from_i64", slot, value);
        return 0;
      });
    });
  }
  load("fbld", 0xdf, 4, (fpu, x) => {
    const { low, high } = readTenBytes(x);
    push(fpu, (slot) => {
      x.helper("f80_from_bcd", slot, low, x.wrap(high));
      return 0;
    });
  });
}

/** How ST(0) becomes a value of memory, and what an empty ST(0) gives instead. */
interface StoreFormat {
  readonly width: OperandWidth;
  readonly helper: string;
  /** The helper takes no control word: it truncates. */
  readonly truncates?: boolean;
  /** Indefinite of the format: SDM vol 1, tables 4-1 and 4-3. */
  readonly indefinite: bigint;
}

const BINARY32: StoreFormat = { width: 32, helper: "f80_to_f32", indefinite: 0xffc0_0000n };
const BINARY64: StoreFormat = { width: 64, helper: "f80_to_f64", indefinite: 0xfff8_0000_0000_0000n };
const integer = (width: 16 | 32 | 64): StoreFormat => ({
  width,
  helper: `f80_to_i${width}`,
  indefinite: 1n << BigInt(width - 1),
});
const truncated = (width: 16 | 32 | 64): StoreFormat => ({
  ...integer(width),
  helper: `f80_to_i${width}_truncate`,
  truncates: true,
});

function stores(define: Parameters<Family>[0]): void {
  for (const [name, opcode, digit, pops, format] of [
    ["fst m32", 0xd9, 2, 0, BINARY32],
    ["fstp m32", 0xd9, 3, 1, BINARY32],
    ["fst m64", 0xdd, 2, 0, BINARY64],
    ["fstp m64", 0xdd, 3, 1, BINARY64],
    ["fist m16", 0xdf, 2, 0, integer(16)],
    ["fistp m16", 0xdf, 3, 1, integer(16)],
    ["fist m32", 0xdb, 2, 0, integer(32)],
    ["fistp m32", 0xdb, 3, 1, integer(32)],
    ["fistp m64", 0xdf, 7, 1, integer(64)],
    ["fisttp m16", 0xdf, 1, 1, truncated(16)],
    ["fisttp m32", 0xdb, 1, 1, truncated(32)],
    ["fisttp m64", 0xdd, 1, 1, truncated(64)],
  ] as const) {
    define(name, { opcode, digit, operand: "memory", size: "b" }, (x) => storeConverted(new X87(x), format, pops));
  }

  define("fstp m80", { opcode: 0xdb, digit: 7, operand: "memory", size: "b" }, (x) => {
    const fpu = new X87(x);
    const st0 = fpu.st(0);
    storeTenBytes(fpu, () => {
      const value = fpu.temporary();
      const status = fpu.unlessEmpty(
        [st0],
        () => {
          fpu.copy(value, st0.slot);
          return x.i32(0);
        },
        () => x.helper("f80_indefinite", value),
      );
      return { value, status };
    });
  });
  define("fbstp", { opcode: 0xdf, digit: 6, operand: "memory", size: "b" }, (x) => {
    const fpu = new X87(x);
    const st0 = fpu.st(0);
    storeTenBytes(fpu, () => {
      const value = fpu.temporary();
      const status = fpu.unlessEmpty(
        [st0],
        () => x.helper("f80_to_bcd", value, st0.slot, fpu.control),
        () => {
          // Packed BCD indefinite: SDM vol 1, table 4-4.
          x.store(8, value, x.i64(0xc000_0000_0000_0000n));
          x.store(2, value, x.i32(0xffff), 8);
        },
      );
      return { value, status };
    });
  });
}

function storeConverted(fpu: X87, format: StoreFormat, pops: number): void {
  const { x } = fpu;
  const st0 = fpu.st(0);
  const { width, helper, truncates, indefinite } = format;
  const value = x.variable("i64", indefinite);
  const status = fpu.unlessEmpty(
    [st0],
    () => {
      const flags = fpu.storeStatus();
      const result = truncates ? x.helper(helper, st0.slot, flags) : x.helper(helper, st0.slot, fpu.control, flags);
      x.set(value, result.type === "i64" ? result : x.u64(result));
      return fpu.takeStoreStatus();
    },
    () => {},
  );
  x.if(fpu.allowed(status, BEFORE_STORE), () => {
    x.writeRm(x.get(value), width);
    fpu.pop(pops);
  });
  fpu.conclude(status);
}

/** Writes ten bytes from a slot and pops. On silicon too, eight of them stay written when the other two fault. */
function storeTenBytes(fpu: X87, convert: () => { value: Expr; status: Expr }): void {
  const { x } = fpu;
  const { value, status } = convert();
  x.if(fpu.allowed(status, BEFORE_STORE), () => {
    const address = x.rmAddress();
    x.writeMemory(address, 8, x.load("i64", 8, value));
    x.writeMemory(address, 2, x.load("i64", 2, value, 8), 8);
    fpu.pop(1);
  });
  fpu.conclude(status);
}

function registerMoves(define: Parameters<Family>[0]): void {
  define("fld sti", { opcode: 0xd9, digit: 0, operand: "register", size: "b" }, (x) => {
    const fpu = new X87(x);
    const [sti, target] = [fpu.operand(), fpu.st(-1)];
    const underflow = fpu.isEmpty(sti);
    const status = x.choose(
      "i32",
      x.or(underflow, x.eqz(fpu.isEmpty(target))),
      () => {
        fpu.ifInvalidMasked(() => x.helper("f80_indefinite", target.slot));
        return x.or(x.select(underflow, x.i32(0), x.i32(SW.c1)), SW.invalid | SW.stackFault);
      },
      () => {
        fpu.copy(target.slot, sti.slot);
        return 0;
      },
      false,
    );
    x.if(fpu.allowed(status, SW.invalid), () => fpu.push());
    fpu.conclude(status);
  });

  /** ST(i) = ST(0), pop. */
  const storeRegister = (name: string, opcode: number | number[], digit: number, pops: number) =>
    define(name, { opcode, digit, operand: "register", size: "b" }, (x) => {
      const fpu = new X87(x);
      const [st0, sti] = [fpu.st(0), fpu.operand()];
      const status = fpu.unlessEmpty(
        [st0],
        () => {
          fpu.copy(sti.slot, st0.slot);
          fpu.fill(sti);
          return x.i32(0);
        },
        () => fpu.setIndefinite(sti),
      );
      x.if(fpu.allowed(status, SW.invalid), () => fpu.pop(pops));
      fpu.conclude(status);
    });
  storeRegister("fst sti", 0xdd, 2, 0);
  // DF D0 and DF D8 are undocumented aliases.
  storeRegister("fstp sti", [0xdd, 0xdf], 3, 1);
  storeRegister("fstp sti", 0xdf, 2, 1);

  // D9 D8, undocumented: an empty ST(0) is no fault; nothing is copied then.
  define("fstpnce", { opcode: 0xd9, digit: 3, operand: "register", size: "b" }, (x) => {
    const fpu = new X87(x);
    const [st0, sti] = [fpu.st(0), fpu.operand()];
    x.if(x.eqz(fpu.isEmpty(st0)), () => {
      fpu.copy(sti.slot, st0.slot);
      fpu.fill(sti);
    });
    fpu.pop(1);
    fpu.conclude(0);
  });

  // DD C8 and DF C8 are undocumented aliases.
  define("fxch", { opcode: [0xd9, 0xdd, 0xdf], digit: 1, operand: "register", size: "b" }, (x) => {
    const fpu = new X87(x);
    const [st0, sti] = [fpu.st(0), fpu.operand()];
    const status = fpu.unlessEmpty(
      [st0, sti],
      () => x.i32(0),
      () => {
        for (const one of [st0, sti]) x.if(fpu.isEmpty(one), () => fpu.setIndefinite(one));
      },
    );
    x.if(fpu.allowed(status, SW.invalid), () => {
      const held = fpu.temporary();
      fpu.copy(held, st0.slot);
      fpu.copy(st0.slot, sti.slot);
      fpu.copy(sti.slot, held);
    });
    fpu.conclude(status);
  });

  // FCMOVcc: SDM vol 2, appendix B.2.4; the negated conditions are under DB.
  for (const [digit, condition, test] of [
    [0, "b", (x: X86) => x.cf()],
    [1, "e", (x: X86) => x.zf()],
    [2, "be", (x: X86) => x.or(x.cf(), x.zf())],
    [3, "u", (x: X86) => x.pf()],
  ] as const) {
    for (const [opcode, negated] of [
      [0xda, false],
      [0xdb, true],
    ] as const) {
      const name = `fcmov${negated ? "n" : ""}${condition}`;
      define(name, { opcode, digit, operand: "register", size: "b" }, (x) => {
        const fpu = new X87(x);
        const [st0, sti] = [fpu.st(0), fpu.operand()];
        const status = fpu.unlessEmpty(
          [st0, sti],
          () => {
            const moves = negated ? x.eqz(test(x)) : test(x);
            x.if(moves, () => fpu.copy(st0.slot, sti.slot));
            return x.i32(0);
          },
          () => fpu.setIndefinite(st0),
        );
        fpu.concludeKeepingC1(status);
      });
    }
  }

  for (const [rm, name, helper, rounded] of [
    [0, "fld1", "f80_one", false],
    [1, "fldl2t", "f80_log2_10", true],
    [2, "fldl2e", "f80_log2_e", true],
    [3, "fldpi", "f80_pi", true],
    [4, "fldlg2", "f80_log10_2", true],
    [5, "fldln2", "f80_ln_2", true],
    [6, "fldz", "f80_zero", false],
  ] as const) {
    define(name, { opcode: 0xd9, digit: 5, rm, size: "b" }, (x) => {
      const fpu = new X87(x);
      push(fpu, (slot) => {
        if (rounded) x.helper(helper, slot, fpu.control);
        else x.helper(helper, slot);
        return 0;
      });
    });
  }
}
