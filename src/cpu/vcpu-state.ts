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
  /** The block in words: index `offset >> 2`. */
  readonly words: Int32Array;
  /** The whole memory in words, for what is known to be aligned. */
  readonly memoryWords: Int32Array;

  constructor(memory: WebAssembly.Memory, index: number) {
    this.base = VCPU_BASE + index * VCPU_SIZE;
    this.words = new Int32Array(memory.buffer, this.base, VCPU_SIZE / 4);
    this.memoryWords = new Int32Array(memory.buffer);
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
    return this.words[offset >> 2]! >>> 0;
  }

  setU32(offset: number, value: number): void {
    this.words[offset >> 2] = value;
  }

  /** 64 bits as a signed integer; exact below 2^53, so for canonical addresses. */
  number(offset: number): number {
    return this.words[(offset >> 2) + 1]! * TWO_32 + (this.words[offset >> 2]! >>> 0);
  }

  setNumber(offset: number, value: number): void {
    this.words[offset >> 2] = value;
    this.words[(offset >> 2) + 1] = Math.floor(value / TWO_32);
  }

  /** Copies 64 bits. */
  copy64(to: number, from: number): void {
    this.words[to >> 2] = this.words[from >> 2]!;
    this.words[(to >> 2) + 1] = this.words[(from >> 2) + 1]!;
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
    const { words } = this;
    const low = words[CPU.flagsResult >> 2]!;
    const high = words[(CPU.flagsResult >> 2) + 1]!;
    const carry = words[CPU.flagsCarry >> 2]!;
    const cf = carry >>> 31;
    let flags = words[CPU.eflags >> 2]! & ~ARITHMETIC_FLAGS;
    flags |= cf | FLAG.one;
    if (((carry >>> 30) & 1) !== cf) flags |= FLAG.of;
    if (carry & 8) flags |= FLAG.af;
    if ((low | high) === 0) flags |= FLAG.zf;
    if ((high >>> 31) ^ (carry & 1)) flags |= FLAG.sf;
    let parity = (low ^ (carry >>> 8)) & 0xff;
    parity ^= parity >> 4;
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    if (!(parity & 1)) flags |= FLAG.pf;
    return flags;
  }

  set eflags(value: number) {
    const { words } = this;
    const cf = value & 1;
    const pf = (value >> 2) & 1;
    const af = (value >> 4) & 1;
    const zf = (value >> 6) & 1;
    const sf = (value >> 7) & 1;
    const of = (value >> 11) & 1;
    words[CPU.flagsResult >> 2] = zf ^ 1;
    words[(CPU.flagsResult >> 2) + 1] = 0;
    words[CPU.flagsCarry >> 2] = (cf << 31) | ((cf ^ of) << 30) | (af << 3) | sf | ((pf ^ zf) << 8);
    words[CPU.eflags >> 2] = (value & ~ARITHMETIC_FLAGS & 0x3f_7fd7) | FLAG.one;
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
    const { words } = this;
    const at = (CPU.segments + segment * SEG.size) >> 2;
    words[at + SEG.selector / 4] = selector & 0xffff;
    words[at + SEG.attributes / 4] = attributes;
    words[at + SEG.base / 4] = base;
    words[at + SEG.base / 4 + 1] = Math.floor(base / TWO_32);
    words[at + SEG.limit / 4] = limit;
    words[at + SEG.limit / 4 + 1] = 0;
    const usable = (attributes & (ATTR.unusable | ATTR.present | ATTR.s)) === (ATTR.present | ATTR.s);
    const isCode = (attributes & 8) !== 0;
    const readable = usable && (!isCode || (attributes & 2) !== 0);
    const writable = usable && !isCode && (attributes & 2) !== 0;
    // Valid offsets: up to the limit, or above it when expand-down (SDM vol 3, 5.3).
    const expandDown = (attributes & (ATTR.s | 0xc)) === (ATTR.s | 0x4);
    const top = !expandDown ? limit | 0 : attributes & ATTR.db ? -1 : 0xffff;
    words[at + SEG.low / 4] = expandDown ? limit + 1 : 0;
    words[at + SEG.low / 4 + 1] = expandDown && (limit | 0) === -1 ? 1 : 0;
    words[at + SEG.highRead / 4] = readable ? top : -1;
    words[at + SEG.highRead / 4 + 1] = readable ? 0 : -1;
    words[at + SEG.highWrite / 4] = writable ? top : -1;
    words[at + SEG.highWrite / 4 + 1] = writable ? 0 : -1;
    const flat = base === 0 && readable && writable && !expandDown && (limit | 0) === -1;
    const mask = words[CPU.flatSegments >> 2]! & ~(1 << segment);
    words[CPU.flatSegments >> 2] = flat ? mask | (1 << segment) : mask;
    if (segment === SS) {
      words[CPU.stackMask >> 2] = attributes & ATTR.db ? -1 : 0xffff;
      words[(CPU.stackMask >> 2) + 1] = 0;
    }
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
