import { defineDevice } from "../device/define.ts";
import { UNUSED } from "../io/types.ts";

/**
 * Port F4h: writing v ends the machine with status (v << 1) | 1, so that no guest can claim success by accident. The
 * range has four ports so that a word or dword arrives whole.
 */
export const debugExit = defineDevice("debug-exit", (host, options: { port?: number } = {}) => {
  host.ports(
    { base: options.port ?? 0xf4, length: 4 },
    { write: (offset, value) => (offset === 0 ? host.board.exit(((value << 1) | 1) >>> 0) : UNUSED) },
  );
});
