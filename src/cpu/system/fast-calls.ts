import { RESULT } from "../interp/imports.ts";
import { ATTR, CPU, CS, FLAG, GS, MODE, RCX, RDX, RSP, SEG, SS, VECTOR } from "../state.ts";
import { isCanonical } from "./canonical.ts";
import { EFER, type SystemContext } from "./context.ts";

/** Flat code and data as SYSENTER, SYSCALL and their returns load them, without reading descriptors. */
const CODE = ATTR.g | ATTR.present | ATTR.s | 0xb;
const DATA = ATTR.g | ATTR.db | ATTR.present | ATTR.s | 0x3;
const FLAT_LIMIT = 0xffff_ffff;

function enter(context: SystemContext, selector: number, stack: number, cpl: number, code64: boolean): void {
  const { cpu } = context;
  const dpl = cpl << ATTR.dplShift;
  cpu.setSegment(CS, selector, 0, FLAT_LIMIT, CODE | dpl | (code64 ? ATTR.l : ATTR.db));
  cpu.setSegment(SS, stack, 0, FLAT_LIMIT, DATA | dpl);
  context.setCpl(cpl);
}

export function syscall(context: SystemContext): number {
  const { cpu } = context;
  if (!(cpu.u32(CPU.efer) & EFER.sce)) cpu.fault(VECTOR.ud);
  cpu.setGpr(RCX, cpu.u64(CPU.rip));
  cpu.setGpr(11, BigInt(cpu.eflags & ~FLAG.rf));
  cpu.eflags = cpu.eflags & ~cpu.u32(CPU.sfmask) & ~FLAG.rf;
  const base = cpu.u32(CPU.star + 4) & 0xffff;
  enter(context, base & 0xfffc, base + 8, 0, true);
  cpu.setU64(CPU.rip, cpu.u64(CPU.lstar));
  return context.transferred();
}

export function sysret(context: SystemContext): number {
  const { cpu } = context;
  if (!(cpu.u32(CPU.efer) & EFER.sce)) cpu.fault(VECTOR.ud);
  if (cpu.cpl !== 0) cpu.gp(0);
  const to64 = cpu.argNumber(0) === 64;
  const target = cpu.number(CPU.gpr + RCX * 8);
  // Intel checks before it changes CPL; RCX may be anything, so the exact value decides.
  const exact = BigInt.asIntN(64, cpu.gpr(RCX));
  if (to64 && BigInt.asIntN(48, exact) !== exact) cpu.gp(0);
  const base = (cpu.u32(CPU.star + 4) >>> 16) & 0xffff;
  cpu.eflags = (cpu.gpr32(11) & 0x3c_7fd7) | FLAG.one;
  enter(context, (to64 ? base + 16 : base) | 3, (base + 8) | 3, 3, to64);
  context.rip = to64 ? target : cpu.gpr32(RCX);
  return context.flagsChanged(context.transferred());
}

export function sysenter(context: SystemContext): number {
  const { cpu } = context;
  const cs = cpu.u32(CPU.sysenterCs) & 0xfffc;
  if (!(cpu.mode & MODE.protected) || cs === 0) cpu.gp(0);
  const long = cpu.isLong;
  cpu.eflags = cpu.eflags & ~(FLAG.vm | FLAG.if | FLAG.rf);
  context.updateMode();
  enter(context, cs, cs + 8, 0, long);
  if (long) {
    cpu.setU64(CPU.gpr + RSP * 8, cpu.u64(CPU.sysenterEsp));
    cpu.setU64(CPU.rip, cpu.u64(CPU.sysenterEip));
  } else {
    cpu.setGpr32(RSP, cpu.u32(CPU.sysenterEsp));
    context.rip = cpu.u32(CPU.sysenterEip);
  }
  return context.transferred();
}

export function sysexit(context: SystemContext): number {
  const { cpu } = context;
  const cs = cpu.u32(CPU.sysenterCs) & 0xfffc;
  const to64 = cpu.argNumber(0) === 64 && cpu.isLong;
  if (!(cpu.mode & MODE.protected) || cs === 0) cpu.gp(0);
  if (to64 && !(isCanonical(cpu.number(CPU.gpr + RDX * 8)) && isCanonical(cpu.number(CPU.gpr + RCX * 8)))) cpu.gp(0);
  const [stack, target] = to64 ? [cpu.gpr(RCX), cpu.gpr(RDX)] : [BigInt(cpu.gpr32(RCX)), BigInt(cpu.gpr32(RDX))];
  const selector = (cs + (to64 ? 32 : 16)) | 3;
  enter(context, selector, selector + 8, 3, to64);
  cpu.setGpr(RSP, stack);
  cpu.setU64(CPU.rip, target);
  return context.flagsChanged(context.transferred());
}

export function swapGs({ cpu }: SystemContext): number {
  const base = CPU.segments + GS * SEG.size + SEG.base;
  const own = cpu.u64(base);
  cpu.setU64(base, cpu.u64(CPU.kernelGsBase));
  cpu.setU64(CPU.kernelGsBase, own);
  // Legacy modes may no longer take the segment for flat.
  cpu.setU32(CPU.flatSegments, cpu.u32(CPU.flatSegments) & ~(1 << GS));
  return RESULT.refetch;
}
