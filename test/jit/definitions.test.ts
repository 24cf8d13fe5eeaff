import { describe, expect, it } from "vitest";
import { Decoder } from "../../src/cpu/decode/decoder.ts";
import { softfloatTypes } from "../../src/cpu/interp/softfloat-imports.ts";
import type { Form } from "../../src/cpu/isa/define.ts";
import { instructionForms } from "../../src/cpu/isa/index.ts";
import type { Region } from "../../src/cpu/jit/region.ts";
import { RegionCompiler } from "../../src/cpu/jit/region-compiler.ts";
import { PX } from "../../src/cpu/state.ts";
import { Random } from "../differential/prng.ts";
import { encode } from "./encodings.ts";
import { CODE, differences, type Outcome, TWIN_MODES, Twin, type TwinMode } from "./twin.ts";

const forms = instructionForms();
const compiler = new RegionCompiler(forms, { softfloat: softfloatTypes });
/** HLT: no region goes past it. */
const HLT = 0xf4;
const SLOT = 256;
/** Loops end, by and by. */
const BUDGET = 5000;
const TIMEOUT = 120_000;
/** More for a longer campaign. */
const ROUNDS = Number(process.env.PORTICO_JIT_ROUNDS ?? 1);

const BITS = { real: 16, protected16: 16, protected32: 32, flat32: 32, long: 64 } as const;

interface Case {
  readonly offset: number;
  readonly seed: number;
  readonly user: boolean;
}

/** Random instructions of the given forms at `offset`. */
function write(twin: Twin, random: Random, chosen: readonly Form[], offset: number): void {
  const { mode } = twin;
  const code = twin.ram.subarray(CODE + offset, CODE + offset + SLOT).fill(HLT);
  let at = 0;
  for (const form of chosen) {
    const bytes = encode(form, { mode64: mode === "long", bits: BITS[mode] }, random);
    code.set(bytes, at);
    // What lies beyond the instruction itself is overwritten by the next.
    at += lengthOf(bytes, mode);
  }
  code.fill(HLT, at);
}

const decoder = new Decoder(forms);
const INITIAL = { 16: PX.addressSmall, 32: 1 << PX.attributeShift, 64: 1 << PX.attributeShift } as const;

function lengthOf(bytes: readonly number[], mode: TwinMode): number {
  const bits = BITS[mode];
  return decoder.length(Uint8Array.from(bytes), bytes.length, bits === 64, INITIAL[bits]);
}

function prepare(twin: Twin, { offset, seed, user }: Case): Random {
  const random = new Random(seed);
  twin.randomize(random, user, offset);
  return random;
}

/**
 * Runs each case under both back ends, cold and warm; the interpreter uses `other`, which may have its memory elsewhere.
 * Returns how often each form was executed.
 */
