import {
  type Expr,
  type FunctionRef,
  type FunctionType,
  type Label,
  ModuleBuilder,
  type Variable,
} from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import { type Form, formWidth, immediateBytes, type MandatoryPrefix } from "../isa/define.ts";
import { CPU, PX, STOP } from "../state.ts";
import { defineHelpers } from "./helpers.ts";
import { inlineOpcodes } from "./hot-opcodes.ts";
import { declareImports, RESULT } from "./imports.ts";
import { type Ends, functionEnds, InterpreterBuilder, type InterpreterModule } from "./interpreter-builder.ts";
import { ATTRIBUTES, type Attribute, emitOpcode, emitSwitch } from "./leaf.ts";

/** (cpu, host address after the opcode, prefixes) → RESULT or the address of the next instruction. */
const INSTRUCTION: FunctionType = { params: ["i32", "i32", "i32"], results: ["i32"] };
const PREFIXES: readonly MandatoryPrefix[] = ["none", "66", "f3", "f2"];

/** Index of an opcode in the function table: by map, mandatory prefix and operand-size attribute. */
const MAP_BASE = [0, 768, 768 + 3072, 768 + 2 * 3072] as const;
const MODE_TABLE = 768 + 3 * 3072;
/** The longest instruction, SDM vol 2, 2.3.11; with fewer prefixes than this it cannot be longer. */
const LENGTH_CHECK = 5;

/** The interpreter: exports `run64(cpu)` and `runLegacy(cpu)`, which return a STOP reason. */
export function generateInterpreter(
  forms: readonly Form[],
  softfloat: Readonly<Record<string, FunctionType>>,
): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  const { cpu: imports, helpers: softfloatRefs } = declareImports(module, softfloat);
  const parts: InterpreterModule = {
    module,
    imports,
    softfloat: softfloatRefs,
    helpers: defineHelpers(module, imports),
  };
  const table: FunctionRef[] = [];
  for (const mode64 of [false, true]) {
    fillTable(parts, forms, mode64, table);
  }
  for (const mode64 of [false, true]) {
    module.export(mode64 ? "run64" : "runLegacy", mainLoop(parts, forms, mode64));
  }
  module.table(table);
  return module.build();
}

function select(forms: readonly Form[], mode64: boolean, map: number, opcode: number, prefix: MandatoryPrefix): Form[] {
  const here = forms.filter(
    (form) =>
      form.map === map &&
      form.opcode === opcode &&
      (form.modes === undefined || (form.modes === "64") === mode64) &&
      (form.prefixes === undefined || form.prefixes.includes(prefix)),
  );
  // A form that asks for this very prefix hides those that answer to any, unless a ModRM digit tells them apart.
  const exact = here.filter((form) => form.prefixes !== undefined);
  const digits = new Set(exact.map((form) => `${form.digit}/${form.operand}/${form.rm}`));
  return here.filter((form) => form.prefixes !== undefined || !digits.has(`${form.digit}/${form.operand}/${form.rm}`));
}

function fillTable(parts: InterpreterModule, forms: readonly Form[], mode64: boolean, table: FunctionRef[]): void {
  const base = mode64 ? MODE_TABLE : 0;
  const made = new Map<string, FunctionRef>();
  const byMapOpcode = new Map<string, Form[]>();
  for (const form of forms) {
    const key = `${form.map}/${form.opcode}`;
    byMapOpcode.set(key, [...(byMapOpcode.get(key) ?? []), form]);
  }
  const ids = new Map(forms.map((form, id) => [form, id]));
  for (const map of [0, 1, 2, 3] as const) {
    const prefixes = map === 0 ? PREFIXES.slice(0, 1) : PREFIXES;
    prefixes.forEach((prefix, prefixIndex) => {
      for (let opcode = 0; opcode < 256; opcode++) {
        const candidates = byMapOpcode.get(`${map}/${opcode}`) ?? [];
        // The one-byte map has no mandatory prefixes: a form that names one (PAUSE) tests it itself.
        const chosen = select(candidates, mode64, map, opcode, prefix);
        ATTRIBUTES.forEach((attribute, attributeIndex) => {
          const key = chosen
            .map((f) => `${ids.get(f)}:${formWidth(f, attribute, mode64)}:${immediateBytes(f.imm, attribute, mode64)}`)
            .join();
          const unique = map === 1 && (opcode === 0x38 || opcode === 0x3a) ? `escape${opcode}` : key;
          let f = made.get(unique);
          if (f === undefined) {
            f =
              unique === key
                ? instructionFunction(parts, chosen, mode64, attribute, opcode)
                : escapeFunction(parts, mode64, opcode === 0x38 ? 2 : 3);
            made.set(unique, f);
          }
          table[base + MAP_BASE[map] + (prefixIndex * 3 + attributeIndex) * 256 + opcode] = f;
        });
      }
    });
  }
}

