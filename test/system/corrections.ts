/** Lines in which Bochs 2.7 is not what the manual says. `expectations/` keeps what it wrote; the test expects ours. */
export interface Correction {
  readonly guest: string;
  readonly why: string;
  /** What Bochs wrote, and what is right; `undefined` when it should have written nothing. */
  readonly lines: readonly (readonly [recorded: string, expected: string | undefined])[];
}

export const corrections: readonly Correction[] = [
  {
    guest: "paging",
    why: "The manual leaves the order of the two reads open; Intel processors read ES:EDI first.",
    lines: [
      [
        "CMPS: both missing: #0e e=0000 +00a 0008 fl=00010002 esi=00401000 edi=00402000 cr2=00401000",
        "CMPS: both missing: #0e e=0000 +00a 0008 fl=00010002 esi=00401000 edi=00402000 cr2=00402000",
      ],
    ],
  },
  {
    guest: "paging",
    why: "The manual leaves the order open; Intel processors look at the last byte of the area first.",
    lines: [
      [
        "FXSAVE across into a missing page: #0e e=0002 +000 0008 fl=00010002 cr2=00401000",
        "FXSAVE across into a missing page: #0e e=0002 +000 0008 fl=00010002 cr2=004010ff",
      ],
    ],
  },
  {
    guest: "paging",
    why: "SDM vol 3, 4.10.4.1: INVLPG invalidates the translation, so the instruction comes from the new page.",
    lines: [
      [
        "an instruction across two pages, the second remapped: ok fl=0002 eax=00001200",
        "an instruction across two pages, the second remapped: ok fl=0002 eax=00003400",
      ],
    ],
  },
  {
    guest: "debug",
    why: "SDM vol 3, 17.3.1.1: RF is pushed as 1 by a trap after any iteration of a repeated string instruction but the last. Intel processors set the flags of a repeated CMPS when it ends.",
    lines: [
      [
        "TF: REP MOVSB: #01 +00f 0008 fl=0102 ecx=00000002 esi=001c0001 edi=001c0011 dr6=ffff4ff0",
        "TF: REP MOVSB: #01 +00f 0008 fl=00010102 ecx=00000002 esi=001c0001 edi=001c0011 dr6=ffff4ff0",
      ],
      [
        "TF: REP MOVSB: #01 +00f 0008 fl=0102 ecx=00000001 esi=001c0002 edi=001c0012 dr6=ffff4ff0",
        "TF: REP MOVSB: #01 +00f 0008 fl=00010102 ecx=00000001 esi=001c0002 edi=001c0012 dr6=ffff4ff0",
      ],
      [
        "TF: REPE CMPSB: #01 +023 0008 fl=0146 ecx=00000003 esi=001c0001 edi=001c0011 dr6=ffff4ff0",
        "TF: REPE CMPSB: #01 +023 0008 fl=00010102 ecx=00000003 esi=001c0001 edi=001c0011 dr6=ffff4ff0",
      ],
      [
        "TF: REPE CMPSB: #01 +023 0008 fl=0146 ecx=00000002 esi=001c0002 edi=001c0012 dr6=ffff4ff0",
        "TF: REPE CMPSB: #01 +023 0008 fl=00010102 ecx=00000002 esi=001c0002 edi=001c0012 dr6=ffff4ff0",
      ],
      [
        "TF: REP OUTSB and REP INSB: #01 +013 0008 fl=0102 ecx=00000001 edx=33330080 esi=001c0001 edi=001c0020 dr6=ffff4ff0",
        "TF: REP OUTSB and REP INSB: #01 +013 0008 fl=00010102 ecx=00000001 edx=33330080 esi=001c0001 edi=001c0020 dr6=ffff4ff0",
      ],
      [
        "TF: REP OUTSB and REP INSB: #01 +01e 0008 fl=0102 ecx=00000001 edx=33330061 esi=001c0002 edi=001c0021 dr6=ffff4ff0",
        "TF: REP OUTSB and REP INSB: #01 +01e 0008 fl=00010102 ecx=00000001 edx=33330061 esi=001c0002 edi=001c0021 dr6=ffff4ff0",
      ],
      [
        "REP STOSB: after the unit: #01 +00a 0008 fl=0002 ecx=00000002 edi=001c0009 dr6=ffff0ff1",
        "REP STOSB: after the unit: #01 +00a 0008 fl=00010002 ecx=00000002 edi=001c0009 dr6=ffff0ff1",
      ],
      [
        "REP STOSB: after the unit: #01 +00a 0008 fl=0002 ecx=00000001 edi=001c000a dr6=ffff0ff1",
        "REP STOSB: after the unit: #01 +00a 0008 fl=00010002 ecx=00000001 edi=001c000a dr6=ffff0ff1",
      ],
      [
        "REP MOVSD: read side: #01 +00f 0008 fl=0002 ecx=00000001 esi=001c000c edi=001c004c dr6=ffff0ff1",
        "REP MOVSD: read side: #01 +00f 0008 fl=00010002 ecx=00000001 esi=001c000c edi=001c004c dr6=ffff0ff1",
      ],
      [
        "REP MOVSD: write side: #01 +00f 0008 fl=0002 ecx=00000001 esi=001c000c edi=001c004c dr6=ffff0ff1",
        "REP MOVSD: write side: #01 +00f 0008 fl=00010002 ecx=00000001 esi=001c000c edi=001c004c dr6=ffff0ff1",
      ],
      [
        "I/O: REP OUTSB: #01 +00e 0008 fl=0002 ecx=00000002 edx=33330080 esi=001c0001 dr6=ffff0ff1",
        "I/O: REP OUTSB: #01 +00e 0008 fl=00010002 ecx=00000002 edx=33330080 esi=001c0001 dr6=ffff0ff1",
      ],
      [
        "I/O: REP OUTSB: #01 +00e 0008 fl=0002 ecx=00000001 edx=33330080 esi=001c0002 dr6=ffff0ff1",
        "I/O: REP OUTSB: #01 +00e 0008 fl=00010002 ecx=00000001 edx=33330080 esi=001c0002 dr6=ffff0ff1",
      ],
      [
        "I/O: REP INSB: #01 +00e 0008 fl=0002 ecx=00000001 edx=33330061 edi=001c0021 dr6=ffff0ff1",
        "I/O: REP INSB: #01 +00e 0008 fl=00010002 ecx=00000001 edx=33330061 edi=001c0021 dr6=ffff0ff1",
      ],
    ],
  },
  {
    guest: "debug",
    why: "SDM vol 3, table 6-2: a trap of the previous instruction comes before the breakpoint of the next, which is not looked for yet.",
    lines: [
      [
        "TF and an instruction breakpoint: #01 +001 0008 fl=0102 dr6=ffff4ff1",
        "TF and an instruction breakpoint: #01 +001 0008 fl=0102 dr6=ffff4ff0",
      ],
    ],
  },
  {
    guest: "debug",
    why: "SDM vol 3, 17.2.4: bit 11 is for restricted transactional memory, which is not announced; it reads as 0.",
    lines: [
      [
        "DR7: fixed bits: ok fl=0046 eax=00000000 ecx=ffff0fff edx=00000400",
        "DR7: fixed bits: ok fl=0046 eax=00000000 ecx=ffff07ff edx=00000400",
      ],
    ],
  },
  {
    guest: "debug",
    why: "SDM vol 3, 17.3.1.1: all faults but instruction breakpoints push RF as 1; general detection is a fault (table 17-2).",
    lines: [
      ["GD: read: #01 +000 0008 fl=0002 dr6=ffff2ff0", "GD: read: #01 +000 0008 fl=00010002 dr6=ffff2ff0"],
      ["GD: write: #01 +000 0008 fl=0002 dr6=ffff2ff0", "GD: write: #01 +000 0008 fl=00010002 dr6=ffff2ff0"],
      ["GD: DR7: #01 +000 0008 fl=0002 dr6=ffff2ff0", "GD: DR7: #01 +000 0008 fl=00010002 dr6=ffff2ff0"],
    ],
  },
  {
    guest: "tasks",
    why: "SDM vol 3, table 7-1: whether the DPL of CS matches its RPL is checked before anything of SS.",
    lines: [["CS with RPL 1 of DPL 0: handler's task e=0010", "CS with RPL 1 of DPL 0: handler's task e=0008"]],
  },
  {
    guest: "segments",
    why: "The manual leaves it open whether a selector that does not change is written; Intel processors do not write it.",
    lines: [
      [
        "ARPL to read-only memory that needs no change: #0d e=0000 +023 0008 fl=00010002 eax=11110040 fs=0040",
        "ARPL to read-only memory that needs no change: ok fl=0002 eax=11110040 fs=0040",
      ],
    ],
  },
  {
    guest: "long",
    why: "SDM vol 4, IA32_FMASK: bits 63 to 32 are reserved, so that WRMSR refuses them.",
    lines: [
      [
        "SFMASK: high half: ok cs=0008 fl=0006 rax=00000000 rcx=c0000084 rdx=00008000",
        "SFMASK: high half: #0d e=0000 +015 0008 fl=00010006 rax=00000000 rcx=c0000084 rdx=00008000",
      ],
    ],
  },
  {
    guest: "long-transfers",
    why: "SDM vol 2, INT n: a new RSP that is not canonical is #SS(EXT), with a null selector.",
    lines: [
      ["RSP0 not canonical: #0c e=0020 +000 002b fl=00010002", "RSP0 not canonical: #0c e=0000 +000 002b fl=00010002"],
      [
        "RSP0 not canonical, #UD: #0c e=0021 +000 002b fl=00010002",
        "RSP0 not canonical, #UD: #0c e=0001 +000 002b fl=00010002",
      ],
    ],
  },
  {
    guest: "long-transfers",
    why: "SDM vol 2, IRET, 64-bit mode exceptions: #GP(0) when the RPL of a null SS is not the CPL returned to.",
    lines: [
      [
        "IRETQ: null SS, RPL 1 at ring 0: #0e e=0002 0000 0008 fl=00010002 ss=0001 sp=-03f0 cr2=11110001",
        "IRETQ: null SS, RPL 1 at ring 0: #0d e=0000 +017 0008 fl=00010002 sp=-0028",
      ],
    ],
  },
  {
    guest: "long-transfers",
    why: "SDM vol 2, IRET: #SS with the selector; Intel processors agree.",
    lines: [
      [
        "IRETQ: SS not present: #0b e=0050 +017 0008 fl=00010002 sp=-0028",
        "IRETQ: SS not present: #0c e=0050 +017 0008 fl=00010002 sp=-0028",
      ],
    ],
  },
  {
    guest: "long-transfers",
    why: "SDM vol 3, 6.14.3: in 64-bit mode IRET pops SS:RSP unconditionally; Intel processors do at every operand size.",
    lines: [
      ["IRETD in 64-bit mode: ok cs=0008 fl=0002 sp=-0008", "IRETD in 64-bit mode: ok cs=0008 fl=0002 sp=-01f0"],
      ["IRETW in 64-bit mode: ok cs=0008 fl=0002 sp=-0004", "IRETW in 64-bit mode: ok cs=0008 fl=0002 sp=-00198ff0"],
    ],
  },
  {
    guest: "long-transfers",
    why: "SDM vol 3, 17.3.1.1: as with REP MOVS above.",
    lines: [
      [
        "TF in 64-bit mode: #01 +00c 0008 fl=0146 rax=00000000 rcx=00000001 rdi=001c0001 dr6=ffff4ff0",
        "TF in 64-bit mode: #01 +00c 0008 fl=00010146 rax=00000000 rcx=00000001 rdi=001c0001 dr6=ffff4ff0",
      ],
    ],
  },
  {
    guest: "interrupts",
    why: "SDM vol 3, table 6-2: interrupts come before the breakpoint of the next instruction.",
    lines: [
      [
        "and before an instruction breakpoint: #01 +006 0008 fl=0202 dr6=ffff0ff1",
        "and before an instruction breakpoint: #40 +006 0008 fl=0202",
      ],
    ],
  },
  {
    guest: "interrupts",
    why: "SDM vol 3, 17.3.1.1: RF is pushed as 1 by an interrupt after any iteration of a repeated string instruction but the last.",
    lines: [
      [
        "REP MOVSB is interrupted between its units: #40 +010 0008 fl=0202 ecx=00000004 esi=001c0001 edi=001c0101",
        "REP MOVSB is interrupted between its units: #40 +010 0008 fl=00010202 ecx=00000004 esi=001c0001 edi=001c0101",
      ],
      [
        "REPE CMPSB: #40 +012 0008 fl=0246 ecx=00000004 esi=001c0001 edi=001c0001",
        "REPE CMPSB: #40 +012 0008 fl=00010246 ecx=00000004 esi=001c0001 edi=001c0001",
      ],
      [
        "REP OUTSB: #40 +00f 0008 fl=0202 ecx=00000002 edx=33330080 esi=001c0001",
        "REP OUTSB: #40 +00f 0008 fl=00010202 ecx=00000002 edx=33330080 esi=001c0001",
      ],
    ],
  },
  {
    guest: "ferr",
    why: "SDM vol 1, D.2.1.3: the processor stops before the instruction that waits, until the interrupt has come. Bochs executes it.",
    lines: [
      [
        "interrupt before the instruction that waits: #4d +010 0008 fl=0202",
        "interrupt before the instruction that waits: #4d +00e 0008 fl=0202",
      ],
      ["before FWAIT: #4d +00e 0008 fl=0202", "before FWAIT: #4d +00d 0008 fl=0202"],
      ["before an MMX instruction: #4d +010 0008 fl=0202", "before an MMX instruction: #4d +00d 0008 fl=0202"],
      [
        "port F0h: the instruction goes on, the error stays: #4d +00f 0008 fl=0202",
        "port F0h: the instruction goes on, the error stays: #4d +00d 0008 fl=0202",
      ],
      [
        "a new error after FNCLEX is not ignored any more: #4d +00f 0008 fl=0202",
        "a new error after FNCLEX is not ignored any more: #4d +00d 0008 fl=0202",
      ],
      [
        "a new error after FNCLEX is not ignored any more: #4d +020 0008 fl=0202",
        "a new error after FNCLEX is not ignored any more: #4d +01f 0008 fl=0202",
      ],
      [
        "FNCLEX in the handler: the instruction runs without an error: #4d +00f 0008 fl=0202",
        "FNCLEX in the handler: the instruction runs without an error: #4d +00d 0008 fl=0202",
      ],
      [
        "port F0h before the interrupt: nothing to ignore: #4d +013 0008 fl=0202 eax=11110000",
        "port F0h before the interrupt: nothing to ignore: #4d +011 0008 fl=0202 eax=11110000",
      ],
    ],
  },
  {
    guest: "ferr",
    why: "SDM vol 1, D.2.1.3: IGNNE# lets all instructions go on while the error stays. Bochs has no IGNNE#.",
    lines: [["port F0h: the instruction goes on, the error stays: #4d +011 0008 fl=0202", undefined]],
  },
];
