import { IO_SLOT_UNCLAIMED } from "../memory/layout.ts";
import { UnclaimedCounts } from "./counters.ts";
import type { RawDispatch } from "./raw-dispatch.ts";
import { RegionStore } from "./region-store.ts";
import type { Range, RangeHandlers, Region } from "./types.ts";

/** Ports 0 to FFFF. */
export const PORT_COUNT = 0x1_0000;

/**
 * The port space of a machine: 65,536 ports, and for each the number of the region that answers it.
 *
 * An access of 2 or 4 bytes is one access of a region when that region claims all its ports; otherwise it is made byte
 * by byte, each byte answered by whoever claims its port, as a PC's bus does with devices narrower than the access. An
 * access beyond port FFFF wraps to port 0, byte by byte as well.
 *
 * ```ts
 * const ports = new PortSpace();
 * const uart = ports.register("com1", { base: 0x3f8, length: 8 }, { ring0: { read: (offset) => registers[offset] } });
 * ports.unregister("com1", { base: 0x3fe, length: 2 });   // the UART now ends at 3FD
 * uart.dispose();
 * ```
 */
export class PortSpace {
  readonly store: RegionStore;
  /** Region number of each port; 0 where nobody answers. */
  readonly table = new Int32Array(PORT_COUNT);

  /** The way of emitted code to the raw handlers, when there is one. */
  readonly raw: RawDispatch | undefined;

  constructor(raw?: RawDispatch) {
    this.raw = raw;
    const paint = (start: number, end: number, number: number) => {
      this.table.fill(number, start, end);
      raw?.slots.paintPorts(start, end, number === 0 ? IO_SLOT_UNCLAIMED : this.store.slot[number]!);
    };
    this.store = new RegionStore("port", PORT_COUNT, paint, new UnclaimedCounts(1, PORT_COUNT), raw);
  }

  /**
   * Claims ports. Throws `INVALID_PORT_RANGE` when the range is empty, wraps or ends beyond FFFF, `NO_HANDLERS` when
   * nothing is supplied, and `PortRangeConflictError` when somebody claims any of it already.
   */
  register(owner: string, range: Range, handlers: RangeHandlers): Region {
    return this.store.register(owner, range, handlers, 0, 0);
  }

  /**
   * Gives back part or all of what `owner` claims: a range disappears, loses its head or tail, or is split in two.
   * Offsets keep counting from where the registration began. Throws `PORT_RANGE_NOT_FOUND` when any port of the range is
   * unclaimed and `NOT_PORT_RANGE_OWNER` when any is somebody else's; then nothing has changed.
   */
  unregister(owner: string, range: Range): void {
    this.store.unregister(owner, range);
  }

  /** Who answers a port. */
  ownerOf(port: number): string | undefined {
    return this.store.regions[this.table[port & 0xffff]!]?.owner;
  }
}
