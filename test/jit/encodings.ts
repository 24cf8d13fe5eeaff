/** Random encodings of an instruction form. */
import type { Form } from "../../src/cpu/isa/define.ts";
import type { Random } from "../differential/prng.ts";

export interface EncodingMode {
  readonly mode64: boolean;
  /** Default operand and address size. */
  readonly bits: 16 | 32 | 64;
}

const SEGMENT_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65];

/** One encoding; operands in memory are near the base or index registers. */
export function encode(form: Form, mode: EncodingMode, random: Random): number[] {
  const { mode64 } = mode;
  const bytes: number[] = [];
  const mandatory = form.prefixes && random.pick(form.prefixes);
  const address = random.chance(0.1);
  if (random.chance(0.15)) bytes.push(random.pick(SEGMENT_PREFIXES));
  if (address) bytes.push(0x67);
  if (mandatory === "66" || (form.prefixes === undefined && random.chance(0.25))) bytes.push(0x66);
  if (mandatory === "f2") bytes.push(0xf2);
  if (mandatory === "f3") bytes.push(0xf3);
  const string =
    form.map === 0 && ((form.opcode >= 0xa4 && form.opcode <= 0xa7) || (form.opcode >= 0xaa && form.opcode <= 0xaf));
  if (string && random.chance(0.6)) bytes.push(random.pick([0xf2, 0xf3]));
  const lock = form.lock && form.operand !== "register" && random.chance(0.2);
  if (lock) bytes.push(0xf0);
  if (mode64 && random.chance(0.6)) bytes.push(0x40 | random.below(16));
  bytes.push(...[[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][form.map]!, form.opcode);
  if (form.modrm) bytes.push(...modrm(form, mode, random, lock, address));
  const immediate = random.chance(0.5) ? () => random.below(256) : () => random.pick([0, 1, 0x7f, 0x80, 0xff]);
  // MOV with an offset finds memory more often than not.
  if (form.imm === "moffs") bytes.push(random.below(256), random.below(256), random.chance(0.9) ? 0 : 1, 0, 0, 0, 0, 0);
  else for (let i = 0; i < 8; i++) bytes.push(immediate());
  return bytes;
}

function modrm(form: Form, { mode64, bits }: EncodingMode, random: Random, lock: boolean, small: boolean): number[] {
  const reg = form.digit ?? random.below(8);
  const memory = form.operand === "memory" || (form.operand === undefined && (lock || random.chance(0.5)));
  if (!memory || form.rmAlwaysRegister) return [0xc0 | (reg << 3) | (form.rm ?? random.below(8))];
  const mod = random.below(3);
  const rm = random.below(8);
  const out = [(mod << 6) | (reg << 3) | rm];
  const address16 = !mode64 && (bits === 16) !== small;
  const wide = () => [random.below(256), random.below(256), 0, 0];
  if (address16) {
    if (mod === 2 || (mod === 0 && rm === 6)) out.push(random.below(256), random.below(256));
    else if (mod === 1) out.push(random.below(256));
    return out;
  }
  let base = rm;
  if (rm === 4) {
    const sib = random.below(256);
    base = sib & 7;
    out.push(sib);
  }
  if (mod === 1) out.push(random.below(256));
  else if (mod === 2 || base === 5) out.push(...wide());
  return out;
}
