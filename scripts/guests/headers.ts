/** What out-of-tree modules for a Debian kernel are built against. */

import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Apt, type DebianPackage, FetchError, unpackDeb } from "./debian.ts";

const IMAGE = /^linux-image-((6\.1)\.0-\d+)-(.+)-unsigned$/;

/** Where the headers of `image`'s kernel are unpacked in `folder`, and the tree in it that is `make`'s. */
export function headersOf(image: DebianPackage, folder: string): { root: string; tree: string } {
  const [, abi, , flavour] = IMAGE.exec(image.name)!;
  const root = join(folder, `linux-headers-${image.version}`);
  return { root, tree: join(root, "usr", "src", `linux-headers-${abi}-${flavour}`) };
}

/** Fetches and unpacks them, unless they are there. Throws `FetchError`. */
export function fetchHeaders(apt: Apt, image: DebianPackage, packages: string, folder: string): void {
  const [, abi, series, flavour] = IMAGE.exec(image.name)!;
  const { root, tree } = headersOf(image, folder);
  const makefile = join(tree, "Makefile");
  const complete = join(root, "complete");
  if (existsSync(complete)) return;
  rmSync(root, { recursive: true, force: true });
  mkdirSync(root, { recursive: true });
  const { version, architecture } = image;
  const parts: DebianPackage[] = [
    { name: `linux-headers-${abi}-${flavour}`, architecture, version },
    { name: `linux-headers-${abi}-common`, architecture: "all", version },
    { name: `linux-kbuild-${series}`, architecture, version },
  ];
  for (const part of parts) {
    console.log(`guests: ${part.name} ${part.version} (${part.architecture})`);
    unpackDeb(apt.download(part, packages), root);
  }
  // It includes the common one by its absolute path on a machine where the packages are installed.
  const text = readFileSync(makefile, "utf8");
  const here = text.replace("include /usr/src/", "include $(dir $(lastword $(MAKEFILE_LIST)))../");
  if (here === text) throw new FetchError(`${makefile} is not what it was: it does not include /usr/src/`);
  writeFileSync(makefile, here);
  writeFileSync(complete, "");
}
