/** The software CPU, bare, as a subject: long mode or compatibility mode, no devices, user pages and a little kernel. */
import { SoftwareVcpu, type VcpuOptions } from "../../src/cpu/engine.ts";
import { ATTR, CPU, CS, DS, ES, FS, GS, LDTR, SS, TR } from "../../src/cpu/state.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { CLOCK, CLOCK_RATE_SHIFT, PAGE_FLAG } from "../../src/memory/layout.ts";
import { NO_DEVICES } from "../cpu/bare-vcpu.ts";
import {
  type Bytes,
  CODE_BASE,
  CODE_SIZE,
  FS_BASE_64,
  GS_BASE_64,
  LDT_SEGMENTS,
  Ldt,
  ldtSelector,
  type MachineCase,
  type Mode,
  type Outcome,
  SELECTORS_64,
  VECTOR_TIMEOUT,
  WINDOW_BASE,
  WINDOW_SIZE,
  WINDOW_WRITABLE,
} from "./state.ts";
import type { Subject } from "./subject.ts";

const RAM_BYTES = 0x20_0000;
/** Guest-physical addresses. */
const AT = {
  window: 0x10_0000,
  code: 0x11_0000,
  pml4: 0x11_1000,
  lowDirectories: 0x11_2000,
  lowDirectory: 0x11_3000,
  windowTable: 0x11_4000,
  codeTable: 0x11_5000,
  highDirectories: 0x11_6000,
  highDirectory: 0x11_7000,
  highTable: 0x11_8000,
  gdt: 0x12_0000,
  idt: 0x12_1000,
  tss: 0x12_2000,
  ldt: 0x12_3000,
  handlers: 0x12_4000,
  stackTop: 0x12_8000,
} as const;
const KERNEL_PAGES = 8;
/** The kernel's pages lie in the upper half, where the host's kernel is: user accesses fault alike. */
const HIGH = -0x8000_0000_0000;
const kernel = (physical: number): number => HIGH + physical - AT.gdt;

const PTE = { present: 1n, write: 2n, user: 4n, noExecute: 1n << 63n } as const;
const KERNEL_CS = 0x10;
const TSS_SELECTOR = 0x40;
const LDT_SELECTOR = 0x50;
const HANDLER_STRIDE = 16;
/** Vectors that push an error code: SDM vol 3, table 6-1. */
const WITH_ERROR_CODE = [8, 10, 11, 12, 13, 14, 17];
const RUN_LIMIT = 2_000_000;

export class SoftwareSubject implements Subject {
  readonly name = "software CPU";
  readonly mode: Mode;
  protected readonly memory = new GuestMemory({ ramBytes: RAM_BYTES, extraBytes: 0 });
  protected readonly vcpu: SoftwareVcpu;
  private readonly data: DataView;
  private readonly window: Uint8Array;
  private background: Uint8Array = new Uint8Array(WINDOW_SIZE);

  constructor(mode: Mode, compile: VcpuOptions["compile"] = "never") {
    this.mode = mode;
    const board = { tsc: () => 0n, apic: undefined, interrupts: { acknowledge: () => -1 } };
    this.vcpu = new SoftwareVcpu(this.memory, NO_DEVICES, board, 0, { compile });
    const ram = this.memory.layout.ram;
    this.data = new DataView(this.memory.memory.buffer, ram, RAM_BYTES);
    this.window = this.memory.bytes.subarray(ram + AT.window, ram + AT.window + WINDOW_SIZE);
    this.buildPageTables();
    this.buildTables();
    this.setControlState();
  }

  private setEntry(table: number, index: number, value: bigint): void {
    this.data.setBigUint64(table + index * 8, value, true);
  }

