/**
 * Page walks in generated code: what most TLB misses need. Anything unusual gives 0, and `mmu.ts` does it again from the
 * start: reserved bits, MMIO, ROM, watched pages, writes to pages of compiled code, accesses across pages, data
 * breakpoints, alignment checks. What a walk has done until then (accessed and dirty bits on the way), `mmu.ts` would do as
 * well. Plain page faults of data accesses are recorded here: 0 with `CPU.stop` set.
 */
import type { Expr, FunctionBuilder, FunctionRef, Label, ModuleBuilder, Variable } from "../../emit/index.ts";
import { PAGE_FLAG, PAGE_SHIFT, PAGE_SIZE, TLB_ENTRIES } from "../../memory/layout.ts";
import { CPU, STOP, VECTOR, WALK } from "../state.ts";
import { ACCESS, PF, PTE } from "./page-walk.ts";
import { TLB_ENTRY, TLB_FLAG, TLB_HEADER } from "./tlb-layout.ts";

/**
 * (cpu, linear i64, bytes) → host address; the translation is in the TLB then. 0: with `CPU.stop` set the access has
 * faulted, else the slow path has to be taken.
 */
export interface Walks {
  readonly read: FunctionRef;
  readonly write: FunctionRef;
  /** The caller knows that the code segment reaches to the end of the page. */
  readonly fetch: FunctionRef;
}

export function defineWalks(module: ModuleBuilder): Walks {
  return {
    read: new Walk(module, "walkRead", 0).define(),
    write: new Walk(module, "walkWrite", ACCESS.write).define(),
    fetch: new Walk(module, "walkFetch", ACCESS.fetch).define(),
  };
}

const OFFSET = PAGE_SIZE - 1;
/** Address bits of an 8-byte entry (MAXPHYADDR is 36). */
const FRAME = 0xf_ffff_f000n;
/** PSE-36: bits 21:17 of a 4 MiB entry are reserved. */
const RESERVED_4M = 0x003e_0000;
/** Bits 20:13 of a 2 MiB entry are reserved. */
const RESERVED_2M = 0x001f_e000;

/** One walk function. SDM vol 3, chapter 4; the same order of checks as `PageWalker`. */
class Walk {
  private readonly f: FunctionBuilder;
  private readonly access: number;
  private readonly cpu: Expr;
  private readonly linear: Expr;
  private readonly mode: Expr;
  private readonly ram: Expr;
  /** i64 */
  private readonly ramBytes: Expr;
  private readonly pageFlags: Expr;
  /** i64: the last entry read, and i32: its host address. */
  private readonly entry: Variable;
  private readonly entryAt: Variable;
  /** i64: AND of all entries, for the rights that each may take away; OR of them, for bit 63. */
  private readonly all: Variable;
  private readonly any: Variable;
  /** i64: guest-physical page. */
  private readonly frame: Variable;
  /** i32: it lies in a page of more than 4 KiB. */
  private readonly large: Variable;

  constructor(module: ModuleBuilder, name: string, access: number) {
    const f = module.function(name, { params: ["i32", "i64", "i32"], results: ["i32"] });
    this.f = f;
    this.access = access;
    this.cpu = f.param(0);
    this.linear = f.param(1);
    this.mode = f.load("i32", 4, this.cpu, CPU.walkMode);
    this.refuseIf(f.eqz(this.mode));
    this.refuseIf(f.gtU(f.add(f.and(f.wrap(this.linear), OFFSET), f.param(2)), PAGE_SIZE));
    const inMonitor = f.sub(this.linear, f.load("i64", 8, this.cpu, CPU.walkMonitor));
    this.refuseIf(f.ltU(inMonitor, f.load("i64", 8, this.cpu, CPU.walkMonitorBytes)));
    this.ram = f.load("i32", 4, this.cpu, CPU.walkRam);
    this.ramBytes = f.load("i64", 4, this.cpu, CPU.walkRamBytes);
    this.pageFlags = f.load("i32", 4, this.cpu, CPU.walkPageFlags);
    this.entry = f.variable("i64", 0);
    this.entryAt = f.variable("i32", 0);
    this.all = f.variable("i64", -1);
    this.any = f.variable("i64", 0);
    this.frame = f.variable("i64", 0);
    this.large = f.variable("i32", 0);
  }

