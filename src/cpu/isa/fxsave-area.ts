/** Layout of the FXSAVE area, SDM vol 1, tables 10-2 and 10-3. */
export const FXSAVE_AREA = {
  size: 512,
  /** What FXSAVE writes and FXRSTOR reads; the rest is reserved or belongs to software. */
  legacyBytes: 288,
  bytes64: 416,
  control: 0,
  status: 2,
  /** One bit for each physical register: 1 when it is in use. */
  tags: 4,
  opcode: 6,
  ip: 8,
  cs: 12,
  dp: 16,
  ds: 20,
  mxcsr: 24,
  mxcsrMask: 28,
  /** ST(0) to ST(7), ten bytes each, 16 apart. */
  registers: 32,
  xmm: 160,
} as const;
