/** No host address of an instruction. */
const NOWHERE = -1;

/**
 * What an instruction in compiled code has done by slow paths, so that the interpreter can run it again: accesses are
 * answered from here, in order, and reach no device twice. Reads of plain memory are not in it: they give the same again.
 */
export class AccessLog {
  /** Called when the interpreter begins or ends to run an instruction again. */
  private readonly onReplay: (replaying: boolean) => void;
  private isReplaying = false;
  private budget = 0;
  private pc = NOWHERE;
  private count = 0;
  private cursor = 0;
  private readonly kinds = new Int32Array(64);
  private readonly linears = new Float64Array(64);
  private readonly values = new Uint8Array(64 * 16);

  constructor(onReplay: (replaying: boolean) => void) {
    this.onReplay = onReplay;
  }

  /** The interpreter runs an instruction again. */
  get replaying(): boolean {
    return this.isReplaying;
  }

  private setReplaying(replaying: boolean): void {
    if (replaying === this.isReplaying) return;
    this.isReplaying = replaying;
    this.onReplay(replaying);
  }

  /**
   * Before each access, even one that will not be recorded. The host address of the instruction and the budget before it,
   * which goes down in a slice, tell instructions apart: of others nothing is kept.
   */
  begin(pc: number, budget: number): void {
    if (pc === this.pc && budget === this.budget) return;
    this.pc = pc;
    this.budget = budget;
    this.count = 0;
  }

  /** The value is the `bytes` (up to 16) at the start of `value`. */
  record(kind: number, linear: number, value: Uint8Array, bytes: number): void {
    if (this.count === this.kinds.length) throw new Error("Portico bug: an instruction of so many accesses");
    this.kinds[this.count] = kind;
    this.linears[this.count] = linear;
    const at = this.count * 16;
    for (let i = 0; i < bytes; i++) this.values[at + i] = value[i]!;
    this.count++;
  }

  replay(): void {
    this.setReplaying(this.count > 0);
    this.cursor = 0;
  }

  /** The next access, if it is this one: its bytes go to `into`. */
  answers(kind: number, linear: number, into: Uint8Array): boolean {
    const at = this.cursor;
    if (this.kinds[at] !== kind || this.linears[at] !== linear) {
      this.forget();
      return false;
    }
    into.set(this.values.subarray(at * 16, at * 16 + into.length));
    this.cursor++;
    if (this.cursor === this.count) this.forget();
    return true;
  }

  forget(): void {
    this.setReplaying(false);
    this.count = 0;
    this.cursor = 0;
    this.pc = NOWHERE;
  }
}

/** Kinds of access, to be combined with the number of bytes. */
export const LOGGED = { read: 0x100, write: 0x200, modify: 0x300 } as const;
