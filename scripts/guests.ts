/**
 * Fetches the Linux test guests into build/guests: Debian's 6.1 kernels and an initramfs with busybox for each; for the
 * cloud kernel also one with the drivers of an IDE disk, and the headers that a module of ours is built against.
 *
 *   npm run guests               what is missing
 *   npm run guests -- --refresh  the newest packages, whatever is there
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { type CpioEntry, writeCpio } from "./guests/cpio.ts";
import { Apt, type DebianPackage, debOf, FetchError, fileOfDeb } from "./guests/debian.ts";
import { fetchHeaders } from "./guests/headers.ts";
import { type KernelModule, modulesOfDeb } from "./guests/modules.ts";
import { buildPvModule } from "./guests/pv-module.ts";

const ROOT = join(import.meta.dirname, "..");
const TARGET = join(ROOT, "build", "guests");
const PACKAGES = join(TARGET, "packages");
const STAMP = join(TARGET, "packages.json");
/** Raised when what is fetched changes, so that an older build/guests is not taken for a complete one. */
const FORMAT = 1;

const ARCHITECTURES = ["amd64", "i386"] as const;

interface Part {
  architecture: (typeof ARCHITECTURES)[number];
  package: RegExp;
  inside: string;
  file: string;
}

const PARTS: readonly Part[] = [
  {
    architecture: "amd64",
    package: /^linux-image-6\.1\.0-(\d+)-cloud-amd64-unsigned$/,
    inside: "./boot/vmlinuz-*",
    file: "vmlinuz-cloud-amd64",
  },
  {
    architecture: "i386",
    package: /^linux-image-6\.1\.0-(\d+)-686-unsigned$/,
    inside: "./boot/vmlinuz-*",
    file: "vmlinuz-686",
  },
  { architecture: "amd64", package: /^busybox-static$/, inside: "./bin/busybox", file: "busybox-amd64" },
  { architecture: "i386", package: /^busybox-static$/, inside: "./bin/busybox", file: "busybox-i386" },
];

/** What makes an IDE disk a block device. */
const DISK_MODULES = ["ata_piix", "sd_mod"];

interface Stamp {
  format: number;
  packages: DebianPackage[];
}

function readStamp(): Stamp | undefined {
  try {
    const stamp: Stamp = JSON.parse(readFileSync(STAMP, "utf8"));
    return stamp.format === FORMAT ? stamp : undefined;
  } catch {
    return undefined; // absent or half-written: fetch again
  }
}

function fetchParts(): Stamp {
  console.log("guests: reading Debian's package lists");
  const apts = new Map<string, Apt>();
  for (const architecture of ARCHITECTURES) {
    const apt = new Apt(join(TARGET, "apt", architecture), architecture);
    apt.update();
    apts.set(architecture, apt);
  }
  const packages = PARTS.map((part) => {
    const apt = apts.get(part.architecture)!;
    const found = apt.newest(part.package);
    console.log(`guests: ${found.name} ${found.version} (${found.architecture})`);
    const deb = apt.download(found, PACKAGES);
    writeFileSync(join(TARGET, part.file), fileOfDeb(deb, part.inside));
    return found;
  });
  const stamp = { format: FORMAT, packages };
  writeFileSync(STAMP, `${JSON.stringify(stamp, null, 2)}\n`);
  return stamp;
}

/** Modules go to /lib/modules, and the order in which insmod takes them to /etc/modules. */
function initramfs(architecture: string, modules: readonly KernelModule[] = []): Uint8Array {
  const own = (name: string): Uint8Array => readFileSync(join(ROOT, "guests", "linux", name));
  const folders = ["bin", "dev", "proc", "sys", "root", "tmp", "etc"];
  const entries: CpioEntry[] = [
    ...folders.map((path): CpioEntry => ({ kind: "directory", path })),
    // The kernel opens the console before /init has mounted anything. Linux: Documentation/admin-guide/devices.txt.
    { kind: "device", path: "dev/console", major: 5, minor: 1 },
    { kind: "device", path: "dev/null", major: 1, minor: 3, mode: 0o666 },
    { kind: "file", path: "bin/busybox", content: readFileSync(join(TARGET, `busybox-${architecture}`)), mode: 0o755 },
    { kind: "link", path: "bin/sh", target: "busybox" },
    { kind: "file", path: "etc/functions", content: own("functions") },
    { kind: "file", path: "init", content: own("init"), mode: 0o755 },
  ];
  if (modules.length > 0) {
    const order = modules.map(({ name }) => `${name}\n`).join("");
    entries.push(
      { kind: "directory", path: "lib" },
      { kind: "directory", path: "lib/modules" },
      ...modules.map(({ name, content }): CpioEntry => ({ kind: "file", path: `lib/modules/${name}.ko`, content })),
      { kind: "file", path: "etc/modules", content: new TextEncoder().encode(order) },
    );
  }
  return gzipSync(writeCpio(entries), { level: 9 });
}

/** Guests run without it. */
function makeModule(kernel: DebianPackage): void {
  try {
    fetchHeaders(new Apt(join(TARGET, "apt", "amd64"), "amd64"), kernel, PACKAGES, TARGET);
  } catch (error) {
    if (!(error instanceof FetchError)) throw error;
    console.warn(`guests: ${error.message}; -- --refresh may help`);
  }
  const built = buildPvModule();
  console.log(`guests: ${"file" in built ? built.file : `the module portico_pv is not built: ${built.missing}`}`);
}

function main(): void {
  mkdirSync(TARGET, { recursive: true });
  const stamp = (process.argv.includes("--refresh") ? undefined : readStamp()) ?? fetchParts();
  // Packed every time: it takes a moment, and /init may have changed.
  for (const architecture of ARCHITECTURES) {
    writeFileSync(join(TARGET, `initramfs-${architecture}.cpio.gz`), initramfs(architecture));
  }
  const kernel = stamp.packages.find(({ name }) => name.startsWith("linux-image-") && name.includes("-cloud-"))!;
  const modules = modulesOfDeb(debOf(kernel, PACKAGES), DISK_MODULES);
  writeFileSync(join(TARGET, "initramfs-disk-amd64.cpio.gz"), initramfs("amd64", modules));
  makeModule(kernel);
  console.log(`guests: ready in ${TARGET}`);
}

try {
  main();
} catch (error) {
  if (!(error instanceof FetchError)) throw error;
  console.error(`guests: ${error.message}`);
  process.exitCode = 1;
}
