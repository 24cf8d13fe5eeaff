import { type Expr, type FunctionRef, type FunctionType, ModuleBuilder, type Variable } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import { type Form, formWidth, immediateBytes, type MandatoryPrefix } from "../isa/define.ts";
import { COLLECT, collectFunction } from "../isa/float-lanes.ts";
import { SYSTEM_OPERATIONS } from "../isa/system-operations.ts";
import { CPU, PX, STOP } from "../state.ts";
import { arrivedFunction } from "./arrivals.ts";
import { bulkFunction } from "./bulk.ts";
import { shortWays, shortWaysOfCompiledCode } from "./device-access.ts";
import { defineGates } from "./gates.ts";
import { defineHelpers } from "./helpers.ts";
import { inlineOpcodes } from "./hot-opcodes.ts";
import { declareDeviceImports, declareImports, OPERATE, RESULT } from "./imports.ts";
import { type Ends, functionEnds, InterpreterBuilder, type InterpreterModule } from "./interpreter-builder.ts";
import { ATTRIBUTES, type Attribute, emitOpcode, emitSwitch } from "./leaf.ts";
import { defineQuickOperations } from "./quick-operations.ts";
import { defineSegmentLoads } from "./segment-loads.ts";

/** (cpu, host address after the opcode, prefixes) → RESULT or the address of the next instruction. */
const INSTRUCTION: FunctionType = { params: ["i32", "i32", "i32"], results: ["i32"] };
const PREFIXES: readonly MandatoryPrefix[] = ["none", "66", "f3", "f2"];

/** Index of an opcode in the function table: by map, mandatory prefix and operand-size attribute. */
const MAP_BASE = [0, 768, 768 + 3072, 768 + 2 * 3072] as const;
const MODE_TABLE = 768 + 3 * 3072;
/** The longest instruction, SDM vol 2, 2.3.11; with fewer prefixes than this it cannot be longer. */
const LENGTH_CHECK = 5;

/**
 * The interpreter: exports `run64(cpu)` and `runLegacy(cpu)`, which return a STOP reason, and what compiled code shares
 * with it: the page walks (see `Walks`) and ways to devices (see `shortWays`); and `deliver` for what comes between
 * instructions (see `Gates`).
 */
export function generateInterpreter(
  forms: readonly Form[],
  softfloat: Readonly<Record<string, FunctionType>>,
): Uint8Array<ArrayBuffer> {
  const module = new ModuleBuilder();
  const { cpu: slowPaths, helpers: softfloatRefs } = declareImports(module, softfloat);
  const devices = declareDeviceImports(module);
  const imports = shortWays(module, slowPaths, devices);
  const parts: InterpreterModule = {
    module,
    imports,
    softfloat: softfloatRefs,
    helpers: {
      ...defineHelpers(module, imports),
      bulk: bulkFunction(module),
      collect: collectFunction(module),
      arrived: arrivedFunction(module),
    },
    quick: new Map(),
  };
  module.export("bulk", parts.helpers.bulk);
  module.export(COLLECT.name, parts.helpers.collect);
  const loads = defineSegmentLoads(parts);
  const gates = defineGates(parts, loads);
  for (const [name, f] of defineQuickOperations(parts, loads, gates)) parts.quick.set(name, f);
  const table: FunctionRef[] = [];
  for (const mode64 of [false, true]) {
    fillTable(parts, forms, mode64, table);
  }
  for (const mode64 of [false, true]) {
    module.export(mode64 ? "run64" : "runLegacy", mainLoop(parts, forms, mode64));
  }
  const { walks } = parts.helpers;
  module.export("walkRead", walks.read);
  module.export("walkWrite", walks.write);
  module.export("deliver", gates.deliver);
  module.export("operate", operateFunction(parts));
  module.export("portIn", imports.portIn);
  module.export("portOut", imports.portOut);
  for (const [name, f] of Object.entries(shortWaysOfCompiledCode(module, devices))) module.export(name, f);
  module.table(table);
  return module.build();
}

