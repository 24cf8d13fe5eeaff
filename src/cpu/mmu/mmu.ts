import type { IoClient } from "../../io/types.ts";
import type { GuestMemory } from "../../memory/guest-memory.ts";
import { PAGE_FLAG, PAGE_SIZE, TLB_SIZE } from "../../memory/layout.ts";
import { PAGE_ENTRY, PAGE_ENTRY_FLAGS } from "../../memory/page-map.ts";
import type { Translator } from "../../memory/virtual-handlers.ts";
import { CPU, CS, FLAG, MODE, SEG, SS, STOP, VECTOR, WALK } from "../state.ts";
import { ABANDON, type VcpuState } from "../vcpu-state.ts";
import { AccessSites } from "./access-sites.ts";
import type { Breakpoints } from "./breakpoints.ts";
import { LinearTranslator } from "./linear-translator.ts";
import { MmioTlb } from "./mmio-tlb.ts";
import { hostOf, MONITOR_PAGE, PageAccess } from "./page-access.ts";
import { ACCESS, PageWalker, type PagingMode, reservedHigh } from "./page-walk.ts";
import { Tlb } from "./tlb.ts";
import { TLB_ENTRY } from "./tlb-layout.ts";
import type { WatchJournal } from "./watch-journal.ts";
import { WatchedAccesses } from "./watched-accesses.ts";

const OFFSET = PAGE_SIZE - 1;
const TWO_32 = 0x1_0000_0000;

/** CR0, CR4 and EFER bits that paging depends on. */
const CR0_WP = 1 << 16;
const CR0_AM = 1 << 18;
const CR4_PSE = 1 << 4;
const CR4_PAE = 1 << 5;
const CR4_PGE = 1 << 7;
const CR4_SMEP = 1 << 20;
const EFER_NXE = 1 << 11;

/**
 * Guest-linear memory of one vCPU: TLBs, page walks and every access that is not a plain hit. Slow paths called by
 * generated code return 0 after recording what went wrong; the accessors for system operations throw `ABANDON`.
 */
export class Mmu {
  readonly supervisor: Tlb;
  readonly user: Tlb;
  readonly sites: AccessSites;
  private readonly mmio: MmioTlb;
  readonly paging: { -readonly [K in keyof PagingMode]: PagingMode[K] } = {
    paging: false,
    pae: false,
    long: false,
    pse: false,
    noExecute: false,
    writeProtect: false,
    smep: false,
    global: false,
    root: 0,
    pdpte: new Uint32Array(8),
  };
  private readonly cpu: VcpuState;
  private readonly memory: GuestMemory;
  private readonly breakpoints: Breakpoints;
  private readonly walker: PageWalker;
  private readonly watched: WatchedAccesses;
  /** What is done when an access has been translated. */
  readonly pages: PageAccess;
  /** EFLAGS.AC, CR0.AM and CPL 3: every access is checked, so nothing enters the user TLB. */
  private alignmentCheck = false;

  /** Whether misaligned accesses are #AC now. */
  get checksAlignment(): boolean {
    return this.alignmentCheck;
  }

  constructor(cpu: VcpuState, memory: GuestMemory, io: IoClient, breakpoints: Breakpoints, index: number) {
    this.cpu = cpu;
    this.memory = memory;
    this.breakpoints = breakpoints;
    this.watched = new WatchedAccesses(cpu, memory.handlers, index);
    this.journal = this.watched.journal;
    this.pages = new PageAccess(cpu, memory, io, this.watched);
    const { walkSource } = this.watched;
    this.walker = new PageWalker({
      physical: (address) => memory.physical(address),
      read32: (physical) => memory.read32(physical, walkSource),
      write32: (physical, value) => memory.write32(physical, value, walkSource),
    });
    this.paging.pdpte = new Uint32Array(memory.memory.buffer, cpu.base + CPU.pdpte, 8);
    const { tlb, tlbStride, ram, ramBytes, pageFlags } = memory.layout;
    const base = tlb + index * tlbStride;
    this.sites = new AccessSites(memory.memory);
    const forget = () => this.sites.forget();
    this.supervisor = new Tlb(memory.memory, base, forget);
    this.user = new Tlb(memory.memory, base + TLB_SIZE, forget);
    cpu.setU32(CPU.tlbSupervisor, base);
    cpu.setU32(CPU.walkRam, ram);
    cpu.setU32(CPU.walkRamBytes, ramBytes);
    cpu.setU32(CPU.walkPageFlags, pageFlags);
    this.mmio = new MmioTlb(memory.memory, cpu.base);
    memory.listen({
      flush: () => this.flushAll(),
      written: () => {},
      watched: (gpa, length) => {
        this.invalidatePhysical(gpa, length / PAGE_SIZE);
        this.mmio.flush(false);
      },
      remapped: (gpa, length) => {
        this.onFlush();
        this.invalidatePhysical(gpa, length / PAGE_SIZE);
        this.mmio.flush(false);
        cpu.setU32(CPU.windowLength, 0);
      },
    });
    this.translator = new LinearTranslator(this.paging, memory, {
      drop: (linear) => this.dropLinear(linear),
      hypervisorRange: (first, pages) => {
        cpu.setNumber(CPU.walkMonitor, first);
        cpu.setNumber(CPU.walkMonitorBytes, pages * PAGE_SIZE);
      },
    });
    if (index === 0) memory.handlers.virtual.attach(this.translator);
  }

