/**
 * Builds guests/linux/portico_pv for Debian's cloud kernel. `npm run guests` does; or alone:
 *
 *   npx tsx scripts/guests/pv-module.ts
 */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { DebianPackage } from "./debian.ts";
import { headersOf } from "./headers.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const GUESTS = join(ROOT, "build", "guests");
const SOURCES = [
  ...["Kbuild", "Makefile", "portico_pv.c"].map((name) => join(ROOT, "guests", "linux", "portico_pv", name)),
  join(ROOT, "guests", "include", "portico_pv.h"),
];
/** Beside build/guests, which several checkouts may share. */
const TARGET = join(ROOT, "build", "portico_pv");

/** The module's file, or why there is none. */
export type PvModule = { readonly file: string } | { readonly missing: string };

/** Builds what has changed. Throws when the compiler complains. */
export function buildPvModule(): PvModule {
  const kernel = cloudKernel();
  if (kernel === undefined) return { missing: "no kernel: `npm run guests` fetches it" };
  const { root, tree } = headersOf(kernel, GUESTS);
  if (!existsSync(join(root, "complete"))) return { missing: "no kernel headers: `npm run guests` fetches them" };
  for (const tool of ["make", "gcc-12"]) {
    if (spawnSync(tool, ["--version"]).status !== 0) return { missing: `no ${tool}: Debian's package of that name` };
  }
  mkdirSync(TARGET, { recursive: true });
  for (const source of SOURCES) copyChanged(source, TARGET);
  const { status, stdout, stderr } = spawnSync("make", [`KDIR=${tree}`], { cwd: TARGET, encoding: "utf8" });
  if (status !== 0) throw new Error(`portico_pv was not built:\n${stdout}${stderr}`);
  return { file: join(TARGET, "portico_pv.ko") };
}

function cloudKernel(): DebianPackage | undefined {
  const stamp = join(GUESTS, "packages.json");
  if (!existsSync(stamp)) return undefined;
  const { packages }: { packages: DebianPackage[] } = JSON.parse(readFileSync(stamp, "utf8"));
  return packages.find(({ name }) => name.startsWith("linux-image-") && name.includes("-cloud-"));
}

/** `make` goes by times. */
function copyChanged(source: string, folder: string): void {
  const target = join(folder, source.slice(source.lastIndexOf("/") + 1));
  const content = readFileSync(source);
  if (!existsSync(target) || !content.equals(readFileSync(target))) writeFileSync(target, content);
}

if (process.argv[1] === import.meta.filename) {
  const built = buildPvModule();
  console.log("file" in built ? built.file : `portico_pv is not built: ${built.missing}`);
  process.exitCode = "file" in built ? 0 : 1;
}
