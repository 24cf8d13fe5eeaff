import type { Engine } from "./engine.ts";
import { ProgramSession } from "./program-session.ts";
import { firstLine } from "./version.ts";

const PROGRAM = "qemu-system-x86_64";

/** QEMU's compiler, one thread; the default machine (i440FX) as a user gets it. */
export const tcg: Engine = {
  name: "tcg",
  version: () => firstLine(PROGRAM, ["--version"]),
  can: () => true,
  start: ({ image, initrd, commandLine, memoryMiB }) =>
    new ProgramSession(PROGRAM, [
      ...["-accel", "tcg", "-m", `${memoryMiB}`, "-kernel", image],
      ...(initrd === undefined ? [] : ["-initrd", initrd]),
      ...(commandLine === undefined ? [] : ["-append", commandLine]),
      ...["-display", "none", "-monitor", "none", "-nic", "none", "-serial", "stdio", "-no-reboot"],
    ]),
};
