/**
 * Where processors of AMD do otherwise than those of Intel in user mode. All of it, as far as random programs reach, is
 * here: an instruction is left out or given a set-up that makes both do the same (`adapt`), a field of the outcome is not
 * compared, or the outcome is not (`latitude`). Whatever is not here must agree on either host.
 *
 * "Vol" is the manual of Intel (SDM) or AMD (APM). Where none is cited, neither says anything.
 */
import { ADDRESS_SIZE, type Draft, type DraftUnit, OPERAND_SIZE, RCX } from "./draft.ts";
import { ARITHMETIC_FLAGS, type Form } from "./form.ts";
import type { LinkedProgram, Unit } from "./program.ts";
import { LDT_SEGMENTS, type Mode, type Outcome, WINDOW_BASE } from "./state.ts";

const LOCK = 0xf0;
const LEGACY_PREFIXES = [0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, OPERAND_SIZE, ADDRESS_SIZE, LOCK, 0xf2, 0xf3];
const VECTOR = { debug: 1, bound: 5, stack: 12, protection: 13, page: 14, alignment: 17 } as const;
const MEMORY_FAULTS: readonly number[] = [VECTOR.stack, VECTOR.protection, VECTOR.page, VECTOR.alignment];
const [RSI, RDI] = [6, 7] as const;
/** In a selector; in RFLAGS, FSW and FCW, and the third byte of MXCSR. */
const LOCAL_TABLE = 4;
const [RESUME, OVERFLOW, UNDERFLOW, MISALIGNED_MASK] = [0x1_0000, 8, 0x10, 2] as const;
/** The first 2 GiB behind the addresses that are not canonical, by 2 GiB. */
const NOT_CANONICAL_END = 0xffff_8000_0000_0000n >> 31n;

/** The legacy prefixes of the instruction itself, without its set-up. */
function prefixesOf({ bytes, start }: Unit): number[] {
  const prefixes: number[] = [];
  for (let at = start; LEGACY_PREFIXES.includes(bytes[at]!); at++) prefixes.push(bytes[at]!);
  return prefixes;
}

const isRepeated = (prefixes: readonly number[]): boolean => prefixes.includes(0xf2) || prefixes.includes(0xf3);

/** 16 or 32 bits; of instructions outside 64-bit mode. */
const legacyBits = (prefixes: readonly number[], narrow: boolean): 16 | 32 =>
  prefixes.includes(OPERAND_SIZE) !== narrow ? 16 : 32;

const isPushSegment = ({ name }: Form): boolean => /^push [cdefgs]s$/.test(name);

/** The unit as an AMD host may run it; undefined if that says nothing about Intel's processors. */
export function adapt(unit: DraftUnit, { mode, narrow }: Draft): DraftUnit | undefined {
  const { form } = unit;
  const prefixes = prefixesOf(unit);
  const long = mode === 64;

  // 66h makes a near branch 16 bits wide also in 64-bit mode (APM vol 3, 1.2.2); Intel's ignore it there (SDM vol 2,
  // appendix A.2.5, f64).
  if (long && form.immediates.includes("cz") && prefixes.includes(OPERAND_SIZE)) return undefined;

  // A short branch to anywhere may lead into the middle of an instruction, and so to any other.
  if (form.kind === "branch" && form.immediates.length > 0 && !unit.fixups.some(({ kind }) => kind === "branch")) {
    if (narrow || form.immediates.includes("cb")) return undefined;
  }

  // F2h and F3h choose the condition of LOOPE and LOOPNE.
  if ((form.name === "loope" || form.name === "loopne") && isRepeated(prefixes)) return undefined;

  // LOCK MOV CR0 is another name for CR8 (APM vol 3, MOV CRn), and LOCK VERW is no invalid opcode.
  if ((form.name === "mov r,cr0" || form.name === "verw") && prefixes.includes(LOCK)) return undefined;

  // A segment register fills all 32 bits that it is pushed to; Intel's processors write 16 (SDM vol 2, PUSH). The others
  // become 0 before, and all 32 must be writable: push 0; lea esp, [esp+4].
  if (!long && isPushSegment(form) && legacyBits(prefixes, narrow) === 32) {
    return withSetUp(unit, narrow ? [0x66, 0x6a, 0, 0x66, 0x67, 0x8d, 0x64, 0x24, 4] : [0x6a, 0, 0x8d, 0x64, 0x24, 4]);
  }

  // With 32-bit addresses, Intel's processors clear the upper halves of RCX, RSI and RDI also where not one element was
  // moved: mov ecx, ecx; mov esi, esi; mov edi, edi.
  if (long && form.repeat !== "" && isRepeated(prefixes) && prefixes.includes(ADDRESS_SIZE)) {
    return withSetUp(unit, [0x89, 0xc9, 0x89, 0xf6, 0x89, 0xff], [RCX, RSI, RDI]);
  }
  return unit;
}

