/**
 * Compares the software CPU with the host CPU on random user-mode programs.
 *
 *   npx tsx test/differential/run.ts --mode 64 --family all --seed 1 --count 100000
 *
 * `--family` is a group (integer, x87, mmx, simd, float), a family of integer instructions (alu, shift, multiply, bit,
 * move, stack, string, segment, flow, other), the name of one form, or `all`. `--compile always` runs the programs in
 * compiled regions, which is slower, not in the interpreter. Ends with status 1 if anything differs.
 */
import { parseArgs } from "node:util";
import { CompiledSubject } from "../jit/compiled-subject.ts";
import { campaign, minimise } from "./campaign.ts";
import { describeCase } from "./compare.ts";
import { SoftwareSubject } from "./software.ts";
import type { Mode } from "./state.ts";
import { hostVendor } from "./vendor.ts";

const { values } = parseArgs({
  options: {
    mode: { type: "string", default: "64" },
    family: { type: "string", default: "all" },
    seed: { type: "string", default: "1" },
    count: { type: "string", default: "20000" },
    /** Differences to collect before giving up. */
    limit: { type: "string", default: "50" },
    /** Examples to show for each instruction that differs. */
    show: { type: "string", default: "1" },
    compile: { type: "string", default: "never" },
    coverage: { type: "boolean", default: false },
  },
});

const mode = Number(values.mode) as Mode;
if (mode !== 32 && mode !== 64) throw new Error("--mode is 32 or 64");
const host = hostVendor();
if (!host) throw new Error("the host has no processor of Intel or AMD");
if (values.compile !== "never" && values.compile !== "always") throw new Error("--compile is never or always");
const compiled = values.compile === "always" ? new CompiledSubject(mode) : undefined;
const subject = compiled ?? new SoftwareSubject(mode);
const started = performance.now();
const result = campaign(subject, {
  host,
  mode,
  selection: values.family,
  seed: Number(values.seed),
  count: Number(values.count),
  limit: Number(values.limit),
});
const seconds = (performance.now() - started) / 1000;
const shown = new Map<string, number>();
for (const failure of result.failures) {
  const small = minimise(subject, failure);
  const name = small.program.program.units.map((unit) => unit.form.name).join(" + ");
  const times = (shown.get(name) ?? 0) + 1;
  shown.set(name, times);
  if (times > Number(values.show)) continue;
  console.log(`--- ${small.differences.length} differences`);
  console.log(describeCase(small.program));
  for (const difference of small.differences) console.log(`    ${difference}`);
}
for (const [name, times] of shown) console.log(`${times} differences in ${name}`);
if (values.coverage) {
  for (const [name, times] of [...result.coverage].sort((a, b) => a[1] - b[1])) console.log(`${times}\t${name}`);
}
const vectors = [...result.vectors].sort((a, b) => b[1] - a[1]).map(([vector, times]) => `${vector}: ${times}`);
console.log(
  `${mode}-bit ${values.family}, seed ${values.seed}: ${result.cases} cases, ${result.failures.length} differ, ` +
    `${result.timeouts} without end, ${result.unstable} unstable on the host, ${seconds.toFixed(1)} s; vectors ${vectors.join(", ")}`,
);
if (compiled) console.log(`${((100 * compiled.interpreted) / compiled.executed).toFixed(1)} % were interpreted`);
process.exitCode = result.failures.length > 0 ? 1 : 0;
