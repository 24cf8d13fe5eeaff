/**
 * The device kit: what a model needs to exist in a machine.
 *
 * ```ts
 * export const scratch = defineDevice("scratch", (host, options: { port: number }) => {
 *   const r = host.registers({ value: "u8" });
 *   host.ports({ base: options.port, length: 1 }, {
 *     read: raw((x) => x.get(r, "value")),
 *     write: raw((x) => x.set(r, "value", x.value)),
 *   });
 * });
 * ```
 */
export { createClock, createCounter, virtualTime } from "./clock.ts";
export { defineDevice, ring3 } from "./define.ts";
export { type DeviceEnvironment, DeviceSet, type SavedDevice } from "./device-set.ts";
export { changeLine, type EmitChange, InterruptLines, type LineChange, type LineListener } from "./interrupt-lines.ts";
export { assignPciResources, type PciWindows } from "./pci/assign.ts";
export { PciBus, type PciInterruptWiring } from "./pci/bus.ts";
export { RawBuilder, raw } from "./raw.ts";
export { RawCompiler } from "./raw-compiler.ts";
export { RegisterFile } from "./registers.ts";
export * from "./storage.ts";
export {
  type BoardEvent,
  type DeviceUnderTest,
  deviceUnderTest,
  type LineEvent,
  type TestOptions,
} from "./testing.ts";
export { TimerQueue } from "./timer-queue.ts";
export * from "./types.ts";
