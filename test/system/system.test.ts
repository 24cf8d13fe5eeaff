/**
 * System behaviour of the software CPU: small guests provoke every kind of exception and write down what they saw. The
 * expected logs come from Bochs (`record.sh`), corrected where the manual says otherwise (`corrections.ts`).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { assemble, guestNames } from "./build.ts";
import { corrections } from "./corrections.ts";
import { runOnPortico } from "./portico.ts";

function expectedLog(guest: string): string[] {
  const lines = readFileSync(join(import.meta.dirname, "expectations", `${guest}.txt`), "utf8")
    .trimEnd()
    .split("\n");
  for (const [recorded, expected] of corrections.filter((one) => one.guest === guest).flatMap((one) => one.lines)) {
    const at = lines.indexOf(recorded);
    if (at < 0) throw new Error(`the recorded log of ${guest} has no line "${recorded}"`);
    lines.splice(at, 1, ...(expected === undefined ? [] : [expected]));
  }
  return lines;
}

describe("system guests", () => {
  it.each(guestNames)("%s", (guest) => {
    const log = runOnPortico(assemble(guest));
    expect(log).toEqual(expectedLog(guest));
    expect(log.at(-1)).toBe("end");
  });
});
