import { ATTR, CPU, CS, FLAG, SS, TR, VECTOR } from "../state.ts";
import { isCanonical } from "./canonical.ts";
import type { SystemContext } from "./context.ts";
import { innerStack, taskPointer } from "./delivery.ts";
import { type Descriptor, descriptorAddress, isNull, readDescriptor, TYPE } from "./descriptors.ts";
import {
  checkStack,
  currentStack,
  DATA_SEGMENTS,
  loadCode,
  loadFromDescriptor,
  loadNull,
  StackWriter,
  setStackPointer,
  stackMask,
  stackPointer,
  V86_ATTRIBUTES,
} from "./segments.ts";
import { taskSwitch } from "./tasks.ts";

/** Segment arithmetic of a far transfer in real and V86 mode. */
function loadRealCode({ cpu }: SystemContext, selector: number): void {
  const attributes = cpu.isV86 ? V86_ATTRIBUTES : (cpu.attributes(CS) & (ATTR.db | ATTR.g)) | 0x9b;
  cpu.setSegment(CS, selector, (selector & 0xffff) << 4, cpu.isV86 ? 0xffff : cpu.segmentLimit(CS), attributes);
}

/**
 * Instruction pointer in the code segment to be loaded: `offset`, of which only 64-bit code takes more than 32 bits; or
 * #GP(0).
 */
function targetIn({ cpu }: SystemContext, code: Descriptor, offset: number): number {
  const to64 = cpu.isLong && (code.attributes & ATTR.l) !== 0;
  const target = to64 ? offset : offset >>> 0;
  if (to64 ? !isCanonical(target) : target > code.limit) cpu.gp(0);
  return target;
}

/** Checks a code segment as the target of a direct far JMP or CALL. SDM vol 3, 5.8.1. */
function checkDirect(context: SystemContext, selector: number, code: Descriptor): void {
  const { cpu } = context;
  const error = selector & 0xfffc;
  if (code.conforming ? code.dpl > cpu.cpl : (selector & 3) > cpu.cpl || code.dpl !== cpu.cpl) cpu.gp(error);
  if (!code.present) cpu.fault(VECTOR.np, error);
  if (cpu.isLong && (code.attributes & ATTR.l) !== 0 && (code.attributes & ATTR.db) !== 0) cpu.gp(error);
}

export function farJump(context: SystemContext): number {
  const { cpu } = context;
  const selector = cpu.u32(CPU.args) & 0xffff;
  const offset = cpu.argNumber(1);
  if (!cpu.isProtected) {
    if (offset > cpu.segmentLimit(CS)) cpu.gp(0);
    loadRealCode(context, selector);
    context.rip = offset;
    return context.transferred();
  }
  if (isNull(selector)) cpu.gp(0);
  const target = readDescriptor(context, selector);
  if (target.isCode) {
    checkDirect(context, selector, target);
    const destination = targetIn(context, target, offset);
    loadCode(context, (selector & 0xfffc) | cpu.cpl, target);
    context.rip = destination;
    return context.transferred();
  }
  return throughGate(context, selector, target, undefined);
}

export function farCall(context: SystemContext): number {
  const { cpu } = context;
  const selector = cpu.u32(CPU.args) & 0xffff;
  const offset = cpu.argNumber(1);
  const bytes = cpu.argNumber(2) / 8;
  const stack = currentStack(context);
  const mask = stackMask(context);
  if (!cpu.isProtected) {
    if (offset > cpu.segmentLimit(CS)) cpu.gp(0);
    stack.push(cpu.selector(CS), bytes);
    stack.push(cpu.u64(CPU.rip), bytes);
    setStackPointer(context, stack.pointer, mask);
    loadRealCode(context, selector);
    context.rip = offset;
    return context.transferred();
  }
  if (isNull(selector)) cpu.gp(0);
  const target = readDescriptor(context, selector);
  if (target.isCode) {
    checkDirect(context, selector, target);
    stack.push(cpu.selector(CS), bytes);
    stack.push(cpu.u64(CPU.rip), bytes);
    const destination = targetIn(context, target, offset);
    setStackPointer(context, stack.pointer, mask);
    loadCode(context, (selector & 0xfffc) | cpu.cpl, target);
    context.rip = destination;
    return context.transferred();
  }
  return throughGate(context, selector, target, "call");
}

