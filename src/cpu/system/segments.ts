import { RESULT } from "../interp/imports.ts";
import { ATTR, CPU, CS, DS, ES, FS, GS, LDTR, SS, TR, VECTOR } from "../state.ts";
import { isCanonical } from "./canonical.ts";
import type { SystemContext } from "./context.ts";
import {
  type Descriptor,
  decodeDescriptor,
  descriptorAddress,
  isNull,
  markAccessed,
  readBaseHigh,
  readDescriptor,
  setBusy,
  TYPE,
} from "./descriptors.ts";

/** Attributes of a present, accessed, writable data segment of 64 KiB at DPL 3: what V86 mode uses (SDM vol 3, 20.2.1). */
export const V86_ATTRIBUTES = 0xf3;
const REAL_DATA = 0x93;

/** Real and V86 mode: base from the selector. Real mode keeps limit and size (so "unreal mode" works). */
export function loadRealSegment({ cpu }: SystemContext, segment: number, selector: number): void {
  const base = (selector & 0xffff) << 4;
  if (cpu.isV86) {
    cpu.setSegment(segment, selector, base, 0xffff, V86_ATTRIBUTES);
    return;
  }
  const kept = cpu.attributes(segment) & (ATTR.db | ATTR.g);
  cpu.setSegment(segment, selector, base, cpu.segmentLimit(segment), kept | REAL_DATA);
}

/** A null selector in DS, ES, FS, GS: unusable. The base stays in 64-bit mode implementations of Intel; it becomes 0. */
export function loadNull({ cpu }: SystemContext, segment: number, selector: number): void {
  cpu.setSegment(segment, selector, 0, 0, ATTR.unusable);
}

/** Loads SS, DS, ES, FS or GS with all checks (SDM vol 2, MOV). Nothing changes before the last check has passed. */
export function loadSegment(context: SystemContext, segment: number, selector: number): void {
  const { cpu } = context;
  if (!cpu.isProtected) {
    loadRealSegment(context, segment, selector);
    return;
  }
  const code = selector & 0xfffc;
  const rpl = selector & 3;
  if (segment === SS) {
    if (isNull(selector)) {
      // Allowed only in 64-bit mode below CPL 3, with RPL = CPL.
      if (!cpu.is64 || cpu.cpl === 3 || rpl !== cpu.cpl) cpu.gp(0);
      cpu.setSegment(SS, selector, 0, 0, ATTR.unusable | (cpu.cpl << ATTR.dplShift));
      return;
    }
    const descriptor = readDescriptor(context, selector);
    checkStack(context, descriptor, selector, cpu.cpl, VECTOR.gp, 0);
    loadFromDescriptor(context, SS, selector, descriptor);
    return;
  }
  if (isNull(selector)) {
    loadNull(context, segment, selector);
    return;
  }
  const descriptor = readDescriptor(context, selector);
  const readable = !descriptor.isSystem && (!descriptor.isCode || (descriptor.type & 2) !== 0);
  if (!readable) cpu.gp(code);
  if (!descriptor.conforming && (rpl > descriptor.dpl || cpu.cpl > descriptor.dpl)) cpu.gp(code);
  if (!descriptor.present) cpu.fault(VECTOR.np, code);
  loadFromDescriptor(context, segment, selector, descriptor);
}

/** Checks a stack segment for `cpl`; `vector` is #GP, or #TS when the selector comes from a TSS. */
export function checkStack(
  context: SystemContext,
  descriptor: Descriptor,
  selector: number,
  cpl: number,
  vector: number,
  ext: number,
): void {
  const code = (selector & 0xfffc) | ext;
  const writableData = !descriptor.isSystem && !descriptor.isCode && (descriptor.type & 2) !== 0;
  if ((selector & 3) !== cpl || descriptor.dpl !== cpl || !writableData) context.cpu.fault(vector, code);
  if (!descriptor.present) context.cpu.fault(VECTOR.ss, code);
}

export function loadFromDescriptor(
  context: SystemContext,
  segment: number,
  selector: number,
  descriptor: Descriptor,
): void {
  const attributes = markAccessed(context, descriptor);
  context.cpu.setSegment(segment, selector, descriptor.base, descriptor.limit, attributes);
}

/** CS after all checks; CPL becomes the RPL of `selector`. */
export function loadCode(context: SystemContext, selector: number, descriptor: Descriptor): void {
  loadFromDescriptor(context, CS, selector, descriptor);
  context.setCpl(selector & 3);
}

