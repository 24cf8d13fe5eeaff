import type { ExitCpu, IoInstruction } from "../../exits/exit-cpu.ts";
import type { PortPermissionCpu } from "../../exits/io-permission.ts";
import type { SkipCpu, SkippedCpu } from "../../exits/skip-instruction.ts";
import type { IoClient } from "../../io/types.ts";
import { CLOCK } from "../../memory/layout.ts";
import { type DecodedInstruction, type InstructionRecord, newInstruction } from "../decode/decoder.ts";
import { ATTR, CPU, DS, ES, FLAG, MODE, PX, STOP, TR } from "../state.ts";
import { ABANDON } from "../vcpu-state.ts";
import type { SystemContext } from "./context.ts";

/** A page's worth: nobody asks for more. */
const PAGE = 4096;
const TWO_32 = 0x1_0000_0000;
/** Linear addresses of 64-bit code lie within this of 0, as signed numbers. */
const CANONICAL_END = 2 ** 47;

/** The bits of an address that an instruction with these prefixes uses. */
export function addressBits({ cpu }: SystemContext, px: number): 16 | 32 | 64 {
  const small = (px & PX.addressSmall) !== 0;
  if (cpu.is64) return small ? 32 : 64;
  return small ? 16 : 32;
}

type Decode = (bytes: Uint8Array, available: number, into: InstructionRecord) => DecodedInstruction;

/** The software CPU as the monitor layer sees it. */
export class SoftwareExitCpu implements ExitCpu {
  readonly task: PortPermissionCpu["task"];
  private readonly context: SystemContext;
  /** The vCPU's block. */
  private readonly words: Int32Array;
  private readonly decodeInstruction: Decode;
  /** Filled in by each exit. */
  private readonly decoded = newInstruction();
  private readonly instruction: { -readonly [field in keyof IoInstruction]: IoInstruction[field] } = {
    direction: "in",
    bytes: 1,
    port: undefined,
    string: false,
    rep: false,
    addressBits: 32,
    segment: DS,
    length: 0,
  };

  constructor(context: SystemContext, decode: Decode) {
    this.context = context;
    this.words = context.cpu.words;
    this.decodeInstruction = decode;
    const { cpu, mmu } = context;
    this.task = {
      get hasBitmap() {
        const attributes = cpu.attributes(TR);
        return (attributes & ATTR.unusable) === 0 && (attributes & 9) === 9;
      },
      get limit() {
        return cpu.segmentLimit(TR);
      },
      readWord: (offset) => mmu.read16(cpu.segmentBase(TR) + offset, true),
    };
  }

  get io(): IoClient {
    return this.context.io;
  }

  // --- rights -----------------------------------------------------------------------------------------------------

  get protectedMode(): boolean {
    return (this.context.cpu.mode & 1) !== 0;
  }
  get virtual8086(): boolean {
    return this.context.cpu.isV86;
  }
  get cpl(): number {
    return this.context.cpu.cpl;
  }
  get iopl(): number {
    return this.context.cpu.iopl;
  }

  // --- registers --------------------------------------------------------------------------------------------------

  low(register: number): number {
    return this.words[(CPU.gpr >> 2) + register * 2]! >>> 0;
  }
  high(register: number): number {
    return this.words[(CPU.gpr >> 2) + register * 2 + 1]!;
  }
  setLow(register: number, value: number): void {
    this.words[(CPU.gpr >> 2) + register * 2] = value;
  }
  setHigh(register: number, value: number): void {
    this.words[(CPU.gpr >> 2) + register * 2 + 1] = value;
  }
  get rip(): number {
    return this.context.rip;
  }
  set rip(value: number) {
    this.context.rip = value;
  }
  get code64(): boolean {
    return (this.words[CPU.mode >> 2]! & MODE.code64) !== 0;
  }
  get addressBits(): 16 | 32 | 64 {
    return addressBits(this.context, this.context.cpu.initialPrefixes);
  }
  setIopl(iopl: number): void {
    const { cpu } = this.context;
    cpu.setU32(CPU.eflags, (cpu.u32(CPU.eflags) & ~FLAG.iopl) | (iopl << 12));
  }
  get down(): boolean {
    return (this.context.cpu.u32(CPU.eflags) & FLAG.df) !== 0;
  }

  get eventful(): boolean {
    const { cpu, breakpoints } = this.context;
    const flags = cpu.u32(CPU.eflags) & (FLAG.tf | FLAG.rf);
    return flags !== 0 || breakpoints.any || cpu.u32(CPU.interruptShadow) !== 0;
  }

