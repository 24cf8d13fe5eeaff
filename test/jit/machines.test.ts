import { afterEach, describe, expect, it } from "vitest";
import { bootPorch, type Guest } from "../machine/guests.ts";

const COMMANDS = "help\rpci\rpm\rtime 3000000\rpeek 0x100000\rin 0x3fd\rout 0x80 0x12\rpoweroff\r";
const INSTRUCTIONS = 60_000_000;

/** The whole machine with each way of running code; the guest cannot tell. */
describe("porch, whatever runs its code", () => {
  const guests: Guest[] = [];
  afterEach(() => {
    for (const { machine } of guests.splice(0)) machine.dispose();
  });

  function boot(compile: "auto" | "always" | "never"): Guest {
    const guest = bootPorch({ compile });
    guests.push(guest);
    guest.machine.runUntil(2_000_000);
    guest.type(COMMANDS);
    guest.machine.runUntil(INSTRUCTIONS);
    return guest;
  }

  it("says the same and ends in the same state", async () => {
    const never = boot("never");
    expect(never.said()).toMatch(/porch> poweroff/);
    expect(never.machine.vcpu.code).toBeUndefined();
    for (const compile of ["auto", "always"] as const) {
      const guest = boot(compile);
      expect([compile, guest.said()]).toEqual([compile, never.said()]);
      expect(guest.machine.clock.retired).toBe(never.machine.clock.retired);
      expect(await guest.machine.stateHash()).toBe(await never.machine.stateHash());
    }
  });

  it("retires over 90 % of its instructions in compiled code when all code is to be compiled", () => {
    const { machine } = boot("always");
    expect(machine.clock.retired).toBeGreaterThan(1_000_000);
    expect(machine.vcpu.code!.interpreted / machine.clock.retired).toBeLessThan(0.1);
  });
});
