import type { Form, ImmediateKind, MandatoryPrefix } from "../isa/define.ts";

/** Of one byte, 0F, 0F 38 and 0F 3A. */
const MAPS = 4;
const PREFIXES: readonly MandatoryPrefix[] = ["none", "66", "f3", "f2"];

/** The forms that share an opcode, a mandatory prefix and a mode; ModRM tells them apart. */
export interface FormRow {
  readonly forms: readonly Form[];
  /** The first, and what it says for all of them. Forms leave out what they do not have; rows are alike. */
  readonly form: Form | undefined;
  readonly modrm: boolean;
  readonly rmAlwaysRegister: boolean;
  readonly imm: ImmediateKind | undefined;
}

export class FormTable {
  private readonly byOpcode = new Map<number, Form[]>();
  /** Made when first asked for. */
  private readonly rows = new Array<FormRow | undefined>(MAPS * 256 * 2 * PREFIXES.length);

  constructor(forms: readonly Form[]) {
    for (const form of forms) {
      const key = form.map * 256 + form.opcode;
      const known = this.byOpcode.get(key);
      if (known) known.push(form);
      else this.byOpcode.set(key, [form]);
    }
  }

  /** The one-byte map has no mandatory prefixes: forms there test their prefixes themselves. */
  at(map: number, opcode: number, mode64: boolean, prefix: MandatoryPrefix): FormRow {
    const index = map === 0 ? 0 : PREFIXES.indexOf(prefix);
    const key = (map * 256 + opcode) * 8 + (mode64 ? 4 : 0) + index;
    return this.rows[key] ?? this.makeRow(key, map, opcode, mode64, PREFIXES[index]!);
  }

  private makeRow(key: number, map: number, opcode: number, mode64: boolean, prefix: MandatoryPrefix): FormRow {
    const forms = select(this.byOpcode.get(map * 256 + opcode) ?? [], mode64, prefix);
    const form = forms[0];
    const { modrm = false, rmAlwaysRegister = false, imm } = form ?? {};
    const row: FormRow = { forms, form, modrm, rmAlwaysRegister, imm };
    this.rows[key] = row;
    return row;
  }
}

function select(candidates: readonly Form[], mode64: boolean, prefix: MandatoryPrefix): readonly Form[] {
  const here = candidates.filter(
    (form) =>
      (form.modes === undefined || (form.modes === "64") === mode64) &&
      (form.prefixes === undefined || form.prefixes.includes(prefix)),
  );
  // A form that asks for this very prefix hides those that answer to any, unless ModRM tells them apart.
  const place = (form: Form) => `${form.digit}/${form.operand}/${form.rm}`;
  const exact = new Set(here.filter((form) => form.prefixes !== undefined).map(place));
  return here.filter((form) => form.prefixes !== undefined || !exact.has(place(form)));
}

/** The form that a ModRM byte chooses: memory or register operand first, then ModRM.reg, then ModRM.rm. */
export function formFor(forms: readonly Form[], modrm: number): Form | undefined {
  const memory = modrm < 0xc0 && !forms[0]?.rmAlwaysRegister;
  const fitting = forms.filter((form) => form.operand === undefined || (form.operand === "memory") === memory);
  const digit = (modrm >> 3) & 7;
  const exact = fitting.filter((form) => form.digit === digit);
  const candidates = exact.length > 0 ? exact : fitting.filter((form) => form.digit === undefined);
  const byRm = memory ? undefined : candidates.find((form) => form.rm === (modrm & 7));
  return byRm ?? candidates.find((form) => form.rm === undefined);
}