/** MOV Sreg and POP Sreg: SS also shields the next instruction. */
function afterLoad({ cpu }: SystemContext, segment: number): number {
  if (segment !== SS) return RESULT.refetch;
  cpu.setU32(CPU.interruptShadow, 2);
  return RESULT.leave;
}

export function moveToSegment(context: SystemContext): number {
  const segment = context.cpu.argNumber(0);
  loadSegment(context, segment, context.cpu.u32(CPU.args + 8) & 0xffff);
  return afterLoad(context, segment);
}

export function popSegment(context: SystemContext): number {
  const { cpu, mmu } = context;
  const segment = cpu.argNumber(0);
  const bytes = cpu.argNumber(1) / 8;
  const pointer = stackPointer(context);
  // Only the selector is read (SDM vol 2, POP).
  const selector = mmu.read16(mmu.segmented(SS, pointer, 2, false));
  const wasWide = stackMask(context);
  loadSegment(context, segment, selector);
  setStackPointer(context, pointer + bytes, wasWide);
  return afterLoad(context, segment);
}

export function loadFarPointer(context: SystemContext): number {
  const { cpu } = context;
  const target = cpu.u32(CPU.args + 24);
  loadSegment(context, cpu.argNumber(0), cpu.u32(CPU.args + 8) & 0xffff);
  cpu.setGprWidth(target & 0xf, cpu.arg(2), target >>> 8);
  return RESULT.refetch;
}

// --- the stack pointer at its width ----------------------------------------------------------------------------------

/** Mask of the stack pointer as a number; 0 stands for 64 bits. */
export function stackMask({ cpu }: SystemContext): number {
  return cpu.is64 ? 0 : cpu.attributes(SS) & ATTR.db ? 0xffff_ffff : 0xffff;
}

export function stackPointer(context: SystemContext): number {
  const { cpu } = context;
  const mask = stackMask(context);
  return mask === 0 ? cpu.number(CPU.gpr + 4 * 8) : (cpu.gpr32(4) & mask) >>> 0;
}

export function setStackPointer({ cpu }: SystemContext, value: number, mask: number): void {
  if (mask === 0) cpu.setNumber(CPU.gpr + 4 * 8, value);
  else cpu.setGpr32(4, ((cpu.gpr32(4) & ~mask) | (value & mask)) >>> 0);
}

/** Pushes onto the current stack and moves nothing until `commit`. */
export class StackWriter {
  private readonly context: SystemContext;
  private readonly mask: number;
  private readonly base: number;
  private readonly limits: {
    readonly low: number;
    readonly high: number;
    readonly vector: number;
    readonly code: number;
  };
  private readonly system: boolean;
  pointer: number;

  /** `mask` 0: a 64-bit stack without limits. `vector` and `code`: the fault for an access outside the limits. */
  constructor(
    context: SystemContext,
    options: {
      pointer: number;
      mask: number;
      base: number;
      low: number;
      high: number;
      vector?: number;
      code?: number;
      system: boolean;
    },
  ) {
    this.context = context;
    this.pointer = options.pointer;
    this.mask = options.mask;
    this.base = options.base;
    this.limits = {
      low: options.low,
      high: options.high,
      vector: options.vector ?? VECTOR.ss,
      code: options.code ?? 0,
    };
    this.system = options.system;
  }

  push(value: number | bigint, bytes: number): void {
    const { mask, limits, context } = this;
    let linear: number;
    if (mask === 0) {
      this.pointer -= bytes;
      linear = this.pointer;
    } else {
      this.pointer = ((this.pointer - bytes) & mask) >>> 0;
      if (this.pointer < limits.low || this.pointer + bytes - 1 > limits.high) {
        context.cpu.fault(limits.vector, limits.code);
      }
      linear = (this.pointer + this.base) % 0x1_0000_0000;
    }
    context.mmu.write(linear, bytes, BigInt.asUintN(bytes * 8, BigInt(value)), this.system);
  }
}

/** A writer for the stack in SS:rSP as it is. */
export function currentStack(context: SystemContext): StackWriter {
  const { cpu } = context;
  const at = CPU.segments + SS * 48;
  return new StackWriter(context, {
    pointer: stackPointer(context),
    mask: stackMask(context),
    base: cpu.is64 ? 0 : cpu.segmentBase(SS),
    low: cpu.number(at + 24),
    high: cpu.number(at + 40),
    system: false,
  });
}

// --- LDTR, TR and inspection ------------------------------------------------------------------------------------------

