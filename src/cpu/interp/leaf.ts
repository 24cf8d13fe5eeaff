import type { Expr } from "../../emit/index.ts";
import { type Form, formWidth, immediateBytes } from "../isa/define.ts";
import type { Address } from "../isa/x86.ts";
import { PX, VECTOR } from "../state.ts";
import type { Helpers } from "./helpers.ts";
import type { Ends, InterpreterBuilder } from "./interpreter-builder.ts";

/** Operand-size attribute. */
export type Attribute = 16 | 32 | 64;
export const ATTRIBUTES: readonly Attribute[] = [16, 32, 64];

/** Where the generator stands when it writes the body of one form. */
export interface LeafPosition {
  readonly form: Form;
  readonly attribute: Attribute;
  /** Host address of what follows the opcode. */
  readonly pc: Expr;
  readonly px: Expr;
  readonly opcode: Expr;
  /** Loaded already when the form has one. */
  readonly modrm: Expr | undefined;
  readonly memory: boolean;
  readonly ends: Ends;
  /** LOCK must be refused here (the main loop never sees it). */
  readonly checkLock: boolean;
  /** What to do with encodings that `forms` lacks, when that is not #UD. */
  readonly otherwise?: () => void;
}

/** Decodes operands at run time, runs the definition, and ends the instruction. */
export function emitLeaf(x: InterpreterBuilder, helpers: Helpers, position: LeafPosition): void {
  const { form, attribute, px, ends } = position;
  x.width = formWidth(form, attribute, x.mode64);
  let pc = position.pc;
  let address: Address | undefined;
  if (form.modrm) {
    pc = x.let(x.add(pc, 1));
    if (position.memory) [address, pc] = emitAddress(x, helpers, position, pc);
  }
  const { imm, imm2, bytes } = emitImmediate(x, form, attribute, pc, px);
  const next = x.let(x.add(pc, bytes));
  x.context = {
    px,
    opcode: position.opcode,
    modrm: position.modrm,
    modrmAt: position.pc,
    address,
    imm,
    imm2,
    next,
    ends,
  };
  if (position.checkLock && !(form.lock && position.memory)) {
    x.if(x.and(px, PX.lock), () => x.fault(VECTOR.ud), undefined, false);
  }
  form.body(x);
  ends.retire(next);
}

function emitAddress(
  x: InterpreterBuilder,
  helpers: Helpers,
  { form, attribute, px, modrm }: LeafPosition,
  pc: Expr,
): [Address, Expr] {
  // LEA computes an offset: no segment takes part.
  const prefixes = form.offsetOnly ? x.and(px, ~PX.segment) : px;
  if (x.mode64) {
    const following = form.imm === "moffs" ? 0 : immediateBytes(form.imm, attribute, true);
    const [offset, after] = x.callMulti(helpers.address64, x.cpu, pc, modrm!, prefixes, following);
    return [{ offset: offset!, segment: x.i32(0), linear: true }, after!];
  }
  const [offset, after, segment] = x.callMulti(helpers.addressLegacy, x.cpu, pc, modrm!, prefixes);
  return [{ offset: offset!, segment: segment! }, after!];
}

function emitImmediate(
  x: InterpreterBuilder,
  form: Form,
  attribute: Attribute,
  pc: Expr,
  px: Expr,
): { imm: Expr | undefined; imm2: Expr | undefined; bytes: Expr | number } {
  const bytes = immediateBytes(form.imm, attribute, x.mode64);
  switch (form.imm) {
    case undefined:
      return { imm: undefined, imm2: undefined, bytes };
    case "w":
      return { imm: x.load("i64", 2, pc), imm2: undefined, bytes };
    case "enter":
      return { imm: x.load("i64", 2, pc), imm2: x.load("i64", 1, pc, 2), bytes };
    case "far": {
      const offsetBytes = bytes === 4 ? 2 : 4;
      return { imm: x.load("i64", offsetBytes, pc), imm2: x.load("i64", 2, pc, offsetBytes), bytes };
    }
    case "moffs": {
      const small = x.let(x.and(px, PX.addressSmall));
      const [large, little] = x.mode64 ? ([8, 4] as const) : ([4, 2] as const);
      const imm = x.choose(
        "i64",
        small,
        () => x.load("i64", little, pc),
        () => x.load("i64", large, pc),
      );
      return { imm, imm2: undefined, bytes: x.select(small, x.i32(little), large) };
    }
    default:
      return { imm: x.load("i64", bytes as 1 | 2 | 4 | 8, pc, 0, true), imm2: undefined, bytes };
  }
}

