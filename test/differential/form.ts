/**
 * Instruction forms: how an instruction is encoded, what operands it may have, which flags it reads, writes and leaves
 * undefined. A table line is `name; encoding; attributes`, in the notation of the opcode maps (Intel SDM vol. 2):
 *
 *   encoding    hex bytes; `66`, `F2` or `F3` before a bar is a mandatory prefix ("F3|0F B8 /r"); `/r` any register in
 *               ModRM.reg, `/0`-`/7` an opcode extension; `+r` a register in the opcode; ib iw iz iv: immediates (iz 16 or
 *               32 bits, iv up to 64); io: a memory offset of address size; cb cz: relative branch targets
 *   b v y W q   operand size: 8 bits; 16/32/64 bits by 66 and REX.W; 32/64 by REX.W; always REX.W; 64-bit default
 *   mem reg     ModRM only names memory, or only a register
 *   lock        LOCK is legal with a memory destination
 *   x32 x64     only in that mode
 *   mN aN       N bytes of memory operand; aN also aligned
 *   w: u: r:    flags written, left undefined, read (O S Z A P C D)
 *   gN          general registers that may change: g:reg g:rm g:none (default both)
 *   c:          implicit registers that may change: a c d b s p i j (rax rcx rdx rbx rsp rbp rsi rdi)
 *   norep       never with a redundant F2 or F3
 *   rep repz    string instruction: REP, or REPE and REPNE
 *   last        only as the last instruction of a sequence
 *   near:N      vector or x87 results are approximations: compare to N
 *   kind:K      needs a hand in generate.ts
 */
export type OperandSize = "none" | "b" | "v" | "y" | "W" | "q";
export type ImmediateKind = "ib" | "iw" | "iz" | "iv" | "io" | "cb" | "cz";
export type Group = "integer" | "x87" | "mmx" | "simd" | "float";

export interface Form {
  readonly name: string;
  readonly family: string;
  readonly group: Group;
  readonly mandatory: number;
  readonly opcode: readonly number[];
  readonly plus: boolean;
  readonly modrm: "none" | "any" | "mem" | "reg";
  /** ModRM.reg extension, or -1 for a register. */
  readonly extension: number;
  readonly immediates: readonly ImmediateKind[];
  readonly size: OperandSize;
  readonly lockable: boolean;
  readonly mode: 0 | 32 | 64;
  readonly memoryBytes: number;
  readonly aligned: boolean;
  readonly written: number;
  readonly undefinedFlags: number;
  readonly read: number;
  readonly changesReg: boolean;
  readonly changesRm: boolean;
  readonly clobbers: readonly number[];
  readonly noRep: boolean;
  readonly repeat: "" | "rep" | "repz";
  readonly last: boolean;
  readonly near: string;
  readonly kind: string;
}

export const Flag = { C: 1, P: 4, A: 0x10, Z: 0x40, S: 0x80, D: 0x400, O: 0x800 } as const;
export const ARITHMETIC_FLAGS = Flag.O | Flag.S | Flag.Z | Flag.A | Flag.P | Flag.C;

const REGISTER_LETTERS = "acdbspij";

function flagSet(letters: string): number {
  let set = 0;
  for (const letter of letters) set |= Flag[letter as keyof typeof Flag];
  return set;
}

/** Parses table lines; `group` and `family` label what comes of them. */
export function forms(group: Group, family: string, lines: string): Form[] {
  return lines
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "")
    .map((line) => parse(group, family, line));
}

function parse(group: Group, family: string, line: string): Form {
  const [name, encoding, attributeText = ""] = line.split(";").map((part) => part.trim());
  if (!name || !encoding) throw new Error(`bad form: ${line}`);
  const attributes = attributeText.split(/\s+/).filter((attribute) => attribute !== "");
  const has = (attribute: string): boolean => attributes.includes(attribute);
  const value = (prefix: string): string =>
    attributes.find((attribute) => attribute.startsWith(prefix))?.slice(prefix.length) ?? "";

  const [before, after] = encoding.includes("|") ? encoding.split("|") : ["", encoding];
  const opcode: number[] = [];
  const immediates: ImmediateKind[] = [];
  let plus = false;
  let modrm: Form["modrm"] = "none";
  let extension = -1;
  for (const token of after!.trim().split(/\s+/)) {
    if (token === "+r") plus = true;
    else if (token.startsWith("/")) {
      modrm = has("mem") ? "mem" : has("reg") ? "reg" : "any";
      if (token !== "/r") extension = Number(token.slice(1));
    } else if (/^[0-9A-F]{2}$/.test(token)) opcode.push(Number.parseInt(token, 16));
    else immediates.push(token as ImmediateKind);
  }
  const memory = attributes.map((attribute) => /^[ma](\d+)$/.exec(attribute)).find((match) => match);
  const size = (["b", "v", "y", "W", "q"] as const).find(has) ?? "none";
  const generalDefault = group === "integer" ? "both" : "none";
  const general = value("g:") || generalDefault;
  return {
    name,
    family,
    group,
    mandatory: before ? Number.parseInt(before.trim(), 16) : 0,
    opcode,
    plus,
    modrm,
    extension,
    immediates,
    size,
    lockable: has("lock"),
    mode: has("x32") ? 32 : has("x64") ? 64 : 0,
    memoryBytes: memory ? Number(memory[1]) : 0,
    aligned: memory?.[0].startsWith("a") ?? false,
    written: flagSet(value("w:")),
    undefinedFlags: flagSet(value("u:")),
    read: flagSet(value("r:")),
    changesReg: general === "both" || general === "reg",
    changesRm: general === "both" || general === "rm",
    clobbers: [...value("c:")].map((letter) => REGISTER_LETTERS.indexOf(letter)),
    noRep: has("norep"),
    repeat: has("repz") ? "repz" : has("rep") ? "rep" : "",
    last: has("last"),
    near: value("near:"),
    kind: value("kind:"),
  };
}

/**
 * What shifts and rotates do to the flags depends on the count (Intel SDM vol. 2, SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR,
 * SHLD, SHRD: "Flags Affected"). `count` is undefined when it is in CL and unknown.
 */
export function shiftFlags(
  kind: "shift" | "rotate" | "double",
  bits: number,
  count: number | undefined,
): { written: number; undefinedFlags: number } {
  if (count === undefined) {
    if (kind === "rotate") return { written: 0, undefinedFlags: Flag.O };
    // CF is undefined where the count can reach the operand's width.
    return { written: 0, undefinedFlags: Flag.O | Flag.A | (bits < 32 ? Flag.C : 0) };
  }
  const masked = count & (bits === 64 ? 63 : 31);
  if (masked === 0) return { written: 0, undefinedFlags: 0 };
  const overflow = masked === 1 ? 0 : Flag.O;
  if (kind === "rotate") return { written: Flag.C | Flag.O, undefinedFlags: overflow };
  const carry = masked >= bits ? Flag.C : 0;
  return { written: ARITHMETIC_FLAGS, undefinedFlags: Flag.A | overflow | carry };
}
