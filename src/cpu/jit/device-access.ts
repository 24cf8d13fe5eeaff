import { constantOf, type Expr, type Label, type Variable } from "../../emit/index.ts";
import type { InlineAccess, RawAccess, RawWidth } from "../../io/types.ts";
import { PAGE_SIZE } from "../../memory/layout.ts";
import { portsOpen } from "../interp/device-access.ts";
import { type DeviceSite, MMIO_TLB, MMIO_TLB_ENTRY, mmioTlbEntry } from "../mmu/tlb-layout.ts";
import { CPU } from "../state.ts";
import { RegisterCache } from "./register-cache.ts";

/** What is known of devices when a region is compiled. */
export interface KnownDevices {
  readonly raw: Pick<RawAccess, "inlinePort" | "inlineMmio">;
  /** DX when the region was found: a loop's port, more often than not. */
  readonly dx: number;
  /** The region is for CPL 3. */
  readonly user: boolean;
  /** What the instruction at a host address was last seen to reach outside memory. */
  site(host: number): DeviceSite | undefined;
}

/** One access, of either space. */
export interface Access {
  readonly bytes: number;
  /** i32: what a write has. */
  readonly data?: Expr;
  /** Takes what a read gives (i32). */
  readonly answer?: (value: Expr) => void;
}

/** What an instruction was last seen to reach. */
export interface SeenDevice {
  readonly site: DeviceSite;
  /** Undefined: there is no raw handler. */
  readonly inline: InlineAccess | undefined;
}

/** Raw handlers of devices, written into the code where the device is known or was seen; a guard decides each time. */
export abstract class DeviceAccess extends RegisterCache {
  /** Undefined: no access is made in place. */
  devices: KnownDevices | undefined;

  /** i32: see `portsOpen`. A local, set when the region is entered; undefined while nobody asks. */
  private openLocal: Variable | undefined;

  /**
   * As it was when the region was entered: what changes it ends a region. (POPF at CPL 0 may change IOPL, which does not
   * count there.)
   */
  private portsOpen(): Expr {
    this.openLocal ??= this.permanent("i32");
    return this.get(this.openLocal);
  }

  /** For the prologue. */
  protected loadPortsOpen(): void {
    if (this.openLocal) this.set(this.openLocal, portsOpen(this, this.cpu));
  }

  /** Emits what may cut the budget, in the middle of an instruction that looks at it. */
  protected abstract cutsBudget(emit: () => void): void;

  /** The instruction looks at its end whether the region has to be left. */
  protected abstract expectAttention(): void;

  /** An access of a device in TypeScript, in an instruction that expects attention. */
  protected abstract askDevice(physical: Expr, access: Access): void;

  /** A port access, to the port that is known or to the one in DX; `ordinary` for everything else. */
  protected portInPlace(port: Expr, access: Access, ordinary: () => void): void {
    const { devices } = this;
    const known = constantOf(port);
    const number = known === undefined ? devices?.dx : Number(known) & 0xffff;
    const write = access.data !== undefined;
    const inline = number === undefined ? undefined : devices?.raw.inlinePort(number, access.bytes as RawWidth, write);
    if (inline === undefined) {
      ordinary();
      return;
    }
    const usable = known === undefined ? [this.portsOpen(), this.eq(port, number!)] : [this.portsOpen()];
    this.handlerInPlace(inline, usable, access, ordinary, (emit) => this.cutsBudget(emit));
  }

  protected deviceSeenAt(host: number, bytes: number, write: boolean): SeenDevice | undefined {
    const { devices } = this;
    const site = bytes === 1 || bytes === 2 || bytes === 4 ? devices?.site(host) : undefined;
    return site && { site, inline: devices!.raw.inlineMmio(site.physical, bytes as RawWidth, write) };
  }

  /** An access to what was seen, if the page is still where it was and nobody looks at each access; else `ordinary`. */
  protected mmioInPlace({ site, inline }: SeenDevice, linear: Expr, access: Access, ordinary: () => void): void {
    const { cpu } = this;
    const entry = MMIO_TLB.base + mmioTlbEntry(Number(BigInt.asUintN(32, site.linear)), this.devices!.user);
    const tag = entry + (access.data === undefined ? MMIO_TLB_ENTRY.readTag : MMIO_TLB_ENTRY.writeTag);
    const page = site.linear & BigInt(-PAGE_SIZE);
    const frame = site.physical & -PAGE_SIZE;
    const mapped = [
      this.eq(this.load("i64", 8, cpu, tag), page),
      this.eq(this.load("i32", 4, cpu, entry + MMIO_TLB_ENTRY.physical), frame),
      this.ne(this.load("i32", 4, cpu, CPU.walkMode), 0),
      this.eqz(this.load("i32", 4, cpu, CPU.replaying)),
    ];
    if (inline !== undefined) {
      this.handlerInPlace(inline, [this.eq(linear, site.linear), ...mapped], access, ordinary);
      return;
    }
    this.expectAttention();
    const inPage = this.leU(this.sub(linear, page), PAGE_SIZE - access.bytes);
    const physical = this.or(this.and(this.wrap(linear), PAGE_SIZE - 1), frame);
    this.guarded([inPage, ...mapped], () => this.askDevice(physical, access), ordinary);
  }

  private handlerInPlace(
    { guard, expected, counter, build }: InlineAccess,
    usable: readonly Expr[],
    { bytes, data, answer }: Access,
    ordinary: () => void,
    interrupt?: (emit: () => void) => void,
  ): void {
    const zero = this.i32(0);
    const valid = this.eq(this.load("i32", 4, zero, guard), expected);
    const inPlace = (elsewhere: Label) => {
      const value = build({
        b: this,
        ...(data && { value: bytes === 4 ? data : this.let(this.and(data, 2 ** (8 * bytes) - 1)) }),
        decline: () => this.br(elsewhere),
        now: () => this.virtualTime(),
        ...(interrupt && { interrupt }),
      });
      if (answer && value) answer(value);
      this.store(8, zero, this.add(this.load("i64", 8, zero, counter), 1), counter);
    };
    this.guarded([...usable, valid], inPlace, ordinary);
  }

  /** `inPlace` where all conditions hold, unless it goes `elsewhere`; else `ordinary`. */
  private guarded(conditions: readonly Expr[], inPlace: (elsewhere: Label) => void, ordinary: () => void): void {
    this.block((done) => {
      this.block((elsewhere) => {
        for (const condition of conditions) this.brIf(elsewhere, this.eqz(condition), false);
        inPlace(elsewhere);
        this.br(done);
      });
      ordinary();
    });
  }
}
