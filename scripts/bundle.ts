/**
 * Bundles the command line into one script, and keeps V8's code for as much of it as a start runs: a start then reads
 * three files instead of two hundred, and parses next to nothing (docs/architecture.md, "The package").
 */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { basename } from "node:path";
import { type BuildOptions, build, type Plugin } from "esbuild";
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
          import { join } from "node:path";
          export const ${name}Wasm = () => readFileSync(join(__dirname, "${name}.wasm"));`,
      };
    });
  },
};

const options = {
  outdir: "dist/cli",
  bundle: true,
  format: "cjs",
  platform: "node",
  target: "node20",
  packages: "external",
  sourcemap: true,
  logLevel: "warning",
} satisfies BuildOptions;

// With a hash in its name, a script is never run with the code of another one.
const { metafile } = await build({
  ...options,
  entryPoints: { command: "src/cli/command.ts" },
  entryNames: "[name]-[hash]",
  metafile: true,
  plugins: [wasmFiles],
});
const script = Object.keys(metafile.outputs).find((name) => name.endsWith(".js"))!;

await build({
  ...options,
  entryPoints: { main: "src/cli/launch.ts" },
  define: { SCRIPT: JSON.stringify(basename(script)) },
});
chmodSync("dist/cli/main.js", 0o755);
writeFileSync("dist/cli/package.json", `${JSON.stringify({ type: "commonjs" })}\n`);

const recorder = ["--import", "tsx", "scripts/record-code.ts", script];
const { status } = spawnSync(process.execPath, recorder, { input: "", stdio: ["pipe", "ignore", "inherit"] });
process.exitCode = status ?? 1;
