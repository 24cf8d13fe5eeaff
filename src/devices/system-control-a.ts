import { defineDevice } from "../device/define.ts";

/** Port 92h. Intel ICH9 data sheet (316972), section 13.7.3 (PORT92). The other bits are reserved, zero. */
const PORT92 = { initNow: 1 << 0, a20: 1 << 1 } as const;

/** System control port A: the fast ways to A20 and to a reset of the processor. */
export const systemControlA = defineDevice("system-control-a", (host, options: { port?: number } = {}) => {
  const r = host.registers({ initNow: "u8" });
  host.ports(
    { base: options.port ?? 0x92, length: 1 },
    {
      read: () => r.initNow | (host.board.a20 ? PORT92.a20 : 0),
      write(_offset, value) {
        host.board.setA20((value & PORT92.a20) !== 0);
        const rises = (value & PORT92.initNow) !== 0 && r.initNow === 0;
        r.initNow = value & PORT92.initNow;
        if (rises) host.board.reset();
      },
    },
  );
});
