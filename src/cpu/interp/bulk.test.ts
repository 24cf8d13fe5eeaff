import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { Random } from "../../../test/differential/prng.ts";
import { PTE } from "../mmu/page-walk.ts";
import { CPU, FLAG, RAX, RCX, RDI, RSI } from "../state.ts";

const [PML4, DIRECTORIES, DIRECTORY, CODE] = [0x1000, 0x2000, 0x3000, 0x4000];
const [SOURCE, DESTINATION, DATA_END] = [0x8000, 0xc000, 0x1_0000];
const BUDGET = 10_000;

/** 64-bit mode, the first 2 MiB mapped as they are. */
function bench(compile: "never" | "always"): BareVcpu {
  const bare = new BareVcpu({ ramBytes: 0x20_0000, compile });
  const link = PTE.present | PTE.write;
  bare.memory.write32(PML4, DIRECTORIES | link);
  bare.memory.write32(DIRECTORIES, DIRECTORY | link);
  bare.memory.write32(DIRECTORY, link | PTE.large);
  bare.setPaging("long", PML4);
  return bare;
}

interface Case {
  readonly kind: "movs" | "stos";
  readonly bytes: 1 | 2 | 4 | 8;
  readonly down: boolean;
  readonly count: number;
  readonly from: number;
  readonly to: number;
  readonly value: bigint;
  readonly budget: number;
}

const PREFIXES = { 1: [], 2: [0x66], 4: [], 8: [0x48] } as const;

/** REP and the instruction. */
function codeOf({ kind, bytes }: Case): number[] {
  return [
    ...(bytes === 2 ? PREFIXES[2] : []),
    0xf3,
    ...(bytes === 8 ? PREFIXES[8] : []),
    (kind === "movs" ? 0xa4 : 0xaa) | (bytes === 1 ? 0 : 1),
  ];
}

/** What the manual says, unit by unit. */
function model(data: Uint8Array, { kind, bytes, down, count, from, to, value, budget }: Case) {
  const units = Math.min(count, budget);
  const step = down ? -bytes : bytes;
  const pattern = Uint8Array.from({ length: bytes }, (_, i) => Number((value >> BigInt(i * 8)) & 0xffn));
  for (let unit = 0; unit < units; unit++) {
    const at = to + unit * step;
    if (kind === "movs") data.copyWithin(at, from + unit * step, from + unit * step + bytes);
    else data.set(pattern, at);
  }
  return { rcx: count - units, rdi: to + units * step, rsi: kind === "movs" ? from + units * step : from };
}

const BEFORE = Uint8Array.from({ length: DATA_END }, (_, at) => Math.imul(at, 0x9e37_79b1) >>> 24);

function compare(bare: BareVcpu, one: Case): void {
  const { memory, state, vcpu } = bare;
  const { layout } = memory;
  const after = BEFORE.slice();
  const data = memory.bytes.subarray(layout.ram + SOURCE, layout.ram + DATA_END);
  data.set(BEFORE.subarray(SOURCE));
  const code = [...codeOf(one), 0xf4];
  memory.write(CODE, Uint8Array.from(code));
  state.setNumber(CPU.rip, CODE);
  state.setU32(CPU.activity, 0);
  state.eflags = FLAG.one | (one.down ? FLAG.df : 0);
  for (const [register, value] of [
    [RAX, one.value],
    [RCX, BigInt(one.count)],
    [RDI, BigInt(one.to)],
    [RSI, BigInt(one.from)],
  ] as const)
    state.setGpr(register, value);
  bare.setBudget(one.budget);
  vcpu.run();
  const expected = model(after, one);
  const [rcx, rdi, rsi] = [RCX, RDI, RSI].map((register) => Number(state.gpr(register)));
  const text = JSON.stringify(one, (_, field) => (typeof field === "bigint" ? `0x${field.toString(16)}` : field));
  expect({ rcx, rdi, rsi }, text).toEqual(expected);
  if (Buffer.compare(data, after.subarray(SOURCE)) !== 0) expect([...data], text).toEqual([...after.subarray(SOURCE)]);
}

const WIDTHS = [1, 2, 4, 8] as const;
const PATTERN = 0x1122_3344_5566_7788n;

describe.each(["never", "always"] as const)("REP STOS and MOVS, compiled %s", (compile) => {
  it.each(WIDTHS)("STOS of %d bytes: values, alignments and lengths", (bytes) => {
    const bare = bench(compile);
    for (const value of [PATTERN, 0n, 0xa5a5_a5a5_a5a5_a5a5n, 0x0101_0101_0101_0102n]) {
      for (const to of [0xc000, 0xc001, 0xc002, 0xc004, 0xc007, 0xcfe1, 0xcff4, 0xcff8, 0xcfff]) {
        for (const count of [0, 1, 7, 8, 9, 15, 16, 17, 33, 700]) {
          compare(bare, { kind: "stos", bytes, down: false, count, from: SOURCE, to, value, budget: BUDGET });
        }
      }
    }
  });

  it.each(WIDTHS)("units of %d bytes, at random", (bytes) => {
    const bare = bench(compile);
    const random = new Random(bytes + 100);
    for (let i = 0; i < 200; i++) {
      const kind = random.chance(0.5) ? "stos" : "movs";
      const down = random.chance(0.3);
      const count = random.chance(0.5) ? random.below(40) : random.below(900);
      const place = () => DESTINATION + (down ? 0x2000 : -0x2000) + random.below(0x1800);
      const to = place();
      const from = random.chance(0.3) ? to + random.below(64) - 32 : place();
      const value = random.chance(0.2) ? 0x4242_4242_4242_4242n : random.u64();
      const budget = random.chance(0.3) ? 1 + random.below(count + 1) : BUDGET;
      const length = count * bytes;
      const fits = [from, to].every((at) => (down ? at - length >= SOURCE : at + length + bytes <= DATA_END));
      if (fits) compare(bare, { kind, bytes, down, count, from, to, value, budget });
    }
  });
});
