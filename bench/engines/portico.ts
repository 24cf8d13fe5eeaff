import { readFileSync } from "node:fs";
import type { Engine } from "./engine.ts";
import { ScriptSession } from "./script-session.ts";

export const portico: Engine = {
  name: "portico",
  version: () => {
    const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
    return `Portico ${version}, Node ${process.versions.node}`;
  },
  can: () => true,
  start: (boot) => new ScriptSession("portico-host.ts", boot),
};
