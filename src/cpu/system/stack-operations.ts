import { RESULT } from "../interp/imports.ts";
import { CPU, FLAG, RBP, RSP, SS } from "../state.ts";
import type { SystemContext } from "./context.ts";
import { writableFlags } from "./far-transfers.ts";
import { currentStack, setStackPointer, stackMask, stackPointer } from "./segments.ts";

/** PUSHF, POPF, ENTER, PUSHA, POPA, CLI and STI. There is no VME: in V86 mode IOPL decides. */
function checkV86({ cpu }: SystemContext): void {
  if (cpu.isV86 && cpu.iopl < 3) cpu.gp(0);
}

export function pushFlags(context: SystemContext): number {
  const { cpu } = context;
  checkV86(context);
  const stack = currentStack(context);
  const mask = stackMask(context);
  // VM and RF are pushed as 0.
  stack.push(cpu.eflags & ~(FLAG.vm | FLAG.rf), cpu.argNumber(0) / 8);
  setStackPointer(context, stack.pointer, mask);
  return RESULT.refetch;
}

export function popFlags(context: SystemContext): number {
  const { cpu, mmu } = context;
  checkV86(context);
  const width = cpu.argNumber(0);
  const pointer = stackPointer(context);
  const image = Number(mmu.read(mmu.segmented(SS, pointer, width / 8, false), width / 8) & 0xffff_ffffn);
  const protectedMode = cpu.isProtected;
  let mask = writableFlags(protectedMode ? cpu.cpl : 0, protectedMode ? cpu.iopl : 3, width) & ~FLAG.rf;
  if (cpu.isV86) mask &= ~FLAG.iopl;
  setStackPointer(context, pointer + width / 8, stackMask(context));
  cpu.eflags = (cpu.eflags & ~mask & ~FLAG.rf) | (image & mask);
  mmu.updatePrivilege();
  return context.flagsChanged(RESULT.refetch);
}

export function enterFrame(context: SystemContext): number {
  const { cpu, mmu } = context;
  const size = cpu.argNumber(0);
  const level = cpu.argNumber(1) & 31;
  const bytes = cpu.argNumber(2) / 8;
  const mask = stackMask(context);
  const stack = currentStack(context);
  stack.push(cpu.gpr(RBP), bytes);
  // With a 16-bit stack the frame pointer still takes all of ESP.
  const frame = mask === 0 ? stack.pointer : ((cpu.gpr32(RSP) & ~mask) | stack.pointer) >>> 0;
  if (level > 0) {
    let base = mask === 0 ? cpu.number(CPU.gpr + RBP * 8) : (cpu.gpr32(RBP) & mask) >>> 0;
    for (let i = 1; i < level; i++) {
      base = mask === 0 ? base - bytes : ((base - bytes) & mask) >>> 0;
      stack.push(mmu.read(mmu.segmented(SS, base, bytes, false), bytes), bytes);
    }
    stack.push(BigInt(frame), bytes);
  }
  const pointer = mask === 0 ? stack.pointer - size : ((stack.pointer - size) & mask) >>> 0;
  // The last page of the new frame must be writable (SDM vol 2, ENTER).
  mmu.prove(mmu.segmented(SS, pointer, bytes, true), bytes);
  setStackPointer(context, pointer, mask);
  cpu.setGprWidth(RBP, BigInt.asUintN(64, BigInt(frame)), bytes * 8);
  return RESULT.refetch;
}

export function pushAll(context: SystemContext): number {
  const { cpu } = context;
  const bytes = cpu.argNumber(0) / 8;
  const stack = currentStack(context);
  const mask = stackMask(context);
  for (let register = 0; register < 8; register++) stack.push(cpu.gpr(register), bytes);
  setStackPointer(context, stack.pointer, mask);
  return RESULT.refetch;
}

export function popAll(context: SystemContext): number {
  const { cpu, mmu } = context;
  const width = cpu.argNumber(0);
  const bytes = width / 8;
  const pointer = stackPointer(context);
  const mask = stackMask(context);
  const values: bigint[] = [];
  for (let i = 0; i < 8; i++) {
    const at = ((pointer + i * bytes) & mask) >>> 0;
    values.push(mmu.read(mmu.segmented(SS, at, bytes, false), bytes));
  }
  values.forEach((value, i) => {
    if (7 - i !== RSP) cpu.setGprWidth(7 - i, value, width);
  });
  setStackPointer(context, pointer + 8 * bytes, mask);
  return RESULT.refetch;
}

export function clearInterruptFlag(context: SystemContext): number {
  const { cpu } = context;
  requireIopl(context);
  cpu.setU32(CPU.eflags, cpu.u32(CPU.eflags) & ~FLAG.if);
  return RESULT.refetch;
}

/** STI shields the next instruction when IF was clear. */
export function setInterruptFlag(context: SystemContext): number {
  const { cpu } = context;
  requireIopl(context);
  const flags = cpu.u32(CPU.eflags);
  if (flags & FLAG.if) return RESULT.refetch;
  cpu.setU32(CPU.eflags, flags | FLAG.if);
  cpu.setU32(CPU.interruptShadow, 1);
  return RESULT.leave;
}

function requireIopl(context: SystemContext): void {
  const { cpu } = context;
  checkV86(context);
  if (cpu.isProtected && cpu.cpl > cpu.iopl) cpu.gp(0);
}
