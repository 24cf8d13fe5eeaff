/**
 * Portico: a virtual machine monitor. A machine boots a guest; a device is a few lines of TypeScript.
 *
 * ```ts
 * import { createMachine } from "portico";
 *
 * const machine = createMachine({ memoryMiB: 128 });
 * machine.serial.onOutput((bytes) => process.stdout.write(bytes));
 * machine.boot({ image: kernel, commandLine: "console=ttyS0" });
 * const { reason, status } = await machine.run();
 * machine.dispose();
 * ```
 */
export * from "./device/index.ts";
export { PorticoError } from "./errors.ts";
export { type ExitFailure, type ExitKind, type ExitStatistics, IO_PATHS, type IoPath } from "./exits/index.ts";
export * from "./io/index.ts";
export { ImageError } from "./machine/boot/image-error.ts";
export type { ClockMode } from "./machine/clock.ts";
export {
  type BootOptions,
  createMachine,
  Machine,
  type MachineEnd,
  type MachineOptions,
  type MachineProfile,
} from "./machine/machine.ts";
export { decodeSnapshot, encodeSnapshot, type MachineSnapshot } from "./machine/snapshot.ts";
export type { MonitorPages, MonitorWatch, PhysicalWatch, VirtualWatch, Watch } from "./machine/watch.ts";
export {
  type AccessCallback,
  type AccessOrigin,
  HANDLER_STATE,
  MemoryError,
  type PhysicalHandler,
  type PhysicalHandlerOptions,
  type Remap,
  type Verdict,
  type VirtualHandler,
  type VirtualHandlerOptions,
  type WatchedAccess,
} from "./memory/index.ts";
