import { ATTR, CPU, CS, DS, ES, FLAG, FS, GS, LDTR, SS, TR, VECTOR } from "../state.ts";
import { CR0, type SystemContext } from "./context.ts";
import { type Descriptor, isNull, readDescriptor, setBusy, TYPE } from "./descriptors.ts";
import { checkStack, loadFromDescriptor, loadNull, StackWriter, V86_ATTRIBUTES } from "./segments.ts";

export type TaskSwitch =
  | { readonly kind: "jump" }
  | { readonly kind: "call" }
  | { readonly kind: "return" }
  | { readonly kind: "interrupt"; readonly ext: number; readonly errorCode: number; readonly flags: number };

/** Register order of both TSS formats (SDM vol 3, figures 7-2 and 7-10). */
const REGISTERS = [0, 1, 2, 3, 4, 5, 6, 7] as const;
const SEGMENTS_32 = [ES, CS, SS, DS, FS, GS] as const;
const SEGMENTS_16 = [ES, CS, SS, DS] as const;

/** Switches tasks as SDM vol 3, 7.3 says. Faults up to the switch are the old task's, later ones the new task's. */
export function taskSwitch(context: SystemContext, selector: number, how: TaskSwitch): void {
  const { cpu, mmu } = context;
  const ext = how.kind === "interrupt" ? how.ext : 0;
  const code = (selector & 0xfffc) | ext;
  // SDM vol 3, table 7-1: #TS for IRET, #GP for the others.
  const bad = how.kind === "return" ? VECTOR.ts : VECTOR.gp;
  if (isNull(selector) || selector & 4) cpu.fault(bad, code);
  const descriptor = readDescriptor(context, selector, bad, ext);
  const wanted: readonly number[] = how.kind === "return" ? [TYPE.tss16Busy, TYPE.tss32Busy] : [TYPE.tss16, TYPE.tss32];
  if (!descriptor.isSystem || !wanted.includes(descriptor.type)) cpu.fault(bad, code);
  if (!descriptor.present) cpu.fault(VECTOR.np, code);
  const wide = (descriptor.type & 8) !== 0;
  if (descriptor.limit < (wide ? 0x67 : 0x2b)) cpu.fault(VECTOR.ts, code);

  const oldSelector = cpu.selector(TR);
  const oldBase = cpu.segmentBase(TR);
  const oldWide = (cpu.attributes(TR) & 8) !== 0;
  // Both TSSs must be accessible as a whole before anything changes.
  mmu.prove(oldBase, oldWide ? 0x68 : 0x2c, true);
  const nested = how.kind === "call" || how.kind === "interrupt";
  if (nested) mmu.prove(descriptor.base, 2, true);
  const state = readTask(context, descriptor, wide);
  saveTask(context, oldBase, oldWide, how);
  const oldDescriptor = readDescriptor(context, oldSelector, VECTOR.ts, ext);
  if (how.kind === "jump" || how.kind === "return") setBusy(context, oldDescriptor.address, false);
  if (how.kind !== "return") setBusy(context, descriptor.address, true);
  if (nested) mmu.write(descriptor.base, 2, BigInt(oldSelector), true);

  // From here on the new task runs.
  context.taskSwitched = true;
  cpu.setSegment(TR, selector, descriptor.base, descriptor.limit, descriptor.attributes | 2);
  cpu.setU32(CPU.cr0, (cpu.u32(CPU.cr0) | CR0.ts) >>> 0);
  if (wide && context.mmu.paging.paging) {
    cpu.setNumber(CPU.cr3, state.cr3);
    mmu.updatePaging();
    mmu.flushNonGlobal();
    mmu.loadPdpte();
  }
  REGISTERS.forEach((register, position) => {
    const value = state.registers[position]!;
    if (wide) cpu.setGpr32(register, value);
    else cpu.setGpr32(register, (0xffff_0000 | value) >>> 0);
  });
  cpu.eflags = (state.flags | (nested ? FLAG.nt : 0)) & (wide ? -1 : 0xffff);
  context.rip = state.ip;
  const dr7 = cpu.u32(CPU.dr + 56);
  cpu.setU32(CPU.dr + 56, (dr7 & ~0x155) >>> 0);
  context.breakpoints.update();
  loadTaskSegments(context, state, ext);
  if (how.kind === "interrupt" && how.errorCode >= 0) pushErrorCode(context, how.errorCode, wide);
  if (context.rip > cpu.segmentLimit(CS)) cpu.gp(ext);
  if (wide && state.trap) cpu.setU32(CPU.pendingDebug, cpu.u32(CPU.pendingDebug) | 0x8000);
  context.taskSwitched = false;
}

interface TaskState {
  readonly cr3: number;
  readonly ip: number;
  readonly flags: number;
  readonly registers: number[];
  readonly segments: number[];
  readonly ldt: number;
  readonly trap: boolean;
}

function readTask({ mmu }: SystemContext, { base }: Descriptor, wide: boolean): TaskState {
  const at32 = (offset: number) => mmu.read32(base + offset, true);
  const at16 = (offset: number) => mmu.read16(base + offset, true);
  if (wide) {
    return {
      cr3: at32(0x1c),
      ip: at32(0x20),
      flags: at32(0x24),
      registers: REGISTERS.map((r) => at32(0x28 + r * 4)),
      segments: SEGMENTS_32.map((s) => at16(0x48 + s * 4)),
      ldt: at16(0x60),
      trap: (at16(0x64) & 1) !== 0,
    };
  }
  return {
    cr3: 0,
    ip: at16(0x0e),
    flags: at16(0x10),
    registers: REGISTERS.map((r) => at16(0x12 + r * 2)),
    segments: [...SEGMENTS_16.map((s) => at16(0x22 + s * 2)), 0, 0],
    ldt: at16(0x2a),
    trap: false,
  };
}