  define(): FunctionRef {
    const { f } = this;
    const kind = f.let(f.and(this.mode, WALK.kind));
    // Only 4-level paging has addresses above 4 GiB.
    const canonical = f.shrS(f.shl(this.linear, 16), 16);
    this.refuseIf(f.ne(f.select(f.eq(kind, WALK.long), canonical, f.and(this.linear, 0xffff_ffff)), this.linear));
    f.block((translated) => {
      f.if(f.eq(kind, WALK.flat), () => {
        f.set(this.frame, f.and(this.linear, -PAGE_SIZE));
        f.br(translated);
      });
      f.block((leaf) => {
        f.if(f.eq(kind, WALK.paging32), () => this.walk32(leaf));
        f.if(
          f.eq(kind, WALK.long),
          () => this.walkLong(),
          () => this.walkPae(),
        );
        this.walkDirectory(leaf);
      });
      this.leaf();
    });
    this.enter();
    return f;
  }

  private refuseIf(condition: Expr): void {
    this.f.if(condition, () => this.f.return(this.f.i32(0)), undefined, false);
  }

  /** #PF, SDM vol 3, 4.7. Fetches are left to TypeScript, which knows about the I/D bit. */
  private faultIf(condition: Expr, present: boolean): void {
    const { f, access, cpu } = this;
    f.if(
      condition,
      () => {
        if (access !== ACCESS.fetch) {
          const known = (present ? PF.present : 0) | (access === ACCESS.write ? PF.write : 0);
          f.store(4, cpu, f.i32(STOP.fault), CPU.stop);
          f.store(4, cpu, f.i32(VECTOR.pf), CPU.vector);
          f.store(4, cpu, f.or(f.select(this.user, f.i32(PF.user), f.i32(0)), known), CPU.errorCode);
          f.store(8, cpu, this.linear, CPU.cr2);
        }
        f.return(f.i32(0));
      },
      undefined,
      false,
    );
  }

  private get user(): Expr {
    return this.f.and(this.mode, WALK.user);
  }

  /** Flags of the RAM page around a guest-physical address (i64), which must be plain RAM; and where they lie. */
  private flagsOf(physical: Expr): { flags: Expr; at: Expr } {
    const { f } = this;
    this.refuseIf(f.geU(physical, this.ramBytes));
    const at = f.let(f.add(this.pageFlags, f.wrap(f.shrU(physical, PAGE_SHIFT))));
    return { flags: f.load("i32", 1, at), at };
  }

  /** Reads the entry at `physical` (i64); it must be present and without reserved bits. */
  private read(physical: Expr, bytes: 4 | 8, reserved: Expr | number): void {
    const { f } = this;
    const at = f.let(physical);
    this.refuseIf(f.and(this.flagsOf(at).flags, PAGE_FLAG.special | PAGE_FLAG.watchedAll));
    f.set(this.entryAt, f.add(this.ram, f.wrap(at)));
    f.set(this.entry, f.load("i64", bytes, f.get(this.entryAt)));
    const entry = f.get(this.entry);
    this.faultIf(f.eqz(f.and(f.wrap(entry), PTE.present)), false);
    if (reserved !== 0) this.refuseIf(f.ne(f.and(entry, reserved), 0));
    f.set(this.all, f.and(f.get(this.all), entry));
    f.set(this.any, f.or(f.get(this.any), entry));
  }

  /** Sets bits in the entry just read, and its page's dirty flag, unless they are there. */
  private mark(bits: number): void {
    const { f } = this;
    const low = f.let(f.wrap(f.get(this.entry)));
    f.if(
      f.ne(f.and(low, bits), bits),
      () => {
        const page = f.shrU(f.sub(f.get(this.entryAt), this.ram), PAGE_SHIFT);
        const at = f.let(f.add(this.pageFlags, page));
        const flags = f.load("i32", 1, at);
        this.refuseIf(f.and(flags, PAGE_FLAG.code | PAGE_FLAG.watchedWrite));
        f.store(1, at, f.or(flags, PAGE_FLAG.dirty));
        f.store(4, f.get(this.entryAt), f.or(low, bits));
        f.set(this.entry, f.or(f.get(this.entry), bits));
      },
      undefined,
      false,
    );
  }

  /** i64: address in a table of `bytes` an entry, `index` at bit `shift` of the linear address. */
  private slot(table: Expr, shift: number, indexBits: number, bytes: 4 | 8): Expr {
    const { f } = this;
    const scale = Math.log2(bytes);
    return f.add(table, f.and(f.shrU(this.linear, shift - scale), ((1 << indexBits) - 1) << scale));
  }

