import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PorticoError } from "../../src/errors.ts";
import { createMachine } from "../../src/machine/machine.ts";
import { decodeSnapshot, encodeSnapshot, type MachineSnapshot } from "../../src/machine/snapshot.ts";
import { bootPorch, type Guest, guestOf, kernel, x86 } from "./guests.ts";
import { Random } from "./random.ts";

/** Porch in the middle of a timed loop: interrupts, timers and the UART are all at work. */
function busyPorch(): Guest {
  const guest = bootPorch();
  guest.machine.runUntil(1_000_000); // to its prompt
  guest.type("time inb 0x3fd 400000\r");
  guest.machine.runUntil(guest.machine.clock.retired + 20_000);
  return guest;
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof PorticoError) return error.code;
    throw error;
  }
  return "nothing was thrown";
}

describe("a snapshot in a file", () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "portico-snapshot-"));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  const elsewhere = (file: string, end: number, text = ""): unknown =>
    JSON.parse(
      execFileSync(
        process.execPath,
        ["--import", "tsx", join(import.meta.dirname, "continue-snapshot.ts"), file, String(end), text],
        { encoding: "utf8" },
      ),
    );

  it("continues in another process exactly as the machine that was saved", async () => {
    const { machine, said } = busyPorch();
    const file = join(folder, "porch");
    writeFileSync(file, encodeSnapshot(machine.save()));
    const before = said().length;
    const end = machine.clock.retired + 3_000_000;
    machine.runUntil(end);
    expect(said().slice(before)).toMatch(/^400000 iterations\nPM timer/m); // the loop ended after the snapshot
    expect(elsewhere(file, end)).toEqual({ hash: await machine.stateHash(), said: said().slice(before) });
    machine.dispose();
  });

  it("continues with the same input in the same way", async () => {
    const { machine, said, type } = busyPorch();
    machine.runUntil(machine.clock.retired + 3_000_000);
    const file = join(folder, "porch-at-its-prompt");
    writeFileSync(file, encodeSnapshot(machine.save()));
    const before = said().length;
    type("mem\r");
    const end = machine.clock.retired + 30_000;
    machine.runUntil(end);
    expect(said().slice(before)).toMatch(/usable/);
    expect(elsewhere(file, end, "mem\r")).toEqual({ hash: await machine.stateHash(), said: said().slice(before) });
    machine.dispose();
  });
});

describe("a restored machine", () => {
  it("loads the image again after a reset", () => {
    const first = busyPorch();
    const copy = guestOf(createMachine({ memoryMiB: 16, clock: "instructions" }));
    copy.machine.restore(decodeSnapshot(encodeSnapshot(first.machine.save())));
    copy.machine.reset();
    copy.machine.runUntil(copy.machine.clock.retired + 1_000_000);
    expect(copy.said()).toMatch(/portico porch: an I\/O monitor\n[\s\S]*porch> $/);
    first.machine.dispose();
    copy.machine.dispose();
  });

  it("keeps the directory pointers that PAE paging has loaded, though memory has changed since", () => {
    // The four entries at 230000h map one to one by 2 MiB pages; once CR3 is loaded they are wiped out. SDM vol 3, 4.4.1.
    const tables: number[] = [];
    for (let entry = 0; entry < 4; entry++)
      tables.push(...x86.store(0x23_0000 + entry * 8, (0x23_1000 + entry * 0x1000) | 1));
    for (let page = 0; page < 4; page++) tables.push(...x86.store(0x23_1000 + page * 8, (page * 0x20_0000) | 0x83));
    const code = [
      ...tables,
      ...[0xb8, 0x20, 0, 0, 0, 0x0f, 0x22, 0xe0], // CR4.PAE
      ...[...x86.mov(0, 0x23_0000), 0x0f, 0x22, 0xd8], // CR3
      ...[0x0f, 0x20, 0xc0, 0x0d, 0, 0, 0, 0x80, 0x0f, 0x22, 0xc0], // CR0.PG
      ...x86.store(0x23_0000, 0),
      ...x86.mov(1, 1000),
      ...[0x49, 0x75, 0xfd], // DEC ecx; JNZ
      ...x86.exit(0x15),
      ...x86.halt,
    ];
    const machine = createMachine({ memoryMiB: 8, clock: "instructions" });
    machine.boot({ image: kernel(code) });
    machine.runUntil(500);
    const copy = createMachine({ memoryMiB: 8, clock: "instructions" });
    copy.restore(machine.save());
    copy.runUntil(10_000);
    expect(copy.ended).toEqual({ reason: "debug-exit", status: (0x15 << 1) | 1 });
    expect(copy.events.tripleFaults).toBe(0);
    machine.dispose();
    copy.dispose();
  });
});