  /** What access handlers ask about this CPU. */
  private readonly translator: Translator;
  /** What handlers have been told in the instruction or delivery in progress. */
  readonly journal: WatchJournal;

  /** An event is being delivered: there is no instruction. */
  set delivering(delivering: boolean) {
    this.watched.delivering = delivering;
  }

  /** The instruction (whose budget has been given back) or delivery waits for ring 3 and will start again. */
  abandonWatched(): void {
    this.watched.abandon();
  }

  /** Guest-physical address behind a linear one now, whatever the rights, or -1; for a look from outside. */
  physicalOf(linear: number): number {
    const page = this.translator.translate(linear - (linear & OFFSET), this.translator.space, []);
    return page < 0 ? -1 : page + (linear & OFFSET);
  }

  private dropLinear(linear: number): void {
    this.onFlush();
    const high = Math.floor(linear / TWO_32);
    this.supervisor.dropLinear(linear | 0, high);
    this.user.dropLinear(linear | 0, high);
    this.mmio.flush(false);
    this.cpu.setU32(CPU.windowLength, 0);
  }

  // --- modes ----------------------------------------------------------------------------------------------------

  /** Re-reads the control registers that decide about translations. Does not flush. */
  updatePaging(): void {
    const { cpu, paging } = this;
    const cr0 = cpu.u32(CPU.cr0);
    const cr4 = cpu.u32(CPU.cr4);
    paging.paging = (cpu.mode & MODE.paging) !== 0;
    paging.long = (cpu.mode & MODE.long) !== 0;
    paging.pae = (cr4 & CR4_PAE) !== 0;
    paging.pse = (cr4 & CR4_PSE) !== 0;
    paging.global = (cr4 & CR4_PGE) !== 0;
    paging.smep = (cr4 & CR4_SMEP) !== 0;
    paging.writeProtect = (cr0 & CR0_WP) !== 0;
    paging.noExecute = (cpu.u32(CPU.efer) & EFER_NXE) !== 0;
    const low = cpu.u32(CPU.cr3);
    const high = paging.long ? cpu.u32(CPU.cr3 + 4) & 0xf : 0;
    paging.root = high * TWO_32 + ((low & (paging.pae && !paging.long ? 0xffff_ffe0 : 0xffff_f000)) >>> 0);
    this.updateWalks();
  }

  /** What page walks in generated code go by. */
  private updateWalks(): void {
    const { cpu, paging } = this;
    cpu.setNumber(CPU.walkRoot, paging.root);
    cpu.setU32(CPU.walkReserved, 0);
    cpu.setU32(CPU.walkReserved + 4, reservedHigh(paging));
    let mode: number = WALK.flat;
    if (paging.paging) mode = paging.long ? WALK.long : paging.pae ? WALK.pae : WALK.paging32;
    if (paging.writeProtect) mode |= WALK.writeProtect;
    if (paging.smep) mode |= WALK.smep;
    if (paging.global) mode |= WALK.global;
    if (paging.pse) mode |= WALK.pse;
    this.walks = this.breakpoints.any || !this.memory.a20 ? 0 : mode;
    cpu.setU32(CPU.walkSupervisor, this.walks);
    this.updatePrivilege();
  }

  /** `CPU.walkMode` of supervisor accesses; 0 when each access has to be looked at. */
  private walks = 0;

