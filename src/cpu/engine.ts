import type { FunctionBuilder } from "../emit/index.ts";
import type { IoPath } from "../exits/exit-work.ts";
import { type HypercallServices, Hypercalls } from "../exits/hypercalls.ts";
import { IoMonitor } from "../exits/io-monitor.ts";
import { interpreterWasm } from "../generated/interpreter.ts";
import { softfloatWasm } from "../generated/softfloat.ts";
import type { ApicBus, CpuPins, InterruptAcknowledge, IoClient } from "../io/types.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { CLOCK } from "../memory/layout.ts";
import { CodeFetch } from "./code-fetch.ts";
import { Decoder } from "./decode/decoder.ts";
import type { DEVICE_IMPORTS } from "./interp/imports.ts";
import { softfloatTypes } from "./interp/softfloat-imports.ts";
import { instructionForms } from "./isa/index.ts";
import { FPU_STATUS } from "./isa/x87-status.ts";
import { CodeCache } from "./jit/code-cache.ts";
import { coldModule } from "./jit/cold-paths.ts";
import { RegionCompiler } from "./jit/region-compiler.ts";
import { AccessLog } from "./mmu/access-log.ts";
import { Breakpoints } from "./mmu/breakpoints.ts";
import { Mmu } from "./mmu/mmu.ts";
import { SlowPaths } from "./slow-paths.ts";
import { CPU, CS, EVENT, FLAG, FLOAT_ERROR, ONCE, STOP, VECTOR } from "./state.ts";
import { SystemContext } from "./system/context.ts";
import { deliver, type Interruption, type Source } from "./system/delivery.ts";
import { SoftwareExitCpu } from "./system/exit-cpu.ts";
import { deviceImports } from "./system/port-access.ts";
import { resetVcpu } from "./system/reset.ts";
import { ABANDON, VcpuState } from "./vcpu-state.ts";

/** Why a vCPU came back to the monitor. */
export type VcpuExit =
  /** The budget is used up, or something asked for attention. */
  | { readonly reason: "budget" }
  /** HLT: nothing to do until an interrupt. */
  | { readonly reason: "halt" }
  /** A ring-3 access is pending: run again when the promise has settled. */
  | { readonly reason: "wait"; readonly until: Promise<void> }
  /** Triple fault. */
  | { readonly reason: "shutdown" }
  /** A machine without a debugger hook never sees this: an exception that `onException` claimed. */
  | { readonly reason: "exception"; readonly vector: number; readonly errorCode: number };

const BUDGET: VcpuExit = { reason: "budget" };
const HALT: VcpuExit = { reason: "halt" };
const SHUTDOWN: VcpuExit = { reason: "shutdown" };

/** What a machine gives a vCPU. */
export interface VcpuBoard {
  /** Time stamp counter in ticks of 1 GHz. */
  tsc(): bigint;
  readonly apic: ApicBus | undefined;
  readonly interrupts: InterruptAcknowledge;
  /** FERR# is asserted: an x87 error with CR0.NE = 0. */
  floatError?(): void;
}

/** Compiled once for each process: modules hold no state. */
let modules: { interpreter: WebAssembly.Module; softfloat: WebAssembly.Module } | undefined;

function loadModules() {
  modules ??= {
    interpreter: new WebAssembly.Module(interpreterWasm()),
    softfloat: new WebAssembly.Module(softfloatWasm()),
  };
  return modules;
}

/** Made when the first instruction must be measured: the tables cost milliseconds. */
let decoder: Decoder | undefined;

function instructionDecoder(): Decoder {
  decoder ??= new Decoder(instructionForms());
  return decoder;
}

/** Made with the first code cache that needs it. */
let compiler: RegionCompiler | undefined;

function regionCompiler(): RegionCompiler {
  compiler ??= new RegionCompiler(instructionForms(), { softfloat: softfloatTypes });
  return compiler;
}

let coldPaths: WebAssembly.Module | undefined;

type Run = (cpu: number) => number;

