/** Portico's machine for a `ScriptSession`: the build, as users get it (`npm run build`). */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type { createMachine as CreateMachine } from "../../src/machine/machine.ts";
import { bootRequest, onText, sendChunk } from "./script-host.ts";

const built = new URL("../../dist/machine/machine.js", import.meta.url).href;
const { createMachine } = (await import(built)) as { createMachine: typeof CreateMachine };
const { image, initrd, commandLine, memoryMiB } = bootRequest();
const machine = createMachine({ memoryMiB, clock: "host" });
machine.serial.onOutput((bytes) => {
  sendChunk(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"), machine.clock.retired);
});
onText((bytes) => machine.serial.input(bytes));
machine.boot({
  image: readFileSync(image),
  initrd: initrd === undefined ? undefined : readFileSync(initrd),
  commandLine,
  name: basename(image),
});
const { status } = await machine.run();
process.disconnect();
process.exit(status);