  private walk32(leaf: Label): void {
    const { f } = this;
    this.read(this.slot(f.load("i64", 8, this.cpu, CPU.walkRoot), 22, 10, 4), 4, 0);
    const low = f.let(f.wrap(f.get(this.entry)));
    f.if(f.and(f.and(low, PTE.large), f.select(f.and(this.mode, WALK.pse), f.i32(PTE.large), f.i32(0))), () => {
      this.refuseIf(f.and(low, RESERVED_4M));
      const high = f.shl(f.u64(f.and(f.shrU(low, 13), 0xf)), 32);
      const base = f.or(high, f.u64(f.and(low, 0xffc0_0000 | 0)));
      f.set(this.frame, f.or(base, f.and(this.linear, 0x3f_f000)));
      f.set(this.large, 1);
      f.br(leaf);
    });
    this.mark(PTE.accessed);
    this.read(this.slot(f.and(f.get(this.entry), 0xffff_f000), 12, 10, 4), 4, 0);
    f.set(this.frame, f.and(f.get(this.entry), 0xffff_f000));
    f.br(leaf);
  }

  /** Leaves the directory's address in `frame`. */
  private walkPae(): void {
    const { f } = this;
    const slot = f.and(f.wrap(f.shrU(this.linear, 27)), 0x18);
    const pointer = f.load("i64", 8, f.let(f.add(this.cpu, slot)), CPU.pdpte);
    this.faultIf(f.eqz(f.and(f.wrap(pointer), PTE.present)), false);
    f.set(this.frame, f.and(pointer, FRAME));
  }

  private walkLong(): void {
    const { f } = this;
    const reserved = f.or(f.load("i64", 8, this.cpu, CPU.walkReserved), PTE.large);
    f.set(this.frame, f.load("i64", 8, this.cpu, CPU.walkRoot));
    for (const shift of [39, 30]) {
      this.read(this.slot(f.get(this.frame), shift, 9, 8), 8, reserved);
      this.mark(PTE.accessed);
      f.set(this.frame, f.and(f.get(this.entry), FRAME));
    }
  }

  private walkDirectory(leaf: Label): void {
    const { f } = this;
    const reserved = f.load("i64", 8, this.cpu, CPU.walkReserved);
    this.read(this.slot(f.get(this.frame), 21, 9, 8), 8, reserved);
    f.if(f.and(f.wrap(f.get(this.entry)), PTE.large), () => {
      this.refuseIf(f.and(f.wrap(f.get(this.entry)), RESERVED_2M));
      f.set(this.frame, f.or(f.and(f.get(this.entry), FRAME & ~0x1f_ffffn), f.and(this.linear, 0x1f_f000)));
      f.set(this.large, 1);
      f.br(leaf);
    });
    this.mark(PTE.accessed);
    this.read(this.slot(f.and(f.get(this.entry), FRAME), 12, 9, 8), 8, reserved);
    f.set(this.frame, f.and(f.get(this.entry), FRAME));
  }

  private get allowsUser(): Expr {
    return this.f.and(this.f.wrap(this.f.get(this.all)), PTE.user);
  }

  /** i32: the page may be written at this privilege. */
  private allowsWrite(): Expr {
    const { f } = this;
    const byEntries = f.ne(f.and(f.wrap(f.get(this.all)), PTE.write), 0);
    return f.or(byEntries, f.eqz(f.and(this.mode, WALK.user | WALK.writeProtect)));
  }

  /** i32: code in the page may run at this privilege. */
  private allowsFetch(): Expr {
    const { f } = this;
    const smep = f.and(f.and(f.ne(f.and(this.mode, WALK.smep), 0), f.eqz(this.user)), f.ne(this.allowsUser, 0));
    return f.and(f.geS(f.get(this.any), 0), f.eqz(smep));
  }

  /** The last entry maps the page: rights (SDM vol 3, 4.6), then A and D. */
  private leaf(): void {
    const { f, access } = this;
    this.faultIf(f.and(f.ne(this.user, 0), f.eqz(this.allowsUser)), true);
    if (access === ACCESS.write) this.faultIf(f.eqz(this.allowsWrite()), true);
    if (access === ACCESS.fetch) this.faultIf(f.eqz(this.allowsFetch()), true);
    this.mark(access === ACCESS.write ? PTE.accessed | PTE.dirty : PTE.accessed);
  }