/** How guest code is run. */
export interface VcpuOptions {
  /**
   * "auto": code that is reached often is compiled. "always": all code that can be, at once. "never": the interpreter
   * runs everything.
   */
  readonly compile?: "auto" | "always" | "never";
  /** How port instructions reach their devices, see `IoMonitor`. Default "direct": without leaving the guest. */
  readonly ioPath?: IoPath;
  /** What hypercalls reach; without it there are none. */
  readonly hypercalls?: HypercallServices;
}

/**
 * Times that a place is reached before it is compiled: by then the interpreter has spent about as much on it as compiling
 * costs (30 us an instruction here, and V8's threads twice as much; some 5 ns are saved each time). A Linux boot takes
 * 5.3 s of CPU time with 20,000 or 30,000, 5.7 with 12,000, which compiles a third more.
 */
const HOT_THRESHOLD = 20_000;
const NEVER_HOT = 0x7fff_ffff;

/** One vCPU of the software engine: the generated interpreter, its slow paths, and what happens between instructions. */
export class SoftwareVcpu implements CpuPins {
  readonly state: VcpuState;
  readonly mmu: Mmu;
  readonly breakpoints: Breakpoints;
  readonly context: SystemContext;
  /**
   * Given an exception before it is delivered; true: `run` returns it instead. For debuggers and tests.
   */
  onException: ((vector: number, errorCode: number) => boolean) | undefined;
  private readonly io: IoClient & { readonly commitPending?: boolean; flushCommits?(): number };
  private readonly board: VcpuBoard;
  private readonly run64: Run;
  private readonly runLegacy: Run;
  /** Compiled code imports from it, too. */
  private readonly interpreter: WebAssembly.Exports;
  /** Compiled code, unless it is turned off. */
  readonly code: CodeCache | undefined;
  private cold: WebAssembly.Exports | undefined;
  private readonly log = new AccessLog((replaying) => this.state.setU32(CPU.replaying, replaying ? 1 : 0));
  private readonly memory: GuestMemory;
  private readonly slowPaths: SlowPaths;
  /** An interruption whose delivery waits for a ring-3 access. */
  private delivering: Interruption | undefined;

  constructor(memory: GuestMemory, io: IoClient, board: VcpuBoard, index = 0, options: VcpuOptions = {}) {
    const { interpreter, softfloat } = loadModules();
    this.memory = memory;
    this.io = io;
    this.board = board;
    this.state = new VcpuState(memory.memory, index);
    this.breakpoints = new Breakpoints(this.state);
    this.mmu = new Mmu(this.state, memory, io, this.breakpoints, index);
    this.context = new SystemContext(this.state, this.mmu, memory, io, this.breakpoints, board);
    const { context, state } = this;
    context.exitCpu = new SoftwareExitCpu(context, (bytes, available, into) =>
      instructionDecoder().decode(bytes, available, state.is64, state.initialPrefixes, 0, into),
    );
    context.monitor = new IoMonitor(context.exitCpu);
    if (options.hypercalls !== undefined) {
      context.hypercalls = new Hypercalls(context.exitCpu, context.monitor.work.hypercall, options.hypercalls);
      context.hypercalls.onFailure = (failure) => context.monitor.onFailure(failure);
    }
    context.ioPath = options.ioPath ?? "direct";
    state.setU32(CPU.ioExits, context.ioPath === "direct" ? 0 : 1);
    this.breakpoints.onMatch = () => this.requestCheck();
    const fetch = new CodeFetch(state, this.mmu, memory, instructionDecoder);
    this.mmu.usesStackSegment = (linear) => fetch.usesStack(linear);
    this.slowPaths = new SlowPaths(context, fetch, this.log, (fault) => {
      this.delivering = fault;
    });
    const logged = this.slowPaths.logged();
    const devices = {
      ...deviceImports(this.mmu, this.context),
      loggedRead: logged.slowRead,
      loggedWrite: logged.slowWrite,
      logAccess: logged.logAccess,
    } satisfies Record<keyof typeof DEVICE_IMPORTS, CallableFunction>;
    const env = { memory: memory.memory, ...this.slowPaths.imports(), ...devices } as WebAssembly.ModuleImports;
    const soft = new WebAssembly.Instance(softfloat, { env: { memory: memory.memory } });
    const instance = new WebAssembly.Instance(interpreter, { env, softfloat: soft.exports });
    this.run64 = instance.exports.run64 as Run;
    this.runLegacy = instance.exports.runLegacy as Run;
    this.interpreter = instance.exports;
    this.code = this.codeCache(options.compile ?? "auto", soft.exports);
    if (this.code === undefined) this.state.setU32(CPU.hotThreshold, NEVER_HOT);
    this.context.gate = instance.exports.deliver as SystemContext["gate"];
    this.reset();
  }