function saveTask(context: SystemContext, base: number, wide: boolean, how: TaskSwitch): void {
  const { cpu, mmu } = context;
  let flags = how.kind === "interrupt" ? how.flags : cpu.eflags;
  if (how.kind === "return") flags &= ~FLAG.nt;
  const put = (offset: number, bytes: number, value: number) =>
    mmu.write(base + offset, bytes, BigInt(value >>> 0) & (bytes === 2 ? 0xffffn : 0xffff_ffffn), true);
  if (wide) {
    put(0x20, 4, cpu.u32(CPU.rip));
    put(0x24, 4, flags);
    for (const r of REGISTERS) put(0x28 + r * 4, 4, cpu.gpr32(r));
    for (const s of SEGMENTS_32) put(0x48 + s * 4, 2, cpu.selector(s));
    return;
  }
  put(0x0e, 2, cpu.u32(CPU.rip));
  put(0x10, 2, flags);
  for (const r of REGISTERS) put(0x12 + r * 2, 2, cpu.gpr32(r));
  for (const s of SEGMENTS_16) put(0x22 + s * 2, 2, cpu.selector(s));
}

/** LDTR, then SS, CS and the data segments of the new task; errors are #TS with the selector (SDM vol 3, table 7-1). */
function loadTaskSegments(context: SystemContext, state: TaskState, ext: number): void {
  const { cpu } = context;
  const selectorOf = (segment: number) => state.segments[segment]!;
  const code = (selector: number) => (selector & 0xfffc) | ext;
  // Every selector is visible before any is checked.
  for (const segment of SEGMENTS_32) cpu.setSegment(segment, selectorOf(segment), 0, 0, ATTR.unusable);
  cpu.setSegment(LDTR, state.ldt, 0, 0, ATTR.unusable);
  context.updateMode();
  if (!isNull(state.ldt)) {
    if (state.ldt & 4) cpu.fault(VECTOR.ts, code(state.ldt));
    const ldt = readDescriptor(context, state.ldt, VECTOR.ts, ext);
    if (!ldt.isSystem || ldt.type !== TYPE.ldt || !ldt.present) cpu.fault(VECTOR.ts, code(state.ldt));
    cpu.setSegment(LDTR, state.ldt, ldt.base, ldt.limit, ldt.attributes);
  }
  if (cpu.isV86) {
    for (const segment of SEGMENTS_32) {
      cpu.setSegment(segment, selectorOf(segment), selectorOf(segment) << 4, 0xffff, V86_ATTRIBUTES);
    }
    context.setCpl(3);
    return;
  }
  const cs = selectorOf(CS);
  const cpl = cs & 3;
  context.setCpl(cpl);
  if (isNull(cs)) cpu.fault(VECTOR.ts, code(cs));
  const descriptor = readDescriptor(context, cs, VECTOR.ts, ext);
  const fits = descriptor.isCode && (descriptor.conforming ? descriptor.dpl <= cpl : descriptor.dpl === cpl);
  if (!fits) cpu.fault(VECTOR.ts, code(cs));
  if (!descriptor.present) cpu.fault(VECTOR.np, code(cs));
  loadFromDescriptor(context, CS, cs, descriptor);
  const ss = selectorOf(SS);
  if (isNull(ss)) cpu.fault(VECTOR.ts, code(ss));
  const stack = readDescriptor(context, ss, VECTOR.ts, ext);
  checkStack(context, stack, ss, cpl, VECTOR.ts, ext);
  loadFromDescriptor(context, SS, ss, stack);
  for (const segment of [DS, ES, FS, GS]) {
    const selector = selectorOf(segment);
    if (isNull(selector)) {
      loadNull(context, segment, selector);
      continue;
    }
    const data = readDescriptor(context, selector, VECTOR.ts, ext);
    const readable = !data.isSystem && (!data.isCode || (data.type & 2) !== 0);
    const reachable = data.conforming || (data.dpl >= cpl && data.dpl >= (selector & 3));
    if (!readable || !reachable) cpu.fault(VECTOR.ts, code(selector));
    if (!data.present) cpu.fault(VECTOR.np, code(selector));
    loadFromDescriptor(context, segment, selector, data);
  }
}

function pushErrorCode(context: SystemContext, errorCode: number, wide: boolean): void {
  const { cpu } = context;
  const mask = cpu.attributes(SS) & ATTR.db ? 0xffff_ffff : 0xffff;
  const expandDown = (cpu.attributes(SS) & 0xc) === 4;
  const limit = cpu.segmentLimit(SS);
  const stack = new StackWriter(context, {
    pointer: (cpu.gpr32(4) & mask) >>> 0,
    mask,
    base: cpu.segmentBase(SS),
    low: expandDown ? limit + 1 : 0,
    high: expandDown ? mask : limit,
    system: false,
  });
  stack.push(errorCode, wide ? 4 : 2);
  cpu.setGpr32(4, ((cpu.gpr32(4) & ~mask) | stack.pointer) >>> 0);
}
