import type { SoftwareVcpu } from "../cpu/engine.ts";
import { CPU } from "../cpu/state.ts";
import { firmwareMsrs } from "./boot/firmware.ts";
import type { StartState } from "./boot/start-state.ts";

/** MAXPHYADDR of the software CPU (CPUID leaf 80000008h). */
export const PHYSICAL_ADDRESS_BITS = 36;

const REGISTER = { rax: 0, rcx: 1, rdx: 2, rbx: 3, rsp: 4, rbp: 5, rsi: 6, rdi: 7 } as const;
const SEGMENT = { es: 0, cs: 1, ss: 2, ds: 3, fs: 4, gs: 5, ldtr: 6, tr: 7 } as const;

/** Puts a vCPU (just reset) into the state in which a boot protocol enters its image. */
export function applyStartState(vcpu: SoftwareVcpu, start: StartState): void {
  const { state } = vcpu;
  for (const [name, value] of Object.entries(start.registers)) {
    state.setGpr(REGISTER[name as keyof typeof REGISTER], BigInt(value));
  }
  for (const [name, { selector, base, limit, attributes }] of Object.entries(start.segments)) {
    state.setSegment(SEGMENT[name as keyof typeof SEGMENT], selector, base, limit, attributes);
  }
  state.setNumber(CPU.gdtrBase, start.gdtr.base);
  state.setNumber(CPU.gdtrLimit, start.gdtr.limit);
  state.setNumber(CPU.idtrBase, start.idtr.base);
  state.setNumber(CPU.idtrLimit, start.idtr.limit);
  state.setNumber(CPU.cr0, start.cr0);
  state.setNumber(CPU.cr3, start.cr3);
  state.setNumber(CPU.cr4, start.cr4);
  state.setNumber(CPU.efer, start.efer);
  state.setNumber(CPU.rip, start.rip);
  state.eflags = start.rflags;
  if (start.mode !== "real16") {
    for (const { index, value } of firmwareMsrs(PHYSICAL_ADDRESS_BITS)) setMtrr(vcpu, index, value);
  }
  vcpu.stateChanged();
}

/** Fixed-range MTRRs in the order of their slots (SDM vol 3, table 11-9). */
const FIXED = [0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f];

function setMtrr({ state }: SoftwareVcpu, index: number, value: bigint): void {
  if (index === 0x2ff) state.setU64(CPU.mtrrDefType, value);
  else if (index >= 0x200 && index < 0x210) state.setU64(CPU.mtrrVariable + (index - 0x200) * 8, value);
  else state.setU64(CPU.mtrrFixed + FIXED.indexOf(index) * 8, value);
}
