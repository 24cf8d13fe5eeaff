import type { GuestMemory } from "../memory/guest-memory.ts";
import { PAGE_SIZE } from "../memory/layout.ts";
import { type Decoder, MAX_LENGTH } from "./decode/decoder.ts";
import type { Mmu } from "./mmu/mmu.ts";
import { PageEndCode } from "./mmu/page-end-code.ts";
import { CPU, CS, RSP, VECTOR } from "./state.ts";
import type { VcpuState } from "./vcpu-state.ts";

const TWO_32 = 0x1_0000_0000;
/** Canonical, with room for any instruction. */
const CANONICAL_FAR = 2 ** 47 - PAGE_SIZE;

/** Fetches for the interpreter where its window ends, and what only the bytes of an instruction can tell. */
export class CodeFetch {
  private readonly state: VcpuState;
  private readonly mmu: Mmu;
  private readonly memory: GuestMemory;
  private readonly decoder: () => Decoder;
  private readonly pageEndCode: PageEndCode;
  /** The copy of an instruction that the interpreter cannot run where it lies. */
  private readonly buffer: Uint8Array;

  /** `decoder` is called when the first instruction must be measured. */
  constructor(state: VcpuState, mmu: Mmu, memory: GuestMemory, decoder: () => Decoder) {
    this.state = state;
    this.mmu = mmu;
    this.memory = memory;
    this.decoder = decoder;
    this.pageEndCode = new PageEndCode(memory.bytes);
    const at = state.base + CPU.fetchScratch;
    this.buffer = memory.bytes.subarray(at, at + MAX_LENGTH);
  }

  /**
   * Host address of the instruction at RIP, and the fetch window around it: the page when it is in the TLB, else this
   * one instruction, copied (it crosses a page or a limit, or its page has no ordinary entry).
   */
  fetch(): number {
    const { state, mmu } = this;
    const rip = state.number(CPU.rip);
    const host = state.base + CPU.fetchScratch;
    const linear = state.is64 ? rip : (rip + state.segmentBase(CS)) % TWO_32;
    const mode = state.initialPrefixes | (state.is64 ? 1 : 0);
    // Within limits that reach far beyond, nothing but the translations of the bytes can be wrong.
    const plain = state.is64 ? Math.abs(linear) < CANONICAL_FAR : state.segmentLimit(CS) - rip >= PAGE_SIZE;
    if (plain && this.pageEndCode.copy(mmu.current, linear, mode, host)) {
      this.setWindow(host, host, 1);
      return host;
    }
    const page = mmu.codePage(rip);
    if (page === -1) return 0;
    if (page !== 0) {
      const offset = rip + (state.is64 ? 0 : state.segmentBase(CS));
      this.setWindow(page, page - (offset & (PAGE_SIZE - 1)), PAGE_SIZE - MAX_LENGTH + 1);
      return page;
    }
    const available = mmu.fetch(this.buffer, rip);
    if (available === 0) return 0;
    const length = this.decoder().length(this.buffer, available, state.is64, state.initialPrefixes);
    // Even of an instruction that is too long, the first 15 bytes are fetched.
    if (length > available && available < MAX_LENGTH) {
      mmu.fetchBeyond(rip, Math.min(length, MAX_LENGTH));
      return 0;
    }
    if (length > MAX_LENGTH) {
      state.recordFault(VECTOR.gp, 0);
      return 0;
    }
    mmu.touchSecondPage(length);
    if (plain) this.pageEndCode.remember(linear, mode, host, length);
    this.setWindow(host, host, 1);
    return host;
  }

  private setWindow(host: number, start: number, length: number): void {
    const { state } = this;
    state.setU32(CPU.windowStart, start);
    state.setU32(CPU.windowLength, length);
    state.setNumber(CPU.ripBias, state.number(CPU.rip) - host);
  }

  /** Many prefixes: 0 when the instruction is too long. */
  checkLength(): number {
    const { state, memory } = this;
    const start = state.u32(CPU.startPc);
    const bytes = memory.bytes.subarray(start, start + MAX_LENGTH);
    if (this.decoder().length(bytes, MAX_LENGTH, state.is64, state.initialPrefixes) <= MAX_LENGTH) return 1;
    state.recordFault(VECTOR.gp, 0);
    return 0;
  }

  /**
   * Whether a non-canonical access is one through SS: PUSH, POP, CALL, RET and their like, or an RSP or RBP base without
   * an override (64-bit mode only).
   */
  usesStack(linear: number): boolean {
    const { state, memory } = this;
    const start = state.u32(CPU.startPc);
    const code = memory.bytes.subarray(start, start + MAX_LENGTH);
    let at = 0;
    let rexB = 0;
    let override = false;
    for (; at < MAX_LENGTH; at++) {
      const byte = code[at]!;
      if ((byte & 0xf0) === 0x40) rexB = byte & 1;
      else if (byte === 0x64 || byte === 0x65) override = true;
      else if (![0x26, 0x2e, 0x36, 0x3e, 0x66, 0x67, 0xf0, 0xf2, 0xf3].includes(byte)) break;
    }
    const opcode = code[at]!;
    if (opcode === 0x0f) {
      const second = code[at + 1]!;
      // PUSH and POP of FS and GS.
      if ((second & 0xf6) === 0xa0) return true;
      // 0F and one more byte, or 0F 38 and 0F 3A and one more.
      at += second === 0x38 || second === 0x3a ? 2 : 1;
    } else {
      const stackOnly =
        (opcode & 0xf0) === 0x50 ||
        [0x68, 0x6a, 0x9c, 0x9d, 0xc2, 0xc3, 0xc8, 0xc9, 0xca, 0xcb, 0xcf, 0xe8].includes(opcode);
      if (stackOnly) return true;
      // String instructions, MOV to and from an offset, XLAT: no ModRM.
      if ((opcode & 0xf0) === 0xa0 || (opcode & 0xfc) === 0x6c || opcode === 0xd7) return false;
    }
    const modrm = code[at + 1]!;
    if (opcode === 0xff || opcode === 0x8f) {
      // Of a register there is no other access than the one to the stack. Large addresses are rounded here.
      const near = Math.max(16, Math.abs(linear) * 4 * Number.EPSILON);
      if (modrm >= 0xc0 || Math.abs(linear - state.number(CPU.gpr + RSP * 8)) <= near) return true;
    }
    if (override || modrm >= 0xc0 || rexB) return false;
    const rm = modrm & 7;
    if (rm === 4) {
      const base = code[at + 2]! & 7;
      return base === 4 || (base === 5 && modrm >= 0x40);
    }
    return rm === 5 && modrm >= 0x40;
  }
}
