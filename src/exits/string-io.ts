/** INS and OUTS, for every path that an access can take. SDM vol 2, INS, OUTS and REP. */

import { WAIT } from "../io/types.ts";
import { type ExitCpu, REGISTER } from "./exit-cpu.ts";
import type { AddressBits, IoDirection } from "./io-exit.ts";
import { ioBreakpoints } from "./skip-instruction.ts";

const PAGE = 4096;
const TWO_32 = 0x1_0000_0000;

export interface StringAccess {
  readonly direction: IoDirection;
  readonly bytes: 1 | 2 | 4;
  readonly rep: boolean;
  readonly addressBits: AddressBits;
  /** Of the memory operand; ES for INS. */
  readonly segment: number;
}

/** How a string instruction ended. */
export const STRING = {
  /** More is to do: the instruction begins again, and interrupts are seen in between. */
  again: 0,
  /** Complete: the caller skips the instruction. */
  complete: 1,
  /** The device has deferred to ring 3; the registers are those of the unit that waits. */
  wait: 2,
} as const;

/**
 * An INS or OUTS that has passed the permission check: whole pages when a string callback (or nobody) takes them, else
 * unit by unit, each counted like an instruction. Without budget, which is also how an interrupt asks for attention, it
 * is left for a while. A fault or an access that waits leaves the registers at the first unit that is not complete.
 *
 * Faults come in the order of the manual: segment, page, then the device. INS proves its destination before the port is
 * read, since a read cannot be undone.
 */
export function stringIo(cpu: ExitCpu, access: StringAccess): number {
  const { direction, bytes, rep, addressBits, segment } = access;
  const input = direction === "in";
  const register = input ? REGISTER.rdi : REGISTER.rsi;
  const port = cpu.low(REGISTER.rdx) & 0xffff;
  const step = cpu.down ? -bytes : bytes;

  /** Not once the range has let a chance pass by: looking costs more than a unit. */
  let blocks = step > 0 && cpu.mayBatch;
  for (;;) {
    const left = rep ? unitsLeft(cpu, addressBits) : 1;
    if (left === 0) return STRING.complete;
    const offset = index(cpu, register, addressBits);
    const linear = cpu.linear(segment, offset, bytes, input);
    let units = 0;
    if (left > 1 && blocks) {
      const most = Math.min(left, unitsAhead(cpu, segment, offset, linear, bytes, addressBits));
      if (most > 1) {
        units = block(cpu, input, port, linear, bytes, most);
        if (units === WAIT) return STRING.wait;
        blocks = units > 0;
      }
    }
    if (units === 0) {
      if (unit(cpu, input, port, linear, bytes) === WAIT) return STRING.wait;
      if (cpu.eventful) cpu.debugHits(ioBreakpoints(cpu.skipState(), port, bytes));
      units = 1;
    }
    advance(cpu, register, addressBits, step * units);
    if (!rep) return STRING.complete;
    advance(cpu, REGISTER.rcx, addressBits, -units);
    if (units > 1) cpu.countUnits(units - 1);
    if (units === left) return STRING.complete;
    // More to do: the next unit is counted too, or the instruction starts again when there is budget.
    if (cpu.unitsAllowed <= 1) return STRING.again;
    cpu.countUnits(1);
  }
}

/** The low bits of a register as a number; all 64 as a signed one, so that an address in the upper half is exact. */
function index(cpu: ExitCpu, register: number, bits: AddressBits): number {
  const low = cpu.low(register);
  if (bits === 16) return low & 0xffff;
  return bits === 32 ? low : cpu.high(register) * TWO_32 + low;
}

/** Adds to a register's low 16 bits, to its low 32 bits (the upper half becomes 0), or to all of it. */
function advance(cpu: ExitCpu, register: number, bits: AddressBits, by: number): void {
  const low = cpu.low(register);
  if (bits === 16) {
    cpu.setLow(register, (low & 0xffff_0000) | ((low + by) & 0xffff));
    return;
  }
  const sum = low + by;
  cpu.setLow(register, sum >>> 0);
  if (bits === 32) cpu.setHigh(register, 0);
  else if (sum < 0 || sum >= TWO_32) cpu.setHigh(register, cpu.high(register) + Math.floor(sum / TWO_32));
}

/** Units left under REP; more than a page holds is all the same. */
function unitsLeft(cpu: ExitCpu, bits: AddressBits): number {
  if (bits === 64 && cpu.high(REGISTER.rcx) !== 0) return TWO_32;
  return bits === 16 ? cpu.low(REGISTER.rcx) & 0xffff : cpu.low(REGISTER.rcx);
}

/** Units upwards that lie in the page, in the segment, below the wrap of the address size, and within the budget. */
function unitsAhead(
  cpu: ExitCpu,
  segment: number,
  offset: number,
  linear: number,
  bytes: number,
  bits: AddressBits,
): number {
  const allowed = cpu.unitsAllowed;
  if (allowed <= 1) return 0;
  let room = Math.min(PAGE - (linear & (PAGE - 1)), cpu.segmentRoom(segment, offset));
  if (bits !== 64) room = Math.min(room, 2 ** bits - offset);
  return Math.min(allowed, Math.floor(room / bytes));
}

/** Up to `most` units at once, when the page is memory: how many there were, or `WAIT`. */
function block(cpu: ExitCpu, input: boolean, port: number, linear: number, bytes: number, most: number): number {
  const buffer = cpu.hostMemory(linear, most * bytes, input);
  if (buffer === undefined) return 0;
  return input ? cpu.io.portReadString(port, buffer, bytes) : cpu.io.portWriteString(port, buffer, bytes);
}

function unit(cpu: ExitCpu, input: boolean, port: number, linear: number, bytes: number): number {
  if (!input) return cpu.io.portWrite(port, cpu.readMemory(linear, bytes), bytes);
  cpu.proveWritable(linear, bytes);
  const value = cpu.io.portRead(port, bytes);
  if (value === WAIT) return WAIT;
  cpu.writeMemory(linear, bytes, value);
  return 0;
}
