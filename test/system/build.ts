/** Guests of this folder, assembled: flat 32-bit Multiboot images. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = join(import.meta.dirname, "guests");

/** Names of the guests; `rom.asm` only starts one. */
export const guestNames: readonly string[] = readdirSync(folder)
  .filter((file) => file.endsWith(".asm") && file !== "rom.asm")
  .map((file) => file.slice(0, -4))
  .sort();

export function assemble(name: string): Uint8Array {
  const output = mkdtempSync(join(tmpdir(), "portico-system-"));
  try {
    const image = join(output, name);
    execFileSync("nasm", ["-f", "bin", "-I", `${folder}/`, "-o", image, join(folder, `${name}.asm`)]);
    return new Uint8Array(readFileSync(image));
  } finally {
    rmSync(output, { recursive: true });
  }
}
