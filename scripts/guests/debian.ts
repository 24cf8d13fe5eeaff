/** Debian packages by name pattern, through apt with a state folder of its own: nothing is installed on the host. */

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

export const RELEASE = "bookworm";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
const MAX_OUTPUT = 256 * 1024 * 1024;

export interface DebianPackage {
  name: string;
  architecture: string;
  version: string;
}

/** What cannot be fetched, said in one line. */
export class FetchError extends Error {}

export class Apt {
  readonly #folder: string;
  readonly #options: string[];

  readonly #architecture: string;

  /**
   * One for each architecture: a mirror that is being updated may lack one architecture's list for a while, and apt
   * then drops the others of the same source too.
   *
   * @param folder where package lists are kept; made if missing
   */
  constructor(folder: string, architecture: string) {
    this.#folder = folder;
    this.#architecture = architecture;
    for (const part of ["lists/partial", "cache/archives/partial", "etc/parts"])
      mkdirSync(join(folder, part), { recursive: true });
    const settings: Record<string, string> = {
      "Dir::State": folder,
      "Dir::State::Lists": join(folder, "lists"),
      "Dir::State::status": "/dev/null",
      "Dir::Cache": join(folder, "cache"),
      "APT::Architecture": architecture,
      "APT::Architectures": architecture,
      "Acquire::Languages": "none",
      "APT::Sandbox::User": "", // as root, apt would otherwise drop to a user who cannot write here
      ...this.#sources(),
    };
    this.#options = Object.entries(settings).flatMap(([name, value]) => ["-o", `${name}=${value}`]);
  }

  /** The host's own mirrors if it runs the release that has our kernels; else the public ones. */
  #sources(): Record<string, string> {
    const host = existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "";
    if (new RegExp(`^VERSION_CODENAME=${RELEASE}$`, "m").test(host)) return {};
    const list = join(this.#folder, "etc", "sources.list");
    const signed = existsSync(KEYRING) ? `[signed-by=${KEYRING}] ` : "";
    writeFileSync(
      list,
      [
        `deb ${signed}http://deb.debian.org/debian ${RELEASE} main`,
        `deb ${signed}http://deb.debian.org/debian ${RELEASE}-updates main`,
        `deb ${signed}http://deb.debian.org/debian-security ${RELEASE}-security main`,
        "",
      ].join("\n"),
    );
    return { "Dir::Etc::sourcelist": list, "Dir::Etc::sourceparts": join(this.#folder, "etc", "parts") };
  }

  /** Brings the package lists up to date. A list that stays out of reach is reported and left out. */
  update(): void {
    for (let attempt = 1; ; attempt++) {
      const result = run("apt-get", [...this.#options, "update", "-q"]);
      if (result.status === 0) return;
      if (attempt < 2) continue;
      const reason = result.stderr.split("\n").find((line) => line.startsWith("E:")) ?? "apt-get update failed";
      console.warn(`guests: ${reason}`);
      console.warn("guests: going on with the package lists that could be fetched");
      return;
    }
  }

  /** The newest package whose name matches; among names, the highest number that the pattern captures wins. */
  newest(pattern: RegExp): DebianPackage {
    const architecture = this.#architecture;
    const listed = run("apt-cache", [...this.#options, "pkgnames"]).stdout.split("\n");
    const names = listed.filter((name) => pattern.test(name));
    const abi = (name: string): number => Number(pattern.exec(name)?.[1] ?? 0);
    names.sort((a, b) => abi(b) - abi(a) || a.localeCompare(b));
    for (const name of names) {
      const shown = run("apt-cache", [...this.#options, "show", "--no-all-versions", name]);
      const version = /^Version: (.*)$/m.exec(shown.stdout)?.[1];
      if (shown.status === 0 && version) return { name, architecture, version };
    }
    throw new FetchError(`no package matches ${pattern} for ${architecture} in Debian ${RELEASE}`);
  }

  /** Downloads the package and returns the .deb's path. */
  download(wanted: DebianPackage, folder: string): string {
    mkdirSync(folder, { recursive: true });
    const file = debOf(wanted, folder);
    if (existsSync(file)) return file;
    const specification = `${wanted.name}=${wanted.version}`;
    const result = run("apt-get", [...this.#options, "download", "-q", specification], folder);
    if (result.status !== 0 || !existsSync(file)) {
      throw new FetchError(
        `cannot download ${specification}: ${result.stderr.trim().split("\n").at(-1) || "no file arrived"}`,
      );
    }
    return file;
  }
}

/** Where `download` puts a package. */
export function debOf({ name, version, architecture }: DebianPackage, folder: string): string {
  return join(folder, `${name}_${version.replace(/:/g, "%3a")}_${architecture}.deb`);
}

/** The content of the one file in `deb` that matches the shell pattern, such as `./boot/vmlinuz-*`. */
export function fileOfDeb(deb: string, pattern: string): Uint8Array {
  const script = 'dpkg-deb --fsys-tarfile "$1" | tar -xO --wildcards "$2"';
  const result = spawnSync("bash", ["-o", "pipefail", "-c", script, "bash", deb, pattern], { maxBuffer: MAX_OUTPUT });
  if (result.status !== 0 || result.stdout.length === 0) {
    throw new FetchError(`cannot take ${pattern} out of ${deb}: ${result.stderr?.toString().trim()}`);
  }
  return result.stdout;
}

/** All of it, into `folder`. */
export function unpackDeb(deb: string, folder: string): void {
  const result = spawnSync("dpkg-deb", ["-x", deb, folder], { encoding: "utf8" });
  if (result.status !== 0) throw new FetchError(`cannot unpack ${deb}: ${result.stderr?.trim()}`);
}

function run(
  command: string,
  options: string[],
  cwd?: string,
): { status: number | null; stdout: string; stderr: string } {
  const result = spawnSync(command, options, {
    ...(cwd === undefined ? {} : { cwd }),
    encoding: "utf8",
    maxBuffer: MAX_OUTPUT,
    env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
  });
  if (result.error)
    throw new FetchError(`cannot run ${command} (${result.error.message}); the guests come from Debian with apt`);
  return result;
}