/** Call gates, task gates and TSS descriptors as targets of JMP and CALL. */
function throughGate(context: SystemContext, selector: number, gate: Descriptor, call: "call" | undefined): number {
  const { cpu } = context;
  const error = selector & 0xfffc;
  if (!gate.isSystem) cpu.gp(error);
  const { type } = gate;
  const reachable = gate.dpl >= cpu.cpl && gate.dpl >= (selector & 3);
  const how = call ? ({ kind: "call" } as const) : ({ kind: "jump" } as const);
  if (!cpu.isLong && (type === TYPE.tss16 || type === TYPE.tss32)) {
    if (!reachable) cpu.gp(error);
    taskSwitch(context, selector, how);
    return context.flagsChanged(context.transferred());
  }
  if (!cpu.isLong && type === TYPE.taskGate) {
    if (!reachable) cpu.gp(error);
    if (!gate.present) cpu.fault(VECTOR.np, error);
    taskSwitch(context, gate.low >>> 16, how);
    return context.flagsChanged(context.transferred());
  }
  const gates: readonly number[] = cpu.isLong ? [TYPE.callGate32] : [TYPE.callGate16, TYPE.callGate32];
  if (!gates.includes(type) || !reachable) cpu.gp(error);
  if (!gate.present) cpu.fault(VECTOR.np, error);
  return callGate(context, selector, gate, call);
}

/** SDM vol 3, 5.8.3 to 5.8.5. */
function callGate(context: SystemContext, gateSelector: number, gate: Descriptor, call: "call" | undefined): number {
  const { cpu, mmu } = context;
  const selector = gate.low >>> 16;
  const wide = gate.type === TYPE.callGate32;
  let offset = wide ? ((gate.high & 0xffff_0000) | (gate.low & 0xffff)) >>> 0 : gate.low & 0xffff;
  if (cpu.isLong) {
    if (descriptorAddress(context, gateSelector, 16) === -1) cpu.gp(gateSelector & 0xfffc);
    if ((mmu.read32(gate.address + 12, true) & 0x1f00) !== 0) cpu.gp(gateSelector & 0xfffc);
    offset += (mmu.read32(gate.address + 8, true) | 0) * 0x1_0000_0000;
  }
  if (isNull(selector)) cpu.gp(0);
  const error = selector & 0xfffc;
  const code = readDescriptor(context, selector);
  if (!code.isCode || code.dpl > cpu.cpl) cpu.gp(error);
  if (cpu.isLong && (code.attributes & (ATTR.l | ATTR.db)) !== ATTR.l) cpu.gp(error);
  if (!code.present) cpu.fault(VECTOR.np, error);
  const inner = !code.conforming && code.dpl < cpu.cpl;
  if (!call) {
    if (inner) cpu.gp(error);
    const destination = targetIn(context, code, offset);
    loadCode(context, error | cpu.cpl, code);
    context.rip = destination;
    return context.transferred();
  }
  const bytes = cpu.isLong ? 8 : wide ? 4 : 2;
  if (!inner) {
    const stack = currentStack(context);
    const mask = stackMask(context);
    stack.push(cpu.selector(CS), bytes);
    stack.push(cpu.u64(CPU.rip), bytes);
    const destination = targetIn(context, code, offset);
    setStackPointer(context, stack.pointer, mask);
    loadCode(context, error | cpu.cpl, code);
    context.rip = destination;
    return context.transferred();
  }

  if (cpu.isLong) {
    const pointer = taskPointer(context, 4 + code.dpl * 8, 0);
    if (!isCanonical(pointer)) cpu.fault(VECTOR.ss, 0);
    const stack = new StackWriter(context, { pointer, mask: 0, base: 0, low: 0, high: 0, system: code.dpl < 3 });
    stack.push(cpu.selector(SS), 8);
    stack.push(cpu.gpr(4), 8);
    stack.push(cpu.selector(CS), 8);
    stack.push(cpu.u64(CPU.rip), 8);
    const destination = targetIn(context, code, offset);
    cpu.setSegment(SS, code.dpl, 0, 0, ATTR.unusable | (code.dpl << ATTR.dplShift));
    cpu.setNumber(CPU.gpr + 32, stack.pointer);
    loadCode(context, error | code.dpl, code);
    context.rip = destination;
    return context.transferred();
  }
  const count = gate.high & 0x1f;
  const oldPointer = stackPointer(context);
  const oldMask = stackMask(context);
  const parameters: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const at = ((oldPointer + i * bytes) & oldMask) >>> 0;
    parameters.push(mmu.read(mmu.segmented(SS, at, bytes, false), bytes));
  }
  const { writer, selector: ss, descriptor } = innerStack(context, code.dpl, 0);
  writer.push(cpu.selector(SS), bytes);
  writer.push(cpu.gpr(4), bytes);
  for (const parameter of parameters.toReversed()) writer.push(parameter, bytes);
  writer.push(cpu.selector(CS), bytes);
  writer.push(cpu.u64(CPU.rip), bytes);
  const destination = targetIn(context, code, offset);
  loadFromDescriptor(context, SS, (ss & 0xfffc) | code.dpl, descriptor);
  setStackPointer(context, writer.pointer, descriptor.attributes & ATTR.db ? 0xffff_ffff : 0xffff);
  loadCode(context, error | code.dpl, code);
  context.rip = destination;
  return context.transferred();
}

