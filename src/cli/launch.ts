#!/usr/bin/env node
/** The command as it is installed: one script, with V8's code for it (docs/architecture.md, "The package"). */

import { createRequire } from "node:module";
import { join } from "node:path";
import type * as Command from "./command.ts";
import { runScript } from "./compiled-script.ts";
import { setV8Flags } from "./v8-flags.ts";

/** The bundle of `command.ts`; `scripts/bundle.ts` fills it in. */
declare const SCRIPT: string;

setV8Flags();
const path = join(import.meta.dirname, SCRIPT);
// Node looks for source maps of modules only.
const { main }: typeof Command = process.sourceMapsEnabled
  ? createRequire(path)(path)
  : runScript<typeof Command>(path, `${path}.code`).exports;
process.exitCode = await main(process.argv.slice(2), join(import.meta.dirname, "..", ".."));
