import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { defineDevice } from "../device/define.ts";
import { deviceUnderTest } from "../device/testing.ts";
import { debugConsole } from "./debug-console.ts";
import { debugExit } from "./debug-exit.ts";
import { fwCfg } from "./fw-cfg.ts";
import { pciHost } from "./pci-host.ts";
import { postCode } from "./post-code.ts";
import { systemControlA } from "./system-control-a.ts";

const card = defineDevice("card", (host) => {
  const f = host.pciFunction({
    vendorId: 0x1af4,
    deviceId: 0x1000,
    classCode: 0x02_0000,
    interruptPin: 1,
    msiMessages: 4,
    bars: [
      { kind: "io", size: 64, handlers: { read: () => 1, write: () => f.interrupt.set(true) } },
      { kind: "memory", size: 0x1000, wide: true, handlers: { read: () => 2, write: () => void f.message(3) } },
    ],
  });
});

/** Ports that somebody answers, and their neighbours. */
const PORTS = [0x80, 0x92, 0xe9, 0xf4, 0x510, 0x511, 0x514, 0x518, 0xcf8, 0xcf9, 0xcfc, 0xcfd, 0xcfe, 0xcff, 0xc000];

describe("a guest that writes anything anywhere", () => {
  it("never makes these devices throw, and a snapshot of what it did reads the same", () => {
    const port = fc.oneof(fc.constantFrom(...PORTS), fc.integer({ min: 0, max: 0xffff }));
    const value = fc.oneof(
      fc.integer({ min: 0, max: 0xffff_ffff }),
      fc.integer({ min: 0, max: 0x7f }).map((dword) => 0x8000_0000 + dword * 4),
      fc.integer({ min: 0, max: 0x3f }).map((dword) => 0x8000_0800 + dword * 4),
      fc.constantFrom(0, 1, 7, 0xc000, 0xffff_ffff, 0xe000_0000),
    );
    const access = fc.record({ port, value, width: fc.constantFrom(1, 2, 4), isWrite: fc.boolean() });
    fc.assert(
      fc.property(fc.array(access, { minLength: 50, maxLength: 200, size: "max" }), (accesses) => {
        const chipset = defineDevice("chipset", (host) => {
          fwCfg.create(host, { ramBytes: 0x1_0000, cpuCount: 1, files: { "opt/a": new Uint8Array(100) } });
          postCode.create(host, {});
          systemControlA.create(host, {});
          debugConsole.create(host, { output: () => {} });
          debugExit.create(host, {});
          card.create(host, undefined);
          pciHost.create(host, { shadow: () => {} });
        });
        const device = deviceUnderTest(chipset, undefined);
        for (const { port, value, width, isWrite } of accesses) {
          if (isWrite) device.write(port, value % 2 ** (8 * width), width);
          else expect(device.read(port, width)).toBeLessThan(2 ** (8 * width));
        }
        device.mmioWrite(0xe000_0000, 1);
        // Ports of fw_cfg move on when they are read, so the two machines must read alike as well.
        const copy = device.reincarnate();
        for (const port of PORTS) expect(copy.read(port, 4)).toBe(device.read(port, 4));
      }),
      { numRuns: 60 },
    );
  });
});
