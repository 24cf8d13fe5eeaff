/**
 * A device with the same registers at ports and in MMIO, which counts its accesses: whatever way they came, the same
 * ones leave it the same. `guests/linux/portico_pv` is a driver for it.
 */
import { defineDevice, UNUSED } from "../../src/index.ts";

/** Offsets of registers, each a dword; all accesses are whole ones. */
export const TALLY = { data: 0x0, reads: 0x4, writes: 0x8, seed: 0xc } as const;
/** What reading `seed` gives: "TLLY". */
const MAGIC = 0x594c_4c54;
const PORTS = 0x10;
const PAGE = 0x1000;

export interface TallyOptions {
  /** The first of 16 ports. */
  readonly port: number;
  /** Of a page of MMIO. */
  readonly address: number;
}

export const tally = defineDevice("tally", (host, options: TallyOptions) => {
  const registers = host.registers({ value: "u32", reads: "u32", writes: "u32" });

  const handlers = {
    read(offset: number): number {
      switch (offset) {
        case TALLY.data:
          registers.reads++;
          // A linear congruential generator: each value shows how many came before. Numerical Recipes, 7.1.
          registers.value = Math.imul(registers.value, 1_664_525) + 1_013_904_223;
          return registers.value;
        case TALLY.reads:
          return registers.reads;
        case TALLY.writes:
          return registers.writes;
        case TALLY.seed:
          return MAGIC;
        default:
          return UNUSED;
      }
    },
    write(offset: number, value: number): void {
      if (offset === TALLY.data) {
        registers.writes++;
        registers.value = Math.imul(registers.value, 31) + value;
      } else if (offset === TALLY.seed) registers.value = value;
    },
  };
  host.ports({ base: options.port, length: PORTS }, handlers);
  host.mmio({ base: options.address, length: PAGE }, handlers);

  return {
    /** Reads and writes of `data`. */
    get counts(): { reads: number; writes: number } {
      return { reads: registers.reads, writes: registers.writes };
    },
  };
});
