import type { ExitCpu } from "../../exits/exit-cpu.ts";
import type { IoPath } from "../../exits/exit-work.ts";
import type { Hypercalls } from "../../exits/hypercalls.ts";
import type { IoMonitor } from "../../exits/io-monitor.ts";
import type { ApicBus, IoClient } from "../../io/types.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { CLOCK } from "../../memory/layout.ts";
import { RESULT } from "../interp/imports.ts";
import type { Breakpoints } from "../mmu/breakpoints.ts";
import type { Mmu } from "../mmu/mmu.ts";
import { ATTR, CPU, CS, EVENT, FLAG, MODE, ONCE, PX } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";

export const CR0 = { pe: 1, mp: 2, em: 4, ts: 8, et: 0x10, ne: 0x20, wp: 0x1_0000, am: 0x4_0000 } as const;
export const CR0_PG = 0x8000_0000;
export const CR4 = {
  vme: 1,
  pvi: 2,
  tsd: 4,
  de: 8,
  pse: 0x10,
  pae: 0x20,
  mce: 0x40,
  pge: 0x80,
  pce: 0x100,
  osfxsr: 0x200,
  osxmmexcpt: 0x400,
  smep: 0x10_0000,
} as const;
const TWO_32 = 0x1_0000_0000;
export const EFER = { sce: 1, lme: 0x100, lma: 0x400, nxe: 0x800 } as const;

/** What the machine gives to a vCPU's slow paths. */
export interface CpuBoard {
  /** Time stamp counter before IA32_TSC_ADJUST; 1 GHz. */
  tsc(): bigint;
  readonly apic: ApicBus | undefined;
}

/** Everything that a slow path works with. */
export class SystemContext {
  readonly cpu: VcpuState;
  readonly mmu: Mmu;
  readonly memory: GuestMemory;
  readonly io: IoClient;
  readonly breakpoints: Breakpoints;
  readonly board: CpuBoard;
  /** Set by the engine: how I/O instructions reach their devices, and whom they go to unless directly. */
  ioPath: IoPath = "direct";
  monitor!: IoMonitor;
  exitCpu!: ExitCpu;
  /** Undefined: there are no hypercalls, and CPUID says so. */
  hypercalls: Hypercalls | undefined;
  /** Set by the engine. Delivery in generated code: (cpu, vector, error code or -1, 0, RF to push) → 1, or 0: refused. */
  gate: (cpu: number, vector: number, errorCode: number, software: number, flags: number) => number = () => 0;
  /** A software interrupt was delivered (since a single step cleared this). */
  interrupted = false;
  /** Modes changed since the last transfer of control: generated code must be chosen anew. */
  private modeChanged = false;
  /** A task switch is past the point of no return: a fault is the new task's, before its first instruction. */
  taskSwitched = false;

  constructor(cpu: VcpuState, mmu: Mmu, memory: GuestMemory, io: IoClient, breakpoints: Breakpoints, board: CpuBoard) {
    this.cpu = cpu;
    this.mmu = mmu;
    this.memory = memory;
    this.io = io;
    this.breakpoints = breakpoints;
    this.board = board;
  }

  /** Derives the operation modes from CR0, EFER, EFLAGS.VM and CS. */
  updateMode(): void {
    const { cpu } = this;
    const cr0 = cpu.u32(CPU.cr0);
    const efer = cpu.u32(CPU.efer);
    const cs = cpu.attributes(CS);
    let mode = 0;
    if (cr0 & CR0.pe) mode |= MODE.protected;
    if (cr0 & CR0_PG) mode |= MODE.paging;
    if (cpu.u32(CPU.eflags) & FLAG.vm) mode |= MODE.v86;
    if (efer & EFER.lma) {
      mode |= MODE.long;
      if (cs & ATTR.l) mode |= MODE.code64;
    }
    const wide = (mode & MODE.code64) !== 0 || (cs & ATTR.db) !== 0;
    const prefixes = wide ? 1 << PX.attributeShift : PX.addressSmall;
    if (mode !== cpu.mode || prefixes !== cpu.initialPrefixes) this.modeChanged = true;
    cpu.setU32(CPU.mode, mode);
    cpu.setU32(CPU.initialPrefixes, prefixes);
  }

  setCpl(cpl: number): void {
    this.cpu.setU32(CPU.cpl, cpl);
    this.mmu.updatePrivilege();
  }

  /** After a transfer of control: stays in the run loop only when the same code still fits. */
  transferred(): number {
    this.updateMode();
    const changed = this.modeChanged;
    this.modeChanged = false;
    return changed ? RESULT.leave : RESULT.refetch;
  }

  /** IF, TF, AC or the blocking of NMIs may have changed: the run loop is left when something may now be taken. */
  flagsChanged(result: number): number {
    const { cpu } = this;
    const flags = cpu.u32(CPU.eflags);
    const nmi = (cpu.u32(CPU.pendingEvents) & (EVENT.nmi | EVENT.nmiBlocked)) === EVENT.nmi;
    const interruptible = nmi || ((flags & FLAG.if) !== 0 && cpu.u32(CPU.intr) !== 0);
    return interruptible || (flags & (FLAG.tf | FLAG.rf)) !== 0 ? RESULT.leave : result;
  }

  /** Units of a REP that were done at once count like instructions; the next boundary then notices a spent budget. */
  retireUnits(units: number): void {
    const { data } = this.cpu;
    data.setInt32(CLOCK.budget, data.getInt32(CLOCK.budget, true) - units, true);
  }

  /** A string instruction under REP gives way between two units, which only a spent budget makes it do. */
  givesWay(): void {
    const { cpu } = this;
    cpu.setU32(CPU.once, ONCE.repeat);
    cpu.setU32(CPU.onceBudget, cpu.data.getInt32(CLOCK.budget, true));
  }

  /** IRET ends the blocking of NMIs (SDM vol 3, 6.7.1). */
  unblockNmi(): void {
    const { cpu } = this;
    cpu.setU32(CPU.pendingEvents, cpu.u32(CPU.pendingEvents) & ~EVENT.nmiBlocked);
  }

  /** Instruction pointer and stack pointer as numbers. */
  get rip(): number {
    return this.cpu.number(CPU.rip);
  }
  set rip(value: number) {
    this.cpu.setNumber(CPU.rip, value);
  }

  /** Address of the instruction that is executing (generated code keeps only its host address). */
  get startRip(): number {
    const { cpu } = this;
    // The bias may be any 64-bit number: the sum is what is exact.
    const low = cpu.u32(CPU.ripBias) + cpu.u32(CPU.startPc);
    const carry = low >= TWO_32 ? 1 : 0;
    return ((cpu.u32(CPU.ripBias + 4) + carry) | 0) * TWO_32 + (low >>> 0);
  }
}