function withSetUp(unit: DraftUnit, added: readonly number[], changed: readonly number[] = []): DraftUnit {
  const { bytes, start, fixups } = unit;
  return {
    ...unit,
    bytes: [...bytes.slice(0, start), ...added, ...bytes.slice(start)],
    start: start + added.length,
    fixups: fixups.map((fixup) => (fixup.at < start ? fixup : { ...fixup, at: fixup.at + added.length })),
    changed: [...unit.changed, ...changed],
  };
}

/** What of an outcome is not compared. */
export interface Latitude {
  readonly everything?: boolean;
  /** Bits of RFLAGS, and of FSW. */
  readonly flags?: number;
  readonly status?: number;
  /** Vector, error code and CR2. */
  readonly fault?: boolean;
  /** TOP: the registers are compared by their physical numbers. */
  readonly top?: boolean;
  /** Offsets in the window: from, and first beyond. */
  readonly memory?: readonly [number, number];
}

const NONE: Latitude = {};
const EVERYTHING: Latitude = { everything: true };

/** What an AMD host's outcome says nothing about. */
export function latitude({ program, addresses, mode }: LinkedProgram, host: Outcome, ours: Outcome): Latitude {
  // MXCSR has a mask for misaligned operands (APM vol 1, 4.2.2); for Intel's processors that bit is reserved.
  if (host.fx[26]! & MISALIGNED_MASK) return EVERYTHING;
  const range = (host.fx[2]! ^ ours.fx[2]!) & (OVERFLOW | UNDERFLOW);
  if (range !== 0) {
    const masked = (host.fx[0]! & range) === range;
    const last = program.units.at(-1)!;
    const passed = Number(host.rip) > addresses.at(-2)! + last.start;
    // Where a result is the smallest normal number or a little less, or the largest or a little more, the approximation
    // decides.
    if (last.form.near === "x87" && passed) return masked ? { status: range } : EVERYTHING;
    // A denormal number by infinity, or scaled by zero, underflows if that is not masked; for Intel's processors it stays
    // what it is.
    if (!masked && program.units.some(({ form }) => ["fprem", "fprem1", "fscale"].includes(form.name)))
      return EVERYTHING;
  }
  const unit = program.units.find(({ start }, index) => addresses[index]! + start === Number(host.rip));
  if (!unit) return NONE;
  // A hypervisor that intercepts #DB may give it back before the instruction instead of behind it.
  if (unit.form.name === "icebp" && host.vector === VECTOR.debug && ours.vector === VECTOR.debug) return EVERYTHING;
  if (host.vector === VECTOR.debug) return trapLatitude(unit);
  // UD1 has no operand: nothing to fetch, and the instruction is not too long for it.
  if (unit.form.name === "ud1") return MEMORY_FAULTS.includes(ours.vector) && ours.rip === host.rip ? EVERYTHING : NONE;
  return MEMORY_FAULTS.includes(host.vector) ? faultLatitude(unit, program.narrow, mode, host, ours) : NONE;
}

const isComparison = ({ kind }: Form): boolean => kind === "strflags";

