import { CPU, CS, LDTR, SS, TR } from "../state.ts";
import { CR0, type SystemContext } from "./context.ts";
import { DATA_SEGMENTS } from "./segments.ts";

/** SDM vol 3, table 9-1. DX after reset holds the CPU's signature. */
const SIGNATURE = 0x0001_06ca;
const PAT_DEFAULT = 0x0007_0406_0007_0406n;
/** Fast strings; branch trace and PEBS unavailable. */
const MISC_ENABLE = 0x1801n;

/** Reset state; `init` (INIT#) leaves caches, FPU and MSRs alone and makes the vCPU wait for a start-up IPI if asked. */
export function resetVcpu(context: SystemContext, init = false): void {
  const { cpu, mmu, breakpoints } = context;
  const kept = init ? cpu.bytes.slice(cpu.base + CPU.star, cpu.base + CPU.interruptShadow) : undefined;
  const fpu = init ? cpu.bytes.slice(cpu.base + CPU.fpuControl, cpu.base + CPU.scratch) : undefined;
  const retired = cpu.u64(CPU.retired);
  cpu.bytes.fill(0, cpu.base, cpu.base + CPU.size);
  cpu.setU64(CPU.retired, retired);
  if (kept && fpu) {
    cpu.bytes.set(kept, cpu.base + CPU.star);
    cpu.bytes.set(fpu, cpu.base + CPU.fpuControl);
  } else {
    cpu.setU64(CPU.pat, PAT_DEFAULT);
    cpu.setU64(CPU.miscEnable, MISC_ENABLE);
    cpu.setU32(CPU.mxcsr, 0x1f80);
    cpu.setU32(CPU.fpuControl, 0x0040);
    cpu.setU32(CPU.fpuEmpty, 0);
  }
  cpu.setGpr32(2, SIGNATURE);
  cpu.eflags = 2;
  cpu.setNumber(CPU.rip, 0xfff0);
  cpu.setNumber(CPU.cr0, CR0.et + 0x6000_0000);
  cpu.setU32(CPU.dr + 48, 0xffff_0ff0);
  cpu.setU32(CPU.dr + 56, 0x400);
  cpu.setSegment(CS, 0xf000, 0xffff_0000, 0xffff, 0x9b);
  for (const segment of [SS, ...DATA_SEGMENTS]) cpu.setSegment(segment, 0, 0, 0xffff, 0x93);
  cpu.setSegment(LDTR, 0, 0, 0xffff, 0x82);
  cpu.setSegment(TR, 0, 0, 0xffff, 0x8b);
  cpu.setNumber(CPU.gdtrLimit, 0xffff);
  cpu.setNumber(CPU.idtrLimit, 0xffff);
  context.updateMode();
  mmu.updatePaging();
  mmu.updatePrivilege();
  breakpoints.update();
  mmu.flushAll();
}
