import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { writeCpio } from "../../scripts/guests/cpio.ts";

/** GNU cpio, which we did not write, lists or extracts what we wrote. */
function cpio(options: string[], archive: Uint8Array): string {
  const result = spawnSync("cpio", ["--quiet", ...options], {
    input: archive,
    encoding: "utf8",
    env: { ...process.env, TZ: "UTC" },
  });
  expect(result.stderr).toBe("");
  expect(result.status).toBe(0);
  return result.stdout;
}

describe("newc archives, read by GNU cpio", () => {
  const archive = writeCpio([
    { kind: "directory", path: "bin" },
    { kind: "device", path: "console", major: 5, minor: 1 },
    { kind: "file", path: "init", content: new TextEncoder().encode("#!/bin/sh\n"), mode: 0o755 },
    { kind: "link", path: "bin/sh", target: "busybox" },
    { kind: "file", path: "empty", content: new Uint8Array() },
    { kind: "file", path: "odd-length", content: new TextEncoder().encode("abcde") },
  ]);

  it("lists every entry with its kind, mode, owner and size", () => {
    const lines = cpio(["-tvn"], archive)
      .trim()
      .split("\n")
      .map((line) => line.replace(/ +/g, " "));
    expect(lines).toEqual([
      "drwxr-xr-x 2 0 0 0 Jan 1 1970 bin",
      "crw------- 1 0 0 5, 1 Jan 1 1970 console",
      "-rwxr-xr-x 1 0 0 10 Jan 1 1970 init",
      "lrwxrwxrwx 1 0 0 7 Jan 1 1970 bin/sh -> busybox",
      "-rw-r--r-- 1 0 0 0 Jan 1 1970 empty",
      "-rw-r--r-- 1 0 0 5 Jan 1 1970 odd-length",
    ]);
  });

  it.each([
    ["init", "#!/bin/sh\n"],
    ["empty", ""],
    ["odd-length", "abcde"],
  ])("gives back the content of %s", (path, content) => {
    expect(cpio(["-i", "--to-stdout", path], archive)).toBe(content);
  });
});
