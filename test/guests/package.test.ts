import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { GuestProcess, ROOT } from "./guest-process.ts";

const { exports: entries } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));

describe("the package", () => {
  it.each([
    ["portico", ".", "createMachine, defineDevice, raw, ring3"],
    ["portico/node", "./node", "openDisk, readWhole, Terminal"],
  ])("gives programs %s, with types", async (name, entry, exported) => {
    const program = `import { ${exported} } from "${name}"; console.log([${exported}].map((it) => typeof it).join());`;
    // A program of the package itself may import it by its name.
    const example = new GuestProcess(process.execPath, ["--input-type=module", "--eval", program]);
    expect(await example.exit()).toBe(0);
    expect(example.output.trim()).toMatch(/^function(,function)*$/);
    expect(readFileSync(join(ROOT, entries[entry].types), "utf8")).toContain("export");
  });
});
