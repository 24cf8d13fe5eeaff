import { cpSync, mkdirSync, readdirSync, rmSync, symlinkSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeEach, describe, expect, it } from "vitest";
import { runScript } from "../../src/cli/compiled-script.ts";
import { setV8Flags } from "../../src/cli/v8-flags.ts";
import { GuestProcess, ROOT } from "./guest-process.ts";

/** A package whose files may be spoilt. */
const COPY = join(ROOT, "build", "installed");
const CLI = join(COPY, "dist", "cli");

describe("the command as it is installed", () => {
  let code: string;

  beforeEach(() => {
    rmSync(COPY, { recursive: true, force: true });
    mkdirSync(COPY, { recursive: true });
    cpSync(join(ROOT, "dist", "cli"), CLI, { recursive: true });
    symlinkSync(join(ROOT, "guests"), join(COPY, "guests"));
    code = join(CLI, readdirSync(CLI).find((name) => name.endsWith(".code"))!);
  });
  afterAll(() => rmSync(COPY, { recursive: true, force: true }));

  async function starts(...nodeOptions: string[]): Promise<void> {
    const porch = new GuestProcess(process.execPath, [...nodeOptions, join(CLI, "main.js"), "run"]);
    await porch.until(/porch>/);
    porch.type("poweroff\r");
    expect(await porch.exit()).toBe(0);
    expect(porch.notices).toBe("");
  }

  it("has code that this V8 takes", () => {
    setV8Flags();
    expect(runScript(code.replace(/\.code$/, ""), code).cached).toBe(true);
  });

  it.each<[string, () => void]>([
    ["that code", () => {}],
    ["no code", () => rmSync(code)],
    ["half of the code", () => truncateSync(code, 1000)],
  ])("boots its guest with %s", async (_, spoil) => {
    spoil();
    await starts();
  });

  it.each(["--enable-source-maps", "--no-flush-bytecode"])("boots its guest under %s", async (option) => {
    await starts(option);
  });
});
