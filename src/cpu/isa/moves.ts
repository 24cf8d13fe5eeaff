import type { Expr } from "../../emit/index.ts";
import { CPU, DS, ES, EVENT, FLAG, FS, GS, MODE, PX, RBX, RDX, RSP, SEG, SS, VECTOR } from "../state.ts";
import type { Family, FormSpec } from "./define.ts";
import type { X86 } from "./x86.ts";

const range = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
const both = (opcode: number, rest: Omit<FormSpec, "opcode" | "size">): FormSpec[] => [
  { ...rest, opcode, size: "b" },
  { ...rest, opcode: opcode + 1 },
];

/** MOV and its relatives, exchanges, conversions, conditional moves, flags, stack. */
export const moves: Family = (define) => {
  define("mov r/m, r", both(0x88, { modrm: true }), (x) => x.writeRm(x.readReg()));
  define("mov r, r/m", both(0x8a, { modrm: true }), (x) => x.writeReg(x.readRm()));
  define("mov r, imm", { opcode: range(0xb0, 8), size: "b", imm: "b" }, (x) => x.writeOpcodeReg(x.imm));
  define("mov r, imm", { opcode: range(0xb8, 8), imm: "v" }, (x) => x.writeOpcodeReg(x.imm));
  define("mov r/m, imm", [
    { opcode: 0xc6, digit: 0, size: "b", imm: "b" },
    { opcode: 0xc7, digit: 0, imm: "z" },
  ], (x) => x.writeRm(x.imm));
  define("mov acc, moffs", both(0xa0, { imm: "moffs" }), (x) =>
    x.writeAcc(x.readMemory(x.dataAddress(x.imm, DS, true), x.bytes)),
  );
  define("mov moffs, acc", both(0xa2, { imm: "moffs" }), (x) =>
    x.writeMemory(x.dataAddress(x.imm, DS, true), x.bytes, x.readAcc()),
  );

  // A register destination takes the operand size (zero-extended), memory always 16 bits.
  define("mov r/m, sreg", { opcode: 0x8c, modrm: true }, (x) => {
    const number = x.let(x.and(x.regNumber(), 7));
    x.if(x.gtU(number, GS), () => x.fault(VECTOR.ud), undefined, false);
    const selector = x.load("i64", 4, x.add(x.fieldAddress(CPU.segments + SEG.selector), x.mul(number, SEG.size)));
    x.writeRm(selector, x.rmIsMemory ? 16 : x.width);
  });
  define("mov sreg, r/m", { opcode: 0x8e, modrm: true }, (x) => {
    const number = x.let(x.and(x.regNumber(), 7));
    x.if(x.or(x.gtU(number, GS), x.eq(number, 1)), () => x.fault(VECTOR.ud), undefined, false);
    x.system("load-segment", x.u64(number), x.readRm(16));
  });
  for (const [name, map, opcode, segment] of [
    ["les", 0, 0xc4, ES],
    ["lds", 0, 0xc5, DS],
    ["lss", 1, 0xb2, SS],
    ["lfs", 1, 0xb4, FS],
    ["lgs", 1, 0xb5, GS],
  ] as const) {
    const spec: FormSpec = { map, opcode, operand: "memory" };
    define(name, map === 0 ? { ...spec, modes: "legacy" } : spec, (x) => {
      const address = x.rmAddress();
      const offset = x.readMemory(address, x.bytes);
      const selector = x.readMemory(address, 2, x.bytes);
      x.system("load-far-pointer", x.i64(segment), selector, offset, x.let(x.or(x.u64(x.regNumber()), x.width << 8)));
    });
  }

  define("lea", { opcode: 0x8d, operand: "memory", offsetOnly: true }, (x) => x.writeReg(x.rmOffset()));

  for (const [opcode, width] of [
    [0xb6, 8],
    [0xb7, 16],
  ] as const) {
    define("movzx", { map: 1, opcode, modrm: true }, (x) => x.writeReg(x.readRm(width)));
    define("movsx", { map: 1, opcode: opcode + 8, modrm: true }, (x) => x.writeReg(x.sx(x.readRm(width), width)));
  }
  define("movsxd", { opcode: 0x63, modrm: true, modes: "64" }, (x) => {
    const width = x.width === 16 ? 16 : 32;
    x.writeReg(x.sx(x.readRm(width), width));
  });

  define("xchg r/m, r", both(0x86, { modrm: true, lock: true }), (x) => {
    const register = x.readReg();
    let before = register;
    x.updateRm((old) => {
      before = old;
      return register;
    });
    x.writeReg(before);
  });
  define("xchg acc, r", { opcode: range(0x91, 7) }, (x) => {
    const [a, b] = [x.readAcc(), x.readOpcodeReg()];
    x.writeAcc(b);
    x.writeOpcodeReg(a);
  });
  define("nop", { opcode: 0x90 }, (x) => {
    if (!x.mode64) return;
    // With REX.B it is XCHG with R8.
    x.if(
      x.and(x.prefixes(), PX.rexB),
      () => {
        const [a, b] = [x.readAcc(), x.readOpcodeReg()];
        x.writeAcc(b);
        x.writeOpcodeReg(a);
      },
      undefined,
      false,
    );
  });
  // Reserved NOPs (SDM vol 2, table A-3) and prefetches, which are hints.
  define("nop r/m", { map: 1, opcode: [0x0d, ...range(0x18, 8)], modrm: true }, () => {});

  define("bswap", { map: 1, opcode: range(0xc8, 8) }, (x) => {
    const value = x.readOpcodeReg();
    if (x.width === 16) {
      // Undefined by the SDM; the CPUs give 0.
      x.writeOpcodeReg(x.i64(0));
      return;
    }
    const bytes = x.width / 8;
    let swapped = x.i64(0);
    for (let i = 0; i < bytes; i++) {
      const byte = x.and(x.shrU(value, i * 8), 0xff);
      swapped = i === 0 ? x.shl(byte, (bytes - 1) * 8) : x.or(swapped, x.shl(byte, (bytes - 1 - i) * 8));
    }
    x.writeOpcodeReg(swapped);
  });

  define("xlat", { opcode: 0xd7, size: "b" }, (x) => {
    const offset = x.and(x.add(x.readGpr(RBX, 64), x.readAcc()), x.addressMask());
    x.writeAcc(x.readMemory(x.dataAddress(x.let(offset), DS, true), 1));
  });

  // CBW, CWDE, CDQE and CWD, CDQ, CQO.
  define("cbw", { opcode: 0x98 }, (x) => {
    const half = (x.width / 2) as 8 | 16 | 32;
    x.writeAcc(x.sx(x.readAcc(half), half));
  });
  define("cwd", { opcode: 0x99 }, (x) => x.writeGpr(RDX, x.shrS(x.sx(x.readAcc()), 63)));

  for (const code of range(0, 16)) {
    define("cmovcc", { map: 1, opcode: 0x40 + code, modrm: true }, (x) => {
      const value = x.readRm();
      // A 32-bit destination is zero-extended even when nothing moves.
      x.writeReg(x.select(x.condition(code), value, x.readReg()));
    });
    define("setcc", { map: 1, opcode: 0x90 + code, modrm: true, size: "b" }, (x) =>
      x.writeRm(x.u64(x.let(x.condition(code)))),
    );
  }

  define("lahf", { opcode: 0x9f }, (x) => x.writeAh(x.u64(x.or(x.and(x.flagsImage(), 0xff), 2))));
  define("sahf", { opcode: 0x9e }, (x) => x.flagsMerge(x.wrap(x.readAh()), 0xd5));
  define("salc", { opcode: 0xd6, size: "b", modes: "legacy" }, (x) => x.writeAcc(x.u64(x.sub(x.i32(0), x.cf()))));

  stack(define);
};

