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
export type { MappedRun, MemorySnapshot, PackedPages } from "./snapshot.ts";
