import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";

export interface DebugConsoleOptions {
  readonly port?: number;
  readonly output: (byte: number) => void;
}

/** Port E9h: each byte written is a character of a log. A read gives E9h, by which a guest knows that it is there. */
export const debugConsole = defineDevice("debug-console", (host, options: DebugConsoleOptions) => {
  host.ports(
    { base: options.port ?? 0xe9, length: 1 },
    {
      read: raw(() => 0xe9),
      // What the host program's function returns is no status of the access.
      write(_offset, value) {
        options.output(value & 0xff);
      },
      writeString(_offset, buffer, width) {
        if (width !== 1) return 0;
        for (const byte of buffer) options.output(byte);
        return buffer.length;
      },
    },
  );
});
