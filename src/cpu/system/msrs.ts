import { RESULT } from "../interp/imports.ts";
import { CPU, FS, GS, RAX, RCX, RDX, SEG } from "../state.ts";
import { CR0_PG, EFER, type SystemContext } from "./context.ts";

interface Msr {
  read(context: SystemContext): bigint;
  /** False: the value is refused (#GP(0)). Absent: read-only. */
  write?(context: SystemContext, value: bigint): boolean;
}

const canonical = (value: bigint) => BigInt.asUintN(64, BigInt.asIntN(48, value)) === value;
const constant = (value: bigint): Msr => ({ read: () => value });
/** Reads as 0, ignores writes of 0 (SDM: writing anything else faults). */
const zero: Msr = { read: () => 0n, write: (_, value) => value === 0n };

const field = (offset: number, valid: (value: bigint) => boolean = () => true): Msr => ({
  read: ({ cpu }) => cpu.u64(offset),
  write: ({ cpu }, value) => {
    if (!valid(value)) return false;
    cpu.setU64(offset, value);
    return true;
  },
});

/** Legacy modes may no longer take the segment for flat. */
const segmentBase = (segment: number): Msr => ({
  ...field(CPU.segments + segment * SEG.size + SEG.base, canonical),
  write: ({ cpu }, value) => {
    if (!canonical(value)) return false;
    cpu.setU64(CPU.segments + segment * SEG.size + SEG.base, value);
    cpu.setU32(CPU.flatSegments, cpu.u32(CPU.flatSegments) & ~(1 << segment));
    return true;
  },
});

