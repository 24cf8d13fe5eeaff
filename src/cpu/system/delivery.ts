import { ATTR, CPU, CS, FLAG, SS, STOP, TR, VECTOR } from "../state.ts";
import { ABANDON } from "../vcpu-state.ts";
import { isCanonical } from "./canonical.ts";
import { CR0, type SystemContext } from "./context.ts";
import { decodeDescriptor, isNull, readDescriptor, TYPE } from "./descriptors.ts";
import { checkStack, currentStack, DATA_SEGMENTS, loadFromDescriptor, loadNull, StackWriter } from "./segments.ts";
import { taskSwitch } from "./tasks.ts";

/** Where an interruption comes from; decides about DPL checks, the EXT bit and the saved RF. */
export type Source = "fault" | "breakpoint" | "trap" | "external" | "software" | "int1";

export interface Interruption {
  readonly vector: number;
  /** -1: none. */
  readonly errorCode: number;
  readonly source: Source;
}

/** SDM vol 3, table 6-5: how a fault during delivery combines with the one being delivered. */
const CONTRIBUTORY = new Set<number>([VECTOR.de, VECTOR.ts, VECTOR.np, VECTOR.ss, VECTOR.gp]);

/** Delivers an interruption, with double and triple faults. Returns false on shutdown. */
export function deliver(context: SystemContext, vector: number, errorCode: number, source: Source): boolean {
  const { cpu } = context;
  cpu.setU32(CPU.stop, STOP.none);
  if (context.gate(cpu.base, vector, errorCode, 0, savedResume(context, source)) !== 0) {
    context.io.clearJournal();
    return true;
  }
  let current: Interruption = { vector, errorCode, source };
  for (;;) {
    try {
      cpu.setU32(CPU.stop, STOP.none);
      deliverOnce(context, current);
      context.updateMode();
      context.mmu.updatePrivilege();
      context.io.clearJournal();
      return true;
    } catch (thrown) {
      if (thrown !== ABANDON) throw thrown;
      context.taskSwitched = false;
    }
    // A stack or table access waits for ring 3: the whole delivery is restarted by the caller.
    if (cpu.u32(CPU.stop) === STOP.wait) throw ABANDON;
    const next: Interruption = {
      vector: cpu.u32(CPU.vector),
      errorCode: cpu.u32(CPU.errorCode) | 0,
      source: "fault",
    };
    if (current.vector === VECTOR.df) return false;
    const exception = current.source === "fault";
    const first = exception && CONTRIBUTORY.has(current.vector);
    const firstPage = exception && current.vector === VECTOR.pf;
    const second = CONTRIBUTORY.has(next.vector);
    const double = (first && second) || (firstPage && (second || next.vector === VECTOR.pf));
    current = double ? { vector: VECTOR.df, errorCode: 0, source: "fault" } : next;
  }
}

/**
 * EFLAGS as pushed. RF is set where the same instruction goes on afterwards, so that it does not hit its breakpoint
 * again: by faults other than the instruction breakpoint itself, and by what comes between two units of a repeated string
 * instruction (SDM vol 3, 17.3.1.1).
 */
function savedFlags(context: SystemContext, source: Source): number {
  return context.cpu.eflags | savedResume(context, source);
}

/** RF as pushed. */
function savedResume({ cpu }: SystemContext, source: Source): number {
  if (source === "fault") return FLAG.rf;
  const between = source === "trap" || source === "external";
  return between && cpu.u32(CPU.insideRepeat) !== 0 ? FLAG.rf : cpu.u32(CPU.eflags) & FLAG.rf;
}

export function deliverOnce(context: SystemContext, interruption: Interruption): void {
  const { cpu } = context;
  if ((cpu.u32(CPU.cr0) & CR0.pe) === 0) deliverReal(context, interruption);
  else if (cpu.isLong) deliverLong(context, interruption);
  else deliverProtected(context, interruption);
}

/** SDM vol 3, 20.1.4: the interrupt vector table. */
function deliverReal(context: SystemContext, { vector }: Interruption): void {
  const { cpu, mmu } = context;
  if (vector * 4 + 3 > cpu.u32(CPU.idtrLimit)) cpu.gp(0);
  const entry = mmu.read32(cpu.number(CPU.idtrBase) + vector * 4);
  const stack = currentStack(context);
  stack.push(cpu.eflags, 2);
  stack.push(cpu.selector(CS), 2);
  stack.push(cpu.u32(CPU.rip), 2);
  const kept = cpu.attributes(CS) & (ATTR.db | ATTR.g);
  cpu.setGpr32(4, ((cpu.gpr32(4) & ~mask16(context)) | stack.pointer) >>> 0);
  cpu.setSegment(CS, entry >>> 16, (entry >>> 16) << 4, cpu.segmentLimit(CS), kept | 0x9b);
  context.rip = entry & 0xffff;
  cpu.eflags = cpu.eflags & ~(FLAG.if | FLAG.tf | FLAG.ac | FLAG.rf);
}

const mask16 = ({ cpu }: SystemContext) => (cpu.attributes(SS) & ATTR.db ? 0xffff_ffff : 0xffff);

