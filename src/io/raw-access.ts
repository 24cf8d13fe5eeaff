import { IO, IO_SLOT, IO_SLOT_UNCLAIMED } from "../memory/layout.ts";
import type { MmioSpace } from "./mmio-space.ts";
import type { PortSpace } from "./port-space.ts";
import type { RawDispatch } from "./raw-dispatch.ts";
import { RawSlots } from "./raw-slots.ts";
import type { RegionStore } from "./region-store.ts";
import type { InlineAccess, RawAccess, RawFunctions, RawWidth } from "./types.ts";

/** What compilers and emitted code see of two spaces whose raw handlers they can reach. */
export class RawSpaces implements RawAccess {
  readonly functions: RawFunctions;
  readonly outward: RawAccess["outward"];
  private readonly dispatch: RawDispatch;
  private readonly ports: PortSpace;
  private readonly mmio: MmioSpace;

  constructor(dispatch: RawDispatch, ports: PortSpace, mmio: MmioSpace, outward: RawAccess["outward"]) {
    this.outward = outward;
    this.dispatch = dispatch;
    this.functions = dispatch.functions;
    this.ports = ports;
    this.mmio = mmio;
  }

  inlinePort(port: number, width: RawWidth, write: boolean): InlineAccess | undefined {
    const { ports, dispatch } = this;
    if (dispatch.observed) return undefined;
    for (let at = port; at < port + width; at++) {
      if (dispatch.slots.slotOfPort(at) !== IO_SLOT_UNCLAIMED) return this.inline(ports.store, port, width, write);
    }
    return this.unclaimed(port, width, write);
  }

  inlineMmio(address: number, width: RawWidth, write: boolean): InlineAccess | undefined {
    const { store } = this.mmio;
    const region = this.mmio.find(address);
    const wholeDwords = (write ? store.writeMode[region] : store.readMode[region]) !== 0;
    if (wholeDwords && (width !== 4 || (address & 3) !== 0)) return undefined;
    return this.inline(store, address, width, write);
  }

  private inline(store: RegionStore, address: number, width: RawWidth, write: boolean): InlineAccess | undefined {
    const { dispatch } = this;
    const region = store.find(address);
    const slot = store.slot[region]!;
    if (slot === 0 || dispatch.observed || address + width > store.end[region]!) return undefined;
    const raw = store.regions[region]?.handlers.raw;
    const build = dispatch.functionOf(write ? raw?.write : raw?.read)?.build;
    if (build === undefined) return undefined;
    const at = RawSlots.address(slot);
    const offset = address - store.origin[region]!;
    const waits = (write ? store.ring3Write : store.ring3Read)[region] !== undefined;
    const closed = store.space === "port" ? IO.portsClosed : IO.mmioClosed;
    return {
      guard: at + IO_SLOT.generation,
      expected: dispatch.slots.generation(slot),
      counter: at + (write ? IO_SLOT.writes : IO_SLOT.reads),
      build: (site) => {
        const { b } = site;
        // An access that has waited starts again: the journal has its answer.
        if (waits) b.if(b.load("i32", 4, b.i32(0), closed), () => site.decline(), undefined, false);
        return build({ ...site, width, offset: b.i32(offset) });
      },
    };
  }

  /** All ones, or nothing. */
  private unclaimed(port: number, width: RawWidth, write: boolean): InlineAccess {
    return {
      guard: RawSlots.address(IO_SLOT_UNCLAIMED) + IO_SLOT.generation,
      expected: this.dispatch.slots.generation(IO_SLOT_UNCLAIMED),
      counter: IO.unclaimed + port * 16 + (write ? 8 : 0),
      build: ({ b }) => (write ? undefined : b.i32(2 ** (8 * width) - 1)),
    };
  }
}
