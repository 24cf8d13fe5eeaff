/** Watching a kernel and a program of its that we did not build for it. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { writeCpio } from "../../scripts/guests/cpio.ts";
import { createMachine, type Machine, type Remap, type WatchedAccess } from "../../src/index.ts";
import { GUESTS, GuestProcess } from "./guest-process.ts";

const KERNEL = join(GUESTS, "vmlinuz-cloud-amd64");
const INITRAMFS = join(GUESTS, "initramfs-amd64.cpio.gz");
const BOOT_MS = 480_000;
/** Debian's HZ is 250, and jiffies begin five minutes before they overflow 32 bits (INITIAL_JIFFIES). */
const INITIAL_JIFFIES = 2n ** 32n - 300n * 250n;

const [CODE, DATA] = [0x40_0000, 0x60_0000];
/** Two words of one page. */
const WORD = DATA + 0x10;
const OTHER = DATA + 0x800;

const dword = (value: number) => [value & 0xff, (value >>> 8) & 0xff, (value >>> 16) & 0xff, value >>> 24];
const qword = (value: number) => [...dword(value), ...dword(0)];
const store = (value: number, at = WORD) => [0x48, 0xc7, 0x04, 0x25, ...dword(at), ...dword(value)]; // MOV qword [at], value
const load = [0x48, 0x8b, 0x04, 0x25, ...dword(WORD)]; // MOV rax, [word]
const call = (number: number) => [0xb8, ...dword(number), 0x0f, 0x05]; // MOV eax, number; SYSCALL
const exit = [0x31, 0xff, ...call(60)]; // XOR edi, edi
const child = [...store(0x22), ...store(0x22, OTHER), ...exit];

/** Writes and reads a word; a child writes both; when the child has gone, writes both and reads one again. */
const PROGRAM = [
  ...store(0x11),
  ...load,
  ...call(57), // fork
  ...[0x85, 0xc0, 0x75, child.length], // TEST eax, eax; JNZ parent
  ...child,
  ...[0x89, 0xc7, 0x31, 0xf6, 0x31, 0xd2, 0x45, 0x31, 0xd2], // edi = pid, esi = edx = r10d = 0
  ...call(61), // wait4
  ...store(0x33),
  ...load,
  ...store(0x33, OTHER),
  ...exit,
];

/** A static ELF file: code, and a page of zeros that may be written. ELF-64 Object File Format 1.5. */
function elf(code: readonly number[]): Uint8Array {
  const headers = 64 + 2 * 56;
  const segment = (flags: number, address: number, file: number, memory: number) => [
    ...[...dword(1), ...dword(flags), ...qword(0), ...qword(address), ...qword(address)],
    ...[...qword(file), ...qword(memory), ...qword(0x1000)],
  ];
  const bytes = headers + code.length;
  const identification = [0x7f, 0x45, 0x4c, 0x46, 2, 1, 1, 0, ...qword(0)];
  const entry = qword(CODE + headers);
  const header = [2, 0, 62, 0, ...dword(1), ...entry, ...qword(64), ...qword(0), ...dword(0), 64, 0, 56, 0, 2, 0];
  const padding = new Array<number>(64 - identification.length - header.length).fill(0);
  const segments = [...segment(5, CODE, bytes, bytes), ...segment(6, DATA, 0, 0x1000)];
  return Uint8Array.from([...identification, ...header, ...padding, ...segments, ...code]);
}

describe("a running Linux", () => {
  let guest: GuestProcess | undefined;
  let machine: Machine | undefined;
  afterEach(() => {
    guest?.dispose();
    machine?.dispose();
  });

  it("every update of jiffies_64 is reported, by the kernel's own names", async () => {
    const image = ["--kernel", KERNEL, "--initrd", INITRAMFS, "--append", 'console=ttyS0 portico.run="sleep 1"'];
    guest = GuestProcess.portico(...image, "--watch", "virt:jiffies_64");
    expect(await guest.exit(BOOT_MS)).toBe(0);
    const lines = guest.notices.trimEnd().split("\n");
    const parsed = lines.map((line) =>
      /^\[ *[\d.]+\] write 0xffffffff[0-9a-f]{8} \(jiffies_64\) 8 (0x[0-9a-f]{16}) by 0xffffffff[0-9a-f]{8} (\w+)\+0x/.exec(
        line,
      ),
    );
    expect(parsed.indexOf(null)).toBe(-1);
    const values = parsed.map((match) => BigInt(match![1]!));
    expect(values[0]).toBe(INITIAL_JIFFIES + 1n);
    expect(values.every((value, i) => i === 0 || value > values[i - 1]!)).toBe(true);
    expect(values.length).toBeGreaterThan(100);
    const writers = new Set(parsed.map((match) => match![2]));
    expect([...writers].sort()).toEqual(["do_timer", "tick_do_update_jiffies64"]);
  });

  it("a program's page: reads and writes, through fork and copy-on-write", async () => {
    const initrd = Buffer.concat([
      readFileSync(INITRAMFS),
      writeCpio([{ kind: "file", path: "bin/touch-word", content: elf(PROGRAM), mode: 0o755 }]),
    ]);
    machine = createMachine({ memoryMiB: 128 });
    machine.serial.onOutput(() => {});
    machine.boot({
      image: readFileSync(KERNEL),
      initrd,
      commandLine: 'console=ttyS0 quiet portico.run="/bin/touch-word"',
    });
    const { mmu } = machine.vcpu;
    const program: string[] = [];
    const parent: string[] = [];
    const moves: (readonly [from: number | undefined, to: number | undefined])[] = [];
    let root: number | undefined;
    const note = ({ kind, value, rip }: WatchedAccess) => {
      const by =
        rip! >= BigInt(CODE) && rip! < BigInt(DATA) ? (mmu.paging.root === root ? "parent" : "child") : "kernel";
      // The kernel copies the page through its direct map of all memory, at an address that nobody watches.
      return `${kind} ${value.toString(16)} by ${by}`;
    };
    // Watches that come and go cost no translations but those of their pages.
    const kept = <T>(action: () => T): T => {
      const { supervisor, user } = mmu;
      const flushes = [supervisor.fullFlushes, user.fullFlushes];
      const result = action();
      expect([supervisor.fullFlushes, user.fullFlushes]).toEqual(flushes);
      return result;
    };
    const onRemap = (remap: Remap) => void (root !== undefined && moves.push([remap.old, remap.new]));
    kept(() =>
      machine!.watch({ virtual: WORD, length: 8, access: "all", onRemap }, (access) => {
        if (root === undefined) {
          root = mmu.paging.root;
          const inParent = { virtual: OTHER, length: 8, access: "all", addressSpace: root } as const;
          kept(() => machine!.watch(inParent, (hit) => void parent.push(note(hit))));
        }
        program.push(note(access));
      }),
    );
    expect(await machine.run()).toEqual({ reason: "poweroff", status: 0 });
    expect(program).toEqual([
      "write 11 by parent",
      "read 11 by parent",
      "read 11 by kernel", // for the child's copy
      "write 22 by child",
      "write 33 by parent",
      "read 33 by parent",
    ]);
    // What the child writes is in its own page.
    expect(parent).toEqual(["read 0 by kernel", "write 33 by parent"]);
    // Unmapped and mapped elsewhere by copy-on-write, unmapped as the child ends; back in the parent; unmapped again.
    const [page, copy] = [moves[0]![0], moves[1]![1]];
    expect(moves).toEqual([
      [page, undefined],
      [undefined, copy],
      [copy, undefined],
      [undefined, page],
      [page, undefined],
    ]);
    expect(copy).not.toBe(page);
  });
});
