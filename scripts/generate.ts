/**
 * Writes `src/generated/`: the soft-float module and the interpreter as TypeScript modules, so that the same code runs in
 * Node and in a browser without fetching anything. Does nothing when the sources have not changed.
 */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const target = join(root, "src/generated");

function filesBelow(folder: string): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !entry.name.endsWith(".test.ts"))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

async function generate(name: string, inputs: string[], make: () => Promise<Uint8Array>): Promise<void> {
  const hash = createHash("sha256");
  for (const file of inputs.flatMap((input) => (input.endsWith(".ts") ? [join(root, input)] : filesBelow(input)))) {
    hash.update(readFileSync(file));
  }
  hash.update(readFileSync(fileURLToPath(import.meta.url)));
  const stamp = `// ${hash.digest("hex")}\n`;
  const file = join(target, `${name}.ts`);
  if (existsSync(file) && readFileSync(file, "utf8").startsWith(stamp)) return;
  const wasm = await make();
  const text = Buffer.from(wasm).toString("base64");
  writeFileSync(
    file,
    `${stamp}const text =
  "${text}";

/** The module's bytes. */
export function ${name}Wasm(): Uint8Array<ArrayBuffer> {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
`,
  );
  console.log(`${name}: ${wasm.length} bytes`);
}

mkdirSync(target, { recursive: true });
await generate("softfloat", ["src/cpu/softfloat", "scripts/build-softfloat.ts"], async () => {
  const { buildSoftfloat } = await import("./build-softfloat.ts");
  return buildSoftfloat();
});
await generate(
  "interpreter",
  [
    "src/cpu/isa",
    "src/cpu/interp",
    "src/cpu/mmu/access-log.ts",
    "src/cpu/mmu/page-walk.ts",
    "src/cpu/mmu/tlb-layout.ts",
    "src/cpu/mmu/walk-code.ts",
    "src/cpu/state.ts",
    "src/emit",
    "src/memory/layout.ts",
    "src/cpu/softfloat/exports.ts",
  ],
  async () => {
    const { generateInterpreter } = await import("../src/cpu/interp/generate.ts");
    const { instructionForms } = await import("../src/cpu/isa/index.ts");
    const { softfloatTypes } = await import("../src/cpu/interp/softfloat-imports.ts");
    return generateInterpreter(instructionForms(), softfloatTypes);
  },
);
