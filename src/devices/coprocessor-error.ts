import { defineDevice } from "../device/define.ts";
import { UNUSED } from "../io/types.ts";

export interface CoprocessorErrorOptions {
  readonly port?: number;
  readonly gsi?: number;
  /** IGNNE#: the processor may go on in spite of the error, until the error is gone. */
  readonly ignore: () => void;
}

export interface CoprocessorError {
  /** FERR# is asserted. */
  assert(): void;
}

/**
 * How a PC reports x87 errors while CR0.NE is 0: FERR# raises IRQ 13, which a write to port F0h takes back; it lets the
 * processor go on as well. Intel ICH9 data sheet (316972), section 13.7.2 (COPROC_ERR); SDM vol 1, D.2.1.
 */
export const coprocessorError = defineDevice("coprocessor-error", (host, options: CoprocessorErrorOptions) => {
  const r = host.registers({ asserted: "u8" });
  const line = host.interrupt(options.gsi ?? 13);
  function set(asserted: boolean): void {
    r.asserted = asserted ? 1 : 0;
    line.set(asserted);
  }
  host.ports(
    { base: options.port ?? 0xf0, length: 1 },
    {
      read: () => UNUSED,
      write() {
        // Only while FERR# is asserted does IGNNE# follow.
        if (r.asserted !== 0) options.ignore();
        set(false);
      },
    },
  );
  host.onReset(() => set(false));
  return { assert: () => set(true) } satisfies CoprocessorError;
});
