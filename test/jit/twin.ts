/** One vCPU in which a piece of code is run twice from the same state: interpreted, and compiled. */
import { SoftwareVcpu } from "../../src/cpu/engine.ts";
import { codeContext, type Region } from "../../src/cpu/jit/region.ts";
import { REGION } from "../../src/cpu/jit/region-builder.ts";
import type { RegionCompiler } from "../../src/cpu/jit/region-compiler.ts";
import { ATTR, CPU, CS, DS, ES, FS, GS, SS, STOP } from "../../src/cpu/state.ts";
import { softfloatWasm } from "../../src/generated/softfloat.ts";
import { type IoClient, WAIT } from "../../src/io/types.ts";
import { GuestMemory } from "../../src/memory/guest-memory.ts";
import { CLOCK, CLOCK_RATE_SHIFT, PAGE_FLAG } from "../../src/memory/layout.ts";
import { Random } from "../differential/prng.ts";

/**
 * `real`: real mode. `protected16`, `protected32`: paged, segments with bases and limits. `flat32`: paged, flat.
 * `long`: 64-bit mode.
 */
export type TwinMode = "real" | "protected16" | "protected32" | "flat32" | "long";
export const TWIN_MODES: readonly TwinMode[] = ["real", "protected16", "protected32", "flat32", "long"];

const RAM = 0x4_0000;
/** Data lies below, page tables above. */
export const CODE = 0x1_0000;
const CODE_END = 0x2_0000;
const TABLES = 0x2_0000;
/** Linear pages that lead to a device. */
const DEVICE_LINEAR = 0x3_0000;
const DEVICE_PAGES = 4;
const DEVICE_PHYSICAL = 0xf000_0000;
const SLICE = 1_000_000;

const [PRESENT, WRITE, USER, ACCESSED, DIRTY] = [1, 2, 4, 0x20, 0x40];

/** What the vCPU block holds beside architectural state. [from, to) */
const INTERNAL: readonly (readonly [number, number])[] = [
  [CPU.ripBias, CPU.startPc + 4],
  [CPU.stop, CPU.args + 32],
  [CPU.scratch, CPU.modifySize + 4],
];

export interface Outcome {
  /** STOP.none: everything retired. */
  readonly stop: number;
  readonly vector: number;
  readonly errorCode: number;
  /** Instructions and REP units. */
  readonly executed: number;
  readonly cpu: Uint8Array;
  readonly ram: Uint8Array;
  /** Accesses to devices, each with the instructions executed before it. */
  readonly accesses: readonly string[];
}

/** What a code cache needs of its vCPU. */
interface VcpuInternals {
  readonly log: { replay(): void; forget(): void };
  compiledImports(softfloat: WebAssembly.Exports): WebAssembly.Imports;
  settle(stop: number): number;
}

export class Twin {
  readonly mode: TwinMode;
  readonly vcpu: SoftwareVcpu;
  /** Device accesses from this one on ask the vCPU to leave its run loop, or wait for ring 3; -1: none. */
  interruptAt = -1;
  waitAt = -1;
  private readonly memory: GuestMemory;
  private readonly imports: WebAssembly.Imports;
  private readonly sites: number[] = [];
  private readonly internals: VcpuInternals;
  private readonly accesses: string[] = [];
  /** Random memory contents lie somewhere in it. */
  private readonly noise: Uint8Array;

  /** Guest-physical address of what lies at linear 0; not in real mode. */
  private readonly base: number;

  constructor(mode: TwinMode, base = 0) {
    this.mode = mode;
    this.base = base;
    this.memory = new GuestMemory({ ramBytes: base + RAM, extraBytes: 0 });
    const random = new Random(1);
    this.noise = Uint8Array.from({ length: 2 * CODE }, () => random.u32());
    const board = { tsc: () => 0n, apic: undefined, interrupts: { acknowledge: () => -1 } };
    this.vcpu = new SoftwareVcpu(this.memory, this.devices(), board, 0, { compile: "never" });
    this.vcpu.onException = () => true;
    const soft = new WebAssembly.Instance(new WebAssembly.Module(softfloatWasm()), {
      env: { memory: this.memory.memory },
    });
    this.internals = this.vcpu as unknown as VcpuInternals;
    this.imports = this.internals.compiledImports(soft.exports);
  }

  /** Bytes of RAM from linear 0 on. */
  get ram(): Uint8Array {
    const ram = this.memory.layout.ram + this.base;
    return this.memory.bytes.subarray(ram, ram + RAM);
  }

  private get executed(): number {
    const { data } = this.vcpu.state;
    return data.getInt32(CLOCK.sliceBudget, true) - data.getInt32(CLOCK.budget, true);
  }

