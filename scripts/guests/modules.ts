/** Kernel modules out of a Debian kernel package, with the modules that they need. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { FetchError } from "./debian.ts";

export interface KernelModule {
  /** With underscores, as the kernel names it. */
  name: string;
  content: Uint8Array;
}

/** The named modules and what they depend on, each behind its dependencies: the order in which insmod takes them. */
export function modulesOfDeb(deb: string, names: readonly string[]): KernelModule[] {
  const folder = mkdtempSync(join(tmpdir(), "portico-modules-"));
  try {
    const script = 'dpkg-deb --fsys-tarfile "$1" | tar -x -C "$2" --wildcards "./lib/modules/*.ko"';
    const result = spawnSync("bash", ["-o", "pipefail", "-c", script, "bash", deb, folder], { encoding: "utf8" });
    if (result.status !== 0) throw new FetchError(`cannot take the modules out of ${deb}: ${result.stderr.trim()}`);
    const files = new Map(
      readdirSync(folder, { recursive: true, encoding: "utf8" })
        .filter((path) => path.endsWith(".ko"))
        .map((path) => [basename(path, ".ko").replaceAll("-", "_"), join(folder, path)]),
    );
    const found = new Map<string, KernelModule>();
    const add = (name: string): void => {
      if (found.has(name)) return;
      const file = files.get(name);
      if (file === undefined) throw new FetchError(`${deb} has no module ${name}`);
      const content = readFileSync(file);
      for (const needed of dependencies(content)) add(needed);
      found.set(name, { name, content });
    };
    for (const name of names) add(name);
    return [...found.values()];
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** From the section .modinfo: strings of the form KEY=VALUE, one of them "depends=a,b". */
function dependencies(module: Buffer): string[] {
  const key = "\0depends=";
  const text = module.toString("latin1");
  const start = text.indexOf(key);
  if (start < 0) return [];
  const value = text.slice(start + key.length, text.indexOf("\0", start + key.length));
  return value.split(",").filter((name) => name !== "");
}
