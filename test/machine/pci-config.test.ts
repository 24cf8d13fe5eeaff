import { describe, expect, it } from "vitest";
import { defineDevice } from "../../src/device/define.ts";
import { createMachine } from "../../src/machine/machine.ts";
import { Random } from "./random.ts";

const DECLINED = -1n;

const card = defineDevice("card", (host) => {
  host.pciFunction({
    slot: 9,
    vendorId: 0x1234,
    deviceId: 0x5678,
    classCode: 0x02_0000,
    registers: [{ offset: 0x40, bytes: [1, 2, 3, 4], writable: [0xff, 0xff, 0xff, 0xff] }],
  });
});

describe("configuration reads in WebAssembly", () => {
  it("give what the bus does, for functions that are there and that are not", () => {
    const machine = createMachine({ memoryMiB: 8 });
    const random = new Random(9);
    const { io, pci } = machine;
    const { portRead, portWrite } = io.raw!.functions;
    io.portRead(0xcf8, 4); // connects the handlers
    io.clearJournal();
    const compare = (bus: number, deviceFunction: number, register: number, enabled: boolean) => {
      const address = (enabled ? 0x8000_0000 : 0) + bus * 0x1_0000 + deviceFunction * 0x100 + register;
      expect(portWrite(0xcf8, 4, address)).toBe(0);
      expect(portRead(0xcf8, 4)).toBe(BigInt(address));
      for (const [width, places] of [
        [1, 4],
        [2, 3],
        [4, 1],
      ] as const) {
        for (let place = 0; place < places; place++) {
          const given = portRead(0xcfc + place, width);
          const wanted = pci.read(bus, deviceFunction, register + place, width);
          expect(given).toBe(enabled && bus === 0 ? BigInt(wanted) : DECLINED);
        }
      }
    };
    const all = () => {
      for (let register = 0; register < 0x100; register += 4)
        for (const f of [0, 8, 9, 72]) compare(0, f, register, true);
      for (let i = 0; i < 300; i++) {
        compare(random.below(4) === 0 ? 1 : 0, random.below(256), random.below(64) * 4, random.below(4) !== 0);
      }
    };
    all();
    machine.add(card, undefined);
    all();
    pci.write(0, 72, 0x40, 0xdead_beef, 4);
    pci.write(0, 72, 0x04, 0x07, 2);
    all();
    expect(pci.read(0, 72, 0x40, 4)).toBe(0xdead_beef);
    machine.dispose();
  });
});