  private codeCache(compile: "auto" | "always" | "never", softfloat: WebAssembly.Exports): CodeCache | undefined {
    if (compile === "never") return undefined;
    const { mmu, memory, interpreter } = this;
    const imports = () => this.compiledImports(softfloat);
    const code = new CodeCache(
      this.state,
      memory,
      {
        interpreter,
        imports,
        compiler: regionCompiler,
        fetchCode: () => Math.max(0, mmu.codePage(this.state.number(CPU.rip))),
        redo: () => this.log.replay(),
        sites: mmu.sites,
        raw: this.io.raw,
      },
      { threshold: compile === "always" ? 0 : HOT_THRESHOLD },
    );
    code.onCodePage = (physical) => mmu.invalidatePhysical(physical);
    mmu.onCodeWrite = (physical, bytes) => code.changed(physical, bytes);
    mmu.onFlush = () => code.translationsChanged();
    memory.listen({
      flush: () => code.translationsChanged(),
      written: (gpa, length) => {
        // What runs now may be what changed.
        if (code.changed(gpa, length)) this.requestCheck();
      },
    });
    return code;
  }

  /** Power-up and RESET# state, SDM vol 3, table 9-1. */
  reset(): void {
    resetVcpu(this.context);
    this.code?.reset();
    this.delivering = undefined;
  }

  /** After state was written from outside (boot protocols, snapshots): rebuilds what is derived. */
  stateChanged(): void {
    this.delivering = undefined;
    this.code?.forgetContext();
    this.context.updateMode();
    this.mmu.updatePaging();
    this.mmu.updatePrivilege();
    this.breakpoints.update();
    this.mmu.flushAll();
  }

  get monitor(): IoMonitor {
    return this.context.monitor;
  }

  // --- pins -----------------------------------------------------------------------------------------------------

  intr(asserted: boolean): void {
    this.state.setU32(CPU.intr, asserted ? 1 : 0);
    if (asserted && this.state.u32(CPU.eflags) & FLAG.if) this.requestCheck();
  }

  nmi(): void {
    this.raise(EVENT.nmi);
  }

  init(): void {
    this.raise(EVENT.init);
  }

  startup(page: number): void {
    this.state.setU32(CPU.startupPage, page);
    this.raise(EVENT.startup);
  }

  /** IGNNE#: the x87 error that stands is to be ignored. */
  ignoreFloatError(): void {
    const { state } = this;
    state.setU32(CPU.fpuIgnored, state.u32(CPU.fpuStatus) & FPU_STATUS.summary);
  }

  private raise(event: number): void {
    this.state.setU32(CPU.pendingEvents, this.state.u32(CPU.pendingEvents) | event);
    this.requestCheck();
  }

  /** Ends `run` at the next instruction boundary. Time does not change: only the grant shrinks. */
  requestExit(): void {
    this.limitBudget(0);
  }

  /** Has `run` look at what is pending before the next instruction; it goes on afterwards. */
  requestCheck(): void {
    this.reserve += this.cutBudget(0);
  }

  /** Cuts the rest of the slice to `instructions`. */
  limitBudget(instructions: number): void {
    this.reserve = Math.min(this.reserve, Math.max(0, instructions - this.budget));
    this.cutBudget(instructions);
  }

