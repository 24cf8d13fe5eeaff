import { PorticoError } from "../../errors.ts";
import type { Region } from "../../io/types.ts";
import type { PciBar } from "../types.ts";
import { COMMAND, CONFIG, type ConfigSpace } from "./config-space.ts";

/** I/O decodes 16 address bits on a PC; memory as many as a machine's physical addresses have. */
const PORT_END = 0x1_0000;
const MEMORY_END = 2 ** 52;

/** Low bits of a register. PCI 3.0, section 6.2.5.1. */
const BAR_TYPE = { io: 0b01, wide: 0b100, prefetchable: 0b1000 } as const;

/** Registers a BAR's range at its first address. Throws `PorticoError` when something else is there. */
export type ClaimRange = (base: number) => Region;

/** One base address register: its bits in configuration space and the range it moves about. */
export class BaseAddressRegister {
  readonly kind: "io" | "memory";
  readonly size: number;
  private readonly config: ConfigSpace;
  private readonly offset: number;
  private readonly wide: boolean;
  private readonly claim: ClaimRange;
  private region: Region | undefined;
  private mappedAt: number | undefined;

  /** Throws `PorticoError` `PCI_BAR_INVALID`. */
  constructor(config: ConfigSpace, index: number, bar: PciBar, claim: ClaimRange) {
    checkSize(index, bar);
    this.kind = bar.kind;
    this.size = bar.size;
    this.config = config;
    this.offset = CONFIG.bar0 + 4 * index;
    this.wide = bar.kind === "memory" && (bar.wide ?? false);
    this.claim = claim;
    const type =
      bar.kind === "io"
        ? BAR_TYPE.io
        : (this.wide ? BAR_TYPE.wide : 0) | (bar.prefetchable ? BAR_TYPE.prefetchable : 0);
    config.define(this.offset, type, 4, bar.size < 2 ** 32 ? 2 ** 32 - bar.size : 0);
    if (this.wide) config.define(this.offset + 4, 0, 4, 2 ** 32 - Math.max(1, bar.size / 2 ** 32));
  }

  /** The address in the register, decoded or not. */
  get address(): number {
    const low = this.config.get(this.offset, 4);
    const high = this.wide ? this.config.get(this.offset + 4, 4) : 0;
    return high * 2 ** 32 + (low - (low % Math.min(this.size, 2 ** 32)));
  }

  set address(base: number) {
    this.config.write(this.offset, base % 2 ** 32, 4);
    if (this.wide) this.config.write(this.offset + 4, Math.floor(base / 2 ** 32), 4);
  }

  /** Largest address, exclusive, that software may give the range. */
  get limit(): number {
    return this.kind === "io" ? PORT_END : this.wide ? MEMORY_END : 2 ** 32;
  }

  /** Where software wants the range now; `undefined` when it does not decode there. */
  get wanted(): number | undefined {
    const enable = this.kind === "io" ? COMMAND.io : COMMAND.memory;
    if ((this.config.get(CONFIG.command, 2) & enable) === 0) return undefined;
    const { address } = this;
    return address + this.size <= this.limit ? address : undefined;
  }

  get mapped(): number | undefined {
    return this.mappedAt;
  }

  unmap(): void {
    if (this.mappedAt === undefined) return;
    this.region?.move(undefined);
    this.mappedAt = undefined;
  }

  /** False when something is there already: on a PC the chipset's own ranges and RAM answer first. */
  map(base: number): boolean {
    try {
      if (this.region === undefined) this.region = this.claim(base);
      else this.region.move(base);
    } catch (error) {
      if (error instanceof PorticoError) return false;
      throw error;
    }
    this.mappedAt = base;
    return true;
  }

  overlaps(base: number, other: BaseAddressRegister, otherBase: number): boolean {
    return this.kind === other.kind && base < otherBase + other.size && otherBase < base + this.size;
  }

  dispose(): void {
    this.region?.dispose();
    this.region = undefined;
    this.mappedAt = undefined;
  }
}

function checkSize(index: number, bar: PciBar): void {
  const [least, most] = bar.kind === "io" ? [4, 256] : [16, bar.wide ? 2 ** 40 : 2 ** 31];
  const isPower = Number.isInteger(Math.log2(bar.size));
  const fits = index + (bar.kind === "memory" && bar.wide ? 1 : 0) <= 5;
  if (isPower && bar.size >= least && bar.size <= most && fits) return;
  throw new PorticoError(
    "PCI_BAR_INVALID",
    fits
      ? `BAR ${index} has ${bar.size} bytes; ${bar.kind} BARs have a power of two from ${least} to ${most}`
      : `BAR ${index} does not exist: a function has BARs 0 to 5, and a 64-bit one takes two`,
  );
}
