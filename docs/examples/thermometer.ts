import { defineDevice, raw, ring3 } from "../../src/index.ts";

/** Ports of the thermometer, counted from its base. */
const UNIT = 0;
const DEGREES = 1;

/** A thermometer that asks the host program for the temperature: two ports, two contexts. */
export const thermometer = defineDevice(
  "thermometer",
  (host, options: { base: number; measure: () => Promise<number> }) => {
    const registers = host.registers({ unit: "u8" });

    // Answered inside WebAssembly: nothing but a register.
    host.ports(
      { base: options.base + UNIT, length: 1 },
      {
        read: raw((x) => x.get(registers, "unit")),
        write: raw((x) => x.set(registers, "unit", x.value)),
      },
    );

    // Waits for the host program; the guest's IN simply takes longer.
    host.ports(
      { base: options.base + DEGREES, length: 1 },
      {
        read: ring3(async () => {
          const celsius = await options.measure();
          return registers.unit === 0 ? celsius : Math.round(celsius * 1.8 + 32);
        }),
      },
    );
  },
);
