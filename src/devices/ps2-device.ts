/** A device at the end of a PS/2 cable, as the 8042 sees it: bytes one way and the other. */
export interface Ps2Device {
  /** A byte from the host. It supersedes the rest of an unfinished reply. */
  write(byte: number): void;
  /** Whether there is a byte to send. */
  readonly ready: boolean;
  /** The next byte to send. Only while `ready`. */
  send(): number;
}

/** What a device needs from where it is built in. */
export interface Ps2Cable {
  /** There may be a byte to send now. */
  attention(): void;
}

/** Answers that keyboard and mouse share. */
export const REPLY = { acknowledge: 0xfa, resend: 0xfe, selfTestPassed: 0xaa, error: 0xfc } as const;
