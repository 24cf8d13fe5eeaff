import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const ROOT = join(import.meta.dirname, "..", "..");

function portico(...words: string[]) {
  const main = join(ROOT, "src", "cli", "main.ts");
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--import", "tsx", main, ...words], {
    encoding: "utf8",
    cwd: ROOT,
  });
  return { status, stdout, stderr };
}

describe("the command line", () => {
  it.each([
    [[], "which command?"],
    [["boot"], "'boot' is not understood"],
    // What every object has is no command.
    [["constructor"], "'constructor' is not understood"],
    [["run", "--bogus"], "--bogus is not understood; `portico run --help` lists the options"],
    [["bench", "--bogus"], "`portico bench --help`"],
    [["run", "a", "b"], "one image at a time, not 'a' and 'b'"],
    [["run", "a", "--", "--b"], "one image at a time, not 'a' and '--b'"],
    [["run", "--", "--b"], "cannot read the image '--b'"],
    [["explain", "a", "b"], "one trace at a time"],
    [["bench", "a"], "'a' is not understood; `portico bench` takes options alone"],
    [["run", "--memory"], "--memory needs a value"],
  ])("%j is a mistake that it explains", { timeout: 30_000 }, (words, message) => {
    const { status, stdout, stderr } = portico(...words);
    expect(stderr).toContain(message);
    expect(stderr.trim().split("\n").length).toBe(1);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
  });

  it.each([
    [["--help"], "portico explain [options] TRACE"],
    [["run", "--help"], "portico run [options] [IMAGE]"],
    [["explain", "-h"], "portico explain [options] TRACE"],
    [["bench", "--help"], "portico bench [options]"],
  ])("%j helps", { timeout: 30_000 }, (words, text) => {
    const { status, stdout, stderr } = portico(...words);
    expect(stdout).toContain(text);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  });
});
