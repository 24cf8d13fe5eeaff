import type { Attribute } from "./leaf.ts";

/** Opcodes that share one body in the main loop (they differ in a register number, or not at all). */
export interface HotOpcode {
  readonly map: 0 | 1;
  readonly opcodes: readonly number[];
  readonly attribute: Attribute;
  /** Of a group: the members (ModRM.reg) that are hot; the others go through the function table. */
  readonly digits?: readonly number[];
}

const range = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
const each = (...opcodes: number[]) => opcodes.map((opcode) => [opcode]);

/** Members of groups 1 (ADD, OR, AND, SUB, XOR, CMP), 2 (SHL, SHR, SAR, rotates), 3 (TEST, NOT, NEG, MUL) and 5. */
const GROUPS: readonly (readonly [number, readonly number[]])[] = [
  [0x81, [0, 4, 5, 7]],
  [0x83, [0, 1, 4, 5, 6, 7]],
  [0xc1, [0, 1, 4, 5, 7]],
  [0xd1, [4, 5, 7]],
  [0xd3, [4, 5, 7]],
  [0xf7, [0, 2, 3]],
];

/**
 * What the main loop does itself; the rest goes through the function table. Chosen from samples of the instructions of a
 * Linux boot and of integer benchmarks. The main loops must stay under about 42 KB of code: beyond, V8 of Node 20 falls
 * back to a weaker register allocator and everything is slower.
 */
export function inlineOpcodes(mode64: boolean): HotOpcode[] {
  const hot: HotOpcode[] = [];
  const add = (map: 0 | 1, attribute: Attribute, groups: readonly (readonly number[])[]) => {
    for (const opcodes of groups) hot.push({ map, opcodes, attribute });
  };
  // ADD, OR, AND, SUB, XOR, CMP, TEST, MOV, LEA, IMUL, MOVZX, CMOVcc in the register forms; immediate moves.
  const alu = each(0x01, 0x03, 0x09, 0x21, 0x29, 0x2b, 0x31, 0x33, 0x39, 0x3b, 0x3d, 0x85, 0x89, 0x8b, 0x8d);
  const wide: Attribute[] = mode64 ? [32, 64] : [32];
  for (const attribute of wide) {
    add(0, attribute, alu);
    for (const [opcode, digits] of GROUPS) hot.push({ map: 0, opcodes: [opcode], attribute, digits });
    add(0, attribute, [range(0xb8, 8), [0xc7]]);
    add(1, attribute, each(0xaf, 0xb6, 0xb7));
  }
  if (mode64) {
    // MOVSXD, ADC and CMOVAE of multi-word arithmetic; SETB.
    add(0, 64, each(0x11, 0x63));
    add(1, 64, each(0x43));
    add(1, 32, each(0x92));
  } else {
    // INC, DEC.
    add(0, 32, [range(0x40, 8), range(0x48, 8)]);
  }
  hot.push({ map: 0, opcodes: [0xff], attribute: 32, digits: mode64 ? [2, 4] : [0, 1, 2, 4, 6] });
  hot.push({ map: 0, opcodes: [0xf6], attribute: 32, digits: [0] });
  hot.push({ map: 0, opcodes: [0x80], attribute: 32, digits: [7] });
  add(0, 32, [range(0x50, 8), range(0x58, 8)]);
  add(0, 32, each(0x05, 0x25, 0x3c, 0x69, 0x84, 0x88, 0x8a, 0x90, 0xa8, 0xa9, 0xc3, 0xe8, 0xe9, 0xeb));
  // Jcc.
  add(
    0,
    32,
    range(0x70, 16).map((opcode) => [opcode]),
  );
  add(
    1,
    32,
    range(0x80, 16).map((opcode) => [opcode]),
  );
  // The long NOP that aligns loops.
  if (mode64) add(1, 32, each(0x1f));
  return hot;
}
