/** A vCPU with RAM around it and nothing else, and the states that tests start it in. */
import { SoftwareVcpu, type VcpuOptions } from "../../src/cpu/engine.ts";
import { CPU, CS, DS, ES, FLAG, SS } from "../../src/cpu/state.ts";
import { CR0_PG, CR4, EFER } from "../../src/cpu/system/context.ts";
import type { IoClient } from "../../src/io/types.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { CLOCK } from "../../src/memory/layout.ts";

/** Nobody answers: all ones. */
export const NO_DEVICES: IoClient = {
  portRead: () => -1,
  portWrite: () => 0,
  portReadString: () => 0,
  portWriteString: () => 0,
  mmioRead: (_address, width, buffer) => {
    buffer.fill(0xff, 0, width);
    return 0;
  },
  mmioWrite: () => 0,
  waiting: undefined,
  clearJournal: () => undefined,
};

export interface BareVcpuOptions {
  readonly ramBytes: number;
  readonly compile?: VcpuOptions["compile"];
  readonly io?: IoClient;
}

export class BareVcpu {
  readonly memory: GuestMemory;
  readonly vcpu: SoftwareVcpu;

  constructor({ ramBytes, compile = "never", io = NO_DEVICES }: BareVcpuOptions) {
    this.memory = new GuestMemory({ ramBytes, extraBytes: 0 });
    const board = { tsc: () => 0n, apic: undefined, interrupts: { acknowledge: () => -1 } };
    this.vcpu = new SoftwareVcpu(this.memory, io, board, 0, { compile });
  }

  get state() {
    return this.vcpu.state;
  }

  /** Flat 32-bit protected mode at CPL 0, without paging: `code` at a guest-physical address, the stack below it. */
  startFlat(code: readonly number[], at: number): void {
    const { state } = this;
    this.memory.write(at, Uint8Array.from(code));
    state.setU32(CPU.cr0, 1);
    this.setFlatSegments();
    state.setNumber(CPU.rip, at);
    state.setGpr32(4, at - 0x100);
    this.vcpu.stateChanged();
  }

  /** 32-bit code and data that reach everywhere. */
  setFlatSegments(): void {
    const { state } = this;
    state.setSegment(CS, 8, 0, 0xffff_ffff, 0xc09b);
    for (const segment of [SS, DS, ES]) state.setSegment(segment, 16, 0, 0xffff_ffff, 0xc093);
  }

  /** Page tables from `cr3` on are in use (none: flat); `controls` are further bits of the control registers. */
  setPaging(
    mode: "flat" | "paging32" | "pae" | "long",
    cr3: number,
    controls: { readonly cr0?: number; readonly cr4?: number; readonly efer?: number } = {},
    cpl = 0,
  ): void {
    const { state } = this;
    const { cr0 = 0, cr4 = 0, efer = 0 } = controls;
    const long = mode === "long";
    state.setU32(CPU.cr0, (1 | (mode === "flat" ? 0 : CR0_PG) | cr0) >>> 0);
    state.setU32(CPU.cr4, (mode === "pae" || long ? CR4.pae : 0) | cr4);
    state.setU32(CPU.efer, (long ? EFER.lme | EFER.lma : 0) | efer);
    state.setNumber(CPU.cr3, cr3);
    state.setSegment(CS, 8, 0, 0xffff_ffff, long ? 0xa09b : 0xc09b);
    state.setU32(CPU.cpl, cpl);
    state.setU32(CPU.eflags, FLAG.one);
    this.vcpu.stateChanged();
    this.vcpu.mmu.loadPdpte();
  }

  /** Runs for at most so many instructions. */
  run(instructions: number) {
    this.setBudget(instructions);
    return this.vcpu.run();
  }

  setBudget(instructions: number): void {
    const { data } = this.state;
    for (const field of [CLOCK.budget, CLOCK.sliceBudget]) data.setInt32(field, instructions, true);
  }
}
