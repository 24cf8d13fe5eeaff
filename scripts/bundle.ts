/** Bundles the command line into few files: a start then opens a handful of modules instead of two hundred. */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { build, type Plugin } from "esbuild";
import { interpreterWasm } from "../src/generated/interpreter.ts";
import { softfloatWasm } from "../src/generated/softfloat.ts";

const modules = { interpreter: interpreterWasm, softfloat: softfloatWasm };

/** The command line reads the WebAssembly modules from files: two megabytes less of text to parse and to decode. */
const wasmFiles: Plugin = {
  name: "wasm-files",
  setup(build) {
    mkdirSync("dist/cli", { recursive: true });
    for (const [name, wasm] of Object.entries(modules)) writeFileSync(`dist/cli/${name}.wasm`, wasm());
    build.onLoad({ filter: /\/generated\/\w+\.ts$/ }, ({ path }) => {
      const name = /(\w+)\.ts$/.exec(path)![1]!;
      return {
        loader: "ts",
        contents: `import { readFileSync } from "node:fs";
          export const ${name}Wasm = () => readFileSync(new URL("${name}.wasm", import.meta.url));`,
      };
    });
  },
};

await build({
  entryPoints: { main: "src/cli/main.ts" },
  outdir: "dist/cli",
  bundle: true,
  splitting: true,
  format: "esm",
  platform: "node",
  target: "node20",
  packages: "external",
  sourcemap: true,
  allowOverwrite: true,
  plugins: [wasmFiles],
  logLevel: "warning",
});
chmodSync("dist/cli/main.js", 0o755);
