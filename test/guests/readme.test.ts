import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { GuestProcess, ROOT } from "./guest-process.ts";

describe("README", () => {
  it("has an example that does what it says", async () => {
    const readme = readFileSync(join(ROOT, "README.md"), "utf8");
    const [, program] = /```ts\n(.*?)```/s.exec(readme)!;
    const [, shown] = /```\n(porch> in 0x300\n.*?)```/s.exec(readme)!;
    const folder = join(ROOT, "build", "example"); // within the package, so that "portico" is itself
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "readme.ts"), program!);

    const example = new GuestProcess(process.execPath, ["--import", "tsx", join(folder, "readme.ts")]);
    expect(await example.exit()).toBe(0);
    expect(example.output).toContain(shown);
    expect(example.output).toContain("{ reason: 'poweroff', status: 0 }");
    expect(example.output).toMatch(/'thermometer'.*'ring3'/);
  });
});
