/**
 * The vCPU block: where each piece of architectural state lies, as offsets from the block's base in the machine's
 * WebAssembly memory. Generated code, TypeScript slow paths and snapshots all use these offsets.
 */

export const RAX = 0;
export const RCX = 1;
export const RDX = 2;
export const RBX = 3;
export const RSP = 4;
export const RBP = 5;
export const RSI = 6;
export const RDI = 7;

/** Segment registers in encoding order (SDM vol 2, table 2-1 / B-1), then the two system segments. */
export const ES = 0;
export const CS = 1;
export const SS = 2;
export const DS = 3;
export const FS = 4;
export const GS = 5;
export const LDTR = 6;
export const TR = 7;

/** Fields of one cached segment descriptor. */
export const SEG = {
  size: 48,
  /** u32 */
  selector: 0,
  /** u32; descriptor bits 40-47 and 52-55 as VT-x lays them out (SDM vol 3, table 25-2); bit 16: unusable. */
  attributes: 4,
  /** i64 */
  base: 8,
  /** u32, in bytes (granularity applied), zero-extended to 64 bits. */
  limit: 16,
  /** i64, lowest valid offset: 0, or limit + 1 when expand-down. */
  low: 24,
  /** i64, highest offset that may be read; -1 when nothing may. */
  highRead: 32,
  /** i64, highest offset that may be written; -1 when nothing may. */
  highWrite: 40,
} as const;

export const ATTR = {
  type: 0xf,
  /** 1: code or data; 0: system. */
  s: 0x10,
  dplShift: 5,
  dpl: 0x60,
  present: 0x80,
  avl: 0x1000,
  l: 0x2000,
  /** Default operand size (CS), stack pointer width (SS), upper bound (expand-down). */
  db: 0x4000,
  g: 0x8000,
  unusable: 0x1_0000,
} as const;

