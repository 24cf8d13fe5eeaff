/** A CPU for tests of exit handlers: registers, and a log of what reaches the ports. */

import { type IoClient, WAIT } from "../io/types.ts";
import type { ExitCpu, IoInstruction } from "./exit-cpu.ts";
import type { SkipCpu, SkippedCpu } from "./skip-instruction.ts";

/** What `protectionFault` and `wait` throw. */
export const FAULT = new Error("#GP(0)");
export const WAITS = new Error("waits for ring 3");

export class FakeCpu implements ExitCpu {
  registers = new Array<bigint>(16).fill(0n);
  rip = 0x1000;
  code64 = true;
  eflags = 2;
  cr4 = 8;
  dr7 = 0x400;
  breakpoints = [0n, 0n, 0n, 0n];
  hits = 0;
  protectedMode = false;
  virtual8086 = false;
  cpl = 0;
  iopl = 0;
  /** Words of the TSS. */
  readonly words = new Map<number, number>();
  readonly task = { hasBitmap: true, limit: 0x2067, readWord: (offset: number) => this.words.get(offset) ?? 0 };
  /** What `decode` finds. */
  instruction: (Partial<IoInstruction> & Pick<IoInstruction, "direction" | "bytes" | "length">) | undefined;
  answer = 0;
  onAccess: (() => void) | undefined;
  readonly accesses: string[] = [];
  budget = 1000;
  readonly memory = new Uint8Array(0x1_0000);
  walkLoads = 0;

  readonly io: IoClient = {
    portRead: (port, width) => {
      this.onAccess?.();
      if (this.answer !== WAIT) this.accesses.push(`in ${port} ${width}`);
      return this.answer;
    },
    portWrite: (port, value, width) => {
      this.onAccess?.();
      if (this.answer !== WAIT) this.accesses.push(`out ${port} ${width} ${value}`);
      return this.answer === WAIT ? WAIT : 0;
    },
    portReadString: () => 0,
    portWriteString: () => 0,
    mmioRead: (address, width) => {
      this.accesses.push(`read ${address} ${width}`);
      return 0;
    },
    mmioWrite: (address, width) => {
      this.accesses.push(`write ${address} ${width}`);
      return 0;
    },
    waiting: undefined,
    clearJournal: () => {},
  };

  low(register: number): number {
    return Number(this.registers[register]! & 0xffff_ffffn);
  }
  high(register: number): number {
    return Number(BigInt.asIntN(32, this.registers[register]! >> 32n));
  }
  setLow(register: number, value: number): void {
    this.registers[register] = (this.registers[register]! & ~0xffff_ffffn) | BigInt(value >>> 0);
  }
  setHigh(register: number, value: number): void {
    this.registers[register] = (BigInt(value >>> 0) << 32n) | BigInt(this.low(register));
  }
  readonly addressBits = 64;
  setIopl(iopl: number): void {
    this.iopl = iopl;
  }
  canAccess(linear: number, bytes: number): boolean {
    return linear >= 0 && linear + bytes <= this.memory.length;
  }
  get down(): boolean {
    return (this.eflags & 0x400) !== 0;
  }
  get eventful(): boolean {
    return (this.eflags & 0x1_0100) !== 0 || (this.dr7 & 0xff) !== 0;
  }
  skipState(): SkipCpu {
    const { code64, eflags, cr4, breakpoints, dr7 } = this;
    return { rip: BigInt(this.rip), code64, eflags, cr4, breakpoints, dr6: 0, dr7 };
  }
  skipTo({ rip, eflags, debug }: SkippedCpu): void {
    this.rip = Number(rip);
    this.eflags = eflags;
    this.debugHits(debug?.dr6 ?? 0);
  }
  debugHits(bits: number): void {
    this.hits |= bits;
  }
  /** Bytes of code up to the end of a page. */
  inPage = 15;
  fetch(_rip: number, _into: Uint8Array, from: number): number {
    return from === 0 ? this.inPage : 15;
  }
  decode(): IoInstruction | undefined {
    return (
      this.instruction && {
        port: undefined,
        string: false,
        rep: false,
        addressBits: 64,
        segment: 3,
        ...this.instruction,
      }
    );
  }
  linear(_segment: number, offset: number): number {
    return offset;
  }
  segmentRoom(): number {
    return 4096;
  }
  readMemory(linear: number, bytes: number): number {
    return this.memory.subarray(linear, linear + bytes).reduceRight((value, byte) => value * 256 + byte, 0);
  }
  writeMemory(linear: number, bytes: number, value: number): void {
    for (let i = 0; i < bytes; i++) this.memory[linear + i] = value / 2 ** (8 * i);
  }
  proveWritable(): void {}
  /** What `hostMemory` gives. */
  block: Uint8Array | undefined;
  hostMemory(): Uint8Array | undefined {
    return this.block;
  }
  readonly mayBatch = true;
  get unitsAllowed(): number {
    return this.budget;
  }
  countUnits(units: number): void {
    this.budget -= units;
  }
  protectionFault(): never {
    throw FAULT;
  }
  wait(): never {
    throw WAITS;
  }
}
