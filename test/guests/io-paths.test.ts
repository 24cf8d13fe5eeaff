/** A stock Linux boots the same on every path that its port instructions can take. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { GUESTS, GuestProcess } from "./guest-process.ts";

const BOOT_MS = 480_000;
const IMAGE = ["--kernel", join(GUESTS, "vmlinuz-cloud-amd64"), "--initrd", join(GUESTS, "initramfs-amd64.cpio.gz")];
const COMMAND = 'console=ttyS0 portico.run="dmesg -l err,crit,alert,emerg"';

interface ProfileFile {
  ranges: { space: string; reads: number; writes: number }[];
  exits: { kind: string; exits: number; bytesFetched: number; reflected: number; failures: number }[];
}

describe("Linux on a path of its own", () => {
  let folder: string;
  let guest: GuestProcess;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "portico-paths-"));
  });
  afterEach(() => guest.dispose());
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each(["decoded", "emulated", "trap"])("%s", async (path) => {
    const profile = join(folder, `${path}.json`);
    guest = GuestProcess.portico(...IMAGE, "--append", COMMAND, "--io-path", path, `--profile=${profile}`);
    await guest.until(/Portico guest runs: .*\n/, BOOT_MS);
    // Nothing between the two lines: no error in the kernel's log.
    expect(await guest.until(/Portico guest done: \d+\n/, BOOT_MS)).toBe("Portico guest done: 0\n");
    expect(await guest.exit(BOOT_MS)).toBe(0);
    expect(guest.notices).toBe("");

    const { ranges, exits }: ProfileFile = JSON.parse(readFileSync(profile, "utf8"));
    const accesses = ranges
      .filter(({ space }) => space === "port")
      .reduce((sum, { reads, writes }) => sum + reads + writes, 0);
    const work = exits.find(({ kind }) => kind === path)!;
    // One exit for each access, but for those that are split, and for strings.
    expect(work.exits).toBeGreaterThan(accesses * 0.9);
    expect(work).toMatchObject({ reflected: 0, failures: 0 });
    expect(work.bytesFetched > 0).toBe(path !== "decoded");
  });
});