  /** INTR rises, in emitted code. */
  readonly emitInterrupt = (b: FunctionBuilder): void => {
    const zero = b.i32(0);
    const { base } = this.state;
    const clock = (field: number) => b.load("i32", 4, zero, field);
    b.store(4, zero, b.i32(1), base + CPU.intr);
    b.if(b.and(b.load("i32", 4, zero, base + CPU.eflags), FLAG.if), () => {
      const budget = b.let(clock(CLOCK.budget));
      b.if(b.gtS(budget, 0), () => {
        b.store(4, zero, b.sub(clock(CLOCK.sliceBudget), budget), CLOCK.sliceBudget);
        b.store(4, zero, b.add(clock(CLOCK.reserve), budget), CLOCK.reserve);
        b.store(4, zero, b.i32(0), CLOCK.budget);
      });
    });
  };

  private get budget(): number {
    return this.state.memoryWords[CLOCK.budget >> 2]!;
  }

  /** Budget that was put aside, for a single step or a check; part of the slice as much as the budget is. */
  private get reserve(): number {
    return this.state.memoryWords[CLOCK.reserve >> 2]!;
  }
  private set reserve(instructions: number) {
    this.state.memoryWords[CLOCK.reserve >> 2] = instructions;
  }

  /** Returns by how much. */
  private cutBudget(instructions: number): number {
    const cut = Math.max(0, this.budget - instructions);
    this.grant(-cut);
    return cut;
  }

  private grant(instructions: number): void {
    const { memoryWords } = this.state;
    memoryWords[CLOCK.budget >> 2]! += instructions;
    memoryWords[CLOCK.sliceBudget >> 2]! += instructions;
  }

  // --- running --------------------------------------------------------------------------------------------------

  /** Runs until the budget in the clock block is used up or something needs the monitor. */
  run(): VcpuExit {
    const { state } = this;
    this.reserve = 0;
    this.log.forget();
    this.mmu.journal.resume();
    this.code?.beginSlice();
    for (;;) {
      const waiting = this.finishPending();
      if (waiting !== undefined) return waiting;
      const activity = state.u32(CPU.activity);
      if (activity === 2) return SHUTDOWN;
      if (activity !== 0) return HALT;
      if (this.budget <= 0) this.giveBack();
      if (this.budget <= 0) return BUDGET;
      const exit = this.mustStep() ? this.step() : this.handle(this.execute());
      if (exit !== undefined) return exit;
    }
  }

  private execute(): number {
    return this.settle(this.enter());
  }

  /** Generated code came back: what holds for one instruction only (see `CPU.once`). */
  private settle(stop: number): number {
    const { state } = this;
    const once = state.u32(CPU.once);
    // An access that waits leaves it at that.
    if (stop !== STOP.wait) state.setU32(CPU.insideRepeat, 0);
    if (once !== 0) {
      state.setU32(CPU.once, 0);
      if (stop !== STOP.fault && this.budget === state.u32(CPU.onceBudget)) {
        if (once & ONCE.repeat) state.setU32(CPU.insideRepeat, 1);
        if (once & ONCE.shadow) state.setU32(CPU.interruptShadow, 1);
        if (once & ONCE.resume) state.setU32(CPU.eflags, state.u32(CPU.eflags) | FLAG.rf);
      }
    }
    return stop;
  }

  private enter(): number {
    return this.code ? this.code.run(this.state.base) : this.interpret();
  }

  private interpret(): number {
    this.state.setU32(CPU.compiled, 0);
    return this.state.is64 ? this.run64(this.state.base) : this.runLegacy(this.state.base);
  }

  /** Pending commits, deliveries that were interrupted, traps and interrupts, in the order of SDM vol 3, table 6-2. */
  private finishPending(): VcpuExit | undefined {
    const { state, io } = this;
    if (io.commitPending && io.flushCommits?.() !== 0) return this.waitExit();
    const { delivering } = this;
    if (delivering !== undefined) return this.deliver(delivering.vector, delivering.errorCode, delivering.source);
    if (state.u32(CPU.pendingDebug) !== 0) {
      const exit = this.debugTrap();
      if (exit !== undefined) return exit;
    }
    const events = state.u32(CPU.pendingEvents);
    if (events & (EVENT.init | EVENT.startup)) this.initOrStartup(events);
    const shadow = state.u32(CPU.interruptShadow);
    if (shadow === 0 && (events & (EVENT.nmi | EVENT.nmiBlocked)) === EVENT.nmi && state.u32(CPU.activity) < 2) {
      state.setU32(CPU.pendingEvents, (events & ~EVENT.nmi) | EVENT.nmiBlocked);
      state.setU32(CPU.activity, 0);
      return this.deliver(VECTOR.nmi, -1, "external");
    }
    const interruptible = shadow === 0 && (state.u32(CPU.eflags) & FLAG.if) !== 0;
    if (interruptible && state.u32(CPU.intr) !== 0 && state.u32(CPU.activity) < 2) {
      const vector = this.board.interrupts.acknowledge();
      if (vector >= 0) {
        state.setU32(CPU.activity, 0);
        return this.deliver(vector, -1, "external");
      }
    }
    return undefined;
  }

