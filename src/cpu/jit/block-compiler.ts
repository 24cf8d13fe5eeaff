import { type FunctionType, ModuleBuilder } from "../../emit/index.ts";
import { CLOCK } from "../../memory/layout.ts";
import { type DecodedInstruction, Decoder, MAX_LENGTH } from "../decode/decoder.ts";
import { segmentFunction } from "../interp/helpers.ts";
import { declareImports } from "../interp/imports.ts";
import { type Form, formWidth } from "../isa/define.ts";
import { CPU, CS, PX, SEG } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import { defineColdPaths } from "./cold-paths.ts";
import { BLOCK, CompiledBuilder, UnsupportedInstruction } from "./compiled-builder.ts";
import type { CodeContext, CompiledModule, Place } from "./memory-access.ts";

/** Straight-line code: no instruction but the last leaves it. */
export interface Block {
  readonly context: CodeContext;
  readonly places: readonly Place[];
}

export interface CompilerOptions {
  /** Types of the soft-float functions, by name. */
  readonly softfloat: Readonly<Record<string, FunctionType>>;
  /** Longest block in instructions. */
  readonly maximumLength?: number;
}

/** What a definition says of itself when it is run by a builder whose code is thrown away. */
interface Verdict {
  readonly supported: boolean;
  /** Must be the last of a block. */
  readonly ends: boolean;
  readonly helpers: readonly string[];
}

/** A block of this many instructions stays far below the size at which V8 stops to optimise well. */
const MAXIMUM_LENGTH = 64;

/** The context that the vCPU is in. */
export function codeContext(state: VcpuState): CodeContext {
  return {
    mode64: state.is64,
    initialPrefixes: state.initialPrefixes,
    stackMask: state.u64(CPU.stackMask),
    flatSegments: state.u32(CPU.flatSegments),
  };
}

/** Finds straight-line blocks and compiles them to WebAssembly, from the definitions that the interpreter is made of. */
export class BlockCompiler {
  private readonly decoder: Decoder;
  private readonly softfloat: Readonly<Record<string, FunctionType>>;
  private readonly maximumLength: number;
  private readonly verdicts = new Map<number, Verdict>();
  private readonly ids: ReadonlyMap<Form, number>;

  constructor(forms: readonly Form[], { softfloat, maximumLength = MAXIMUM_LENGTH }: CompilerOptions) {
    this.decoder = new Decoder(forms);
    this.ids = new Map(forms.map((form, id) => [form, id]));
    this.softfloat = softfloat;
    this.maximumLength = maximumLength;
  }

  /**
   * The block that begins at `rip`, whose code lies at `host` in `bytes`; `available` bytes of it are in this page and
   * within the limit of CS. Undefined when not even the first instruction can be compiled.
   */
  scan(bytes: Uint8Array, host: number, available: number, rip: bigint, context: CodeContext): Block | undefined {
    const found: { decoded: DecodedInstruction; offset: number }[] = [];
    for (let offset = 0; found.length < this.maximumLength; ) {
      const rest = available - offset;
      const decoded = this.decoder.decode(bytes, rest, context.mode64, context.initialPrefixes, host + offset);
      if (decoded.form === undefined || decoded.length > Math.min(rest, MAX_LENGTH)) break;
      const { supported, ends } = this.verdict(decoded, context);
      if (!supported) break;
      found.push({ decoded, offset });
      offset += decoded.length;
      if (ends) break;
    }
    if (found.length === 0) return undefined;
    const places = found.map(({ decoded, offset }, index) => ({
      decoded,
      rip: rip + BigInt(offset),
      next: rip + BigInt(offset + decoded.length),
      host: host + offset,
      remaining: found.length - 1 - index,
    }));
    return { context, places };
  }

