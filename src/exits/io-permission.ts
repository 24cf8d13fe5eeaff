/** Whether a program may access a port: IOPL and the I/O permission bitmap of the TSS. SDM vol 1, 19.5. */

/** What the check needs of a CPU. */
export interface PortPermissionCpu {
  /** CR0.PE. */
  readonly protectedMode: boolean;
  readonly virtual8086: boolean;
  readonly cpl: number;
  readonly iopl: number;
  readonly task: {
    /** A 32- or 64-bit TSS, in a usable TR; a 16-bit one has no bitmap. */
    readonly hasBitmap: boolean;
    readonly limit: number;
    /** Two bytes of the TSS as the system reads them; a page fault leaves through the caller. */
    readWord(offset: number): number;
  };
}

/** Offset of the bitmap's base in a TSS. */
const BITMAP_BASE = 0x66;

/**
 * False: #GP(0). VT-x and AMD-V check this before an I/O intercept, so it is for whoever comes from a #GP or from the
 * interpreter, not for an I/O exit.
 */
export function mayAccessPort(cpu: PortPermissionCpu, port: number, bytes: number): boolean {
  // IOPL counts for nothing in virtual-8086 mode.
  if (!cpu.protectedMode || (!cpu.virtual8086 && cpu.cpl <= cpu.iopl)) return true;
  const { task } = cpu;
  if (!task.hasBitmap || task.limit < BITMAP_BASE + 1) return false;
  const at = task.readWord(BITMAP_BASE) + (port >> 3);
  // Two bytes are always read, so both must lie within the limit.
  if (at + 1 > task.limit) return false;
  return (task.readWord(at) & (((1 << bytes) - 1) << (port & 7))) === 0;
}