  /**
   * PAE paging loads its four top entries when CR3 is loaded. False: a present one has reserved bits set (#GP(0)).
   * SDM vol 3, 4.4.1.
   */
  loadPdpte(): boolean {
    const { paging, memory } = this;
    if (!paging.paging || !paging.pae || paging.long) return true;
    const loaded = new Uint32Array(8);
    for (let i = 0; i < 8; i++)
      loaded[i] = memory.read32(memory.physical(paging.root + i * 4), this.watched.walkSource);
    for (let i = 0; i < 8; i += 2) {
      const present = (loaded[i]! & 1) !== 0;
      if (present && ((loaded[i]! & 0x1e6) !== 0 || (loaded[i + 1]! & 0xffff_fff0) !== 0)) return false;
    }
    paging.pdpte.set(loaded);
    return true;
  }

  /** After a change of CPL, EFLAGS.AC or CR0.AM: chooses the TLB that generated code uses. */
  updatePrivilege(): void {
    const { cpu, walks } = this;
    if (cpu.cpl === 3) {
      const check = (cpu.u32(CPU.eflags) & FLAG.ac) !== 0 && (cpu.u32(CPU.cr0) & CR0_AM) !== 0;
      if (check && !this.alignmentCheck) {
        this.user.flush(false);
        this.mmio.flush(false);
      }
      this.alignmentCheck = check;
      cpu.setU32(CPU.tlbBase, this.user.base);
      cpu.setU32(CPU.walkMode, walks === 0 || check ? 0 : walks | WALK.user);
    } else {
      this.alignmentCheck = false;
      cpu.setU32(CPU.tlbBase, this.supervisor.base);
      cpu.setU32(CPU.walkMode, walks);
    }
  }

  /** Set by the engine: translations of code may have changed. */
  onFlush: () => void = () => {};

  /** The TLB of the current privilege level. */
  get current(): Tlb {
    return this.cpu.cpl === 3 ? this.user : this.supervisor;
  }

  /** Also after a change of breakpoints or A20. */
  flushAll(): void {
    this.onFlush();
    this.updateWalks();
    this.supervisor.flush(false);
    this.user.flush(false);
    this.mmio.flush(false);
    this.cpu.setU32(CPU.windowLength, 0);
    this.memory.handlers.virtual.resync();
  }

  /** CR3 load: global translations stay. */
  flushNonGlobal(): void {
    this.onFlush();
    this.supervisor.flush(this.paging.global);
    this.user.flush(this.paging.global);
    this.mmio.flush(this.paging.global);
    this.memory.handlers.virtual.resync();
  }

  invalidatePage(linear: number): void {
    this.onFlush();
    this.supervisor.invalidate(linear >>> 0);
    this.user.invalidate(linear >>> 0);
    this.mmio.flush(false);
    this.memory.handlers.virtual.invalidated(linear);
  }

  // --- translation ----------------------------------------------------------------------------------------------

  private get accessUser(): number {
    return this.cpu.cpl === 3 ? ACCESS.user : 0;
  }

  /** `GuestMemory.pageEntry` of the last translation. */
  private hostEntry = 0;

  /**
   * Guest-physical address (A20 applied), or -1 after recording #PF. Fills the TLB of the access's privilege when the
   * page is memory; a page that is written is marked dirty first, so that its entry allows the next write to go straight.
   * `hostEntry` is left for the caller.
   */
  private translate(linear: number, access: number): number {
    const monitor = this.memory.handlers.virtual.hypervisorAt(linear);
    if (monitor !== undefined) return this.enterMonitorPage(linear, monitor.host + linear - monitor.start, access);
    const walk = this.walker.walk(this.paging, linear, access);
    if (walk.physical < 0) {
      this.cpu.setNumber(CPU.cr2, linear);
      this.cpu.recordFault(VECTOR.pf, walk.errorCode);
      return -1;
    }
    const physical = this.memory.physical(walk.physical);
    const entry = this.memory.pageEntry(physical);
    this.hostEntry = entry;
    if (entry !== 0) {
      if (access & ACCESS.write && entry & PAGE_ENTRY.writable) this.pages.markDirty(physical);
      this.enterTlb(linear, physical, entry, access);
    }
    return physical;
  }

