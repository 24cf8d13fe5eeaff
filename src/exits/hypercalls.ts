/** Answers hypercalls. See `hypercall-abi.ts` for what they are. */

import type { Doorbells } from "../io/doorbells.ts";
import { DeviceError } from "../io/errors.ts";
import { WAIT } from "../io/types.ts";
import { type ExitCpu, REGISTER, SEGMENT } from "./exit-cpu.ts";
import type { ExitWork } from "./exit-work.ts";
import { HANDLE_SPACES, type Handle, type HandleTable } from "./handles.ts";
import { BLOCK_UNITS_MAX, HYPERCALL, PV_ERROR } from "./hypercall-abi.ts";
import { type ExitFailure, retire } from "./io-monitor.ts";
import { STRING, stringIo } from "./string-io.ts";

const FORM = { size: 3, immediateOrRep: 4, out: 8, string: 16 } as const;
const FORMS = 0x20;
const DELAY_PORT = 0x80;
const IOPL = 0x3000;
const TWO_32 = 0x1_0000_0000;

/** What calls reach beside the ports. */
export interface HypercallServices {
  readonly handles: HandleTable;
  readonly doorbells: Pick<Doorbells, "ring">;
}

/** In the place of a result, and larger than any: the call begins again, because it waits or has not done it all. */
const WAIT_RESULT = 2 ** 53;
const AGAIN = 2 ** 54;
/** The call has set RAX itself. */
const IS_SET = 2 ** 55;

const QWORD = 8;

export class Hypercalls {
  onFailure: (failure: ExitFailure) => void = () => {};
  private readonly cpu: ExitCpu;
  private readonly work: ExitWork;
  private readonly services: HypercallServices;
  /** An access by handle: its low 32 bits, what is above them, and both as bytes. */
  private readonly value = new Uint32Array(2);
  private readonly bytes = new Uint8Array(this.value.buffer);
  /** Of the caller; looked up once a call. */
  private code64 = false;
  private readonly units = new Uint32Array(BLOCK_UNITS_MAX * 2);

  constructor(cpu: ExitCpu, work: ExitWork, services: HypercallServices) {
    this.cpu = cpu;
    this.work = work;
    this.services = services;
  }

  /** One VMCALL or VMMCALL of `length` bytes; RIP is still at it. */
  call(length: number): void {
    const { cpu, work } = this;
    work.exits++;
    work.contextSwitches += 2;
    this.code64 = cpu.code64;
    let result: number;
    try {
      result = cpu.cpl === 0 ? this.answer(this.argument(REGISTER.rax)) : PV_ERROR.permission;
    } catch (thrown) {
      if (!(thrown instanceof DeviceError)) throw thrown;
      work.failures++;
      this.onFailure({
        kind: "hypercall",
        message: `call 0x${cpu.low(REGISTER.rax).toString(16)} failed`,
        cause: thrown,
      });
      result = PV_ERROR.io;
    }
    if (result === WAIT_RESULT) {
      work.contextSwitches += 2;
      cpu.wait();
    }
    if (result === AGAIN) return;
    if (result !== IS_SET) this.setResult(REGISTER.rax, result);
    retire(cpu, length);
  }

  /** All 64 bits as a number, of 32-bit code the low ones; what is not exact is far too large for anything. */
  private argument(register: number): number {
    const { cpu } = this;
    const low = cpu.low(register);
    return this.code64 ? (cpu.high(register) >>> 0) * TWO_32 + low : low;
  }

  private setResult(register: number, value: number): void {
    const { cpu } = this;
    cpu.setLow(register, value);
    cpu.setHigh(register, value < 0 && this.code64 ? -1 : 0);
  }

  private answer(number: number): number {
    if (number >= HYPERCALL.io && number < HYPERCALL.io + FORMS) return this.form(number - HYPERCALL.io);
    switch (number) {
      case HYPERCALL.ioDelay:
        return this.waits(this.cpu.io.portWrite(DELAY_PORT, 0, 1));
      case HYPERCALL.setIoplMask:
        return this.setIoplMask();
      case HYPERCALL.map:
        return this.map();
      case HYPERCALL.unmap:
        return this.services.handles.unmap(this.argument(REGISTER.rbx));
      case HYPERCALL.read:
        return this.read();
      case HYPERCALL.write:
        return this.write();
      case HYPERCALL.readBlock:
        return this.block(true);
      case HYPERCALL.writeBlock:
        return this.block(false);
      case HYPERCALL.notify:
        return this.services.doorbells.ring(this.argument(REGISTER.rbx)) ? 0 : PV_ERROR.noEntry;
      default:
        return PV_ERROR.unknown;
    }
  }

  private waits(status: number): number {
    return status === WAIT ? WAIT_RESULT : status;
  }

  // --- the instructions -------------------------------------------------------------------------------------------

  private form(form: number): number {
    const { cpu } = this;
    const size = form & FORM.size;
    if (size === 3) return PV_ERROR.unknown;
    const bytes = (1 << size) as 1 | 2 | 4;
    const variant = (form & FORM.immediateOrRep) !== 0;
    const out = (form & FORM.out) !== 0;
    if (form & FORM.string) return this.string(out, bytes, variant);
    const port = cpu.low(REGISTER.rdx) & (variant ? 0xff : 0xffff);
    if (out) return this.waits(cpu.io.portWrite(port, truncate(cpu.low(REGISTER.rbx), bytes), bytes));
    return this.waits(cpu.io.portRead(port, bytes));
  }

  private string(out: boolean, bytes: 1 | 2 | 4, rep: boolean): number {
    const { cpu } = this;
    const { addressBits } = cpu;
    const segment = out ? SEGMENT.ds : SEGMENT.es;
    const end = stringIo(cpu, { direction: out ? "out" : "in", bytes, rep, addressBits, segment });
    if (end === STRING.wait) return WAIT_RESULT;
    if (end === STRING.again) return AGAIN;
    return 0;
  }