  /** `frame` is known: the page's flags, the TLB entry, the host address. */
  private enter(): void {
    const { f, access, cpu, linear } = this;
    const frame = f.get(this.frame);
    const { flags, at } = this.flagsOf(frame);
    const writeSeen = PAGE_FLAG.watchedWrite | PAGE_FLAG.code;
    const unusual = PAGE_FLAG.special | PAGE_FLAG.watchedAll;
    let writable: Expr;
    if (access === ACCESS.write) {
      this.refuseIf(f.and(flags, unusual | writeSeen));
      f.store(1, at, f.or(flags, PAGE_FLAG.dirty));
      writable = f.i32(1);
    } else {
      this.refuseIf(f.and(flags, unusual));
      // Without paging there is no entry whose dirty bit would still have to be set.
      const isDirty = f.or(f.shrU(f.wrap(f.get(this.entry)), 6), f.eq(f.and(this.mode, WALK.kind), WALK.flat));
      const plain = f.eq(f.and(flags, writeSeen | PAGE_FLAG.dirty), PAGE_FLAG.dirty);
      writable = f.let(f.and(f.and(this.allowsWrite(), isDirty), plain));
    }
    const executable = f.let(this.allowsFetch());

    const base = f.load("i32", 4, cpu, CPU.tlbBase);
    const number = f.let(f.and(f.wrap(f.shrU(linear, PAGE_SHIFT)), TLB_ENTRIES - 1));
    const entry = f.let(f.add(base, f.shl(number, 5)));
    const page = f.let(f.and(linear, -PAGE_SIZE));
    const host = f.let(f.add(this.ram, f.wrap(frame)));
    f.store(8, entry, page, TLB_ENTRY.readTag);
    f.store(8, entry, f.or(page, f.u64(f.eqz(writable))), TLB_ENTRY.writeTag);
    f.store(8, entry, f.or(page, f.u64(f.eqz(executable))), TLB_ENTRY.execTag);
    f.store(4, entry, f.sub(host, f.wrap(page)), TLB_ENTRY.addend);

    const old = f.load("i32", 4, entry, TLB_ENTRY.physical);
    const isGlobal = f.and(f.ne(f.and(this.mode, WALK.global), 0), f.shrU(f.wrap(f.get(this.entry)), 8));
    const global = f.let(f.and(isGlobal, 1));
    const logged = f.let(f.select(global, f.i32(TLB_FLAG.loggedGlobal), f.i32(TLB_FLAG.logged)));
    f.if(f.eqz(f.and(old, logged)), () => this.log(base, number, global));
    f.if(f.get(this.large), () => {
      const bit = f.let(f.and(f.wrap(f.shrU(linear, 22)), 0x3ff));
      const byteAt = f.let(f.add(base, f.shrU(bit, 3)));
      const byte = f.load("i32", 1, byteAt, TLB_HEADER.large);
      f.store(1, byteAt, f.or(byte, f.shl(f.i32(1), f.and(bit, 7))), TLB_HEADER.large);
    });
    const kept = f.or(f.and(old, TLB_FLAG.logged | TLB_FLAG.loggedGlobal), logged);
    const kind = f.or(global, f.shl(f.get(this.large), 1));
    // PAGE_FLAG.watchedWrite goes with every handler.
    const watched = f.and(f.shl(flags, Math.log2(TLB_FLAG.watched / PAGE_FLAG.watchedWrite)), TLB_FLAG.watched);
    f.store(4, entry, f.or(f.wrap(frame), f.or(f.or(kept, kind), watched)), TLB_ENTRY.physical);
    f.return(f.add(host, f.and(f.wrap(linear), OFFSET)));
  }

  private log(base: Expr, number: Expr, global: Expr): void {
    const { f } = this;
    const offset = f.let(f.shl(global, 2));
    const countAt = f.let(f.add(base, offset));
    const count = f.load("i32", 4, countAt, TLB_HEADER.filled);
    f.store(4, countAt, f.add(count, 1), TLB_HEADER.filled);
    const log = f.add(base, f.mul(global, TLB_HEADER.logGlobal - TLB_HEADER.log));
    f.store(4, f.let(f.add(log, f.shl(count, 2))), number, TLB_HEADER.log);
  }
}
