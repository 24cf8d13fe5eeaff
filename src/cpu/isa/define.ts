import type { OperandWidth, X86 } from "./x86.ts";

/** Opcode maps: one byte, 0F, 0F 38, 0F 3A. */
export type OpcodeMap = 0 | 1 | 2 | 3;

/** Mandatory prefix of the 0F maps; a form without one answers to any. */
export type MandatoryPrefix = "none" | "66" | "f3" | "f2";

/**
 * Immediate bytes after the operands: `b` 8, `w` 16, `z` 16 or 32, `rel` as `z`, but 32 in 64-bit mode whatever the
 * prefixes (Intel's near branches ignore 66h there), `v` the operand width, `far` (z and a selector), `moffs` (address
 * size), `enter` (16 and 8).
 */
export type ImmediateKind = "b" | "w" | "z" | "rel" | "v" | "far" | "moffs" | "enter";

/**
 * Operand size: `b` 8 bits; `v` 16, 32 or 64 by prefixes; `d64` as `v`, but 64 instead of 32 in 64-bit mode; `f64` as
 * `v`, but always 64 in 64-bit mode; `y` 32 or 64 (66h ignored).
 */
export type SizeKind = "b" | "v" | "d64" | "f64" | "y";

export interface FormSpec {
  readonly map?: OpcodeMap;
  readonly opcode: number | readonly number[];
  readonly prefix?: MandatoryPrefix | readonly MandatoryPrefix[];
  /** ModRM follows. Implied by digit, operand and rm. */
  readonly modrm?: boolean;
  /** ModRM.reg is part of the opcode. */
  readonly digit?: number;
  /** Only with a register or only with a memory operand; the other is #UD (or another form). */
  readonly operand?: "register" | "memory";
  /** ModRM.rm is part of the opcode (register form). */
  readonly rm?: number;
  readonly imm?: ImmediateKind;
  readonly size?: SizeKind;
  readonly modes?: "legacy" | "64";
  /** ModRM.mod is ignored: r/m names a register (control and debug registers). */
  readonly rmAlwaysRegister?: boolean;
  /** The memory operand is only an offset (LEA): no segment takes part. */
  readonly offsetOnly?: boolean;
  /** LOCK is allowed with a memory operand. */
  readonly lock?: boolean;
}

export type Body = (x: X86) => void;

/** One instruction in one encoding. */
export interface Form {
  readonly name: string;
  readonly map: OpcodeMap;
  readonly opcode: number;
  readonly prefixes: readonly MandatoryPrefix[] | undefined;
  readonly modrm: boolean;
  readonly digit: number | undefined;
  readonly operand: "register" | "memory" | undefined;
  readonly rm: number | undefined;
  readonly imm: ImmediateKind | undefined;
  readonly size: SizeKind;
  readonly modes: "legacy" | "64" | undefined;
  readonly offsetOnly: boolean;
  readonly rmAlwaysRegister: boolean;
  readonly lock: boolean;
  readonly body: Body;
}

/** Collects definitions; one per instruction set. */
export class InstructionSet {
  readonly forms: Form[] = [];

  readonly define = (name: string, spec: FormSpec | readonly FormSpec[], body: Body): void => {
    for (const one of Array.isArray(spec) ? (spec as readonly FormSpec[]) : [spec as FormSpec]) {
      const opcodes = typeof one.opcode === "number" ? [one.opcode] : one.opcode;
      const prefixes = typeof one.prefix === "string" ? [one.prefix] : one.prefix;
      for (const opcode of opcodes) {
        this.forms.push({
          name,
          map: one.map ?? 0,
          opcode,
          prefixes,
          modrm: one.modrm ?? (one.digit !== undefined || one.operand !== undefined || one.rm !== undefined),
          digit: one.digit,
          operand: one.rm !== undefined ? "register" : one.operand,
          rm: one.rm,
          imm: one.imm,
          size: one.size ?? "v",
          modes: one.modes,
          rmAlwaysRegister: one.rmAlwaysRegister ?? false,
          offsetOnly: one.offsetOnly ?? false,
          lock: one.lock ?? false,
          body,
        });
      }
    }
  };
}

/** A family of instructions: a file of definitions. */
export type Family = (define: InstructionSet["define"]) => void;

/** Width of a form's operands under the operand-size attribute (16, 32 or 64). */
export function formWidth(form: Form, attribute: 16 | 32 | 64, mode64: boolean): OperandWidth {
  switch (form.size) {
    case "b":
      return 8;
    case "d64":
      return mode64 && attribute === 32 ? 64 : attribute;
    case "f64":
      return mode64 ? 64 : attribute;
    case "y":
      return attribute === 64 ? 64 : 32;
    default:
      return attribute;
  }
}

/** Bytes of an immediate; `moffs` depends on the address size and is given for the large one. */
export function immediateBytes(kind: ImmediateKind | undefined, attribute: 16 | 32 | 64, mode64: boolean): number {
  switch (kind) {
    case undefined:
      return 0;
    case "b":
      return 1;
    case "w":
      return 2;
    case "z":
      return attribute === 16 ? 2 : 4;
    case "rel":
      return attribute === 16 && !mode64 ? 2 : 4;
    case "v":
      return attribute >> 3;
    case "far":
      return (attribute === 16 ? 2 : 4) + 2;
    case "moffs":
      return mode64 ? 8 : 4;
    case "enter":
      return 3;
  }
}
