/**
 * The software CPU against the host CPU on random user-mode programs with fixed seeds. `run.ts` runs more of them. The
 * host must be x86-64, of Intel or AMD (see amd.ts), with a C compiler for 64- and 32-bit programs.
 */
import { describe, expect, it } from "vitest";
import { campaign, minimise } from "./campaign.ts";
import { describeCase } from "./compare.ts";
import { formsOf } from "./generate.ts";
import { SoftwareSubject } from "./software.ts";
import type { Mode } from "./state.ts";
import { hostVendor } from "./vendor.ts";

const SEED = 20_000;
const CASES = 20_000;

const vendor = hostVendor();

describe.runIf(vendor)("software CPU and host CPU", () => {
  describe.each<Mode>([64, 32])("%i-bit programs", (mode) => {
    const subject = new SoftwareSubject(mode);
    it.each(["integer", "x87", "mmx", "simd", "float"])("%s", { timeout: 120_000 }, (selection) => {
      const result = campaign(subject, { host: vendor!, mode, selection, seed: SEED, count: CASES, limit: 3 });
      const report = result.failures.map((failure) => {
        const small = minimise(subject, failure);
        return [describeCase(small.program), ...small.differences].join("\n");
      });
      expect(report).toEqual([]);
      expect(result.cases).toBe(CASES);
      expect(result.timeouts).toBeLessThan(CASES / 100);
      expect(result.unstable).toBeLessThan(CASES / 1000);
      const missing = formsOf(selection, mode).filter(({ name }) => !result.coverage.has(name));
      expect(missing.map(({ name }) => name)).toEqual([]);
    });
  });
});
