import { afterEach, describe, expect, it } from "vitest";
import { type BlockStorage, copyOnWriteStorage, memoryStorage } from "../../src/device/storage.ts";
import { createMachine, type Machine } from "../../src/machine/machine.ts";
import { decodeSnapshot, encodeSnapshot } from "../../src/machine/snapshot.ts";

const COMMAND_BLOCK = 0x1f0;
const SECTORS = 64;

const machines: Machine[] = [];
afterEach(() => {
  for (const machine of machines.splice(0)) machine.dispose();
});
function machineWith(...disks: BlockStorage[]): Machine {
  const machine = createMachine({ memoryMiB: 2, clock: "instructions", disks });
  machines.push(machine);
  machine.pc.assignResources();
  return machine;
}
const fresh = () => copyOnWriteStorage(memoryStorage(new Uint8Array(SECTORS * 512).fill(0xee)));

function issue({ io }: Machine, command: number, sector: number): void {
  for (const [register, value] of [[6, 0xe0], [2, 1], [3, sector], [4, 0], [5, 0], [7, command]]) // biome-ignore format: a table
    io.portWrite(COMMAND_BLOCK + register, value, 1);
}
function writeSector(machine: Machine, sector: number, word: number): void {
  issue(machine, 0x30, sector);
  for (let i = 0; i < 256; i++) machine.io.portWrite(COMMAND_BLOCK, word, 2);
}
function readSector(machine: Machine, sector: number): Set<number> {
  issue(machine, 0x20, sector);
  return new Set(Array.from({ length: 256 }, () => machine.io.portRead(COMMAND_BLOCK, 2)));
}

describe("a machine's disks", () => {
  it("without any there is no controller", () => {
    const machine = machineWith();
    expect(machine.devices.names).not.toContain("piix-ide");
    expect([machine.ports.ownerOf(COMMAND_BLOCK), machine.pci.all.length]).toEqual([undefined, 1]);
    expect(machine.io.portRead(COMMAND_BLOCK + 7, 1)).toBe(0xff);
  });

  it("are found where a PC has them, after firmware has been there", () => {
    const machine = machineWith(fresh());
    expect(["piix-ide", "piix-ide", "piix-ide", "piix-ide"]).toEqual(
      [0x1f0, 0x3f6, 0x170, 0x376].map((port) => machine.ports.ownerOf(port)),
    );
    expect(machine.pci.read(0, 8, 0, 4)).toBe(0x7010_8086);
    expect(machine.io.portRead(0x3f6, 1)).toBe(0x50);
    expect([...readSector(machine, 3)]).toEqual([0xeeee]);
  });

  it("more than four are refused", () => {
    expect(() => machineWith(...Array.from({ length: 5 }, fresh))).toThrow(
      expect.objectContaining({ code: "DISK_COUNT" }),
    );
  });

  it("copy-on-write changes are in a snapshot, and in the hash of the state", async () => {
    const machine = machineWith(fresh());
    const before = await machine.stateHash();
    writeSector(machine, 5, 0x1234);
    const hash = await machine.stateHash();
    const file = encodeSnapshot(machine.save());
    writeSector(machine, 5, 0x1235);
    expect(new Set([before, hash, await machine.stateHash()]).size).toBe(3);
    const other = machineWith(fresh());
    writeSector(other, 9, 0x4321);
    other.restore(decodeSnapshot(file));
    expect(await other.stateHash()).toBe(hash);
    expect([...readSector(other, 5), ...readSector(other, 9)]).toEqual([0x1234, 0xeeee]);
  });

  it("a snapshot wants a disk of the same size, and changes nothing otherwise", async () => {
    const snapshot = machineWith(fresh()).save();
    const other = machineWith(copyOnWriteStorage(memoryStorage(new Uint8Array(512 * 8))));
    writeSector(other, 1, 0x1111);
    const hash = await other.stateHash();
    expect(() => other.restore(snapshot)).toThrow(expect.objectContaining({ code: "SNAPSHOT_MISMATCH" }));
    expect(await other.stateHash()).toBe(hash);
    expect(() => machineWith().restore(snapshot)).toThrow(expect.objectContaining({ code: "SNAPSHOT_MISMATCH" }));
  });
});
