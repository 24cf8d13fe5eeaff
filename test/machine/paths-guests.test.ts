/** The guests of `bench/paths.ts` do what they are measured for. */

import { expect, it } from "vitest";
import {
  type DiskRead,
  diskReader,
  portLoop,
  SECTORS_A_COMMAND,
  STATUS,
  timerReader,
} from "../../bench/paths-guests.ts";
import { type BlockStorage, memoryStorage } from "../../src/device/storage.ts";
import type { IoPath } from "../../src/exits/index.ts";
import { createMachine } from "../../src/machine/machine.ts";

const COMMANDS = 2;
const SECTORS = COMMANDS * SECTORS_A_COMMAND;

async function run(image: Uint8Array, ioPath: IoPath, disks: BlockStorage[] = []) {
  const machine = createMachine({ memoryMiB: 4, clock: "instructions", ioPath, disks });
  let checksum = 0;
  let bytes = 0;
  machine.onDebugOutput = (byte) => {
    checksum += byte * 256 ** bytes++;
  };
  machine.boot({ image });
  const { status } = await machine.run();
  const exits = machine.profile().exits.reduce((sum, row) => sum + row.exits, 0);
  machine.dispose();
  return { status, checksum, bytes, exits };
}

it.each([
  ["direct", 0],
  ["decoded", 1005],
  ["emulated", 1005],
  ["trap", 1005],
] as const)("reads, and four bytes and the end, by exits: %s", async (path, exits) => {
  expect(await run(portLoop(1000), path)).toEqual({ status: STATUS.good, checksum: 0, bytes: 4, exits });
  expect(await run(timerReader(1000, 3), path)).toMatchObject({ status: STATUS.good, exits });
  // What Marsaglia's generator gives first, seeded with 1.
  expect(await run(timerReader(1, 1), path)).toMatchObject({ checksum: 270_369 });
});

const reads: DiskRead[] = [
  { command: "sectors", data: "string" },
  { command: "multiple", data: "string" },
  { command: "multiple", data: "words" },
];

it.each(reads)("the disk from its first sector to the last: $command, $data", async (read) => {
  const contents = new Uint32Array(SECTORS * 128).map((_, i) => i ^ 0x5555_5555);
  const disk = memoryStorage(new Uint8Array(contents.buffer));
  const step = read.command === "multiple" ? 16 * 128 : 128;
  let expected = 0;
  for (let i = 0; i < contents.length; i += step) expected = (expected + contents[i]!) >>> 0;
  for (const path of ["decoded", "emulated"] as const) {
    expect(await run(diskReader(COMMANDS, read), path, [disk])).toMatchObject({
      status: STATUS.good,
      checksum: expected,
    });
  }
});

it("a disk that is too small fails the guest", async () => {
  const disk = memoryStorage(new Uint8Array(SECTORS_A_COMMAND * 512));
  expect((await run(diskReader(COMMANDS, reads[0]!), "direct", [disk])).status).toBe(STATUS.diskFailed);
});
