import { defineDevice } from "../device/define.ts";
import { raw } from "../device/raw.ts";
import { assert, PorticoError } from "../errors.ts";
import { UNUSED } from "../io/types.ts";

/**
 * Firmware configuration: numbered items and named files from the host program, in QEMU's format
 * (docs/specs/fw_cfg.rst). Selector at 510h (16 bits, little-endian), data at 511h (bytes), DMA address at 514h-51Bh
 * (64 bits, big-endian; the write of its low half starts the transfer).
 */
const PORTS = { base: 0x510, length: 2, dmaOffset: 4, dmaLength: 8 } as const;

/** Item keys. */
const KEY = {
  signature: 0x0000,
  id: 0x0001,
  ramSize: 0x0003,
  cpuCount: 0x0005,
  maxCpus: 0x000f,
  fileDirectory: 0x0019,
  firstFile: 0x0020,
  /** Keys have 14 bits; bit 14 once chose the write channel, bit 15 is for items of one architecture. */
  end: 0x4000,
  /** Of the PC: interrupt 0 arrives at input 2 of the I/O APIC. */
  irq0Override: 0x8002,
} as const;

const ID = { traditional: 1 << 0, dma: 1 << 1 } as const;

/** What a read of the DMA address register gives, in the order of its bytes. */
const DMA_SIGNATURE = "QEMU CFG";

/** Bits of the DMA control field; a selection has its key in the upper half. */
const DMA = { error: 1 << 0, read: 1 << 1, skip: 1 << 2, select: 1 << 3, write: 1 << 4, length: 16 } as const;

/** 32-bit size, 16-bit key, 16 reserved bits (all big-endian), name with its final zero. */
const DIRECTORY_ENTRY = { length: 64, name: 8, nameLength: 56 } as const;

/** Zeros are written in pieces of this many bytes when a transfer goes beyond the end of an item. */
const FILL_CHUNK = 0x1_0000;

/** Beyond this no address is guest memory, and sums would not be exact. */
const ADDRESS_END = 2 ** 52;

export interface FwCfgOptions {
  readonly ramBytes: number;
  readonly cpuCount: number;
  /** Named files, in the order of the directory. Names have up to 55 ASCII characters, as "opt/org.example/name". */
  readonly files?: Files;
  /** Further ones, made when a guest looks for the first time. A name that is also in `files` is not used. */
  readonly machineFiles?: () => Files;
}

type Files = Readonly<Record<string, Uint8Array>>;

