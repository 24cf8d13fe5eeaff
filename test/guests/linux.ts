/** What the two Linux guests have in common. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { GUESTS, GuestProcess } from "./guest-process.ts";

export interface LinuxGuest {
  readonly kernel: string;
  readonly initramfs: string;
  /** `uname -srm`. */
  readonly name: RegExp;
}

// The shell asks the terminal where its cursor is (ESC [ 6 n); nobody answers here, and it goes on.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape is what is looked for
const PROMPT = /portico:\S+# (?:\x1b\[6n)?$/;
const BOOT_MS = 480_000;

interface ProfileFile {
  ranges: { owner: string; context: string; reads: number; writes: number }[];
  unclaimed: { base: number; reads: number; writes: number }[];
}

export function describeLinux({ kernel, initramfs, name }: LinuxGuest): void {
  const image = ["--kernel", join(GUESTS, kernel), "--initrd", join(GUESTS, initramfs)];

  describe(kernel, () => {
    let folder: string;
    let guest: GuestProcess;
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "portico-linux-"));
    });
    afterEach(() => guest.dispose());
    afterAll(() => rmSync(folder, { recursive: true }));

    const ask = (line: string): Promise<string> => guest.command(line, PROMPT, BOOT_MS);

    it("boots to a shell with its default command line, takes typing, and powers off with status 0", async () => {
      const profile = join(folder, "io.json");
      guest = GuestProcess.portico(...image, "--append", "console=ttyS0", `--profile=${profile}`);
      expect(await guest.until(/Portico guest ready: .*\n/, BOOT_MS)).toMatch(name);
      await guest.until(PROMPT, BOOT_MS);

      await ask("stty cols 200"); // the shell breaks the lines that it echoes at the terminal's width
      expect(await ask("echo $((6 * 7)) $(id -u)")).toBe("42 0\n");
      expect(await ask("dmesg -l err,crit,alert,emerg")).toBe("");
      expect(await ask("grep -L 'Not affected' /sys/devices/system/cpu/vulnerabilities/*")).toBe("");
      expect(await ask("dmesg | grep -i -e 'clocksource.*unstable' -e 'watchdog.*clocksource'")).toBe("");

      guest.type("sleep 1000\r");
      await guest.until(/sleep 1000\n/, BOOT_MS);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      guest.type("\x03");
      await guest.until(PROMPT, BOOT_MS);
      expect(await ask("echo $?")).toBe("130\n");

      guest.type("poweroff -f\r");
      expect(await guest.exit(BOOT_MS)).toBe(0);
      expect(guest.notices).toBe("");

      const { ranges, unclaimed }: ProfileFile = JSON.parse(readFileSync(profile, "utf8"));
      const accesses = (owner: string): number =>
        ranges.filter((range) => range.owner === owner).reduce((sum, range) => sum + range.reads + range.writes, 0);
      // At least a UART access for each character that was shown.
      expect(accesses("com1")).toBeGreaterThan(guest.output.length);
      expect(new Set(ranges.map((range) => range.context)).size).toBeGreaterThan(1);
      expect(unclaimed.length).toBeGreaterThan(0); // it probes for what a PC may have
    });
  });
}
