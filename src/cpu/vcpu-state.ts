import { PorticoError } from "../errors.ts";
import { VCPU_BASE, VCPU_SIZE } from "../memory/layout.ts";
import { ARITHMETIC_FLAGS, ATTR, CPU, CPU_TRANSIENT, FLAG, MODE, PX, SEG, SS, STOP, VECTOR } from "./state.ts";

/** Thrown by slow paths to leave an instruction once `CPU.stop` is set; caught where generated code called in. */
export const ABANDON = { abandon: true } as const;

const TWO_32 = 0x1_0000_0000;

/**
 * TypeScript's view of one vCPU block. Offsets are those of `CPU`. Linear addresses are JavaScript numbers: canonical
 * addresses are signed 48-bit, so that the upper half is negative and exact.
 */
export class VcpuState {
  /** Host offset of the block. */
  readonly base: number;
  readonly data: DataView;
  readonly bytes: Uint8Array;

  constructor(memory: WebAssembly.Memory, index: number) {
    this.base = VCPU_BASE + index * VCPU_SIZE;
    this.data = new DataView(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
  }

  /** The block as data: equal for equal architectural states. */
  save(): Uint8Array {
    const saved = this.bytes.slice(this.base, this.base + CPU.size);
    for (const [from, to] of CPU_TRANSIENT) saved.fill(0, from, to);
    return saved;
  }

  /** What is derived from it is the engine's to rebuild. Throws `PorticoError` `SNAPSHOT_INVALID`. */
  load(saved: Uint8Array): void {
    if (saved.length !== CPU.size) {
      throw new PorticoError("SNAPSHOT_INVALID", `a vCPU of ${saved.length} bytes: this Portico saves ${CPU.size}`);
    }
    this.bytes.set(saved, this.base);
  }

  u32(offset: number): number {
    return this.data.getUint32(this.base + offset, true);
  }

  setU32(offset: number, value: number): void {
    this.data.setUint32(this.base + offset, value, true);
  }

  /** 64 bits as a signed integer; exact below 2^53, so for canonical addresses. */
  number(offset: number): number {
    return this.data.getInt32(this.base + offset + 4, true) * TWO_32 + this.data.getUint32(this.base + offset, true);
  }

  setNumber(offset: number, value: number): void {
    this.data.setUint32(this.base + offset, value >>> 0, true);
    this.data.setInt32(this.base + offset + 4, Math.floor(value / TWO_32), true);
  }

  u64(offset: number): bigint {
    return this.data.getBigUint64(this.base + offset, true);
  }

  setU64(offset: number, value: bigint): void {
    this.data.setBigUint64(this.base + offset, value, true);
  }

  // --- general registers ----------------------------------------------------------------------------------------

  gpr(register: number): bigint {
    return this.u64(CPU.gpr + register * 8);
  }

  setGpr(register: number, value: bigint): void {
    this.setU64(CPU.gpr + register * 8, BigInt.asUintN(64, value));
  }

  gpr32(register: number): number {
    return this.u32(CPU.gpr + register * 8);
  }

  /** Zero-extends to 64 bits, as 32-bit writes do. */
  setGpr32(register: number, value: number): void {
    this.setU32(CPU.gpr + register * 8, value);
    this.setU32(CPU.gpr + register * 8 + 4, 0);
  }

  /** Writes the low `width` bits (16, 32 or 64) of a register. */
  setGprWidth(register: number, value: bigint, width: number): void {
    if (width === 16) this.data.setUint16(this.base + CPU.gpr + register * 8, Number(value & 0xffffn), true);
    else this.setGpr(register, BigInt.asUintN(width, value));
  }

  /** Operand `index` of a system operation. */
  arg(index: number): bigint {
    return this.u64(CPU.args + index * 8);
  }

  argNumber(index: number): number {
    return this.number(CPU.args + index * 8);
  }

  // --- flags ----------------------------------------------------------------------------------------------------

  /** The whole EFLAGS register. */
  get eflags(): number {
    const result = this.data.getBigInt64(this.base + CPU.flagsResult, true);
    const carry = this.u32(CPU.flagsCarry);
    const cf = carry >>> 31;
    let flags = this.u32(CPU.eflags) & ~ARITHMETIC_FLAGS;
    flags |= cf | FLAG.one;
    if ((carry >>> 30) & 1 ? !cf : cf) flags |= FLAG.of;
    if (carry & 8) flags |= FLAG.af;
    if (result === 0n) flags |= FLAG.zf;
    if ((result < 0n ? 1 : 0) ^ (carry & 1)) flags |= FLAG.sf;
    let parity = (this.data.getUint8(this.base + CPU.flagsResult) ^ (carry >>> 8)) & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    if (!(parity & 1)) flags |= FLAG.pf;
    return flags;
  }

  set eflags(value: number) {
    const bit = (mask: number) => (value & mask ? 1 : 0);
    const zf = bit(FLAG.zf);
    const carry =
      (bit(FLAG.cf) << 31) |
      ((bit(FLAG.cf) ^ bit(FLAG.of)) << 30) |
      (bit(FLAG.af) << 3) |
      bit(FLAG.sf) |
      ((bit(FLAG.pf) ^ zf) << 8);
    this.setNumber(CPU.flagsResult, zf ^ 1);
    this.setU32(CPU.flagsCarry, carry >>> 0);
    this.setU32(CPU.eflags, ((value & ~ARITHMETIC_FLAGS & 0x3f_7fd7) | FLAG.one) >>> 0);
  }

  // --- modes ----------------------------------------------------------------------------------------------------

  get mode(): number {
    return this.u32(CPU.mode);
  }
  get cpl(): number {
    return this.u32(CPU.cpl);
  }
  get isProtected(): boolean {
    return (this.mode & (MODE.protected | MODE.v86)) === MODE.protected;
  }
  get isV86(): boolean {
    return (this.mode & MODE.v86) !== 0;
  }
  get isLong(): boolean {
    return (this.mode & MODE.long) !== 0;
  }
  get is64(): boolean {
    return (this.mode & MODE.code64) !== 0;
  }
  get iopl(): number {
    return (this.u32(CPU.eflags) & FLAG.iopl) >> 12;
  }

  // --- segments -------------------------------------------------------------------------------------------------

  selector(segment: number): number {
    return this.u32(CPU.segments + segment * SEG.size + SEG.selector);
  }

  attributes(segment: number): number {
    return this.u32(CPU.segments + segment * SEG.size + SEG.attributes);
  }

  segmentBase(segment: number): number {
    return this.number(CPU.segments + segment * SEG.size + SEG.base);
  }

  segmentLimit(segment: number): number {
    return this.u32(CPU.segments + segment * SEG.size + SEG.limit);
  }

  /**
   * Fills a segment cache and what is derived from it. `attributes` as VT-x lays them out; `limit` in bytes. Nothing is
   * checked here. CS changes need `updateMode` afterwards.
   */
  setSegment(segment: number, selector: number, base: number, limit: number, attributes: number): void {
    const at = CPU.segments + segment * SEG.size;
    this.setU32(at + SEG.selector, selector & 0xffff);
    this.setU32(at + SEG.attributes, attributes);
    this.setNumber(at + SEG.base, base);
    this.setNumber(at + SEG.limit, limit >>> 0);
    const { low, high } = offsetBounds(limit >>> 0, attributes);
    const type = attributes & ATTR.type;
    const usable = (attributes & (ATTR.unusable | ATTR.present)) === ATTR.present && (attributes & ATTR.s) !== 0;
    const isCode = (type & 8) !== 0;
    const readable = usable && (!isCode || (type & 2) !== 0);
    const writable = usable && !isCode && (type & 2) !== 0;
    this.setNumber(at + SEG.low, low);
    this.setNumber(at + SEG.highRead, readable ? high : -1);
    this.setNumber(at + SEG.highWrite, writable ? high : -1);
    const flat = base === 0 && readable && writable && low === 0 && high === 0xffff_ffff;
    const mask = this.u32(CPU.flatSegments) & ~(1 << segment);
    this.setU32(CPU.flatSegments, flat ? mask | (1 << segment) : mask);
    if (segment === SS) this.setNumber(CPU.stackMask, attributes & ATTR.db ? 0xffff_ffff : 0xffff);
  }

  // --- leaving an instruction -------------------------------------------------------------------------------------

  /** Records a fault without throwing; -1: the vector has no error code. */
  recordFault(vector: number, errorCode = -1): void {
    this.setU32(CPU.stop, STOP.fault);
    this.setU32(CPU.vector, vector);
    this.setU32(CPU.errorCode, errorCode);
  }

  /** Abandons the instruction with an exception. Only from slow paths that the instruction called. */
  fault(vector: number, errorCode = -1): never {
    this.recordFault(vector, errorCode);
    throw ABANDON;
  }

  /** #GP with an error code, the commonest fault. */
  gp(errorCode = 0): never {
    return this.fault(VECTOR.gp, errorCode);
  }

  /** What generated code starts each instruction with, by the code segment's default size. */
  get initialPrefixes(): number {
    return this.u32(CPU.initialPrefixes);
  }

  /** True when the operand-size attribute of an instruction with these prefixes is 16 bits. */
  isOperand16(px: number): boolean {
    const default16 = !this.is64 && (this.initialPrefixes & PX.addressSmall) !== 0;
    return default16 !== ((px & PX.operandSize) !== 0);
  }
}

/** Valid offsets of a segment: up to the limit, or above it when expand-down (SDM vol 3, 5.3). */
function offsetBounds(limit: number, attributes: number): { low: number; high: number } {
  const expandDown = (attributes & (ATTR.s | 0xc)) === (ATTR.s | 0x4);
  if (!expandDown) return { low: 0, high: limit };
  return { low: limit + 1, high: attributes & ATTR.db ? 0xffff_ffff : 0xffff };
}
