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

// The last column: instructions to the middle of the boot, when the kernel has unpacked itself and sets up devices.
describe.each([
  ["vmlinuz-cloud-amd64", "initramfs-amd64.cpio.gz", 400_012_345],
  ["vmlinuz-686", "initramfs-i386.cpio.gz", 2_600_012_345],
])("%s on the instruction clock", (kernel, initramfs, middle) => {
  const image = [join(GUESTS, kernel), join(GUESTS, initramfs), RUN];
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "portico-snapshot-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it("ends in the same state in two runs, one of them without the compiler", async () => {
    const [first, second] = await Promise.all([machine("run", ...image), machine("interpret", ...image)]);
    expect(first.reason).toBe("poweroff");
    expect(first.output).toMatch(/Portico guest runs: .*\n[\d.]+ [\d.]+\n\w{32} {2}-\nPortico guest done: 0\n/);
    expect(second.output).toBe(first.output);
    expect(second.retired).toBe(first.retired);
    expect(second.hash).toBe(first.hash);
  });

  it("continues from a snapshot in another process as it would have without", async () => {
    const end = middle + 250_000_000;
    const file = join(folder, kernel);
    const straight = await machine("save", ...image, file, String(middle), String(end));
    const resumed = await machine("resume", file, String(end));
    expect(straight.output).not.toBe("");
    expect(resumed).toEqual(straight);
  });
});
