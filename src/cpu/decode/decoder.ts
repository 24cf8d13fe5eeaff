import { type Form, type ImmediateKind, immediateBytes, type MandatoryPrefix } from "../isa/define.ts";
import { PX } from "../state.ts";
import { FormTable, formFor } from "./form-table.ts";

/** The longest instruction, SDM vol 2, 2.3.11. */
export const MAX_LENGTH = 15;

/** One instruction with its operands as the encoding gives them. */
export interface DecodedInstruction {
  /** Undefined: no such instruction (#UD), or not all of its bytes were there. */
  readonly form: Form | undefined;
  /**
   * Bytes. More than were available: at least so many are needed; more than `MAX_LENGTH`: too long. Either way the rest
   * of the record says nothing.
   */
  readonly length: number;
  /** Prefix state, see PX. */
  readonly px: number;
  readonly map: number;
  readonly opcode: number;
  /** -1: none. */
  readonly modrm: number;
  /** -1: none. */
  readonly sib: number;
  /** Sign-extended. */
  readonly displacement: number;
  /** As definitions see it: sign-extended, but for far pointers, `moffs`, and the 16 bits of RET and ENTER. */
  readonly imm: bigint;
  readonly imm2: bigint;
  readonly attribute: 16 | 32 | 64;
}

/** A record to be filled in, over and over where none is kept. */
export type InstructionRecord = { -readonly [field in keyof DecodedInstruction]: DecodedInstruction[field] };

export function newInstruction(): InstructionRecord {
  return {
    form: undefined,
    length: 0,
    px: 0,
    map: 0,
    opcode: 0,
    modrm: -1,
    sib: -1,
    displacement: 0,
    imm: 0n,
    imm2: 0n,
    attribute: 32,
  };
}

const REX_MASK = PX.rex | PX.rexW | PX.rexR | PX.rexX | PX.rexB;
const ATTRIBUTE_MASK = 3 << PX.attributeShift;
const attributeBits = (attribute: 16 | 32 | 64): number =>
  (attribute === 16 ? 0 : attribute === 32 ? 1 : 2) << PX.attributeShift;

/** Prefix state after one more prefix byte; -1: it is no prefix. SDM vol 2, 2.1.1 and 2.2.1. */
function afterPrefix(px: number, byte: number, mode64: boolean, first: number): number {
  if (mode64 && (byte & 0xf0) === 0x40) {
    const width = byte & 8 ? 64 : px & PX.operandSize ? 16 : 32;
    return (px & ~(REX_MASK | ATTRIBUTE_MASK)) | attributeBits(width) | PX.rex | (byte & 0xf);
  }
  const after = afterLegacyPrefix(px, byte, mode64, first);
  // A legacy prefix after REX makes the REX void.
  if (after < 0 || !mode64) return after;
  return (after & ~(REX_MASK | ATTRIBUTE_MASK)) | attributeBits(after & PX.operandSize ? 16 : 32);
}

function withSegment(px: number, register: number): number {
  return (px & ~PX.segment) | ((register + 1) << PX.segmentShift);
}

function afterLegacyPrefix(px: number, byte: number, mode64: boolean, first: number): number {
  switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
      // ES, CS, SS and DS mean nothing in 64-bit mode.
      return mode64 ? px : withSegment(px, (byte >> 3) & 3);
    case 0x64:
    case 0x65:
      return withSegment(px, byte & 7);
    case 0x66:
      // Toggles the attribute of the code segment, however often it stands there.
      return ((px | PX.operandSize) & ~ATTRIBUTE_MASK) | ((first ^ attributeBits(32)) & ATTRIBUTE_MASK);
    case 0x67:
      return (px & ~PX.addressSmall) | ((first ^ PX.addressSmall) & PX.addressSmall);
    case 0xf0:
      return px | PX.lock;
    case 0xf2:
      return (px & ~PX.rep) | PX.repne;
    case 0xf3:
      return (px & ~PX.repne) | PX.rep;
    default:
      return -1;
  }
}

/** Bytes to instructions, from the same definitions that the CPU runs. */
export class Decoder {
  private readonly table: FormTable;

  constructor(forms: readonly Form[]) {
    this.table = new FormTable(forms);
  }