  private access(text: string): boolean {
    const ordinal = this.accesses.push(`${this.executed}: ${text}`) - 1;
    if (ordinal === this.waitAt) return false;
    if (this.interruptAt >= 0 && ordinal >= this.interruptAt) this.vcpu.requestExit();
    return true;
  }

  private devices(): IoClient {
    const value = (address: number, width: number) => (Math.imul(address + 1, 0x9e37_79b1) >>> (32 - width * 8)) >>> 0;
    return {
      portRead: (port, width) => (this.access(`in ${port} ${width}`) ? value(port, width) : WAIT),
      portWrite: (port, data, width) => (this.access(`out ${port} ${width} ${data}`) ? 0 : WAIT),
      portReadString: () => 0,
      portWriteString: () => 0,
      mmioRead: (address, width, buffer) => {
        for (let i = 0; i < width; i++) buffer[i] = value(address + i, 1);
        return this.access(`read ${address} ${width}`) ? 0 : WAIT;
      },
      mmioWrite: (address, width, buffer) =>
        this.access(`write ${address} ${width} ${[...buffer.subarray(0, width)]}`) ? 0 : WAIT,
      waiting: undefined,
      clearJournal: () => undefined,
    };
  }

  // --- state ----------------------------------------------------------------------------------------------------

  /** A random state with the instruction pointer at `CODE + offset`. `user`: CPL 3. */
  randomize(random: Random, user: boolean, offset: number): void {
    const { vcpu, mode } = this;
    const { state } = vcpu;
    const noise = random.below(CODE);
    this.ram.set(this.noise.subarray(noise, noise + CODE));
    state.setU32(CPU.activity, 0);
    state.setU32(CPU.pendingDebug, 0);
    state.setU32(CPU.interruptShadow, 0);
    const paged = mode !== "real";
    // PE, MP, ET, NE; WP at random.
    state.setU64(CPU.cr0, paged ? (random.chance(0.5) ? 0x8001_0033n : 0x8000_0033n) : 0x32n);
    state.setU64(CPU.cr3, BigInt(this.base + TABLES));
    state.setU64(CPU.cr4, mode === "long" ? 0x620n : 0x600n);
    state.setU64(CPU.efer, mode === "long" ? 0xd01n : 0n);
    this.buildPageTables(random, user);
    this.buildSegments(random, user);
    vcpu.context.setCpl(user && paged ? 3 : 0);
    for (let register = 0; register < 16; register++) state.setGpr(register, this.randomRegister(random));
    // Arithmetic flags and DF; IOPL 3 lets user code at the ports.
    state.eflags = (random.u32() & 0x8d5) | (random.chance(0.3) ? 0x400 : 0) | 0x3002;
    for (let i = 0; i < 16; i++) {
      state.setU64(CPU.xmm + i * 16, random.u64());
      state.setU64(CPU.xmm + i * 16 + 8, random.u64());
    }
    for (let i = 0; i < 8; i++) {
      state.setU64(CPU.fpu + i * 16, random.u64() | (1n << 63n));
      state.setU32(CPU.fpu + i * 16 + 8, random.between(0x3ff0, 0x4010));
    }
    state.setU32(CPU.fpuControl, 0x37f);
    state.setU32(CPU.fpuStatus, 0);
    state.setU32(CPU.fpuTop, random.below(8));
    state.setU32(CPU.fpuEmpty, random.below(256));
    state.setU32(CPU.mxcsr, 0x1f80);
    state.setNumber(CPU.rip, mode === "real" || mode === "protected16" ? offset : CODE + offset);
    vcpu.stateChanged();
  }

  private randomRegister(random: Random): bigint {
    // Mostly something that addresses memory, alone or with a neighbour.
    if (random.chance(0.15)) return this.mode === "long" ? random.u64() : BigInt(random.u32());
    if (random.chance(0.15)) return BigInt(random.below(64));
    if (random.chance(0.12)) return BigInt(DEVICE_LINEAR + random.below(DEVICE_PAGES * 0x1000));
    const value = BigInt(
      random.chance(0.3) ? random.below(15) * 0x1000 + random.between(0xff0, 0x1000) : random.below(CODE),
    );
    return value;
  }