/**
 * `index` chooses a body; each ends the instruction or branches away. Values without a body, and those beyond the
 * table, take `otherwise`.
 */
export function emitSwitch(
  x: InterpreterBuilder,
  index: Expr,
  cases: readonly { readonly values: readonly number[]; readonly body: () => void }[],
  otherwise: () => void,
): void {
  const size = Math.max(-1, ...cases.flatMap((one) => one.values)) + 1;
  const labels: { depth: number }[] = [];
  const nest = (position: number): void => {
    if (position === cases.length) {
      x.block((fallback) => {
        const table = Array.from({ length: size }, () => fallback as { depth: number });
        cases.forEach((one, which) => {
          for (const value of one.values) table[value] = labels[which]!;
        });
        x.brTable(table, fallback, index);
      });
      x.scope(otherwise);
      return;
    }
    x.block((label) => {
      labels[position] = label;
      nest(position + 1);
    });
    x.scope(cases[position]!.body);
  };
  nest(0);
}

/**
 * All forms that share an opcode: memory or register operand, then ModRM.reg, then ModRM.rm choose one. Anything else
 * is #UD.
 */
export function emitOpcode(
  x: InterpreterBuilder,
  helpers: Helpers,
  forms: readonly Form[],
  position: Omit<LeafPosition, "form" | "modrm" | "memory">,
): void {
  const undefinedOpcode = () => {
    if (position.otherwise) {
      position.otherwise();
      return;
    }
    const nothing = { modrm: undefined, address: undefined, imm: undefined, imm2: undefined };
    x.context = { ...position, ...nothing, modrmAt: position.pc, next: position.pc };
    x.fault(VECTOR.ud);
  };
  if (forms.length === 0) {
    undefinedOpcode();
    return;
  }
  if (!forms[0]!.modrm) {
    emitLeaf(x, helpers, { ...position, form: forms[0]!, modrm: undefined, memory: false });
    return;
  }
  const modrm = x.load("i32", 1, position.pc);
  const leaf = (form: Form, memory: boolean) => emitLeaf(x, helpers, { ...position, form, modrm, memory });

  const byRm = (candidates: readonly Form[], memory: boolean) => {
    const exact = memory ? [] : candidates.filter((form) => form.rm !== undefined);
    const general = candidates.find((form) => form.rm === undefined);
    const fallback = () => (general ? leaf(general, memory) : undefinedOpcode());
    if (exact.length === 0) fallback();
    else {
      const cases = exact.map((form) => ({ values: [form.rm!], body: () => leaf(form, memory) }));
      emitSwitch(x, x.and(modrm, 7), cases, fallback);
    }
  };

  const byDigit = (memory: boolean) => {
    const fitting = forms.filter((form) => form.operand === undefined || (form.operand === "memory") === memory);
    const digits = [...new Set(fitting.map((form) => form.digit).filter((digit) => digit !== undefined))];
    const general = fitting.filter((form) => form.digit === undefined);
    const fallback = () => (general.length > 0 ? byRm(general, memory) : undefinedOpcode());
    if (digits.length === 0) fallback();
    else {
      const cases = digits.map((digit) => ({
        values: [digit],
        body: () =>
          byRm(
            fitting.filter((form) => form.digit === digit),
            memory,
          ),
      }));
      emitSwitch(x, x.and(x.shrU(modrm, 3), 7), cases, fallback);
    }
  };

  if (forms[0]!.rmAlwaysRegister) {
    byDigit(false);
    return;
  }
  x.if(
    x.ltU(modrm, 0xc0),
    () => byDigit(true),
    () => byDigit(false),
  );
}
