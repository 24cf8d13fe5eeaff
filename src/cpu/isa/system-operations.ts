/**
 * Slow paths in TypeScript that definitions call by name (`x.system`). Operands are i64, in `CPU.args`. `width` is the
 * operand size in bits, `segment` a segment register number, `register` a general register number.
 */
export const SYSTEM_OPERATIONS = [
  "far-jump", // selector, offset
  "far-call", // selector, offset, width
  "far-return", // width, bytes to release
  "iret", // width
  "interrupt", // vector (INT n)
  "int3",
  "int1",
  "into",
  "load-segment", // segment, selector
  "pop-segment", // segment, width
  "load-far-pointer", // segment, selector, offset, register, width
  "lgdt", // base, limit
  "lidt", // base, limit
  "lldt", // selector
  "ltr", // selector
  "lmsw", // value
  "clts",
  "mov-to-cr", // number, value
  "mov-from-cr", // number, register
  "mov-to-dr", // number, value
  "mov-from-dr", // number, register
  "invlpg", // linear address
  "wbinvd",
  "hlt",
  "cpuid",
  "rdtsc",
  "rdtscp",
  "rdpmc",
  "rdmsr",
  "wrmsr",
  "sysenter",
  "sysexit", // width
  "syscall",
  "sysret", // width
  "swapgs",
  "lar", // selector, register, width
  "lsl", // selector, register, width
  "verr", // selector
  "verw", // selector
  "cli",
  "sti",
  "pushf", // width
  "popf", // width
  "enter", // bytes, level, width
  "pusha", // width
  "popa", // width
  "hypercall",
  "io-exit", // exit qualification (IN and OUT that leave the guest)
  "ins", // bytes
  "outs", // bytes
  "fxsave", // offset, segment, REX.W
  "fxrstor", // offset, segment, REX.W
  "fsave", // offset, segment, width
  "frstor", // offset, segment, width
  "fstenv", // offset, segment, width
  "fldenv", // offset, segment, width
  "clflush", // offset, segment
] as const;

export type SystemOperation = (typeof SYSTEM_OPERATIONS)[number];
