/**
 * Writes the made-up traces of test/traces: the stories that the tests tell, printed as kernels and front ends print them.
 *
 *   npx tsx scripts/trace-samples.ts
 */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { print, SAMPLES, tell } from "../src/exits/trace/testing.ts";

for (const { file, style, story } of SAMPLES) {
  writeFileSync(join(import.meta.dirname, "..", "test", "traces", file), print(style, tell(...story)));
}
