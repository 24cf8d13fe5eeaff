import { describe, expect, it } from "vitest";
import { DeviceError } from "../io/errors.ts";
import { WAIT } from "../io/types.ts";
import { IoMonitor } from "./io-monitor.ts";
import { FAULT, FakeCpu, WAITS } from "./testing.ts";
import { encodeVmxIo, type VmxIoExit } from "./vmx-io.ts";

const exit = (direction: "in" | "out", port: number, bytes: 1 | 2 | 4, more: Partial<VmxIoExit> = {}) =>
  encodeVmxIo({ port, bytes, direction, string: false, rep: false, immediate: false, ...more });

function bench() {
  const cpu = new FakeCpu();
  const monitor = new IoMonitor(cpu);
  const failures: string[] = [];
  monitor.onFailure = ({ message }) => failures.push(message);
  return { cpu, monitor, failures };
}

/** What a device's handler that breaks its contract throws. */
const broken = () => {
  const access = { device: "d", space: "port", range: { base: 0, length: 1 }, direction: "read", address: 0, width: 1 };
  throw new DeviceError("BAD_HANDLER_RESULT", access as ConstructorParameters<typeof DeviceError>[1], "broken");
};

describe("decoded exits: what the first decode-free intercept of Xen got wrong", () => {
  it.each([
    [1, 0x1122_3344_5566_77abn],
    [2, 0x1122_3344_5566_abcdn],
    [4, 0x89ab_abcdn],
  ] as const)("IN of %i bytes keeps what is above AL and AX, and zero-extends EAX", (bytes, rax) => {
    const { cpu, monitor } = bench();
    cpu.registers[0] = 0x1122_3344_5566_7788n;
    cpu.answer = bytes === 1 ? 0xab : bytes === 2 ? 0xabcd : 0x89ab_abcd;
    monitor.decodedExit(exit("in", 0x60, bytes), 2);
    expect(cpu.registers[0]).toBe(rax);
    expect(cpu.rip).toBe(0x1002);
  });

  it("a failure leaves RIP and registers alone, and says direction, port, size and data", () => {
    const { cpu, monitor, failures } = bench();
    cpu.registers[0] = 0xdead_beefn;
    cpu.onAccess = broken;
    expect(() => monitor.decodedExit(exit("out", 0xcf8, 4), 1)).toThrow(FAULT);
    expect(() => monitor.decodedExit(exit("in", 0x60, 1, { immediate: true }), 2)).toThrow(FAULT);
    expect(failures).toEqual(["out at port 0x0cf8, 4 bytes, data 0xdeadbeef", "in at port 0x0060, 1 byte"]);
    expect([cpu.rip, cpu.registers[0]]).toEqual([0x1000, 0xdead_beefn]);
    expect(monitor.work.decoded).toMatchObject({
      exits: 2,
      failures: 2,
      reflected: 2,
      bytesFetched: 0,
      decodeSteps: 0,
    });
  });

  it("nothing of a failed exit is left for the next one, whatever that is", () => {
    const { cpu, monitor } = bench();
    const kept = () => JSON.stringify({ ...monitor, work: undefined, cpu: undefined, code: undefined });
    const before = kept();
    cpu.onAccess = broken;
    expect(() => monitor.decodedExit(exit("in", 0x60, 4), 2)).toThrow(FAULT);
    expect(kept()).toBe(before);
    cpu.onAccess = undefined;
    cpu.instruction = { direction: "out", bytes: 1, port: 0x80, length: 2 };
    monitor.emulatedExit();
    expect(cpu.accesses.at(-1)).toBe("out 128 1 0");
    expect(cpu.rip).toBe(0x1002);
  });

  it("an access that waits leaves RIP unmoved, comes back decoded, and is completed once", () => {
    const { cpu, monitor } = bench();
    cpu.answer = WAIT;
    expect(() => monitor.decodedExit(exit("in", 0x60, 4), 2)).toThrow(WAITS);
    expect([cpu.rip, cpu.registers[0]]).toEqual([0x1000, 0n]);
    cpu.answer = 7;
    monitor.decodedExit(exit("in", 0x60, 4), 2);
    expect([cpu.rip, cpu.registers[0]]).toEqual([0x1002, 7n]);
    // Two out and back, and the way to ring 3.
    expect(monitor.work.decoded).toMatchObject({ exits: 2, contextSwitches: 6, bytesFetched: 0 });
    expect(monitor.work.emulated.exits).toBe(0);
  });

  it("what nobody answers is all ones, cut to the width", () => {
    const { cpu, monitor } = bench();
    cpu.answer = 0xffff;
    monitor.decodedExit(exit("in", 0x60, 2), 2);
    expect(cpu.registers[0]).toBe(0xffffn);
  });

  it.each([
    ["a reserved bit", 0x0060_0080, 1],
    ["no size", 0x0060_0002, 1],
    ["a length of 0", exit("in", 0x60, 1), 0],
    ["a length of 16", exit("out", 0x60, 1), 16],
  ])("%s fails before anything is accessed", (_, qualification, length) => {
    const { cpu, monitor, failures } = bench();
    expect(() => monitor.decodedExit(qualification, length)).toThrow(FAULT);
    expect(cpu.accesses).toEqual([]);
    expect(failures).toHaveLength(1);
  });

  it("hands strings to the emulator", () => {
    const { cpu, monitor } = bench();
    cpu.instruction = { direction: "out", bytes: 2, string: true, addressBits: 16, segment: 3, length: 2 };
    monitor.decodedExit(exit("out", 0x60, 2, { string: true }), 2);
    expect(monitor.work.decoded.exits).toBe(0);
    expect(monitor.work.emulated).toMatchObject({ exits: 1, decodeSteps: 2, bytesFetched: 15 });
    expect(cpu.rip).toBe(0x1002);
  });

  it.each([
    ["ends with the page: no other is touched", 2, { bytesFetched: 2, decodeSteps: 2 }],
    ["goes on in the next page: that is fetched, and all of it decoded", 1, { bytesFetched: 15, decodeSteps: 3 }],
  ])("an instruction that %s", (_, inPage, work) => {
    const { cpu, monitor } = bench();
    cpu.inPage = inPage;
    cpu.instruction = { direction: "out", bytes: 1, port: 0x80, length: 2 };
    monitor.emulatedExit();
    expect(monitor.work.emulated).toMatchObject({ exits: 1, ...work });
    expect(cpu.accesses).toEqual(["out 128 1 0"]);
  });

  it("a failure of the emulator says where, and which bytes it saw", () => {
    const { cpu, monitor, failures } = bench();
    cpu.rip = -0x1000;
    cpu.inPage = 3;
    cpu.instruction = undefined;
    expect(() => monitor.emulatedExit()).toThrow(FAULT);
    cpu.instruction = { direction: "out", bytes: 1, port: 0x80, length: 2 };
    cpu.onAccess = broken;
    expect(() => monitor.emulatedExit()).toThrow(FAULT);
    const where = "emulation at RIP 0xfffffffffffff000 failed: 00 00 00";
    expect(failures).toEqual([where, where]);
    expect(monitor.work.emulated).toMatchObject({ exits: 2, failures: 2, reflected: 2 });
  });

  it("no instruction has more than 15 bytes", () => {
    const { cpu, monitor, failures } = bench();
    cpu.inPage = 4;
    cpu.instruction = { direction: "out", bytes: 1, port: 0x80, length: 16 };
    expect(() => monitor.emulatedExit()).toThrow(FAULT);
    expect(failures).toEqual(["emulation at RIP 0x1000 failed: 00 00 00 00 00 00"]);
    expect(monitor.work.emulated).toMatchObject({ bytesFetched: 15, failures: 1 });
    expect(cpu.accesses).toEqual([]);
  });

  it("nobody needs to hear of a failure", () => {
    const cpu = new FakeCpu();
    expect(() => new IoMonitor(cpu).emulatedExit()).toThrow(FAULT);
  });

  it("a block that waits leaves the registers at its first unit", () => {
    const { cpu, monitor } = bench();
    cpu.block = new Uint8Array(8);
    cpu.io.portReadString = () => WAIT;
    cpu.instruction = { direction: "in", bytes: 1, string: true, rep: true, length: 2 };
    cpu.registers[1] = 8n;
    expect(() => monitor.emulatedExit()).toThrow(WAITS);
    expect([cpu.registers[1], cpu.registers[7], cpu.rip]).toEqual([8n, 0n, 0x1000]);
  });

  it("any error but a device's is not the guest's business", () => {
    const { cpu, monitor } = bench();
    cpu.onAccess = () => {
      throw new TypeError("a bug");
    };
    expect(() => monitor.decodedExit(exit("in", 0x60, 1), 1)).toThrow(TypeError);
  });
});

