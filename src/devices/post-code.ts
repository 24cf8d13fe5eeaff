import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";

/**
 * Port 80h: the last power-on self-test code, and the scratch register behind it (page register 0 of the AT's DMA,
 * which no channel uses). Operating systems write it only to let time pass, so both directions are raw.
 */
export const postCode = defineDevice("post-code", (host, options: { port?: number } = {}) => {
  const r = host.registers({ code: "u8" });
  host.ports(
    { base: options.port ?? 0x80, length: 1 },
    { read: raw((x) => x.get(r, "code")), write: raw((x) => x.set(r, "code", x.value)) },
  );
  return {
    get code(): number {
      return r.code;
    },
  };
});
