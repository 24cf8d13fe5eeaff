import type { Expr } from "../../emit/index.ts";
import { SIMD } from "../../emit/simd.ts";
import { DS, RDI } from "../state.ts";
import type { Family, FormSpec } from "./define.ts";
import {
  binary,
  type Define,
  enterMmx,
  fromLow,
  requireMmx,
  requireSse,
  resetTop,
  shuffleLanes,
  unary,
  widen,
} from "./simd.ts";
import type { Address, X86 } from "./x86.ts";

/** Moves between XMM registers, MMX registers, general registers and memory. */
export const simdMoves: Family = (define) => {
  whole(define);
  scalar(define);
  halves(define);
  generalRegisters(define);
  mmxMoves(define);
  nonTemporal(define);
  bitwise(define);
};

const spec = (opcode: number, prefix: "none" | "66" | "f3" | "f2", rest: Partial<FormSpec> = {}): FormSpec => ({
  map: 1,
  opcode,
  prefix,
  modrm: true,
  size: "b",
  ...rest,
});

/** An SSE definition. */
function sse(define: Define, name: string, form: FormSpec | readonly FormSpec[], body: (x: X86) => void): void {
  define(name, form, (x) => {
    requireSse(x);
    body(x);
  });
}

/** 16 bytes, aligned or not. */
function whole(define: Define): void {
  for (const [name, load, store, prefix, aligned] of [
    ["movups", 0x10, 0x11, "none", false],
    ["movupd", 0x10, 0x11, "66", false],
    ["movaps", 0x28, 0x29, "none", true],
    ["movapd", 0x28, 0x29, "66", true],
    ["movdqa", 0x6f, 0x7f, "66", true],
    ["movdqu", 0x6f, 0x7f, "f3", false],
  ] as const) {
    sse(define, name, spec(load, prefix), (x) => x.writeXmmReg(x.readXmmRm(aligned)));
    sse(define, name, spec(store, prefix), (x) => x.writeXmmRm(x.readXmmReg(), aligned));
  }
  sse(define, "lddqu", spec(0xf0, "f2", { operand: "memory" }), (x) => x.writeXmmReg(x.readXmmRm(false)));
}

/** Low 4 or 8 bytes: loads from memory clear the rest, moves between registers keep it. */
function scalar(define: Define): void {
  for (const [name, prefix, bytes] of [
    ["movss", "f3", 4],
    ["movsd", "f2", 8],
  ] as const) {
    sse(define, name, spec(0x10, prefix), (x) => {
      const value = x.readXmmRmLow(bytes);
      if (x.rmIsMemory) x.writeXmmReg(fromLow(x, value));
      else x.writeXmmRegPart(bytes, value);
    });
    sse(define, name, spec(0x11, prefix), (x) => x.writeXmmRmLow(bytes, x.readXmmRegLow(bytes)));
  }
  sse(define, "movq", spec(0x7e, "f3"), (x) => x.writeXmmReg(fromLow(x, x.readXmmRmLow(8))));
  sse(define, "movq", spec(0xd6, "66"), (x) => {
    const value = x.readXmmRegLow(8);
    if (x.rmIsMemory) x.writeXmmRmLow(8, value);
    else x.writeXmmRm(fromLow(x, value));
  });
}

/** MOVLPS and kin: 8 bytes of memory and one half of a register. */
function halves(define: Define): void {
  const memory = { operand: "memory" } as const;
  const upper = (x: X86, value: Expr) => x.simd("i64", SIMD.i64x2Extract, [value], 1);
  for (const [name, opcode, at] of [
    ["movlp", 0x12, 0],
    ["movhp", 0x16, 8],
  ] as const) {
    const either = (code: number) => [spec(code, "none", memory), spec(code, "66", memory)];
    sse(define, name, either(opcode), (x) => x.writeXmmRegPart(8, x.readXmmRmLow(8), at));
    sse(define, name, either(opcode + 1), (x) =>
      x.writeXmmRmLow(8, at === 0 ? x.readXmmRegLow(8) : x.let(upper(x, x.readXmmReg()))),
    );
  }
  const register = { operand: "register" } as const;
  sse(define, "movhlps", spec(0x12, "none", register), (x) => x.writeXmmRegPart(8, x.let(upper(x, x.readXmmRm()))));
  sse(define, "movlhps", spec(0x16, "none", register), (x) => x.writeXmmRegPart(8, x.readXmmRmLow(8), 8));
  sse(define, "movsldup", spec(0x12, "f3"), (x) => {
    const source = x.readXmmRm();
    x.writeXmmReg(shuffleLanes(x, 4, source, source, [0, 0, 2, 2]));
  });
  sse(define, "movshdup", spec(0x16, "f3"), (x) => {
    const source = x.readXmmRm();
    x.writeXmmReg(shuffleLanes(x, 4, source, source, [1, 1, 3, 3]));
  });
  sse(define, "movddup", spec(0x12, "f2"), (x) => x.writeXmmReg(unary(x, SIMD.i64x2Splat, x.readXmmRmLow(8))));
}

