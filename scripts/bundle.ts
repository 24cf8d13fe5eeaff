/** Bundles the command line into few files: a start then opens a handful of modules instead of two hundred. */
import { chmodSync } from "node:fs";
import { build } from "esbuild";

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
  logLevel: "warning",
});
chmodSync("dist/cli/main.js", 0o755);
