/**
 * The monitor's side of an I/O instruction: three ways to learn what it is, one way to complete it.
 *
 * - `decodedExit`: the processor has said it all (VT-x exit qualification and instruction length). Nothing is fetched or
 *   decoded, but for INS and OUTS, which go to the emulator.
 * - `emulatedExit`: the processor has said "I/O". The instruction is fetched, decoded and emulated.
 * - `trap`: a #GP(0) of a guest without rights at the ports. As before, and IOPL and permission bitmap are checked here.
 *
 * All end in the same call of `io/`. Nothing of an exit is kept: what has to wait leaves RIP where it is and comes back
 * as a new exit, which the access journal answers.
 */

import { DeviceError } from "../io/errors.ts";
import { WAIT } from "../io/types.ts";
import { type ExitCpu, type IoInstruction, REGISTER } from "./exit-cpu.ts";
import { EXIT_KINDS, type ExitKind, type ExitStatistics, type ExitWork, newWork } from "./exit-work.ts";
import { isLength, LONGEST_INSTRUCTION } from "./instruction-length.ts";
import type { IoDirection } from "./io-exit.ts";
import { mayAccessPort } from "./io-permission.ts";
import { skipInstruction } from "./skip-instruction.ts";
import { STRING, stringIo } from "./string-io.ts";
import { decodeVmxIo } from "./vmx-io.ts";

/** What the #GP handler of a monitor finds. */
export interface TrapFrame {
  readonly vector: number;
  readonly errorCode: number;
  readonly cs: number;
  readonly rip: number;
}

/** An exit that could not be completed; the guest got #GP(0) for it. */
export interface ExitFailure {
  readonly kind: ExitKind;
  readonly message: string;
  readonly cause?: unknown;
}

const PROTECTION_FAULT = 13;
/** As many bytes of an instruction as a message shows. */
const SHOWN = 6;

const hex = (value: number, digits: number): string => `0x${value.toString(16).padStart(digits, "0")}`;

export class IoMonitor {
  /** Told of each exit that could not be completed. */
  onFailure: (failure: ExitFailure) => void = () => {};
  readonly work: Readonly<Record<ExitKind, ExitWork>>;
  private readonly cpu: ExitCpu;
  private readonly code = new Uint8Array(LONGEST_INSTRUCTION);
  /** Bytes in `code`. */
  private available = 0;

  constructor(cpu: ExitCpu) {
    this.cpu = cpu;
    this.work = { decoded: newWork(), emulated: newWork(), trap: newWork(), hypercall: newWork() };
  }

  statistics(): ExitStatistics[] {
    return EXIT_KINDS.map((kind) => ({ kind, ...this.work[kind] }));
  }

  // --- the ways in ------------------------------------------------------------------------------------------------

  /** @param length the VM-exit instruction length */
  decodedExit(qualification: number, length: number): void {
    const exit = decodeVmxIo(qualification);
    const work = this.work.decoded;
    if (!exit.ok) {
      this.leave(work);
      this.failed("decoded", `exit qualification ${hex(qualification, 8)} is not one of an I/O exit: ${exit.fault}`);
    }
    const { port, bytes, direction, string } = exit.value;
    if (string) {
      this.emulatedExit();
      return;
    }
    this.leave(work);
    if (!isLength(length)) {
      this.failed("decoded", `${this.describe(direction, port, bytes)}: no instruction has ${length} bytes`);
    }
    let done = false;
    try {
      done = this.access(direction, port, bytes);
    } catch (thrown) {
      this.unlessDevice(thrown);
      this.failed("decoded", this.describe(direction, port, bytes), thrown);
    }
    if (!done) this.wait(work);
    retire(this.cpu, length, port, bytes);
  }

  emulatedExit(): void {
    const { cpu } = this;
    this.leave(this.work.emulated);
    this.emulate("emulated", this.fetch("emulated", cpu.rip));
  }

  trap(frame: TrapFrame): void {
    const { cpu } = this;
    const work = this.work.trap;
    this.leave(work);
    if (frame.vector !== PROTECTION_FAULT || frame.errorCode !== 0) this.reflect(work);
    const instruction = this.fetch("trap", frame.rip);
    if (instruction === undefined) this.reflect(work);
    const loads = cpu.walkLoads;
    const allowed = mayAccessPort(cpu, this.portOf(instruction), instruction.bytes);
    work.walkLoads += cpu.walkLoads - loads;
    if (!allowed) this.reflect(work);
    this.emulate("trap", instruction);
  }

  // --- completing -------------------------------------------------------------------------------------------------

  private leave(work: ExitWork): void {
    work.exits++;
    work.contextSwitches += 2;
  }

  private reflect(work: ExitWork): never {
    work.reflected++;
    this.cpu.protectionFault();
  }

