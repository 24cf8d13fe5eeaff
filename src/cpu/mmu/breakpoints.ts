import { PAGE_SIZE } from "../../memory/layout.ts";
import { CPU } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";

/** R/W field of DR7, SDM vol 3, 17.2.4. */
const EXECUTE = 0;
const WRITE = 1;
const IO = 2;
const READ_WRITE = 3;
/** Length field: 1, 2, 8 and 4 bytes. */
const LENGTHS = [1, 2, 8, 4] as const;

const CR4_DE = 1 << 3;

interface Armed {
  readonly number: number;
  readonly kind: number;
  readonly address: number;
  readonly bytes: number;
}

/** DR0-DR3 and DR7, decoded when they change. Matches collect in `CPU.pendingDebug` as bits of DR6. */
export class Breakpoints {
  /** Some breakpoint is armed at all. */
  any = false;
  /** An instruction breakpoint is armed: the engine then steps. */
  anyExecute = false;
  private armed: Armed[] = [];
  private readonly cpu: VcpuState;
  /** Called when a data or I/O breakpoint matched: the trap follows the instruction. */
  onMatch: () => void = () => {};

  constructor(cpu: VcpuState) {
    this.cpu = cpu;
  }

  /** Re-reads the debug registers. The caller flushes the TLBs: pages with data breakpoints have no ordinary entries. */
  update(): void {
    const dr7 = this.cpu.u32(CPU.dr + 7 * 8);
    const cr4 = this.cpu.u32(CPU.cr4);
    this.armed = [];
    for (let number = 0; number < 4; number++) {
      if (((dr7 >>> (number * 2)) & 3) === 0) continue;
      const kind = (dr7 >>> (16 + number * 4)) & 3;
      if (kind === IO && (cr4 & CR4_DE) === 0) continue;
      const bytes = LENGTHS[(dr7 >>> (18 + number * 4)) & 3]!;
      const address = this.cpu.number(CPU.dr + number * 8);
      const low = ((address % bytes) + bytes) % bytes;
      this.armed.push({ number, kind, address: address - low, bytes });
    }
    this.any = this.armed.length > 0;
    this.anyExecute = this.armed.some((one) => one.kind === EXECUTE);
  }

  /** A data breakpoint lies in the page of `linear`. */
  watchesPage(linear: number): boolean {
    if (!this.any) return false;
    const page = Math.floor(linear / PAGE_SIZE);
    return this.armed.some(
      ({ kind, address, bytes }) =>
        (kind === WRITE || kind === READ_WRITE) &&
        (Math.floor(address / PAGE_SIZE) === page || Math.floor((address + bytes - 1) / PAGE_SIZE) === page),
    );
  }

  private match(kinds: (kind: number) => boolean, address: number, bytes: number): number {
    let hits = 0;
    for (const one of this.armed) {
      if (kinds(one.kind) && address < one.address + one.bytes && one.address < address + bytes)
        hits |= 1 << one.number;
    }
    return hits;
  }

  /** Bits of DR6 that the current instruction has earned. */
  collect(hits: number): void {
    if (hits === 0) return;
    this.cpu.setU32(CPU.pendingDebug, this.cpu.u32(CPU.pendingDebug) | hits);
    this.onMatch();
  }

  data(linear: number, bytes: number, write: boolean): void {
    if (!this.any) return;
    this.collect(this.match((kind) => kind === READ_WRITE || (write && kind === WRITE), linear, bytes));
  }

  io(port: number, bytes: number): void {
    if (!this.any) return;
    this.collect(this.match((kind) => kind === IO, port, bytes));
  }

  /** Bits of DR6 for an instruction breakpoint at `linear`; 0: none. */
  execute(linear: number): number {
    return this.match((kind) => kind === EXECUTE, linear, 1);
  }
}
