import { RESULT } from "../interp/imports.ts";
import { ATTR, CPU, CS, TR, VECTOR } from "../state.ts";
import { CR0, CR0_PG, CR4, EFER, type SystemContext } from "./context.ts";

const CR0_WRITABLE = (CR0.pe | CR0.mp | CR0.em | CR0.ts | CR0.ne | CR0.wp | CR0.am | 0x6000_0000 | CR0_PG) >>> 0;
const CR0_CD = 0x4000_0000;
const CR0_NW = 0x2000_0000;
const CR4_WRITABLE =
  CR4.tsd | CR4.de | CR4.pse | CR4.pae | CR4.mce | CR4.pge | CR4.pce | CR4.osfxsr | CR4.osxmmexcpt | CR4.smep;
/** Bits whose change makes translations stale (SDM vol 3, 4.10.4.1). */
const CR0_PAGING = (CR0_PG | CR0.wp | CR0.pe) >>> 0;
const CR4_PAGING = CR4.pse | CR4.pae | CR4.pge | CR4.smep;

const DR6_FIXED = 0xffff_0ff0;
const DR7_FIXED = 0x400;
const DR7_GD = 1 << 13;

export function writeCr0(context: SystemContext, value: number): number {
  const { cpu, mmu } = context;
  const old = cpu.u32(CPU.cr0);
  const next = ((value & CR0_WRITABLE) | CR0.et) >>> 0;
  if ((next & CR0_PG && !(next & CR0.pe)) || (next & CR0_NW && !(next & CR0_CD))) cpu.gp(0);
  const efer = cpu.u32(CPU.efer);
  const turnsOn = (next & CR0_PG) !== 0 && (old & CR0_PG) === 0;
  const turnsOff = (next & CR0_PG) === 0 && (old & CR0_PG) !== 0;
  if (turnsOn && efer & EFER.lme) {
    // Entering IA-32e mode: SDM vol 3, 9.8.5.
    if (!(cpu.u32(CPU.cr4) & CR4.pae) || cpu.attributes(CS) & ATTR.l) cpu.gp(0);
    if ((cpu.attributes(TR) & 8) === 0 && !(cpu.attributes(TR) & ATTR.unusable)) cpu.gp(0);
    cpu.setU32(CPU.efer, efer | EFER.lma);
  } else if (turnsOff && efer & EFER.lma) {
    if (cpu.is64) cpu.gp(0);
    cpu.setU32(CPU.efer, efer & ~EFER.lma);
  }
  cpu.setU32(CPU.cr0, next);
  context.updateMode();
  mmu.updatePaging();
  if (turnsOn && !mmu.loadPdpte()) {
    cpu.setU32(CPU.cr0, old);
    cpu.setU32(CPU.efer, efer);
    context.updateMode();
    mmu.updatePaging();
    cpu.gp(0);
  }
  mmu.updatePrivilege();
  if (((old ^ next) & CR0_PAGING) !== 0) mmu.flushAll();
  return RESULT.leave;
}

function writeCr3(context: SystemContext): number {
  const { cpu, mmu } = context;
  const low = cpu.u32(CPU.args + 8);
  const high = cpu.isLong ? cpu.u32(CPU.args + 12) : 0;
  // MAXPHYADDR is 36.
  if (high >= 0x10) cpu.gp(0);
  const old = cpu.number(CPU.cr3);
  cpu.setU32(CPU.cr3, low);
  cpu.setU32(CPU.cr3 + 4, high);
  mmu.updatePaging();
  if (!mmu.loadPdpte()) {
    cpu.setNumber(CPU.cr3, old);
    mmu.updatePaging();
    cpu.gp(0);
  }
  mmu.flushNonGlobal();
  return RESULT.refetch;
}

function writeCr4(context: SystemContext): number {
  const { cpu, mmu } = context;
  const value = cpu.arg(1);
  if ((value & ~BigInt(CR4_WRITABLE)) !== 0n) cpu.gp(0);
  const old = cpu.u32(CPU.cr4);
  const next = Number(value);
  if (cpu.isLong && !(next & CR4.pae)) cpu.gp(0);
  cpu.setU32(CPU.cr4, next);
  mmu.updatePaging();
  if (((old ^ next) & CR4_PAGING) !== 0) {
    if (!mmu.loadPdpte()) {
      cpu.setU32(CPU.cr4, old);
      mmu.updatePaging();
      cpu.gp(0);
    }
    mmu.flushAll();
  }
  if ((old ^ next) & CR4.de) {
    context.breakpoints.update();
    mmu.flushAll();
  }
  return RESULT.leave;
}

