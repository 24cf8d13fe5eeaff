import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Engine } from "./engine.ts";
import { ScriptSession } from "./script-session.ts";

export const v86: Engine = {
  name: "v86",
  version: () => {
    try {
      const path = createRequire(import.meta.url).resolve("v86/package.json");
      return `v86 ${JSON.parse(readFileSync(path, "utf8")).version}, Node ${process.versions.node}`;
    } catch {
      return undefined;
    }
  },
  /** 32-bit guests only. */
  can: (capability) => capability === "multiboot32",
  start: (boot) => new ScriptSession("v86-host.ts", boot),
};
