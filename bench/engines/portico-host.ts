/** Portico's machine for a `ScriptSession`: the build, as users get it (`npm run build`). */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import type * as Portico from "../../src/index.ts";
import type { DeviceHost, Machine } from "../../src/index.ts";
import type { Unrelated } from "./engine.ts";
import { bootRequest, onText, sendChunk } from "./script-host.ts";

const built = new URL("../../dist/index.js", import.meta.url).href;
const { createMachine, defineDevice } = (await import(built)) as typeof Portico;
const { image, initrd, commandLine, memoryMiB } = bootRequest();
const machine = createMachine({ memoryMiB, clock: "host" });
const burden = burdenOf(machine);
machine.serial.onOutput((bytes) => {
  sendChunk(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1"), machine.clock.retired);
});
onText((bytes) => machine.serial.input(bytes), burden);
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
function burdenOf(machine: Machine): (unrelated: Unrelated) => void {
  let host!: DeviceHost;
  const crowd = defineDevice("crowd", (given) => {
    host = given;
  });
  machine.add(crowd, undefined);
  const end = machine.memory.ramBytes;
  let disposables: { dispose(): void }[] = [];
  return ({ ranges = 0, watches = 0 }) => {
    for (const one of disposables) one.dispose();
    disposables = [];
    for (let i = 0; i < ranges; i++) {
      const read = () => i & 0xff;
      disposables.push(host.ports({ base: 0x2000 + i, length: 1 }, { read }));
      disposables.push(host.mmio({ base: 0xd000_0000 + i * 4096, length: 4096 }, { read }));
    }
    for (let i = 0; i < watches; i++) {
      const physical = end - (2 * i + 1) * 4096;
      disposables.push(machine.watch({ physical, length: 16, access: "all" }, () => {}));
    }
  };
}