export const CPU = {
  /** 16 × i64 */
  gpr: 0,
  /** i64: result of the last arithmetic instruction, sign-extended to 64 bits. ZF = (it is 0), SF = sign, PF = low byte. */
  flagsResult: 128,
  /**
   * i32 carry-out vector: bit 31 CF, bit 31 xor bit 30 OF, bit 3 AF. For flags that no result produces (POPF): bit 0
   * inverts SF, bits 15:8 are xored into the byte whose parity is PF.
   */
  flagsCarry: 136,
  /** i32: EFLAGS without the six arithmetic flags; bit 1 set. */
  eflags: 140,
  /** i64: instruction pointer whenever the interpreter is not running, and around calls to slow paths: next instruction. */
  rip: 144,
  /** i64: RIP = ripBias + host address of an instruction in the current fetch window. */
  ripBias: 152,
  /** i32: fetch window: an instruction may start at host addresses [windowStart, windowStart + windowLength). */
  windowStart: 160,
  windowLength: 164,
  /** i32: bit n set: segment n has base 0, limit 4 GiB and is readable and writable (legacy modes skip its checks). */
  flatSegments: 1132,
  /** i32: host address of the instruction being executed. */
  startPc: 168,
  /** i32: base of the TLB in use (supervisor or user). */
  tlbBase: 172,
  /** i32: initial prefix state of the code segment (see PX). */
  initialPrefixes: 176,
  /** i32: current privilege level. */
  cpl: 180,
  /** i64: 0xFFFF, 0xFFFFFFFF or -1: width of the stack pointer. */
  stackMask: 184,
  /** i32: why an instruction was abandoned; see STOP. */
  stop: 192,
  /** i32: exception vector, with `stop` = fault. */
  vector: 196,
  /** i32: error code, or -1 when the vector has none. */
  errorCode: 200,
  /** i32: operation modes; see MODE. */
  mode: 204,
  /** 4 × i64: operands of a system operation. */
  args: 208,
  /** 8 × SEG.size */
  segments: 256,
  /** i64 each */
  gdtrBase: 640,
  idtrBase: 648,
  gdtrLimit: 656,
  idtrLimit: 664,
  cr0: 672,
  cr2: 680,
  cr3: 688,
  cr4: 696,
  efer: 704,
  /** 8 × i64 (4 and 5 unused) */
  dr: 712,
  /** MSRs, i64 each */
  star: 776,
  lstar: 784,
  cstar: 792,
  sfmask: 800,
  kernelGsBase: 808,
  sysenterCs: 816,
  sysenterEsp: 824,
  sysenterEip: 832,
  pat: 840,
  tscAdjust: 848,
  tscAux: 856,
  miscEnable: 864,
  mtrrDefType: 872,
  /** 11 fixed-range MTRRs */
  mtrrFixed: 880,
  /** 8 variable pairs */
  mtrrVariable: 968,
  /** i32: 1 while the instruction after STI / MOV SS is shielded (bit 0 STI, bit 1 MOV SS). */
  interruptShadow: 1096,
  /** i32: activity: 0 running, 1 halted, 2 shut down (triple fault), 3 waiting for a start-up IPI. */
  activity: 1100,
  /** i32 bits: pending edge events; see EVENT. */
  pendingEvents: 1104,
  /** i32: the level of the INTR pin. */
  intr: 1108,
  /** i64: instructions retired before the current slice (adds up with the clock block). */
  retired: 1112,
  /** i32: bits of DR6 collected by data and I/O breakpoints in the current instruction. */
  pendingDebug: 1120,

  /** x87: control, status (TOP kept apart), tag bits (1 = empty), top, last opcode; i32 each. */
  fpuControl: 1136,
  fpuStatus: 1140,
  /** i32: bit n set: physical register n is empty. */
  fpuEmpty: 1144,
  fpuTop: 1148,
  fpuOpcode: 1152,
  /** i32 selectors, i64 offsets of the last x87 instruction and operand. */
  fpuCs: 1156,
  fpuDs: 1160,
  mxcsr: 1164,
  fpuIp: 1168,
  fpuDp: 1176,
  /** 8 × 16 bytes, physical order: u64 significand, u16 sign and exponent. MMX registers are the significands. */
  fpu: 1184,
  /** 16 × 16 bytes, 16-aligned. */
  xmm: 1312,
  /** 64 bytes: data of accesses that cannot be done in place (MMIO, page-crossing), 16-aligned. */
  scratch: 1568,
  /** 64 bytes: second scratch slot (soft-float operands and results). */
  scratch2: 1632,
  /** 32 bytes: code bytes of an instruction that crosses a page. */
  fetchScratch: 1696,
  /** i64 linear address, i32 size of a read-modify-write in the scratch slot. */
  modifyLinear: 1728,
  modifySize: 1736,
  /** i32: page of the last start-up IPI. */
  startupPage: 1740,
  /** 4 × i64: the top entries that PAE paging keeps since CR3 was loaded. */
  pdpte: 1744,
  /** i32: IGNNE#: the `summary` bit of the x87 status while the error that it stands for is to be ignored. */
  fpuIgnored: 1776,
  /** i32: not 0: RIP is at a repeated string instruction that has done some of its units. */
  insideRepeat: 1780,
  /** End of what a snapshot stores. */
  size: 2048,

  /** What follows is derived, for page walks in generated code (`mmu/walk-code.ts`). i32: see WALK. */
  walkMode: 2048,
  /** i32: host offset of guest RAM, its size in bytes, and where its page flags lie. */
  walkRam: 2052,
  walkRamBytes: 2056,
  walkPageFlags: 2060,
  /** i64: reserved bits of 8-byte page-table entries. */
  walkReserved: 2064,
  /** i64: CR3 without its flag bits. */
  walkRoot: 2072,
  /** i32: `walkMode` of supervisor accesses, and the base of their TLB; that of user accesses follows it. */
  walkSupervisor: 2080,
  tlbSupervisor: 2084,
  /**
   * i32: what holds until the next instruction has retired, see ONCE, and the budget that tells whether it has: as long
   * as the budget is the same. The engine looks when generated code comes back.
   */
  once: 2088,
  onceBudget: 2092,
  /** i32: how often a place is reached before it is compiled; see `arrivedOften`. */
  hotThreshold: 2096,
  /** i32: 1 while a compiled region is in a slow path. */
  compiled: 2100,
  /** i32: what compiled code takes for granted is as under this number; see `contextWord`. */
  codeContext: 2104,
  /** i32: translations of code addresses may have changed since this number did. */
  codeGeneration: 2108,
  /** The state that `codeContext` stands for: i64 stack mask, i32 flat segments, i32 prefixes, i64 limit and base of CS, i32 mode. */
  knownContext: 2112,
  /** i64: instructions that the interpreter has retired beside compiled code. */
  interpreted: 2152,
  /** i32: 1 while the interpreter runs an instruction of compiled code again, see `AccessLog`. */
  replaying: 2160,
  /** i32: 1: IN and OUT leave the guest for the monitor, whatever path it uses. */
  ioExits: 2164,
  /** 1 KiB: translations to pages that are no memory, see `MMIO_TLB`. */
  mmioTlb: 2176,
  /** i64: linear addresses of pages of the monitor: the first, and how many bytes there are; see `VirtualHandlers`. */
  walkMonitor: 3200,
  walkMonitorBytes: 3208,
  /** 1 KiB: where devices were last accessed from, see `MMIO_SITES`. */
  mmioSites: 3216,
  /** Nothing is used from here on. */
  end: 4240,
} as const;

