/**
 * The IDE function of Intel's PIIX3 (82371SB, data sheet 290550): two channels at the addresses of the PC/AT with
 * interrupts 14 and 15, and a bus master. On the chip it is function 1, behind an ISA bridge that routes PCI interrupts.
 * Here it is alone in its slot: this machine's interrupts are wired, and a bridge would claim that they are not.
 */
import { defineDevice } from "../../device/define.ts";
import { raw } from "../../device/raw.ts";
import type { BlockStorage } from "../../device/storage.ts";
import type { DeviceHost, PciFunction } from "../../device/types.ts";
import { PorticoError } from "../../errors.ts";
import { type Range, UNUSED } from "../../io/types.ts";
import { bytePorts } from "../byte-ports.ts";
import { AtaDrive } from "./ata-drive.ts";
import { COMMAND_BLOCK_LENGTH, REGISTER } from "./ata-registers.ts";
import { BUS_MASTER_LENGTH, BusMaster } from "./bus-master.ts";
import { IdeChannel } from "./ide-channel.ts";

export const DRIVES_PER_CHANNEL = 2;
export const DRIVES_MAX = 4;

/** Configuration registers. PIIX3, PCI Configuration Registers, function 1. */
const CONFIG = { command: 0x04, status: 0x06, latency: 0x0c, timing: 0x40 } as const;
/** PCICMD: I/O space enable also gates the ports of the channels; bus master enable. */
const IO_SPACE = 1 << 0;
/** PCISTS: received master abort. */
const MASTER_ABORT = 1 << 13;
const BUS_MASTER_BAR = 4;
/** IDETIM, a word for each channel: the decode enable bit. The others are timing, which has no effect here. */
const IDETIM = { length: 2, decode: 0x8000, writable: 0xf3ff } as const;

export interface ChannelOptions {
  /** Eight ports of the command block. */
  readonly command: Range;
  /** Device control and alternate status. */
  readonly control: Range;
  readonly gsi: number;
}

export interface PiixIdeOptions {
  readonly slot?: number;
  /** Primary and secondary. */
  readonly channels: readonly [ChannelOptions, ChannelOptions];
  /** Device 0 and 1 of the primary channel, then of the secondary one: 1 to 4. */
  readonly disks: readonly BlockStorage[];
}

export interface PiixIde {
  /** What firmware does: turns the decoding of both channels on. */
  enableChannels(): void;
}

export const piixIde = defineDevice("piix-ide", (host, options: PiixIdeOptions): PiixIde => {
  const { disks } = options;
  if (disks.length < 1 || disks.length > DRIVES_MAX) {
    throw new PorticoError("DISK_COUNT", `${disks.length} disks: an IDE controller has 1 to ${DRIVES_MAX}`);
  }
  const channels: Channel[] = options.channels.map((channel, index) => {
    const first = index * DRIVES_PER_CHANNEL;
    return createChannel(host, channel, disks.slice(first, first + DRIVES_PER_CHANNEL), first, () => pci);
  });
  const [primary, secondary] = channels as [Channel, Channel];

  const busMasterPorts = bytePorts(
    2 * BUS_MASTER_LENGTH,
    (offset) => (offset < BUS_MASTER_LENGTH ? primary : secondary).master.read(offset % BUS_MASTER_LENGTH),
    (offset, value) =>
      (offset < BUS_MASTER_LENGTH ? primary : secondary).master.write(offset % BUS_MASTER_LENGTH, value),
  );
  const timing = [IDETIM.writable & 0xff, IDETIM.writable >> 8];
  const pci: PciFunction = host.pciFunction({
    ...(options.slot !== undefined && { slot: options.slot }),
    vendorId: 0x8086,
    deviceId: 0x7010,
    // Both channels at their PC/AT addresses and no others; bus master.
    classCode: 0x01_0180,
    bars: [
      ...new Array<undefined>(BUS_MASTER_BAR).fill(undefined),
      { kind: "io", size: 2 * BUS_MASTER_LENGTH, handlers: busMasterPorts },
    ],
    registers: [
      { offset: CONFIG.command, bytes: [0, 0], writable: [0x05, 0] },
      { offset: CONFIG.status, bytes: [0x80, 0x02] }, // fast back-to-back, medium DEVSEL#
      { offset: CONFIG.latency, bytes: [0, 0], writable: [0, 0xf0] }, // no cache line size
      // IDETIM of both channels, SIDETIM.
      { offset: CONFIG.timing, bytes: [0, 0, 0, 0, 0], writable: [...timing, ...timing, 0xff] },
    ],
    onConfigWrite: () => applyConfig(),
  });

  function applyConfig(): void {
    const io = (pci.readConfig(CONFIG.command, 2) & IO_SPACE) !== 0;
    channels.forEach(({ view, master }, index) => {
      const decodes = pci.readConfig(CONFIG.timing + index * IDETIM.length, IDETIM.length) & IDETIM.decode;
      view.decoded = io && decodes !== 0 ? 1 : 0;
      master.run(); // bus mastering may have been turned on
    });
  }

  function reset(): void {
    for (const { channel, master } of channels) {
      master.reset();
      channel.reset();
    }
    applyConfig();
  }
  host.onReset(reset);
  host.state({
    save: () => channels.map(({ channel, master }) => ({ channel: channel.save(), master: master.save() })),
    load: (saved) =>
      channels.forEach(({ channel, master }, index) => {
        channel.load(saved[index]!.channel);
        master.load(saved[index]!.master);
      }),
  });
  reset();

  return {
    enableChannels() {
      channels.forEach((_, index) => {
        pci.setConfig(CONFIG.timing + index * IDETIM.length, IDETIM.decode, IDETIM.length);
      });
      applyConfig();
    },
  };
});