  /** A page of the monitor in linear space: everybody may read and execute it. */
  private enterMonitorPage(linear: number, host: number, access: number): number {
    const page = host - (host & OFFSET);
    this.hostEntry = page | PAGE_ENTRY.memory;
    const user = (access & ACCESS.user) !== 0;
    if (!(user && this.alignmentCheck) && !this.breakpoints.watchesPage(linear)) {
      const tlb = user ? this.user : this.supervisor;
      tlb.fill(linear >>> 0, Math.floor(linear / TWO_32), page, 0, true, false, true, false, false, true);
    }
    return MONITOR_PAGE + (linear & OFFSET);
  }

  private enterTlb(linear: number, physical: number, entry: number, access: number): void {
    const { result: walk } = this.walker;
    const { paging } = this;
    const user = (access & ACCESS.user) !== 0;
    if (user && this.alignmentCheck) return;
    const flags = this.pages.flags(physical);
    const watched = this.breakpoints.watchesPage(linear);
    const allowedWrite = walk.writable || (!user && !paging.writeProtect);
    const inRam = (entry & PAGE_ENTRY.writable) !== 0;
    const readable = !watched && (flags & PAGE_FLAG.watchedAll) === 0;
    const writable =
      readable &&
      inRam &&
      allowedWrite &&
      walk.dirty &&
      (flags & PAGE_FLAG.dirty) !== 0 &&
      (flags & (PAGE_FLAG.watchedWrite | PAGE_FLAG.code)) === 0;
    // Handlers see no fetches: code runs in watched pages as elsewhere.
    const executable = walk.executable && !(paging.smep && walk.user && !user);
    const tlb = user ? this.user : this.supervisor;
    const high = Math.floor(linear / TWO_32);
    tlb.fill(
      linear >>> 0,
      high,
      entry - (entry & PAGE_ENTRY_FLAGS),
      physical,
      readable,
      writable,
      executable,
      walk.global,
      walk.pageBytes > PAGE_SIZE,
      (flags & (PAGE_FLAG.watchedWrite | PAGE_FLAG.watchedAll)) !== 0,
    );
  }

  private canonical(linear: number): boolean {
    if (!this.cpu.is64) return true;
    return linear >= -0x8000_0000_0000 && linear < 0x8000_0000_0000;
  }

  /** Records the fault of a non-canonical address: #SS(0) through SS, else #GP(0). SDM vol 1, 3.3.7.1. */
  private nonCanonical(stack: boolean): void {
    this.cpu.recordFault(stack ? VECTOR.ss : VECTOR.gp, 0);
  }

  /** #AC is due: operands of 1, 2, 4 or 8 bytes (SDM vol 3, table 6-7). Other sizes have no alignment of their own here. */
  private misaligned(linear: number, bytes: number): boolean {
    return this.alignmentCheck && bytes <= 8 && (bytes & (bytes - 1)) === 0 && (linear & (bytes - 1)) !== 0;
  }

  /**
   * Canonical form and alignment. Where an operand begins below the canonical limit and ends beyond it, alignment comes
   * first, as seen on silicon. False: a fault is recorded.
   */
  private isAddress(linear: number, bytes: number): boolean {
    const begins = this.canonical(linear);
    if (begins && this.misaligned(linear, bytes)) {
      this.cpu.recordFault(VECTOR.ac, 0);
      return false;
    }
    if (begins && this.canonical(linear + bytes - 1)) return true;
    // Which of the two faults it is depends on registers that compiled code has not stored.
    if (this.cpu.u32(CPU.compiled) !== 0) this.cpu.setU32(CPU.stop, STOP.redo);
    else this.nonCanonical(this.usesStackSegment(linear));
    return false;
  }

  /** Set by the engine: whether the current instruction addresses this access through the stack segment. */
  usesStackSegment: (linear: number) => boolean = () => false;
  /** Set by the engine: bytes of a page that holds compiled code are about to change. True: some of it was dropped. */
  onCodeWrite: (physical: number, bytes: number) => boolean = () => false;

  /** Compiled code was dropped; true: it may be the code that does this, and the interpreter has to do it instead. */
  private changesCode(physical: number, bytes: number): boolean {
    if (physical >= this.memory.ramBytes || (this.memory.pageFlags[physical >>> 12]! & PAGE_FLAG.code) === 0)
      return false;
    if (!this.onCodeWrite(physical, bytes) || this.cpu.u32(CPU.compiled) === 0) return false;
    this.cpu.setU32(CPU.stop, STOP.redo);
    return true;
  }

  /** Drops translations that lead straight to a guest-physical page. */
  invalidatePhysical(physical: number, pages = 1): void {
    this.supervisor.invalidatePhysical(physical, pages);
    this.user.invalidatePhysical(physical, pages);
  }

