import { defineDevice } from "../device/define.ts";
import { type RawBuilder, raw } from "../device/raw.ts";
import { UNUSED } from "../io/types.ts";
import { createResetControl } from "./reset-control.ts";

/** Offsets from CF8h. PCI 3.0, section 3.2.2.3.2 (configuration mechanism 1). */
const PORTS = { base: 0xcf8, length: 8 } as const;
const ADDRESS = 0;
const RESET_CONTROL = 1;
const DATA = 4;

/** CONFIG_ADDRESS: enable, bus, device and function, dword. Reserved bits (30-24, 1-0) read as zeros. */
const ADDRESS_BITS = 0x80ff_fffc;
const ENABLE = 0x8000_0000;
const ADDRESS_BUS = 0xff_0000;
const DWORD_NUMBER = 0x3fff;

/** A range of the BIOS area that the bridge sends to RAM or to PCI (where the ROM is). */
export interface ShadowSegment {
  readonly base: number;
  readonly length: number;
  readonly read: "ram" | "pci";
  readonly write: "ram" | "pci";
}

/** CONFIG_ADDRESS is a dword and nothing else; the rest of the range is ring 0's. */
function declineAllButAddress(x: RawBuilder): void {
  if (x.width === 4) x.if(x.ne(x.offset, ADDRESS), () => x.decline());
  else x.decline();
}

export interface PciHostOptions {
  /** Sends parts of C0000-FFFFF to RAM or ROM; called with all 13 segments when software has changed one and at reset. */
  readonly shadow: (segments: readonly ShadowSegment[]) => void;
}

export interface PciHost {
  /** As firmware leaves it: all of the BIOS area is RAM. */
  unlockShadow(): void;
}

/**
 * Programmable attribute map, registers 59h-5Fh: a nibble a segment, bit 0 sends reads to RAM, bit 1 writes.
 * Intel 82441FX (290549), section 3.2.18.
 */
const PAM = { offset: 0x59, length: 7, read: 1, write: 2, allRam: 0x33 } as const;

/**
 * The board behind the bridge: firmware for QEMU's PC (SeaBIOS, OVMF) recognizes it by these, and then finds fw_cfg.
 * QEMU, docs/specs/pci-ids.rst.
 */
const SUBSYSTEM = { vendorId: 0x1af4, id: 0x1100 } as const;
const PAM_SEGMENTS: readonly { nibble: number; base: number; length: number }[] = [
  // The low nibble of 59h is reserved; its high one is the whole BIOS area F0000-FFFFF.
  { nibble: 1, base: 0xf_0000, length: 0x1_0000 },
  // Then C0000-EFFFF in 16 KiB steps.
  ...Array.from({ length: 12 }, (_, i) => ({ nibble: 2 + i, base: 0xc_0000 + i * 0x4000, length: 0x4000 })),
];

/**
 * PCI host bridge: configuration mechanism 1 at CF8h/CFCh with the reset control register between them, and function
 * 0 of slot 0. It is an 82441FX to software, as far as that has anything to do here: DRAM timing registers are absent
 * and SMRAM is locked shut, since there is no SMM.
 */
export const pciHost = defineDevice("pci-host", (host, { shadow }: PciHostOptions): PciHost => {
  const r = host.registers({ address: "u32" });
  const resetControl = createResetControl(host);

  const bridge = host.pciFunction({
    slot: 0,
    vendorId: 0x8086,
    deviceId: 0x1237,
    classCode: 0x06_0000,
    revision: 0x02,
    subsystemVendorId: SUBSYSTEM.vendorId,
    subsystemId: SUBSYSTEM.id,
    registers: [
      // Bus mastering and memory are always on. 82441FX, section 3.2.3.
      { offset: 0x04, bytes: [0x06, 0x00], writable: [0x42, 0x01] },
      {
        offset: PAM.offset,
        bytes: new Array(PAM.length).fill(0),
        writable: [PAM.allRam & 0x30, ...new Array(PAM.length - 1).fill(PAM.allRam)],
      },
      // SMRAM control: closed and locked (D_LCK), at A0000. 82441FX, section 3.2.21.
      { offset: 0x72, bytes: [0x12] },
    ],
    onConfigWrite: (offset, width) => {
      if (offset < PAM.offset + PAM.length && PAM.offset < offset + width) applyShadow();
    },
  });
  function applyShadow(): void {
    shadow(
      PAM_SEGMENTS.map(({ nibble, base, length }) => {
        const bits = bridge.readConfig(PAM.offset + (nibble >> 1), 1) >> (4 * (nibble & 1));
        return { base, length, read: bits & PAM.read ? "ram" : "pci", write: bits & PAM.write ? "ram" : "pci" };
      }),
    );
  }
  host.onReset(applyShadow);
  // After the function's own state, so that the registers are there already.
  host.state({ save: () => null, load: applyShadow });

  const deviceFunction = () => (r.address >>> 8) & 0xff;
  const busNumber = () => (r.address >>> 16) & 0xff;

  host.ports(PORTS, {
    read: {
      raw: raw((x) => {
        const address = x.let(x.get(r, "address"));
        const isData = x.geU(x.offset, DATA);
        const isElsewhere = x.or(x.ltU(address, ENABLE), x.ne(x.and(address, ADDRESS_BUS), 0));
        x.if(
          isData,
          () => x.if(isElsewhere, () => x.decline()),
          () => declineAllButAddress(x),
        );
        // Device, function and register number of the address are the number of the dword.
        const dword = x.getWord(host.pciConfiguration.words, x.and(x.shrU(address, 2), DWORD_NUMBER));
        return x.select(isData, x.shrU(dword, x.shl(x.and(x.offset, 3), 3)), address);
      }),
      ring0(offset, width) {
        if (offset === RESET_CONTROL && width === 1) return resetControl.read();
        if (offset < DATA || r.address < ENABLE) return UNUSED;
        return host.pciConfiguration.read(busNumber(), deviceFunction(), (r.address & 0xfc) + offset - DATA, width);
      },
    },
    write: {
      raw: raw((x) => {
        declineAllButAddress(x);
        x.set(r, "address", x.and(x.value, ADDRESS_BITS));
      }),
      ring0(offset, value, width) {
        if (offset === RESET_CONTROL && width === 1) return resetControl.write(value);
        // Bytes and words at the address register pass to the bus, where nobody is. 82441FX, section 3.1.1.
        if (offset < DATA || r.address < ENABLE) return UNUSED;
        host.pciConfiguration.write(busNumber(), deviceFunction(), (r.address & 0xfc) + offset - DATA, value, width);
      },
    },
  });

  return {
    unlockShadow() {
      for (let i = 0; i < PAM.length; i++) bridge.setConfig(PAM.offset + i, PAM.allRam & (i === 0 ? 0xf0 : 0xff), 1);
      applyShadow();
    },
  };
});