  private buildPageTables(): void {
    const user = PTE.present | PTE.write | PTE.user;
    const link = (table: number, index: number, to: number): void => this.setEntry(table, index, BigInt(to) | user);
    link(AT.pml4, 0, AT.lowDirectories);
    link(AT.lowDirectories, 0, AT.lowDirectory);
    link(AT.lowDirectory, WINDOW_BASE >>> 21, AT.windowTable);
    link(AT.lowDirectory, CODE_BASE >>> 21, AT.codeTable);
    link(AT.pml4, 256, AT.highDirectories);
    link(AT.highDirectories, 0, AT.highDirectory);
    link(AT.highDirectory, 0, AT.highTable);
    for (let page = 0; page < WINDOW_SIZE >> 12; page++) {
      const write = page * 0x1000 < WINDOW_WRITABLE ? PTE.write : 0n;
      this.setEntry(
        AT.windowTable,
        page,
        BigInt(AT.window + page * 0x1000) | PTE.present | PTE.user | PTE.noExecute | write,
      );
    }
    this.setEntry(AT.codeTable, 0, BigInt(AT.code) | PTE.present | PTE.user);
    for (let page = 0; page < KERNEL_PAGES; page++) {
      this.setEntry(AT.highTable, page, BigInt(AT.gdt + page * 0x1000) | PTE.present | PTE.write);
    }
  }

  private buildTables(): void {
    const { data } = this;
    // GDT as Linux has it: 64-bit kernel code, kernel data, 32-bit user code 20h, user data 28h, 64-bit user code 30h.
    data.setBigUint64(AT.gdt + KERNEL_CS, 0x00af_9b00_0000_ffffn, true);
    data.setBigUint64(AT.gdt + 0x18, 0x00cf_9300_0000_ffffn, true);
    data.setBigUint64(AT.gdt + 0x20, 0x00cf_fb00_0000_ffffn, true);
    data.setBigUint64(AT.gdt + (SELECTORS_64.ss & ~7), 0x00cf_f300_0000_ffffn, true);
    data.setBigUint64(AT.gdt + (SELECTORS_64.cs & ~7), 0x00af_fb00_0000_ffffn, true);
    // For thread-local storage, whose base is nobody's business, and the number of the processor.
    if (this.mode === 32) data.setBigUint64(AT.gdt + 0x60, 0x00df_f300_0000_ffffn, true);
    data.setBigUint64(AT.gdt + 0x78, 0x0040_f500_0000_0000n, true);
    LDT_SEGMENTS.forEach((segment, index) => {
      const { low, high } = descriptorWords(index);
      data.setUint32(AT.ldt + index * 8, low, true);
      data.setUint32(AT.ldt + index * 8 + 4, high, true);
      if (segment.limit < 0) throw new Error("no limit");
    });
    data.setBigUint64(AT.tss + 4, BigInt.asUintN(64, BigInt(kernel(AT.stackTop))), true);
    data.setUint16(AT.tss + 102, 0x68, true);
    for (let vector = 0; vector < 256; vector++) {
      const handler = BigInt.asUintN(64, BigInt(kernel(AT.handlers + vector * HANDLER_STRIDE)));
      data.setUint8(AT.handlers + vector * HANDLER_STRIDE, 0xf4);
      // Interrupt gates; INT3 and INTO may come from user mode, as in Linux.
      const access = vector === 3 || vector === 4 ? 0xee : 0x8e;
      data.setUint32(AT.idt + vector * 16, Number(handler & 0xffffn) | (KERNEL_CS << 16), true);
      data.setUint32(AT.idt + vector * 16 + 4, Number(handler & 0xffff_0000n) | (access << 8), true);
      data.setUint32(AT.idt + vector * 16 + 8, Number(handler >> 32n), true);
    }
  }

  private setControlState(): void {
    const { state } = this.vcpu;
    state.setU64(CPU.cr0, 0x8005_0033n);
    state.setU64(CPU.cr3, BigInt(AT.pml4));
    state.setU64(CPU.cr4, 0x6a0n);
    state.setU64(CPU.efer, 0xd01n);
    state.setNumber(CPU.gdtrBase, kernel(AT.gdt));
    state.setNumber(CPU.gdtrLimit, 0xfff);
    state.setNumber(CPU.idtrBase, kernel(AT.idt));
    state.setNumber(CPU.idtrLimit, 0xfff);
    state.setSegment(TR, TSS_SELECTOR, kernel(AT.tss), 0x67, 0x8b);
    state.setSegment(LDTR, LDT_SELECTOR, kernel(AT.ldt), LDT_SEGMENTS.length * 8 - 1, 0x82);
  }

  prepare(background: Uint8Array): void {
    this.background = background;
    this.window.set(background);
    this.memory.fill(AT.code, CODE_SIZE, 0xcc);
  }

