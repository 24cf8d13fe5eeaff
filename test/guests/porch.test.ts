import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { GuestProcess, PORCH } from "./guest-process.ts";

const PROMPT = /porch> $/;
const MACHINES = [
  ["QEMU", (...options: string[]) => GuestProcess.qemu("-kernel", PORCH, ...options)],
  ["Portico", (...options: string[]) => GuestProcess.portico(...options)],
] as const;

// The monitor is checked on a machine that we did not write too, so that a failure here tells whose fault it is.
describe.each(MACHINES)("porch on %s", (machine, boot) => {
  let guest: GuestProcess;
  afterEach(() => guest.dispose());

  async function booted(...options: string[]): Promise<GuestProcess> {
    guest = boot(...options);
    await guest.until(PROMPT);
    return guest;
  }
  const ask = (line: string): Promise<string> => guest.command(line, PROMPT);

  it("greets with the machine's memory and ends with status 0 on poweroff", async () => {
    await booted();
    expect(guest.output).toMatch(
      /portico porch: an I\/O monitor\n25\d MiB of memory, ACPI with the PM timer at port 0x\w+\n/,
    );
    guest.type("poweroff\r");
    await guest.until(/powering off\n/);
    expect(await guest.exit()).toBe(0);
  });

  it("passes the debug-exit value on as a status", async () => {
    await booted();
    guest.type("outb 0xf4 0x15\r");
    expect(await guest.exit()).toBe((0x15 << 1) | 1);
  });

  it("starts again on reboot", async () => {
    await booted();
    guest.type("reboot\r");
    await guest.until(/rebooting\n/);
    await guest.until(/portico porch: an I\/O monitor\n/);
    await guest.until(PROMPT);
    expect(await ask("in 0x3fd")).toMatch(/^port 0x03fd = 0x60/);
  });

  it("reads and writes ports", async () => {
    await booted();
    expect(await ask("inb 0x3fd")).toBe("port 0x03fd = 0x60   96   0110_0000b   '`'\n"); // transmitter empty and idle
    expect(await ask("out 3ffh 5ah")).toBe(""); // the UART's scratch register
    expect(await ask("inb 0x3ff")).toBe("port 0x03ff = 0x5a   90   0101_1010b   'Z'\n");
    expect(await ask("inb 0x1234")).toMatch(/= 0xff /); // nobody there
    expect(await ask("inl 0x1234")).toBe("port 0x1234 = 0xffffffff   4294967295\n");
  });

  it("reads and writes memory in every width", async () => {
    await booted();
    await ask("pokel 0x300000 0x12345678");
    await ask("pokew 0x300004 0xabcd");
    await ask("pokeb 0x300006 0x41");
    expect(await ask("peekw 0x300002")).toBe("0x00300002 = 0x1234   4660\n");
    expect(await ask("peek 0x300000 7")).toMatch(/^0x00300000 {2}78 56 34 12 cd ab 41 .* xV4\.{3}A\n$/);
    expect(await ask("peekl 0xfee00030")).toMatch(/^0xfee00030 = 0x00[01][0-9a-f]001[0-9a-f] /); // local APIC version
  });

  it("lists PCI, with the host bridge first", async () => {
    await booted();
    const list = await ask("pci");
    expect(list).toMatch(/^address +id +class +interrupt +what\n00:00\.0 +8086:\w{4} +060000 +- +host bridge\n/);
    expect(list).toMatch(/\n\d+ functions?\n$/);
    const identity = /00:00\.0 +8086:(\w\w)(\w\w)/.exec(list)!;
    expect(await ask("pci 00:00.0")).toContain(`0x00000000  86 80 ${identity[2]} ${identity[1]} `);
    expect(await ask("pci 00:1e.5")).toMatch(/^nothing at 00:1e\.5/);
  });

  it("shows the memory map, usable from 1 MiB on and reserved below it", async () => {
    await booted();
    const map = await ask("mem");
    expect(map).toMatch(/^0x00000000 {2}0x0009\w{4} +6\d\d KiB {2}usable$/m);
    expect(map).toMatch(/^0x00100000 {2}0x0f\w{6} .* usable$/m);
    expect(map).toMatch(/^lower memory 6\d\d KiB, upper memory \d+ KiB$/m);
  });

  it("finds the ACPI tables, every checksum good", async () => {
    await booted();
    const tables = await ask("acpi");
    for (const table of ["FACP", "APIC", "HPET", "DSDT", "FACS"])
      expect(tables).toMatch(new RegExp(`^${table} +0x`, "m"));
    expect(tables).not.toContain("bad checksum");
  });

  it("has a PM timer that keeps the host's time", async () => {
    await booted();
    const seconds = async (): Promise<number> => Number(/, ([\d.]+) s since/.exec(await ask("pmtimer"))![1]);
    const WRAP = 2 ** 24 / 3_579_545;
    const hostStart = performance.now();
    const start = await seconds();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    const end = await seconds();
    const host = (performance.now() - hostStart) / 1000;
    // Each reading is answered within tens of milliseconds; a clock at a wrong rate is off by far more.
    expect(((end - start + WRAP) % WRAP) - host).toBeCloseTo(0, 0);
  });

  it("times loops by both clocks", async () => {
    await booted();
    const timing =
      /^(\d+) iterations\nPM timer +\d+ ticks +\d+\.\d{3} ms +\d+\.\d\d ns each\nTSC +\d+ cycles +\d+\.\d\d cycles each\n$/;
    expect(timing.exec(await ask("time 100000"))?.[1]).toBe("100000");
    expect(timing.exec(await ask("time inb 0x3fd 1000"))?.[1]).toBe("1000");
    expect(timing.exec(await ask("time poke 0x300000 1 1000"))?.[1]).toBe("1000");
  });

  it("uses hypercalls where there are any", async () => {
    await booted();
    const timing = /^(no hypercalls here: plain instructions instead\n)?1000 iterations\n/;
    const announced = (await ask("pv")) !== "no hypercalls: this is not Portico, or it does not announce them\n";
    expect(announced).toBe(machine === "Portico");
    if (announced) {
      expect(await ask("pv 0xfee00030")).toMatch(
        /^hypercalls: ports handles doorbells\n0xfee00030 = 0x\w+ by handle 1\n$/,
      );
      expect(await ask("pv 0x200000")).toMatch(/0x00200000 is not emulated/);
    }
    for (const access of ["pvinb 0x3fd", "pvoutb 0x80 1", "pvpeekl 0xfee00030", "pvpokel 0x300000 1"]) {
      expect(timing.exec(await ask(`time ${access} 1000`))?.[1] === undefined).toBe(announced);
    }
  });

  it("stops a long loop on Ctrl-C", async () => {
    await booted();
    guest.type("time 4000000000\r");
    await guest.until(/time 4000000000\n/);
    await new Promise((resolve) => setTimeout(resolve, 300));
    guest.type("\x03");
    expect(await guest.until(PROMPT)).toMatch(/^\d+ iterations, then Ctrl-C\n/);
  });

  it("edits its lines", async () => {
    await booted();
    expect(await ask("pcj\x7fi")).toMatch(/host bridge/);
    expect(await ask("\x1b[A")).toMatch(/host bridge/); // up: the line before
    expect(await ask("nonsense\x15in 0x3fd")).toMatch(/0x60/); // Ctrl-U
    expect(await ask("xin 0x3fd\x1b[H\x1b[3~")).toMatch(/0x60/); // Home, Delete
    expect(await ask("n 0x3fd\x1b[1~i")).toMatch(/0x60/);
    guest.type("half a line\x03");
    await guest.until(/half a line\^C\nporch> $/);
  });

  it.each([
    ["frob", "there is no command 'frob'; help lists them\n"],
    ["inb", "inb needs an argument:\n"],
    ["inb 0x1zz", "'0x1zz' is not a port: "],
    ["inb 0x10000", "port 0x10000 is too high: the last port is 0xffff\n"],
    ["inw 0xffff", "port 0xffff is too high: the last port is 0xffff, and all bytes"],
    ["outb 0x80 256", "0x100 does not fit in 8 bits; "],
    ["poke 1", "poke needs two arguments:\n"],
    ["time 0", "a loop of 0 iterations takes no time"],
    ["time inb 0x80", "time inb needs a port and a count, such as"],
    ["pci 1234", "'1234' is not a PCI address: "],
  ])("answers the mistake '%s' with help", async (line, answer) => {
    await booted();
    expect((await ask(line)).startsWith(answer)).toBe(true);
  });

  it("takes pasted text of any length", async () => {
    await booted();
    guest.type("in 0x1234\r".repeat(400));
    for (let i = 0; i < 400; i++) await guest.until(/port 0x1234 = 0xff .*\n/);
    await guest.until(PROMPT);
  });

  it("sleeps when there is nothing to do", async () => {
    await booted();
    await new Promise((resolve) => setTimeout(resolve, 500));
    const before = guest.processorTimeMs();
    await new Promise((resolve) => setTimeout(resolve, 2000));
    expect(guest.processorTimeMs() - before).toBeLessThan(200);
  });
});

describe("porch on Portico alone", () => {
  // Elsewhere a byte that arrives while the FIFOs are being enabled is lost, as it is on a real UART.
  it("takes what was typed before it was ready", async () => {
    const guest = GuestProcess.portico();
    guest.type("in 0x1234\rpoweroff\r");
    await guest.until(/port 0x1234 = 0xff .*\n/);
    expect(await guest.exit()).toBe(0);
  });
});

describe("porch's image", () => {
  // Another compiler gives other bytes: the committed image is Debian 12's.
  const compiler = spawnSync("gcc", ["-dumpfullversion"], { encoding: "utf8" }).stdout?.trim();

  it.skipIf(compiler !== "12.2.0")("is what its sources give", () => {
    expect(existsSync(PORCH)).toBe(true);
    const made = spawnSync("make", ["-C", dirname(PORCH), "check"], { encoding: "utf8" });
    expect(made.stderr + made.stdout).not.toContain("differ");
    expect(made.status).toBe(0);
  });
});