/** Memory types, SDM vol 3, table 11-10: UC, WC, WT, WP, WB and (PAT only) UC-. */
const MTRR_TYPES = [0, 1, 4, 5, 6];
const PAT_TYPES = [...MTRR_TYPES, 7];
const bytes = (value: bigint) => Array.from({ length: 8 }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
const allOf = (types: readonly number[]) => (value: bigint) => bytes(value).every((byte) => types.includes(byte));

/** MAXPHYADDR is 36. */
const PHYSICAL_MASK = (1n << 36n) - 1n;
const mtrrBase = (value: bigint) =>
  (value & ~(PHYSICAL_MASK & ~0xfffn) & ~0xffn) === 0n && MTRR_TYPES.includes(Number(value & 0xffn));
const mtrrMask = (value: bigint) => (value & ~(PHYSICAL_MASK & ~0x7ffn)) === 0n;

const MISC_ENABLE_WRITABLE = 0x4_0000_0001n | (1n << 3n) | (1n << 16n) | (1n << 18n) | (1n << 22n);
const EFER_WRITABLE = BigInt(EFER.sce | EFER.lme | EFER.lma | EFER.nxe);

const tsc: Msr = {
  read: ({ cpu, board }) => BigInt.asUintN(64, board.tsc() + cpu.u64(CPU.tscAdjust)),
  write: ({ cpu, board }, value) => {
    cpu.setU64(CPU.tscAdjust, BigInt.asUintN(64, value - board.tsc()));
    return true;
  },
};

const efer: Msr = {
  read: ({ cpu }) => cpu.u64(CPU.efer),
  write: (context, value) => {
    const { cpu, mmu } = context;
    const old = cpu.u64(CPU.efer);
    if ((value & ~EFER_WRITABLE) !== 0n) return false;
    const paging = (cpu.u32(CPU.cr0) & CR0_PG) !== 0;
    if (paging && ((old ^ value) & BigInt(EFER.lme)) !== 0n) return false;
    cpu.setU64(CPU.efer, (value & ~BigInt(EFER.lma)) | (old & BigInt(EFER.lma)));
    mmu.updatePaging();
    if (((old ^ value) & BigInt(EFER.nxe)) !== 0n) mmu.flushAll();
    return true;
  },
};

const apicBase: Msr = {
  read: ({ board }) => BigInt(board.apic?.readBaseMsr() ?? 0),
  write: ({ board }, value) => value < 1n << 36n && (board.apic?.writeBaseMsr(Number(value)) ?? false),
};

const tscDeadline: Msr = {
  // The local APIC counts the machine's ticks; the guest's deadline is in its own (adjusted) ones.
  read: ({ board, cpu }) => {
    const deadline = board.apic?.readTscDeadline() ?? 0n;
    return deadline === 0n ? 0n : BigInt.asUintN(64, deadline + cpu.u64(CPU.tscAdjust));
  },
  write: ({ board, cpu }, value) => {
    const own = BigInt.asIntN(64, value - cpu.u64(CPU.tscAdjust));
    board.apic?.writeTscDeadline(value === 0n ? 0n : own > 0n ? own : 1n);
    return true;
  },
};

/** Every MSR there is, by number (SDM vol 4). Anything else is #GP(0). */
const MSRS: ReadonlyMap<number, Msr> = new Map<number, Msr>([
  [0x10, tsc],
  [0x17, constant(0n)], // IA32_PLATFORM_ID
  [0x1b, apicBase],
  [0x3b, field(CPU.tscAdjust)],
  [0x8b, { read: () => 0n, write: () => true }], // IA32_BIOS_SIGN_ID: no microcode update is loaded
  [0xfe, constant(0x508n)], // IA32_MTRRCAP: 8 variable, fixed, write-combining
  [0x174, field(CPU.sysenterCs)],
  [0x175, field(CPU.sysenterEsp, canonical)],
  [0x176, field(CPU.sysenterEip, canonical)],
  [0x179, constant(0n)], // IA32_MCG_CAP: no banks
  [0x17a, zero],
  [
    0x1a0,
    {
      read: ({ cpu }) => cpu.u64(CPU.miscEnable),
      write: ({ cpu }, value) => {
        cpu.setU64(CPU.miscEnable, (value & MISC_ENABLE_WRITABLE) | (cpu.u64(CPU.miscEnable) & ~MISC_ENABLE_WRITABLE));
        return true;
      },
    },
  ],
  ...Array.from({ length: 16 }, (_, i): [number, Msr] => [
    0x200 + i,
    field(CPU.mtrrVariable + i * 8, i & 1 ? mtrrMask : mtrrBase),
  ]),
  ...[0x250, 0x258, 0x259, ...Array.from({ length: 8 }, (_, i) => 0x268 + i)].map((number, i): [number, Msr] => [
    number,
    field(CPU.mtrrFixed + i * 8, allOf(MTRR_TYPES)),
  ]),
  [0x277, field(CPU.pat, allOf(PAT_TYPES))],
  [0x2ff, field(CPU.mtrrDefType, (v) => (v & ~0xcffn) === 0n && MTRR_TYPES.includes(Number(v & 0xffn)))],
  [0x6e0, tscDeadline],
  [0xc000_0080, efer],
  [0xc000_0081, field(CPU.star)],
  [0xc000_0082, field(CPU.lstar, canonical)],
  [0xc000_0083, field(CPU.cstar, canonical)],
  [0xc000_0084, field(CPU.sfmask, (value) => value >> 32n === 0n)],
  [0xc000_0100, segmentBase(FS)],
  [0xc000_0101, segmentBase(GS)],
  [0xc000_0102, field(CPU.kernelGsBase, canonical)],
  [0xc000_0103, field(CPU.tscAux, (value) => value >> 32n === 0n)],
]);

/** The MSR numbers that exist. */
export const msrNumbers = (): readonly number[] => [...MSRS.keys()];

export function readMsr(context: SystemContext): number {
  const { cpu } = context;
  const msr = MSRS.get(cpu.gpr32(RCX));
  if (msr === undefined) return cpu.gp(0);
  const value = msr.read(context);
  cpu.setGpr(RAX, value & 0xffff_ffffn);
  cpu.setGpr(RDX, value >> 32n);
  return RESULT.refetch;
}

export function writeMsr(context: SystemContext): number {
  const { cpu } = context;
  const msr = MSRS.get(cpu.gpr32(RCX));
  const value = (BigInt(cpu.gpr32(RDX)) << 32n) | BigInt(cpu.gpr32(RAX));
  if (msr?.write === undefined) return cpu.gp(0);
  if (!msr.write(context, value)) cpu.gp(0);
  return RESULT.leave;
}

export function readTimeStamp({ cpu, board }: SystemContext): void {
  const value = BigInt.asUintN(64, board.tsc() + cpu.u64(CPU.tscAdjust));
  cpu.setGpr(RAX, value & 0xffff_ffffn);
  cpu.setGpr(RDX, value >> 32n);
}