function deliverProtected(context: SystemContext, interruption: Interruption): void {
  const { cpu, mmu } = context;
  const { vector, errorCode, source } = interruption;
  const ext = source === "software" ? 0 : 1;
  const gateCode = vector * 8 + 2 + ext;
  if (vector * 8 + 7 > cpu.u32(CPU.idtrLimit)) cpu.gp(gateCode);
  const address = cpu.number(CPU.idtrBase) + vector * 8;
  const low = mmu.read32(address, true);
  const high = mmu.read32(address + 4, true);
  const gate = decodeDescriptor(address, low, high);
  const gates: number[] = [TYPE.taskGate, TYPE.interruptGate16, TYPE.trapGate16, TYPE.interruptGate32, TYPE.trapGate32];
  if (!gate.isSystem || !gates.includes(gate.type)) cpu.gp(gateCode);
  if (source === "software" && gate.dpl < cpu.cpl) cpu.gp(gateCode);
  if (!gate.present) cpu.fault(VECTOR.np, gateCode);
  const selector = low >>> 16;
  if (gate.type === TYPE.taskGate) {
    taskSwitch(context, selector, { kind: "interrupt", ext, errorCode, flags: savedFlags(context, source) });
    return;
  }

  if (isNull(selector)) cpu.gp(ext);
  const code = readDescriptor(context, selector, VECTOR.gp, ext);
  const selectorCode = (selector & 0xfffc) | ext;
  if (!code.isCode || code.dpl > cpu.cpl) cpu.gp(selectorCode);
  if (!code.present) cpu.fault(VECTOR.np, selectorCode);
  const wide = gate.type >= TYPE.interruptGate32;
  const bytes = wide ? 4 : 2;
  const offset = wide ? ((high & 0xffff_0000) | (low & 0xffff)) >>> 0 : low & 0xffff;
  const flags = savedFlags(context, source);
  const fromV86 = cpu.isV86;
  const inner = !code.conforming && code.dpl < cpu.cpl;
  if (fromV86 && (!inner || code.dpl !== 0)) cpu.gp(selectorCode);

  const newCpl = inner ? code.dpl : cpu.cpl;
  let stack: StackWriter;
  let newSs: { selector: number; descriptor: ReturnType<typeof readDescriptor> } | undefined;
  if (inner) {
    const pointer = innerStack(context, newCpl, ext);
    newSs = { selector: pointer.selector, descriptor: pointer.descriptor };
    stack = pointer.writer;
    if (fromV86) for (const segment of [5, 4, 3, 0]) stack.push(cpu.selector(segment), bytes);
    stack.push(cpu.selector(SS), bytes);
    stack.push(cpu.gpr(4), bytes);
  } else {
    stack = currentStack(context);
  }
  stack.push(flags, bytes);
  stack.push(cpu.selector(CS), bytes);
  stack.push(cpu.u64(CPU.rip), bytes);
  if (errorCode >= 0) stack.push(errorCode, bytes);
  if (offset > code.limit) cpu.gp(ext);

  // Nothing below faults.
  cpu.eflags =
    cpu.eflags & ~(FLAG.tf | FLAG.nt | FLAG.rf | FLAG.vm | (gate.type === 6 || gate.type === 14 ? FLAG.if : 0));
  context.updateMode();
  if (newSs) {
    loadFromDescriptor(context, SS, (newSs.selector & 0xfffc) | newCpl, newSs.descriptor);
    const mask = mask16(context);
    cpu.setGpr32(4, ((mask === 0xffff ? cpu.gpr32(4) & 0xffff_0000 : 0) | stack.pointer) >>> 0);
  } else {
    const mask = mask16(context);
    cpu.setGpr32(4, ((cpu.gpr32(4) & ~mask) | stack.pointer) >>> 0);
  }
  if (fromV86) for (const segment of DATA_SEGMENTS) loadNull(context, segment, 0);
  loadFromDescriptor(context, CS, (selector & 0xfffc) | newCpl, code);
  context.rip = offset;
  context.setCpl(newCpl);
}

/** Stack for an inner privilege level from the current TSS, checked. SDM vol 3, 6.12.1. */
export function innerStack(
  context: SystemContext,
  cpl: number,
  ext: number,
): { writer: StackWriter; selector: number; descriptor: ReturnType<typeof readDescriptor>; pointer: number } {
  const { cpu, mmu } = context;
  const wide = (cpu.attributes(TR) & 8) !== 0;
  const size = wide ? 8 : 4;
  const offset = wide ? 4 + cpl * 8 : 2 + cpl * 4;
  const taskCode = (cpu.selector(TR) & 0xfffc) | ext;
  if (offset + size - 1 > cpu.segmentLimit(TR)) cpu.fault(VECTOR.ts, taskCode);
  const base = cpu.segmentBase(TR) + offset;
  const pointer = wide ? mmu.read32(base, true) : mmu.read16(base, true);
  const selector = mmu.read16(base + (wide ? 4 : 2), true);
  if (isNull(selector)) cpu.fault(VECTOR.ts, ext);
  const descriptor = readDescriptor(context, selector, VECTOR.ts, ext);
  checkStack(context, descriptor, selector, cpl, VECTOR.ts, ext);
  const expandDown = (descriptor.type & 4) !== 0;
  const mask = descriptor.attributes & ATTR.db ? 0xffff_ffff : 0xffff;
  const writer = new StackWriter(context, {
    pointer: (pointer & mask) >>> 0,
    mask,
    base: descriptor.base,
    low: expandDown ? descriptor.limit + 1 : 0,
    high: expandDown ? mask : descriptor.limit,
    code: (selector & 0xfffc) | ext,
    system: cpl < 3,
  });
  return { writer, selector, descriptor, pointer };
}

