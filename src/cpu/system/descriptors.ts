import { ATTR, CPU, LDTR, SEG, VECTOR } from "../state.ts";
import type { SystemContext } from "./context.ts";

/** A descriptor read from a table, decoded. SDM vol 3, 3.4.5 and 3.5. */
export interface Descriptor {
  /** Linear address it was read from. */
  readonly address: number;
  readonly low: number;
  readonly high: number;
  /** Bits 8-23 of the high half as `ATTR`. */
  readonly attributes: number;
  readonly base: number;
  /** In bytes. */
  readonly limit: number;
  readonly type: number;
  readonly dpl: number;
  readonly isSystem: boolean;
  readonly present: boolean;
  readonly isCode: boolean;
  readonly conforming: boolean;
}

/** System descriptor types, SDM vol 3, table 3-2. */
export const TYPE = {
  tss16: 1,
  ldt: 2,
  tss16Busy: 3,
  callGate16: 4,
  taskGate: 5,
  interruptGate16: 6,
  trapGate16: 7,
  tss32: 9,
  tss32Busy: 11,
  callGate32: 12,
  interruptGate32: 14,
  trapGate32: 15,
} as const;

export const isNull = (selector: number) => (selector & 0xfffc) === 0;

export function decodeDescriptor(address: number, low: number, high: number): Descriptor {
  const attributes = (high >>> 8) & 0xf0ff;
  const raw = (low & 0xffff) | (high & 0xf_0000);
  const type = attributes & ATTR.type;
  const isSystem = (attributes & ATTR.s) === 0;
  return {
    address,
    low,
    high,
    attributes,
    base: ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0,
    limit: attributes & ATTR.g ? ((raw << 12) | 0xfff) >>> 0 : raw,
    type,
    dpl: (attributes >> ATTR.dplShift) & 3,
    isSystem,
    present: (attributes & ATTR.present) !== 0,
    isCode: !isSystem && (type & 8) !== 0,
    conforming: !isSystem && (type & 0xc) === 0xc,
  };
}

/**
 * Linear address of a selector's descriptor, or -1 when `bytes` there exceed the table. A null LDTR has no descriptors.
 */
export function descriptorAddress({ cpu }: SystemContext, selector: number, bytes = 8): number {
  const offset = selector & 0xfff8;
  if (selector & 4) {
    if (cpu.attributes(LDTR) & ATTR.unusable || isNull(cpu.selector(LDTR))) return -1;
    return offset + bytes - 1 > cpu.segmentLimit(LDTR) ? -1 : cpu.segmentBase(LDTR) + offset;
  }
  return offset + bytes - 1 > cpu.u32(CPU.gdtrLimit) ? -1 : cpu.number(CPU.gdtrBase) + offset;
}

/** Reads a descriptor; outside its table: `vector` with the selector as error code (plus `ext`). */
export function readDescriptor(
  context: SystemContext,
  selector: number,
  vector: number = VECTOR.gp,
  ext = 0,
): Descriptor {
  const address = descriptorAddress(context, selector);
  if (address === -1) context.cpu.fault(vector, (selector & 0xfffc) | ext);
  return decodeDescriptor(address, context.mmu.read32(address, true), context.mmu.read32(address + 4, true));
}

/** High half of the base of a 16-byte system descriptor in IA-32e mode. */
export function readBaseHigh(context: SystemContext, descriptor: Descriptor, selector: number): number {
  if (descriptorAddress(context, selector, 16) === -1) context.cpu.gp(selector & 0xfffc);
  const high = context.mmu.read32(descriptor.address + 8, true) | 0;
  const type = context.mmu.read32(descriptor.address + 12, true);
  if ((type & 0x1f00) !== 0) context.cpu.gp(selector & 0xfffc);
  return high * 0x1_0000_0000;
}

/** Sets the accessed bit of a code or data descriptor in memory. */
export function markAccessed(context: SystemContext, descriptor: Descriptor): number {
  if ((descriptor.attributes & 1) === 0) {
    context.mmu.write(descriptor.address + 5, 1, BigInt(((descriptor.high >>> 8) & 0xff) | 1), true);
  }
  return descriptor.attributes | 1;
}

/** Changes the type field of a TSS descriptor in memory (busy bit). */
export function setBusy(context: SystemContext, address: number, busy: boolean): void {
  const byte = context.mmu.read(address + 5, 1, true);
  context.mmu.write(address + 5, 1, busy ? byte | 2n : byte & ~2n, true);
}

/** Copies a segment cache between vCPU fields, for IRET-like checks. */
export const segmentField = (segment: number, field: keyof typeof SEG) =>
  CPU.segments + segment * SEG.size + SEG[field];
