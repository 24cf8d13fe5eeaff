/** Compiles the soft-float library of the software CPU to WebAssembly. */

import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import asc from "assemblyscript/asc";

const folder = join(dirname(fileURLToPath(import.meta.url)), "../src/cpu/softfloat/assembly");

/**
 * The module imports `env.memory` and nothing else, has no start function and no data segments, so that an instance
 * writes to that memory only where its caller points it.
 */
export async function buildSoftfloat(): Promise<Uint8Array> {
  let binary: Uint8Array | undefined;
  const { error, stderr } = await asc.main(
    [
      "index.ts",
      ...["--outFile", "softfloat.wasm"],
      ...["-O3", "--converge"],
      ...["--runtime", "stub"],
      ...["--importMemory", "--noExportMemory", "--noAssert", "--use", "abort="],
    ],
    {
      readFile: async (name, base) => {
        try {
          return await readFile(join(folder, base === "." ? "" : base, name), "utf8");
        } catch {
          return null;
        }
      },
      writeFile: (name, contents) => {
        if (name === "softfloat.wasm") binary = contents as Uint8Array;
      },
      listFiles: () => [],
    },
  );
  if (error || !binary) throw new Error(`soft-float does not compile: ${error?.message}\n${stderr.toString()}`);
  return binary;
}
