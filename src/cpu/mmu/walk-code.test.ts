import { describe, expect, it } from "vitest";
import { BareVcpu } from "../../../test/cpu/bare-vcpu.ts";
import { Random } from "../../../test/differential/prng.ts";
import { PAGE_FLAG, TLB_ENTRIES, TLB_ENTRY_SIZE, TLB_SIZE } from "../../memory/layout.ts";
import { CPU, STOP } from "../state.ts";
import { CR0, CR4, EFER } from "../system/context.ts";
import { TLB_ENTRY } from "./tlb-layout.ts";

const PAGES = 64;
/** Page tables lie in the first pages; the walks end anywhere. */
const TABLES = 16;
const PAGE = 4096;

type Walk = (cpu: number, linear: bigint, bytes: number) => number;
type Walks = { readonly walkRead: Walk; readonly walkWrite: Walk };
type Mode = "flat" | "paging32" | "pae" | "long";

class Subject {
  /** Accesses that needed no TypeScript. */
  walked = 0;
  private readonly bare = new BareVcpu({ ramBytes: PAGES * PAGE });
  readonly memory = this.bare.memory;
  readonly vcpu = this.bare.vcpu;

  /** What compiled code imports. */
  private readonly walks = (this.vcpu as unknown as { interpreter: Walks }).interpreter;

  set(mode: Mode, cpl: number, options: { wp: boolean; smep: boolean; nx: boolean; pse: boolean; pge: boolean }): void {
    const bit = (on: boolean, value: number) => (on ? value : 0);
    const cr4 = bit(options.pse, CR4.pse) | bit(options.pge, CR4.pge) | bit(options.smep, CR4.smep);
    this.bare.setPaging(mode, 0, { cr0: bit(options.wp, CR0.wp), cr4, efer: bit(options.nx, EFER.nxe) }, cpl);
  }

  /** Host address, or 0; as generated code does it, or as TypeScript alone. */
  access(linear: bigint, bytes: number, write: boolean, generated: boolean): number {
    const { state, mmu } = this.vcpu;
    state.setU32(CPU.stop, STOP.none);
    if (generated) {
      const host = (write ? this.walks.walkWrite : this.walks.walkRead)(state.base, linear, bytes);
      const done = host !== 0 || state.u32(CPU.stop) !== STOP.none;
      this.walked += done ? 1 : 0;
      if (done) return host;
    }
    return write ? mmu.slowModify(Number(linear), bytes) : mmu.slowRead(Number(linear), bytes);
  }

  fault(): unknown {
    const { state } = this.vcpu;
    if (state.u32(CPU.stop) === STOP.none) return undefined;
    return [state.u32(CPU.vector), state.u32(CPU.errorCode), state.u64(CPU.cr2)];
  }

  /** What accesses leave behind. */
  outcome(): unknown {
    const { layout, bytes, pageFlags } = this.memory;
    const ram = bytes.slice(layout.ram, layout.ram + PAGES * PAGE);
    return {
      ram: Buffer.from(ram).toString("latin1"),
      flags: [...pageFlags],
      tlbs: [...this.tlb(layout.tlb), ...this.tlb(layout.tlb + TLB_SIZE)],
    };
  }

  private *tlb(base: number): Generator<string> {
    const { data } = this.memory;
    for (let entry = 0; entry < TLB_ENTRIES; entry++) {
      const at = base + entry * TLB_ENTRY_SIZE;
      const tags = [TLB_ENTRY.readTag, TLB_ENTRY.writeTag, TLB_ENTRY.execTag].map((tag) => {
        const value = data.getBigUint64(at + tag, true);
        return value & 0xfffn ? "-" : value.toString(16);
      });
      if (tags.every((tag) => tag === "-")) continue;
      yield [
        entry,
        ...tags,
        data.getInt32(at + TLB_ENTRY.addend, true),
        data.getInt32(at + TLB_ENTRY.physical, true),
      ].join();
    }
  }
}

/** Tables whose entries mostly lead on to other tables, with all sorts of rights. */
function tables(random: Random, wide: boolean): Uint32Array {
  const words = new Uint32Array((TABLES * PAGE) / 4);
  const step = wide ? 2 : 1;
  for (let i = 0; i < words.length; i += step) {
    const roll = random.u32();
    const target = roll & 0x1000 ? (roll >>> 16) % TABLES : (roll >>> 16) % (PAGES + 2);
    // Mostly present, writable and open to users, seldom large.
    const often = (bit: number) => (random.u32() & 7 ? bit : 0);
    const seldom = (bit: number) => (random.u32() & 7 ? 0 : bit);
    const low = often(1) | often(2) | often(4) | (random.u32() & 0x60) | seldom(0x80) | seldom(0x100);
    words[i] = (target << 12) | low;
    if (wide) words[i + 1] = (random.u32() & 15 ? 0 : 0x8000_0000) | (random.u32() & 63 ? 0 : 1 << (random.u32() & 31));
  }
  return words;
}

describe.each(["flat", "paging32", "pae", "long"] as const)("walks in generated code, %s", (mode) => {
  it("leave what walks in TypeScript leave", () => {
    const random = new Random(mode.length);
    const [one, other] = [new Subject(), new Subject()];
    for (let round = 0; round < 60; round++) {
      const wide = mode === "pae" || mode === "long";
      const words = tables(random, wide);
      const bit = () => (random.u32() & 1) !== 0;
      const flags = Uint8Array.from({ length: PAGES }, () => {
        const roll = random.u32();
        return (roll & 1) | (roll & 0x70 ? 0 : roll & (PAGE_FLAG.code | PAGE_FLAG.watchedWrite | PAGE_FLAG.watchedAll));
      });
      const options = { wp: bit(), smep: bit(), nx: bit(), pse: bit(), pge: bit() };
      const cpl = bit() ? 3 : 0;
      for (const subject of [one, other]) {
        const { layout, bytes, pageFlags } = subject.memory;
        new Uint32Array(bytes.buffer, layout.ram, words.length).set(words);
        pageFlags.set(flags);
        subject.set(mode, cpl, options);
      }
      for (let access = 0; access < 30; access++) {
        const few = () => BigInt(random.u32() & 3);
        const page = (BigInt(random.u32() & 0xf) << 12n) | (few() << 21n) | (few() << 30n);
        const top = mode === "long" ? (few() << 39n) | (random.u32() & 7 ? 0n : 0xffff_8000_0000_0000n) : 0n;
        const linear = BigInt.asIntN(64, top | page | BigInt(random.u32() & 0xfff));
        const bytes = [1, 2, 4, 8][random.u32() & 3]!;
        const write = bit();
        const hosts = [one.access(linear, bytes, write, true), other.access(linear, bytes, write, false)];
        expect(hosts[0]).toBe(hosts[1]);
        expect(one.fault()).toEqual(other.fault());
      }
      expect(one.outcome()).toEqual(other.outcome());
    }
    expect(one.walked).toBeGreaterThan(mode === "flat" ? 50 : 500);
  });
});
