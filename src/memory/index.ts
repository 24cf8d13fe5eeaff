export { AccessHandlers } from "./access-handlers.ts";
export { MemoryError, type MemoryErrorCode } from "./errors.ts";
export {
  GuestMemory,
  type GuestMemoryOptions,
  type MemoryListener,
  type PageKind,
  SHADOW_AREA,
  VGA_WINDOW,
} from "./guest-memory.ts";
export { FOUR_GIB, PAGE_ENTRY, PAGE_ENTRY_FLAGS } from "./page-map.ts";
export { PhysicalHandler, type PhysicalHandlerOptions, type PhysicalKind } from "./physical-handlers.ts";
export type { MappedRun, MemorySnapshot, PackedPages } from "./snapshot.ts";
export type { Remap, VirtualHandler, VirtualHandlerOptions, VirtualKind } from "./virtual-handlers.ts";
export {
  type AccessCallback,
  type AccessOrigin,
  type AccessSource,
  HANDLER_STATE,
  type Verdict,
  type WatchedAccess,
} from "./watched-access.ts";
