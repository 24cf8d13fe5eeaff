import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Engine } from "./engine.ts";
import { ProgramSession } from "./program-session.ts";
import { ScriptSession } from "./script-session.ts";

export const CLI = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export const portico: Engine = {
  name: "portico",
  version: () => {
    if (!existsSync(new URL("../../dist/machine/machine.js", import.meta.url))) {
      throw new Error("there is no build to measure: npm run build");
    }
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    return `Portico ${version}, Node ${process.versions.node}`;
  },
  can: () => true,
  start: (boot) => new ScriptSession("portico-host.ts", boot),
  startCommand: ({ image, initrd, commandLine, memoryMiB }) =>
    new ProgramSession(process.execPath, [
      ...[CLI, "run", image, "--memory", `${memoryMiB}`],
      ...(initrd === undefined ? [] : ["--initrd", initrd]),
      ...(commandLine === undefined ? [] : ["--append", commandLine]),
    ]),
};
