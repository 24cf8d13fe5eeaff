export type { AccessListener } from "./accounting.ts";
export { CoalescedRing, RING_CAPACITY } from "./coalesced-ring.ts";
export type { InstructionSource } from "./dispatcher.ts";
export { type ClaimRange, type Doorbell, type DoorbellRange, Doorbells } from "./doorbells.ts";
export {
  DeviceError,
  type DeviceErrorCode,
  type Direction,
  describeRange,
  IoRangeError,
  type IoRangeErrorCode,
  MmioRangeConflictError,
  PortRangeConflictError,
  type Space,
} from "./errors.ts";
export { type MmioModes, MmioSpace, type MmioSpaceOptions } from "./mmio-space.ts";
export { PortSpace } from "./port-space.ts";
export { RawDispatch } from "./raw-dispatch.ts";
export { type IoStatistics, type RangeStatistics, statistics, type UnclaimedStatistics } from "./statistics.ts";
export * from "./types.ts";
export { createIoClient, VcpuIo } from "./vcpu-io.ts";