  /** Canonical form, alignment and data breakpoints of an access. False: a fault is recorded. */
  private admit(linear: number, bytes: number, write: boolean): boolean {
    if (!this.isAddress(linear, bytes)) return false;
    this.breakpoints.data(linear, bytes, write);
    return true;
  }

  /** Wraps an address that runs past the end of a 32-bit linear space. */
  private next(linear: number): number {
    const next = linear - (((linear % PAGE_SIZE) + PAGE_SIZE) % PAGE_SIZE) + PAGE_SIZE;
    return this.cpu.is64 || next < TWO_32 ? next : 0;
  }

  // --- slow paths of generated code -------------------------------------------------------------------------------

  /** Host address of `bytes` readable bytes, or 0. */
  slowRead(linear: number, bytes: number, extra = 0): number {
    const device = this.knownDevice(linear, bytes, false);
    if (device >= 0) {
      return this.pages.read(linear, device, 0, 0, bytes) ? this.cpu.base + CPU.scratch : 0;
    }
    if (!this.admit(linear, bytes, false)) return 0;
    const access = this.accessUser | extra;
    const first = Math.min(bytes, PAGE_SIZE - (linear & OFFSET));
    const physical = this.translate(linear, access);
    if (physical < 0) return 0;
    if (first === bytes && this.hostEntry !== 0 && (this.pages.flags(physical) & PAGE_FLAG.watchedAll) === 0)
      return this.hostAt(physical);
    const firstEntry = this.hostEntry;
    if (first === bytes && firstEntry === 0) this.enterMmio(linear, physical, false);
    let second = 0;
    let secondEntry = 0;
    if (first < bytes) {
      second = this.translate(this.next(linear), access);
      if (second < 0) return 0;
      secondEntry = this.hostEntry;
    }
    if (!this.pages.read(linear, physical, firstEntry, 0, first)) return 0;
    if (first < bytes && !this.pages.read(this.next(linear), second, secondEntry, first, bytes - first)) return 0;
    return this.cpu.base + CPU.scratch;
  }

  private hostAt(physical: number): number {
    return hostOf(this.hostEntry, physical);
  }

  /** Writes `bytes` from the scratch slot. 1, or 0. */
  slowWrite(linear: number, bytes: number, extra = 0): number {
    const device = this.knownDevice(linear, bytes, true);
    if (device >= 0) return this.pages.write(linear, device, 0, 0, bytes) ? 1 : 0;
    if (!this.admit(linear, bytes, true)) return 0;
    const access = this.accessUser | ACCESS.write | extra;
    const first = Math.min(bytes, PAGE_SIZE - (linear & OFFSET));
    const physical = this.translate(linear, access);
    if (physical < 0) return 0;
    const firstEntry = this.hostEntry;
    if (this.changesCode(physical, first)) return 0;
    if (first === bytes) {
      if (firstEntry === 0) this.enterMmio(linear, physical, true);
      return this.pages.write(linear, physical, firstEntry, 0, bytes) ? 1 : 0;
    }
    const next = this.next(linear);
    const second = this.translate(next, access);
    if (second < 0) return 0;
    const secondEntry = this.hostEntry;
    if (this.changesCode(second, bytes - first)) return 0;
    // A device may wait, and then all of this happens again: memory is written when nothing can wait any more.
    if (firstEntry !== 0 && secondEntry === 0) {
      if (!this.pages.write(next, second, secondEntry, first, bytes - first)) return 0;
      return this.pages.write(linear, physical, firstEntry, 0, first) ? 1 : 0;
    }
    if (!this.pages.write(linear, physical, firstEntry, 0, first)) return 0;
    return this.pages.write(next, second, secondEntry, first, bytes - first) ? 1 : 0;
  }

  /** The access that has just been translated leads to no memory: from now on generated code finds the way. */
  private enterMmio(linear: number, physical: number, write: boolean): void {
    if (this.alignmentCheck || this.breakpoints.any || physical >= TWO_32) return;
    if (this.pages.flags(physical) & PAGE_FLAG.watchedWrite) return;
    this.mmio.fill(linear, physical, write, this.cpu.cpl === 3, this.walker.result.global);
  }

  /** Guest-physical address of an access to a page that is known to be no memory, or -1. */
  private knownDevice(linear: number, bytes: number, write: boolean): number {
    if (this.alignmentCheck || this.breakpoints.any || (linear & OFFSET) + bytes > PAGE_SIZE) return -1;
    return this.mmio.find(linear, write, this.cpu.cpl === 3);
  }

