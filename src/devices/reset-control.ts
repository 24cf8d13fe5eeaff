import type { DeviceHost } from "../device/types.ts";

/**
 * Reset control register, port CF9h: bit 2 going from 0 to 1 resets; bit 1 asks for a hard reset, bit 3 for a power
 * cycle. Intel ICH9 data sheet (316972), section 13.7.5; Intel 82371SB (PIIX3), "RC, reset control register".
 */
const RESET_CONTROL = { system: 1 << 1, cpu: 1 << 2, full: 1 << 3 } as const;

export interface ResetControl {
  read(): number;
  write(value: number): void;
}

/** The register's behaviour; the port lies in the middle of the PCI configuration ports, whose owner calls this. */
export function createResetControl(host: DeviceHost): ResetControl {
  const r = host.registers({ resetControl: "u8" });
  return {
    read: () => r.resetControl,
    write(value) {
      const rises = (value & RESET_CONTROL.cpu) !== 0 && (r.resetControl & RESET_CONTROL.cpu) === 0;
      r.resetControl = value & (RESET_CONTROL.system | RESET_CONTROL.cpu | RESET_CONTROL.full);
      // Soft, hard and full reset are one thing to a machine without standby power.
      if (rises) host.board.reset();
    },
  };
}
