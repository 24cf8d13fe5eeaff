import { PV_FEATURE, PV_VERSION } from "../../exits/hypercall-abi.ts";
import { RESULT } from "../interp/imports.ts";
import { CPU, RAX, RBX, RCX, RDX } from "../state.ts";
import { CR4, type SystemContext } from "./context.ts";

type Leaf = readonly [eax: number, ebx: number, ecx: number, edx: number];
const ZERO: Leaf = [0, 0, 0, 0];
const bits = (...numbers: number[]) => numbers.reduce((all, bit) => all | (1 << bit), 0) >>> 0;

/** Twelve characters as EBX, EDX, ECX (leaf 0) or EBX, ECX, EDX. */
const word = (text: string, at: number) =>
  [0, 1, 2, 3].reduce((all, i) => all | ((text.charCodeAt(at + i) || 0) << (i * 8)), 0) >>> 0;

const VENDOR = "GenuineIntel";
/** Family 6 model 28 stepping 10, an in-order Atom: Linux knows it as free of speculation bugs. */
const SIGNATURE = 0x0001_06ca;
const HYPERVISOR = "PorticoVMM\0\0";
const BRAND = "Portico Virtual CPU @ 1.00GHz";

/** SDM vol 2, CPUID, tables 3-10 (ECX) and 3-11 (EDX): what works, and nothing else. */
const LEAF1_ECX = bits(0, 9, 13, 23, 24, 31); // SSE3 SSSE3 CX16 POPCNT TSC_DEADLINE hypervisor
const LEAF1_EDX = bits(0, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14, 15, 16, 17, 19, 23, 24, 25, 26);
// FPU DE PSE TSC MSR PAE MCE CX8 APIC SEP MTRR PGE MCA CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2
const APIC_BIT = 1 << 9;
const LEAF7_EBX = bits(1, 7); // TSC_ADJUST SMEP
const EXTENDED_ECX = bits(0); // LAHF in 64-bit mode
const EXTENDED_EDX = bits(20, 27, 29); // NX RDTSCP LM
const SYSCALL_BIT = 1 << 11;
const INVARIANT_TSC = bits(8);
const ARAT = bits(2);
const PV_FEATURES = Object.values(PV_FEATURE).reduce((all, one) => all | one, 0);
const MAX_BASIC = 0x15;
const MAX_EXTENDED = 0x8000_0008;

const brand = (leaf: number): Leaf => {
  const at = (leaf - 0x8000_0002) * 16;
  return [word(BRAND, at), word(BRAND, at + 4), word(BRAND, at + 8), word(BRAND, at + 12)];
};

function leafOf(context: SystemContext, leaf: number, subleaf: number): Leaf {
  const { cpu, board, hypercalls } = context;
  switch (leaf) {
    case 0:
      return [MAX_BASIC, word(VENDOR, 0), word(VENDOR, 8), word(VENDOR, 4)];
    case 1: {
      // EBX: CLFLUSH line of 64 bytes, one logical processor, initial APIC id 0. The APIC bit follows its enable bit.
      const apicOn = ((board.apic?.readBaseMsr() ?? 0) & 0x800) !== 0;
      return [SIGNATURE, 0x0001_0800, LEAF1_ECX, apicOn ? LEAF1_EDX : LEAF1_EDX & ~APIC_BIT];
    }
    case 2:
      // One iteration; 0xFF: see leaf 4.
      return [0x00ff_ff01, 0, 0, 0];
    case 4:
      return cacheLeaf(subleaf);
    case 6:
      return [ARAT, 0, 0, 0];
    case 7:
      return subleaf === 0 ? [0, LEAF7_EBX, 0, 0] : ZERO;
    case 0x15:
      return [1, 1, 1_000_000_000, 0];
    case 0x4000_0000:
      return [
        hypercalls === undefined ? 0x4000_0000 : 0x4000_0001,
        word(HYPERVISOR, 0),
        word(HYPERVISOR, 4),
        word(HYPERVISOR, 8),
      ];
    case 0x4000_0001:
      return hypercalls === undefined ? ZERO : [PV_FEATURES, PV_VERSION, 0, 0];
    case 0x8000_0000:
      return [MAX_EXTENDED, 0, 0, 0];
    case 0x8000_0001:
      // SYSCALL is announced in 64-bit mode only, as Intel does.
      return [0, 0, EXTENDED_ECX, cpu.is64 ? EXTENDED_EDX | SYSCALL_BIT : EXTENDED_EDX];
    case 0x8000_0002:
    case 0x8000_0003:
    case 0x8000_0004:
      return brand(leaf);
    case 0x8000_0006:
      // L2: 512 KiB, 8-way, 64-byte lines.
      return [0, 0, 0x0200_6040, 0];
    case 0x8000_0007:
      return [0, 0, 0, INVARIANT_TSC];
    case 0x8000_0008:
      return [0x3024, 0, 0, 0];
    default:
      return ZERO;
  }
}

/** Deterministic cache parameters: L1 data 24 KiB 6-way, L1 code 32 KiB 8-way, L2 512 KiB 8-way, 64-byte lines. */
function cacheLeaf(subleaf: number): Leaf {
  const cache = (type: number, level: number, ways: number, sets: number): Leaf => [
    type | (level << 5) | (1 << 8),
    ((ways - 1) << 22) | 63,
    sets - 1,
    0,
  ];
  return [cache(1, 1, 6, 64), cache(2, 1, 8, 64), cache(3, 2, 8, 1024)][subleaf] ?? ZERO;
}

export function cpuid(context: SystemContext): number {
  const { cpu } = context;
  const requested = cpu.gpr32(RAX);
  // Beyond the last leaf an Intel CPU answers with the last basic one.
  const hypervisor = requested >= 0x4000_0000 && requested < 0x4000_0100;
  const known = hypervisor || requested <= MAX_BASIC || (requested >= 0x8000_0000 && requested <= MAX_EXTENDED);
  const [eax, ebx, ecx, edx] = leafOf(context, known ? requested : MAX_BASIC, cpu.gpr32(RCX));
  cpu.setGpr32(RAX, eax);
  cpu.setGpr32(RBX, ebx);
  cpu.setGpr32(RCX, ecx);
  cpu.setGpr32(RDX, edx);
  return RESULT.refetch;
}

/** RDTSC is for CPL 0 when CR4.TSD is set, RDPMC needs CR4.PCE; there are no counters. */
export const timeStampAllowed = ({ cpu }: SystemContext) => cpu.cpl === 0 || (cpu.u32(CPU.cr4) & CR4.tsd) === 0;