  private setIoplMask(): number {
    const mask = this.argument(REGISTER.rbx);
    if (mask !== (mask & IOPL)) return PV_ERROR.invalid;
    this.cpu.setIopl(mask >> 12);
    return 0;
  }

  // --- handles ----------------------------------------------------------------------------------------------------

  private map(): number {
    const space = HANDLE_SPACES[this.argument(REGISTER.rbx)];
    if (space === undefined) return PV_ERROR.invalid;
    return this.services.handles.map(space, this.argument(REGISTER.rcx), this.argument(REGISTER.rdx));
  }

  /** The handle in RBX, if the access lies inside its range; else an error. */
  private target(width: number): Handle | number {
    const handle = this.services.handles.find(this.argument(REGISTER.rbx));
    if (typeof handle === "number") return handle;
    const inside = this.argument(REGISTER.rcx) + width <= handle.length;
    const known = width === 1 || width === 2 || width === 4 || (width === QWORD && handle.space === "mmio");
    return inside && known ? handle : PV_ERROR.invalid;
  }

  private read(): number {
    const width = this.argument(REGISTER.rdx);
    const handle = this.target(width);
    const status = typeof handle === "number" ? handle : this.load(handle, width);
    if (status === WAIT) return WAIT_RESULT;
    // In 32-bit code a value looks like an error; RDX does not.
    this.setResult(REGISTER.rdx, status);
    if (status < 0) return status;
    return width === QWORD ? this.setQword() : this.value[0]!;
  }

  private setQword(): number {
    const { cpu, value } = this;
    cpu.setLow(REGISTER.rax, value[0]!);
    if (this.code64) cpu.setHigh(REGISTER.rax, value[1]!);
    else cpu.setLow(REGISTER.rdi, value[1]!);
    return IS_SET;
  }

  private write(): number {
    const { cpu, value } = this;
    const width = this.argument(REGISTER.rdx);
    const handle = this.target(width);
    if (typeof handle === "number") return handle;
    value[0] = cpu.low(REGISTER.rsi);
    value[1] = this.code64 ? cpu.high(REGISTER.rsi) : cpu.low(REGISTER.rdi);
    return this.waits(this.store(handle, width));
  }

  /** Gets `value` from a device. 0, or `WAIT`. */
  private load({ space, base }: Handle, width: number): number {
    const { value } = this;
    const { io } = this.cpu;
    const address = base + this.argument(REGISTER.rcx);
    if (space === "port") {
      const read = io.portRead(address, width);
      value[0] = read;
      return read === WAIT ? WAIT : 0;
    }
    value[0] = 0;
    value[1] = 0;
    return io.mmioRead(address, width, this.bytes);
  }

  /** Gives `value` to a device. 0, or `WAIT`. */
  private store({ space, base }: Handle, width: number): number {
    const { io } = this.cpu;
    const address = base + this.argument(REGISTER.rcx);
    if (space === "port") return io.portWrite(address, truncate(this.value[0]!, width), width);
    return io.mmioWrite(address, width, this.bytes);
  }

  /** Many accesses of one register, as INS and OUTS make them. All or none: what could fail is looked at first. */
  private block(read: boolean): number {
    const { cpu } = this;
    const shape = this.argument(REGISTER.rdx);
    const width = shape % 256;
    const count = Math.floor(shape / 256);
    const handle = this.target(width);
    if (typeof handle === "number") return handle;
    if (count < 1) return PV_ERROR.invalid;
    if (count > BLOCK_UNITS_MAX) return PV_ERROR.tooBig;
    const linear = this.code64 ? cpu.high(REGISTER.rsi) * TWO_32 + cpu.low(REGISTER.rsi) : cpu.low(REGISTER.rsi);
    if (!cpu.canAccess(linear, width * count, read)) return PV_ERROR.fault;
    if (read) {
      if (!this.loadUnits(handle, width, count)) return WAIT_RESULT;
      this.unitsToMemory(linear, width, count);
    } else {
      this.unitsFromMemory(linear, width, count);
      if (!this.storeUnits(handle, width, count)) return WAIT_RESULT;
    }
    cpu.countUnits(count - 1);
    return 0;
  }

  /** False: one waits. */
  private loadUnits(handle: Handle, width: number, count: number): boolean {
    for (let i = 0; i < count; i++) {
      if (this.load(handle, width) === WAIT) return false;
      this.units.set(this.value, 2 * i);
    }
    return true;
  }

  private storeUnits(handle: Handle, width: number, count: number): boolean {
    for (let i = 0; i < count; i++) {
      this.value[0] = this.units[2 * i]!;
      this.value[1] = this.units[2 * i + 1]!;
      if (this.store(handle, width) === WAIT) return false;
    }
    return true;
  }

  private unitsToMemory(linear: number, width: number, count: number): void {
    const { cpu, units } = this;
    for (let i = 0; i < count; i++) {
      cpu.writeMemory(linear + i * width, Math.min(width, 4), units[2 * i]!);
      if (width === QWORD) cpu.writeMemory(linear + i * width + 4, 4, units[2 * i + 1]!);
    }
  }

  private unitsFromMemory(linear: number, width: number, count: number): void {
    const { cpu, units } = this;
    for (let i = 0; i < count; i++) {
      units[2 * i] = cpu.readMemory(linear + i * width, Math.min(width, 4));
      if (width === QWORD) units[2 * i + 1] = cpu.readMemory(linear + i * width + 4, 4);
    }
  }
}

function truncate(value: number, bytes: number): number {
  return bytes === 4 ? value : value & (bytes === 2 ? 0xffff : 0xff);
}
