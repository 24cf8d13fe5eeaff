import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { GUESTS } from "./guest-process.ts";
import type { Outcome } from "./instruction-clock.ts";

const PROGRAM = join(import.meta.dirname, "instruction-clock.ts");
const RUN = 'console=ttyS0 portico.run="cat /proc/uptime; dmesg | md5sum; dmesg -l err,crit,alert,emerg"';

/** Runs instruction-clock.ts in a process of its own. */
async function machine(...words: string[]): Promise<Outcome> {
  const options = ["--import", "tsx", PROGRAM, ...words];
  const { stdout } = await promisify(execFile)(process.execPath, options, { maxBuffer: 64 * 1024 * 1024 });
  return JSON.parse(stdout) as Outcome;
}

describe.each([
  ["vmlinuz-cloud-amd64", "initramfs-amd64.cpio.gz"],
  ["vmlinuz-686", "initramfs-i386.cpio.gz"],
])("%s on the instruction clock", (kernel, initramfs) => {
  const image = [join(GUESTS, kernel), join(GUESTS, initramfs), RUN];
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "portico-snapshot-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("ends in the same state in two runs", async () => {
    const [first, second] = await Promise.all([machine("run", ...image), machine("run", ...image)]);
    expect(first.reason).toBe("poweroff");
    expect(first.output).toMatch(/Portico guest runs: .*\n[\d.]+ [\d.]+\n\w{32} {2}-\nPortico guest done: 0\n/);
    expect(second.output).toBe(first.output);
    expect(second.retired).toBe(first.retired);
    expect(second.hash).toBe(first.hash);
  });

  it("continues from a snapshot in another process as it would have without", async () => {
    // In the middle of the boot: the kernel has its consoles and is setting up devices.
    const at = 400_000_000 + 12_345;
    const end = at + 250_000_000;
    const file = join(folder, kernel);
    const straight = await machine("save", ...image, file, String(at), String(end));
    const resumed = await machine("resume", file, String(end));
    expect(straight.output).not.toBe("");
    expect(resumed).toEqual(straight);
  });
});
