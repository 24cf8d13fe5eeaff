/**
 * `npx tsx bench/paravirtual.ts`: boots Debian's cloud kernel with the module `guests/linux/portico_pv` and prints what
 * it finds in /proc/portico_pv: ns of an access by instruction, by call and by handle, as the guest measures them.
 */
import yargs from "yargs";
import { buildPvModule } from "../scripts/guests/pv-module.ts";
import { IO_PATHS } from "../src/index.ts";
import { runPvModule } from "../test/guests/portico-pv.ts";

const { ioPath, accesses } = await yargs(process.argv.slice(2))
  .scriptName("npx tsx bench/paravirtual.ts")
  .usage("$0 [options]")
  .option("io-path", { choices: IO_PATHS, default: "emulated" as const, describe: "of port instructions" })
  .option("accesses", { type: "number", default: 200_000, describe: "reads, and writes, by each way" })
  .strict()
  .parse();

const built = buildPvModule();
if ("missing" in built) {
  console.error(`portico_pv is not built: ${built.missing}`);
  process.exitCode = 1;
} else process.stdout.write((await runPvModule({ ...built, ioPath, accesses })).text);