  /** Identity, with pages that are missing, read-only or the supervisor's, and a device. Accessed and dirty are set. */
  private buildPageTables(random: Random, user: boolean): void {
    const { data, layout } = this.memory;
    const { base } = this;
    const long = this.mode === "long";
    const entry = (table: number, index: number, value: number): void => {
      const at = layout.ram + base + table + index * (long ? 8 : 4);
      data.setUint32(at, value, true);
      if (long) data.setUint32(at + 4, 0, true);
    };
    const all = PRESENT | WRITE | USER | ACCESSED | DIRTY;
    const levels = long ? [TABLES, TABLES + 0x1000, TABLES + 0x2000] : [TABLES];
    const last = TABLES + (long ? 0x3000 : 0x1000);
    levels.forEach((table, level) => {
      entry(table, 0, (base + (levels[level + 1] ?? last)) | all);
    });
    for (let page = 0; page < RAM >> 12; page++) {
      let flags = all;
      const linear = page << 12;
      if (linear < CODE && random.chance(0.2)) {
        flags = random.pick([0, PRESENT | USER | ACCESSED | DIRTY, user ? all & ~USER : all]);
      }
      const device = linear >= DEVICE_LINEAR && linear < DEVICE_LINEAR + DEVICE_PAGES * 0x1000;
      entry(last, page, (device ? DEVICE_PHYSICAL + (linear - DEVICE_LINEAR) : base + linear) | flags);
    }
    this.memory.pageFlags.fill(PAGE_FLAG.dirty);
  }

  private buildSegments(random: Random, user: boolean): void {
    const { state } = this.vcpu;
    const { mode } = this;
    const dpl = user && mode !== "real" ? ATTR.dpl : 0;
    const flat = mode === "flat32" || mode === "long";
    const wide = mode === "flat32" || mode === "protected32" ? ATTR.db : 0;
    const code = flat || mode === "protected32" ? { base: 0, limit: 0xffff_ffff } : { base: CODE, limit: 0xffff };
    state.setSegment(
      CS,
      0x10 | (dpl ? 3 : 0),
      code.base,
      code.limit,
      0x9b | dpl | wide | (mode === "long" ? ATTR.l : 0),
    );
    for (const segment of [ES, SS, DS, FS, GS]) {
      // Data with room for 64 KiB, or less; some read-only or expand-down, as protected mode has them.
      const base = flat && segment < FS ? 0 : random.below(0x100) * 16;
      const odd = mode.startsWith("protected") && segment !== SS && random.chance(0.3);
      const limit = flat ? 0xffff_ffff : odd ? random.below(0x1_0000) : 0xffff;
      const type = odd ? random.pick([0x91, 0x95, 0x97]) : 0x93;
      const big = flat || (segment === SS && mode !== "real" && random.chance(0.5)) ? ATTR.db : 0;
      state.setSegment(segment, 0x20 + segment * 8, base, limit, type | dpl | big);
    }
  }

  // --- code -----------------------------------------------------------------------------------------------------

  /** Host address of the code at an offset. */
  private host(offset: number): number {
    return this.memory.layout.ram + this.base + CODE + offset;
  }

  /** The region at the instruction pointer, which lies at an offset in the code; nothing before that. */
  scan(compiler: RegionCompiler, offset: number): Region | undefined {
    const { state } = this.vcpu;
    const after = Math.min(0x1000 - (offset & 0xfff), CODE_END - CODE - offset);
    const rip = BigInt.asIntN(64, state.u64(CPU.rip));
    const place = { bytes: this.memory.bytes, host: this.host(offset), before: 0, after, rip };
    return compiler.find(place, codeContext(state));
  }

  /** Compiled regions, ready to run; those of earlier calls are not any more. */
  compile(compiler: RegionCompiler, regions: readonly Region[]): ((cpu: number) => number)[] {
    const { sites } = this.vcpu.mmu;
    sites.giveBack(this.sites.splice(0));
    const newSite = () => {
      this.sites.push(sites.take());
      return this.sites.at(-1)!;
    };
    const around = regions.map(() => ({ jumpSite: () => undefined, newSite }));
    const module = new WebAssembly.Module(compiler.compile(regions, around));
    const { exports } = new WebAssembly.Instance(module, this.imports);
    return Object.values(exports) as ((cpu: number) => number)[];
  }

  // --- running --------------------------------------------------------------------------------------------------

  save(): { readonly cpu: Uint8Array; readonly ram: Uint8Array } {
    const { state } = this.vcpu;
    return { cpu: state.bytes.slice(state.base, state.base + CPU.size), ram: this.ram.slice() };
  }

  /** `flush`: with empty TLBs; else with those of the last run, unless it has changed control registers. */
  restore({ cpu, ram }: { readonly cpu: Uint8Array; readonly ram: Uint8Array }, flush: boolean): void {
    const { state } = this.vcpu;
    const control = (bytes: Uint8Array, base: number) => bytes.slice(base + CPU.cr0, base + CPU.dr);
    const changed = !sameBytes(control(state.bytes, state.base), control(cpu, 0));
    state.bytes.set(cpu, state.base);
    this.ram.set(ram);
    if (flush || changed) this.vcpu.stateChanged();
    this.accesses.length = 0;
  }