  skipState(): SkipCpu {
    const { cpu } = this.context;
    return {
      rip: cpu.u64(CPU.rip),
      code64: cpu.is64,
      eflags: cpu.u32(CPU.eflags),
      cr4: cpu.u32(CPU.cr4),
      breakpoints: [0, 1, 2, 3].map((number) => cpu.u64(CPU.dr + number * 8)),
      // What is due is collected; DR6 and DR7 change when the trap is taken.
      dr6: 0,
      dr7: cpu.u32(CPU.dr + 7 * 8),
    };
  }

  skipTo({ rip, eflags, debug }: SkippedCpu): void {
    const { cpu } = this.context;
    cpu.setU64(CPU.rip, rip);
    cpu.setU32(CPU.eflags, eflags);
    cpu.setU32(CPU.interruptShadow, 0);
    if (debug !== undefined) this.debugHits(debug.dr6);
  }

  debugHits(bits: number): void {
    this.context.breakpoints.collect(bits);
  }

  // --- code -------------------------------------------------------------------------------------------------------

  fetch(rip: number, into: Uint8Array, from: number): number {
    const available = this.context.mmu.fetchInPage(into, rip, from);
    if (available === from) throw ABANDON;
    return available;
  }

  decode(bytes: Uint8Array, available: number): IoInstruction | undefined {
    const { instruction, decoded } = this;
    this.decodeInstruction(bytes, available, decoded);
    const { map, opcode, attribute, px, length } = decoded;
    instruction.length = length;
    if (length > available) return instruction;
    const string = (opcode & 0xfc) === 0x6c;
    const immediate = (opcode & 0xfc) === 0xe4;
    if (map !== 0 || !(string || immediate || (opcode & 0xfc) === 0xec)) return undefined;
    // Bit 0 is the width, bit 1 the direction, as in most one-byte opcodes.
    const override = (px & PX.segment) >> PX.segmentShift;
    const output = (opcode & 2) !== 0;
    instruction.direction = output ? "out" : "in";
    instruction.bytes = (opcode & 1) === 0 ? 1 : attribute === 16 ? 2 : 4;
    instruction.port = immediate ? bytes[length - 1]! : undefined;
    instruction.string = string;
    instruction.rep = (px & (PX.rep | PX.repne)) !== 0;
    instruction.addressBits = addressBits(this.context, px);
    instruction.segment = !output ? ES : override === 0 ? DS : override - 1;
    return instruction;
  }

  get walkLoads(): number {
    return this.context.mmu.walkLoads;
  }

  // --- memory -----------------------------------------------------------------------------------------------------

  linear(segment: number, offset: number, bytes: number, write: boolean): number {
    return this.context.mmu.segmented(segment, offset, bytes, write);
  }

  segmentRoom(segment: number, offset: number): number {
    const { cpu } = this.context;
    if (cpu.is64) return PAGE;
    return cpu.segmentLimit(segment) - offset + 1;
  }

  readMemory(linear: number, bytes: number): number {
    return this.context.mmu.readNumber(linear, bytes);
  }
  writeMemory(linear: number, bytes: number, value: number): void {
    this.context.mmu.writeNumber(linear, bytes, value);
  }
  proveWritable(linear: number, bytes: number): void {
    this.context.mmu.prove(linear, bytes);
  }

  hostMemory(linear: number, bytes: number, write: boolean): Uint8Array | undefined {
    const { mmu, memory } = this.context;
    const host = mmu.hostPage(linear, write);
    return host === 0 ? undefined : memory.bytes.subarray(host, host + bytes);
  }

  canAccess(linear: number, bytes: number, write: boolean): boolean {
    const { cpu, mmu } = this.context;
    const fault = cpu.u64(CPU.cr2);
    const end = linear + bytes;
    // Numbers far outside are not exact: none of them is stepped through.
    if (cpu.is64 ? linear < -CANONICAL_END || end > CANONICAL_END : end > TWO_32) return false;
    try {
      for (let at = linear; at < end; at += PAGE - (((at % PAGE) + PAGE) % PAGE)) {
        // Neither touches a device.
        if (write) mmu.prove(at, 1);
        else mmu.hostPage(at, false);
      }
      return true;
    } catch (thrown) {
      if (thrown !== ABANDON) throw thrown;
      cpu.setU32(CPU.stop, STOP.none);
      cpu.setU64(CPU.cr2, fault);
      return false;
    }
  }

  get mayBatch(): boolean {
    const { breakpoints, mmu } = this.context;
    return !breakpoints.any && !mmu.checksAlignment;
  }
  get unitsAllowed(): number {
    const { cpu } = this.context;
    return cpu.data.getInt32(CLOCK.budget, true) + 1;
  }
  countUnits(units: number): void {
    this.context.retireUnits(units);
  }

  // --- leaving ----------------------------------------------------------------------------------------------------

  protectionFault(): never {
    return this.context.cpu.gp(0);
  }

  wait(): never {
    this.context.cpu.setU32(CPU.stop, STOP.wait);
    throw ABANDON;
  }
}