  run(one: MachineCase): Outcome {
    const { vcpu, memory } = this;
    const { state } = vcpu;
    // As a device would write it: caches of code must notice.
    memory.write(AT.code + one.codeOffset, one.code);
    memory.pageFlags.fill(0, AT.window >> 12, (AT.window + WINDOW_SIZE) >> 12);
    for (const patch of one.patches) {
      this.window.set(patch.bytes, patch.offset);
      const last = (patch.offset + patch.bytes.length - 1) >> 12;
      for (let page = patch.offset >> 12; page <= last; page++)
        memory.pageFlags[(AT.window >> 12) + page] = PAGE_FLAG.dirty;
    }
    this.load(one);
    state.setU32(CPU.activity, 0);
    state.setU32(CPU.pendingDebug, 0);
    const { data } = state;
    data.setInt32(CLOCK.rate, 1 << CLOCK_RATE_SHIFT, true);
    data.setInt32(CLOCK.sliceBudget, RUN_LIMIT, true);
    data.setInt32(CLOCK.budget, RUN_LIMIT, true);
    vcpu.stateChanged();
    const exit = vcpu.run();
    const outcome = this.outcome();
    if (exit.reason !== "halt") {
      if (exit.reason !== "budget") throw new Error(`the CPU stopped by ${exit.reason}`);
      outcome.vector = VECTOR_TIMEOUT;
    }
    memory.fill(AT.code + one.codeOffset, one.code.length, 0xcc);
    return outcome;
  }

  private load(one: MachineCase): void {
    const { vcpu, mode } = this;
    const { state } = vcpu;
    for (let register = 0; register < 16; register++) state.setGpr(register, one.gpr[register]!);
    state.eflags = one.rflags;
    state.setNumber(CPU.rip, one.codeOffset + (one.segments.cs === Ldt.code16 ? 0 : CODE_BASE));
    if (mode === 64) {
      state.setSegment(CS, SELECTORS_64.cs, 0, 0xffff_ffff, 0xa0fb);
      state.setSegment(SS, SELECTORS_64.ss, 0, 0xffff_ffff, 0xc0f3);
      for (const segment of [DS, ES]) state.setSegment(segment, 0, 0, 0, ATTR.unusable);
      state.setSegment(FS, 0, FS_BASE_64, 0, ATTR.unusable);
      state.setSegment(GS, 0, GS_BASE_64, 0, ATTR.unusable);
    } else {
      const { ds, es, fs, gs, ss, cs = Ldt.code } = one.segments;
      this.loadLdt(CS, cs);
      this.loadLdt(SS, ss);
      this.loadLdt(DS, ds);
      this.loadLdt(ES, es);
      this.loadLdt(FS, fs);
      this.loadLdt(GS, gs);
    }
    vcpu.context.setCpl(3);
    this.loadFloat(one.fx);
  }

  private loadLdt(segment: number, index: number): void {
    const { state } = this.vcpu;
    if (index === Ldt.null) {
      state.setSegment(segment, 0, 0, 0, ATTR.unusable);
      return;
    }
    const { base, limit } = LDT_SEGMENTS[index]!;
    const { high } = descriptorWords(index);
    state.setSegment(segment, ldtSelector(index), base, limit, (high >>> 8) & 0xf0ff);
  }

  /** From an FXSAVE image: SDM vol 1, table 10-2. */
  private loadFloat(fx: Uint8Array): void {
    const { state } = this.vcpu;
    const view = new DataView(fx.buffer, fx.byteOffset, 512);
    const status = view.getUint16(2, true);
    const top = (status >> 11) & 7;
    state.setU32(CPU.fpuControl, view.getUint16(0, true));
    state.setU32(CPU.fpuStatus, status & ~0x3800);
    state.setU32(CPU.fpuTop, top);
    state.setU32(CPU.fpuEmpty, ~view.getUint8(4) & 0xff);
    state.setU32(CPU.mxcsr, view.getUint32(24, true));
    for (let i = 0; i < 8; i++) {
      const physical = CPU.fpu + 16 * ((top + i) & 7);
      state.setU64(physical, view.getBigUint64(32 + 16 * i, true));
      state.setU32(physical + 8, view.getUint16(40 + 16 * i, true));
    }
    state.bytes.set(fx.subarray(160, 160 + 256), state.base + CPU.xmm);
  }