function stack(define: Parameters<Family>[0]): void {
  define("push r", { opcode: range(0x50, 8), size: "d64" }, (x) => x.push(x.readOpcodeReg()));
  define("pop r", { opcode: range(0x58, 8), size: "d64" }, (x) => x.writeOpcodeReg(x.pop()));
  define("push imm", [
    { opcode: 0x68, imm: "z", size: "d64" },
    { opcode: 0x6a, imm: "b", size: "d64" },
  ], (x) => x.push(x.imm));
  define("push r/m", { opcode: 0xff, digit: 6, size: "d64" }, (x) => x.push(x.readRm()));
  define("pop r/m", { opcode: 0x8f, digit: 0, size: "d64" }, (x) => {
    if (!x.rmIsMemory) {
      x.writeRm(x.pop());
      return;
    }
    // The address is computed with the stack pointer already moved (SDM vol 2, POP).
    const top = x.readStackPointer();
    const value = x.readMemory(x.stackAddress(top), x.bytes);
    const address = x.rmAddress();
    const usesStackPointer = x.rmAddressUses(RSP);
    const moved = x.let(x.add(address.offset, x.select(usesStackPointer, x.i64(x.bytes), x.i64(0))));
    x.writeMemory({ ...address, offset: x.mode64 ? moved : x.let(x.and(moved, x.addressMask())) }, x.bytes, value);
    x.writeStackPointer(x.add(top, x.bytes));
  });

  for (const [segment, push, pop, map] of [
    [ES, 0x06, 0x07, 0],
    [1, 0x0e, undefined, 0],
    [SS, 0x16, 0x17, 0],
    [DS, 0x1e, 0x1f, 0],
    [FS, 0xa0, 0xa1, 1],
    [GS, 0xa8, 0xa9, 1],
  ] as const) {
    const spec: Omit<FormSpec, "opcode"> = { map, size: "d64", ...(map === 0 && { modes: "legacy" as const }) };
    define("push sreg", { ...spec, opcode: push }, (x) => {
      const selector = x.u64(x.field("i32", CPU.segments + segment * SEG.size + SEG.selector));
      if (x.width !== 32) {
        x.push(selector);
        return;
      }
      // A 32-bit push of a selector moves the pointer by 4 and writes 2 bytes (SDM vol 2, PUSH).
      const top = x.stackOffset(x.readStackPointer(), -4);
      x.writeMemory(x.stackAddress(top), 2, selector);
      x.writeStackPointer(top);
    });
    if (pop !== undefined) {
      define("pop sreg", { ...spec, opcode: pop }, (x) => x.system("pop-segment", x.i64(segment), x.i64(x.width)));
    }
  }

  define("pusha", { opcode: 0x60, modes: "legacy" }, (x) => x.system("pusha", x.i64(x.width)));
  define("popa", { opcode: 0x61, modes: "legacy" }, (x) => x.system("popa", x.i64(x.width)));
  const inV86 = (x: X86) => x.and(x.field("i32", CPU.mode), MODE.v86);
  define("pushf", { opcode: 0x9c, size: "d64" }, (x) => {
    x.if(inV86(x), () => x.system("pushf", x.i64(x.width)), undefined, false);
    const flags = x.or(x.and(x.systemFlags(), ~(FLAG.vm | FLAG.rf)), x.flagsImage());
    x.push(x.u64(x.let(x.or(flags, FLAG.one))));
  });
  define("popf", { opcode: 0x9d, size: "d64" }, popFlags);
  define("enter", { opcode: 0xc8, imm: "enter", size: "d64" }, (x) => x.system("enter", x.imm, x.imm2, x.i64(x.width)));
  define("leave", { opcode: 0xc9, size: "d64" }, (x) => {
    const frame = x.mode64 ? x.readGpr(5, 64) : x.let(x.and(x.readGpr(5, 32), x.stackMask()));
    const value = x.readMemory(x.stackAddress(frame), x.bytes);
    x.writeStackPointer(x.add(frame, x.bytes));
    x.writeGpr(5, value);
  });
}