  private initOrStartup(events: number): void {
    const { state } = this;
    if (events & EVENT.init) {
      resetVcpu(this.context, true);
      return;
    }
    state.setU32(CPU.pendingEvents, events & ~EVENT.startup);
    if (state.u32(CPU.activity) !== 3) return;
    const page = state.u32(CPU.startupPage);
    state.setSegment(CS, page << 8, page << 12, 0xffff, 0x9b);
    state.setNumber(CPU.rip, 0);
    state.setU32(CPU.activity, 0);
    this.context.updateMode();
  }

  /** Delivers; a defined result leaves `run`. */
  private deliver(vector: number, errorCode: number, source: Source): VcpuExit | undefined {
    try {
      this.delivering = undefined;
      this.mmu.delivering = true;
      if (deliver(this.context, vector, errorCode, source)) {
        // A delivery takes time like an instruction: handlers that fault on and on must not hold the host.
        this.context.retireUnits(1);
        this.state.setU32(CPU.insideRepeat, 0);
        return undefined;
      }
    } catch (thrown) {
      if (thrown !== ABANDON) throw thrown;
      this.delivering = { vector, errorCode, source };
      this.mmu.abandonWatched();
      return this.waitExit();
    } finally {
      this.mmu.delivering = false;
    }
    this.state.setU32(CPU.activity, 2);
    return SHUTDOWN;
  }

  private waitExit(): VcpuExit {
    return { reason: "wait", until: this.io.waiting ?? Promise.resolve() };
  }

  /** What the interpreter came back with; a defined result leaves `run`. */
  private handle(stop: number): VcpuExit | undefined {
    const { state } = this;
    switch (stop) {
      case STOP.fault: {
        const vector = state.u32(CPU.vector);
        const errorCode = state.u32(CPU.errorCode) | 0;
        // The instruction is over: what it had read from devices is not what its handler will read.
        this.io.clearJournal();
        this.log.forget();
        this.mmu.journal.forget();
        if (vector === FLOAT_ERROR) return this.floatError();
        if (this.onException?.(vector, errorCode)) return { reason: "exception", vector, errorCode };
        // What a faulting instruction had matched is dropped with it.
        state.setU32(CPU.pendingDebug, 0);
        return this.deliver(vector, errorCode, "fault");
      }
      case STOP.wait:
        this.mmu.abandonWatched();
        return this.waitExit();
      default:
        return undefined;
    }
  }

  /** The instruction is not over: the processor stands still before it. SDM vol 1, D.2.1.3. */
  private floatError(): undefined {
    this.state.setU32(CPU.activity, 1);
    this.board.floatError?.();
  }

  private mustStep(): boolean {
    const { state } = this;
    return (
      (state.u32(CPU.eflags) & (FLAG.tf | FLAG.rf)) !== 0 ||
      state.u32(CPU.interruptShadow) !== 0 ||
      this.breakpoints.anyExecute
    );
  }

