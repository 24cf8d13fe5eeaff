import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FileError, openOutput, readPieces, readWhole } from "./files.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "portico-files-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("files that a user names", () => {
  it("reads a file whole", () => {
    writeFileSync(join(folder, "kernel"), "abc");
    expect(new TextDecoder().decode(readWhole(join(folder, "kernel"), "kernel"))).toBe("abc");
  });

  it("says which file is missing and what it was for", () => {
    const path = join(folder, "missing");
    expect(() => readWhole(path, "kernel")).toThrow(
      new FileError("FILE_UNREADABLE", path, `cannot read the kernel '${path}': no such file or folder`),
    );
  });

  it("says that a folder is no file", () => {
    expect(() => readWhole(folder, "initial RAM disk")).toThrow(
      /^cannot read the initial RAM disk '.*': it is a directory$/,
    );
  });

  it("reads a file in pieces", async () => {
    const path = join(folder, "long");
    writeFileSync(path, "abc".repeat(1 << 20));
    let length = 0;
    for await (const piece of readPieces(path, "trace")) length += piece.length;
    expect(length).toBe(3 << 20);
    await expect(readPieces(folder, "trace").next()).rejects.toThrow(/^cannot read the trace '.*': it is a directory$/);
    await expect(readPieces(join(folder, "missing"), "trace").next()).rejects.toThrow(FileError);
  });

  it("writes from the start, in pieces", () => {
    const path = join(folder, "log");
    writeFileSync(path, "something older and longer");
    const file = openOutput(path, "serial output");
    file.write(new TextEncoder().encode("one "));
    file.write(new TextEncoder().encode("two"));
    file.close();
    file.close();
    expect(readFileSync(path, "utf8")).toBe("one two");
  });

  it("refuses a place that cannot be written before anything runs", () => {
    const path = join(folder, "no", "such", "folder");
    expect(() => openOutput(path, "profile")).toThrow(/^cannot write the profile '.*': no such file or folder$/);
  });

  it.skipIf(process.platform !== "linux")("says when the device is full", () => {
    const file = openOutput("/dev/full", "serial output");
    expect(() => file.write(Uint8Array.of(1))).toThrow(
      "cannot write the serial output '/dev/full': no space left on the device",
    );
    file.close();
  });
});