  private saveFloat(): Uint8Array {
    const { state } = this.vcpu;
    const fx = new Uint8Array(512);
    const view = new DataView(fx.buffer);
    const top = state.u32(CPU.fpuTop);
    view.setUint16(0, state.u32(CPU.fpuControl), true);
    view.setUint16(2, state.u32(CPU.fpuStatus) | (top << 11), true);
    view.setUint8(4, ~state.u32(CPU.fpuEmpty));
    view.setUint32(24, state.u32(CPU.mxcsr), true);
    for (let i = 0; i < 8; i++) {
      const physical = CPU.fpu + 16 * ((top + i) & 7);
      view.setBigUint64(32 + 16 * i, state.u64(physical), true);
      view.setUint16(40 + 16 * i, state.u32(physical + 8), true);
    }
    fx.set(state.bytes.subarray(state.base + CPU.xmm, state.base + CPU.xmm + 256), 160);
    return fx;
  }

  /** What the exception frame and the registers hold; takes the window back to its background. */
  private outcome(): Outcome {
    const { state } = this.vcpu;
    const vector = Math.floor((state.number(CPU.rip) - kernel(AT.handlers)) / HANDLER_STRIDE);
    const withError = WITH_ERROR_CODE.includes(vector);
    let frame = AT.stackTop - 40;
    const error = withError ? this.data.getUint32(frame - 8, true) : 0;
    const field = (): bigint => {
      frame += 8;
      return this.data.getBigUint64(frame - 8, true);
    };
    const rip = field();
    const cs = field();
    const rflags = Number(field());
    const rsp = field();
    const ss = field();
    const selectors =
      this.mode === 64 ? [] : [...[DS, ES, FS, GS].map((segment) => state.selector(segment)), Number(ss), Number(cs)];
    const segments = new Uint16Array(6);
    segments.set(selectors);
    const gpr = new BigUint64Array(16);
    for (let register = 0; register < 16; register++) gpr[register] = state.gpr(register);
    gpr[4] = rsp;
    return {
      vector,
      error,
      cr2: state.u64(CPU.cr2),
      rip,
      rflags,
      gpr,
      segments,
      fx: this.saveFloat(),
      changes: this.changes(),
    };
  }

  private changes(): Bytes[] {
    const { window, background } = this;
    const changes: Bytes[] = [];
    for (let page = 0; page < WINDOW_WRITABLE; page += 0x1000) {
      if ((this.memory.pageFlags[(AT.window + page) >> 12]! & PAGE_FLAG.dirty) === 0) continue;
      // Runs as the native runner makes them: within 1 KiB, over gaps of up to 4 bytes.
      for (let block = page; block < page + 0x1000; block += 1024) {
        for (let i = block; i < block + 1024; ) {
          if (window[i] === background[i]) {
            i++;
            continue;
          }
          const first = i;
          let last = i;
          for (; i < block + 1024 && i - last <= 4; i++) if (window[i] !== background[i]) last = i;
          changes.push({ offset: first, bytes: window.slice(first, last + 1) });
        }
      }
      window.set(background.subarray(page, page + 0x1000), page);
    }
    return changes;
  }
}

/** The two words of a descriptor in the local table: SDM vol 3, figure 3-8. */
function descriptorWords(index: number): { low: number; high: number } {
  const { base, limit, code, readOnly, expandDown, narrow, absent } = LDT_SEGMENTS[index]!;
  const pages = limit > 0xf_ffff;
  const value = pages ? limit >>> 12 : limit;
  const type = 1 | (readOnly ? 0 : 2) | (expandDown ? 4 : 0) | (code ? 8 : 0);
  const access = (absent ? 0x70 : 0xf0) | type;
  // AVL is set, as Linux does for a usable entry.
  const flags = 1 | (pages ? 8 : 0) | (narrow ? 0 : 4);
  const low = ((value & 0xffff) | ((base & 0xffff) << 16)) >>> 0;
  const high = ((base >>> 16) & 0xff) | (access << 8) | (value & 0xf_0000) | (flags << 20) | (base & 0xff00_0000);
  return { low, high: high >>> 0 };
}