describe("after the instruction", () => {
  it.each([
    ["outside 64-bit code RIP has 32 bits", { rip: 0xffff_fffe, code64: false }, 0],
    ["in 64-bit code it goes on", { rip: 0xffff_fffe, code64: true }, 0x1_0000_0000],
  ])("%s", (_, state, rip) => {
    const { cpu, monitor } = bench();
    Object.assign(cpu, state);
    monitor.decodedExit(exit("out", 0x80, 1), 2);
    expect(cpu.rip).toBe(rip);
  });

  it("RF and the interrupt shadow end, TF and an I/O breakpoint trap", () => {
    const { cpu, monitor } = bench();
    cpu.eflags = 0x1_0102;
    cpu.dr7 = 0x2_0401;
    cpu.breakpoints[0] = 0x3f8n;
    monitor.decodedExit(exit("out", 0x3f8, 1), 1);
    expect([cpu.eflags, cpu.hits]).toEqual([0x102, 0x4001]);
  });

  it("an I/O breakpoint ends a string after the unit that touched it", () => {
    const { cpu, monitor } = bench();
    cpu.dr7 = 0x2_0401;
    cpu.breakpoints[0] = 0x3f8n;
    cpu.registers[1] = 3n;
    cpu.registers[2] = 0x3f8n;
    cpu.budget = 1;
    cpu.instruction = { direction: "out", bytes: 1, string: true, rep: true, addressBits: 32, segment: 3, length: 2 };
    monitor.emulatedExit();
    expect([cpu.hits, cpu.registers[1], cpu.rip]).toEqual([1, 2n, 0x1000]);
  });
});

