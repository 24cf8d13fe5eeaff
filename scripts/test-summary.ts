/**
 * The last lines of `npm test`: what failed, then "N passed, N failed" over all of Vitest's JSON reports.
 *
 *   tsx scripts/test-summary.ts FOLDER [FAILED_STEP...]
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Steps whose failures the reports count; of any other step, a failure counts as one. */
const REPORTS = [
  { step: "unit tests", file: "unit.json" },
  { step: "guest tests", file: "guests.json" },
];

/** The part of Vitest's JSON report that is read here. */
interface Report {
  success: boolean;
  numPassedTests: number;
  numFailedTests: number;
  numFailedTestSuites: number;
}

const [folder, ...failedSteps] = process.argv.slice(2);
let passed = 0;
let failed = failedSteps.filter((step) => !REPORTS.some((report) => report.step === step)).length;

for (const { step, file } of REPORTS) {
  const path = join(folder!, file);
  const stepFailed = failedSteps.includes(step);
  if (!existsSync(path)) {
    failed += 1; // the step ended without a report
    if (!stepFailed) failedSteps.push(step);
    continue;
  }
  const report: Report = JSON.parse(readFileSync(path, "utf8"));
  passed += report.numPassedTests;
  // A file that cannot be loaded has no tests, and an unhandled error belongs to none: each still counts.
  const least = stepFailed || !report.success ? Math.max(1, report.numFailedTestSuites) : 0;
  failed += report.numFailedTests > 0 ? report.numFailedTests : least;
}

console.log();
if (failedSteps.length > 0) console.log(`failed: ${failedSteps.join(", ")}`);
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed > 0 ? 1 : 0;