/** MOVD and MOVQ. */
function generalRegisters(define: Define): void {
  sse(define, "movd xmm, r/m", spec(0x6e, "66", { size: "y" }), (x) => x.writeXmmReg(fromLow(x, zeroExtended(x))));
  sse(define, "movd r/m, xmm", spec(0x7e, "66", { size: "y" }), (x) => x.writeRm(x.readXmmRegLow(8)));
  define("movd mm, r/m", spec(0x6e, "none", { size: "y" }), (x) => {
    requireMmx(x);
    const value = zeroExtended(x);
    enterMmx(x);
    x.writeMmxReg(value);
  });
  define("movd r/m, mm", spec(0x7e, "none", { size: "y" }), (x) => {
    requireMmx(x);
    resetTop(x);
    x.writeRm(x.readMmxReg());
    enterMmx(x);
  });
}

const zeroExtended = (x: X86): Expr => x.readRm(x.width === 64 ? 64 : 32);

function mmxMoves(define: Define): void {
  define("movq mm, mm/m64", spec(0x6f, "none"), (x) => {
    requireMmx(x);
    const value = x.readMmxRm();
    enterMmx(x);
    x.writeMmxReg(value);
  });
  define("movq mm/m64, mm", spec(0x7f, "none"), (x) => {
    requireMmx(x);
    resetTop(x);
    x.writeMmxRm(x.readMmxReg());
    enterMmx(x);
  });
  const register = { operand: "register" } as const;
  define("movq2dq", spec(0xd6, "f3", register), (x) => {
    requireSse(x);
    requireMmx(x);
    const value = x.readMmxRm();
    enterMmx(x);
    x.writeXmmReg(fromLow(x, value));
  });
  define("movdq2q", spec(0xd6, "f2", register), (x) => {
    requireSse(x);
    requireMmx(x);
    const value = x.readXmmRmLow(8);
    enterMmx(x);
    x.writeMmxReg(value);
  });
}

/** Hints about caching are ignored: these are plain stores. */
function nonTemporal(define: Define): void {
  const memory = { operand: "memory" } as const;
  sse(define, "movntps", [spec(0x2b, "none", memory), spec(0x2b, "66", memory), spec(0xe7, "66", memory)], (x) =>
    x.writeXmmRm(x.readXmmReg()),
  );
  define("movntq", spec(0xe7, "none", memory), (x) => {
    requireMmx(x);
    resetTop(x);
    x.writeMmxRm(x.readMmxReg());
    enterMmx(x);
  });
  define("movnti", spec(0xc3, "none", { ...memory, size: "y" }), (x) => x.writeRm(x.readReg()));

  const register = { operand: "register" } as const;
  sse(define, "maskmovdqu", spec(0xf7, "66", register), (x) => maskedStore(x, x.readXmmReg(), x.readXmmRm(), 16));
  define("maskmovq", spec(0xf7, "none", register), (x) => {
    requireMmx(x);
    enterMmx(x);
    maskedStore(x, widen(x, x.readMmxReg()), widen(x, x.readMmxRm()), 8);
  });
}

/**
 * Stores the bytes whose mask byte is negative at DS:rDI. Whether the others can fault is left open by the SDM; as on
 * Intel processors, they do: whatever the mask, the upper eight bytes are proven writable first, then the lower ones.
 */
function maskedStore(x: X86, value: Expr, mask: Expr, bytes: 8 | 16): void {
  const selected = x.let(x.and(x.simd("i32", SIMD.i8x16Bitmask, [mask]), bytes === 8 ? 0xff : 0xffff));
  const start = x.readIndex(RDI);
  const at = (offset: number): Address => x.dataAddress(x.let(x.and(x.add(start, offset), x.addressMask())), DS, true);
  for (let offset = bytes - 8; offset >= 0; offset -= 8) x.proveWritable(at(offset), 8);
  const halves = [0, 1].map((lane) => x.let(x.simd("i64", SIMD.i64x2Extract, [value], lane)));
  for (let i = 0; i < bytes; i++) {
    x.if(x.and(selected, 1 << i), () => x.writeMemory(at(i), 1, x.shrU(halves[i >> 3]!, (i & 7) * 8)));
  }
}

/** ANDPS and kin have no lanes. */
function bitwise(define: Define): void {
  for (const [name, opcode, operation] of [
    ["andp", 0x54, (x: X86, a: Expr, b: Expr) => binary(x, SIMD.and, a, b)],
    ["andnp", 0x55, (x: X86, a: Expr, b: Expr) => binary(x, SIMD.andNot, b, a)],
    ["orp", 0x56, (x: X86, a: Expr, b: Expr) => binary(x, SIMD.or, a, b)],
    ["xorp", 0x57, (x: X86, a: Expr, b: Expr) => binary(x, SIMD.xor, a, b)],
  ] as const) {
    sse(define, name, [spec(opcode, "none"), spec(opcode, "66")], (x) => {
      const source = x.readXmmRm();
      x.writeXmmReg(operation(x, x.readXmmReg(), source));
    });
  }
}
