import type { DecodedInstruction } from "../decode/decoder.ts";
import { type Form, formWidth } from "../isa/define.ts";
import { PX } from "../state.ts";
import type { CompiledModule } from "./host-lookup.ts";
import { type CodeContext, UnsupportedInstruction } from "./memory-access.ts";
import type { Traits } from "./region.ts";
import { RegionBuilder } from "./region-builder.ts";

const UNSUPPORTED: Traits = {
  supported: false,
  ends: true,
  continues: false,
  readsFlags: false,
  writesFlags: false,
  mayAbandon: false,
  accesses: 0,
  stores: 0,
  repeats: false,
  helpers: [],
};

/** What of an immediate a definition may depend on: shift counts, the nesting level of ENTER, a divisor of 0. */
function decisiveImmediate({ map, opcode, imm, imm2 }: DecodedInstruction): number {
  const shift = map === 0 ? (opcode & 0xfe) === 0xc0 : map === 1 && (opcode === 0xa4 || opcode === 0xac);
  if (shift) return Number(imm & 0x3fn);
  return (imm === 0n ? 64 : 0) + Number(imm2 & 0x1fn);
}

/** Finds out, once for each form and what its words may depend on. */
export class TraitTable {
  /** A module that is never built. */
  private readonly parts: CompiledModule;
  private called = new Set<string>();
  private readonly ids: ReadonlyMap<Form, number>;
  private readonly known = new Map<number, Traits>();

  /** `parts`: with all helpers. */
  constructor(forms: readonly Form[], parts: CompiledModule) {
    this.ids = new Map(forms.map((form, id) => [form, id]));
    const helpers = new Map(parts.helpers);
    helpers.get = (name) => {
      this.called.add(name);
      return parts.helpers.get(name);
    };
    this.parts = { ...parts, helpers };
  }

  of(decoded: DecodedInstruction, context: CodeContext): Traits {
    const { form, px, modrm, attribute } = decoded;
    const memory = modrm >= 0 && modrm < 0xc0;
    // LOCK where it is not allowed is #UD: nothing that compiled code would see often.
    if (px & PX.lock && !(form!.lock && memory)) return UNSUPPORTED;
    const repeated = (px & (PX.rep | PX.repne)) !== 0;
    // Everything that the words a definition chooses may depend on. A flat segment needs no limit check.
    const flat = context.flatSegments === 0x3f ? 8 : 0;
    const exits = context.ioExits ? 128 : 0;
    const shape = attribute + (memory ? 1 : 0) + (context.mode64 ? 2 : 0) + (repeated ? 4 : 0) + flat + exits;
    const key = (this.ids.get(form!)! * 256 + shape) * 256 + decisiveImmediate(decoded);
    let traits = this.known.get(key);
    if (traits === undefined) {
      traits = this.tryOut(decoded, context, repeated);
      this.known.set(key, traits);
    }
    return traits;
  }

  private tryOut(decoded: DecodedInstruction, context: CodeContext, repeated: boolean): Traits {
    this.called = new Set();
    const x = RegionBuilder.trial(this.parts, context);
    const nowhere = { rip: 0n, next: 0n, host: 0, remaining: 0, need: 0, alone: false, last: false };
    const place = { decoded, ...nowhere, block: [], index: 0 };
    try {
      x.tryOut(place, formWidth(decoded.form!, decoded.attribute, context.mode64));
    } catch (thrown) {
      if (thrown instanceof UnsupportedInstruction) return UNSUPPORTED;
      throw thrown;
    }
    return {
      supported: true,
      ends: x.ended,
      continues: x.reachable,
      readsFlags: x.uses.flagsRead,
      writesFlags: x.uses.flagsWritten,
      mayAbandon: x.uses.abandons,
      accesses: x.accesses,
      stores: x.stores,
      repeats: x.ended && x.reachable && repeated,
      helpers: [...this.called],
    };
  }
}
