import type { Attribute } from "./leaf.ts";

/** Opcodes that share one body in the main loop (they differ in a register number, or not at all). */
export interface HotOpcode {
  readonly map: 0 | 1;
  readonly opcodes: readonly number[];
  readonly attribute: Attribute;
}

const range = (first: number, count: number) => Array.from({ length: count }, (_, i) => first + i);
const each = (...opcodes: number[]) => opcodes.map((opcode) => [opcode]);

/**
 * What the main loop does itself; the rest goes through the function table. Chosen from dynamic counts of a Linux boot
 * and of integer benchmarks. The main loops must stay under about 42 KB of code: beyond, V8 of Node 20 falls back to a
 * weaker register allocator and everything is slower.
 */
export function inlineOpcodes(mode64: boolean): HotOpcode[] {
  const hot: HotOpcode[] = [];
  const add = (map: 0 | 1, attribute: Attribute, groups: readonly (readonly number[])[]) => {
    for (const opcodes of groups) hot.push({ map, opcodes, attribute });
  };
  // ADD, OR, AND, SUB, XOR, CMP, TEST, MOV, LEA in the register forms; group 1 with imm8; immediate moves; branches.
  const alu = each(
    0x01,
    0x03,
    0x21,
    0x29,
    0x2b,
    0x31,
    0x33,
    0x39,
    0x3b,
    0x85,
    0x89,
    0x8b,
    0x8d,
    0x83,
    0xc1,
    ...(mode64 ? [] : [0x81, 0xd1, 0xd3, 0xff, 0xf7]),
  );
  const wide: Attribute[] = mode64 ? [32, 64] : [32];
  for (const attribute of wide) {
    add(0, attribute, alu);
    add(0, attribute, [range(0xb8, 8)]);
    add(1, attribute, each(0xb6, 0xb7, 0xaf));
  }
  add(0, 32, [range(0x50, 8), range(0x58, 8)]);
  add(0, 32, each(0xe8, 0xe9, 0xeb, 0xc3, 0x88, 0x8a, 0x84, 0x3c, 0xa8, 0xc7, 0x90));
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
  return hot;
}
