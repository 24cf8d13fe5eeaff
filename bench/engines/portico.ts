import { existsSync, readFileSync } from "node:fs";
import type { Engine } from "./engine.ts";
import { ScriptSession } from "./script-session.ts";

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
};
