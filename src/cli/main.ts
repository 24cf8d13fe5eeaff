/** The command from its sources; `launch.ts` is its start as it is installed. */

import { join } from "node:path";
import { main } from "./command.ts";
import { setV8Flags } from "./v8-flags.ts";

setV8Flags();
process.exitCode = await main(process.argv.slice(2), join(import.meta.dirname, "..", ".."));
