import { RESULT } from "../interp/imports.ts";
import { SYSTEM_OPERATIONS, type SystemOperation } from "../isa/system-operations.ts";
import { CPU, RCX, VECTOR } from "../state.ts";
import type { SystemContext } from "./context.ts";
import {
  clearTaskSwitched,
  loadMachineStatus,
  moveFromControl,
  moveFromDebug,
  moveToControl,
  moveToDebug,
} from "./control-registers.ts";
import { cpuid, timeStampAllowed } from "./cpuid.ts";
import { deliverOnce, type Source } from "./delivery.ts";
import { farCall, farJump, farReturn, interruptReturn } from "./far-transfers.ts";
import { swapGs, syscall, sysenter, sysexit, sysret } from "./fast-calls.ts";
import { restoreEnvironment, restoreState, saveEnvironment, saveState } from "./fpu-environment.ts";
import { fxrstor, fxsave } from "./fpu-state.ts";
import { hypercall, ioExit } from "./io-exits.ts";
import { readMsr, readTimeStamp, writeMsr } from "./msrs.ts";
import {
  loadAccessRights,
  loadFarPointer,
  loadLdt,
  loadLimit,
  loadTask,
  moveToSegment,
  popSegment,
  verify,
} from "./segments.ts";
import {
  clearInterruptFlag,
  enterFrame,
  popAll,
  popFlags,
  pushAll,
  pushFlags,
  setInterruptFlag,
} from "./stack-operations.ts";
import { inString, outString } from "./string-io.ts";

type Operation = (context: SystemContext, px: number) => number;

/** Software interrupts: RIP is the next instruction already; a fault in the delivery is one of the INT itself. */
function softwareInterrupt(context: SystemContext, vector: number, source: Source): number {
  const { cpu } = context;
  if (cpu.isV86 && source === "software" && vector !== VECTOR.bp && vector !== VECTOR.of && cpu.iopl < 3) cpu.gp(0);
  deliverOnce(context, { vector, errorCode: -1, source });
  context.interrupted = true;
  // A task gate loads new flags.
  return context.flagsChanged(context.transferred());
}

function loadTable(base: number, limit: number): Operation {
  return ({ cpu }) => {
    const address = cpu.arg(0);
    if (cpu.is64 && BigInt.asUintN(64, BigInt.asIntN(48, address)) !== address) cpu.gp(0);
    cpu.setU64(base, cpu.is64 ? address : address & 0xffff_ffffn);
    cpu.setNumber(limit, cpu.argNumber(1) & 0xffff);
    return RESULT.refetch;
  };
}

function invalidatePage(context: SystemContext): number {
  const { cpu, mmu } = context;
  const offset = cpu.argNumber(0);
  const exact = BigInt.asIntN(64, cpu.arg(0));
  if (cpu.is64) {
    // A non-canonical address is a no-operation (SDM vol 2, INVLPG).
    if (BigInt.asIntN(48, exact) === exact) mmu.invalidatePage(offset);
  } else mmu.invalidatePage((offset + cpu.segmentBase(cpu.argNumber(1))) % 0x1_0000_0000);
  return RESULT.refetch;
}

function halt({ cpu }: SystemContext): number {
  cpu.setU32(CPU.activity, 1);
  return RESULT.leave;
}

function readTsc(context: SystemContext): number {
  if (!timeStampAllowed(context)) context.cpu.gp(0);
  readTimeStamp(context);
  return RESULT.refetch;
}

function readTscAndAux(context: SystemContext): number {
  const result = readTsc(context);
  context.cpu.setGpr(RCX, context.cpu.u64(CPU.tscAux));
  return result;
}

/** There is no cache: what is left of CLFLUSH is the check of its address, without an access that a device would see. */
function flushCacheLine({ cpu, mmu }: SystemContext): number {
  mmu.hostPage(mmu.segmented(cpu.argNumber(1), cpu.argNumber(0), 1, false), false);
  return RESULT.refetch;
}

/** There are no performance counters: RDPMC of any number is #GP(0). */
const readCounter: Operation = ({ cpu }) => cpu.gp(0);

const OPERATIONS: Readonly<Record<SystemOperation, Operation>> = {
  "far-jump": farJump,
  "far-call": farCall,
  "far-return": farReturn,
  iret: interruptReturn,
  interrupt: (context) => softwareInterrupt(context, context.cpu.argNumber(0), "software"),
  int3: (context) => softwareInterrupt(context, VECTOR.bp, "software"),
  int1: (context) => softwareInterrupt(context, VECTOR.db, "int1"),
  into: (context) => softwareInterrupt(context, VECTOR.of, "software"),
  "load-segment": moveToSegment,
  "pop-segment": popSegment,
  "load-far-pointer": loadFarPointer,
  lgdt: loadTable(CPU.gdtrBase, CPU.gdtrLimit),
  lidt: loadTable(CPU.idtrBase, CPU.idtrLimit),
  lldt: loadLdt,
  ltr: loadTask,
  lmsw: loadMachineStatus,
  clts: clearTaskSwitched,
  "mov-to-cr": moveToControl,
  "mov-from-cr": moveFromControl,
  "mov-to-dr": moveToDebug,
  "mov-from-dr": moveFromDebug,
  invlpg: invalidatePage,
  wbinvd: () => RESULT.refetch,
  hlt: halt,
  cpuid,
  rdtsc: readTsc,
  rdtscp: readTscAndAux,
  rdpmc: readCounter,
  rdmsr: readMsr,
  wrmsr: writeMsr,
  sysenter,
  sysexit,
  syscall,
  sysret,
  swapgs: swapGs,
  lar: loadAccessRights,
  lsl: loadLimit,
  verr: (context) => verify(context, false),
  verw: (context) => verify(context, true),
  cli: clearInterruptFlag,
  sti: setInterruptFlag,
  pushf: pushFlags,
  popf: popFlags,
  enter: enterFrame,
  pusha: pushAll,
  popa: popAll,
  hypercall,
  "io-exit": ioExit,
  ins: inString,
  outs: outString,
  fxsave,
  fxrstor,
  fsave: saveState,
  frstor: restoreState,
  fstenv: saveEnvironment,
  fldenv: restoreEnvironment,
  clflush: flushCacheLine,
};

/** Slow paths by number, as generated code calls them. */
export const OPERATION_TABLE: readonly Operation[] = SYSTEM_OPERATIONS.map((name) => OPERATIONS[name]);