  /** Proves that a write of `bytes` would succeed. 1, or 0. */
  slowProve(linear: number, bytes: number): number {
    if (!this.isAddress(linear, bytes)) return 0;
    const access = this.accessUser | ACCESS.write;
    if (this.translate(linear, access) < 0) return 0;
    if ((linear & OFFSET) + bytes <= PAGE_SIZE) return 1;
    return this.translate(this.next(linear), access) < 0 ? 0 : 1;
  }

  /** Host address holding the old value of a read-modify-write: in place, or the scratch slot. */
  slowModify(linear: number, bytes: number): number {
    if (!this.admit(linear, bytes, true)) return 0;
    const access = this.accessUser | ACCESS.write;
    const first = Math.min(bytes, PAGE_SIZE - (linear & OFFSET));
    const physical = this.translate(linear, access);
    if (physical < 0) return 0;
    const firstEntry = this.hostEntry;
    if (this.changesCode(physical, first)) return 0;
    let second = 0;
    let secondEntry = 0;
    if (first < bytes) {
      second = this.translate(this.next(linear), access);
      if (second < 0) return 0;
      secondEntry = this.hostEntry;
      if (this.changesCode(second, bytes - first)) return 0;
    } else if (firstEntry & PAGE_ENTRY.writable && (this.pages.flags(physical) & PAGE_FLAG.watchedWrite) === 0) {
      return this.hostAt(physical);
    }
    if (!this.pages.read(linear, physical, firstEntry, 0, first)) return 0;
    if (first < bytes && !this.pages.read(this.next(linear), second, secondEntry, first, bytes - first)) return 0;
    return this.beginModify(linear, bytes);
  }

  /** The scratch slot holds the old value; `commitModify` is to write it back. */
  beginModify(linear: number, bytes: number): number {
    this.cpu.setNumber(CPU.modifyLinear, linear);
    this.cpu.setU32(CPU.modifySize, bytes);
    return this.cpu.base + CPU.scratch;
  }

  commitModify(): number {
    return this.slowWrite(this.cpu.number(CPU.modifyLinear), this.cpu.u32(CPU.modifySize));
  }

  // --- instruction fetch ------------------------------------------------------------------------------------------

  /**
   * Host address of the code at `rip` when every instruction up to the last 15 bytes of its page can be run in place; 0
   * when one at a time must be looked at; -1 after recording a fault.
   */
  codePage(rip: number): number {
    const { cpu } = this;
    const linear = cpu.is64 ? rip : (rip + cpu.segmentBase(CS)) % TWO_32;
    const offset = linear & OFFSET;
    if (offset > PAGE_SIZE - 15 || !this.canonical(linear)) return 0;
    if (!cpu.is64 && rip + OFFSET - offset > cpu.segmentLimit(CS)) return 0;
    const physical = this.translateFetch(linear);
    if (physical < 0) return -1;
    return this.hostEntry === 0 ? 0 : this.hostAt(physical);
  }

  private translateFetch(linear: number): number {
    this.watched.fetching = true;
    const physical = this.translate(linear, this.accessUser | ACCESS.fetch);
    this.watched.fetching = false;
    return physical;
  }

  /**
   * Fills `into`, of up to 15 bytes, with those at the instruction pointer and returns how many there are before a fault,
   * which is recorded when there are none.
   */
  fetch(into: Uint8Array, rip: number): number {
    const { cpu } = this;
    const linear = cpu.is64 ? rip : (rip + cpu.segmentBase(CS)) % TWO_32;
    let available = into.length;
    if (cpu.is64) {
      if (!this.canonical(linear)) {
        cpu.recordFault(VECTOR.gp, 0);
        return 0;
      }
    } else {
      const room = cpu.segmentLimit(CS) - rip + 1;
      if (room <= 0) {
        cpu.recordFault(VECTOR.gp, 0);
        return 0;
      }
      available = Math.min(available, room);
    }
    const access = this.accessUser | ACCESS.fetch;
    const first = Math.min(available, PAGE_SIZE - (linear & OFFSET));
    const physical = this.translateFetch(linear);
    if (physical < 0) return 0;
    this.fetchPart(linear, physical, into.subarray(0, first));
    this.secondPage = 0;
    this.firstBytes = first;
    if (first < available) {
      this.secondPage = this.next(linear);
      if (this.isMonitorPage(this.secondPage)) {
        this.fetchPart(this.secondPage, MONITOR_PAGE, into.subarray(first, available));
        return available;
      }
      // Only a probe: the instruction may not need these bytes.
      const walk = this.walker.walk(this.paging, this.secondPage, access, true);
      if (walk.physical < 0 || !this.canonical(this.secondPage)) return first;
      this.fetchPart(this.secondPage, this.memory.physical(walk.physical), into.subarray(first, available));
    }
    return available;
  }

