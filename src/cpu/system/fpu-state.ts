import { PAGE_SIZE } from "../../memory/layout.ts";
import { RESULT } from "../interp/imports.ts";
import { FXSAVE_AREA as AREA } from "../isa/fxsave-area.ts";
import { MXCSR_WRITABLE } from "../isa/mxcsr.ts";
import { CPU, VECTOR } from "../state.ts";
import { CR0, CR4, type SystemContext } from "./context.ts";
import { loadControlAndStatus, statusWord } from "./fpu-environment.ts";

/** Operands: offset (a linear address in 64-bit mode), segment, REX.W. */
function area(context: SystemContext, write: boolean): { linear: number; bytes: number } {
  const { cpu, mmu } = context;
  if (cpu.u32(CPU.cr0) & (CR0.em | CR0.ts)) cpu.fault(VECTOR.nm);
  const segment = cpu.argNumber(1);
  const offset = cpu.argNumber(0);
  if (cpu.is64 && (offset < -(2 ** 47) || offset >= 2 ** 47)) {
    cpu.fault(mmu.usesStackSegment(offset) ? VECTOR.ss : VECTOR.gp, 0);
  }
  // The limit of the first byte, alignment, then the limit of the last. Alignment checking takes what is off by less than
  // a doubleword, #GP the rest: Intel processors do it so.
  const linear = mmu.segmented(segment, offset, 1, write);
  if (linear & 3 && mmu.checksAlignment) cpu.fault(VECTOR.ac, 0);
  if (linear & 15) cpu.gp(0);
  mmu.segmented(segment, offset, AREA.size, write);
  // They also look at the last byte before anything else, although nothing is there: CR2 tells.
  mmu.hostPage(linear + AREA.size - 1, write);
  const bytes = cpu.is64 ? AREA.bytes64 : AREA.legacyBytes;
  return { linear, bytes };
}

/** Calls `part` for each piece of the area that lies in one page. */
function eachPage(linear: number, bytes: number, part: (linear: number, at: number, length: number) => void): void {
  const first = Math.min(bytes, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
  part(linear, 0, first);
  if (first < bytes) part(linear + first, first, bytes - first);
}

/** x87 registers and both MXCSR words always, XMM registers only if CR4.OSFXSR says that the system knows them. */
export function fxsave(context: SystemContext): number {
  const { cpu, mmu, memory } = context;
  const { linear, bytes } = area(context, true);
  const image = new Uint8Array(bytes);
  const view = new DataView(image.buffer);
  const top = cpu.u32(CPU.fpuTop);
  view.setUint16(AREA.control, cpu.u32(CPU.fpuControl), true);
  view.setUint16(AREA.status, statusWord(cpu), true);
  view.setUint8(AREA.tags, ~cpu.u32(CPU.fpuEmpty));
  view.setUint16(AREA.opcode, cpu.u32(CPU.fpuOpcode), true);
  if (cpu.arg(2) !== 0n) {
    view.setBigUint64(AREA.ip, cpu.u64(CPU.fpuIp), true);
    view.setBigUint64(AREA.dp, cpu.u64(CPU.fpuDp), true);
  } else {
    view.setUint32(AREA.ip, cpu.u32(CPU.fpuIp), true);
    view.setUint16(AREA.cs, cpu.u32(CPU.fpuCs), true);
    view.setUint32(AREA.dp, cpu.u32(CPU.fpuDp), true);
    view.setUint16(AREA.ds, cpu.u32(CPU.fpuDs), true);
  }
  view.setUint32(AREA.mxcsr, cpu.u32(CPU.mxcsr), true);
  view.setUint32(AREA.mxcsrMask, MXCSR_WRITABLE, true);
  for (let i = 0; i < 8; i++) {
    const from = cpu.base + CPU.fpu + ((top + i) & 7) * 16;
    image.set(cpu.bytes.subarray(from, from + 10), AREA.registers + i * 16);
  }
  let length: number = bytes;
  if (cpu.u32(CPU.cr4) & CR4.osfxsr) {
    const from = cpu.base + CPU.xmm;
    image.set(cpu.bytes.subarray(from, from + bytes - AREA.xmm), AREA.xmm);
  } else length = AREA.xmm;
  eachPage(linear, length, (page, _, count) => mmu.prove(page, count));
  eachPage(linear, length, (page, at, count) => {
    const host = mmu.hostPage(page, true);
    if (host !== 0) {
      memory.bytes.set(image.subarray(at, at + count), host);
      return;
    }
    for (let i = 0; i < count; i += 8) mmu.write(page + i, 8, view.getBigUint64(at + i, true));
  });
  return RESULT.refetch;
}

/** Everything is read and checked before anything is loaded. Reserved bits of MXCSR are #GP(0). */
export function fxrstor(context: SystemContext): number {
  const { cpu, mmu, memory } = context;
  const { linear, bytes } = area(context, false);
  const image = new Uint8Array(bytes);
  const view = new DataView(image.buffer);
  eachPage(linear, bytes, (page, at, count) => {
    const host = mmu.hostPage(page, false);
    if (host !== 0) {
      image.set(memory.bytes.subarray(host, host + count), at);
      return;
    }
    for (let i = 0; i < count; i += 8) view.setBigUint64(at + i, mmu.read(page + i, 8), true);
  });
  const simd = (cpu.u32(CPU.cr4) & CR4.osfxsr) !== 0;
  const mxcsr = view.getUint32(AREA.mxcsr, true);
  if (simd && mxcsr & ~MXCSR_WRITABLE) cpu.gp(0);

  loadControlAndStatus(cpu, view.getUint16(AREA.control, true), view.getUint16(AREA.status, true));
  cpu.setU32(CPU.fpuEmpty, ~view.getUint8(AREA.tags) & 0xff);
  cpu.setU32(CPU.fpuOpcode, view.getUint16(AREA.opcode, true) & 0x7ff);
  if (cpu.arg(2) !== 0n) {
    cpu.setU64(CPU.fpuIp, view.getBigUint64(AREA.ip, true));
    cpu.setU64(CPU.fpuDp, view.getBigUint64(AREA.dp, true));
    cpu.setU32(CPU.fpuCs, 0);
    cpu.setU32(CPU.fpuDs, 0);
  } else {
    cpu.setU64(CPU.fpuIp, BigInt(view.getUint32(AREA.ip, true)));
    cpu.setU32(CPU.fpuCs, view.getUint16(AREA.cs, true));
    cpu.setU64(CPU.fpuDp, BigInt(view.getUint32(AREA.dp, true)));
    cpu.setU32(CPU.fpuDs, view.getUint16(AREA.ds, true));
  }
  const top = cpu.u32(CPU.fpuTop);
  for (let i = 0; i < 8; i++) {
    const from = AREA.registers + i * 16;
    cpu.bytes.set(image.subarray(from, from + 10), cpu.base + CPU.fpu + ((top + i) & 7) * 16);
  }
  if (simd) {
    cpu.setU32(CPU.mxcsr, mxcsr);
    cpu.bytes.set(image.subarray(AREA.xmm, bytes), cpu.base + CPU.xmm);
  }
  return RESULT.refetch;
}
