/**
 * Guests of `bench/paths.ts`: 32-bit code with paging on, so that who reads their instructions has page tables to go
 * through. Each writes a checksum, four bytes, to port E9h, and ends the machine.
 */
import { PM, PORTS } from "../src/machine/platform.ts";
import { KERNEL, kernel, x86 } from "../test/machine/guests.ts";

/** What `end` of a machine says: see the debug exit. */
export const STATUS = { good: 1, diskFailed: 3 } as const;
export const SECTORS_A_COMMAND = 256;
/** READ MULTIPLE's DRQ block. */
const SECTORS_MULTIPLE = 16;

const EAX = 0;
const ECX = 1;
const EDX = 2;
const EBX = 3;
const ESP = 4;
const EBP = 5;
const ESI = 6;
const EDI = 7;

const DIRECTORY = 0x24_0000;
const BUFFER = KERNEL.data;

const { dword, mov } = x86;
/** MOV edx, port; then what follows uses DX. */
const outAl = (port: number) => [...mov(EDX, port), 0xee];

/** One page of 4 MiB, present and writable, at its own address. */
const PAGING = [
  ...x86.store(DIRECTORY, 0x83),
  ...[...mov(EAX, DIRECTORY), 0x0f, 0x22, 0xd8], // MOV cr3, eax
  ...[...mov(EAX, 0x10), 0x0f, 0x22, 0xe0], // MOV cr4, eax: PSE
  ...[0x0f, 0x20, 0xc0, 0x0d, ...dword(0x8000_0000), 0x0f, 0x22, 0xc0], // MOV eax, cr0; OR eax, PG; MOV cr0, eax
];

/** OUT E9h, al; SHR eax, 8, four times, from EBX. */
const REPORT = [
  ...[0x89, 0xd8, ...mov(EDX, PORTS.debugConsole.base)],
  ...[0, 8, 16, 24].flatMap(() => [0xee, 0xc1, 0xe8, 8]),
];

function guest(main: readonly number[]): Uint8Array {
  const start = [...mov(ESP, KERNEL.stack), ...PAGING, ...mov(EBX, 0)];
  return kernel([...start, ...main, ...REPORT, ...x86.exit(0), ...x86.halt]);
}

/** MOV register, times; body; DEC register; JNZ body. */
function repeat(register: number, times: number, body: readonly number[]): number[] {
  return [...mov(register, times), ...body, 0x48 + register, 0x0f, 0x85, ...dword(-(body.length + 7))];
}

/** Nothing but IN AL, DX. */
export function portLoop(reads: number): Uint8Array {
  return guest([...mov(EDX, PORTS.postCode.base), ...repeat(ECX, reads, [0xec])]);
}

/**
 * Reads the PM timer, then computes: `rounds` steps of a xorshift generator (Marsaglia, 2003). The checksum is the
 * generator's: what the timer says depends on the path.
 */
export function timerReader(reads: number, rounds: number): Uint8Array {
  const step = [
    ...[0x89, 0xd8, 0xc1, 0xe0, 13, 0x31, 0xc3], // MOV eax, ebx; SHL eax, 13; XOR ebx, eax
    ...[0x89, 0xd8, 0xc1, 0xe8, 17, 0x31, 0xc3], // SHR eax, 17
    ...[0x89, 0xd8, 0xc1, 0xe0, 5, 0x31, 0xc3], // SHL eax, 5
  ];
  const read = [...mov(EDX, PM.base + PM.timer), 0xed];
  return guest([...mov(EBX, 1), ...repeat(ECX, reads, [...read, ...repeat(EDI, rounds, step)])]);
}

export type DiskRead = {
  /** READ SECTORS asks for each sector, READ MULTIPLE for 16 at a time. */
  readonly command: "sectors" | "multiple";
  /** REP INSW, or IN AX, DX and STOSW for each word. */
  readonly data: "string" | "words";
};

/**
 * Reads a disk from its beginning by PIO, 256 sectors a command, as a driver does (ATA/ATAPI-6, section 9.6): the
 * alternate status once, then the status until the drive is not busy, then the data. The checksum adds up the first
 * dword of each DRQ block.
 */
export function diskReader(commands: number, { command, data }: DiskRead): Uint8Array {
  const base = PORTS.ide1.base;
  const register = { data: base, count: base + 2, low: base + 3, middle: base + 4, high: base + 5, drive: base + 6 };
  const status = base + 7;
  const sectors = command === "multiple" ? SECTORS_MULTIPLE : 1;
  // IN al, dx; TEST al, BSY; JNZ back
  const ready = [...mov(EDX, status), 0xec, 0xa8, 0x80, 0x75, 0xfb];
  const fail = [...x86.exit(STATUS.diskFailed >> 1), ...x86.halt];
  // TEST al, DRQ; JNZ over it
  const wanted = [0xa8, 0x08, 0x75, fail.length, ...fail];
  const setMultiple = [
    ...x86.out(register.drive, 0xe0),
    ...x86.out(register.count, SECTORS_MULTIPLE),
    ...[...x86.out(status, 0xc6), ...ready],
  ];
  const address = [
    ...[0x89, 0xf0, 0xc1, 0xe8, 24, 0x0c, 0xe0, ...outAl(register.drive)], // MOV eax, esi; SHR eax, 24; OR al, LBA
    ...x86.out(register.count, SECTORS_A_COMMAND & 0xff),
    ...[0x89, 0xf0, ...outAl(register.low)],
    ...[0xc1, 0xe8, 8, ...outAl(register.middle)],
    ...[0xc1, 0xe8, 8, ...outAl(register.high)],
  ];
  const words = sectors * 256;
  const move =
    data === "string"
      ? [...mov(ECX, words), 0xf3, 0x66, 0x6d] // REP INSW
      : repeat(ECX, words, [0x66, 0xed, 0x66, 0xab]); // IN ax, dx; STOSW
  const block = [
    ...[0x51, ...ready, ...wanted],
    ...[...mov(EDI, BUFFER), ...mov(EDX, register.data), ...move],
    ...[0x03, 0x1d, ...dword(BUFFER), 0x59], // ADD ebx, [buffer]
  ];
  const one = [
    ...[...address, ...x86.out(status, command === "multiple" ? 0xc4 : 0x20)],
    ...[...mov(EDX, PORTS.ide1Control.base), 0xec],
    ...[0x81, 0xc6, ...dword(SECTORS_A_COMMAND)], // ADD esi, 256
    ...repeat(ECX, SECTORS_A_COMMAND / sectors, block),
  ];
  const quiet = x86.out(PORTS.ide1Control.base, 0x02); // nIEN: nobody takes interrupts
  const body = [...quiet, ...(command === "multiple" ? setMultiple : []), ...mov(ESI, 0)];
  return guest([...body, ...repeat(EBP, commands, one)]);
}
