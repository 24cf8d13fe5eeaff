/**
 * What becomes of a CPU when software has carried out an instruction in its place: a monitor that answers an exit owes
 * the guest everything that retiring does.
 */

import { type Decoded, decoded } from "./decoded.ts";
import { ripAfter } from "./instruction-length.ts";

const FLAG = { tf: 1 << 8, rf: 1 << 16 } as const;
const CR4_DE = 1 << 3;
const DR6_BS = 1 << 14;
const DR6_HITS = 0xf;
const DR7_GD = 1 << 13;
/** R/W field of an I/O breakpoint; it means that only with CR4.DE. */
const BREAK_ON_IO = 0b10;
/** Bytes by length field of DR7. */
const BREAKPOINT_BYTES = [1, 2, 8, 4] as const;

/** The state before the instruction. */
export interface SkipCpu {
  readonly rip: bigint;
  /** CS is a 64-bit code segment. */
  readonly code64: boolean;
  readonly eflags: number;
  readonly cr4: number;
  /** DR0 to DR3. */
  readonly breakpoints: readonly bigint[];
  readonly dr6: number;
  readonly dr7: number;
}

/** The state after it. */
export interface SkippedCpu {
  readonly rip: bigint;
  /** RF is clear. */
  readonly eflags: number;
  /** Blocking by STI and by MOV SS has ended, whatever it was. */
  readonly interruptShadow: false;
  /** A #DB that is due now, a trap after the instruction, with the debug registers that its handler sees. */
  readonly debug: { readonly dr6: number; readonly dr7: number } | undefined;
}

/**
 * @param length of the instruction, from the exit
 * @param io the ports that it has accessed, if any
 */
export function skipInstruction(
  cpu: SkipCpu,
  length: number,
  io?: { readonly port: number; readonly bytes: number },
): Decoded<SkippedCpu> {
  const rip = ripAfter(cpu.rip, length, cpu.code64);
  if (!rip.ok) return rip;
  const hits = io === undefined ? 0 : ioBreakpoints(cpu, io.port, io.bytes);
  const step = cpu.eflags & FLAG.tf ? DR6_BS : 0;
  return decoded({
    rip: rip.value,
    eflags: (cpu.eflags & ~FLAG.rf) >>> 0,
    interruptShadow: false,
    debug:
      hits | step ? { dr6: ((cpu.dr6 & ~DR6_HITS) | hits | step) >>> 0, dr7: (cpu.dr7 & ~DR7_GD) >>> 0 } : undefined,
  });
}

/** B0 to B3: the enabled I/O breakpoints that an access to `bytes` ports from `port` touches. SDM vol 3, 18.2.4. */
export function ioBreakpoints(cpu: Pick<SkipCpu, "cr4" | "dr7" | "breakpoints">, port: number, bytes: number): number {
  if (!(cpu.cr4 & CR4_DE)) return 0;
  let hits = 0;
  for (let number = 0; number < 4; number++) {
    const enabled = (cpu.dr7 >> (number * 2)) & 3;
    const control = (cpu.dr7 >> (16 + number * 4)) & 0xf;
    if (!enabled || (control & 3) !== BREAK_ON_IO) continue;
    const length = BigInt(BREAKPOINT_BYTES[control >> 2]!);
    // The low bits of the address count for nothing.
    const start = cpu.breakpoints[number]! & ~(length - 1n);
    if (start < BigInt(port + bytes) && start + length > BigInt(port)) hits |= 1 << number;
  }
  return hits;
}
