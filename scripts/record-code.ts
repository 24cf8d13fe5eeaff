/** Boots the guest of the package with a bundled command as far as its first byte, and keeps V8's code for what ran. */
import { writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type * as Command from "../src/cli/command.ts";
import { runScript } from "../src/cli/compiled-script.ts";
import { setV8Flags } from "../src/cli/v8-flags.ts";

setV8Flags();
const path = resolve(process.argv[2]!);
const codePath = `${path}.code`;
const { exports, code } = runScript<typeof Command>(path, codePath);

process.stdout.write = () => {
  writeFileSync(codePath, code());
  process.exit(0);
};
await exports.main(["run", "--timeout", "60"], resolve("."));
throw new Error("the guest ended without a word");