  private portOf({ port }: IoInstruction): number {
    return port ?? this.cpu.low(REGISTER.rdx) & 0xffff;
  }

  private fetch(kind: ExitKind, rip: number): IoInstruction | undefined {
    const { cpu, code } = this;
    const work = this.work[kind];
    this.available = 0;
    for (;;) {
      const from = this.available;
      const loads = cpu.walkLoads;
      const available = cpu.fetch(rip, code, from);
      this.available = available;
      work.bytesFetched += available - from;
      work.walkLoads += cpu.walkLoads - loads;
      const instruction = cpu.decode(code, available);
      const length = instruction?.length ?? available;
      work.decodeSteps += Math.min(length, available);
      if (length <= available) return instruction;
      // The rest lies in the next page, or there is none: no instruction is so long.
      if (available === LONGEST_INSTRUCTION) return undefined;
    }
  }

  private emulate(kind: ExitKind, instruction: IoInstruction | undefined): void {
    const { cpu } = this;
    const work = this.work[kind];
    if (instruction === undefined) this.failedAt(kind);
    const { direction, bytes, length } = instruction;
    const port = this.portOf(instruction);
    let end: number = STRING.complete;
    try {
      if (instruction.string) end = stringIo(cpu, instruction);
      else if (!this.access(direction, port, bytes)) end = STRING.wait;
    } catch (thrown) {
      this.unlessDevice(thrown);
      this.failedAt(kind, thrown);
    }
    if (end === STRING.again) return;
    if (end === STRING.wait) this.wait(work);
    // A string has collected the breakpoints of its units.
    retire(cpu, length, port, instruction.string ? 0 : bytes);
  }

  /** IN or OUT. False: it waits. */
  private access(direction: IoDirection, port: number, bytes: number): boolean {
    const { cpu } = this;
    if (direction === "in") {
      const value = cpu.io.portRead(port, bytes);
      if (value === WAIT) return false;
      mergeAccumulator(cpu, value, bytes);
      return true;
    }
    return cpu.io.portWrite(port, accumulator(cpu, bytes), bytes) !== WAIT;
  }

  private wait(work: ExitWork): never {
    work.contextSwitches += 2;
    this.cpu.wait();
  }

  // --- failing ----------------------------------------------------------------------------------------------------

  /** A device's handler that breaks its contract fails the exit; anything else passes through here. */
  private unlessDevice(thrown: unknown): void {
    if (!(thrown instanceof DeviceError)) throw thrown;
  }

  private describe(direction: IoDirection, port: number, bytes: number): string {
    const data = direction === "out" ? `, data ${hex(accumulator(this.cpu, bytes), bytes * 2)}` : "";
    return `${direction} at port ${hex(port, 4)}, ${bytes} ${bytes === 1 ? "byte" : "bytes"}${data}`;
  }

  private failed(kind: ExitKind, message: string, cause?: unknown): never {
    const work = this.work[kind];
    work.failures++;
    work.reflected++;
    this.onFailure({ kind, message, ...(cause !== undefined && { cause }) });
    this.cpu.protectionFault();
  }

  private failedAt(kind: ExitKind, cause?: unknown): never {
    const bytes = [...this.code.subarray(0, Math.min(SHOWN, this.available))]
      .map((byte) => byte.toString(16).padStart(2, "0"))
      .join(" ");
    const rip = BigInt.asUintN(64, BigInt(this.cpu.rip));
    this.failed(kind, `emulation at RIP 0x${rip.toString(16)} failed: ${bytes}`, cause);
  }
}

/** AL, AX or EAX. */
export function accumulator(cpu: ExitCpu, bytes: number): number {
  const value = cpu.low(REGISTER.rax);
  return bytes === 4 ? value >>> 0 : bytes === 2 ? value & 0xffff : value & 0xff;
}

/** AL and AX keep what is above them; EAX is zero-extended. */
export function mergeAccumulator(cpu: ExitCpu, value: number, bytes: number): void {
  if (bytes === 4) {
    cpu.setLow(REGISTER.rax, value);
    cpu.setHigh(REGISTER.rax, 0);
    return;
  }
  const mask = bytes === 2 ? 0xffff : 0xff;
  cpu.setLow(REGISTER.rax, (cpu.low(REGISTER.rax) & ~mask) | (value & mask));
}

/** Everything that retiring does, `bytes` ports from `port` having been accessed. */
export function retire(cpu: ExitCpu, length: number, port = 0, bytes = 0): void {
  if (!cpu.eventful) {
    const next = cpu.rip + length;
    cpu.rip = cpu.code64 ? next : next >>> 0;
    return;
  }
  const skipped = skipInstruction(cpu.skipState(), length, bytes === 0 ? undefined : { port, bytes });
  if (skipped.ok) cpu.skipTo(skipped.value);
}
