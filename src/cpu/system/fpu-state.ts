import { PAGE_SIZE } from "../../memory/layout.ts";
import { RESULT } from "../interp/imports.ts";
import { FXSAVE_AREA as AREA } from "../isa/fxsave-area.ts";
import { MXCSR_WRITABLE } from "../isa/mxcsr.ts";
import { CPU, VECTOR } from "../state.ts";
import { CR0, CR4, type SystemContext } from "./context.ts";
import { bytesToWrap, loadControlAndStatus, partAddress, statusWord } from "./fpu-environment.ts";

interface Part {
  readonly linear: number;
  /** Offset in the area. */
  readonly at: number;
  readonly bytes: number;
}

/**
 * The pieces of the area that lie in one page and do not wrap. Operands: offset (a linear address in 64-bit mode),
 * segment, REX.W.
 */
function area(context: SystemContext, px: number, write: boolean): Part[] {
  const { cpu, mmu } = context;
  if (cpu.u32(CPU.cr0) & (CR0.em | CR0.ts)) cpu.fault(VECTOR.nm);
  const offset = cpu.argNumber(0);
  if (cpu.is64 && (offset < -(2 ** 47) || offset >= 2 ** 47)) {
    cpu.fault(mmu.usesStackSegment(offset) ? VECTOR.ss : VECTOR.gp, 0);
  }
  // The limit of the first byte, alignment, then the limit of the last. Alignment checking takes what is off by less than
  // a doubleword, #GP the rest: Intel processors do it so.
  const linear = partAddress(context, px, 0, 1, write);
  if (linear & 3 && mmu.checksAlignment) cpu.fault(VECTOR.ac, 0);
  if (linear & 15) cpu.gp(0);
  // They also look at the last byte before anything else, although nothing is there: CR2 tells.
  mmu.hostPage(partAddress(context, px, AREA.size - 1, 1, write), write);

  const parts: Part[] = [];
  const end = cpu.is64 ? AREA.bytes64 : AREA.legacyBytes;
  const wrap = bytesToWrap(context, px);
  for (let at = 0; at < end; ) {
    const linear = partAddress(context, px, at, 1, write);
    const bytes = Math.min((at < wrap ? Math.min(wrap, end) : end) - at, PAGE_SIZE - (linear & (PAGE_SIZE - 1)));
    parts.push({ linear, at, bytes });
    at += bytes;
  }
  return parts;
}

/** What devices see of a part. */
const unitOf = ({ bytes }: Part): 1 | 8 => (bytes & 7 ? 1 : 8);

/** x87 registers and both MXCSR words always, XMM registers only if CR4.OSFXSR says that the system knows them. */
export function fxsave(context: SystemContext, px: number): number {
  const { cpu, mmu, memory } = context;
  const parts = area(context, px, true);
  const image = new Uint8Array(AREA.size);
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
  // Without OSFXSR the XMM registers stay out of it.
  let end: number = AREA.xmm;
  if (cpu.u32(CPU.cr4) & CR4.osfxsr) {
    end = cpu.is64 ? AREA.bytes64 : AREA.legacyBytes;
    const from = cpu.base + CPU.xmm;
    image.set(cpu.bytes.subarray(from, from + end - AREA.xmm), AREA.xmm);
  }
  const written = parts
    .filter(({ at }) => at < end)
    .map(({ linear, at, bytes }) => ({ linear, at, bytes: Math.min(bytes, end - at) }));
  for (const { linear, bytes } of written) mmu.prove(linear, bytes);
  for (const part of written) {
    const { linear, at, bytes } = part;
    const host = mmu.hostPage(linear, true);
    if (host !== 0) {
      memory.bytes.set(image.subarray(at, at + bytes), host);
      continue;
    }
    const unit = unitOf(part);
    for (let i = 0; i < bytes; i += unit) {
      const value = unit === 8 ? view.getBigUint64(at + i, true) : BigInt(image[at + i]!);
      mmu.write(linear + i, unit, value);
    }
  }
  return RESULT.refetch;
}

/** Everything is read and checked before anything is loaded. Reserved bits of MXCSR are #GP(0). */
export function fxrstor(context: SystemContext, px: number): number {
  const { cpu, mmu, memory } = context;
  const image = new Uint8Array(AREA.size);
  const view = new DataView(image.buffer);
  for (const part of area(context, px, false)) {
    const { linear, at, bytes } = part;
    const host = mmu.hostPage(linear, false);
    if (host !== 0) {
      image.set(memory.bytes.subarray(host, host + bytes), at);
      continue;
    }
    const unit = unitOf(part);
    for (let i = 0; i < bytes; i += unit) {
      const value = mmu.read(linear + i, unit);
      if (unit === 8) view.setBigUint64(at + i, value, true);
      else image[at + i] = Number(value);
    }
  }
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
    cpu.bytes.set(image.subarray(AREA.xmm, cpu.is64 ? AREA.bytes64 : AREA.legacyBytes), cpu.base + CPU.xmm);
  }
  return RESULT.refetch;
}
