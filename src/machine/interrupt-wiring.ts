import type { EmitChange, InterruptLines } from "../device/interrupt-lines.ts";
import type { IoApic } from "../devices/io-apic.ts";
import type { Pic8259 } from "../devices/pic8259.ts";
import { IO_APIC, IRQ } from "./platform.ts";

const PIC_INPUTS = 16;

/** Leads each line of the board to its input of the 8259A pair and of the I/O APIC, in TypeScript and in emitted code. */
export function wireInterrupts(lines: InterruptLines, pic: Pic8259, ioApic: IoApic): void {
  for (let gsi = 0; gsi < lines.count; gsi++) {
    // Interrupt 0 arrives at pin 2 of the I/O APIC; pin 0 would be the 8259A's output.
    const pin = gsi === IRQ.timer ? IO_APIC.timerPin : gsi;
    lines.listen(
      gsi,
      (high) => {
        if (gsi < PIC_INPUTS) pic.setInput(gsi, high);
        if (gsi !== IO_APIC.timerPin) ioApic.setInput(pin, high);
      },
      both(pic.emitInput(gsi), ioApic.emitInput(pin)),
    );
  }
}

/** One change, two inputs that see it. */
function both(first: EmitChange | undefined, second: EmitChange): EmitChange | undefined {
  if (first === undefined) return undefined;
  return (x, high) => {
    const changes = [first(x, high), second(x, high)] as const;
    return {
      refused: x.or(changes[0].refused, changes[1].refused),
      apply: () => {
        for (const { apply } of changes) apply();
      },
    };
  };
}
