import { afterEach, describe, expect, it } from "vitest";
import { bootPorch, type Guest, PORCH } from "./guests.ts";

/** Instructions in which porch surely gets to its prompt and sleeps there. */
const TO_PROMPT = 2_000_000;
const BANNER = /portico porch: an I\/O monitor\n/g;

describe("a guest that resets its machine", () => {
  let guest: Guest;
  afterEach(() => guest.machine.dispose());

  const settle = () => guest.machine.runUntil(guest.machine.clock.retired + TO_PROMPT);
  const command = (line: string): string => {
    const before = guest.said().length;
    guest.type(`${line}\r`);
    settle();
    return guest.said().slice(before);
  };

  it.each([
    ["port CF9h, hard reset", ["outb 0xcf9 2", "outb 0xcf9 6"]],
    ["port CF9h, soft reset", ["outb 0xcf9 0", "outb 0xcf9 4"]],
    ["port 92h, fast reset", ["outb 0x92 3"]],
    ["the keyboard controller's pulse of the reset line", ["outb 0x64 0xfe"]],
    ["the keyboard controller's output port", ["outb 0x64 0xd1", "outb 0x60 0xde"]],
    ["the ACPI reset register and its value", ["reboot"]],
  ])("by %s finds it as it was first, and works", (_, lines) => {
    guest = bootPorch();
    settle();
    // State that a reset must not keep, and the UART's scratch register, which it must.
    for (const line of ["outb 0x3ff 0x5a", "outb 0x21 0x02", "outb 0x4d1 0x0c", "outl 0xcf8 0x80000040"]) command(line);
    expect(command("inb 0x4d1")).toMatch(/= 0x0c/);
    for (const line of lines) command(line);
    expect(guest.machine.events).toEqual({ resets: 1, tripleFaults: 0 });
    expect(guest.said().match(BANNER)?.length).toBe(2);
    expect(guest.said()).toMatch(/porch> $/);
    expect(command("inb 0x4d1")).toMatch(/= 0x0e/); // SCI and PCI interrupts, as firmware leaves them
    expect(command("inb 0x3ff")).toMatch(/= 0x5a/); // the scratch register is not reset (PC16550D, table I)
    expect(command("inl 0xcf8")).toMatch(/= 0x00000000/);
    expect(command("pci")).toMatch(/host bridge/);
    guest.type("poweroff\r");
    settle();
    expect(guest.machine.ended).toEqual({ reason: "poweroff", status: 0 });
  });

  it("by a triple fault finds it as it was first, and works", () => {
    guest = bootPorch();
    settle();
    // An IDT without gates: the next key press faults three times.
    guest.machine.vcpu.state.setNumber(664, 0);
    guest.type("x");
    settle();
    expect(guest.machine.events).toEqual({ resets: 1, tripleFaults: 1 });
    expect(guest.said().match(BANNER)?.length).toBe(2);
    expect(command("inb 0x3fd")).toMatch(/= 0x60/);
  });

  it("starts in the state of the first time: what follows is the same but for time", async () => {
    const fresh = bootPorch();
    guest = bootPorch();
    settle();
    guest.machine.reset();
    settle();
    fresh.machine.runUntil(TO_PROMPT);
    const [a, b] = [fresh.machine.save(), guest.machine.save()];
    expect(b.cpu).toEqual(a.cpu);
    // Registers that tell time are not compared: they count on.
    for (const name of ["pic8259", "com1", "i8042", "pci-host", "io-apic", "acpi-pm"]) {
      expect([name, b.devices[name]?.registers.length]).toEqual([name, a.devices[name]?.registers.length]);
    }
    expect(b.devices["pci-host"]).toEqual(a.devices["pci-host"]);
    expect(b.devices.pic8259).toEqual(a.devices.pic8259);
    expect(b.devices["io-apic"]).toEqual(a.devices["io-apic"]);
    fresh.machine.dispose();
  });

  it("powers off for good, and boots again when told", async () => {
    guest = bootPorch({ clock: "host" });
    const run = guest.machine.run();
    const prompts = async (count: number) => {
      const isThere = () => guest.said().match(BANNER)?.length === count && /porch> $/.test(guest.said());
      while (!isThere()) await new Promise((done) => setTimeout(done, 5));
    };
    await prompts(1);
    guest.type("poweroff\r");
    expect(await run).toEqual({ reason: "poweroff", status: 0 });
    guest.machine.boot({ image: PORCH });
    const again = guest.machine.run();
    await prompts(2);
    guest.type("outb 0xf4 3\r");
    expect(await again).toEqual({ reason: "debug-exit", status: 7 });
  });
});
