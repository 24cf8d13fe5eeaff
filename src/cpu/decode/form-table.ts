import type { Form, MandatoryPrefix } from "../isa/define.ts";

const PREFIXES: readonly MandatoryPrefix[] = ["none", "66", "f3", "f2"];

/** The forms that share an opcode, a mandatory prefix and a mode; ModRM tells them apart. */
export class FormTable {
  private readonly rows = new Map<number, readonly Form[]>();

  constructor(forms: readonly Form[]) {
    const byOpcode = new Map<number, Form[]>();
    for (const form of forms) {
      const key = form.map * 256 + form.opcode;
      const known = byOpcode.get(key);
      if (known) known.push(form);
      else byOpcode.set(key, [form]);
    }
    for (const [key, candidates] of byOpcode) {
      for (const mode64 of [false, true]) {
        PREFIXES.forEach((prefix, index) => {
          this.rows.set(rowKey(key, mode64, index), select(candidates, mode64, prefix));
        });
      }
    }
  }

  /** The one-byte map has no mandatory prefixes: forms there test their prefixes themselves. */
  at(map: number, opcode: number, mode64: boolean, prefix: MandatoryPrefix): readonly Form[] {
    const index = map === 0 ? 0 : PREFIXES.indexOf(prefix);
    return this.rows.get(rowKey(map * 256 + opcode, mode64, index)) ?? [];
  }
}

const rowKey = (opcode: number, mode64: boolean, prefix: number): number => opcode * 8 + (mode64 ? 4 : 0) + prefix;

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
