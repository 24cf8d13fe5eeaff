import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StorageError } from "../device/storage.ts";
import { PorticoError } from "../errors.ts";
import { type DiskMode, openDisk } from "./disk-file.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "portico-disk-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const CONTENTS = Uint8Array.from({ length: 4 * 512 }, (_, i) => i >> 9);
function file(name: string, bytes: Uint8Array = CONTENTS): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe("a file as a disk", () => {
  it.each<[DiskMode, boolean, number]>([
    ["cow", true, 1],
    ["rw", true, 9],
  ])("%s: takes writes", (mode, writable, inFile) => {
    const path = file(mode);
    const disk = openDisk(path, mode);
    expect([disk.sectorCount, disk.writable]).toEqual([4, writable]);
    disk.write(1, new Uint8Array(512).fill(9));
    disk.flush();
    const back = new Uint8Array(1024);
    disk.read(1, back);
    expect([back[0], back[512]]).toEqual([9, 2]);
    disk.close();
    disk.close();
    expect(readFileSync(path)[512]).toBe(inFile);
  });

  it("ro: does not", () => {
    const disk = openDisk(file("ro"), "ro");
    expect([disk.writable, disk.save()]).toEqual([false, null]);
    disk.close();
  });

  it("rw: is not in a snapshot, and says so", () => {
    const disk = openDisk(file("written"), "rw");
    expect(() => disk.save()).toThrow(expect.objectContaining({ code: "DISK_NOT_IN_SNAPSHOT" }));
    disk.close();
  });

  it("that becomes shorter is an error of the drive, not of the program", () => {
    const path = file("shrinks");
    const disk = openDisk(path);
    truncateSync(path, 512);
    expect(() => disk.read(2, new Uint8Array(512))).toThrow(StorageError);
    disk.close();
  });

  it.each([
    ["missing", () => join(folder, "missing"), "FILE_UNREADABLE", /^cannot open the disk '.*missing': no such file/],
    ["empty", () => file("empty", new Uint8Array()), "DISK_SIZE", /^the disk '.*empty' is empty/],
    ["odd", () => file("odd", new Uint8Array(700)), "DISK_SIZE", /has 700 bytes: a disk is a multiple of 512 bytes/],
    ["a folder", () => folder, "DISK_NOT_A_FILE", /is a directory/],
    ["a device", () => "/dev/null", "DISK_NOT_A_FILE", /is not a regular file/],
  ])("that is %s is refused in one line", (_, path, code, message) => {
    expect(() => openDisk(path())).toThrow(PorticoError);
    expect(() => openDisk(path())).toThrow(expect.objectContaining({ code }));
    expect(() => openDisk(path())).toThrow(message);
  });
});
