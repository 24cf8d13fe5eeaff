/** Lines in which Bochs 2.7 is not what the manual says. `expectations/` keeps what it wrote; the test expects ours. */
export interface Correction {
  readonly guest: string;
  readonly recorded: string;
  readonly expected: string;
  readonly why: string;
}

export const corrections: readonly Correction[] = [];
