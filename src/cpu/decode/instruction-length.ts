import { type Form, immediateBytes, type MandatoryPrefix } from "../isa/define.ts";
import { PX } from "../state.ts";

/** The longest instruction, SDM vol 2, 2.3.11. */
export const MAX_LENGTH = 15;

/** Tables that tell how long an instruction is, from the same definitions that the CPU runs. */
export class LengthDecoder {
  private readonly forms = new Map<number, Form[]>();

  constructor(forms: readonly Form[]) {
    for (const form of forms) {
      const key = form.map * 256 + form.opcode;
      const known = this.forms.get(key);
      if (known) known.push(form);
      else this.forms.set(key, [form]);
    }
  }

  /**
   * Length of the instruction at the start of `bytes`, of which `available` are there. A result beyond `available`
   * says how many bytes are needed at least; beyond `MAX_LENGTH`, that it is too long. `initialPrefixes` as in
   * `CPU.initialPrefixes`.
   */
  length(bytes: Uint8Array, available: number, mode64: boolean, initialPrefixes: number): number {
    const default16 = !mode64 && (initialPrefixes & PX.addressSmall) !== 0;
    let operandPrefix = false;
    let addressPrefix = false;
    let rexW = false;
    let mandatory: MandatoryPrefix = "none";
    let at = 0;
    for (; ; at++) {
      if (at >= available || at >= MAX_LENGTH) return at + 1;
      const byte = bytes[at]!;
      if (mode64 && (byte & 0xf0) === 0x40) {
        rexW = (byte & 8) !== 0;
        continue;
      }
      const isPrefix = PREFIXES.has(byte);
      if (!isPrefix) break;
      rexW = false;
      if (byte === 0x66) operandPrefix = true;
      else if (byte === 0x67) addressPrefix = true;
      else if (byte === 0xf2) mandatory = "f2";
      else if (byte === 0xf3) mandatory = "f3";
    }
    if (mandatory === "none" && operandPrefix) mandatory = "66";
    let map = 0;
    let opcode = bytes[at++]!;
    if (opcode === 0x0f) {
      if (at >= available) return at + 1;
      map = 1;
      opcode = bytes[at++]!;
      if (opcode === 0x38 || opcode === 0x3a) {
        if (at >= available) return at + 1;
        map = opcode === 0x38 ? 2 : 3;
        opcode = bytes[at++]!;
      }
    }
    const attribute = rexW ? 64 : operandPrefix !== default16 ? 16 : 32;
    const address16 = !mode64 && default16 !== addressPrefix;
    const here = (this.forms.get(map * 256 + opcode) ?? []).filter(
      (form) =>
        (form.modes === undefined || (form.modes === "64") === mode64) &&
        (form.prefixes === undefined || form.prefixes.includes(mandatory)),
    );
    if (here.length === 0) return at;
    let form: Form | undefined = here[0]!;
    if (form.modrm) {
      if (at >= available) return at + 1;
      const modrm = bytes[at++]!;
      const memory = modrm < 0xc0 && !form.rmAlwaysRegister;
      if (memory) {
        const extra = address16 ? address16Bytes(modrm) : address32Bytes(modrm, bytes, at, available);
        if (extra < 0) return at + 1;
        at += extra;
      }
      const digit = (modrm >> 3) & 7;
      form = here.find(
        (one) =>
          (one.digit === undefined || one.digit === digit) &&
          (one.operand === undefined || (one.operand === "memory") === memory) &&
          (one.rm === undefined || one.rm === (modrm & 7)),
      );
    }
    if (form?.imm === "moffs") {
      const small = addressPrefix !== default16;
      at += mode64 ? (addressPrefix ? 4 : 8) : small ? 2 : 4;
    } else at += immediateBytes(form?.imm, attribute, mode64);
    return at;
  }
}

/** Bytes of a displacement with 16-bit addressing. */
function address16Bytes(modrm: number): number {
  const mod = modrm >> 6;
  if (mod === 0) return (modrm & 7) === 6 ? 2 : 0;
  return mod;
}

/** SIB and displacement bytes with 32- or 64-bit addressing; -1: the SIB byte itself is missing. */
function address32Bytes(modrm: number, bytes: Uint8Array, at: number, available: number): number {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  const displacement = mod === 1 ? 1 : mod === 2 ? 4 : 0;
  if (rm !== 4) return mod === 0 && rm === 5 ? 4 : displacement;
  if (at >= available) return -1;
  return 1 + (mod === 0 && (bytes[at]! & 7) === 5 ? 4 : displacement);
}

const PREFIXES = new Set([0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3]);