/** `CPU.once`: STI's interrupt shadow; RF after IRET; a repeated string instruction that gave way between two units. */
export const ONCE = { shadow: 1, resume: 2, repeat: 4 } as const;

/** `CPU.walkMode`: how generated code translates. 0: not at all, TypeScript does it. */
export const WALK = {
  /** Paging off; 32-bit, PAE and 4-level paging. */
  flat: 1,
  paging32: 2,
  pae: 3,
  long: 4,
  kind: 7,
  /** Accesses are those of CPL 3. */
  user: 8,
  writeProtect: 0x10,
  smep: 0x20,
  global: 0x40,
  pse: 0x80,
} as const;

/** Parts of the block that mean nothing between instructions, or are derived anew: [from, to). */
export const CPU_TRANSIENT: readonly (readonly [number, number])[] = [
  [CPU.ripBias, CPU.windowLength + 4],
  [CPU.startPc, CPU.initialPrefixes],
  [CPU.stop, CPU.mode],
  [CPU.args, CPU.segments],
  [CPU.scratch, CPU.startupPage],
];

/** Prefix state of one instruction, as the interpreter carries it (`px`). */
export const PX = {
  rexB: 1,
  rexX: 2,
  rexR: 4,
  rexW: 8,
  /** Any REX prefix: SPL, BPL, SIL, DIL instead of AH, CH, DH, BH. */
  rex: 0x10,
  /** 66h was seen. */
  operandSize: 0x20,
  /** Small addresses: 16 bits in legacy modes, 32 bits in 64-bit mode. */
  addressSmall: 0x40,
  rep: 0x80,
  repne: 0x100,
  lock: 0x200,
  /** Segment override + 1 in bits 12-14; 0: none. */
  segmentShift: 12,
  segment: 0x7000,
  /** Operand-size attribute in bits 24-25: 0, 1, 2 for 16, 32, 64 bits. Bits 16-23 stay clear. */
  attributeShift: 24,
} as const;

/** Why `run` came back. */
export const STOP = {
  none: 0,
  /** The budget is used up, or something asked for attention. */
  budget: 1,
  /** `vector` and `errorCode` (and CR2) say which; nothing of the instruction happened. */
  fault: 2,
  /** A ring-3 device access is pending; the instruction is to be restarted. */
  wait: 3,
  /** The instruction retired; the monitor has to look (mode change, HLT, shutdown, ...). */
  leave: 4,
  /** The code at `rip` was reached often enough to be compiled, or is. */
  hot: 5,
  /** A compiled region gives the instruction to the interpreter, which is to run it with what it has done already. */
  redo: 6,
} as const;

export const MODE = {
  /** CR0.PE */
  protected: 1,
  /** EFLAGS.VM */
  v86: 2,
  /** EFER.LMA */
  long: 4,
  /** EFER.LMA and CS.L */
  code64: 8,
  /** CR0.PG */
  paging: 0x10,
} as const;

export const EVENT = { nmi: 1, init: 2, startup: 4, nmiBlocked: 8 } as const;

export const FLAG = {
  cf: 0x1,
  one: 0x2,
  pf: 0x4,
  af: 0x10,
  zf: 0x40,
  sf: 0x80,
  tf: 0x100,
  if: 0x200,
  df: 0x400,
  of: 0x800,
  iopl: 0x3000,
  nt: 0x4000,
  rf: 0x1_0000,
  vm: 0x2_0000,
  ac: 0x4_0000,
  vif: 0x8_0000,
  vip: 0x10_0000,
  id: 0x20_0000,
} as const;
export const ARITHMETIC_FLAGS = 0x8d5;

/** Exception vectors. SDM vol 3, table 6-1. */
export const VECTOR = {
  de: 0,
  db: 1,
  nmi: 2,
  bp: 3,
  of: 4,
  br: 5,
  ud: 6,
  nm: 7,
  df: 8,
  ts: 10,
  np: 11,
  ss: 12,
  gp: 13,
  pf: 14,
  mf: 16,
  ac: 17,
  mc: 18,
  xm: 19,
} as const;

/**
 * In the place of a vector: an x87 error with CR0.NE = 0. The processor asserts FERR# and stands still before the
 * instruction until an interrupt comes, which on a PC is IRQ 13.
 */
export const FLOAT_ERROR = 0x100;