function compareAll(twin: Twin, cases: readonly Case[], other: Twin): Map<string, number> {
  const executed = new Map<string, number>();
  const regions: Region[] = [];
  const kept: Case[] = [];
  for (const one of cases) {
    prepare(twin, one);
    const region = twin.scan(compiler, one.offset);
    if (region === undefined) continue;
    regions.push(region);
    kept.push(one);
  }
  const functions = twin.compile(compiler, regions);
  kept.forEach((one, index) => {
    const random = prepare(twin, one);
    twin.interruptAt = random.chance(0.3) ? random.below(3) : -1;
    twin.waitAt = random.chance(0.2) ? random.below(2) : -1;
    const start = twin.save();
    const cold = random.chance(0.5);
    if (!cold) {
      twin.compiled(functions[index]!, BUDGET);
      twin.restore(start, false);
    } else twin.restore(start, true);
    const compiled = twin.compiled(functions[index]!, BUDGET);
    if (compiled === undefined) throw new Error("declined");
    twin.restore(start, true);
    const interpreted = other === twin ? twin.interpreted(compiled) : interpretedBy(other, twin, one, compiled);
    twin.restore(start, true);
    // Compiled code does not see that it is changed: whoever runs it has to watch for that.
    if (!sameFrom(CODE, start.ram, compiled.ram)) return;
    const wrong = differences(interpreted, compiled);
    if (wrong.length > 0) {
      const { blocks, host: entry } = regions[index]!;
      const instructions = blocks.flatMap((block) => block.instructions).sort((a, b) => a.offset - b.offset);
      const text = instructions.map(({ decoded, offset }) => {
        const { bytes } = twin.vcpu.state;
        const host = entry + offset;
        return `${[...bytes.subarray(host, host + decoded.length)].map((b) => b.toString(16).padStart(2, "0")).join(" ")}  ${decoded.form!.name}`;
      });
      expect.fail(`${twin.mode}, seed ${one.seed}${one.user ? ", user" : ""}\n${text.join("\n")}\n${wrong.join("\n")}`);
    }
    for (const { decoded } of regions[index]!.blocks[0]!.instructions.slice(0, compiled.executed)) {
      const { name } = decoded.form!;
      executed.set(name, (executed.get(name) ?? 0) + 1);
    }
  });
  return executed;
}

function interpretedBy(other: Twin, twin: Twin, one: Case, compiled: Outcome): Outcome {
  other.ram.set(twin.ram.subarray(CODE), CODE);
  prepare(other, one);
  other.follow(twin);
  const interpreted = other.interpreted(compiled);
  // Page tables name other pages.
  interpreted.ram.set(compiled.ram.subarray(CODE), CODE);
  return interpreted;
}

const sameFrom = (at: number, a: Uint8Array, b: Uint8Array) => Buffer.compare(a.subarray(at), b.subarray(at)) === 0;

describe.each(TWIN_MODES)("both back ends agree: %s", (mode) => {
  const own = forms.filter((form) => form.modes === undefined || (form.modes === "64") === (mode === "long"));
  const SLOTS = 128;

  function campaign(
    seed: number,
    pick: (random: Random, index: number) => readonly Form[],
    count: number,
    base = 0,
  ): Map<string, number> {
    const other = new Twin(mode);
    const twin = base === 0 ? other : new Twin(mode, base);
    const executed = new Map<string, number>();
    const random = new Random(seed);
    for (let done = 0; done < count; done += SLOTS) {
      const cases: Case[] = [];
      for (let slot = 0; slot < Math.min(SLOTS, count - done); slot++) {
        const offset = slot * SLOT;
        write(twin, random, pick(random, done + slot), offset);
        cases.push({ offset, seed: random.u32(), user: mode !== "real" && random.chance(0.4) });
      }
      for (const [name, times] of compareAll(twin, cases, other)) executed.set(name, (executed.get(name) ?? 0) + times);
    }
    return executed;
  }

  it(
    "each form alone",
    () => {
      const each = 4 * ROUNDS;
      const executed = campaign(1, (_, index) => [own[Math.floor(index / each)]!], own.length * each);
      expect(executed.size).toBeGreaterThan(300);
    },
    TIMEOUT * ROUNDS,
  );

  it.skipIf(mode === "real")(
    "each form with all memory above 2 GiB",
    () => {
      // What tells where page tables lie is not equal.
      const chosen = own.filter(({ name }) => !name.includes("cr"));
      campaign(3, (_, index) => [chosen[index % chosen.length]!], chosen.length * 2 * ROUNDS, 0x9000_0000);
    },
    TIMEOUT * ROUNDS,
  );

  it(
    "sequences",
    () => {
      const integer = own.filter((form) => form.map < 2 && form.prefixes === undefined);
      campaign(
        2,
        (random) =>
          Array.from({ length: random.between(2, 12) }, () => random.pick(random.chance(0.8) ? integer : own)),
        1000 * ROUNDS,
      );
    },
    TIMEOUT * ROUNDS,
  );
});