  /**
   * Fills `into` from `from` on with code at `rip` + `from`, as far as its page and segment reach; by the TLB where it has
   * the page. How many bytes are then there; `from` after recording a fault.
   */
  fetchInPage(into: Uint8Array, rip: number, from: number): number {
    const { cpu } = this;
    const code64 = cpu.is64;
    const at = rip + from;
    const linear = code64 ? at : (at + cpu.segmentBase(CS)) >>> 0;
    let bytes = Math.min(into.length - from, PAGE_SIZE - (linear & OFFSET));
    if (!code64) bytes = Math.min(bytes, cpu.segmentLimit(CS) - at + 1);
    const host = bytes > 0 ? this.current.hit(linear, bytes, TLB_ENTRY.execTag) : 0;
    if (host === 0) return from + this.fetch(into.subarray(from, from + Math.max(bytes, 0)), at);
    const { bytes: memory } = this.memory;
    for (let i = 0; i < bytes; i++) into[from + i] = memory[host + i]!;
    return from + bytes;
  }

  /** Entries of page tables that walks in TypeScript have read. */
  get walkLoads(): number {
    return this.walker.loads;
  }

  private secondPage = 0;
  /** Bytes of the last `fetch` that lie in its first page. */
  private firstBytes = 0;

  /** The instruction does need bytes that `fetch` could not give: records why. */
  fetchBeyond(rip: number, bytes: number): void {
    const { cpu } = this;
    if (!cpu.is64 && rip + bytes - 1 >= cpu.segmentLimit(CS)) {
      cpu.recordFault(VECTOR.gp, 0);
      return;
    }
    if (!this.canonical(this.secondPage)) {
      cpu.recordFault(VECTOR.gp, 0);
      return;
    }
    this.translateFetch(this.secondPage);
  }

  /** An instruction of `length` bytes runs: its second page, if it has one, has been accessed. */
  touchSecondPage(length: number): void {
    if (length > this.firstBytes && !this.isMonitorPage(this.secondPage))
      this.walker.walk(this.paging, this.secondPage, this.accessUser | ACCESS.fetch);
  }

  private isMonitorPage(linear: number): boolean {
    return this.memory.handlers.virtual.hypervisorAt(linear) !== undefined;
  }

  private fetchPart(linear: number, physical: number, into: Uint8Array): void {
    const monitor = this.memory.handlers.virtual.hypervisorAt(linear);
    if (monitor !== undefined) {
      const host = monitor.host + linear - monitor.start;
      into.set(this.memory.bytes.subarray(host, host + into.length));
      return;
    }
    const entry = this.memory.pageEntry(physical);
    if (entry === 0) {
      // Code in a hole reads as ones, as an open bus does; devices are not asked.
      into.fill(0xff);
      return;
    }
    const host = hostOf(entry, physical);
    into.set(this.memory.bytes.subarray(host, host + into.length));
  }

  // --- accessors for system operations: throw ABANDON --------------------------------------------------------------

  /**
   * Reads `bytes` (1-8) at a linear address. `system` accesses (descriptor tables, TSS, interrupt stacks at CPL 0) are
   * supervisor accesses whatever the CPL.
   */
  read(linear: number, bytes: number, system = false): bigint {
    if (bytes === 8) return this.cpu.data.getBigUint64(this.hostForRead(linear, 8, system), true);
    return BigInt(this.readNumber(linear, bytes, system));
  }

  read32(linear: number, system = false): number {
    return this.readNumber(linear, 4, system);
  }

  read16(linear: number, system = false): number {
    return this.readNumber(linear, 2, system);
  }

  /** `bytes` is 1, 2 or 4 here, and below. */
  readNumber(linear: number, bytes: number, system = false): number {
    const host = this.hostForRead(linear, bytes, system);
    const { data } = this.cpu;
    if (bytes === 4) return data.getUint32(host, true);
    if (bytes === 2) return data.getUint16(host, true);
    let value = 0;
    for (let i = bytes - 1; i >= 0; i--) value = value * 256 + this.memory.bytes[host + i]!;
    return value;
  }