/** POPF of what lies in an ordinary page and changes nothing that the engine has to look at; else the slow path. */
function popFlags(x: X86): void {
  const slow = (condition: Expr) => x.if(condition, () => x.system("popf", x.i64(x.width)), undefined, false);
  const top = x.readStackPointer();
  const host = x.plainHost(x.stackAddress(top), x.bytes, false);
  slow(x.eqz(host));
  slow(x.or(x.and(x.field("i32", CPU.mode), MODE.v86), x.and(x.field("i32", CPU.pendingEvents), EVENT.nmi)));
  const image = x.load("i32", x.width === 16 ? 2 : 4, host);
  const old = x.systemFlags();
  const cpl = x.cpl();
  // In real mode CPL is 0, so that it may change everything there too.
  const always = FLAG.tf | FLAG.df | FLAG.nt | (x.width === 16 ? 0 : FLAG.ac | FLAG.id);
  const byIopl = x.shl(x.leU(cpl, x.and(x.shrU(old, 12), 3)), 9);
  const mask = x.let(x.or(x.or(byIopl, always), x.select(cpl, x.i32(0), x.i32(FLAG.iopl))));
  const flags = x.let(x.or(x.and(old, x.xor(x.or(mask, FLAG.rf), -1)), x.and(image, mask)));
  slow(x.or(x.and(flags, FLAG.tf), x.and(x.xor(flags, old), FLAG.ac)));
  slow(x.and(x.ne(x.and(flags, FLAG.if), 0), x.ne(x.field("i32", CPU.intr), 0)));
  x.writeStackPointer(x.add(top, x.bytes));
  x.flagsFromImage(image);
  x.setField("i32", CPU.eflags, flags);
}