interface Channel {
  readonly channel: IdeChannel;
  readonly master: BusMaster;
  readonly view: { status: number; interrupt: number; decoded: number };
}

function createChannel(
  host: DeviceHost,
  { command, control, gsi }: ChannelOptions,
  disks: readonly BlockStorage[],
  firstDisk: number,
  pci: () => PciFunction,
): Channel {
  const line = host.interrupt(gsi);
  const view = host.registers({ status: "u8", interrupt: "u8", decoded: "u8" });
  const drives = disks.map(
    (storage, number) =>
      new AtaDrive({
        storage,
        number: number === 0 ? 0 : 1,
        paired: disks.length > 1,
        serial: `PORTICO${firstDisk + number}`,
        now: () => host.clock.now(),
      }),
  );
  const channel = new IdeChannel(drives, view, {
    interrupt(high) {
      line.set(high);
      if (high) master.driveInterrupt();
    },
    dmaRequest: () => master.run(),
  });
  const master = new BusMaster({
    dma: host.dma,
    enabled: () => pci().busMaster,
    pending: (direction) => channel.pendingDma(direction),
    move: (direction, bytes) => channel.moveDma(direction, bytes),
    masterAbort: () => pci().setConfig(CONFIG.status, pci().readConfig(CONFIG.status, 2) | MASTER_ABORT, 2),
  });

  // The data register takes words; a dword is two of them. The other registers are bytes.
  const registers = bytePorts(
    COMMAND_BLOCK_LENGTH,
    (offset) => channel.read(offset),
    (offset, value) => channel.write(offset, value),
  );
  host.ports(command, {
    read: {
      raw: raw((x) => {
        if (x.width !== 1) x.decline();
        // Of the status, only a read that acknowledges nothing.
        const quiet = x.and(x.get(view, "decoded"), x.not(x.get(view, "interrupt")));
        x.if(x.not(x.and(quiet, x.eq(x.offset, REGISTER.status))), () => x.decline());
        return x.get(view, "status");
      }),
      ring0(offset, width) {
        if (view.decoded === 0) return UNUSED;
        if (offset !== REGISTER.data || width === 1) return registers.read(offset, width);
        const low = channel.readWord();
        return width === 2 ? low : low + channel.readWord() * 0x1_0000;
      },
    },
    write(offset, value, width) {
      if (view.decoded === 0) return UNUSED;
      if (offset !== REGISTER.data || width === 1) return registers.write(offset, value, width);
      channel.writeWord(value & 0xffff);
      if (width === 4) channel.writeWord(value >>> 16);
    },
    readString: (offset, buffer, width) =>
      view.decoded !== 0 && offset === REGISTER.data && width > 1 ? channel.readUnits(buffer, width) : 0,
    writeString: (offset, buffer, width) =>
      view.decoded !== 0 && offset === REGISTER.data && width > 1 ? channel.writeUnits(buffer, width) : 0,
  });
  host.ports(control, {
    read: {
      raw: raw((x) => {
        x.if(x.not(x.get(view, "decoded")), () => x.decline());
        return x.get(view, "status");
      }),
      ring0: () => (view.decoded === 0 ? UNUSED : view.status),
    },
    write(_, value) {
      if (view.decoded === 0) return UNUSED;
      channel.writeControl(value);
    },
  });
  return { channel, master, view };
}