/** Reads `count` values of `bytes` from the stack, lowest first, and returns the pointer behind them. */
function readStack(context: SystemContext, count: number, bytes: number, skip = 0): bigint[] {
  const { mmu } = context;
  const pointer = stackPointer(context);
  const mask = stackMask(context);
  const values: bigint[] = [];
  for (let i = 0; i < count; i++) {
    const at = mask === 0 ? pointer + skip + i * bytes : ((pointer + skip + i * bytes) & mask) >>> 0;
    values.push(mmu.read(mmu.segmented(SS, at, bytes, false), bytes));
  }
  return values;
}

const signed = (value: bigint) => Number(BigInt.asIntN(64, value));

export function farReturn(context: SystemContext): number {
  const { cpu } = context;
  const bytes = cpu.argNumber(0) / 8;
  const release = cpu.argNumber(1);
  const [offsetRaw, csRaw] = readStack(context, 2, bytes) as [bigint, bigint];
  const selector = Number(csRaw & 0xffffn);
  const offset = signed(offsetRaw);
  const pointer = stackPointer(context) + 2 * bytes + release;
  if (!cpu.isProtected) {
    if (offset > cpu.segmentLimit(CS)) cpu.gp(0);
    setStackPointer(context, pointer, stackMask(context));
    loadRealCode(context, selector);
    context.rip = offset;
    return context.transferred();
  }
  const code = checkReturnCode(context, selector);
  const rpl = selector & 3;
  if (rpl === cpu.cpl) {
    const destination = targetIn(context, code, offset);
    setStackPointer(context, pointer, stackMask(context));
    loadCode(context, selector, code);
    context.rip = destination;
    return context.transferred();
  }
  const [outer, ssRaw] = readStack(context, 2, bytes, 2 * bytes + release) as [bigint, bigint];
  returnOuter(context, { code, selector, offset, ss: Number(ssRaw & 0xffffn), pointer: signed(outer) + release });
  return context.transferred();
}

/** CS of RETF and IRET: SDM vol 3, 5.8.6. */
function checkReturnCode(context: SystemContext, selector: number): Descriptor {
  const { cpu } = context;
  if (isNull(selector)) cpu.gp(0);
  const error = selector & 0xfffc;
  const code = readDescriptor(context, selector);
  const rpl = selector & 3;
  if (!code.isCode || rpl < cpu.cpl) cpu.gp(error);
  if (code.conforming ? code.dpl > rpl : code.dpl !== rpl) cpu.gp(error);
  if (cpu.isLong && (code.attributes & ATTR.l) !== 0 && (code.attributes & ATTR.db) !== 0) cpu.gp(error);
  if (!code.present) cpu.fault(VECTOR.np, error);
  return code;
}

interface OuterReturn {
  readonly code: Descriptor;
  readonly selector: number;
  readonly offset: number;
  readonly ss: number;
  readonly pointer: number;
}

/** Return to an outer level, or (IRETQ) to the same with a new stack. */
function returnOuter(context: SystemContext, { code, selector, offset, ss, pointer }: OuterReturn): void {
  const { cpu } = context;
  const rpl = selector & 3;
  const to64 = cpu.isLong && (code.attributes & ATTR.l) !== 0;
  let stack: Descriptor | undefined;
  if (isNull(ss)) {
    // Only 64-bit code below CPL 3 may run on a null SS.
    if (!to64 || rpl === 3 || (ss & 3) !== rpl) cpu.gp(0);
  } else {
    stack = readDescriptor(context, ss);
    checkStack(context, stack, ss, rpl, VECTOR.gp, 0);
  }
  const destination = targetIn(context, code, offset);
  loadCode(context, selector, code);
  if (stack) loadFromDescriptor(context, SS, ss, stack);
  else cpu.setSegment(SS, ss, 0, 0, ATTR.unusable | (rpl << ATTR.dplShift));
  context.rip = destination;
  context.updateMode();
  if (to64) cpu.setNumber(CPU.gpr + 32, pointer);
  else setStackPointer(context, pointer, stackMask(context));
  dropInnerSegments(context);
}

