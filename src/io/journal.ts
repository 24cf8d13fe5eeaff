/**
 * The device accesses that the operation in progress (an instruction, an event delivery, a page walk) has completed.
 * When one of its accesses waits, the operation is abandoned and later starts again; what it had completed is answered
 * from here, in order, and never reaches a device twice.
 */

/** What kind of access an entry is: width in the low bits, then space and direction. */
export const KIND = { mmio: 0x20, write: 0x40 } as const;

export class Journal {
  /** Entries. */
  count = 0;
  /** The next entry to answer from; equal to `count` when the operation is new or has caught up. */
  cursor = 0;
  /** Times that a restarted operation did something else than before. */
  divergences = 0;
  private kinds = new Int32Array(64);
  private addresses = new Float64Array(64);
  private values = new Int32Array(64);

  /** An access that completed while nothing was left to answer. */
  record(kind: number, address: number, value: number): void {
    const at = this.count;
    if (at === this.kinds.length) this.grow();
    this.kinds[at] = kind;
    this.addresses[at] = address;
    this.values[at] = value;
    this.cursor = this.count = at + 1;
  }

  /**
   * True when the next entry answers this access; its value is `value()`. When the restarted operation does something
   * else (a device has meanwhile changed the memory it depends on), the rest belongs to an operation that will not
   * come again and is forgotten.
   */
  answers(kind: number, address: number): boolean {
    const at = this.cursor;
    if (at === this.count) return false;
    if (this.kinds[at] === kind && this.addresses[at] === address) {
      this.cursor = at + 1;
      return true;
    }
    this.count = at;
    this.divergences++;
    return false;
  }

  /** The value of the entry that answered last. */
  value(): number {
    return this.values[this.cursor - 1]! >>> 0;
  }

  restart(): void {
    this.cursor = 0;
  }

  clear(): void {
    this.count = this.cursor = 0;
  }

  private grow(): void {
    const double = <T extends Int32Array | Float64Array>(old: T): T => {
      const more = new (old.constructor as new (length: number) => T)(old.length * 2);
      more.set(old);
      return more;
    };
    this.kinds = double(this.kinds);
    this.addresses = double(this.addresses);
    this.values = double(this.values);
  }
}