describe("what is no snapshot for this machine", () => {
  const { machine } = busyPorch();
  const snapshot = machine.save();
  const file = encodeSnapshot(snapshot);
  afterAll(() => machine.dispose());

  /** A machine with a state of its own, and what a failed restore leaves of it. */
  async function refused(bad: MachineSnapshot): Promise<string> {
    const other = bootPorch();
    other.machine.runUntil(5000);
    const before = await other.machine.stateHash();
    const code = codeOf(() => other.machine.restore(bad));
    expect(await other.machine.stateHash()).toBe(before);
    other.machine.runUntil(1_000_000);
    expect(other.said()).toMatch(/porch> $/); // it goes on as if nothing had happened
    other.machine.dispose();
    return code;
  }

  it("has another version", async () => {
    const other = Uint8Array.from(file);
    other[8] = 9;
    expect(codeOf(() => decodeSnapshot(other))).toBe("SNAPSHOT_MISMATCH");
    expect(await refused({ ...snapshot, version: 9 as 1 })).toBe("SNAPSHOT_MISMATCH");
  });

  it("has another size of RAM", async () => {
    const small = bootPorch({ memoryMiB: 8 });
    expect(await refused(small.machine.save())).toBe("SNAPSHOT_MISMATCH");
    small.machine.dispose();
  });

  it("has other devices, or a device of another format", async () => {
    const { rtc, ...rest } = snapshot.devices as Record<string, never>;
    expect(rtc).toBeUndefined();
    const { "rtc-mc146818": gone, ...others } = rest;
    expect(await refused({ ...snapshot, devices: others })).toBe("SNAPSHOT_MISMATCH");
    const strange = { ...snapshot.devices, "rtc-mc146818": { ...(gone as object), version: 99 } };
    expect(await refused({ ...snapshot, devices: strange as never })).toBe("SNAPSHOT_MISMATCH");
  });

  it.each([
    ["nothing", {}],
    ["no processor", { ...snapshot, cpu: undefined }],
    ["half a processor", { ...snapshot, cpu: snapshot.cpu.subarray(0, 1000) }],
    ["time that is none", { ...snapshot, clock: { now: Number.NaN, retired: 1 } }],
    ["no memory", { ...snapshot, memory: undefined }],
    [
      "pages beyond RAM",
      {
        ...snapshot,
        memory: { ...snapshot.memory, ram: { numbers: Uint32Array.of(4096), contents: new Uint8Array(4096) } },
      },
    ],
    [
      "a map beyond RAM",
      {
        ...snapshot,
        memory: { ...snapshot.memory, map: [{ gpa: 0, length: 2 ** 30, source: "ram", offset: 0, writable: true }] },
      },
    ],
    [
      "a map of something else",
      {
        ...snapshot,
        memory: {
          ...snapshot.memory,
          map: [{ gpa: 0, length: 4096, source: "tlb", offset: 0, writable: true }],
        },
      },
    ],
    [
      "devices' state of other shapes",
      {
        ...snapshot,
        devices: Object.fromEntries(
          Object.entries(snapshot.devices).map(([name, device]) => [
            name,
            { ...device, state: device.state.map(() => null) },
          ]),
        ),
      },
    ],
  ])("is data with %s", async (_, bad) => {
    expect(await refused(bad as MachineSnapshot)).toMatch(/^SNAPSHOT_(INVALID|MISMATCH)$/);
  });

  it("is a file cut off anywhere", () => {
    const random = new Random(7);
    const lengths = [0, 1, 7, 8, 15, 31, 32, 33, file.length - 1];
    for (let i = 0; i < 40; i++) lengths.push(random.below(file.length));
    for (const length of lengths)
      expect(codeOf(() => decodeSnapshot(file.subarray(0, length)))).toBe("SNAPSHOT_INVALID");
  });

  it("is a file with a bit changed anywhere", () => {
    const random = new Random(8);
    for (let i = 0; i < 100; i++) {
      const damaged = Uint8Array.from(file);
      const at = i < 32 ? i : random.below(i % 2 ? 4000 : file.length);
      damaged[at] = damaged[at]! ^ (1 << random.below(8));
      expect(codeOf(() => decodeSnapshot(damaged))).toMatch(/^SNAPSHOT_(INVALID|MISMATCH)$/);
    }
  });

  it("is a file with something after its end, or another file altogether", () => {
    const longer = new Uint8Array(file.length + 1);
    longer.set(file);
    expect(codeOf(() => decodeSnapshot(longer))).toBe("SNAPSHOT_INVALID");
    expect(codeOf(() => decodeSnapshot(new TextEncoder().encode("portico")))).toBe("SNAPSHOT_INVALID");
  });
});
