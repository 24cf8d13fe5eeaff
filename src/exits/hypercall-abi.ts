/**
 * The hypercalls that a guest may use instead of port and MMIO instructions. VMCALL or VMMCALL; RAX is the number, RBX,
 * RCX, RDX and RSI are arguments, RAX is the result, as with KVM. CPL 0 only. Outside 64-bit code registers are 32 bits
 * wide. guests/include/portico_pv.h has the same numbers.
 */

/** CPUID leaf 4000_0001h, when calls are announced: EAX features, EBX the version of this interface. */
export const PV_VERSION = 1;
export const PV_FEATURE = { io: 1 << 0, handles: 1 << 1, doorbells: 1 << 2, qwords: 1 << 3 } as const;

export const HYPERCALL = {
  /**
   * 24 calls, one for each form of the instructions: this number plus
   *
   * - bits 1:0: size, 0 to 2 for 1, 2 and 4 bytes,
   * - bit 2: the form with an immediate port (IN, OUT), or REP (INS, OUTS),
   * - bit 3: OUT or OUTS,
   * - bit 4: INS or OUTS.
   *
   * The port is in DX, of the immediate form in DL; the value of OUT in RBX, of IN in RAX (zero-extended). Strings use
   * ES:RDI or DS:RSI and RCX at the address size of the code segment, and EFLAGS.DF; they fault as the instruction does,
   * with RIP at the call, and begin again.
   */
  io: 0x5000,
  /** What slow devices need between two accesses: a write to port 80h. */
  ioDelay: 0x5020,
  /** RBX: the new IOPL in bits 13:12, all others zero. */
  setIoplMask: 0x5021,
  /** RBX: space (0 ports, 1 MMIO), RCX: first port or address, RDX: length. A handle, if the range is emulated. */
  map: 0x5030,
  /** RBX: handle. */
  unmap: 0x5031,
  /**
   * RBX: handle, RCX: offset, RDX: width (1, 2, 4; of MMIO, with `qwords`, 8). RAX is the value and RDX 0, or both are the
   * error. Outside 64-bit code EDI is the upper half of 8 bytes.
   */
  read: 0x5032,
  /** RBX: handle, RCX: offset, RDX: width, RSI: value; outside 64-bit code EDI: the upper half of 8 bytes. */
  write: 0x5033,
  /** RBX: handle, RCX: offset, RDX: width, and the number of units (1 to 1024) times 256; RSI: linear address of them. */
  readBlock: 0x5034,
  writeBlock: 0x5035,
  /** RBX: number of a doorbell. */
  notify: 0x5040,
} as const;

/** Results below 0. Numbers of Linux, but for KVM's own -1000. */
export const PV_ERROR = {
  /** Not at CPL 0. */
  permission: -1,
  /** No such doorbell. */
  noEntry: -2,
  /** A device's handler failed. */
  io: -5,
  /** Nobody emulates the range, or not all of it: access it as it is. */
  notEmulated: -6,
  /** More units than a call moves. */
  tooBig: -7,
  /** The memory cannot be read or written. */
  fault: -14,
  invalid: -22,
  /** No more handles. */
  noSpace: -28,
  /** The range is not what it was when the handle was given. */
  stale: -116,
  /** No such call. */
  unknown: -1000,
} as const;

export const BLOCK_UNITS_MAX = 1024;