/** Data segments that the new CPL may not see become null (SDM vol 3, 5.8.6). */
function dropInnerSegments(context: SystemContext): void {
  const { cpu } = context;
  for (const segment of DATA_SEGMENTS) {
    const attributes = cpu.attributes(segment);
    const dpl = (attributes & ATTR.dpl) >> ATTR.dplShift;
    const conforming = (attributes & (ATTR.s | 0xc)) === (ATTR.s | 0xc);
    if (attributes & ATTR.unusable || conforming || dpl >= cpu.cpl) continue;
    loadNull(context, segment, 0);
  }
}

/** Flags that IRET and POPF may change at a CPL and IOPL. */
export function writableFlags(cpl: number, iopl: number, width: number): number {
  let mask = 0x8d5 | FLAG.tf | FLAG.df | FLAG.nt | (cpl <= iopl ? FLAG.if : 0) | (cpl === 0 ? FLAG.iopl : 0);
  if (width > 16) mask |= FLAG.ac | FLAG.id | FLAG.rf;
  return mask;
}

export function interruptReturn(context: SystemContext): number {
  const { cpu } = context;
  const width = cpu.argNumber(0);
  const bytes = width / 8;
  context.unblockNmi();
  if ((cpu.u32(CPU.cr0) & 1) === 0) return returnReal(context, width);
  if (cpu.isV86) {
    if (cpu.iopl < 3) cpu.gp(0);
    return returnReal(context, width);
  }
  if (cpu.u32(CPU.eflags) & FLAG.nt) {
    if (cpu.isLong) cpu.gp(0);
    taskSwitch(context, context.mmu.read16(cpu.segmentBase(TR), true), { kind: "return" });
    return context.flagsChanged(context.transferred());
  }
  const [offsetRaw, csRaw, flagsRaw] = readStack(context, 3, bytes) as [bigint, bigint, bigint];
  const selector = Number(csRaw & 0xffffn);
  const offset = signed(offsetRaw);
  const image = Number(flagsRaw & 0xffff_ffffn);
  if (!cpu.isLong && image & FLAG.vm && cpu.cpl === 0 && width === 32)
    return returnToV86(context, offset, selector, image);

  const code = checkReturnCode(context, selector);
  const rpl = selector & 3;
  const mask = writableFlags(cpu.cpl, cpu.iopl, width) | (cpu.cpl === 0 && width > 16 ? FLAG.vif | FLAG.vip : 0);
  const flags = (cpu.eflags & ~mask) | (image & mask);
  if (rpl === cpu.cpl && !cpu.is64) {
    const destination = targetIn(context, code, offset);
    setStackPointer(context, stackPointer(context) + 3 * bytes, stackMask(context));
    loadCode(context, selector, code);
    context.rip = destination;
  } else {
    const [pointer, ssRaw] = readStack(context, 2, bytes, 3 * bytes) as [bigint, bigint];
    returnOuter(context, { code, selector, offset, ss: Number(ssRaw & 0xffffn), pointer: signed(pointer) });
  }
  cpu.eflags = flags;
  context.mmu.updatePrivilege();
  return context.flagsChanged(context.transferred());
}

function returnReal(context: SystemContext, width: number): number {
  const { cpu } = context;
  const [offsetRaw, csRaw, flagsRaw] = readStack(context, 3, width / 8) as [bigint, bigint, bigint];
  const offset = signed(offsetRaw);
  if (offset > cpu.segmentLimit(CS)) cpu.gp(0);
  setStackPointer(context, stackPointer(context) + (3 * width) / 8, stackMask(context));
  loadRealCode(context, Number(csRaw & 0xffffn));
  context.rip = offset;
  let mask = writableFlags(0, 0, width);
  if (cpu.isV86) mask &= ~FLAG.iopl;
  cpu.eflags = (cpu.eflags & ~mask) | (Number(flagsRaw & 0xffff_ffffn) & mask);
  return context.flagsChanged(context.transferred());
}

/** SDM vol 3, 20.2.3. */
function returnToV86(context: SystemContext, offset: number, cs: number, image: number): number {
  const { cpu } = context;
  const rest = readStack(context, 6, 4, 12).map((value) => Number(value));
  const [pointer, ss, es, ds, fs, gs] = rest as [number, number, number, number, number, number];
  cpu.eflags = image;
  const load = (segment: number, selector: number) =>
    cpu.setSegment(segment, selector & 0xffff, (selector & 0xffff) << 4, 0xffff, V86_ATTRIBUTES);
  load(CS, cs);
  load(SS, ss);
  load(0, es);
  load(3, ds);
  load(4, fs);
  load(5, gs);
  cpu.setGpr32(4, pointer);
  context.rip = offset & 0xffff;
  context.updateMode();
  context.setCpl(3);
  return context.flagsChanged(context.transferred());
}
