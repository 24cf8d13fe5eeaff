import { defineDevice } from "../device/define.ts";

/** Port F4h: writing v ends the machine with status (v << 1) | 1, so that no guest can claim success by accident. */
export const debugExit = defineDevice("debug-exit", (host, options: { port?: number } = {}) => {
  host.ports(
    { base: options.port ?? 0xf4, length: 1 },
    { write: (_offset, value) => host.board.exit(((value << 1) | 1) >>> 0) },
  );
});