  /** Takes the state of another, whose memory is elsewhere and has been filled alike. */
  follow({ vcpu: { state }, base, interruptAt, waitAt }: Twin): void {
    const cpu = state.bytes.slice(state.base, state.base + CPU.size);
    new DataView(cpu.buffer).setUint32(CPU.cr3, state.u32(CPU.cr3) - base + this.base, true);
    this.restore({ cpu, ram: this.ram.slice() }, true);
    this.interruptAt = interruptAt;
    this.waitAt = waitAt;
  }

  setBudget(budget: number): void {
    const { data } = this.vcpu.state;
    data.setInt32(CLOCK.rate, 1 << CLOCK_RATE_SHIFT, true);
    data.setInt32(CLOCK.sliceBudget, budget, true);
    data.setInt32(CLOCK.budget, budget, true);
  }

  compiled(block: (cpu: number) => number, budget = SLICE): Outcome | undefined {
    const { state } = this.vcpu;
    this.setBudget(budget);
    const result = block(state.base);
    if (result === REGION.declined) return undefined;
    if (result === REGION.abandoned && state.u32(CPU.stop) === STOP.redo) return this.redo();
    return this.outcome(this.internals.settle(result === REGION.abandoned ? state.u32(CPU.stop) : STOP.none));
  }

  /** As the run loop does: the interpreter takes the instruction. */
  private redo(): Outcome {
    const { data } = this.vcpu.state;
    const others = data.getInt32(CLOCK.budget, true) - 1;
    for (const field of [CLOCK.budget, CLOCK.sliceBudget])
      data.setInt32(field, data.getInt32(field, true) - others, true);
    // `run` forgets what it does not know of.
    const { log } = this.internals;
    const forget = Object.getPrototypeOf(log).forget;
    Object.assign(log, { forget: () => {} });
    log.replay();
    const exit = this.runVcpu();
    Object.assign(log, { forget });
    log.forget();
    return exit;
  }

  private runVcpu(): Outcome {
    const exit = this.vcpu.run();
    return this.outcome(exit.reason === "exception" ? STOP.fault : exit.reason === "wait" ? STOP.wait : STOP.none);
  }

  /** As many instructions as `like` did. */
  interpreted(like: Outcome): Outcome {
    this.setBudget(like.executed + (like.stop === STOP.none ? 0 : 1));
    return this.runVcpu();
  }

  private outcome(stop: number): Outcome {
    const { state } = this.vcpu;
    const { cpu, ram } = this.save();
    for (const [from, to] of INTERNAL) cpu.fill(0, from, to);
    // As if memory lay at 0.
    const data = new DataView(cpu.buffer);
    data.setUint32(CPU.cr3, state.u32(CPU.cr3) - this.base, true);
    data.setUint32(CPU.tlbBase, state.u32(CPU.tlbBase) - this.memory.layout.tlb, true);
    return {
      stop,
      vector: stop === STOP.fault ? state.u32(CPU.vector) : 0,
      errorCode: stop === STOP.fault ? state.u32(CPU.errorCode) | 0 : 0,
      executed: this.executed,
      cpu,
      ram,
      accesses: [...this.accesses],
    };
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

/** Differences in words; empty when the outcomes agree. */
export function differences(interpreted: Outcome, compiled: Outcome): string[] {
  const found: string[] = [];
  const check = (name: string, a: unknown, b: unknown): void => {
    if (a !== b) found.push(`${name}: interpreted ${a}, compiled ${b}`);
  };
  for (const field of ["stop", "vector", "errorCode", "executed"] as const)
    check(field, interpreted[field], compiled[field]);
  check("accesses", interpreted.accesses.join("\n"), compiled.accesses.join("\n"));
  if (!sameBytes(interpreted.cpu, compiled.cpu)) {
    const views = [interpreted.cpu, compiled.cpu].map((bytes) => new DataView(bytes.buffer)) as [DataView, DataView];
    for (let at = 0; at < CPU.size; at += 8) {
      const [a, b] = views.map((view) => view.getBigUint64(at, true)) as [bigint, bigint];
      check(`CPU + ${at}`, a.toString(16), b.toString(16));
    }
  }
  if (!sameBytes(interpreted.ram, compiled.ram)) {
    const at = interpreted.ram.findIndex((byte, i) => byte !== compiled.ram[i]);
    check(`[${at.toString(16)}]`, interpreted.ram[at], compiled.ram[at]);
  }
  return found;
}
