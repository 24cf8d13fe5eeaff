/** Linux's ata_piix, by DMA and by PIO: what the guest reads is what the host has, and the other way round. */

import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { GUESTS, GuestProcess } from "./guest-process.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: the shell asks the terminal where its cursor is
const PROMPT = /portico:\S+# (?:\x1b\[6n)?$/;
const BOOT_MS = 480_000;
const IMAGE = [
  "--kernel",
  join(GUESTS, "vmlinuz-cloud-amd64"),
  "--initrd",
  join(GUESTS, "initramfs-disk-amd64.cpio.gz"),
];

/** Of different sizes, since Linux names disks in the order in which it happens to be done with them. */
const KEPT = { bytes: 5 * 2 ** 20, sectors: 10_240 };
const DROPPED = { bytes: 3 * 2 ** 20, sectors: 6144 };
/** Where the guest writes, in blocks of 4 KiB. */
const AT = 100;

const hash = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe.each([
  ["DMA", "", /^XFER_MW_DMA_2$/m],
  ["PIO", "dma=0", /^XFER_PIO_4$/m],
])("Linux on IDE disks by %s", (name, parameter, mode) => {
  let folder: string;
  let guest: GuestProcess;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "portico-disk-"));
  });
  afterEach(() => guest.dispose());
  afterAll(() => rmSync(folder, { recursive: true }));

  const ask = (line: string): Promise<string> => guest.command(line, PROMPT, BOOT_MS);

  it("reads and writes them without an error", async () => {
    const [keptFile, droppedFile, profile] = ["kept.img", "dropped.img", "io.json"].map((file) => join(folder, file));
    const [kept, dropped] = [randomBytes(KEPT.bytes), randomBytes(DROPPED.bytes)];
    writeFileSync(keptFile, kept);
    writeFileSync(droppedFile, dropped);
    const busybox = readFileSync(join(GUESTS, "busybox-amd64"));

    const disks = ["--disk", `${keptFile},rw`, "--disk", droppedFile];
    guest = GuestProcess.portico(...IMAGE, ...disks, "--append", "console=ttyS0 quiet", `--profile=${profile}`);
    await guest.until(PROMPT, BOOT_MS);
    await ask("stty cols 200; dmesg -n 1");

    const option = parameter === "" ? "" : `$([ $m = libata ] && echo ${parameter})`;
    expect(await ask(`for m in $(cat /etc/modules); do insmod /lib/modules/$m.ko ${option}; done`)).toBe("");
    await ask("until [ -b /dev/sda ] && [ -b /dev/sdb ]; do sleep 1; done");
    expect(await ask("cat /sys/class/ata_device/dev1.0/xfer_mode")).toMatch(mode);
    const sizes = await ask("for d in sda sdb; do echo $d $(cat /sys/block/$d/size); done");
    const deviceOf = (sectors: number): string => `/dev/${new RegExp(`(sd.) ${sectors}\n`).exec(sizes)?.[1]}`;

    for (const [device, contents] of [
      [deviceOf(KEPT.sectors), kept],
      [deviceOf(DROPPED.sectors), dropped],
    ] as const) {
      expect(await ask(`sha256sum < ${device}`)).toBe(`${hash(contents)}  -\n`);
      // Single sectors, past the cache.
      const sectors = contents.subarray(1001 * 512, 1004 * 512);
      expect(await ask(`dd if=${device} bs=512 skip=1001 count=3 iflag=direct 2>/dev/null | sha256sum`)).toBe(
        `${hash(sectors)}  -\n`,
      );
      await ask(`dd if=/bin/busybox of=${device} bs=4k seek=${AT} conv=fsync`);
      await ask("echo 3 > /proc/sys/vm/drop_caches");
      const back = `dd if=${device} bs=4k skip=${AT} 2>/dev/null | head -c ${busybox.length} | cmp - /bin/busybox`;
      expect(await ask(`${back} && echo same`)).toBe("same\n");
    }

    expect(await ask("dmesg -l err,crit,alert,emerg")).toBe("");
    expect(await ask("dmesg | grep -i -e exception -e 'I/O error' -e 'lost interrupt' -e 'nobody cared'")).toBe("");
    guest.type("poweroff -f\r");
    expect(await guest.exit(BOOT_MS)).toBe(0);
    expect(guest.notices).toBe("");

    busybox.copy(kept, AT * 4096);
    expect(hash(readFileSync(keptFile))).toBe(hash(kept));
    expect(hash(readFileSync(droppedFile))).toBe(hash(dropped));

    const { ranges }: { ranges: { owner: string; base: number; reads: number }[] } = JSON.parse(
      readFileSync(profile, "utf8"),
    );
    const data = ranges.filter(({ base }) => base === 0x1f0).reduce((sum, { reads }) => sum + reads, 0);
    // libata moves dwords through the data port of this controller.
    const dwords = (KEPT.bytes + DROPPED.bytes) / 4;
    if (name === "PIO") expect(data).toBeGreaterThan(dwords);
    else expect(data).toBeLessThan(dwords / 10);
  });
});