describe("traps: a frame and nothing else", () => {
  const frame = { vector: 13, errorCode: 0, cs: 0x1b, rip: 0x1000 };

  it.each([
    ["another vector", { ...frame, vector: 14 }],
    ["an error code", { ...frame, errorCode: 0x10 }],
  ])("%s is reflected unread", (_, trapped) => {
    const { cpu, monitor } = bench();
    cpu.instruction = { direction: "in", bytes: 1, port: 0x60, length: 2 };
    expect(() => monitor.trap(trapped)).toThrow(FAULT);
    expect(monitor.work.trap).toMatchObject({ bytesFetched: 0, reflected: 1, failures: 0 });
  });

  it("another instruction's #GP is the guest's own", () => {
    const { cpu, monitor } = bench();
    cpu.instruction = undefined;
    expect(() => monitor.trap(frame)).toThrow(FAULT);
    expect(monitor.work.trap).toMatchObject({ reflected: 1, failures: 0 });
  });

  it("checks IOPL and the bitmap in software", () => {
    const { cpu, monitor } = bench();
    cpu.instruction = { direction: "in", bytes: 1, port: 0x60, length: 2 };
    Object.assign(cpu, { protectedMode: true, cpl: 3 });
    cpu.words.set(0x66, 0x68);
    cpu.words.set(0x68 + 12, 1);
    expect(() => monitor.trap(frame)).toThrow(FAULT);
    expect(cpu.accesses).toEqual([]);
    cpu.words.set(0x68 + 12, 0);
    monitor.trap(frame);
    expect(cpu.accesses).toEqual(["in 96 1"]);
  });
});
