import type { IoPath } from "../exits/exit-work.ts";
import { type HypercallServices, Hypercalls } from "../exits/hypercalls.ts";
import { IoMonitor } from "../exits/io-monitor.ts";
import { interpreterWasm } from "../generated/interpreter.ts";
import { softfloatWasm } from "../generated/softfloat.ts";
import type { ApicBus, CpuPins, InterruptAcknowledge, IoClient } from "../io/types.ts";
import type { GuestMemory } from "../memory/guest-memory.ts";
import { CLOCK, PAGE_SIZE } from "../memory/layout.ts";
import { Decoder, MAX_LENGTH } from "./decode/decoder.ts";
import { type DEVICE_IMPORTS, RESULT } from "./interp/imports.ts";
import { softfloatTypes } from "./interp/softfloat-imports.ts";
import { instructionForms } from "./isa/index.ts";
import { FPU_STATUS } from "./isa/x87-status.ts";
import { CodeCache } from "./jit/code-cache.ts";
import { coldModule } from "./jit/cold-paths.ts";
import { RegionCompiler } from "./jit/region-compiler.ts";
import { AccessLog, LOGGED } from "./mmu/access-log.ts";
import { Breakpoints } from "./mmu/breakpoints.ts";
import { Mmu } from "./mmu/mmu.ts";
import { PageEndCode } from "./mmu/page-end-code.ts";
import { CPU, CS, EVENT, FLAG, FLOAT_ERROR, ONCE, RSP, STOP, VECTOR } from "./state.ts";
import { SystemContext } from "./system/context.ts";
import { deliver, type Interruption, isInsideRepeat, type Source } from "./system/delivery.ts";
import { SoftwareExitCpu } from "./system/exit-cpu.ts";
import { OPERATION_TABLE } from "./system/operations.ts";
import { deviceImports, portRead, portWrite } from "./system/port-access.ts";
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

const TWO_32 = 0x1_0000_0000;
/** Canonical, with room for any instruction. */
const CANONICAL_FAR = 2 ** 47 - PAGE_SIZE;
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