/** Throws `PorticoError` `FW_CFG_FILE_INVALID` for a name that the directory cannot hold. */
export const fwCfg = defineDevice("fw-cfg", (host, options: FwCfgOptions) => {
  const r = host.registers({ key: "u16", offset: "u32", dmaHigh: "u32" });
  for (const name of Object.keys(options.files ?? {})) checkName(name);
  let items: Map<number, Uint8Array> | undefined;
  const nothing = new Uint8Array(0);
  function selected(): Uint8Array {
    items ??= buildItems(options);
    return items.get(r.key) ?? nothing;
  }

  function select(key: number): void {
    r.key = key;
    r.offset = 0;
  }

  /** The next byte of the item, zero beyond its end. */
  function next(): number {
    const item = selected();
    return r.offset < item.length ? item[r.offset++] : 0;
  }

  host.ports(
    { base: PORTS.base, length: PORTS.length },
    {
      read: (offset, width) => (offset === 1 && width === 1 ? next() : UNUSED),
      // Items cannot be changed through the data port (since QEMU 2.4), so a write of it does nothing.
      write: (offset, value, width) => (offset === 0 && width === 2 ? select(value) : UNUSED),
      readString(offset, buffer, width) {
        if (offset !== 1 || width !== 1) return 0;
        for (let i = 0; i < buffer.length; i++) buffer[i] = next();
        return buffer.length;
      },
    },
  );

  host.ports(
    { base: PORTS.base + PORTS.dmaOffset, length: PORTS.dmaLength },
    {
      read: (offset, width) => {
        let value = 0;
        for (let i = width - 1; i >= 0; i--) {
          value = value * 256 + DMA_SIGNATURE.charCodeAt(offset + i);
        }
        return value;
      },
      write: {
        raw: raw((x) => {
          const swapped = x.or(
            x.or(x.shl(x.value, 24), x.shl(x.and(x.value, 0xff00), 8)),
            x.or(x.and(x.shrU(x.value, 8), 0xff00), x.shrU(x.value, 24)),
          );
          if (x.width === 4) x.if(x.ne(x.offset, 0), () => x.decline());
          else x.decline();
          x.set(r, "dmaHigh", swapped);
        }),
        ring0(offset, value, width) {
          if (offset !== 4 || width !== 4) return UNUSED;
          const address = r.dmaHigh * 2 ** 32 + swap32(value);
          r.dmaHigh = 0;
          if (address < ADDRESS_END) transfer(address);
        },
      },
    },
  );

  const request = new Uint8Array(DMA.length);
  const requestView = new DataView(request.buffer);

  function transfer(at: number): void {
    host.dma.read(at, request);
    const control = requestView.getUint32(0);
    const length = requestView.getUint32(4);
    const address = requestView.getUint32(8) * 2 ** 32 + requestView.getUint32(12);
    if (control & DMA.select) select(control >>> 16);
    let result = 0;
    if (control & DMA.read) readInto(address, length);
    // There is no item that a guest may write.
    else if (control & DMA.write) result = DMA.error;
    else if (control & DMA.skip) r.offset = Math.min(r.offset + length, selected().length);
    requestView.setUint32(0, result);
    host.dma.write(at, request.subarray(0, 4));
  }

  function readInto(address: number, length: number): void {
    const item = selected();
    const present = Math.min(length, item.length - r.offset);
    host.dma.write(address, item.subarray(r.offset, r.offset + present));
    r.offset += present;
    const end = Math.min(address + length, ADDRESS_END);
    const zeros = new Uint8Array(Math.min(length - present, FILL_CHUNK));
    for (let to = address + present; to < end; to += zeros.length) {
      host.dma.write(to, zeros.subarray(0, Math.min(zeros.length, end - to)));
    }
  }
});

const swap32 = (value: number) =>
  ((value << 24) | ((value & 0xff00) << 8) | ((value >>> 8) & 0xff00) | (value >>> 24)) >>> 0;

function checkName(name: string): void {
  if (/^[!-~]{1,55}$/.test(name)) return;
  throw new PorticoError(
    "FW_CFG_FILE_INVALID",
    `fw_cfg cannot hold a file '${name}': names have 1 to 55 ASCII characters`,
  );
}

function buildItems(options: FwCfgOptions): Map<number, Uint8Array> {
  const items = new Map<number, Uint8Array>([
    [KEY.signature, ascii("QEMU")],
    [KEY.id, littleEndian(ID.traditional | ID.dma, 4)],
    [KEY.ramSize, littleEndian(options.ramBytes, 8)],
    [KEY.cpuCount, littleEndian(options.cpuCount, 2)],
    [KEY.maxCpus, littleEndian(options.cpuCount, 2)],
    [KEY.irq0Override, Uint8Array.of(1)],
  ]);
  const files = Object.entries({ ...options.machineFiles?.(), ...options.files });
  const directory = new Uint8Array(4 + files.length * DIRECTORY_ENTRY.length);
  const view = new DataView(directory.buffer);
  view.setUint32(0, files.length);
  files.forEach(([name, content], index) => {
    const key = KEY.firstFile + index;
    if (key >= KEY.end) throw new PorticoError("FW_CFG_FILE_INVALID", "fw_cfg has room for 16,352 files: give fewer");
    const entry = 4 + index * DIRECTORY_ENTRY.length;
    view.setUint32(entry, content.length);
    view.setUint16(entry + 4, key);
    directory.set(ascii(name), entry + DIRECTORY_ENTRY.name);
    items.set(key, content);
  });
  items.set(KEY.fileDirectory, directory);
  return items;
}

function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

function littleEndian(value: number, bytes: number): Uint8Array {
  assert(Number.isSafeInteger(value), "a number of fw_cfg is a safe integer");
  return Uint8Array.from({ length: bytes }, (_, i) => Math.floor(value / 2 ** (8 * i)) % 256);
}
