/** An IN, OUT, INS or OUTS that left the guest, in the terms that VT-x and AMD-V share. */

export type IoDirection = "in" | "out";

export interface IoExit {
  /** 0..0xFFFF. */
  readonly port: number;
  /** Bytes of one unit. */
  readonly bytes: 1 | 2 | 4;
  readonly direction: IoDirection;
  /** INS or OUTS. */
  readonly string: boolean;
  /** A REP prefix; it counts only with `string`. */
  readonly rep: boolean;
}

/** Segment registers by the number that both vendors use. */
export const SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs"] as const;
export type Segment = (typeof SEGMENTS)[number];

export type AddressBits = 16 | 32 | 64;

/**
 * Where the memory operand of INS or OUTS lies, as far as the processor tells.
 *
 * - `known`: register width and segment; `linear` where the processor has added them up already (VT-x).
 * - `decode`: a prefix may change the rest, so software has to read the instruction.
 */
export type StringOperand =
  | { readonly kind: "known"; readonly addressBits: AddressBits; readonly segment: Segment; readonly linear?: bigint }
  | { readonly kind: "decode"; readonly linear?: bigint };