  write(linear: number, bytes: number, value: bigint, system = false): void {
    const { data } = this.cpu;
    const hit = this.tlbFor(system).hit(linear, bytes, TLB_ENTRY.writeTag);
    const host = hit !== 0 ? hit : this.cpu.base + CPU.scratch;
    if (bytes === 8) data.setBigUint64(host, BigInt.asUintN(64, value), true);
    else if (bytes === 4) data.setUint32(host, Number(BigInt.asUintN(32, value)), true);
    else for (let i = 0; i < bytes; i++) this.memory.bytes[host + i] = Number((value >> BigInt(i * 8)) & 0xffn);
    if (hit === 0 && this.withPrivilege(system, () => this.slowWrite(linear, bytes)) === 0) throw ABANDON;
  }

  writeNumber(linear: number, bytes: number, value: number): void {
    const { data } = this.cpu;
    const hit = this.tlbFor(false).hit(linear, bytes, TLB_ENTRY.writeTag);
    const host = hit !== 0 ? hit : this.cpu.base + CPU.scratch;
    if (bytes === 1) data.setUint8(host, value);
    else if (bytes === 2) data.setUint16(host, value, true);
    else data.setUint32(host, value, true);
    if (hit === 0 && this.slowWrite(linear, bytes) === 0) throw ABANDON;
  }

  private tlbFor(system: boolean): Tlb {
    return system ? this.supervisor : this.current;
  }

  private hostForRead(linear: number, bytes: number, system: boolean): number {
    const hit = this.tlbFor(system).hit(linear, bytes, TLB_ENTRY.readTag);
    if (hit !== 0) return hit;
    const host = this.withPrivilege(system, () => this.slowRead(linear, bytes));
    if (host === 0) throw ABANDON;
    return host;
  }

  /** Proves that `bytes` (at most a page) may be written. */
  prove(linear: number, bytes: number, system = false): void {
    if (this.tlbFor(system).hit(linear, bytes, TLB_ENTRY.writeTag) !== 0) return;
    if (this.withPrivilege(system, () => this.slowProve(linear, bytes)) === 0) throw ABANDON;
  }

  /** Host address of plain memory for up to the rest of the page, or 0 when the page is not memory; throws on a fault. */
  hostPage(linear: number, write: boolean): number {
    if (!this.canonical(linear)) {
      this.nonCanonical(this.usesStackSegment(linear));
      throw ABANDON;
    }
    const access = this.accessUser | (write ? ACCESS.write : 0);
    const physical = this.translate(linear, access);
    if (physical < 0) throw ABANDON;
    if (this.hostEntry === 0 || (write && (this.hostEntry & PAGE_ENTRY.writable) === 0)) return 0;
    const flags = this.pages.flags(physical);
    // Handlers see single accesses; code that is compiled has to hear of each change.
    if (flags & (write ? PAGE_FLAG.watchedWrite | PAGE_FLAG.code : PAGE_FLAG.watchedAll)) return 0;
    return this.hostAt(physical);
  }

  private withPrivilege(system: boolean, run: () => number): number {
    if (!system || this.cpu.cpl !== 3) return run();
    const check = this.alignmentCheck;
    this.alignmentCheck = false;
    this.cpu.setU32(CPU.cpl, 0);
    try {
      return run();
    } finally {
      this.cpu.setU32(CPU.cpl, 3);
      this.alignmentCheck = check;
    }
  }

  /** Linear address of `offset` in a segment after limit and rights checks, or a thrown #SS or #GP. */
  segmented(segment: number, offset: number, bytes: number, write: boolean): number {
    const { cpu } = this;
    const at = CPU.segments + segment * SEG.size;
    if (cpu.is64) {
      const base = segment >= 4 ? cpu.number(at + SEG.base) : 0;
      const sum = offset + base;
      // Sums wrap at 2^64; what leaves the canonical range faults in the access.
      return sum;
    }
    const high = cpu.number(at + (write ? SEG.highWrite : SEG.highRead));
    if (offset < cpu.number(at + SEG.low) || offset + bytes - 1 > high) {
      cpu.fault(segment === SS ? VECTOR.ss : VECTOR.gp, 0);
    }
    return (offset + cpu.number(at + SEG.base)) % TWO_32;
  }
}