/** Control registers 0, 2, 3, 4 and 8; the others have been refused. */
export function moveToControl(context: SystemContext): number {
  const { cpu } = context;
  switch (cpu.argNumber(0)) {
    case 0:
      if (cpu.is64 && cpu.arg(1) >> 32n !== 0n) cpu.gp(0);
      return writeCr0(context, Number(cpu.arg(1) & 0xffff_ffffn));
    case 2:
      cpu.setU64(CPU.cr2, cpu.arg(1));
      return RESULT.refetch;
    case 3:
      return writeCr3(context);
    case 4:
      return writeCr4(context);
    default: {
      const value = cpu.arg(1);
      if (value > 15n) cpu.gp(0);
      context.board.apic?.writeTpr(Number(value) << 4);
      return RESULT.leave;
    }
  }
}

const CONTROL_FIELDS: Readonly<Partial<Record<number, number>>> = { 0: CPU.cr0, 2: CPU.cr2, 3: CPU.cr3, 4: CPU.cr4 };

export function moveFromControl(context: SystemContext): number {
  const { cpu } = context;
  const number = cpu.argNumber(0);
  const register = cpu.argNumber(1);
  const field = CONTROL_FIELDS[number];
  if (field === undefined) cpu.setGpr(register, BigInt((context.board.apic?.readTpr() ?? 0) >> 4));
  else cpu.setGpr(register, cpu.is64 ? cpu.u64(field) : cpu.u64(field) & 0xffff_ffffn);
  return RESULT.refetch;
}

/** LMSW: the low four bits; PE can be set but not cleared (SDM vol 2). */
export function loadMachineStatus(context: SystemContext): number {
  const old = context.cpu.u32(CPU.cr0);
  const value = context.cpu.u32(CPU.args) & 0xf;
  return writeCr0(context, ((old & ~0xe) | value) >>> 0);
}

export function clearTaskSwitched({ cpu }: SystemContext): number {
  cpu.setU32(CPU.cr0, (cpu.u32(CPU.cr0) & ~CR0.ts) >>> 0);
  return RESULT.refetch;
}

// --- debug registers, SDM vol 3, 17.2 ---------------------------------------------------------------------------------

/** DR4 and DR5 are DR6 and DR7 unless CR4.DE. General detection traps every access. */
function debugNumber(context: SystemContext): number {
  const { cpu } = context;
  const number = cpu.argNumber(0);
  const alias = number === 4 || number === 5;
  if (alias && cpu.u32(CPU.cr4) & CR4.de) cpu.fault(VECTOR.ud);
  if (cpu.u32(CPU.dr + 56) & DR7_GD) {
    cpu.setU32(CPU.dr + 48, (cpu.u32(CPU.dr + 48) | 0x2000) >>> 0);
    cpu.setU32(CPU.dr + 56, (cpu.u32(CPU.dr + 56) & ~DR7_GD) >>> 0);
    cpu.fault(VECTOR.db);
  }
  return alias ? number + 2 : number;
}

export function moveToDebug(context: SystemContext): number {
  const { cpu } = context;
  const number = debugNumber(context);
  const value = cpu.arg(1);
  if (number >= 6 && value >> 32n !== 0n) cpu.gp(0);
  if (number === 6) cpu.setU64(CPU.dr + 48, (value & 0xe00fn) | BigInt(DR6_FIXED));
  else if (number === 7) cpu.setU64(CPU.dr + 56, (value & 0xffff_23ffn) | BigInt(DR7_FIXED));
  else cpu.setU64(CPU.dr + number * 8, value);
  context.breakpoints.update();
  context.mmu.flushAll();
  return RESULT.leave;
}

export function moveFromDebug(context: SystemContext): number {
  const { cpu } = context;
  cpu.setGpr(cpu.argNumber(1), cpu.u64(CPU.dr + debugNumber(context) * 8));
  return RESULT.refetch;
}