/** Between two elements of a string: RF is not set (SDM vol 3, 17.3.1.1), and flags are those of the last comparison. */
function trapLatitude(unit: Unit): Latitude {
  const { form } = unit;
  if (form.repeat === "" || !isRepeated(prefixesOf(unit))) return NONE;
  return { flags: RESUME | (isComparison(form) ? ARITHMETIC_FLAGS : 0) };
}

/** By the instruction that faulted on the host. */
function faultLatitude(unit: Unit, narrow: boolean, mode: Mode, host: Outcome, ours: Outcome): Latitude {
  const { form } = unit;
  const { vector } = host;
  const prefixes = prefixesOf(unit);
  const sameFault = ours.rip === host.rip && ours.vector === vector;
  const bits = legacyBits(prefixes, narrow);

  if (vector === VECTOR.protection && mode === 64 && ours.rip === host.rip) {
    // An operand must end in canonical addresses before it must be aligned.
    if (ours.vector === VECTOR.alignment) return EVERYTHING;
    // An address must be canonical also before the base of FS or GS is added.
    const based = prefixes.includes(0x64) || prefixes.includes(0x65);
    if (based && ours.vector === VECTOR.page && ours.cr2 >> 31n === NOT_CANONICAL_END) return EVERYTHING;
  }
  if (isComparison(form)) {
    const another = vector !== ours.vector || host.error !== ours.error || host.cr2 !== ours.cr2;
    const isElsewhere = another && ours.rip === host.rip && MEMORY_FAULTS.includes(ours.vector);
    return {
      // Those of the last comparison; Intel's processors restore those from before (SDM vol 2, REP).
      ...(isRepeated(prefixes) && { flags: ARITHMETIC_FLAGS }),
      // Which of the two operands of CMPS is read first, and so faults, differs between models.
      ...(form.name.startsWith("cmps") && isElsewhere && { fault: true }),
    };
  }
  // Outside 64-bit mode a segment register is popped with all 32 bits, of which Intel's processors read 16.
  if (form.kind === "popsegment") return bits === 32 && vector !== VECTOR.protection ? EVERYTHING : NONE;
  switch (form.name) {
    // The target is checked before the return address is pushed.
    case "call near":
    case "call rm":
      return vector === VECTOR.protection ? { memory: belowStack(host, mode) } : NONE;
    // Both bounds are read before either is looked at.
    case "bound":
      return ours.vector === VECTOR.bound && ours.rip === host.rip ? EVERYTHING : NONE;
    // 32 bits are read also where 16 are wanted.
    case "movsxd":
      return prefixes.includes(OPERAND_SIZE) && !sameFault ? EVERYTHING : NONE;
    // The lower eight bytes are looked at first: the fault may be another one.
    case "maskmovdqu":
      return ours.rip === host.rip && MEMORY_FAULTS.includes(ours.vector) ? { fault: true } : NONE;
  }
  // #AC for 16 bytes that are not aligned is up to the processor (SDM vol 3, 6.15, interrupt 17).
  if (form.group === "simd" && form.memoryBytes === 16 && !form.aligned) {
    return vector === VECTOR.alignment && !sameFault ? EVERYTHING : NONE;
  }
  // Memory is looked at before a store raises an x87 exception that is not masked and so stores nothing, and before an
  // MMX instruction resets TOP.
  if (/^(fst|fist|fbst)/.test(form.name)) return unmasks(host) && ours.rip !== host.rip ? EVERYTHING : NONE;
  return form.group === "mmx" ? { top: true } : NONE;
}

/** Whether some x87 exception is not masked in FCW. */
const unmasks = ({ fx }: Outcome): boolean => (fx[0]! & 0x3f) !== 0x3f;

/** Where a near call puts its return address. */
function belowStack({ gpr, segments }: Outcome, mode: Mode): [number, number] {
  const selector = segments[4]!;
  const segment = mode === 32 && selector & LOCAL_TABLE ? LDT_SEGMENTS[selector >> 3] : undefined;
  const { base = 0, narrow = false } = segment ?? {};
  const top = base + (Number(gpr[4]!) & (narrow ? 0xffff : -1)) - WINDOW_BASE;
  return [top - mode / 8, top];
}