  /** One instruction, with what only single steps can see: TF, instruction breakpoints, RF and the interrupt shadow. */
  private step(): VcpuExit | undefined {
    const { state } = this;
    const flags = state.u32(CPU.eflags);
    const shadow = state.u32(CPU.interruptShadow);
    if (this.breakpoints.anyExecute && !(flags & FLAG.rf) && (shadow & 2) === 0) {
      const linear = state.number(CPU.rip) + (state.is64 ? 0 : state.segmentBase(CS));
      const hits = this.breakpoints.execute(state.is64 ? linear : linear >>> 0);
      if (hits !== 0) {
        this.setDr6(hits);
        return this.breakpoint();
      }
    }
    state.setU32(CPU.interruptShadow, 0);
    // RF covers this instruction; IRET may set it for the next one.
    if (flags & FLAG.rf) state.setU32(CPU.eflags, state.u32(CPU.eflags) & ~FLAG.rf);
    this.reserve = this.cutBudget(1);
    this.context.interrupted = false;
    const stop = this.settle(this.interpret());
    this.giveBack();
    if (stop === STOP.fault || stop === STOP.wait) {
      if (stop === STOP.wait) {
        state.setU32(CPU.interruptShadow, shadow);
        state.setU32(CPU.eflags, state.u32(CPU.eflags) | (flags & FLAG.rf));
      }
      return this.handle(stop);
    }
    if (flags & FLAG.rf && state.u32(CPU.insideRepeat) !== 0) state.setU32(CPU.eflags, state.u32(CPU.eflags) | FLAG.rf);
    // MOV SS holds the trap back until after the next instruction (SDM vol 3, 6.8.3).
    // INT n, INT3, INTO and INT1 have cleared TF: their handler is not trapped into (SDM vol 3, 17.3.1.4).
    if (flags & FLAG.tf && state.u32(CPU.interruptShadow) !== 2 && !this.context.interrupted) {
      state.setU32(CPU.pendingDebug, (state.u32(CPU.pendingDebug) | 0x4000) >>> 0);
    }
    return this.handle(stop);
  }

  private giveBack(): void {
    const { reserve } = this;
    this.reserve = 0;
    this.grant(reserve);
  }

  private breakpoint(): VcpuExit | undefined {
    if (this.onException?.(VECTOR.db, -1)) return { reason: "exception", vector: VECTOR.db, errorCode: -1 };
    return this.deliver(VECTOR.db, -1, "breakpoint");
  }

  /** DR6: B0-B3 are replaced, BS, BT and BD stay until software clears them; DR7.GD is cleared. */
  private setDr6(bits: number): void {
    const { state } = this;
    state.setU32(CPU.dr + 48, ((state.u32(CPU.dr + 48) & ~0xf) | bits | 0xffff_0ff0) >>> 0);
    state.setU32(CPU.dr + 56, (state.u32(CPU.dr + 56) & ~(1 << 13)) >>> 0);
  }

  private debugTrap(): VcpuExit | undefined {
    const { state } = this;
    if (state.u32(CPU.interruptShadow) & 2) return undefined;
    const bits = state.u32(CPU.pendingDebug);
    state.setU32(CPU.pendingDebug, 0);
    this.setDr6(bits);
    if (this.onException?.(VECTOR.db, -1)) return { reason: "exception", vector: VECTOR.db, errorCode: -1 };
    state.setU32(CPU.activity, 0);
    return this.deliver(VECTOR.db, -1, "trap");
  }

  // --- compiled code -------------------------------------------------------------------------------------------

  /** What compiled modules import; made when the first one is. */
  private compiledImports(softfloat: WebAssembly.Exports): WebAssembly.Imports {
    const { memory } = this.memory;
    const interpreter = this.interpreter as WebAssembly.ModuleImports;
    if (this.cold === undefined) {
      const { portIn, portOut, compiledRead: slowRead, compiledWrite: slowWrite } = this.interpreter;
      const { slowModify, slowProve } = this.slowPaths.logged();
      const ways = { slowRead, slowWrite, slowModify, slowProve, portIn, portOut };
      const env = { memory, ...this.slowPaths.imports(), ...ways } as WebAssembly.ModuleImports;
      coldPaths ??= new WebAssembly.Module(coldModule());
      this.cold = new WebAssembly.Instance(coldPaths, { env, interpreter }).exports;
    }
    const cold = this.cold as WebAssembly.ModuleImports;
    return { env: { memory }, interpreter, softfloat: softfloat as WebAssembly.ModuleImports, cold };
  }
}
