/** Lines in which Bochs 2.7 is not what the manual says. `expectations/` keeps what it wrote; the test expects ours. */
export interface Correction {
  readonly guest: string;
  readonly recorded: string;
  readonly expected: string;
  readonly why: string;
}

export const corrections: readonly Correction[] = [
  {
    guest: "paging",
    recorded: "CMPS: both missing: #0e e=0000 +00a 0008 fl=00010002 esi=00401000 edi=00402000 cr2=00401000",
    expected: "CMPS: both missing: #0e e=0000 +00a 0008 fl=00010002 esi=00401000 edi=00402000 cr2=00402000",
    why: "The manual leaves the order of the two reads open; Intel processors read ES:EDI first.",
  },
  {
    guest: "paging",
    recorded: "FXSAVE across into a missing page: #0e e=0002 +000 0008 fl=00010002 cr2=00401000",
    expected: "FXSAVE across into a missing page: #0e e=0002 +000 0008 fl=00010002 cr2=004010ff",
    why: "The manual leaves the order open; Intel processors look at the last byte of the area first.",
  },
  {
    guest: "paging",
    recorded: "an instruction across two pages, the second remapped: ok fl=0002 eax=00001200",
    expected: "an instruction across two pages, the second remapped: ok fl=0002 eax=00003400",
    why: "SDM vol 3, 4.10.4.1: INVLPG invalidates the translation, so the instruction comes from the new page.",
  },
];