/** Times that a place is reached before it is compiled. */
const HOT_THRESHOLD = 2000;
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
  private readonly pageEndCode: PageEndCode;
  private readonly log = new AccessLog((replaying) => this.state.setU32(CPU.replaying, replaying ? 1 : 0));
  private readonly memory: GuestMemory;
  private readonly fetchBuffer: Uint8Array;
  /** An interruption whose delivery waits for a ring-3 access. */
  private delivering: Interruption | undefined;
  /** Budget that a single step has put aside; part of the slice as much as the budget is. */
  private reserve = 0;

  constructor(memory: GuestMemory, io: IoClient, board: VcpuBoard, index = 0, options: VcpuOptions = {}) {
    const { interpreter, softfloat } = loadModules();
    this.memory = memory;
    this.pageEndCode = new PageEndCode(memory.bytes);
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
    this.breakpoints.onMatch = () => this.requestExit();
    this.mmu.usesStackSegment = (linear) => this.usesStack(linear);
    const fetchAt = this.state.base + CPU.fetchScratch;
    this.fetchBuffer = memory.bytes.subarray(fetchAt, fetchAt + MAX_LENGTH);
    const logged = this.loggedImports();
    const devices = {
      ...deviceImports(this.mmu, this.context),
      loggedRead: logged.slowRead,
      loggedWrite: logged.slowWrite,
      logAccess: logged.logAccess,
    } satisfies Record<keyof typeof DEVICE_IMPORTS, CallableFunction>;
    const env = { memory: memory.memory, ...this.imports(), ...devices } as WebAssembly.ModuleImports;
    const soft = new WebAssembly.Instance(softfloat, { env: { memory: memory.memory } });
    const instance = new WebAssembly.Instance(interpreter, { env, softfloat: soft.exports });
    this.run64 = instance.exports.run64 as Run;
    this.runLegacy = instance.exports.runLegacy as Run;
    this.interpreter = instance.exports;
    this.code = this.codeCache(options.compile ?? "auto", soft.exports);
    this.state.setU32(CPU.hotThreshold, NEVER_HOT);
    this.code?.reset();
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
        inlinePort: this.io.raw && ((port, width, write) => this.io.raw?.inlinePort(port, width, write)),
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
        if (code.changed(gpa, length)) this.requestExit();
      },
    });
    return code;
  }

  /** Power-up and RESET# state, SDM vol 3, table 9-1. */
  reset(): void {
    resetVcpu(this.context);
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
    if (asserted && this.state.u32(CPU.eflags) & FLAG.if) this.requestExit();
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
    this.requestExit();
  }

  /** Leaves the run loop at the next instruction boundary. Time does not change: only the grant shrinks. */
  requestExit(): void {
    this.limitBudget(0);
  }

  /** Cuts the rest of the slice to `instructions`; returns by how much. */
  limitBudget(instructions: number): number {
    const { data } = this.state;
    const budget = data.getInt32(CLOCK.budget, true);
    this.reserve = Math.min(this.reserve, Math.max(0, instructions - budget));
    const cut = budget - instructions;
    if (cut <= 0) return 0;
    data.setInt32(CLOCK.budget, instructions, true);
    data.setInt32(CLOCK.sliceBudget, data.getInt32(CLOCK.sliceBudget, true) - cut, true);
    return cut;
  }

  // --- running --------------------------------------------------------------------------------------------------

  /** Runs until the budget in the clock block is used up or something needs the monitor. */
  run(): VcpuExit {
    const { state } = this;
    this.log.forget();
    this.mmu.journal.resume();
    this.code?.beginSlice();
    for (;;) {
      const waiting = this.finishPending();
      if (waiting !== undefined) return waiting;
      const activity = state.u32(CPU.activity);
      if (activity === 2) return SHUTDOWN;
      if (activity !== 0) return HALT;
      if (state.data.getInt32(CLOCK.budget, true) <= 0) return BUDGET;
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
    if (once !== 0) {
      state.setU32(CPU.once, 0);
      if (stop !== STOP.fault && state.data.getInt32(CLOCK.budget, true) === state.u32(CPU.onceBudget)) {
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
    this.reserve = this.limitBudget(1);
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
    if (flags & FLAG.rf && isInsideRepeat(this.context)) state.setU32(CPU.eflags, state.u32(CPU.eflags) | FLAG.rf);
    // MOV SS holds the trap back until after the next instruction (SDM vol 3, 6.8.3).
    // INT n, INT3, INTO and INT1 have cleared TF: their handler is not trapped into (SDM vol 3, 17.3.1.4).
    if (flags & FLAG.tf && state.u32(CPU.interruptShadow) !== 2 && !this.context.interrupted) {
      state.setU32(CPU.pendingDebug, (state.u32(CPU.pendingDebug) | 0x4000) >>> 0);
    }
    return this.handle(stop);
  }

  private giveBack(): void {
    const { data } = this.state;
    const { reserve } = this;
    this.reserve = 0;
    data.setInt32(CLOCK.budget, data.getInt32(CLOCK.budget, true) + reserve, true);
    data.setInt32(CLOCK.sliceBudget, data.getInt32(CLOCK.sliceBudget, true) + reserve, true);
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

  // --- slow paths of generated code -------------------------------------------------------------------------------

  private imports(): Record<string, CallableFunction> {
    const { mmu, state, context, log } = this;
    const scratchAt = state.base + CPU.scratch;
    const scratch = this.memory.bytes.subarray(scratchAt, scratchAt + 64);
    const linear = (low: number, high: number) => (state.is64 ? high : 0) * TWO_32 + (low >>> 0);
    return {
      slowRead: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        return log.replaying && log.answers(LOGGED.read | bytes, at, scratch.subarray(0, bytes))
          ? scratchAt
          : mmu.slowRead(at, bytes);
      },
      slowWrite: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        return log.replaying && log.answers(LOGGED.write | bytes, at, scratch.subarray(0, bytes))
          ? 1
          : mmu.slowWrite(at, bytes);
      },
      slowModify: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        return log.replaying && log.answers(LOGGED.modify | bytes, at, scratch.subarray(0, bytes))
          ? mmu.beginModify(at, bytes)
          : mmu.slowModify(at, bytes);
      },
      slowProve: (_: number, low: number, high: number, bytes: number) => mmu.slowProve(linear(low, high), bytes),
      commitModify: () => mmu.commitModify(),
      slowFetch: () => this.slowFetch(),
      checkLength: () => this.checkLength(),
      system: (_: number, operation: number, px: number) => {
        try {
          return OPERATION_TABLE[operation]!(context, px);
        } catch (thrown) {
          if (thrown !== ABANDON) throw thrown;
          return context.taskSwitched ? this.faultOfNewTask() : RESULT.abandoned;
        }
      },
      portIn: (_: number, port: number, bytes: number) => {
        try {
          return portRead(context, port & 0xffff, bytes);
        } catch (thrown) {
          if (thrown !== ABANDON) throw thrown;
          return 0;
        }
      },
      portOut: (_: number, port: number, bytes: number, value: number) => {
        try {
          portWrite(context, port & 0xffff, value, bytes);
          return 1;
        } catch (thrown) {
          if (thrown !== ABANDON) throw thrown;
          return 0;
        }
      },
    };
  }

  /** What compiled modules import; made when the first one is. */
  private compiledImports(softfloat: WebAssembly.Exports): WebAssembly.Imports {
    const { memory } = this.memory;
    const interpreter = this.interpreter as WebAssembly.ModuleImports;
    if (this.cold === undefined) {
      const { portIn, portOut, compiledRead: slowRead, compiledWrite: slowWrite } = this.interpreter;
      const { slowModify } = this.loggedImports();
      const ways = { slowRead, slowWrite, slowModify, portIn, portOut };
      const env = { memory, ...this.imports(), ...ways } as WebAssembly.ModuleImports;
      coldPaths ??= new WebAssembly.Module(coldModule());
      this.cold = new WebAssembly.Instance(coldPaths, { env, interpreter }).exports;
    }
    const cold = this.cold as WebAssembly.ModuleImports;
    return { env: { memory }, interpreter, softfloat: softfloat as WebAssembly.ModuleImports, cold };
  }

  /** What compiled code calls instead: an instruction that is given to the interpreter does nothing twice. */
  private loggedImports() {
    const { mmu, state, log } = this;
    const scratchAt = state.base + CPU.scratch;
    const { bytes: host } = this.memory;
    const scratch = host.subarray(scratchAt, scratchAt + 64);
    const linear = (low: number, high: number) => (state.is64 ? high : 0) * TWO_32 + (low >>> 0);
    // The budget goes down with each instruction; the access may cut it.
    const placeAt = (budget: number) => (budget & 0xf_ffff) * TWO_32 + state.u32(CPU.startPc);
    const place = () => placeAt(state.data.getInt32(CLOCK.budget, true));
    return {
      logAccess: (kind: number, low: number, high: number, budget: number) =>
        log.record(placeAt(budget), kind, linear(low, high), scratch, kind & 0xff),
      slowRead: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        const where = place();
        const result = mmu.slowRead(at, bytes);
        if (result === scratchAt) log.record(where, LOGGED.read | bytes, at, scratch, bytes);
        return result;
      },
      slowWrite: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        const where = place();
        const result = mmu.slowWrite(at, bytes);
        if (result !== 0) log.record(where, LOGGED.write | bytes, at, scratch, bytes);
        return result;
      },
      slowModify: (_: number, low: number, high: number, bytes: number) => {
        const at = linear(low, high);
        const where = place();
        const result = mmu.slowModify(at, bytes);
        if (result === scratchAt) log.record(where, LOGGED.modify | bytes, at, scratch, bytes);
        return result;
      },
    };
  }

  /** The instruction that switched tasks has retired; its successor is the exception. SDM vol 3, 7.3. */
  private faultOfNewTask(): number {
    const { state, context } = this;
    context.taskSwitched = false;
    const errorCode = state.u32(CPU.errorCode) | 0;
    this.delivering = { vector: state.u32(CPU.vector), errorCode, source: "fault" };
    state.setU32(CPU.stop, STOP.none);
    context.updateMode();
    return RESULT.leave;
  }

  /**
   * Host address of the instruction at RIP, and the fetch window around it: the page when it is in the TLB, else this
   * one instruction, copied (it crosses a page or a limit, or its page has no ordinary entry).
   */
  private slowFetch(): number {
    const { state, mmu } = this;
    const rip = state.number(CPU.rip);
    const host = state.base + CPU.fetchScratch;
    const linear = state.is64 ? rip : (rip + state.segmentBase(CS)) % TWO_32;
    const mode = state.initialPrefixes | (state.is64 ? 1 : 0);
    // Within limits that reach far beyond, nothing but the translations of the bytes can be wrong.
    const plain = state.is64 ? Math.abs(linear) < CANONICAL_FAR : state.segmentLimit(CS) - rip >= PAGE_SIZE;
    if (plain && this.pageEndCode.copy(mmu.current, linear, mode, host)) {
      this.setWindow(host, host, 1);
      return host;
    }
    const page = mmu.codePage(rip);
    if (page === -1) return 0;
    if (page !== 0) {
      const offset = rip + (state.is64 ? 0 : state.segmentBase(CS));
      this.setWindow(page, page - (offset & (PAGE_SIZE - 1)), PAGE_SIZE - MAX_LENGTH + 1);
      return page;
    }
    const available = mmu.fetch(this.fetchBuffer, rip);
    if (available === 0) return 0;
    const length = instructionDecoder().length(this.fetchBuffer, available, state.is64, state.initialPrefixes);
    // Even of an instruction that is too long, the first 15 bytes are fetched.
    if (length > available && available < MAX_LENGTH) {
      mmu.fetchBeyond(rip, Math.min(length, MAX_LENGTH));
      return 0;
    }
    if (length > MAX_LENGTH) {
      state.recordFault(VECTOR.gp, 0);
      return 0;
    }
    mmu.touchSecondPage(length);
    if (plain) this.pageEndCode.remember(linear, mode, host, length);
    this.setWindow(host, host, 1);
    return host;
  }

  private setWindow(host: number, start: number, length: number): void {
    const { state } = this;
    state.setU32(CPU.windowStart, start);
    state.setU32(CPU.windowLength, length);
    state.setNumber(CPU.ripBias, state.number(CPU.rip) - host);
  }

  /** Many prefixes: 0 when the instruction is too long. */
  private checkLength(): number {
    const { state, memory } = this;
    const start = state.u32(CPU.startPc);
    const bytes = memory.bytes.subarray(start, start + MAX_LENGTH);
    if (instructionDecoder().length(bytes, MAX_LENGTH, state.is64, state.initialPrefixes) <= MAX_LENGTH) return 1;
    state.recordFault(VECTOR.gp, 0);
    return 0;
  }

  /**
   * Whether a non-canonical access is one through SS: PUSH, POP, CALL, RET and their like, or an RSP or RBP base without
   * an override (64-bit mode only).
   */
  private usesStack(linear: number): boolean {
    const { state, memory } = this;
    const start = state.u32(CPU.startPc);
    const code = memory.bytes.subarray(start, start + MAX_LENGTH);
    let at = 0;
    let rexB = 0;
    let override = false;
    for (; at < MAX_LENGTH; at++) {
      const byte = code[at]!;
      if ((byte & 0xf0) === 0x40) rexB = byte & 1;
      else if (byte === 0x64 || byte === 0x65) override = true;
      else if (![0x26, 0x2e, 0x36, 0x3e, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte)) break;
    }
    const opcode = code[at]!;
    if (opcode === 0x0f) {
      const second = code[at + 1]!;
      // PUSH and POP of FS and GS.
      if ((second & 0xf6) === 0xa0) return true;
      // 0F and one more byte, or 0F 38 and 0F 3A and one more.
      at += second === 0x38 || second === 0x3a ? 2 : 1;
    } else {
      const stackOnly =
        (opcode & 0xf0) === 0x50 ||
        [0x68, 0x6a, 0x9c, 0x9d, 0xc2, 0xc3, 0xc8, 0xc9, 0xca, 0xcb, 0xcf, 0xe8].includes(opcode);
      if (stackOnly) return true;
      // String instructions, MOV to and from an offset, XLAT: no ModRM.
      if ((opcode & 0xf0) === 0xa0 || (opcode & 0xfc) === 0x6c || opcode === 0xd7) return false;
    }
    const modrm = code[at + 1]!;
    const nearStack = Math.abs(linear - state.number(CPU.gpr + RSP * 8)) <= 16;
    if ((opcode === 0xff || opcode === 0x8f) && nearStack) return true;
    if (override || modrm >= 0xc0 || rexB) return false;
    const rm = modrm & 7;
    if (rm === 4) {
      const base = code[at + 2]! & 7;
      return base === 4 || (base === 5 && modrm >= 0x40);
    }
    return rm === 5 && modrm >= 0x40;
  }
}