/** SDM vol 3, 6.14: 16-byte gates, unconditional SS:RSP, 16-byte aligned frames, IST. */
function deliverLong(context: SystemContext, interruption: Interruption): void {
  const { cpu, mmu } = context;
  const { vector, errorCode, source } = interruption;
  const ext = source === "software" ? 0 : 1;
  const gateCode = vector * 8 + 2 + ext;
  if (vector * 16 + 15 > cpu.u32(CPU.idtrLimit)) cpu.gp(gateCode);
  const address = cpu.number(CPU.idtrBase) + vector * 16;
  const low = mmu.read32(address, true);
  const high = mmu.read32(address + 4, true);
  const gate = decodeDescriptor(address, low, high);
  if (!gate.isSystem || (gate.type !== TYPE.interruptGate32 && gate.type !== TYPE.trapGate32)) cpu.gp(gateCode);
  if (source === "software" && gate.dpl < cpu.cpl) cpu.gp(gateCode);
  if (!gate.present) cpu.fault(VECTOR.np, gateCode);
  const upper = mmu.read32(address + 8, true) | 0;
  const offset = upper * 0x1_0000_0000 + (((high & 0xffff_0000) | (low & 0xffff)) >>> 0);
  const selector = low >>> 16;
  if (isNull(selector)) cpu.gp(ext);
  const code = readDescriptor(context, selector, VECTOR.gp, ext);
  const selectorCode = (selector & 0xfffc) | ext;
  if (!code.isCode || code.dpl > cpu.cpl) cpu.gp(selectorCode);
  if ((code.attributes & (ATTR.l | ATTR.db)) !== ATTR.l) cpu.gp(selectorCode);
  if (!code.present) cpu.fault(VECTOR.np, selectorCode);

  const inner = !code.conforming && code.dpl < cpu.cpl;
  const newCpl = inner ? code.dpl : cpu.cpl;
  const ist = high & 7;
  let pointer: number;
  if (ist !== 0) pointer = taskPointer(context, 0x24 + (ist - 1) * 8, ext);
  else if (inner) pointer = taskPointer(context, 4 + newCpl * 8, ext);
  else pointer = cpu.number(CPU.gpr + 4 * 8);
  pointer -= ((pointer % 16) + 16) % 16;

  const system = newCpl < 3;
  const stack = new StackWriter(context, { pointer, mask: 0, base: 0, low: 0, high: 0, system });
  // A fault while pushing leaves nothing but bytes below the stack pointer.
  const frame = errorCode >= 0 ? 48 : 40;
  if (!isCanonical(pointer - frame) || !isCanonical(pointer - 1)) cpu.fault(VECTOR.ss, ext);
  const was64 = cpu.is64;
  if (!was64) cpu.setU32(CPU.mode, cpu.mode | 8);
  try {
    stack.push(cpu.selector(SS), 8);
    stack.push(cpu.gpr(4), 8);
    stack.push(savedFlags(context, source), 8);
    stack.push(cpu.selector(CS), 8);
    stack.push(cpu.u64(CPU.rip), 8);
    if (errorCode >= 0) stack.push(errorCode, 8);
  } finally {
    if (!was64) cpu.setU32(CPU.mode, cpu.mode & ~8);
  }

  if (!isCanonical(offset)) cpu.gp(ext);
  cpu.eflags =
    cpu.eflags & ~(FLAG.tf | FLAG.nt | FLAG.rf | FLAG.vm | (gate.type === TYPE.interruptGate32 ? FLAG.if : 0));
  if (inner) cpu.setSegment(SS, newCpl, 0, 0, ATTR.unusable | (newCpl << ATTR.dplShift));
  cpu.setNumber(CPU.gpr + 4 * 8, stack.pointer);
  loadFromDescriptor(context, CS, (selector & 0xfffc) | newCpl, code);
  context.rip = offset;
  context.setCpl(newCpl);
}

/** A 64-bit stack pointer from the TSS. */
export function taskPointer({ cpu, mmu }: SystemContext, offset: number, ext: number): number {
  if (offset + 7 > cpu.segmentLimit(TR)) cpu.fault(VECTOR.ts, (cpu.selector(TR) & 0xfffc) | ext);
  return Number(BigInt.asIntN(64, mmu.read(cpu.segmentBase(TR) + offset, 8, true)));
}
