import { describe, expect, it } from "vitest";
import { mayAccessPort, type PortPermissionCpu } from "./io-permission.ts";

/** A TSS whose bitmap begins at 68h and denies the ports given. */
function task(denied: readonly number[], limit = 0x2068): PortPermissionCpu["task"] {
  const bytes = new Uint8Array(0x3000);
  bytes[0x66] = 0x68;
  for (const port of denied) bytes[0x68 + (port >> 3)]! |= 1 << (port & 7);
  return { hasBitmap: true, limit, readWord: (at) => bytes[at]! | (bytes[at + 1]! << 8) };
}

const user: Omit<PortPermissionCpu, "task"> = { protectedMode: true, virtual8086: false, cpl: 3, iopl: 0 };

describe("I/O permission (SDM vol 1, 19.5)", () => {
  it.each([
    ["real mode asks nobody", { protectedMode: false }, true],
    ["IOPL suffices", { iopl: 3 }, true],
    ["ring 0", { cpl: 0 }, true],
    ["not in virtual-8086 mode", { virtual8086: true, iopl: 3 }, false],
    ["nor with a lower IOPL", { iopl: 2 }, false],
  ])("%s", (_, change, allowed) => {
    expect(mayAccessPort({ ...user, ...change, task: task([0x3f8]) }, 0x3f8, 1)).toBe(allowed);
  });

  it("port 3F8h is tested in bytes E7h and E8h; both must lie within the limit", () => {
    expect(mayAccessPort({ ...user, task: task([], 0xe8) }, 0x3f8, 1)).toBe(true);
    expect(mayAccessPort({ ...user, task: task([], 0xe7) }, 0x3f8, 1)).toBe(false);
  });

  it.each([
    ["one byte", 0x3f8, 1, [0x3f9], true],
    ["every byte of a word", 0x3f8, 2, [0x3f9], false],
    ["a dword that crosses a byte of the map, low part", 0x3fe, 4, [0x3ff], false],
    ["a dword that crosses a byte of the map, high part", 0x3fe, 4, [0x401], false],
    ["the port after it", 0x3fe, 4, [0x402], true],
    ["the last port", 0xffff, 1, [], true],
  ])("%s", (_, port, bytes, denied, allowed) => {
    expect(mayAccessPort({ ...user, task: task(denied) }, port, bytes)).toBe(allowed);
  });

  it("a 16-bit TSS has no bitmap, a short one no base", () => {
    expect(mayAccessPort({ ...user, task: { ...task([]), hasBitmap: false } }, 0x80, 1)).toBe(false);
    expect(mayAccessPort({ ...user, task: { ...task([]), limit: 0x66 } }, 0x80, 1)).toBe(false);
  });
});
