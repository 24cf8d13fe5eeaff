#!/usr/bin/env node
/**
 * The command as it is installed: one script, with V8's code for it (docs/architecture.md, "The package"). It becomes
 * CommonJS, which Node starts faster than modules.
 */

import { join } from "node:path";
import type * as Command from "./command.ts";
import { runScript } from "./compiled-script.ts";
import { setV8Flags } from "./v8-flags.ts";

/** The bundle of `command.ts`; `scripts/bundle.ts` fills it in. */
declare const SCRIPT: string;

setV8Flags();
const path = join(__dirname, SCRIPT);
// Node looks for source maps of modules only.
const { main } = process.sourceMapsEnabled
  ? (require(path) as typeof Command)
  : runScript<typeof Command>(path, `${path}.code`).exports;
main(process.argv.slice(2), join(__dirname, "..", "..")).then((status) => {
  process.exitCode = status;
});