  /** A module that exports block i as `b<i>`: (cpu) → BLOCK. It imports what the interpreter imports. */
  compile(blocks: readonly Block[]): Uint8Array<ArrayBuffer> {
    const helpers = new Set<string>();
    for (const { places, context } of blocks) {
      for (const { decoded } of places) for (const name of this.verdict(decoded, context).helpers) helpers.add(name);
    }
    const parts = this.newModule([...helpers]);
    blocks.forEach((block, index) => {
      const x = CompiledBuilder.create(parts, `b${index}`, block.context);
      emitBlock(x, block);
      parts.module.export(`b${index}`, x);
    });
    return parts.module.build();
  }

  private newModule(helpers: readonly string[]): CompiledModule {
    const module = new ModuleBuilder();
    const types = Object.fromEntries(helpers.map((name) => [name, this.softfloat[name]!]));
    const { cpu: imports, helpers: softfloat } = declareImports(module, types);
    return { module, imports, softfloat, cold: defineColdPaths(module, imports), segment: segmentFunction(module) };
  }

  private verdict(decoded: DecodedInstruction, context: CodeContext): Verdict {
    const { form, px, modrm, attribute } = decoded;
    const memory = modrm >= 0 && modrm < 0xc0;
    // LOCK where it is not allowed is #UD: nothing that compiled code would see often.
    if (px & PX.lock && !(form!.lock && memory)) return UNSUPPORTED;
    const repeated = (px & (PX.rep | PX.repne)) !== 0;
    // Everything that the words a definition chooses may depend on.
    const traits = attribute + (memory ? 1 : 0) + (context.mode64 ? 2 : 0) + (repeated ? 4 : 0);
    const key = this.ids.get(form!)! * 128 + traits;
    let verdict = this.verdicts.get(key);
    if (verdict === undefined) {
      verdict = this.tryOut(decoded, context);
      this.verdicts.set(key, verdict);
    }
    return verdict;
  }

  private tryOut(decoded: DecodedInstruction, context: CodeContext): Verdict {
    const called = new Set<string>();
    const parts = this.newModule(Object.keys(this.softfloat));
    const softfloat = new Map(parts.softfloat);
    softfloat.get = (name) => {
      called.add(name);
      return parts.softfloat.get(name);
    };
    const x = CompiledBuilder.create({ ...parts, softfloat }, "trial", context);
    try {
      x.instruction({ decoded, rip: 0n, next: 0n, host: 0, remaining: 0 }, widthOf(decoded, context));
    } catch (thrown) {
      if (thrown instanceof UnsupportedInstruction) return UNSUPPORTED;
      throw thrown;
    }
    return { supported: true, ends: x.ended, helpers: [...called] };
  }
}

const UNSUPPORTED: Verdict = { supported: false, ends: true, helpers: [] };

const widthOf = (decoded: DecodedInstruction, context: CodeContext) =>
  formWidth(decoded.form!, decoded.attribute, context.mode64);

function emitBlock(x: CompiledBuilder, { context, places }: Block): void {
  enter(x, context, places);
  for (const place of places) x.instruction(place, widthOf(place.decoded, context));
  if (x.reachable) x.exit(x.nextRip());
  x.unreachable();
}

/** Tests what the block takes for granted, and takes its instructions from the budget. */
function enter(x: CompiledBuilder, context: CodeContext, places: readonly Place[]): void {
  const clock = x.i32(0);
  const decline = () => x.return(x.i32(BLOCK.declined));
  if (!context.mode64) {
    const flat = x.and(x.field("i32", CPU.flatSegments), context.flatSegments);
    const stack = x.eq(x.field("i64", CPU.stackMask), x.i64(context.stackMask));
    const last = places.at(-1)!.next - 1n;
    const inside = x.geU(x.field("i64", CPU.segments + CS * SEG.size + SEG.limit), last);
    const same = x.and(x.and(x.eq(flat, context.flatSegments), stack), inside);
    x.if(x.eqz(same), decline, undefined, false);
  }
  const budget = x.load("i32", 4, clock, CLOCK.budget);
  x.if(x.ltS(budget, places.length), decline, undefined, false);
  x.store(4, clock, x.sub(budget, places.length), CLOCK.budget);
}