function instructionFunction(
  parts: InterpreterModule,
  forms: readonly Form[],
  mode64: boolean,
  attribute: Attribute,
  opcode: number,
): FunctionRef {
  const x = InterpreterBuilder.create(parts, forms[0]?.name ?? "ud", INSTRUCTION, mode64);
  emitOpcode(x, parts.helpers, forms, {
    attribute,
    pc: x.param(1),
    px: x.param(2),
    opcode: x.i32(opcode),
    ends: functionEnds(x),
    checkLock: true,
  });
  x.unreachable();
  return x;
}

/** Mandatory prefix of the instruction as an index into PREFIXES (i32). */
function prefixIndex(x: InterpreterBuilder, px: Expr): Expr {
  const operandSize = x.and(x.shrU(px, 5), 1);
  return x.select(x.and(px, PX.repne), x.i32(3), x.select(x.and(px, PX.rep), x.i32(2), operandSize));
}

/** 0F 38 and 0F 3A: one more opcode byte, one more table. */
function escapeFunction(parts: InterpreterModule, mode64: boolean, map: 2 | 3): FunctionRef {
  const x = InterpreterBuilder.create(parts, `escape${map}`, INSTRUCTION, mode64);
  const [cpu, pc, px] = [x.param(0), x.param(1), x.param(2)];
  const row = x.add(x.mul(prefixIndex(x, px), 3), x.shrU(px, PX.attributeShift));
  const index = x.add(x.shl(row, 8), x.load("i32", 1, pc));
  const base = (mode64 ? MODE_TABLE : 0) + MAP_BASE[map];
  x.return(x.callIndirect(INSTRUCTION, x.add(index, base), cpu, x.add(pc, 1), px));
  return x;
}

