import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildSoftfloat } from "../../scripts/build-softfloat.ts";
import { type SoftFloat, softFloatExports } from "../../src/cpu/softfloat/exports.ts";
import { ModuleBuilder } from "../../src/emit/index.ts";
import { hostVendor } from "../differential/vendor.ts";
import { exactCases, transcendentalCases } from "./cases.ts";
import { compare, type Harness } from "./compare.ts";
import { Oracle } from "./oracle.ts";

/** Random operands for each case; about 900,000 comparisons in all. */
const RUNS = 6000;

/** FPREM and the transcendentals follow Intel: others differ at their edges (of AMD, see compare.ts). */
const vendor = hostVendor();
const BY_VENDOR = new Set(["f80_rem"]);

let harness: Harness;
let bytes: Uint8Array<ArrayBuffer>;

beforeAll(async () => {
  bytes = Uint8Array.from(await buildSoftfloat());
  const memory = new WebAssembly.Memory({ initial: 1 });
  const { instance } = await WebAssembly.instantiate(bytes, { env: { memory } });
  harness = {
    soft: instance.exports as unknown as SoftFloat,
    memory: new DataView(memory.buffer),
    oracle: new Oracle(),
  };
});

afterAll(() => harness.oracle.dispose());

describe("the module", () => {
  it("imports one memory, exports the functions of the table and touches nothing on instantiation", async () => {
    const module = await WebAssembly.compile(bytes);
    expect(WebAssembly.Module.imports(module)).toEqual([{ module: "env", name: "memory", kind: "memory" }]);
    const names = WebAssembly.Module.exports(module).map((e) => e.name);
    expect(names.sort()).toEqual(Object.keys(softFloatExports).sort());

    const memory = new WebAssembly.Memory({ initial: 1 });
    await WebAssembly.instantiate(module, { env: { memory } });
    expect(new Uint8Array(memory.buffer).some((byte) => byte !== 0)).toBe(false);
  });

  it("has the signatures of the table", async () => {
    const importer = new ModuleBuilder();
    for (const [name, { params, result }] of Object.entries(softFloatExports)) {
      importer.importFunction("soft", name, {
        params: params.map(([, type]) => type),
        results: result ? [result] : [],
      });
    }
    // Linking checks every type.
    const imports = { soft: harness.soft as unknown as WebAssembly.ModuleImports };
    await expect(WebAssembly.instantiate(importer.build(), imports)).resolves.toBeDefined();
  });
});

describe("equal to the host bit for bit", () => {
  for (const [number, test] of exactCases().entries()) {
    it.skipIf(!vendor && BY_VENDOR.has(test.operation))(`${test.operation} (${number})`, () => {
      expect(compare(harness, test, RUNS, 1000 + number, 0, vendor).differences).toEqual([]);
    });
  }
});

/** The least share of results that must equal the host's; the rest is one unit in the last place away. */
const SAME_RESULT = vendor === "AMD" ? 0.8 : 0.92;

describe("within one unit in the last place of the host", () => {
  it.skipIf(!vendor).each(transcendentalCases().map((test, number) => [test.operation, number, test] as const))(
    "%s (%i)",
    (_, number, test) => {
      const { differences, distances } = compare(harness, test, RUNS, 5000 + number, 1, vendor);
      expect(differences).toEqual([]);
      expect((distances.get(0) ?? 0) / RUNS).toBeGreaterThan(SAME_RESULT);
    },
  );
});
