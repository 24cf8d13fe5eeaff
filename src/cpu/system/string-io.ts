import { WAIT } from "../../io/types.ts";
import { CLOCK, PAGE_SIZE } from "../../memory/layout.ts";
import { RESULT } from "../interp/imports.ts";
import { CPU, DS, ES, FLAG, PX, RCX, RDI, RDX, RSI } from "../state.ts";
import type { VcpuState } from "../vcpu-state.ts";
import type { SystemContext } from "./context.ts";
import { checkPort, waitFor } from "./port-access.ts";

const TWO_32 = 0x1_0000_0000;
/** Without REP: one unit, whatever RCX holds. */
const ONE = 1;

/** The low `bits` (16, 32 or 64) of a register as a number; beyond 2^53 only roughly. */
function index(cpu: VcpuState, register: number, bits: number): number {
  const low = cpu.gpr32(register);
  if (bits === 16) return low & 0xffff;
  // As a signed number an address in the upper half is exact.
  return bits === 32 ? low : cpu.number(CPU.gpr + register * 8);
}

/** Adds to a register's low 16 bits, to its low 32 bits (the upper half becomes 0), or to all of it. */
function advance(cpu: VcpuState, register: number, bits: number, by: number): void {
  const at = CPU.gpr + register * 8;
  const low = cpu.u32(at);
  if (bits === 16) {
    cpu.setU32(at, ((low & 0xffff_0000) | ((low + by) & 0xffff)) >>> 0);
    return;
  }
  const sum = low + by;
  cpu.setU32(at, sum >>> 0);
  if (bits === 32) cpu.setU32(at + 4, 0);
  else if (sum < 0 || sum >= TWO_32) cpu.setU32(at + 4, (cpu.u32(at + 4) + Math.floor(sum / TWO_32)) >>> 0);
}

/** Units left under REP; more than a page holds is all the same. */
function unitsLeft(cpu: VcpuState, bits: number): number {
  if (bits === 64 && cpu.u32(CPU.gpr + RCX * 8 + 4) !== 0) return TWO_32;
  return bits === 16 ? cpu.gpr32(RCX) & 0xffff : cpu.gpr32(RCX);
}

/**
 * INS and OUTS: whole pages when a string callback (or nobody) takes them, else unit by unit, each retired like an
 * instruction. Without budget, which is also how an interrupt asks for attention, RIP stays at the instruction. A fault or
 * an access that waits leaves the registers at the first unit that is not complete. INS proves its destination before the
 * port is read, since a read cannot be undone.
 */
function stringIo(context: SystemContext, px: number, register: number, segment: number, isIn: boolean): number {
  const { cpu, mmu } = context;
  const bytes = cpu.argNumber(0);
  const repeated = (px & (PX.rep | PX.repne)) !== 0;
  const small = (px & PX.addressSmall) !== 0;
  const bits = cpu.is64 ? (small ? 32 : 64) : small ? 16 : 32;
  const port = cpu.gpr32(RDX) & 0xffff;
  const step = cpu.u32(CPU.eflags) & FLAG.df ? -bytes : bytes;
  checkPort(context, port, bytes);

  /** Not once the range has let a chance pass by: looking costs more than a unit. */
  let blocks = step > 0;
  for (;;) {
    const left = repeated ? unitsLeft(cpu, bits) : ONE;
    if (left === 0) return RESULT.refetch;
    const offset = index(cpu, register, bits);
    const linear = mmu.segmented(segment, offset, bytes, isIn);
    let units = 0;
    if (left > 1 && blocks) {
      const most = Math.min(left, unitsAhead(context, segment, offset, linear, bytes, bits));
      if (most > 1) {
        units = block(context, port, linear, bytes, most, isIn);
        blocks = units > 0;
      }
    }
    if (units === 0) {
      units = 1;
      if (isIn) inputUnit(context, port, linear, bytes);
      else outputUnit(context, port, linear, bytes);
      context.breakpoints.io(port, bytes);
    }
    advance(cpu, register, bits, step * units);
    if (!repeated) return RESULT.refetch;
    advance(cpu, RCX, bits, -units);
    if (units > 1) context.retireUnits(units - 1);
    if (units === left) return RESULT.refetch;
    // More to do: the next unit is retired too, or the instruction starts again when there is budget.
    if (cpu.data.getInt32(CLOCK.budget, true) <= 0) {
      context.rip = context.startRip;
      return RESULT.refetch;
    }
    context.retireUnits(1);
  }
}

/** Units upwards that lie in the page, in the segment, below the wrap of the address size, and within the budget. */
function unitsAhead(
  { cpu, mmu, breakpoints }: SystemContext,
  segment: number,
  offset: number,
  linear: number,
  bytes: number,
  bits: number,
): number {
  // The unit at hand has been taken from the budget. Breakpoints and alignment checks look at each unit.
  const budget = cpu.data.getInt32(CLOCK.budget, true) + 1;
  if (budget <= 1 || breakpoints.any || mmu.checksAlignment) return 0;
  let room = PAGE_SIZE - (linear & (PAGE_SIZE - 1));
  if (!cpu.is64) room = Math.min(room, cpu.segmentLimit(segment) - offset + 1);
  if (bits !== 64) room = Math.min(room, 2 ** bits - offset);
  return Math.min(budget, Math.floor(room / bytes));
}

/** Up to `most` units at once, when the page is memory: how many there were. */
function block(
  context: SystemContext,
  port: number,
  linear: number,
  bytes: number,
  most: number,
  isIn: boolean,
): number {
  const { mmu, io } = context;
  const host = mmu.hostPage(linear, isIn);
  if (host === 0) return 0;
  const buffer = context.memory.bytes.subarray(host, host + most * bytes);
  const moved = isIn ? io.portReadString(port, buffer, bytes) : io.portWriteString(port, buffer, bytes);
  if (moved === WAIT) waitFor(context);
  return moved;
}

function inputUnit(context: SystemContext, port: number, linear: number, bytes: number): void {
  const { mmu, io } = context;
  mmu.prove(linear, bytes);
  const value = io.portRead(port, bytes);
  if (value === WAIT) waitFor(context);
  mmu.writeNumber(linear, bytes, value);
}

function outputUnit(context: SystemContext, port: number, linear: number, bytes: number): void {
  const value = context.mmu.readNumber(linear, bytes);
  if (context.io.portWrite(port, value, bytes) === WAIT) waitFor(context);
}

export function inString(context: SystemContext, px: number): number {
  return stringIo(context, px, RDI, ES, true);
}

export function outString(context: SystemContext, px: number): number {
  const override = (px & PX.segment) >> PX.segmentShift;
  return stringIo(context, px, RSI, override === 0 ? DS : override - 1, false);
}