/** (cpu, operation, prefixes) → RESULT: a system operation, by generated code where that can do it. For compiled code. */
function operateFunction({ module, quick, imports }: InterpreterModule): FunctionRef {
  const f = module.function("operate", OPERATE);
  const [cpu, operation, px] = [f.param(0), f.param(1), f.param(2)];
  for (const [name, target] of quick) {
    f.if(f.eq(operation, SYSTEM_OPERATIONS.indexOf(name)), () => {
      const done = f.call(target, cpu);
      f.if(done, () => f.return(done), undefined, true);
    });
  }
  f.return(f.call(imports.system, cpu, operation, px));
  return f;
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
  const prefixed = prefixedInstruction(parts, mode64);
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
  /** Behind the last host address at which an instruction of the window may start. */
  const windowEnd = x.variable("i32");
  const leave = (reason: number) => {
    x.setField("i32", CPU.stop, reason);
    x.return(x.i32(reason));
  };
  const ripAt = (host: Expr) => x.add(x.u64(host), x.field("i64", CPU.ripBias));

  /** A place that control came to by a jump: counts, and leaves when it has come there often enough. */
  const arrive = () =>
    x.if(
      x.call(parts.helpers.arrived, x.cpu, x.get(pc)),
      () => {
        x.setField("i64", CPU.rip, ripAt(x.get(pc)));
        leave(STOP.hot);
      },
      undefined,
      false,
    );
  /** Some instruction has retired: a jump that leaves at once would make no progress. */
  const arrived = x.variable("i32", 0);

  x.setField("i32", CPU.stop, STOP.none);
  x.loop((refetch) => {
    x.scope(() => {
      // Before the fetch: a fault of the next instruction may not hide the trap of a single step.
      x.if(x.leS(x.load("i32", 4, clock, CLOCK.budget), 0), () => leave(STOP.budget), undefined, false);
      x.set(pc, x.call(mode64 ? helpers.refetch64 : helpers.refetchLegacy, cpu));
      x.if(x.eqz(x.get(pc)), () => x.return(x.field("i32", CPU.stop)), undefined, false);
      x.set(windowEnd, x.add(x.field("i32", CPU.windowStart), x.field("i32", CPU.windowLength)));
      // An instruction that lies across two pages cannot be compiled.
      x.if(x.and(x.get(arrived), x.gtU(x.field("i32", CPU.windowLength), 1)), arrive);
      x.set(arrived, 1);
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
                arrive();
                x.br(next);
              },
              undefined,
              true,
            );
            // Inside the window nothing can be wrong with a target.
            x.checkTarget(target);
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

        const { px, opcode } = fetchOpcode(x, pc);
        /** Operand-size attribute × 256. */
        const bank = x.let(x.shrU(px, PX.attributeShift - 8));
        const callTable = (base: Expr | number, byte: Expr) => {
          const index = x.add(x.add(bank, byte), base);
          ends.result(x.callIndirect(INSTRUCTION, index, cpu, x.get(pc), px));
        };
        const hotCases = (map: 0 | 1, byte: Expr) =>
          inlineOpcodes(mode64)
            .filter((one) => one.map === map)
            .map(({ opcodes, attribute, digits }) => ({
              values: opcodes.map((one) => ATTRIBUTES.indexOf(attribute) * 256 + one),
              body: () => {
                const all = select(forms, mode64, map, opcodes[0]!, "none");
                emitOpcode(x, helpers, digits ? all.filter(({ digit }) => digits.includes(digit!)) : all, {
                  attribute,
                  pc: x.get(pc),
                  px,
                  opcode: byte,
                  ends,
                  checkLock: false,
                  ...(digits && { otherwise: () => callTable(table + MAP_BASE[map], byte) }),
                });
              },
            }));
        const everyBank = (opcodes: readonly number[]) =>
          ATTRIBUTES.flatMap((_, row) => opcodes.map((one) => row * 256 + one));
        const cases = [
          ...hotCases(0, opcode),
          {
            values: everyBank(mode64 ? [...PREFIX_BYTES, ...REX_BYTES] : PREFIX_BYTES),
            body: () => ends.result(x.call(prefixed, cpu)),
          },
          {
            values: everyBank([0x0f]),
            body: () => {
              const second = x.load("i32", 1, x.get(pc));
              x.set(pc, x.add(x.get(pc), 1));
              emitSwitch(x, x.add(bank, second), hotCases(1, second), () => callTable(table + MAP_BASE[1], second));
            },
          },
        ];
        emitSwitch(x, x.add(bank, opcode), cases, () => callTable(table, opcode));
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

/** Legacy prefixes, SDM vol 2, 2.1.1. */
const PREFIX_BYTES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3];
const REX_BYTES = Array.from({ length: 16 }, (_, low) => 0x40 + low);
const ATTRIBUTE = { 16: 0, 32: 1 << PX.attributeShift, 64: 2 << PX.attributeShift } as const;
const ATTRIBUTE_MASK = 3 << PX.attributeShift;

/** What an instruction starts with: a constant in 64-bit mode. */
function initialPrefixes(x: InterpreterBuilder): Expr {
  return x.mode64 ? x.i32(ATTRIBUTE[32]) : x.field("i32", CPU.initialPrefixes);
}

/**
 * Opcode and prefix state of an instruction without legacy prefixes, `pc` moved behind the opcode. In 64-bit mode every
 * other instruction has a REX prefix. A branch decides, though it is at times mispredicted: otherwise the place of each
 * instruction would wait for the bytes of the one before it (a boot by the interpreter takes a fifth longer then).
 */
function fetchOpcode(x: InterpreterBuilder, pc: Variable): { px: Expr; opcode: Expr } {
  if (!x.mode64) {
    const opcode = x.load("i32", 1, x.get(pc));
    x.set(pc, x.add(x.get(pc), 1));
    return { px: initialPrefixes(x), opcode };
  }
  const opcode = x.variable("i32", x.load("i32", 1, x.get(pc)));
  const px = x.variable("i32", ATTRIBUTE[32]);
  const isRex = x.eq(x.and(x.get(opcode), 0xf0), 0x40);
  x.if(isRex, () => {
    const rex = x.let(x.and(x.get(opcode), 0xf));
    // REX.W (8) makes the attribute 64 bits: one more in bit 24.
    x.set(px, x.add(x.or(x.shl(x.and(rex, PX.rexW), PX.attributeShift - 3), rex), ATTRIBUTE[32] | PX.rex));
    x.set(opcode, x.load("i32", 1, x.get(pc), 1));
    x.set(pc, x.add(x.get(pc), 1));
  });
  x.set(pc, x.add(x.get(pc), 1));
  return { px: x.get(px), opcode: x.get(opcode) };
}

/** The instruction at `CPU.startPc`, which has legacy prefixes: takes them all, then goes through the function table. */
function prefixedInstruction(parts: InterpreterModule, mode64: boolean): FunctionRef {
  const x = InterpreterBuilder.create(parts, "prefixed", { params: ["i32"], results: ["i32"] }, mode64);
  const { cpu } = x;
  const pc = x.variable("i32", x.field("i32", CPU.startPc));
  const px = x.variable("i32", initialPrefixes(x));
  const byte = x.variable("i32");
  const rexMask = PX.rex | PX.rexW | PX.rexR | PX.rexX | PX.rexB;
  const next = () => {
    x.set(byte, x.load("i32", 1, x.get(pc)));
    x.set(pc, x.add(x.get(pc), 1));
  };
  x.block((opcode) =>
    x.loop((again) => {
      x.scope(next);
      const change = (opcodes: readonly number[], to: (old: Expr) => Expr) => ({
        values: [...opcodes],
        body: () => {
          // A legacy prefix after REX makes the REX void.
          x.set(px, to(x.let(x.and(x.get(px), ~rexMask))));
          x.br(again);
        },
      });
      const segment = (opcode: number, register: number) =>
        change([opcode], (old) =>
          mode64 && register < 4 ? old : x.or(x.and(old, ~PX.segment), (register + 1) << PX.segmentShift),
        );
      const cases = [
        change([0x66], (old) => x.or(old, PX.operandSize)),
        change([0x67], (old) => {
          const other = x.and(x.xor(initialPrefixes(x), PX.addressSmall), PX.addressSmall);
          return x.or(x.and(old, ~PX.addressSmall), other);
        }),
        change([0xf0], (old) => x.or(old, PX.lock)),
        change([0xf2], (old) => x.or(x.and(old, ~PX.rep), PX.repne)),
        change([0xf3], (old) => x.or(x.and(old, ~PX.repne), PX.rep)),
        segment(0x26, 0),
        segment(0x2e, 1),
        segment(0x36, 2),
        segment(0x3e, 3),
        segment(0x64, 4),
        segment(0x65, 5),
      ];
      if (mode64) {
        cases.push({
          values: REX_BYTES,
          body: () => {
            const kept = x.and(x.get(px), ~rexMask);
            x.set(px, x.or(kept, x.or(x.and(x.get(byte), 0xf), PX.rex)));
            x.br(again);
          },
        });
      }
      // The opcode: out of the loop.
      emitSwitch(x, x.get(byte), cases, () => x.br(opcode));
    }),
  );
  // Only a chain of prefixes can make an instruction too long; the decoder measures it.
  x.if(
    x.geU(x.sub(x.get(pc), x.field("i32", CPU.startPc)), LENGTH_CHECK),
    () => x.if(x.eqz(x.call(parts.imports.checkLength, cpu)), () => x.return(x.i32(RESULT.abandoned))),
    undefined,
    false,
  );
  // 66h toggles the attribute of the code segment, however often it stands there; REX.W goes before it.
  const small = x.ne(x.and(x.get(px), PX.operandSize), 0);
  const toggled = x.xor(x.and(initialPrefixes(x), ATTRIBUTE_MASK), x.shl(small, PX.attributeShift));
  const attribute = mode64 ? x.select(x.and(x.get(px), PX.rexW), x.i32(ATTRIBUTE[64]), toggled) : toggled;
  x.set(px, x.or(x.and(x.get(px), ~ATTRIBUTE_MASK), attribute));
  const bank = x.let(x.shrU(x.get(px), PX.attributeShift - 8));
  const table = mode64 ? MODE_TABLE : 0;
  const call = (index: Expr) => x.return(x.callIndirect(INSTRUCTION, index, cpu, x.get(pc), x.get(px)));
  x.if(x.eq(x.get(byte), 0x0f), () => {
    next();
    const row = x.add(x.mul(prefixIndex(x, x.get(px)), 768), table + MAP_BASE[1]);
    call(x.add(x.add(bank, x.get(byte)), row));
  });
  call(x.add(x.add(bank, x.get(byte)), table));
  x.unreachable();
  return x;
}
