/** Portico's machine for a `ScriptSession`: the build, as users get it (`npm run build`). */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type * as Portico from "../../src/index.ts";
import type { Machine } from "../../src/index.ts";
import type { Unrelated } from "./engine.ts";
import { bootRequest, onText, sendChunk } from "./script-host.ts";

const built = new URL("../../dist/index.js", import.meta.url).href;
const { createMachine, defineDevice } = (await import(built)) as typeof Portico;
const { image, initrd, commandLine, memoryMiB, unrelated } = bootRequest();
const machine = createMachine({ memoryMiB, clock: "host" });
if (unrelated) burden(machine, unrelated);
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

/** Ports above those of a PC, pages of the PCI hole, and every second page of the last megabytes of RAM. */
function burden(machine: Machine, { ranges = 0, watches = 0 }: Unrelated): void {
  const crowd = defineDevice("crowd", (host) => {
    for (let i = 0; i < ranges; i++) {
      const read = () => i & 0xff;
      host.ports({ base: 0x2000 + i, length: 1 }, { read });
      host.mmio({ base: 0xd000_0000 + i * 4096, length: 4096 }, { read });
    }
  });
  machine.add(crowd, undefined);
  const end = machine.memory.ramBytes;
  for (let i = 0; i < watches; i++) {
    machine.watch({ physical: end - (2 * i + 1) * 4096, length: 16, access: "all" }, () => {});
  }
}
