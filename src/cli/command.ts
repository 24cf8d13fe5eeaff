/** The `portico` command. Statuses: the guest's own, 2 for a mistake of the user, 70 for one of Portico's. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PorticoError } from "../errors.ts";
import { parse, type Request } from "./arguments.ts";
import { checkBenchOptions, checkExplainOptions, checkOptions, type RawOptions } from "./options.ts";
import { run } from "./run.ts";

const STATUS_USAGE = 2;
/** EX_SOFTWARE of sysexits.h. */
const STATUS_BUG = 70;

/**
 * Resolves to the status for the shell.
 *
 * @param packageFolder where the package is installed
 */
export async function main(words: readonly string[], packageFolder: string): Promise<number> {
  try {
    return await perform(parse(words), packageFolder);
  } catch (error) {
    if (error instanceof PorticoError) {
      console.error(`portico: ${error.message}`);
      return STATUS_USAGE;
    }
    console.error("portico: this is a bug in Portico, not in the guest:");
    console.error(error);
    return STATUS_BUG;
  }
}

async function perform(request: Request, packageFolder: string): Promise<number> {
  switch (request.kind) {
    case "help": {
      const { help } = await import("./help.ts");
      process.stdout.write(help(request.command));
      return 0;
    }
    case "version":
      console.log(JSON.parse(readFileSync(join(packageFolder, "package.json"), "utf8")).version);
      return 0;
    case "command":
      return await execute(request.command, request.options, packageFolder);
  }
}

async function execute(command: string, options: RawOptions, packageFolder: string): Promise<number> {
  if (command === "explain") {
    const checked = checkExplainOptions(options);
    const { explain } = await import("./explain.ts"); // a run needs none of it
    return await explain(checked);
  }
  if (command === "bench") {
    const checked = checkBenchOptions(options);
    const { bench } = await import("./bench.ts");
    return await bench(checked);
  }
  return await run(checkOptions(options), packageFolder);
}