  /**
   * The instruction at `start` in `bytes`, of which `available` are there from that place on. `initialPrefixes` as in
   * `CPU.initialPrefixes`. Fills in `into` and gives it back.
   */
  decode(
    bytes: Uint8Array,
    available: number,
    mode64: boolean,
    initialPrefixes: number,
    start = 0,
    into = newInstruction(),
  ): DecodedInstruction {
    const end = start + available;
    const first = mode64 ? attributeBits(32) : initialPrefixes;
    let px = first;
    let at = start;
    for (; ; at++) {
      if (at >= end || at - start >= MAX_LENGTH) return needs(at + 1 - start, into);
      const next = afterPrefix(px, bytes[at]!, mode64, first);
      if (next < 0) break;
      px = next;
    }
    let map = 0;
    let opcode = bytes[at++]!;
    if (opcode === 0x0f) {
      if (at >= end) return needs(at + 1 - start, into);
      map = 1;
      opcode = bytes[at++]!;
      if (opcode === 0x38 || opcode === 0x3a) {
        if (at >= end) return needs(at + 1 - start, into);
        map = opcode === 0x38 ? 2 : 3;
        opcode = bytes[at++]!;
      }
    }
    const attribute = px & attributeBits(64) ? 64 : px & attributeBits(32) ? 32 : 16;
    const row = this.table.at(map, opcode, mode64, mandatoryPrefix(px));
    let { form, imm } = row;
    let modrm = -1;
    let sib = -1;
    let displacement = 0;
    if (row.modrm) {
      if (at >= end) return needs(at + 1 - start, into);
      modrm = bytes[at++]!;
      form = formFor(row.forms, modrm);
      imm = form?.imm;
      if (modrm < 0xc0 && !row.rmAlwaysRegister) {
        const address16 = !mode64 && (px & PX.addressSmall) !== 0;
        if (!address16 && (modrm & 7) === 4) {
          if (at >= end) return needs(at + 1 - start, into);
          sib = bytes[at++]!;
        }
        const width = displacementBytes(modrm, sib, address16);
        if (at + width <= end) displacement = width === 0 ? 0 : readNumber(bytes, at, width);
        at += width;
      }
    }
    const small = (px & PX.addressSmall) !== 0;
    const width = imm === "moffs" ? (mode64 ? 8 : 4) >> (small ? 1 : 0) : immediateBytes(imm, attribute, mode64);
    const length = at + width - start;
    if (length > available || length > MAX_LENGTH) return needs(length, into);
    into.form = form;
    into.length = length;
    into.px = px;
    into.map = map;
    into.opcode = opcode;
    into.modrm = modrm;
    into.sib = sib;
    into.displacement = displacement;
    into.attribute = attribute;
    readImmediates(imm, bytes, at, width, into);
    return into;
  }

  /** Length alone, with the meaning of `DecodedInstruction.length`. */
  length(bytes: Uint8Array, available: number, mode64: boolean, initialPrefixes: number): number {
    return this.decode(bytes, available, mode64, initialPrefixes).length;
  }
}

function needs(length: number, into: InstructionRecord): DecodedInstruction {
  into.form = undefined;
  into.length = length;
  return into;
}

function mandatoryPrefix(px: number): MandatoryPrefix {
  if (px & PX.repne) return "f2";
  if (px & PX.rep) return "f3";
  return px & PX.operandSize ? "66" : "none";
}

/** SDM vol 2, tables 2-1 to 2-3. */
function displacementBytes(modrm: number, sib: number, address16: boolean): number {
  const mod = modrm >> 6;
  const rm = modrm & 7;
  if (mod === 1) return 1;
  if (mod === 2) return address16 ? 2 : 4;
  if (address16) return rm === 6 ? 2 : 0;
  return rm === 5 || (rm === 4 && (sib & 7) === 5) ? 4 : 0;
}

function readUnsigned(bytes: Uint8Array, at: number, width: number): bigint {
  let value = 0n;
  for (let i = width - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[at + i]!);
  return value;
}

/** 1, 2 or 4 bytes. */
function readNumber(bytes: Uint8Array, at: number, width: number): number {
  if (width === 1) return (bytes[at]! << 24) >> 24;
  if (width === 2) return ((bytes[at]! | (bytes[at + 1]! << 8)) << 16) >> 16;
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

/** Made once: the immediates of one byte. */
const SIGNED_BYTES = Array.from({ length: 256 }, (_, byte) => BigInt((byte << 24) >> 24));

function readSigned(bytes: Uint8Array, at: number, width: number): bigint {
  if (width === 1) return SIGNED_BYTES[bytes[at]!]!;
  if (width === 8) return BigInt.asIntN(64, readUnsigned(bytes, at, width));
  return BigInt(readNumber(bytes, at, width));
}

function readImmediates(
  kind: ImmediateKind | undefined,
  bytes: Uint8Array,
  at: number,
  width: number,
  into: InstructionRecord,
): void {
  into.imm2 = 0n;
  switch (kind) {
    case undefined:
      into.imm = 0n;
      break;
    case "w":
    case "moffs":
      into.imm = readUnsigned(bytes, at, width);
      break;
    case "enter":
      into.imm = readUnsigned(bytes, at, 2);
      into.imm2 = readUnsigned(bytes, at + 2, 1);
      break;
    case "far":
      into.imm = readUnsigned(bytes, at, width - 2);
      into.imm2 = readUnsigned(bytes, at + width - 2, 2);
      break;
    default:
      into.imm = readSigned(bytes, at, width);
  }
}