export function loadLdt(context: SystemContext): number {
  const { cpu } = context;
  const selector = cpu.u32(CPU.args) & 0xffff;
  if (isNull(selector)) {
    cpu.setSegment(LDTR, selector, 0, 0, ATTR.unusable);
    return RESULT.refetch;
  }
  const code = selector & 0xfffc;
  if (selector & 4) cpu.gp(code);
  const descriptor = readDescriptor(context, selector);
  if (!descriptor.isSystem || descriptor.type !== TYPE.ldt) cpu.gp(code);
  const high = cpu.isLong ? readBaseHigh(context, descriptor, selector) : 0;
  if (!descriptor.present) cpu.fault(VECTOR.np, code);
  if (!isCanonical(high + descriptor.base)) cpu.gp(code);
  cpu.setSegment(LDTR, selector, high + descriptor.base, descriptor.limit, descriptor.attributes);
  return RESULT.refetch;
}

export function loadTask(context: SystemContext): number {
  const { cpu } = context;
  const selector = cpu.u32(CPU.args) & 0xffff;
  const code = selector & 0xfffc;
  if (isNull(selector)) cpu.gp(0);
  if (selector & 4) cpu.gp(code);
  const descriptor = readDescriptor(context, selector);
  const available = descriptor.type === TYPE.tss32 || (descriptor.type === TYPE.tss16 && !cpu.isLong);
  if (!descriptor.isSystem || !available) cpu.gp(code);
  const high = cpu.isLong ? readBaseHigh(context, descriptor, selector) : 0;
  if (!descriptor.present) cpu.fault(VECTOR.np, code);
  if (!isCanonical(high + descriptor.base)) cpu.gp(code);
  setBusy(context, descriptor.address, true);
  cpu.setSegment(TR, selector, high + descriptor.base, descriptor.limit, descriptor.attributes | 2);
  return RESULT.refetch;
}

/** A descriptor for LAR, LSL, VERR, VERW, or undefined: these never fault on a bad selector. */
function inspect(context: SystemContext, selector: number): Descriptor | undefined {
  if (isNull(selector)) return undefined;
  const address = descriptorAddress(context, selector);
  if (address === -1) return undefined;
  return decodeDescriptor(address, context.mmu.read32(address, true), context.mmu.read32(address + 4, true));
}

function setZf({ cpu }: SystemContext, set: boolean): number {
  cpu.eflags = (cpu.eflags & ~0x40) | (set ? 0x40 : 0);
  return RESULT.refetch;
}

function visible(context: SystemContext, descriptor: Descriptor, selector: number): boolean {
  if (descriptor.conforming) return true;
  return descriptor.dpl >= Math.max(context.cpu.cpl, selector & 3);
}

/** SDM vol 2, tables 3-53 (LAR) and 3-54 (LSL): which system types are valid. */
const LAR_LEGACY = [1, 2, 3, 4, 5, 9, 11, 12];
const LAR_LONG = [2, 9, 11, 12];
const LSL_LEGACY = [1, 2, 3, 9, 11];
const LSL_LONG = [2, 9, 11];

function inspectInto(context: SystemContext, types: readonly number[], value: (d: Descriptor) => number): number {
  const { cpu } = context;
  const selector = cpu.u32(CPU.args) & 0xffff;
  const descriptor = inspect(context, selector);
  if (descriptor === undefined || !visible(context, descriptor, selector)) return setZf(context, false);
  if (descriptor.isSystem && !types.includes(descriptor.type)) return setZf(context, false);
  cpu.setGprWidth(cpu.argNumber(1), BigInt(value(descriptor)), cpu.argNumber(2));
  return setZf(context, true);
}

export const loadAccessRights = (context: SystemContext) =>
  inspectInto(context, context.cpu.isLong ? LAR_LONG : LAR_LEGACY, (d) => (d.high & 0x00ff_ff00) >>> 0);

export const loadLimit = (context: SystemContext) =>
  inspectInto(context, context.cpu.isLong ? LSL_LONG : LSL_LEGACY, (d) => d.limit);

export function verify(context: SystemContext, write: boolean): number {
  const selector = context.cpu.u32(CPU.args) & 0xffff;
  const descriptor = inspect(context, selector);
  if (descriptor === undefined || descriptor.isSystem || !visible(context, descriptor, selector)) {
    return setZf(context, false);
  }
  const allowed = write
    ? !descriptor.isCode && (descriptor.type & 2) !== 0
    : !descriptor.isCode || (descriptor.type & 2) !== 0;
  return setZf(context, allowed);
}

export const DATA_SEGMENTS = [ES, DS, FS, GS] as const;