function mainLoop(parts: InterpreterModule, forms: readonly Form[], mode64: boolean): FunctionRef {
  const { helpers } = parts;
  const x = InterpreterBuilder.create(
    parts,
    mode64 ? "run64" : "runLegacy",
    { params: ["i32"], results: ["i32"] },
    mode64,
  );
  x.inlineMemory = true;
  const cpu = x.cpu;
  const clock = x.i32(0);
  const table = mode64 ? MODE_TABLE : 0;
  const pc = x.variable("i32");
  const px = x.variable("i32");
  /** Behind the last host address at which an instruction of the window may start. */
  const windowEnd = x.variable("i32");
  /** Few values live across the loop: V8 has registers for those. The initial prefixes are a constant in 64-bit mode. */
  const firstPx = () => (mode64 ? x.i32(1 << PX.attributeShift) : x.field("i32", CPU.initialPrefixes));
  /** Operand-size attribute × 256. */
  const bank = () => x.shrU(x.get(px), PX.attributeShift - 8);
  const leave = (reason: number) => {
    x.setField("i32", CPU.stop, reason);
    x.return(x.i32(reason));
  };
  const ripAt = (host: Expr) => x.add(x.u64(host), x.field("i64", CPU.ripBias));

  x.setField("i32", CPU.stop, STOP.none);
  x.loop((refetch) => {
    x.scope(() => {
      x.set(pc, x.call(mode64 ? helpers.refetch64 : helpers.refetchLegacy, cpu));
      x.if(x.eqz(x.get(pc)), () => x.return(x.field("i32", CPU.stop)), undefined, false);
      x.set(windowEnd, x.add(x.field("i32", CPU.windowStart), x.field("i32", CPU.windowLength)));
    });
    x.block((abandoned) => {
      x.loop((next) => {
        x.scope(() => {
          x.if(
            x.geU(x.get(pc), x.get(windowEnd)),
            () => {
              x.setField("i64", CPU.rip, ripAt(x.get(pc)));
              x.br(refetch);
            },
            undefined,
            false,
          );
          const budget = x.load("i32", 4, clock, CLOCK.budget);
          x.if(
            x.leS(budget, 0),
            () => {
              x.setField("i64", CPU.rip, ripAt(x.get(pc)));
              leave(STOP.budget);
            },
            undefined,
            false,
          );
          x.store(4, clock, x.sub(budget, 1), CLOCK.budget);
          x.setField("i32", CPU.startPc, x.get(pc));
          x.set(px, firstPx());
        });

        const ends: Ends = {
          abandon: () => x.br(abandoned),
          retire: (after) => {
            x.set(pc, after);
            x.br(next);
          },
          jump: (target) => {
            const host = x.let(x.sub(target, x.field("i64", CPU.ripBias)));
            const distance = x.sub(host, x.u64(x.field("i32", CPU.windowStart)));
            x.if(
              x.ltU(distance, x.u64(x.field("i32", CPU.windowLength))),
              () => {
                x.set(pc, x.wrap(host));
                x.br(next);
              },
              undefined,
              true,
            );
            x.setField("i64", CPU.rip, target);
            x.br(refetch);
          },
          result: (result) => {
            x.if(
              x.gtU(result, RESULT.leave),
              () => {
                x.set(pc, result);
                x.br(next);
              },
              undefined,
              true,
            );
            x.brIf(refetch, x.eq(result, RESULT.refetch));
            x.brIf(abandoned, x.eqz(result));
            leave(STOP.leave);
          },
        };

        const callTable = (base: Expr | number, opcode: Expr) => {
          const index = x.add(x.add(bank(), opcode), base);
          ends.result(x.callIndirect(INSTRUCTION, index, cpu, x.get(pc), x.get(px)));
        };

        x.loop((dispatch) => {
          const fetchByte = () => {
            const byte = x.load("i32", 1, x.get(pc));
            x.set(pc, x.add(x.get(pc), 1));
            return byte;
          };
          const opcode = fetchByte();
          // In 64-bit mode an attribute of 64 comes only from REX.W, which every attribute bank honours.
          const cases = prefixCases(x, {
            pc,
            px,
            firstPx,
            dispatch,
            ends,
            checkLength: parts.imports.checkLength,
          });
          const rows = (opcodes: readonly number[], attribute: Attribute) =>
            opcodes.map((one) => ATTRIBUTES.indexOf(attribute) * 256 + one);
          for (const hot of inlineOpcodes(mode64).filter((one) => one.map === 0)) {
            cases.push({
              values: rows(hot.opcodes, hot.attribute),
              body: () => {
                x.if(x.and(x.get(px), PX.lock), () => callTable(table, opcode), undefined, false);
                emitOpcode(x, helpers, select(forms, mode64, 0, hot.opcodes[0]!, "none"), {
                  attribute: hot.attribute,
                  pc: x.get(pc),
                  px: x.get(px),
                  opcode,
                  ends,
                  checkLock: false,
                });
              },
            });
          }
          cases.push({
            values: ATTRIBUTES.map((_, row) => row * 256 + 0x0f),
            body: () => {
              const second = fetchByte();
              const hotSecond = inlineOpcodes(mode64)
                .filter((one) => one.map === 1)
                .map((hot) => ({
                  values: rows(hot.opcodes, hot.attribute),
                  body: () =>
                    emitOpcode(x, helpers, select(forms, mode64, 1, hot.opcodes[0]!, "none"), {
                      attribute: hot.attribute,
                      pc: x.get(pc),
                      px: x.get(px),
                      opcode: second,
                      ends,
                      checkLock: false,
                    }),
                }));
              const slow = () => callTable(x.add(x.mul(prefixIndex(x, x.get(px)), 768), table + MAP_BASE[1]), second);
              x.if(x.and(x.get(px), PX.lock | PX.rep | PX.repne), slow, undefined, false);
              emitSwitch(x, x.add(bank(), second), hotSecond, slow);
            },
          });
          emitSwitch(x, x.add(bank(), opcode), cases, () => callTable(table, opcode));
        });
      });
    });
    // Abandoned: nothing of the instruction happened, its budget comes back.
    x.setField("i64", CPU.rip, ripAt(x.field("i32", CPU.startPc)));
    x.store(4, clock, x.add(x.load("i32", 4, clock, CLOCK.budget), 1), CLOCK.budget);
    x.return(x.field("i32", CPU.stop));
  });
  x.unreachable();
  return x;
}

interface PrefixLocals {
  readonly pc: Variable;
  readonly px: Variable;
  readonly firstPx: () => Expr;
  readonly dispatch: Label;
  readonly ends: Ends;
  readonly checkLength: FunctionRef;
}

const ATTRIBUTE = { 16: 0, 32: 1 << PX.attributeShift, 64: 2 << PX.attributeShift } as const;
const ATTRIBUTE_MASK = 3 << PX.attributeShift;
const REX_MASK = PX.rex | PX.rexW | PX.rexR | PX.rexX | PX.rexB;

/** Instruction prefixes, SDM vol 2, 2.1.1 and 2.2.1: they change `px` and dispatch again. */
function prefixCases(x: InterpreterBuilder, locals: PrefixLocals): { values: number[]; body: () => void }[] {
  const { pc, px, firstPx, dispatch, ends } = locals;
  const everyBank = (opcodes: readonly number[]) => ATTRIBUTES.flatMap((_, row) => opcodes.map((o) => row * 256 + o));
  const again = () => {
    const length = x.sub(x.get(pc), x.field("i32", CPU.startPc));
    x.if(
      x.geU(length, LENGTH_CHECK),
      () => {
        // Only a chain of prefixes can make an instruction too long; the decoder measures it.
        const ok = x.call(locals.checkLength, x.cpu);
        x.if(x.eqz(ok), () => ends.abandon(), undefined, false);
      },
      undefined,
      false,
    );
    x.br(dispatch);
  };
  const narrow = (old: Expr) => x.select(x.and(old, PX.operandSize), x.i32(ATTRIBUTE[16]), x.i32(ATTRIBUTE[32]));
  /** A legacy prefix after REX makes the REX void. */
  const legacy = (opcodes: readonly number[], change: (old: Expr) => Expr) => ({
    values: everyBank(opcodes),
    body: () => {
      if (x.mode64) {
        const changed = x.let(change(x.let(x.and(x.get(px), ~(REX_MASK | ATTRIBUTE_MASK)))));
        x.set(px, x.or(changed, narrow(changed)));
      } else x.set(px, change(x.snapshot(px)));
      again();
    },
  });
  const segment = (opcode: number, register: number) =>
    legacy([opcode], (old) =>
      x.mode64 && register < 4 ? old : x.or(x.and(old, ~PX.segment), (register + 1) << PX.segmentShift),
    );
  const operandSize = (old: Expr) => {
    const seen = x.or(old, PX.operandSize);
    if (x.mode64) return seen;
    // Toggles the attribute of the code segment, however often it stands there.
    const toggled = x.and(x.xor(firstPx(), ATTRIBUTE[32]), ATTRIBUTE_MASK);
    return x.or(x.and(seen, ~ATTRIBUTE_MASK), toggled);
  };
  const cases = [
    legacy([0x66], operandSize),
    legacy([0x67], (old) =>
      x.or(x.and(old, ~PX.addressSmall), x.and(x.xor(firstPx(), PX.addressSmall), PX.addressSmall)),
    ),
    legacy([0xf0], (old) => x.or(old, PX.lock)),
    legacy([0xf2], (old) => x.or(x.and(old, ~PX.rep), PX.repne)),
    legacy([0xf3], (old) => x.or(x.and(old, ~PX.repne), PX.rep)),
    segment(0x26, 0),
    segment(0x2e, 1),
    segment(0x36, 2),
    segment(0x3e, 3),
    segment(0x64, 4),
    segment(0x65, 5),
  ];
  if (x.mode64) {
    const rex = Array.from({ length: 16 }, (_, low) => 0x40 + low);
    cases.push({
      values: everyBank(rex),
      body: () => {
        const byte = x.load("i32", 1, x.sub(x.get(pc), 1));
        const cleared = x.let(x.and(x.get(px), ~(REX_MASK | ATTRIBUTE_MASK)));
        const attribute = x.select(x.and(byte, 8), x.i32(ATTRIBUTE[64]), narrow(cleared));
        x.set(px, x.or(x.or(cleared, attribute), x.or(x.and(byte, 0xf), PX.rex)));
        again();
      },
    });
  }
  return cases;
}
